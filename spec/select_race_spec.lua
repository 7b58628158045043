--- corun.select against time-outs and cancellations, and against everything at once.

local corun = require "corun"
local raised = require "spec.support.raised"
local waiting = require "spec.support.waiting"

local start = waiting.start

--- Keeps the loop from its turn until all times up to `seconds` from now have passed: they come in one turn.
local function hold_up(seconds)
  local late = corun.now() + seconds
  while corun.now() < late do end
end

local function nobody_waits(...)
  for _, channel in ipairs { ... } do
    raised.error("timeout", function() channel:receive(0) end)
    raised.error("timeout", function() channel:send("for nobody", 0) end)
  end
end

describe("A time-out of corun.select", function()
  it("raises \"timeout\" with the seconds", function()
    local channel = corun.channel()
    local e = raised.error("timeout", function() corun.select({ channel, { channel, 1 } }, 0.001) end)
    assert.equal(0.001, e.seconds)
    assert.equal("select: nothing came in 0.001 s", e.message)
    nobody_waits(channel)
  end)

  it("of 0 does what is possible, and waits for nothing", function()
    local empty, channel = corun.channel(), corun.channel(1)
    assert.same({ 2, true }, { corun.select({ empty, { channel, "value" } }, 0) })
    raised.error("timeout", function() corun.select({ empty, { channel, "value" } }, 0) end)
    assert.same({ 1, "value" }, { corun.select({ channel, empty }, 0) })
    raised.error("timeout", function() corun.select({ channel, empty }, 0) end)
    nobody_waits(empty)
  end)

  it("does not come while there is time, nor after a case was served", function()
    local a, b = corun.channel(), corun.channel()
    for _, seconds in ipairs { 1000, 1e300, math.huge } do
      local task = start(function() return corun.select({ a, { b, "to b" } }, seconds) end)
      assert.equal("to b", b:receive())
      assert.same({ 2, true }, { task:await() })
    end
    local task = corun.go(function()
      local case, value = corun.select({ a, b }, 0.001)
      corun.sleep(0.002)
      return case, value
    end)
    corun.go(function()
      a:send("to a")
      hold_up(0.002)
    end)
    assert.same({ 1, "to a" }, { task:await() })
  end)

  it("and a value in the same turn: either the case is done, or the value is left for another", function()
    for _, sender_first in ipairs { true, false } do
      local a, b, sent, ok, value = corun.channel(), corun.channel(), false, nil, nil
      local function choose()
        local result = table.pack(pcall(corun.select, { b, a, { b, "to b" } }, 0.001))
        ok, value = result[1], result[3]
      end
      local function send()
        corun.sleep(0.001)
        a:send("to a")
        sent = true
      end
      corun.scope(function(scope)
        scope:go(sender_first and send or choose)
        scope:go(sender_first and choose or send)
        corun.sleep(0)
        hold_up(0.002)
        waiting.let_others_run()
        assert.equal(ok, sent)
        if not ok then value = a:receive(0) end
        assert.equal("to a", value)
        nobody_waits(a, b)
      end)
    end
  end)
end)

