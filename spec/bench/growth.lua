--- What children cost that are there: memory and time with 10 to as many as the machine has room for.
---
---   build/release/bin/corun spec/bench/growth.lua [NUMBER…]      10 100 1000 10000 unless said otherwise
---
--- Times are processor time of corun, but for `churn`, to which that of the child (true) is added: other work on the
--- machine changes them less than what a clock says. `others` are processes that were there besides: a kill looks at
--- every process of the machine. Each child has a descriptor, its pidfd: more than RLIMIT_NOFILE there cannot be.

local corun = require "corun"

--- Microseconds of our own processor time for each of `count`.
local function cost(count, fn)
  local began = os.clock()
  fn()
  return (os.clock() - began) / count * 1e6
end

local function private_memory()
  local kib = 0
  for line in io.lines("/proc/self/smaps_rollup") do
    kib = kib + (tonumber(line:match("^Private_%a+:%s+(%d+)")) or 0)
  end
  return kib
end

local function collect()
  collectgarbage()
  collectgarbage()
end

local function processes_there()
  return tonumber(corun.sh("ls /proc | grep -c '^[0-9]'").stdout)
end

local function grow(count, living)
  local idle = { living, stdin = "null", stdout = "null", stderr = "null" }
  local short = { "true", stdout = "null", stderr = "null" }
  for _ = 1, 50 do corun.run(short) end
  collect()
  local before = private_memory()
  local start, memory, others, churn, kill, stop
  corun.scope(function(scope)
    local children = {}
    start = cost(count, function()
      for i = 1, count do children[i] = scope:spawn(idle) end
    end)
    collect()
    memory = (private_memory() - before) / count
    others = processes_there() - count
    local in_child = 0
    churn = cost(200, function()
      for _ = 1, 200 do
        local usage = corun.run(short).usage
        in_child = in_child + usage.user_time + usage.system_time
      end
    end) + in_child / 200 * 1e6
    local killed = math.min(10, count // 2)
    kill = cost(killed, function()
      for i = 1, killed do children[i * count // killed]:kill() end
    end)
    children = nil -- luacheck: ignore
    stop = os.clock()
  end)
  stop = (os.clock() - stop) / count * 1e6
  print(("%8d %8d %10.2f %10.1f %10.1f %10.1f %10.1f"):format(count, others, memory, start, churn, kill, stop))
end

if arg[1] == "one" then
  grow(tonumber(arg[2]), arg[3])
  os.exit(0)
end

local build = "build/release"
corun.run { "cmake", "--build", build, "--target", "corun", "bench_child" }
print(("%8s %8s %10s %10s %10s %10s %10s"):format("children", "others", "KiB each", "start us", "churn us", "kill us",
  "end us each"))
local wanted = #arg > 0 and arg or { 10, 100, 1000, 10000 }
for _, count in ipairs(wanted) do
  local ok, e = corun.try(corun.run, { build .. "/bin/corun", arg[0], "one", count, build .. "/bench_child",
    stdout = "inherit" })
  if not ok then print(("%8s: %s"):format(count, e)) end
end
