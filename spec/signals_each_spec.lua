--- Signals are neither lost nor do they end the program when they come at an odd moment.

local corun = require "corun"
local raised = require "spec.support.raised"
local scripts = require "spec.support.scripts"
local support = require "spec.support"
local waiting = require "spec.support.waiting"

local send = support.send
local send_at_once = support.send_at_once

local function wait_for(count, list)
  waiting.wait_until(count .. " signals", function() return #list >= count end)
  waiting.let_others_run()
end

local prelude = [[
  local corun = require "corun"
  local pid = io.open("/proc/self/stat"):read("n")
  local function send_at_once(signal) io.popen("kill -" .. signal .. " " .. pid):close() end
  local function say(text)
    io.stdout:write(text, "\n")
    io.stdout:flush()
  end
]]

describe("corun.signals", function()
  it("gives the name of each signal as it comes", function()
    local got = {}
    corun.scope(function(scope)
      scope:go(function()
        for name in corun.signals { "USR1", "SIGUSR2", "RTMIN+1" } do
          got[#got + 1] = name
          if #got == 5 then break end
        end
      end)
      corun.sleep(0)
      for n, name in ipairs { "USR1", "USR2", "USR2", "RTMIN+1", "USR1" } do
        send(name)
        wait_for(n, got)
      end
    end)
    assert.same({ "SIGUSR1", "SIGUSR2", "SIGUSR2", "SIGRTMIN+1", "SIGUSR1" }, got)
  end)

  it("keeps those that come while the loop is busy", function()
    local got = {}
    corun.scope(function(scope)
      scope:go(send, "RTMIN+1")
      for name in corun.signals { "RTMIN+1" } do
        got[#got + 1] = name
        if #got == 1 then
          for _ = 1, 3 do send_at_once "RTMIN+1" end
          waiting.let_others_run()
        elseif #got == 4 then
          break
        end
      end
    end)
    assert.same({ "SIGRTMIN+1", "SIGRTMIN+1", "SIGRTMIN+1", "SIGRTMIN+1" }, got)
  end)

  it("ends the loop of another task when its handle is closed", function()
    local next_one, _, _, handle = corun.signals { "USR1" }
    local task = corun.go(function() return "ended", next_one() end)
    waiting.wait_until("it waits", function() return task.status == "waiting" end)
    handle:close()
    assert.same({ "ended", nil }, { task:await(5) })
  end)
end)

describe("A handle that is made in a defer", function()
  it("is closed at the end of the scope, too", function()
    local handle
    corun.scope(function(scope)
      scope:defer(function() handle = corun.on_signal("USR1", print) end)
    end)
    local text = tostring(handle)
    handle:close()
    assert.equal("SignalHandle (closed, SIGUSR1)", text)
  end)
end)

describe("corun.on_signal refuses", function()
  it("the numbers that the C library keeps for itself", function()
    for _, number in ipairs { 32, 33 } do
      assert.matches("^on_signal: ", raised.argument(function() corun.on_signal(number, print) end))
    end
  end)
end)

for _, host in ipairs(scripts.hosts) do
  describe("A script under " .. host.name, function()
    it("gets each signal in corun.signals, and leaves them to their default behaviour after the loop", function()
      local p <close> = host:spawn(prelude .. [[
        local next_one, _, _, handle = corun.signals { "HUP", "USR1" }
        say "up"
        for name in next_one, nil, nil, handle do
          say(name)
          if name == "SIGUSR1" then break end
        end
        say "left"
        corun.sleep(1000)
      ]], { timeout = 10 })
      assert.equal("up", p.stdout:read_line())
      for _, signal in ipairs { "SIGHUP", "SIGHUP", "SIGUSR1" } do
        p:signal(signal)
        assert.equal(signal, p.stdout:read_line())
      end
      assert.equal("left", p.stdout:read_line())
      p:signal("USR1")
      assert.equal("SIGUSR1", p:wait().signal)
    end)

    for _, signal in ipairs { "WINCH", "CONT", "USR1" } do
      it("is not ended by SIG" .. signal .. " that came while it had a handler, which was then closed", function()
        local result = host:run(prelude .. ([[
          do
            local _ <close> = corun.on_signal("%s", print)
            send_at_once "%s"
          end
          corun.sleep(0)
          say "goes on"
        ]]):format(signal, signal))
        assert.matches("goes on\n$", result.stdout)
        assert.equal("", result.stderr)
        assert.equal(0, result.code)
      end)
    end
  end)
end

describe("SIGQUIT to a script that computes", function()
  it("is noticed also where the tasks are just being printed", function()
    local p <close> = scripts.native:spawn(prelude .. [[
      corun.go(function() corun.sleep(1000) end).name = "sleeper"
      corun.sleep(0)
      say "up"
      while not io.open "go" do
        for _ = 1, 10000 do end
      end
      os.exit(0)
    ]], { timeout = 20 })
    assert.equal("up", p.stdout:read_line())
    for _ = 1, 200 do
      p:signal("QUIT")
      repeat local line = p.stderr:read_line() until line:find "sleeper"
    end
    support.write_file(p.cwd .. "/go", "")
    assert.is_true(p:wait().ok)
  end)
end)

describe("SIGQUIT to the interactive session", function()
  it("prints the tasks also while a line waits", function()
    local home = support.directory()
    local repl <close> = corun.spawn { scripts.absolute(support.fixture "pty"), scripts.corun,
      stderr = "null", timeout = 10, cwd = home, env = { HOME = home, XDG_STATE_HOME = false, TERM = "xterm",
        CORUN_LUA_DIR = os.getenv("CORUN_LUA_DIR") and scripts.absolute("lua") or false } }
    repl.stdout:read_until "> "
    repl:write("print 'started' corun.sleep(1000)\n")
    repl.stdout:read_until "started\r\n"
    repl:write("\28")
    repl.stdout:read_until "main: in sleep for "
    repl:write("\3")
    repl.stdout:read_until "interrupted\r\n> "
  end)
end)

describe("The main chunk of a stock interpreter", function()
  if scripts.sanitized then return end

  for signal, number in pairs { SIGINT = 2, SIGTERM = 15 } do
    it("that has no task and only sleeps is ended by the first " .. signal, function()
      local host = scripts.stock
      local p <close> = host:spawn(prelude .. "say 'up' corun.sleep(1000)")
      assert.equal("up", p.stdout:read_line())
      waiting.wait_until("it sleeps", function() return support.process_state(p.pid) == "S" end)
      p:signal(signal)
      assert.equal(number, p:wait(10).signo)
      assert.matches("cancelled: " .. signal, p.stderr:read())
    end)
  end
end)
