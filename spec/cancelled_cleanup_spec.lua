--- Cancellation while clean-up goes on and by it; and where a task stands when it is cancelled.

local corun = require "corun"
local raised = require "spec.support.raised"
local support = require "spec.support"
local waiting = require "spec.support.waiting"

local closing = support.closing

local function cancellation(fn) return raised.error("cancelled", fn) end

describe("A cancellation while clean-up goes on", function()
  it("leaves a __close handler alone, and is there after it", function()
    local order = {}
    local task = corun.go(function()
      do
        local _ <close> = closing(function()
          corun.sleep(0.002)
          order[#order + 1] = "closed"
        end)
      end
      order[#order + 1] = "after"
      corun.sleep(0)
      order[#order + 1] = "too far"
    end)
    waiting.let_others_run()
    task:cancel()
    cancellation(function() task:await() end)
    assert.same({ "closed", "after" }, order)
  end)

  it("leaves every defer alone, though the first of them is at work", function()
    local order, theirs = {}, nil
    local task = corun.go(corun.scope, function(scope)
      theirs = scope
      for i = 1, 3 do
        scope:defer(function()
          corun.sleep(0.001)
          order[#order + 1] = i
        end)
      end
    end)
    waiting.let_others_run()
    theirs:cancel("scope")
    task:cancel("task")
    pcall(task.await, task)
    assert.same({ 3, 2, 1 }, order)
  end)

  it("does not take the result of a scope that had none left to wait for but its defers", function()
    local task = corun.go(corun.scope, function(scope)
      scope:defer(function() corun.sleep(0.002) end)
      return "result"
    end)
    waiting.let_others_run()
    task:cancel()
    assert.equal("result", task:await())
  end)

  it("lets a process be stopped by its plan to the end", function()
    local p, is_ending
    local task = corun.go(corun.scope, function(scope)
      p = scope:spawn { support.fixture "stubborn", grace = 0.05, stderr = "null" }
      p.stdout:read_line()
      scope:defer(function() is_ending = true end)
    end)
    waiting.wait_until("the scope is at its end", function() return is_ending end)
    assert.is_nil(p.status)
    task:cancel()
    pcall(task.await, task)
    assert.equal("SIGKILL", p.status.signal)
  end)
end)

describe("A cancellation by clean-up", function()
  it("in a __close handler of the body concerns what comes after the handler", function()
    local order = {}
    local value, reason = corun.scope(function(scope)
      do
        local _ <close> = closing(function()
          scope:cancel("in __close")
          corun.sleep(0.001)
          order[#order + 1] = "closed"
        end)
      end
      cancellation(function() corun.sleep(0) end)
      order[#order + 1] = "cancelled"
    end)
    assert.is_nil(value)
    assert.equal("in __close", reason)
    assert.same({ "closed", "cancelled" }, order)
  end)

  it("in a __close handler after an error does not take the error's place", function()
    local ok, e = pcall(corun.scope, function(scope)
      local _ <close> = closing(function() scope:cancel() end)
      error("mine", 0)
    end)
    assert.is_false(ok)
    assert.equal("mine", e)
  end)

  it("in a defer of the scope leaves the other defers alone", function()
    local order = {}
    local _, reason = corun.scope(function(scope)
      scope:defer(function()
        corun.sleep(0.001)
        order[#order + 1] = "first"
      end)
      scope:defer(function()
        scope:cancel("in a defer")
        corun.sleep(0.001)
        order[#order + 1] = "second"
      end)
    end)
    assert.equal("in a defer", reason)
    assert.same({ "second", "first" }, order)
  end)

  it("in a defer may be of the scope around, which goes on to its next wait", function()
    local order = {}
    local _, reason = corun.scope(function(outer)
      corun.scope(function(inner)
        inner:defer(function()
          outer:cancel("from within")
          corun.sleep(0.001)
          order[#order + 1] = "deferred"
        end)
      end)
      order[#order + 1] = "after the inner scope"
      corun.sleep(0)
      order[#order + 1] = "not reached"
    end)
    assert.equal("from within", reason)
    assert.same({ "deferred", "after the inner scope" }, order)
  end)

  it("in one task's __close handler reaches the tasks beside it", function()
    local order = {}
    corun.scope(function(scope)
      scope:go(function()
        cancellation(function() corun.sleep(1000) end)
        order[#order + 1] = "beside"
      end)
      scope:go(function()
        local _ <close> = closing(function()
          scope:cancel()
          corun.sleep(0.001)
          order[#order + 1] = "closed"
        end)
      end)
    end)
    assert.same({ "beside", "closed" }, order)
  end)
end)

-- Where a task may stand when it is cancelled: each calls `wait` there.
local places = {
  ["in a coroutine of its own"] = function(wait) coroutine.wrap(wait)() end,
  ["three coroutines deep, behind values that were yielded"] = function(wait)
    for _ in coroutine.wrap(function()
      for value in coroutine.wrap(function()
        coroutine.yield(1)
        for value in coroutine.wrap(function()
          coroutine.yield(2)
          wait()
        end) do
          coroutine.yield(value)
        end
      end) do
        coroutine.yield(value)
      end
    end) do end
  end,
  ["in table.sort"] = function(wait) table.sort({ 3, 2, 1 }, function() wait() end) end,
  ["in string.gsub in table.sort"] = function(wait)
    table.sort({ 3, 2, 1 }, function() string.gsub("x", "x", function() wait() end) end)
  end,
  ["in table.sort in a coroutine"] = function(wait)
    coroutine.wrap(function() table.sort({ 3, 2, 1 }, function() wait() end) end)()
  end,
  ["in a metamethod"] = function(wait)
    local thing = setmetatable({}, { __index = function() wait() end })
    return thing.field
  end,
  ["in the iterator of a for"] = function(wait)
    for _ in function() wait() end do end
  end,
  ["behind a tail call in pcall"] = function(wait)
    local _, e = pcall(function(...) return wait(...) end, 1, 2)
    error(e, 0)
  end,
  ["in a callable table in pcall"] = function(wait)
    local _, e = pcall(setmetatable({}, { __call = function() wait() end }))
    error(e, 0)
  end,
  ["in corun.try in xpcall"] = function(wait)
    local _, _, e = xpcall(corun.try, debug.traceback, wait)
    error(e, 0)
  end,
  ["in a chunk that load made"] = function(wait) load("local wait = ... wait() return true", "=chunk")(wait) end,
}

for name, place in pairs(places) do
  describe("A task that waits " .. name, function()
    it("is cancelled there", function()
      local e
      local task = corun.go(place, function()
        e = cancellation(function() corun.sleep(1000) end)
        error(e, 0)
      end)
      waiting.let_others_run()
      assert.equal("waiting", task.status)
      task:cancel("why")
      assert.equal("why", cancellation(function() task:await() end).reason)
      assert.equal("why", e.reason)
      assert.equal("cancelled", task.status)
    end)
  end)
end

describe("A file that is required", function()
  local directory, path
  before_each(function()
    path = package.path
    directory = support.directory()
    package.path = directory .. "/?.lua;" .. path
  end)
  after_each(function()
    package.path = path
    package.loaded["waits_when_loaded"], _G.is_loading, _G.may_load = nil, nil, nil
  end)

  for name, source in pairs {
    ["in its main chunk"] = "is_loading = true require 'corun'.sleep(may_load and 0 or 1000) return 'loaded'",
    ["in a function that is its last call"] = [[
      local function load_all()
        is_loading = true
        require 'corun'.sleep(may_load and 0 or 1000)
        return 'loaded'
      end
      return load_all()]],
  } do
    it("and waits " .. name .. " is cancelled there, and can be required again", function()
      support.write_file(directory .. "/waits_when_loaded.lua", source)
      local task = corun.go(require, "waits_when_loaded")
      waiting.wait_until("it is being loaded", function() return _G.is_loading and task.status == "waiting" end)
      task:cancel()
      cancellation(function() task:await() end)
      assert.is_nil(package.loaded["waits_when_loaded"])
      _G.may_load = true
      assert.equal("loaded", (require "waits_when_loaded"))
    end)
  end
end)
