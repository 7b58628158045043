--- corun: coroutines run processes. This is all that scripts see; what each part does is said in its own file.

local core = require "corun.core"
local containment = require "corun.contain"
local errors = require "corun.error"
local scopes = require "corun.owning"
require "corun.task"
require "corun.writer"
require "corun.reader"
local commands = require "corun.command"
local interrupt = require "corun.interrupt"
local locals = require "corun.locals"
local parallel = require "corun.parallel"
local pipelines = require "corun.pipeline"
local processes = require "corun.process"
local shell = require "corun.shell"
local stdio = require "corun.stdio"
local streams = require "corun.stream"
local sync = require "corun.sync"
require "corun.terminal"
local time = require "corun.time"
local tree = require "corun.tree"
require "corun.ending"

---@class corun
---@field stdin corun.Reader    our own standard input
---@field stdout corun.Writer   our own standard output
---@field stderr corun.Writer
---@field env table<string, string>  our own environment: read, assign, iterate
local corun = {
  _VERSION = "corun 0.1.0",
  Error = errors.Error,
  try = errors.try,

  run = commands.run,
  capture = commands.capture,
  sh = commands.sh,
  command = commands.command,
  which = commands.which,
  quote = shell.quote,

  process = processes.process,
  contain = containment.contain,

  pipeline = pipelines.pipeline,
  tee = pipelines.tee,
  merge = pipelines.merge,
  stream = streams.stream,

  scope = scopes.scope,
  go = scopes.go,
  locals = locals.locals,
  tasks = tree.tasks,

  timeout = time.timeout,
  move_on = time.move_on,
  shield = time.shield,
  sleep = time.sleep,
  now = core.now,
  retry = time.retry,
  every = time.every,

  all = parallel.all,
  race = parallel.race,
  map = parallel.map,

  event = sync.event,
  semaphore = sync.semaphore,
  mutex = sync.mutex,
  channel = sync.channel,
  select = sync.select,

  on_signal = interrupt.on_signal,
  signals = interrupt.signals,
}

--- Starts a process in the current scope, with three pipes unless the spec says otherwise. Yields only where it has to
--- flush what is queued for a stream that the child gets.
---@param spec corun.Spec
---@return corun.Process
---Raises kind "spawn" with the step (`stage`) and errno (`code`) that failed; kind "cancelled" in a cancelled scope.
---After each of its errors nothing was started.
function corun.spawn(spec)
  return processes.spawn(spec, scopes.current())
end

--- Starts a process that this scope stops at its end. As corun.spawn; in a cancelled scope nothing new is started, also
--- when the task that calls is not in it.
---@param spec corun.Spec
---@return corun.Process
function scopes.Scope:spawn(spec)
  if self._ended then errors.argument("spawn: the scope has ended") end
  local cancelled = scopes.cancelled_by(self._home)
  if cancelled then
    core.check() -- a cancellation of this task itself
    local reason = cancelled._cancelled.reason
    error(errors.new("cancelled", "spawn: the scope is cancelled", { reason = reason }), 0)
  end
  return processes.spawn(spec, self)
end

corun.env = setmetatable({}, {
  __index = function(_, name) return type(name) == "string" and os.getenv(name) or nil end,
  __newindex = function(_, name, value)
    if type(name) ~= "string" or name == "" or name:find("[=\0]") then
      errors.argument("env: %s is no name for a variable", errors.show(name))
    end
    if value ~= nil then value = shell.word_of(value, "env." .. name) end
    core.setenv(name, value)
  end,
  __pairs = function() return next, core.environ(), nil end,
})

return setmetatable(corun, {
  __index = function(self, name)
    local stream = stdio[name]
    if stream then rawset(self, name, stream) end
    return stream
  end,
})
