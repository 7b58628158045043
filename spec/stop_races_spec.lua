--- Stop plans beside what else goes on: pipelines, feeding, line functions, release, other plans.

local corun = require "corun"
local raised = require "spec.support.raised"
local support = require "spec.support"
local waiting = require "spec.support.waiting"

local ready, stubborn = support.fixture "ready", support.fixture "stubborn"

--- A started fixture with this plan that has said that it is ready.
local function start(plan, options)
  local spec = { ready, stop = plan, stderr = "null" }
  for name, value in pairs(options or {}) do spec[name] = value end
  local p = corun.spawn(spec)
  assert.equal("ready " .. p.pid, p.stdout:read_line())
  return p
end

local function trace(p) return p:communicate().stopped end

local function kill_and_wait(pid)
  corun.run { "kill", "-KILL", pid }
  waiting.wait_until("it is gone", function() return support.is_gone(pid) end)
end

--- The same for a child of ours that was released: corun reaps it all the same.
local function reap(pid)
  corun.run { "kill", "-KILL", pid }
  waiting.wait_until("it is reaped", function() return not support.process_state(pid) end)
end

describe("A Pipeline with a time limit", function()
  it("returns though a stage survives its plan, and says who it is #slow #once", function()
    corun.scope(function()
      local patient = { ready, stop = { { "WAIT", 0.01 } } }
      local result = corun.pipeline { { ready }, patient }:with { timeout = 0.05, check = false }:run()
      assert.equal("timeout", result.reason)
      local pid = result.stages[2].pid
      assert.same({ pid }, result.survivors)
      assert.same({ pid }, result.stages[2].survivors)
      assert.is_nil(result.stages[2].status)
      assert.is_nil(result.stages[1].survivors)
      assert.equal("SIGTERM", result.stages[1].signal)
      kill_and_wait(pid)
    end)
  end)
end)

describe("A stop plan", function()
  it("may close the stdin that an iterator still feeds", function()
    local fed, p = 0, nil
    local function input()
      fed = fed + 1
      if fed == 3 then waiting.wait_until("it is closed", function() return p.stdin:is_closing() end) end
      return fed <= 4 and "x" or nil
    end
    corun.scope(function()
      p = corun.spawn { ready, input = input, stderr = "null", stop = { { "CLOSE", 3600 } } }
      local stopping = waiting.start(p.terminate, p)
      waiting.wait_until("it was fed after that", function() return fed >= 3 and p.stdin:is_closing() end)
      waiting.let_others_run()
      p:signal("INT")
      assert.equal("SIGINT", stopping:await(60).signal)
    end)
    assert.same({ "CLOSE" }, trace(p))
  end)

  it("is not noted where nothing was left to be stopped", function()
    for _, stop in ipairs { "terminate", "kill" } do
      local p = corun.spawn { "true" }
      p:wait()
      assert.equal(0, p[stop](p).code)
      assert.is_nil(trace(p))
      assert.is_nil(p:communicate().survivors)
    end
  end)

  it("is noted in a copy: what a script does to one Result, others do not see", function()
    local p <close> = start { { "INT", 60 } }
    p:terminate()
    table.insert(trace(p), "KILL")
    assert.same({ "INT" }, trace(p))
  end)

  it("of terminate() is what ends the process, though its time limit comes meanwhile", function()
    local p <close> = corun.spawn { ready, stderr = "null", timeout = 0.02, stop = { { "WAIT", 0.05 }, { "INT", 60 } } }
    assert.equal("SIGINT", p:terminate().signal)
    assert.equal("signal", p.status.reason)
    local result = p:communicate()
    assert.equal("signal", result.reason)
    assert.same({ "WAIT", "INT" }, result.stopped)
  end)

  it("without KILL leaves communicate() waiting for what terminate() could not stop #slow #once", function()
    local script = 'trap "echo late; exit 0" USR1; echo ready; while :; do sleep 0.01; done'
    local p <close> = corun.spawn { "sh", "-c", script, stderr = "null", stop = { { "WAIT", 0 } } }
    assert.equal("ready", p.stdout:read_line())
    assert.is_nil(p:terminate())
    raised.has((" %s "):format(table.concat(p.survivors, " ")), (" %d "):format(p.pid)) -- and its sleep
    local collecting = waiting.start(p.communicate, p)
    waiting.let_others_run()
    assert.is_nil(p.status)
    assert.equal("waiting", collecting.status)
    p:signal("USR1")
    local result = collecting:await(60)
    assert.equal("late\n", result.stdout)
    assert.same({ "WAIT" }, result.stopped)
    assert.is_true(result.ok)
  end)

  it("of a time limit is waited for by the end of the scope, also when the leader has ended", function()
    corun.scope(function()
      local p = corun.spawn { "sh", "-c", 'setsid "$0" & exec "$1"', stubborn, ready, stderr = "null",
        idle_timeout = 0.05, stop = { { "TERM", 0.1 }, "KILL" } }
      assert.equal("idle", p:wait().reason)
    end)
    assert.same({}, support.marked("CORUN_SPEC=" .. corun.env.CORUN_SPEC))
  end)
end)

