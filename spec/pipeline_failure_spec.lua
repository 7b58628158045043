local corun = require "corun"
local raised = require "spec.support.raised"
local support = require "spec.support"

local function command(...) return corun.command { ... } end
local function sh(lines) return command("sh", "-c", lines) end

local cat, yes = command("cat"), command("yes")

--- The outcome of a Pipeline in short: whether it is ok, and each stage is.
local function outcome(parts)
  local result = corun.pipeline(parts):with({ check = false }):run()
  local oks = {}
  for i, stage in ipairs(result.stages) do oks[i] = stage.ok end
  return { result.ok, oks }, result
end

describe("A Pipeline with a stage that fails", function()
  it("has failed, wherever the stage is", function()
    assert.same({ false, { false, true, true } }, outcome { sh("echo a; exit 3"), cat, cat })
    assert.same({ false, { true, false, true } }, outcome { cat, sh("cat; exit 3"), cat })
    assert.same({ false, { true, true, false } }, outcome { cat, cat, sh("cat; exit 3") })
    assert.same({ true, { true, true, true } }, outcome { cat, cat, cat })
  end)

  it("has the code, stderr and command of the rightmost that failed, and the output of the last", function()
    local _, result = outcome { sh("echo 1 >&2; exit 1"), sh("echo 2 >&2; exit 2"), sh("cat; echo out; echo 3 >&2") }
    assert.same({ 2, "2\n", "out\n" }, { result.code, result.stderr, result.stdout })
    assert.equal(result.stages[2].pid, result.pid)
    assert.same({ 1, 2, 0 }, { result.stages[1].code, result.stages[2].code, result.stages[3].code })
  end)

  it("lets the others go on to their ends", function()
    local result = (sh("exit 1") | sh("cat; echo end")):with({ check = false }):run()
    assert.equal("end\n", result.stdout)
  end)

  it("raises kind \"exit\" with the Result", function()
    local e = raised.error("exit", function() (sh("echo a") | sh("cat; echo why >&2; exit 4") | cat):run() end)
    assert.matches("^sh %-c 'echo a' | sh %-c 'cat; echo why >&2; exit 4' | cat: stage 2, "
      .. "sh %-c 'cat; echo why >&2; exit 4': exit 4 after %d+%.%d%d s$", e.message)
    raised.has(tostring(e), "\n  stderr: why")
    local result = e.result
    assert.same({ false, 4, "a\n", 3 }, { result.ok, result.code, result.stdout, #result.stages })
    raised.error("exit", function() (command("false") | cat):capture() end)
  end)

  it("tells of a signal", function()
    local e = raised.error("exit", function() (sh("kill -KILL $$") | cat):run() end)
    raised.has(e.message, "stage 1, sh -c 'kill -KILL $$': signal SIGKILL")
    assert.same({ "SIGKILL", "signal" }, { e.result.signal, e.result.reason })
  end)

  it("does not apply its format to what came", function()
    local e = raised.error("exit", function()
      (sh("echo nonsense; exit 3") | cat):with({ format = "json" }):run()
    end)
    assert.equal("nonsense\n", e.result.stdout)
  end)
end)

describe("check", function()
  it("of a stage says which of its codes are good", function()
    local three = { "sh", "-c", "cat; exit 3", check = { 0, 3 } }
    assert.same({ true, { true, true } }, outcome { three, cat })
    assert.same({ true, { true, true } }, outcome { cat, three })
    assert.same({ false, { false, true } }, outcome { { "sh", "-c", "exit 4", check = { 0, 3 } }, cat })
    assert.equal(3, corun.pipeline({ cat, three }):run().code)
  end)

  it("= false of a stage: each of its exits is good, a signal, too", function()
    assert.same({ true, { true, true } }, outcome { { "false", check = false }, cat })
    assert.same({ true, { true, true } }, outcome { { "sh", "-c", "kill -KILL $$", check = false }, cat })
    assert.same({ false, { true, false } }, outcome { { "false", check = false }, command("false") })
  end)

  it("= false of the whole: a bad end is a Result that says so", function()
    local result = (command("false") | cat):with({ check = false }):run()
    assert.same({ false, 1, "exit" }, { result.ok, result.code, result.reason })
    assert.equal("x", (sh("echo x; exit 1") | cat):with({ check = false }):capture())
    raised.error("exit", function() (command("false") | cat):with({ check = true }):run() end)
  end)
end)

describe("A stage that is cut off", function()
  it("ends at once, and the Pipeline is a success", function()
    local result = (yes | command("head", "-1")):run()
    assert.same({ true, "y\n", true, "SIGPIPE" },
      { result.ok, result.stdout, result.stages[1].ok, result.stages[1].signal })
    assert.is_nil(result.stopped)
  end)

  it("may be several in a row", function()
    local result = (yes | cat | cat | command("head", "-1")):run()
    for i = 1, 3 do
      assert.same({ true, "SIGPIPE" }, { result.stages[i].ok, result.stages[i].signal })
    end
    assert.is_true(result.ok)
  end)

  it("has failed where the later stage has", function()
    assert.same({ false, { false, false } }, outcome { yes, sh("head -1; exit 5") })
    assert.same({ false, { false, false, true } }, outcome { yes, sh("head -1; exit 5"), cat })
    local _, result = outcome { yes, sh("head -1; exit 5") }
    assert.equal(5, result.code)
  end)

  it("has not failed where the later one's code is good by its check", function()
    assert.same({ true, { true, true } }, outcome { yes, { "sh", "-c", "head -1; exit 5", check = { 0, 5 } } })
  end)

  it("is one that a shell ran, too: 141", function()
    assert.same({ true, { true, true } }, outcome { sh("yes; exit $?"), command("head", "-1") })
    assert.same({ false, { true, false } }, outcome { cat, sh("exit 141") })
  end)

  it("has no such excuse at the end of the Pipeline", function()
    local _, result = outcome { cat, sh("kill -PIPE $$") }
    assert.same({ false, "SIGPIPE" }, { result.ok, result.signal })
    assert.same({ false, { false } }, outcome { sh("kill -PIPE $$") })
  end)

  it("is a function that writes on: EPIPE", function()
    local passes = 0
    local function endless(_, writer)
      while true do
        writer:write(("x"):rep(10000), "\n")
        passes = passes + 1
      end
    end
    local result = (endless | command("head", "-c1")):run()
    assert.same({ true, "x" }, { result.ok, result.stdout })
    assert.is_true(result.stages[1].ok and passes > 0)
    assert.same({ "io", "EPIPE" }, { result.stages[1].error.kind, result.stages[1].error.code })
    local _, other = outcome { endless, sh("head -c1; exit 5") }
    assert.same({ false, 5 }, { other.ok, other.code })
  end)

  it("may be cut off by a function that returns", function()
    local result = (yes | function(reader, writer) writer:write(reader:read_line()) end | cat):run()
    assert.same({ true, "y", "SIGPIPE" }, { result.ok, result.stdout, result.stages[1].signal })
  end)
end)

describe("A stage that cannot start", function()
  --- Runs it; it must raise kind "spawn". Those after it must not have run.
  local function cannot(build)
    local path = support.directory() .. "/started"
    local before = support.descriptors()
    local e = raised.error("spawn", function() build(command("touch", path)):run() end)
    assert.same({}, support.children())
    assert.is_nil(support.read_file(path))
    collectgarbage()
    collectgarbage()
    corun.sleep(0)
    assert.same(before, support.descriptors())
    return e
  end

  it("raises what a command alone would", function()
    local e = cannot(function(last) return command("/no/such/program") | last end)
    assert.same({ "cannot start /no/such/program: no such file or directory", "ENOENT", "exec", "/no/such/program" },
      { e.message, e.code, e.stage, e.path })
    e = cannot(function(last) return cat | { "cat", cwd = "/no/such/directory" } | last end)
    assert.same({ "ENOENT", "chdir" }, { e.code, e.stage })
  end)

  it("is the end of those before it, whatever they are", function()
    cannot(function(last) return command("sleep", "1000") | cat | { "/no/such/program" } | last end)
    cannot(function(last) return command(support.fixture "stubborn") | { "/no/such/program" } | last end)
    cannot(function(last) return corun.merge { yes, yes } | { "/no/such/program" } | last end)
    cannot(function(last) return corun.merge { yes, command("/no/such/program"), last } | last end)
    cannot(function(last) return corun.tee(yes, { cat, command("/no/such/program"), last }) end)
    cannot(function(last)
      return (function() corun.sleep(1000) end) | cat | { "/no/such/program" } | last
    end)
  end)

  it("is the last one, whose file cannot be opened", function()
    local e = raised.error("spawn", function()
      (yes | cat):with({ stdout = { file = "/no/such/file" } }):run()
    end)
    assert.same({ "open", "/no/such/file" }, { e.stage, e.path })
    assert.same({}, support.children())
  end)

  it("is no less an Error of spawn() and lines()", function()
    raised.error("spawn", function() (yes | command("/no/such/program")):spawn() end)
    raised.error("spawn", function() (yes | command("/no/such/program")):lines() end)
    raised.error("spawn", function() (yes | command("/no/such/program")):with({ check = false }):run() end)
    assert.same({}, support.children())
  end)
end)

describe("Wrong arguments of Pipelines", function()
  local stage = "a Command, a spec, a function or a Pipeline expected, got "
  local list = ": a list of stages expected, got "
  local wrong = {
    { "no list", function() corun.pipeline(nil) end, "pipeline" .. list .. "nil" },
    { "a word", function() corun.pipeline("cat") end, 'pipeline' .. list .. '"cat"' },
    { "a Command alone", function() corun.pipeline(cat) end, "pipeline" .. list .. "a table" },
    { "no stage", function() corun.pipeline {} end, "pipeline: at least one stage expected, got none" },
    { "a number as a stage", function() corun.pipeline { cat, 5 } end, "pipeline: stage 2: " .. stage .. "5" },
    { "a word as a stage", function() return cat | "wc -l" end, 'pipeline: stage 2: ' .. stage .. '"wc -l"' },
    { "a word before", function() return "ls" | cat end, 'pipeline: stage 1: ' .. stage .. '"ls"' },
    { "true after a Pipeline", function() return cat | cat | true end, "pipeline: stage 2: " .. stage .. "true" },
    { "a Process", function() return cat | corun.process() end, "pipeline: stage 2: " .. stage .. "a table" },
    { "options in the list", function() corun.pipeline { cat, timeout = 1 } end,
      'pipeline: a list of stages expected, got one with "timeout"; options are set with :with{…}' },
    { "an empty spec", function() corun.pipeline { cat, {} } end, "pipeline: stage 2: the command has no program" },
    { "an unknown option of a spec", function() corun.pipeline { { "cat", colour = 1 } } end,
      "pipeline: stage 1: unknown option 'colour'" },
    { "a wrong option of a spec", function() return cat | { "cat", timeout = -1 } end,
      "option 'timeout': seconds expected, 0 or more, got -1" },
    { "stdin in the middle", function() return cat | { "cat", stdin = "null" } end,
      "pipeline: stage 2: option 'stdin': stdin is the pipe from the stage before" },
    { "input in the middle", function() return cat | { "cat", input = "x" } | cat end,
      "pipeline: stage 2: option 'input': stdin is the pipe from the stage before" },
    { "stdout in the middle", function() return { "cat", stdout = "null" } | cat end,
      "pipeline: stage 1: option 'stdout': its output is what the next stage reads" },
    { "a format in the middle", function() return { "cat", format = "json" } | cat end,
      "pipeline: stage 1: option 'format': its output is what the next stage reads" },
    { "an option twice", function() return ((cat | cat):with { timeout = 1 } | (cat | cat):with { timeout = 2 }) end,
      "pipeline: stage 1: option 'timeout' of a part: it can only be one of the whole" },
    { "with a number", function() return ((cat | cat):with(5)) end, "with: a table expected, got 5" },
    { "with nothing", function() return ((cat | cat):with()) end, "with: a table expected, got nil" },
    { "with an unknown option", function() return ((cat | cat):with { uid = 0 }) end,
      'with: a Pipeline has no option "uid"' },
    { "with arguments", function() return ((cat | cat):with { "-n" }) end, "with: a Pipeline has no option 1" },
    { "with a wrong time", function() return ((cat | cat):with { timeout = "1" }) end,
      'option \'timeout\': seconds expected, 0 or more, got "1"' },
    { "with input and stdin", function() return ((cat | cat):with { input = "x", stdin = "null" }) end,
      "options 'input' and 'stdin': only one of them, or stdin = \"pipe\" or \"pty\"" },
    { "a merge behind something", function() return cat | corun.merge { cat } end,
      "pipeline: stage 2: a merge reads nothing: it comes first" },
    { "something behind a tee", function() return corun.tee(cat, { cat }) | cat end,
      "pipeline: stage 2: a tee has several ends: nothing can come behind it" },
    { "a tee without branches", function() corun.tee(cat, {}) end, "tee: at least one stage expected, got none" },
    { "a tee with no list", function() corun.tee(cat) end, "tee" .. list .. "nil" },
    { "a merge of nothing", function() corun.merge {} end, "merge: at least one stage expected, got none" },
    { "a merge of a word", function() corun.merge("cat") end, 'merge' .. list .. '"cat"' },
    { "options of a merged part", function() corun.merge { cat, (cat | cat):with { timeout = 1 } } end,
      "merge: 2: option 'timeout' of a part: it can only be one of the whole" },
    { "options of a branch", function() corun.tee(cat, { (cat | cat):with { timeout = 1 } }) end,
      "tee: 1: option 'timeout' of a part: it can only be one of the whole" },
  }

  for _, case in ipairs(wrong) do
    local name, fn, message = table.unpack(case)
    it("are refused at the script's line: " .. name, function()
      assert.equal(message, raised.argument(fn))
    end)
  end
end)
