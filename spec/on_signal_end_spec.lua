--- What signals do to a script whose handlers are closed again, or that was started with signals ignored or blocked.

local corun = require "corun"
local raised = require "spec.support.raised"
local scripts = require "spec.support.scripts"
local support = require "spec.support"

local prelude = [[
  local corun = require "corun"
  local function say(text)
    io.stdout:write(text, "\n")
    io.stdout:flush()
  end
  local function told() corun.stdin:read_line() end
]]

--- Starts the script, which says "up" when it is ready.
local function start(host, source, options)
  local p = host:spawn(prelude .. source, options)
  assert.equal("up", p.stdout:read_line())
  return p
end

--- Sends the signal and waits for what the script says to it.
local function expect(p, signal, answer)
  p:signal(signal)
  assert.equal(answer, p.stdout:read_line())
end

--- Lets the script go on, up to its next word.
local function tell(p, answer)
  p:write("\n")
  assert.equal(answer, p.stdout:read_line())
end

--- Starts the script as a child of `sh` that has run these lines.
local function start_after(host, lines, source)
  local spec = host:spec(prelude .. source, { timeout = 10 })
  local command = lines .. "; exec " .. corun.quote(table.unpack(spec))
  local p = corun.spawn { "sh", "-c", command, cwd = spec.cwd, env = spec.env, timeout = 10 }
  assert.equal("up", p.stdout:read_line())
  return p
end

local function expect_status(host, status, signal, number)
  if host.is_stock then
    assert.equal(signal, status.signal, tostring(status))
  else
    assert.equal(128 + number, status.code, tostring(status))
  end
end

