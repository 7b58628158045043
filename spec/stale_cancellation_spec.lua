--- What a cancellation has raised in a scope that is over is an error like any other where it is raised again.

local corun = require "corun"
local raised = require "spec.support.raised"

local failure = raised.anything

-- Where such an Error may come from, each a new one.
local origins = {
  ["a scope that has cancelled itself"] = function()
    local e
    corun.scope(function(scope)
      scope:cancel("why")
      e = failure(corun.sleep, 0)
    end)
    return e
  end,
  ["a scope whose deadline has passed"] = function()
    local e
    corun.scope(function(scope)
      scope.deadline = 0
      e = failure(corun.sleep, 0)
    end)
    return e
  end,
  ["a limit in which it was caught"] = function()
    local e
    corun.timeout(0, function() e = failure(corun.sleep, 1000) end)
    return e
  end,
  ["a task that was cancelled"] = function()
    local e
    local task = corun.go(function() e = failure(corun.sleep, 1000) end)
    corun.sleep(0)
    task:cancel("why")
    task:await()
    return e
  end,
  ["a cancelled task that has returned it"] = function()
    local task = corun.go(function() return failure(corun.sleep, 1000) end)
    corun.sleep(0)
    task:cancel("why")
    return task:await()
  end,
}

-- What calls fn, in a scope or a task of its own: what fn raises is to be raised.
local places = {
  ["a task"] = function(fn) corun.scope(function(scope) scope:go(fn) end) end,
  ["a task that has waited, while others wait"] = function(fn)
    corun.scope(function(scope)
      scope:go(corun.sleep, 1000)
      scope:go(function()
        corun.sleep(0)
        fn()
      end)
      corun.sleep(1000)
    end)
  end,
  ["an awaited task"] = function(fn) corun.scope(function(scope) scope:go(fn):await() end) end,
  ["a task's own scope"] = function(fn) corun.scope(function(scope) scope:go(corun.scope, fn) end) end,
  ["a line function"] = function(fn) corun.scope(function() corun.run { "echo", "line", stdout = fn } end) end,
  ["corun.all"] = function(fn) corun.all { function() corun.sleep(1000) end, fn } end,
  ["corun.race"] = function(fn) corun.race { function() corun.sleep(1000) end, fn } end,
  ["corun.race, alone"] = function(fn) corun.race { fn } end,
  ["corun.map, one by one"] = function(fn) corun.map({ 1, 2, 3, 4 }, fn, { jobs = 1 }) end,
  ["corun.map, several at once"] = function(fn)
    corun.map({ 1, 2, 3, 4 }, function(i)
      if i == 3 then fn() end
      corun.sleep(1000)
    end, { jobs = 3 })
  end,
}

describe("A \"cancelled\" Error of", function()
  for origin, make in pairs(origins) do
    describe(origin .. ", raised again", function()
      for name, place in pairs(places) do
        it("is an error in " .. name, function()
          local e = make()
          assert.equal("cancelled", e.kind)
          local caught = failure(place, function() error(e, 0) end)
          assert.is_true(rawequal(e, caught), tostring(caught))
          corun.sleep(0)
        end)
      end

      it("is worth another attempt of corun.retry", function()
        local e, asked = make(), {}
        local attempts = 0
        local caught = failure(corun.retry, { times = 3, delay = 0, when = function(each)
          asked[#asked + 1] = each
          return true
        end }, function()
          attempts = attempts + 1
          error(e, 0)
        end)
        assert.is_true(rawequal(e, caught))
        assert.equal(3, attempts)
        assert.equal(3, e.attempts)
        assert.same({ e, e }, asked)
      end)

      it("fails its task", function()
        local e, task = make(), nil
        failure(corun.scope, function(scope) task = scope:go(error, e, 0) end)
        assert.equal("failed", task.status)
        assert.is_true(rawequal(e, failure(task.await, task)))
      end)

      it("fails a scope that has cancelled itself", function()
        local e = make()
        assert.is_true(rawequal(e, failure(corun.scope, function(scope)
          scope:cancel()
          error(e, 0)
        end)))
      end)
    end)
  end
end)

describe("A \"cancelled\" Error of a scope around", function()
  it("is no error where it passes through what is in that scope", function()
    local shielded = "a line function"
    local passed = {}
    local value, reason = corun.scope(function(outer)
      for name, place in pairs(places) do
        if name ~= shielded then
          outer:go(function()
            local e = failure(place, function() corun.sleep(1000) end)
            passed[name] = e.kind
            error(e, 0)
          end)
        end
      end
      for _ = 1, 5 do corun.sleep(0) end
      outer:cancel("why")
    end)
    assert.is_nil(value)
    assert.equal("why", reason)
    for name in pairs(places) do assert.equal(name ~= shielded and "cancelled" or nil, passed[name], name) end
  end)

  it("makes corun.retry end without another attempt", function()
    local attempts = 0
    corun.scope(function(outer)
      outer:go(corun.retry, { delay = 0, when = function() error "it was asked" end }, function()
        attempts = attempts + 1
        corun.sleep(1000)
      end)
      corun.sleep(0)
      outer:cancel()
    end)
    assert.equal(1, attempts)
  end)
end)
