--- Scopes: who owns tasks and processes, and what a cancellation concerns.
---
--- A scope is opened inside another one, by a task, for the length of a call; the innermost is the task's current one.
--- An owning scope (corun.scope, the root) waits at its end for its tasks and stops its processes; a bounding one
--- (corun.timeout, move_on, shield) only limits time, and what is started in it belongs to the owning scope around.
--- Cancellation is level-triggered: while a scope around it is cancelled (up to a shield), every blocking operation of
--- a task raises kind "cancelled". The model is Trio's: cancel scopes and nurseries.

local core = require "corun.core"
local errors = require "corun.error"
local signals = require "corun.signals"
local stdio = require "corun.stdio"

local M = {}

---@class corun.Scope
---@field deadline number?  time of corun.now() at which the scope is cancelled; may be set and moved while it runs
---@field _parent corun.Scope?
---@field _home corun.Scope        the owning scope: itself, or the nearest around
---@field _inside table<corun.Task, true>    tasks whose current scope this is
---@field _children table<corun.Scope, true> scopes opened in it that are still open
---@field _cancelled table?        {reason = …} once it is
---@field _shield boolean?
---@field _tasks table<corun.Task, true>?    owning: started in it, not ended
---@field _processes table<corun.Process, true>? owning: running, or with members of their group left
---@field _errors any[]?           owning: of its body, tasks and defers, in order
---@field _queue any               owning: woken when a task ends
---@field _defers function[]?
local Scope = {}
Scope.__name = "corun.Scope"
M.Scope = Scope

local function new(parent, owning)
  local scope = { _parent = parent, _inside = {}, _children = {} }
  if owning then
    scope._home, scope._tasks, scope._processes, scope._errors = scope, {}, {}, {}
    scope._queue = core.queue()
  else
    scope._home = parent and parent._home
  end
  if parent then parent._children[scope] = true end
  return setmetatable(scope, Scope)
end

local root = new(nil, true)
M.root = root
M.root_tracebacks = {} -- by the number of the error

--- What is nobody's business but corun's own: reading for line functions, watching time limits.
local background = new(nil, false)
background._home = root

--- The cancelled scope that concerns a task whose current scope is `scope`, or nil.
local function cancelled_by(scope)
  while scope do
    if scope._cancelled then return scope end
    if scope._shield then return nil end
    scope = scope._parent
  end
end

local function cancelled_around(scope)
  return not scope._shield and cancelled_by(scope._parent) or nil
end

local function enter(task, scope)
  local current = core.scope()
  if current then current._inside[task] = nil end
  scope._inside[task] = true
  core.enter(scope, cancelled_by(scope) ~= nil)
end

enter(core.current(), root)

local function deliver(scope)
  for task in pairs(scope._inside) do core.cancel(task, true) end
  for child in pairs(scope._children) do
    if not child._shield then deliver(child) end
  end
end

local function set_deadline(scope, at)
  scope._deadline = at
  if not scope._timer then
    if not at then return end
    scope._timer = core.timer(scope)
  end
  if not scope._cancelled then scope._timer:set(at) end
end

function Scope.__index(scope, name)
  if name == "deadline" then return rawget(scope, "_deadline") end
  return Scope[name]
end

function Scope.__newindex(scope, name, value)
  if name == "deadline" then
    if value ~= nil and type(value) ~= "number" then
      errors.argument("deadline: a time of corun.now() or nil expected, got %s", errors.show(value))
    end
    set_deadline(scope, value)
  else
    rawset(scope, name, value)
  end
end

function Scope:__tostring()
  return ("Scope (%s)"):format(self._cancelled and "cancelled" or self._ended and "ended" or "open")
end

--- Cancels what is in the scope: its body and tasks get kind "cancelled" from their blocking operations until they
--- have ended; its processes are stopped at its end. Does not wait and does not yield; a second call changes nothing.
---@param reason any?  for the Errors' field `reason` and the scope's second result
function Scope:cancel(reason)
  if self._cancelled or self._ended then return end
  self._cancelled = { reason = reason }
  if self._timer then self._timer:set(nil) end
  deliver(self)
