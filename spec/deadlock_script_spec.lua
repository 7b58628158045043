--- Deadlocks of whole scripts and of lines of the session; and what looks like one and is none.

local corun = require "corun"
local raised = require "spec.support.raised"
local scripts = require "spec.support.scripts"
local support = require "spec.support"

local message = "every task waits for something that can never come"

--- The lines of a text, without how long each wait has lasted.
local function lines_of(text)
  local lines = {}
  for line in text:gmatch("[^\n]+") do lines[#lines + 1] = line:gsub(" for %d+%.%d s", "", 1) end
  return lines
end

for _, host in ipairs(scripts.hosts) do
  local name = host.is_stock and "lua5.4" or "corun"

  describe("A deadlock of a script under " .. name, function()
    it("of its main chunk is an error like any other, after which all is cleaned up", function()
      local result = host:run [[
        local corun = require "corun"
        local p = corun.spawn { "cat" }
        p:close_stdin()
        p:wait()
        local _ <close> = setmetatable({}, { __close = function() print(corun.capture { "echo", "closed" }) end })
        corun.go(function()
          local _ <close> = setmetatable({}, { __close = function() print "task closed" end })
          corun.channel():receive()
        end).name = "receiver"
        corun.event():wait()
        print "not reached"
      ]]
      assert.equal(1, result.code)
      local out = lines_of(result.stdout)
      table.sort(out)
      assert.same({ "closed", "task closed" }, out)
      local said = lines_of(result.stderr)
      assert.equal(name .. ": script.lua:10: " .. message, said[1])
      assert.equal("  main: in wait at script.lua:10, Event (not set)", said[2])
      assert.equal("  receiver: in receive at script.lua:8, Channel (0 of 0 values)", said[3])
    end)

    it("of what goes on after its main chunk is an error of the script", function()
      local result = host:run [[
        local corun = require "corun"
        local event, first = corun.event(), nil
        first = corun.go(function() event:wait() end)
        first.name = "first"
        corun.go(function()
          local _ <close> = setmetatable({}, { __close = function() print(corun.capture { "echo", "closed" }) end })
          corun.shield(function() corun.sleep(0.002) end)
          corun.channel(1):receive()
        end).name = "second"
        print "the end"
      ]]
      assert.equal("the end\nclosed\n", result.stdout)
      local said = lines_of(result.stderr)
      assert.same({
        "corun: " .. message, "  main: in the end of the script",
        "  first: in wait at script.lua:3, Event (not set)",
        "  second: in receive at script.lua:8, Channel (0 of 1 values)",
      }, { table.unpack(said, 1, 4) })
      -- What a stock interpreter exits with is decided when its main chunk has ended.
      assert.equal(host.is_stock and 0 or 1, result.code)
    end)

    it("of a shielded task at its end does not keep it from ending", function()
      local result = host:run([[
        local corun = require "corun"
        corun.go(function()
          local ok, e = pcall(corun.shield, function() corun.event():wait() end)
          print(ok, e.kind)
        end)
        print "the end"
      ]], { timeout = 10 })
      assert.equal("exit", result.reason)
      assert.equal("the end\nfalse\tdeadlock\n", result.stdout)
    end)

    it("that it catches does not end it", function()
      local result = host:run [[
        local corun = require "corun"
        local ok, e = pcall(function() corun.event():wait() end)
        print(ok, e.kind, #e.waiting)
        print(corun.capture { "echo", "goes on" })
      ]]
      assert.equal("false\tdeadlock\t1\ngoes on\n", result.stdout)
      assert.equal("", result.stderr)
      assert.equal(0, result.code)
    end)
  end)

  describe("There is no deadlock in a script under " .. name, function()
    it("that waits for its stdin", function()
      local p <close> = host:spawn([[
        local corun = require "corun"
        local event, got = corun.event(), nil
        corun.go(function()
          got = corun.stdin:read_line()
          event:set()
        end)
        io.stderr:write "up\n"
        event:wait()
        print(got)
      ]], { timeout = 10 })
      assert.equal("up", p.stderr:read_line())
      corun.sleep(0.02)
      p:write("line\n")
      assert.equal("line", p.stdout:read_line())
      assert.is_true(p:wait().ok)
    end)

    it("that waits for a signal, also at its end", function()
      for _, wait in ipairs { "event:wait()", "corun.go(function() event:wait() print 'the end' end)" } do
        local p <close> = host:spawn([[
          local corun = require "corun"
          local event = corun.event()
          corun.on_signal("USR1", function(name)
            print(name)
            event:set()
          end)
          io.stderr:write "up\n"
        ]] .. wait, { timeout = 10 })
        assert.equal("up", p.stderr:read_line())
        corun.sleep(0.02)
        p:signal("USR1")
        assert.matches("^SIGUSR1\n", p.stdout:read())
        assert.equal("", p.stderr:read())
        assert.is_true(p:wait().ok)
      end
    end)

    it("that waits for a process whose output nobody reads", function()
      local result = host:run [[
        local corun = require "corun"
        local event = corun.event()
        local p = corun.spawn { "sh", "-c", "head -c 100 /dev/zero; sleep 0.02; exit 3" }
        corun.go(function()
          print(p:wait())
          event:set()
        end)
        event:wait()
      ]]
      assert.equal("exit 3\n", result.stdout)
      assert.equal("", result.stderr)
    end)

    it("that waits for its own output to be taken", function()
      local spec = host:spec [[
        local corun = require "corun"
        corun.stdout:write(("x"):rep(1 << 20), "\n")
        corun.stdout:drain()
        corun.stderr:write("written\n")
      ]]
      spec.timeout = 10
      local p <close> = corun.spawn(spec)
      corun.sleep(0.02)
      assert.equal(1 << 20, #p.stdout:read_line())
      assert.equal("written\n", p.stderr:read())
      assert.is_true(p:wait().ok)
    end)
  end)
end

describe("A deadlock in the interactive session", function()
  local home, repl

  before_each(function() home = support.directory() end)
  after_each(function() repl:close() end)

  local function expect(text) return repl.stdout:read_until(text) end

  --- Types a line; gives what comes up to the next prompt.
  local function enter(line)
    repl:write(line, "\n")
    return (expect("\r\n> "):gsub("^[^\n]*\n?", "", 1):gsub("\r", ""))
  end

  local function start()
    repl = corun.spawn { scripts.absolute(support.fixture "pty"), scripts.corun, stderr = "null", timeout = 20,
      cwd = home, env = { HOME = home, XDG_STATE_HOME = false, TERM = "xterm",
        CORUN_LUA_DIR = os.getenv("CORUN_LUA_DIR") and scripts.absolute("lua") or false } }
    expect "> "
  end

  it("is an error of the line, and the session goes on", function()
    start()
    local text = enter "corun.event():wait() return 1"
    assert.equal(message, text:match("^stdin:1: ([^\n]*)"))
    raised.has(text, "\n  main: in wait for ")
    raised.has(enter "corun.event():wait()", message .. "\n  main: in wait for ")
    assert.equal("2", enter "1 + 1")
  end)

  it("ends what the line has started, and leaves the tasks of other lines", function()
    start()
    enter "event = corun.event()"
    enter "other = corun.go(function() event:wait() return 'went on' end)"
    enter "other.name = 'other'"
    raised.has(enter "task = corun.go(function() event:wait() end) task:await()", "\n  other: in wait for ")
    assert.equal("cancelled", enter "task.status")
    assert.equal("waiting", enter "other.status")
    enter "event:set()"
    assert.equal("went on", enter "other:await()")
  end)

  it("is none while a line is typed and tasks wait", function()
    start()
    enter "event = corun.event()"
    enter "corun.go(function() event:wait() done = true end)"
    corun.sleep(0.02)
    assert.equal("nil", enter "done")
    enter "event:set() corun.sleep(0)"
    assert.equal("true", enter "done")
  end)
end)
