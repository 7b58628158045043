--- The tools between tasks at their edges: many attempts, none begun, none shared, and waits that are refused.

local corun = require "corun"
local raised = require "spec.support.raised"
local support = require "spec.support"

local closing = support.closing

local failure = raised.anything

--- A function that always fails, and one that says how often it was called.
local function failing()
  local calls = 0
  return function()
    calls = calls + 1
    error("attempt " .. calls, 0)
  end, function() return calls end
end

describe("corun.retry", function()
  it("without a delay makes as many attempts as it is told, also where the factor grows beyond all numbers", function()
    for _, options in ipairs {
      { times = 1200, delay = 0 }, { times = 1200, delay = 0, factor = 1e300 },
      { times = 1200, delay = 0, max_delay = 0 }, { times = 1200, delay = 0, jitter = 0, factor = math.huge },
      { times = 1200, delay = 1, max_delay = 0 },
    } do
      local fn, calls = failing()
      assert.equal("attempt 1200", failure(corun.retry, options, fn))
      assert.equal(1200, calls())
    end
  end)

  it("in a __close handler makes all attempts, though limits around it have passed", function()
    for name, limit in pairs {
      ["corun.timeout"] = function(fn) corun.timeout(0.001, fn) end,
      ["corun.move_on"] = function(fn) corun.move_on(0.001, fn) end,
      ["a scope's deadline"] = function(fn)
        corun.scope(function(scope)
          scope.deadline = corun.now() + 0.001
          fn()
        end)
      end,
      ["a limit that has not passed yet"] = function(fn) corun.timeout(0.02, pcall, fn) end,
    } do
      local fn, calls = failing()
      local caught
      pcall(limit, function()
        local _ <close> = closing(function()
          caught = failure(corun.retry, { times = 3, delay = 0.02, factor = 1, jitter = 0 }, fn)
        end)
        if name ~= "a limit that has not passed yet" then corun.sleep(1000) end
      end)
      assert.equal("attempt 3", caught, name)
      assert.equal(3, calls())
    end
  end)

  it("heeds a limit that was opened in that handler", function()
    local fn, calls = failing()
    local caught
    pcall(corun.timeout, 0, function()
      local _ <close> = closing(function()
        caught = failure(corun.timeout, 1, corun.retry, { times = 3, delay = 1000, jitter = 0 }, fn)
      end)
      corun.sleep(1000)
    end)
    assert.equal("attempt 1", caught)
    assert.equal(1, calls())
  end)

  it("in a generator heeds the limit there, and in its consumer it does not", function()
    local fn, calls = failing()
    local options = { times = 2, delay = 0.002, jitter = 0 }
    local step = coroutine.wrap(function()
      corun.timeout(0.001, function()
        coroutine.yield()
        coroutine.yield(failure(corun.retry, options, fn))
      end)
    end)
    step()
    assert.equal("attempt 2", failure(corun.retry, options, fn))
    assert.equal("attempt 3", step())
    assert.equal(3, calls())
  end)
end)

describe("corun.race", function()
  it("never calls a function that has not begun when it is won", function()
    local called = {}
    local function contestant(name)
      return function()
        called[#called + 1] = name
        return name
      end
    end
    local winner = corun.race { contestant "a", contestant "b", contestant "c" }
    assert.same({ winner }, called)
  end)

  it("calls all of them where the first has to wait", function()
    local called = {}
    local function contestant(name)
      return function()
        called[name] = true
        corun.sleep(0)
        return name
      end
    end
    corun.race { contestant "a", contestant "b" }
    assert.same({ a = true, b = true }, called)
  end)
end)

describe("pairs of corun.locals", function()
  it("hands out nothing by which the values of another task could be changed", function()
    corun.scope(function(scope)
      scope:go(function()
        corun.locals.name, corun.locals.other = "mine", 1
        local seen = {}
        corun.go(function()
          for _, value in ipairs { table.pack(pairs(corun.locals)) } do
            for i = 1, value.n do
              if type(value[i]) == "table" and value[i] ~= corun.locals then value[i].name = "changed" end
            end
          end
          for name, value in pairs(corun.locals) do seen[name] = value end
        end):await()
        assert.same({ name = "mine", other = 1 }, seen)
        assert.equal("mine", corun.locals.name)
      end)
    end)
  end)

  it("goes over what there was at its beginning, though a value is assigned meanwhile", function()
    corun.scope(function(scope)
      scope:go(function()
        corun.locals.a, corun.locals.b = 1, 2
        local seen = {}
        for name, value in pairs(corun.locals) do
          seen[name] = value
          corun.locals[name] = nil
          corun.locals["new " .. name] = value
        end
        assert.same({ a = 1, b = 2 }, seen)
        seen = {}
        for name, value in pairs(corun.locals) do seen[name] = value end
        assert.same({ ["new a"] = 1, ["new b"] = 2 }, seen)
      end)
    end)
  end)
end)

describe("A wait that cannot be is refused", function()
  local function nan() return 0 / 0 end

  it("by corun.every: a time that is too short for the clock", function()
    local called
    local function tick() called = true end
    for given, shown in pairs { [1e-320] = "9.9998886718268e-321", [1e-10] = "1e-10", [0] = "0", [-1] = "-1" } do
      assert.equal("every: seconds expected, 1e-09 or more, got " .. shown,
        raised.argument(function() corun.every(given, tick) end))
    end
    assert.matches("^every: seconds expected, 1e%-09 or more, got %-?nan$",
      raised.argument(function() corun.every(nan(), tick) end))
    assert.is_nil(called)
  end)

  it("by the shortest time that corun.every takes it is not", function()
    local ticks = 0
    corun.every(1e-9, function()
      ticks = ticks + 1
      return ticks < 3
    end)
    assert.equal(3, ticks)
  end)

  it("by a semaphore and a mutex also where there is no need to wait", function()
    local semaphore, mutex = corun.semaphore(1), corun.mutex()
    assert.equal('acquire: seconds expected, 0 or more, got "soon"',
      raised.argument(function() semaphore:acquire("soon") end))
    assert.equal("acquire: seconds expected, 0 or more, got -1", raised.argument(function() semaphore:acquire(-1) end))
    assert.equal("lock: seconds expected, 0 or more, got -1", raised.argument(function() mutex:lock(-1) end))
    assert.equal("lock: seconds expected, 0 or more, got a table", raised.argument(function() mutex:lock({}) end))
    assert.equal(1, semaphore.available)
    assert.equal("Mutex (free)", tostring(mutex))
    mutex:lock(0)
    assert.equal("lock: seconds expected, 0 or more, got -1", raised.argument(function() mutex:lock(-1) end))
    mutex:unlock()
  end)
end)
