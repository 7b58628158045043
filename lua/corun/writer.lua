--- Writer: the methods that need no C. The others: meta.lua.

local core = require "corun.core"
local errors = require "corun.error"

---@class corun.Writer
local methods = core.Writer.methods

--- Writes each string that the iterator (or list) gives, in constant memory: the next one is asked for when the one
--- before is written. Yields, raises as write.
---@param iterator (fun(): string?)|string[]
---@return corun.Writer self
function methods.writelines(writer, iterator)
  if type(iterator) == "table" then
    for _, part in ipairs(iterator) do writer:write(part) end
  elseif type(iterator) == "function" then
    for part in iterator do writer:write(part) end
  else
    errors.argument("writelines: an iterator or a list of strings expected, got %s", errors.show(iterator))
  end
  return writer
end
