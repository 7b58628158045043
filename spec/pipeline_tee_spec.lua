local corun = require "corun"
local raised = require "spec.support.raised"
local scripts = require "spec.support.scripts"
local support = require "spec.support"

local function command(...) return corun.command { ... } end
local function sh(lines) return command("sh", "-c", lines) end

local cat, cksum, numbers = command("cat"), command("cksum"), command("seq", 300000)
local checksum = corun.capture { "sh", "-c", "seq 300000 | cksum" }

local function copy(reader, writer) reader:copy_to(writer) end
local function first_line(reader, writer) writer:write(reader:read_line()) end

--- What the stages that have a stdout have printed, without the last newline.
local function outputs(result)
  local list = {}
  for _, stage in ipairs(result.stages) do
    if stage.stdout then list[#list + 1] = (stage.stdout:gsub("\n$", "")) end
  end
  return list
end

describe("corun.tee", function()
  it("gives each branch all, and each branch's output is in its last stage's Result", function()
    local result = corun.tee(command("printf", "b\\na\\n"), { cat, command("sort"), command("wc", "-l") }):run()
    assert.same({ "b\na", "a\nb", "2" }, outputs(result))
    assert.same({ true, "2\n", 4 }, { result.ok, result.stdout, #result.stages })
    assert.is_nil(result.stages[1].stdout)
  end)

  it("moves large data to all of them", function()
    local result = corun.tee(numbers, {
      cksum, cat | cksum, copy | cksum,
      function(reader, writer) writer:write(corun.capture { "cksum", stdin = reader }) end,
      command("tail", "-1"), cksum,
    }):run()
    assert.same({ checksum, checksum, checksum, checksum, "300000", checksum }, outputs(result))
  end)

  it("has sources of each kind: a Pipeline, a spec, a function, a merge", function()
    local branches = { cat, { "wc", "-l" } }
    local pipeline = command("seq", 3) | command("tac") | { "head", "-2" }
    assert.same({ "3\n2", "2" }, outputs(corun.tee(pipeline, branches):run()))
    assert.same({ "1", "1" }, outputs(corun.tee({ "echo", "1" }, branches):run()))
    assert.same({ "x", "0" }, outputs(corun.tee(function(_, writer) writer:write("x") end, branches):run()))
    assert.same({ "a\na", "2" }, outputs(corun.tee(corun.merge { sh("echo a"), sh("echo a") }, branches):run()))
    assert.same({ "in", "0" }, outputs(corun.tee(cat, branches):with({ input = "in" }):run()))
  end)

  it("may have one branch", function()
    assert.equal(checksum, corun.tee(numbers, { cksum }):capture())
  end)

  it("may be in a branch of another one", function()
    local result = corun.tee(numbers, { cksum, corun.tee(cat, { command("head", "-1"), cksum }) }):run()
    assert.same({ checksum, "1", checksum }, outputs(result))
  end)

  it("goes on for the others when a branch ends early", function()
    for _, early in ipairs { command("head", "-1"), first_line } do
      local result = corun.tee(numbers, { early, cksum }):run()
      assert.same({ "1", checksum }, outputs(result))
      assert.same({ true, "exit 0" }, { result.ok, tostring(result.stages[1].status) })
      assert.same({ checksum, "1" }, outputs(corun.tee(numbers, { cksum, early }):run()))
    end
  end)

  it("cuts the source off when all have ended", function()
    for _, early in ipairs { command("head", "-1"), first_line } do
      local result = corun.tee(command("yes"), { early, command("true"), command("head", "-2") }):run()
      assert.same({ "y", "", "y\ny" }, outputs(result))
      assert.same({ true, true, "SIGPIPE" }, { result.ok, result.stages[1].ok, result.stages[1].signal })
    end
    local function endless(_, writer)
      while true do writer:write(("x"):rep(1000)) end
    end
    local result = corun.tee(endless, { command("head", "-c1"), command("head", "-c2") }):run()
    assert.same({ true, "EPIPE" }, { result.ok, result.stages[1].error.code })
  end)

  it("goes at the pace of the slowest branch, and loses nothing", function()
    local written, seen = 0, 0
    local event = corun.event()
    local function source(_, writer)
      for i = 1, 64 do
        writer:write(("x"):rep(65536)):drain()
        written = i
      end
    end
    local function fast(reader) reader:read() end
    local function slow(reader, writer)
      event:wait()
      writer:write(#reader:read())
    end
    corun.scope(function(scope)
      local task = scope:go(function() return corun.tee(source, { fast, slow }):capture() end)
      for _ = 1, 200 do corun.sleep(0) end
      seen = written
      event:set()
      assert.equal(tostring(64 * 65536), task:await())
    end)
    assert.is_true(seen < 32, "written while nobody read: " .. seen .. " of 64")
  end)

  it("fails by its source or any branch", function()
    local e = raised.error("exit", function() corun.tee(numbers, { sh("cat >&2; exit 3"), cksum }):run() end)
    raised.has(e.message, "seq 300000 | tee >(sh -c 'cat >&2; exit 3') | cksum: stage 2, sh -c ")
    assert.equal(3, e.result.code)
    assert.equal(checksum, e.result.stages[3].stdout:gsub("\n", ""))
    local result = corun.tee(sh("echo a; exit 4"), { cat, cat }):with({ check = false }):run()
    assert.same({ false, 4, "a\n" }, { result.ok, result.code, result.stdout })
    local ok, message = pcall(function() corun.tee(cat, { cat, function() error("oh", 0) end }):run() end)
    assert.same({ false, "oh" }, { ok, message })
  end)

  it("does not count as cut off by branches that have failed", function()
    local branches = { sh("head -1; exit 5"), command("head", "-1") }
    local result = corun.tee(command("yes"), branches):with({ check = false }):run()
    assert.same({ false, 5, false }, { result.ok, result.code, result.stages[1].ok or false })
  end)

  it("runs spawned, each branch with its own stdout", function()
    local p <close> = corun.tee(cat, { command("sed", "s/^/1 /"), copy }):spawn()
    p.stdin:write("line\n")
    p.stdin:close()
    assert.same({ "1 line\n", "line\n" }, { p.stages[2].stdout:read(), p.stdout:read() })
    assert.is_true(p:wait().ok)
  end)

  it("is stopped in the middle, by a time limit, a cancellation, close", function()
    local function endless() return corun.tee(command("yes"), { { "cat", stdout = "null" }, copy, cat }) end
    local result = endless():with({ timeout = 0.05, stdout = "null", limit = 1 << 30, check = false }):run()
    assert.equal("timeout", result.reason)
    corun.move_on(0.05, function() endless():with({ stdout = "null", limit = 1 << 30 }):run() end)
    local p <close> = endless():spawn()
    p.stdout:read_line()
    p:close()
    assert.same({}, support.children())
  end)
end)

describe("tee of a stage in the middle", function()
  it("copies what it writes into a file", function()
    local path = support.directory() .. "/copy"
    assert.equal(checksum, corun.pipeline({ { "seq", 300000, tee = { file = path } }, cksum }):capture())
    assert.equal(checksum, corun.capture { "sh", "-c", 'cksum < "$0"', path })
    corun.pipeline({ cat, { "echo", "again", tee = { file = path } }, cat }):run()
    assert.equal("again\n", support.read_file(path))
  end)

  it("appends where it says so, and makes a file with the mode that it says", function()
    local path = support.directory() .. "/copy"
    local tap = { file = path, append = true, mode = "600" }
    for _ = 1, 2 do
      assert.equal(checksum, corun.pipeline({ { "seq", 300000, tee = tap }, cksum }):capture())
    end
    assert.equal(corun.capture { "sh", "-c", "(seq 300000; seq 300000) | cksum" },
      corun.capture { "sh", "-c", 'cksum < "$0"', path })
    assert.equal("600", corun.capture { "stat", "-c", "%a", path })
  end)

  it("copies to a Writer, which stays open", function()
    local other <close> = corun.spawn { "sh", "-c", "cksum; exit 3" }
    other:write("first\n")
    assert.equal(checksum, corun.pipeline({ { "seq", 300000, tee = other.stdin }, cat, cksum }):capture())
    other:write("last\n")
    other:close_stdin()
    local all = corun.capture { "sh", "-c", "(echo first; seq 300000; echo last) | cksum" }
    assert.equal(all .. "\n", other.stdout:read())
  end)

  it("goes on without a Writer that nobody reads any more", function()
    local other <close> = corun.spawn { "true" }
    other:wait()
    assert.equal(checksum, corun.pipeline({ { "seq", 300000, tee = other.stdin }, cksum }):capture())
  end)

  it("may be of several stages, and of the last one", function()
    local directory = support.directory()
    local function tap(name) return { file = directory .. "/" .. name } end
    local result = corun.pipeline({
      { "echo", "a", tee = tap "one" }, { "tr", "a", "b", tee = tap "two" }, { "tr", "b", "c", tee = tap "three" },
    }):run()
    assert.equal("c\n", result.stdout)
    assert.same({ "a\n", "b\n", "c\n" }, { support.read_file(directory .. "/one"),
      support.read_file(directory .. "/two"), support.read_file(directory .. "/three") })
  end)

  it("leaves statuses and cut-offs to the stages", function()
    local path = support.directory() .. "/copy"
    local result = corun.pipeline({ { "sh", "-c", "echo a; exit 3", tee = { file = path } }, cat })
      :with({ check = false }):run()
    assert.same({ false, 3, "a\n", "a\n" }, { result.ok, result.code, result.stdout, support.read_file(path) })
  end)

  it("= true copies to our own stdout, after what was printed before", function()
    local result = scripts.native:run([[
      local corun = require "corun"
      io.write("before\n")
      local result = corun.pipeline({ { "printf", "a\\nb", tee = true }, { "wc", "-l" } }):run()
      assert(result.stdout == "1\n", result.stdout)
      print("\nafter")
    ]])
    assert.same({ "before\na\nb\nafter\n", "", 0 }, { result.stdout, result.stderr, result.code })
  end)

  it("is an Error where its file cannot be opened, and nothing is left", function()
    local e = raised.error("io", function()
      corun.pipeline({ cat, { "cat", tee = { file = "/no/such/file" } }, cat }):run()
    end)
    raised.has(e.message, "/no/such/file")
    assert.same({}, support.children())
  end)

  it("is stopped with the Pipeline", function()
    local path = support.directory() .. "/copy"
    local pipeline = corun.pipeline { { "sh", "-c", "echo a; exec sleep 1000", tee = { file = path } }, cat }
    local result = pipeline:with({ timeout = 0.05, check = false }):run()
    assert.same({ "timeout", "a\n", "a\n" }, { result.reason, result.stdout, support.read_file(path) })
    do
      local p <close> = pipeline:spawn()
      assert.equal("a", p.stdout:read_line())
    end
    assert.same({}, support.children())
  end)
end)
