local corun = require "corun"
local raised = require "spec.support.raised"
local waiting = require "spec.support.waiting"

local NAN <const> = 0 / 0
local CASES <const> = "select: a list of channels and {channel, value to send} expected, got "

local start = waiting.start

--- A channel that holds these values.
local function channel_of(...)
  local channel = corun.channel(math.huge)
  for _, value in ipairs { ... } do channel:send(value) end
  return channel
end

local function nobody_waits(...)
  for _, channel in ipairs { ... } do
    raised.error("timeout", function() channel:receive(0) end)
    raised.error("timeout", function() channel:send("for nobody", 0) end)
  end
end

describe("corun.select", function()
  it("receives from the channel that has something, and says which case it was", function()
    local empty, full = corun.channel(), channel_of("value")
    assert.same({ 2, "value", n = 2 }, table.pack(corun.select { empty, full }))
    full:send(false)
    assert.same({ 1, false, n = 2 }, table.pack(corun.select { full, empty }))
    nobody_waits(empty)
  end)

  it("receives from a task that waits to send", function()
    local a, b = corun.channel(), corun.channel(1)
    b:send("first")
    local senders = { start(a.send, a, "of a"), start(b.send, b, "second") }
    assert.same({ 1, "of a" }, { corun.select { a, corun.channel() } })
    assert.same({ 2, "first" }, { corun.select { a, b } })
    assert.same({ 2, "second" }, { corun.select { a, b } })
    for _, sender in ipairs(senders) do sender:await() end
    nobody_waits(a)
  end)

  it("sends where there is room, or where a task waits to receive", function()
    local none, room, waited = corun.channel(), corun.channel(1), corun.channel()
    assert.same({ 2, true, n = 2 }, table.pack(corun.select { { none, "x" }, { room, "kept" } }))
    assert.equal(1, #room)
    local receiver = start(function() return waited:receive() end)
    assert.same({ 3, true, n = 2 }, table.pack(corun.select { { none, "x" }, { room, "y" }, { waited, false } }))
    assert.is_false(receiver:await())
    assert.equal("kept", room:receive())
    nobody_waits(none, waited)
  end)

  it("waits for the first that becomes possible", function()
    local a, b, c = corun.channel(), corun.channel(), corun.channel(1)
    c:send("in the way")
    local function select_all() return corun.select { a, { b, "to b" }, { c, "to c" } } end
    local task = start(select_all)
    a:send("to a")
    assert.same({ 1, "to a" }, { task:await() })
    task = start(select_all)
    assert.equal("to b", b:receive())
    assert.same({ 2, true }, { task:await() })
    task = start(select_all)
    assert.equal("in the way", c:receive())
    assert.same({ 3, true }, { task:await() })
    assert.equal("to c", c:receive())
    nobody_waits(a, b)
  end)

  it("is gone from all its channels in the turn in which one of them was served", function()
    local a, b, c = corun.channel(), corun.channel(), corun.channel()
    for _, late in ipairs {
      function() a:send("late", 0) end, function() b:send("late", 0) end, function() c:receive(0) end,
    } do
      for served = 1, 2 do
        local task = start(function() return corun.select { a, b, { c, "to c" } } end)
        if served == 1 then a:send("to a") else assert.equal("to c", c:receive()) end
        raised.error("timeout", late)
        assert.same(served == 1 and { 1, "to a" } or { 3, true }, { task:await() })
      end
    end
    nobody_waits(a, b, c)
  end)

  it("has a place in each queue, before those that come later and behind those that came before", function()
    local a, b, got = corun.channel(), corun.channel(), {}
    corun.scope(function()
      start(function() got.first = a:receive() end)
      start(function() got.selecting = { corun.select { b, a } } end)
      start(function() got.last = a:receive() end)
      for i = 1, 3 do a:send(i) end
    end)
    assert.same({ first = 1, selecting = { 2, 2 }, last = 3 }, got)
  end)

  it("gives each of several channels its turn", function()
    local channels, counts = {}, { 0, 0, 0, 0 }
    for i = 1, 4 do channels[i] = corun.channel(math.huge) end
    channels[2]:close()
    for i = 1, 400 do
      if i % 4 ~= 2 then channels[i % 4 == 0 and 4 or i % 4]:send(i) end
    end
    for _ = 1, 100 do
      local case = corun.select(channels)
      counts[case] = counts[case] + 1
    end
    for case, count in ipairs(counts) do assert.is_true(count > 0, "never case " .. case) end
  end)

  it("gives each of several channels to send to its turn, and sending and receiving theirs", function()
    local a, b = corun.channel(math.huge), corun.channel(math.huge)
    local counts = { 0, 0, 0 }
    for i = 1, 100 do
      local case = corun.select { { a, i }, { b, i }, { a, -i } }
      counts[case] = counts[case] + 1
    end
    for case, count in ipairs(counts) do assert.is_true(count > 0, "never case " .. case) end
    assert.equal(counts[1] + counts[3], #a)
    assert.equal(counts[2], #b)
    counts = { 0, 0 }
    for _ = 1, 100 do
      local case = corun.select { a, { b, 1 } }
      counts[case] = counts[case] + 1
    end
    assert.is_true(counts[1] > 0 and counts[2] > 0)
  end)

  it("may name a channel twice: the value comes once", function()
    local channel = corun.channel()
    local task = start(function() return corun.select { channel, channel } end)
    channel:send("value")
    local case, value = task:await()
    assert.is_true(case == 1 or case == 2)
    assert.equal("value", value)
    nobody_waits(channel)
    task = start(function() return corun.select { { channel, "a" }, { channel, "b" } } end)
    value = channel:receive()
    assert.same({ value == "a" and 1 or 2, true }, { task:await() })
    nobody_waits(channel)
  end)

  it("does not receive what it sends itself", function()
    local channel = corun.channel()
    local both = { channel, { channel, "own" } }
    raised.error("timeout", function() corun.select(both, 0.001) end)
    local task = start(corun.select, both)
    assert.equal("own", channel:receive())
    assert.same({ 2, true }, { task:await() })
    task = start(corun.select, both)
    channel:send("theirs")
    assert.same({ 1, "theirs" }, { task:await() })
    nobody_waits(channel)
  end)

  it("and another one serve each other: one value goes, in one direction", function()
    local a, b = corun.channel(), corun.channel()
    for _ = 1, 4 do -- whichever case is looked at first
      local first = start(function() return corun.select { { a, "to a" }, b } end)
      local second = { corun.select { a, { b, "to b" } } }
      if second[1] == 1 then
        assert.same({ 1, "to a" }, second)
        assert.same({ 1, true }, { first:await() })
      else
        assert.same({ 2, true }, second)
        assert.same({ 2, "to b" }, { first:await() })
      end
      nobody_waits(a, b)
    end
  end)

  it("and another one meet at one channel, where both would send and receive", function()
    local channel = corun.channel()
    for _ = 1, 4 do
      local first = start(function() return corun.select { channel, { channel, "of the first" } } end)
      local case, value = corun.select { channel, { channel, "of the second" } }
      local other_case, other_value = first:await()
      assert.equal(3, case + other_case) -- one has sent, the other received
      assert.equal(case == 1 and "of the first" or true, value)
      assert.equal(other_case == 1 and "of the second" or true, other_value)
      nobody_waits(channel)
    end
  end)

  it("is not concerned by what becomes of the list after the call", function()
    local a, b = corun.channel(), corun.channel()
    local send = { b, "value" }
    local cases = { a, send }
    local task = start(corun.select, cases)
    cases[1], cases[2], send[1], send[2] = nil, nil, nil, nil
    assert.equal("value", b:receive())
    assert.same({ 2, true }, { task:await() })
  end)

  it("goes through many cases", function()
    local cases = {}
    for i = 1, 1000 do cases[i] = corun.channel() end
    local task = start(corun.select, cases)
    cases[777]:send("value")
    assert.same({ 777, "value" }, { task:await() })
    nobody_waits(cases[1], cases[777], cases[1000])
  end)
end)

describe("corun.select with a closed channel", function()
  it("receives what is left, and then nil", function()
    local empty, closed = corun.channel(), channel_of("left")
    closed:close()
    assert.same({ 2, "left", n = 2 }, table.pack(corun.select { empty, closed }))
    for _ = 1, 3 do assert.same({ 2, nil, n = 2 }, table.pack(corun.select { empty, closed })) end
  end)

  it("that is closed while it waits receives nil from it", function()
    local a, b = corun.channel(), corun.channel()
    local task = start(function() return corun.select { a, b } end)
    b:close()
    assert.same({ 2, nil, n = 2 }, table.pack(task:await()))
    nobody_waits(a)
  end)

  it("raises \"closed\" where it would send, and has received nothing elsewhere", function()
    local empty, closed = corun.channel(), corun.channel(5)
    closed:close()
    local e = raised.error("closed", function() corun.select { empty, { closed, "value" } } end)
    assert.equal("select: the channel is closed", e.message)
    nobody_waits(empty)
    assert.is_nil(closed:receive())
    local open = corun.channel()
    local task = start(function() return raised.error("closed", function() corun.select { empty, { open, 1 } } end) end)
    open:close()
    nobody_waits(empty)
    assert.equal("select: the channel is closed", task:await().message)
  end)

  it("was served before the close: that counts", function()
    local a, b = corun.channel(), corun.channel()
    local task = start(function() return corun.select { a, { b, "to b" } } end)
    assert.equal("to b", b:receive())
    a:close()
    b:close()
    assert.same({ 2, true }, { task:await() })
  end)
end)

describe("corun.select with wrong arguments", function()
  it("names what it takes and what it was given", function()
    local channel = corun.channel(5)
    assert.equal(CASES .. "nil", raised.argument(function() corun.select() end))
    assert.equal(CASES .. "a userdata", raised.argument(function() corun.select(channel) end))
    assert.equal(CASES .. "a table", raised.argument(function() corun.select {} end))
    assert.equal(CASES .. "5", raised.argument(function() corun.select { channel, 5 } end))
    assert.equal(CASES .. "nil", raised.argument(function() corun.select { channel, nil, channel } end))
    assert.equal(CASES .. "\"a\"", raised.argument(function() corun.select { channel, { "a", 1 } } end))
    assert.equal("select: a value other than nil to send expected, got nil",
      raised.argument(function() corun.select { channel, { channel } } end))
    assert.equal(0, #channel)
  end)

  it("refuses what are no seconds", function()
    local channel = channel_of("value")
    for _, wrong in ipairs { { -1, "-1" }, { NAN, "nan" }, { "1", '"1"' }, { true, "true" }, { {}, "a table" } } do
      local text = raised.argument(function() corun.select({ channel }, wrong[1]) end)
      raised.has(text, "select: seconds expected, 0 or more, got ")
      raised.has(text, wrong[2])
    end
    assert.equal(1, #channel)
  end)

  it("does nothing, though a case before the wrong one is possible", function()
    local full, room = channel_of("value"), corun.channel(1)
    raised.argument(function() corun.select { full, { room, "value" }, true } end)
    assert.equal(1, #full)
    assert.equal(0, #room)
  end)
end)
