--- What corun has promised, beside what was measured.

local measure = require "measure"

local M = {}

local function entry_named(result, label)
  for _, entry in ipairs(result.entries) do
    if entry.label == label and not entry.failed then return entry end
  end
end

local function of(name) return name == "limit" and "the limit" or name end

--- The value that a budget is about, nil where it could not be measured; whether it is met; the budget in words.
local function judge(budget, result)
  local corun = result.corun
  local value
  if budget.to == "peers" then
    value = result.lead
    return value, value and value >= budget.at_least, "no peer faster", "%.2f"
  elseif budget.to then
    local other = entry_named(result, budget.to)
    value = other and measure.lead(result, corun, other)
    if budget.times_at_most then
      value = value and 1 / value
      return value, value and value <= budget.times_at_most,
        ("≤ %g × the time of %s"):format(budget.times_at_most, of(budget.to)), "%.2f"
    end
    return value, value and value >= budget.at_least, ("≥ %g of %s"):format(budget.at_least, of(budget.to)), "%.2f"
  elseif budget.bytes_at_most then
    value = corun.bytes
    return value, value and value <= budget.bytes_at_most, ("≤ %g KiB each"):format(budget.bytes_at_most / 1024),
      "%.0f B"
  elseif budget.seconds_at_most then
    value = corun.seconds
    return value, value and value <= budget.seconds_at_most, ("≤ %g s"):format(budget.seconds_at_most), "%.2f s"
  end
  value = corun.seconds and result.size / corun.seconds
  return value and value / 1e6, value and value >= budget.rate_at_least,
    ("≥ %g million/s"):format(budget.rate_at_least / 1e6), "%.2f"
end

--- A list of { text, value (as text), met }; met is nil where nothing can be said. Empty after --quick.
function M.judged(result)
  local list = {}
  if result.is_quick then return list end
  for _, budget in ipairs(result.workload.budget) do
    local value, met, text, format = judge(budget, result)
    if result.corun.failed then value, met = nil, nil end
    list[#list + 1] = { text = text, value = value and format:format(value) or "?", met = met }
  end
  return list
end

return M
