--- Every kind of blocking operation raises "cancelled" in a cancelled task: when it waits, and each time again.

local corun = require "corun"
local raised = require "spec.support.raised"
local support = require "spec.support"
local waiting = require "spec.support.waiting"

local function cancellation(fn) return raised.error("cancelled", fn) end

-- What an example has at hand: a child that neither reads, writes nor ends, and things of which none is to be had.
local child, other, event, semaphore, mutex, channel

local huge = ("x"):rep(4 << 20)

--- Each gives a function that waits for something that does not come.
local waits = {
  ["corun.sleep"] = function() return function() corun.sleep(1000) end end,
  ["corun.sleep for ever"] = function() return function() corun.sleep(math.huge) end end,
  ["Reader:read()"] = function() return function() child.stdout:read() end end,
  ["Reader:read(n)"] = function() return function() child.stdout:read(1) end end,
  ["Reader:read_exactly"] = function() return function() child.stdout:read_exactly(9) end end,
  ["Reader:read_until"] = function() return function() child.stdout:read_until(";") end end,
  ["Reader:read_line"] = function() return function() child.stdout:read_line() end end,
  ["Reader:peek"] = function() return function() child.stdout:peek(9) end end,
  ["Reader:at_eof"] = function() return function() child.stdout:at_eof() end end,
  ["Reader:lines"] = function()
    return function()
      for _ in child.stdout:lines() do end
    end
  end,
  ["one iterator of Reader:lines"] = function()
    local next_line = child.stdout:lines()
    return function() next_line() end
  end,
  ["one iterator of Reader:chunks"] = function()
    local next_chunk = child.stdout:chunks()
    return function() next_chunk() end
  end,
  ["one iterator of Process:lines"] = function()
    local next_line = child:lines()
    return function() next_line() end
  end,
  ["Process:read_stderr"] = function() return function() child:read_stderr(1) end end,
  ["Writer:write"] = function() return function() child.stdin:write(huge) end end,
  ["Writer:writelines"] = function() return function() child.stdin:writelines { huge } end end,
  ["Writer:drain"] = function()
    child.stdin:write(huge:sub(1, 500000))
    return function() child.stdin:drain() end
  end,
  ["Writer:close"] = function()
    child.stdin:write(huge:sub(1, 500000))
    return function() child.stdin:close() end
  end,
  ["Writer:wait_closed"] = function() return function() child.stdin:wait_closed() end end,
  ["Process:wait"] = function() return function() child:wait() end end,
  ["Process:wait with a limit"] = function() return function() child:wait(1000) end end,
  ["Process:wait_closed"] = function() return function() child:wait_closed() end end,
  ["Process:communicate"] = function() return function() child:communicate() end end,
  ["corun.run"] = function() return function() corun.run { support.fixture "ready" } end end,
  ["corun.capture"] = function() return function() corun.capture { support.fixture "ready" } end end,
  ["corun.sh"] = function() return function() corun.sh "exec sleep 1000" end end,
  ["Task:await"] = function() return function() other:await() end end,
  ["Task:await with a limit"] = function() return function() other:await(1000) end end,
  ["Event:wait"] = function() return function() event:wait() end end,
  ["Event:wait with a limit"] = function() return function() event:wait(1000) end end,
  ["Semaphore:acquire"] = function() return function() semaphore:acquire() end end,
  ["Mutex:lock"] = function() return function() mutex:lock() end end,
  ["Channel:send"] = function() return function() channel:send(1) end end,
  ["Channel:send with a limit"] = function() return function() channel:send(1, 1000) end end,
  ["Channel:receive"] = function() return function() channel:receive() end end,
  ["for over a Channel"] = function()
    return function()
      for _ in channel do end
    end
  end,
  ["corun.select"] = function()
    return function() corun.select { channel, { corun.channel(), 1 }, channel } end
  end,
  ["corun.every"] = function() return function() corun.every(1000, print) end end,
  ["corun.retry, between two attempts"] = function()
    return function() corun.retry({ delay = 1000, jitter = 0 }, error) end
  end,
  ["corun.retry without an end"] = function()
    return function() corun.retry({ times = math.huge, delay = 0 }, function() corun.sleep(1000) end) end
  end,
  ["corun.map"] = function()
    return function() corun.map({ 1, 2, 3 }, function() corun.sleep(1000) end, { jobs = 2 }) end
  end,
  ["corun.map, in its iterator"] = function() return function() corun.map(channel, print) end end,
  ["corun.all"] = function() return function() corun.all { function() corun.sleep(1000) end } end end,
  ["corun.race"] = function() return function() corun.race { function() corun.sleep(1000) end } end end,
  ["corun.signals"] = function()
    local next_signal, _, _, handle = corun.signals { "USR1" }
    return function() next_signal() end, handle
  end,
  ["the body of a scope"] = function()
    return function() corun.scope(function() corun.sleep(1000) end) end
  end,
  ["the end of a scope"] = function()
    return function() corun.scope(function(scope) scope:go(corun.sleep, 1000) end) end
  end,
  ["corun.timeout"] = function() return function() corun.timeout(1000, function() event:wait() end) end end,
  ["corun.move_on"] = function() return function() corun.move_on(1000, function() event:wait() end) end end,
  ["corun.try, by its result"] = function()
    return function()
      local _, e = corun.try(event.wait, event)
      error(e, 0)
    end
  end,
}

