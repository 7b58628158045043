--- Channels where nothing can yield, in a person's own coroutines, and between tasks that never rest.

local corun = require "corun"
local raised = require "spec.support.raised"
local waiting = require "spec.support.waiting"

local function start(fn, ...)
  local task = corun.go(fn, ...)
  waiting.let_others_run()
  return task
end

describe("A channel in a coroutine", function()
  it("gives a generator its values, which it yields to its own resumer", function()
    local channel, doubled = corun.channel(), {}
    corun.scope(function(scope)
      scope:go(function()
        for i = 1, 5 do channel:send(i) end
        channel:close()
      end)
      for value in coroutine.wrap(function()
        for value in channel do coroutine.yield(2 * value) end
      end) do
        doubled[#doubled + 1] = value
      end
    end)
    assert.same({ 2, 4, 6, 8, 10 }, doubled)
  end)

  it("takes what a generator sends between its yields", function()
    local channel, yielded = corun.channel(), {}
    local receiver = start(function()
      local values = {}
      for value in channel do values[#values + 1] = value end
      return values
    end)
    for value in coroutine.wrap(function()
      for i = 1, 5 do
        channel:send(i)
        coroutine.yield(i)
      end
      channel:close()
    end) do
      yielded[#yielded + 1] = value
    end
    assert.same({ 1, 2, 3, 4, 5 }, yielded)
    assert.same(yielded, receiver:await())
  end)

  it("takes values from coroutine to coroutine, each of a task of its own", function()
    local forth, back = corun.channel(), corun.channel()
    local task = corun.go(coroutine.wrap(function()
      for value in forth do back:send(value + 1) end
      return "end"
    end))
    local values = {}
    for value in coroutine.wrap(function()
      for i = 10, 50, 10 do
        forth:send(i)
        coroutine.yield(back:receive())
      end
      forth:close()
    end) do
      values[#values + 1] = value
    end
    assert.same({ 11, 21, 31, 41, 51 }, values)
    assert.equal("end", task:await())
  end)

  it("raises time-out, cancellation and \"closed\" in that coroutine", function()
    local channel, kinds = corun.channel(), {}
    local task = start(coroutine.wrap(function()
      kinds[1] = raised.error("timeout", function() channel:send("value", 0) end).kind
      kinds[2] = raised.error("timeout", function() channel:receive(0) end).kind
      kinds[3] = raised.error("cancelled", function() channel:receive() end).kind
      kinds[4] = raised.error("cancelled", function() channel:send("value") end).kind
    end))
    task:cancel()
    task:await()
    assert.same({ "timeout", "timeout", "cancelled", "cancelled" }, kinds)
    task = start(coroutine.wrap(function() raised.error("closed", function() channel:send("value") end) end))
    channel:close()
    task:await()
  end)

  it("keeps a value that was handed over before the cancellation, and no other", function()
    local channel = corun.channel()
    for _, cancel_first in ipairs { true, false } do
      local task = start(coroutine.wrap(function() return pcall(channel.receive, channel) end))
      if cancel_first then
        task:cancel()
        local sender = corun.go(channel.send, channel, "value")
        assert.is_false((task:await()))
        assert.equal("value", channel:receive())
        sender:await()
      else
        channel:send("value")
        task:cancel()
        assert.same({ true, "value" }, { task:await() })
      end
    end
  end)
end)

describe("A channel where nothing can yield", function()
  it("is received from in the callback of table.sort, while other tasks run", function()
    local requests, answers = corun.channel(), corun.channel()
    local list = { 5, 3, 9, 1, 7, 2, 8 }
    corun.scope(function(scope)
      scope:go(function()
        for pair in requests do answers:send(pair[1] < pair[2]) end
      end)
      table.sort(list, function(a, b)
        requests:send { a, b }
        return answers:receive()
      end)
      requests:close()
    end)
    assert.same({ 1, 2, 3, 5, 7, 8, 9 }, list)
  end)

  it("joins two tasks that both stand in such a callback", function()
    local forth, back = corun.channel(), corun.channel()
    corun.scope(function(scope)
      scope:go(function()
        local text = ("abc"):gsub(".", function(letter)
          forth:send(letter)
          return back:receive()
        end)
        assert.equal("ABC", text)
      end)
      local _, count = ("123"):gsub("%d", function() back:send(forth:receive():upper()) end)
      assert.equal(3, count)
    end)
  end)

  it("raises in the callback, through what stands around it", function()
    local channel = corun.channel()
    local e = raised.error("timeout", function()
      table.sort({ 2, 1 }, function() return channel:receive(0.001) end)
    end)
    assert.equal("receive: nothing was sent in 0.001 s", e.message)
    local task = start(function() table.sort({ 2, 1 }, function() return channel:receive() end) end)
    task:cancel()
    raised.error("cancelled", function() task:await() end)
    raised.error("timeout", function() channel:send("for nobody", 0) end)
  end)
end)

describe("Tasks that are busy with channels", function()
  local MANY <const> = 300000

  --- Repeats each step in a task of its own, without a pause, until a timer ends it; another task goes round beside.
  local function goes_on_beside(steps)
    local rounds, third, timer = 0, 0, false
    corun.scope(function(scope)
      for _, step in ipairs(steps) do
        scope:go(function()
          while rounds < MANY do
            rounds = rounds + 1
            step()
          end
        end)
      end
      scope:go(function()
        while true do
          third = third + 1
          corun.sleep(0)
        end
      end)
      scope:go(function()
        corun.sleep(0.002)
        timer = true
        scope:cancel()
      end)
    end)
    assert.is_true(timer)
    assert.is_true(rounds < MANY, "the timer came only when they were done")
    assert.is_true(third > 1, "the third task never came again")
  end

  it("leave time to a third one and to a timer, when each waits for the other", function()
    local ping, pong = corun.channel(), corun.channel()
    goes_on_beside {
      function()
        ping:send(1)
        pong:receive()
      end,
      function() pong:send(ping:receive()) end,
    }
  end)

  it("leave it, when one always finds what the other has put there", function()
    local channel = corun.channel(1000)
    goes_on_beside { function() channel:send(1) end, function() channel:receive() end }
  end)

  it("leave it, when one alone never has to wait", function()
    local channel = corun.channel(1)
    goes_on_beside {
      function()
        channel:send(1)
        channel:receive()
      end,
    }
    local closed = corun.channel()
    closed:close()
    goes_on_beside { function() closed:receive() end }
  end)

  it("leave it, when it only selects", function()
    local a, b = corun.channel(1), corun.channel(1)
    goes_on_beside { function() corun.select { { a, 1 }, { b, 1 }, a, b } end }
  end)

  it("leave it in a coroutine and in a callback, where nothing can yield", function()
    local channel = corun.channel(1)
    goes_on_beside {
      function()
        coroutine.wrap(function()
          channel:send(1)
          channel:receive()
        end)()
      end,
    }
    goes_on_beside {
      function()
        table.sort({ 2, 1 }, function(a, b)
          channel:send(1)
          channel:receive()
          return a < b
        end)
      end,
    }
  end)
end)
