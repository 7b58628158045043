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

local coroutine_status, coroutine_running = coroutine.status, coroutine.running

---@class corun.Scope
---@field deadline number?  time of corun.now() at which the scope is cancelled; may be set and moved while it runs
---@field _parent corun.Scope?
---@field _home corun.Scope        the owning scope: itself, or the nearest around
---@field _opener corun.Task?     the task that opened it; its current scope while it is in it
---@field _coroutine thread?      the script's coroutine that opened it, if that is not the task's own
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
---@field _cleanup_failed boolean? owning: its error is one of cleaning up only
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

--- A scope that a task has opened in a coroutine of the script (a generator, say) is around what the task does in that
--- coroutine, and not around what it does with what the generator gives: while the coroutine is suspended by the
--- script, or when it is dead, the scope does not count for this task.
local function is_around(scope, task)
  if scope._ended then return false end
  local opened_in = scope._coroutine
  if not opened_in or scope._opener ~= task then return true end
  local status = coroutine_status(opened_in)
  return status == "running" or status == "normal" -- also while it waits: then it stands on a C stack
end

--- The innermost scope that counts for a task.
local function innermost(task)
  local scope = task:_scope()
  while not is_around(scope, task) and scope._parent do scope = scope._parent end
  return scope
end

local function current() return innermost(core.current()) end
M.innermost = current

--- The cancelled scope that concerns a task in `scope`, or nil.
local function cancelled_by(scope, task)
  while scope do
    if is_around(scope, task) then
      if scope._cancelled then return scope end
      if scope._shield then return nil end
    end
    scope = scope._parent
  end
end

M.cancelled_by = cancelled_by

local function cancelled_around(scope)
  return not scope._shield and cancelled_by(scope._parent, scope._opener) or nil
end

--- Makes it the current task's scope. The task's blocking operations look closer when one of the scopes around it is
--- cancelled, even if that does not count just now.
local function enter(scope)
  local around, cancelled = scope, false
  while around and not cancelled do
    cancelled = around._cancelled ~= nil
    around = around._parent
  end
  core.enter(scope, cancelled)
end
M.enter = enter

--- Back from `scope` to the one before. Where a coroutine ends inside of a scope that its consumer has opened since,
--- the consumer's stays the current one.
local function leave(scope, outer)
  if core.scope() == scope then enter(outer) end
end

root._opener = core.current()
enter(root)

--- Wakes all that a cancellation of `scope` concerns from what they wait for. A task is where its current scope is: in
--- the one that it was started in, or in one that it has opened.
local function deliver(scope)
  local opener = scope._opener
  if opener and (opener:_scope() == scope or innermost(opener) == scope) then core.cancel(opener) end
  for task in pairs(scope._tasks or {}) do
    if task:_scope() == scope or innermost(task) == scope then core.cancel(task) end
  end
  for child in pairs(scope._children) do
    if not child._shield then deliver(child) end
  end
end

local function set_deadline(scope, at)
  scope._deadline = at
  if scope._cancelled or scope._ended then return end
  if at and at <= core.now() then return M.expire(scope) end
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

--- In how many __close handlers a task was when it opened the scope; what other tasks have opened is around all that
--- this one does.
local function depth_of(scope, task)
  return scope._opener == task and scope._depth or 0
end

--- Opens a scope of the current task in its current one.
local function open(owning)
  local task, running = core.current(), coroutine_running()
  base_of(task)
  local scope = new(current(), owning)
  scope._opener = task
  if running ~= task:_thread() then scope._coroutine = running end
  -- Opened in a __close handler, it is not concerned by what cancels the function that the handler cleans up after.
  scope._depth = core.closing_depth()
  scope._shield = scope._depth > depth_of(scope._parent, task) or nil
  return scope
end
M.open = open

--- Cancels one task alone.
function M.cancel_task(task, reason)
  local base = task:_state() ~= "ended" and task:_state() ~= "failed" and base_of(task)
  if base then base:cancel(reason) end
end

--- What a cancellation has raised in a scope leaves it as that of a scope further out, if one is cancelled there.
local function pass_on(scope, e)
  if errors.is_kind(e, "cancelled") and e._by == scope then e._by = cancelled_around(scope) or scope end
end

local function finish_within(scope, outer, ok, ...)
  leave(scope, outer)
  close(scope)
  if not ok then pass_on(scope, (...)) end
  return ok, ...
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

--- True for what a blocking operation raises in a cancelled scope, as long as that is around `scope` (or the current
--- one). False for what is left of a scope that is over, and for the same kind from await of a task that was cancelled:
--- these are errors like any other.
local function is_cancellation(e, scope)
  if not errors.is_kind(e, "cancelled") or not e._by then return false end
  scope = scope or core.scope()
  while scope do
    if scope == e._by then return true end
    scope = scope._parent
  end
  return false
end
M.is_cancellation = is_cancellation

--- True where `e` is the expiry of this very scope on its way out, and no scope around it is cancelled.
function M.is_expiry(scope, e)
  return errors.is_kind(e, "cancelled") and e._by == scope and scope._cancelled ~= nil and scope._cancelled.expired
end

