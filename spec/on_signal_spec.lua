--- Handlers of signals to the program that has these specs. What the signals do without a handler: on_signal_end_spec.

local corun = require "corun"
local numbers = require("corun.core").signals
local raised = require "spec.support.raised"
local support = require "spec.support"
local waiting = require "spec.support.waiting"
local world = require "spec.support.world"

local pid = support.pid

--- Sends us a signal; tasks run meanwhile.
local send = support.send

--- Sends us a signal without waiting as a task does.
local send_at_once = support.send_at_once

--- Computes for so long that whatever interrupts scripts would have done it.
local function compute()
  local sum = 0
  for i = 1, 1000000 do sum = sum + i end
  return sum
end

local function wait_for(count, list)
  waiting.wait_until(count .. " calls", function() return #list >= count end)
  waiting.let_others_run()
end

describe("corun.on_signal", function()
  it("calls its function with the name of the signal, each time", function()
    local calls = {}
    local _ <close> = corun.on_signal("USR1", function(...) calls[#calls + 1] = table.pack(...) end)
    for n = 1, 3 do
      send "USR1"
      wait_for(n, calls)
      assert.equal(n, #calls)
      assert.same({ "SIGUSR1", n = 1 }, calls[n])
    end
  end)

  it("takes the signal by each of its names and by its number, and gives its full name", function()
    for signal, name in pairs {
      USR1 = "SIGUSR1", SIGUSR1 = "SIGUSR1", [numbers.USR1] = "SIGUSR1", HUP = "SIGHUP", ["RTMIN+1"] = "SIGRTMIN+1",
      ["SIGRTMIN+1"] = "SIGRTMIN+1", WINCH = "SIGWINCH", SIGINT = "SIGINT", TERM = "SIGTERM", ALRM = "SIGALRM",
    } do
      local calls = {}
      local handle <close> = corun.on_signal(signal, function(given) calls[#calls + 1] = given end)
      assert.equal(("SignalHandle (%s)"):format(name), tostring(handle))
      send(name:sub(4))
      wait_for(1, calls)
      assert.same({ name }, calls)
    end
  end)

  it("counts from the end of the real-time signals, too", function()
    local calls = {}
    local _ <close> = corun.on_signal("RTMAX-1", function(given) calls[#calls + 1] = given end)
    send(numbers.RTMAX - 1)
    wait_for(1, calls)
    assert.equal("SIGRTMIN+" .. numbers.RTMAX - 1 - numbers.RTMIN, calls[1])
  end)

  it("calls it in a task of its own, never inside of one that computes", function()
    local order = {}
    local _ <close> = corun.on_signal("USR1", function() order[#order + 1] = "handler" end)
    send_at_once "USR1"
    compute()
    order[#order + 1] = "computed"
    waiting.let_others_run()
    assert.same({ "computed", "handler" }, order)
  end)

  it("lets it wait, while the others go on", function()
    local order, go_on = {}, corun.event()
    local _ <close> = corun.on_signal("USR1", function()
      order[#order + 1] = "handler begins"
      go_on:wait()
      order[#order + 1] = "handler ends"
    end)
    send "USR1"
    wait_for(1, order)
    order[#order + 1] = "main"
    go_on:set()
    wait_for(3, order)
    assert.same({ "handler begins", "main", "handler ends" }, order)
  end)

  it("begins a second call though the first one still waits", function()
    local begun, go_on = {}, corun.event()
    corun.scope(function()
      local _ <close> = corun.on_signal("USR1", function(name)
        begun[#begun + 1] = name
        go_on:wait()
      end)
      for n = 1, 2 do
        send "USR1"
        wait_for(n, begun)
      end
      go_on:set()
    end)
    assert.same({ "SIGUSR1", "SIGUSR1" }, begun)
  end)

  it("calls it once for each delivery, though none was taken meanwhile", function()
    local count = 0
    local _ <close> = corun.on_signal("RTMIN+1", function() count = count + 1 end)
    for _ = 1, 3 do send_at_once "RTMIN+1" end
    waiting.wait_until("three calls", function() return count >= 3 end)
    waiting.let_others_run()
    assert.equal(3, count)
  end)

  it("gives it the task-local values of whoever has called it", function()
    corun.scope(function(scope)
      local seen = {}
      scope:go(function()
        corun.locals.request = "mine"
        corun.on_signal("USR1", function() seen[#seen + 1] = tostring(corun.locals.request) end)
        corun.locals.request = "another"
      end):await()
      send "USR1"
      wait_for(1, seen)
      assert.same({ "mine" }, seen)
    end)
  end)

  it("wakes a task that waits for nothing else, without a timer or a child of ours", function()
    local event = corun.event()
    local _ <close> = corun.on_signal("USR1", function() event:set() end)
    local sender = io.popen(("(sleep 0.02; kill -USR1 %s) </dev/null >/dev/null 2>&1 & echo $!"):format(pid))
    local sender_pid = sender:read("n")
    sender:close()
    event:wait()
    assert.is_true(event:is_set())
    waiting.wait_until("the sender has ended", function() return support.is_gone(sender_pid) end)
  end)

  it("leaves children without handlers, and with nothing ignored or blocked", function()
    local _ <close> = corun.on_signal("USR1", print)
    local _ <close> = corun.on_signal("INT", print)
    local _ <close> = corun.on_signal("RTMIN+1", print)
    local none = ("0"):rep(16)
    assert.equal(("SigBlk:\t%s\nSigIgn:\t%s\nSigCgt:\t%s"):format(none, none, none),
      corun.capture { support.fixture "signals" })
  end)

  it("tells of the ends of children, where corun does not need that signal itself", function()
    local ended = {}
    local function listen() return corun.on_signal("CHLD", function(name) ended[#ended + 1] = name end) end
    if not world.is_native then
      raised.has(raised.error("unsupported", function() listen() end).message, "SIGCHLD")
      return
    end
    local _ <close> = listen()
    corun.run { "true" }
    wait_for(1, ended)
    assert.equal("SIGCHLD", ended[1])
  end)
end)

describe("Of several handlers for one signal", function()
  it("each is called, in the order in which they were made", function()
    local order = {}
    local _ <close> = corun.on_signal("USR1", function() order[#order + 1] = "first" end)
    local _ <close> = corun.on_signal("SIGUSR1", function() order[#order + 1] = "second" end)
    send "USR1"
    wait_for(2, order)
    assert.same({ "first", "second" }, order)
  end)

  it("the others stay when one is closed", function()
    local order = {}
    local first = corun.on_signal("USR1", function() order[#order + 1] = "first" end)
    local _ <close> = corun.on_signal("USR1", function() order[#order + 1] = "second" end)
    first:close()
    send "USR1"
    wait_for(1, order)
    assert.same({ "second" }, order)
  end)

  it("the others stay when one closes itself, then or later", function()
    local order = {}
    local first
    first = corun.on_signal("USR1", function()
      order[#order + 1] = "first"
      first:close()
    end)
    local _ <close> = corun.on_signal("USR1", function() order[#order + 1] = "second" end)
    send "USR1"
    wait_for(2, order)
    send "USR1"
    wait_for(3, order)
    assert.same({ "first", "second", "second" }, order)
  end)

  it("only those are called whose signal it is", function()
    local order = {}
    local _ <close> = corun.on_signal("USR1", function(name) order[#order + 1] = name end)
    local _ <close> = corun.on_signal("USR2", function(name) order[#order + 1] = name end)
    send "USR2"
    wait_for(1, order)
    assert.same({ "SIGUSR2" }, order)
  end)
end)

describe("on_signal's handle", function()
  it("says what it is for, and whether it is closed; a second close does nothing", function()
    local other <close> = corun.on_signal("USR1", print)
    local handle = corun.on_signal("USR1", print)
    assert.equal("SignalHandle (SIGUSR1)", tostring(handle))
    handle:close()
    assert.equal("SignalHandle (closed, SIGUSR1)", tostring(handle))
    handle:close()
    assert.equal("SignalHandle (SIGUSR1)", tostring(other))
  end)

  it("is closed at the end of its block as <close>", function()
    local calls = {}
    local _ <close> = corun.on_signal("USR1", function() calls[#calls + 1] = "outer" end)
    do
      local _ <close> = corun.on_signal("USR1", function() calls[#calls + 1] = "inner" end)
    end
    send "USR1"
    wait_for(1, calls)
    assert.same({ "outer" }, calls)
  end)

  it("leaves a call alone that goes on when it is closed", function()
    local order, go_on = {}, corun.event()
    local handle = corun.on_signal("USR1", function()
      order[#order + 1] = "begins"
      go_on:wait()
      order[#order + 1] = "ends"
    end)
    send "USR1"
    wait_for(1, order)
    handle:close()
    go_on:set()
    wait_for(2, order)
    assert.same({ "begins", "ends" }, order)
  end)
end)

describe("corun.on_signal refuses", function()
  local expected = "a signal name or number expected, got "
  for _, case in ipairs {
    { "KILL", "SIGKILL cannot be handled" }, { "SIGSTOP", "SIGSTOP cannot be handled" },
    { "SEGV", "SIGSEGV cannot be handled" }, { "SIGBUS", "SIGBUS cannot be handled" },
    { "FPE", "SIGFPE cannot be handled" }, { "ILL", "SIGILL cannot be handled" },
    { 9, "SIGKILL cannot be handled" }, { 0, "signal 0 cannot be handled" },
    { "NOPE", expected .. '"NOPE"' }, { "usr1", expected .. '"usr1"' }, { "", expected .. '""' },
    { "RTMIN+99", expected .. '"RTMIN+99"' }, { 65, expected .. "65" }, { -1, expected .. "-1" },
    { 10.5, expected .. "10.5" }, { { "USR1" }, expected .. "a table" }, { nil, expected .. "nil" },
  } do
    it(("%s: %s"):format(type(case[1]), case[2]), function()
      assert.equal("on_signal: " .. case[2], raised.argument(function() corun.on_signal(case[1], print) end))
    end)
  end

  it("what is no function", function()
    local callable = setmetatable({}, { __call = print })
    for value, text in pairs { [1] = "1", ["print"] = '"print"', [callable] = "a table" } do
      assert.equal("on_signal: a function expected, got " .. text,
        raised.argument(function() corun.on_signal("USR1", value) end))
    end
    assert.equal("on_signal: a function expected, got nil", raised.argument(function() corun.on_signal "USR1" end))
  end)
end)
