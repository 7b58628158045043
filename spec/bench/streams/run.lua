#!/usr/bin/env corun
--- Streams, side by side with the raw-C limit and the peers.
---
---   build/release/bin/corun spec/bench/streams/run.lua [--rounds N] [--quick] [WORKLOAD…]
---
--- Each workload is run by all contenders in turn, N rounds (default 5). The table shows the medians: seconds, ratio to
--- the limit (1 is as fast, less is slower), the best ratio of a round, the contender's own CPU time (user + system,
--- its children's not counted), and its peak memory. All must have found the same. --quick: tiny sizes, one round,
--- corun and the limit only.
---
--- Whether reader and writer share a core decides more than any program does, and the scheduler throws dice for it:
--- "on one core" and "on two" pin both. Peers that are not found are left out. In the environment: CORUN, the program
--- to measure (default: the one that runs this); GO, the go command; LUV_CPATH, where lua5.4 finds luv; LUAJIT and
--- LUAJIT_LUV_CPATH, the same for luajit; CC.

local corun = require "corun"

local here = arg[0]:match("^(.*)/") or "."
if here:sub(1, 1) ~= "/" then here = corun.capture { "pwd" } .. "/" .. here end
local program = corun.env.CORUN or corun.capture { "sh", "-c", "readlink /proc/$PPID/exe" }
local lua = corun.which("lua5.4") or corun.which("lua")

local rounds, quick, wanted = 5, false, {}
do
  local words = { ... }
  while #words > 0 do
    local word = table.remove(words, 1)
    if word == "--quick" then
      quick = true
    elseif word == "--rounds" then
      rounds = math.tointeger(tonumber(table.remove(words, 1)))
    elseif word:sub(1, 1) ~= "-" then
      wanted[word] = true
    else
      rounds = nil
    end
  end
  if not rounds or rounds < 1 then
    io.stderr:write("usage: run.lua [--rounds N] [--quick] [WORKLOAD…]\n")
    os.exit(2)
  end
  if quick then rounds = 1 end
end

-- The contenders

