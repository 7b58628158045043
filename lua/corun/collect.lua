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
  if not process._handle:status() then core.turn() end
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

--- What a Reader has captured: a string, or a Reader where it spilled; how much was left out; the code of what has
--- ended it before its end. `and_close`: nobody will ask again.
local function captured(reader, options, and_close)
  if not reader then return nil, 0 end
  local text, omitted, code = reader:_captured(and_close)
  if not text then return reader:_spilled(), 0, code end
  if not (options.crlf or options.utf8 or options.ansi) then return text, omitted, code end
  local flags = formats.text_flags(options)
  if flags and omitted > 0 then -- nothing may be made of bytes on both sides of the gap
    local head = (options.limit or M.LIMIT) // 2
    text = core.clean(text:sub(1, head), flags) .. core.clean(text:sub(head + 1), flags)
  elseif flags then
    text = core.clean(text, flags)
  end
  return text, omitted, code
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

--- What has ended a stream before its end: reading it has failed, or storing what came.
local function stream_failed(process, result, name, code)
  result.ok, result.truncated = false, true
  error(errors.new("io", ("%s: its %s could not be captured: %s"):format(process.command, name, code),
    { code = code, stream = name, result = result }), 0)
end

--- What few Results have.
local function add_rare(result, process)
  result.reason = process._reason or result.reason
  result.ok = result.ok and not process._reason
  result.truncated = result.truncated or process._reason == "limit"
  result.stopped = process._stopped and { table.unpack(process._stopped) }
  result.survivors = rawget(process, "survivors")
  local omitted
  result.terminal, omitted = captured(terminal_of(process), process._options)
  result.truncated = result.truncated or omitted > 0
  result._was_shown = process._options.tee and true or nil
  if not result.status then results.complete(result) end -- it goes on
end

--- `undisturbed`: nothing but its own end has ended it.
local function make_result(process, call, held_by, given_up, undisturbed)
  local options, status = process._options, process.status
  local and_close = call.is_new and not options._is_special
  local stdout, omitted_out, failed_out = captured(process.stdout, options, and_close)
  local stderr, omitted_err, failed_err = captured(process.stderr, options, and_close)
  local result = results.new {
    ok = is_good(status, call.check), code = status and status.code, status = status,
    reason = status and status.reason or "exit", stdout = stdout, stderr = stderr,
    truncated = given_up or omitted_out + omitted_err > 0, _process = process,
  }
  if status and status.signal then result.signal = status.signal end
  if held_by then result.held_by = held_by end
  if omitted_out + omitted_err > 0 then result.omitted = { stdout = omitted_out, stderr = omitted_err } end
  if not undisturbed or options._is_special then add_rare(result, process) end
  return result, failed_out, failed_err
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
  local options = process._options
  local limit, overflow = options.limit or M.LIMIT, options.overflow or "error"
  local stdout, stderr = process.stdout, process.stderr
  if stdout then stdout:_capture(limit, overflow) end
  if stderr then stderr:_capture(limit, overflow) end
  local terminal = options._is_special and terminal_of(process)
  if terminal then terminal:_capture(limit, "truncate") end
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
    core.turn()
  until total_of(readers) == before
end

--- Waits until the process and its output have ended, or have been given up, and stops it when a limit says so. Returns
--- the Readers that were not at their end; raises when the caller's own deadline has passed or it was cancelled.
local function watch_all(process, call)
  local handle = process._handle
  local readers = readers_of(process)
  process._stop_news = process._stop_news or core.queue()
  local drained
  while true do
    if process._released then
      error(errors.new("closed", ("%s: the process was released"):format(process.command)), 0)
    end
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
    ::continue::
  end
end

local function is_being_stopped(process)
  return process._stopping or process._stopped_at or process._reason or process._limit_stream
end

local none = {} -- Readers: all are at their ends

--- The same; for most, which do not come to a limit and are not stopped, it is one wait.
local function wait_for_all(process, call)
  local options = process._options
  if not (call.deadline or options.idle_timeout) and (call.is_new or not is_being_stopped(process)) then
    local linger = options.linger
    if linger == nil then linger = M.LINGER end
    local terminal = options._is_special and terminal_of(process)
    local is_over = core.wait_whole(process._handle, linger or nil, options.timeout, process.stdout, process.stderr,
      terminal)
    if is_over and (call.is_new or not is_being_stopped(process)) then return none end
  end
  return watch_all(process, call)
end

--- tee has copied all when run returns.
local function wait_for_copies(process, given_up)
  for _, reader in ipairs(given_up) do reader:_end_copy() end
  for _, reading in ipairs(process._readers or none) do
    local done
    repeat
      local due, reason = next_limit(process, true)
      done = process._stopped_at or reading:wait(due and math.max(0, due - core.now()))
      if not done then stop_for(process, reason) end
    until done
  end
  if process._stopped_at then process:_end_readers() end
end

local function wait_to_the_end(process, call)
  local given_up = wait_for_all(process, call)
  if given_up ~= none or process._options._is_special then wait_for_copies(process, given_up) end
  return given_up
end

local function finish(process, call, open)
  local is_special = process._options._is_special
  local undisturbed = open == none and call.is_new
  if not undisturbed or process._options.input ~= nil then process:_end_feeding() end
  local held_by = #open > 0 and holders_of(open) or nil
  local result, failed_out, failed_err = make_result(process, call, held_by, #open > 0, undisturbed)
  if open ~= none then
    for _, reader in ipairs(readers_of(process)) do
      if not reader:_status() then reader:close() end
    end
  end
  if is_special and process._terminal and process.status and process.stdin then process.stdin:_abandon() end
  if failed_out then stream_failed(process, result, "stdout", failed_out) end
  if failed_err then stream_failed(process, result, "stderr", failed_err) end
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
--- run's: a cancellation stops it), is_new (nobody else knows it).
---@return corun.Result
function M.collect(process, call)
  if call.is_new or not process._capturing then
    start_capture(process)
    if not call.is_new then process._capturing = true end
  end
  local ok, open = pcall(wait_to_the_end, process, call)
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
