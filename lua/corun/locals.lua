--- corun.locals: values of a task, which the tasks that it starts inherit. A request's id, the prefix of a log.

local core = require "corun.core"
local errors = require "corun.error"

local M = {}

-- Task → its values. A table in here is never changed, only replaced: so inheriting is sharing, and what a task sets
-- later concerns neither its parent nor the children that it has already. (As a copied context in Python's asyncio.)
local values_of = setmetatable({}, { __mode = "k" })

--- Gives a new task the values of the one that runs.
function M.inherit(task)
  local values = values_of[core.current()]
  if values then values_of[task] = values end
end

--- The current values, and a function that gives them to a task later on.
function M.keep()
  local values = values_of[core.current()]
  return function(task) values_of[task] = values end
end

--- Read, assigned and iterated over like a table. Each task has its own; a task starts with those that the task which
--- started it had at that moment, and so do line functions and handlers of signals. Nothing in here yields.
---@type table<string, any>
M.locals = setmetatable({}, {
  __index = function(_, name)
    local values = values_of[core.current()]
    return values and values[name]
  end,
  __newindex = function(_, name, value)
    if type(name) ~= "string" then errors.argument("locals: a name expected, got %s", errors.show(name)) end
    local task = core.current()
    local changed = {}
    for known, old in pairs(values_of[task] or {}) do changed[known] = old end
    changed[name] = value
    values_of[task] = changed
  end,
  __pairs = function()
    local values = values_of[core.current()] or {}
    return function(_, name) return next(values, name) end
  end,
})

return M
