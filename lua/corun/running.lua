--- Running Pipelines: kernel pipes between the stages, their start, their ends, their Result.

local core = require "corun.core"
local collector = require "corun.collect"
local errors = require "corun.error"
local launch = require "corun.launch"
local scopes = require "corun.owning"
local signals = require "corun.signals"
local verdict = require "corun.verdict"

local M = {}

---@class corun.RunningPipeline
---@field stages (corun.Process|corun.FunctionStage)[]  in the order of their start
---@field command string
---@field stdin corun.Writer?   of the first stage; nil where it is no pipe
---@field stdout corun.Reader?  of the last stage
---@field status corun.Status?  nil while a stage runs
local Running = {}
M.Running = Running
Running.__name = "corun.RunningPipeline"

function Running.__index(self, name)
  local method = Running[name]
  if method ~= nil then return method end
  if name == "status" then return verdict.status(self) end
end

function Running:__tostring()
  local status = self.status
  return ("Pipeline (%s): %s"):format(status and tostring(status) or "running", self.command)
end

-- Starting

--- Where a stage cannot start, those before are killed, and the pipes that nobody has taken closed.
local function give_up(run)
  for _, pipe in ipairs(run._pipes) do pipe:close() end
  for _, stage in ipairs(run:_all()) do -- before anything lets them begin
    if stage._scope then stage._scope:cancel("a stage could not start") end
  end
  for _, attendant in ipairs(run._attendants) do attendant._scope:cancel("a stage could not start") end
  scopes.shield(function()
    for _, stage in ipairs(run:_all()) do
      if stage.kill then
        stage:kill()
        stage:close()
      else
        stage:_stop("cancelled")
      end
    end
    for _, attendant in ipairs(run._attendants) do attendant:_end_of_scope() end
  end)
end

--- The options that are every stage's.
local each = {
  "cwd", "env", "clear_env", "limit", "overflow", "linger", "stop", "grace", "crlf", "utf8", "ansi",
}

--- Starts a Pipeline, left to right; where a stage cannot start, those before are killed and those after never start.
--- `how`: stdin, stdout, stderr (defaults), is_collected.
function M.start(pipeline, how)
  core.check()
  local options = pipeline._options
  local run = setmetatable({
    command = tostring(pipeline), stages = {}, _options = options, _home = scopes.owning(), _each = {}, _pipes = {},
    _attendants = {}, _joints = {}, _stops = {},
    _stderr = how.stderr, _branch_stdout = how.stdout, _is_collected = how.is_collected,
    _where = core.where(errors.library_prefix), _began = core.now(),
  }, Running)
  for _, name in ipairs(each) do run._each[name] = options[name] end
  run._format = options.format or pipeline:_last_spec().format
  local ok, last, traceback = errors.call(launch.launch, run, pipeline, how)
  if not ok then
    give_up(run)
    errors.raise(last, traceback)
  end
  run._last = last
  run.stdin, run.stdout = run.stages[1].stdin, last.stdout
  if run.stdin and how.is_collected and not launch.is_fed(pipeline) then run.stdin:write_eof() end -- nobody could write
  run:_watch_limits()
  return run
end

-- Limits

