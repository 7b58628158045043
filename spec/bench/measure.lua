--- Runs the contenders of a workload in turn and says what came out.

local corun = require "corun"
local sources = require "sources"

local M = {}

local function argv_of(entry, workload, context)
  local argv = {}
  local function add(...) table.move({ ... }, 1, select("#", ...), #argv + 1, argv) end
  if workload.placement then add("taskset", "-c", "0") end
  if workload.name == "startup" then
    add(context.limit, "startup", entry.size, table.unpack(entry.contender.startup))
  else
    add(table.unpack(entry.contender.argv))
    if not entry.contender.is_limit then add(context.limit) end
    add(entry.variant, entry.size)
  end
  return argv
end

local function environment(entry, workload, context)
  local env = { PRODUCER_CORE = workload.placement == "on two cores" and 1 or false }
  for name, value in pairs(entry.contender.env or {}) do env[name] = value end
  if workload.name == "compile" then
    sources.remove_objects(context.compile_directory, entry.size)
    env.COMPILE_DIR = context.compile_directory
  end
  return env
end

local function last_line(text) return text:match("([^\n]*)\n*$") end

--- What a run has printed, or nil and why it is none. "-" is what a program cannot know of itself: then we take the
--- time, and nobody knows its CPU time, since what we see counts its children, too.
local function read_output(result)
  if not result.ok then return nil, ("%s: %s"):format(result.status, last_line(result.stderr)) end
  local seconds, cpu, third, check = result.stdout:match("^(%S+) (%S+) (%S+) (%S+)\n$")
  local run = {
    seconds = tonumber(seconds) or result.duration, cpu = tonumber(cpu), check = check,
    third = tonumber(third),
  }
  if not check or seconds ~= "-" and not tonumber(seconds) then
    return nil, ("unexpected output '%s'"):format(last_line(result.stdout))
  end
  return run
end

--- Runs a contender once: its numbers; false where it has no such workload; nil and the reason where it fails.
--- Nothing of it is left when this returns.
local function run_once(entry, workload, context)
  local spec = argv_of(entry, workload, context)
  spec.cwd, spec.check, spec.env = "/", false, environment(entry, workload, context)
  spec.timeout, spec.grace = workload.timeout or 180, 2
  local result, e = corun.scope(function() return corun.try(corun.run, spec) end)
  if not result and e.kind == "cancelled" then error(e, 0) end -- it is us who shall stop
  if not result then return nil, (tostring(e):match("[^\n]*")) end
  if result.reason == "timeout" then return nil, ("took more than %d s"):format(spec.timeout) end
  if result.code == 77 then return false end
  return read_output(result)
end

--- The middle of what fn says of the runs that have been; nil if there is nothing.
local function median(runs, rounds, fn)
  local values = {}
  for round = 1, rounds do values[#values + 1] = runs[round] and fn(runs[round], round) or nil end
  table.sort(values)
  local middle = #values // 2
  if #values == 0 then return nil end
  return #values % 2 == 1 and values[middle + 1] or (values[middle] + values[middle + 1]) / 2
end

--- What a contender runs of a workload; an empty list where it takes no part.
local function variants_of(contender, workload)
  local has_program = workload.name == "startup" and contender.startup or workload.name ~= "startup" and contender.argv
  if not has_program then return {} end
  local variants = workload.variants and workload.variants[contender.name]
  return variants or contender.only_variants and {} or { workload.name }
end

--- Those who take part, one for each variant.
local function entries_of(workload, contenders, context)
  local entries = {}
  for _, contender in ipairs(contenders) do
    local name = contender.name
    local reference = workload.references and workload.references[name]
    for i, variant in ipairs(variants_of(contender, workload)) do
      if context.quick and i > 1 then break end
      entries[#entries + 1] = {
        contender = contender, name = name, variant = variant, is_first = i == 1,
        is_peer = contender.is_peer and reference ~= true and reference ~= variant or false,
        runs = {}, size = context.size_of(workload),
        label = variant == workload.name and name or ("%s (%s)"):format(name, variant),
      }
    end
  end
  return entries
end

--- All must have found what the limit has: who has not, has failed. wc -l and grep -c only say the number of lines.
local function check_agreement(entries, rounds)
  local expected
  for _, entry in ipairs(entries) do
    for round = 1, rounds do
      local run = entry.runs[round]
      expected = expected or run and run.check
      if run and run.check ~= expected and not (entry.name == "system" and run.check == expected:match("^%d+")) then
        entry.failed = ("has found %s, not %s"):format(run.check, expected)
      end
    end
  end
end

--- The numbers of an entry: medians, and its ratio to another one: how many times as fast; the middle of the rounds,
--- in each of which the two have run one after the other.
local function ratios(entry, other, rounds)
  local best
  local middle = median(entry.runs, rounds, function(run, round)
    local ratio = other.runs[round] and run.seconds > 0 and other.runs[round].seconds / run.seconds or nil
    best = ratio and math.max(best or 0, ratio) or best
    return ratio
  end)
  return middle, best
end

local function summarize(entry, limit, rounds, is_bytes)
  if entry.failed then return end
  entry.seconds = median(entry.runs, rounds, function(run) return run.seconds end)
  entry.cpu = median(entry.runs, rounds, function(run) return run.cpu end)
  entry.cpu_us = entry.cpu and entry.cpu / entry.size * 1e6
  entry[is_bytes and "bytes" or "kib"] = median(entry.runs, rounds, function(run) return run.third end)
  entry.ratio, entry.best = ratios(entry, limit, rounds)
end

--- How far ahead of another one, in what the workload compares: 1 is equal, more is better.
local function lead(entry, other, workload, rounds)
  if workload.compares == "bytes" then return other.bytes / math.max(entry.bytes, 1) end
  return (ratios(entry, other, rounds))
end

--- Who of the peers is nearest to corun, or ahead of it.
local function find_best_peer(entries, workload)
  local value = workload.compares == "bytes" and "bytes" or "seconds"
  local best
  for _, entry in ipairs(entries) do
    if entry.is_peer and not entry.failed and entry[value] and (not best or entry[value] < best[value]) then
      best = entry
    end
  end
  return best
end

--- Runs a workload for all contenders in turn, so many rounds. Returns a table with
---   workload, size, rounds, entries (each: label, seconds, ratio and best to the limit, to_best_peer, cpu, cpu_us,
---   kib or bytes, runs by round, failed), limit, corun (entries), best_peer (an entry, or nil), lead (of corun to it)
function M.workload(workload, contenders, context)
  local rounds = context.rounds or workload.rounds or 5
  if workload.name == "compile" then sources.write(context.compile_directory, context.size_of(workload)) end
  local entries = entries_of(workload, contenders, context)
  for round = 1, rounds do
    for _, entry in ipairs(entries) do
      if not entry.failed and not entry.is_missing then
        local run, why = run_once(entry, workload, context)
        entry.runs[round] = run or nil
        entry.failed, entry.is_missing = why, run == false
      end
    end
  end
  check_agreement(entries, rounds)

  local result = { workload = workload, size = context.size_of(workload), rounds = rounds, is_quick = context.quick }
  result.entries = {}
  for _, entry in ipairs(entries) do
    if not entry.is_missing then result.entries[#result.entries + 1] = entry end
    if entry.is_first and (entry.name == "limit" or entry.name == "corun") then result[entry.name] = entry end
  end
  for _, entry in ipairs(result.entries) do
    summarize(entry, result.limit, rounds, workload.compares == "bytes")
  end
  local best = find_best_peer(result.entries, workload)
  result.best_peer = best
  for _, entry in ipairs(best and result.entries or {}) do
    if not entry.failed then entry.to_best_peer = lead(entry, best, workload, rounds) end
  end
  result.lead = result.corun.to_best_peer
  return result
end

--- One entry against another of the same result, as budgets want it.
function M.lead(result, entry, other) return lead(entry, other, result.workload, result.rounds) end

return M
