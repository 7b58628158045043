--- How waits at a channel end before a value has come: time-outs and cancellation, also in the turn in which it comes.

local corun = require "corun"
local raised = require "spec.support.raised"
local waiting = require "spec.support.waiting"

local start = waiting.start

local function nobody_sends(channel)
  raised.error("timeout", function() channel:receive(0) end)
end

local function nobody_receives(channel)
  raised.error("timeout", function() channel:send("for nobody", 0) end)
  nobody_sends(channel)
end

local function is_cancelled(task)
  raised.error("cancelled", function() task:await() end)
end

--- Keeps the loop from its turn until all times up to `seconds` from now have passed: they come in one turn.
local function hold_up(seconds)
  local late = corun.now() + seconds
  while corun.now() < late do end
end

describe("A time-out at a channel", function()
  it("raises \"timeout\" with the seconds, and says what did not happen", function()
    local channel = corun.channel()
    local e = raised.error("timeout", function() channel:receive(0.001) end)
    assert.equal(0.001, e.seconds)
    assert.equal("receive: nothing was sent in 0.001 s", e.message)
    e = raised.error("timeout", function() channel:send("value", 0.001) end)
    assert.equal(0.001, e.seconds)
    assert.equal("send: nobody has received in 0.001 s", e.message)
  end)

  it("of 0 takes what is there, and waits for nothing", function()
    local channel = corun.channel(1)
    channel:send(1, 0)
    raised.error("timeout", function() channel:send(2, 0) end)
    assert.equal(1, channel:receive(0))
    raised.error("timeout", function() channel:receive(0) end)
    local receiver = start(function() return channel:receive() end)
    channel:send(3, 0)
    assert.equal(3, receiver:await())
    corun.scope(function()
      local rendezvous = corun.channel()
      start(rendezvous.send, rendezvous, 4)
      assert.equal(4, rendezvous:receive(0))
    end)
  end)

  it("does not come while there is time, nor after the value has come", function()
    local channel = corun.channel()
    for _, seconds in ipairs { 1000, 1e300, math.huge } do
      local receiver = start(function() return channel:receive(seconds) end)
      channel:send("value", seconds)
      assert.equal("value", receiver:await())
      local sender = start(function() channel:send("value", seconds) end)
      assert.equal("value", channel:receive(seconds))
      sender:await()
    end
    local brief = corun.go(function()
      local value = channel:receive(0.001)
      corun.sleep(0.002)
      return value
    end)
    corun.go(function()
      channel:send("value")
      hold_up(0.002)
    end)
    assert.equal("value", brief:await())
  end)

  it("takes the value back that a sender could not get rid of", function()
    local rendezvous, full = corun.channel(), corun.channel(1)
    full:send("first")
    for _, channel in ipairs { rendezvous, full } do
      raised.error("timeout", function() channel:send("late", 0.001) end)
    end
    assert.equal("first", full:receive())
    nobody_sends(full)
    nobody_sends(rendezvous)
  end)

  it("lets the others keep their places", function()
    local channel, got = corun.channel(), {}
    corun.scope(function()
      start(function() got[1] = channel:receive() end)
      local brief = start(function() return raised.error("timeout", function() channel:receive(0.001) end) end)
      start(function() got[2] = channel:receive() end)
      brief:await()
      channel:send("one")
      channel:send("two")
    end)
    assert.same({ "one", "two" }, got)
  end)

  it("and a value in the same turn: the value is received, or is left for another", function()
    for _, sender_first in ipairs { true, false } do
      local channel, sent, ok, value = corun.channel(), false, nil, nil
      local function receive() ok, value = pcall(channel.receive, channel, 0.001) end
      local function send()
        corun.sleep(0.001)
        channel:send("value")
        sent = true
      end
      corun.scope(function(scope)
        scope:go(sender_first and send or receive)
        scope:go(sender_first and receive or send)
        corun.sleep(0)
        hold_up(0.002)
        waiting.let_others_run()
        assert.equal(ok, sent)
        if not ok then
          assert.equal("timeout", value.kind)
          value = channel:receive(0)
        end
        assert.equal("value", value)
        nobody_receives(channel)
      end)
    end
  end)
end)

