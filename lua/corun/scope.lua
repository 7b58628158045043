--- Scopes: what a cancellation concerns, and what a deadline.
---
--- A scope is opened inside another one, by a task, for the length of a call; the innermost is the task's current one.
--- An owning scope (corun.scope, the root) waits at its end for its tasks and stops its processes; a bounding one
--- (corun.timeout, move_on, shield) only limits time, and what is started in it belongs to the owning scope around:
--- owning.lua adds that part.
--- Cancellation is level-triggered: while a scope around it is cancelled (up to a shield), every blocking operation of
--- a task raises kind "cancelled". The model is Trio's: cancel scopes and nurseries.

local core = require "corun.core"
local errors = require "corun.error"

local M = {}

local coroutine_status = coroutine.status
local scope_of, set_scope = core.Task.__index._scope, core.Task.__index._set_scope

---@class corun.Scope
---@field deadline number?  time of corun.now() at which the scope is cancelled; may be set and moved while it runs
---@field _parent corun.Scope|false
---@field _home corun.Scope        the owning scope: itself, or the nearest around
---@field _opener corun.Task|false  the task that opened it; its current scope while it is in it
---@field _in_coroutine boolean   opened in a coroutine of the script, not the task's own
---@field _depth integer          in how many __close handlers its task was when it opened it
---@field _children table<corun.Scope, true> scopes opened in it that are still open
---@field _cancelled table|false  {reason = …} once it is
---@field _ended boolean
---@field _shield boolean
---@field _deadline number|false
---@field _timer any              for the deadline, or false
---@field _tasks table<corun.Task, true>|false  owning: started in it, not ended
---@field _task_count integer?             owning: how many these are
---@field _processes table<corun.Process, true>? owning: running, or with members of their group left; and
---whatever else has `_end_of_scope`
---@field _listeners table<table, true>?      owning: open handles of on_signal
---@field _errors any[]?           owning: of its body and tasks, in order
---@field _tracebacks table<integer, string>? owning: of the errors that are no corun.Error, by their numbers
---@field _queue any               owning: woken when its last task ends
---@field _defers function[]|false
---@field _cleanup_failed boolean? owning: its error is one of cleaning up only
---@field _ending boolean?         owning: it waits, shielded, for the end of what it owns
local Scope = {}
Scope.__name = "corun.Scope"
M.Scope = Scope

local no_children = {} -- of all that have none

--- What every scope has is set from the start: what is missing is looked for by metamethods.
local function new(parent, owning)
  local scope = { _parent = parent or false, _home = parent and parent._home, _children = no_children, _opener = false,
    _in_coroutine = false, _depth = 0, _cancelled = false, _ended = false, _shield = false, _deadline = false,
    _timer = false, _tasks = false }
  if owning then
    scope._home, scope._tasks, scope._processes, scope._listeners = scope, {}, {}, {}
    scope._errors, scope._tracebacks, scope._defers, scope._task_count = {}, {}, false, 0
    scope._queue = core.queue()
  end
  if not parent then return setmetatable(scope, Scope) end
  if parent._children == no_children then parent._children = { [scope] = true }
  else parent._children[scope] = true end
  return setmetatable(scope, Scope)
end
M.new = new

local root = new(nil, true)
M.root = root

local opened_in = setmetatable({}, { __mode = "kv" }) -- scope → the coroutine, if that still is

--- A scope that a task has opened in a coroutine of the script (a generator, say) is around what the task does in that
--- coroutine, and not around what it does with what the generator gives: while the coroutine is suspended by the
--- script, or when it is dead, the scope does not count for this task.
local function is_around(scope, task)
  if scope._ended then return false end
  if not scope._in_coroutine or scope._opener ~= task then return true end
  local status = opened_in[scope] and coroutine_status(opened_in[scope])
  return status == "running" or status == "normal" -- also while it waits: then it stands on a C stack
end
M.is_around = is_around

--- The innermost scope that counts for a task whose current one is `scope`.
local function innermost(task, scope)
  scope = scope or scope_of(task)
  while not is_around(scope, task) and scope._parent do scope = scope._parent end
  return scope
end

