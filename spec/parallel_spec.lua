local corun = require "corun"
local raised = require "spec.support.raised"
local support = require "spec.support"
local waiting = require "spec.support.waiting"

local ready = support.fixture "ready"

--- A function that ends when `count` of its kind have begun: alone, or one after the other, they never would.
local function meeting(count)
  local begun, all_there = 0, corun.event()
  return function(...)
    begun = begun + 1
    if begun == count then all_there:set() end
    all_there:wait(10)
    return ...
  end
end

--- A function that waits until it is cancelled, and then a little longer; it notes that in `log`.
local function lingering(log, name)
  return function()
    local _ <close> = setmetatable({}, {
      __close = function(_, e)
        corun.sleep(0.002)
        log[#log + 1] = name .. " " .. tostring(e and e.kind)
      end,
    })
    corun.sleep(1000)
  end
end

--- A function that lets the others begin, and then ends so.
local function soon(value, fails)
  return function()
    corun.sleep(0)
    if fails then error(value, 0) end
    return value
  end
end

describe("corun.all", function()
  it("calls all at once and gives their results under their keys", function()
    local meet = meeting(3)
    local results = corun.all {
      a = function() return meet "of a" end,
      [10] = function() return meet "of 10" end,
      function() return meet "of 1" end,
    }
    assert.same({ a = "of a", [10] = "of 10", "of 1" }, results)
  end)

  it("gives a list for a list, whichever ends first", function()
    local second_ended = corun.event()
    local results = corun.all {
      function()
        second_ended:wait(10)
        return "one"
      end,
      function()
        second_ended:set()
        return "two"
      end,
    }
    assert.same({ "one", "two" }, results)
  end)

  it("keeps the first result of each, false as well, and nothing where there is none", function()
    assert.same({ [1] = 1, [3] = false }, corun.all {
      function() return 1, 2 end, function() end, function() return false end, function() return nil, 4 end,
    })
  end)

  it("of no functions gives an empty table", function()
    assert.same({}, corun.all {})
  end)

  it("cancels the others at the first error, and raises it as it is when they have ended", function()
    for _, thing in ipairs { "mine", { a = "table" } } do
      local log = {}
      local ok, e = pcall(corun.all, { lingering(log, "one"), soon(thing, true), lingering(log, "three") })
      assert.is_false(ok)
      assert.is_true(rawequal(thing, e))
      table.sort(log)
      assert.same({ "one cancelled", "three cancelled" }, log)
    end
  end)

  it("raises an Error that knows the line in the function", function()
    local function fail() corun.run { "false" } end
    local ok, e = pcall(corun.all, { fail })
    assert.is_false(ok)
    assert.equal("exit", e.kind)
    assert.matches("parallel_spec.lua:" .. debug.getinfo(fail, "S").linedefined .. ":$", e.where)
  end)

  it("raises the errors of several as one of kind \"group\"", function()
    local ok, e = pcall(corun.all, {
      function() error("first", 0) end,
      function()
        pcall(corun.sleep, 1000)
        error("second", 0)
      end,
    })
    assert.is_false(ok)
    assert.equal("group", e.kind)
    assert.same({ "first", "second" }, e.errors)
  end)

  it("owns what its functions start: it waits for the tasks and stops the processes", function()
    local p, ended
    corun.all {
      function() p = corun.spawn { ready, stderr = "null" } end,
      function()
        corun.go(function()
          corun.sleep(0.002)
          ended = true
        end)
      end,
    }
    assert.is_true(ended)
    assert.is_true(support.is_gone(p.pid))
  end)

  it("runs commands beside each other", function()
    local pipe = support.directory() .. "/pipe"
    corun.run { "mkfifo", pipe }
    local results = corun.all {
      reader = function() return corun.capture { "cat", pipe, timeout = 10 } end, -- each waits for the other
      writer = function() return corun.run { "sh", "-c", 'echo met >"$0"', pipe, timeout = 10 }.code end,
    }
    assert.same({ reader = "met", writer = 0 }, results)
  end)

  it("is cancelled from outside with all its functions", function()
    local log = {}
    local task = corun.go(corun.all, { lingering(log, "one"), lingering(log, "two") })
    waiting.let_others_run()
    task:cancel("outside")
    assert.equal("outside", raised.error("cancelled", function() task:await() end).reason)
    table.sort(log)
    assert.same({ "one cancelled", "two cancelled" }, log)
  end)

  it("ends with the time limit around it", function()
    local log = {}
    local e = raised.error("timeout", function()
      corun.timeout(0.002, function() corun.all { lingering(log, "one"), function() return "fast" end } end)
    end)
    assert.equal(0.002, e.seconds)
    assert.same({ "one cancelled" }, log)
  end)

  it("works inside of itself, in a coroutine and in a callback of table.sort", function()
    local meet = meeting(4)
    local function two() return corun.all { function() return meet(1) end, function() return meet(2) end } end
    local values = coroutine.wrap(function() coroutine.yield(corun.all { two, two }) end)
    assert.same({ { 1, 2 }, { 1, 2 } }, values())
    local sorted = { 2, 1, 3 }
    table.sort(sorted, function(a, b)
      local got = corun.all { soon(a), soon(b) }
      return got[1] < got[2]
    end)
    assert.same({ 1, 2, 3 }, sorted)
  end)

  it("refuses what is no table of functions, before it calls one", function()
    local called = false
    local function call() called = true end
    assert.equal("all: a table of functions expected, got nil", raised.argument(function() corun.all() end))
    for _, case in ipairs {
      { call, "all: a table of functions expected, got a function" },
      { "x", 'all: a table of functions expected, got "x"' },
      { { call, 5 }, "all: a function expected at 2, got 5" },
      { { call, x = {} }, 'all: a function expected at "x", got a table' },
    } do
      assert.equal(case[2], raised.argument(function() corun.all(case[1]) end))
    end
    waiting.let_others_run()
    assert.is_false(called)
  end)
end)

describe("corun.race", function()
  it("calls all at once and gives what the first that ends returns, nil too", function()
    local meet = meeting(2)
    local function slow()
      meet()
      corun.sleep(1000)
    end
    local function fast() return meet(1, nil, "x", nil) end
    assert.same({ 1, nil, "x", nil, n = 4 }, table.pack(corun.race { slow, fast }))
    assert.same({ nil, n = 1 }, table.pack(corun.race { lingering({}, ""), function() return nil end }))
    assert.same({ n = 0 }, table.pack(corun.race { lingering({}, ""), function() end }))
  end)

  it("cancels the others and returns when they have ended", function()
    local log = {}
    assert.equal("won", corun.race { lingering(log, "one"), soon "won", lingering(log, "three") })
    table.sort(log)
    assert.same({ "one cancelled", "three cancelled" }, log)
  end)

  it("raises what the first raises, and cancels the others", function()
    local log, thing = {}, {}
    local ok, e = pcall(corun.race, { lingering(log, "one"), soon(thing, true) })
    assert.is_false(ok)
    assert.equal(thing, e)
    assert.same({ "one cancelled" }, log)
  end)

  it("is won once, though others return before they wait again", function()
    local go = corun.event()
    local returned = {}
    local function runner(name)
      return function()
        go:wait()
        returned[#returned + 1] = name
        return name
      end
    end
    local winner = corun.race { runner "a", runner "b", function()
      corun.sleep(0)
      go:set()
      corun.sleep(1000)
    end }
    assert.equal(2, #returned)
    assert.equal(returned[1], winner)
  end)

  it("is not won by one that swallows its cancellation", function()
    local swallowed
    assert.equal("won", corun.race {
      function()
        swallowed = not pcall(corun.sleep, 1000)
        return "late"
      end,
      soon "won",
    })
    assert.is_true(swallowed)
  end)

  it("does not hide what fails in a loser's clean-up", function()
    local ok, e = pcall(corun.race, {
      function()
        pcall(corun.sleep, 1000)
        error("in the clean-up", 0)
      end,
      soon "won",
    })
    assert.is_false(ok)
    assert.equal("in the clean-up", e)
  end)

  it("stops the command of a loser", function()
    local function echo() return corun.capture { "echo", "won" } end
    assert.equal("won", corun.race { function() corun.run { ready } end, echo })
    assert.same({}, support.children())
  end)

  it("in a race ends that one alone", function()
    local order = {}
    local outer = corun.race {
      function()
        local won = corun.race { lingering(order, "inner"), soon "inner won" }
        corun.sleep(0.002)
        order[#order + 1] = won
        return "outer won"
      end,
      lingering(order, "outer"),
    }
    assert.equal("outer won", outer)
    assert.same({ "inner cancelled", "inner won", "outer cancelled" }, order)
  end)

  it("raises \"cancelled\" where a function awaits a task that was, and from outside", function()
    local gone = corun.go(corun.sleep, 1000)
    gone:cancel("before")
    local e = raised.error("cancelled", function() corun.race { function() gone:await() end, lingering({}, "") } end)
    assert.equal("before", e.reason)
    local log = {}
    local task = corun.go(corun.race, { lingering(log, "one") })
    waiting.let_others_run()
    task:cancel("outside")
    assert.equal("outside", raised.error("cancelled", function() task:await() end).reason)
    assert.same({ "one cancelled" }, log)
    assert.same({ nil, "timeout" }, { corun.move_on(0.002, corun.race, { function() corun.sleep(1000) end }) })
  end)

  it("refuses what is no list of functions, and an empty one", function()
    local called = false
    for _, case in ipairs {
      { 5, "race: a table of functions expected, got 5" }, { {}, "race: at least one function expected, got none" },
      { { function() called = true end, "x" }, 'race: a function expected at 2, got "x"' },
    } do
      assert.equal(case[2], raised.argument(function() corun.race(case[1]) end))
    end
    waiting.let_others_run()
    assert.is_false(called)
  end)
end)
