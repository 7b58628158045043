local corun = require "corun"
local raised = require "spec.support.raised"
local support = require "spec.support"

local function in_scope(fn) return pcall(corun.scope, fn) end

describe("scope:defer", function()
  it("runs the functions when the tasks have ended, the last one first", function()
    local order = {}
    corun.scope(function(scope)
      scope:defer(function() order[#order + 1] = "first" end)
      scope:defer(function() order[#order + 1] = "second" end)
      scope:go(function()
        corun.sleep(0.002)
        order[#order + 1] = "task"
      end)
      order[#order + 1] = "body"
    end)
    assert.same({ "body", "task", "second", "first" }, order)
  end)

  it("runs them before the processes are stopped", function()
    local answer
    corun.scope(function(scope)
      local p = scope:spawn { "cat" }
      scope:defer(function()
        p:write("still there\n")
        answer = p.stdout:read_line()
      end)
    end)
    assert.equal("still there", answer)
  end)

  it("runs them after an error, and they may wait", function()
    local order = {}
    local ok, e = in_scope(function(scope)
      scope:defer(function() order[#order + 1] = corun.capture { "echo", "deferred" } end)
      error("mine", 0)
    end)
    assert.is_false(ok)
    assert.equal("mine", e)
    assert.same({ "deferred" }, order)
  end)

  it("shields them from a cancellation, of the scope and from outside", function()
    local order = {}
    corun.scope(function(outer)
      corun.scope(function(inner)
        inner:defer(function()
          corun.sleep(0.001)
          order[#order + 1] = "inner"
        end)
        inner:cancel()
      end)
      corun.scope(function(inner)
        inner:defer(function()
          corun.sleep(0.001)
          order[#order + 1] = "outer"
        end)
        outer:cancel()
        corun.sleep(1000)
      end)
    end)
    assert.same({ "inner", "outer" }, order)
  end)

  it("runs them all though one fails, whose error is the scope's", function()
    local order = {}
    local ok, e = in_scope(function(scope)
      scope:defer(function() order[#order + 1] = "first" end)
      scope:defer(function() error("in a defer", 0) end)
      scope:defer(function() order[#order + 1] = "third" end)
    end)
    assert.is_false(ok)
    assert.equal("in a defer", e)
    assert.same({ "third", "first" }, order)
  end)

  it("waits for a task that one of them starts", function()
    local ended
    corun.scope(function(scope)
      scope:defer(function()
        corun.go(function()
          corun.sleep(0.002)
          ended = true
        end)
      end)
    end)
    assert.is_true(ended)
  end)

  it("refuses what is no function", function()
    corun.scope(function(scope)
      assert.matches("defer: a function expected, got 1", raised.argument(function() scope:defer(1) end))
    end)
  end)
end)

describe("A <close> variable", function()
  it("is closed when its block is cancelled, and may wait", function()
    local closed
    corun.scope(function(scope)
      scope:go(function()
        local _ <close> = setmetatable({}, { __close = function() closed = corun.capture { "echo", "closed" } end })
        corun.sleep(1000)
      end)
      corun.sleep(0)
      scope:cancel()
    end)
    assert.equal("closed", closed)
  end)

  it("may wait in the cancelled function of the scope, too", function()
    local closed
    corun.scope(function(scope)
      local _ <close> = setmetatable({}, { __close = function()
        corun.sleep(0.001)
        closed = true
      end })
      scope:cancel()
      corun.sleep(1000)
    end)
    assert.is_true(closed)
  end)

  it("that is a Process is stopped by its plan", function()
    local status
    corun.scope(function(scope)
      local p = corun.process { support.fixture "stubborn", grace = 0.05 }
      pcall(function()
        local process <close> = p:start()
        process.stdout:read_line()
        scope:cancel()
        corun.sleep(1000)
      end)
      status = p.status
    end)
    assert.equal("SIGKILL", status.signal)
  end)
end)

describe("scope.deadline", function()
  it("cancels the scope when it has come", function()
    local task
    local value, reason = corun.scope(function(scope)
      assert.is_nil(scope.deadline)
      scope.deadline = corun.now() + 0.01
      task = scope:go(corun.sleep, 1000)
      corun.sleep(1000)
    end)
    assert.is_nil(value)
    assert.equal("timeout", reason)
    assert.equal("cancelled", task.status)
  end)

  it("can be moved and taken back", function()
    local value = corun.scope(function(scope)
      scope.deadline = corun.now() + 0.005
      scope.deadline = corun.now() + 1000
      corun.sleep(0.01)
      scope.deadline = corun.now() + 0.005
      scope.deadline = nil
      corun.sleep(0.01)
      return "through"
    end)
    assert.equal("through", value)
    local _, reason = corun.scope(function(scope)
      scope.deadline = corun.now() + 1000
      scope:go(function() scope.deadline = corun.now() end)
      corun.sleep(1000)
    end)
    assert.equal("timeout", reason)
  end)

  it("refuses what is no time", function()
    corun.scope(function(scope)
      assert.matches("deadline: a time .* expected, got \"x\"", raised.argument(function() scope.deadline = "x" end))
    end)
  end)
end)
