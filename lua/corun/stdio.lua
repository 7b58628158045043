--- Our own standard streams as Reader and Writers, made when they are first used; and what a spec may name for a
--- child's stdin and stdout, as a Reader and Writer of ours.

local core = require "corun.core"

local makers = {
  stdin = function() return core.input(0) end,
  stdout = function() return core.output(1) end,
  stderr = function() return core.output(2) end,
}

local M = setmetatable({}, {
  __index = function(self, name)
    local make = makers[name]
    if not make then return nil end
    local stream = make()
    rawset(self, name, stream)
    return stream
  end,
})

--- A Reader for what a checked `stdin` says (a word, a descriptor, a file, a Reader), and whether it is the caller's to
--- close.
---@return corun.Reader, boolean
function M.reader_for(value)
  if value == "null" then return core.string_reader(""), true end
  if value == "inherit" or value == 0 then return M.stdin, false end
  if type(value) == "table" then return core.open(value.file, "r"), true end
  if type(value) == "userdata" and getmetatable(value) == core.Reader then return value, false end
  return core.input(value), true
end

--- The same for `stdout`: a Writer.
---@return corun.Writer, boolean
function M.writer_for(value)
  if value == "null" then return core.open("/dev/null", "w"), true end
  if value == "inherit" or value == 1 then return M.stdout, false end
  if value == "stderr" or value == 2 then return M.stderr, false end
  if type(value) == "table" then
    local mode = type(value.mode) == "string" and tonumber(value.mode, 8) or value.mode
    return core.open(value.file, value.append and "a" or "w", mode), true
  end
  if type(value) == "userdata" and getmetatable(value) == core.Writer then return value, false end
  return core.output(value), true
end

return M
