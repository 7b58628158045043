--- Cgroups as seen from outside corun.

local corun = require "corun"
local support = require "spec.support"
local world = require "spec.support.world"

local M = {}

--- Where version 2 is mounted, and our own cgroup in it as /proc names it; nil where it is not.
M.mount = (support.read_file("/proc/self/mountinfo") or ""):match("%d+ %d+ %d+:%d+ / (%S+) [^\n]- %- cgroup2 ")
M.own = (support.read_file("/proc/self/cgroup") or ""):match("0::(/[^\n]*)")
M.directory = M.mount and M.own and (M.mount .. M.own):gsub("/$", "")

local function is_writable(path) return os.execute(("test -w %s"):format(path)) == true end

--- Whether a child can have one here: without a limit nothing more is needed.
M.can_be_made = world.is_native and M.directory ~= nil and is_writable(M.directory)
  and is_writable(M.directory .. "/cgroup.procs") and (function()
    local kind = support.read_file(M.directory .. "/cgroup.type")
    return not kind or kind == "domain\n"
  end)()

local function has_word(path, word)
  return ((" " .. (support.read_file(path) or "")):gsub("\n", " ")):find(" " .. word .. " ", 1, true) ~= nil
end

--- Whether a controller is handed on to a cgroup that can be made: below ours or one around it.
function M.has(controller)
  local directory = world.is_native and M.directory
  while directory and #directory >= #M.mount and is_writable(directory .. "/cgroup.procs") do
    local is_root = support.read_file(directory .. "/cgroup.type") == nil
    if has_word(directory .. "/cgroup." .. (is_root and "controllers" or "subtree_control"), controller) then
      return true
    end
    directory = directory:match("^(.*)/")
  end
  return false
end

--- Directories for children that the corun of that pid (ours) has made and not removed.
function M.left(pid)
  local found = {}
  if not M.mount then return found end
  local name = ("corun-%d-*"):format(pid or support.pid)
  for path in corun.run({ "find", M.mount, "-type", "d", "-name", name, check = false }):lines() do
    found[#found + 1] = path
  end
  return found
end

--- The pids in a cgroup as /proc names it.
function M.members(path)
  local pids = {}
  for pid in (support.read_file(M.mount .. path .. "/cgroup.procs") or ""):gmatch("%d+") do
    pids[#pids + 1] = tonumber(pid)
  end
  table.sort(pids)
  return pids
end

--- The cgroup of a process, as /proc names it.
function M.of(pid)
  return (support.read_file(("/proc/%s/cgroup"):format(pid)) or ""):match("0::(/[^\n]*)")
end

return M
