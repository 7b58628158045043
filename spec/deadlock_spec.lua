--- Deadlocks: every task waits for what can never come. The main task is told, with kind "deadlock".

local corun = require "corun"
local raised = require "spec.support.raised"
local support = require "spec.support"
local waiting = require "spec.support.waiting"

local file = debug.getinfo(1, "S").short_src

--- The line on which this is called.
local function here() return debug.getinfo(2, "l").currentline end

--- What fn, which must end in a deadlock, has raised; the lines of `waiting` without the times.
local function deadlock(fn)
  local e = raised.error("deadlock", fn)
  assert.equal("every task waits for something that can never come", e.message)
  local lines = {}
  for i, line in ipairs(e.waiting) do lines[i] = line:gsub(" for %d+%.%d s", "", 1) end
  return e, lines
end

local function line(text, number, on) return ("%s at %s:%d%s"):format(text, file, number, on and ", " .. on or "") end

describe("A deadlock", function()
  local event

  before_each(function() event = corun.event() end)

  it("is a wait of the main task that nobody can end", function()
    local channel, full, semaphore = corun.channel(), corun.channel(1), corun.semaphore(0)
    full:send(1)
    local held = corun.mutex()
    corun.go(function() held:lock() end):await() -- and it has ended without unlocking it
    for call, wait in pairs {
      ["wait, Event (not set)"] = function() event:wait() end,
      ["receive, Channel (0 of 0 values)"] = function() channel:receive() end,
      ["for iterator, Channel (0 of 0 values)"] = function() for _ in channel do error "?" end end,
      ["send, Channel (1 of 1 values)"] = function() full:send(2) end,
      ["acquire, Semaphore (0 available)"] = function() semaphore:acquire() end,
      ["select"] = function() corun.select { channel, { full, 2 } } end,
      ["lock, Mutex (held by "] = function() held:lock() end,
    } do
      local e, lines = deadlock(wait)
      local name, on = call:match("^([^,]+),? ?(.*)$")
      assert.equal(1, #lines)
      raised.has(lines[1], line("main: in " .. name, debug.getinfo(wait, "S").linedefined, on ~= "" and on))
      raised.has(tostring(e), "\n  " .. e.waiting[1])
    end
  end)

  it("of a mutex says that its holder has ended", function()
    local mutex = corun.mutex()
    local task = corun.go(function() mutex:lock() end)
    task:await()
    local _, lines = deadlock(function() mutex:lock() end)
    raised.has(lines[1], ("Mutex (held by %s, which has ended)"):format(task.name))
  end)

  it("is two tasks that wait for each other's mutex", function()
    local first, second = corun.mutex(), corun.mutex()
    local at
    local e, lines = deadlock(function()
      at = here() + 1
      corun.scope(function(scope)
        scope:go(function()
          local _ <close> = first:lock()
          corun.sleep(0)
          local _ <close> = second:lock()
        end).name = "left"
        scope:go(function()
          local _ <close> = second:lock()
          corun.sleep(0)
          local _ <close> = first:lock()
        end).name = "right"
      end)
    end)
    assert.same({
      line("main: in scope", at),
      line("left: in lock", at + 4, "Mutex (held by right)"), line("right: in lock", at + 9, "Mutex (held by left)"),
    }, lines)
    assert.equal("Mutex (free)", tostring(first))
    assert.equal("Mutex (free)", tostring(second))
    assert.equal(("%s:%d: %s\n  %s"):format(file, at, e.message, table.concat(e.waiting, "\n  ")), tostring(e))
  end)

  it("is a circle of tasks, none of which can send", function()
    local channels = { corun.channel(), corun.channel(), corun.channel() }
    local _, lines = deadlock(function()
      corun.scope(function(scope)
        for i = 1, 3 do
          scope:go(function() channels[i % 3 + 1]:send(channels[i]:receive()) end).name = "task " .. i
        end
      end)
    end)
    assert.equal(4, #lines)
    for i = 1, 3 do assert.matches("^task " .. i .. ": in receive at ", lines[i + 1]) end
  end)

  it("is found also when the tasks have just done something", function()
    local channel = corun.channel()
    local received = {}
    local _, lines = deadlock(function()
      corun.scope(function(scope)
        scope:go(function() for value in channel do received[#received + 1] = value end end)
        for i = 1, 3 do channel:send(i) end
        corun.sleep(0.002)
        corun.run { "true" }
      end) -- and nobody has closed it
    end)
    assert.same({ 1, 2, 3 }, received)
    assert.equal(2, #lines)
  end)

  it("is told at the innermost wait of the main task, wherever that is", function()
    for _, wait in ipairs {
      function() coroutine.wrap(function() event:wait() end)() end,
      function() table.sort({ 2, 1 }, function() event:wait() end) end,
      function() corun.scope(function() corun.scope(function() event:wait() end) end) end,
      function() corun.shield(function() event:wait() end) end,
      function() corun.race { function() event:wait() end, function() event:wait() end } end,
    } do
      local _, lines = deadlock(wait)
      local at = ("%s:%d"):format(file, debug.getinfo(wait, "S").linedefined)
      for _, each in ipairs(lines) do raised.has(each, at) end
    end
  end)

  it("can be caught, and the program goes on", function()
    for _ = 1, 3 do
      assert.is_false(pcall(event.wait, event))
      local _, e = corun.try(function() event:wait() end)
      assert.equal("deadlock", e.kind)
    end
    corun.go(function()
      corun.sleep(0.001)
      event:set()
    end)
    event:wait()
    assert.equal("fine", corun.capture { "echo", "fine" })
  end)

  it("leaves tasks of other scopes as they are when it is caught", function()
    local task = corun.go(function()
      event:wait()
      return "went on"
    end)
    task.name = "innocent"
    local _, lines = deadlock(function() corun.event():wait() end)
    assert.equal(2, #lines)
    assert.matches("^innocent: in wait at ", lines[2])
    assert.equal("waiting", task.status)
    event:set()
    assert.equal("went on", task:await())
  end)

  it("leaves the things that were waited for as they were", function()
    local channel, mutex, semaphore = corun.channel(), corun.mutex(), corun.semaphore(0)
    local other = corun.go(function()
      mutex:lock()
      event:wait()
      mutex:unlock()
    end)
    waiting.let_others_run()
    for _, wait in ipairs {
      function() channel:send("never") end, function() channel:receive() end, function() mutex:lock() end,
      function() semaphore:acquire() end, function() corun.select { { channel, "never" } } end,
    } do deadlock(wait) end
    event:set()
    other:await()
    assert.equal("Mutex (free)", tostring(mutex))
    semaphore:release()
    assert.equal(1, semaphore.available)
    corun.go(function() channel:send("value") end)
    assert.equal("value", channel:receive())
  end)

  it("in a scope ends its tasks, with their clean-up, and runs its defers", function()
    local order = {}
    local function note(text)
      return setmetatable({}, { __close = function(_, e)
        corun.sleep(0.001)
        order[#order + 1] = text .. (e and ": " .. e.kind or "")
      end })
    end
    deadlock(function()
      corun.scope(function(scope)
        scope:defer(function() order[#order + 1] = corun.capture { "echo", "deferred" } end)
        scope:go(function()
          local _ <close> = note "task closed"
          event:wait()
        end)
        local _ <close> = note "closed"
        event:wait()
      end)
    end)
    assert.same({ "closed: deadlock", "task closed: cancelled", "deferred" }, order)
  end)

  it("is found again in a task that does not end when it is cancelled", function()
    local caught
    deadlock(function()
      corun.scope(function(scope)
        scope:go(function() caught = select(2, pcall(corun.shield, function() event:wait() end)) end)
      end)
    end)
    assert.equal("deadlock", caught.kind)
  end)

  it("of a shielded task that does not catch it is an error of the scope, too", function()
    local ok, e = pcall(corun.scope, function(scope)
      scope:go(function() corun.shield(function() event:wait() end) end).name = "stuck"
    end)
    assert.is_false(ok)
    assert.equal("group", e.kind)
    assert.equal(2, #e.errors)
    for _, each in ipairs(e.errors) do
      assert.equal("deadlock", each.kind)
      assert.matches("^stuck: in wait for ", each.waiting[2])
    end
  end)

  it("in clean-up is an error of that", function()
    local ok, e = pcall(corun.scope, function(scope)
      scope:defer(function() event:wait() end)
      error("mine", 0)
    end)
    assert.is_false(ok)
    assert.equal("mine", e.message)
    assert.equal("deadlock", e.also[1].kind)
  end)

  it("is no wait with a time limit", function()
    local ok, e = pcall(event.wait, event, 0.002)
    assert.is_false(ok)
    assert.equal("timeout", e.kind)
    raised.error("timeout", function() corun.timeout(0.002, event.wait, event) end)
    assert.same({ nil, "timeout" }, { corun.move_on(0.002, function() event:wait() end) })
    corun.scope(function(scope)
      scope.deadline = corun.now() + 0.002
      event:wait()
    end)
  end)

  it("is none while a task sleeps, a command runs or a process could end", function()
    local p = corun.spawn { support.fixture "ready", stderr = "null" }
    p.stdout:read_line()
    corun.go(function()
      corun.sleep(0.002)
      corun.run { "sleep", "0.01" }
      p:kill()
    end)
    corun.go(function()
      p:wait()
      event:set()
    end)
    event:wait()
    assert.equal("SIGKILL", p.status.signal)
    p:close()
  end)

  it("is none while a line of a child's may come", function()
    local p <close> = corun.spawn { "sh", "-c", "sleep 0.01; echo line", stdout = function(text)
      if text == "line" then event:set() end
    end }
    event:wait()
    p:wait_closed()
  end)
end)
