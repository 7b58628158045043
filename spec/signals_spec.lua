--- Signals to a running script: everything is stopped by its plan, and clean-up runs.

local corun = require "corun"
local raised = require "spec.support.raised"
local scripts = require "spec.support.scripts"
local support = require "spec.support"
local waiting = require "spec.support.waiting"

-- A child whose pid is printed; then clean-up of each kind; then "waiting", and what the example does then.
local script = [[
  local corun = require "corun"
  local _ <close> = setmetatable({}, {__close = function() print(corun.capture{"echo", "closed"}) end})
  corun.scope(function(scope)
    scope:defer(function() print(corun.capture{"echo", "deferred"}) end)
    local p = scope:spawn{os.getenv "FIXTURES" .. "/ready", stderr = "null"}
    print(p.stdout:read_line())
    corun.go(function()
      local _ <close> = setmetatable({}, {__close = function() print "task closed" end})
      corun.sleep(1000)
    end)
    corun.sleep(0)
    print "waiting"
    io.stdout:flush()
    %s
  end)
  print "not reached"
]]

local waits = {
  ["sleeps"] = "corun.sleep(1000)",
  ["waits for a command"] = "corun.run{'sleep', '1000'}",
  ["reads"] = "p.stdout:read_line()",
  ["computes"] = "while true do end",
  ["computes in a task"] = "corun.go(function() while true do end end):await()",
  ["waits in a callback of table.sort"] = "table.sort({2, 1}, function() corun.sleep(1000) end)",
  ["waits in a coroutine"] = "coroutine.wrap(function() corun.sleep(1000) end)()",
  ["swallows errors"] = "while true do pcall(corun.sleep, 1000) corun.stderr:write('') end",
}

local function expect_status(host, status, signal, number)
  if host.is_stock then
    assert.equal(signal, status.signal, tostring(status))
  else
    assert.equal(128 + number, status.code, tostring(status))
  end
end

--- Reads the script's output up to "waiting"; gives the child's pid.
local function wait_for_start(p)
  local child = p.stdout:read_line():match("^ready (%d+)$")
  assert.equal("waiting", p.stdout:read_line())
  return child
end

