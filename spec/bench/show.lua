--- Numbers for people, and the tables on stdout.

local M = {}

local formats = { ["/s"] = "%d", ["million/s"] = "%.2f", ["GB/s"] = "%.2f", ["thousand/s"] = "%.1f" }

--- "4.51 million/s"
function M.rate(workload, size, seconds)
  if not seconds or seconds <= 0 then return "-" end
  local value = size / seconds / workload.per
  return (formats[workload.unit]:format(workload.unit == "/s" and math.floor(value + 0.5) or value)) .. " "
    .. workload.unit
end

function M.title(workload)
  return workload.placement and ("%s, %s"):format(workload.name, workload.placement) or workload.name
end

function M.number(format, value) return value and format:format(value) or "-" end

--- A ratio; small ones, too, are to say something.
function M.ratio(value) return M.number(value and value < 0.1 and "%.3f" or "%.2f", value) end

function M.bytes(bytes) return ("%d B each"):format(math.floor(bytes + 0.5)) end

function M.memory(entry)
  if entry.bytes then return M.bytes(entry.bytes) end
  return M.number("%d KiB", entry.kib and math.floor(entry.kib))
end

local columns = "  %-30s %16s %10s %8s %7s %8s %10s %10s %14s"

function M.header()
  return columns:format("", "rate", "seconds", "to limit", "best", "to peer", "own CPU s", "us each", "memory")
end

function M.entry(result, entry)
  if entry.failed then return ("  %-30s failed: %s"):format(entry.label, entry.failed) end
  return columns:format(entry.label, M.rate(result.workload, result.size, entry.seconds),
    M.number("%.3f", entry.seconds), M.ratio(entry.ratio), M.ratio(entry.best), M.ratio(entry.to_best_peer),
    M.number("%.3f", entry.cpu), M.number("%.2f", entry.cpu_us), M.memory(entry))
end

return M
