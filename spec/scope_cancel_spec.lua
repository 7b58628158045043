local corun = require "corun"
local raised = require "spec.support.raised"
local support = require "spec.support"

local ready = support.fixture "ready"

local function in_scope(fn) return pcall(corun.scope, fn) end

--- A started fixture that has said that it is ready.
local function start(scope, program)
  local p = scope:spawn { program, stderr = "null" }
  p.stdout:read_line()
  return p
end

describe("scope:cancel", function()
  it("ends the scope, which returns nil and the reason", function()
    local task, e
    local value, reason = corun.scope(function(scope)
      task = scope:go(corun.sleep, 1000)
      scope:cancel("enough")
      local _
      _, e = pcall(corun.sleep, 0)
      return "ignored"
    end)
    assert.is_nil(value)
    assert.equal("enough", reason)
    assert.equal("cancelled", e.kind)
    assert.equal("enough", e.reason)
    assert.equal("cancelled", task.status)
  end)

  it("can be called by a task of the scope, and from outside", function()
    local value, reason = corun.scope(function(scope)
      scope:go(function() scope:cancel("inside") end)
      corun.sleep(1000)
    end)
    assert.is_nil(value)
    assert.equal("inside", reason)
    local theirs
    local task = corun.go(function()
      return corun.scope(function(scope)
        theirs = scope
        corun.sleep(1000)
      end)
    end)
    corun.sleep(0)
    theirs:cancel("outside")
    assert.same({ nil, "outside", n = 2 }, table.pack(task:await()))
  end)

  it("stops the processes of the scope", function()
    local p
    corun.scope(function(scope)
      p = start(scope, ready)
      scope:cancel()
    end)
    assert.equal("SIGTERM", p.status.signal)
  end)

  it("lets nothing new begin", function()
    local pid
    corun.scope(function(scope)
      scope:cancel()
      for _, start_something in ipairs {
        function() corun.run { "true" } end, function() corun.spawn { "true" } end, function() corun.sh "true" end,
      } do
        raised.error("cancelled", start_something)
      end
      scope:go(function() pid = corun.spawn({ "true" }).pid end)
    end)
    assert.is_nil(pid)
  end)

  it("counts the first time only", function()
    local _, reason = corun.scope(function(scope)
      scope:cancel("first")
      scope:cancel("second")
    end)
    assert.equal("first", reason)
  end)

  it("reaches the scopes inside, and passes through them", function()
    local after_inner, after_innermost = false, false
    local value, reason = corun.scope(function(outer)
      corun.scope(function()
        corun.scope(function()
          outer:cancel("outer")
          corun.sleep(1000)
        end)
        after_innermost = true
      end)
      after_inner = true
    end)
    assert.is_nil(value)
    assert.equal("outer", reason)
    assert.is_false(after_inner)
    assert.is_false(after_innermost)
  end)

  it("leaves the scope around alone", function()
    local value = corun.scope(function()
      corun.scope(function(inner)
        inner:cancel()
        corun.sleep(1000)
      end)
      return corun.capture { "echo", "fine" }
    end)
    assert.equal("fine", value)
  end)

  it("cannot be swallowed by pcall", function()
    local swallowed = 0
    corun.scope(function(scope)
      scope:go(function()
        for _ = 1, 5 do
          if not pcall(corun.sleep, 1000) then swallowed = swallowed + 1 end
        end
      end)
      corun.sleep(0)
      scope:cancel()
    end)
    assert.equal(5, swallowed)
  end)

  it("does not hide an error that comes after it", function()
    local ok, e = in_scope(function(scope)
      scope:go(function()
        pcall(corun.sleep, 1000)
        error("in the clean-up", 0)
      end)
      corun.sleep(0)
      scope:cancel()
    end)
    assert.is_false(ok)
    assert.equal("in the clean-up", e)
  end)
end)
