--- Trees of processes of random shape, stopped in every way: nobody survives, and time limits hold.
---
--- CORUN_KILLED_TREES=1000 stops more of them than the everyday 40; CORUN_SEED=N repeats a run: a failure names
--- its seed.

local corun = require "corun"
local scripts = require "spec.support.scripts"
local sprouts = require "spec.support.sprouts"
local streams = require "spec.support.streams"

local count = tonumber(os.getenv("CORUN_KILLED_TREES")) or 40
local seed = tonumber(os.getenv("CORUN_SEED")) or 20261122

local GRACE = 0.02
local plan = { { "TERM", GRACE }, "KILL" }

--- Starts the tree and waits until it stands.
local function stand(tree, options)
  local p = corun.spawn(tree:spec(options))
  assert.matches("ready", p.stdout:read_line()) -- others may already speak
  return p
end

-- Each way stops a tree; when it comes back, nobody is left.

local ways = {}

function ways.terminate(tree)
  local p = stand(tree, { stop = plan })
  p:terminate()
  assert.is_nil(p.survivors)
end

function ways.kill(tree)
  local p = stand(tree, {})
  p:kill()
  assert.is_nil(p.survivors)
end

function ways.close(tree)
  local _ <close> = stand(tree, { stop = plan })
end

function ways.end_of_scope(tree)
  corun.scope(function() stand(tree, { stop = plan }) end)
end

function ways.limit_of_run(tree, random)
  local limit, before = random(40) / 1000, corun.now() -- it may still be growing then
  local result = corun.run(tree:spec { timeout = limit, stop = plan, check = false })
  local took = corun.now() - before
  assert.equal("timeout", result.reason)
  assert.is_nil(result.survivors)
  assert.is_true(took <= limit + GRACE + 1, "it took " .. took)
end

function ways.cancelled_run(tree, random)
  local _, why = corun.move_on(random(40) / 1000, corun.run, tree:spec { stop = plan })
  assert.equal("timeout", why)
end

function ways.cancelled_scope(tree)
  corun.scope(function(scope)
    stand(tree, { stop = plan })
    scope:cancel("enough")
    corun.sleep(1000)
  end)
end

-- Whole scripts, which have one tree each

local head = [[
local corun = require "corun"
local how, grace, program, seed, names = ...
if how == "contains" then corun.contain() end
local p = corun.spawn { program, seed, names, stop = { { "TERM", tonumber(grace) }, "KILL" } }
p.stdout:read_line()
print "stands"
io.stdout:flush()
]]

local wait_for_ever = [[
if not pcall(corun.sleep, 1000) then print "cancelled" end
io.stdout:flush()
]]

--- Starts a script in one of the hosts; the tree stands. how: "--contain", "contains" (it calls corun.contain) or "".
local function stand_in_script(tree, random, rest, how, its_grace)
  local host = scripts.hosts[random(#scripts.hosts)]
  if how == "--contain" and host.is_stock then how = "contains" end
  local script = host:spawn(head .. rest, {
    how or "", its_grace or GRACE, sprouts.program, tree.seed, tree.names, env = { CORUN_SPROUT = tree.mark },
    before = how == "--contain" and { how } or nil, stderr = function(line) tree.said[#tree.said + 1] = line end,
  })
  assert.equal("stands", script.stdout:read_line())
  return script, host
end

function ways.end_of_script(tree, random)
  assert.equal(0, stand_in_script(tree, random, ""):wait().code)
end

function ways.error_in_script(tree, random)
  assert.equal(1, stand_in_script(tree, random, "error 'wanted'"):wait().code)
end

function ways.os_exit(tree, random)
  assert.equal(7, stand_in_script(tree, random, "os.exit(7)"):wait().code)
end

local function signal_script(signal, number)
  return function(tree, random)
    local script, host = stand_in_script(tree, random, wait_for_ever)
    script:signal(signal)
    local status = script:wait()
    assert.equal(host.is_stock and "SIG" .. signal or 128 + number, status.signal or status.code)
  end
end

ways.INT, ways.TERM, ways.HUP = signal_script("INT", 2), signal_script("TERM", 15), signal_script("HUP", 1)

function ways.contained(tree, random)
  local script = stand_in_script(tree, random, wait_for_ever, random(2) == 1 and "--contain" or "contains")
  script:signal("KILL")
  script:wait()
  tree:wait_until_gone() -- by the guard
end

function ways.limit_of_spawn(tree)
  corun.scope(function()
    local p = corun.spawn(tree:spec { timeout = 0.05, stop = plan, stdout = "null", stderr = "null" })
    assert.equal("timeout", p:wait().reason)
  end)
end

function ways.second_INT(tree, random)
  local script = stand_in_script(tree, random, wait_for_ever, nil, 1000)
  script:signal("INT")
  assert.equal("cancelled", script.stdout:read_line())
  script:signal("INT")
  script:wait(20)
  tree:wait_until_gone() -- they are killed, but not waited for
end

local names = {}
for name in pairs(ways) do names[#names + 1] = name end
table.sort(names)

--- What went wrong, or nil.
local function stop_one(number)
  local way = names[number % #names + 1]
  return corun.scope(function()
    local tree <close> = sprouts.new(number)
    local ok, e = pcall(ways[way], tree, streams.generator(number))
    local problems = tree:survivors()
    if not ok then table.insert(problems, 1, tostring(type(e) == "table" and e.message or e)) end
    if #problems == 0 then return nil end
    table.move(tree.said, 1, #tree.said, #problems + 1, problems)
    return ("CORUN_KILLED_TREES=1 CORUN_SEED=%d (%s): %s"):format(number, way, table.concat(problems, "; "))
  end)
end

describe("Of trees of processes that are stopped in every way #once", function()
  it(("%d leave no survivor"):format(count), function()
    local numbers, failures = {}, {}
    for i = 1, count do numbers[i] = seed + i - 1 end
    corun.map(numbers, function(number)
      local failure = stop_one(number) -- it waits: only then is it known where the next failure goes
      failures[#failures + 1] = failure
    end, { jobs = 4 })
    assert.equal("", table.concat(failures, "\n"))
  end)
end)
