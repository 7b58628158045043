--- SIGQUIT (Ctrl-\) to a script: it says who waits for what, and goes on.

local corun = require "corun"
local raised = require "spec.support.raised"
local scripts = require "spec.support.scripts"
local support = require "spec.support"
local world = require "spec.support.world"

--- Reads the lines of one report, up to that of `last`.
local function read_report(p, last)
  local lines = {}
  repeat
    local line = p.stderr:read_line()
    assert.is_string(line, "the report ends: " .. table.concat(lines, "\n"))
    lines[#lines + 1] = line
  until line:find(last, 1, true)
  return lines
end

--- Starts a script that may die by the signal.
local function start_without_core(host, source)
  return corun.spawn(world.after("ulimit -c 0", host:spec(source, { timeout = 10 })))
end

describe("SIGQUIT to a script under corun", function()
  local function start(source)
    local p = scripts.native:spawn([[
      local corun = require "corun"
      local function say(text)
        io.stdout:write(text, "\n")
        io.stdout:flush()
      end
    ]] .. source, { timeout = 10 })
    assert.equal("up", p.stdout:read_line())
    return p
  end

  it("prints corun.tasks() to its stderr, as often as it comes, and the script goes on", function()
    local p <close> = start [[
      corun.go(function() corun.sleep(1000) end).name = "sleeper"
      corun.go(function()
        corun.sleep(0)
        say "up"
      end)
      say(corun.stdin:read_line())
      os.exit(3)
    ]]
    for _ = 1, 2 do
      p:signal("QUIT")
      local report = read_report(p, "sleeper")
      assert.equal(3, #report)
      assert.equal("corun, process " .. p.pid, report[1])
      assert.matches("^  main: in read_line for %d+%.%d s at script.lua:11, Reader", report[2])
      assert.matches("^  sleeper: in sleep for %d+%.%d s at script.lua:6$", report[3])
    end
    p:write("line\n")
    assert.equal("line\n", p.stdout:read())
    assert.equal("", p.stderr:read())
    assert.equal(3, p:wait().code)
  end)

  it("prints it also while the script computes without waiting, and the script goes on", function()
    local p <close> = start [[
      corun.go(function() corun.sleep(1000) end).name = "sleeper"
      corun.sleep(0)
      say "up"
      for n = 1, 3 do
        while not io.open("step" .. n) do
          for _ = 1, 10000 do end
        end
        say("step " .. n)
      end
      os.exit(0)
    ]]
    for n = 1, 3 do
      p:signal("QUIT")
      assert.equal("  main: running", read_report(p, "sleeper")[2])
      support.write_file(p.cwd .. "/step" .. n, "")
      assert.equal("step " .. n, p.stdout:read_line())
    end
    assert.is_true(p:wait().ok)
  end)

  it("comes after what the script has printed before", function()
    local p <close> = scripts.native:spawn([[
      local corun = require "corun"
      io.stdout:setvbuf "full"
      io.write "printed before\n"
      io.stderr:write "up\n"
      while not io.open "go" do
        for _ = 1, 10000 do end
      end
    ]], { timeout = 10, stderr = "stdout" })
    assert.equal("up", p.stdout:read_line())
    p:signal("QUIT")
    assert.equal("printed before", p.stdout:read_line())
    assert.matches("^corun, process ", p.stdout:read_line())
    support.write_file(p.cwd .. "/go", "")
    assert.is_true(p:wait().ok)
  end)

  it("shows what keeps a script from its end", function()
    local p <close> = start [[
      corun.go(function()
        local _ <close> = setmetatable({}, { __close = function() corun.stdin:read_line() end })
        say "up"
      end).name = "closing"
    ]]
    p:signal("QUIT")
    local report = read_report(p, "closing")
    assert.matches("^  main: in the end of the script for ", report[2])
    assert.matches("^  closing: in read_line for .* at script.lua:7, Reader", report[3])
    p:close_stdin()
    assert.is_true(p:wait().ok)
  end)

  it("is the script's own while that handles it, and prints the tasks again after", function()
    local p <close> = start [[
      local handle = corun.on_signal("QUIT", function(name) say("got " .. name) end)
      say "up"
      corun.stdin:read_line()
      handle:close()
      say "closed"
      corun.stdin:read_line()
    ]]
    for _ = 1, 2 do
      p:signal("QUIT")
      assert.equal("got SIGQUIT", p.stdout:read_line())
    end
    p:write("\n")
    assert.equal("closed", p.stdout:read_line())
    p:signal("QUIT")
    raised.has(read_report(p, "main")[2], "main: in read_line for ")
    p:close_stdin()
    assert.is_true(p:wait().ok)
    assert.equal("", p.stderr:read())
  end)

  it("does not keep a deadlock from being found", function()
    local result = scripts.native:run [[
      local corun = require "corun"
      corun.event():wait()
    ]]
    assert.equal(1, result.code)
    raised.has(result.stderr, "every task waits for something that can never come")
  end)

  it("is left to the system's default for its children", function()
    local p <close> = start [[
      local child = corun.spawn { "sh", "-c", "ulimit -c 0; exec $FIXTURES/ready", stderr = "null" }
      child.stdout:read_line()
      say "up"
      child:signal("QUIT")
      say(tostring(child:wait().signal))
    ]]
    assert.equal("SIGQUIT\n", p.stdout:read())
  end)

  it("ends a plain script that has not loaded corun", function()
    local p <close> = start_without_core(scripts.native, "io.stdout:write('up\\n') io.stdout:flush() while true do end")
    assert.equal("up", p.stdout:read_line())
    p:signal("QUIT")
    assert.equal("SIGQUIT", p:wait().signal)
  end)
end)

describe("SIGQUIT to the interactive session", function()
  it("prints the tasks, and the session goes on", function()
    local home = support.directory()
    local repl <close> = corun.spawn { scripts.absolute(support.fixture "pty"), scripts.corun,
      stderr = "null", timeout = 20, cwd = home, env = { HOME = home, XDG_STATE_HOME = false, TERM = "xterm",
        CORUN_LUA_DIR = os.getenv("CORUN_LUA_DIR") and scripts.absolute("lua") or false } }
    repl.stdout:read_until "> "
    repl:write("corun.go(function() corun.sleep(1000) end).name = 'sleeper' print 'started'\n")
    repl.stdout:read_until "started\r\n> "
    repl:write("100 + 2")
    repl.stdout:read_until "100 + 2"
    repl:write("\28") -- Ctrl-\ while a line is typed
    repl.stdout:read_until "corun, process "
    repl.stdout:read_until "sleeper: in sleep for "
    repl.stdout:read_until "> 100 + 2"
    repl:write("0\n")
    repl.stdout:read_until "\n120\r\n> "
  end)
end)

describe("SIGQUIT to a script under lua5.4", function()
  if scripts.sanitized then return end

  it("ends it as without corun", function()
    local p <close> = start_without_core(scripts.stock, [[
      local corun = require "corun"
      corun.go(function() corun.sleep(1000) end)
      print "up"
      io.stdout:flush()
      corun.sleep(1000)
    ]])
    assert.equal("up", p.stdout:read_line())
    p:signal("QUIT")
    assert.equal("SIGQUIT", p:wait().signal)
    assert.equal("", p.stderr:read())
  end)

  it("calls a handler, and ends it again when that is closed", function()
    local p <close> = start_without_core(scripts.stock, [[
      local corun = require "corun"
      local got = corun.event()
      local handle = corun.on_signal("QUIT", function() got:set() end)
      io.stderr:write "up\n"
      got:wait()
      handle:close()
      io.stderr:write "closed\n"
      corun.sleep(1000)
    ]])
    assert.equal("up", p.stderr:read_line())
    p:signal("QUIT")
    assert.equal("closed", p.stderr:read_line())
    p:signal("QUIT")
    assert.equal("SIGQUIT", p:wait().signal)
  end)
end)
