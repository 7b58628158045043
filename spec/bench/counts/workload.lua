--- One workload of spec/bench/counts.lua, in a process of its own: workload.lua NAME N.
---
--- Does its operation N times to get warm, then N times and 2 N times: what is counted for the latter two differs by N
--- operations, without what is done once. The collector is stopped and runs when they are done. Around each of these
--- parts os.clock is called, for which callgrind and strace look: five marks. What is printed: bytes that Lua has
--- allocated and microseconds (user + system) for one operation.
---
--- Children are in lockstep with us (spec/fixtures/lockstep.c), so each of their events comes alone.

local corun = require "corun"

local workloads = {}

local quiet = { stdin = "null", stdout = "null", stderr = "null" }

function workloads.spawn(count)
  for _ = 1, count do
    corun.spawn { "true", stdin = quiet.stdin, stdout = quiet.stdout, stderr = quiet.stderr }:wait()
  end
end

function workloads.run(count)
  for _ = 1, count do corun.run { "lockstep", "16", "1" } end
end

function workloads.capture(count)
  for _ = 1, count do assert(#corun.capture { "lockstep", "65536", "1" } == 65535) end
end

--- A stream that never ends; it becomes busy (reader.h) while we get warm.
local function endless() return corun.spawn { "lockstep", "65536", "0", stdin = "null", stderr = "null" }.stdout end

function workloads.read()
  local reader = endless()
  return function(count)
    for _ = 1, count do
      local left = 65536
      while left > 0 do left = left - #reader:read(left) end
    end
  end
end

function workloads.line()
  local reader = endless()
  return function(count)
    for _ = 1, count do reader:read_line() end
  end
end

function workloads.lines()
  local nextline = endless():lines()
  return function(count)
    for _ = 1, count do nextline() end
  end
end

--- Of 64 KiB, 4096 lines.
function workloads.count(count)
  local process = corun.spawn { "lockstep", "65536", tostring(count), stdin = "null", stderr = "null" }
  assert(process.stdout:count() == count * 4096)
  process:wait()
end

function workloads.roundtrip()
  local process = corun.spawn { "lockstep", "echo" }
  return function(count)
    for _ = 1, count do
      process:write("there and back\n")
      process.stdout:read_line()
    end
  end
end

function workloads.switch(count)
  corun.scope(function(scope)
    for _ = 1, 2 do
      scope:go(function()
        for _ = 1, count // 2 do corun.sleep(0) end
      end)
    end
  end)
end

function workloads.handover(count)
  local channel = corun.channel(0)
  corun.scope(function(scope)
    scope:go(function()
      for i = 1, count do channel:send(i) end
    end)
    scope:go(function()
      for _ = 1, count do channel:receive() end
    end)
  end)
end

function workloads.timer(count)
  local function nothing() end
  for _ = 1, count do corun.timeout(1000, nothing) end
end

function workloads.sleeper(count)
  corun.scope(function(scope)
    for _ = 1, count do scope:go(corun.sleep, 1000) end
    corun.sleep(0)
    scope:cancel()
  end)
end

local name, n = arg[1], tonumber(arg[2])
local operate = workloads[name]
if debug.getinfo(operate, "u").nparams == 0 then operate = operate() end

local function collect()
  collectgarbage()
  collectgarbage()
end

operate(n)
collect()
collectgarbage("stop")

local function measure(count)
  local bytes, began = collectgarbage("count"), os.clock()
  operate(count)
  local ended = os.clock()
  return collectgarbage("count") - bytes, ended - began
end

local bytes, seconds = measure(n)
collect()
local more_bytes, more_seconds = measure(2 * n)
collect()
os.clock()
print((more_bytes - bytes) * 1024 / n, (seconds + more_seconds) * 1e6 / (3 * n))
