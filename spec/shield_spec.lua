local corun = require "corun"
local raised = require "spec.support.raised"

describe("corun.shield", function()
  it("lets clean-up wait in a cancelled scope, which stays cancelled after", function()
    local inside, after
    corun.scope(function(scope)
      scope:cancel()
      inside = corun.shield(function() return corun.capture { "echo", "cleaned" } end)
      after = raised.error("cancelled", function() corun.sleep(0) end)
    end)
    assert.equal("cleaned", inside)
    assert.is_not_nil(after)
  end)

  it("keeps a cancellation that comes meanwhile until its end", function()
    local inside, after
    local task = corun.go(function()
      corun.shield(function()
        corun.sleep(0.01)
        inside = "through"
      end)
      after = "not reached"
      corun.sleep(0)
      after = "reached"
    end)
    corun.sleep(0.001)
    task:cancel()
    raised.error("cancelled", function() task:await() end)
    assert.equal("through", inside)
    assert.equal("not reached", after)
  end)

  it("keeps a time limit around it from cutting it short", function()
    local inside
    local ok, e = pcall(corun.timeout, 0.002, function()
      corun.shield(function()
        corun.sleep(0.01)
        inside = "through"
      end)
      corun.sleep(0)
    end)
    assert.is_false(ok)
    assert.equal("timeout", e.kind)
    assert.equal("through", inside)
  end)

  it("gives what the function returns and raises what it raises", function()
    assert.same({ 1, nil, n = 2 }, table.pack(corun.shield(function() return 1, nil end)))
    local ok, e = pcall(corun.shield, function() error("mine", 0) end)
    assert.is_false(ok)
    assert.equal("mine", e)
  end)

  it("takes a time limit of its own", function()
    local e
    corun.scope(function(scope)
      scope:cancel()
      local _
      _, e = pcall(corun.shield, function() corun.sleep(1000) end, 0.005)
    end)
    assert.equal("timeout", e.kind)
    assert.equal(0.005, e.seconds)
  end)

  it("refuses what is no function, and a wrong time", function()
    assert.matches("shield: a function expected, got 1", raised.argument(function() corun.shield(1) end))
    assert.matches("seconds expected", raised.argument(function() corun.shield(print, -1) end))
  end)
end)
