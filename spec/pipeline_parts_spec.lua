local corun = require "corun"
local raised = require "spec.support.raised"
local scripts = require "spec.support.scripts"
local support = require "spec.support"

local function command(...) return corun.command { ... } end
local function sh(lines) return command("sh", "-c", lines) end

local cat, sleeper = command("cat"), command("sleep", "1000")
local undefined = nil -- a name that was mistyped
local function copy(reader, writer) reader:copy_to(writer) end

describe("The options of a part of a Pipeline", function()
  it("are those of its commands, and of no others", function()
    local part = (sh("echo $PWD $A") | sh("cat; echo $PWD $A")):with { cwd = "/", env = { A = "1" } }
    local here = corun.capture { "pwd" }
    assert.equal("/ 1\n/ 1\n" .. here, (part | sh("cat; echo $PWD$A")):capture())
    assert.equal(here .. "\n/ 1", (sh("echo $PWD$A") | (cat | sh("cat; echo $PWD $A"))
      :with { cwd = "/", env = { A = "1" } }):capture())
    assert.equal("/ 1\n/ 1\n/ 1", ((part | cat) | (cat | sh("cat; echo $PWD $A"))
      :with { cwd = "/", env = { A = "1" } }):capture())
  end)

  it("replace those of the commands, as the whole's do", function()
    local spec = { "sh", "-c", "echo $A", env = { A = "its own" } }
    local part = corun.pipeline({ spec, cat }):with { env = { A = "the part's" } }
    assert.equal("its own", corun.pipeline({ spec, cat }):capture())
    assert.equal("the part's", (part | cat):capture())
    assert.equal("the whole's", (part | cat):with({ env = { A = "the whole's" } }):capture())
  end)

  it("leave the part as it was", function()
    local part = (sh("echo $A") | cat):with { env = { A = "1" } }
    local whole = part | cat
    assert.same({ "1", "2", "1" }, { whole:capture(), part:with({ env = { A = "2" } }):capture(), part:capture() })
  end)

  it("may be a limit: of what its commands write to us", function()
    local loud = sh("echo 123456 >&2")
    local part = (loud | loud):with { limit = 2, overflow = "truncate" }
    local result = (part | loud):run()
    assert.same({ "1\n", "1\n", "123456\n" },
      { result.stages[1].stderr, result.stages[2].stderr, result.stages[3].stderr })
  end)

  it("may be about the text at the end, where the part is the last", function()
    local part = (cat | cat):with { crlf = true }
    assert.equal("a\n", (command("printf", "a\\r\\n") | part):run().stdout)
    assert.equal("3\n", (command("printf", "a\\r\\n") | part | command("wc", "-c")):run().stdout)
  end)

  it("may be a stop plan, or a grace, which replaces that of a command or part", function()
    local function signals(pipeline)
      local result = pipeline:with({ timeout = 0.01, check = false }):run()
      local list = {}
      for i, stage in ipairs(result.stages) do list[i] = stage.signal end
      return list
    end
    local own = { "sleep", "1000", stop = { "INT" } }
    assert.same({ "SIGINT", "SIGTERM" }, signals(corun.pipeline { own, sleeper }))
    assert.same({ "SIGTERM", "SIGTERM" }, signals(corun.pipeline({ own, sleeper }):with { grace = 1 }))
    assert.same({ "SIGTERM", "SIGINT" }, signals(corun.pipeline { corun.pipeline({ own }):with { grace = 1 }, own }))
    local graceful = { "sleep", "1000", grace = 1 }
    assert.same({ "SIGINT", "SIGINT" }, signals(corun.pipeline({ graceful, sleeper }):with { stop = { "INT" } }))
    assert.same({ "SIGINT", "SIGTERM" }, signals(
      corun.pipeline { corun.pipeline({ graceful }):with { stop = { "INT" } }, sleeper }))
  end)

  it("that are about an end are the whole's where it has that end", function()
    local first, last = (cat | cat):with { input = "in\n" }, (cat | cat):with { format = "lines" }
    assert.same({ "in" }, (first | last):capture())
    assert.same({ "in" }, corun.pipeline({ first | cat, corun.pipeline { cat, last } }):capture())
    local path = support.directory() .. "/file"
    local into = (cat | cat):with { stdout = { file = path } }
    assert.is_nil((first | into):run().stdout)
    assert.equal("in\n", support.read_file(path))
    assert.equal("other", (first | last):with({ input = "other", format = "bytes" }):run().stdout)
  end)

  it("are those of a merge's sources and a tee's branches, too", function()
    local part = (sh("echo $A; cat") | cat):with { env = { A = "1" } }
    assert.equal("1\n", corun.merge({ part }):run().stdout)
    local branch = (cat | sh("echo $B; cat")):with { env = { B = "2" } }
    local result = corun.tee(part, { branch, sh("echo $A$B; cat") }):run()
    assert.equal("2\n1\n", result.stages[4].stdout)
    assert.equal("\n1\n", result.stdout)
    assert.equal("x", corun.tee((cat | cat):with { input = "x" }, { cat }):capture())
  end)

  describe("are refused where they could only be the whole's:", function()
    local two = cat | cat
    local only_whole = ": it can only be one of the whole"
    for name, value in pairs { timeout = 1, idle_timeout = 1, check = false, tee = true } do
      it(name, function()
        local part = two:with { [name] = value }
        local message = ("pipeline: stage %%d: option '%s' of a part%s"):format(name, only_whole)
        assert.equal(message:format(1), raised.argument(function() return part | cat end))
        assert.equal(message:format(2), raised.argument(function() return cat | part end))
        assert.equal(message:format(1), raised.argument(function() corun.pipeline { part } end))
        assert.equal(("merge: 2: option '%s' of a part%s"):format(name, only_whole),
          raised.argument(function() corun.merge { cat, part } end))
        assert.equal(("tee: 1: option '%s' of a part%s"):format(name, only_whole),
          raised.argument(function() corun.tee(cat, { part }) end))
        assert.equal(("tee: option '%s' of a part%s"):format(name, only_whole),
          raised.argument(function() corun.tee(part, { cat }) end))
      end)
    end

    for name, value in pairs { stdin = "null", input = "x" } do
      it(name .. " behind another stage", function()
        local part = two:with { [name] = value }
        local message = ("option '%s' of a part%s"):format(name, only_whole)
        assert.equal("pipeline: stage 2: " .. message, raised.argument(function() return cat | part end))
        assert.equal("tee: 1: " .. message, raised.argument(function() corun.tee(cat, { part }) end))
      end)
    end

    for name, value in pairs { stdout = "null", format = "json" } do
      it(name .. " before another stage", function()
        local part = two:with { [name] = value }
        local message = ("option '%s' of a part%s"):format(name, only_whole)
        assert.equal("pipeline: stage 1: " .. message, raised.argument(function() return part | cat end))
        assert.equal("merge: 1: " .. message, raised.argument(function() corun.merge { part } end))
        assert.equal("tee: " .. message, raised.argument(function() corun.tee(part, { cat }) end))
      end)
    end
  end)
end)

