local corun = require "corun"
local raised = require "spec.support.raised"
local waiting = require "spec.support.waiting"

local start = waiting.start

describe("channel:close", function()
  it("lets what is in the channel be received, and then gives nil again and again", function()
    local channel = corun.channel(3)
    channel:send(1)
    channel:send(2)
    channel:close()
    assert.equal("Channel (closed, 2 of 3 values)", tostring(channel))
    assert.equal(1, channel:receive())
    assert.equal(2, channel:receive())
    for _ = 1, 3 do assert.is_nil(channel:receive()) end
    assert.is_nil(channel:receive(0))
    assert.equal("Channel (closed, 0 of 3 values)", tostring(channel))
  end)

  it("refuses to send from then on, though there is room", function()
    local channel = corun.channel(math.huge)
    channel:close()
    assert.equal("send: the channel is closed", raised.error("closed", function() channel:send("value") end).message)
    raised.error("closed", function() channel:send("value", 0) end)
    assert.equal(0, #channel)
    assert.is_nil(channel:receive())
  end)

  it("raises \"closed\" in the tasks that wait to send: their values were not sent", function()
    local channel = corun.channel(1)
    channel:send("in the buffer")
    local tasks = {}
    for i = 1, 3 do
      tasks[i] = start(function() return raised.error("closed", function() channel:send(i) end) end)
    end
    channel:close()
    for _, task in ipairs(tasks) do assert.equal("send: the channel is closed", task:await().message) end
    assert.equal("in the buffer", channel:receive())
    assert.is_nil(channel:receive())
  end)

  it("is the end for all tasks that wait to receive", function()
    local channel = corun.channel()
    local tasks = {}
    for i = 1, 3 do tasks[i] = start(function() return "end", channel:receive() end) end
    channel:close()
    for _, task in ipairs(tasks) do assert.same({ "end", nil, n = 2 }, table.pack(task:await())) end
  end)

  it("comes too late for a value that was handed over in the same turn", function()
    local channel = corun.channel()
    local receiver = start(function() return channel:receive() end)
    channel:send("handed over")
    channel:close()
    assert.equal("handed over", receiver:await())
    local other = corun.channel()
    local sender = start(function()
      other:send("taken")
      return "sent"
    end)
    assert.equal("taken", other:receive())
    other:close()
    assert.equal("sent", sender:await())
  end)

  it("changes nothing the second time", function()
    local channel = corun.channel(1)
    channel:send("value")
    channel:close()
    channel:close()
    assert.equal("value", channel:receive())
    assert.is_nil(channel:receive())
  end)

  it("is what the end of the block does to a channel that is <close>", function()
    local channel, receiver
    do
      local closing <close> = corun.channel(1)
      channel = closing
      closing:send("value")
    end
    assert.equal("Channel (closed, 1 of 1 values)", tostring(channel))
    assert.equal("value", channel:receive())
    pcall(function()
      local closing <close> = corun.channel()
      receiver = start(function() return "end", closing:receive() end)
      error("in the block")
    end)
    assert.same({ "end", nil, n = 2 }, table.pack(receiver:await()))
  end)

  it("refuses what is no channel", function()
    raised.has(raised.argument(function() corun.channel().close(5) end), "corun.Channel expected, got number")
  end)
end)

describe("for value in channel", function()
  it("gives each value and ends when the channel is closed", function()
    local channel = corun.channel()
    corun.scope(function(scope)
      scope:go(function()
        for i = 1, 5 do channel:send(i) end
        channel:close()
      end)
      local values = {}
      for value in channel do values[#values + 1] = value end
      assert.same({ 1, 2, 3, 4, 5 }, values)
    end)
  end)

  it("gives what is left in a closed channel", function()
    local channel = corun.channel(5)
    for i = 1, 3 do channel:send(i) end
    channel:close()
    local values = {}
    for value in channel do values[#values + 1] = value end
    assert.same({ 1, 2, 3 }, values)
    for _ in channel do error("there was a value after the end") end
  end)

  it("does not take false for the end", function()
    local channel = corun.channel(3)
    channel:send(false)
    channel:send(1)
    channel:close()
    local values = {}
    for value in channel do values[#values + 1] = value end
    assert.same({ false, 1 }, values)
  end)

  it("takes nothing beyond what it was left at", function()
    local channel = corun.channel(5)
    for i = 1, 4 do channel:send(i) end
    for value in channel do
      if value == 2 then break end
    end
    assert.equal(2, #channel)
    assert.equal(3, channel:receive())
  end)

  it("shares the values among the tasks that run it", function()
    local channel, order = corun.channel(), {}
    corun.scope(function()
      for worker = 1, 3 do
        start(function()
          for value in channel do
            order[#order + 1] = ("%d by %d"):format(value, worker)
          end
        end)
      end
      for i = 1, 6 do
        channel:send(i)
        waiting.let_others_run()
      end
      channel:close()
    end)
    assert.same({ "1 by 1", "2 by 2", "3 by 3", "4 by 1", "5 by 2", "6 by 3" }, order)
  end)

  it("waits, and is cancelled like any wait", function()
    local channel, values = corun.channel(1), {}
    local task = start(function()
      for value in channel do values[#values + 1] = value end
    end)
    channel:send("value")
    waiting.let_others_run()
    task:cancel()
    raised.error("cancelled", function() task:await() end)
    assert.same({ "value" }, values)
    channel:send("for the next")
    assert.equal("for the next", channel:receive())
  end)

  it("may be a call, too", function()
    local channel = corun.channel(1)
    channel:send("value")
    assert.equal("value", channel())
    channel:close()
    assert.is_nil(channel())
  end)
end)
