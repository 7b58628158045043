local corun = require "corun"
local raised = require "spec.support.raised"
local support = require "spec.support"
local waiting = require "spec.support.waiting"

local ready, stubborn = support.fixture "ready", support.fixture "stubborn"

--- Runs the spec, which must raise an Error of that kind; returns the Error, its Result and the seconds it took.
local function failure(kind, spec)
  local before = corun.now()
  local ok, e = pcall(corun.run, spec)
  assert.is_false(ok)
  assert.equal(kind, e.kind, tostring(e))
  assert.equal(kind, e.result.reason)
  assert.is_false(e.result.ok)
  return e, e.result, corun.now() - before
end

--- What of this example is still there.
local function survivors() return support.marked("CORUN_SPEC=" .. corun.env.CORUN_SPEC) end

describe("timeout", function()
  it("stops the command by its plan and raises \"timeout\" with what there was", function()
    local spec = { "sh", "-c", 'echo out; echo err >&2; exec "$0"', ready, timeout = 0.1 }
    local e, result, took = failure("timeout", spec)
    assert.equal(0.1, e.seconds)
    raised.has(tostring(e), "sh -c 'echo out; echo err >&2; exec \"$0\"' " .. ready .. ": time limit of 0.1 s exceeded")
    raised.has(tostring(e), "stderr: err")
    assert.matches("^out\nready %d+\n$", result.stdout)
    assert.equal("err\n", result.stderr)
    assert.equal("SIGTERM", result.signal)
    assert.equal("signal SIGTERM", tostring(result.status))
    assert.same({ "TERM" }, result.stopped)
    assert.is_true(took >= 0.1 and took < 2, "it took " .. took)
  end)

  it("is a Result with check = false", function()
    local result = corun.run { ready, timeout = 0.01, check = false }
    assert.is_false(result.ok)
    assert.equal("timeout", result.reason)
    assert.equal("SIGTERM", result.signal)
  end)

  it("stops a tree of sleepers in under a second and leaves nobody", function()
    local _, _, took = failure("timeout", { "sh", "-c", "sleep 100 & exec sleep 100", timeout = 0.2 })
    assert.is_true(took < 1, "it took " .. took)
    assert.same({}, survivors())
  end)

  it("kills after `grace` what ignores TERM", function()
    local _, result, took = failure("timeout", { stubborn, timeout = 0.1, grace = 0.1 })
    assert.same({ "TERM", "KILL" }, result.stopped)
    assert.equal("SIGKILL", result.signal)
    assert.is_true(took >= 0.2 and took < 2, "it took " .. took)
  end)

  it("is at once when it is 0", function()
    local e = failure("timeout", { ready, timeout = 0 })
    assert.equal(0, e.seconds)
  end)

  it("does not concern what ends before", function()
    local result = corun.run { "echo", "x", timeout = 60 }
    assert.equal("exit", result.reason)
    assert.is_nil(result.stopped)
  end)

  it("holds for a process that nobody waits for", function()
    local p <close> = corun.spawn { ready, timeout = 0.05 }
    waiting.wait_until("it has ended", function() return p.status end)
    assert.equal("SIGTERM", p.status.signal)
  end)

  it("is told by communicate()", function()
    local p <close> = corun.spawn { ready, timeout = 0.05 }
    local result = p:communicate()
    assert.equal("timeout", result.reason)
    assert.same({ "TERM" }, result.stopped)
  end)

  it("holds though the child has left a grandchild that keeps the pipe and goes on writing", function()
    local before = corun.now()
    local result = corun.timeout(5, corun.run, { support.fixture "holder", "5", timeout = 0.2, check = false })
    assert.is_true(corun.now() - before < 2, "it took " .. corun.now() - before)
    assert.equal("timeout", result.reason)
    assert.same({ "TERM" }, result.stopped)
    assert.same({}, survivors())
  end)

  it("holds though the child has left a silent grandchild, and linger = false", function()
    local spec = { support.fixture "holder", timeout = 0.2, linger = false, check = false }
    local result = corun.timeout(5, corun.run, spec)
    assert.equal("timeout", result.reason)
    assert.same({}, survivors())
  end)

  it("waits one second in all for a pipe that somebody keeps whom it cannot reach #slow", function()
    corun.scope(function()
      local _, result, took = failure("timeout",
        { "sh", "-c", '"$0" & exec "$0"', ready, timeout = 0.1, group = false })
      assert.is_true(took >= 1 and took < 2, "it took " .. took)
      assert.is_true(result.truncated)
      assert.equal(1, #result.held_by)
      assert.equal(1, #survivors())
      corun.run { "kill", "-KILL", result.held_by[1] }
      waiting.wait_until("it is gone", function() return #survivors() == 0 end)
    end)
  end)
end)

describe("idle_timeout", function()
  it("stops a command that has been silent for so long and raises \"idle\"", function()
    local e, result = failure("idle", { "sh", "-c", "echo a; echo b; exec sleep 1000", idle_timeout = 0.1 })
    assert.equal(0.1, e.seconds)
    raised.has(tostring(e), "no output for 0.1 s")
    assert.equal("a\nb\n", result.stdout)
    assert.equal("SIGTERM", result.signal)
  end)

  it("leaves one alone that goes on writing, to whichever stream #slow", function()
    local tasks = {}
    for stream = 1, 2 do
      local script = "for i in 1 2 3 4 5 6 7 8 9 10; do sleep 0.05; echo $i >&" .. stream .. "; done"
      tasks[stream] = corun.go(corun.run, { "sh", "-c", script, idle_timeout = 0.4 })
    end
    for _, task in ipairs(tasks) do
      local result = task:await()
      assert.equal("exit", result.reason)
      assert.is_true(result.duration > 0.4)
    end
  end)

  it("counts what line functions get", function()
    local lines = {}
    local p <close> = corun.spawn {
      "sh", "-c", "echo a; exec sleep 1000", idle_timeout = 0.05,
      stdout = function(line) lines[#lines + 1] = line end, stderr = "null",
    }
    assert.equal("SIGTERM", p:wait(10).signal)
    assert.same({ "a" }, lines)
  end)

  it("refuses a command none of whose outputs is a pipe", function()
    assert.matches("'idle_timeout': neither stdout nor stderr", raised.argument(function()
      corun.run { "true", idle_timeout = 1, stdout = "null", stderr = "null" }
    end))
  end)
end)

describe("Wrong limits", function()
  it("are argument errors, before anything starts", function()
    for _, name in ipairs { "timeout", "idle_timeout", "grace", "linger" } do
      for shown, wrong in pairs { ["%-1"] = -1, ["%-?nan"] = 0 / 0, ['"1"'] = "1", ["true"] = true } do
        local message = raised.argument(function() corun.run { "touch", "/nowhere/at/all", [name] = wrong } end)
        assert.matches("option '" .. name .. "': seconds expected, 0 or more, got " .. shown, message)
      end
    end
  end)

  it("are plans that are none", function()
    for message, plan in pairs {
      ["a plan without a step"] = {}, ["step 1: a signal"] = { "NOPE" }, ["step 2: a signal"] = { "TERM", {} },
      ["seconds expected"] = { { "TERM", -1 } }, ["steps expected, got \"TERM\""] = "TERM",
    } do
      raised.has(raised.argument(function() corun.run { "true", stop = plan } end), message)
    end
    assert.matches("'stop' and 'grace'", raised.argument(function()
      corun.run { "true", stop = { "KILL" }, grace = 1 }
    end))
  end)
end)

describe("A stop plan", function()
  it("is run step by step until the end, and the steps are told", function()
    local plan = { { "INT", 0.05 }, { "SIGTERM", 0.05 }, "KILL" }
    local _, result = failure("timeout", { stubborn, timeout = 0.1, stop = plan })
    assert.same({ "INT", "TERM", "KILL" }, result.stopped)
  end)

  it("stops at the step that was enough", function()
    local plan = { { "HUP", 60 }, "KILL" }
    local _, result = failure("timeout", { ready, timeout = 0.1, stop = plan })
    assert.same({ "HUP" }, result.stopped)
    assert.equal("SIGHUP", result.signal)
  end)

  it("kills at once when it says so", function()
    local _, result = failure("timeout", { ready, timeout = 0.1, stop = { "KILL" } })
    assert.same({ "KILL" }, result.stopped)
  end)

  it("wakes a stopped process", function()
    local _, result, took = failure("timeout", { "sh", "-c", "kill -STOP $$", timeout = 0.1 })
    assert.same({ "TERM" }, result.stopped)
    assert.is_true(took < 2, "it took " .. took)
  end)
end)

describe("The first cause", function()
  it("is the one that is told: idle before timeout #slow", function()
    failure("idle", { stubborn, idle_timeout = 0.05, timeout = 0.1, grace = 0.3 })
  end)

  it("is the one that is told: the limit of bytes before timeout", function()
    local e = failure("limit", { "yes", limit = 1000, timeout = 60 })
    assert.equal("stdout", e.stream)
    assert.equal(1000, #e.result.stdout)
  end)

  it("is the one that is told: timeout before a cancellation #slow", function()
    local seen
    local task = corun.go(pcall, corun.run, {
      "sh", "-c", "trap 'echo stopping >&2' TERM; while :; do sleep 0.01; done", timeout = 0.05, grace = 0.3,
      stderr = function(line) seen = line end,
    })
    waiting.wait_until("the plan runs", function() return seen end)
    task:cancel()
    local ok, e = task:await()
    assert.is_false(ok)
    assert.equal("timeout", e.kind)
    assert.equal("timeout", e.result.reason)
    assert.same({ "TERM", "KILL" }, e.result.stopped)
  end)
end)

describe("Cancelling a run", function()
  it("stops the command by its plan, and the Error carries what there was", function()
    local up
    local task = corun.go(pcall, corun.run, {
      "sh", "-c", 'echo out; echo up >&2; exec "$0"', ready, stderr = function(line) up = line end,
    })
    waiting.wait_until("it is up", function() return up end)
    task:cancel("enough")
    local ok, e = task:await()
    assert.is_false(ok)
    assert.equal("cancelled", e.kind)
    assert.equal("enough", e.reason)
    assert.matches("^out\n", e.result.stdout)
    assert.equal("cancelled", e.result.reason)
    assert.same({ "TERM" }, e.result.stopped)
    assert.equal("SIGTERM", e.result.signal)
    assert.same({}, survivors())
  end)

  it("lets the result stand when the command had already ended #slow", function()
    corun.scope(function()
      local task = corun.go(pcall, corun.run, { support.fixture "holder", linger = 60 })
      waiting.wait_until("it has started", function() return #survivors() > 0 end)
      waiting.wait_until("it has ended", function() return #support.children() == 0 end)
      waiting.let_others_run()
      assert.equal("waiting", task.status)
      task:cancel()
      local ok, result = task:await()
      assert.is_true(ok)
      assert.is_true(result.ok)
      assert.equal("exit", result.reason)
      assert.matches("^held", result.stdout)
      corun.run { "kill", "-KILL", result.held_by[1] }
    end)
  end)

  it("by a time limit around it is that limit's error, with the result", function()
    local ok, e = pcall(corun.timeout, 0.1, corun.run, { "sh", "-c", 'echo out; exec "$0"', ready })
    assert.is_false(ok)
    assert.equal("timeout", e.kind)
    assert.equal(0.1, e.seconds)
    assert.matches("^out\n", e.result.stdout)
    assert.same({}, survivors())
  end)
end)
