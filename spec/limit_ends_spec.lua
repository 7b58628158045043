--- Limits that expire at odd moments: with another one, while clean-up runs, in the past; and what their errors keep.

local corun = require "corun"
local support = require "spec.support"
local waiting = require "spec.support.waiting"
local raised = require "spec.support.raised"

local failure = raised.anything

local function be_busy_until(time)
  while corun.now() <= time do end -- luacheck: ignore 542
end

--- A task in a scope whose deadline comes after so many seconds.
local function bounded_task(scope, seconds)
  local task
  scope:go(function()
    corun.scope(function(inner)
      task = inner:go(corun.sleep, 1000)
      inner.deadline = corun.now() + seconds
      pcall(corun.sleep, 1000)
    end)
  end)
  corun.sleep(0)
  return task
end

describe("An await of a task that is cancelled in the same turn as the awaiting one", function()
  -- Both times come while somebody is busy, also where this task is late by some hundredths of a second.
  it("is a time-out, where that is what cancels the latter", function()
    corun.scope(function(scope)
      local task = bounded_task(scope, 0.05)
      scope:go(function() be_busy_until(corun.now() + 0.08) end)
      local e = failure(corun.timeout, 0.06, function() task:await() end)
      assert.equal("cancelled", task.status)
      assert.equal("timeout", e.kind)
      assert.equal(0.06, e.seconds)
    end)
  end)

  it("is left by corun.move_on and by a scope's deadline as any other wait", function()
    corun.scope(function(scope)
      local task = bounded_task(scope, 0.05)
      scope:go(function() be_busy_until(corun.now() + 0.08) end)
      assert.same({ nil, "timeout", n = 2 }, table.pack(corun.move_on(0.06, function() task:await() end)))
    end)
    corun.scope(function(scope)
      local task = bounded_task(scope, 0.05)
      scope:go(function() be_busy_until(corun.now() + 0.08) end)
      assert.same({ nil, "timeout", n = 2 }, table.pack(corun.scope(function(inner)
        inner.deadline = corun.now() + 0.06
        task:await()
      end)))
    end)
  end)

  it("ends a scope that was cancelled, which gives the reason", function()
    local result = table.pack(corun.scope(function(outer)
      local task = outer:go(corun.sleep, 1000)
      outer:go(function()
        task:cancel("of the task")
        outer:cancel("why")
      end)
      task:await()
    end))
    assert.same({ nil, "why", n = 2 }, result)
  end)

  it("ends its own task as a cancelled one", function()
    corun.scope(function(scope)
      local task = scope:go(corun.sleep, 1000)
      local awaiting = scope:go(function() task:await() end)
      corun.sleep(0)
      task:cancel("one")
      awaiting:cancel("the other")
      waiting.let_others_run()
      assert.equal("cancelled", awaiting.status)
      assert.equal("the other", failure(awaiting.await, awaiting).reason)
    end)
  end)

  it("raises what happened to it where only it was cancelled", function()
    corun.scope(function(scope)
      local task = scope:go(corun.sleep, 1000)
      scope:go(function() task:cancel("why") end)
      local e = failure(task.await, task)
      assert.equal("cancelled", e.kind)
      assert.equal("why", e.reason)
      corun.sleep(0)
    end)
  end)
end)

describe("A time-out", function()
  local text = ("0123456789abcdef"):rep(1 << 18)

  it("of a write says how much went, and that is what the child gets", function()
    for name, limit in pairs {
      ["corun.timeout"] = function(fn) corun.timeout(0.002, fn) end,
      ["corun.shield"] = function(fn) corun.shield(fn, 0.002) end,
      ["a limit in a limit"] = function(fn) corun.timeout(0.002, corun.timeout, 1000, fn) end,
    } do
      local p <close> = corun.spawn { "sh", "-c", "read -r go <&3; exec wc -c", fds = { [3] = "input" } }
      local e = failure(limit, function() p.stdin:write(text) end)
      assert.equal("timeout", e.kind, name)
      assert.is_true(e.written > 0 and e.written < #text, ("%s: %d"):format(name, e.written))
      p.stdin:write_eof()
      p.fds[3]:write("go\n")
      assert.equal(e.written, tonumber(p.stdout:read()))
    end
  end)

  it("of another wait has written nothing", function()
    assert.is_nil(failure(corun.timeout, 0.001, corun.sleep, 1000).written)
  end)

  it("around a scope whose defers fail is a time-out all the same, with their errors in `also`", function()
    local e = failure(corun.timeout, 0.001, corun.scope, function(scope)
      scope:defer(function() error("defer", 0) end)
      corun.sleep(1000)
    end)
    assert.equal("timeout", e.kind)
    assert.equal(0.001, e.seconds)
    assert.same({ "defer" }, e.also)
  end)
end)

describe("A deadline that is set into the past", function()
  it("cancels at once", function()
    for _, past in ipairs { 0, -1e9, corun.now() } do
      local e
      local result = table.pack(corun.scope(function(scope)
        scope.deadline = past
        assert.equal("Scope (cancelled)", tostring(scope))
        e = failure(corun.sleep, 0)
        corun.sleep(0)
      end))
      assert.equal("cancelled", e.kind)
      assert.equal("deadline", e.reason)
      assert.same({ nil, "timeout", n = 2 }, result)
    end
  end)

  it("cancels at once from another task, too, and lets a command not begin", function()
    local path = support.directory() .. "/file"
    corun.scope(function(scope)
      scope:go(function() scope.deadline = corun.now() - 1 end)
      pcall(corun.sleep, 1000)
      failure(corun.run, { "touch", path })
    end)
    assert.is_nil(support.read_file(path))
  end)

  it("does nothing to a scope that has ended", function()
    local scope = corun.scope(function(scope) return scope end)
    scope.deadline = 0
    assert.equal("Scope (ended)", tostring(scope))
    corun.sleep(0)
  end)
end)

describe("A deadline that passes", function()
  local function wait_for_the_end_of(scope)
    waiting.wait_until("the deadline passes", function() return tostring(scope) == "Scope (cancelled)" end)
  end

  it("while a defer runs leaves what the function has returned", function()
    local result = table.pack(corun.scope(function(scope)
      scope:defer(function()
        scope.deadline = corun.now() + 0.001
        wait_for_the_end_of(scope)
      end)
      return "result", nil, 3
    end))
    assert.same({ "result", nil, 3, n = 3 }, result)
  end)

  it("while a process is stopped leaves it, too", function()
    local result = table.pack(corun.scope(function(scope)
      local p = scope:spawn { support.fixture "stubborn", stderr = "null", grace = 0.05 }
      p.stdout:read_line()
      scope:defer(function() scope.deadline = corun.now() + 0.005 end)
      return "result"
    end))
    assert.same({ "result", n = 1 }, result)
  end)

  it("while a task is waited for takes it", function()
    local task
    local result = table.pack(corun.scope(function(scope)
      task = scope:go(corun.sleep, 1000)
      scope.deadline = corun.now() + 0.001
      return "result"
    end))
    assert.same({ nil, "timeout", n = 2 }, result)
    assert.equal("cancelled", task.status)
  end)
end)
