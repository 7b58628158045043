--- A deadlock while scopes end.

local corun = require "corun"
local raised = require "spec.support.raised"

describe("A deadlock", function()
  it("lets a scope that waits for a stuck task run its defers", function()
    local deferred = false
    local ok = pcall(corun.scope, function(outer)
      outer:go(function()
        corun.scope(function(inner)
          inner:defer(function() deferred = true end)
          inner:go(function() corun.shield(function() corun.event():wait() end) end)
          error("mine", 0)
        end)
      end)
    end)
    assert.is_false(ok)
    assert.is_true(deferred)
  end)

  it("names a function for lines that is stuck", function()
    local e = raised.error("deadlock", function()
      local p <close> = corun.spawn { "echo", "line", stdout = function() corun.event():wait() end }
      p:wait_closed()
    end)
    assert.is_not_nil(tostring(e):find("in wait for .*, Event %(not set%)"), tostring(e))
  end)
end)
