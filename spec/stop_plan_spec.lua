local corun = require "corun"
local raised = require "spec.support.raised"
local support = require "spec.support"
local waiting = require "spec.support.waiting"

local ready, stubborn = support.fixture "ready", support.fixture "stubborn"

--- A started fixture with this plan that has said that it is ready.
local function start(program, plan, options)
  local spec = { program, stop = plan, stderr = "null" }
  for name, value in pairs(options or {}) do spec[name] = value end
  local p = corun.spawn(spec)
  assert.equal("ready " .. p.pid, p.stdout:read_line())
  return p
end

--- The same as a shell that runs `script`, which has to say "ready".
local function start_shell(script, plan, options)
  local spec = { "sh", "-c", script, stop = plan, stderr = "null" }
  for name, value in pairs(options or {}) do spec[name] = value end
  local p = corun.spawn(spec)
  assert.equal("ready", p.stdout:read_line())
  return p
end

--- The steps that ran.
local function trace(p) return p:communicate().stopped end

--- A path, and a function that waits until a line was written there and returns it.
local function note()
  local path = support.directory() .. "/note"
  return path, function()
    return waiting.wait_until("something is noted", function()
      return (support.read_file(path) or ""):match("^(.-)\n")
    end)
  end
end

local function is_reaped_soon(pid)
  waiting.wait_until("it is reaped", function() return not support.process_state(pid) end)
  waiting.let_others_run()
end

describe("A stop plan", function()
  it("sends its signals one after another, until the tree has ended", function()
    local p <close> = start(stubborn, { { "INT", 0.01 }, "HUP", { "KILL", 60 }, { "USR1", 60 } })
    assert.equal("SIGKILL", p:terminate().signal)
    assert.same({ "INT", "HUP", "KILL" }, trace(p))
  end)

  it("ends with the step that has ended the tree", function()
    local p <close> = start(ready, { { "INT", 60 }, "KILL" })
    assert.equal("SIGINT", p:terminate().signal)
    assert.same({ "INT" }, trace(p))
  end)

  it("takes signals by any of their names, and by number", function()
    for _, signal in ipairs { "USR1", "SIGUSR1", 10 } do
      local p <close> = start(ready, { { signal, 60 } })
      assert.equal("SIGUSR1", p:terminate().signal)
      assert.same({ "USR1" }, trace(p))
    end
  end)

  it("has {\"WRITE\", text, seconds} typed into stdin", function()
    local p <close> = start_shell('echo ready; read -r word; echo "got $word"; exit 7', { { "WRITE", "quit\n", 60 } })
    assert.equal(7, p:terminate().code)
    local result = p:communicate()
    assert.equal("got quit\n", result.stdout)
    assert.same({ "WRITE" }, result.stopped)
  end)

  it("closes stdin with {\"CLOSE\", seconds}, behind what was written", function()
    local p <close> = start_shell("echo ready; exec cat", { { "WRITE", "by" }, { "WRITE", "e\0" }, { "CLOSE", 60 } })
    assert.equal(0, p:terminate().code)
    local result = p:communicate()
    assert.equal("bye\0", result.stdout)
    assert.same({ "WRITE", "WRITE", "CLOSE" }, result.stopped)
  end)

  it("only waits with {\"WAIT\", seconds}", function()
    local p <close> = start_shell("echo ready; exec cat", { { "WAIT", 3600 }, "KILL" })
    local stopping = waiting.start(p.terminate, p)
    waiting.let_others_run()
    assert.is_nil(p.status)
    p:close_stdin()
    assert.equal(0, stopping:await(60).code)
    assert.same({ "WAIT" }, trace(p))
  end)

  it("is kept as it was: what is changed later does not matter", function()
    local plan = { { "INT", 60 }, { "RUN", { "false" }, 60 } }
    local p <close> = start(ready, plan)
    plan[1][1], plan[2] = "KILL", nil
    assert.equal("SIGINT", p:terminate().signal)
  end)

  it("goes on to the next step where nobody reads what is written", function()
    local p <close> = start_shell("exec <&-; echo ready; exec sleep 1000",
      { { "WRITE", "quit\n", 0.01 }, { "TERM", 60 } })
    assert.equal("SIGTERM", p:terminate().signal)
    assert.same({ "WRITE", "TERM" }, trace(p))
  end)

  it("is not held up by a pipe that is full", function()
    local p <close> = start(ready, { { "WRITE", "quit\n", 0.01 }, { "WRITE", ("x"):rep(1 << 22) }, { "TERM", 60 } })
    local filling = waiting.start(pcall, p.stdin.write, p.stdin, ("x"):rep(1 << 22))
    assert.equal("SIGTERM", p:terminate().signal)
    assert.same({ "WRITE", "WRITE", "TERM" }, trace(p))
    local ok, e = filling:await(10)
    assert.is_false(ok)
    assert.equal("EPIPE", e.code)
  end)

  it("writes more than a pipe holds to who reads it", function()
    local p <close> = start_shell("echo ready; exec wc -c", { { "WRITE", ("x"):rep(1 << 20), 0.5 }, { "CLOSE", 60 } })
    assert.equal(0, p:terminate().code)
    assert.equal(1 << 20, tonumber(p.stdout:read()))
  end)

  it("stops to write when the process has ended", function()
    local p <close> = start(ready, { { "WRITE", ("x"):rep(1 << 22), 3600 } })
    local stopping = waiting.start(p.terminate, p)
    waiting.let_others_run()
    p:signal("INT")
    assert.equal("SIGINT", stopping:await(60).signal)
    assert.same({ "WRITE" }, trace(p))
  end)

  it("reaches a stopped process with its signals", function()
    local p <close> = start(ready, { { "HUP", 60 }, "KILL" })
    p:suspend()
    waiting.wait_until("it is stopped", function() return support.process_state(p.pid) == "T" end)
    assert.equal("SIGHUP", p:terminate().signal)
  end)

  it("may stop and kill", function()
    local p <close> = start(ready, { { "STOP", 0.01 }, { "KILL", 60 } })
    assert.equal("SIGKILL", p:terminate().signal)
    assert.same({ "STOP", "KILL" }, trace(p))
  end)
end)