for _, host in ipairs(scripts.hosts) do
  describe("A script with handlers of signals under " .. host.name, function()
    it("dies by the signal again when the last of its handlers is closed", function()
      local p <close> = start(host, [[
        local first = corun.on_signal("USR1", function(name) say("first " .. name) end)
        local second = corun.on_signal("USR1", function(name) say("second " .. name) end)
        say "up"
        told()
        first:close()
        say "one is closed"
        told()
        second:close()
        say "both are closed"
        corun.sleep(1000)
      ]], { timeout = 10 })
      expect(p, "USR1", "first SIGUSR1")
      assert.equal("second SIGUSR1", p.stdout:read_line())
      tell(p, "one is closed")
      expect(p, "USR1", "second SIGUSR1")
      tell(p, "both are closed")
      p:signal("USR1")
      assert.equal("SIGUSR1", p:wait().signal)
    end)

    for signal, number in pairs { SIGINT = 2, SIGTERM = 15, SIGHUP = 1 } do
      it("is ended by " .. signal .. " as by default when the handler is closed, and not before", function()
        local p <close> = start(host, [[
          local _ <close> = setmetatable({}, { __close = function() say "closed" end })
          corun.go(function()
            local _ <close> = setmetatable({}, { __close = function() say "task closed" end })
            corun.sleep(1000)
          end)
          do
            local _ <close> = corun.on_signal("]] .. signal .. [[", function(name) say("got " .. name) end)
            say "up"
            told()
          end
          say "by default"
          corun.sleep(1000)
        ]], { timeout = 10 })
        for _ = 1, 3 do expect(p, signal, "got " .. signal) end
        tell(p, "by default")
        p:signal(signal)
        local status = p:wait()
        assert.equal("closed\ntask closed\n", p.stdout:read())
        expect_status(host, status, signal, number)
      end)
    end

    it("is not ended by a second SIGINT that comes before it has noticed the first", function()
      local p <close> = start(host, [[
        local count = 0
        corun.on_signal("INT", function()
          count = count + 1
          say("got " .. count)
        end)
        local pid = io.open("/proc/self/stat"):read("n")
        say "up"
        for _ = 1, 2 do io.popen("kill -INT " .. pid):close() end
        told()
      ]], { timeout = 10 })
      assert.equal("got 1", p.stdout:read_line())
      assert.equal("got 2", p.stdout:read_line())
      p:write("\n")
      assert.is_true(p:wait().ok)
    end)

    it("has a handler until the end of a scope, and then the default", function()
      local p <close> = start(host, [[
        corun.scope(function()
          corun.on_signal("USR1", function(name) say("got " .. name) end)
          say "up"
          told()
        end)
        say "after the scope"
        corun.sleep(1000)
      ]], { timeout = 10 })
      expect(p, "USR1", "got SIGUSR1")
      tell(p, "after the scope")
      p:signal("USR1")
      assert.equal("SIGUSR1", p:wait().signal)
    end)

    it("ends at the end of its main chunk though a handler is open", function()
      local result = host:run(prelude .. [[
        corun.on_signal("USR1", print)
        corun.on_signal("INT", print)
        local next_one = corun.signals { "HUP" }
        say "the end"
      ]])
      assert.equal("the end\n", result.stdout)
      assert.equal("", result.stderr)
      assert.equal(0, result.code)
    end)

    it("has its handlers after the end of the main chunk while tasks go on", function()
      local p <close> = start(host, [[
        local got = corun.event()
        corun.on_signal("TERM", function(name)
          say("got " .. name)
          got:set()
        end)
        corun.go(function()
          corun.sleep(0)
          say "up"
          got:wait()
          say "the end"
        end)
      ]], { timeout = 10 })
      expect(p, "TERM", "got SIGTERM")
      assert.equal("the end\n", p.stdout:read())
      assert.is_true(p:wait().ok)
    end)

    it("fails when a handler raises", function()
      local p <close> = start(host, [[
        corun.on_signal("USR1", function() error("mine", 0) end)
        corun.go(function()
          local _ <close> = setmetatable({}, { __close = function() say "task closed" end })
          corun.sleep(1000)
        end)
        corun.sleep(0)
        say "up"
        corun.sleep(1000)
        say "not reached"
      ]], { timeout = 10 })
      p:signal("USR1")
      assert.equal("task closed\n", p.stdout:read())
      raised.has(p.stderr:read(), "mine")
      assert.equal(1, p:wait().code)
    end)

    it("can be ended by os.exit in a handler, which stops its children", function()
      local p <close> = start(host, [[
        corun.on_signal("USR1", function() os.exit(7) end)
        local child = corun.spawn { os.getenv "FIXTURES" .. "/ready", stderr = "null" }
        say "up"
        say(child.stdout:read_line())
        corun.sleep(1000)
      ]], { timeout = 10 })
      local child = p.stdout:read_line():match("^ready (%d+)$")
      p:signal("USR1")
      assert.equal(7, p:wait().code)
      assert.is_true(support.is_gone(child))
    end)

    for _, signal in ipairs { "USR1", "HUP" } do
      it("handles SIG" .. signal .. " that who started it ignores; then it is ignored again", function()
        local p <close> = start_after(host, "trap '' " .. signal, [[
          local handle = corun.on_signal("]] .. signal .. [[", function(name) say("got " .. name) end)
          say "up"
          told()
          handle:close()
          say "closed"
          told()
          say "alive"
        ]])
        expect(p, signal, "got SIG" .. signal)
        tell(p, "closed")
        p:signal(signal)
        tell(p, "alive")
        assert.is_true(p:wait().ok)
      end)
    end

    it("handles signals that who started it blocks", function()
      local spec = host:spec(prelude .. [[
        for _, signal in ipairs { "HUP", "INT" } do corun.on_signal(signal, function(name) say("got " .. name) end) end
        say "up"
        told()
      ]], { timeout = 10 })
      table.insert(spec, 1, support.fixture "masked")
      local p <close> = corun.spawn(spec)
      assert.equal("up", p.stdout:read_line())
      expect(p, "HUP", "got SIGHUP")
      expect(p, "INT", "got SIGINT")
      p:write("\n")
      assert.is_true(p:wait().ok)
    end)

    it("starts children with default dispositions also when who started it ignores signals", function()
      local p <close> = start_after(host, "trap '' USR2", [[
        local handle <close> = corun.on_signal("USR1", print)
        local other <close> = corun.on_signal("USR2", print)
        say "up"
        say(corun.capture { os.getenv "FIXTURES" .. "/signals" })
      ]])
      local none = ("0"):rep(16)
      assert.equal(("SigBlk:\t%s\nSigIgn:\t%s\nSigCgt:\t%s\n"):format(none, none, none), p.stdout:read())
    end)
  end)
end

describe("A script under lua5.4 whose handler of SIGINT is closed", function()
  if scripts.sanitized then return end

  it("leaves the signal to lua5.4 while it has neither children nor tasks", function()
    local p <close> = start(scripts.stock, [[
      local handle = corun.on_signal("INT", function(name) say("got " .. name) end)
      say "up"
      told()
      handle:close()
      say "closed"
      while true do end
    ]], { timeout = 10 })
    expect(p, "INT", "got SIGINT")
    tell(p, "closed")
    p:signal("INT")
    raised.has(p.stderr:read(), "interrupted!")
    assert.equal(1, p:wait().code)
  end)
end)
