local corun = require "corun"
local raised = require "spec.support.raised"
local scripts = require "spec.support.scripts"
local support = require "spec.support"
local world = require "spec.support.world"

local core = require "corun.core"

local function sh(script, fds, options)
  local spec = { "sh", "-c", script, fds = fds }
  for name, value in pairs(options or {}) do spec[name] = value end
  return spec
end

describe("fds", function()
  local path
  before_each(function() path = support.directory() .. "/file" end)

  it("\"output\" is a Reader of what the child writes", function()
    local process <close> = corun.spawn(sh("echo three >&3; echo out", { [3] = "output" }))
    assert.is_true(getmetatable(process.fds[3]) == core.Reader)
    assert.equal("three\n", process.fds[3]:read())
    assert.equal("out\n", process.stdout:read())
  end)

  it("\"input\" is a Writer to what the child reads", function()
    local process <close> = corun.spawn(sh("cat <&3", { [3] = "input" }))
    assert.is_true(getmetatable(process.fds[3]) == core.Writer)
    process.fds[3]:write("text")
    process.fds[3]:close()
    assert.equal("text", process.stdout:read())
  end)

  it("may be several, up to 1023, with gaps", function()
    local script = [[
      while read line <&3; do echo "$line" >/proc/self/fd/900; done
      echo four >&4; echo nine >&9
    ]]
    local process <close> = corun.spawn(sh(script, { [3] = "input", [4] = "output", [9] = "output", [900] = "output" }))
    process.fds[3]:write("a\nb\n")
    process.fds[3]:write_eof()
    assert.same({ "four\n", "nine\n", "a\nb\n" },
      { process.fds[4]:read(), process.fds[9]:read(), process.fds[900]:read() })
    local fixture = corun.run { scripts.fixtures .. "/fds", fds = { [1023] = "null" } }
    assert.equal("0\n1\n2\n1023\n", fixture.stdout)
  end)

  it("are empty where nothing is asked for", function()
    local process <close> = corun.spawn { "true" }
    assert.same({}, process.fds)
  end)

  it("{file = path} is written, read or added to", function()
    corun.run(sh("echo one >&3", { [3] = { file = path } }))
    assert.equal("one\n", support.read_file(path))
    corun.run(sh("echo two >&3", { [3] = { file = path, append = true } }))
    assert.equal("one\ntwo\n", support.read_file(path))
    assert.equal("one\ntwo\n", corun.run(sh("cat <&3", { [3] = { file = path, read = true } })).stdout)
    corun.run(sh("echo three >&3", { [3] = { file = path, mode = "600" } }))
    assert.equal("three\n", support.read_file(path))
    local process <close> = corun.spawn(sh("echo four >&3", { [3] = { file = path } }))
    assert.same({}, process.fds)
  end)

  it("may be an open file, a descriptor, a Writer, nothing", function()
    local file <close> = io.open(path, "w")
    local number
    for fd, target in pairs(support.descriptors()) do
      if target == path then number = fd end
    end
    local cat <close> = corun.spawn { "cat" }
    corun.run(sh("echo three >&3; echo four >&4; echo five >&5; echo six >&6",
      { [3] = file, [4] = number, [5] = cat.stdin, [6] = "null" }))
    file:close()
    cat:close_stdin()
    assert.equal("three\nfour\n", support.read_file(path))
    assert.equal("five\n", cat.stdout:read())
  end)

  it("may be a function for each line", function()
    local lines = {}
    local process <close> = corun.spawn(sh("echo one >&3; echo two >&3",
      { [3] = function(line) lines[#lines + 1] = line end }))
    process:wait_closed(10)
    assert.same({ "one", "two" }, lines)
  end)

  it("\"inherit\" is the same number of ours", function()
    local spec = scripts.native:spec([[
      local corun = require "corun"
      corun.run { "sh", "-c", "echo through >&7", fds = { [7] = "inherit" } }
    ]])
    corun.run(world.after("exec 7>" .. path, spec))
    assert.equal("through\n", support.read_file(path))
  end)

  it("\"stderr\" is where that goes", function()
    assert.equal("1\n2\n3\n", corun.run(sh("echo 1 >&2; echo 2 >&3; echo 3 >&2", { [3] = "stderr" })).stderr)
  end)

  it("are waited for by wait_closed", function()
    local process <close> = corun.spawn(sh("exec 1>&- 2>&- 5<&0; (read line <&5) &", { [3] = "output" }))
    process:wait()
    raised.error("timeout", function() process:wait_closed(0) end)
    process.fds[3]:close()
    process:wait_closed(10)
  end)

  it("end with the process", function()
    local process <close> = corun.spawn(sh("exec cat", { [3] = "output", [4] = "input" }))
    process:close()
    assert.equal("SIGTERM", process.status.signal)
    raised.error("closed", function() process.fds[3]:read() end)
    raised.error("closed", function() process.fds[4]:write("x") end)
  end)
end)
