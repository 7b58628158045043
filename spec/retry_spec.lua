local corun = require "corun"
local raised = require "spec.support.raised"
local waiting = require "spec.support.waiting"

--- A function that fails before its nth call; `calls` are the arguments of all.
local function succeeding_at(n, calls)
  return function(...)
    calls[#calls + 1] = ...
    if #calls < n then error("failure " .. #calls, 0) end
    return "success", #calls, nil
  end
end

--- A function that fails with an Error each time.
local function failing(attempt) corun.run { "sh", "-c", "exit $0", attempt } end

describe("corun.retry", function()
  it("calls the function once when it succeeds, with the attempt's number alone, and gives its results", function()
    assert.same({ 1, 1, nil, n = 3 }, table.pack(corun.retry({}, function(...) return select("#", ...), ..., nil end)))
    assert.equal("success", corun.retry({}, succeeding_at(1, {})))
  end)

  it("calls it again after each failure, until that succeeds", function()
    local calls = {}
    local results = table.pack(corun.retry({ times = 5, delay = 0 }, succeeding_at(4, calls)))
    assert.same({ "success", 4, nil, n = 3 }, results)
    assert.same({ 1, 2, 3, 4 }, calls)
    local options = { times = math.huge, delay = 0, factor = 1 }
    assert.equal(2000, select(2, corun.retry(options, succeeding_at(2000, {}))))
  end)

  it("gives up after three attempts, or as many as `times` says, and raises the last error", function()
    for times, expected in pairs { [1] = 1, [4] = 4, default = 3 } do
      local calls = {}
      local ok, e = pcall(corun.retry, { times = tonumber(times), delay = 0 }, succeeding_at(100, calls))
      assert.is_false(ok)
      assert.equal("failure " .. expected, e)
      assert.equal(expected, #calls)
      ok, e = pcall(corun.retry, { times = tonumber(times), delay = 0 }, failing)
      assert.is_false(ok)
      assert.equal(expected, e.result.code)
      assert.equal(expected, e.attempts)
    end
  end)

  it("raises what is no Error as it is", function()
    local thing = setmetatable({}, { __newindex = error })
    for _, case in ipairs { { thing }, { false } } do
      local ok, e = pcall(corun.retry, { delay = 0 }, function() error(case[1]) end)
      assert.is_false(ok)
      assert.is_true(rawequal(case[1], e))
    end
    local ok, e = pcall(corun.retry, { delay = 0 }, function() error(nil) end)
    assert.is_false(ok)
    assert.equal("error", e.kind) -- nothing is an error, too, and one that can be told from success
  end)

  it("asks `when` whether an error is worth another attempt", function()
    local asked, calls = {}, {}
    local function when(...)
      asked[#asked + 1] = table.pack(...)
      return ... ~= "failure 3"
    end
    local ok, e = pcall(corun.retry, { delay = 0, times = 10, when = when }, succeeding_at(100, calls))
    assert.is_false(ok)
    assert.equal("failure 3", e)
    assert.same({ { "failure 1", 1, n = 2 }, { "failure 2", 2, n = 2 }, { "failure 3", 3, n = 2 } }, asked)
    assert.same({ 1, 2, 3 }, calls)
  end)

  it("tries again after a time limit in it, and after it awaited a task that was cancelled", function()
    local gone = corun.go(corun.sleep, 1000)
    gone:cancel()
    for kind, wait in pairs {
      timeout = function() corun.timeout(0.001, corun.sleep, 1000) end, cancelled = function() gone:await() end,
    } do
      local _, e = pcall(corun.retry, { delay = 0 }, wait)
      assert.equal(kind, e.kind)
      assert.equal(3, e.attempts)
    end
  end)

  it("ends one attempt before the next one begins, and lets other tasks run in between", function()
    local log = {}
    corun.retry({ delay = 0 }, function(attempt)
      local _ <close> = setmetatable({}, { __close = function() log[#log + 1] = "end " .. attempt end })
      log[#log + 1] = "begin " .. attempt
      corun.go(function() log[#log + 1] = "task " .. attempt end)
      if attempt < 2 then error "again" end
    end)
    assert.same({ "begin 1", "end 1", "task 1", "begin 2", "end 2" }, log)
    corun.sleep(0)
  end)

  it("lets the function yield to whom resumes the coroutine that it is called in", function()
    local values = coroutine.wrap(function()
      return corun.retry({ delay = 0 }, function(attempt)
        if coroutine.yield(attempt) ~= "enough" then error "again" end
        return "done"
      end)
    end)
    assert.same({ 1, 2, "done" }, { values(), values "more", (values "enough") })
  end)

  it("refuses wrong arguments before the first attempt", function()
    local function call() error "it was called" end
    for option, cases in pairs {
      times = { "a number of attempts, 1 or more", 0, 1.5, "3", -math.huge, 0 / 0 },
      delay = { "seconds, 0 or more", -1, "1", 0 / 0 }, max_delay = { "seconds, 0 or more", -1, true },
      factor = { "a factor, 1 or more", 0.5, 0 / 0 }, jitter = { "a share from 0 to 1", -0.5, 1.5, "0", 0 / 0 },
      when = { "a function", true },
    } do
      for i = 2, #cases do
        local shown = type(cases[i]) == "string" and ("%q"):format(cases[i]) or tostring(cases[i])
        assert.equal(("retry: option '%s': %s expected, got %s"):format(option, cases[1], shown),
          raised.argument(function() corun.retry({ [option] = cases[i] }, call) end))
      end
    end
    for message, arguments in pairs {
      ["retry: a table of options expected, got 5"] = { 5, call },
      ["retry: a table of options expected, got a function"] = { call },
      ["retry: a function expected, got nil"] = { {} }, ["retry: unknown option 1"] = { { 3 }, call },
      ['retry: unknown option "tries"'] = { { tries = 3 }, call },
    } do
      assert.equal(message, raised.argument(function() corun.retry(arguments[1], arguments[2]) end))
    end
  end)
end)

describe("The pauses of corun.retry", function()
  --- The times between the attempts.
  local function pauses(options)
    local before, all = nil, {}
    pcall(corun.retry, options, function()
      if before then all[#all + 1] = corun.now() - before end
      before = corun.now()
      error "again"
    end)
    return all
  end

  --- How many attempts there are where no pause of half a minute fits in.
  local function attempts_in_time(options)
    local calls = {}
    pcall(corun.timeout, 30, corun.retry, options, succeeding_at(100, calls))
    return #calls
  end

  it("grow by the factor, 2 unless told", function()
    for factor, expected in pairs { [3] = { 0.001, 0.003, 0.009 }, default = { 0.001, 0.002, 0.004, 0.008 } } do
      local options = { times = #expected + 1, delay = 0.001, factor = tonumber(factor), jitter = 0 }
      local all = pauses(options)
      assert.equal(#expected, #all)
      for i, least in ipairs(expected) do
        assert.is_true(all[i] >= least, ("pause %d was %g s"):format(i, all[i]))
      end
    end
    assert.equal(3, attempts_in_time { times = 10, delay = 0.0001, factor = 1000, jitter = 0 }) -- 0.1 ms, 0.1 s, 100 s
  end)

  it("are shorter by a random share of up to the jitter, half unless told", function()
    local share
    local random = stub(math, "random", function() return share end)
    finally(function() random:revert() end)
    for _, jitter in ipairs { 0.25, 1, "default" } do
      jitter = tonumber(jitter)
      share = 0
      assert.is_true(pauses({ times = 2, delay = 0.008, jitter = jitter })[1] >= 0.008)
      assert.equal(1, attempts_in_time { delay = 30, jitter = jitter })
      share = 1
      assert.is_true(pauses({ times = 2, delay = 0.008, jitter = jitter })[1] >= 0.008 * (1 - (jitter or 0.5)))
      share = 1 / (jitter or 0.5) -- no random number is: it would leave nothing of the pause
      assert.equal(2, attempts_in_time { times = 2, delay = 30, jitter = jitter })
    end
  end)

  it("are not longer than max_delay", function()
    assert.equal(5, attempts_in_time { times = 5, delay = 100, max_delay = 0.001 })
  end)

  for name, limited in pairs {
    ["corun.timeout"] = corun.timeout,
    ["corun.move_on"] = corun.move_on,
    ["the deadline of a scope"] = function(seconds, fn)
      corun.scope(function(scope)
        scope.deadline = corun.now() + seconds
        fn()
      end)
    end,
    ["a deadline around the scope of the task"] = function(seconds, fn)
      corun.timeout(seconds, corun.scope, function(scope) scope:go(fn):await() end)
    end,
    ["an outer deadline that is nearer"] = function(seconds, fn) corun.timeout(seconds, corun.timeout, 10000, fn) end,
    ["an inner deadline that is nearer"] = function(seconds, fn) corun.timeout(10000, corun.timeout, seconds, fn) end,
    ["the time limit of a shield"] = function(seconds, fn) corun.shield(fn, seconds) end,
  } do
    it("do not reach beyond " .. name .. ": the error is raised instead", function()
      for delay, attempts in pairs { [1000] = 1, [0.001] = 3 } do
        local ok, e = pcall(limited, 30, function() corun.retry({ delay = delay }, failing) end)
        assert.is_false(ok)
        assert.equal("exit", e.kind)
        assert.equal(attempts, e.attempts)
      end
    end)
  end

  it("in a shield may reach beyond a deadline around that", function()
    local calls = {}
    corun.move_on(0.005, corun.shield, function()
      corun.retry({ delay = 0.01, jitter = 0 }, succeeding_at(2, calls))
    end)
    assert.same({ 1, 2 }, calls)
  end)

  it("and attempts end by a cancellation, after which there is no other attempt", function()
    for _, case in ipairs {
      { function() error("again", 0) end, 1000, "again" }, -- cancelled in the pause
      { function() corun.sleep(1000) end, 0, nil }, -- `when` is not asked about a cancellation
      { function() error(pcall(corun.sleep, 1000) or "swallowed", 0) end, 0, "swallowed" },
    } do
      local count, asked = 0, nil
      local task = corun.go(corun.retry, { delay = case[2], when = function(e)
        asked = e
        return true
      end }, function()
        count = count + 1
        case[1]()
      end)
      waiting.let_others_run()
      task:cancel("outside")
      assert.equal("outside", raised.error("cancelled", function() task:await() end).reason)
      assert.equal(1, count)
      assert.equal(case[3], asked)
    end
  end)
end)

describe("corun.every", function()
  local SECONDS <const> = 0.002

  it("calls the function with the tick's number, not before that is due, until it returns false", function()
    local start, ticks, early = corun.now(), {}, {}
    local results = table.pack(corun.every(SECONDS, function(...)
      local tick = ...
      ticks[#ticks + 1] = select("#", ...) == 1 and tick
      if corun.now() < start + tick * SECONDS then early[#early + 1] = tick end
      return ({ nil, 0, "", true, false })[#ticks] -- only the last ends it
    end))
    assert.equal(0, results.n)
    assert.equal(5, #ticks)
    for i, tick in ipairs(ticks) do assert.is_true(math.type(tick) == "integer" and tick > (ticks[i - 1] or 0)) end
    assert.same({}, early)
  end)

  it("skips the ticks that come while the function runs, counts them, and does not drift", function()
    local start = corun.now()
    local ticks, ended, begun, late = {}, nil, nil, {}
    local task = corun.go(corun.every, SECONDS, function(tick)
      if ended and tick < (ended - begun) / SECONDS then late[#late + 1] = tick end -- was due before
      ticks[#ticks + 1] = tick
      local busy_until = start + (tick + (#ticks == 3 and 3.5 or 0.6)) * SECONDS
      while corun.now() < busy_until do corun.sleep(0.0001) end
      ended = corun.now()
      return #ticks < 10
    end)
    corun.sleep(0)
    begun = corun.now() -- it has begun, before that
    task:await()
    assert.same({}, late)
    assert.is_true(ticks[4] >= ticks[3] + 3, table.concat(ticks, " "))
  end)

  it("ends with an error of the function, with a cancellation and with a time limit", function()
    local count, thing = 0, {}
    local ok, e = pcall(corun.every, SECONDS, function()
      count = count + 1
      error(thing)
    end)
    assert.is_false(ok)
    assert.equal(thing, e)
    assert.equal(1, count)
    for seconds, fn in pairs { [1000] = error, [0.0001] = function() corun.sleep(1000) end } do
      local task = corun.go(corun.every, seconds, fn)
      corun.sleep(0.001)
      task:cancel("outside")
      assert.equal("outside", raised.error("cancelled", function() task:await() end).reason)
    end
    assert.same({ nil, "timeout" }, { corun.move_on(0.005, corun.every, SECONDS, function() end) })
  end)

  it("refuses a wrong time and what is no function", function()
    for shown, seconds in pairs { ["0"] = 0, ["%-1"] = -1, ["inf"] = math.huge, ["%-?nan"] = 0 / 0, ['"1"'] = "1" } do
      assert.matches("^every: seconds expected, .* got " .. shown .. "$", raised.argument(function()
        corun.every(seconds, error)
      end))
    end
    assert.equal("every: a function expected, got a table", raised.argument(function() corun.every(1, {}) end))
  end)
end)