--- When the current task's work is cancelled by the nearest deadline around it, at the latest.
---@return number  a time of corun.now(), math.huge without a deadline
function M.nearest_deadline()
  local task, scope, nearest, depth = core.current(), current(), math.huge, core.closing_depth()
  while scope and depth_of(scope, task) >= depth do -- in a __close handler, those that were opened in it
    if is_around(scope, task) then
      nearest = math.min(nearest, scope._deadline or math.huge)
      if scope._shield then break end
    end
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
  if #list == 0 then
    fail(scope, e, traceback)
    scope._cleanup_failed = true
  else
    list[1] = errors.with_also(list[1], e, scope._tracebacks[1], traceback)
  end
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
  if cancelled_by(home) then core.cancel(task) end
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

function M.owns_something(scope)
  return next(scope._tasks) ~= nil or next(scope._processes) ~= nil or next(scope._listeners) ~= nil
    or scope._defers ~= nil or next(scope._children) ~= nil
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

local end_all

--- Scopes that are still open though nobody is in them: the coroutine that opened them was not run to its end.
local function end_abandoned(scope)
  local inside, around = {}, core.scope()
  while around do
    inside[around] = true -- we are, to wait for the end
    around = around._parent
  end
  for child in pairs(scope._children) do
    if not child._is_background and not inside[child] then
      child:cancel("its coroutine was given up")
      if child._tasks then end_all(child) else end_abandoned(child) end
      close(child)
    end
  end
end

--- The end of all that a scope owns: first its tasks. What is run then may start others, so this goes round until there
--- is nothing left.
function end_all(scope)
  repeat
    wait_for_tasks(scope)
    end_abandoned(scope)
    for handle in pairs(scope._listeners) do handle:close() end
    while scope._defers and #scope._defers > 0 do run_cleanup(scope, table.remove(scope._defers)) end
    if not next(scope._tasks) then stop_processes(scope) end
  until not next(scope._tasks) and not next(scope._processes)
end

--- The end of an owning scope. Its tasks are waited for, even through a cancellation from outside (which concerns
--- them, too); that cancellation is returned, and whether its own came before the end of its tasks.
local function join(scope)
  local ok, interruption = pcall(wait_for_tasks, scope)
  local in_time = not scope._cancelled
  if not ok and not errors.is_kind(interruption, "cancelled") then
    fail(scope, interruption) -- a deadlock
    ok = true
  end
  scope._ending = true
  run_cleanup(scope, M.shield, end_all, scope)
  scope._ending = nil
  return not ok and interruption or nil, in_time
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
  if not ok and is_cancellation(e, scope) then
    cancellation = e
    local failed, origin = errors.take_also(e)
    if failed ~= nil then fail(scope, failed, origin) end
  elseif not ok then
    fail(scope, e, traceback)
  end
  local interruption, in_time = join(scope)
  cancellation = cancellation or interruption
  close(scope)
  local failure, origin = combined(scope)
  local from_outside = cancellation and (not scope._cancelled or cancelled_around(scope))
  if failure ~= nil and not (from_outside and scope._cleanup_failed) then errors.raise(failure, origin) end
  if from_outside then
    pass_on(scope, cancellation)
    error(failure ~= nil and errors.with_also(cancellation, failure, nil, origin) or cancellation, 0)
  end
  if scope._cancelled and scope._cancelled.expired and ok and in_time then return ... end
  if scope._cancelled then return nil, scope._cancelled.expired and "timeout" or scope._cancelled.reason end
  return ...
end

local function finish(scope, outer, ...)
  leave(scope, outer)
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
  return reraise(finish(scope, outer, pcall(outcome, scope, errors.call(fn, scope, ...))))
end

--- Raises where a blocking operation would: in a cancelled scope nothing new is started.
M.check_open = core.check

--- The current task's scope: where corun.go and corun.spawn put what they start.
---@return corun.Scope
function M.current()
  return current()._home
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

--- Whether the cancellation of a task concerns the place where it is. A __close handler is clean-up, which may wait:
--- inside of one (`depth` counts them) only scopes that were opened in it count.
function hooks.is_concerned(task, depth)
  local by = cancelled_by(innermost(task), task)
  return by ~= nil and depth <= depth_of(by, task)
end

local written -- by a write that is being cancelled

--- What a blocking operation raises in a cancelled scope.
function hooks.cancelled_error()
  local by = cancelled_by(current(), core.current())
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
  if e == nil then return errors.nothing(errors.script_traceback(task:_thread())) end
  if not errors.is(e) then tracebacks[task] = errors.origin(e) or errors.script_traceback(task:_thread()) end
  return e
end

--- A __close handler of a failed task has failed, too.
function hooks.unwinding_failed(first, last, task)
  return errors.with_also(first, last, tracebacks[task])
end

function hooks.task_ended(task)
  local scope = task:_scope()
  local owner = owner_of(task, scope)
  local failed, e = task:_state() == "failed", nil
  if failed then e = select(2, task:_await()) end
  local cancelled = failed and is_cancellation(e, scope)
  while scope and scope ~= owner do -- its base; and what a coroutine of it has opened: that is ended with the owner
    if not scope._tasks and not next(scope._children) then close(scope) end
    if not owner then return end
    scope = scope._parent
  end
  owner._tasks[task] = nil
  count_live(-1)
  local traceback = tracebacks[task]
  if cancelled then
    e, traceback = errors.take_also(e)
  elseif errors.is_kind(e, "cancelled") then
    e._by = nil -- of a scope that is over: as an error of this task
  end
  if e ~= nil then fail(owner, e, traceback) end
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
