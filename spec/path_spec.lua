local corun = require "corun"
local raised = require "spec.support.raised"
local scripts = require "spec.support.scripts"
local support = require "spec.support"
local world = require "spec.support.world"

local function make_directory(path)
  assert(os.execute("mkdir -p " .. path))
  return path
end

--- An executable that prints its word.
local function make_tool(directory, word, mode)
  return world.program(directory .. "/tool", "#!/bin/sh\necho " .. word .. "\n", mode)
end

describe("The search for a program", function()
  local one, two, three
  before_each(function()
    local directory = support.directory()
    one, two = make_directory(directory .. "/one"), make_directory(directory .. "/two")
    three = make_directory(directory .. "/three")
  end)

  local function run_tool(...)
    return corun.capture { "tool", env = { PATH = table.concat({ ... }, ":") } }
  end

  local function failure(...)
    local path = table.concat({ ... }, ":")
    return raised.error("spawn", function() corun.run { "tool", env = { PATH = path } } end)
  end

  it("goes through the child's PATH, from left to right", function()
    make_tool(two, "two")
    make_tool(three, "three")
    assert.equal("two", run_tool(one, two, three))
    assert.equal("three", run_tool(three, two))
  end)

  it("does not go through ours when env sets one", function()
    assert.equal("ENOENT", raised.error("spawn", function() corun.run { "true", env = { PATH = one } } end).code)
  end)

  it("goes through ours when env sets none", function()
    local ours <const> = corun.env.PATH
    finally(function() corun.env.PATH = ours end)
    make_tool(one, "one")
    corun.env.PATH = one .. ":" .. ours
    assert.equal("one", corun.capture { "tool", env = { OTHER = "x" } })
    assert.equal(one .. "/tool", corun.which("tool"))
  end)

  it("goes through the system's path when there is none", function()
    local script = [[
      local corun = require "corun"
      assert(os.getenv("PATH") == nil)
      print(corun.run({ "true" }).status, corun.which("sh"))
    ]]
    local result = scripts.native:run(script, { env = { PATH = false } })
    assert.matches("^exit 0\t/.*/sh\n$", result.stdout, result.stderr)
  end)

  it("never takes an empty element for the current directory", function()
    make_tool(one, "one")
    for _, path in ipairs { "", ":", "::", ":" .. two, two .. ":", two .. "::" .. three } do
      local e = raised.error("spawn", function() corun.run { "tool", cwd = one, env = { PATH = path } } end)
      assert.equal("ENOENT", e.code, path)
    end
    assert.equal("one", corun.capture { "tool", env = { PATH = ":" .. one .. ":" } })
  end)

  it("passes over what is no directory, is not there, or has too long a name", function()
    make_tool(three, "three")
    support.write_file(one .. "/file", "")
    assert(os.execute("ln -s loop " .. one .. "/loop"))
    local too_long = "/" .. ("x"):rep(5000)
    assert.equal("three", run_tool(one .. "/file", one .. "/missing", one .. "/loop", too_long, three))
    assert.equal("ENOENT", failure(one .. "/file", one .. "/missing", one .. "/loop", too_long).code)
  end)

  if world.is_native or not world.is_root then -- the search is the child's own there
    it("passes over directories that may not be searched", function()
      assert(os.execute(("chmod 711 %s/.. && chmod 755 %s && chmod 0 %s"):format(one, two, one)))
      finally(function() os.execute("chmod 755 " .. one) end)
      make_tool(two, "two")
      local user = world.is_root and 65534 or nil -- root may search everything
      local path = one .. ":" .. two
      assert.equal("two", corun.capture { "tool", uid = user, env = { PATH = path } })
      local e = raised.error("spawn", function() corun.run { "tool", uid = user, env = { PATH = one } } end)
      assert.equal("ENOENT", e.code)
    end)
  end

  it("passes over files that are not executable", function()
    make_tool(one, "one", "644")
    make_tool(three, "three")
    assert.equal("three", run_tool(one, two, three))
  end)

  it("says EACCES if there was a file of that name and none was executable", function()
    make_tool(two, "two", "644")
    for _, path in ipairs { two, one .. ":" .. two, two .. ":" .. one, two .. ":/no/such/directory" } do
      local e = failure(path)
      assert.same({ "EACCES", "exec", "tool" }, { e.code, e.stage, e.path }, path)
    end
  end)

  it("passes over a directory of that name", function()
    make_directory(one .. "/tool")
    make_tool(two, "two")
    assert.equal("two", run_tool(one, two))
    assert.equal("ENOENT", failure(one, three).code)
  end)

  it("looks for a name with a slash in the child's directory, not in PATH", function()
    make_directory(one .. "/sub")
    make_tool(one, "one")
    make_tool(one .. "/sub", "sub")
    assert.equal("one", corun.capture { "./tool", cwd = one })
    assert.equal("sub", corun.capture { "sub/tool", cwd = one, env = { PATH = two } })
    local e = raised.error("spawn", function() corun.run { "./tool", cwd = two, env = { PATH = one } } end)
    assert.equal("ENOENT", e.code)
  end)

  it("finds the files of its stdio in our directory", function()
    make_tool(one, "one")
    local relative = world.relative(two .. "/out")
    corun.run { "./tool", cwd = one, stdout = { file = relative } }
    assert.equal("one\n", support.read_file(two .. "/out"))
    assert.equal("one\n", corun.run({ "cat", cwd = one, stdin = { file = relative } }).stdout)
  end)
end)

describe("corun.which", function()
  local a, b
  before_each(function()
    local directory = support.directory()
    a, b = make_directory(directory .. "/a"), make_directory(directory .. "/b")
  end)

  local function which(name)
    local ours <const> = corun.env.PATH
    corun.env.PATH = a .. "::" .. b
    local ok, found = pcall(corun.which, name)
    corun.env.PATH = ours
    assert.is_true(ok, found)
    return found
  end

  it("returns the path of what run would start", function()
    assert.is_nil(which("tool"))
    make_tool(b, "b")
    assert.equal(b .. "/tool", which("tool"))
    make_tool(a, "a")
    assert.equal(a .. "/tool", which("tool"))
  end)

  it("passes over directories and files that are not executable", function()
    make_directory(a .. "/tool")
    make_tool(b, "b", "644")
    assert.is_nil(which("tool"))
  end)

  it("never looks into our own directory", function()
    local result = scripts.native:run([[
      local corun = require "corun"
      assert(os.execute("cp /bin/true tool"))
      corun.env.PATH = ":/no/such/directory:"
      print(corun.which("tool"), (corun.which("./tool")))
    ]])
    assert.equal("nil\t./tool\n", result.stdout, result.stderr)
  end)

  it("looks at a name with a slash where it is", function()
    local tool = make_tool(a, "here")
    assert.equal(tool, corun.which(tool))
    assert.is_nil(corun.which(b .. "/tool"))
    assert.is_nil(corun.which(b))
  end)

  it("refuses what is no name", function()
    raised.has(raised.argument(function() corun.which("") end), "name expected, got \"\"")
    raised.has(raised.argument(function() corun.which(nil) end), "name expected, got nil")
    raised.has(raised.argument(function() corun.which("true\0b") end), "NUL")
  end)
end)
