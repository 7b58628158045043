--- What a cancellation leaves behind in tasks and processes that were waited for, or that were to be started; and what
--- becomes of a wait that was over already.

local corun = require "corun"
local raised = require "spec.support.raised"
local support = require "spec.support"
local waiting = require "spec.support.waiting"

local function cancellation(fn) return raised.error("cancelled", fn) end

--- A task of fn that waits.
local function waits(fn, ...)
  local task = corun.go(fn, ...)
  waiting.let_others_run()
  assert.equal("waiting", task.status)
  return task
end

--- Cancels a task that waits, and waits for its end.
local function cancel(task)
  task:cancel()
  cancellation(function() task:await(10) end)
  assert.equal("cancelled", task.status)
end

describe("After a cancelled wait", function()
  it("an awaited task goes on, for others and for the same one again", function()
    local event = corun.event()
    local awaited = corun.go(function()
      event:wait()
      return 1, nil, 3
    end)
    local first, second = waits(awaited.await, awaited), waits(awaited.await, awaited)
    cancel(first)
    raised.error("timeout", function() corun.timeout(0, awaited.await, awaited) end)
    assert.equal("waiting", awaited.status)
    event:set()
    local expected = { 1, nil, 3, n = 3 }
    assert.same(expected, table.pack(second:await(10)))
    assert.same(expected, table.pack(awaited:await()))
  end)

  it("a Process runs, and others get its status", function()
    local p <close> = corun.spawn { support.fixture "ready", stderr = "null" }
    p.stdout:read_line()
    local first, second, closed = waits(p.wait, p), waits(p.wait, p), waits(p.wait_closed, p)
    cancel(first)
    cancel(closed)
    raised.error("timeout", function() corun.timeout(0, p.wait, p) end)
    assert.is_nil(p.status)
    p:signal("USR1")
    assert.equal("SIGUSR1", second:await(10).signal)
    assert.equal("SIGUSR1", p:wait_closed(10).signal)
  end)

  it("for tasks of a scope, that scope has ended no sooner than they have", function()
    local order = {}
    local task = waits(function()
      corun.scope(function(scope)
        scope:go(function()
          pcall(corun.sleep, 1000)
          corun.shield(function() corun.sleep(0.002) end)
          order[#order + 1] = "task"
        end)
        scope:defer(function() order[#order + 1] = "defer" end)
      end)
    end)
    cancel(task)
    assert.same({ "task", "defer" }, order)
  end)

  it("a signal that comes then is the next one's", function()
    local pid = support.pid
    local next_signal, _, _, handle = corun.signals { "USR1" }
    local _ <close> = handle
    cancel(waits(next_signal))
    assert(os.execute("kill -USR1 " .. pid))
    waiting.let_others_run()
    corun.scope(function(scope)
      scope:cancel()
      cancellation(function() next_signal() end)
    end)
    assert.equal("SIGUSR1", corun.timeout(10, next_signal))
  end)

  it("an iterator that corun.map goes over was asked for no more than there were tasks", function()
    local numbers = corun.channel(10)
    for i = 1, 10 do numbers:send(i) end
    cancel(waits(corun.map, numbers, function() corun.sleep(1000) end, { jobs = 3 }))
    assert.equal(4, numbers:receive())
  end)

  it("corun.retry makes no further attempt, and corun.every has no further tick", function()
    local attempts, ticks = 0, 0
    local retrying = waits(corun.retry, { delay = 1000 }, function()
      attempts = attempts + 1
      error("again", 0)
    end)
    local ticking = corun.go(corun.every, 0.001, function() ticks = ticks + 1 end)
    waiting.wait_until("it ticks", function() return ticks > 1 end)
    cancel(retrying)
    cancel(ticking)
    local last = ticks
    corun.sleep(0.003)
    assert.equal(1, attempts)
    assert.equal(last, ticks)
  end)
end)

describe("In a cancelled scope, a start", function()
  --- What fn(scope) does in a scope that is cancelled already.
  local function in_cancelled(fn)
    corun.scope(function(scope)
      scope:cancel()
      fn(scope)
    end)
    assert.same({}, support.children())
  end

  it("by any of the ways starts nothing", function()
    local marker = support.directory() .. "/marker"
    local touch = corun.command { "touch", marker }
    in_cancelled(function(scope)
      for _, start in ipairs {
        function() scope:spawn { "touch", marker } end, function() corun.process { "touch", marker }:start() end,
        function() corun.capture { "touch", marker } end, function() corun.sh("touch {}", marker) end,
        function() touch:run() end, function() touch:capture() end, function() touch:spawn() end,
        function() touch:lines() end,
      } do
        cancellation(start)
      end
    end)
    assert.is_nil(support.read_file(marker))
  end)

  it("makes no file that it would write to", function()
    local path = support.directory() .. "/out"
    in_cancelled(function()
      cancellation(function() corun.run { "echo", "text", stdout = { file = path } } end)
    end)
    assert.is_nil(support.read_file(path))
  end)

  it("leaves a Process that can still be started", function()
    local p = corun.process { "echo", "text" }
    in_cancelled(function() cancellation(function() p:start() end) end)
    assert.equal("Process (not started)", tostring(p))
    p:start()
    assert.equal("text\n", p:communicate().stdout)
    p:close()
  end)

  it("leaves a Reader that was to be its stdin", function()
    local source <close> = corun.spawn { "printf", "one\\ntwo\\n", stderr = "null" }
    in_cancelled(function()
      cancellation(function() corun.run { "cat", stdin = source.stdout } end)
      corun.shield(function() source:wait() end)
    end)
    assert.equal("one\ntwo\n", source.stdout:read())
  end)

  it("still refuses what is no command at all", function()
    in_cancelled(function()
      assert.equal("spawn: unknown option 'x'", raised.argument(function() corun.spawn { "true", x = 1 } end))
    end)
  end)
end)

describe("A task that is ready again when it is cancelled", function()
  --- Two tasks wait in the same way, the second as long or a little longer. `bring` ends both waits; then the first
  --- cancels the second.
  local function expect_had(wait, bring)
    local order, second = {}, nil
    waits(function()
      wait(0.02)
      second:cancel()
    end)
    second = waits(function()
      wait(0.021)
      order[#order + 1] = "had it"
      corun.sleep(0)
      order[#order + 1] = "not reached"
    end)
    bring()
    cancellation(function() second:await(10) end)
    assert.same({ "had it" }, order)
  end

  it("has slept, and is cancelled at its next wait", function()
    expect_had(corun.sleep, function()
      local late = corun.now() + 0.022
      while corun.now() < late do end
    end)
  end)

  it("has what the awaited task returned", function()
    local event = corun.event()
    local awaited = waits(function()
      event:wait()
      return "result"
    end)
    expect_had(function() assert.equal("result", awaited:await()) end, function() event:set() end)
  end)

  it("has the status of the process", function()
    local p <close> = corun.spawn { support.fixture "ready", stderr = "null" }
    p.stdout:read_line()
    expect_had(function() assert.equal("SIGKILL", p:wait().signal) end, function() p:signal("KILL") end)
  end)
end)
