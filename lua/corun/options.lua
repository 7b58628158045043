--- The options of a spec: what each may be, and which exclude each other. Their meaning is said in spec.lua.

local core = require "corun.core"
local cgroups = require "corun.cgroup"
local errors = require "corun.error"
local formats = require "corun.format"
local shell = require "corun.shell"
local signals = require "corun.signals"
local stop = require "corun.stop"

local show = errors.show
local inside = "" -- what a spec within a spec is

local function argument(format, ...) errors.argument("%s" .. format, inside, ...) end

--- Calls a function whose argument errors are those of a part.
local function within(what, fn, ...)
  local before = inside
  inside = before .. what .. ": "
  local ok, result = pcall(fn, ...)
  inside = before
  if not ok then error(result, 0) end
  return result
end

local M = {}

-- One checker for each option: given the value and the option's name, it raises or returns the value to use.

local function boolean(value, name)
  if type(value) ~= "boolean" then argument("option '%s': true or false expected, got %s", name, show(value)) end
  return value
end

local function seconds(value, name) return errors.check_seconds(value, ("%soption '%s'"):format(inside, name)) end

local function text(value, name)
  if type(value) ~= "string" then argument("option '%s': a string expected, got %s", name, show(value)) end
  if value:find("\0", 1, true) then argument("option '%s': a NUL byte in %s", name, show(value)) end
  return value
end

local function directory(value, name)
  if text(value, name) == "" then argument("option '%s': an empty path", name) end
  return value
end

--- Permissions: a number, or octal digits as a string.
local function octal(value, name)
  local number = value
  if type(value) == "string" then number = value:find("^[0-7]+$") and tonumber(value, 8) end
  if math.type(number) ~= "integer" or number < 0 or number > tonumber("7777", 8) then
    argument("option '%s': a number or octal digits as a string expected, got %s", name, show(value))
  end
  return number
end

local function id_of(value, name, look_up)
  if type(value) == "string" then
    local id, primary = look_up(text(value, name))
    if not id then argument("option '%s': there is no '%s' on this system", name, value) end
    return id, primary
  end
  -- 2^32 - 1 means "unchanged" to the kernel, and what is larger would be another's number.
  if math.type(value) ~= "integer" or value < 0 or value >= 0xffffffff then
    argument("option '%s': a name or a number expected, got %s", name, show(value))
  end
  return value
end

local function list(value, name, what)
  if type(value) ~= "table" then argument("option '%s': a list of %s expected, got %s", name, what, show(value)) end
  return value
end

--- A list without holes and without anything else in it.
local function sequence(value, name, what)
  local count = #list(value, name, what)
  local found = 0
  for key in pairs(value) do
    if math.type(key) ~= "integer" or key < 1 then
      argument("option '%s': a list of %s expected, got the field %s", name, what, show(key))
    end
    found, count = found + 1, math.max(count, key)
  end
  if found < count then argument("option '%s': a list of %s expected, got one with a hole", name, what) end
  return value
end

local function in_range(least, most)
  return function(value, name)
    if math.type(value) ~= "integer" or value < least or value > most then
      argument("option '%s': a whole number from %d to %d expected, got %s", name, least, most, show(value))
    end
    return value
  end
end

local cpu_number = in_range(0, core.most_cpus - 1)

local function cpus(value, name)
  local numbers = {}
  for i, number in ipairs(sequence(value, name, "processors")) do
    numbers[i] = cpu_number(number, ("%s[%d]"):format(name, i))
  end
  if #numbers == 0 then argument("option '%s': a list of processors expected, got an empty one", name) end
  return numbers
end

--- Of a limit that a cgroup has; "max" is the kernel's word.
local function cgroup_limit(is_good, expectation)
  return function(value, name)
    if value == "unlimited" then return "max" end
    if not is_good(value) then
      argument("option '%s': %s or \"unlimited\" expected, got %s", name, expectation, show(value))
    end
    return value
  end
end

local function is_positive(value) return math.type(value) == "integer" and value > 0 end

--- The kernel's least share is a millisecond in each tenth of a second.
local function is_cpu_share(value) return type(value) == "number" and value >= 0.01 and value <= core.most_cpus end

local function limit_number(value, name)
  if value == "unlimited" or value == -1 then return -1 end
  if math.type(value) ~= "integer" or value < 0 then
    argument("option '%s': a whole number or \"unlimited\" expected, got %s", name, show(value))
  end
  return value
end

