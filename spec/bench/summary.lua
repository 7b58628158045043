--- One row for each workload: what the end of a run, summary.md and report.html show.

local budgets = require "budgets"
local show = require "show"

local M = {}

local function fastest_of(result)
  if not result.lead then return "-" end
  return result.lead >= 1 and "yes" or "no"
end

--- What corun does there: its rate, or its memory for each.
local function value_of(result)
  local corun = result.corun
  if corun.failed then return "failed" end
  if corun.bytes then return show.bytes(corun.bytes) end
  return show.rate(result.workload, result.size, corun.seconds)
end

local function verdict(met)
  if met == nil then return "?" end
  return met and "met" or "MISSED"
end

--- Budgets in words. "No peer faster" is a column of its own.
local function budget_of(judged)
  local parts = {}
  for _, budget in ipairs(judged) do
    if budget.text ~= "no peer faster" then
      parts[#parts + 1] = ("%s: %s, %s"):format(budget.text, budget.value, verdict(budget.met))
    end
  end
  return #parts > 0 and table.concat(parts, "; ") or "-"
end

--- The row of a result: workload, value, to_limit, best_peer, lead, fastest, budget; all of them text.
function M.row(result)
  local is_bytes = result.workload.compares == "bytes"
  return {
    workload = show.title(result.workload), what = result.workload.what, value = value_of(result),
    to_limit = is_bytes and "-" or show.ratio(result.corun.ratio),
    best_peer = result.best_peer and result.best_peer.label or "-",
    lead = show.ratio(result.lead), fastest = fastest_of(result),
    budget = budget_of(budgets.judged(result)),
  }
end

local columns = {
  { "workload" }, { "corun", "value" }, { "to limit", "to_limit" }, { "best peer", "best_peer" },
  { "to peer", "lead" }, { "fastest" }, { "budget" },
}

local function cell(row, column) return row[column[2] or column[1]] end

local function width_of(text) return utf8.len(text) or #text end

--- "5", or "3 to 5".
function M.rounds(results)
  local least, most = math.huge, 0
  for _, result in ipairs(results) do
    least, most = math.min(least, result.rounds), math.max(most, result.rounds)
  end
  return least == most and ("%d"):format(most) or ("%d to %d"):format(least, most)
end

--- The table as text, for a terminal.
function M.text(results)
  local rows, lines, widths = {}, {}, {}
  for i, result in ipairs(results) do rows[i] = M.row(result) end
  for i, column in ipairs(columns) do
    widths[i] = #column[1]
    for _, row in ipairs(rows) do widths[i] = math.max(widths[i], width_of(cell(row, column))) end
  end
  local function add(text_of)
    local line = {}
    for i, column in ipairs(columns) do
      local text = text_of(column)
      line[i] = text .. (" "):rep(widths[i] - width_of(text))
    end
    lines[#lines + 1] = (table.concat(line, "  "):gsub("%s+$", ""))
  end
  add(function(column) return column[1] end)
  for _, row in ipairs(rows) do add(function(column) return cell(row, column) end) end
  return table.concat(lines, "\n")
end

--- For the README. A peer that is ahead, and a budget that is missed, are said in bold.
function M.markdown(results, about)
  local lines = {
    "| workload | corun | of the limit | best peer | corun to it | budget |", "|---|---|---|---|---|---|",
  }
  for _, result in ipairs(results) do
    local row = M.row(result)
    lines[#lines + 1] = ("| %s: %s | %s | %s | %s | %s | %s |"):format(row.workload, row.what, row.value, row.to_limit,
      row.best_peer, row.fastest == "no" and ("**%s**"):format(row.lead) or row.lead,
      (row.budget:gsub("MISSED", "**missed**")))
  end
  lines[#lines + 1] = ""
  lines[#lines + 1] = ("%s; %d cores, %.0f GB, Linux %s; %s; medians of %s rounds. `%s`"):format(about.machine.cpu,
    about.machine.cores, about.machine.memory / 1e9, about.machine.kernel, about.date:sub(1, 10), M.rounds(results),
    about.command)
  lines[#lines + 1] = ""
  local versions = {}
  for i, version in ipairs(about.versions) do versions[i] = ("%s: %s"):format(version.name, version.text) end
  lines[#lines + 1] = table.concat(versions, "; ") .. "."
  return table.concat(lines, "\n") .. "\n"
end

return M
