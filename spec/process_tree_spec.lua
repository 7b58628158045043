local corun = require "corun"
local raised = require "spec.support.raised"
local scripts = require "spec.support.scripts"
local support = require "spec.support"
local waiting = require "spec.support.waiting"

local ready, stubborn = support.fixture "ready", support.fixture "stubborn"

local function is_gone_soon(pid)
  waiting.wait_until("process " .. pid .. " is gone", function() return support.is_gone(pid) end)
end

local function state_comes(pid, state)
  waiting.wait_until("its state is " .. state, function() return support.process_state(pid) == state end)
end

--- A shell script, with $0 `ready` and $1 `stubborn`, of which `count` members say that they are ready: the process,
--- and the pids of those but its own, in ascending order.
local function start(script, count, options)
  local spec = { "sh", "-c", script, ready, stubborn, stderr = "null" }
  for name, value in pairs(options or {}) do spec[name] = value end
  local p, pids = corun.spawn(spec), {}
  for _ = 1, count do
    local pid = math.tointeger(tonumber(p.stdout:read_line():match("^ready (%d+)$")))
    if pid ~= p.pid then pids[#pids + 1] = pid end
  end
  table.sort(pids)
  return p, table.unpack(pids)
end

-- Ways of a grandchild to get away.
local session = 'setsid "$0" & exec "$0"'
local daemon = '(setsid "$0" &); exec "$0"'
local stubborn_daemon = '(setsid "$1" &); exec "$0"'
local bare_daemon = '(exec setsid env -i "$0" 2>&- <&- &); exec "$0"'
local ended = 'setsid "$0" &'

local function pids_of(tree)
  local pids = {}
  for i, member in ipairs(tree) do pids[i] = member.pid end
  return pids
end

describe("Process:tree", function()
  it("tells pid, parent, state and command of each descendant, but not the process itself", function()
    local p <close>, other = start('"$0" & exec "$0"', 2)
    state_comes(other, "S")
    assert.same({ { pid = other, parent = p.pid, state = "S", command = ready } }, p:tree())
  end)

  it("knows who has left the group, who has lost its parent, and who has nothing of ours", function()
    for _, script in ipairs { session, daemon, bare_daemon } do
      local p <close>, other = start(script, 2)
      assert.same({ other }, pids_of(p:tree()), script)
    end
  end)

  it("is in the order of the pids, over generations", function()
    local p <close>, a, b, c = start('(setsid "$0" &); sh -c \'"$0" & exec setsid "$0"\' "$0" & exec "$0"', 4)
    assert.same({ a, b, c }, pids_of(p:tree()))
  end)

  it("tells who is stopped", function()
    local p <close>, other = start(session, 2)
    p:suspend()
    state_comes(other, "T")
    assert.equal("T", p:tree()[1].state)
  end)

  it("is what is left after the process's own end, and nothing in the end", function()
    local p <close>, other = start(ended, 1)
    p:wait(10)
    assert.same({ other }, pids_of(p:tree()))
    p:kill()
    assert.same({}, p:tree())
  end)

  it("does not know who runs beside it", function()
    local p <close>, of_p = start(daemon, 2)
    local q <close>, of_q = start(daemon, 2)
    assert.same({ of_p }, pids_of(p:tree()))
    assert.same({ of_q }, pids_of(q:tree()))
  end)

  it("is nobody where the process has no group of its own", function()
    local p <close> = start('exec "$0"', 1, { group = false })
    assert.equal("process", p.containment)
    assert.same({}, p:tree())
  end)

  it("needs a process that was started", function()
    raised.has(raised.argument(function() corun.process { "true" }:tree() end), "tree: ")
  end)
end)

describe("Process:signal_tree", function()
  it("reaches who has left the group", function()
    for _, script in ipairs { session, daemon, bare_daemon } do
      local p <close>, other = start(script, 2)
      assert.is_true(p:signal_tree("TERM"))
      assert.equal("SIGTERM", p:wait(10).signal)
      is_gone_soon(other)
    end
  end)

  it("reaches them after the process's own end, and is false when nobody is left", function()
    local p <close>, other = start(ended, 1)
    p:wait(10)
    assert.is_false(p:signal("TERM"))
    assert.is_true(p:signal_tree("TERM"))
    is_gone_soon(other)
    assert.is_false(p:signal_tree("TERM"))
  end)

  it("leaves other trees alone", function()
    local p <close> = start(daemon, 2)
    local q <close>, other = start(daemon, 2)
    p:kill()
    waiting.let_others_run()
    assert.is_nil(q.status)
    assert.is_false(support.is_gone(other))
  end)
end)

describe("suspend and resume", function()
  it("reach who has left the group", function()
    local p <close>, other = start(daemon, 2)
    assert.is_true(p:suspend())
    for _, pid in ipairs { p.pid, other } do state_comes(pid, "T") end
    assert.is_true(p:resume())
    for _, pid in ipairs { p.pid, other } do state_comes(pid, "S") end
  end)
end)

describe("The stop of a tree", function()
  it("by terminate() asks who has left the group, and is over when they are gone", function()
    local p <close>, other = start(daemon, 2, { grace = 60 })
    assert.equal("SIGTERM", p:terminate().signal)
    assert.is_true(support.is_gone(other))
    assert.is_nil(p.survivors)
  end)

  it("by terminate() kills who does not listen", function()
    local p <close>, other = start(stubborn_daemon, 2)
    assert.equal("SIGTERM", p:terminate(0.02).signal)
    assert.is_true(support.is_gone(other))
    assert.is_nil(p.survivors)
  end)

  it("by terminate() and kill() reaches what a process has left that has ended", function()
    for _, stop in ipairs { "terminate", "kill" } do
      local p <close>, other = start(ended, 1)
      p:wait(10)
      assert.equal(0, p[stop](p).code)
      assert.is_true(support.is_gone(other), stop)
    end
  end)

  it("reaches who is started when it is asked to end", function()
    local p <close> = corun.spawn {
      "sh", "-c", "trap '(setsid \"$0\" &); exit 3' TERM; echo ready; while :; do sleep 0.01; done", stubborn,
      stderr = "null",
    }
    p.stdout:read_line()
    assert.equal(3, p:terminate(0.1).code)
    assert.same({}, support.marked("CORUN_SPEC=" .. corun.env.CORUN_SPEC))
  end)

  it("by a plan without KILL leaves survivors, whose pids it knows #slow", function()
    local p <close>, other = start(stubborn_daemon, 2, { stop = { "TERM" } })
    p:terminate()
    assert.same({ other }, p.survivors)
    assert.same({ other }, pids_of(p:tree()))
    p:kill()
    assert.is_nil(p.survivors)
    assert.is_true(support.is_gone(other))
  end)

  it("by a time limit is told in the Result", function()
    local result = corun.run {
      "sh", "-c", stubborn_daemon, ready, stubborn, timeout = 0.1, grace = 0.02, check = false,
    }
    assert.equal("timeout", result.reason)
    assert.same({ "TERM", "KILL" }, result.stopped)
    assert.is_nil(result.survivors)
    assert.is_nil(result.held_by)
    assert.same({}, support.marked("CORUN_SPEC=" .. corun.env.CORUN_SPEC))
  end)

  it("reaches what a corun in it has started, which was killed before", function()
    local spec = scripts.native:spec([[
      local corun = require "corun"
      local p = corun.spawn { "sh", "-c", 'setsid "$0" &', os.getenv "FIXTURES" .. "/ready", stderr = "null" }
      print(p.stdout:read_line())
      p:wait()
      corun.sleep(1000)
    ]])
    local p <close> = corun.spawn(spec)
    local pid = tonumber(p.stdout:read_line():match("%d+"))
    p:signal("KILL")
    assert.equal("SIGKILL", p:wait(10).signal)
    waiting.wait_until("only it is left", function()
      local pids = pids_of(p:tree()) -- the shell goes on for a moment
      return #pids == 1 and pids[1] == pid
    end)
    p:kill()
    assert.is_true(support.is_gone(pid))
  end)
end)

describe("The end of a scope", function()
  it("stops who has left the group of a process that still runs", function()
    local other
    corun.scope(function() other = select(2, start(stubborn_daemon, 2, { grace = 0.02 })) end)
    assert.is_true(support.is_gone(other))
  end)

  it("lets a daemon live on whose process has ended by itself", function()
    local p, other
    corun.scope(function()
      p, other = start(ended, 1)
      p:wait(10)
    end)
    assert.is_false(support.is_gone(other))
    assert.same({ other }, pids_of(p:tree()))
    assert.is_true(p:signal_tree("KILL"))
    is_gone_soon(other)
  end)
end)
