--- Several functions at once, each in a task of a scope of its own: when one raises, the others are cancelled, and all
--- have ended when the call returns or raises.

local core = require "corun.core"
local errors = require "corun.error"
local scopes = require "corun.scope"
local sync = require "corun.sync"

local M = {}

local function check_functions(functions, what)
  if type(functions) ~= "table" then
    errors.argument("%s: a table of functions expected, got %s", what, errors.show(functions))
  end
  for key, fn in pairs(functions) do
    if type(fn) ~= "function" then
      errors.argument("%s: a function expected at %s, got %s", what, errors.show(key), errors.show(fn))
    end
  end
end

--- Calls all of them at once and returns their (first) results under their keys: a list for a list. The first error
--- cancels the others and is raised (several: kind "group"). Yields.
---@generic K
---@param functions table<K, function>
---@return table<K, any>
function M.all(functions)
  check_functions(functions, "all")
  local results = {}
  scopes.scope(function(scope)
    for key, fn in pairs(functions) do
      scope:go(function() results[key] = fn() end)
    end
  end)
  return results
end

--- Calls all of them at once. The first that ends decides: what it returns is returned, what it raises is raised. The
--- others are cancelled and waited for; what their clean-up raises is raised, too. Yields.
---@param functions function[]
---@return any ...
function M.race(functions)
  check_functions(functions, "race")
  if next(functions) == nil then errors.argument("race: at least one function expected, got none") end
  local winner
  scopes.scope(function(scope)
    for _, fn in pairs(functions) do
      scope:go(function()
        if winner then return end
        local results = table.pack(fn())
        if winner then return end -- it was cancelled, but had no more to wait for
        winner = results
        scope:cancel("the race is won")
      end)
    end
  end)
  return table.unpack(winner, 1, winner.n)
end

local map_options = {
  jobs = errors.count_option("a number of tasks, 1 or more"),
  ordered = function(value) if type(value) ~= "boolean" then return "true or false" end end,
}

--- What is mapped, as an iterator; its first value is nil at the end.
local function iterator_of(items)
  if errors.is_callable(items) then return items end
  if type(items) ~= "table" then
    errors.argument("map: a list or an iterator expected, got %s", errors.show(items))
  end
  local i = 0
  return function()
    i = i + 1
    return items[i], i
  end
end

--- Calls fn for each item, up to `jobs` at a time, and returns a list of the (first) results: in the order of the items
--- unless `ordered` is false, then as they come. An iterator is asked for the next item when there is a task free for
--- it, and so may be of any length: memory is that of the tasks at work and of the results that are not nil. The first
--- error cancels the others and is raised. Yields.
---@param items any[]|fun(): any, ...  a list; or an iterator or Channel, which may wait: it is called by one task only
---@param fn fun(item: any, ...): any  is called with the item and its number; for an iterator, with all that it gives
---@param options { jobs: integer?, ordered: boolean? }?  jobs: as many as there are processors; ordered: true
---@return any[]
function M.map(items, fn, options)
  local next_item = iterator_of(items)
  errors.check_function(fn, "map")
  options = errors.check_options(options, map_options, "map")
  local jobs, ordered = options.jobs or core.processors(), options.ordered ~= false
  local free = sync.semaphore(jobs == math.huge and math.maxinteger or jobs)
  local results, count = {}, 0

  scopes.scope(function(scope)
    local function work(number, ...)
      local result = fn(...)
      if ordered then results[number] = result
      elseif result ~= nil then results[#results + 1] = result end
      free:release()
    end
    local function start(item, ...)
      if item == nil then return false end
      count = count + 1
      scope:go(work, count, item, ...)
      return true
    end
    repeat free:acquire() until not start(next_item())
  end)
  return results
end

return M
