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
---| "deadlock"    # every task waits for what can never come
---| "group"       # errors
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
---@field argv string[]?
---@field seconds number?
---@field reason any
---@field stream string?
---@field partial string?
---@field expected string?
---@field written integer?  bytes of a cut write that went
---@field errors any[]?
---@field result corun.Result?
local Error = {}
Error.__index = Error
Error.__name = "corun.Error"

local M = { Error = Error }

--- What the sources of corun's own Lua code start with, to tell its frames from the script's.
M.library_prefix = debug.getinfo(1, "S").source:gsub("error$", ""):gsub("error%.lua$", "")

local prefix = M.library_prefix

--- The script's frames of the running coroutine (or of `thread`), as debug.traceback would write them.
local function script_traceback(thread)
  local lines = {}
  local level = thread and 0 or 2
  while #lines < 30 do
    local frame
    if thread then frame = debug.getinfo(thread, level, "Sln") else frame = debug.getinfo(level, "Sln") end
    if not frame then break end
    if frame.currentline > 0 and frame.source:sub(1, #prefix) ~= prefix then
      local name = frame.what == "main" and "in main chunk"
        or frame.name and ("in %s '%s'"):format(frame.namewhat ~= "" and frame.namewhat or "function", frame.name)
        or ("in function <%s:%d>"):format(frame.short_src, frame.linedefined)
      lines[#lines + 1] = ("\t%s:%d: %s"):format(frame.short_src, frame.currentline, name)
    end
    level = level + 1
  end
  return table.concat(lines, "\n")
end
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

local function last_lines(text, count)
  if type(text) ~= "string" then return {} end
  local lines = {}
  for line in text:gmatch("[^\n]+") do lines[#lines + 1] = line end
  return { table.unpack(lines, math.max(1, #lines - count + 1)) }
end

--- What a person needs: the message, the last lines that the command wrote to stderr, the line of the script.
function Error:__tostring()
  local parts = { self.where and self.where .. " " .. self.message or self.message }
  local result = self.result
  if result and not result._was_shown then
    for _, line in ipairs(last_lines(rawget(result, "stderr"), 10)) do parts[#parts + 1] = "  stderr: " .. line end
  end
  if self.errors then
    for i, e in ipairs(self.errors) do
      parts[#parts + 1] = ("  %d) %s"):format(i, (tostring(e):gsub("\n", "\n     ")))
    end
  end
  return table.concat(parts, "\n")
end

local function tried(ok, ...)
  if ok then return ... end
  local e = ...
  if M.is(e) then return nil, e end
  return nil, M.new("error", tostring(e), { value = e, where = false })
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

-- What the C layer raises.
M.hooks = {
  new_error = function(kind, message, code) return M.new(kind, message, { code = code }) end,
  incomplete_error = function(expected, partial)
    return M.new("incomplete", ("the stream ended before %s: there were %d bytes"):format(expected, #partial),
      { expected = expected, partial = partial })
  end,
  deadlock_error = function()
    return M.new("deadlock", "every task waits for something that can never come")
  end,
  argument_error = function(what, expected, value)
    M.argument("%s: %s expected, got %s", what, expected, M.show(value))
  end,
  library_prefix = prefix,
}

return M
