--- Errors: the one class for what fails at run time, and the one way to refuse wrong arguments.

local core = require "corun.core"

---@alias corun.ErrorKind
---| "spawn"       # a process could not be started: code, stage, path, argv
---| "exit"        # a process ended badly: result
---| "timeout"     # seconds; with result where a process was stopped
---| "idle"        # seconds; result
---| "cancelled"   # reason; with result where a process was stopped
---| "limit"       # stream; result. Or a line over its limit
---| "io"          # code; written, for a write that was cut short
---| "incomplete"  # partial, expected
---| "closed"
---| "busy"
---| "deadlock"    # every task waits for what can never come; or one for itself
---| "group"       # errors, tracebacks
---| "unsupported"
---| "error"       # what corun.try caught that was no Error: value

---@class corun.Error
---@field kind corun.ErrorKind
---@field message string   one line: what, and why
---@field traceback string  the script's own functions, innermost first, one a line
---@field where string?    "script.lua:12:", the line of the script that called
---@field code string?     the errno's name ("ENOENT")
---@field stage string?    the step of a start that failed: "exec", "chdir", "open", "setuid", …
---@field path string?
---@field option string?   of a start that failed: the spec's option that is to blame
---@field argv string[]?
---@field seconds number?
---@field reason any
---@field stream string?
---@field partial string?
---@field expected string?
---@field written integer?  bytes of a cut write that went
---@field errors any[]?     what was raised, as it was raised
---@field tracebacks string[]?  of each of them, under the same number
---@field also any[]?       what was raised while the clean-up after this one ran
---@field waiting string[]? of a deadlock: for each task what it waits for, and where
---@field attempts integer? how often corun.retry has tried
---@field result corun.Result?
local Error = {}
Error.__index = Error
Error.__name = "corun.Error"

local M = { Error = Error }

--- What the sources of corun's own Lua code start with, to tell its frames from the script's.
M.library_prefix = debug.getinfo(1, "S").source:gsub("error$", ""):gsub("error%.lua$", "")

local prefix = M.library_prefix

--- The script's frames of the running coroutine (or of `thread`), as debug.traceback would write them.
local function script_traceback(thread) return core.traceback(prefix, thread) end
M.script_traceback = script_traceback

---@param kind corun.ErrorKind
---@param message string
---@param fields table?  further fields; becomes the Error
---@return corun.Error
function M.new(kind, message, fields)
  local e = fields or {}
  e.kind = kind
  e.message = message
  if e.where == nil then
    local where = core.where(prefix)
    e.where = where ~= "" and where or nil
  end
  e.where = e.where or nil
  e.traceback = e.traceback or script_traceback()
  return setmetatable(e, Error)
end

---@return boolean
function M.is(e)
  return getmetatable(e) == Error
end

---@return boolean  whether e is an Error of that kind
function M.is_kind(e, kind)
  return getmetatable(e) == Error and e.kind == kind
end

--- Refuses an argument: an ordinary Lua error at the line of the script that called into corun.
function M.argument(format, ...)
  local where = core.where(prefix)
  error((where ~= "" and where .. " " or "") .. format:format(...), 0)
end

--- A value as an argument error shows it: short, quoted if it is a string, and its type if it is neither.
function M.show(value)
  local kind = type(value)
  if kind == "string" then
    if #value > 60 then value = value:sub(1, 57) .. "..." end
    return ("%q"):format(value):gsub("\\\n", "\\n")
  end
  if kind == "number" or kind == "boolean" or kind == "nil" then return tostring(value) end
  return "a " .. kind
end

local SHOWN_MOST = 64 * 1024 -- bytes of stderr that are looked at

