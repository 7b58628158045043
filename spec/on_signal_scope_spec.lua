--- Handlers of signals belong to the scope in which they were made.

local corun = require "corun"
local support = require "spec.support"
local waiting = require "spec.support.waiting"

local send = support.send

local function in_scope(fn) return pcall(corun.scope, fn) end

describe("The end of a scope", function()
  local outer -- so that the signal has a handler whatever the example does
  local order

  before_each(function()
    order = {}
    outer = corun.on_signal("USR1", function() order[#order + 1] = "outer" end)
  end)
  after_each(function() outer:close() end)

  local function wait_for(count)
    waiting.wait_until(count .. " calls", function() return #order >= count end)
    waiting.let_others_run()
  end

  it("closes the handles that were made in it", function()
    local handle
    corun.scope(function() handle = corun.on_signal("USR1", function() order[#order + 1] = "inner" end) end)
    assert.equal("SignalHandle (closed, SIGUSR1)", tostring(handle))
    send "USR1"
    wait_for(1)
    assert.same({ "outer" }, order)
    handle:close()
  end)

  it("closes them also where it ends by an error or is cancelled", function()
    for _, finish in ipairs { function() error("mine", 0) end, function(scope) scope:cancel() end } do
      local handle
      in_scope(function(scope)
        handle = corun.on_signal("USR1", print)
        finish(scope)
      end)
      assert.equal("SignalHandle (closed, SIGUSR1)", tostring(handle))
    end
  end)

  it("does not wait for the signals of an open handle", function()
    local handle
    assert.equal("value", corun.scope(function()
      handle = corun.on_signal("USR1", print)
      return "value"
    end))
    assert.equal("SignalHandle (closed, SIGUSR1)", tostring(handle))
  end)

  it("waits for the calls that go on", function()
    corun.scope(function()
      local begun = corun.event()
      corun.on_signal("USR1", function()
        begun:set()
        corun.sleep(0.005)
        order[#order + 1] = "inner ends"
      end)
      send "USR1"
      begun:wait()
    end)
    order[#order + 1] = "after the scope"
    assert.same({ "outer", "inner ends", "after the scope" }, order)
  end)

  it("comes when its tasks have ended: until then the handler is called", function()
    local go_on = corun.event()
    corun.scope(function(scope)
      corun.on_signal("USR1", function()
        order[#order + 1] = "inner"
        go_on:set()
      end)
      scope:go(function()
        corun.sleep(0) -- the scope's function has returned
        send "USR1"
        go_on:wait()
      end)
    end)
    assert.same({ "outer", "inner" }, order)
  end)

  it("of one inside of it leaves its own handles open", function()
    corun.scope(function()
      corun.on_signal("USR1", function() order[#order + 1] = "middle" end)
      corun.scope(function()
        corun.on_signal("USR1", function() order[#order + 1] = "inner" end)
        send "USR1"
        wait_for(3)
      end)
      send "USR1"
      wait_for(5)
    end)
    assert.same({ "outer", "middle", "inner", "outer", "middle" }, order)
  end)

  it("is not that of a time limit: the handle belongs to the scope around", function()
    for name, limit in pairs { timeout = corun.timeout, move_on = corun.move_on } do
      order = {}
      corun.scope(function()
        limit(1000, function() corun.on_signal("USR1", function() order[#order + 1] = name end) end)
        corun.shield(function() corun.on_signal("USR1", function() order[#order + 1] = "shield" end) end)
        send "USR1"
        wait_for(3)
      end)
      assert.same({ "outer", name, "shield" }, order)
    end
  end)

  it("closes what its tasks have made, though they ended before", function()
    local handle
    corun.scope(function(scope)
      scope:go(function() handle = corun.on_signal("USR1", function() order[#order + 1] = "a task's" end) end):await()
      assert.equal("SignalHandle (SIGUSR1)", tostring(handle))
      send "USR1"
      wait_for(2)
    end)
    assert.same({ "outer", "a task's" }, order)
    assert.equal("SignalHandle (closed, SIGUSR1)", tostring(handle))
  end)
end)

describe("A signal's handler", function()
  it("that raises fails the scope, whose other tasks are cancelled", function()
    local task, reached
    local ok, e = in_scope(function(scope)
      corun.on_signal("USR1", function() error("mine", 0) end)
      task = scope:go(corun.sleep, 1000)
      send "USR1"
      corun.sleep(1000)
      reached = true
    end)
    assert.is_false(ok)
    assert.equal("mine", e)
    assert.equal("cancelled", task.status)
    assert.is_nil(reached)
  end)

  it("that raises fails the scope in which it was made, though its opener is in another", function()
    local inner
    local ok, e = in_scope(function()
      corun.on_signal("USR1", function() error("mine", 0) end)
      in_scope(function(scope)
        inner = scope
        send "USR1"
        corun.sleep(1000)
      end)
      corun.sleep(1000)
    end)
    assert.is_false(ok)
    assert.equal("mine", e)
    assert.equal("Scope (ended)", tostring(inner))
  end)

  it("leaves the other handlers of the signal alone when it raises", function()
    local called = false
    local ok, e = in_scope(function()
      corun.on_signal("USR1", function() error("mine", 0) end)
      corun.on_signal("USR1", function() called = true end)
      send "USR1"
      corun.sleep(1000)
    end)
    assert.is_false(ok)
    assert.equal("mine", e)
    assert.is_true(called)
  end)

  it("can cancel its scope, which then gives the reason", function()
    local value, reason = corun.scope(function(scope)
      corun.on_signal("USR1", function(name) scope:cancel(name) end)
      send "USR1"
      corun.sleep(1000)
      return "value"
    end)
    assert.is_nil(value)
    assert.equal("SIGUSR1", reason)
  end)

  it("that is cancelled with its scope is no error of it", function()
    local result
    local _, reason = corun.scope(function(scope)
      local begun = corun.event()
      corun.on_signal("USR1", function()
        begun:set()
        result = table.pack(pcall(corun.sleep, 1000))
        corun.sleep(1000)
      end)
      send "USR1"
      begun:wait()
      scope:cancel("enough")
    end)
    assert.equal("enough", reason)
    assert.is_false(result[1])
    assert.equal("cancelled", result[2].kind)
  end)

  it("begins in a cancelled scope, too, and is cancelled at its first wait", function()
    local steps = {}
    corun.scope(function(scope)
      local begun = corun.event()
      corun.on_signal("USR1", function()
        steps[#steps + 1] = "begins"
        begun:set()
        corun.sleep(0)
        steps[#steps + 1] = "goes on"
      end)
      scope:cancel()
      corun.shield(function()
        send "USR1"
        begun:wait()
      end)
    end)
    assert.same({ "begins" }, steps)
  end)

  it("can start processes and tasks, which belong to that scope", function()
    local p, ended
    corun.scope(function()
      local begun = corun.event()
      corun.on_signal("USR1", function()
        p = corun.spawn { support.fixture "ready", stderr = "null" }
        p.stdout:read_line()
        corun.go(function()
          corun.sleep(0)
          ended = p.status == nil
        end)
        begun:set()
      end)
      send "USR1"
      begun:wait()
      assert.is_nil(p.status)
    end)
    assert.is_true(ended)
    assert.equal("SIGTERM", p.status.signal)
  end)

  it("can make another one, and close itself", function()
    local calls = {}
    corun.scope(function()
      local handle
      handle = corun.on_signal("USR1", function()
        calls[#calls + 1] = "first"
        handle:close()
        handle = corun.on_signal("USR1", function() calls[#calls + 1] = "second" end)
      end)
      for n = 1, 3 do
        send "USR1"
        waiting.wait_until("a call", function() return #calls == n end)
      end
    end)
    assert.same({ "first", "second", "second" }, calls)
  end)
end)
