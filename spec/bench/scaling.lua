--- How the spawn rate grows with cores, though one thread starts all children and is suspended in each start (vfork)
--- until the child has left its memory. Measures what a spawn costs whom on this machine and what more spawning threads
--- give here, and simulates up to 64 cores with that (scaling/simulation.lua), after a comparison with this machine.
---
---   build/release/bin/corun spec/bench/scaling.lua [ROUNDS] [threads] [compare] [simulate]
---
--- Without a name: all of it, a quarter of a minute for each round. Of several rounds (3) the best one counts: whatever
--- else runs on the machine only slows down. Where much does, put `chrt -r 1` in front of it, as root.

package.path = arg[0]:match("^(.*/)[^/]*$") .. "scaling/?.lua;" .. package.path
local corun = require "corun"

if arg[1] == "load" then -- of itself: JOBS SECONDS COMMAND…
  local jobs, seconds = tonumber(arg[2]), tonumber(arg[3])
  local command = { stdin = "null", stdout = "null", stderr = "null", table.unpack(arg, 4) }
  local count, began, cpu = 0, corun.now(), os.clock()
  corun.scope(function(scope)
    for _ = 1, jobs do
      scope:go(function()
        while corun.now() - began < seconds do
          corun.spawn(command):wait()
          count = count + 1
        end
      end)
    end
  end)
  print(count / (corun.now() - began), (os.clock() - cpu) / count * 1e6)
  os.exit(0)
end

local simulation = require "simulation"
local rounds = tonumber(arg[1]) or 3
local script = arg[0]
local build = "build/release"
local exe = build .. "/bin/corun"
local true_path = corun.which("true")

