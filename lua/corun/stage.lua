--- Function stages of a Pipeline: a Lua function that reads from what comes before it and writes to what follows, as a
--- task. To the Pipeline they are what a Process is.

local core = require "corun.core"
local collector = require "corun.collect"
local errors = require "corun.error"
local results = require "corun.result"
local scopes = require "corun.owning"

local M = {}

---@class corun.FunctionStage
---@field command string          where the function is from
---@field started_at number       seconds since the epoch
---@field duration number         seconds; so far, while it runs
---@field status corun.Status?    nil while it runs; code 1 where it has raised
---@field error any               what it has raised
---@field stdin corun.Writer?     what it reads comes from here: of a first stage that is spawned with a pipe
---@field stdout corun.Reader?    what it writes, where that is captured
local Function = {}
Function.__name = "corun.FunctionStage"
M.Function = Function

function Function.__index(self, name)
  local method = Function[name]
  if method ~= nil then return method end
  if name == "duration" then return (rawget(self, "_ended") or core.now()) - self._started end
end

function Function:__tostring()
  return ("FunctionStage (%s): %s"):format(self.status and tostring(self.status) or "running", self.command)
end

local function is_broken_pipe(e) return errors.is(e) and e.kind == "io" and e.code == "EPIPE" end
M.is_broken_pipe = is_broken_pipe

--- Its streams are its own: what it has not read is not wanted, what it has written goes out before it has ended, also
--- where it has failed.
local function end_streams(self, ok, e, traceback)
  if self._owns_reader then self._reader:close() end
  if not self._owns_writer then return ok, e, traceback end
  local closed, problem, origin = errors.call(self._writer.close, self._writer)
  self._writer:_abandon()
  if ok and not closed then return false, problem, origin end
  return ok, e, traceback
end

local function body(self, fn, home)
  local ok, e, traceback = errors.call(scopes.scope, function()
    core.check() -- it may have been stopped before it began
    fn(self._reader, self._writer)
  end)
  ok, e, traceback = end_streams(self, ok, e, traceback)
  self._ended = core.now()
  home._processes[self] = nil
  if not ok and not scopes.is_cancellation(e) then
    self.error, self._traceback = e, traceback
    if not (is_broken_pipe(e) or self._is_collected) then scopes.fail(home, e, traceback) end
  elseif not ok then
    self._reason = self._reason or "cancelled"
  end
  self.status = results.status(ok and 0 or 1, nil, nil, nil, self._reason)
end

--- Starts fn. `streams`: reader, writer, owns_reader, owns_writer, stdin, stdout.
---@return corun.FunctionStage
function M.start(fn, streams, home, options, is_collected)
  local info = debug.getinfo(fn, "S")
  local self = setmetatable({
    command = info.what == "C" and "function in C" or ("function at %s:%d"):format(info.short_src, info.linedefined),
    started_at = core.time(), _started = core.now(), _options = options, _is_collected = is_collected,
    _reader = streams.reader, _writer = streams.writer, _owns_reader = streams.owns_reader,
    _owns_writer = streams.owns_writer, stdin = streams.stdin, stdout = streams.stdout, _feeds = {},
    _home = home,
  }, Function)
  home._processes[self] = true
  self._task, self._scope = scopes.go_background(home, body, self, fn, home)
  return self
end

--- Cancels it and waits for its end.
function Function:_stop(reason)
  if not self.status then self._reason = self._reason or reason end
  self._scope:cancel("the stage was stopped")
  self._task:_await()
end

Function._end_of_scope = Function._stop

--- False where it still runs after `seconds`.
function Function:_wait(seconds) return self._task:_await(seconds) ~= false end

--- Whether it has ended because nobody read what it wrote.
function Function:_was_cut_off() return is_broken_pipe(self.error) end

local function wait_for_output(self)
  local reader = self.stdout
  if not reader then return end
  reader:_capture(self._options.limit or collector.LIMIT, self._options.overflow or "error")
  while true do
    local ended, over = reader:_status()
    if over then
      self._limit_stream, self._reason = "stdout", "limit"
      self._pipeline:_begin_stop("limit", self)
      return self._scope:cancel("limit")
    end
    if ended then return end
    core.wait_any(nil, reader)
  end
end

--- Waits for its end and its output; as collector.collect does for a Process.
---@return corun.Result
function Function:_collect()
  local ok, e = pcall(function()
    wait_for_output(self)
    self:_wait()
    for _, reading in ipairs(self._readers or {}) do reading:wait() end
  end)
  if not ok then scopes.shield(self._stop, self, "cancelled") end
  local stdout, omitted = collector.captured(self.stdout, self._options)
  if self.stdout and not self.stdout:_status() then self.stdout:close() end
  local status = self.status
  local result = results.new {
    ok = status.ok, code = status.code, status = status, reason = status.reason, stdout = stdout,
    argv = {}, command = self.command, cwd = core.cwd(), started_at = self.started_at, duration = self.duration,
    truncated = omitted > 0 or status.reason == "limit",
    omitted = omitted > 0 and { stdout = omitted, stderr = 0 } or nil,
    error = self.error, _options = self._options, _captured = self.stdout,
    bytes_in = self._reader and self._reader:_position(),
    bytes_out = self._writer:_total(),
  }
  if ok then return result end
  if errors.is(e) then e.result = result end
  error(e, 0)
end

return M
