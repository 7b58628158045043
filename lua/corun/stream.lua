--- Streams: iterators that can be composed. A Reader's adapters give them, over its lines; corun.stream makes one of
--- any iterator (reader:jsonl(), a channel, string.gmatch, …).

local core = require "corun.core"
local errors = require "corun.error"

local M = {}

---@class corun.Stream
---An iterator, to be used in a for loop (`for item in stream do`) or called. Nothing is read before it is asked for,
---and nothing beyond: what a loop that is left has not asked for stays where it comes from. It yields where its source
---does.
local Stream = {}
Stream.__index = Stream
Stream.__name = "corun.Stream"

function Stream:__call() return self._next() end

local function make(next_item) return setmetatable({ _next = next_item }, Stream) end

---@param iterator fun(): any, ...  nil as the first value is the end; anything that can be called
---@return corun.Stream
function M.stream(iterator)
  if not errors.is_callable(iterator) then
    errors.argument("stream: an iterator expected, got %s", errors.show(iterator))
  end
  return make(function() return iterator() end)
end

local function check_count(n, what)
  if math.type(n) ~= "integer" or n < 1 then
    errors.argument("%s: a whole number, 1 or more, expected, got %s", what, errors.show(n))
  end
end

--- What fn makes of each item. Where that is nil, the item is left out.
---@param fn fun(item: any, ...): any
---@return corun.Stream
function Stream:map(fn)
  errors.check_function(fn, "map")
  local next_item = self._next
  local advance
  local function made(item, ...)
    if item == nil then return advance() end
    return item, ...
  end
  local function got(item, ...)
    if item == nil then return nil end
    return made(fn(item, ...))
  end
  function advance() return got(next_item()) end
  return make(advance)
end

--- The items for which fn gives true.
---@param fn fun(item: any, ...): any
---@return corun.Stream
function Stream:filter(fn)
  errors.check_function(fn, "filter")
  return self:map(function(...)
    if fn(...) then return ... end
  end)
end

--- The first n items. The others are not asked for.
---@param n integer
---@return corun.Stream
function Stream:take(n)
  if math.type(n) ~= "integer" or n < 0 then
    errors.argument("take: a whole number, 0 or more, expected, got %s", errors.show(n))
  end
  local next_item, left = self._next, n
  local function counted(...)
    left = left - 1 -- what raises does not count
    return ...
  end
  return make(function()
    if left == 0 then return nil end
    return counted(next_item())
  end)
end

--- Lists of n items (of each its first value); the last may be shorter.
---@param n integer
---@return corun.Stream
function Stream:batch(n)
  check_count(n, "batch")
  local next_item = self._next
  local list = {} -- stays where the source raises: the next call goes on
  return make(function()
    while #list < n do
      local item = next_item()
      if item == nil then break end
      list[#list + 1] = item
    end
    local full = list
    list = {}
    if #full > 0 then return full end
  end)
end

--- Each item, and behind its values the time at which it was read: seconds since the epoch.
---@return corun.Stream
function Stream:timestamps()
  local next_item = self._next
  local function stamped(item, ...)
    if item == nil then return nil end
    local values = table.pack(item, ...)
    values[values.n + 1] = core.time()
    return table.unpack(values, 1, values.n + 1)
  end
  return make(function() return stamped(next_item()) end)
end

return M
