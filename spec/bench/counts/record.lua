--- The recorded counts: a Lua table in a file, one line for each count, so that a diff says what has changed.

local versions = require "versions"

local M = {}

--- The counts that are recorded, in this order, with the words for them and how far each may be off though nothing has
--- grown: another layout of the program is another seed for Lua's hashes, a table doubles a little earlier.
M.counts = {
  { name = "instructions", title = "instructions", slack = 10 },
  { name = "collecting", title = "instructions of the collector", slack = 100 },
  { name = "heap_calls", title = "calls of malloc", slack = 0.05 },
  { name = "system_calls", title = "system calls", slack = 0.01 },
  { name = "child_calls", title = "system calls of the child before exec", slack = 0.01 },
  { name = "lua_bytes", title = "bytes allocated by Lua", slack = 16 },
}

--- A number as it is written: five digits, of which the last may be off by one from run to run.
function M.show(value)
  value = tonumber(("%.5g"):format(value))
  if math.abs(value) >= 1000 then return ("%.0f"):format(value) end
  local text = ("%.4f"):format(value):gsub("%.?0+$", "")
  return text == "-0" and "0" or text
end

local function sorted_names(of)
  local names = {}
  for name in pairs(of) do names[#names + 1] = name end
  table.sort(names)
  return names
end

--- "close 4, epoll_ctl 5"
function M.show_calls(calls)
  local words = sorted_names(calls)
  for i, name in ipairs(words) do words[i] = name .. " " .. M.show(calls[name]) end
  return table.concat(words, ", ")
end

function M.load(path)
  local chunk, message = loadfile(path, "t", {})
  if not chunk then return nil, message end
  return chunk()
end

local function add_workload(add, name, counts)
  add("    %s = {", name)
  for _, count in ipairs(M.counts) do
    local value = counts[count.name]
    if value then
      add("      %s = %s,", count.name, M.show(value))
    else
      assert(count.name == "collecting", name .. ": not counted: " .. count.title) -- a whole program
    end
  end
  for _, field in ipairs { "calls", "calls_of_child" } do
    local calls = counts[field]
    add(next(calls) and "      %s = {" or "      %s = {},", field)
    for _, call in ipairs(sorted_names(calls)) do add("        %s = %s,", call, M.show(calls[call])) end
    if next(calls) then add("      },") end
  end
  add("    },")
end

--- The text of such a file. Raises when something was not counted.
function M.format(found, order)
  local lines = { "-- Written by spec/bench/counts.lua --record.", "return {", "  versions = {" }
  local function add(format, ...) lines[#lines + 1] = format:format(...) end
  for _, name in ipairs(sorted_names(found.versions)) do add("    %s = %q,", name, found.versions[name]) end
  add("  },\n  workloads = {")
  for _, name in ipairs(order) do
    if found.workloads[name] then add_workload(add, name, found.workloads[name]) end
  end
  add("  },\n}\n")
  return table.concat(lines, "\n")
end

local TOLERANCE = 0.05

--- What system calls are other ones: ": epoll_ctl 5, now 7; ioctl 1, now 0".
local function changed_calls(count, before, now)
  local field = ({ system_calls = "calls", child_calls = "calls_of_child" })[count]
  if not field then return "" end
  local old, new, all, changes = before[field], now[field], {}, {}
  for name, number in pairs(old) do all[name] = number end
  for name, number in pairs(new) do all[name] = number end
  for _, name in ipairs(sorted_names(all)) do
    local was, is = M.show(old[name] or 0), M.show(new[name] or 0)
    if was ~= is then changes[#changes + 1] = ("%s %s, now %s"):format(name, was, is) end
  end
  return ": " .. table.concat(changes, "; ")
end

local function describe(workload, count, before, now, verb)
  local was, is = before[count.name], now[count.name]
  local percent = was ~= 0 and (" (%+.1f %%)"):format((is - was) / math.abs(was) * 100) or ""
  return ("%s: %s %s: recorded %s, now %s%s%s"):format(workload, count.title, verb, M.show(was), M.show(is), percent,
    changed_calls(count.name, before, now))
end

--- 1 where the count has grown by more than 5 %, -1 where it has shrunk by that, else 0.
local function change(count, was, is)
  local most = math.max(math.abs(was) * TOLERANCE, count.slack)
  return is > was + most and 1 or is < was - most and -1 or 0
end

local function compare_count(count, recorded, found, order, failures, gains)
  for _, name in ipairs(order) do
    local before, now = recorded[name], found[name]
    local is = now[count.name]
    if before and is then -- else it was said, or cannot be counted here
      local direction = change(count, before[count.name], is)
      if direction > 0 then failures[#failures + 1] = describe(name, count, before, now, "have grown") end
      if direction < 0 then gains[#gains + 1] = describe(name, count, before, now, "are fewer") end
    end
  end
end

--- Compares what was found with what is recorded: { versions = …, workloads = { NAME = … } } both. Returns three lists
--- of messages: what fails (has grown by more than 5 %, or is not recorded), what has shrunk by more than that, and
--- what could not be compared since a version differs.
function M.compare(recorded, found, order)
  local failures, gains, skipped = {}, {}, {}
  for _, name in ipairs(order) do
    if not recorded.workloads[name] then failures[#failures + 1] = name .. ": not recorded: see --record" end
  end
  for _, count in ipairs(M.counts) do
    local differing = versions.difference(count.name, recorded.versions, found.versions)
    if differing then
      skipped[#skipped + 1] = ("%s: not compared, as %s is %q, recorded with %q"):format(count.title, differing,
        found.versions[differing], tostring(recorded.versions[differing]))
    else
      compare_count(count, recorded.workloads, found.workloads, order, failures, gains)
    end
  end
  return failures, gains, skipped
end

return M