function Running:_all()
  local all = { table.unpack(self.stages) }
  for _, joint in ipairs(self._joints) do all[#all + 1] = joint end
  return all
end

local function has_ended(run)
  core.turn() -- an end that came while we were busy
  for _, stage in ipairs(run:_all()) do
    if not stage.status then return false end
  end
  return true
end

local function last_activity(run)
  local latest = run._began
  for _, stage in ipairs(run:_all()) do
    for _, reader in ipairs { stage.stdout or false, stage.stderr or false } do
      if reader then
        local _, _, _, _, active_at = reader:_status()
        latest = math.max(latest, active_at)
      end
    end
  end
  return latest
end

local LATE = 0.05 -- what has ended in time may still be read that long after its last byte

--- Waits until all stages have ended; false when it is not so at `due` (nil: never).
local function wait_for_ends(run, due)
  for _, stage in ipairs(run:_all()) do
    local left = due and math.max(0, due - core.now())
    local ended
    if stage._handle then ended = stage._handle:wait(left) else ended = stage:_wait(left) end
    if not ended then return false end
  end
  return true
end

local function wait_for_limits(run)
  local options = run._options
  while not run._is_over do
    local total = options.timeout and run._began + options.timeout or math.huge
    local idle = options.idle_timeout and last_activity(run) + options.idle_timeout or math.huge
    local due = math.min(total, idle)
    local now = core.now()
    if now < due then
      if wait_for_ends(run, due) then
        if not run._is_collected then return end -- its output is the script's affair
        core.sleep(math.max(0, due - core.now()))
      end
    elseif has_ended(run) and now < due + LATE then
      core.sleep(LATE / 5)
    else
      return run:_begin_stop(total <= idle and "timeout" or "idle")
    end
  end
end

function Running:_watch_limits()
  if not (self._options.timeout or self._options.idle_timeout) then return end
  local _, scope = scopes.go_background(self._home, function() pcall(wait_for_limits, self) end)
  self._watch = scope
end

--- Whether something of a stage may still be at work: itself, its group, somebody who holds its pipes.
local function is_unfinished(stage)
  if not stage.status or stage._handle and stage._handle:is_alive() then return true end
  for _, reader in ipairs { stage.stdout or false, stage.stderr or false } do
    if reader and not reader:_status() then return true end
  end
  return false
end

--- Begins to stop all stages, each by its plan, at the same time; the first cause is the one that is reported.
--- `culprit`: the stage that is the cause, and is being stopped already. Does not yield.
function Running:_begin_stop(reason, culprit)
  if self._reason then return end
  self._reason, self._culprit = reason, culprit
  for _, stage in ipairs(self:_all()) do
    if stage ~= culprit and is_unfinished(stage) then
      self._stops[#self._stops + 1] = scopes.go_background(self._home, function()
        scopes.shield(function()
          if stage._handle then collector.stop_for(stage, reason) else stage:_stop(reason) end
        end)
      end)
    end
  end
end

-- Collecting

--- What serves the stages has nothing to do any more; what stops them has to be done.
local function end_service(run)
  run._is_over = true
  if run._watch then run._watch:cancel() end
  for _, stopping in ipairs(run._stops) do stopping:_await() end
  for _, attendant in ipairs(run._attendants) do attendant:_end_of_scope() end
end

--- What taps and tees have taken goes out, while somebody takes it.
local function wait_for_attendants(run)
  local linger = run._options.linger
  if linger == nil then linger = collector.LINGER end
  for _, attendant in ipairs(run._attendants) do
    if attendant.moves then
      local before
      repeat
        before = attendant.moves()
      until run._reason or attendant:wait(linger or nil) or attendant.moves() == before
    end
  end
end

--- Waits for the ends of all stages and their output; a cancellation stops them.
local function wait_for_stages(run, collected)
  scopes.scope(function(scope)
    for _, stage in ipairs(run:_all()) do
      scope:go(function()
        local ok, result = pcall(function()
          if stage._collect then return stage:_collect() end
          return collector.collect(stage, { check = stage._options.check, silent = true, owned = true, raw = true })
        end)
        collected[stage] = ok and result or errors.is(result) and result.result or nil
        if not ok then error(result, 0) end
      end)
    end
  end)
  wait_for_attendants(run)
end

local function is_complete(run, collected)
  for _, stage in ipairs(run:_all()) do
    if not collected[stage] then return false end
  end
  return true
end

--- Collects a started Pipeline. `check`: raise on a bad end.
---@return corun.Result
function M.collect(run, check)
  local collected = {}
  local ok, e = pcall(wait_for_stages, run, collected)
  scopes.shield(end_service, run)
  if not ok and not is_complete(run, collected) then error(e, 0) end
  local result, stage = verdict.compose(run, collected)
  if not ok and not (errors.is_kind(e, "cancelled") and result.ok) then -- a success stands
    if errors.is(e) then e.result = result end
    error(e, 0)
  end
  if not result.ok and check then
    if stage.error ~= nil and not run._reason then errors.raise(stage.error, stage._traceback) end
    local culprit = run._culprit or run
    error(collector.error_of({
      _options = culprit._options, _limit_stream = culprit._limit_stream, _where = run._where,
    }, result), 0)
  end
  return collector.apply_format({ _options = { format = run._format } }, result)
end

-- A running Pipeline

--- Waits until all stages have ended. Their output may still be to be read. A cancelled wait leaves them alone. Yields.
---@param seconds number?  at most so long; then kind "timeout" is raised
---@return corun.Status  of the rightmost stage that failed, else of the last
function Running:wait(seconds)
  local due
  if seconds ~= nil then due = core.now() + errors.check_seconds(seconds, "wait") end
  if wait_for_ends(self, due) then return self.status end
  error(errors.new("timeout", ("%s: still running after %g s"):format(self.command, seconds), { seconds = seconds }), 0)
end

--- Sends a signal to each process of the Pipeline.
---@param signal string|integer
---@return boolean  false when all have ended
function Running:signal(signal)
  local number, reached = signals.number(signal, "signal"), false
  for _, stage in ipairs(self.stages) do
    if stage._handle then reached = stage:signal(number) or reached end
  end
  return reached
end

local function end_all(self, end_stage)
  local here -- the stage that the current task is in: it cannot wait for its end
  for _, stage in ipairs(self:_all()) do
    if not stage._handle and scopes.is_inside(stage._scope) then here = stage end
  end
  scopes.shield(function()
    local tasks = {}
    for _, stage in ipairs(self:_all()) do
      if stage ~= here then tasks[#tasks + 1] = scopes.go_background(self._home, end_stage, stage) end
    end
    for _, task in ipairs(tasks) do task:_await() end
  end)
  if here then here._scope:cancel("the stage has ended its Pipeline") end
  return self.status
end

--- The stop plans of all stages, at the same time; functions are cancelled. Not interrupted by a cancellation. Yields.
---@param grace number?  seconds between TERM and KILL, with the default plan; default 5
---@return corun.Status?
function Running:terminate(grace)
  if grace ~= nil then errors.check_seconds(grace, "terminate") end
  return end_all(self, function(stage)
    if stage._handle then stage:terminate(grace) else stage:_stop("cancelled") end
  end)
end

--- SIGKILL to all trees, and waits; functions are cancelled. Yields.
---@return corun.Status
function Running:kill()
  return end_all(self, function(stage)
    if stage._handle then stage:kill() else stage:_stop("cancelled") end
  end)
end

--- Stops what still runs, by the plans, and closes all streams. A second call does nothing. Not interrupted by a
--- cancellation. Yields.
function Running:close()
  if self._closed then return end
  self._closed = true
  end_all(self, function(stage)
    if stage._handle then
      stage:close()
    else
      stage:_stop("cancelled")
      if stage.stdout then stage.stdout:close() end
      if stage.stdin then stage.stdin:_abandon() end
    end
  end)
  scopes.shield(end_service, self)
end

Running.__close = Running.close

return M
