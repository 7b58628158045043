--- Specs: what a person writes about a command, and the plan that the core starts.

local core = require "corun.core"
local foreground = require "corun.foreground"
local checks = require "corun.options"
local shell = require "corun.shell"

local has_terminal, is_class, is_lua_file, octal = checks.has_terminal, checks.is_class, checks.is_lua_file,
  checks.octal

local M = { check = checks.check, copy = checks.copy }

---@class corun.File
---@field file string      path, in our own directory
---@field append boolean?  write at its end instead of emptying it
---@field mode (string|integer)?  permissions of a new file, "600" or 384; default "666" less the umask
---@field read boolean?    of `fds`: for reading

---@alias corun.Stop (string|integer|table)[]  steps, each with the seconds to wait for the end of the tree before the
---next (default 0): a signal or {signal, seconds}, to the tree; {"WRITE", text, seconds}, into its stdin; {"CLOSE",
---seconds}, EOF on its stdin; {"RUN", spec, seconds (default 5)}, a command that finds the pid in CORUN_PID, for at
---most that time; {"WAIT", seconds}. WRITE and CLOSE are left out where stdin is closed already.

---@class corun.Spec
---@field [integer] string|number  argv
---@field cwd string?
---@field env table<string, string|number|false>?  added to ours; false removes a name
---@field clear_env boolean?       start from an empty environment
---@field umask (integer|string)?  a number, or octal digits as a string
---@field uid (integer|string)?    a name also sets its primary group, unless gid is given
---@field gid (integer|string)?
---@field groups (integer|string)[]?  supplementary; default none where uid or gid is set
---@field nice integer?            added to ours
--- `rlimits.locks` limits nothing since Linux 2.4; where it is set, a tree is found by its group and parents only (see
--- runtime/core/tree.h), and a contained script may not set it.
---@field rlimits table<string, integer|"unlimited"|{ [1]: integer|"unlimited", [2]: integer|"unlimited" }>?
---@field cpu_affinity integer[]?  the processors it may run on, by number, as of taskset
---@field oom_score_adj integer?   -1000 (never chosen when memory runs out) to 1000 (first); less than ours is root's
---@field no_new_privileges boolean?  programs it executes give it none (set-user-ID, capabilities); false: as ours
---@field cgroup boolean?          a cgroup (version 2) of its own: nothing of its tree gets out of reach of `kill`
---@field memory_max (integer|"unlimited")?  bytes that its cgroup may use (without swap): over it, it is killed
---@field cpu_max (number|"unlimited")?      processors' worth of time that its cgroup may use, as 0.5
---@field pids_max (integer|"unlimited")?    processes and threads that its cgroup may have
---@field argv0 string?
---@field stdin "pipe"|"null"|"inherit"|"pty"|corun.File|corun.Reader|file*|integer|nil
---@field input string|fun(): string?|nil  fed to stdin, then EOF
---@field stdout "pipe"|"null"|"inherit"|"pty"|"stderr"|corun.File|corun.Writer|file*|integer|fun(line: string)|nil
---@field stderr "pipe"|"null"|"inherit"|"pty"|"stdout"|corun.File|corun.Writer|file*|integer|fun(line: string)|nil
---@field fds table<integer, any>? further descriptors: "output", "input", corun.File, or as stdout
---@field timeout number?          most seconds for the whole life, then the stop plan
---@field idle_timeout number?     most seconds without a byte of output, then the stop plan
---@field linger (number|false)?   seconds of silence after the exit until a held pipe is given up; default 5
---@field stop corun.Stop?         default {{"TERM", 5}, "KILL"}
---@field grace number?            replaces the 5 of the default plan
---@field check (boolean|integer[])?
---@field limit integer?           bytes kept of each captured stream; default 64 MiB
---@field overflow "error"|"truncate"|"spill"|nil
---@field tee boolean|string|corun.Writer|corun.File|nil  also copy to our own stdout and stderr (a string prefixes each
---line), or what comes on stdout to a Writer or file
---@field crlf boolean?            of captured output: CR before a newline goes
---@field utf8 "replace"|nil       of captured output: what is no UTF-8 becomes U+FFFD; default: left alone
---@field ansi "strip"|nil         of captured output: escape sequences of terminals go; default: left alone
---@field group boolean?           own process group, so that stop plans reach the tree; default true. Where stdin is
---our terminal, it is the terminal's foreground group: Ctrl-C and Ctrl-Z are for the child alone. If it dies of Ctrl-C,
---corun acts as if that had come to itself; if it is stopped, corun stops, too, and continues it. With `false`, and by
---default where corun has no terminal to lend (in the background, if another child has it, with libuv): our group
---@field detached boolean?        own session; outlives its scope
---@field new_session boolean?     own session, without a terminal, but stopped at the end of its scope
---@field size { [1]: integer, [2]: integer }?  of a "pty": rows, columns; default {24, 80}
---@field echo boolean?            of a "pty": whether what is typed is echoed, from the start; default true
---@field format string?           "bytes", "lines", "nul", "json", "jsonl", "csv"

-- The plan

