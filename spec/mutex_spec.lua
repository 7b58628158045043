local corun = require "corun"
local raised = require "spec.support.raised"
local scripts = require "spec.support.scripts"
local waiting = require "spec.support.waiting"

--- A task of that name that calls fn, and has come to its first wait.
local function start(name, fn, ...)
  local task = corun.go(fn, ...)
  task.name = name
  waiting.wait_until("the task has begun", function() return task.status ~= "ready" end)
  return task
end

describe("corun.mutex", function()
  it("is held by one task at a time, and says by which", function()
    local mutex = corun.mutex()
    assert.equal("Mutex (free)", tostring(mutex))
    assert.is_true(rawequal(mutex, mutex:lock()))
    assert.equal("Mutex (held by main)", tostring(mutex))
    local task = start("second", function()
      mutex:lock()
      local text = tostring(mutex)
      mutex:unlock()
      return text
    end)
    waiting.let_others_run()
    assert.equal("waiting", task.status)
    mutex:unlock()
    assert.equal("Mutex (held by second)", task:await())
    assert.equal("Mutex (free)", tostring(mutex))
  end)

  it("keeps what several tasks do, with waits in between, from getting mixed", function()
    local mutex, text = corun.mutex(), ""
    corun.scope(function(scope)
      for i = 1, 4 do
        scope:go(function()
          for _ = 1, 3 do
            local _ <close> = mutex:lock()
            text = text .. i .. "("
            corun.sleep(0)
            corun.sleep(0)
            text = text .. ")"
          end
        end)
      end
    end)
    assert.equal(("1()2()3()4()"):rep(3), text)
    assert.equal("Mutex (free)", tostring(mutex))
  end)

  it("is handed over to the task that has waited longest, and nobody gets in between", function()
    local mutex, order, tasks = corun.mutex(), {}, {}
    mutex:lock()
    for i = 1, 4 do
      tasks[i] = start("task " .. i, function()
        mutex:lock()
        order[#order + 1] = i
        mutex:unlock()
      end)
    end
    mutex:unlock()
    assert.equal("Mutex (held by task 1)", tostring(mutex))
    raised.argument(function() mutex:unlock() end)
    mutex:lock()
    order[#order + 1] = "main"
    mutex:unlock()
    for _, task in ipairs(tasks) do task:await() end
    assert.same({ 1, 2, 3, 4, "main" }, order)
  end)

  it("does not wait while it is free", function()
    local mutex, ran = corun.mutex(), false
    corun.go(function() ran = true end)
    for _ = 1, 3 do mutex:lock():unlock() end
    mutex:lock(0):unlock()
    assert.is_false(ran)
    waiting.let_others_run()
  end)

  it("is unlocked at the end of a block, however that ends", function()
    local mutex = corun.mutex()
    do
      local held <close> = mutex:lock()
      assert.equal("Mutex (held by main)", tostring(held))
    end
    assert.equal("Mutex (free)", tostring(mutex))
    local ok, e = pcall(function()
      local _ <close> = mutex:lock()
      error("in the block", 0)
    end)
    assert.same({ false, "in the block" }, { ok, e })
    assert.equal("Mutex (free)", tostring(mutex))
    local task = start("cancelled", function()
      local _ <close> = mutex:lock()
      corun.sleep(1000)
    end)
    task:cancel()
    mutex:lock():unlock()
    raised.error("cancelled", function() task:await() end)
  end)

  it("raises \"timeout\" with the seconds; then the lock is not held", function()
    local mutex = corun.mutex()
    local holder = start("holder", function()
      local _ <close> = mutex:lock()
      corun.sleep(1000)
    end)
    local e = raised.error("timeout", function() mutex:lock(0.001) end)
    assert.equal(0.001, e.seconds)
    assert.equal("lock: it did not come in 0.001 s", e.message)
    assert.equal(0, raised.error("timeout", function() mutex:lock(0) end).seconds)
    assert.equal("Mutex (held by holder)", tostring(mutex))
    holder:cancel()
    raised.error("cancelled", function() holder:await() end)
    assert.equal("Mutex (free)", tostring(mutex))
  end)

  it("refuses what are no seconds to wait", function()
    local mutex = corun.mutex()
    local holder = start("holder", function()
      local _ <close> = mutex:lock()
      corun.sleep(1000)
    end)
    for _, wrong in ipairs { { -1, "-1" }, { 0 / 0, "nan" }, { "1", '"1"' }, { true, "true" }, { {}, "a table" } } do
      local text = raised.argument(function() mutex:lock(wrong[1]) end)
      raised.has(text, "lock: seconds expected, 0 or more, got ")
      raised.has(text, wrong[2])
    end
    holder:cancel()
    pcall(holder.await, holder)
    assert.equal("Mutex (free)", tostring(mutex))
  end)

  it("raises \"deadlock\" for a task that holds it already, instead of waiting for itself", function()
    local mutex = corun.mutex()
    mutex:lock()
    local e = raised.error("deadlock", function() mutex:lock() end)
    assert.equal("lock: main holds this mutex already and would wait for itself", e.message)
    raised.error("deadlock", function() mutex:lock(0.001) end)
    coroutine.wrap(function() raised.error("deadlock", function() mutex:lock() end) end)()
    assert.equal("Mutex (held by main)", tostring(mutex))
    local waits = start("second", function()
      mutex:lock()
      local own = raised.error("deadlock", function() mutex:lock() end)
      mutex:unlock()
      return own.message
    end)
    mutex:unlock()
    raised.has(waits:await(), "second holds this mutex already")
  end)

  it("belongs to the task: any of its coroutines and callbacks may unlock it", function()
    local mutex = corun.mutex()
    coroutine.wrap(function() mutex:lock() end)()
    assert.equal("Mutex (held by main)", tostring(mutex))
    table.sort({ 2, 1 }, function() mutex:unlock() end)
    assert.equal("Mutex (free)", tostring(mutex))
    mutex:lock()
    local task = start("sorting", table.sort, { 2, 1 }, function() mutex:lock():unlock() end)
    waiting.let_others_run()
    assert.equal("waiting", task.status)
    mutex:unlock()
    task:await()
  end)
end)

describe("mutex:unlock", function()
  it("is an error in a task that does not hold it, which changes nothing", function()
    local mutex = corun.mutex()
    assert.equal("unlock: main does not hold this mutex (Mutex (free))", raised.argument(function() mutex:unlock() end))
    mutex:lock()
    local text = corun.go(function() return raised.argument(function() mutex:unlock() end) end):await()
    assert.matches("^unlock: task %d+ does not hold this mutex %(Mutex %(held by main%)%)$", text)
    assert.equal("Mutex (held by main)", tostring(mutex))
    mutex:unlock()
    raised.argument(function() mutex:unlock() end)
    mutex:lock():unlock()
  end)

  it("is an error at the end of a block in which it was unlocked already", function()
    local mutex = corun.mutex()
    local text = raised.argument(function()
      local held <close> = mutex:lock()
      held:unlock()
    end)
    assert.equal("unlock: main does not hold this mutex (Mutex (free))", text)
  end)
end)

describe("A mutex whose holder has ended", function()
  it("says so, however that has ended", function()
    local mutexes = { corun.mutex(), corun.mutex(), corun.mutex() }
    start("returned", function() mutexes[1]:lock() end)
    local cancelled = start("cancelled", function()
      mutexes[2]:lock()
      corun.sleep(1000)
    end)
    assert.equal("Mutex (held by cancelled)", tostring(mutexes[2]))
    cancelled:cancel()
    pcall(cancelled.await, cancelled)
    pcall(corun.scope, function()
      start("failed", function()
        mutexes[3]:lock()
        error("failed")
      end)
    end)
    for i, name in ipairs { "returned", "cancelled", "failed" } do
      assert.equal(("Mutex (held by %s, which has ended)"):format(name), tostring(mutexes[i]))
      raised.error("timeout", function() mutexes[i]:lock(0) end)
      raised.has(raised.argument(function() mutexes[i]:unlock() end), name .. ", which has ended")
    end
  end)

  for _, host in ipairs(scripts.hosts) do
    it("is named by the deadlock of who waits for it without end, in " .. host.name, function()
      local result = host:run [[
        local corun = require "corun"
        local mutex = corun.mutex()
        local task = corun.go(function() mutex:lock() end)
        task.name = "forgetful"
        task:await()
        print(select(2, pcall(mutex.lock, mutex)))
      ]]
      raised.has(result.stdout, "every task waits for something that can never come")
      assert.matches("main: in lock for %S+ s at script.lua:6, Mutex", result.stdout)
      raised.has(result.stdout, "Mutex (held by forgetful, which has ended)")
      assert.equal("", result.stderr)
    end)
  end
end)
