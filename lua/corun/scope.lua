--- Scopes: who owns tasks and processes, and what a cancellation concerns.
---
--- A scope is opened inside another one, by a task, for the length of a call; the innermost is the task's current one.
--- An owning scope (corun.scope, the root) waits at its end for its tasks and stops its processes; a bounding one
--- (corun.timeout, move_on, shield) only limits time, and what is started in it belongs to the owning scope around.
--- Cancellation is level-triggered: while a scope around it is cancelled (up to a shield), every blocking operation of
--- a task raises kind "cancelled". The model is Trio's: cancel scopes and nurseries.

local core = require "corun.core"
local errors = require "corun.error"
local locals = require "corun.locals"

local M = {}

---@class corun.Scope
---@field deadline number?  time of corun.now() at which the scope is cancelled; may be set and moved while it runs
---@field _parent corun.Scope?
---@field _home corun.Scope        the owning scope: itself, or the nearest around
---@field _opener corun.Task?     the task that opened it; its current scope while it is in it
---@field _children table<corun.Scope, true> scopes opened in it that are still open
---@field _cancelled table?        {reason = …} once it is
---@field _shield boolean?
---@field _tasks table<corun.Task, true>?    owning: started in it, not ended
---@field _processes table<corun.Process, true>? owning: running, or with members of their group left
---@field _listeners table<table, true>?      owning: open handles of on_signal
---@field _errors any[]?           owning: of its body and tasks, in order
---@field _tracebacks table<integer, string>? owning: of the errors that are no corun.Error, by their numbers
---@field _queue any               owning: woken when a task ends
---@field _defers function[]?
---@field _ending boolean?         owning: it waits, shielded, for the end of what it owns
local Scope = {}
Scope.__name = "corun.Scope"
M.Scope = Scope

local function new(parent, owning)
  local scope = { _parent = parent, _children = {} }
  if owning then
    scope._home, scope._tasks, scope._processes, scope._listeners = scope, {}, {}, {}
    scope._errors, scope._tracebacks = {}, {}
    scope._queue = core.queue()
  else
    scope._home = parent and parent._home
  end
  if parent then parent._children[scope] = true end
  return setmetatable(scope, Scope)
end

local root = new(nil, true)
M.root = root

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

M.cancelled_by = cancelled_by

local function cancelled_around(scope)
  return not scope._shield and cancelled_by(scope._parent) or nil
end

--- Makes it the current task's scope.
local function enter(scope)
  core.enter(scope, cancelled_by(scope) ~= nil)
end
M.enter = enter

root._opener = core.current()
enter(root)

--- Wakes all that a cancellation of `scope` concerns from what they wait for. A task is where its current scope is: in
--- the one that it was started in, or in one that it has opened.
local function deliver(scope)
  local opener = scope._opener
  if opener and opener:_scope() == scope then core.cancel(opener, true) end
  for task in pairs(scope._tasks or {}) do
    if task:_scope() == scope then core.cancel(task, true) end
  end
  for child in pairs(scope._children) do
    if not child._shield then deliver(child) end
  end
end

local function set_deadline(scope, at)
  scope._deadline = at
  if scope._cancelled or scope._ended then return end
  if not scope._timer then
    if not at then return end
    scope._timer = core.timer(scope)
  end
  scope._timer:set(at)
end

function Scope.__index(scope, name)
  if name == "deadline" then return rawget(scope, "_deadline") end
  return Scope[name]
end

function Scope.__newindex(scope, name, value)
  if name == "deadline" then
    if value ~= nil and (type(value) ~= "number" or value ~= value) then
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
M.close = close

-- A task that opens a scope, or is cancelled by itself, gets a bounding scope of its own below its home, so that
-- cancelling it reaches what it has opened and nothing else. Most tasks never need one.
local bases = setmetatable({}, { __mode = "k" })

local function base_of(task)
  local base = bases[task]
  local home = task:_scope()
  if not base and home._tasks and home._tasks[task] then
    base = new(home, false)
    base._opener = task
    bases[task] = base
    task:_set_scope(base)
  end
  return base
end

--- Opens a scope of the current task in its current one.
local function open(owning)
  local task = core.current()
  base_of(task)
  local scope = new(core.scope(), owning)
  scope._opener = task
  -- Opened in a __close handler, it is not concerned by what cancels the function that the handler cleans up after.
  scope._depth = core.closing_depth()
  scope._shield = scope._depth > (scope._parent._depth or 0) or nil
  return scope
end
M.open = open

--- Cancels one task alone.
function M.cancel_task(task, reason)
  local base = task:_state() ~= "ended" and task:_state() ~= "failed" and base_of(task)
  if base then base:cancel(reason) end
end

local function finish_within(scope, outer, ...)
  enter(outer)
  close(scope)
  return ...
end

--- errors.call(fn, ...) with `scope` as the current one, which is closed after.
local function within(scope, fn, ...)
  local outer = core.scope()
  enter(scope)
  return finish_within(scope, outer, errors.call(fn, ...))
end
M.within = within

