--- corun.tasks(): what each kind of wait looks like.

local corun = require "corun"
local waiting = require "spec.support.waiting"

local file = debug.getinfo(1, "S").short_src

--- The node of the task with that name, at any depth.
local function find(node, name)
  if node.kind == "task" and node.name == name then return node end
  for _, list in ipairs { node.tasks or {}, node.scopes or {} } do
    for _, child in ipairs(list) do
      local found = find(child, name)
      if found then return found end
    end
  end
end

-- What the waits are about.
local event, channel, full, mutex, semaphore, other, process, writer

--- Each is written on one line: what fn calls waits there. Then what the call is named, and the object's text.
local waits = {
  { "a sleep", function() corun.sleep(1000) end, "sleep" },
  { "an await", function() other:await() end, "await", "^other %(waiting%)$" },
  { "an event", function() event:wait() end, "wait", "^Event %(not set%)$" },
  { "an event with a time limit", function() event:wait(1000) end, "wait", "^Event %(not set%)$" },
  { "a send", function() full:send("x") end, "send", "^Channel %(1 of 1 values%)$" },
  { "a receive", function() channel:receive() end, "receive", "^Channel %(0 of 0 values%)$" },
  { "a loop over a channel", function() for _ in channel do error "?" end end, "for iterator",
    "^Channel %(0 of 0 values%)$" },
  { "a lock", function() mutex:lock() end, "lock", "^Mutex %(held by main%)$" },
  { "an acquire", function() semaphore:acquire() end, "acquire", "^Semaphore %(0 available%)$" },
  { "a select", function() corun.select { channel, { full, 1 } } end, "select" },
  { "a wait for a process", function() process:wait() end, "wait", "^Process %d+ %(running%): cat %-$" },
  { "a wait for all of a process", function() process:wait_closed() end, "wait_closed",
    "^Process %d+ %(running%): cat %-$" },
  { "a command", function() corun.run { "sleep", "1000" } end, nil, "^Process %d+ %(running%): sleep 1000$" },
  { "a capture", function() corun.capture { "sleep", "1000" } end, nil, "^Process %d+ %(running%): sleep 1000$" },
  { "a read of a line", function() process.stdout:read_line() end, "read_line", "^Reader %(open, 0 bytes buffered%)$" },
  { "a loop over lines", function() for _ in process.stdout:lines() do error "?" end end, "for iterator",
    "^Reader %(open, 0 bytes buffered%)$" },
  { "a read", function() process.stderr:read() end, "read", "^Reader %(open, 0 bytes buffered%)$" },
  { "a write", function() writer:write(("x"):rep(4 << 20)) end, "write", "^Writer %(open, " },
  { "a loop over signals", function() for _ in corun.signals { "USR1" } do error "?" end end, "for iterator" },
  { "a wait in a coroutine", function() coroutine.wrap(function() corun.sleep(1000) end)() end, "sleep" },
  { "a wait in a coroutine in a coroutine",
    function() coroutine.wrap(function() coroutine.wrap(function() event:wait() end)() end)() end, "wait", "^Event" },
  { "a wait in a coroutine that is resumed",
    function() local co = coroutine.create(function() event:wait() end) coroutine.resume(co) end, "wait", "^Event" },
  { "a wait in pcall", function() pcall(function() event:wait() end) end, "wait", "^Event" },
  { "a wait that pcall calls", function() pcall(event.wait, event) end, "wait", "^Event" },
  { "a wait in xpcall", function() xpcall(function() event:wait() end, debug.traceback) end, "wait", "^Event" },
  { "a wait in corun.try", function() corun.try(function() event:wait() end) end, "wait", "^Event" },
  { "a wait in a time limit", function() corun.timeout(1000, function() event:wait() end) end, "wait", "^Event" },
  { "a wait in a move_on", function() corun.move_on(1000, function() event:wait() end) end, "wait", "^Event" },
  { "a wait in a shield", function() corun.shield(function() event:wait() end) end, "wait", "^Event" },
  { "a wait in a callback", function() table.sort({ 2, 1 }, function() event:wait() end) end, "wait", "^Event" },
  { "a wait in a chunk of its own", load("require('corun').sleep(1000)", "=" .. file), "sleep", nil, 1 },
  { "a wait in a __close handler",
    function() local _ <close> = setmetatable({}, { __close = function() event:wait() end }) end,
    "wait", "^Event" },
  { "a scope that waits for its tasks", function() corun.scope(function(scope) scope:go(corun.sleep, 1000) end) end,
    "scope" },
  { "a race", function() corun.race { function() corun.sleep(1000) end } end, "race" },
  { "a wait for the next tick", function() corun.every(1000, print) end, "every" },
}

