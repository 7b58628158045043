--- Processes that outlive corun.

local corun = require "corun"
local raised = require "spec.support.raised"
local scripts = require "spec.support.scripts"
local support = require "spec.support"
local waiting = require "spec.support.waiting"

local ready, stubborn = support.fixture "ready", support.fixture "stubborn"

local function kill_hard(pid) corun.run { "kill", "-KILL", pid } end

local function is_gone_soon(pid)
  waiting.wait_until("process " .. pid .. " is gone", function() return support.is_gone(pid) end)
end

--- Ends it from outside, as what no scope stops any more.
local function end_it(pid)
  kill_hard(pid)
  is_gone_soon(pid)
end

--- The same for a child of ours: corun reaps it, though nobody waits for it.
local function reap_it(pid)
  kill_hard(pid)
  waiting.wait_until("it is reaped", function() return not support.process_state(pid) end)
end

--- Group and session of a process.
local function session_of(pid)
  local group, session = support.read_file("/proc/" .. pid .. "/stat"):match("^.*%) %a %d+ (%d+) (%d+)")
  return tonumber(group), tonumber(session)
end

local function target(pid, fd)
  return require("lfs").symlinkattributes(("/proc/%s/fd/%d"):format(pid, fd), "target")
end

--- The pid that a fixture has written to a file.
local function pid_in(path)
  return waiting.wait_until("it is ready", function()
    return tonumber((support.read_file(path) or ""):match("ready (%d+)\n"))
  end)
end

--- A detached fixture with its stdio where none of it is ours.
local function start(program, options)
  local path = support.directory() .. "/out"
  local spec = { program, detached = true, stdin = "null", stdout = { file = path }, stderr = "null" }
  for name, value in pairs(options or {}) do spec[name] = value end
  local p = corun.spawn(spec)
  assert.equal(p.pid, pid_in(path))
  return p
end

-- Each script starts two fixtures, the first one detached, and then does `rest`.
local both = [[
  local corun = require "corun"
  local detached = corun.spawn { FIXTURES .. "/ready", detached = true, stdin = "null", stderr = "null",
    stdout = { file = OUT } }
  local other = corun.spawn { FIXTURES .. "/stubborn", stdin = "null", stderr = "null", stop = { { "TERM", 3600 } } }
  local pid = other.stdout:read_line():match("%d+")
  while not (io.open(OUT):read("a")):find("\n") do corun.sleep(0.001) end
  print("both " .. pid)
  io.stdout:flush()
]]

local function script_of(path, rest)
  return ("local FIXTURES, OUT = %q, %q\n"):format(scripts.fixtures, path) .. both .. rest
end

for _, host in ipairs(scripts.hosts) do
  describe("A detached process, started by " .. host.name, function()
    --- Starts the script; gives its Process, and the pids of the detached child and the other.
    local function begin(rest)
      local path = support.directory() .. "/out"
      local p = host:spawn(script_of(path, rest), { stderr = "null" })
      local other = tonumber(p.stdout:read_line():match("^both (%d+)$"))
      return p, pid_in(path), other, path
    end

    local function lives_on(pid, path)
      assert.is_false(support.is_gone(pid))
      local group, session = session_of(pid)
      assert.equal(pid, group)
      assert.equal(pid, session)
      assert.equal("/dev/null", target(pid, 0))
      assert.equal(path, target(pid, 1))
      assert.equal("/dev/null", target(pid, 2))
      end_it(pid)
    end

    it("outlives the end of the script, which does not wait for it", function()
      local p <close>, pid, other, path = begin("other:kill()")
      assert.equal(0, p:wait(60).code)
      assert.is_true(support.is_gone(other))
      lives_on(pid, path)
    end)

    it("outlives an error of the script", function()
      local p <close>, pid, _, path = begin("other:kill() error('mine')")
      assert.equal(1, p:wait(60).code)
      lives_on(pid, path)
    end)

    it("outlives os.exit", function()
      local p <close>, pid, _, path = begin("other:kill() os.exit(7, true)")
      assert.equal(7, p:wait(60).code)
      lives_on(pid, path)
    end)

    it("outlives SIGKILL of the runtime", function()
      local p <close>, pid, other, path = begin("corun.sleep(1000)")
      p:signal("KILL")
      assert.equal("SIGKILL", p:wait(60).signal)
      lives_on(pid, path)
      end_it(other)
    end)

    it("outlives Ctrl-C twice", function()
      local p <close>, pid, other, path = begin("corun.shield(function() print('waits') io.stdout:flush() " ..
        "corun.sleep(1000) end)")
      assert.equal("waits", p.stdout:read_line())
      waiting.wait_until("it has ended", function()
        p:signal("INT")
        return p.status
      end, 60)
      is_gone_soon(other)
      lives_on(pid, path)
    end)

    it("is not waited for once it was released", function()
      local p <close>, pid, _, path = begin("other:kill() print(detached:release()) detached = nil collectgarbage()")
      assert.equal(tostring(pid), p.stdout:read_line())
      assert.equal(0, p:wait(60).code)
      lives_on(pid, path)
    end)

    it("does not hide a deadlock once it was released", function()
      local p <close>, pid, _, path = begin([[
        other:kill()
        detached:release()
        local ok, e = pcall(function() corun.event():wait() end)
        print(ok, e.kind)
      ]])
      assert.equal("false\tdeadlock", p.stdout:read_line())
      assert.equal(0, p:wait(60).code)
      lives_on(pid, path)
    end)
  end)