local function reraise(ok, ...)
  if not ok then error((...), 0) end
  return ...
end

--- corun.shield without a time limit.
function M.shield(fn, ...)
  local scope = open(false)
  scope._shield = true
  return reraise(within(scope, fn, ...))
end

--- True for what a blocking operation raises in a cancelled scope, false for the same kind from await of a task that
--- was cancelled: that is an error like any other.
local function is_cancellation(e)
  return errors.is_kind(e, "cancelled") and e._by ~= nil
end
M.is_cancellation = is_cancellation

--- True where `e` is the expiry of this very scope on its way out: of the cancelled ones it is the outermost, whichever
--- was the first to raise.
function M.is_expiry(scope, e)
  return is_cancellation(e) and scope._cancelled and scope._cancelled.expired and not cancelled_around(scope)
end

--- When the current task's work is cancelled by the nearest deadline around it, at the latest.
---@return number  a time of corun.now(), math.huge without a deadline
function M.nearest_deadline()
  local scope, nearest = core.scope(), math.huge
  while scope do
    nearest = math.min(nearest, scope._deadline or math.huge)
    if scope._shield then break end
    scope = scope._parent
  end
  return nearest
end

function M.expire(scope)
  if scope._cancelled or scope._ended then return end
  scope:cancel("deadline")
  scope._cancelled.expired = true
end

-- Ownership