describe("WRITE and CLOSE are left out, and not waited for, where stdin", function()
  local plan = { { "WRITE", "x", 3600 }, { "CLOSE", 3600 }, { "TERM", 60 } }
  local cases = { ["is null"] = { stdin = "null" }, ["was fed"] = { input = "x" },
    ["is a file"] = { stdin = { file = "/dev/null" } } }
  for name, options in pairs(cases) do
    it(name, function()
      local p <close> = start(ready, plan, options)
      assert.equal("SIGTERM", p:terminate().signal)
      assert.same({ "TERM" }, trace(p))
    end)
  end

  it("was closed", function()
    local p <close> = start(ready, plan)
    p:close_stdin()
    assert.equal("SIGTERM", p:terminate().signal)
    assert.same({ "TERM" }, trace(p))
  end)

  it("was moved to the child", function()
    local source <close> = corun.spawn { "sleep", "1000", stderr = "null" }
    local p <close> = start(ready, plan, { stdin = source.stdout })
    assert.equal("SIGTERM", p:terminate().signal)
    assert.same({ "TERM" }, trace(p))
  end)
end)

describe("RUN", function()
  it("runs a command that finds the pid in CORUN_PID, with options of its own", function()
    local path, noted = note()
    local script = 'echo "$CORUN_PID $MORE $(pwd -P)" >"$1"; exec kill -USR1 $CORUN_PID'
    local p <close> = start(ready, {
      { "RUN", { "sh", "-c", script, "sh", path, env = { MORE = "more", CORUN_PID = "7" }, cwd = "/" }, 60 },
    })
    assert.equal("SIGUSR1", p:terminate().signal)
    assert.equal(p.pid .. " more /", noted())
  end)

  it("is followed by the next step when its seconds have passed, though it was done before", function()
    local path, noted = note()
    local p <close> = start(ready, { { "RUN", { "sh", "-c", 'echo $$ >"$0"', path }, 3600 }, "KILL" })
    local stopping = waiting.start(p.terminate, p)
    is_reaped_soon(noted())
    p:signal("INT") -- or it would take an hour
    assert.equal("SIGINT", stopping:await(60).signal)
    assert.same({ "RUN" }, trace(p))
  end)

  it("is noted with its exit where that was a bad one", function()
    for _, case in ipairs { { "exit 3", "RUN (exit 3)" }, { "kill -INT $$", "RUN (signal SIGINT)" } } do
      local path, noted = note()
      local p <close> = start(ready,
        { { "RUN", { "sh", "-c", 'echo $$ >"$0"; ' .. case[1], path }, 3600 }, "KILL" })
      local stopping = waiting.start(p.terminate, p)
      is_reaped_soon(noted())
      p:signal("TERM")
      stopping:await(60)
      assert.same({ case[2] }, trace(p))
    end
  end)

  it("is noted as it is where its `check` says that the exit is a good one", function()
    local path, noted = note()
    local p <close> = start(ready,
      { { "RUN", { "sh", "-c", 'echo $$ >"$0"; exit 3', path, check = { 3 } }, 3600 }, "KILL" })
    local stopping = waiting.start(p.terminate, p)
    is_reaped_soon(noted())
    p:signal("TERM")
    stopping:await(60)
    assert.same({ "RUN" }, trace(p))
  end)

  it("is noted with what kept it from starting, and the next step comes", function()
    local p <close> = start(ready, { { "RUN", { "/nonexistent/program" }, 0.01 }, { "TERM", 60 } })
    assert.equal("SIGTERM", p:terminate().signal)
    assert.same({ "RUN (ENOENT)", "TERM" }, trace(p))
  end)

  it("is stopped when its seconds have passed, with its tree", function()
    local p <close> = start(ready,
      { { "RUN", { "sh", "-c", "sleep 1000 & exec sleep 1000" }, 0.05 }, { "TERM", 60 } })
    assert.equal("SIGTERM", p:terminate().signal)
    assert.equal("TERM", trace(p)[2])
    assert.same({}, support.marked("CORUN_SPEC=" .. corun.env.CORUN_SPEC))
  end)

  it("is stopped by its own plan when the process has ended", function()
    local path, noted = note()
    local script = "trap 'echo int >>\"$0\"; exit 0' INT; echo on >\"$0\"; while :; do sleep 0.01; done"
    local p <close> = start(ready, { { "RUN", { "sh", "-c", script, path, stop = { { "INT", 60 } } }, 3600 } })
    local stopping = waiting.start(p.terminate, p)
    assert.equal("on", noted())
    p:signal("TERM")
    assert.equal("SIGTERM", stopping:await(60).signal)
    assert.equal("on\nint\n", support.read_file(path))
    assert.same({}, support.marked("CORUN_SPEC=" .. corun.env.CORUN_SPEC))
  end)

  it("needs no end of the process to be a good one: its command may leave it alone", function()
    local p <close> = start(ready, { { "RUN", { "true" }, 0.05 }, { "RUN", { "true" }, 0 }, { "TERM", 60 } })
    assert.equal("SIGTERM", p:terminate().signal)
    assert.equal("TERM", trace(p)[3])
  end)
end)

