--- Trees of scopes, tasks and children, made at random and cancelled at random points: nothing stays alive, no error is
--- lost, nothing hangs.
---
--- CORUN_TREES=10000 runs more of them than the everyday 300; CORUN_SEED=N repeats a run: a failure names its seed.

local corun = require "corun"
local scopes = require "corun.scope"
local support = require "spec.support"

local count = tonumber(os.getenv("CORUN_TREES")) or 300
local seed = tonumber(os.getenv("CORUN_SEED")) or 20261122

--- A generator of its own for each tree, so that its shape is the same whatever the scheduler does. (xorshift64*)
local function generator(start)
  local state = start * 0x9E3779B97F4A7C15 | 1
  local function random(n)
    state = state ~ (state >> 12)
    state = state ~ (state << 25)
    state = state ~ (state >> 27)
    return (((state * 0x2545F4914F6CDD1D) >> 33) % n) + 1
  end
  for _ = 1, 4 do random(2) end
  return random
end

--- What one tree has done: tasks begun and ended, children started, errors that are to come out of it.
local function new_log() return { begun = 0, ended = 0, cleaned = 0, to_clean = 0, processes = {}, raised = {} } end

local grow -- the body of a scope

local function pause(random) corun.sleep(random(4) / 4000) end

local function child(tree, scope, random)
  local program = ({ "sleep 100", "sleep 0.002", "trap '' TERM; sleep 100 & wait; wait", "exit 3", "cat" })[random(5)]
  local p = scope:spawn { "sh", "-c", program, stdin = random(2) == 1 and "pipe" or "null", stdout = "pipe",
    stderr = "null", stop = { { "TERM", 0.01 }, "KILL" } }
  tree.processes[#tree.processes + 1] = p
  return p
end

--- Something that waits, or does not; each leaves things as they are when it is cancelled.
local actions = {
  function(_, _, random) pause(random) end,
  function(tree, scope, random) child(tree, scope, random) end,
  function(tree, scope, random) child(tree, scope, random):wait() end,
  function(tree, scope, random) child(tree, scope, random).stdout:read() end,
  function(tree, scope, random)
    local _ <close> = child(tree, scope, random)
    pause(random)
  end,
  function(_, _, random)
    local command = random(2) == 1 and { "true" } or { "sleep", "100", grace = 0.01 }
    corun.move_on(random(3) / 1000, corun.run, command)
  end,
  function(tree) tree.channel:send(true) end,
  function(tree) tree.channel:receive() end,
  function(tree)
    local _ <close> = tree.mutex:lock()
    corun.sleep(0)
  end,
  function(tree, _, random) pcall(corun.select, { tree.channel, { tree.other, random(9) } }, 0.002) end,
  function(tree) tree.event:wait() end,
  function(tree) tree.event:set() end,
  function(_, scope) scope:cancel("at random") end,
  function(_, scope, random) scope.deadline = corun.now() + random(5) / 2000 end,
  function(_, _, random) corun.shield(function() pause(random) end) end,
  function(_, _, random)
    for _ = 1, 3 do pcall(pause, random) end
  end,
  function(_, _, random) coroutine.wrap(function() pause(random) end)() end,
  function(_, _, random)
    local resume = coroutine.wrap(function()
      corun.scope(function(inner)
        inner:go(pause, random)
        coroutine.yield()
        pause(random)
      end)
    end)
    resume()
    pause(random)
    if random(2) == 1 then resume() end -- or never
  end,
  function(_, _, random) table.sort({ 3, 1, 2 }, function(a, b) pause(random) return a < b end) end,
  function(tree)
    local e = { "error", #tree.raised + 1 }
    tree.raised[#tree.raised + 1] = e
    error(e)
  end,
  function(tree, scope, random)
    tree.to_clean = tree.to_clean + 1
    scope:defer(function()
      pause(random)
      tree.cleaned = tree.cleaned + 1
    end)
  end,
  function(tree, scope, random)
    tree.tasks[#tree.tasks + 1] = scope:go(function() pause(random) end)
  end,
  function(tree, _, random)
    local task = tree.tasks[random(#tree.tasks + 1)]
    if task then task:cancel() end
  end,
}

local function act(tree, scope, depth, random)
  tree.begun = tree.begun + 1
  local _ <close> = setmetatable({}, { __close = function()
    corun.sleep(0) -- clean-up may wait
    tree.ended = tree.ended + 1
  end })
  for _ = 1, random(3) do
    local which = random(#actions + 4)
    if actions[which] then actions[which](tree, scope, random)
    elseif depth > 0 then corun.scope(grow, tree, depth - 1, random) end
  end
end

function grow(scope, tree, depth, random)
  for _ = 1, random(3) do
    local own = generator(random(1 << 30))
    scope:go(act, tree, scope, depth, own)
  end
  if random(2) == 1 then act(tree, scope, depth, random) end
end

--- All errors in what came out of a tree.
local function collect(e, found)
  if type(e) == "table" and e[1] == "error" then found[e] = true end
  for _, each in ipairs(type(e) == "table" and e.errors or {}) do collect(each, found) end
  for _, each in ipairs(type(e) == "table" and e.also or {}) do collect(each, found) end
  if type(e) == "table" and e.value ~= nil then collect(e.value, found) end
  return found
end

local function grow_one(number)
  local random = generator(number)
  local tree = new_log()
  tree.tasks, tree.event, tree.mutex = {}, corun.event(), corun.mutex()
  tree.channel, tree.other = corun.channel(random(3) - 1), corun.channel(random(2))
  local ok, e = pcall(corun.timeout, random(8) / 400, corun.scope, grow, tree, 3, random)
  return tree, ok, e
end

describe("Of trees of scopes, tasks and children that are cancelled at random", function()
  it(("%d leave nothing behind, and lose no error"):format(count), function()
    for number = seed, seed + count - 1 do
      local tree, ok, e = grow_one(number)
      local where = ("CORUN_TREES=1 CORUN_SEED=%d: "):format(number)
      assert.equal(tree.begun, tree.ended, where .. "tasks begun and ended")
      assert.equal(tree.to_clean, tree.cleaned, where .. "defers")
      for _, p in ipairs(tree.processes) do
        assert.is_not_nil(p.status, where .. "a process that runs: " .. tostring(p))
        assert.is_false(p:signal_tree(0), where .. "a group that is not empty: " .. tostring(p))
      end
      local found = collect(e, {})
      for _, raised in ipairs(tree.raised) do
        assert.is_true(found[raised], where .. "a lost error: " .. tostring(e))
      end
      assert.is_true(ok or #tree.raised > 0 or e.kind == "timeout", where .. tostring(e))
      assert.is_nil(next(scopes.root._tasks), where .. "a task in the root scope")
      assert.is_nil(next(scopes.root._processes), where .. "a process in the root scope")
      assert.same({}, support.children(), where .. "a child")
    end
  end)
end)
