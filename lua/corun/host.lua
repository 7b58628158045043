--- What the corun program does at the end of a script, and how it prints an error.

local core = require "corun.core"
local ending = require "corun.ending"
local errors = require "corun.error"
local interrupt = require "corun.interrupt"
local scopes = require "corun.scope"
local signals = require "corun.signals"

local M = {}

local reported -- what ended the script, so that the end of the root scope does not say it again

local function with_traceback(text, traceback)
  if not traceback or traceback == "" then return text end
  return text .. "\nstack traceback:\n" .. traceback
end

--- An Error with its traceback; a group with that of each of its errors.
local function text_of(e)
  if not errors.is(e) then return tostring(e) end
  if e.kind ~= "group" then return with_traceback(tostring(e), e.traceback) end
  local parts = { e.message }
  for i, each in ipairs(e.errors) do
    local text = errors.is(each) and text_of(each) or with_traceback(tostring(each), e.tracebacks[i])
    parts[#parts + 1] = ("%d) %s"):format(i, text)
  end
  return table.concat(parts, "\n")
end

--- True where an error is only the way in which a signal (to us, or by Ctrl-C to the child that had our terminal), or a
--- reader of our output that has gone, ends the script.
local function is_quiet(e)
  if interrupt.ended_by and errors.is_kind(e, "cancelled") then return true end
  local signal = errors.is(e) and e.result and e.result.signal
  if signal and interrupt.ended_by and signal == signals.name(interrupt.ended_by) then return true end
  return (signal == "SIGPIPE" or errors.is_kind(e, "io") and e.code == "EPIPE") and core.stdout_closed()
end

--- The message handler of the main chunk: what to print of an error that nobody has caught; nil for nothing.
---@param e any
---@return string?
function M.describe(e)
  reported = e
  if is_quiet(e) then return nil end
  -- The main chunk was cancelled because something else in the root scope failed: that is the error to show.
  local first = scopes.root._errors[1]
  if errors.is_kind(e, "cancelled") and e._by == scopes.root and first ~= nil then
    reported = first
    return with_traceback(text_of(first), scopes.root._tracebacks[1])
  end
  if errors.is(e) then return text_of(e) end
  return with_traceback(tostring(e), errors.origin(e) or errors.script_traceback())
end

local function exit_status(ok, failed)
  if interrupt.ended_by then return 128 + interrupt.ended_by end
  if (not ok or failed) and core.stdout_closed() and is_quiet(reported) then return 128 + core.signals.PIPE end
  return (ok and not failed) and 0 or 1
end

--- The end of the root scope; returns the exit status.
---@param ok boolean  the script ended without an error
---@return integer
function M.finish(ok)
  if not ok then scopes.root:cancel("the script failed") end
  local failed = false
  for i, e in ipairs(ending.finish_root()) do
    if e ~= reported and not is_quiet(e) then
      failed = true
      io.stderr:write("corun: ", with_traceback(text_of(e), scopes.root._tracebacks[i]), "\n")
    end
  end
  return exit_status(ok, failed)
end

return M
