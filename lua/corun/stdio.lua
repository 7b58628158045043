--- Our own standard streams as Reader and Writers, made when they are first used.

local core = require "corun.core"

local makers = {
  stdin = function() return core.stdin() end,
  stdout = function() return core.output(1) end,
  stderr = function() return core.output(2) end,
}

return setmetatable({}, {
  __index = function(self, name)
    local make = makers[name]
    if not make then return nil end
    local stream = make()
    rawset(self, name, stream)
    return stream
  end,
})