describe("What a merge or tee connects otherwise", function()
  local reads, written = "stdin is the pipe from the stage before", "its output is what the next stage reads"
  local wrong = {
    { "merge: 1: stage 1: option 'stdout': " .. written,
      function() corun.merge { { "echo", "x", stdout = "null" } } end },
    { "merge: 2: stage 2: option 'format': " .. written,
      function() corun.merge { cat, corun.pipeline { cat, { "cat", format = "lines" } } } end },
    { "tee: 1: stage 1: option 'input': " .. reads, function() corun.tee(cat, { { "cat", input = "y" } }) end },
    { "tee: 2: stage 1: option 'stdin': " .. reads,
      function() corun.tee(cat, { cat, { "cat", stdin = "null" } }) end },
    { "tee: stage 1: option 'stdout': " .. written, function() corun.tee({ "echo", stdout = "null" }, { cat }) end },
    { "tee: 1: stage 1: a merge reads nothing: it comes first",
      function() corun.tee(cat, { corun.merge { cat, cat } }) end },
    { "pipeline: stage 2: a merge reads nothing: it comes first",
      function() return cat | (corun.merge { cat, cat } | cat) end },
    { "merge: 1: stage 2: a tee has several ends: nothing can come behind it",
      function() corun.merge { corun.tee(cat, { cat }) } end },
  }
  for _, case in ipairs(wrong) do
    it("is refused: " .. case[1], function() assert.equal(case[1], raised.argument(case[2])) end)
  end
end)

