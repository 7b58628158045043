--- A cat that sends back what it gets, so that a spec decides what comes, and when. What a Process has and can do, the
--- one that runs now has and can do under the name of this module: echo:write(…), echo.stdout.

local corun = require "corun"
local waiting = require "spec.support.waiting"

local M = {}

local process

setmetatable(M, {
  __index = function(_, name)
    local value = process[name]
    if type(value) ~= "function" then return value end
    return function(_, ...) return value(process, ...) end
  end,
})

--- Another one, in the place of the one before.
function M.start()
  if process then process:close() end
  process = corun.spawn { "cat", stderr = "null" }
end

function M.stop() process:close() end

local function arrived() return (select(3, process.stdout:_status())) end

--- Has these bytes read into the Reader by one piece, and lets who waits for them look at them.
function M.send(bytes)
  local before = arrived()
  process:write(bytes)
  waiting.wait_until("the bytes have come", function() return arrived() >= before + #bytes end)
  corun.sleep(0)
end

--- The Reader of a stream that holds just these bytes and has ended.
function M.reader_of(bytes)
  process:write(bytes)
  process:close_stdin()
  process:wait_closed()
  return process.stdout
end

return M
