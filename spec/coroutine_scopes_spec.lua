--- Scopes, limits and shields that a script's coroutine has opened count while it runs, and not for its consumer.

local corun = require "corun"
local support = require "spec.support"
local waiting = require "spec.support.waiting"
local raised = require "spec.support.raised"

local ready = support.fixture "ready"

local failure = raised.anything

--- A generator that stands in open(fn): a function that calls fn in a scope. Each call of it is one step of fn.
local function standing_in(open, fn) return coroutine.wrap(function() open(fn) end) end

local function give_forever()
  while true do coroutine.yield(1) end
end

--- Lets limits of a millisecond that were set before pass.
local function pass_limits()
  corun.sleep(0.002)
  corun.sleep(0)
end

--- A process of this scope that is ready.
local function start(scope)
  local p = scope:spawn { ready, stderr = "null" }
  p.stdout:read_line()
  return p
end

-- How a generator may bound what it does: each calls fn in such a scope, whose limit comes soon.
local limits = {
  ["corun.timeout"] = function(fn) corun.timeout(0.001, fn) end,
  ["corun.move_on"] = function(fn) corun.move_on(0.001, fn) end,
  ["corun.shield"] = function(fn) corun.shield(fn, 0.001) end,
  ["a scope's deadline"] = function(fn)
    corun.scope(function(scope)
      scope.deadline = corun.now() + 0.001
      fn()
    end)
  end,
}

describe("The time limit of a generator", function()
  for name, open in pairs(limits) do
    it("does not hold after a loop over it was left: " .. name, function()
      for value in standing_in(open, give_forever) do
        if value == 1 then break end
      end
      pass_limits()
      assert.equal("fine", corun.capture { "echo", "fine" })
    end)

    it("does not hold for its consumer, between the values: " .. name, function()
      local values = standing_in(open, give_forever)
      values()
      pass_limits()
      assert.equal(1, values())
      assert.equal("fine", corun.go(function() return "fine" end):await(10))
      corun.sleep(0)
    end)

    it("holds in it, though it passed while the consumer was at work: " .. name, function()
      local e
      local values = standing_in(open, function()
        coroutine.yield()
        e = failure(corun.sleep, 1000)
        coroutine.yield()
        error(e, 0)
      end)
      values()
      pass_limits()
      values()
      assert.equal("cancelled", e.kind)
      assert.equal("deadline", e.reason)
      corun.sleep(0)
    end)
  end

  it("is raised in it, and from there by whoever resumes it", function()
    local values = standing_in(limits["corun.timeout"], function()
      coroutine.yield()
      corun.sleep(1000)
    end)
    values()
    pass_limits()
    local e = failure(values)
    assert.equal("timeout", e.kind)
    assert.equal(0.001, e.seconds)
  end)
end)

describe("A consumer's own", function()
  it("time limit holds in a generator that it resumes", function()
    for name, open in pairs { ["no scope"] = function(fn) fn() end, ["a scope"] = corun.scope,
      ["a limit"] = function(fn) corun.timeout(1000, fn) end } do
      local function step()
        coroutine.yield()
        corun.sleep(10)
      end
      local before = standing_in(open, step)
      before()
      local e = failure(corun.timeout, 0.001, before)
      assert.same({ "timeout", 0.001 }, { e.kind, e.seconds }, name)
      e = failure(corun.timeout, 0.001, function()
        local values = standing_in(open, step)
        values()
        values()
      end)
      assert.same({ "timeout", 0.001 }, { e.kind, e.seconds }, name)
    end
  end)

  it("time limit holds after a generator has left its scope in it", function()
    for name, open in pairs { ["a scope"] = corun.scope, ["a limit"] = function(fn) corun.timeout(1000, fn) end } do
      local values = coroutine.wrap(function()
        open(coroutine.yield)
        coroutine.yield()
      end)
      values()
      local e = failure(corun.timeout, 0.001, function()
        values()
        corun.sleep(10)
      end)
      assert.same({ "timeout", 0.001 }, { e.kind, e.seconds }, name)
      values()
    end
  end)

  it("cancelled scope is not shielded by a generator's shield", function()
    local e, inside
    corun.scope(function(scope)
      local values = standing_in(corun.shield, function()
        coroutine.yield(1)
        inside = pcall(corun.sleep, 0)
        coroutine.yield(2)
      end)
      values()
      scope:cancel("why")
      e = failure(corun.sleep, 0)
      values()
      assert.equal("why", failure(corun.sleep, 0).reason)
    end)
    assert.equal("cancelled", e.kind)
    assert.is_true(inside)
  end)

  it("cancellation wakes it, though its generator stands in a shield", function()
    local e
    local value, reason = corun.scope(function(scope)
      local values = standing_in(corun.shield, give_forever)
      values()
      scope:go(function() scope:cancel("why") end)
      e = failure(corun.sleep, 1000)
    end)
    assert.is_nil(value)
    assert.equal("why", reason)
    assert.equal("cancelled", e.kind)
  end)
end)

