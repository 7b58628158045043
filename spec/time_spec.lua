local corun = require "corun"
local raised = require "spec.support.raised"
local support = require "spec.support"

local ready = support.fixture "ready"

describe("corun.now", function()
  it("never goes back and counts seconds", function()
    local before = corun.now()
    for _ = 1, 1000 do
      local now = corun.now()
      assert.is_true(now >= before)
      before = now
    end
    corun.sleep(0.02)
    local took = corun.now() - before
    assert.is_true(took >= 0.02 and took < 1, "it took " .. took)
  end)
end)

describe("corun.sleep", function()
  it("wakes tasks in the order of their times", function()
    local order, tasks = {}, {}
    for _, ms in ipairs { 9, 3, 6, 1 } do
      tasks[#tasks + 1] = corun.go(function()
        corun.sleep(ms / 1000)
        order[#order + 1] = ms
      end)
    end
    for _, task in ipairs(tasks) do task:await() end
    assert.same({ 1, 3, 6, 9 }, order)
  end)

  it("lets others run once when it is 0", function()
    local ran = 0
    corun.go(function() ran = ran + 1 end)
    assert.equal(0, ran)
    corun.sleep(0)
    assert.equal(1, ran)
  end)

  it("may be for ever", function()
    local task = corun.go(corun.sleep, math.huge)
    corun.sleep(0.001)
    assert.equal("waiting", task.status)
    task:cancel()
    raised.error("cancelled", function() task:await() end)
  end)

  it("refuses what is no time", function()
    for shown, wrong in pairs { ["%-1"] = -1, ["%-?nan"] = 0 / 0, ['"x"'] = "x", ["nil"] = false or nil } do
      assert.matches("sleep: seconds expected, 0 or more, got " .. shown, raised.argument(function()
        corun.sleep(wrong)
      end))
    end
    assert.matches("sleep: .*got nil", raised.argument(function() corun.sleep() end))
  end)
end)

for name, expired in pairs {
  timeout = function(seconds, fn, ...)
    local ok, e = pcall(corun.timeout, seconds, fn, ...)
    assert.is_false(ok)
    assert.equal("timeout", e.kind)
    assert.equal(seconds, e.seconds)
  end,
  move_on = function(...)
    assert.same({ nil, "timeout", n = 2 }, table.pack(corun.move_on(...)))
  end,
} do
  local limited = corun[name]

  describe("corun." .. name, function()
    it("gives what the function returns, and gives it further arguments", function()
      local expected = { 1, nil, "x", nil, n = 4 }
      assert.same(expected, table.pack(limited(1000, function(...)
        corun.sleep(0)
        return ...
      end, 1, nil, "x", nil)))
    end)

    it("ends what waits too long", function()
      local before = corun.now()
      expired(0.01, corun.sleep, 1000)
      local took = corun.now() - before
      assert.is_true(took >= 0.01 and took < 1, "it took " .. took)
    end)

    it("ends the first wait when it is 0", function()
      local reached
      expired(0, function()
        reached = true
        corun.sleep(0)
        reached = "too far"
      end)
      assert.is_true(reached)
    end)

    it("lets a result stand that came late", function()
      assert.equal("late", limited(0, function() return "late" end))
      assert.equal("late", limited(0.001, function()
        local until_then = corun.now() + 0.005
        while corun.now() < until_then do end
        return "late"
      end))
    end)

    it("cannot be swallowed by pcall", function()
      local count = 0
      expired(0.002, function()
        repeat
          if not pcall(corun.sleep, 1000) then count = count + 1 end
        until count == 10
        corun.sleep(1000)
      end)
      assert.equal(10, count)
    end)

    it("lets an error of the function pass", function()
      local ok, e = pcall(limited, 1000, error, "mine", 0)
      assert.is_false(ok)
      assert.equal("mine", e)
    end)

    it("lets a cancellation from outside pass", function()
      local task = corun.go(limited, 1000, corun.sleep, 1000)
      corun.sleep(0)
      task:cancel("outside")
      assert.equal("outside", raised.error("cancelled", function() task:await() end).reason)
    end)

    it("leaves a process and a task that were started in it to the scope around", function()
      local p, task
      corun.scope(function()
        expired(0.01, function()
          p = corun.spawn { ready }
          task = corun.go(function()
            corun.sleep(0.02)
            return p.status or "runs"
          end)
          corun.sleep(1000)
        end)
        assert.is_nil(p.status)
        assert.equal("runs", task:await())
      end)
      assert.equal("SIGTERM", p.status.signal)
    end)

    it("stops a process that run waits for", function()
      expired(0.01, corun.run, { ready })
      assert.same({}, support.children())
    end)

    it("refuses a wrong time and what is no function", function()
      for _, wrong in ipairs { -1, 0 / 0, "x" } do
        assert.matches(name .. ": seconds expected", raised.argument(function() limited(wrong, print) end))
      end
      assert.matches(name .. ": a function expected, got 1", raised.argument(function() limited(1, 1) end))
    end)
  end)
end

describe("Time limits in each other", function()
  it("are told apart: the outer one is not taken for the inner one", function()
    local inner_ok, inner
    local ok, outer = pcall(corun.timeout, 0.01, function()
      inner_ok, inner = pcall(corun.timeout, 1000, corun.sleep, 1000)
      error(inner, 0)
    end)
    assert.is_false(inner_ok)
    assert.equal("cancelled", inner.kind)
    assert.is_false(ok)
    assert.equal("timeout", outer.kind)
    assert.equal(0.01, outer.seconds)
  end)

  it("are told apart: the inner one is the inner one's, and the outer one goes on", function()
    local value = corun.timeout(1000, function()
      local ok, e = pcall(corun.timeout, 0.002, corun.sleep, 1000)
      assert.is_false(ok)
      assert.equal(0.002, e.seconds)
      corun.sleep(0.001)
      return "went on"
    end)
    assert.equal("went on", value)
  end)

  it("are the outer one's when both have passed", function()
    local inner
    local ok, outer = pcall(corun.timeout, 0, function()
      local _
      _, inner = pcall(corun.timeout, 0, corun.sleep, 1000)
      error(inner, 0)
    end)
    assert.is_false(ok)
    assert.equal("cancelled", inner.kind)
    assert.equal("timeout", outer.kind)
  end)

  it("end a scope that was cancelled at the same time as that says", function()
    local value, reason = corun.scope(function(scope)
      corun.timeout(0, function()
        scope:cancel("mine")
        corun.sleep(1000)
      end)
    end)
    assert.is_nil(value)
    assert.equal("mine", reason)
  end)

  it("mix: move_on in timeout and timeout in move_on", function()
    assert.equal("inner", corun.timeout(1000, function()
      local value, why = corun.move_on(0.001, corun.sleep, 1000)
      return value == nil and why == "timeout" and "inner"
    end))
    local value, why = corun.move_on(0.001, corun.timeout, 1000, corun.sleep, 1000)
    assert.is_nil(value)
    assert.equal("timeout", why)
  end)

  it("reach into a scope and its tasks", function()
    local task
    local ok, e = pcall(corun.timeout, 0.005, function()
      corun.scope(function(scope)
        task = scope:go(corun.sleep, 1000)
      end)
    end)
    assert.is_false(ok)
    assert.equal("timeout", e.kind)
    assert.equal("cancelled", task.status)
  end)

  it("do not concern a timeout that a person raises", function()
    local ok, e = pcall(corun.timeout, 1000, function()
      local p <close> = corun.spawn { ready }
      p:wait(0.001)
    end)
    assert.is_false(ok)
    assert.equal("timeout", e.kind)
    assert.equal(0.001, e.seconds)
  end)
end)
