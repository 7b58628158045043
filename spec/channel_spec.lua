local corun = require "corun"
local raised = require "spec.support.raised"
local waiting = require "spec.support.waiting"

local NAN <const> = 0 / 0

local start = waiting.start

--- Sends first, first + 1, … last.
local function send_all(channel, first, last)
  for i = first, last do channel:send(i) end
end

local function received(channel, count)
  local values = {}
  for i = 1, count do values[i] = channel:receive() end
  return values
end

describe("corun.channel", function()
  it("holds nothing unless it is told to", function()
    local channel = corun.channel()
    assert.equal(0, #channel)
    assert.equal("Channel (0 of 0 values)", tostring(channel))
    raised.error("timeout", function() channel:send("value", 0) end)
    assert.equal(0, #channel)
  end)

  it("holds up to its capacity, and says how many there are", function()
    for _, capacity in ipairs { 1, 5 } do
      local channel = corun.channel(capacity)
      for i = 1, capacity do
        channel:send(i)
        assert.equal(i, #channel)
      end
      assert.equal(("Channel (%d of %d values)"):format(capacity, capacity), tostring(channel))
      raised.error("timeout", function() channel:send("one more", 0) end)
      assert.equal(1, channel:receive())
      assert.equal(capacity - 1, #channel)
    end
  end)

  it("holds any number with math.huge", function()
    local channel = corun.channel(math.huge)
    send_all(channel, 1, 1000)
    assert.equal(1000, #channel)
    assert.equal("Channel (1000 of any number values)", tostring(channel))
    for i = 1, 1000 do assert.equal(i, channel:receive()) end
    assert.equal(0, #channel)
  end)

  it("takes a whole number that is a float", function()
    assert.equal("Channel (0 of 2 values)", tostring(corun.channel(2.0)))
  end)

  it("refuses what is no number of values", function()
    for _, wrong in ipairs { { -1, "-1" }, { 1.5, "1.5" }, { -math.huge, "-inf" }, { NAN, "nan" }, { "5", '"5"' },
        { true, "true" }, { {}, "a table" } } do
      local text = raised.argument(function() corun.channel(wrong[1]) end)
      raised.has(text, "channel: a number of values (0 or more) expected, got ")
      raised.has(text, wrong[2])
    end
  end)
end)

describe("channel:send", function()
  it("gives the value to a task that waits for one, and does not wait itself", function()
    local channel = corun.channel()
    local task = start(function() return channel:receive() end)
    local ran = false
    corun.go(function() ran = true end)
    assert.equal(0, select("#", channel:send("value")))
    assert.is_false(ran)
    assert.equal("value", task:await())
  end)

  it("waits until somebody has received, if nothing can be held", function()
    local channel = corun.channel()
    local order = {}
    local task = start(function()
      channel:send("value")
      order[#order + 1] = "sent"
    end)
    waiting.let_others_run()
    order[#order + 1] = "received " .. channel:receive()
    task:await()
    assert.same({ "received value", "sent" }, order)
  end)

  it("waits for room, and goes on as soon as there is some", function()
    local channel = corun.channel(2)
    local sent = 0
    local task = corun.go(function()
      for i = 1, 5 do
        channel:send(i)
        sent = i
      end
    end)
    waiting.let_others_run()
    assert.equal(2, sent)
    assert.equal(1, channel:receive())
    waiting.let_others_run()
    assert.equal(3, sent)
    assert.same({ 2, 3, 4, 5 }, received(channel, 4))
    task:await()
  end)

  it("sends any value but nil, as it is", function()
    local channel = corun.channel(10)
    local values = { false, 0, "", "a\0b", {}, print, coroutine.create(print), channel }
    for _, value in ipairs(values) do channel:send(value) end
    for _, value in ipairs(values) do assert.is_true(rawequal(value, channel:receive())) end
  end)

  it("refuses nil, which is the end", function()
    local channel = corun.channel(1)
    local message = "send: a value other than nil (the end) expected, got nil"
    assert.equal(message, raised.argument(function() channel:send() end))
    assert.equal(message, raised.argument(function() channel:send(nil, 1) end))
    assert.equal(0, #channel)
  end)

  it("refuses what are no seconds, and what is no channel", function()
    local channel = corun.channel(1)
    for _, wrong in ipairs { { -1, "-1" }, { NAN, "nan" }, { "1", '"1"' }, { true, "true" }, { {}, "a table" } } do
      local text = raised.argument(function() channel:send("value", wrong[1]) end)
      raised.has(text, "send: seconds expected, 0 or more, got ")
      raised.has(text, wrong[2])
    end
    assert.equal(0, #channel)
    raised.has(raised.argument(function() channel.send("value") end), "corun.Channel expected, got string")
  end)
end)

describe("channel:receive", function()
  it("keeps the order of a sender's values, through the buffer and the wait for room", function()
    for capacity = 0, 4 do
      local channel = corun.channel(capacity)
      local task = corun.go(send_all, channel, 1, 20)
      for i = 1, 20 do
        if i % 3 == 0 then waiting.let_others_run() end -- at times the buffer is full, at times empty
        assert.equal(i, channel:receive())
      end
      task:await()
      assert.equal(0, #channel)
    end
  end)

  it("takes what waits in the buffer before what waits to be sent", function()
    local channel = corun.channel(2)
    send_all(channel, 1, 2)
    corun.scope(function()
      start(channel.send, channel, 3)
      start(channel.send, channel, 4)
      assert.equal(2, #channel)
      assert.same({ 1, 2, 3, 4 }, received(channel, 4))
    end)
  end)

  it("serves the tasks that wait to send in the order in which they came", function()
    local channel = corun.channel()
    corun.scope(function()
      for i = 1, 10 do start(channel.send, channel, i) end
      assert.same({ 1, 2, 3, 4, 5, 6, 7, 8, 9, 10 }, received(channel, 10))
    end)
  end)

  it("puts a sender that comes again behind those that wait", function()
    local channel = corun.channel()
    local tasks = {}
    for i, name in ipairs { "a", "b", "c" } do
      tasks[i] = start(function()
        for n = 1, 3 do channel:send(name .. n) end
      end)
    end
    local values = {}
    for i = 1, 9 do
      values[i] = channel:receive()
      waiting.let_others_run()
    end
    assert.same({ "a1", "b1", "c1", "a2", "b2", "c2", "a3", "b3", "c3" }, values)
    for _, task in ipairs(tasks) do task:await() end
  end)

  it("serves the tasks that wait to receive in the order in which they came", function()
    local channel = corun.channel(3)
    local got, tasks = {}, {}
    for i = 1, 10 do tasks[i] = start(function() got[i] = channel:receive() end) end
    send_all(channel, 1, 10)
    for _, task in ipairs(tasks) do task:await() end
    assert.same({ 1, 2, 3, 4, 5, 6, 7, 8, 9, 10 }, got)
  end)

  it("keeps a value for the task that it was handed to, though another one asks first", function()
    local channel = corun.channel()
    local task = start(function() return channel:receive() end)
    channel:send("value")
    raised.error("timeout", function() channel:receive(0) end)
    assert.equal("value", task:await())
  end)

  it("lets go of what was received", function()
    local held = setmetatable({}, { __mode = "v" })
    local buffered, direct = corun.channel(2), corun.channel()
    held.buffered, held.direct = {}, {}
    buffered:send(held.buffered)
    local task = start(function() direct:send(held.direct) end)
    collectgarbage()
    assert.is_table(held.buffered)
    assert.is_table(held.direct)
    buffered:receive()
    direct:receive()
    task:await()
    collectgarbage()
    assert.is_nil(held.buffered)
    assert.is_nil(held.direct)
  end)

  it("refuses what are no seconds, and what is no channel", function()
    local channel = corun.channel(1)
    channel:send("value")
    for _, wrong in ipairs { { -0.1, "-0.1" }, { NAN, "nan" }, { "1", '"1"' }, { false, "false" } } do
      local text = raised.argument(function() channel:receive(wrong[1]) end)
      raised.has(text, "receive: seconds expected, 0 or more, got ")
      raised.has(text, wrong[2])
    end
    assert.equal(1, #channel)
    raised.has(raised.argument(function() channel.receive(5) end), "corun.Channel expected, got number")
  end)
end)