--- Runs fn(...) as a task with that name until it waits; gives its node.
local function look(name, fn, ...)
  local node
  corun.scope(function(scope, ...)
    event, channel, full = corun.event(), corun.channel(), corun.channel(1)
    mutex, semaphore = corun.mutex(), corun.semaphore(0)
    full:send("first")
    mutex:lock()
    other = scope:go(corun.sleep, 1000)
    other.name = "other"
    process = scope:spawn { "cat", "-" }
    writer = scope:spawn({ "sleep", "1000" }).stdin
    local task = scope:go(fn, ...)
    task.name = name
    waiting.wait_until(name .. " waits", function() return task.status == "waiting" end)
    waiting.let_others_run()
    node = find(corun.tasks(), name)
    mutex:unlock()
    event:set() -- for those that are shielded
    scope:cancel()
  end, ...)
  return node
end

describe("corun.tasks says what is waited for, and at which line, of", function()
  for _, case in ipairs(waits) do
    local name, fn, call, object, line = table.unpack(case, 1, 5)
    it(name, function()
      local node = look(name, fn)
      assert.equal("task", node.kind)
      assert.equal("waiting", node.status)
      if call then assert.equal(call, node.waits_for) end
      if object then assert.matches(object, node.on) else assert.is_nil(node.on) end
      assert.equal(("%s:%d"):format(file, line or debug.getinfo(fn, "S").linedefined), node.where)
    end)
  end

  it("a task that has no function of the script, which has no line", function()
    local node = look("plain", corun.sleep, 1000)
    assert.equal("waiting", node.status)
    assert.equal("sleep", node.waits_for)
    assert.is_nil(node.where)
  end)
end)

describe("The node of a task in corun.tasks", function()
  it("has the script's functions as a traceback, innermost first", function()
    local function inner() event:wait() end
    local function outer()
      inner()
      return nil
    end
    local node = look("nested", function()
      outer()
      return nil
    end)
    local lines = {}
    for line in node.traceback:gmatch("%S[^\n]*") do lines[#lines + 1] = line end
    local place = "^" .. file:gsub("%p", "%%%0")
    assert.equal(3, #lines)
    assert.matches(place .. ":%d+: in upvalue 'inner'$", lines[1])
    assert.matches(place .. ":%d+: in upvalue 'outer'$", lines[2])
    assert.matches(place .. ":%d+: in function <", lines[3])
  end)

  it("says since when it waits: later of one that began later", function()
    corun.scope(function(scope)
      local before = corun.now()
      scope:go(corun.sleep, 1000).name = "first"
      corun.sleep(0.03)
      local second = scope:go(corun.sleep, 1000)
      second.name = "second"
      waiting.wait_until("it waits", function() return second.status == "waiting" end)
      local tree = corun.tasks()
      local a, b = find(tree, "first").since, find(tree, "second").since
      assert.is_true(math.abs(before - a) < 10 and b - a > 0.02 and b <= corun.now(), ("%s, %s"):format(a, b))
      scope:cancel()
    end)
  end)

  it("has nothing of a wait when it has not begun, or runs", function()
    corun.scope(function(scope)
      local seen = {}
      local task = scope:go(function()
        local tree = corun.tasks()
        for _, name in ipairs { "new", "itself" } do seen[name] = find(tree, name) end
      end)
      task.name = "itself"
      scope:go(function() end).name = "new"
      task:await()
      assert.equal("ready", seen.new.status)
      assert.equal("running", seen.itself.status)
      for _, node in pairs(seen) do
        assert.same({}, { node.waits_for, node.on, node.since, node.where, node.traceback })
      end
    end)
  end)

  it("is gone when it has ended", function()
    local task = corun.go(function() return 1 end)
    task.name = "over"
    assert.is_not_nil(find(corun.tasks(), "over"))
    task:await()
    assert.is_nil(find(corun.tasks(), "over"))
  end)
end)