end

local function close(scope)
  scope._ended = true
  if scope._timer then scope._timer:set(nil) end
  if scope._parent then scope._parent._children[scope] = nil end
end

local function finish_within(task, scope, outer, ...)
  enter(task, outer)
  close(scope)
  return ...
end

-- A task that opens a scope, or is cancelled by itself, gets a bounding scope of its own below its home, so that
-- cancelling it reaches what it has opened and nothing else. Most tasks never need one.
local bases = setmetatable({}, { __mode = "k" })

local function base_of(task)
  local base = bases[task]
  local home = task:_scope()
  if not base and home._tasks and home._tasks[task] then
    base = new(home, false)
    bases[task] = base
    home._inside[task] = nil
    base._inside[task] = true
    task:_set_scope(base)
  end
  return base
end

--- Opens a scope of the current task in its current one.
local function open(owning)
  base_of(core.current())
  local scope = new(core.scope(), owning)
  -- Opened in a __close handler, it is not concerned by what cancels the function that the handler cleans up after.
  scope._depth = core.closing_depth()
  scope._shield = scope._depth > (scope._parent._depth or 0) or nil
  return scope
end

--- Cancels one task alone.
function M.cancel_task(task, reason)
  local base = task:_state() ~= "ended" and task:_state() ~= "failed" and base_of(task)
  if base then base:cancel(reason) end
end

--- pcall(fn, ...) with `scope` as the current one, which is closed after.
local function within(scope, fn, ...)
  local task, outer = core.current(), core.scope()
  enter(task, scope)
  return finish_within(task, scope, outer, pcall(fn, ...))
end

local function reraise(ok, ...)
  if not ok then error((...), 0) end
  return ...
end

--- Shields fn from the cancellation of scopes around it, for clean-up that has to wait for something. It may still
--- raise what it raises. Yields where fn does.
---@param fn function
---@param seconds number?  at most so long; then kind "timeout" is raised
---@return any ...  what fn returns
function M.shield(fn, seconds)
  if type(fn) ~= "function" then errors.argument("shield: a function expected, got %s", errors.show(fn)) end
  local scope = open(false)
  scope._shield = true
  if seconds then return reraise(within(scope, M.timeout, seconds, fn)) end
  return reraise(within(scope, fn))
end

-- Time

local function check_seconds(seconds, what)
  if type(seconds) ~= "number" or seconds ~= seconds or seconds < 0 then
    errors.argument("%s: seconds expected, 0 or more, got %s", what, errors.show(seconds))
  end
  return seconds
end
M.check_seconds = check_seconds

--- True for what a blocking operation raises in a cancelled scope, false for the same kind from await of a task that
--- was cancelled: that is an error like any other.
local function is_cancellation(e)
  return errors.is_kind(e, "cancelled") and e._by ~= nil
end

--- True where `e` is the expiry of this very scope on its way out: of the cancelled ones it is the outermost, whichever
--- was the first to raise.
local function is_expiry(scope, e)
  return is_cancellation(e) and scope._cancelled and scope._cancelled.expired and not cancelled_around(scope)
end

local function timed(scope, seconds, ok, ...)
  if ok then return ... end
  local e = ...
  if is_expiry(scope, e) then
    e = errors.new("timeout", ("time limit of %g s exceeded"):format(seconds), { seconds = seconds, result = e.result })
  end
  error(e, 0)
end

local function bounded(seconds)
  local scope = open(false)
  if seconds < math.huge then set_deadline(scope, core.now() + seconds) end
  return scope
end

--- Calls fn(...) in the same task with a time limit. What is started in it belongs to the scope around and is not
--- stopped; a process that fn waits for in run is. Limits nest, the nearest wins, and the one that expired raises.
--- A result that is there stands, though it came late. Yields where fn does.
---@param seconds number  0 is "at once": the first blocking operation raises
---@param fn function
---@return any ...  what fn returns
---Raises kind "timeout" (field seconds).
function M.timeout(seconds, fn, ...)
  check_seconds(seconds, "timeout")
  if type(fn) ~= "function" then errors.argument("timeout: a function expected, got %s", errors.show(fn)) end
  local scope = bounded(seconds)
  if seconds == 0 then M.expire(scope) end
  return timed(scope, seconds, within(scope, fn, ...))
