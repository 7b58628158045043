--- Signals to processes: whom they reach, and whom never. (process_end_spec has what is plain.)

local corun = require "corun"
local scripts = require "spec.support.scripts"
local support = require "spec.support"
local waiting = require "spec.support.waiting"
local world = require "spec.support.world"

local ready, stubborn = support.fixture "ready", support.fixture "stubborn"

local function is_soon(pid, state)
  waiting.wait_until("process " .. pid .. " is in state " .. state, function()
    return support.process_state(pid) == state
  end)
end

--- A shell that has become `ready`, with one more in its group, one in a session of its own, and one whose parent has
--- ended besides. Gives the Process and the pids of all four, its own first.
local function family()
  local script = '"$0" & setsid "$0" & (setsid "$0" &); exec "$0"'
  local p = corun.spawn { "sh", "-c", script, ready, stderr = "null" }
  local pids = { p.pid }
  for _ = 1, 4 do
    local pid = tonumber(p.stdout:read_line():match("^ready (%d+)$"))
    if pid ~= p.pid then pids[#pids + 1] = pid end
  end
  assert.equal(4, #pids)
  return p, pids
end

--- State letters of the members, as p:tree() has them: pid → letter.
local function states_of(p)
  local states = {}
  for _, member in ipairs(p:tree()) do states[member.pid] = member.state end
  return states
end

describe("suspend() and resume()", function()
  it("reach those, too, who have left the group or lost their parent", function()
    local p <close>, pids = family()
    assert.is_true(p:suspend())
    for _, pid in ipairs(pids) do is_soon(pid, "T") end
    local states = states_of(p)
    for i = 2, 4 do assert.equal("T", states[pids[i]]) end
    assert.is_true(p:resume())
    for _, pid in ipairs(pids) do is_soon(pid, "S") end
    states = states_of(p)
    for i = 2, 4 do assert.equal("S", states[pids[i]]) end
    assert.is_nil(p.status)
  end)

  it("reach those who are left after the end of the process", function()
    local p <close>, pids = family()
    p:signal("KILL")
    p:wait(60)
    assert.is_true(p:suspend())
    for i = 2, 4 do is_soon(pids[i], "T") end
    assert.is_true(p:resume())
    for i = 2, 4 do is_soon(pids[i], "S") end
  end)

  it("may be called as often as one likes", function()
    local p <close> = corun.spawn { ready, stderr = "null" }
    p.stdout:read_line()
    for _ = 1, 3 do assert.is_true(p:suspend()) end
    is_soon(p.pid, "T")
    for _ = 1, 3 do assert.is_true(p:resume()) end
    is_soon(p.pid, "S")
  end)

  it("hold a process up where it is, with what it was given", function()
    local p <close> = corun.spawn { "cat", stderr = "null" }
    p:suspend()
    is_soon(p.pid, "T")
    p:write("line\n")
    assert.is_nil(corun.move_on(0.02, p.stdout.read_line, p.stdout))
    p:resume()
    assert.equal("line", p.stdout:read_line())
  end)

  it("leave wait() waiting, and the time limit running", function()
    local p <close> = corun.spawn { ready, stderr = "null", timeout = 0.2, stop = { { "INT", 60 } } }
    p.stdout:read_line()
    p:suspend()
    assert.equal("SIGINT", p:wait(60).signal)
  end)

  it("are no hindrance to usage()", function()
    local p <close> = corun.spawn { ready, stderr = "null" }
    p.stdout:read_line()
    p:suspend()
    is_soon(p.pid, "T")
    local usage = p:usage()
    assert.is_true(usage.rss > 0)
    assert.is_true(usage.user_time >= 0)
  end)

  it("leave a tree that the end of its scope stops by its plan", function()
    local p, pids
    corun.scope(function()
      p, pids = family()
      p:suspend()
      for _, pid in ipairs(pids) do is_soon(pid, "T") end
    end)
    assert.equal("SIGTERM", p.status.signal)
    for _, pid in ipairs(pids) do assert.is_true(support.is_gone(pid)) end
  end)
end)

describe("A signal to a process", function()
  it("is not one to its tree", function()
    local p <close>, pids = family()
    p:signal("STOP")
    is_soon(p.pid, "T")
    waiting.let_others_run()
    for i = 2, 4 do assert.not_equal("T", (support.process_state(pids[i]))) end
    p:signal("CONT")
    is_soon(p.pid, "S")
  end)

  it("is true though the process ignores it", function()
    local p <close> = corun.spawn { stubborn, stderr = "null", stop = { "KILL" } }
    p.stdout:read_line()
    assert.is_true(p:signal("TERM"))
    assert.is_true(p:signal(0))
    assert.is_nil(p.status)
  end)

  it("of whatever kind is what ends it", function()
    for _, signal in ipairs { "SIGRTMIN", "SIGRTMIN+3", "SIGRTMAX", "SIGPIPE" } do
      local p <close> = corun.spawn { ready, stderr = "null" }
      p.stdout:read_line()
      p:signal(signal)
      assert.equal(signal, p:wait(60).signal)
    end
  end)

  it("is false after the end for the tree, too, once nobody is left", function()
    local p <close>, pids = family()
    p:kill()
    for _, pid in ipairs(pids) do waiting.wait_until("it is gone", function() return support.is_gone(pid) end) end
    for _, signal in ipairs { 0, "TERM", "KILL" } do
      assert.is_false(p:signal(signal))
      assert.is_false(p:signal_tree(signal))
    end
    assert.same({}, p:tree())
  end)
end)

-- In a pid namespace of its own a script may choose the next pid, so that a stranger gets that of an ended child.
local recycling = [[
  local corun = require "corun"
  local function next_pid(pid)
    local file = assert(io.open("/proc/sys/kernel/ns_last_pid", "w"))
    assert(file:write(tostring(pid - 1)))
    file:close()
  end
  local p = corun.spawn { "sh", "-c", "exit 3", timeout = 1000 }
  p:wait()
  corun.sleep(0)
  next_pid(p.pid)
  local stranger = corun.spawn { FIXTURES .. "/ready", env = { STRANGER = "1" } }
  assert(stranger.stdout:read_line() == "ready " .. p.pid, "it has another pid: " .. stranger.pid)
  print("signal", p:signal("KILL"), p:signal(0))
  print("tree", p:signal_tree("KILL"), p:signal_tree(0), p:suspend(), #p:tree())
  print("end", p:terminate(0), p:kill(), p.status)
  p:close()
  corun.sleep(0.01)
  print("stranger", stranger.status, stranger:signal(0))
  print(stranger:kill())
]]

describe("A process that gets the pid of an ended child", function()
  local words = { "unshare", "--pid", "--fork", "--mount-proc" }
  if not world.is_root then
    table.move({ "--user", "--map-root-user" }, 1, 2, #words + 1, words)
  end
  local can = corun.run(world.through(words, { "sh", "-c", "echo 1 >/proc/sys/kernel/ns_last_pid", check = false })).ok

  for _, host in ipairs(scripts.hosts) do
    it("is never reached by the signals and stop plans of that one, in " .. host.name, function()
      if not can then return pending("needs a pid namespace") end
      local spec = host:spec(("local FIXTURES = %q\n"):format(scripts.fixtures) .. recycling)
      spec.timeout = 60
      local result = corun.run(world.through(words, spec))
      assert.equal("signal\tfalse\tfalse\ntree\tfalse\tfalse\tfalse\t0\nend\texit 3\texit 3\texit 3\n" ..
        "stranger\tnil\ttrue\nsignal SIGKILL\n", result.stdout)
    end)
  end
end)
