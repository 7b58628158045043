--- Deadlines of scopes, which may be set and moved while the scope runs.

local corun = require "corun"
local raised = require "spec.support.raised"
local waiting = require "spec.support.waiting"

local function cancellation(fn) return raised.error("cancelled", fn) end

--- Lets time pass without letting corun see it.
local function compute_until(time)
  while corun.now() < time do end
end

describe("A deadline of a scope", function()
  it("is what was set, and none at first", function()
    corun.scope(function(scope)
      assert.is_nil(scope.deadline)
      for _, time in ipairs { corun.now() + 1000, math.huge, 1e300 } do
        scope.deadline = time
        assert.equal(time, scope.deadline)
      end
      scope.deadline = nil
      assert.is_nil(scope.deadline)
    end)
  end)

  it("that is for ever is none", function()
    local value = corun.scope(function(scope)
      scope.deadline = corun.now() + 0.002
      scope.deadline = math.huge
      corun.sleep(0.005)
      return "through"
    end)
    assert.equal("through", value)
  end)

  it("in the past ends what waits, whoever sets it", function()
    for _, time in ipairs { 0, -1, -math.huge, corun.now() - 0.001 } do
      local theirs
      local task = corun.go(corun.scope, function(scope)
        theirs = scope
        corun.sleep(1000)
      end)
      waiting.let_others_run()
      theirs.deadline = time
      assert.same({ nil, "timeout", n = 2 }, table.pack(task:await()))
      assert.same({ nil, "timeout", n = 2 }, table.pack(corun.scope(function(scope)
        scope.deadline = time
        corun.sleep(1000)
      end)))
    end
  end)

  it("that is moved later by a task lets the body wait longer", function()
    local value = corun.scope(function(scope)
      local first = corun.now() + 0.02
      scope.deadline = first
      scope:go(function() scope.deadline = first + 1000 end):await()
      compute_until(first)
      corun.sleep(0.001)
      return "through"
    end)
    assert.equal("through", value)
  end)

  it("that is moved again and again is where it was moved last", function()
    local _, reason = corun.scope(function(scope)
      for i = 1, 1000 do scope.deadline = corun.now() + 1000 - i end
      scope.deadline = corun.now() + 0.001
      corun.sleep(1000)
    end)
    assert.equal("timeout", reason)
  end)

  it("cannot be moved any more when it has passed", function()
    local order = {}
    local _, reason = corun.scope(function(scope)
      scope.deadline = corun.now()
      cancellation(function() corun.sleep(1000) end)
      for _, time in ipairs { corun.now() + 1000, math.huge } do
        scope.deadline = time
        cancellation(function() corun.sleep(0) end)
        order[#order + 1] = "still cancelled"
      end
      scope.deadline = nil
      cancellation(function() corun.sleep(0) end)
    end)
    assert.equal("timeout", reason)
    assert.equal(2, #order)
  end)

  it("does not change the reason of a scope that was cancelled before, nor cancels one that has ended", function()
    local kept
    local _, reason = corun.scope(function(scope)
      kept = scope
      scope:cancel("mine")
      scope.deadline = corun.now()
      corun.shield(function() corun.sleep(0.002) end)
    end)
    assert.equal("mine", reason)
    kept.deadline = corun.now()
    corun.sleep(0.001)
    assert.equal("Scope (cancelled)", tostring(kept))
  end)

  it("says in its Error that it has passed", function()
    corun.scope(function(scope)
      scope.deadline = corun.now()
      local e = cancellation(function() corun.sleep(1000) end)
      assert.equal("cancelled: the deadline of the scope has passed", e.message)
    end)
  end)

  it("reaches tasks and scopes inside, and what run waits for", function()
    local order, result = {}, nil
    local _, reason = corun.scope(function(scope)
      scope.deadline = corun.now() + 0.01
      scope:go(function()
        corun.scope(function(inner)
          inner:go(function()
            local ok, e = pcall(corun.run, { "sleep", "1000" })
            result = not ok and e.result
          end)
        end)
        order[#order + 1] = "not reached"
      end)
      corun.scope(function() corun.sleep(1000) end)
      order[#order + 1] = "not reached"
    end)
    assert.equal("timeout", reason)
    assert.equal("SIGTERM", result.signal)
    assert.equal("cancelled", result.reason)
    assert.same({}, order)
  end)

  it("refuses what is no time, and stays as it was", function()
    corun.scope(function(scope)
      scope.deadline = 1e9
      for shown, wrong in pairs { ['"x"'] = "x", ["true"] = true, ["a table"] = {} } do
        assert.equal("deadline: a time of corun.now() or nil expected, got " .. shown, raised.argument(function()
          scope.deadline = wrong
        end))
      end
      assert.matches("^deadline: a time of corun.now%(%) or nil expected, got %-?nan$", raised.argument(function()
        scope.deadline = 0 / 0
      end))
      assert.equal(1e9, scope.deadline)
    end)
  end)
end)