end

local function moved_on(scope, ok, ...)
  if ok then return ... end
  local e = ...
  if is_expiry(scope, e) then return nil, "timeout" end
  error(e, 0)
end

--- As corun.timeout, but returns nil, "timeout" where that raises.
---@param seconds number
---@param fn function
---@return any ...
function M.move_on(seconds, fn, ...)
  check_seconds(seconds, "move_on")
  if type(fn) ~= "function" then errors.argument("move_on: a function expected, got %s", errors.show(fn)) end
  local scope = bounded(seconds)
  if seconds == 0 then M.expire(scope) end
  return moved_on(scope, within(scope, fn, ...))
end

function M.expire(scope)
  if scope._cancelled or scope._ended then return end
  scope:cancel("deadline")
  scope._cancelled.expired = true
end

-- Ownership

--- Notes an error of an owning scope and cancels it. The traceback is for an error that has none of its own.
local function fail(scope, e, traceback)
  if scope._is_session then return M.on_session_error(e) end
  local list = scope._errors
  for _, known in ipairs(list) do
    if rawequal(known, e) then return end -- raised by a task, and again where that was awaited
  end
  list[#list + 1] = e
  if scope == root then M.root_tracebacks[#list] = traceback end
  scope:cancel(e)
end
M.fail = fail

local live = 0 -- tasks and running processes: while there are any, SIGINT is ours

local function count_live(change)
  live = live + change
  if not M.hosted then core.set_busy(live > 0) end
end
M.count_live = count_live

--- Starts fn(...) as a task of this scope. It runs at the next wait; the scope waits for it at its end; what it
--- raises cancels the scope.
---@param fn function
---@return corun.Task
function Scope:go(fn, ...)
  if type(fn) ~= "function" then errors.argument("go: a function expected, got %s", errors.show(fn)) end
  if self._ended then errors.argument("go: the scope has ended") end
  local home = self._home
  local task = core.task(home, fn, ...)
  home._tasks[task] = true
  home._inside[task] = true
  if cancelled_by(home) then core.cancel(task, true) end
  count_live(1)
  return task
end

--- A task of corun's own: no scope waits for it; whoever made it knows when it is done. Its own scope is shielded from
--- the one around, and cancelling that scope is how it is given up.
function M.go_background(around, fn, ...)
  local scope = new(around or background, false)
  scope._shield = true
  local task = core.task(scope, fn, ...)
  scope._inside[task] = true
  return task, scope
end

--- Calls fn when the scope ends, after its tasks have and before its processes are stopped; last first, shielded from
--- cancellation. What it raises is an error of the scope.
---@param fn function
function Scope:defer(fn)
  if type(fn) ~= "function" then errors.argument("defer: a function expected, got %s", errors.show(fn)) end
  local home = self._home
  home._defers = home._defers or {}
  table.insert(home._defers, fn)
end

local function wait_for_tasks(scope)
  while next(scope._tasks) do scope._queue:wait() end
end

local function run_defers(scope)
  while scope._defers and #scope._defers > 0 do
    local ok, e = pcall(table.remove(scope._defers))
    if not ok then fail(scope, e) end
  end
end

--- Stops all that still runs, each by its own plan, all at the same time.
local function stop_processes(scope)
  local stopping = {}
  for process in pairs(scope._processes) do stopping[#stopping + 1] = process end
  if #stopping == 1 then
    stopping[1]:_end_of_scope()
  elseif #stopping > 0 then
    local queue, left = core.queue(), #stopping
    for _, process in ipairs(stopping) do
      M.go_background(scope, function()
        local ok, e = pcall(process._end_of_scope, process)
        if not ok then fail(scope, e) end
        left = left - 1
        queue:wake()
      end)
    end
    while left > 0 do queue:wait() end
  end
end

--- The end of an owning scope. Its tasks are waited for, even through a cancellation from outside (which concerns
--- them, too); what the wait raised meanwhile is returned.
local function join(scope)
  local ok, interruption = pcall(wait_for_tasks, scope)
  M.shield(function()
    wait_for_tasks(scope)
    run_defers(scope)
    wait_for_tasks(scope) -- a defer may have started some
    stop_processes(scope)
  end)
  if not ok then return interruption end
end

--- All errors of a scope as one; those that were only its own cancellation do not count.
local function combined(list)
  if #list <= 1 then return list[1] end
  local first = errors.is(list[1]) and list[1].message or tostring(list[1])
  local message = ("%d errors; the first: %s"):format(#list, first)
  return errors.new("group", message, { errors = list })
end

--- Ends the scope after its body, and decides what it comes to.
local function outcome(scope, ok, ...)
  if not ok and not is_cancellation((...)) then fail(scope, (...)) end
  local interruption = join(scope)
  close(scope)
  local e = combined(scope._errors)
  if e ~= nil then error(e, 0) end
  local cancellation = not ok and (...) or interruption
  if cancellation and (not scope._cancelled or cancelled_around(scope)) then error(cancellation, 0) end
  if scope._cancelled then return nil, scope._cancelled.expired and "timeout" or scope._cancelled.reason end
  return ...
end

local function leave(task, outer, ...)
  enter(task, outer)
  return ...
end

--- Opens a scope, calls fn(scope, ...) and ends the scope: its tasks are waited for, its defers run, its processes are
--- stopped by their plans. The first error in it (of fn or a task) cancels the rest and is raised; several: kind
--- "group". Yields.
---@param fn fun(scope: corun.Scope, ...): any
---@return any ...  what fn returns; nil and the reason if the scope cancelled itself
function M.scope(fn, ...)
  if type(fn) ~= "function" then errors.argument("scope: a function expected, got %s", errors.show(fn)) end
  local scope = open(true)
  local task, outer = core.current(), core.scope()
  enter(task, scope)
  return reraise(leave(task, outer, pcall(outcome, scope, pcall(fn, scope, ...))))
end

-- The interactive session: one owning scope for each line, which stays open while something of it lives.

local sessions = {}

function M.open_session_scope()
  local scope = open(true)
  scope._is_session = true
  return scope
end

--- pcall(fn) in that scope. After an error what fn has started is stopped; else it lives on.
function M.run_in(scope, fn)
  local task, outer = core.current(), core.scope()
  enter(task, scope)
  local values = table.pack(pcall(fn))
  if values[1] and not scope._cancelled then
    sessions[#sessions + 1] = scope
  else
    scope:cancel("the line failed")
    pcall(join, scope)
    close(scope)
  end
  enter(task, outer)
  return table.unpack(values, 1, values.n)
end

function M.end_sessions()
  for _, scope in ipairs(sessions) do
    scope:cancel("the session ends")
    pcall(join, scope)
    close(scope)
  end
  sessions = {}
end

--- Raises where a blocking operation would: in a cancelled scope nothing new is started.
M.check_open = core.check

--- The current task's scope: where corun.go and corun.spawn put what they start.
---@return corun.Scope
function M.current()
  return core.scope()._home
end

--- corun.go: a task in the current scope.
---@param fn function
---@return corun.Task
function M.go(fn, ...)
  return M.current():go(fn, ...)
end

-- Between two turns of the loop. These run on the scheduler's own thread and must not wait.

local function owner_of(task, scope)
  while scope and not (scope._tasks and scope._tasks[task]) do scope = scope._parent end
  return scope
end

local hooks = errors.hooks

--- What a blocking operation raises in a cancelled scope. A __close handler is clean-up, which may wait: inside of one
--- (`depth` counts them) only scopes that were opened in it count.
function hooks.cancelled_error(depth)
  local by = cancelled_by(core.scope())
  if depth > (by and by._depth or 0) then return nil end
  local reason = by and by._cancelled.reason
  local message = "cancelled"
  if by and by._cancelled.expired then message = "cancelled: the deadline of the scope has passed"
  elseif reason ~= nil then message = "cancelled: " .. (errors.is(reason) and reason.message or tostring(reason)) end
  local written = M.written
  M.written = nil
  return errors.new("cancelled", message, { reason = reason, _by = by, written = written })
end

function hooks.write_cancelled(bytes) M.written = bytes end

local tracebacks = setmetatable({}, { __mode = "k" }) -- of failed tasks

function hooks.task_failed(task, e)
  if not errors.is(e) then tracebacks[task] = errors.script_traceback(task:_thread()) end
  return e
end

function hooks.task_ended(task)
  local scope = task:_scope()
  scope._inside[task] = nil
  local owner = owner_of(task, scope)
  while scope and scope ~= owner do -- its base, and what it never left
    if not scope._ended then close(scope) end
    if not owner then return end
    scope = scope._parent
  end
  owner._tasks[task] = nil
  count_live(-1)
  if task:_state() == "failed" then
    local _, e = task:_await()
    if not is_cancellation(e) then fail(owner, e, tracebacks[task]) end
  end
  owner._queue:wake()
end

function hooks.process_ended(process)
  process:_ended()
  count_live(-1)
end

function hooks.timer_fired(scope)
  M.expire(scope)
end

--- SIGINT, SIGTERM, SIGHUP, or SIGPIPE because nobody reads our output: the first cancels everything, so that all that
--- runs is stopped by its plan; a second SIGINT kills at once.
function hooks.interrupted(number)
  if M.signal and number == core.signals.INT then
    core.kill_all()
    if M.hosted then core.quit(128 + number) end
    core.die(number)
  end
  if M.signal then return end
  M.signal = number
  root:cancel(signals.name(number))
end

--- The end of the root scope: of the host's script, of a stock interpreter's state ("close"), of its process ("exit").
--- Returns the errors that nobody has seen.
function M.finish_root()
  local task = core.current()
  enter(task, root)
  local unseen = root._errors
  local ok, e = pcall(join, root)
  M.shield(M.flush_output)
  root._ended = true
  if not ok then unseen[#unseen + 1] = e end
  return unseen
end

--- What we have queued for our own standard output goes out, though slowly; after a signal only what goes in a second.
function M.flush_output()
  for _, name in ipairs { "stdout", "stderr" } do
    local writer = rawget(stdio, name)
    if writer and M.signal then pcall(M.timeout, 1, writer.drain, writer)
    elseif writer then pcall(writer.drain, writer) end
  end
end

--- `task`, in `scope`, is the one that ends it all; it will not go on, so its scopes are ended for it (the
--- to-be-closed variables of its functions are lost, as in every os.exit).
function hooks.finish(how, scope, task)
  if root._ended then return end
  if live > 0 then
    core.set_busy(false)
    core.set_busy(true) -- a stock interpreter gives SIGINT its own meaning back after the main chunk
  end
  if how == "exit" then root:cancel("exit") end
  enter(core.current(), root)
  local owner = owner_of(task, scope)
  if owner then owner._tasks[task] = nil end
  while scope and scope ~= root do
    if scope._tasks and not scope._ended then
      scope:cancel("exit")
      pcall(join, scope)
    end
    close(scope)
    scope = scope._parent
  end
  local seen = #root._errors
  local unseen = M.finish_root()
  for i = seen + 1, #unseen do io.stderr:write("corun: ", tostring(unseen[i]), "\n") end
  if M.signal and how == "close" and not M.hosted then core.die(M.signal) end
end

-- The same function, but for telling that the program exits: closing the state alone is the end of the main chunk.
local exit = os.exit
function os.exit(...) -- luacheck: ignore 122
  core.exiting(true)
  local _, e = pcall(exit, ...) -- comes back only from a wrong argument
  core.exiting(false)
  error(e, 2)
end

core.hooks(hooks)
M.hosted = core.hosted or false
if M.hosted then core.set_busy(true) end

return M
