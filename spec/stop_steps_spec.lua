--- Stop plans at work: who runs them, what else goes on meanwhile, what they leave.

local corun = require "corun"
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

local function trace(p) return p:communicate().stopped end

--- What of this example still runs.
local function survivors() return support.marked("CORUN_SPEC=" .. corun.env.CORUN_SPEC) end

--- A RUN that hangs, and a function that waits until it does and returns its pid.
local function hanging_run(options)
  local path = support.directory() .. "/pid"
  local spec = { ready, stdout = { file = path } }
  for name, value in pairs(options or {}) do spec[name] = value end
  return { "RUN", spec, 3600 }, function()
    return waiting.wait_until("it runs", function()
      return tonumber((support.read_file(path) or ""):match("ready (%d+)\n"))
    end)
  end
end

describe("The stop plan of a spec is run", function()
  it("by a time limit of run, and its steps are in the Result", function()
    local result = corun.run { ready, timeout = 0.05, check = false, stop = { { "INT", 60 }, "KILL" } }
    assert.equal("timeout", result.reason)
    assert.equal("SIGINT", result.signal)
    assert.same({ "INT" }, result.stopped)
    assert.is_nil(result.survivors)
  end)

  it("by a time limit, and its steps are in the Error's Result", function()
    local ok, e = pcall(corun.run, { stubborn, idle_timeout = 0.05, stop = { { "INT", 0.01 }, { "KILL", 60 } } })
    assert.is_false(ok)
    assert.equal("idle", e.kind)
    assert.same({ "INT", "KILL" }, e.result.stopped)
  end)

  it("by a time limit of a process that nobody waits for", function()
    local p <close> = corun.spawn { ready, timeout = 0.05, stop = { { "CLOSE" }, { "USR1", 60 } } }
    waiting.wait_until("it has ended", function() return p.status end, 60)
    assert.equal("SIGUSR1", p.status.signal)
    assert.same({ "CLOSE", "USR1" }, trace(p))
  end)

  it("by a cancellation of run", function()
    local ok, e
    local result, reason = corun.move_on(0.05, function()
      ok, e = pcall(corun.run, { ready, stop = { { "RUN", { "sh", "-c", "kill -HUP $CORUN_PID" }, 60 } } })
      error(e, 0)
    end)
    assert.is_nil(result)
    assert.equal("timeout", reason)
    assert.is_false(ok)
    assert.equal("cancelled", e.kind)
    assert.equal("SIGHUP", e.result.signal)
    assert.equal(1, #e.result.stopped)
  end)

  it("by the end of a scope, for all at the same time", function()
    local first, second
    corun.scope(function()
      first = start(ready, { { "INT", 60 } })
      local closed_by_the_second = { "RUN", { "sh", "-c", "kill -USR1 $CORUN_PID" }, 60 }
      second = start(ready, { closed_by_the_second })
    end)
    assert.equal("SIGINT", first.status.signal)
    assert.equal("SIGUSR1", second.status.signal)
  end)

  it("by the end of a cancelled scope", function()
    local p
    corun.scope(function(scope)
      p = start(ready, { { "RUN", { "sh", "-c", "kill -USR1 $CORUN_PID" }, 60 } })
      scope:cancel("enough")
    end)
    assert.equal("SIGUSR1", p.status.signal)
  end)

  it("by <close>, in a coroutine, too", function()
    local kept
    coroutine.wrap(function()
      local p <close> = start(ready, { { "WAIT", 0.01 }, { "INT", 60 } })
      kept = p
    end)()
    assert.equal("SIGINT", kept.status.signal)
  end)

  it("by terminate(), in places that cannot yield, too", function()
    local p <close> = start(ready, { { "WAIT", 0.01 }, { "INT", 60 } })
    local status
    table.sort({ 2, 1 }, function(a, b)
      status = status or p:terminate()
      return a < b
    end)
    assert.equal("SIGINT", status.signal)
  end)

  it("but not by terminate(grace), which has the default one", function()
    local p <close> = start(stubborn, { { "USR1", 60 } })
    assert.equal("SIGKILL", p:terminate(0.01).signal)
    assert.same({ "TERM", "KILL" }, trace(p))
  end)

  it("with KILL after five seconds at the end of a scope, where it has none #slow #once", function()
    local p, began
    corun.scope(function(scope)
      p = start(stubborn, { { "INT", 0.01 }, "HUP" })
      scope:defer(function() began = corun.now() end)
    end)
    assert.equal("SIGKILL", p.status.signal)
    assert.is_true(corun.now() - began >= 5)
    assert.same({ "INT", "HUP", "KILL" }, trace(p))
  end)
end)

describe("The stop plans of a pipeline", function()
  local function run(stages, options)
    options.check = false
    return corun.pipeline(stages):with(options):run()
  end

  it("are each stage's own", function()
    local result = run({ { ready, stop = { { "INT", 60 } } },
      { ready, stop = { { "RUN", { "sh", "-c", "kill -HUP $CORUN_PID" }, 60 } } }, { ready } }, { timeout = 0.1 })
    assert.equal("timeout", result.reason)
    local signals = {}
    for i, stage in ipairs(result.stages) do signals[i] = stage.signal end
    assert.same({ "SIGINT", "SIGHUP", "SIGTERM" }, signals)
    assert.same({ "INT" }, result.stages[1].stopped)
    assert.same({ "TERM" }, result.stages[3].stopped)
  end)

  it("are replaced by one for the whole", function()
    local result = run({ { ready, stop = { { "INT", 60 } } }, { ready, grace = 60 } },
      { timeout = 0.1, stop = { { "USR1", 60 } } })
    for _, stage in ipairs(result.stages) do
      assert.equal("SIGUSR1", stage.signal)
      assert.same({ "USR1" }, stage.stopped)
    end
  end)

  it("are replaced by the default one with the grace of the whole", function()
    local result = run({ { stubborn, stop = { { "INT", 60 } } }, { stubborn } }, { timeout = 0.1, grace = 0.01 })
    for _, stage in ipairs(result.stages) do
      assert.equal("SIGKILL", stage.signal)
      assert.same({ "TERM", "KILL" }, stage.stopped)
    end
  end)

  it("run at the same time", function()
    local first, is_first = hanging_run()
    local second, is_second = hanging_run()
    local pipeline <close> = corun.pipeline { { ready, stop = { first } }, { ready, stop = { second } } }:spawn()
    local stopping = waiting.start(pipeline.terminate, pipeline)
    is_first()
    is_second()
    pipeline:signal("INT")
    stopping:await(60)
    assert.same({}, survivors())
  end)

  it("may write to the first stage", function()
    local pipeline <close> = corun.pipeline {
      { "sh", "-c", 'read -r word; echo "got $word"', stop = { { "WRITE", "quit\n", 60 } } },
      { "cat", stop = { { "WRITE", "x", 3600 }, { "WAIT", 60 } } },
    }:spawn()
    assert.is_true(pipeline:terminate().ok)
    assert.equal("got quit\n", pipeline.stdout:read())
  end)
end)

describe("While a stop plan runs", function()
  it("another terminate() waits for its end, and both give the Status", function()
    local p <close> = start(stubborn, { { "INT", 0.05 }, { "KILL", 60 } })
    local first, second = waiting.start(p.terminate, p), waiting.start(p.terminate, p, 60)
    assert.equal(p:terminate(), first:await(60))
    assert.equal(p.status, second:await(60))
    assert.equal("SIGKILL", p.status.signal)
    assert.same({ "INT", "KILL" }, trace(p))
  end)

  it("kill() does not wait", function()
    local p <close> = start(stubborn, { { "INT", 3600 }, { "USR1", 60 } })
    local stopping = waiting.start(p.terminate, p)
    waiting.let_others_run()
    assert.equal("SIGKILL", p:kill().signal)
    assert.equal(p.status, stopping:await(60))
    assert.same({ "INT", "KILL" }, trace(p))
  end)

  it("kill() ends a RUN that hangs", function()
    local run, runs = hanging_run()
    local p <close> = start(ready, { run })
    local stopping = waiting.start(p.terminate, p)
    local pid = runs()
    assert.equal("SIGKILL", p:kill().signal)
    assert.equal(p.status, stopping:await(60))
    assert.is_nil(support.process_state(pid))
  end)

  it("a cancellation changes nothing", function()
    local p <close> = start(stubborn, { { "INT", 0.2 }, { "KILL", 60 } })
    local status
    corun.move_on(0.01, function() status = p:terminate() end)
    assert.equal("SIGKILL", status.signal)
    assert.same({ "INT", "KILL" }, trace(p))
  end)

  it("communicate() goes on and gives the whole", function()
    local path = support.directory() .. "/ready"
    local script = "trap 'echo bye; exit 3' INT; echo hello; echo >\"$0\"; while :; do sleep 0.01; done"
    local p <close> = corun.spawn { "sh", "-c", script, path, stop = { { "WAIT", 0.01 }, { "INT", 60 } } }
    local collecting = waiting.start(p.communicate, p)
    waiting.wait_until("it is ready", function() return support.read_file(path) == "\n" end)
    assert.equal(3, p:terminate().code)
    local result = collecting:await(60)
    assert.equal("hello\nbye\n", result.stdout)
    assert.same({ "WAIT", "INT" }, result.stopped)
  end)
end)

describe("What a stop plan without KILL has left", function()
  it("is in `survivors`, and terminate() gives nil; until it is killed #slow #once", function()
    local p <close> = corun.spawn {
      "sh", "-c", '"$0" & exec "$0"', stubborn, stderr = "null", stop = { { "INT", 0.01 } },
    }
    local pids = {}
    for i = 1, 2 do pids[i] = tonumber(p.stdout:read_line():match("%d+")) end
    table.sort(pids)
    assert.is_nil(p.survivors)
    assert.is_nil(p:terminate())
    assert.same(pids, p.survivors)
    assert.is_nil(p.status)
    assert.equal("SIGKILL", p:kill().signal)
    assert.is_nil(p.survivors)
  end)

  it("is in the Result of run; the end of the scope kills it #slow #once", function()
    local result
    corun.scope(function()
      result = corun.run { stubborn, timeout = 0.05, check = false, stop = { { "TERM", 0.01 } } }
      assert.equal("timeout", result.reason)
      assert.is_false(result.ok)
      assert.is_nil(result.status)
      assert.same({ result.pid }, result.survivors)
      assert.is_false(support.is_gone(result.pid))
      corun.run { "kill", "-KILL", result.pid }
    end)
    assert.is_nil(support.process_state(result.pid))
  end)
end)
