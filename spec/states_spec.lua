--- Several Lua states in one program, each with its own loop.

local corun = require "corun"
local scripts = require "spec.support.scripts"
local support = require "spec.support"
local world = require "spec.support.world"

local lua_dir = scripts.absolute("lua")

--- Runs the fixture with these steps, after a first state has come and gone, and gives its output's lines.
local function states(...)
  local spec = { support.fixture "states", "z", "require 'corun'", "-z", "0" }
  for _, step in ipairs { ... } do spec[#spec + 1] = step end
  spec.env = { LUA_PATH = ("%s/?.lua;%s/?/init.lua"):format(lua_dir, lua_dir), FIXTURES = scripts.fixtures }
  spec.timeout = 30
  local result = corun.run(spec)
  assert.equal("", result.stderr)
  local lines = {}
  for line in result:lines() do lines[#lines + 1] = line end
  return lines
end

local nothing_left = "left: 0 descriptors, no child"

-- Starts a child that says "ready", as the global p.
local start = [[
  corun = require "corun"
  p = corun.spawn{os.getenv "FIXTURES" .. "/ready", stderr = "null"}
  assert(p.stdout:read_line():find "^ready")
]]

describe("Several Lua states", function()
  it("can come and go one after another", function()
    local steps = {}
    for i = 1, 10 do
      steps[#steps + 1] = "a"
      steps[#steps + 1] = ("print(require('corun').capture{'echo', %d})"):format(i)
      steps[#steps + 1] = "-a"
    end
    assert.same({ "1", "2", "3", "4", "5", "6", "7", "8", "9", "10", nothing_left }, states(table.unpack(steps)))
  end)

  it("can work in turn, and one can close while the other has children", function()
    local lines = states(
      "a", start .. "print('a', p.status)",
      "b", start .. "print('b', p.status)",
      "a", "corun.go(function() p:wait() print('a saw', p.status) end) corun.sleep(0)",
      "b", "p:kill() print('b', p.status)",
      "a", "print('a', p.status)",
      "-b",
      "a", "p:signal('INT') p:wait() corun.sleep(0)",
      "-a")
    assert.same({
      "a\tnil", "b\tnil", "b\tsignal SIGKILL", "a\tnil", "a saw\tsignal SIGINT", nothing_left,
    }, lines)
  end)

  it("can work in two threads at the same time #slow", function()
    local work = [[
      local corun = require "corun"
      local count = 0
      for i = 1, 100 do
        corun.scope(function(scope)
          scope:go(function() if corun.capture{"echo", i} == tostring(i) then count = count + 1 end end)
          local p = scope:spawn{"cat"}
          p:write("x")
          p:close_stdin()
          if p.stdout:read() == "x" then count = count + 1 end
        end)
      end
      print(count)
    ]]
    assert.same({ "200", "200", nothing_left }, states("+a", work, "+b", work, ".", "-a", "-b"))
  end)

  it("can be made in one thread and closed in another", function()
    assert.same({ "in", nothing_left }, states("+a", start .. "print 'in'", ".", "-a"))
  end)
end)

describe("Closing a state", function()
  it("stops its children and gives everything back, with all kinds of things alive", function()
    local lines = states("a", start .. [[
      q = corun.spawn{"yes"}
      q.stdout:read(1)
      w = corun.spawn{os.getenv "FIXTURES" .. "/ready", fds = {[3] = "output"}}
      w.stdin:write(("x"):rep(500000))
      tasks = {}
      local function go(fn) tasks[#tasks + 1] = corun.go(fn) end
      go(function() p.stdout:read_line() end)
      go(function() w.stdin:write(("x"):rep(5000000)) end)
      go(function() p:wait() end)
      go(function() corun.sleep(1000) end)
      go(function() table.sort({2, 1}, function() corun.sleep(1000) end) end)
      go(function() coroutine.wrap(function() w.stdout:read_exactly(100) end)() end)
      go(function() corun.run{"sleep", "1000"} end)
      go(function() corun.scope(function(s) s:go(corun.sleep, 1000) s:spawn{"sleep", "1000"} end) end)
      corun.sleep(0)
      corun.sleep(0)
      ended = corun.spawn{"echo", "unread"}
      ended:wait()
      -- A state that closes waits for its tasks: these have their end before them.
      for _, task in ipairs(tasks) do task:cancel() end
    ]], "-a")
    assert.same({ nothing_left }, lines)
    assert.same({}, support.marked("CORUN_SPEC=" .. corun.env.CORUN_SPEC))
  end)

  it("waits for its tasks", function()
    local lines = states("a", [[
      local corun = require "corun"
      corun.go(function()
        corun.sleep(0.01)
        print(corun.capture{"echo", "through"})
      end)
      corun.sleep(0)
    ]], "-a")
    assert.same({ "through", nothing_left }, lines)
  end)

  it("runs the clean-up of a cancelled task", function()
    local lines = states("a", [[
      local corun = require "corun"
      local task = corun.go(function()
        local _ <close> = setmetatable({}, {__close = function() print(corun.capture{"echo", "closed"}) end})
        corun.sleep(1000)
      end)
      corun.sleep(0)
      task:cancel()
    ]], "-a")
    assert.same({ "closed", nothing_left }, lines)
  end)

  it("is not in the way of a program that exits without it", function()
    local lines = states("a", start .. "print(p.pid)", "!")
    assert.equal(1, #lines)
    assert.is_true(support.is_gone(lines[1]))
  end)

  it("goes well when the module was loaded and not used", function()
    assert.same({ nothing_left }, states("a", "require 'corun'", "-a", "b", "require 'corun.core'", "-b"))
  end)
end)

describe("A copy of the program that fork made", function()
  it("does not touch the children when it exits", function()
    local lines = states("a", start .. [[
      print(fork_exit())
      print(p.status)
      p:signal("INT")
      print(p:wait(10))
    ]], "-a")
    assert.same({ "7", "nil", "signal SIGINT", nothing_left }, lines)
  end)
end)

describe("A status that somebody else took", function()
  -- uv_spawn never tells of such an end.
  (world.is_native and it or pending)("is unknown, and nobody waits for ever", function()
    local lines = states("a", start .. [[
      local pid = p.pid
      p:signal("KILL")
      print(reap(pid))
      local status = p:wait(10)
      print(status.reason, status.ok, status.code, status.signal)
      print(tostring(status):find("unknown") ~= nil)
      print(p:signal("TERM"), p:signal_tree("TERM"))
    ]], "-a")
    assert.same({ "true", "unknown\tfalse\tnil\tnil", "true", "false\tfalse", nothing_left }, lines)
  end)
end)
