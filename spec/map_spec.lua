local corun = require "corun"
local core = require "corun.core"
local raised = require "spec.support.raised"
local support = require "spec.support"
local waiting = require "spec.support.waiting"

--- An iterator over 1 to `last`.
local function numbers(last)
  local i = 0
  return function()
    i = i + 1
    if i <= last then return i end
  end
end

--- The highest number of calls at once when `count` items are mapped.
local function most_at_once(count, options)
  local now, most = 0, 0
  corun.map(numbers(count), function()
    now = now + 1
    most = math.max(most, now)
    corun.sleep(0)
    now = now - 1
  end, options)
  return most
end

describe("corun.map", function()
  it("calls fn with each item of a list and its number, and gives the first results", function()
    local results = corun.map({ "a", false, "c" }, function(...) return { ... }, "second" end)
    assert.same({ { "a", 1 }, { false, 2 }, { "c", 3 } }, results)
  end)

  it("calls fn with all that an iterator gives, and asks it for nothing", function()
    local asked, given = 0, {}
    local results = corun.map(function(...)
      given[#given + 1] = select("#", ...)
      asked = asked + 1
      if asked <= 3 then return asked, nil, "x", nil end
    end, table.pack)
    assert.same({ 1, nil, "x", nil, n = 4 }, results[1])
    assert.equal(3, #results)
    assert.same({ 0, 0, 0, 0 }, given) -- the last time at its end, and not again
  end)

  it("gives the results in the order of the items, or as they come", function()
    for ordered, expected in pairs { [true] = { "one", "two" }, [false] = { "two", "one" } } do
      local second_ended = corun.event()
      local results = corun.map({ "one", "two" }, function(item)
        if item == "one" then second_ended:wait(10) else second_ended:set() end
        return item
      end, { jobs = 2, ordered = ordered })
      assert.same(expected, results)
    end
  end)

  it("leaves a hole where there is no result, or leaves it out", function()
    local function odd(n) return n % 2 == 1 and (n ~= 3 and n) or nil end
    assert.same({ [1] = 1, [5] = 5 }, corun.map(numbers(5), odd))
    assert.same({ 1, 5 }, corun.map(numbers(5), odd, { ordered = false, jobs = 1 }))
    assert.same({ false, false }, corun.map({ 1, 2 }, function() return false end, { ordered = false }))
  end)

  it("of nothing gives an empty list", function()
    assert.same({}, corun.map({}, error))
    assert.same({}, corun.map(function() end, error))
  end)

  it("works at so many items at once as `jobs` says", function()
    for jobs, most in pairs { [1] = 1, [3] = 3, [20] = 12, [math.huge] = 12 } do
      assert.equal(most, most_at_once(12, { jobs = jobs }))
    end
  end)

  it("works at so many items at once as there are processors unless told", function()
    local processors = core.processors()
    assert.equal(processors, most_at_once(2 * processors))
    assert.equal(processors, most_at_once(2 * processors, { ordered = false }))
  end)

  it("runs commands beside each other", function()
    local results = corun.map({ 3, 1, 2 }, function(n, number)
      return number .. corun.capture { "sh", "-c", "echo $0", n }
    end, { jobs = 2 })
    assert.same({ "13", "21", "32" }, results)
    local pipe = support.directory() .. "/pipe"
    corun.run { "mkfifo", pipe }
    assert.same({ "", "met" }, corun.map({ 'echo met >"$0"', 'cat "$0"' }, function(command) -- each waits for the other
      return corun.capture { "sh", "-c", command, pipe, timeout = 10 }
    end, { jobs = 2 }))
  end)

  it("works inside of itself, in a coroutine and in a callback of table.sort", function()
    local function times(n)
      return corun.map(numbers(3), function(m) return corun.sleep(0) or n * m end, { jobs = 2 })
    end
    local values = coroutine.wrap(function() coroutine.yield(corun.map(numbers(3), times, { jobs = 2 })) end)
    assert.same({ { 1, 2, 3 }, { 2, 4, 6 }, { 3, 6, 9 } }, values())
    local sorted = { 2, 1, 3 }
    table.sort(sorted, function(a, b) return times(a)[2] < times(b)[2] end)
    assert.same({ 1, 2, 3 }, sorted)
  end)
end)

describe("corun.map over an iterator that waits", function()
  it("works at the lines of a process while that goes on", function()
    local p <close> = corun.spawn { "cat", timeout = 10 }
    p:write("1\n")
    local results = corun.map(p.stdout:lines(), function(line)
      if line == "5" then p:close_stdin() else p:write(math.tointeger(line) + 1, "\n") end
      return "line " .. line
    end, { jobs = 2 })
    assert.same({ "line 1", "line 2", "line 3", "line 4", "line 5" }, results)
  end)

  it("takes from a channel until that is closed", function()
    local channel = corun.channel(0)
    local sender = corun.go(function()
      for i = 1, 5 do channel:send(i) end
      channel:close()
    end)
    assert.same({ 2, 4, 6, 8, 10 }, corun.map(channel, function(n, more)
      assert.is_nil(more)
      return 2 * n
    end, { jobs = 2 }))
    sender:await()
  end)

  it("takes what a coroutine yields that sleeps in between", function()
    local log = {}
    corun.map(coroutine.wrap(function()
      for i = 1, 3 do
        log[#log + 1] = "gives " .. i
        coroutine.yield(i)
        corun.sleep(0.002)
      end
    end), function(i) log[#log + 1] = "takes " .. i end, { jobs = 10 })
    assert.same({ "gives 1", "takes 1", "gives 2", "takes 2", "gives 3", "takes 3" }, log)
  end)

  it("calls what can be called like a function", function()
    local object = setmetatable({ left = 3 }, {
      __call = function(self)
        corun.sleep(0)
        self.left = self.left - 1
        if self.left >= 0 then return self.left end
      end,
    })
    assert.same({ 2, 1, 0 }, corun.map(object, function(n) return n end))
  end)

  it("asks for the next item only when there is a task free for it", function()
    for _, jobs in ipairs { 1, 3 } do
      local asked, ended, most_ahead = 0, 0, 0
      corun.map(function()
        asked = asked + 1
        most_ahead = math.max(most_ahead, asked - ended)
        if asked % 4 == 0 then corun.sleep(0.0005) end
        if asked <= 30 then return asked end
      end, function(i)
        corun.sleep(i % 3 * 0.0005)
        ended = ended + 1
      end, { jobs = jobs })
      assert.equal(jobs, most_ahead)
      assert.equal(31, asked)
      assert.equal(30, ended)
    end
  end)

  it("needs no memory for the items that are done #slow", function()
    local function in_use()
      collectgarbage()
      collectgarbage()
      return collectgarbage("count")
    end
    local before, most = in_use(), 0
    local results = corun.map(numbers(200000), function(i)
      if i % 40000 == 0 then most = math.max(most, in_use()) end
    end, { jobs = 8 })
    assert.is_true(most > 0)
    assert.is_nil(next(results))
    assert.is_true(most - before < 200, ("%g KiB more"):format(most - before)) -- 1 byte each
  end)
end)

describe("An error in corun.map", function()
  it("cancels the others, starts no more and is raised as it is when they have ended", function()
    for _, thing in ipairs { "mine", { a = "table" } } do
      local begun, ended = 0, {}
      local ok, e = pcall(corun.map, numbers(100), function(i)
        begun = begun + 1
        local _ <close> = setmetatable({}, { __close = function(_, e)
          corun.sleep(0.001)
          ended[#ended + 1] = i ~= 2 and e.kind or "failed"
        end })
        corun.sleep(i == 2 and 0 or 1000)
        error(thing, 0)
      end, { jobs = 3 })
      assert.is_false(ok)
      assert.equal(thing, e)
      assert.equal(3, begun)
      table.sort(ended)
      assert.same({ "cancelled", "cancelled", "failed" }, ended)
    end
  end)

  it("of several is one of kind \"group\"", function()
    local ok, e = pcall(corun.map, { "a", "b", "c" }, function(item)
      if item ~= "b" then pcall(corun.sleep, 1000) end
      error("error " .. item, 0)
    end, { jobs = 3 })
    assert.is_false(ok)
    assert.equal("group", e.kind)
    assert.equal("error b", e.errors[1])
    assert.equal(3, #e.errors)
  end)

  it("of the iterator cancels the tasks at work and is raised as it is", function()
    for _, thing in ipairs { "mine", { a = "table" } } do
      local ended, next_number = {}, numbers(2)
      local ok, e = pcall(corun.map, function()
        return next_number() or corun.sleep(0) or error(thing, 0)
      end, function()
        local _, e = pcall(corun.sleep, 1000)
        ended[#ended + 1] = e.kind
      end, { jobs = 3 })
      assert.is_false(ok)
      assert.equal(thing, e)
      assert.same({ "cancelled", "cancelled" }, ended)
    end
  end)

  it("wakes an iterator that waits, whose clean-up runs", function()
    local cleaned, p
    local ok, e = pcall(corun.map, coroutine.wrap(function()
      p = corun.spawn { support.fixture "ready", stderr = "null" }
      local _ <close> = setmetatable({}, { __close = function(_, e) cleaned = e.kind end })
      for line in p.stdout:lines() do coroutine.yield(line) end
    end), function(line) error(line:match("^ready"), 0) end, { jobs = 2 })
    assert.is_false(ok)
    assert.equal("ready", e)
    assert.equal("cancelled", cleaned)
    assert.is_true(support.is_gone(p.pid)) -- started in it, it ends with it
  end)
end)

describe("A cancellation of corun.map", function()
  it("reaches the tasks and the iterator, and nothing more begins", function()
    for jobs, waiting_tasks in pairs { [1] = 1, [5] = 2 } do -- with 1, the iterator is not asked again
      local reasons, asked = {}, 0
      local task = corun.go(corun.map, function()
        asked = asked + 1
        if asked == 3 then corun.sleep(1000) end
        return asked
      end, function()
        local ok, e = pcall(corun.sleep, 1000) -- swallows it
        reasons[#reasons + 1] = not ok and e.reason
      end, { jobs = jobs })
      waiting.let_others_run()
      local asked_before = asked
      task:cancel("outside")
      assert.equal("outside", raised.error("cancelled", function() task:await() end).reason)
      assert.equal(("outside "):rep(waiting_tasks), table.concat(reasons, " ") .. " ")
      assert.equal(asked_before, asked)
    end
  end)

  it("by a time limit stops the commands in it", function()
    raised.error("timeout", function()
      corun.timeout(0.02, function() corun.map({ 1, 2, 3 }, function() corun.run { "sleep", "1000" } end) end)
    end)
    assert.same({}, support.children())
  end)
end)

describe("A wrong argument of corun.map", function()
  local called
  local function call() called = true end
  for _, case in ipairs {
    { nil, call, nil, "map: a list or an iterator expected, got nil" },
    { "abc", call, nil, 'map: a list or an iterator expected, got "abc"' },
    { 5, call, nil, "map: a list or an iterator expected, got 5" },
    { { 1 }, nil, nil, "map: a function expected, got nil" },
    { call, { jobs = 2 }, call, "map: a function expected, got a table" },
    { { 1 }, call, 4, "map: a table of options expected, got 4" },
    { { 1 }, call, { job = 4 }, 'map: unknown option "job"' },
    { { 1 }, call, { 4 }, "map: unknown option 1" },
    { { 1 }, call, { jobs = 0 }, "map: option 'jobs': a number of tasks, 1 or more expected, got 0" },
    { { 1 }, call, { jobs = 1.5 }, "map: option 'jobs': a number of tasks, 1 or more expected, got 1.5" },
    { { 1 }, call, { jobs = "4" }, "map: option 'jobs': a number of tasks, 1 or more expected, got \"4\"" },
    { { 1 }, call, { ordered = 0 }, "map: option 'ordered': true or false expected, got 0" },
  } do
    it("is refused before anything is called: " .. case[4], function()
      called = false
      assert.equal(case[4], raised.argument(function() corun.map(case[1], case[2], case[3]) end))
      waiting.let_others_run()
      assert.is_false(called)
    end)
  end
end)