describe("A RUN", function()
  it("is noted in the same way each time", function()
    local cases = {
      { "kill -TERM $CORUN_PID", { "RUN" }, 60 },
      { "kill -TERM $CORUN_PID; exit 3", { "RUN (exit 3)" }, 60 },
      { "exec sleep 1000", { "RUN (timeout)", "KILL" }, 0.01 },
    }
    for _, case in ipairs(cases) do
      for _ = 1, 10 do
        local result = corun.run { ready, timeout = 0, check = false,
          stop = { { "RUN", { "sh", "-c", case[1] }, case[3] }, "KILL" } }
        assert.same(case[2], result.stopped)
      end
    end
  end)

  it("has no more time than its own limit says, and than its step", function()
    for _, limits in ipairs { { 0.01, 60 }, { 3600, 0.01 } } do
      local p <close> = start { { "RUN", { "sleep", "1000", timeout = limits[1] }, limits[2] }, { "INT", 60 } }
      local stopping = waiting.start(p.terminate, p)
      if limits[2] == 60 then
        waiting.wait_until("it was stopped", function() return (p._stopped or {})[1] == "RUN (timeout)" end)
        p:signal("INT")
      end
      assert.equal("SIGINT", stopping:await(60).signal)
      assert.equal("RUN (timeout)", trace(p)[1])
    end
  end)

  it("that ignores TERM does not hold up the plan", function()
    local result = corun.run { ready, timeout = 0.05, check = false, stop = { { "RUN", { stubborn }, 0.1 }, "KILL" } }
    assert.same({ "RUN (timeout)", "KILL" }, result.stopped)
    assert.is_true(result.duration < 0.05 + 0.1 + 1, "it took " .. result.duration) -- limit + plan + 1 s is promised
  end)

  it("finds no CORUN_PID when the leader has ended", function()
    local path = support.directory() .. "/note"
    local p <close> = corun.spawn { "sh", "-c", '"$0" & exit 0', ready, stderr = "null",
      stop = { { "RUN", { "sh", "-c", 'echo "${CORUN_PID-none}" >"$0"', path }, 3600 } } }
    p.stdout:read_line()
    p:wait()
    local stopping = waiting.start(p.terminate, p)
    local noted = waiting.wait_until("it is noted", function()
      return (support.read_file(path) or ""):match("^(.-)\n")
    end)
    assert.equal("none", noted)
    p:kill()
    stopping:await(60)
  end)
end)

describe("A wrong step", function()
  local step = "option 'stop', step 1: "
  local cases = {
    { { { "TERM", 1, 2 } }, step .. "unknown field 3" },
    { { { "WRITE", "x", 1, 2 } }, step .. "unknown field 4" },
    { { { "TERM", wait = 1 } }, step .. "unknown field \"wait\"" },
    { { { "TERM", "5" } }, step .. "seconds expected, 0 or more, got \"5\"" },
    { { { "CLOSE", -1 } }, step .. "seconds expected, 0 or more, got -1" },
    { { { "WAIT", 0 / 0 } }, step .. "seconds expected, 0 or more, got " .. tostring(0 / 0) },
    { { { "RUN", { "x", timeout = -1 } } }, step .. "option 'timeout': seconds expected, 0 or more, got -1" },
    { { { "RUN", { "x", stop = {} } } }, step .. "option 'stop': a plan without a step" },
    { { { "RUN", { "x", stop = { { "TERM", -1 } } } } },
      step .. "option 'stop', step 1: seconds expected, 0 or more, got -1" },
    { { { "RUN", { nil, "x" } } }, step .. "RUN: the command has no program" },
  }
  for i, case in ipairs(cases) do
    it(("is named in full (%d): %s"):format(i, case[2]), function()
      assert.equal(case[2], raised.argument(function() corun.run { "true", stop = case[1] } end))
    end)
  end
end)

describe("A line function", function()
  it("may close its own process", function()
    local p, closed
    corun.scope(function()
      p = corun.spawn { ready, stderr = "null", stdout = function()
        p:close()
        closed = true
      end }
      assert.equal("SIGTERM", p:wait().signal)
      waiting.wait_until("close has returned", function() return closed end)
    end)
  end)

  it("of a detached process is not waited for, neither by the scope nor by release()", function()
    local p, line
    corun.scope(function()
      p = corun.spawn { ready, detached = true, stdin = "null", stderr = "null", stdout = function(it) line = it end }
      waiting.wait_until("it is ready", function() return line end)
    end)
    assert.equal("ready " .. p.pid, line)
    assert.is_nil(p.status)
    local pid = p:release()
    assert.is_false(support.is_gone(pid))
    reap(pid)
  end)

  it("and a tee are the same there", function()
    local path, p = support.directory() .. "/copy", nil
    corun.scope(function()
      p = corun.spawn { ready, detached = true, stdin = "null", stderr = "null", tee = { file = path } }
      waiting.wait_until("it is ready", function() return (support.read_file(path) or ""):find("\n") end)
    end)
    assert.is_nil(p.status)
    local pid = p:release()
    assert.is_false(support.is_gone(pid))
    reap(pid)
  end)
end)

describe("A process that was released", function()
  local detached = { detached = true, stdin = "null" }

  it("is not stopped by its time limit any more", function()
    local p = corun.spawn { ready, detached = true, stdin = "null", stdout = "null", stderr = "null",
      timeout = 0.1, stop = { "KILL" } }
    local pid = p:release()
    corun.sleep(0.15)
    waiting.let_others_run()
    assert.is_false(support.is_gone(pid))
    reap(pid)
  end)

  it("is not, while a stop plan runs", function()
    local p = start({ { "WAIT", 3600 } }, detached)
    local stopping = waiting.start(p.terminate, p)
    assert.equal("release: a stop plan runs on the process", raised.argument(function() p:release() end))
    assert.equal("SIGKILL", p:kill().signal)
    assert.equal("SIGKILL", stopping:await(60).signal)
  end)

  it("is nobody's to collect: communicate under way raises", function()
    local p = start(nil, detached)
    local collecting = waiting.start(pcall, p.communicate, p)
    local pid = p:release()
    local ok, e = collecting:await(60)
    assert.is_false(ok)
    assert.equal("closed", e.kind)
    assert.equal(p.command .. ": the process was released", e.message)
    assert.is_false(support.is_gone(pid))
    reap(pid)
  end)
end)
