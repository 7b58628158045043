--- Clean-up by to-be-closed variables: it runs shielded, however the block is left.

local corun = require "corun"
local raised = require "spec.support.raised"
local support = require "spec.support"
local waiting = require "spec.support.waiting"

local closing = support.closing

-- Ways to leave a block: each runs `wait` with the variable open, so that the cancellation comes from within.
local ways = {}

ways["by the error itself"] = function(value, wait)
  local _ <close> = value
  wait()
end

ways["at its end"] = function(value, wait)
  local _ <close> = value
  pcall(wait)
end

ways["by return"] = function(value, wait)
  local _ <close> = value
  return pcall(wait)
end

ways["by break"] = function(value, wait)
  for i = 1, 2 do
    local _ <close> = value
    pcall(wait)
    if i == 1 then break end
  end
end

ways["of a generic for"] = function(value, wait)
  local function iterate(_, last) return not last or nil end
  for _ in iterate, nil, nil, value do wait() end
end

ways["in pcall"] = function(value, wait)
  pcall(function()
    local _ <close> = value
    wait()
  end)
end

ways["in pcall of a function with variable arguments"] = function(value, wait)
  pcall(function(...)
    local _ <close> = value
    wait(...)
  end, 1, 2, 3)
end

ways["in xpcall"] = function(value, wait)
  xpcall(function()
    local _ <close> = value
    wait()
  end, function(e) return e end)
end

ways["in a coroutine.wrap"] = function(value, wait)
  pcall(coroutine.wrap(function()
    local _ <close> = value
    wait()
  end))
end

ways["in a callback of table.sort"] = function(value, wait)
  pcall(table.sort, { 2, 1 }, function()
    local _ <close> = value
    wait()
  end)
end

ways["in a callback of string.gsub"] = function(value, wait)
  pcall(string.gsub, "x", ".", function()
    local _ <close> = value
    wait()
  end)
end

ways["in a corun.timeout"] = function(value, wait)
  pcall(corun.timeout, 1000, function()
    local _ <close> = value
    wait()
  end)
end

ways["in a scope"] = function(value, wait)
  corun.scope(function()
    local _ <close> = value
    wait()
  end)
end

ways["of a suspended coroutine by coroutine.close"] = function(value, wait)
  local co = coroutine.create(function()
    local _ <close> = value
    coroutine.yield()
  end)
  coroutine.resume(co)
  pcall(wait)
  coroutine.close(co)
end

local names = {}
for name in pairs(ways) do names[#names + 1] = name end
table.sort(names)

for _, name in ipairs(names) do
  local leave = ways[name]

  describe("Clean-up when a block is left " .. name, function()
    it("may wait in a cancelled task", function()
      local cleaned
      local task = corun.go(leave, closing(function() cleaned = corun.capture { "echo", "cleaned" } end), function()
        corun.sleep(1000)
      end)
      corun.sleep(0)
      task:cancel()
      pcall(task.await, task)
      assert.equal("cleaned", cleaned)
    end)

    it("is cut short by a time limit of its own", function()
      local seen
      local task = corun.go(leave, closing(function()
        local ok, e = pcall(corun.timeout, 0.001, corun.sleep, 0.3)
        seen = not ok and e.kind
      end), function() corun.sleep(1000) end)
      corun.sleep(0)
      task:cancel()
      pcall(task.await, task)
      assert.equal("timeout", seen)
    end)

    it("leaves what comes after it cancelled", function()
      local after
      local task = corun.go(function()
        pcall(leave, closing(function() corun.sleep(0.001) end), function() corun.sleep(1000) end)
        after = raised.error("cancelled", function() corun.sleep(0.3) end)
      end)
      corun.sleep(0)
      task:cancel()
      pcall(task.await, task)
      assert.is_not_nil(after)
    end)
  end)
end

describe("Clean-up in a cancelled task", function()
  it("may be a scope with tasks and processes of its own", function()
    local got
    local task = corun.go(function()
      local _ <close> = closing(function()
        corun.scope(function(scope)
          local p = scope:spawn { "cat", timeout = 3 }
          scope:go(function()
            p:write("through\n")
            p:close_stdin()
          end)
          got = p.stdout:read()
        end)
      end)
      corun.sleep(1000)
    end)
    corun.sleep(0)
    task:cancel()
    raised.error("cancelled", function() task:await() end)
    assert.equal("through\n", got)
  end)

  it("stops a Process by its plan", function()
    local status, up
    local task = corun.go(function()
      local p = corun.spawn { support.fixture "stubborn", grace = 0.05 }
      local _ <close> = closing(function() status = p.status end)
      local process <close> = p
      up = process.stdout:read_line()
      corun.sleep(1000)
    end)
    waiting.wait_until("it is up", function() return up end)
    task:cancel()
    raised.error("cancelled", function() task:await() end)
    assert.equal("SIGKILL", status.signal)
  end)

  it("does not make what it calls later cancelled for ever: other tasks go on as before", function()
    local other = corun.go(function()
      corun.sleep(0.01)
      return "unharmed"
    end)
    local task = corun.go(function()
      local _ <close> = closing(function() corun.sleep(0.001) end)
      corun.sleep(1000)
    end)
    corun.sleep(0)
    task:cancel()
    raised.error("cancelled", function() task:await() end)
    assert.equal("unharmed", other:await())
  end)
end)
