local corun = require "corun"
local raised = require "spec.support.raised"
local support = require "spec.support"
local waiting = require "spec.support.waiting"

--- What fn(scope) does in a scope of its own, whose tasks may fail: the outcome of pcall(corun.scope).
local function in_scope(fn) return pcall(corun.scope, fn) end

describe("Task:cancel", function()
  it("raises \"cancelled\" with the reason from what the task waits for", function()
    local task = corun.go(function() return pcall(corun.sleep, 1000) end)
    corun.sleep(0)
    task:cancel("enough")
    local ok, e = task:await()
    assert.is_false(ok)
    assert.equal("cancelled", e.kind)
    assert.equal("enough", e.reason)
    raised.has(tostring(e), "enough")
  end)

  it("raises it again from each wait, so that a pcall cannot swallow it", function()
    local raised_count = 0
    local task = corun.go(function()
      while raised_count < 10 do
        local ok, e = pcall(corun.sleep, 1000)
        if not ok and e.kind == "cancelled" then raised_count = raised_count + 1 end
      end
      corun.sleep(1000)
    end)
    corun.sleep(0)
    task:cancel()
    raised.error("cancelled", function() task:await() end)
    assert.equal(10, raised_count)
  end)

  it("raises it from every kind of wait", function()
    local p <close> = corun.spawn { support.fixture "ready" }
    local q <close> = corun.spawn { support.fixture "ready" }
    local other = corun.go(function() corun.sleep(1000) end)
    local waits = {
      sleep = function() corun.sleep(1000) end, await = function() other:await() end,
      wait = function() p:wait() end, wait_closed = function() p:wait_closed() end,
      read = function() p.stderr:read(1) end, write = function() p.stdin:write(("x"):rep(4 << 20)) end,
      run = function() corun.run { "sleep", "1000" } end, communicate = function() q:communicate() end,
      scope = function() corun.scope(function() corun.sleep(1000) end) end,
      join = function() corun.scope(function(scope) scope:go(corun.sleep, 1000) end) end,
    }
    for name, wait in pairs(waits) do
      local task = corun.go(wait)
      waiting.wait_until(name .. " waits", function() return task.status == "waiting" end)
      task:cancel(name)
      assert.equal(name, raised.error("cancelled", function() task:await() end).reason)
      assert.equal("cancelled", task.status)
    end
    other:cancel()
  end)

  it("does not fail the scope of the task", function()
    local ok, value = in_scope(function(scope)
      local task = scope:go(corun.sleep, 1000)
      corun.sleep(0)
      task:cancel()
      return "fine"
    end)
    assert.is_true(ok)
    assert.equal("fine", value)
  end)

  it("is an error in a task that awaits the cancelled one", function()
    local ok, e = in_scope(function(scope)
      local task = scope:go(corun.sleep, 1000)
      scope:go(function() task:await() end)
      corun.sleep(0)
      task:cancel("why")
    end)
    assert.is_false(ok)
    assert.equal("cancelled", e.kind)
    assert.equal("why", e.reason)
  end)

  it("concerns a task that has not begun, at its first wait", function()
    local began
    local task = corun.go(function()
      began = true
      corun.sleep(0)
    end)
    task:cancel()
    raised.error("cancelled", function() task:await() end)
    assert.is_true(began)
  end)

  it("lets a result stand that needs no more waiting", function()
    local task = corun.go(function() return "result" end)
    task:cancel()
    assert.equal("result", task:await())
    assert.equal("ended", task.status)
  end)

  it("does nothing to one that has ended, and nothing the second time", function()
    local task = corun.go(function() return 1 end)
    task:await()
    task:cancel()
    assert.equal("ended", task.status)
    assert.equal(1, task:await())
    local other = corun.go(corun.sleep, 1000)
    other:cancel("first")
    other:cancel("second")
    assert.equal("first", raised.error("cancelled", function() other:await() end).reason)
  end)

  it("reaches the scopes and tasks that the task has opened", function()
    local inner
    local task = corun.go(function()
      corun.scope(function(scope)
        inner = scope:go(corun.sleep, 1000)
        corun.timeout(1000, corun.sleep, 1000)
      end)
    end)
    corun.sleep(0)
    corun.sleep(0)
    task:cancel()
    raised.error("cancelled", function() task:await() end)
    assert.equal("cancelled", inner.status)
  end)
end)
