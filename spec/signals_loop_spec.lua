--- corun.signals: signals as what a loop is about.

local corun = require "corun"
local raised = require "spec.support.raised"
local scripts = require "spec.support.scripts"
local support = require "spec.support"
local waiting = require "spec.support.waiting"

local pid = support.pid

local send = support.send
local send_at_once = support.send_at_once

local behind = {} -- pids

--- Sends it a little later, while nothing of ours goes on that a task could wait for.
local function send_from_behind(signal)
  local command = "(sleep 0.02; kill -%s %s) </dev/null >/dev/null 2>&1 & echo $!"
  local pipe = io.popen(command:format(signal, pid))
  behind[#behind + 1] = pipe:read("n")
  pipe:close()
end

local function wait_for_those_behind()
  for i = #behind, 1, -1 do
    local sender = table.remove(behind, i)
    waiting.wait_until("the sender has ended", function() return support.is_gone(sender) end)
  end
end

local function wait_for(count, list)
  waiting.wait_until(count .. " signals", function() return #list >= count end)
  waiting.let_others_run()
end

describe("corun.signals", function()
  after_each(wait_for_those_behind)

  it("gives the name of a signal that comes", function()
    local next_one, _, _, handle = corun.signals { "USR1", "SIGUSR2", "RTMIN+1" }
    local _ <close> = handle
    send "USR2"
    assert.equal("SIGUSR2", next_one())
  end)

  it("keeps those that come before the loop begins", function()
    local got = {}
    local next_one, _, _, handle = corun.signals { "RTMIN+1" }
    local _ <close> = handle
    for _ = 1, 3 do send_at_once "RTMIN+1" end
    waiting.let_others_run()
    for n = 1, 3 do got[n] = next_one() end
    assert.same({ "SIGRTMIN+1", "SIGRTMIN+1", "SIGRTMIN+1" }, got)
    raised.error("timeout", function() corun.timeout(0.005, next_one) end)
  end)

  it("takes a signal that is named twice once", function()
    local next_one, _, _, handle = corun.signals { "USR1", "SIGUSR1" }
    local _ <close> = handle
    assert.equal("SignalHandle (SIGUSR1)", tostring(handle))
    send "USR1"
    assert.equal("SIGUSR1", next_one())
    raised.error("timeout", function() corun.timeout(0.005, next_one) end)
  end)

  it("gives each of two loops every signal", function()
    local got = { {}, {} }
    corun.scope(function(scope)
      for i = 1, 2 do
        scope:go(function()
          for name in corun.signals { "USR1" } do
            table.insert(got[i], name)
            if #got[i] == 1 then break end
          end
        end)
      end
      corun.sleep(0)
      send "USR1"
    end)
    assert.same({ { "SIGUSR1" }, { "SIGUSR1" } }, got)
  end)

  it("leaves the signals to handlers, too", function()
    local called = {}
    local _ <close> = corun.on_signal("USR1", function(name) called[#called + 1] = name end)
    local next_one, _, _, handle = corun.signals { "USR1" }
    local _ <close> = handle
    send "USR1"
    assert.equal("SIGUSR1", next_one())
    wait_for(1, called)
    assert.same({ "SIGUSR1" }, called)
  end)

  it("waits though nothing else goes on: that is no deadlock", function()
    local next_one, _, _, handle = corun.signals { "USR1" }
    local _ <close> = handle
    send_from_behind "USR1"
    assert.equal("SIGUSR1", next_one())
  end)

  it("waits in a coroutine of the script's own", function()
    corun.scope(function(scope)
      scope:go(send, "USR1")
      local names = coroutine.wrap(function()
        for name in corun.signals { "USR1" } do coroutine.yield(name) end
      end)
      assert.equal("SIGUSR1", names())
    end)
  end)

  it("waits in a callback of table.sort", function()
    local seen
    corun.scope(function(scope)
      scope:go(send, "USR1")
      table.sort({ 2, 1 }, function(a, b)
        for name in corun.signals { "USR1" } do
          seen = name
          if seen then break end
        end
        return a < b
      end)
    end)
    assert.equal("SIGUSR1", seen)
  end)

  it("closes its handle when the loop is left by break, by return, or by an error", function()
    local function loop(next_one, handle, leave)
      for name in next_one, nil, nil, handle do
        if leave == "error" then error "mine" end
        if leave == "return" then return name end
        if leave == "break" then break end
      end
    end
    for _, leave in ipairs { "break", "return", "error" } do
      local next_one, _, _, handle = corun.signals { "USR1" }
      send "USR1"
      pcall(loop, next_one, handle, leave)
      assert.equal("SignalHandle (closed, SIGUSR1)", tostring(handle))
    end
  end)

  it("gives nil when its handle was closed, though nobody waits then", function()
    local next_one, _, _, handle = corun.signals { "USR1", "USR2" }
    assert.equal("SignalHandle (SIGUSR1, SIGUSR2)", tostring(handle))
    handle:close()
    assert.is_nil(next_one())
    local other
    corun.scope(function() other = corun.signals { "USR1" } end)
    assert.is_nil(other())
  end)

  it("raises \"cancelled\" in a cancelled task, and closes the handle", function()
    local e
    local task = corun.go(function()
      local ok
      ok, e = pcall(function()
        for _ in corun.signals { "USR1" } do error "not reached" end
      end)
      assert.is_false(ok)
      corun.sleep(1000)
    end)
    waiting.wait_until("it waits", function() return task.status == "waiting" end)
    task:cancel("enough")
    raised.error("cancelled", function() task:await() end)
    assert.equal("cancelled", e.kind)
    assert.equal("enough", e.reason)
    -- With an open handle this would wait for a signal.
    raised.error("deadlock", function() corun.event():wait() end)
  end)

  it("loses nothing to a cancellation or a time-out", function()
    local next_one, _, _, handle = corun.signals { "USR1" }
    local _ <close> = handle
    raised.error("timeout", function() corun.timeout(0.002, next_one) end)
    send "USR1"
    raised.error("timeout", function() corun.timeout(0, next_one) end)
    assert.equal("SIGUSR1", next_one())
  end)

  it("refuses what is no list of signals, and then takes none of them", function()
    for text, list in pairs {
      ["an empty one"] = {}, ['"USR1"'] = "USR1", ["10"] = 10, ["a function"] = print,
    } do
      assert.equal("signals: a list of signals expected, got " .. text,
        raised.argument(function() corun.signals(list) end))
    end
    assert.equal("signals: a list of signals expected, got nil", raised.argument(function() corun.signals() end))
    for _, case in ipairs {
      { "KILL", "SIGKILL cannot be handled" }, { "SEGV", "SIGSEGV cannot be handled" },
      { 0, "signal 0 cannot be handled" }, { "NOPE", 'a signal name or number expected, got "NOPE"' },
      { true, "a signal name or number expected, got true" },
    } do
      assert.equal("signals: " .. case[2], raised.argument(function() corun.signals { "USR1", case[1] } end))
    end
    raised.error("deadlock", function() corun.event():wait() end) -- there is no open handle
  end)
end)

for _, host in ipairs(scripts.hosts) do
  describe("A script under " .. host.name .. " whose main chunk only waits in corun.signals", function()
    local function start(source)
      local p = host:spawn([[
        local corun = require "corun"
        local function say(text)
          io.stdout:write(text, "\n")
          io.stdout:flush()
        end
      ]] .. source, { timeout = 10 })
      assert.equal("up", p.stdout:read_line())
      return p
    end

    it("leaves the signals to their default behaviour after the loop", function()
      local p <close> = start [[
        local next_one, _, _, handle = corun.signals { "HUP", "USR1" }
        say "up"
        for name in next_one, nil, nil, handle do
          say(name)
          if name == "SIGUSR1" then break end
        end
        say "left"
        corun.sleep(1000)
      ]]
      p:signal("USR1")
      assert.equal("SIGUSR1", p.stdout:read_line())
      assert.equal("left", p.stdout:read_line())
      p:signal("USR1")
      assert.equal("SIGUSR1", p:wait().signal)
    end)

    it("is ended by a signal that it does not wait for", function()
      local p <close> = start [[
        corun.go(function()
          local _ <close> = setmetatable({}, { __close = function() say "task closed" end })
          corun.sleep(0)
          say "up"
          corun.sleep(1000)
        end)
        for name in corun.signals { "HUP" } do say(name) end
      ]]
      p:signal("TERM")
      local status = p:wait()
      assert.equal("task closed\n", p.stdout:read())
      if host.is_stock then assert.equal("SIGTERM", status.signal)
      else assert.equal(143, status.code) end
    end)
  end)
end
