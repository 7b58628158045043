--- Writer: the methods that need no C. The others: meta.lua.

local core = require "corun.core"
local errors = require "corun.error"

---@class corun.Writer
local methods = core.Writer.methods

--- Writes each string that the iterator (or list) gives, in constant memory: as with write, no more than high_water
--- bytes are queued when the next one is asked for. Many small ones go out together. Yields, raises as write.
---@param iterator (fun(): string?)|string[]
---@return corun.Writer self
function methods.writelines(writer, iterator)
  if errors.is_callable(iterator) then
    for part in iterator do
      if not writer:_gather(part) then writer:write(part) end
    end
  elseif type(iterator) == "table" then
    for _, part in ipairs(iterator) do
      if not writer:_gather(part) then writer:write(part) end
    end
  else
    errors.argument("writelines: an iterator or a list of strings expected, got %s", errors.show(iterator))
  end
  writer:_flush()
  return writer:write() -- raises where it has ended
end