local names = {}
for name in pairs(waits) do names[#names + 1] = name end
table.sort(names)

describe("In a cancelled task", function()
  before_each(function()
    child = corun.spawn { "sh", "-c", "exec sleep 1000", grace = 0.5 }
    event, semaphore, mutex, channel = corun.event(), corun.semaphore(0), corun.mutex(), corun.channel()
    other = corun.go(function()
      local _ <close> = mutex:lock()
      corun.sleep(1000)
    end)
    waiting.let_others_run()
  end)
  after_each(function()
    other:cancel()
    pcall(other.await, other)
    child:close()
  end)

  for _, name in ipairs(names) do
    it(name .. " ends with \"cancelled\" and raises it again each time", function()
      local reasons = {}
      local task = corun.go(function()
        local wait, handle = waits[name]()
        local _ <close> = handle
        for i = 1, 3 do reasons[i] = cancellation(wait).reason end
      end)
      waiting.wait_until("it waits", function()
        waiting.let_others_run()
        return task.status == "waiting"
      end)
      assert.same({}, reasons)
      task:cancel("why")
      task:await(10)
      assert.same({ "why", "why", "why" }, reasons)
    end)
  end

  it("all of them raise it when they are called, and no other task has a turn before", function()
    -- A scope may be opened in a cancelled one; its end is where it waits.
    local opens_a_scope = { ["corun.all"] = true, ["corun.race"] = true, ["the end of a scope"] = true }
    local beside
    corun.scope(function(scope)
      local ready = {}
      for _, name in ipairs(names) do
        if not opens_a_scope[name] then ready[#ready + 1] = table.pack(waits[name]()) end
      end
      scope:cancel()
      beside = scope:go(function() end)
      for _, each in ipairs(ready) do
        local wait, handle = table.unpack(each, 1, 2)
        local _ <close> = handle
        cancellation(wait)
      end
      assert.equal("ready", beside.status)
    end)
    assert.equal("ended", beside.status)
  end)

  it("a loop around any of them ends that counts its rounds", function()
    local rounds = 0
    local task = corun.go(function()
      for _ = 1, 1000 do
        if not pcall(event.wait, event) then rounds = rounds + 1 end
        if not corun.try(corun.run, { "true" }) then rounds = rounds + 1 end
        if not xpcall(corun.sleep, debug.traceback, 1000) then rounds = rounds + 1 end
        if not pcall(coroutine.wrap(corun.sleep), 1000) then rounds = rounds + 1 end
      end
    end)
    waiting.let_others_run()
    task:cancel()
    task:await(10)
    assert.equal(4000, rounds)
  end)

  for name, loop in pairs {
    ["corun.retry"] = function(fn) corun.retry({ times = math.huge, delay = 0 }, fn) end,
    ["corun.every"] = function(fn) corun.every(0.001, fn) end,
    ["corun.map"] = function(fn) corun.map(function() return true end, fn, { jobs = 1 }) end,
  } do
    it(name .. " calls its function no more, though that swallows the cancellation", function()
      local calls = 0
      local task = corun.go(loop, function()
        calls = calls + 1
        pcall(event.wait, event)
        if name == "corun.retry" then error("again", 0) end
      end)
      waiting.wait_until("the function waits", function()
        waiting.let_others_run()
        return calls == 1
      end)
      task:cancel("why")
      assert.equal("why", cancellation(function() task:await(10) end).reason)
      assert.equal(1, calls)
    end)
  end

  it("what is there already can still be had", function()
    local ended, p = corun.go(function() return "result" end), corun.spawn { "true" }
    ended:await()
    p:wait()
    corun.scope(function(scope)
      scope:cancel()
      assert.equal("result", ended:await())
      assert.is_true(p:wait().ok)
      assert.equal("", child.stdout:read(0))
      assert.equal("", child.stdout:peek(0))
    end)
  end)
end)