describe("A wrong stop plan", function()
  local cases = {
    { "TERM", "option 'stop': a list of steps expected, got \"TERM\"" },
    { {}, "option 'stop': a plan without a step" },
    { { TERM = 5 }, "option 'stop': a list of steps expected, got the field \"TERM\"" },
    { { "TERM", nil, "KILL" }, "option 'stop': a list of steps expected, got one with a hole" },
    { { "NOPE" }, "option 'stop', step 1: a signal name or number expected, got \"NOPE\"" },
    { { "TERM", { "write", 1 } }, "option 'stop', step 2: a signal name or number expected, got \"write\"" },
    { { "TERM", 65 }, "option 'stop', step 2: a signal name or number expected, got 65" },
    { { {} }, "option 'stop', step 1: a signal name or number expected" },
    { { true }, "option 'stop', step 1: a signal name or number expected, got true" },
    { { "WRITE" }, "option 'stop', step 1: {\"WRITE\", text, seconds} expected, got nil" },
    { { "KILL", { "WRITE", 5 } }, "option 'stop', step 2: {\"WRITE\", text, seconds} expected, got 5" },
    { { "WAIT" }, "option 'stop', step 1: {\"WAIT\", seconds} expected" },
    { { { "WAIT" } }, "option 'stop', step 1: {\"WAIT\", seconds} expected" },
    { { "RUN" }, "option 'stop', step 1: {\"RUN\", {program, arguments…}, seconds} expected, got nil" },
    { { { "RUN", {} } }, "option 'stop', step 1: {\"RUN\", {program, arguments…}, seconds} expected" },
    { { { "RUN", "x" } }, "option 'stop', step 1: {\"RUN\", {program, arguments…}, seconds} expected, got \"x\"" },
    { { { "RUN", { "" } } }, "option 'stop', step 1: RUN: the program's name is empty" },
    { { "KILL", { "RUN", { "x", color = 1 } } }, "option 'stop', step 2: RUN: unknown option 'color'" },
  }
  for i, case in ipairs(cases) do
    it(("is refused before anything starts (%d): %s"):format(i, case[2]), function()
      for _, call in ipairs { corun.run, corun.spawn, corun.command } do
        local text = raised.argument(function() call { "true", stop = case[1] } end)
        assert.equal(case[2], text:sub(1, #case[2]))
      end
    end)
  end
end)
