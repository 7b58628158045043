--- What a __close handler waits for it gets, whole and in its turn, though its task is cancelled meanwhile.

local corun = require "corun"
local waiting = require "spec.support.waiting"
local support = require "spec.support"

local closing = support.closing

local function pause()
  for _ = 1, 3 do corun.sleep(0) end
end

--- A task that waits in fn, which its __close handler calls.
local function cleaning(fn)
  local task = corun.go(function() local _ <close> = closing(fn) end)
  waiting.let_others_run()
  assert.equal("waiting", task.status)
  return task
end

-- Ways to call fn in a coroutine of its own, out of a task or another coroutine.
local ways = {
  ["coroutine.wrap"] = function(fn) return coroutine.wrap(fn)() end,
  ["coroutine.resume"] = function(fn)
    local co = coroutine.create(fn)
    local ok, e = coroutine.resume(co)
    coroutine.close(co)
    if not ok then error(e, 0) end
  end,
  ["coroutine.wrap in pcall"] = function(fn)
    local ok, e = pcall(coroutine.wrap(fn))
    if not ok then error(e, 0) end
  end,
  ["a metamethod"] = function(fn)
    return setmetatable({}, { __index = function() coroutine.wrap(fn)() end }).field
  end,
}

describe("A __close handler that waits", function()
  it("does so in a task of a scope that was opened in another __close handler", function()
    local log = {}
    corun.scope(function(outer)
      outer:go(function()
        local _ <close> = closing(function()
          corun.scope(function(inner)
            inner:go(function()
              local _ <close> = closing(function()
                pause()
                log[#log + 1] = "inner"
              end)
              corun.sleep(1000)
            end)
            corun.sleep(0)
            inner:cancel()
          end)
          pause()
          log[#log + 1] = "outer"
        end)
        corun.sleep(1000)
      end)
      corun.sleep(0)
      outer:cancel()
    end)
    assert.same({ "inner", "outer" }, log)
  end)

  for outer_name, outer in pairs(ways) do
    for inner_name, inner in pairs(ways) do
      it(("may do so in %s out of %s"):format(inner_name, outer_name), function()
        local log = {}
        corun.scope(function(scope)
          scope:go(function()
            outer(function()
              local _ <close> = closing(function()
                inner(function()
                  pause()
                  log[#log + 1] = "done"
                end)
              end)
              corun.sleep(1000)
            end)
          end)
          corun.sleep(0)
          scope:cancel()
        end)
        assert.same({ "done" }, log)
      end)
    end
  end

  it("is not shielded by one that a coroutine around has left", function()
    local ok
    corun.scope(function(scope)
      scope:cancel()
      coroutine.wrap(function()
        do local _ <close> = closing(pause) end
        coroutine.wrap(function() ok = pcall(corun.sleep, 0) end)()
      end)()
    end)
    assert.is_false(ok)
  end)
end)

describe("In a __close handler whose task is cancelled", function()
  it("a write stays in one piece, and what fails later has written nothing", function()
    local text = ("0123456789abcdef"):rep(1 << 18)
    local child <close> = corun.spawn { "sh", "-c", "read -r go <&3; exec cat", fds = { [3] = "input" } }
    local task = cleaning(function() child.stdin:write(text) end)
    local other = corun.go(function() child.stdin:write("other") end)
    waiting.let_others_run()
    task:cancel()
    waiting.let_others_run()
    local stopped = corun.go(pcall, corun.sleep, 1000)
    corun.sleep(0)
    stopped:cancel()
    local _, e = stopped:await()
    assert.equal("cancelled", e.kind)
    assert.is_nil(e.written)
    local last = corun.go(function()
      other:await()
      child.stdin:close()
    end)
    child.fds[3]:write("go\n")
    assert.is_true(child.stdout:read() == text .. "other")
    last:await()
    assert.equal("ended", task.status)
  end)

  it("wait_closed waits until all of the process is closed", function()
    local command = "{ read -r go; echo late; } <&3 & exit 0"
    local child <close> = corun.spawn { "sh", "-c", command, fds = { [3] = "input" }, stderr = "null" }
    child:wait()
    local closed
    local task = cleaning(function()
      child:wait_closed()
      closed = true
    end)
    task:cancel()
    waiting.let_others_run()
    assert.is_nil(closed)
    child.fds[3]:write("go\n")
    assert.equal("late\n", child.stdout:read())
    task:await(10)
    assert.is_true(closed)
  end)

  local function held_mutex()
    local mutex = corun.mutex()
    mutex:lock()
    return mutex
  end

  -- What there is to wait for: how to make it, to wait for it, and to give it to the one that has waited longest.
  local things = {
    ["an event"] = { corun.event, function(event) event:wait() end, function(event) event:set() end, to_all = true },
    ["a semaphore"] = { function() return corun.semaphore(0) end, function(semaphore) semaphore:acquire() end,
      function(semaphore) semaphore:release() end },
    ["a mutex"] = { held_mutex, function(mutex) mutex:lock():unlock() end,
      function(mutex) if tostring(mutex):find("main", 1, true) then mutex:unlock() end end, to_all = true },
    ["a channel to receive from"] = { corun.channel, function(channel) assert.equal("value", channel:receive()) end,
      function(channel) channel:send("value", 10) end },
    ["a channel to send to"] = { corun.channel, function(channel) channel:send("value") end,
      function(channel) assert.equal("value", channel:receive(10)) end },
    ["a channel to select"] = { corun.channel, function(channel) corun.select { channel } end,
      function(channel) channel:send("value", 10) end },
    ["a channel to select for sending"] = { corun.channel, function(channel) corun.select { { channel, "value" } } end,
      function(channel) assert.equal("value", channel:receive(10)) end },
  }

  for name, thing in pairs(things) do
    local make, wait, give = table.unpack(thing)

    it("a wait for " .. name .. " gets what comes in the same turn, before or after", function()
      for _, cancel_first in ipairs { true, false } do
        local object, got = make(), nil
        local task = cleaning(function()
          wait(object)
          got = true
        end)
        if cancel_first then task:cancel() end
        give(object)
        if not cancel_first then task:cancel() end
        task:await(10)
        assert.is_true(got)
        assert.equal("ended", task.status)
      end
    end)

    it("a wait for " .. name .. " keeps its place", function()
      local object, order, tasks = make(), {}, {}
      for i = 1, 4 do
        tasks[i] = cleaning(function()
          wait(object)
          order[#order + 1] = i
        end)
      end
      tasks[1]:cancel()
      tasks[3]:cancel()
      waiting.let_others_run()
      for _ = 1, thing.to_all and 1 or 4 do give(object) end
      for i = 1, 4 do tasks[i]:await(10) end
      assert.same({ 1, 2, 3, 4 }, order)
    end)
  end
end)

describe("A loop that swallows its cancellation", function()
  local event, channel = corun.event(), corun.channel(math.huge)
  for name, wait in pairs {
    ["corun.sleep"] = function() corun.sleep(0.001) end, ["a wait for an event"] = function() event:wait() end,
    ["a wait for an event that is set"] = function()
      event:set()
      event:wait()
    end,
    ["a send"] = function() channel:send("value") end, ["corun.run"] = function() corun.run { "true" } end,
    ["corun.scope"] = function() corun.scope(function() corun.sleep(1) end) end,
    ["corun.timeout"] = function() corun.timeout(1, corun.sleep, 1) end,
  } do
    it("lets another task clean up meanwhile: " .. name, function()
      local done, in_time
      corun.scope(function(scope)
        scope:go(function()
          local _ <close> = closing(function()
            corun.sleep(0.001)
            corun.capture { "true" }
            done = true
          end)
          corun.sleep(1000)
        end)
        corun.sleep(0)
        scope:cancel()
        local deadline = corun.now() + 5 -- or for ever
        while not done and corun.now() < deadline do pcall(wait) end
        in_time = done
      end)
      assert.is_true(in_time)
    end)
  end
end)
