--- All that was measured, as JSON.

local budgets = require "budgets"
local json = require "cjson"

local M = {}

local function list(values) return #values > 0 and values or nil end -- cjson would write {} for an empty one

local function runs_of(entry, rounds)
  local runs = {}
  for round = 1, rounds do
    local run = entry.runs[round]
    if run then
      runs[#runs + 1] = {
        round = round, seconds = run.seconds, cpu = run.cpu, check = run.check,
        [entry.bytes and "bytes" or "kib"] = run.third,
      }
    end
  end
  return list(runs)
end

local function contender_of(entry, result)
  return {
    name = entry.name, variant = entry.variant, label = entry.label, is_peer = entry.is_peer, failed = entry.failed,
    seconds = entry.seconds, rate = entry.seconds and entry.seconds > 0 and result.size / entry.seconds or nil,
    ratio_to_limit = entry.ratio, best_ratio_to_limit = entry.best, ratio_to_best_peer = entry.to_best_peer,
    cpu = entry.cpu, cpu_us_each = entry.cpu_us, kib = entry.kib, bytes = entry.bytes,
    runs = runs_of(entry, result.rounds),
  }
end

local function workload_of(result)
  local contenders = {}
  for i, entry in ipairs(result.entries) do contenders[i] = contender_of(entry, result) end
  return {
    name = result.workload.name, placement = result.workload.placement, what = result.workload.what,
    compares = result.workload.compares or "seconds", size = result.size, rounds = result.rounds,
    contenders = contenders, budget = list(budgets.judged(result)),
    best_peer = result.best_peer and result.best_peer.label, ratio_to_best_peer = result.lead,
  }
end

--- The text of results.json.
function M.json(results, about)
  local workloads = {}
  for i, result in ipairs(results) do workloads[i] = workload_of(result) end
  return json.encode {
    date = about.date, command = about.command, quick = about.quick, commit = about.commit,
    machine = about.machine, versions = about.versions, workloads = workloads,
  } .. "\n"
end

return M
