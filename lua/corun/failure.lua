--- A start that failed: which step, because of which option, which errno, in a person's words.

local core = require "corun.core"
local errors = require "corun.error"
local shell = require "corun.shell"

local M = {}

local stream_names = { [0] = "stdin", [1] = "stdout", [2] = "stderr" }
local defaults = { output = true, input = true, null = true } -- a pipe or /dev/null is there unasked

--- The option that asked for a descriptor action, if one did.
local function option_of(action)
  if defaults[action[2]] then return nil end
  return stream_names[action[1]] or ("fds[%d]"):format(action[1])
end

local function descriptor_text(action)
  if action[2] == "fd" then return ("our descriptor %d"):format(action[3]) end
  return ("descriptor %d of the child"):format(action[1])
end

local function limit_text(value) return value < 0 and "unlimited" or tostring(value) end

--- For each step the option that asked for it, if one did, and what could not be done. `number` tells which limit or
--- processor.
local stages = {
  chdir = function(_, plan) return "cwd", ("cannot enter the directory '%s'"):format(plan.cwd) end,
  setuid = function(options) return "uid", ("cannot become the user %s"):format(options.uid[3]) end,
  setgid = function(options, plan) -- a user's name has a group
    return options.gid and "gid" or "uid", ("cannot take the group %d"):format(plan.gid)
  end,
  setgroups = function(options, plan) -- or root's are to be dropped
    local option = options.groups and "groups" or options.uid and "uid" or "gid"
    return option, "cannot take the groups {" .. table.concat(plan.groups or {}, ", ") .. "}"
  end,
  rlimit = function(_, plan, number)
    local limit = number and plan.limits[number]
    if not limit then return nil, "cannot set the limit of open files that we were started with" end
    return "rlimits", ("cannot set %s to %s (soft), %s (hard)"):format(limit[4], limit_text(limit[2]),
      limit_text(limit[3]))
  end,
  nice = function(options) return "nice", ("cannot change the niceness by %d"):format(options.nice) end,
  affinity = function(options, _, number)
    local cpus = options.cpu_affinity
    if number then return "cpu_affinity", ("there is no processor %d for us"):format(cpus[number]) end
    return "cpu_affinity", "cannot run on the processors {" .. table.concat(cpus, ", ") .. "}"
  end,
  oom_score_adj = function(options)
    return "oom_score_adj", ("cannot set oom_score_adj to %s"):format(options.oom_score_adj)
  end,
  no_new_privileges = function() return "no_new_privileges", "cannot renounce new privileges" end,
  umask = function() return "umask", "cannot set it" end,
  cgroup = function(_, plan)
    return plan.cgroup.option, ("cannot enter the cgroup %s"):format(plan.cgroup[1])
  end,
  setsid = function(options)
    return options.detached and "detached" or "new_session", "cannot make a session"
  end,
  setpgid = function(options) return options.group and "group" or nil, "cannot make a process group" end,
  terminal = function(_, plan)
    for _, action in ipairs(plan.fds) do
      if action[2] == "pty" then return option_of(action), "cannot give it the terminal" end
    end
  end,
  guard = function() return nil, "cannot start the guard of corun.contain again" end,
  fork = function() return nil, "cannot make a process" end,
  stdio = function(_, plan, number)
    for _, action in ipairs(plan.fds) do
      if number and action[1] == number - 1 then
        return option_of(action), "cannot place " .. descriptor_text(action)
      end
    end
    return nil, "cannot place a descriptor"
  end,
  prepare = function() return nil, "cannot prepare the start" end,
}

--- A descriptor action that failed: option, what could not be done, the path if it is about one.
local function open_failure(plan, number)
  local action = plan.fds[number]
  if action[2] == "pty" then return option_of(action), "cannot open a terminal (/dev/ptmx)", "/dev/ptmx" end
  local path = action[2] == "file" and action[3] or nil
  return option_of(action), "cannot open " .. (path and "'" .. path .. "'" or descriptor_text(action)), path
end

--- What the #! line of a script names. `path` counts from the child's directory.
local function interpreter_of(path, cwd)
  if cwd and path:sub(1, 1) ~= "/" then path = cwd .. "/" .. path end
  local file = io.open(path)
  local line = file and file:read()
  if file then file:close() end
  return line and line:match("^#!%s*(%S+)") or "?"
end

local function exec_text(plan, message, script)
  if not script then return message end
  return ("%s: the interpreter %s of its #! line is missing"):format(message, interpreter_of(script, plan.cwd))
end

--- Raises the Error for what core.start gives instead of a process.
---@param options table  checked
---@param plan table  of specs.plan
function M.raise(options, plan, stage, code, message, script, number)
  local option, text, path
  if stage == "exec" then
    path, text = script or options.argv[1], exec_text(plan, message, script)
  elseif stage == "open" then
    option, text, path = open_failure(plan, number)
  else
    option, text = stages[stage](options, plan, number)
    path = stage == "chdir" and plan.cwd or options.argv[1]
  end
  local kind = code == "ENOTSUP" and "unsupported" or "spawn"
  if kind == "unsupported" then text = text .. ": not possible"
  elseif stage ~= "exec" then text = ("%s: %s %s"):format(text, code, message) end
  if kind == "unsupported" and core.backend == "libuv" then text = "not possible with the libuv spawn backend" end
  M.raise_for(options, kind, text, { code = code, stage = stage, path = path, option = option })
end

--- Raises the Error for a start that an option has prevented.
---@param options table  checked
---@param kind "spawn"|"unsupported"
---@param text string  what is wrong
---@param fields table  of the Error; `option` if it is one's fault
function M.raise_for(options, kind, text, fields)
  if fields.option then text = ("option '%s': %s"):format(fields.option, text) end
  fields.argv = options.argv
  error(errors.new(kind, ("cannot start %s: %s"):format(shell.quote(options.argv[1]), text), fields), 0)
end

return M