for _, host in ipairs(scripts.hosts) do
  describe("A script under " .. host.name, function()
    for signal, number in pairs { SIGINT = 2, SIGTERM = 15, SIGHUP = 1 } do
      it("that gets " .. signal .. " stops all, cleans up and ends by it", function()
        local p <close> = host:spawn(script:format(waits.sleeps))
        local child = wait_for_start(p)
        p:signal(signal)
        local status = p:wait(10)
        assert.equal("task closed\ndeferred\nclosed\n", p.stdout:read())
        -- A stock interpreter prints what ends its main chunk.
        local said = host.is_stock and "^lua5.4: script.lua:1[34]: cancelled: " .. signal .. "\n$" or "^$"
        assert.matches(said, p.stderr:read())
        expect_status(host, status, signal, number)
        assert.is_true(support.is_gone(child))
      end)
    end

    for name, wait in pairs(waits) do
      it("that " .. name .. " is stopped by SIGINT, too", function()
        local p <close> = host:spawn(script:format(wait), { timeout = 10 })
        local child = wait_for_start(p)
        p:signal("INT")
        local status = p:wait()
        assert.equal("task closed\ndeferred\nclosed\n", p.stdout:read())
        expect_status(host, status, "SIGINT", 2)
        assert.is_true(support.is_gone(child))
      end)
    end

    for signal, number in pairs { SIGINT = 2, SIGTERM = 15 } do
      it("whose main chunk has ended, and whose tasks go on, is stopped by " .. signal .. ", too", function()
        local p <close> = host:spawn([[
          local corun = require "corun"
          corun.go(function()
            local _ <close> = setmetatable({}, {__close = function() print(corun.capture{"echo", "closed"}) end})
            local p = corun.spawn{os.getenv "FIXTURES" .. "/ready", stderr = "null"}
            print(p.stdout:read_line())
            print "waiting"
            io.stdout:flush()
            corun.sleep(1000)
          end)
        ]], { timeout = 10 })
        local child = wait_for_start(p)
        p:signal(signal)
        local status = p:wait()
        assert.equal("closed\n", p.stdout:read())
        expect_status(host, status, signal, number)
        assert.is_true(support.is_gone(child))
      end)
    end

    it("is killed at once by a second SIGINT, with its children", function()
      local p <close> = host:spawn([[
        local corun = require "corun"
        local p = corun.spawn{"sh", "-c", "trap 'echo asked' TERM; echo ready $$; while :; do :; done",
          stdout = "inherit", grace = 1000}
        corun.stderr:write("up\n")
        corun.sleep(1000)
      ]], { timeout = 10 })
      local child = p.stdout:read_line():match("^ready (%d+)$")
      assert.equal("up", p.stderr:read_line())
      p:signal("INT")
      assert.equal("asked", p.stdout:read_line()) -- the plan runs, and would run for long
      p:signal("INT")
      local status = p:wait()
      expect_status(host, status, "SIGINT", 2)
      waiting.wait_until("the child is gone", function() return support.is_gone(child) end)
    end)

    it("stops its children by their plan when it is told twice by SIGTERM", function()
      local p <close> = host:spawn([[
        local corun = require "corun"
        local p = corun.spawn{"sh", "-c", "trap 'echo asked; exit' TERM; echo ready; while :; do :; done",
          stdout = "inherit", grace = 1000}
        corun.stderr:write("up\n")
        corun.sleep(1000)
      ]], { timeout = 10 })
      assert.equal("ready", p.stdout:read_line())
      assert.equal("up", p.stderr:read_line())
      p:signal("TERM")
      p:signal("TERM")
      expect_status(host, p:wait(), "SIGTERM", 15)
      assert.equal("asked\n", p.stdout:read())
    end)

    it("is in charge from the first moment of its first child #slow", function()
      for _ = 1, 25 do
        local result = host:run([[
          local corun = require "corun"
          local _ <close> = setmetatable({}, {__close = function() print "closed" end})
          corun.spawn{"sh", "-c", "kill -TERM $PPID; exec sleep 1000"}
          corun.sleep(1000)
        ]], { timeout = 5 })
        assert.equal("closed\n", result.stdout)
        assert.same({}, support.marked("CORUN_SPEC=" .. corun.env.CORUN_SPEC))
      end
    end)

    it("can end itself by os.exit in its clean-up", function()
      local p <close> = host:spawn([[
        local corun = require "corun"
        local p = corun.spawn{os.getenv "FIXTURES" .. "/ready", stderr = "null"}
        print(p.stdout:read_line())
        print "waiting"
        io.stdout:flush()
        pcall(corun.sleep, 1000)
        os.exit(9)
      ]], { timeout = 10 })
      local child = wait_for_start(p)
      p:signal("TERM")
      assert.equal(9, p:wait().code)
      assert.is_true(support.is_gone(child))
    end)

    it("goes on after SIGHUP when who started it ignores that, as nohup does", function()
      local spec = host:spec [[
        local corun = require "corun"
        local p <close> = corun.spawn{"cat"}
        for line in corun.stdin:lines() do
          p:write(line, "\n")
          corun.stdout:write(p.stdout:read_line(), "\n")
        end
      ]]
      local p <close> = corun.spawn {
        "sh", "-c", "trap '' HUP; exec " .. corun.quote(table.unpack(spec)), cwd = spec.cwd, env = spec.env,
      }
      p:write("one\n")
      assert.equal("one", p.stdout:read_line())
      p:signal("HUP")
      p:write("two\n")
      assert.equal("two", p.stdout:read_line())
      p:close_stdin()
      assert.is_true(p:wait(10).ok)
    end)

    it("works though who started it ignores SIGCHLD and blocks signals", function()
      local spec = host:spec(script:format [[
        print(corun.run({"sh", "-c", "exit 3", check = false}).code)
        io.stdout:flush()
        corun.sleep(1000)
      ]])
      table.insert(spec, 1, support.fixture "masked")
      spec.timeout = 10
      local p <close> = corun.spawn(spec)
      local child = wait_for_start(p)
      assert.equal("3", p.stdout:read_line())
      p:signal("TERM")
      expect_status(host, p:wait(), "SIGTERM", 15)
      assert.is_true(support.is_gone(child))
    end)
  end)

  describe("A script under " .. host.name .. " whose output nobody reads any more", function()
    --- Runs the script with `head -n 1` behind it; gives its exit status and what it said.
    local function with_head(source)
      local spec = host:spec(source)
      local command = ("{ %s; echo status $? >&2; } | head -n 1"):format(corun.quote(table.unpack(spec)))
      return corun.run { "sh", "-c", command, cwd = spec.cwd, env = spec.env, timeout = 10 }
    end

    for name, write in pairs {
      ["by print"] = "while true do print 'text' end",
      ["by corun.stdout"] = "while true do corun.stdout:write('text\\n') end",
      ["by corun.stdout in a task"] = "corun.go(function() while true do corun.stdout:write('text\\n') end end)",
      ["by a command that inherits it"] = "corun.run{'yes', 'text', stdout = 'inherit'}",
      ["by tee"] = "corun.run{'yes', 'text', tee = true}",
    } do
      local how = host.is_stock and "ends in failure" or "ends quietly with 141"
      it("and that writes " .. name .. " stops its children and " .. how, function()
        local result = with_head([[
          local corun = require "corun"
          local p = corun.spawn{os.getenv "FIXTURES" .. "/ready", stderr = "null"}
          corun.stderr:write(p.stdout:read_line(), "\n")
        ]] .. write)
        assert.equal("text\n", result.stdout)
        local child, message, status = result.stderr:match("^ready (%d+)\n(.*)status (%d+)\n$")
        if host.is_stock then
          assert.not_equal("0", status)
        else
          assert.equal("", message)
          assert.equal("141", status)
        end
        assert.is_true(support.is_gone(child))
      end)
    end

    it("goes on when it is the output of a child that is closed, not its own", function()
      local result = host:run [[
        local corun = require "corun"
        local p = corun.spawn{"sh", "-c", "exec <&-; echo closed"}
        p.stdout:read_line()
        print(pcall(p.write, p, "x"))
        print "goes on"
      ]]
      assert.equal(0, result.code)
      assert.matches("^false\t.*\ngoes on\n$", result.stdout)
    end)
  end)
end

describe("A plain script under corun", function()
  it("ends by a signal as any program does", function()
    local p <close> = scripts.native:spawn("io.stdout:write('up\\n') io.stdout:flush() while true do end")
    assert.equal("up", p.stdout:read_line())
    p:signal("TERM")
    assert.equal("SIGTERM", p:wait(10).signal)
  end)
end)

describe("A script under lua5.4 that has neither children nor tasks", function()
  if scripts.sanitized then return end

  it("leaves the signals to lua5.4", function()
    local p <close> = scripts.stock:spawn [[
      local corun = require "corun"
      corun.run{"true"}
      print "up"
      io.stdout:flush()
      while true do end
    ]]
    assert.equal("up", p.stdout:read_line())
    p:signal("INT")
    raised.has(p.stderr:read(), "interrupted!")
    assert.equal(1, p:wait(10).code)
  end)
end)
