--- Events, semaphores and mutexes against cancellations and time-outs, in the turn in which what is waited for comes.

local corun = require "corun"
local raised = require "spec.support.raised"
local waiting = require "spec.support.waiting"

local start = waiting.start

local function is_cancelled(task)
  raised.error("cancelled", function() task:await() end)
end

--- Calls lock() and unlocks at its end; returns what it raised.
local function lock_for_a_moment(mutex, seconds)
  local ok, e = pcall(mutex.lock, mutex, seconds)
  if not ok then return e end
  mutex:unlock()
end

describe("A cancelled wait", function()
  it("for an event ends, though the event is set in the same turn", function()
    local event = corun.event()
    local task, other = start(event.wait, event), start(event.wait, event)
    task:cancel()
    event:set()
    is_cancelled(task)
    other:await()
    assert.is_true(event:is_set())
  end)

  it("for a permit takes none, though one is released in the same turn", function()
    local semaphore = corun.semaphore(0)
    local task = start(semaphore.acquire, semaphore)
    task:cancel()
    semaphore:release()
    assert.equal(1, semaphore.available)
    is_cancelled(task)
    assert.equal(1, semaphore.available)
  end)

  it("for a permit leaves it to the next", function()
    local semaphore = corun.semaphore(0)
    local task, other = start(semaphore.acquire, semaphore), start(semaphore.acquire, semaphore)
    task:cancel()
    semaphore:release()
    assert.equal(semaphore, other:await())
    is_cancelled(task)
    assert.equal(0, semaphore.available)
  end)

  it("for a mutex does not hold it, though it is unlocked in the same turn", function()
    local mutex = corun.mutex():lock()
    local task = start(mutex.lock, mutex)
    task:cancel()
    mutex:unlock()
    assert.equal("Mutex (free)", tostring(mutex))
    is_cancelled(task)
    assert.equal("Mutex (free)", tostring(mutex))
  end)

  it("for a mutex leaves it to the next", function()
    local mutex = corun.mutex():lock()
    local task, other = start(mutex.lock, mutex), start(lock_for_a_moment, mutex)
    other.name = "other"
    task:cancel()
    mutex:unlock()
    assert.equal("Mutex (held by other)", tostring(mutex))
    assert.is_nil(other:await())
    is_cancelled(task)
    assert.equal("Mutex (free)", tostring(mutex))
  end)

  it("closes what a task has locked before, and hands it on", function()
    local mutex, got = corun.mutex(), {}
    local holder = start(function()
      local _ <close> = mutex:lock()
      corun.sleep(1000)
    end)
    local heirs = {}
    for i = 1, 2 do
      heirs[i] = start(function()
        local _ <close> = mutex:lock()
        got[#got + 1] = i
      end)
    end
    holder:cancel()
    is_cancelled(holder)
    heirs[2]:await()
    assert.same({ 1, 2 }, got)
    assert.equal("Mutex (free)", tostring(mutex))
  end)
end)

describe("What was granted before a cancellation in the same turn", function()
  --- Runs `wait` in a task, grants it what it waits for, and cancels it before it goes on. Returns what it was told at
  --- its next wait.
  local function granted(wait, grant)
    local task = start(function()
      wait()
      local ok, e = pcall(corun.sleep, 0)
      return ok or e.kind
    end)
    task.name = "granted"
    grant()
    task:cancel()
    return task
  end

  it("is that the event has happened", function()
    local event = corun.event()
    local task = granted(function() event:wait() end, function()
      event:set()
      event:clear()
    end)
    assert.equal("cancelled", task:await())
  end)

  it("is a permit, which it has to give back", function()
    local semaphore = corun.semaphore(0)
    local task = granted(function() semaphore:acquire() end, function() semaphore:release() end)
    raised.error("timeout", function() semaphore:acquire(0) end)
    assert.equal("cancelled", task:await())
    assert.equal(0, semaphore.available)
  end)

  it("is the lock, which it holds", function()
    local mutex = corun.mutex():lock()
    local task = granted(function() mutex:lock() end, function() mutex:unlock() end)
    assert.equal("Mutex (held by granted)", tostring(mutex))
    raised.error("timeout", function() mutex:lock(0) end)
    assert.equal("cancelled", task:await())
    assert.equal("Mutex (held by granted, which has ended)", tostring(mutex))
  end)

  it("is given back by <close>, to those that wait", function()
    local mutex, semaphore = corun.mutex():lock(), corun.semaphore(0)
    local task = granted(function()
      local _ <close> = mutex:lock()
      local _ <close> = semaphore:acquire()
      corun.sleep(1000)
    end, function()
      mutex:unlock()
      semaphore:release()
    end)
    local heir = corun.go(function()
      local _ <close> = mutex:lock()
      return "inherited"
    end)
    assert.equal("inherited", heir:await())
    is_cancelled(task)
    assert.equal("Mutex (free)", tostring(mutex))
    assert.equal(1, semaphore.available)
  end)
end)

describe("A time-out in the turn in which", function()
  local LIMIT <const> = 0.0015

  --- Runs them at once, and keeps the loop from its turn until all their times have passed: they come in one turn, in
  --- the order of the times.
  local function together(...)
    local functions = { ... }
    corun.scope(function(scope)
      for _, fn in ipairs(functions) do scope:go(fn) end
      corun.sleep(0)
      local late = corun.now() + 0.004
      while corun.now() < late do end
    end)
  end

  for _, case in ipairs { { "just before", 0.001 }, { "just after", 0.002 } } do
    local title, seconds = table.unpack(case)
    it("an event is set " .. title .. " it is raised, or the wait returns", function()
      local event, ok, e = corun.event(), nil, nil
      together(function()
        corun.sleep(seconds)
        event:set()
      end, function() ok, e = pcall(event.wait, event, LIMIT) end)
      assert.is_true(ok or e.kind == "timeout")
      assert.is_true(event:is_set())
    end)

    it("a permit is released " .. title .. " it leaves that to the next, or the permit was taken", function()
      local semaphore, ok, e, heir = corun.semaphore(0), nil, nil, nil
      together(function()
        corun.sleep(seconds)
        semaphore:release()
      end, function()
        ok, e = pcall(semaphore.acquire, semaphore, LIMIT)
        if ok then semaphore:release() end
      end, function() heir = semaphore:acquire() end)
      assert.is_true(ok or e.kind == "timeout")
      assert.equal(semaphore, heir)
      assert.equal(0, semaphore.available)
    end)

    it("a lock is given up " .. title .. " it leaves that to the next, or the lock was held", function()
      local mutex, e, heir = corun.mutex(), nil, false
      together(function()
        local _ <close> = mutex:lock()
        corun.sleep(seconds)
      end, function() e = lock_for_a_moment(mutex, LIMIT) end, function()
        local _ <close> = mutex:lock()
        heir = true
      end)
      assert.is_true(e == nil or e.kind == "timeout", tostring(e))
      assert.is_true(heir)
      assert.equal("Mutex (free)", tostring(mutex))
    end)
  end
end)

describe("In a cancelled scope", function()
  it("nothing is waited for or taken, though it could be had at once", function()
    local event, semaphore, mutex = corun.event(), corun.semaphore(1), corun.mutex()
    event:set()
    corun.scope(function(scope)
      scope:cancel()
      raised.error("cancelled", function() event:wait() end)
      raised.error("cancelled", function() semaphore:acquire() end)
      raised.error("cancelled", function() mutex:lock() end)
    end)
    assert.equal(1, semaphore.available)
    assert.equal("Mutex (free)", tostring(mutex))
  end)

  it("what was taken before can be given back", function()
    local event, semaphore, mutex = corun.event(), corun.semaphore(1), corun.mutex()
    corun.scope(function(scope)
      semaphore:acquire()
      mutex:lock()
      scope:cancel()
      event:set()
      semaphore:release()
      mutex:unlock()
    end)
    assert.is_true(event:is_set())
    assert.equal(1, semaphore.available)
    assert.equal("Mutex (free)", tostring(mutex))
  end)

  it("a __close handler may wait for all of them", function()
    local event, semaphore, mutex, done = corun.event(), corun.semaphore(0), corun.mutex():lock(), false
    local task = start(function()
      local _ <close> = setmetatable({}, { __close = function()
        event:wait()
        semaphore:acquire()
        mutex:lock():unlock()
        done = true
      end })
      corun.sleep(1000)
    end)
    task:cancel()
    waiting.let_others_run()
    event:set()
    waiting.let_others_run()
    semaphore:release()
    waiting.let_others_run()
    mutex:unlock()
    is_cancelled(task)
    assert.is_true(done)
    assert.equal("Mutex (free)", tostring(mutex))
  end)

  it("a __close handler goes on with the wait in which the cancellation finds it", function()
    local event, mutex = corun.event(), corun.mutex():lock()
    for _, case in ipairs {
      { wait = function() event:wait() end, grant = function() event:set() end },
      { wait = function() mutex:lock():unlock() end, grant = function() mutex:unlock() end },
    } do
      local task = start(function()
        local _ <close> = setmetatable({}, { __close = case.wait })
      end)
      task:cancel()
      waiting.let_others_run()
      assert.equal("waiting", task.status)
      case.grant()
      task:await()
    end
    assert.equal("Mutex (free)", tostring(mutex))
  end)
end)