local function rlimits(value, name)
  local limits = {}
  for limit, wanted in pairs(list(value, name, "limits")) do
    local resource = core.limits[limit]
    if not resource then argument("option '%s': there is no limit %s", name, show(limit)) end
    local soft, hard = wanted, wanted
    local full_name = name .. "." .. tostring(limit)
    if type(wanted) == "table" then soft, hard = table.unpack(sequence(wanted, full_name, "two limits")) end
    if type(wanted) == "table" and #wanted > 2 then
      argument("option '%s': a soft and a hard limit expected, got %d", full_name, #wanted)
    end
    soft, hard = limit_number(soft, full_name), limit_number(hard, full_name)
    if hard >= 0 and (soft < 0 or soft > hard) then
      argument("option '%s': a soft limit of at most the hard one expected, got {%s, %s}", full_name,
        show(wanted[1]), show(wanted[2]))
    end
    limits[#limits + 1] = { resource, soft, hard, limit }
  end
  table.sort(limits, function(a, b) return a[4] < b[4] end) -- if several cannot be set, the same one is named each time
  return limits
end

local function environment(value, name)
  for key, entry in pairs(list(value, name, "names and values")) do
    if type(key) ~= "string" or key == "" or key:find("[=\0]") then
      argument("option '%s': %s is no name for a variable", name, show(key))
    end
    local kind = type(entry)
    if kind ~= "string" and kind ~= "number" and entry ~= false then
      argument("option '%s': %s: a string, a number or false expected, got %s", name, key, show(entry))
    end
    if kind == "string" and entry:find("\0", 1, true) then argument("option '%s': %s: a NUL byte", name, key) end
  end
  return value
end

--- The steps of a stop plan that are no signals: given what the step is and its second element, the fields of the
--- checked step. `last`: where the seconds are; `wait`: how many, if they are left out.
local steps = {
  WRITE = { last = 3, wait = 0, check = function(what, typed)
    if type(typed) ~= "string" then argument("%s: {\"WRITE\", text, seconds} expected, got %s", what, show(typed)) end
    return { text = typed }
  end },
  CLOSE = { last = 2, wait = 0, check = function() return {} end },
  WAIT = { last = 2, check = function(what, wait)
    if wait == nil then argument("%s: {\"WAIT\", seconds} expected", what) end
    return {}
  end },
  RUN = { last = 3, wait = 5, check = function(what, command)
    if type(command) ~= "table" or #command == 0 then
      argument("%s: {\"RUN\", {program, arguments…}, seconds} expected, got %s", what, show(command))
    end
    local copy = M.copy(command)
    within(what, M.check, copy, "RUN")
    return { command = copy }
  end },
}

local function stop_step(value, what)
  if type(value) ~= "table" then value = { value } end
  local kind = steps[value[1]]
  local last = kind and kind.last or 2
  for key in pairs(value) do
    if math.type(key) ~= "integer" or key < 1 or key > last then argument("%s: unknown field %s", what, show(key)) end
  end
  local wait = value[last]
  if wait ~= nil then errors.check_seconds(wait, inside .. what) end
  if not kind then return stop.signal_step(signals.number(value[1], what), wait or 0) end
  local step = kind.check(what, value[2])
  step.name, step.wait = value[1], wait or kind.wait
  return step
end

local function stop_plan(value, name)
  local plan = {}
  for i, step in ipairs(sequence(value, name, "steps")) do
    plan[i] = stop_step(step, ("option '%s', step %d"):format(name, i))
  end
  if #plan == 0 then argument("option '%s': a plan without a step", name) end
  return plan
end

local function check(value, name)
  if type(value) == "boolean" then return value end
  for _, code in ipairs(sequence(value, name, "exit codes")) do
    if math.type(code) ~= "integer" then
      argument("option '%s': exit codes expected, got %s", name, show(code))
    end
  end
  return value
end

local function one_of(...)
  local values = { ... }
  return function(value, name)
    for _, possible in ipairs(values) do
      if value == possible then return value end
    end
    argument("option '%s': one of \"%s\" expected, got %s", name, table.concat(values, '", "'), show(value))
  end
end

local function is_lua_file(value) return io.type(value) ~= nil end
local function is_class(value, class) return type(value) == "userdata" and getmetatable(value) == class end
M.octal, M.is_lua_file, M.is_class = octal, is_lua_file, is_class

local stdio_words = {
  stdin = { pipe = true, null = true, inherit = true, pty = true },
  stdout = { pipe = true, null = true, inherit = true, pty = true, stderr = true },
  stderr = { pipe = true, null = true, inherit = true, pty = true, stdout = true },
  fds = { output = true, input = true, null = true, inherit = true, stdout = true, stderr = true },
}

local file_fields = { file = true, append = true, mode = true, read = true }

local function file(value, name)
  for key in pairs(value) do
    if not file_fields[key] then argument("option '%s': unknown field %s", name, show(key)) end
  end
  if type(value.file) ~= "string" or value.file == "" or value.file:find("\0", 1, true) then
    argument("option '%s': {file = path} expected, got file = %s", name, show(value.file))
  end
  if value.mode ~= nil then octal(value.mode, name .. ".mode") end
  if value.append ~= nil then boolean(value.append, name .. ".append") end
  if value.read ~= nil then boolean(value.read, name .. ".read") end
  return value
end

local function stdio(value, name, words)
  local kind = type(value)
  if kind == "string" and words[value] then return value end
  if math.type(value) == "integer" and value >= 0 then return value end
  if kind == "table" then return file(value, name) end
  if is_lua_file(value) then
    if io.type(value) == "closed file" then argument("option '%s': the file is closed", name) end
    return value
  end
  if name == "stdin" and is_class(value, core.Reader) then
    if value:_is_closed() then argument("option 'stdin': the Reader is closed") end
    value:_check_free() -- kind "busy": another task, or another child, is reading it
    return value
  end
  if name ~= "stdin" and is_class(value, core.Writer) then return value end
  if name ~= "stdin" and kind == "function" then return value end
  local choices = {}
  for word in pairs(words) do choices[#choices + 1] = '"' .. word .. '"' end
  table.sort(choices)
  argument("option '%s': %s, {file = path}, a %s, an open file%s or a descriptor number expected, got %s", name,
    table.concat(choices, ", "), name == "stdin" and "Reader" or "Writer",
    name ~= "stdin" and ", a function" or "", show(value))
end

local function further_fds(value, name)
  for number, action in pairs(list(value, name, "descriptors")) do
    if math.type(number) ~= "integer" or number < 3 or number > 1023 then
      argument("option '%s': numbers from 3 to 1023 expected, got %s", name, show(number))
    end
    stdio(action, name .. "[" .. number .. "]", stdio_words.fds)
  end
  return value
end

local function input(value, name)
  if type(value) ~= "string" and not errors.is_callable(value) then
    argument("option '%s': a string or an iterator of strings expected, got %s", name, show(value))
  end
  return value
end

local function natural(value, name)
  if math.type(value) ~= "integer" or value < 0 then
    argument("option '%s': a whole number of bytes expected, got %s", name, show(value))
  end
  return value
end

local function is_window_size(rows, columns)
  for _, value in ipairs { rows or false, columns or false } do
    if math.type(value) ~= "integer" or value < 1 or value > 65535 then return false end
  end
  return true
end
M.is_window_size = is_window_size

local function window_size(value, name)
  if type(value) ~= "table" or #value ~= 2 or not is_window_size(value[1], value[2]) then
    argument("option '%s': {rows, columns} expected, whole numbers from 1 to 65535, got %s", name,
      type(value) == "table" and ("{%s, %s}"):format(show(value[1]), show(value[2])) or show(value))
  end
  return value
end

local checkers = {
  cwd = directory, env = environment, clear_env = boolean, umask = octal, argv0 = text, rlimits = rlimits,
  uid = function(value, name)
    local id, primary = id_of(value, name, core.user)
    return { id, primary, value }
  end,
  gid = function(value, name) return (id_of(value, name, core.group)) end,
  groups = function(value, name)
    local ids = {}
    for i, group in ipairs(sequence(value, name, "groups")) do ids[i] = id_of(group, name, core.group) end
    return ids
  end,
  nice = in_range(-40, 40), cpu_affinity = cpus, oom_score_adj = in_range(-1000, 1000), no_new_privileges = boolean,
  cgroup = boolean, memory_max = cgroup_limit(is_positive, "a whole number of bytes, 1 or more,"),
  pids_max = cgroup_limit(is_positive, "a whole number, 1 or more,"),
  cpu_max = cgroup_limit(is_cpu_share, ("a number of processors from 0.01 to %d"):format(core.most_cpus)),
  stdin = function(value, name) return stdio(value, name, stdio_words.stdin) end,
  stdout = function(value, name) return stdio(value, name, stdio_words.stdout) end,
  stderr = function(value, name) return stdio(value, name, stdio_words.stderr) end,
  fds = further_fds, input = input,
  timeout = seconds, idle_timeout = seconds, grace = seconds, stop = stop_plan,
  linger = function(value, name) return value and seconds(value, name) end,
  check = check, limit = natural, overflow = one_of("error", "truncate", "spill"),
  tee = function(value, name)
    if type(value) == "boolean" or type(value) == "string" or is_class(value, core.Writer) then return value end
    if type(value) == "table" then return file(value, name) end
    argument("option '%s': true, a prefix, a Writer or {file = path} expected, got %s", name, show(value))
  end,
  crlf = boolean, utf8 = one_of("replace"), ansi = one_of("strip"),
  group = boolean, detached = boolean, new_session = boolean, size = window_size, echo = boolean,
  format = function(value, name)
    if not formats.names[value] then
      argument("option '%s': \"bytes\", \"lines\", \"nul\", \"json\", \"jsonl\" or \"csv\" expected, got %s", name,
        show(value))
    end
    return value
  end,
}

local function read_argv(spec, who)
  local argv = core.words(spec) or {}
  local count = #argv
  if count == 0 then -- there is none, or not all of them are strings that an argument can be
    count = #spec
    for i = 1, count do argv[i] = shell.word_of(spec[i], ("%s%s: argument %d"):format(inside, who, i)) end
  end
  if count == 0 then argument("%s: the command has no program", who) end
  if argv[1] == "" then argument("%s: the program's name is empty", who) end
  return argv, count
end

local function cgroup_combination(options)
  if options.detached then
    argument("options 'cgroup' and 'detached': a cgroup is removed at the end, which we may not live to see")
  end
  if options.cgroup ~= false then return end
  for _, name in ipairs { "memory_max", "cpu_max", "pids_max" } do
    if options[name] ~= nil then argument("options 'cgroup' and '%s': the limit is one of the cgroup", name) end
  end
end

--- Whether a stream is a terminal of the child's own.
local function has_terminal(options)
  return options.stdin == "pty" or options.stdout == "pty" or options.stderr == "pty"
end
M.has_terminal = has_terminal

local function terminal_options(options)
  if has_terminal(options) then
    if options.group == false then argument("option 'group': a child with a pty leads a group of its own") end
    if options.detached then argument("option 'detached': a pty hangs up when we end") end
    return
  end
  for _, name in ipairs { "size", "echo" } do
    if options[name] ~= nil then argument("option '%s': no stream of the child is a \"pty\"", name) end
  end
end

local function combination(options)
  if options.input ~= nil and options.stdin ~= nil and options.stdin ~= "pipe" and options.stdin ~= "pty" then
    argument("options 'input' and 'stdin': only one of them, or stdin = \"pipe\" or \"pty\"")
  end
  if options.stop and options.grace then
    argument("options 'stop' and 'grace': grace is the wait of the default plan")
  end
  if not options._is_special then return end
  terminal_options(options)
  if options.stdout == "stderr" and options.stderr == "stdout" then
    argument("options 'stdout' and 'stderr' refer to each other")
  end
  if options.new_session and options.group == false then
    argument("options 'new_session' and 'group': the leader of a session leads a group")
  end
  if cgroups.is_wanted(options) then cgroup_combination(options) end
end

--- A copy, with the plain tables in it (env, check, a file's, …), so that later changes of theirs do not matter.
function M.copy(spec)
  local new = {}
  for key, value in pairs(spec) do
    new[key] = type(value) == "table" and not getmetatable(value) and M.copy(value) or value
  end
  return new
end

-- The values that make a start of the usual kind; and the options that do not concern the start, only what comes after
-- it. With any other it is a special one.
local usual_outputs = { pipe = true, null = true, inherit = true }
local usual = { stdin = { pipe = true, null = true }, stdout = usual_outputs, stderr = usual_outputs }
local concerns_later = {}
for _, name in ipairs { "input", "timeout", "idle_timeout", "grace", "stop", "linger", "check", "limit", "overflow",
    "crlf", "utf8", "ansi", "format" } do
  concerns_later[name] = true
end

local function refuse(name, who, count)
  if math.type(name) ~= "integer" then
    argument("%s: unknown option %s", who, type(name) == "string" and "'" .. name .. "'" or show(name))
  elseif name < 1 or name > count then
    argument("%s: a hole in the command before argument %d", who, name)
  end
end

--- Checks a spec. What it returns has a copy of the argv in `argv`, each option as its checker made it, and
--- `_is_special` if one of them concerns the start itself.
---@param spec corun.Spec
---@param who string  the function that was called, for messages
---@return table
function M.check(spec, who)
  if type(spec) ~= "table" then argument("%s: a table expected, got %s", who, show(spec)) end
  local argv, count = read_argv(spec, who)
  local checked = { argv = argv, stdin = nil, stdout = nil, stderr = nil } -- the room for those that are always there
  for name, value in pairs(spec) do
    local words, checker = usual[name], checkers[name]
    if words and words[value] then
      checked[name] = value
    elseif checker then
      checked[name] = checker(value, name)
      checked._is_special = checked._is_special or not concerns_later[name] or nil
    elseif argv[name] == nil then
      refuse(name, who, count)
    end
  end
  combination(checked)
  return checked
end

return M
