--- Waiting for a fact about the world that nobody announces.

local corun = require "corun"

local M = {}

--- Lets corun go on until fact() is true, and returns what it gave; fails after `seconds` (10).
function M.wait_until(what, fact, seconds)
  local deadline = corun.now() + (seconds or 10)
  while true do
    local value = fact()
    if value then return value end
    if corun.now() > deadline then error("it never came true: " .. what, 2) end
    corun.sleep(0.0005)
  end
end

--- A task that calls fn, and has come to its first wait.
function M.start(fn, ...)
  local task = corun.go(fn, ...)
  M.wait_until("the task has begun", function() return task.status ~= "ready" end)
  return task
end

--- Lets every task that is ready run, many times over: what could happen by itself has happened. Not by sleep(0): the
--- loop, which looks at timers and descriptors, has a turn for each of these.
function M.let_others_run()
  for _ = 1, 50 do corun.sleep(1e-9) end
end

return M
