--- Scopes that own tasks and processes: starting, waiting for the end, what it comes to. Adds to corun.scope.

local core = require "corun.core"
local errors = require "corun.error"
local locals = require "corun.locals"
local scopes = require "corun.scope"

local Scope, root, hooks = scopes.Scope, scopes.root, errors.hooks
local scope_of, state_of = core.Task.__index._scope, core.Task.__index._state

--- What is nobody's business but corun's own: reading for line functions, watching time limits.
local background = scopes.new(nil, false)
background._home = root

--- Notes an error of an owning scope and cancels it. The traceback is for an error that has none of its own.
local function fail(scope, e, traceback)
  if scope._is_session then return scopes.on_session_error(e, traceback) end
  local list = scope._errors
  for _, known in ipairs(list) do
    if rawequal(known, e) then return end -- raised by a task, and again where that was awaited
  end
  list[#list + 1] = e
  scope._tracebacks[#list] = traceback
  scope:cancel(e)
end
scopes.fail = fail

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
  if not scopes.hosted then core.set_busy(live > 0) end
end
scopes.count_live = count_live

--- A stock interpreter gives SIGINT its own meaning back after the main chunk; while something is left, it is ours.
function scopes.take_signals()
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
  home._task_count = home._task_count + 1
  locals.inherit(task)
  if scopes.cancelled_by(home) then core.cancel(task) end
  count_live(1)
  return task
end

--- A task of corun's own: no scope waits for it; whoever made it knows when it is done. Its own scope is shielded from
--- the one around, and cancelling that scope is how it is given up.
function scopes.go_background(around, fn, ...)
  local scope = scopes.new(around or background, false)
  scope._shield, scope._is_background = true, true
  local task = core.task(scope, fn, ...)
  scope._opener = task
  locals.inherit(task)
  return task, scope
end

--- Whether the current task is in that scope, or in one below it.
function scopes.is_inside(scope)
  local around = core.scope()
  while around and around ~= scope do around = around._parent end
  return around == scope
end

---@class corun.Attendant  a task of corun's own that serves a scope
local Attendant = {}
Attendant.__index = Attendant

--- False where it still works after `seconds`.
function Attendant:wait(seconds) return self._task:_await(seconds) ~= false end

--- Asks it to finish; after its grace it is given up. It cannot wait for itself.
function Attendant:_end_of_scope()
  if self._finish then self._finish() end
  if scopes.is_inside(self._scope) then return end
  if self:wait(self._grace) then return end
  self._scope:cancel("what it served has ended")
  self._task:_await()
end

local ATTENDANT_GRACE = 1

--- A task of corun's own that serves the current scope: what it raises is an error of the scope. If it still works when
--- the scope ends, `finish` (if any) is called, and after `grace` seconds (default 1) it is given up.
---@param around corun.Scope?  instead of the current one
---@return corun.Attendant
function scopes.attend(fn, finish, grace, around)
  local home = (around or scopes.owning())._home
  local attendant = setmetatable({ _finish = finish, _grace = grace or ATTENDANT_GRACE }, Attendant)
  attendant._task, attendant._scope = scopes.go_background(home, function()
    local ok, e, traceback = errors.call(fn)
    home._processes[attendant] = nil
    if not ok and not scopes.is_cancellation(e) then scopes.fail(home, e, traceback) end
  end)
  home._processes[attendant] = true
  return attendant
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

function scopes.owns_something(scope)
  return scope._task_count > 0 or next(scope._processes) ~= nil or next(scope._listeners) ~= nil
    or scope._defers or next(scope._children) ~= nil
end

local function wait_for_tasks(scope)
  while scope._task_count > 0 do scope._queue:wait() end
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
      scopes.go_background(scope, function()
        run_cleanup(scope, process._end_of_scope, process)
        scope._processes[process] = nil
        left = left - 1
        queue:wake()
      end)
    end
    while left > 0 do queue:wait() end
  end
end

--- All errors of a scope as one, and its traceback.
local function combined(scope)
  local list = scope._errors
  if #list <= 1 then return list[1], scope._tracebacks[1] end
  local message = ("%d errors; the first: %s"):format(#list, errors.message(list[1]))
  return errors.new("group", message, { errors = list, tracebacks = errors.tracebacks(list, scope._tracebacks) })
end

local end_all
local given_up = "its coroutine was given up"

--- Scopes that are still open though nobody is in them: the coroutine that opened them was not run to its end.
local function end_abandoned(scope)
  local inside, around = {}, core.scope()
  while around do
    inside[around] = true -- we are, to wait for the end
    around = around._parent
  end
  local abandoned = {}
  for child in pairs(scope._children) do
    if not child._is_background and not inside[child] then abandoned[#abandoned + 1] = child end
  end
  for _, child in ipairs(abandoned) do
    child:cancel(given_up)
    if child._tasks then
      end_all(child)
      local e, traceback = combined(child)
      if e ~= nil then fail_cleanup(scope._home, e, traceback) end
    else
      end_abandoned(child)
    end
    scopes.close(child)
  end
end

--- The end of all that a scope owns: first its tasks. What is run then may start others, so this goes round until there
--- is nothing left.
function end_all(scope)
  repeat
    wait_for_tasks(scope)
    end_abandoned(scope)
    while scope._defers and #scope._defers > 0 do run_cleanup(scope, table.remove(scope._defers)) end
    for handle in pairs(scope._listeners) do handle:close() end
    if scope._task_count == 0 then stop_processes(scope) end
  until not (scope._task_count > 0 or next(scope._processes) or next(scope._listeners))
end

--- The end of an owning scope. Its tasks are waited for, even through a cancellation from outside (which concerns
--- them, too); that cancellation is returned, and whether its own came before the end of its tasks.
local function join(scope)
  if not scopes.owns_something(scope) then return nil, not scope._cancelled end
  local ok, interruption = pcall(wait_for_tasks, scope)
  local in_time = not scope._cancelled
  if not ok and not errors.is_kind(interruption, "cancelled") then
    fail(scope, interruption) -- a deadlock
    ok = true
  end
  scope._ending = true
  run_cleanup(scope, scopes.shield, end_all, scope)
  scope._ending = nil
  return not ok and interruption or nil, in_time
end
scopes.join = join

--- Ends the scope after its body, and decides what it comes to.
local function outcome(scope, ok, ...)
  local e, traceback = ...
  local cancellation
  if not ok and scopes.is_cancellation(e, scope) then
    cancellation = e
    local failed, origin = errors.take_also(e)
    if failed ~= nil then fail(scope, failed, origin) end
  elseif not ok then
    fail(scope, e, traceback)
  end
  local interruption, in_time = join(scope)
  cancellation = cancellation or interruption
  scopes.close(scope)
  local failure, origin = combined(scope)
  local from_outside = cancellation and (not scope._cancelled or scopes.cancelled_around(scope))
  if failure ~= nil and not (from_outside and scope._cleanup_failed) then errors.raise(failure, origin) end
  if from_outside then
    scopes.pass_on(scope, cancellation)
    error(failure ~= nil and errors.with_also(cancellation, failure, nil, origin) or cancellation, 0)
  end
  if scope._cancelled and scope._cancelled.expired and ok and in_time then return ... end
  if scope._cancelled then return nil, scope._cancelled.expired and "timeout" or scope._cancelled.reason end
  return ...
end

local function finish(scope, outer, ...)
  scopes.leave(scope, outer)
  return ...
end

--- Opens a scope, calls fn(scope, ...) and ends the scope: its tasks are waited for, its defers run, its processes are
--- stopped by their plans, all at the same time. The first error in it (of fn or a task) cancels the rest and is
--- raised; several: kind "group" (`errors`, and `tracebacks` under the same numbers). An error while cleaning up (in a
--- defer, a __close handler, a stop) does not hide the one before: that one gets it in its list `also`. Yields.
---@param fn fun(scope: corun.Scope, ...): any
---@return any ...  what fn returns; nil and the reason ("timeout" for its deadline) if the scope cancelled itself
function scopes.scope(fn, ...)
  errors.check_function(fn, "scope")
  local scope = scopes.open(true)
  local outer = core.scope()
  scopes.enter(scope)
  return errors.reraise(finish(scope, outer, pcall(outcome, scope, errors.call(fn, scope, ...))))
end

--- The current task's scope: where corun.go and corun.spawn put what they start.
---@return corun.Scope
function scopes.owning()
  return scopes.current()._home
end

--- corun.go: a task in the current scope.
---@param fn function
---@return corun.Task
function scopes.go(fn, ...)
  return scopes.owning():go(fn, ...)
end

-- Between two turns of the loop. These run on the scheduler's own thread and must not wait.

local function owner_of(task, scope)
  while scope and not (scope._tasks and scope._tasks[task]) do scope = scope._parent end
  return scope
end

local function forget(owner, task)
  owner._tasks[task] = nil
  owner._task_count = owner._task_count - 1
end

--- Ends the scopes of a task that will not go on: `scope` is its current one.
function scopes.leave_all(task, scope)
  local owner = owner_of(task, scope)
  if owner then forget(owner, task) end
  while scope and scope ~= root do
    if scope._tasks and not scope._ended then
      scope:cancel("exit")
      join(scope)
    end
    scopes.close(scope)
    scope = scope._parent
  end
end

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

--- What a task has raised, as an error of the scope that owns it.
local function fail_by(task, owner, e, cancelled)
  local traceback = tracebacks[task]
  if cancelled then
    e, traceback = errors.take_also(e)
  elseif errors.is_kind(e, "cancelled") then
    e._by = nil -- of a scope that is over: as an error of this task
  end
  if e ~= nil then fail(owner, e, traceback) end
end

function hooks.task_ended(task)
  local scope = scope_of(task)
  local owner = owner_of(task, scope)
  local failed, e = state_of(task) == "failed", nil
  if failed then e = select(2, task:_await()) end
  local cancelled = failed and scopes.is_cancellation(e, scope)
  while scope and scope ~= owner do -- its base; and what a coroutine of it has opened: that is ended with the owner
    if scope._tasks then scope:cancel(given_up)
    elseif not next(scope._children) then scopes.close(scope) end
    if not owner then return end
    scope = scope._parent
  end
  forget(owner, task)
  count_live(-1)
  if failed then fail_by(task, owner, e, cancelled) end
  if owner._task_count == 0 then owner._queue:wake() end
end

return scopes
