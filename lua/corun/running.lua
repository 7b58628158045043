--- Running Pipelines: kernel pipes between the stages, their start, their ends, their Result.

local core = require "corun.core"
local collector = require "corun.collect"
local errors = require "corun.error"
local processes = require "corun.process"
local results = require "corun.result"
local scopes = require "corun.owning"
local specs = require "corun.spec"
local stages = require "corun.stage"
local stdio = require "corun.stdio"

local M = {}

---@class corun.RunningPipeline
---@field stages (corun.Process|corun.FunctionStage)[]  in the order of their start
---@field command string
---@field stdin corun.Writer?   of the first stage; nil where it is no pipe
---@field stdout corun.Reader?  of the last stage
---@field status corun.Status?  nil while a stage runs
local Running = {}
Running.__name = "corun.RunningPipeline"

function Running.__index(self, name)
  local method = Running[name]
  if method ~= nil then return method end
  if name == "status" then return Running._status(self) end
end

function Running:__tostring()
  local status = self.status
  return ("Pipeline (%s): %s"):format(status and tostring(status) or "running", self.command)
end

-- Starting. An endpoint is what a stage's stdin or stdout is connected to: { pipe = …, writers = the stages that write
-- to it }, or { value = what a spec takes }.

local function new_pipe(run)
  local pipe = core.pipe()
  run._pipes[#run._pipes + 1] = pipe
  return { pipe = pipe, writers = {} }
end

--- Notes who reads what whom writes: a writer that is cut off has not failed if its readers have ended well.
local function connect(stage, from, to)
  for _, writer in ipairs(from.writers or {}) do table.insert(writer._feeds, stage) end
  if to.writers then table.insert(to.writers, stage) end
end

--- Moves what comes from one pipe to several outputs (Pipes and Writers), in the kernel.
local function relay(run, source, ...)
  local moving = core.relay(source, ...)
  run._relays[#run._relays + 1] = moving
  scopes.attend(function() moving:wait() end, function() moving:close() end)
  return moving
end

--- A tap on what a stage in the middle writes: to our own stdout, a Writer, a file.
local function tap(run, to, wanted)
  local outer = new_pipe(run)
  local output
  if type(wanted) == "string" then
    local lines = new_pipe(run)
    local reader = lines.pipe:reader()
    scopes.attend(function()
      for line in reader:lines() do stdio.stdout:write(wanted, line, "\n") end
    end, function() reader:close() end)
    output = lines.pipe
  else
    output = wanted == true and stdio.stdout or (stdio.writer_for(wanted))
  end
  if output == stdio.stdout then output:write() end -- what was printed before comes before
  relay(run, outer.pipe, to.pipe, output)
  return { pipe = outer.pipe, writers = to.writers }
end

local function stage_options(run, node, from, to, is_last)
  local spec = specs.copy(node.spec)
  for name, value in pairs(run._each) do spec[name] = value end
  if from.pipe then spec.stdin = from.pipe:read_end()
  elseif from.value ~= nil then spec.stdin = from.value end
  spec.input = from.input
  if spec.tee and not is_last and not run._each.tee then
    to = tap(run, to, spec.tee)
    spec.tee = nil
  end
  if to.pipe then spec.stdout = to.pipe:write_end()
  elseif to.value ~= nil then spec.stdout = to.value end
  if spec.stderr == nil then spec.stderr = run._stderr end
  return specs.check(spec, "pipeline"), to
end

local launchers = {}

function launchers.command(run, node, from, to)
  local options, output = stage_options(run, node, from, to, not to.pipe)
  local process = processes.start_stage(options, run._home, run._is_collected)
  process._feeds, process._pipeline = {}, run
  run.stages[#run.stages + 1] = process
  if from.pipe then from.pipe:close_read() end
  if output.pipe then output.pipe:close_write() end
  connect(process, from, to)
  return process
end

local function function_input(from)
  if from.pipe then return from.pipe:reader(), true end
  if from.input ~= nil then
    if type(from.input) == "string" then return core.string_reader(from.input), true end
    local pipe = core.pipe()
    local writer = pipe:writer()
    scopes.attend(function()
      local ok, e = pcall(writer.writelines, writer, from.input)
      writer:write_eof()
      if not ok and not errors.is_kind(e, "io") then error(e, 0) end
      if ok then writer:wait_closed() end
    end, function() writer:_abandon() end)
    return pipe:reader(), true
  end
  if from.value == "pipe" then
    local pipe = core.pipe()
    return pipe:reader(), true, pipe:writer()
  end
  return stdio.reader_for(from.value)
end

local function function_output(to)
  if to.pipe then return to.pipe:writer(), true end
  if to.value == "pipe" then
    local pipe = core.pipe()
    return pipe:writer(), true, pipe:reader()
  end
  return stdio.writer_for(to.value)
end

local function launch_function(run, fn, from, to)
  local reader, owns_reader, stdin = function_input(from)
  local writer, owns_writer, stdout = function_output(to)
  local stage = stages.start(fn, {
    reader = reader, owns_reader = owns_reader, stdin = stdin,
    writer = writer, owns_writer = owns_writer, stdout = stdout,
  }, run._home, run._each, run._is_collected)
  stage._pipeline = run
  return stage
end

launchers["function"] = function(run, node, from, to)
  local stage = launch_function(run, node.fn, from, to)
  run.stages[#run.stages + 1] = stage
  connect(stage, from, to)
  return stage
end

--- Returns the stage whose output is the chain's.
local function launch_chain(run, chain, from, to)
  local last
  for i, node in ipairs(chain) do
    local next_to = i < #chain and new_pipe(run) or to
    last = launchers[node.kind](run, node, from, next_to)
    from = next_to
  end
  return last
end

--- All that comes goes to each of the branches.
function launchers.tee(run, node, from, to)
  local outputs, inputs, last = {}, {}, nil
  for i in ipairs(node.branches) do
    inputs[i] = new_pipe(run)
    inputs[i].writers = from.writers
    outputs[i] = inputs[i].pipe
  end
  relay(run, from.pipe, table.unpack(outputs))
  for i, branch in ipairs(node.branches) do
    local own = branch:_last_spec().stdout
    if own == nil then own = run._branch_stdout end
    last = launch_chain(run, branch._chain, inputs[i], i == #node.branches and to or { value = own })
  end
  return last
end

--- What all of them write, line by line.
function launchers.merge(run, node, from, to)
  local readers = {}
  for i, source in ipairs(node.sources) do
    local output, first = new_pipe(run), source:_first_spec()
    local own = { input = first.input, value = first.input and "pipe" or first.stdin or "null" }
    launch_chain(run, source._chain, i == 1 and from or own, output)
    readers[i] = output.pipe:reader()
    for _, writer in ipairs(output.writers) do
      if to.writers then table.insert(to.writers, writer) end
    end
  end
  local joint = launch_function(run, function(_, writer)
    scopes.scope(function(scope)
      for _, reader in ipairs(readers) do
        scope:defer(function() reader:close() end)
        scope:go(reader._copy_to, reader, writer, true)
      end
    end)
  end, { value = "null" }, to)
  joint._is_joint = true
  run._joints[#run._joints + 1] = joint
  return joint
end

--- The pipes that nobody has taken, where the start has failed.
local function close_pipes(run)
  for _, pipe in ipairs(run._pipes) do pipe:close() end
end

local function give_up(run)
  close_pipes(run)
  for _, moving in ipairs(run._relays) do moving:close() end
  scopes.shield(function()
    for _, stage in ipairs(run:_all()) do
      if stage.kill then
        stage:kill()
        stage:close()
      else
        stage:_stop("cancelled")
      end
    end
  end)
end

--- The options that are every stage's.
local each = {
  "cwd", "env", "clear_env", "limit", "overflow", "linger", "stop", "grace", "crlf", "utf8", "ansi", "tee",
}

local function first_of(value, ...)
  if value ~= nil or select("#", ...) == 0 then return value end
  return first_of(...)
end

--- What the first stage reads: as the Pipeline's options say, or else its own.
local function input_of(pipeline, how)
  local options = pipeline._options
  if options.input == nil and options.stdin == nil then options = pipeline:_first_spec() end
  if options.input ~= nil then return { input = options.input, value = "pipe" } end
  return { value = first_of(options.stdin, how.stdin) }
end

--- Starts a Pipeline, left to right; where a stage cannot start, those before are killed and those after never start.
--- `how`: stdin, stdout, stderr (defaults), is_collected.
function M.start(pipeline, how)
  core.check()
  local options = pipeline._options
  local run = setmetatable({
    command = tostring(pipeline), stages = {}, _options = options, _home = scopes.owning(), _each = {}, _pipes = {},
    _relays = {}, _joints = {}, _stderr = how.stderr, _branch_stdout = how.stdout, _is_collected = how.is_collected,
    _where = core.where(errors.library_prefix), _began = core.now(),
  }, Running)
  for _, name in ipairs(each) do run._each[name] = options[name] end
  local at_end = pipeline:_last_spec()
  run._format = options.format or at_end.format
  local to = { value = first_of(options.stdout, at_end.stdout, how.stdout) }
  local ok, last, traceback = errors.call(launch_chain, run, pipeline._chain, input_of(pipeline, how), to)
  if not ok then
    give_up(run)
    errors.raise(last, traceback)
  end
  run._last = last
  run.stdin, run.stdout = run.stages[1].stdin, last.stdout
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
  core.sleep(0) -- an end that came while we were busy
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

local function wait_for_limits(run)
  local options = run._options
  while not run._is_over do
    local total = options.timeout and run._began + options.timeout or math.huge
    local idle = options.idle_timeout and last_activity(run) + options.idle_timeout or math.huge
    local due = math.min(total, idle)
    local now = core.now()
    if now < due then
      core.sleep(due - now)
    elseif has_ended(run) and now < math.max(due, last_activity(run)) + LATE then
      core.sleep(LATE / 5)
    else
      return run:_stop_all(total <= idle and "timeout" or "idle")
    end
  end
end

function Running:_watch_limits()
  if not (self._options.timeout or self._options.idle_timeout) then return end
  local _, scope = scopes.go_background(self._home, function() pcall(wait_for_limits, self) end)
  self._watch = scope
end

--- Stops all stages, each by its plan, at the same time; the first cause is the one that is reported. `but`: a stage
--- that is being stopped already. Yields.
function Running:_stop_all(reason, but, stream)
  if self._reason then return end
  self._reason, self._limit_stream = reason, stream
  local tasks = {}
  for _, stage in ipairs(self:_all()) do
    if stage ~= but then
      tasks[#tasks + 1] = scopes.go_background(self._home, function()
        scopes.shield(function()
          if stage._handle then collector.stop_for(stage, reason) else stage:_stop(reason) end
        end)
      end)
    end
  end
  for _, task in ipairs(tasks) do task:_await() end
end

-- The Result

local function was_cut_off(stage)
  if stage._was_cut_off then return stage:_was_cut_off() end
  local status = stage.status
  return status and (status.signal == "SIGPIPE" or status.code == 141) -- 141: what a shell makes of it
end

--- Whether a stage counts as good: it ended well, or it was cut off by stages that ended well.
local function is_good(stage)
  local check, status = stage._options.check, stage.status
  if not status or stage._reason then return false end
  if not stage._is_joint and check == false or status.code == 0 then return true end
  if type(check) == "table" then
    for _, code in ipairs(check) do
      if status.code == code then return true end
    end
  end
  if not was_cut_off(stage) or #stage._feeds == 0 then return stage._is_joint and was_cut_off(stage) end
  for _, reader in ipairs(stage._feeds) do
    if not is_good(reader) then return false end
  end
  return true
end

--- The stage that decides: the rightmost that has failed, else the last; and whether all is well.
local function decisive(run)
  for _, joint in ipairs(run._joints) do
    if not is_good(joint) then return joint, false, nil end
  end
  for i = #run.stages, 1, -1 do
    if not is_good(run.stages[i]) then return run.stages[i], false, i end
  end
  return run.stages[#run.stages], true, #run.stages
end

function Running._status(self)
  for _, stage in ipairs(self:_all()) do
    if not stage.status then return nil end
  end
  return (decisive(self)).status
end

local function total_usage(list)
  local total
  for _, result in pairs(list) do
    if result.usage then
      total = total or { user_time = 0, system_time = 0, max_rss = 0 }
      total.user_time = total.user_time + result.usage.user_time
      total.system_time = total.system_time + result.usage.system_time
      total.max_rss = math.max(total.max_rss, result.usage.max_rss or 0)
    end
  end
  return total
end

local function add_streams(run, result, collected)
  local last = collected[run._last]
  result.stdout, result.omitted = last.stdout, last.omitted
  local held, seen = {}, {}
  for _, stage in pairs(collected) do
    for _, pid in ipairs(stage.held_by or {}) do
      if not seen[pid] then held[#held + 1] = pid end
      seen[pid] = true
    end
    result.truncated = result.truncated or stage.truncated
  end
  table.sort(held)
  result.held_by = #held > 0 and held or nil
end

--- What the stages came to, as one Result. `collected`: stage → its Result.
local function compose(run, collected)
  local list = {}
  for i, stage in ipairs(run.stages) do
    list[i] = collected[stage]
    list[i].ok = is_good(stage)
  end
  local stage, good, number = decisive(run)
  local own = collected[stage]
  local result = results.new {
    ok = good and not run._reason, code = own.code, signal = own.signal, status = own.status,
    reason = run._reason or own.reason, stderr = own.stderr, pid = own.pid, argv = own.argv, command = run.command,
    cwd = own.cwd, started_at = run.stages[1].started_at, duration = core.now() - run._began,
    usage = total_usage(list), stopped = own.stopped, truncated = false, stages = list,
    _was_shown = own._was_shown, _failed = not good and number and ("stage %d, %s"):format(number, own.command) or nil,
  }
  add_streams(run, result, collected)
  return result, stage
end

local function finish(run, collected)
  run._is_over = true
  if run._watch then run._watch:cancel() end
  for _, moving in ipairs(run._relays) do
    if run._reason then moving:close() else moving:wait() end
  end
  return compose(run, collected)
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
  if not ok and not is_complete(run, collected) then error(e, 0) end
  local result, stage = scopes.shield(finish, run, collected)
  if not ok and not (errors.is_kind(e, "cancelled") and result.ok) then -- a success stands
    if errors.is(e) then e.result = result end
    error(e, 0)
  end
  if not result.ok and check then
    if stage.error ~= nil and not run._reason then errors.raise(stage.error, stage._traceback) end
    error(collector.error_of(run, result), 0)
  end
  return collector.apply_format({ _options = { format = run._format } }, result)
end

-- A running Pipeline

--- Waits until all stages have ended. Their output may still be to be read. A cancelled wait leaves them alone. Yields.
---@param seconds number?  at most so long; then kind "timeout" is raised
---@return corun.Status  of the rightmost stage that failed, else of the last
function Running:wait(seconds)
  local deadline = seconds and core.now() + errors.check_seconds(seconds, "wait")
  for _, stage in ipairs(self:_all()) do
    local left = deadline and math.max(0, deadline - core.now())
    local ended
    if stage._handle then ended = stage._handle:wait(left) else ended = stage:_wait(left) end
    if not ended then
      error(errors.new("timeout", ("%s: still running after %g s"):format(self.command, seconds),
        { seconds = seconds }), 0)
    end
  end
  return self.status
end

--- Sends a signal to each process of the Pipeline.
---@param signal string|integer
---@return boolean  false when all have ended
function Running:signal(signal)
  local reached = false
  for _, stage in ipairs(self.stages) do
    if stage._handle then reached = stage:signal(signal) or reached end
  end
  return reached
end

local function end_all(self, end_stage)
  scopes.shield(function()
    local tasks = {}
    for _, stage in ipairs(self:_all()) do
      tasks[#tasks + 1] = scopes.go_background(self._home, end_stage, stage)
    end
    for _, task in ipairs(tasks) do task:_await() end
  end)
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
  self._closed, self._is_over = true, true
  if self._watch then self._watch:cancel() end
  end_all(self, function(stage)
    if stage._handle then
      stage:close()
    else
      stage:_stop("cancelled")
      if stage.stdout then stage.stdout:close() end
      if stage.stdin then stage.stdin:_abandon() end
    end
  end)
  for _, moving in ipairs(self._relays) do moving:close() end
end

Running.__close = Running.close

return M