local function current() return innermost(core.current()) end
M.current = current

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
M.cancelled_around = cancelled_around

--- Makes it the current task's scope. The task's blocking operations look closer when one of the scopes around it is
--- cancelled, even if that does not count just now.
local function enter(scope)
  local around, cancelled = scope, false
  while around and not cancelled do
    cancelled = around._cancelled
    around = around._parent
  end
  core.enter(scope, cancelled) -- a table, if it is
end
M.enter = enter

--- Back from `scope` to the one before. Where a coroutine ends inside of a scope that its consumer has opened since,
--- the consumer's stays the current one.
local function leave(scope, outer)
  local last = core.scope()
  if last == scope or last._ended then enter(outer) end
end
M.leave = leave

root._opener = core.current()
enter(root)

--- Wakes all that a cancellation of `scope` concerns from what they wait for. A task is where its current scope is: in
--- the one that it was started in, or in one that it has opened.
local function deliver(scope)
  local opener = scope._opener
  if opener and (scope_of(opener) == scope or innermost(opener) == scope) then core.cancel(opener) end
  for task in pairs(scope._tasks or {}) do
    if scope_of(task) == scope or innermost(task) == scope then core.cancel(task) end
  end
  for child in pairs(scope._children) do
    if not child._shield then deliver(child) end
  end
end

local function set_deadline(scope, at)
  scope._deadline = at
  if scope._cancelled or scope._ended then return end
  if at and at <= core.now() then return M.expire(scope) end
  if scope._timer then scope._timer:set(at or nil)
  elseif at then scope._timer = core.timer(scope, at) end
end
M.set_deadline = set_deadline

function Scope.__index(scope, name)
  if name == "deadline" then return rawget(scope, "_deadline") or nil end
  return Scope[name]
end

function Scope.__newindex(scope, name, value)
  if name == "deadline" then
    if value ~= nil and (type(value) ~= "number" or value ~= value) then
      errors.argument("deadline: a time of corun.now() or nil expected, got %s", errors.show(value))
    end
    set_deadline(scope, value or false)
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

local function base_of(task, home)
  local base = bases[task]
  if not base and home._tasks and home._tasks[task] then
    base = new(home, false)
    base._opener = task
    bases[task] = base
    set_scope(task, base)
  end
  return base
end

--- In how many __close handlers a task was when it opened the scope; what other tasks have opened is around all that
--- this one does.
local function depth_of(scope, task)
  return scope and scope._opener == task and scope._depth or 0
end

--- Opens a scope of the current task in its current one.
local function open(owning)
  local task, outer, running, depth = core.place()
  if outer._tasks and outer._tasks[task] and not bases[task] then outer = base_of(task, outer) end
  local parent = innermost(task, outer)
  local scope = new(parent, owning)
  scope._opener = task
  if running then
    scope._in_coroutine = true
    opened_in[scope] = running
  end
  if depth == 0 then return scope end
  -- Opened in a __close handler, it is not concerned by what cancels the function that the handler cleans up after.
  scope._depth = depth
  scope._shield = depth > depth_of(parent, task)
  return scope
end
M.open = open

--- Cancels one task alone.
function M.cancel_task(task, reason)
  local base = task:_state() ~= "ended" and task:_state() ~= "failed" and base_of(task, task:_scope())
  if base then base:cancel(reason) end
end

--- What a cancellation has raised in a scope leaves it as that of a scope further out, if one is cancelled there.
local function pass_on(scope, e)
  if errors.is_kind(e, "cancelled") and e._by == scope then e._by = cancelled_around(scope) or scope end
end

M.pass_on = pass_on

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

--- corun.shield without a time limit.
function M.shield(fn, ...)
  local scope = open(false)
  scope._shield = true
  return errors.reraise(within(scope, fn, ...))
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
  return errors.is_kind(e, "cancelled") and e._by == scope and scope._cancelled and scope._cancelled.expired
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

-- What the C layer asks and tells, the latter between two turns of the loop.

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

function hooks.timer_fired(scope)
  M.expire(scope)
end

core.hooks(hooks)
M.hosted = core.hosted or false
if M.hosted then core.set_busy(true) end

return M
