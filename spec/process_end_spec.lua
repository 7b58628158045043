local corun = require "corun"
local raised = require "spec.support.raised"
local support = require "spec.support"
local waiting = require "spec.support.waiting"

local ready, stubborn = support.fixture "ready", support.fixture "stubborn"

local function is_gone_soon(pid)
  return waiting.wait_until("process " .. pid .. " is gone", function() return support.is_gone(pid) end)
end

--- A started fixture that has said that it is ready.
local function start(program, options)
  local spec = { program, stderr = "null" }
  for name, value in pairs(options or {}) do spec[name] = value end
  local p = corun.spawn(spec)
  assert.equal("ready " .. p.pid, p.stdout:read_line())
  return p
end

--- A shell that has become `ready` and left another `ready` in its group, whose pid is the second result.
local function family()
  local p = corun.spawn { "sh", "-c", '"$0" & exec "$0"', ready, stderr = "null" }
  local first, second = p.stdout:read_line():match("%d+"), p.stdout:read_line():match("%d+")
  return p, tonumber(first) == p.pid and tonumber(second) or tonumber(first)
end

local function collect()
  for _ = 1, 3 do
    corun.sleep(0)
    collectgarbage()
  end
end

describe("Process:signal", function()
  it("reaches the process alone", function()
    local p <close>, other = family()
    assert.is_true(p:signal("TERM"))
    assert.equal("SIGTERM", p:wait(10).signal)
    waiting.let_others_run()
    assert.is_false(support.is_gone(other))
  end)

  it("takes names with and without SIG, and numbers", function()
    local p <close> = start(ready)
    for _, signal in ipairs { "CONT", "SIGCONT", 18, 0 } do assert.is_true(p:signal(signal)) end
  end)

  it("refuses what is no signal", function()
    local p <close> = start(ready)
    for _, wrong in ipairs { "NOPE", "term", -1, 65, 1.5, {} } do
      assert.matches("signal.*name or number expected", raised.argument(function() p:signal(wrong) end))
      assert.matches("signal.*name or number expected", raised.argument(function() p:signal_tree(wrong) end))
    end
  end)

  it("is false after the end, and the pid stays readable", function()
    local p <close> = start(ready)
    local pid = p.pid
    p:kill()
    assert.equal(pid, p.pid)
    assert.is_false(p:signal("TERM"))
    assert.is_false(p:signal_tree("TERM"))
    assert.is_false(p:suspend())
    assert.is_false(p:resume())
  end)
end)

describe("Process:signal_tree", function()
  it("reaches all of the group", function()
    local p <close>, other = family()
    assert.is_true(p:signal_tree("TERM"))
    assert.equal("SIGTERM", p:wait(10).signal)
    is_gone_soon(other)
  end)

  it("reaches what is left of the group after its leader's end #slow", function()
    local p <close>, other = family()
    p:signal("KILL")
    p:wait(10)
    assert.is_false(p:signal("TERM"))
    assert.is_true(p:signal_tree("TERM"))
    is_gone_soon(other)
    waiting.wait_until("nobody is there", function() return not p:signal_tree("TERM") end, 60)
  end)

  it("reaches the process alone where it has no group of its own", function()
    local p <close> = start(ready, { group = false })
    assert.is_true(p:signal_tree("TERM"))
    assert.equal("SIGTERM", p:wait(10).signal)
    assert.is_false(p:signal_tree("TERM"))
  end)
end)

describe("A stopped process", function()
  it("is stopped by suspend() and goes on by resume(), with its tree", function()
    local p <close>, other = family()
    assert.is_true(p:suspend())
    for _, pid in ipairs { p.pid, other } do
      waiting.wait_until("it is stopped", function() return support.process_state(pid) == "T" end)
    end
    assert.is_nil(p.status)
    assert.is_true(p:resume())
    for _, pid in ipairs { p.pid, other } do
      waiting.wait_until("it goes on", function() return support.process_state(pid) == "S" end)
    end
  end)

  it("is terminated, as it gets CONT after TERM", function()
    local p <close> = start(ready)
    p:suspend()
    waiting.wait_until("it is stopped", function() return support.process_state(p.pid) == "T" end)
    assert.equal("SIGTERM", p:terminate(60).signal)
  end)

  it("is killed", function()
    local p <close> = start(ready)
    p:suspend()
    assert.equal("SIGKILL", p:kill().signal)
  end)
end)