local function environment_list(options)
  if not options.env and not options.clear_env then return nil end
  local values = options.clear_env and {} or core.environ()
  for name, value in pairs(options.env or {}) do
    values[name] = value and (type(value) == "number" and shell.word_of(value, name) or value) or nil
  end
  local entries = {}
  for name, value in pairs(values) do entries[#entries + 1] = name .. "=" .. value end
  return entries
end

--- Where the program is searched, if not in our own PATH: the child's PATH where it is changed; false: the system's.
local function search_path(options)
  local env = options.env
  if env and env.PATH ~= nil then return env.PATH and tostring(env.PATH) end
  if options.clear_env then return false end
end

local function file_action(number, value, for_reading)
  local how = for_reading and "r" or value.append and "a" or "w"
  return { number, "file", value.file, how, value.mode and octal(value.mode, "mode") }
end

local function action_of(number, value, for_reading)
  if value == "pipe" then return { number, for_reading and "input" or "output" } end
  if value == "null" or value == "pty" then return { number, value } end
  if value == "inherit" then return { number, "fd", number } end
  if value == "output" or value == "input" then return { number, value } end
  if value == "stdout" then return { number, "same", 1 } end
  if value == "stderr" then return { number, "same", 2 } end
  if math.type(value) == "integer" then return { number, "fd", value } end
  if type(value) == "function" then return { number, "output" } end
  if type(value) == "table" then return file_action(number, value, for_reading or value.read) end
  if is_lua_file(value) then return { number, "lua", value } end
  if is_class(value, core.Writer) then return { number, "writer", value } end
  return { number, "reader", value }
end

--- A Reader that has read ahead cannot be handed over as a descriptor: its bytes are copied instead.
local function input_action(plan, value)
  if is_class(value, core.Reader) then
    if not value:_can_detach() then
      plan.pump = value
      return { 0, "input" }
    end
  end
  return action_of(0, value, true)
end

--- One path for stdout and stderr is one open file, or the one would overwrite the other.
local function same_file(a, b)
  return type(a) == "table" and type(b) == "table" and a.file == b.file
end

local function descriptor_actions(plan, options)
  local stdin, stdout, stderr = options.stdin, options.stdout, options.stderr
  local actions = { input_action(plan, stdin) }
  local out, err = action_of(1, stdout), action_of(2, stderr)
  if same_file(stdout, stderr) then err = { 2, "same", 1 } end
  if stdout == "stderr" then out, err = err, out end -- what is referred to comes first
  actions[2], actions[3] = out, err
  for number, value in pairs(options.fds or {}) do actions[#actions + 1] = action_of(number, value, false) end
  return actions
end

local default_size = { 24, 80 } -- the kernel's own, 0 x 0, confuses programs

local function shares_output(options)
  for _, value in ipairs { options.stdout, options.stderr } do
    if value == "inherit" or value == 1 or value == 2 then return true end
  end
  return false
end

-- Of starts that are not special, by their streams: such a one makes no tables.
local simple_plans = {}
local digits = { pipe = 0, null = 1, inherit = 2 }

local function simple_plan(stdin, stdout, stderr)
  local key = 1 + digits[stdin] + 3 * digits[stdout] + 9 * digits[stderr]
  local plan = simple_plans[key]
  if not plan then
    plan = {
      group = true, die_with_parent = true, shares_output = stdout == "inherit" or stderr == "inherit",
      fds = { action_of(0, stdin, true), action_of(1, stdout), action_of(2, stderr) },
    }
    simple_plans[key] = plan
  end
  return plan
end

local function full_plan(options)
  local uid = options.uid
  local plan = {
    has_more = true, path = search_path(options), env = environment_list(options),
    cwd = options.cwd, umask = options.umask, nice = options.nice, limits = options.rlimits,
    uid = uid and uid[1], gid = options.gid or uid and uid[2], groups = options.groups,
    cpus = options.cpu_affinity, oom_score_adj = options.oom_score_adj and tostring(options.oom_score_adj),
    no_new_privileges = options.no_new_privileges,
    session = options.detached or options.new_session, detached = options.detached,
    die_with_parent = not options.detached,
    shares_output = shares_output(options),
  }
  local group = options.group
  if group == nil then group = not foreground.is_on_terminal(options) end
  plan.group = group or plan.session or false
  if has_terminal(options) then
    local size, echo = options.size or default_size, options.echo
    plan.pty = { size[1], size[2], echo == nil or echo }
    plan.typed = options.stdin == "pty"
    plan.group = true
  end
  plan.fds = descriptor_actions(plan, options)
  return plan
end

--- The plan for core.start from checked options, with the defaults for its streams; and the argv that the child sees.
---@param options table   of M.check
---@param defaults { stdin: any, stdout: any, stderr: any }
---@return table plan  not to be changed where the options are not special
---@return string[] argv
function M.plan(options, defaults)
  local stdin, stdout, stderr = options.stdin, options.stdout, options.stderr
  if stdin == nil then
    stdin = options.input ~= nil and "pipe" or defaults.stdin
    options.stdin = stdin
  end
  if stdout == nil then
    stdout = defaults.stdout
    options.stdout = stdout
  end
  if stderr == nil then
    stderr = defaults.stderr
    options.stderr = stderr
  end
  local argv = options.argv
  if not options._is_special then return simple_plan(stdin, stdout, stderr), argv end
  if options.argv0 then argv = { options.argv0, table.unpack(argv, 2) } end
  return full_plan(options), argv
end

return M
