local corun = require "corun"
local support = require "spec.support"
local waiting = require "spec.support.waiting"

local holder, stubborn = support.fixture "holder", support.fixture "stubborn"

--- The pids of what this example has started and not ended.
local function survivors()
  local pids = {}
  for _, survivor in ipairs(support.marked("CORUN_SPEC=" .. corun.env.CORUN_SPEC)) do
    pids[#pids + 1] = math.tointeger(tonumber(survivor:match("^%d+")))
  end
  return pids
end

describe("A pipe that a grandchild holds after the exit", function()
  it("is given up after `linger` seconds of silence, and the Result says who held it", function()
    corun.scope(function()
      local before = corun.now()
      local result = corun.run { holder, linger = 0.1 }
      local took = corun.now() - before
      assert.is_true(result.ok)
      assert.equal("exit", result.reason)
      assert.is_true(result.truncated)
      assert.is_nil(result.stopped)
      assert.same({ tonumber(result.stdout:match("^held (%d+)\n$")) }, result.held_by)
      assert.is_true(took >= 0.1 and took < 2, "it took " .. took)
    end)
  end)

  it("is given up at once with linger = 0", function()
    corun.scope(function()
      local result = corun.run { holder, linger = 0 }
      assert.is_true(result.truncated)
      assert.is_true(result.duration < 2)
    end)
  end)

  it("leaves the grandchild alone until the scope ends", function()
    local held
    corun.scope(function()
      -- One that never writes: to a pipe that was given up, that would be its end.
      held = corun.run({ "sh", "-c", "sleep 1000 &", linger = 0 }).held_by[1]
      assert.is_false(support.is_gone(held))
      waiting.let_others_run()
      assert.is_false(support.is_gone(held))
    end)
    assert.is_true(support.is_gone(held))
  end)

  it("is read on while data come, however long #slow", function()
    corun.scope(function()
      local after = 0.3
      local task = corun.go(corun.run, { holder, "5", linger = 0.1 })
      local held = waiting.wait_until("it has started", function()
        return #support.children() == 0 and survivors()[1]
      end)
      corun.sleep(after) -- time is the subject
      assert.equal("waiting", task.status)
      corun.run { "kill", "-KILL", held }
      local result = task:await()
      assert.is_true(result.ok)
      assert.is_false(result.truncated)
      assert.is_nil(result.held_by)
      local _, ticks = result.stdout:gsub("tick\n", "")
      assert.is_true(ticks > 5, "ticks: " .. ticks)
    end)
  end)

  it("is waited for to its end with linger = false", function()
    corun.scope(function()
      local task = corun.go(corun.run, { holder, linger = false })
      local held = waiting.wait_until("it has started", function()
        return #support.children() == 0 and survivors()[1]
      end)
      waiting.let_others_run()
      assert.equal("waiting", task.status)
      corun.run { "kill", "-KILL", held }
      local result = task:await()
      assert.equal(("held %d\n"):format(held), result.stdout)
      assert.is_false(result.truncated)
      assert.is_nil(result.held_by)
    end)
  end)

  it("is nobody's business where it is not captured", function()
    corun.scope(function()
      local result = corun.run { holder, stdout = "null", stderr = "null" }
      assert.is_true(result.ok)
      assert.is_false(result.truncated)
      assert.is_nil(result.held_by)
    end)
  end)
end)

describe("A stop plan without KILL", function()
  it("is not escalated by run: what ignores it goes on until the scope's end #slow", function()
    local pid
    corun.scope(function()
      local result = corun.run { stubborn, timeout = 0.1, stop = { { "TERM", 0.05 } }, check = false }
      pid = result.pid
      assert.equal("timeout", result.reason)
      assert.is_false(result.ok)
      assert.is_nil(result.status)
      assert.same({ "TERM" }, result.stopped)
      assert.is_false(support.is_gone(pid))
      corun.run { "kill", "-KILL", pid }
    end)
    assert.is_true(support.is_gone(pid))
  end)

  it("is not escalated by terminate() #slow", function()
    local p <close> = corun.spawn { stubborn, stop = { { "TERM", 0.05 } } }
    p.stdout:read_line()
    assert.is_nil(p:terminate())
    assert.is_false(support.is_gone(p.pid))
    p:kill()
  end)
end)

describe("The waits of 5 seconds #once", function()
  it("are what they are by default #slow", function()
    local took = {}
    local function measure(name, fn)
      corun.go(function()
        local before = corun.now()
        fn()
        took[name] = corun.now() - before
      end)
    end
    corun.scope(function()
      measure("linger", function() assert.is_true(corun.run({ holder }).truncated) end)
      measure("grace", function()
        assert.same({ "TERM", "KILL" }, corun.run({ stubborn, timeout = 0.1, check = false }).stopped)
      end)
      measure("KILL after a plan without it", function()
        corun.scope(function(scope)
          local p = scope:spawn { stubborn, stop = { "TERM" } }
          p.stdout:read_line()
        end)
      end)
    end)
    for name, seconds in pairs(took) do
      assert.is_true(seconds >= 4.9 and seconds < 7.5, name .. ": " .. seconds)
    end
    assert.is_not_nil(took["linger"] and took["grace"] and took["KILL after a plan without it"])
  end)
end)
