--- Collecting: from a running process to its Result, with its time limits.

local core = require "corun.core"
local errors = require "corun.error"
local formats = require "corun.format"
local results = require "corun.result"
local scopes = require "corun.scope"

local M = {}

M.LIMIT = 64 * 1024 * 1024
M.LINGER = 5
local LINGER_AFTER_STOP = 1
local POLL = 0.05

local function earliest(a, b)
  if not a then return b end
  return b and math.min(a, b) or a
end

--- The Reader of a terminal that is neither stdout nor stderr.
local function terminal_of(process)
  local terminal = process.terminal
  if terminal ~= process.stdout and terminal ~= process.stderr then return terminal end
end

local function readers_of(process)
  local readers = { process.stdout }
  readers[#readers + 1] = process.stderr
  readers[#readers + 1] = terminal_of(process)
  return readers
end

--- The Readers whose bytes count as life for idle_timeout.
local function watched(process)
  local readers = readers_of(process)
  for _, reader in ipairs(process._silent or {}) do readers[#readers + 1] = reader end
  return readers
end

local function last_activity(process, readers)
  local latest = process._handle:times()
  for _, reader in ipairs(readers) do
    local _, _, _, _, active_at = reader:_status()
    latest = math.max(latest, active_at)
  end
  return latest
end

--- When the next time limit is due, and which: the time, "timeout" or "idle".
local function next_limit(process, has_ended)
  local options = process._options
  local total = options.timeout and process._handle:times() + options.timeout
  local idle = options.idle_timeout and not has_ended
    and last_activity(process, watched(process)) + options.idle_timeout
  if idle and (not total or idle < total) then return idle, "idle" end
  return total, "timeout"
end

--- Notes why a process is being stopped; the first cause is the one that is reported.
local function note_reason(process, reason)
  process._reason = process._reason or reason
end

--- True when the process has ended: also when it did while we were busy and the loop has not looked since.
local function has_ended(process)
  if not process._handle:status() then core.sleep(0) end
  return process._handle:status()
end

--- Waits for a process that nobody collects: true when a time limit came first. While a plan runs, that is the cause of
--- what follows.
function M.wait_for_limit(process)
  while true do
    local due, reason = next_limit(process)
    local left = due - core.now()
    if left <= 0 then
      while process._stopping do process._stopping:wait() end
      if has_ended(process) then return false end
      note_reason(process, reason)
      return true
    end
    if process._handle:wait(left) then return false end
  end
end

-- The Result

local function holders_of(readers)
  local pids, seen = {}, {}
  for _, reader in ipairs(readers) do
    local fd = reader:_fd()
    for _, pid in ipairs(fd and core.holders(fd) or {}) do
      if not seen[pid] then
        seen[pid] = true
        pids[#pids + 1] = pid
      end
    end
  end
  table.sort(pids)
  return #pids > 0 and pids or nil
end

--- What a Reader has captured: a string, or a Reader where it spilled; and how much was left out.
local function captured(reader, options)
  if not reader then return nil, 0 end
  if select(7, reader:_status()) then return reader:_spilled(), 0 end
  local text = reader:_captured()
  local omitted = select(4, reader:_status())
  local flags = formats.text_flags(options)
  if flags and omitted > 0 then -- nothing may be made of bytes on both sides of the gap
    local head = (options.limit or M.LIMIT) // 2
    text = core.clean(text:sub(1, head), flags) .. core.clean(text:sub(head + 1), flags)
  elseif flags then
    text = core.clean(text, flags)
  end
  return text, omitted
end
M.captured = captured

local function is_good(status, check)
  if not status or not status.code then return false end
  if type(check) ~= "table" then return status.code == 0 end
  for _, code in ipairs(check) do
    if status.code == code then return true end
  end
  return false
end

local function make_result(process, check, held_by, given_up)
  local status = process.status
  local stdout, omitted_out = captured(process.stdout, process._options)
  local stderr, omitted_err = captured(process.stderr, process._options)
  local terminal, omitted_terminal = captured(terminal_of(process), process._options)
  local reason = process._reason or status and status.reason or "exit"
  return results.new {
    ok = not process._reason and is_good(status, check),
    code = status and status.code, signal = status and status.signal, status = status, reason = reason,
    stdout = stdout, stderr = stderr, terminal = terminal, pid = process.pid, argv = process.argv,
    command = process.command, cwd = process.cwd, started_at = process.started_at, duration = process.duration,
    usage = process:usage(), stopped = process._stopped and { table.unpack(process._stopped) },
    survivors = rawget(process, "survivors"), held_by = held_by, _was_shown = process._options.tee and true or nil,
    truncated = omitted_out + omitted_err + omitted_terminal > 0 or given_up or process._reason == "limit",
    _options = process._options, _captured = process.stdout,
    bytes_out = process.stdout and select(3, process.stdout:_status()),
    omitted = omitted_out + omitted_err > 0 and { stdout = omitted_out, stderr = omitted_err } or nil,
  }
end

function M.apply_format(process, result)
  local format = process._options.format
  if not format or format == "bytes" or type(result.stdout) ~= "string" then return result end
  local ok, decoded = pcall(scopes.shield, formats.decode, format, result.stdout)
  if ok then
    result._text, result.stdout = result.stdout, decoded
  elseif result.ok then
    if errors.is(decoded) then
      decoded.message = ("%s: %s"):format(result.command, decoded.message)
      decoded.result = result
    end
    error(decoded, 0)
  end -- what a failed command printed stays as it is
  return result
end

local function ending_of(result)
  local ending = result.status and tostring(result.status) or "still running"
  return result._failed and result._failed .. ": " .. ending or ending
end

--- The Error for a bad end of a Process, or of a running Pipeline with the process in it that decided.
function M.error_of(process, result)
  local options, reason = process._options, result.reason
  local fields = { result = result, where = process._where ~= "" and process._where or nil }
  local kind, what = "exit", ending_of(result)
  if reason == "timeout" then
    kind, fields.seconds = "timeout", options.timeout
    what = ("time limit of %g s exceeded, %s"):format(options.timeout, ending_of(result))
  elseif reason == "idle" then
    kind, fields.seconds = "idle", options.idle_timeout
    what = ("no output for %g s, %s"):format(options.idle_timeout, ending_of(result))
  elseif reason == "limit" then
    kind, fields.stream = "limit", process._limit_stream
    what = ("more than %d bytes of %s, %s"):format(options.limit or M.LIMIT, process._limit_stream, ending_of(result))
  end
  if process._was_stopped then what = what .. " (it was stopped: it asked for a terminal that it did not have?)" end
  local left = result.survivors and "; not stopped: pid " .. table.concat(result.survivors, ", ") or ""
  return errors.new(kind, ("%s: %s after %.2f s%s"):format(result.command, what, result.duration, left), fields)
end

-- Collecting

local function start_capture(process)
  if process._capturing then return end
  process._capturing = true
  local options = process._options
  for _, reader in ipairs(readers_of(process)) do
    local overflow = reader == terminal_of(process) and "truncate" or options.overflow or "error"
    reader:_capture(options.limit or M.LIMIT, overflow)
  end
end

local function overflowed(process)
  for _, name in ipairs { "stdout", "stderr" } do
    local reader = process[name]
    if reader and select(2, reader:_status()) then return name end
  end
end

--- The stop plan, unless one runs or has run; its reason is the first cause. What stops one stage of a Pipeline stops
--- the others.
local function stop_for(process, reason)
  if process._stopping or process._stopped_at and process._reason then return end
  process._was_stopped = (reason == "timeout" or reason == "idle") and process._handle:state() == "T" or nil
  note_reason(process, reason)
  local pipeline = process._pipeline
  if pipeline and reason ~= "cancelled" then pipeline:_begin_stop(reason, process) end
  process:_stop(process._stop_plan)
end
M.stop_for = stop_for

--- When a pipe that is held open after the exit is given up: after `linger` seconds of silence, or a second after a
--- stop plan in all. nil: never.
local function give_up_at(process)
  if process._stopped_at then return process._stopped_at + LINGER_AFTER_STOP end
  local linger = process._options.linger
  if linger == false then return nil end
  local _, ended = process._handle:times()
  return math.max(ended, last_activity(process, readers_of(process))) + (linger or M.LINGER)
end

--- The Readers that are not at their end. One that went over its limit reads no further and counts as done.
local function unfinished(readers)
  local open = {}
  for _, reader in ipairs(readers) do
    local ended, over = reader:_status()
    if not ended and not over then open[#open + 1] = reader end
  end
  return open
end

local function total_of(readers)
  local total = 0
  for _, reader in ipairs(readers) do total = total + select(3, reader:_status()) end
  return total
end

--- What a process that has ended in time has left in its pipes is not late, though we read it late.
local function read_what_is_there(readers)
  local before
  repeat
    before = total_of(readers)
    core.sleep(0)
  until total_of(readers) == before
end

--- Waits until the process and its output have ended, or have been given up. Returns the Readers that were not at
--- their end; raises when the caller's own deadline has passed or it was cancelled.
local function wait_for_all(process, call)
  local handle = process._handle
  local readers = readers_of(process)
  process._stop_news = process._stop_news or core.queue()
  local drained
  while true do
    local stream = overflowed(process)
    if stream and not process._limit_stream then
      process._limit_stream = stream
      stop_for(process, "limit")
    end
    local now, open = core.now(), unfinished(readers)
    local ended = handle:status()
    if ended and #open == 0 and not process._stopping then return open end
    local due
    -- What an explicit terminate has left running is waited for; what a limit has left is not.
    local was_stopped = process._stopped_at and (ended or process._reason)
    if not process._stopping then -- else somebody else stops it, and wakes us then
      if ended or was_stopped then
        due = give_up_at(process)
        if due and now >= due then return open end
      end
      if was_stopped then
        due = earliest(due, now + POLL)
      else
        -- Also after the exit: what holds the pipe open belongs to the command's life. The silence is linger's then.
        local limit, reason = next_limit(process, ended)
        if limit and now >= limit then
          if not drained and has_ended(process) then
            read_what_is_there(readers)
            drained = true
          else
            stop_for(process, reason)
          end
          goto continue
        end
        due = earliest(due, limit)
      end
    end
    if call.deadline and now >= call.deadline then
      error(errors.new("timeout", ("%s: not done after %g s"):format(process.command, call.seconds),
        { seconds = call.seconds }), 0)
    end
    due = earliest(due, call.deadline)
    local first = not ended and handle or nil
    core.wait_any(due and math.max(0, due - now), process._stop_news, first, table.unpack(open))
    if process._released then
      error(errors.new("closed", ("%s: the process was released"):format(process.command)), 0)
    end
    ::continue::
  end
end

--- tee has copied all when run returns.
local function wait_for_copies(process, given_up)
  for _, reader in ipairs(given_up) do reader:_end_copy() end
  for _, reading in ipairs(process._readers or {}) do
    local done
    repeat
      local due, reason = next_limit(process, true)
      done = process._stopped_at or reading:wait(due and math.max(0, due - core.now()))
      if not done then stop_for(process, reason) end
    until done
  end
  if process._stopped_at then process:_end_readers() end
end

--- What has ended a stream before its end: reading it has failed, or storing what came.
local function check_streams(process, result)
  for _, name in ipairs { "stdout", "stderr" } do
    local code = process[name] and select(6, process[name]:_status())
    if code then
      result.ok, result.truncated = false, true
      error(errors.new("io", ("%s: its %s could not be captured: %s"):format(process.command, name, code),
        { code = code, stream = name, result = result }), 0)
    end
  end
end

local function finish(process, call, open)
  process:_end_feeding()
  local held_by = #open > 0 and holders_of(open) or nil
  local result = make_result(process, call.check, held_by, #open > 0)
  for _, reader in ipairs(readers_of(process)) do
    if not reader:_status() then reader:close() end
  end
  if process._terminal and process.status and process.stdin then process.stdin:_abandon() end
  check_streams(process, result)
  return result
end

--- A cancellation while run waits: the process is stopped by its plan, and the Error carries what there was. An end
--- that had come by itself stands; what is noticed of it only now, if it is a good one.
local function cancelled(process, call, e)
  return scopes.shield(function()
    local had_ended = process.status ~= nil
    if not has_ended(process) then stop_for(process, "cancelled") end
    process._stopped_at = process._stopped_at or core.now() -- what others hold open is not waited for any more
    local result = finish(process, call, wait_for_all(process, {}))
    process:_end_readers()
    if had_ended or result.ok then return result end
    e.result = result
    error(e, 0)
  end)
end

--- Collects a process. `call` may hold: deadline and seconds (of the caller: kind "timeout", the process is left
--- alone), check (also: which codes are good), silent (no error for a bad end), raw (no format), owned (the process is
--- run's: a cancellation stops it).
---@return corun.Result
function M.collect(process, call)
  start_capture(process)
  local ok, open = pcall(function()
    local given_up = wait_for_all(process, call)
    wait_for_copies(process, given_up)
    return given_up
  end)
  local result
  if ok then
    result = finish(process, call, open)
  elseif call.owned and errors.is_kind(open, "cancelled") then
    result = cancelled(process, call, open)
  else
    error(open, 0)
  end
  if not result.ok and call.check and not call.silent then error(M.error_of(process, result), 0) end
  return call.raw and result or M.apply_format(process, result)
end

-- Both outputs, line by line

--- An iterator over the lines of several Readers as they come; sources is a list of {Reader, name}.
function M.merged_lines(sources, options)
  local turn = 0 -- each stream in its turn, so that a busy one does not hide the other
  return function()
    while true do
      local waiting = {}
      for i = 1, #sources do
        local source = sources[(turn + i - 1) % #sources + 1]
        local line = source[1]:_try_line(options)
        if line then
          turn = turn + i
          return line, source[2]
        end
        if line == false then waiting[#waiting + 1] = source[1] end
      end
      if #waiting == 0 then return nil end
      core.wait_readable(nil, table.unpack(waiting))
    end
  end
end

return M