local function last_lines(text, count)
  if type(text) ~= "string" then return {} end
  local lines = {}
  if #text > SHOWN_MOST then text = text:sub(-SHOWN_MOST):gsub("^[^\n]*\n", "", 1) end
  for line in text:gmatch("[^\n]+") do lines[#lines + 1] = line end
  return { table.unpack(lines, math.max(1, #lines - count + 1)) }
end

local shown = {} -- errors that are being written: one may be in its own `also`, in a group

--- What a person needs: the message, the last lines that the command wrote to stderr, the line of the script.
function Error:__tostring()
  if shown[self] then return self.message end
  shown[self] = true
  local parts = { self.where and self.where .. " " .. self.message or self.message }
  local result = self.result
  if result and not result._was_shown then
    for _, line in ipairs(last_lines(rawget(result, "stderr"), 10)) do parts[#parts + 1] = "  stderr: " .. line end
  end
  for _, line in ipairs(self.waiting or {}) do parts[#parts + 1] = "  " .. line end
  for i, e in ipairs(self.errors or {}) do
    parts[#parts + 1] = ("  %d) %s"):format(i, (tostring(e):gsub("\n", "\n     ")))
  end
  for _, e in ipairs(self.also or {}) do
    parts[#parts + 1] = "  also: " .. tostring(e):gsub("\n", "\n        ")
  end
  shown[self] = nil
  return table.concat(parts, "\n")
end

--- What was raised, if it is no Error, as one: its text is the same.
local function as_error(e, traceback)
  if M.is(e) then return e end
  return M.new("error", tostring(e), { value = e, where = false, traceback = traceback })
end

local function tried(ok, ...)
  if ok then return ... end
  return nil, as_error((...))
end

--- Calls fn(...) and returns what it returns, or nil and the Error. What was raised and is no Error (a message of
--- error(), say) comes as one of kind "error" with the original in `value`. May yield where fn does.
---@param fn function
---@return any ...
function M.try(fn, ...)
  local callable = type(fn) == "function" or getmetatable(fn) and getmetatable(fn).__call
  if not callable then M.argument("try: a function expected, got %s", M.show(fn)) end
  return tried(pcall(fn, ...))
end

---@return string  what the error says, in one piece without lists
function M.message(e)
  return M.is(e) and e.message or tostring(e)
end

-- More than one error. What is no Error has no traceback of its own: that of the last one raised again by corun is
-- remembered, for whoever catches it further out.

local raised = {} -- value, traceback

--- Raises again what was raised at another place.
function M.raise(e, traceback)
  if traceback or not rawequal(raised.value, e) then raised.value, raised.traceback = e, traceback end
  error(e, 0)
end

--- What pcall or M.call has returned: its results, or the error again.
function M.reraise(ok, ...)
  if not ok then M.raise(...) end
  return ...
end

--- Where a value that is no Error was raised first, if that is known.
---@return string?
function M.origin(e)
  if e ~= nil and rawequal(raised.value, e) then return raised.traceback end
end

--- The tracebacks of a list of errors; `known` has those of values that are no Errors.
function M.tracebacks(list, known)
  local all = {}
  for i, e in ipairs(list) do all[i] = M.is(e) and e.traceback or known[i] or "" end
  return all
end

--- error(nil) is an error, too.
function M.nothing(traceback)
  return M.new("error", "nil", { where = false, traceback = traceback })
end

--- Adds `e`, raised while cleaning up after `first`, to it. Returns the first, now an Error if it was none. The
--- tracebacks are of these two, where they have none of their own.
function M.with_also(first, e, traceback, traceback_of_e)
  if rawequal(first, e) then return first end
  first = as_error(first, traceback)
  first.also = first.also or {}
  table.insert(first.also, e)
  first._origins = first._origins or {}
  first._origins[#first.also] = traceback_of_e
  return first
end

--- What a cancellation brings along besides itself, as one error and its traceback, or nil. It is taken off.
function M.take_also(e)
  local also, origins = e.also, e._origins
  if not also then return nil end
  e.also, e._origins = nil, nil
  local first = also[1]
  for i = 2, #also do first = M.with_also(first, also[i], origins[1], origins[i]) end
  return first, origins[1]
end

local function settled(seen, ok, ...)
  if ok then return true, ... end
  local first, origins = seen[1], seen.origins or {}
  if first == nil then return false, (...) end -- out of memory: nobody was told
  for i = 2, #seen do first = M.with_also(first, seen[i], origins[1], origins[i]) end
  return false, first, origins[1]
end

--- pcall(fn, ...), but an error of a __close handler does not take the place of the error that it cleans up after: it
--- is added to that one's `also`. Returns the traceback as a third value where the error has none of its own.
function M.call(fn, ...)
  local seen = {}
  local function note(e) -- is told of the first error, and then of each that a __close handler raises
    if e == nil then e = M.nothing() end
    if seen[1] ~= nil and rawequal(seen[#seen], e) then return e end
    seen[#seen + 1] = e
    if not M.is(e) then
      seen.origins = seen.origins or {}
      seen.origins[#seen] = M.origin(e) or script_traceback()
    end
    return e
  end
  return settled(seen, xpcall(fn, note, ...))
end

-- Arguments that many take

function M.check_function(fn, what)
  if type(fn) ~= "function" then M.argument("%s: a function expected, got %s", what, M.show(fn)) end
end

--- Seconds, 0 or more.
function M.check_seconds(seconds, what)
  if type(seconds) ~= "number" or seconds ~= seconds or seconds < 0 then
    M.argument("%s: seconds expected, 0 or more, got %s", what, M.show(seconds))
  end
  return seconds
end

--- A table of options, of which `known` has a check for each: a function of the value that returns what was expected if
--- it is wrong.
function M.check_options(options, known, what)
  if options == nil then return {} end
  if type(options) ~= "table" then M.argument("%s: a table of options expected, got %s", what, M.show(options)) end
  for name, value in pairs(options) do
    local check = known[name]
    if not check then M.argument("%s: unknown option %s", what, M.show(name)) end
    local expected = check(value)
    if expected then M.argument("%s: option '%s': %s expected, got %s", what, name, expected, M.show(value)) end
  end
  return options
end

--- Whether it can be called: a function, a Stream, a Channel.
function M.is_callable(value)
  local meta = getmetatable(value)
  return type(value) == "function" or type(meta) == "table" and meta.__call ~= nil
end

--- A check for check_options: a whole number of 1 or more, or math.huge.
function M.count_option(expected)
  return function(value)
    if value ~= math.huge and (math.type(value) ~= "integer" or value < 1) then return expected end
  end
end

-- What the C layer raises.
M.hooks = {
  new_error = function(kind, message, code) return M.new(kind, message, { code = code }) end,
  incomplete_error = function(expected, partial)
    return M.new("incomplete", ("the stream ended before %s: there were %d bytes"):format(expected, #partial),
      { expected = expected, partial = partial })
  end,
  record_error = function(kind, what, problem, number, offset)
    return M.new(kind, ("%s, record %d at byte %d: %s"):format(what, number, offset, problem),
      { record = number, offset = offset })
  end,
  check_seconds = M.check_seconds,
  timeout_error = function(what, seconds)
    return M.new("timeout", ("%s in %g s"):format(what, seconds), { seconds = seconds })
  end,
  argument_error = function(what, expected, value)
    M.argument("%s: %s expected, got %s", what, expected, M.show(value))
  end,
  library_prefix = prefix,
}

return M
