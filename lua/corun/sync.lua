--- What tasks tell each other with: events, semaphores, mutexes, channels. All are fair: first come, first served.
---
--- A wait that a cancellation or a time-out ends has changed nothing: the lock is not held, the value was not sent. One
--- that was granted before counts, though the task is cancelled before it runs again.

local core = require "corun.core"
local errors = require "corun.error"

local M = {}

--- Waits in `queue` until somebody hands over what is wanted; kind "timeout" after `seconds`.
local function wait_in(queue, seconds, what)
  if not queue:wait(seconds) then
    error(errors.new("timeout", ("%s: it did not come in %g s"):format(what, seconds), { seconds = seconds }), 0)
  end
end

-- Event

---@class corun.Event
local Event = {}
M.Event = Event
Event.__index = Event
Event.__name = "corun.Event"

function Event:__tostring() return self._is_set and "Event (set)" or "Event (not set)" end

--- Something that happens once, and that any number of tasks can wait for.
---@return corun.Event
function M.event()
  return setmetatable({ _is_set = false, _queue = core.queue() }, Event)
end

--- It has happened: all that wait go on, and later waits end at once. Does not yield.
function Event:set()
  self._is_set = true
  self._queue:wake()
end

--- From now on it has not happened. Those that `set` has woken go on nevertheless. Does not yield.
function Event:clear() self._is_set = false end

---@return boolean
function Event:is_set() return self._is_set end

--- Waits until it has happened. Yields unless it has.
---@param seconds number?  at most so long; then kind "timeout" is raised
---Raises kind "cancelled" in a cancelled scope; the Event is as it was.
function Event:wait(seconds)
  if seconds ~= nil then errors.check_seconds(seconds, "wait") end
  if self._is_set then return core.check() end
  wait_in(self._queue, seconds, "wait")
end

-- Semaphore

---@class corun.Semaphore
---@field available integer  permits that nobody has
local Semaphore = {}
M.Semaphore = Semaphore
Semaphore.__index = Semaphore
Semaphore.__name = "corun.Semaphore"

function Semaphore:__tostring() return ("Semaphore (%d available)"):format(self.available) end

--- A number of permits: so many tasks at a time may do something.
---@param permits integer  0 or more
---@return corun.Semaphore
function M.semaphore(permits)
  if math.type(permits) ~= "integer" or permits < 0 then
    errors.argument("semaphore: a number of permits, 0 or more, expected, got %s", errors.show(permits))
  end
  return setmetatable({ available = permits, _queue = core.queue() }, Semaphore)
end

--- Takes a permit, and waits for one if there is none. `local permit <close> = semaphore:acquire()` gives it back at
--- the end of the block. Yields unless there is one.
---@param seconds number?  at most so long; then kind "timeout" is raised
---@return corun.Semaphore self
---Raises kind "cancelled" in a cancelled scope; then, as after a time-out, no permit was taken.
function Semaphore:acquire(seconds)
  if seconds ~= nil then errors.check_seconds(seconds, "acquire") end
  if self.available > 0 then
    core.check()
    self.available = self.available - 1
  else
    wait_in(self._queue, seconds, "acquire") -- release hands it over
  end
  return self
end

--- Gives a permit to the task that has waited longest, or back. Any task may. Does not yield.
function Semaphore:release()
  if not self._queue:wake_one() then self.available = self.available + 1 end
end

Semaphore.__close = Semaphore.release

-- Mutex

---@class corun.Mutex
local Mutex = {}
M.Mutex = Mutex
Mutex.__index = Mutex
Mutex.__name = "corun.Mutex"

function Mutex:__tostring()
  if not self._holder then return "Mutex (free)" end
  local status = self._holder.status
  local ended = status == "ended" or status == "failed" or status == "cancelled"
  return ("Mutex (held by %s%s)"):format(self._holder.name, ended and ", which has ended" or "")
end

--- A lock that one task at a time holds.
---@return corun.Mutex
function M.mutex()
  return setmetatable({ _queue = core.queue() }, Mutex)
end

--- Takes the lock, and waits for it if another task has it. `local held <close> = mutex:lock()` unlocks it at the end
--- of the block. Yields unless it is free.
---@param seconds number?  at most so long; then kind "timeout" is raised
---@return corun.Mutex self
---Raises kind "deadlock" if this task has it already; kind "cancelled" in a cancelled scope; then, as after a time-out,
---the lock is not held.
function Mutex:lock(seconds)
  if seconds ~= nil then errors.check_seconds(seconds, "lock") end
  local task = core.current()
  if self._holder == task then
    error(errors.new("deadlock", ("lock: %s holds this mutex already and would wait for itself"):format(task.name)), 0)
  end
  if self._holder then
    wait_in(self._queue, seconds, "lock") -- unlock hands it over
  else
    core.check()
    self._holder = task
  end
  return self
end

--- Gives the lock to the task that has waited longest, or makes it free. Only the task that has it may. Does not yield.
function Mutex:unlock()
  if self._holder ~= core.current() then
    errors.argument("unlock: %s does not hold this mutex (%s)", core.current().name, tostring(self))
  end
  self._holder = self._queue:wake_one()
end

Mutex.__close = Mutex.unlock

-- Channels are in C (runtime/module/lchannel.c); what their methods do is said in meta.lua.

--- A queue of values from task to task. Up to `capacity` of them wait in it; a sender waits while there is no room.
--- With 0 a sender waits until somebody has received (a rendezvous).
---@param capacity integer?  default 0; math.huge: without a limit
---@return corun.Channel
M.channel = core.channel

--- Waits until one of several channel operations is possible and does that one, and no other. Among several that are
--- possible each has its turn. Yields unless one is possible.
---@param cases (corun.Channel|{ [1]: corun.Channel, [2]: any })[]  a channel: receive from it; {channel, value}: send
---@param seconds number?  at most so long; then kind "timeout" is raised
---@return integer index  the number of the case
---@return any value      what was received (nil: that channel is closed and empty), or true for a value sent
---Raises kind "closed" when a value was to be sent to a closed channel; kind "cancelled" in a cancelled scope. Then, as
---after a time-out, nothing was sent or received.
M.select = core.select

return M
