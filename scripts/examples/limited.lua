#!/usr/bin/env corun
--- Runs a command within limits, says at the end what it has used, and leaves nothing of it behind: what `timeout`,
--- `nice`, `ulimit -v` and `time` do together, and then some.
---
---   corun scripts/examples/limited.lua [-t SECONDS] [-m MEGABYTES] [-n NICENESS] COMMAND [ARGUMENT …]
---
--- The exit status is the command's, 124 after the time limit, 128 + n after signal n.

local corun = require "corun"

-- Also if this script itself is killed.
corun.contain()

local MEGABYTE = 1000 * 1000

local function usage()
  io.stderr:write("usage: limited [-t SECONDS] [-m MEGABYTES] [-n NICENESS] COMMAND [ARGUMENT …]\n")
  os.exit(2)
end

--- The command starts at the first word that is no option.
local function read_arguments(words)
  local spec = { stdin = "inherit", stdout = "inherit", stderr = "inherit" }
  local at = 1
  while words[at] and words[at]:find("^%-.") do
    local value = tonumber(words[at + 1])
    if not value then usage() end
    if words[at] == "-t" then spec.timeout = value
    elseif words[at] == "-m" then spec.rlimits = { as = math.tointeger(value * MEGABYTE) or usage() } -- each process
    elseif words[at] == "-n" then spec.nice = math.tointeger(value) or usage()
    else usage() end
    at = at + 2
  end
  table.move(words, at, #words, 1, spec)
  if #spec == 0 then usage() end
  return spec
end

--- The most processes that the tree ever had, as far as one sees that looks five times a second.
local function watch(process)
  local most = 1
  local watching = corun.go(function()
    while not process.status do
      most = math.max(most, 1 + #process:tree())
      corun.sleep(0.2)
    end
  end)
  return function()
    watching:cancel()
    return most
  end
end

local process = corun.spawn(read_arguments(arg))
local most_processes = watch(process)
local status = process:wait()

-- Whoever is left of a command that has ended by itself would live on: in the background, in a session of its own.
local left, is_late = {}, status.reason == "timeout"
for _, member in ipairs(is_late and {} or process:tree()) do
  left[#left + 1] = ("%d (%s)"):format(member.pid, member.command)
end
process:terminate()

local used = process:usage() or {} -- not every system knows
io.stderr:write(("limited: %s after %.2f s; %.2f s of CPU, %.1f MB, processes: %d\n"):format(
  (is_late and "time limit, " or "") .. tostring(status), process.duration,
  (used.user_time or 0) + (used.system_time or 0), (used.max_rss or 0) / MEGABYTE, most_processes()))
if #left > 0 then io.stderr:write("limited: left behind, and stopped: ", table.concat(left, ", "), "\n") end
os.exit(is_late and 124 or status.code or 128 + status.signo)