describe("nil as a stage", function()
  local expected = "a Command, a spec, a function or a Pipeline expected, got nil"
  local wrong = {
    { "pipeline: stage 2: ", "after |", function() return cat | undefined end },
    { "pipeline: stage 1: ", "before |", function() return undefined | cat end },
    { "pipeline: stage 2: ", "after a Pipeline", function() return cat | cat | undefined end },
    { "pipeline: stage 2: ", "in a list", function() corun.pipeline { cat, undefined, cat } end },
    { "pipeline: stage 1: ", "at the beginning of a list", function() corun.pipeline { undefined, cat } end },
    { "merge: 2: stage 1: ", "in a merge", function() corun.merge { cat, undefined, cat } end },
    { "tee: 1: stage 1: ", "as a branch", function() corun.tee(cat, { undefined, cat }) end },
    { "tee: stage 1: ", "as the source of a tee", function() corun.tee(undefined, { cat }) end },
  }
  for _, case in ipairs(wrong) do
    it("is refused " .. case[2], function() assert.equal(case[1] .. expected, raised.argument(case[3])) end)
  end
end)

describe("with{…} of a Pipeline", function()
  it("does not see later changes of its tables", function()
    local path = support.directory() .. "/file"
    local env, check, stdout = { A = "first" }, { 3 }, { file = path }
    local pipeline = (sh("echo $A; exit 3") | sh("cat; exit 3")):with { env = env, check = check, stdout = stdout }
    env.A, check[1], stdout.file = "late", 4, "/no/such/file"
    assert.is_true(pipeline:with({ timeout = 60 }):run().ok)
    assert.equal("first\n", support.read_file(path))
    local plan = { { "INT", 1 } }
    local stopped = (sleeper | cat):with { stop = plan, timeout = 0.01, check = false }
    plan[1][1] = "KILL"
    assert.equal("SIGINT", stopped:run().stages[1].signal)
  end)
end)

