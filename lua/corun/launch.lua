--- The start of a Pipeline's stages: the pipes between them, and what goes through them.

local core = require "corun.core"
local attaching = require "corun.attach"
local errors = require "corun.error"
local processes = require "corun.process"
local scopes = require "corun.owning"
local specs = require "corun.spec"
local stages = require "corun.stage"
local stdio = require "corun.stdio"

local M = {}

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

--- A task that serves the Pipeline, see scopes.attend; its end is waited for.
local function attend(run, fn, finish, grace)
  local attendant = scopes.attend(fn, finish, grace)
  run._attendants[#run._attendants + 1] = attendant
  return attendant
end

--- Moves what comes from one pipe to several outputs (Pipes and Writers), in the kernel. `first_decides`: it ends when
--- nobody reads the first of them any more, else when nobody reads any.
local function relay(run, first_decides, source, ...)
  local moving = core.relay(first_decides, source, ...)
  local attendant = attend(run, function() moving:wait() end, function() moving:close() end)
  attendant.moves = function() return moving:total() end
  return moving
end

--- Lines with a prefix, to our own stdout.
local function prefix_tap(run, prefix)
  local lines = new_pipe(run).pipe
  local reader, bytes = lines:reader(), 0
  local attendant = attend(run, function()
    for line in reader:lines() do
      stdio.stdout:write(prefix, line, "\n") -- one unbroken piece
      bytes = bytes + #line
    end
    reader:close()
  end)
  attendant.moves = function() return bytes end
  return lines
end

--- A tap on what a stage in the middle writes: to our own stdout, a Writer, a file.
local function tap(run, to, wanted)
  local outer = new_pipe(run)
  local output, is_ours
  if type(wanted) == "string" then
    output = prefix_tap(run, wanted)
  else
    output = wanted == true and stdio.stdout
    if not output then output, is_ours = stdio.writer_for(wanted) end
    output:write() -- what was printed before comes before
    output:drain()
  end
  local moving = relay(run, true, outer.pipe, to.pipe, output)
  if is_ours then output:_abandon() end -- the relay has the file now
  return { pipe = outer.pipe, writers = to.writers, moving = moving }
end

local function stage_options(run, node, from, to, is_last)
  local spec = specs.copy(node.spec)
  if run._each.grace ~= nil then spec.stop = nil end
  if run._each.stop ~= nil then spec.grace = nil end
  for name, value in pairs(run._each) do spec[name] = value end
  local whole = run._options.tee
  if type(whole) == "boolean" or type(whole) == "string" or whole ~= nil and to.is_end then
    spec.tee = whole
    is_last = is_last or whole
  end
  if from.pipe then spec.stdin = from.pipe:read_end()
  elseif from.value ~= nil then spec.stdin = from.value end
  spec.input = from.input
  if spec.tee and not is_last then
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
  process._feeds, process._pipeline, process._moving = {}, run, output.moving
  run.stages[#run.stages + 1] = process
  if from.pipe then from.pipe:close_read() end
  if output.pipe then output.pipe:close_write() end
  connect(process, from, to)
  return process
end

local function function_input(run, from)
  if from.pipe then return from.pipe:reader(), true end
  if type(from.input) == "string" then return core.string_reader(from.input), true end
  if from.value == "pty" then errors.argument("pipeline: option 'stdin': a function has no \"pty\"") end
  if from.input == nil and from.value ~= "pipe" then return stdio.reader_for(from.value) end
  local pipe = core.pipe()
  local writer = pipe:writer()
  if from.input == nil then return pipe:reader(), true, writer end
  attend(run, function()
    attaching.feed_writer(writer, from.input)
    pcall(writer.wait_closed, writer) -- or nobody reads it any more
  end, function() writer:_abandon() end, 0)
  return pipe:reader(), true
end

local function function_output(run, to)
  if to.pipe then return to.pipe:writer(), true end
  if to.value == "pty" then errors.argument("pipeline: option 'stdout': a function has no \"pty\"") end
  if to.value ~= "pipe" and type(to.value) ~= "function" then return stdio.writer_for(to.value) end
  local pipe = core.pipe()
  local reader = pipe:reader()
  if to.value == "pipe" then return pipe:writer(), true, reader end
  local attendant = attend(run, function()
    for line in reader:lines() do to.value(line) end
    reader:close()
  end)
  attendant.moves = function() return reader:_position() end
  return pipe:writer(), true
end

local function launch_function(run, fn, from, to)
  local reader, owns_reader, stdin = function_input(run, from)
  local writer, owns_writer, stdout = function_output(run, to)
  local stage = stages.start(fn, {
    reader = reader, owns_reader = owns_reader, stdin = stdin,
    writer = writer, owns_writer = owns_writer, stdout = stdout,
  }, run._home, run._each, run._is_collected)
  stage._pipeline = run
  local tee = run._options.tee
  if stdout and (tee == true or type(tee) == "string") then
    attaching.tee(stage, stdout, stdio.stdout, tee)
  elseif stdout and tee and to.is_end then
    local output, is_ours = stdio.writer_for(tee)
    attaching.tee(stage, stdout, output, nil, is_ours)
  end
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
  local moving = relay(run, false, from.pipe, table.unpack(outputs))
  if #from.writers == 1 then from.writers[1]._moving = moving end
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
    local cut_off
    scopes.scope(function(scope)
      for _, reader in ipairs(readers) do
        scope:defer(function() reader:close() end)
        scope:go(function()
          local ok, e = pcall(reader._copy_to, reader, writer, true)
          if ok then return end
          if not stages.is_broken_pipe(e) then error(e, 0) end
          cut_off = e -- of each of them
          scope:cancel()
        end)
      end
    end)
    if cut_off then error(cut_off, 0) end
  end, { value = "null" }, to)
  joint._is_joint = true
  run._joints[#run._joints + 1] = joint
  return joint
end

local function first_of(value, ...)
  if value ~= nil or select("#", ...) == 0 then return value end
  return first_of(...)
end

--- What the first stage reads: as the Pipeline's options say, or else its own.
local function input_of(pipeline, how)
  local options = pipeline._options
  if options.input == nil and options.stdin == nil then options = pipeline:_first_spec() end
  if options.input ~= nil then return { input = options.input, value = options.stdin or "pipe" } end
  return { value = first_of(options.stdin, how.stdin) }
end

--- Whether its stdin is fed by corun.
function M.is_fed(pipeline) return input_of(pipeline, {}).input ~= nil end

--- Starts all stages, left to right. Raises where one cannot start; what was started before is in `run` then.
---@param run corun.RunningPipeline
---@param pipeline corun.Pipeline
---@param how table  of running.start
---@return corun.Process|corun.FunctionStage last  whose output is the Pipeline's
function M.launch(run, pipeline, how)
  local to = { is_end = true, value = first_of(pipeline._options.stdout, pipeline:_last_spec().stdout, how.stdout) }
  return launch_chain(run, pipeline._chain, input_of(pipeline, how), to)
end

return M
