--- Time: limits, and doing something again.

local core = require "corun.core"
local errors = require "corun.error"
local scopes = require "corun.scope"

local M = {}

local huge = math.huge

-- Limits

local function bounded(seconds)
  local scope = scopes.open(false)
  if seconds < huge then scopes.set_deadline(scope, core.now() + seconds) end
  if seconds == 0 then scopes.expire(scope) end
  return scope
end

local function timed(scope, seconds, ok, ...)
  if ok then return ... end
  local e, traceback = ...
  if scopes.is_expiry(scope, e) then
    e = errors.new("timeout", ("time limit of %g s exceeded"):format(seconds),
      { seconds = seconds, result = e.result, written = e.written, also = e.also, _origins = e._origins })
  end
  errors.raise(e, traceback)
end

--- Calls fn(...) in the same task with a time limit. What is started in it belongs to the scope around and is not
--- stopped; a process that fn waits for in run is. Limits nest, the nearest wins, and the one that expired raises.
--- A result that is there stands, though it came late. Yields where fn does.
---@param seconds number  0 is "at once": the first blocking operation raises
---@param fn function
---@return any ...  what fn returns
---Raises kind "timeout" (field seconds).
function M.timeout(seconds, fn, ...)
  errors.check_seconds(seconds, "timeout")
  errors.check_function(fn, "timeout")
  local scope = bounded(seconds)
  return timed(scope, seconds, scopes.within(scope, fn, ...))
end

local function moved_on(scope, ok, ...)
  if ok then return ... end
  local e, traceback = ...
  if not scopes.is_expiry(scope, e) then errors.raise(e, traceback) end
  local failed, origin = errors.take_also(e)
  if failed ~= nil then errors.raise(failed, origin) end
  return nil, "timeout"
end

--- As corun.timeout, but returns nil, "timeout" where that raises. (An error while cleaning up is still raised.)
---@param seconds number
---@param fn function
---@return any ...
function M.move_on(seconds, fn, ...)
  errors.check_seconds(seconds, "move_on")
  errors.check_function(fn, "move_on")
  local scope = bounded(seconds)
  return moved_on(scope, scopes.within(scope, fn, ...))
end

--- Shields fn from the cancellation of scopes around it, for clean-up that has to wait for something. It may still
--- raise what it raises. Yields where fn does.
---@param fn function
---@param seconds number?  at most so long; then kind "timeout" is raised
---@return any ...  what fn returns
function M.shield(fn, seconds)
  errors.check_function(fn, "shield")
  if seconds == nil then return scopes.shield(fn) end
  errors.check_seconds(seconds, "shield")
  return scopes.shield(M.timeout, seconds, fn)
end

--- Lets other tasks run for so many seconds; 0: lets each that is ready run once. Yields.
---@type fun(seconds: number)
---Raises kind "cancelled" in a cancelled scope, at once.
M.sleep = core.sleep

-- Again

local function number_option(least, most, what)
  return function(value)
    if type(value) ~= "number" or value ~= value or value < least or value > most then return what end
  end
end

local retry_options = {
  times = errors.count_option("a number of attempts, 1 or more"),
  delay = number_option(0, math.huge, "seconds, 0 or more"),
  factor = number_option(1, math.huge, "a factor, 1 or more"),
  max_delay = number_option(0, math.huge, "seconds, 0 or more"),
  jitter = number_option(0, 1, "a share from 0 to 1"),
  when = function(value) if type(value) ~= "function" then return "a function" end end,
}

--- The pause after the nth attempt.
local function pause_after(n, options)
  local delay = options.delay or 1
  local longest = delay > 0 and delay * (options.factor or 2) ^ (n - 1) or 0
  longest = math.min(longest, options.max_delay or math.huge)
  return longest * (1 - (options.jitter or 0.5) * math.random())
end

local function gave_up(e, traceback, attempts)
  if errors.is(e) then e.attempts = attempts end
  errors.raise(e, traceback)
end

local function attempted(options, fn, n, ok, ...)
  if ok then return ... end
  local e, traceback = ...
  if scopes.is_cancellation(e) then error(e, 0) end
  local again = n < (options.times or 3) and (not options.when or options.when(e, n))
  local pause = again and pause_after(n, options)
  if not pause or core.now() + pause >= scopes.nearest_deadline() then gave_up(e, traceback, n) end
  core.sleep(pause)
  return attempted(options, fn, n + 1, errors.call(fn, n + 1))
end

---@class corun.RetryOptions
---@field times integer?    attempts in all; default 3; math.huge: no end
---@field delay number?     seconds; default 1
---@field factor number?    default 2
---@field max_delay number? seconds, which no pause exceeds; default no limit
---@field jitter number?    0 to 1; default 0.5
---@field when (fun(e: any, attempt: integer): boolean)?  whether an error is worth another attempt; default: each is,
---  but for a cancellation of the scope, which is never asked about

--- Calls fn(attempt) until it does not raise, and returns what it returns. Between two attempts there is a pause of
--- `delay` seconds at most, `factor` times as much after each, less a random share of up to `jitter` (so that many that
--- have failed together do not come back together). When it gives up, the last error is raised, with their number in
--- `attempts`. It gives up without a pause that would reach beyond the nearest deadline around it: the caller learns
--- what went wrong instead of that the time was over. Yields.
---@param options corun.RetryOptions
---@param fn fun(attempt: integer): any
---@return any ...
function M.retry(options, fn)
  errors.check_options(options, retry_options, "retry")
  errors.check_function(fn, "retry")
  return attempted(options or {}, fn, 1, errors.call(fn, 1))
end

--- Calls fn(tick) every so many seconds, for the first time after that time, until it returns false; or for ever: then
--- cancel its scope, or run it in a task (corun.go(corun.every, 1, fn)). There is no drift: the nth tick is due n times
--- the seconds after the start. A tick that comes while fn still runs is skipped, not made up for; the number that fn
--- gets counts it. What fn raises ends it. Yields.
---@param seconds number  1e-9 or more
---@param fn fun(tick: integer): any
function M.every(seconds, fn)
  if type(seconds) ~= "number" or not (seconds >= 1e-9 and seconds < math.huge) then -- the clock counts nanoseconds
    errors.argument("every: seconds expected, 1e-09 or more, got %s", errors.show(seconds))
  end
  errors.check_function(fn, "every")
  local start, tick = core.now(), 0
  repeat
    tick = math.max(tick + 1, math.ceil((core.now() - start) / seconds))
    core.sleep(math.max(0, start + tick * seconds - core.now()))
  until fn(tick) == false
end

return M