end

describe("A detached process", function()
  it("is left alone by the end of its scope, and by its cancellation", function()
    for _, cancel in ipairs { false, true } do
      local p
      corun.scope(function(scope)
        p = scope:spawn { ready, detached = true, stdin = "null", stdout = "null", stderr = "null" }
        if cancel then scope:cancel() end
      end)
      assert.is_nil(p.status)
      assert.is_false(support.is_gone(p.pid))
      p:kill()
    end
  end)

  it("is stopped by its plan with terminate()", function()
    local p = start(ready, { stop = { { "INT", 60 } } })
    assert.equal("SIGINT", p:terminate().signal)
  end)

  it("is reached with its tree by terminate(), signal_tree() and kill()", function()
    for method, argument in pairs { terminate = 60, signal_tree = "TERM", kill = false } do
      local p = corun.spawn { "sh", "-c", '"$0" & exec "$0"', ready, detached = true, stderr = "null" }
      for _ = 1, 2 do assert.matches("ready", p.stdout:read_line()) end
      p[method](p, argument or nil)
      assert.is_not_nil(p:wait(60).signal)
      waiting.wait_until("nobody is left", function()
        return #support.marked("CORUN_SPEC=" .. corun.env.CORUN_SPEC) == 0
      end)
      p:close()
    end
  end)

  it("is stopped by its time limit", function()
    local p = start(ready, { timeout = 0.05 })
    assert.equal("SIGTERM", p:wait(60).signal)
  end)

  it("is reaped, and tells how it ended, while it is ours", function()
    local p = start(ready)
    kill_hard(p.pid)
    assert.equal("SIGKILL", p:wait(60).signal)
    assert.is_nil(support.process_state(p.pid))
  end)

  it("is collected by run like any other", function()
    local result = corun.run { "sh", "-c", "echo out; echo err >&2", detached = true }
    assert.equal("out\n", result.stdout)
    assert.equal("err\n", result.stderr)
  end)
end)

describe("Process:release", function()
  it("returns the pid; the process lives on", function()
    local p = start(ready)
    assert.equal(p.pid, p:release())
    assert.is_false(support.is_gone(p.pid))
    reap_it(p.pid)
  end)

  it("leaves no zombie when it ends in our time", function()
    local p = start(ready)
    local pid = p:release()
    reap_it(pid)
  end)

  it("leaves no zombie when nobody has kept the Process", function()
    local pid = start(ready):release()
    collectgarbage()
    collectgarbage()
    reap_it(pid)
  end)

  it("closes our ends of its pipes", function()
    local before = support.descriptors()
    local path = support.directory() .. "/out"
    local p = corun.spawn { "sh", "-c", 'cat >"$0"; echo end >>"$0"', path, detached = true }
    p:write("all of it\n")
    p:release()
    waiting.wait_until("it has come to the end of its input", function()
      return support.read_file(path) == "all of it\nend\n"
    end)
    waiting.wait_until("it is reaped", function() return not support.process_state(p.pid) end)
    raised.error("closed", function() p.stdout:read(1) end)
    raised.error("closed", function() p.stdin:write("x") end)
    corun.sleep(0)
    assert.same(before, support.descriptors())
  end)

  it("is for detached processes", function()
    local p <close> = corun.spawn { ready, stderr = "null" }
    assert.equal("release: only a process with detached = true outlives corun",
      raised.argument(function() p:release() end))
    assert.is_nil(p.status)
  end)

  it("is for processes that were started", function()
    local p = corun.process { "true", detached = true }
    assert.equal("release: the process was not started", raised.argument(function() p:release() end))
  end)

  it("returns the pid of one that has ended, too", function()
    local p = corun.spawn { "true", detached = true }
    p:wait(60)
    assert.equal(p.pid, p:release())
    assert.equal(0, p.status.code)
  end)

  it("is the last of the calls", function()
    local p = start(ready)
    p:release()
    local text = ": the process was released (pid " .. p.pid .. ")"
    local calls = { "wait", "wait_closed", "terminate", "kill", "communicate", "usage", "tree", "release" }
    for _, name in ipairs(calls) do
      assert.equal(name .. text, raised.argument(function() p[name](p) end))
    end
    for _, name in ipairs { "signal", "signal_tree" } do
      assert.equal(name .. text, raised.argument(function() p[name](p, "TERM") end))
    end
    assert.matches(text:gsub("%p", "%%%0"), raised.argument(function() p:suspend() end))
    assert.is_nil(p:close())
    assert.is_false(support.is_gone(p.pid))
    reap_it(p.pid)
  end)

  it("wakes nobody who waits for the end: that comes", function()
    local p = start(ready)
    local waiter = waiting.start(p.wait, p)
    p:release()
    waiting.let_others_run()
    assert.is_nil(p.status)
    kill_hard(p.pid)
    assert.equal("SIGKILL", waiter:await(60).signal)
  end)

  it("lets stay what a cancelled scope holds", function()
    local p
    corun.scope(function(scope)
      p = scope:spawn { stubborn, detached = true, stdin = "null", stdout = "null", stderr = "null" }
      scope:cancel()
      p:release()
    end)
    assert.is_false(support.is_gone(p.pid))
    reap_it(p.pid)
  end)
end)