--- Notes an error of an owning scope and cancels it. The traceback is for an error that has none of its own.
local function fail(scope, e, traceback)
  if scope._is_session then return M.on_session_error(e, traceback) end
  local list = scope._errors
  for _, known in ipairs(list) do
    if rawequal(known, e) then return end -- raised by a task, and again where that was awaited
  end
  list[#list + 1] = e
  scope._tracebacks[#list] = traceback
  scope:cancel(e)
end
M.fail = fail

--- Notes an error of cleaning up: it does not hide the one that there was before.
local function fail_cleanup(scope, e, traceback)
  local list = scope._errors
  if #list == 0 then fail(scope, e, traceback)
  else list[1] = errors.with_also(list[1], e, scope._tracebacks[1]) end
end

local live = 0 -- tasks and running processes: while there are any, SIGINT is ours

local function count_live(change)
  live = live + change
  if not M.hosted then core.set_busy(live > 0) end
end
M.count_live = count_live

--- A stock interpreter gives SIGINT its own meaning back after the main chunk; while something is left, it is ours.
function M.take_signals()
  if live == 0 then return end
  core.set_busy(false)
  core.set_busy(true)
end

--- Starts fn(...) as a task of this scope, with the task-local values of the current one. It runs at the next wait; the
--- scope waits for it at its end; what it raises cancels the scope. In a cancelled scope it starts, too, and gets kind
--- "cancelled" from its first blocking operation. Does not yield.
---@param fn function
---@return corun.Task
function Scope:go(fn, ...)
  errors.check_function(fn, "go")
  if self._ended then errors.argument("go: the scope has ended") end
  local home = self._home
  local task = core.task(home, fn, ...)
  home._tasks[task] = true
  locals.inherit(task)
  if cancelled_by(home) then core.cancel(task, true) end
  count_live(1)
  return task
end

--- A task of corun's own: no scope waits for it; whoever made it knows when it is done. Its own scope is shielded from
--- the one around, and cancelling that scope is how it is given up.
function M.go_background(around, fn, ...)
  local scope = new(around or background, false)
  scope._shield, scope._is_background = true, true
  local task = core.task(scope, fn, ...)
  scope._opener = task
  locals.inherit(task)
  return task, scope
end

--- Calls fn when the scope ends, after its tasks have and before its processes are stopped; last first, shielded from
--- cancellation, so it may wait. What it raises is an error of the scope; where there is one already, it is added to
--- that one's `also`. Does not yield.
---@param fn function
function Scope:defer(fn)
  errors.check_function(fn, "defer")
  if self._ended then errors.argument("defer: the scope has ended") end
  local home = self._home
  home._defers = home._defers or {}
  table.insert(home._defers, fn)
end

local function wait_for_tasks(scope)
  while next(scope._tasks) do scope._queue:wait() end
end

local function run_cleanup(scope, fn, ...)
  local ok, e, traceback = errors.call(fn, ...)
  if not ok then fail_cleanup(scope, e, traceback) end
end

--- Stops all that still runs, each by its own plan, all at the same time.
local function stop_processes(scope)
  local stopping = {}
  for process in pairs(scope._processes) do stopping[#stopping + 1] = process end
  if #stopping == 1 then
    run_cleanup(scope, stopping[1]._end_of_scope, stopping[1])
    scope._processes[stopping[1]] = nil -- also what could not be stopped
  elseif #stopping > 0 then
    local queue, left = core.queue(), #stopping
    for _, process in ipairs(stopping) do
      M.go_background(scope, function()
        run_cleanup(scope, process._end_of_scope, process)
        scope._processes[process] = nil
        left = left - 1
        queue:wake()
      end)
    end
    while left > 0 do queue:wait() end
  end
end

--- The end of all that a scope owns: first its tasks. What is run then may start others, so this goes round until there
--- is nothing left.
local function end_all(scope)
  repeat
    wait_for_tasks(scope)
    for handle in pairs(scope._listeners) do handle:close() end
    while scope._defers and #scope._defers > 0 do run_cleanup(scope, table.remove(scope._defers)) end
    if not next(scope._tasks) then stop_processes(scope) end
  until not next(scope._tasks) and not next(scope._processes)
end

--- The end of an owning scope. Its tasks are waited for, even through a cancellation from outside (which concerns
--- them, too); that cancellation is returned.
local function join(scope)
  local ok, interruption = pcall(wait_for_tasks, scope)
  if not ok and not is_cancellation(interruption) then
    fail(scope, interruption) -- a deadlock
    ok = true
  end
  scope._ending = true
  run_cleanup(scope, M.shield, end_all, scope)
  scope._ending = nil
  if not ok then return interruption end
end
M.join = join

--- All errors of a scope as one, and its traceback.
local function combined(scope)
  local list = scope._errors
  if #list <= 1 then return list[1], scope._tracebacks[1] end
  local message = ("%d errors; the first: %s"):format(#list, errors.message(list[1]))
  return errors.new("group", message, { errors = list, tracebacks = errors.tracebacks(list, scope._tracebacks) })
end

--- Ends the scope after its body, and decides what it comes to.
local function outcome(scope, ok, ...)
  local e, traceback = ...
  local cancellation
  if not ok and is_cancellation(e) then
    cancellation = e
    local failed = errors.take_also(e)
    if failed ~= nil then fail(scope, failed) end
  elseif not ok then
    fail(scope, e, traceback)
  end
  local interruption = join(scope)
  cancellation = cancellation or interruption
  close(scope)
  local failure, origin = combined(scope)
  if failure ~= nil then errors.raise(failure, origin) end
  if cancellation and (not scope._cancelled or cancelled_around(scope)) then error(cancellation, 0) end
  if scope._cancelled then return nil, scope._cancelled.expired and "timeout" or scope._cancelled.reason end
  return ...
end

local function leave(outer, ...)
  enter(outer)
  return ...
end

--- Opens a scope, calls fn(scope, ...) and ends the scope: its tasks are waited for, its defers run, its processes are
--- stopped by their plans, all at the same time. The first error in it (of fn or a task) cancels the rest and is
--- raised; several: kind "group" (`errors`, and `tracebacks` under the same numbers). An error while cleaning up (in a
--- defer, a __close handler, a stop) does not hide the one before: that one gets it in its list `also`. Yields.
---@param fn fun(scope: corun.Scope, ...): any
---@return any ...  what fn returns; nil and the reason ("timeout" for its deadline) if the scope cancelled itself
function M.scope(fn, ...)
  errors.check_function(fn, "scope")
  local scope = open(true)
  local outer = core.scope()
  enter(scope)
  return reraise(leave(outer, pcall(outcome, scope, errors.call(fn, scope, ...))))
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

--- Ends the scopes of a task that will not go on: `scope` is its current one.
function M.leave_all(task, scope)
  local owner = owner_of(task, scope)
  if owner then owner._tasks[task] = nil end
  while scope and scope ~= root do
    if scope._tasks and not scope._ended then
      scope:cancel("exit")
      join(scope)
    end
    close(scope)
    scope = scope._parent
  end
end

local hooks = errors.hooks

--- Whether the cancellation of the current task concerns the place where it is. A __close handler is clean-up, which
--- may wait: inside of one (`depth` counts them) only scopes that were opened in it count.
function hooks.is_concerned(depth)
  local by = cancelled_by(core.scope())
  return depth <= (by and by._depth or 0)
end

local written -- by a write that is being cancelled

--- What a blocking operation raises in a cancelled scope.
function hooks.cancelled_error()
  local by = cancelled_by(core.scope())
  local reason = by and by._cancelled.reason
  local message = "cancelled"
  if by and by._cancelled.expired then message = "cancelled: the deadline of the scope has passed"
  elseif reason ~= nil then message = "cancelled: " .. (errors.is(reason) and reason.message or tostring(reason)) end
  local bytes = written
  written = nil
  return errors.new("cancelled", message, { reason = reason, _by = by, written = bytes })
end

function hooks.write_cancelled(bytes) written = bytes end

local tracebacks = setmetatable({}, { __mode = "k" }) -- of failed tasks

function hooks.task_failed(task, e)
  if not errors.is(e) then tracebacks[task] = errors.origin(e) or errors.script_traceback(task:_thread()) end
  return e
end

--- A __close handler of a failed task has failed, too.
function hooks.unwinding_failed(first, last)
  return errors.with_also(first, last)
end

function hooks.task_ended(task)
  local scope = task:_scope()
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
    if is_cancellation(e) then e = errors.take_also(e) end
    if e ~= nil then fail(owner, e, tracebacks[task]) end
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

core.hooks(hooks)
M.hosted = core.hosted or false
if M.hosted then core.set_busy(true) end

return M
