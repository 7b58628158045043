--- Who cancels what, when, and what stands in the way: scopes in each other, shields, clean-up.

local corun = require "corun"
local raised = require "spec.support.raised"

--- What fn raises, which must be the cancellation of the scope that it is in.
local function cancellation(fn) return raised.error("cancelled", fn) end

describe("A shield in a cancelled scope", function()
  it("covers scopes, tasks and limits in it, any number deep", function()
    local order = {}
    corun.scope(function(outer)
      outer:cancel()
      corun.shield(function()
        corun.scope(function(scope)
          scope:go(function()
            corun.timeout(1000, function()
              corun.scope(function(inner) inner:go(corun.sleep, 0.001) end)
            end)
            order[#order + 1] = "task"
          end):await()
        end)
        order[#order + 1] = "scope"
      end)
      cancellation(function() corun.sleep(0) end)
      order[#order + 1] = "cancelled"
    end)
    assert.same({ "task", "scope", "cancelled" }, order)
  end)

  it("covers what comes while it is open, and nothing beside it", function()
    local order = {}
    local value, reason = corun.scope(function(outer)
      local shielded, cancelled = corun.event(), corun.event()
      outer:go(function()
        corun.shield(function()
          shielded:set()
          cancelled:wait()
          corun.sleep(0.001)
          order[#order + 1] = "shielded task"
        end)
        cancellation(function() corun.sleep(0) end)
        order[#order + 1] = "shielded task after"
      end)
      outer:go(function()
        cancellation(function() corun.sleep(1000) end)
        order[#order + 1] = "task beside it"
        cancelled:set()
      end)
      shielded:wait()
      outer:cancel("why")
    end)
    assert.is_nil(value)
    assert.equal("why", reason)
    assert.same({ "task beside it", "shielded task", "shielded task after" }, order)
  end)

  it("does not cover what is in it from a scope that is in it, too", function()
    local order = {}
    corun.scope(function(outer)
      outer:cancel()
      corun.shield(function()
        local _, reason = corun.scope(function(inner)
          inner:cancel("inner")
          order[#order + 1] = cancellation(function() corun.sleep(0) end).reason
        end)
        corun.sleep(0)
        order[#order + 1] = "after " .. reason
      end)
    end)
    assert.same({ "inner", "after inner" }, order)
  end)

  it("does not cover what was started in it, which belongs to the scope around", function()
    local task
    corun.scope(function(outer)
      outer:cancel("why")
      corun.shield(function()
        task = corun.go(corun.sleep, 1000)
        assert.equal("why", cancellation(function() task:await() end).reason)
      end)
    end)
    assert.equal("cancelled", task.status)
  end)

  it("stays when another one in it has ended, and has ended with the error of its function", function()
    local order = {}
    corun.scope(function(outer)
      outer:cancel()
      corun.shield(function()
        pcall(corun.shield, error)
        corun.sleep(0)
        order[#order + 1] = "in the first"
      end)
      pcall(corun.shield, error)
      cancellation(function() corun.sleep(0) end)
      order[#order + 1] = "after both"
    end)
    assert.same({ "in the first", "after both" }, order)
  end)

  it("can be the body of a limit that has expired, and the limit is told of after it", function()
    local order = {}
    local ok, e = pcall(corun.timeout, 0, function()
      corun.shield(function()
        corun.sleep(0.001)
        order[#order + 1] = "through"
      end)
      order[#order + 1] = cancellation(function() corun.sleep(0) end).reason
      corun.sleep(0)
    end)
    assert.is_false(ok)
    assert.equal("timeout", e.kind)
    assert.same({ "through", "deadline" }, order)
  end)
end)

describe("A shield with a limit of its own", function()
  it("has expired alone: what is around goes on as it was", function()
    local value = corun.timeout(1000, function()
      local e = raised.error("timeout", function() corun.shield(function() corun.sleep(1000) end, 0.001) end)
      assert.equal(0.001, e.seconds)
      corun.sleep(0)
      return "went on"
    end)
    assert.equal("went on", value)
  end)

  it("gives what its function returns while there is time, though nothing around has any", function()
    local inside
    local ok, e = pcall(corun.timeout, 0, function()
      inside = table.pack(corun.shield(function()
        corun.sleep(0.001)
        return 1, nil, 3, nil
      end, 1000))
      corun.sleep(0)
    end)
    assert.same({ 1, nil, 3, nil, n = 4 }, inside)
    assert.is_false(ok)
    assert.equal(0, e.seconds)
  end)

  it("of 0 lets nothing wait", function()
    local e = raised.error("timeout", function() corun.shield(function() corun.sleep(0) end, 0) end)
    assert.equal(0, e.seconds)
    assert.equal("value", corun.shield(function() return "value" end, 0))
  end)
end)

describe("A scope that is cancelled before its tasks have begun", function()
  it("lets each run up to its first wait, in order", function()
    local order = {}
    corun.scope(function(scope)
      for i = 1, 3 do
        scope:go(function(...)
          order[#order + 1] = ("%d %s %d"):format(i, (...), select("#", ...))
          cancellation(function() corun.sleep(1000) end)
          order[#order + 1] = i .. " cancelled"
        end, "given", nil)
      end
      scope:cancel()
    end)
    assert.same({ "1 given 2", "1 cancelled", "2 given 2", "2 cancelled", "3 given 2", "3 cancelled" }, order)
  end)

  it("starts tasks afterwards, too, also from a scope in it and from its tasks", function()
    local order = {}
    local function note(name)
      return function()
        order[#order + 1] = name
        cancellation(function() corun.sleep(1000) end)
        order[#order + 1] = name .. " cancelled"
      end
    end
    corun.scope(function(outer)
      outer:cancel()
      outer:go(note "outer")
      outer:go(function() outer:go(note "of a task") end)
      corun.scope(function(inner) inner:go(note "inner") end)
    end)
    table.sort(order)
    assert.same({ "inner", "inner cancelled", "of a task", "of a task cancelled", "outer", "outer cancelled" }, order)
  end)
end)

describe("A cancellation", function()
  it("comes from the scope's own body, a child, a sibling's child, or a task outside: each time the same", function()
    for _, who in ipairs { "body", "child", "grandchild", "outsider" } do
      local seen = {}
      local outcome = table.pack(corun.scope(function(around)
        local theirs, ready = nil, corun.event()
        around:go(function()
          ready:wait()
          if who == "outsider" then theirs:cancel(who) end
        end)
        return corun.scope(function(scope)
          theirs = scope
          scope:go(function()
            seen[#seen + 1] = cancellation(function() corun.sleep(1000) end).reason
          end)
          scope:go(function()
            corun.sleep(0)
            if who == "child" then scope:cancel(who) end
            corun.scope(function(inner)
              inner:go(function()
                corun.sleep(0)
                if who == "grandchild" then scope:cancel(who) end
                corun.sleep(1000)
              end)
            end)
          end)
          corun.sleep(0)
          ready:set()
          if who == "body" then scope:cancel(who) end
          corun.sleep(1000)
        end)
      end))
      assert.same({ nil, who, n = 2 }, outcome)
      assert.same({ who }, seen)
    end
  end)

  it("of one task comes from another, and a third goes on", function()
    local statuses
    local value = corun.scope(function(scope)
      local victim = scope:go(corun.sleep, 1000)
      local third = scope:go(function()
        corun.sleep(0.002)
        return "third"
      end)
      scope:go(function() victim:cancel() end):await()
      pcall(victim.await, victim)
      statuses = { victim.status, third.status }
      return third:await()
    end)
    assert.equal("third", value)
    assert.same({ "cancelled", "waiting" }, statuses)
  end)

  it("of a task by itself is there at its next wait", function()
    local task, after
    task = corun.go(function()
      task:cancel("by itself")
      after = true
      corun.sleep(0)
      after = "too far"
    end)
    assert.equal("by itself", cancellation(function() task:await() end).reason)
    assert.is_true(after)
  end)

  it("of a scope and of one in it, at once, is the outer one's", function()
    local after_inner = false
    local _, reason = corun.scope(function(outer)
      corun.scope(function(inner)
        inner:cancel("inner")
        outer:cancel("outer")
        corun.sleep(0)
      end)
      after_inner = true
    end)
    assert.equal("outer", reason)
    assert.is_false(after_inner)
  end)

  it("has any value as its reason, the very one", function()
    for _, why in ipairs { {}, print, false, 0 } do
      local e
      local _, reason = corun.scope(function(scope)
        scope:cancel(why)
        e = cancellation(function() corun.sleep(0) end)
      end)
      assert.is_true(rawequal(why, reason))
      assert.is_true(rawequal(why, e.reason))
      assert.equal("cancelled: " .. tostring(why), e.message)
    end
  end)

  it("comes too late for a scope that has ended", function()
    local kept, inner
    corun.scope(function(scope)
      kept = scope
      inner = scope:go(function() return "result" end)
    end)
    kept:cancel("late")
    assert.equal("Scope (ended)", tostring(kept))
    assert.equal("result", inner:await())
  end)
end)