describe("A cancellation at a channel", function()
  it("takes the value back that a sender waits with", function()
    local rendezvous, full = corun.channel(), corun.channel(1)
    full:send("first")
    for _, channel in ipairs { rendezvous, full } do
      local task = start(channel.send, channel, "cancelled")
      task:cancel()
      is_cancelled(task)
    end
    assert.equal("first", full:receive())
    nobody_sends(full)
    nobody_sends(rendezvous)
  end)

  it("comes too late for a sender whose value was taken in the same turn", function()
    for capacity = 0, 1 do
      local channel, sent = corun.channel(capacity), false
      for i = 1, capacity do channel:send(i) end
      local task = start(function()
        channel:send("last")
        sent = true
        corun.sleep(0)
      end)
      for i = 1, capacity do assert.equal(i, channel:receive()) end -- and the last one takes the room
      if capacity == 0 then assert.equal("last", channel:receive()) end
      task:cancel()
      is_cancelled(task)
      assert.is_true(sent)
      if capacity == 1 then assert.equal("last", channel:receive()) end
      nobody_sends(channel)
    end
  end)

  it("of a sender leaves nothing for who receives in the same turn", function()
    for capacity = 0, 1 do
      local channel, sent = corun.channel(capacity), false
      for i = 1, capacity do channel:send(i) end
      local task = start(function()
        channel:send("cancelled")
        sent = true
      end)
      task:cancel()
      for i = 1, capacity do assert.equal(i, channel:receive()) end
      nobody_sends(channel)
      is_cancelled(task)
      assert.is_false(sent)
    end
  end)

  it("comes too late for a receiver that was given a value in the same turn", function()
    local channel = corun.channel()
    local task = start(function()
      local value = channel:receive()
      local ok, e = pcall(corun.sleep, 0)
      return value, ok or e.kind
    end)
    channel:send("value")
    task:cancel()
    assert.same({ "value", "cancelled" }, { task:await() })
    nobody_receives(channel)
  end)

  it("of a receiver leaves the value to the next, though it comes in the same turn", function()
    local channel = corun.channel()
    local task = start(channel.receive, channel)
    local other = start(function() return channel:receive() end)
    task:cancel()
    channel:send("value")
    assert.equal("value", other:await())
    is_cancelled(task)
    task = start(channel.receive, channel)
    task:cancel()
    nobody_receives(channel)
    is_cancelled(task)
  end)

  it("does the same through a scope and a time limit around the wait", function()
    local channel = corun.channel()
    corun.scope(function(scope)
      local value
      scope:go(function() value = channel:receive() end)
      waiting.let_others_run()
      channel:send("first")
      scope:cancel()
      scope:defer(function() assert.equal("first", value) end)
    end)
    assert.same({ nil, "timeout", n = 2 }, table.pack(corun.move_on(0.001, function() return channel:receive() end)))
    assert.same({ nil, "timeout", n = 2 }, table.pack(corun.move_on(0.001, function() channel:send("second") end)))
    nobody_receives(channel)
  end)

  it("lets nothing be sent or received though it could be at once", function()
    local channel = corun.channel(2)
    channel:send("there")
    corun.scope(function(scope)
      scope:cancel()
      raised.error("cancelled", function() channel:receive() end)
      raised.error("cancelled", function() channel:send("value") end)
    end)
    assert.equal(1, #channel)
    assert.equal("there", channel:receive())
  end)

  it("leaves the waits of a __close handler alone, those that come and the one that goes on", function()
    for _, handler_waits in ipairs { false, true } do
      local requests, answers, may_end = corun.channel(), corun.channel(), corun.event()
      local task = start(function()
        local _ <close> = setmetatable({}, { __close = function() answers:send("bye, " .. requests:receive()) end })
        may_end:wait()
      end)
      if handler_waits then
        may_end:set()
        waiting.let_others_run()
      end
      task:cancel()
      waiting.let_others_run()
      requests:send("now")
      assert.equal("bye, now", answers:receive())
      pcall(task.await, task)
      assert.equal(handler_waits and "ended" or "cancelled", task.status)
      nobody_receives(answers)
    end
  end)

  it("and a value in the same turn both come to a __close handler, in either order", function()
    for _, cancel_first in ipairs { true, false } do
      local channel, got = corun.channel(), nil
      local task = start(function()
        local _ <close> = setmetatable({}, { __close = function() got = channel:receive() end })
      end)
      if cancel_first then task:cancel() end
      channel:send("value")
      if not cancel_first then task:cancel() end
      task:await()
      assert.equal("value", got)
      nobody_receives(channel)
    end
  end)
end)
