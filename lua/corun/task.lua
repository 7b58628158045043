--- Tasks: what scope:go returns.

local core = require "corun.core"
local errors = require "corun.error"
local scopes = require "corun.scope"

---@class corun.Task
---@field status "ready"|"waiting"|"running"|"ended"|"failed"|"cancelled"
---@field name string  "main", "task 3", or what it was given: task.name = "fetch"
local Task = core.Task
local methods = Task.__index
Task.methods = methods

local names = setmetatable({}, { __mode = "k" })

local function failed_by_cancellation(task)
  local _, e = task:_await()
  return errors.is_kind(e, "cancelled") and e._by ~= nil, e
end

local function status_of(task)
  local state = task:_state()
  if state == "failed" and failed_by_cancellation(task) then return "cancelled" end
  return state
end

function Task.__index(task, name)
  if name == "status" then return status_of(task) end
  if name == "name" then return names[task] or task:_id() == 0 and "main" or "task " .. task:_id() end
  return methods[name]
end

function Task.__newindex(task, name, value)
  if name ~= "name" then errors.argument("a Task has no field %s to be set", errors.show(name)) end
  if type(value) ~= "string" then errors.argument("name: a string expected, got %s", errors.show(value)) end
  names[task] = value
end

function Task:__tostring()
  return ("%s (%s)"):format(self.name, self.status)
end

local function awaited(task, seconds, ok, ...)
  if ok then return ... end
  if ok == false then
    error(errors.new("timeout", ("%s: not ended after %g s"):format(task.name, seconds), { seconds = seconds }), 0)
  end
  local e = ...
  if errors.is_kind(e, "cancelled") and e._by then
    core.check() -- both were cancelled: then that is what there is to say
    e = errors.new("cancelled", task.name .. " was cancelled", { reason = e.reason, result = e.result })
  end
  error(e, 0)
end

--- Waits until the task has ended. Any number of tasks may await one, before or after its end. A cancelled or timed-out
--- await leaves the task alone. Yields.
---@param seconds number?  at most so long; then kind "timeout" is raised
---@return any ...  what its function returned
---Raises what the task raised; kind "cancelled" if it was cancelled.
function methods.await(task, seconds)
  if seconds ~= nil then errors.check_seconds(seconds, "await") end
  if task == core.current() then
    error(errors.new("deadlock", ("await: %s would wait for itself"):format(task.name)), 0)
  end
  return awaited(task, seconds, task:_await(seconds))
end

--- Cancels the task: its blocking operations raise kind "cancelled" until it has ended. Does not wait. One that has
--- ended stays as it is; a cancelled task does not fail its scope.
---@param reason any?
function methods.cancel(task, reason)
  scopes.cancel_task(task, reason)
end

return Task
