--- A start that failed: which step, which errno, in a person's words.

local core = require "corun.core"
local errors = require "corun.error"
local shell = require "corun.shell"

local M = {}

local stage_texts = {
  chdir = "cannot enter the directory", setuid = "cannot become the user", setgid = "cannot take the group",
  setgroups = "cannot take the groups", rlimit = "cannot set a limit", nice = "cannot change the niceness",
  fork = "cannot make a process", setpgid = "cannot make a process group", setsid = "cannot make a session",
  stdio = "cannot place a descriptor", terminal = "cannot give it the terminal", prepare = "cannot prepare the start",
}

--- What the #! line of a script names. `path` counts from the child's directory.
local function interpreter_of(path, cwd)
  if cwd and path:sub(1, 1) ~= "/" then path = cwd .. "/" .. path end
  local file = io.open(path)
  local line = file and file:read()
  if file then file:close() end
  return line and line:match("^#!%s*(%S+)") or "?"
end

local function failure_text(plan, stage, message, script, target)
  if script then
    return ("%s: the interpreter %s of its #! line is missing"):format(message, interpreter_of(script, plan.cwd))
  end
  if stage == "exec" then return message end
  if stage == "open" then return ("cannot open %s: %s"):format(target, message) end
  local text = stage_texts[stage] or stage
  if stage == "chdir" then text = ("%s '%s'"):format(text, plan.cwd) end
  return text .. ": " .. message
end

--- Raises the Error for what core.start gives instead of a process.
---@param argv string[]
---@param plan table  of specs.plan
function M.raise(argv, plan, stage, code, message, script, action)
  local path, shown = script or plan.file, nil
  if stage == "open" then
    local number, what, name = table.unpack(plan.fds[action])
    path = what == "file" and name or what == "pty" and "/dev/ptmx" or nil
    shown = path and "'" .. path .. "'" or ("descriptor %d of the child"):format(number)
    if what == "pty" then shown = "a terminal (/dev/ptmx)" end
  elseif stage == "chdir" then
    path = plan.cwd
  end
  local kind = code == "ENOTSUP" and "unsupported" or "spawn"
  local what = ("cannot start %s: %s"):format(shell.quote(plan.file),
    kind == "unsupported" and ("%s: not possible with the %s spawn backend"):format(stage, core.backend)
      or failure_text(plan, stage, message, script, shown))
  error(errors.new(kind, what, { code = code, stage = stage, path = path, argv = argv }), 0)
end

return M
