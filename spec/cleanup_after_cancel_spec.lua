--- Errors while cleaning up after a time-out or a cancellation.

local corun = require "corun"
local raised = require "spec.support.raised"
local scripts = require "spec.support.scripts"
local support = require "spec.support"
local waiting = require "spec.support.waiting"

local closing = support.closing

--- Waits, with a clean-up that fails.
local function wait_badly(e)
  local _ <close> = closing(function()
    corun.sleep(0)
    error(e or "in clean-up", 0)
  end)
  corun.sleep(1000)
end

local failure = raised.anything

describe("A time-out whose clean-up fails", function()
  it("is still the time-out, with the other error in `also`", function()
    for _, thing in ipairs { "in clean-up", { "table" } } do
      local e = failure(corun.timeout, 0.001, wait_badly, thing)
      assert.equal("timeout", e.kind)
      assert.equal(0.001, e.seconds)
      assert.equal(1, #e.also)
      assert.is_true(rawequal(thing, e.also[1]))
      assert.equal("time limit of 0.001 s exceeded", e.message)
      raised.has(tostring(e), "exceeded\n  also: " .. tostring(thing))
    end
  end)

  it("has all that failed where limits are in each other, and is that of the one that expired", function()
    local e = failure(corun.timeout, 0.001, function()
      local _ <close> = closing(function() error("outer", 0) end)
      corun.timeout(1000, wait_badly, "inner")
    end)
    assert.equal("timeout", e.kind)
    assert.equal(0.001, e.seconds)
    assert.same({ "inner", "outer" }, e.also)
  end)

  it("has the Result of what it stopped, too", function()
    local e = failure(corun.timeout, 0.05, function()
      local _ <close> = closing(function() error("in clean-up", 0) end)
      corun.run { support.fixture "ready", stderr = "null" }
    end)
    assert.equal("timeout", e.kind)
    assert.equal("SIGTERM", e.result.signal)
    assert.same({ "in clean-up" }, e.also)
  end)

  it("of a shield is no other", function()
    local e = failure(corun.shield, wait_badly, 0.001)
    assert.equal("timeout", e.kind)
    assert.same({ "in clean-up" }, e.also)
  end)

  it("fails a scope around as one error", function()
    local e = failure(corun.scope, function(scope)
      scope:go(corun.timeout, 0.001, wait_badly)
      corun.sleep(1000)
    end)
    assert.equal("timeout", e.kind)
    assert.same({ "in clean-up" }, e.also)
  end)
end)

describe("The error of a clean-up is what is raised", function()
  local thing = { "table" }

  it("by corun.move_on, which has no time-out to raise", function()
    assert.is_true(rawequal(thing, failure(corun.move_on, 0.001, wait_badly, thing)))
  end)

  it("by a scope that has cancelled itself, or whose deadline has passed", function()
    assert.is_true(rawequal(thing, failure(corun.scope, function(scope)
      scope:cancel()
      wait_badly(thing)
    end)))
    assert.is_true(rawequal(thing, failure(corun.scope, function(scope)
      scope.deadline = corun.now()
      wait_badly(thing)
    end)))
    assert.is_true(rawequal(thing, failure(corun.scope, function(scope)
      scope:go(wait_badly, thing)
      corun.sleep(0)
      scope:cancel()
    end)))
  end)

  it("by a scope that is cancelled from outside, and then by that one", function()
    local inner
    assert.is_true(rawequal(thing, failure(corun.scope, function(outer)
      outer:go(function()
        corun.sleep(0)
        outer:cancel()
      end)
      inner = failure(corun.scope, function() wait_badly(thing) end)
      error(inner, 0)
    end)))
    assert.is_true(rawequal(thing, inner))
  end)

  it("by a task that was cancelled, and by its scope", function()
    local status
    assert.is_true(rawequal(thing, failure(corun.scope, function(scope)
      local task = scope:go(function()
        corun.scope(function() wait_badly(thing) end)
      end)
      waiting.let_others_run()
      task:cancel()
      assert.is_true(rawequal(thing, failure(task.await, task)))
      status = task.status
    end)))
    assert.equal("failed", status)
  end)

  it("by a scope's task that was cancelled without a scope of its own", function()
    assert.is_true(rawequal(thing, failure(corun.scope, function(scope)
      local task = scope:go(wait_badly, thing)
      waiting.let_others_run()
      task:cancel()
    end)))
  end)

  it("with those of other clean-ups in its `also`", function()
    local e = failure(corun.scope, function(scope)
      scope:defer(function() error("in a defer", 0) end)
      scope:cancel()
      wait_badly("in __close")
    end)
    assert.equal("in __close", e.value)
    assert.same({ "in a defer" }, e.also)
  end)

  it("as a group where several tasks' clean-ups have failed", function()
    local e = failure(corun.scope, function(scope)
      for i = 1, 3 do scope:go(wait_badly, i) end
      waiting.let_others_run()
      scope:cancel()
    end)
    assert.equal("group", e.kind)
    table.sort(e.errors)
    assert.same({ 1, 2, 3 }, e.errors)
  end)
end)

describe("A clean-up that fails after the cancellation by an error", function()
  it("is an error beside that one", function()
    local e = failure(corun.scope, function(scope)
      scope:go(wait_badly)
      corun.sleep(0)
      error("first", 0)
    end)
    assert.equal("group", e.kind)
    assert.same({ "first", "in clean-up" }, e.errors)
  end)

  it("in pcall is what pcall gives, and the scope stays cancelled", function()
    local order = {}
    local _, reason = corun.scope(function(scope)
      scope:cancel("why")
      order[#order + 1] = failure(wait_badly)
      order[#order + 1] = raised.error("cancelled", function() corun.sleep(0) end).reason
    end)
    assert.equal("why", reason)
    assert.same({ "in clean-up", "why" }, order)
  end)
end)

describe("A time-out that nobody catches", function()
  it("is printed with what failed while cleaning up", function()
    local source = [[
local corun = require "corun"
corun.timeout(0.001, function()
  local _ <close> = setmetatable({}, {__close = function() error("in clean-up") end})
  corun.sleep(1000)
end)
]]
    local expected = "script.lua:2: time limit of 0.001 s exceeded\n  also: script.lua:3: in clean-up\n"
    for _, host in ipairs(scripts.hosts) do
      local result = host:run(source)
      assert.equal(1, result.code)
      raised.has(result.stderr, expected)
    end
  end)
end)