local function build(directory)
  local limit, with_lua = directory .. "/limit", {}
  local flags = corun.run { "pkg-config", "--cflags", "--libs", "lua5.4", check = false }
  if not quick and flags.ok then
    with_lua[1] = "-DWITH_LUA"
    for flag in flags.stdout:gmatch("%S+") do with_lua[#with_lua + 1] = flag end
  end
  corun.command({ corun.env.CC or "cc", "-O2", "-D_GNU_SOURCE", "-o", limit, here .. "/limit.c" })
    :args(table.unpack(with_lua)):run()
  local contenders = { limit = { limit }, corun = { program, here .. "/corun.lua", limit } }
  if with_lua[1] then contenders["lua in C"] = contenders.limit end
  if quick then return contenders end
  contenders.system = contenders.limit
  if lua then contenders.stock = { lua, here .. "/stock.lua", limit } end

  local go = corun.env.GO or corun.which("go")
  if go then
    corun.run { go, "build", "-o", directory .. "/go", here .. "/main.go" }
    contenders.go = { directory .. "/go", limit }
  end

  local function add_luv(name, interpreter, cpath)
    if not interpreter then return end
    local env = { LUA_CPATH = cpath and cpath .. ";;" or nil }
    local found = corun.run { interpreter, "-e", "require 'luv'", env = env, cwd = "/", check = false }
    if found.ok then contenders[name] = { interpreter, here .. "/luv.lua", limit, env = env } end
  end
  add_luv("luv", lua, corun.env.LUV_CPATH)
  add_luv("luv, luajit", corun.env.LUAJIT or corun.which("luajit"), corun.env.LUAJIT_LUV_CPATH)
  return contenders
end

-- The workloads: who takes part, with the name of the variant that each runs

local all_lines = {
  { "limit", "lines" }, { "corun", "lines" }, { "lua in C", "lines-loop" }, { "lua in C", "lines-pushlstring" },
  { "stock", "lines" }, { "luv", "lines" }, { "luv, luajit", "lines" }, { "go", "lines" },
}
local all_read = {
  { "limit", "read" }, { "corun", "read" }, { "corun", "read-read" }, { "stock", "read" },
  { "luv", "read" }, { "luv, luajit", "read" }, { "go", "read" },
}
local all_count = {
  { "limit", "count" }, { "corun", "count" }, { "system", "count-wc" }, { "go", "count" }, { "go", "count-scanner" },
}
local all_grep = { { "limit", "grep" }, { "corun", "grep" }, { "system", "grep-grep" }, { "go", "grep" } }

local bytes, lines = quick and 1 << 26 or 1 << 32, quick and 200000 or 20000000
local any_core, one_core, two_cores = nil, "on one core", "on two cores"
local workloads = {
  { "read", any_core, bytes, "GB/s", 1e9, all_read },
  { "read", one_core, bytes, "GB/s", 1e9, all_read },
  { "read", two_cores, bytes, "GB/s", 1e9, all_read },
  { "lines", any_core, lines, "million/s", 1e6, all_lines },
  { "lines", two_cores, lines, "million/s", 1e6, all_lines },
  { "count", one_core, lines, "million/s", 1e6, all_count },
  { "count", two_cores, lines, "million/s", 1e6, all_count },
  { "grep", one_core, lines, "million/s", 1e6, all_grep },
  { "grep", two_cores, lines, "million/s", 1e6, all_grep },
  { "roundtrip", one_core, quick and 2000 or 200000, "thousand/s", 1e3, {
    { "limit", "roundtrip" }, { "corun", "roundtrip" }, { "luv", "roundtrip" }, { "luv, luajit", "roundtrip" },
    { "go", "roundtrip" },
  } },
  { "pipeline", any_core, quick and 1 << 26 or 1 << 33, "GB/s", 1e9, {
    { "limit", "pipeline" }, { "corun", "pipeline" }, { "system", "pipeline-dash" },
  } },
}

local cores = tonumber(corun.capture { "nproc" })

--- Runs one contender once: its numbers, or nil if it has no such call.
local function measure(contender, variant, size, placement)
  local argv = { cwd = "/", env = { PRODUCER_CORE = false }, check = { 0, 77 } }
  for name, value in pairs(contender.env or {}) do argv.env[name] = value end
  if placement then argv = table.move({ "taskset", "-c", "0" }, 1, 3, 1, argv) end
  if placement == two_cores then argv.env.PRODUCER_CORE = 1 end
  for _, word in ipairs(contender) do argv[#argv + 1] = word end
  argv[#argv + 1] = variant
  argv[#argv + 1] = ("%d"):format(size)
  local result = corun.run(argv)
  if result.code == 77 then return nil end
  local seconds, cpu, kib, check = result.stdout:match("^(%S+) (%S+) (%S+) (%S+)\n$")
  if not seconds then error(("%s: unexpected output '%s'"):format(result.command, result.stdout)) end
  return { seconds = tonumber(seconds) or result.duration, cpu = tonumber(cpu), kib = tonumber(kib), check = check }
end

local function median(runs, value)
  local values = {}
  for i, run in ipairs(runs) do values[i] = value(run) end
  table.sort(values)
  local middle = #values // 2
  return #values % 2 == 1 and values[middle + 1] or (values[middle] + values[middle + 1]) / 2
end

--- What all must agree in: grep -c and wc -l say only the number of lines.
local function agree(name, entries)
  local first
  for _, entry in ipairs(entries) do
    for _, run in ipairs(entry.runs) do
      local check = run.check:match(entry.name == "system" and "^%d+" or ".*")
      first = first or check
      if check ~= first and check ~= first:match("^%d+") then
        error(("%s: %s (%s) has found %s, the limit %s"):format(name, entry.name, entry.variant, check, first))
      end
    end
  end
end

local function run_workload(contenders, workload)
  local name, placement, size, unit, scale, participants = table.unpack(workload, 1, 6)
  local entries = {}
  for _, participant in ipairs(participants) do
    local contender = contenders[participant[1]]
    if contender then
      entries[#entries + 1] = { name = participant[1], variant = participant[2], contender = contender, runs = {} }
    end
  end
  for _ = 1, rounds do
    for _, entry in ipairs(entries) do
      if not entry.missing then
        local run = measure(entry.contender, entry.variant, size, placement)
        entry.missing = run == nil
        entry.runs[#entry.runs + 1] = run
      end
    end
  end
  agree(name, entries)

  local limit = entries[1].runs
  local function seconds_of(run) return run.seconds end
  print(("\n%s%s: %s"):format(name, placement and ", " .. placement or "", unit))
  for _, entry in ipairs(entries) do
    local label = entry.variant == name and entry.name or ("%s (%s)"):format(entry.name, entry.variant)
    if entry.missing then
      print(("  %-30s not there yet"):format(label))
    else
      local seconds, best = median(entry.runs, seconds_of), 0
      for i, run in ipairs(entry.runs) do best = math.max(best, limit[i].seconds / run.seconds) end
      local cpu = median(entry.runs, function(run) return run.cpu end)
      local kib = median(entry.runs, function(run) return run.kib end)
      print(("  %-30s %8.2f %8.3f s %6.2f x %6.2f %8.3f s %6d KiB"):format(
        label, size / seconds / scale, seconds, median(limit, seconds_of) / seconds, best, cpu, kib // 1))
    end
  end
end

corun.scope(function(scope)
  local directory = corun.capture { "mktemp", "-d" }
  scope:defer(function() corun.run { "rm", "-rf", directory } end)
  local contenders = build(directory)
  print(("%d rounds, %d cores\n  %-30s %8s %10s %8s %6s %10s %10s"):format(
    rounds, cores, "", "rate", "time", "to limit", "best", "own CPU", "memory"))
  for _, workload in ipairs(workloads) do
    local is_wanted = not next(wanted) or wanted[workload[1]]
    if is_wanted and (workload[2] ~= two_cores or cores > 1) then run_workload(contenders, workload) end
  end
end)
