--- Results: what a process came to, the same shape for success and failure.

local core = require "corun.core"
local errors = require "corun.error"
local formats = require "corun.format"
local signals = require "corun.signals"

local M = {}

---@class corun.Status
---@field ok boolean             exit code 0
---@field code integer?          nil where it ended by a signal
---@field signal string?         "SIGKILL", "SIGRTMIN+2"
---@field signo integer?
---@field core_dumped boolean
---@field reason "exit"|"signal"|"unknown"|"timeout"|"idle"|"limit"|"cancelled"  the first cause of the end; "unknown":
---somebody else took the status
local Status = {}
Status.__index = Status
Status.__name = "corun.Status"

function Status:__tostring()
  if self.signal then return "signal " .. self.signal .. (self.core_dumped and " (core dumped)" or "") end
  if self.code then return "exit " .. self.code end
  return "ended with an unknown status"
end

--- From the values of the core's process:status(); `stopped_for` is why corun stopped the process, if it did.
function M.status(code, signo, core_dumped, unknown, stopped_for)
  return setmetatable({
    ok = code == 0, code = code, signal = signo and signals.name(signo), signo = signo,
    core_dumped = core_dumped, reason = stopped_for or unknown and "unknown" or signo and "signal" or "exit",
  }, Status)
end

---@class corun.Result
---@field ok boolean          it ended well: by itself, with a code that `check` counts as good
---@field code integer?
---@field signal string?
---@field status corun.Status?  nil where it still ran (a stop plan without KILL)
---@field reason "exit"|"signal"|"unknown"|"timeout"|"idle"|"cancelled"|"limit"  the first cause of its end
---@field stdout any           what was captured, as `format` says; a Reader over the bytes as they came where it
---spilled; nil where not captured
---@field stderr string?
---@field terminal string?     what came from a "pty" that is neither stdout nor stderr: head and tail where that was
---more than `limit`
---@field pid integer
---@field argv string[]
---@field command string       copy-pasteable
---@field cwd string
---@field started_at number    seconds since the epoch
---@field duration number      seconds
---@field usage table?         user_time, system_time (seconds), max_rss (bytes), …
---@field stopped string[]?    the steps of the stop plan that ran: {"TERM", "KILL"}
---@field survivors integer[]? pids of its tree that the stop plan has left: one without KILL, or another user's
---@field held_by integer[]?   pids that kept a pipe open after the exit
---@field truncated boolean    not all output is here: over `limit`, or given up while a pipe was held
---@field omitted { stdout: integer, stderr: integer }?  bytes that overflow = "truncate" left out between head and tail
---@field bytes_in integer?   of a function stage: bytes it has read
---@field bytes_out integer?  bytes it has written, where they came through corun: captured, tapped, or by a function
---stage
---@field stages corun.Result[]?  of a Pipeline: of each stage
local Result = {}
Result.__name = "corun.Result"

--- What a Result of a Process has from that, when it is asked for.
local lazy = {}

for _, name in ipairs { "pid", "argv", "command", "cwd", "started_at", "duration", "_options" } do
  lazy[name] = function(process) return process[name] end
end
function lazy.usage(process) return process:usage() end
function lazy._captured(process) return process.stdout end
function lazy.bytes_out(process) return process.stdout and select(3, process.stdout:_status()) end

function Result.__index(self, name)
  local method = Result[name]
  if method ~= nil then return method end
  local process = rawget(self, "_process")
  local read = process and lazy[name]
  if not read then return nil end
  local value = read(process)
  rawset(self, name, value)
  return value
end

--- As if it had all fields from the beginning; of a Result whose process goes on: those of now.
local function complete(self)
  for name in pairs(lazy) do rawset(self, name, self[name]) end
  rawset(self, "_process", nil)
  return self
end
M.complete = complete

function Result:__pairs() return next, complete(self), nil end

function M.new(fields)
  return setmetatable(fields, Result)
end

local function is_reader(value) return type(value) == "userdata" and getmetatable(value) == core.Reader end

local function text_of(result)
  local out = result._text or result.stdout
  if type(out) == "string" then return out end
  if out == nil then return "" end
  if is_reader(out) then
    local text, flags = result._captured:_spilled():read(), formats.text_flags(result._options)
    return flags and core.clean(text, flags) or text
  end
  errors.argument("result: the output was taken apart by its format")
end

--- A terminal makes CR LF of a newline.
local function without_newlines(result, text)
  local options = result._options
  local is_pty = options and options.stdout == "pty"
  local last = #text
  -- From the end: gsub would look at each byte of what may be megabytes.
  while last > 0 do
    local byte = text:byte(last)
    if byte ~= 10 and not (is_pty and byte == 13) then break end
    last = last - 1
  end
  return text:sub(1, last)
end

--- What `capture` gives of a Result: stdout without trailing newlines, or what its format made of it.
function M.output_of(result)
  if type(result.stdout) == "string" and not result._text then return without_newlines(result, result.stdout) end
  return result.stdout
end

--- stdout without trailing newlines, as $(…) gives it.
function Result:__tostring()
  return without_newlines(self, text_of(self))
end

--- Iterates over the lines of stdout, without their newlines. Of a spilled stdout: over the file; yields.
---@return fun(): string?
function Result:lines()
  if is_reader(self.stdout) then return self._captured:_spilled():lines(formats.text_options(self._options)) end
  local text = text_of(self)
  if text ~= "" and text:sub(-1) ~= "\n" then text = text .. "\n" end
  return text:gmatch("([^\n]*)\n")
end

--- stdout decoded as one JSON document. Needs lua-cjson.
---@return any
---Raises kind "io" for what is none.
function Result:json()
  return require("corun.format").decode("json", text_of(self))
end

return M
