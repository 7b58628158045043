--- Events and semaphores. (Mutexes: mutex_spec.lua.)

local corun = require "corun"
local raised = require "spec.support.raised"
local waiting = require "spec.support.waiting"

local NAN <const> = 0 / 0

-- What are no seconds, and how a message shows it.
local no_seconds = { { -1, "-1" }, { NAN, "nan" }, { "1", '"1"' }, { true, "true" }, { {}, "a table" } }

local start = waiting.start

local function await_all(tasks)
  for _, task in ipairs(tasks) do task:await() end
end

describe("corun.event", function()
  it("has not happened until it is set, and says so", function()
    local event = corun.event()
    assert.is_false(event:is_set())
    assert.equal("Event (not set)", tostring(event))
    event:set()
    assert.is_true(event:is_set())
    assert.equal("Event (set)", tostring(event))
    event:clear()
    assert.is_false(event:is_set())
    assert.equal("Event (not set)", tostring(event))
  end)

  it("lets all that wait go on, first come, first served", function()
    local event, order, tasks = corun.event(), {}, {}
    for i = 1, 5 do
      tasks[i] = start(function()
        assert.equal(0, select("#", event:wait()))
        order[#order + 1] = i
      end)
    end
    waiting.let_others_run()
    assert.same({}, order)
    event:set()
    assert.same({}, order) -- set does not wait for them
    await_all(tasks)
    assert.same({ 1, 2, 3, 4, 5 }, order)
  end)

  it("once set, ends each wait at once, without another task in between", function()
    local event, ran = corun.event(), false
    event:set()
    event:set()
    corun.go(function() ran = true end)
    for _ = 1, 3 do event:wait() end
    event:wait(0)
    event:wait(1000)
    assert.is_false(ran)
    waiting.let_others_run()
  end)

  it("once cleared, makes later waits wait, and lets those go on that were woken", function()
    local event = corun.event()
    local woken = start(function()
      event:wait()
      return event:is_set()
    end)
    event:set()
    event:clear()
    local later = start(function()
      event:wait()
      return event:is_set()
    end)
    assert.is_false(woken:await())
    waiting.let_others_run()
    assert.equal("waiting", later.status)
    event:set()
    assert.is_true(later:await())
  end)

  it("raises \"timeout\" with the seconds when it does not happen in time", function()
    local event = corun.event()
    local e = raised.error("timeout", function() event:wait(0.001) end)
    assert.equal(0.001, e.seconds)
    assert.equal("wait: it did not come in 0.001 s", e.message)
    assert.equal(0, raised.error("timeout", function() event:wait(0) end).seconds)
    local patient = start(function() event:wait(1000) end)
    raised.error("timeout", function() event:wait(0.001) end)
    event:set()
    patient:await()
  end)

  it("does not time out once it has happened, though the task runs again only later", function()
    local event = corun.event()
    local task = corun.go(function()
      event:wait(0.001)
      corun.sleep(0.002)
      return "has happened"
    end)
    corun.go(function()
      event:set()
      local late = corun.now() + 0.002
      while corun.now() < late do end
    end)
    assert.equal("has happened", task:await())
  end)

  it("refuses what are no seconds, also when it is set", function()
    local event = corun.event()
    for _ = 1, 2 do
      for _, wrong in ipairs(no_seconds) do
        local text = raised.argument(function() event:wait(wrong[1]) end)
        raised.has(text, "wait: seconds expected, 0 or more, got ")
        raised.has(text, wrong[2])
      end
      event:set()
    end
  end)

  it("is waited for in a coroutine and in a callback", function()
    local event, order = corun.event(), {}
    local tasks = {
      start(coroutine.wrap(function()
        event:wait()
        order[#order + 1] = "coroutine"
      end)),
      start(table.sort, { 2, 1 }, function(a, b)
        event:wait()
        order[#order + 1] = "callback"
        return a < b
      end),
    }
    event:set()
    await_all(tasks)
    assert.same({ "coroutine", "callback" }, order)
  end)
end)

describe("corun.semaphore", function()
  it("has so many permits, and says how many nobody has", function()
    local semaphore = corun.semaphore(2)
    assert.equal(2, semaphore.available)
    assert.equal("Semaphore (2 available)", tostring(semaphore))
    assert.is_true(rawequal(semaphore, semaphore:acquire()))
    assert.equal(1, semaphore.available)
    semaphore:acquire()
    assert.equal("Semaphore (0 available)", tostring(semaphore))
    raised.error("timeout", function() semaphore:acquire(0) end)
    assert.equal(0, semaphore.available)
    semaphore:release()
    semaphore:release()
    assert.equal(2, semaphore.available)
  end)

  it("lets so many tasks at a time do something", function()
    local semaphore, inside, most, done = corun.semaphore(3), 0, 0, 0
    corun.scope(function(scope)
      for _ = 1, 10 do
        scope:go(function()
          local _ <close> = semaphore:acquire()
          inside = inside + 1
          most = math.max(most, inside)
          for _ = 1, 3 do corun.sleep(0) end
          inside = inside - 1
          done = done + 1
        end)
      end
    end)
    assert.equal(3, most)
    assert.equal(10, done)
    assert.equal(3, semaphore.available)
  end)

  it("gives a permit to the task that has waited longest", function()
    local semaphore, order, tasks = corun.semaphore(0), {}, {}
    for i = 1, 5 do
      tasks[i] = start(function()
        semaphore:acquire()
        order[#order + 1] = i
      end)
    end
    semaphore:release()
    waiting.let_others_run()
    assert.same({ 1 }, order)
    for _ = 1, 4 do semaphore:release() end
    await_all(tasks)
    assert.same({ 1, 2, 3, 4, 5 }, order)
    assert.equal(0, semaphore.available)
  end)

  it("hands it over at once: nobody who comes later gets in between", function()
    local semaphore, order = corun.semaphore(1), {}
    semaphore:acquire()
    local task = start(function()
      semaphore:acquire()
      order[#order + 1] = "waited"
      semaphore:release()
    end)
    semaphore:release()
    assert.equal(0, semaphore.available)
    semaphore:acquire()
    order[#order + 1] = "came later"
    task:await()
    assert.same({ "waited", "came later" }, order)
    assert.equal(0, semaphore.available)
  end)

  it("does not wait while there is a permit", function()
    local semaphore, ran = corun.semaphore(2), false
    corun.go(function() ran = true end)
    semaphore:acquire()
    semaphore:acquire(0)
    semaphore:release()
    assert.is_false(ran)
    waiting.let_others_run()
  end)

  it("takes permits from any task, and more than it began with", function()
    local semaphore = corun.semaphore(0)
    corun.go(function()
      semaphore:release()
      semaphore:release()
    end):await()
    assert.equal(2, semaphore.available)
    semaphore:acquire()
    semaphore:acquire()
    assert.equal(0, semaphore.available)
  end)

  it("gets its permit back at the end of a block, however that ends", function()
    local semaphore = corun.semaphore(1)
    do
      local permit <close> = semaphore:acquire()
      assert.equal(0, permit.available)
    end
    assert.equal(1, semaphore.available)
    local ok, e = pcall(function()
      local _ <close> = semaphore:acquire()
      error("in the block", 0)
    end)
    assert.same({ false, "in the block" }, { ok, e })
    assert.equal(1, semaphore.available)
    local task = start(function()
      local _ <close> = semaphore:acquire()
      corun.sleep(1000)
    end)
    assert.equal(0, semaphore.available)
    task:cancel()
    raised.error("cancelled", function() task:await() end)
    assert.equal(1, semaphore.available)
  end)

  it("raises \"timeout\" with the seconds; the permit goes to the next", function()
    local semaphore = corun.semaphore(0)
    local e = raised.error("timeout", function() semaphore:acquire(0.001) end)
    assert.equal(0.001, e.seconds)
    assert.equal("acquire: it did not come in 0.001 s", e.message)
    local brief = start(function() return raised.error("timeout", function() semaphore:acquire(0.001) end) end)
    local patient = start(function() return semaphore:acquire(1000) end)
    brief:await()
    semaphore:release()
    assert.equal(semaphore, patient:await())
    semaphore:release()
    assert.equal(1, semaphore.available)
  end)

  it("refuses what is no number of permits", function()
    for _, wrong in ipairs { { -1, "-1" }, { 1.5, "1.5" }, { 1.0, "1.0" }, { math.huge, "inf" }, { "1", '"1"' },
        { nil, "nil" }, { {}, "a table" } } do
      assert.equal("semaphore: a number of permits, 0 or more, expected, got " .. wrong[2],
        raised.argument(function() corun.semaphore(wrong[1]) end))
    end
  end)

  it("refuses what are no seconds to wait", function()
    local semaphore = corun.semaphore(0)
    for _, wrong in ipairs(no_seconds) do
      local text = raised.argument(function() semaphore:acquire(wrong[1]) end)
      raised.has(text, "acquire: seconds expected, 0 or more, got ")
      raised.has(text, wrong[2])
    end
    semaphore:release()
    assert.equal(1, semaphore.available)
  end)
end)