describe("Two generators that stand in scopes", function()
  --- Notes each of its steps, and what it has started where.
  local function generator(name, log)
    return coroutine.wrap(function()
      corun.scope(function()
        coroutine.yield()
        corun.go(function() log[#log + 1] = "task of " .. name end)
        corun.sleep(0)
        coroutine.yield()
        log[#log + 1] = name .. " leaves"
      end)
      log[#log + 1] = name .. " has left"
    end)
  end

  --- All orders of so many a's and b's: who is resumed, three times each; the first opens, the last leaves.
  local function orders(a, b)
    if a + b == 0 then return { "" } end
    local all = {}
    for _, rest in ipairs(a > 0 and orders(a - 1, b) or {}) do all[#all + 1] = "a" .. rest end
    for _, rest in ipairs(b > 0 and orders(a, b - 1) or {}) do all[#all + 1] = "b" .. rest end
    return all
  end

  it("may be entered and left in any order", function()
    for _, order in ipairs(orders(3, 3)) do
      local log, task = {}, nil
      local value = corun.scope(function()
        local generators = { a = generator("a", log), b = generator("b", log) }
        for which in order:gmatch "." do
          generators[which]()
          corun.sleep(0)
        end
        task = corun.go(function()
          corun.sleep(0)
          log[#log + 1] = "own"
        end)
        return "value"
      end)
      assert.equal("value", value, order)
      assert.equal("ended", task.status, order)
      assert.equal("own", log[7], order)
      local position = {}
      for i, entry in ipairs(log) do position[entry] = i end
      for _, name in ipairs { "a", "b" } do
        assert.is_true(position["task of " .. name] < position[name .. " leaves"], order)
        assert.equal(position[name .. " leaves"] + 1, position[name .. " has left"], order)
      end
    end
  end)
end)

describe("What a generator has opened and not left", function()
  it("is cancelled and stopped at the end of the scope around; the consumer's own goes on to its end", function()
    local log, inner, theirs, own = {}, nil, nil, nil
    corun.scope(function(outer)
      own = start(outer)
      outer:go(function()
        waiting.let_others_run()
        log[#log + 1] = own.status and "stopped" or "own process runs"
        log[#log + 1] = "own task ends"
      end)
      local values = coroutine.wrap(function()
        corun.scope(function(scope)
          theirs = start(scope)
          scope:defer(function() log[#log + 1] = inner.status end)
          inner = scope:go(corun.sleep, 1000)
          give_forever()
        end)
      end)
      values()
      corun.sleep(0)
    end)
    assert.same({ "own process runs", "own task ends", "cancelled" }, log)
    assert.equal("SIGTERM", theirs.status.signal)
    assert.equal("SIGTERM", own.status.signal)
  end)

  it("is found in scopes in scopes, and in limits", function()
    local log, theirs = {}, nil
    corun.scope(function()
      local values = coroutine.wrap(function()
        corun.timeout(1000, corun.scope, function(scope)
          scope:defer(function() log[#log + 1] = "outer" end)
          corun.scope(function(innermost)
            theirs = start(innermost)
            innermost:defer(function() log[#log + 1] = "inner" end)
            corun.shield(give_forever)
          end)
        end)
      end)
      values()
    end)
    assert.same({ "inner", "outer" }, log)
    assert.equal("SIGTERM", theirs.status.signal)
  end)

  it("is stopped at the end of the scope that owns the consuming task, when that has ended", function()
    local p, running
    corun.scope(function(outer)
      outer:go(function()
        local values = standing_in(corun.scope, function(scope) coroutine.yield(start(scope)) end)
        p = values()
      end):await()
      running = p.status == nil
    end)
    assert.is_true(running)
    assert.equal("SIGTERM", p.status.signal)
  end)

  it("may fail there: its errors are those of the scope around", function()
    local e = failure(corun.scope, function()
      local values = standing_in(corun.scope, function(scope)
        scope:defer(function() error("in a defer", 0) end)
        scope:go(function()
          pcall(corun.sleep, 1000)
          error("of a task", 0)
        end)
        coroutine.yield()
      end)
      values()
      corun.sleep(0)
    end)
    assert.equal("of a task", e.value)
    assert.same({ "in a defer" }, e.also)
  end)
end)
