--- Where and with what a benchmark was made.

local corun = require "corun"

local M = {}

local function find(path, pattern)
  local file = io.open(path)
  if not file then return nil end
  local text = file:read("a")
  file:close()
  return text:match(pattern)
end

--- CPU model, cores, memory in bytes, kernel, distribution.
function M.describe()
  return {
    cpu = find("/proc/cpuinfo", "model name%s*:%s*([^\n]+)") or corun.capture { "uname", "-m" },
    cores = math.tointeger(tonumber(corun.capture { "nproc" })),
    memory = tonumber(find("/proc/meminfo", "MemTotal:%s*(%d+)")) * 1024,
    kernel = corun.capture { "uname", "-r" },
    distribution = find("/etc/os-release", 'PRETTY_NAME="([^"]+)"') or "unknown",
  }
end

--- The commit of a checkout, nil if it is none.
function M.commit(directory)
  local result = corun.try(corun.run,
    { "git", "-C", directory, "describe", "--always", "--dirty", "--exclude", "*", check = false })
  return result and result.ok and result.stdout:match("%S+") or nil
end

--- How many descriptors a child may have, if it wants: what we were given.
function M.descriptors() return tonumber(corun.capture { "sh", "-c", "ulimit -Hn" }) or math.huge end

return M