describe("A list as check", function()
  --- ok of the Result, and of each stage.
  local function oks(pipeline)
    local result = pipeline:run()
    local list = { result.ok }
    for _, stage in ipairs(result.stages) do list[#list + 1] = stage.ok end
    return list
  end

  it("of the whole says which codes of its stages are good", function()
    local pipeline = sh("exit 3") | cat | sh("cat; exit 4")
    assert.same({ true, true, true, true }, oks(pipeline:with { check = { 0, 3, 4 } }))
    local e = raised.error("exit", function() pipeline:with({ check = { 0, 3 } }):run() end)
    raised.has(e.message, "stage 3, sh -c 'cat; exit 4': exit 4")
    assert.same({ true, true, false }, { e.result.stages[1].ok, e.result.stages[2].ok, e.result.stages[3].ok })
  end)

  it("of the whole does not concern stages with a check of their own", function()
    local own = { "sh", "-c", "exit 5", check = { 5 } }
    assert.same({ true, true, true }, oks(corun.pipeline({ own, sh("exit 3") }):with { check = { 3 } }))
    local e = raised.error("exit", function() corun.pipeline({ own, own, cat }):with({ check = { 5 } }):run() end)
    assert.same({ 0, false }, { e.result.code, e.result.stages[3].ok })
  end)

  it("without 0 does not take 0 for good", function()
    raised.error("exit", function() corun.pipeline({ { "true", check = { 3 } } }):run() end)
    raised.error("exit", function() corun.run { "true", check = { 3 } } end)
    assert.is_false(corun.pipeline({ { "true", check = { 3 } }, cat }):with({ check = false }):run().stages[1].ok)
  end)
end)

describe("The ends of a Pipeline", function()
  it("that is run may be \"pipe\": stdin is at its end then", function()
    for _, first in ipairs { cat, copy } do
      local result = corun.pipeline({ first, cat }):with({ stdin = "pipe", stdout = "pipe" }):run()
      assert.same({ true, "" }, { result.ok, result.stdout })
    end
    assert.equal("0\n", corun.pipeline({ { "wc", "-c", stdin = "pipe" } }):run().stdout)
    assert.equal("", corun.merge({ { "cat", stdin = "pipe" }, cat }):run().stdout)
  end)

  it("give lines() nothing where the output goes elsewhere: that is refused, and nothing starts", function()
    local path = support.directory() .. "/started"
    local touch, elsewhere = command("touch", path), "lines: option 'stdout': the output goes elsewhere"
    for _, stdout in ipairs { "null", { file = path }, function() end, 1, corun.stdout } do
      for _, pipeline in ipairs { (touch | cat):with { stdout = stdout }, touch | { "cat", stdout = stdout },
        (touch | copy):with { stdout = stdout }, corun.tee(touch, { cat, { "cat", stdout = stdout } }) } do
        assert.equal(elsewhere, raised.argument(function() pipeline:lines() end))
      end
      assert.equal(elsewhere, raised.argument(function() touch:with({ stdout = stdout }):lines() end))
    end
    assert.is_nil(support.read_file(path))
    for line in ({ "echo", "a" } | cat):with({ stdout = "pipe" }):lines() do assert.equal("a", line) end
  end)

  it("may be a function's: its output goes where that of a command would", function()
    local lines, path = {}, support.directory() .. "/file"
    local pipeline = command("seq", 3) | copy
    assert.is_nil(pipeline:with({ stdout = function(line) lines[#lines + 1] = line end }):run().stdout)
    assert.same({ "1", "2", "3" }, lines)
    assert.is_nil(pipeline:with({ stdout = { file = path } }):run().stdout)
    assert.equal("1\n2\n3\n", support.read_file(path))
    assert.is_nil(pipeline:with({ stdout = "null" }):run().stdout)
    local other <close> = corun.spawn { "cat" }
    pipeline:with({ stdout = other.stdin }):run()
    other:write("end\n"):close_stdin()
    assert.equal("1\n2\n3\nend\n", other.stdout:read())
  end)

  it("are an error of the scope where the function that gets the lines raises", function()
    local function refuse(line) error("not " .. line, 0) end
    for _, last in ipairs { cat, copy } do
      local pipeline = corun.pipeline({ { "seq", 3 }, last }):with { stdout = refuse }
      assert.same({ false, "not 1" }, { pcall(corun.scope, function() pipeline:run() end) })
    end
  end)

  for _, host in ipairs(scripts.hosts) do
    it("are also shown by tee, of a command and of a function, in " .. host.name, function()
      local result = host:run([[
        local corun = require "corun"
        local function copy(reader, writer) reader:copy_to(writer) end
        for _, last in ipairs { copy, corun.command { "cat" } } do
          local pipeline = corun.command { "seq", 2 } | last
          assert(pipeline:with({ tee = "W " }):run().stdout == "1\n2\n")
          assert(pipeline:with({ tee = true }):run().stdout == "1\n2\n")
        end
      ]])
      assert.same({ ("W 1\nW 2\n1\n2\n"):rep(2), "", 0 }, { result.stdout, result.stderr, result.code })
    end)
  end
end)

describe("Wrong arguments of a running Pipeline", function()
  it("are refused, whatever its stages are", function()
    for _, stage in ipairs { cat, copy } do
      local p <close> = corun.pipeline({ stage }):spawn()
      assert.equal("wait: seconds expected, 0 or more, got false", raised.argument(function() p:wait(false) end))
      assert.equal("terminate: seconds expected, 0 or more, got false",
        raised.argument(function() p:terminate(false) end))
      assert.equal('signal: a signal name or number expected, got "NOSUCH"',
        raised.argument(function() p:signal("NOSUCH") end))
      assert.equal("signal: a signal name or number expected, got nil", raised.argument(function() p:signal() end))
      assert.is_nil(p.status)
    end
  end)
end)
