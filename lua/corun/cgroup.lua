--- Cgroups (version 2, Linux): one for a child of its own, so that its whole tree can be reached and limited. Found,
--- made and limited here; core/cgroup.h signals and removes it.

local core = require "corun.core"

local M = {}

--- Each limit's controller, file, and what is written for a checked value.
local limits = {
  { option = "memory_max", controller = "memory", file = "memory.max", text = tostring },
  { option = "pids_max", controller = "pids", file = "pids.max", text = tostring },
  {
    option = "cpu_max", controller = "cpu", file = "cpu.max",
    text = function(cpus)
      if cpus == "max" then return "max 100000" end
      return ("%d 100000"):format(math.floor(cpus * 100000 + 0.5)) -- microseconds in each tenth of a second
    end,
  },
}

--- Whether a child with these checked options gets a cgroup of its own.
function M.is_wanted(options)
  return options.cgroup or options.memory_max ~= nil or options.pids_max ~= nil or options.cpu_max ~= nil
end

local function read_file(path)
  local file = io.open(path)
  local text = file and file:read("a")
  if file then file:close() end
  return text
end

--- True, or nil and the error as "EBUSY device or resource busy", and its code.
local function write_file(path, text)
  local file, _, number = io.open(path, "r+")
  local ok = file
  if file then
    file:setvbuf("no") -- so that write tells what the kernel says
    ok, _, number = file:write(text)
    file:close()
  end
  if ok then return true end
  local code, message = core.system_error(number)
  return nil, code .. " " .. message, code
end

-- Where

local function unescaped(path)
  return (path:gsub("\\(%d%d%d)", function(digits) return string.char(tonumber(digits, 8)) end))
end

--- Joins a directory or cgroup and what is below it: "/" and "x" are "/x".
local function below(parent, name)
  return (parent == "/" and "" or parent) .. "/" .. name
end

--- Our own cgroup and those around it, nearest first, as far as they are mounted: {directory, path}, `path` as
--- /proc/PID/cgroup names it. Or nil and what is missing.
---@param cgroup string?  the text of /proc/self/cgroup
---@param mountinfo string?  of /proc/self/mountinfo
---@return { [1]: string, [2]: string }[]?, string?
function M.around(cgroup, mountinfo)
  local own = ("\n" .. (cgroup or "")):match("\n0::(/[^\n]*)")
  local found, mounted = {}, false
  for root, mount in (mountinfo or ""):gmatch("%d+ %d+ %d+:%d+ (%S+) (%S+) [^\n]- %- cgroup2 [^\n]*") do
    mounted = true
    root, mount = unescaped(root), unescaped(mount)
    local relative = own == root and "" or own and own:sub(1, #below(root, "")) == below(root, "")
      and own:sub(#below(root, ""))
    if relative and not own:find("^/%.%.") then -- that is outside of our cgroup namespace
      local path = own
      while true do
        found[#found + 1] = { mount .. relative, path }
        if relative == "" then break end
        relative, path = relative:match("^(.*)/"), path:match("^(.*)/")
        if path == "" then path = "/" end
      end
    end
  end
  if #found > 0 then return found end
  if not mounted then return nil, "no cgroup v2 is mounted" end
  return nil, ("our own cgroup %s is not below a mounted one"):format(own or "(version 2)")
end

-- Whether

local function has_word(path, word)
  for each in (read_file(path) or ""):gmatch("%S+") do
    if each == word then return true end
  end
  return false
end

--- Controllers are passed on by the parent's cgroup.subtree_control. They cannot be where the parent has processes of
--- its own (some can, but then make it a threaded cgroup, which no child of ours could enter); the root may have both.
local function pass_on(directory, limit, is_root)
  local controller, passed = limit.controller, directory .. "/cgroup.subtree_control"
  if has_word(passed, controller) then return true end
  if not has_word(directory .. "/cgroup.controllers", controller) then
    return nil, ('the controller "%s" is not available in %s/cgroup.controllers'):format(controller, directory)
  end
  local what = ('the controller "%s" is not available in %s'):format(controller, passed)
  if not is_root and (read_file(directory .. "/cgroup.procs") or ""):find("%d") then
    return nil, ("%s and cannot be enabled, as %s has processes"):format(what, directory)
  end
  local ok, message = write_file(passed, "+" .. controller)
  if ok then return true end
  return nil, ("%s and cannot be enabled: %s"):format(what, message)
end

--- Whether a cgroup of ours can be made in this one: true, or nil, what is missing and for which option.
local function check_parent(directory, wanted)
  local kind = read_file(directory .. "/cgroup.type") -- the root has none
  if kind and kind ~= "domain\n" then
    return nil, ("%s is a threaded cgroup (cgroup.type is \"%s\")"):format(directory, kind:gsub("%s+$", ""))
  end
  local procs = directory .. "/cgroup.procs" -- to enter a cgroup below it, it has to be writable too
  local file, _, number = io.open(procs, "r+")
  if not file then
    if number == 2 then return nil, ("there is no %s"):format(procs) end -- ENOENT everywhere
    return nil, ("%s is not writable: %s %s"):format(procs, core.system_error(number))
  end
  file:close()
  for _, limit in ipairs(wanted) do
    local ok, missing = pass_on(directory, limit, not kind)
    if not ok then return nil, missing, limit.option end
  end
  return true
end

-- Making

local count = 0

--- A new directory in it: its name, or nil and what has refused it.
local function make_directory(parent)
  while true do
    count = count + 1
    local name = ("corun-%d-%d"):format(core.pid(), count)
    local ok, code, message = core.make_directory(parent .. "/" .. name)
    if ok then return name end
    if code ~= "EEXIST" then -- a number that had come before
      return nil, ("%s is not writable: %s %s"):format(parent, code, message)
    end
  end
end

--- A cgroup for one child, with the limits of its checked options: {directory, path}, for core.start, which takes it.
--- Or nil and what an Error needs: kind, code, option, message.
---@return { [1]: string, [2]: string, option: string }?, table?
function M.make(options)
  local wanted = {}
  for _, limit in ipairs(limits) do
    if options[limit.option] ~= nil then wanted[#wanted + 1] = limit end
  end
  local option = #wanted > 0 and wanted[1].option or "cgroup"
  local function refuse(message, which)
    return nil, { kind = "unsupported", code = "ENOTSUP", option = which or option, message = message }
  end
  if core.backend ~= "native" then return refuse(("not possible with the %s spawn backend"):format(core.backend)) end
  local parents, missing = M.around(read_file("/proc/self/cgroup"), read_file("/proc/self/mountinfo"))
  if not parents then return refuse(missing) end
  local reasons, which = {}, nil
  for _, parent in ipairs(parents) do
    local directory, path = parent[1], parent[2]
    local ok, reason, limit_option = check_parent(directory, wanted)
    local name
    if ok then name, reason = make_directory(directory) end
    if name then
      local made = { directory .. "/" .. name, below(path, name), option = option }
      for _, limit in ipairs(wanted) do
        local text = limit.text(options[limit.option])
        local written, message, code = write_file(made[1] .. "/" .. limit.file, text)
        if not written then
          core.remove_directory(made[1])
          return nil, { kind = "spawn", code = code, option = limit.option,
            message = ("cannot write \"%s\" to %s: %s"):format(text, limit.file, message) }
        end
      end
      return made
    end
    which = which or limit_option
    reasons[#reasons + 1] = reason
    if not limit_option then break end -- what is not ours to write in lies in what is not ours either
  end
  return refuse(table.concat(reasons, "; "), which)
end

return M
