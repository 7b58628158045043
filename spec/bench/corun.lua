-- The workloads in corun: corun corun.lua LIMIT WORKLOAD SIZE. Prints what limit.c prints; 77: no such workload.
local corun = require "corun"
local limit, workload, size = table.unpack(arg)
local number = math.tointeger(tonumber(size))

-- What is measured

local clock = {}

--- Again, by a workload that has something to prepare.
function clock.start() clock.seconds, clock.cpu, clock.stopped = corun.now(), os.clock(), nil end

--- Before its end, by a workload that has something to clean up.
function clock.stop()
  if clock.stopped then return end
  clock.seconds, clock.cpu, clock.stopped = corun.now() - clock.seconds, os.clock() - clock.cpu, true
end

local function kib(file, pattern)
  local sum = 0
  for line in io.lines("/proc/self/" .. file) do sum = sum + (line:match(pattern) or 0) end
  return sum
end

local function private_memory() return kib("smaps_rollup", "^Private_%w+:%s*(%d+)") end

--- What each of them costs, in bytes, instead of the peak.
local function each_costs(memory) clock.memory = memory * 1024 / number end

local workloads = {}

-- Processes

--- Calls fn(number) for each, four at a time.
local function pool(fn)
  local next_number = 0
  corun.scope(function(scope)
    for _ = 1, 4 do
      scope:go(function()
        while next_number < number do
          next_number = next_number + 1
          fn(next_number)
        end
      end)
    end
  end)
end

function workloads.spawn()
  local good = 0
  pool(function()
    local p = corun.spawn { "/bin/true", stdin = "null", stdout = "inherit", stderr = "inherit" }
    if p:wait().ok then good = good + 1 end
  end)
  return good
end

workloads["spawn-heap"] = function()
  local heap, filling = {}, ("x"):rep(1016)
  for i = 1, 1 << 20 do heap[i] = ("%08d"):format(i) .. filling end
  clock.start()
  local good = workloads.spawn()
  clock.stop()
  return #heap == 1 << 20 and good
end

local function start_idle(count, spec)
  local children = {}
  for i = 1, count do children[i] = corun.spawn(spec) end
  return children
end

local function kill_idle(children)
  for _, p in ipairs(children) do p:signal("KILL") end
  for _, p in ipairs(children) do p:wait() end
end

local idle_bare = { limit, "idle", stdin = "null", stdout = "inherit", stderr = "inherit" }

function workloads.churn()
  local others = start_idle(5000, idle_bare)
  clock.start()
  local good = workloads.spawn()
  clock.stop()
  kill_idle(others)
  return good
end

local function hold_idle(spec)
  local before = private_memory()
  local children = start_idle(number, spec)
  clock.stop()
  each_costs(private_memory() - before)
  kill_idle(children)
  return #children
end

function workloads.idle() return hold_idle { limit, "idle" } end
workloads["idle-bare"] = function() return hold_idle(idle_bare) end

function workloads.storm()
  local directory, good = corun.capture { "mktemp", "-d" }, 0
  local fifo = directory .. "/fifo"
  corun.run { "mkfifo", fifo }
  local children = start_idle(number, { limit, "hold", fifo, stdin = "null", stdout = "inherit", stderr = "inherit" })
  corun.sleep(1) -- by then they wait
  clock.start()
  local file = assert(io.open(fifo, "w"))
  for _, p in ipairs(children) do
    if p:wait().ok then good = good + 1 end
  end
  clock.stop()
  file:close()
  corun.run { "rm", "-r", directory }
  return good
end

--- Bytes that so many runs of a command have printed.
local function captured(spec)
  local bytes = 0
  pool(function()
    local result = corun.run(spec)
    bytes = bytes + #result.stdout
  end)
  return bytes
end

function workloads.run() return captured { "/bin/echo", "hello" } end
workloads["run-stdout"] = function() return captured { "/bin/echo", "hello", stderr = "inherit" } end
function workloads.capture() return captured { limit, "produce", "65536" } end

function workloads.jobs()
  local names, results, good = {}, {}, 0
  for i = 1, number do names[i] = "job " .. i end
  corun.map(names, function(name)
    results[name] = corun.run { "/bin/true", stdout = "inherit", stderr = "inherit" }
  end, { jobs = 4 })
  for _, name in ipairs(names) do
    if results[name].ok then good = good + 1 end
  end
  return good
end

function workloads.compile()
  local directory, files = corun.env.COMPILE_DIR, {}
  for i = 1, number do files[i] = tostring(i) end
  return #corun.map(files, function(file)
    return corun.run { "cc", "-O1", "-c", file .. ".c", "-o", file .. ".o", cwd = directory }
  end, { jobs = 4 })
end

-- Tasks and timers

function workloads.sleepers()
  local before, ended = private_memory(), 0
  corun.scope(function(scope)
    for _ = 1, number do
      scope:go(function()
        corun.sleep(3)
        ended = ended + 1
      end)
    end
    corun.sleep(0) -- now all of them sleep
    each_costs(private_memory() - before)
  end)
  clock.stop()
  clock.seconds = clock.seconds - 3
  return ended
end

function workloads.switch()
  local count = 0
  corun.scope(function(scope)
    for _ = 1, 2 do
      scope:go(function()
        for _ = 1, number // 2 do
          corun.sleep(0)
          count = count + 1
        end
      end)
    end
  end)
  return count
end

function workloads.timers()
  local count = 0
  local function trivial() count = count + 1 end
  for _ = 1, number do corun.timeout(1000, trivial) end
  return count
end

-- Streams

local function producer(mode)
  return corun.spawn { limit, mode, size, stdin = "null", stderr = "inherit" }
end

local function total_of(next_chunk)
  local total = 0
  for chunk in next_chunk do total = total + #chunk end
  return total
end

local function lines_of(next_line)
  local count, bytes = 0, 0
  for line in next_line do
    count = count + 1
    bytes = bytes + #line
  end
  return ("%d:%d"):format(count, bytes)
end

function workloads.read() return total_of(producer("produce").stdout:chunks()) end

workloads["read-read"] = function()
  local reader, total = producer("produce").stdout, 0
  while true do
    local chunk = reader:read(65536)
    if not chunk then return total end
    total = total + #chunk
  end
end

function workloads.lines() return lines_of(producer("produce-lines").stdout:lines()) end
function workloads.count() return producer("produce-lines").stdout:count() end
function workloads.grep() return lines_of(producer("produce-lines").stdout:grep("needle", { plain = true })) end

function workloads.roundtrip()
  local p, bytes = corun.spawn { "cat", stderr = "inherit" }, 0
  local stdout = p.stdout
  for i = 1, number do
    p:write("ping ", i, "\n")
    bytes = bytes + #stdout:read_line()
  end
  p:close_stdin()
  p:wait()
  return bytes
end

function workloads.pipeline()
  return tonumber(corun.pipeline({ { "yes" }, { "head", "-c", size }, { "wc", "-c" } }):run().stdout)
end

if not workloads[workload] then os.exit(77) end
clock.start()
local check = workloads[workload]()
clock.stop()
local memory = clock.memory and ("%.1f"):format(clock.memory) or kib("status", "^VmHWM:%s*(%d+)")
print(("%.6f %.6f %s %s"):format(clock.seconds, clock.cpu, memory, check))