describe("A cancellation of corun.select", function()
  it("raises \"cancelled\"; nothing was sent or received, though partners come in the same turn", function()
    local a, b = corun.channel(), corun.channel()
    for _, come in ipairs { function() a:send("late", 0) end, function() b:receive(0) end } do
      local task = start(function() return corun.select { a, { b, "to b" } } end)
      task:cancel()
      raised.error("timeout", come)
      raised.error("cancelled", function() task:await() end)
    end
    local task = start(function() return corun.select { a, { b, "to b" } } end)
    local next_in_line = start(function() return corun.select { { b, "next" }, a } end)
    task:cancel()
    a:send("value")
    assert.same({ 2, "value" }, { next_in_line:await() })
    nobody_waits(a, b)
  end)

  it("comes too late in the turn in which a case was served", function()
    local a, b = corun.channel(), corun.channel()
    local function work()
      local case, value = corun.select { a, { b, "to b" } }
      local ok, e = pcall(corun.sleep, 0)
      return case, value, ok or e.kind
    end
    local task = start(work)
    a:send("to a")
    task:cancel()
    assert.same({ 1, "to a", "cancelled" }, { task:await() })
    task = start(work)
    assert.equal("to b", b:receive())
    task:cancel()
    assert.same({ 2, true, "cancelled" }, { task:await() })
    nobody_waits(a, b)
  end)

  it("comes from a deadline around it, too", function()
    local a, b = corun.channel(), corun.channel()
    local e = raised.error("timeout", function()
      corun.timeout(0.001, function() corun.select({ a, { b, 1 } }, 1000) end)
    end)
    assert.equal("time limit of 0.001 s exceeded", e.message)
    nobody_waits(a, b)
  end)

  it("lets nothing be done though it could be at once", function()
    local full, room = corun.channel(1), corun.channel(1)
    full:send("value")
    corun.scope(function(scope)
      scope:cancel()
      raised.error("cancelled", function() corun.select { full, { room, "value" } } end)
    end)
    assert.equal(1, #full)
    assert.equal(0, #room)
  end)

  it("leaves the one in a __close handler alone, and what comes to it in the same turn", function()
    local a, b = corun.channel(), corun.channel()
    for _, cancel_first in ipairs { true, false } do
      local got
      local task = start(function()
        local _ <close> = setmetatable({}, { __close = function() got = { corun.select { { b, "to b" }, a } } end })
      end)
      if cancel_first then task:cancel() end
      a:send("value")
      if not cancel_first then task:cancel() end
      task:await()
      assert.same({ 2, "value" }, got)
      nobody_waits(a, b)
    end
  end)
end)

describe("corun.select where nothing can yield", function()
  it("serves and is served like any other", function()
    local requests, answers, stop = corun.channel(), corun.channel(), corun.channel()
    local list = { 4, 1, 3, 2, 5 }
    corun.scope(function(scope)
      scope:go(coroutine.wrap(function()
        while true do
          local case, pair = corun.select { stop, requests }
          if case == 1 then return end
          corun.select { stop, { answers, pair[1] < pair[2] } }
        end
      end))
      table.sort(list, function(a, b)
        assert.same({ 2, true }, { corun.select { stop, { requests, { a, b } } } })
        return select(2, corun.select { answers, stop })
      end)
      stop:close()
    end)
    assert.same({ 1, 2, 3, 4, 5 }, list)
  end)
end)

describe("Channels under stress", function()
  local VALUES <const>, WORKERS <const>, MOST_ROUNDS <const> = 100, 4, 20000

  --- Always the same numbers from 1 to n.
  local function generator(state)
    return function(n)
      state = (state * 1103515245 + 12345) & 0x7fffffff
      return (state >> 12) % n + 1
    end
  end

  --- fn's first result; false if it timed out or was cancelled.
  local function attempt(fn, ...)
    local ok, result = pcall(fn, ...)
    if ok then return result end
    if result.kind ~= "timeout" and result.kind ~= "cancelled" then error(result, 0) end
    return false
  end

  --- Ways to send, which return true once the value has gone, and ways to receive, which tell arrive() of the value.
  local function ways_through(any, arrive)
    local sending = {
      function(value) return any():send(value) == nil end,
      function(value) return any():send(value, 0) == nil end,
      function(value) return corun.select { { any(), value }, { any(), value } } > 0 end,
      function(value) return corun.select({ { any(), value }, { any(), value }, { any(), value } }, 0) > 0 end,
      function(value)
        local case, other = corun.select { { any(), value }, any() }
        if case == 2 then arrive(other) end
        return case == 1
      end,
      function(value)
        table.sort({ 2, 1 }, function() any():send(value) end) -- calls it once
        return true
      end,
    }
    local receiving = {
      function() arrive(any():receive()) end,
      function() arrive(any():receive(0)) end,
      function() arrive((select(2, corun.select { any(), any(), any() }))) end,
      function() arrive((select(2, corun.select({ any(), any() }, 0)))) end,
      function() coroutine.wrap(function() arrive(any():receive()) end)() end,
      function() coroutine.wrap(function() arrive((select(2, corun.select { any(), any() }))) end)() end,
    }
    return sending, receiving
  end

  --- Sends and receives values in all ways, in tasks that may be cancelled at any moment. Returns how often each has
  --- arrived, and what the channels hold in the end.
  local function shake(seed)
    local random = generator(seed)
    local channels = { corun.channel(), corun.channel(), corun.channel(1), corun.channel(3) }
    local arrived, count, rounds, working, attempts = {}, 0, 0, 2 * WORKERS, {}
    local sending, receiving = ways_through(function() return channels[random(#channels)] end, function(value)
      arrived[value] = (arrived[value] or 0) + 1
      count = count + 1
    end)
    local function try(worker, ways, value)
      attempts[worker] = corun.go(attempt, ways[random(#ways)], value)
      return attempts[worker]:await()
    end
    local function produce(worker)
      for i = 1, VALUES do
        while rounds < MOST_ROUNDS and not try(worker, sending, ("%d of %d"):format(i, worker)) do end
      end
      working = working - 1
    end
    local function consume(worker)
      while rounds < MOST_ROUNDS and count < VALUES * WORKERS do try(worker, receiving) end
      working = working - 1
    end
    corun.scope(function(scope)
      for worker = 1, WORKERS do
        scope:go(produce, worker)
        scope:go(consume, worker + WORKERS)
      end
      while working > 0 do
        corun.sleep(0)
        rounds = rounds + 1
        local task = attempts[random(2 * WORKERS)]
        if task and random(3) == 1 then task:cancel() end
      end
    end)
    local held = 0
    for _, channel in ipairs(channels) do held = held + #channel end
    return arrived, held
  end

  it("take each value to one receiver, once", function()
    local expected = {}
    for worker = 1, WORKERS do
      for i = 1, VALUES do expected[("%d of %d"):format(i, worker)] = 1 end
    end
    for seed = 1, 3 do
      local arrived, held = shake(seed)
      assert.same(expected, arrived)
      assert.equal(0, held)
    end
  end)
end)