describe("Process:terminate", function()
  it("asks politely, reaches the tree and waits", function()
    local p <close>, other = family()
    local status = p:terminate()
    assert.equal("SIGTERM", status.signal)
    assert.equal(status, p.status)
    assert.is_true(support.is_gone(other))
  end)

  it("kills after its grace what does not listen", function()
    local p <close> = start(stubborn)
    local before = corun.now()
    assert.equal("SIGKILL", p:terminate(0.05).signal)
    local took = corun.now() - before
    assert.is_true(took >= 0.05 and took < 2, "it took " .. took)
  end)

  it("kills a stubborn member of the tree, too", function()
    local p <close> = corun.spawn { "sh", "-c", '"$0" & exec "$1"', stubborn, ready, stderr = "null" }
    p.stdout:read_line()
    p.stdout:read_line()
    assert.equal("SIGTERM", p:terminate(0.05).signal)
    assert.same({}, support.marked("CORUN_SPEC=" .. corun.env.CORUN_SPEC))
  end)

  it("runs the stop plan of the spec", function()
    local script = "trap 'echo int; exit 7' INT; echo ready; while :; do sleep 0.01; done"
    local p <close> = corun.spawn { "sh", "-c", script, stop = { { "INT", 10 }, "KILL" } }
    p.stdout:read_line()
    assert.equal(7, p:terminate().code)
    assert.equal("int", p.stdout:read_line())
  end)

  it("gives the Status of one that has ended", function()
    local p <close> = corun.spawn { "sh", "-c", "exit 3" }
    p:wait()
    assert.equal(3, p:terminate().code)
    assert.equal(3, p:kill().code)
  end)

  it("refuses a wrong grace", function()
    local p <close> = corun.spawn { "true" }
    for _, wrong in ipairs { -1, 0 / 0, "x" } do
      assert.matches("terminate: seconds expected", raised.argument(function() p:terminate(wrong) end))
    end
  end)
end)

describe("Process:kill", function()
  it("kills the tree and waits", function()
    local p <close> = corun.spawn { "sh", "-c", '"$0" & exec "$0"', stubborn, stderr = "null" }
    p.stdout:read_line()
    p.stdout:read_line()
    local status = p:kill()
    assert.equal("SIGKILL", status.signal)
    assert.same({}, support.marked("CORUN_SPEC=" .. corun.env.CORUN_SPEC))
  end)
end)

describe("Leaving the <close> block of a Process", function()
  it("terminates it, reaps it and closes its streams", function()
    local before = support.descriptors()
    local kept
    do
      local p <close> = start(ready)
      kept = p
    end
    assert.equal("SIGTERM", kept.status.signal)
    assert.is_nil(support.process_state(kept.pid))
    raised.error("closed", function() kept.stdout:read(1) end)
    raised.error("closed", function() kept.stdin:write("x") end)
    corun.sleep(0)
    assert.same(before, support.descriptors())
  end)

  it("does it when an error leaves the block, too", function()
    local pid
    local ok, e = pcall(function()
      local p <close> = start(ready)
      pid = p.pid
      error("mine")
    end)
    assert.is_false(ok)
    assert.matches("mine", e)
    assert.is_nil(support.process_state(pid))
  end)

  it("stops a group that has outlived its leader, and gives every descriptor back", function()
    local before = support.descriptors()
    local other
    do
      local p <close>, member = family()
      other = member
      p:signal("KILL")
      p:wait()
    end
    assert.is_true(support.is_gone(other))
    corun.sleep(0)
    assert.same(before, support.descriptors())
  end)

  it("does nothing the second time", function()
    local p <close> = start(ready)
    p:close()
    assert.is_nil(p:close())
  end)
end)

describe("A dropped Process", function()
  it("is not killed while it runs, and is stopped at its scope's end", function()
    local pid
    corun.scope(function()
      local function leave_behind() pid = start(ready).pid end
      leave_behind()
      collect()
      assert.is_false(support.is_gone(pid))
    end)
    assert.is_nil(support.process_state(pid))
  end)

  it("is collected with its descriptors once it has ended", function()
    local before, alive = support.descriptors(), setmetatable({}, { __mode = "k" })
    local function leave_behind()
      for _ = 1, 20 do
        local p = corun.spawn { "sh", "-c", "echo unread" }
        p:wait()
        alive[p] = true
      end
    end
    leave_behind()
    collect()
    assert.is_nil(next(alive))
    assert.same(before, support.descriptors())
  end)

  it("is collected when the last of its group has ended, too #slow", function()
    corun.scope(function()
      local alive = setmetatable({}, { __mode = "k" })
      local function leave_behind()
        local p, other = family()
        alive[p] = true
        p:signal("KILL")
        p:wait()
        corun.run { "kill", "-KILL", other }
        return other
      end
      is_gone_soon(leave_behind())
      waiting.wait_until("it is collected", function()
        corun.run { "true" }
        collect()
        return next(alive) == nil
      end)
    end)
  end)
end)
