-- Values from one task to another through a channel, a second. Beside it: handover.go, handover.py.
local corun = require "corun"
local count = tonumber(arg[1]) or 1000000

for _, capacity in ipairs { 0, 100 } do
  local channel = corun.channel(capacity)
  local start = corun.now()
  corun.scope(function(scope)
    scope:go(function()
      for i = 1, count do channel:send(i) end
      channel:close()
    end)
    scope:go(function()
      local sum = 0
      for value in channel do sum = sum + value end
      assert(sum == count * (count + 1) // 2)
    end)
  end)
  print(("capacity %d: %.2f million/s"):format(capacity, count / (corun.now() - start) / 1e6))
end