local function numbers(text)
  local list = {}
  for word in text:gmatch("%S+") do list[#list + 1] = tonumber(word) end
  return list
end

--- Of several rounds, for each column the best, which is the least, or, of a rate in front, the round with the most.
local function best(spec, is_rate)
  local found
  for _ = 1, rounds do
    local got = numbers(corun.capture(spec))
    for i = 1, is_rate and 0 or #got do got[i] = math.min(got[i], found and found[i] or got[i]) end
    if not is_rate or not found or got[1] > found[1] then found = got end
  end
  return table.unpack(found)
end

local function say(format, ...) print(format:format(...)) end

local function cpus(count)
  local list = {}
  for i = 1, count do list[i] = i - 1 end
  return list
end

corun.run { "cmake", "--build", build, "--target", "corun", "bench_spawner", "bench_child" }
local spawner, living = build .. "/bench_spawner", build .. "/bench_child"

-- 1. The parts

say("one spawn, in microseconds          parent  suspended  child after  reaping   child's own time")
--- By the usual policy also where we have another one, which would not let the parent go on before the child's end.
local function measure_parts(cpu, ...)
  return best { "chrt", "-o", "0", spawner, "parts", cpu_affinity = { cpu }, ... }
end

local function parts(what, descriptors, ...)
  local own, suspended, alone, reap, child = measure_parts(0, "300", descriptors, ...)
  say("%-34s %7.1f %10.1f %12.1f %8.1f %18.1f", what, own, suspended, alone, reap, child)
  return { own = own, suspended = suspended, reap = reap, rest = math.max(0, child - suspended) }
end
local plain = parts("true", 0, true_path)
local static = parts("a static program", 0, living, "sleep", "0")
parts("no such program (all but exec)", 0, "/no/such")
for _, descriptors in ipairs { 100, 1000, 10000 } do
  if not pcall(parts, ("true, %d descriptors open"):format(descriptors), descriptors, true_path) then
    say("%d descriptors: more than RLIMIT_NOFILE", descriptors)
  end
end

local _, lua_cpu = best { exe, script, "load", "4", "0.5", true_path, cpu_affinity = { 0 } }
say("corun, with Lua: %.1f us of the parent's processor time for each spawn and wait\n", lua_cpu)

--- Two that do nothing but start, on a core each, disturb each other where the kernel lets only one pass: each of two
--- customers waits for half of the lock's time k with probability k / x, so x grows by k^2 / 2x.
local function serial_part()
  local function refused(cpu)
    local own, suspended = measure_parts(cpu, "3000", "0", "/no/such")
    return own + suspended
  end
  local alone = refused(0)
  local both = corun.all { function() return refused(0) end, function() return refused(1) end }
  return math.sqrt(2 * alone * math.max(0, math.min(both[1], both[2]) - alone))
end
local has_two = pcall(corun.run, { "true", cpu_affinity = { 1 } })
local serial = has_two and serial_part() or 10
say("the part of it that is serial in the kernel, at most: %.1f us\n", serial)

local sections = {}

-- 2. More threads, here

function sections.threads()
  say("spawn_start by several threads, 8 jobs: children/s (share of the time suspended)")
  for cores = 1, has_two and 2 or 1 do
    for _, program in ipairs { "/no/such", true_path } do
      local line = {}
      for threads = 1, 4 do
        local rate, share = best({ spawner, "rate", threads, "8", "0.4", program, cpu_affinity = cpus(cores) }, true)
        line[threads] = ("%d: %6.0f (%.2f)"):format(threads, rate, share)
      end
      say("  %d core%s %-14s %s", cores, cores > 1 and "s" or " ", program, table.concat(line, "  "))
    end
  end
  for _, how in ipairs { "vfork", "overlap" } do
    local rate, share = best({ spawner, how, "1", "8", "0.4", true_path }, true)
    say("  %s, bare, one thread: %.0f (%.2f)", how, rate, share)
  end
end

-- 3. The simulation

local function setting(kind, life, program)
  return { main = lua_cpu - program.own, own = program.own, suspended = program.suspended, rest = program.rest,
    burn = kind == "burn" and life * 1000 or 0, sleep = kind == "sleep" and life * 1000 or 0,
    serial = serial, handover = 5, wake = 0, threads = 1 }
end

function sections.compare()
  say("\ncorun against its simulation, 4 jobs: children/s")
  for cores = 1, has_two and 2 or 1 do
    for _, life in ipairs { { "sleep", 0 }, { "burn", 1 }, { "burn", 10 }, { "sleep", 10 }, { "sleep", 100 } } do
      local kind, ms = life[1], life[2]
      local command = ms == 0 and { true_path } or { living, kind, tostring(ms) }
      local real = best({ exe, script, "load", "4", "0.6", cpu_affinity = cpus(cores), table.unpack(command) }, true)
      local s = setting(kind, ms, ms == 0 and plain or static)
      s.cores, s.jobs = cores, 4
      local simulated = simulation.run(s)
      say("  %d core%s %-12s real %6.0f  simulated %6.0f  (%+.0f %%)", cores, cores > 1 and "s" or " ",
        ms == 0 and "true" or kind .. " " .. ms .. " ms", real, simulated, (simulated / real - 1) * 100)
    end
  end
end

local function table_of(wake, lock, smallest)
  say("\nsimulated, as many jobs as cores: children/s; %d us to wake an idle core, %.0f us serial", wake, lock)
  say("%-7s %-15s %10s %10s %10s %10s %16s", "cores", "processor time", "1 thread", "2 others", "4 others", "8 others",
    "1 is suspended")
  for _, cores in ipairs { 1, 2, 4, 8, 16, 32, 64 } do
    for _, ms in ipairs(cores >= smallest and { 0, 1, 10, 100 } or {}) do
      local s, line, share = setting("burn", ms, ms == 0 and plain or static), {}, nil
      s.cores, s.jobs, s.wake, s.serial = cores, cores, wake, lock
      for i, threads in ipairs { 1, 2, 4, 8 } do
        s.threads = threads
        local rate, suspended = simulation.run(s)
        line[i], share = ("%10.0f"):format(rate), share or suspended
      end
      say("%-7d %-15s %s %16.2f", cores, ms == 0 and "true" or "+ " .. ms .. " ms", table.concat(line, " "), share)
    end
  end
end

function sections.simulate()
  table_of(0, serial, 1)
  table_of(50, serial, 64)
  table_of(0, 4 * serial, 64)
end

for _, name in ipairs(#arg > 1 and { table.unpack(arg, 2) } or { "threads", "compare", "simulate" }) do
  sections[name]()
end
