local corun = require "corun"
local raised = require "spec.support.raised"
local support = require "spec.support"

local ready, stubborn = support.fixture "ready", support.fixture "stubborn"

local function in_scope(fn) return pcall(corun.scope, fn) end

--- A started fixture that has said that it is ready.
local function start(scope, program, options)
  local spec = { program, stderr = "null" }
  for name, value in pairs(options or {}) do spec[name] = value end
  local p = scope:spawn(spec)
  p.stdout:read_line()
  return p
end

describe("corun.scope", function()
  it("gives what its function returns, and gives it the scope and further arguments", function()
    local expected = { 1, nil, "x", nil, n = 4 }
    assert.same(expected, table.pack(corun.scope(function(scope, ...)
      assert.equal("Scope (open)", tostring(scope))
      return ...
    end, 1, nil, "x", nil)))
  end)

  it("waits for its tasks, also for those that tasks start", function()
    local order = {}
    local value = corun.scope(function(scope)
      scope:go(function()
        corun.sleep(0.002)
        scope:go(function()
          corun.sleep(0.002)
          order[#order + 1] = "inner"
        end)
        order[#order + 1] = "outer"
      end)
      return "value"
    end)
    assert.same({ "outer", "inner" }, order)
    assert.equal("value", value)
  end)

  it("stops the processes that still run when its tasks have ended", function()
    local p, order = nil, {}
    corun.scope(function(scope)
      p = start(scope, ready)
      scope:go(function()
        corun.sleep(0.002)
        order[#order + 1] = p.status or "runs"
      end)
    end)
    assert.same({ "runs" }, order)
    assert.equal("SIGTERM", p.status.signal)
    assert.is_nil(support.process_state(p.pid))
  end)

  it("stops them all at the same time", function()
    local before
    corun.scope(function(scope)
      for _ = 1, 5 do start(scope, stubborn, { grace = 0.2 }) end
      before = corun.now()
    end)
    local took = corun.now() - before
    assert.is_true(took >= 0.2 and took < 0.8, "it took " .. took)
  end)

  it("owns what corun.go and corun.spawn start in it", function()
    local p, ended
    corun.scope(function()
      p = corun.spawn { ready }
      corun.go(function()
        corun.sleep(0.002)
        ended = true
      end)
    end)
    assert.is_true(ended)
    assert.is_not_nil(p.status)
  end)

  it("leaves a detached process alone", function()
    local p = corun.scope(function(scope) return start(scope, ready, { detached = true }) end)
    assert.is_false(support.is_gone(p.pid))
    p:kill()
    p:close()
  end)

  it("refuses what is no function, and new members after its end", function()
    assert.matches("scope: a function expected, got 1", raised.argument(function() corun.scope(1) end))
    local kept
    corun.scope(function(scope) kept = scope end)
    assert.equal("Scope (ended)", tostring(kept))
    assert.matches("go: the scope has ended", raised.argument(function() kept:go(print) end))
    assert.matches("spawn: the scope has ended", raised.argument(function() kept:spawn { "true" } end))
  end)
end)

describe("An error in a scope", function()
  it("of its function cancels its tasks and is raised as it is", function()
    local thing, task = {}, nil
    local ok, e = in_scope(function(scope)
      task = scope:go(corun.sleep, 1000)
      corun.sleep(0)
      error(thing)
    end)
    assert.is_false(ok)
    assert.equal(thing, e)
    assert.equal("cancelled", task.status)
  end)

  it("of a task cancels the function and the other tasks and is raised", function()
    local task
    local reached = false
    local ok, e = in_scope(function(scope)
      task = scope:go(corun.sleep, 1000)
      scope:go(function()
        corun.sleep(0.002)
        error("mine", 0)
      end)
      corun.sleep(1000)
      reached = true
    end)
    assert.is_false(ok)
    assert.equal("mine", e)
    assert.equal("cancelled", task.status)
    assert.is_false(reached)
  end)

  it("stops its processes before it is raised", function()
    local p
    local ok = in_scope(function(scope)
      p = start(scope, ready)
      error("mine")
    end)
    assert.is_false(ok)
    assert.is_nil(support.process_state(p.pid))
    assert.equal("SIGTERM", p.status.signal)
  end)

  it("that several have is one Error of kind \"group\" with all of them in order", function()
    local ok, e = in_scope(function(scope)
      for i = 1, 3 do
        scope:go(function()
          pcall(corun.sleep, 1000) -- the first error cancels this, too
          error("error " .. i, 0)
        end)
      end
      corun.sleep(0)
      error("error 0", 0)
    end)
    assert.is_false(ok)
    assert.equal("group", e.kind)
    assert.equal(4, #e.errors)
    assert.equal("error 0", e.errors[1])
    table.sort(e.errors)
    assert.same({ "error 0", "error 1", "error 2", "error 3" }, e.errors)
    raised.has(tostring(e), "4 errors")
    for i = 1, 3 do raised.has(tostring(e), "error " .. i) end
  end)

  it("is one error also where the function awaits the task that failed", function()
    for _, thing in ipairs { "mine", { a = "table" } } do
      local ok, e = in_scope(function(scope)
        scope:go(function() error(thing, 0) end):await()
      end)
      assert.is_false(ok)
      assert.equal(thing, e)
    end
  end)

  it("can be caught by the scope around, which goes on", function()
    local value = corun.scope(function(scope)
      local task = scope:go(function()
        corun.sleep(0.005)
        return "unharmed"
      end)
      local ok, e = in_scope(function() error("inner", 0) end)
      assert.is_false(ok)
      assert.equal("inner", e)
      return task:await()
    end)
    assert.equal("unharmed", value)
  end)

  it("that is not caught there cancels that one, too", function()
    local task
    local ok, e = in_scope(function(scope)
      task = scope:go(corun.sleep, 1000)
      corun.scope(function(inner)
        inner:go(function() error("deep", 0) end)
      end)
    end)
    assert.is_false(ok)
    assert.equal("deep", e)
    assert.equal("cancelled", task.status)
  end)

  it("of a task's own scope passes through the task", function()
    local ok, e = in_scope(function(scope)
      scope:go(function()
        corun.scope(function(inner) inner:go(error, "deep", 0) end)
      end)
      corun.sleep(1000)
    end)
    assert.is_false(ok)
    assert.equal("deep", e)
  end)
end)
