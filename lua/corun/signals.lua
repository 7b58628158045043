--- Signals by name and number.

local core = require "corun.core"
local errors = require "corun.error"

local M = {}

local numbers = {} -- every accepted name → number
local names = {}   -- number → "SIGTERM"

for name, number in pairs(core.signals) do
  if name ~= "RTMIN" and name ~= "RTMAX" then
    names[number] = "SIG" .. name
    numbers[name], numbers["SIG" .. name] = number, number
  end
end
local first, last = core.signals.RTMIN, core.signals.RTMAX
if first then
  for number = first, last do
    local name = number == first and "RTMIN" or number == last and "RTMAX" or "RTMIN+" .. (number - first)
    names[number] = "SIG" .. name
    numbers[name], numbers["SIG" .. name] = number, number
    if number ~= last and number ~= first then
      local from_end = "RTMAX-" .. (last - number)
      numbers[from_end], numbers["SIG" .. from_end] = number, number
    end
  end
end

---@param number integer
---@return string  "SIGTERM"; "signal 77" where it has no name
function M.name(number)
  return names[number] or "signal " .. number
end

--- The number of a signal given as a name ("TERM", "SIGTERM", "SIGRTMIN+2") or a number; else an argument error that
--- names `what`.
---@param signal string|integer
---@param what string
---@return integer
function M.number(signal, what)
  local number = numbers[signal]
  if not number and math.type(signal) == "integer" and signal >= 0 and signal <= (last or 64) then number = signal end
  if not number then
    errors.argument("%s: a signal name or number expected, got %s", what, errors.show(signal))
  end
  return number
end

return M
