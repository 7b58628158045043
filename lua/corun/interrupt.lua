--- Signals to corun itself: those that end it, and the handlers of scripts.

local core = require "corun.core"
local errors = require "corun.error"
local locals = require "corun.locals"
local scopes = require "corun.scope"
local signals = require "corun.signals"

local M = {}

---@type integer?  the number of the signal that ends the program
M.ended_by = nil

--- SIGINT, SIGTERM, SIGHUP, or SIGPIPE because nobody reads our output: the first cancels everything, so that all that
--- runs is stopped by its plan; a second SIGINT kills at once.
function M.interrupted(number)
  if M.ended_by and number == core.signals.INT then
    core.kill_all()
    if scopes.hosted then core.quit(128 + number) end
    core.die(number)
  end
  if M.ended_by then return end
  M.ended_by = number
  scopes.root:cancel(signals.name(number))
end

local ends_us = {}
for _, name in ipairs { "INT", "TERM", "HUP", "PIPE" } do ends_us[core.signals[name]] = true end

-- Handlers

---@class corun.SignalHandle
---@field _deliver fun(number: integer)
---@field _numbers integer[]
---@field _closed fun()?  called when it is
---@field _home corun.Scope
local Handle = {}
Handle.__index = Handle
Handle.__name = "corun.SignalHandle"

--- In the host SIGQUIT shows what everybody waits for.
local shows_tasks = scopes.hosted and core.listen(core.signals.QUIT, true, true) and core.signals.QUIT

local handles = {} -- number → list of the open ones
local open_count = 0

local refused = { [0] = true, [core.signals.KILL] = true, [core.signals.STOP] = true }
for _, name in ipairs { "SEGV", "BUS", "FPE", "ILL" } do
  if core.signals[name] then refused[core.signals[name]] = true end -- the faulty instruction would be run again
end

local function number_of(signal, what)
  local number = signals.number(signal, what)
  local name = signals.name(number)
  if refused[number] or name:find("^signal") then -- those without a name are the C library's own
    errors.argument("%s: %s cannot be handled", what, name)
  end
  if number == core.signals.CHLD and core.backend == "libuv" then
    error(errors.new("unsupported", what .. ": SIGCHLD belongs to the libuv spawn backend"), 0)
  end
  return number
end

local function listen(numbers, deliver)
  local handle = setmetatable({ _numbers = numbers, _deliver = deliver, _home = scopes.owning() }, Handle)
  handle._home._listeners[handle] = true
  for _, number in ipairs(numbers) do
    handles[number] = handles[number] or {}
    table.insert(handles[number], handle)
    core.listen(number, true)
  end
  open_count = open_count + 1
  core.expect_signals(true)
  return handle
end

--- No more deliveries; tasks that handle one already go on. With the last handle of a signal its default behaviour
--- returns. A second call does nothing. Does not yield.
function Handle:close()
  if not self._home._listeners[self] then return end
  self._home._listeners[self] = nil
  for _, number in ipairs(self._numbers) do
    local left = {}
    for _, handle in ipairs(handles[number]) do
      if handle ~= self then left[#left + 1] = handle end
    end
    handles[number] = #left > 0 and left or nil
    if #left == 0 and number ~= shows_tasks then core.listen(number, false) end
  end
  open_count = open_count - 1
  core.expect_signals(open_count > 0)
  if self._closed then self._closed() end
end

Handle.__close = Handle.close

function Handle:__tostring()
  local names = {}
  for i, number in ipairs(self._numbers) do names[i] = signals.name(number) end
  return ("SignalHandle (%s%s)"):format(self._home._listeners[self] and "" or "closed, ", table.concat(names, ", "))
end

--- Calls fn(name) for each delivery of a signal to corun, in a task of its own in the current scope: never inside
--- another's code. Handlers take the place of the signal's default behaviour, which returns when the last one is
--- closed; several for one signal are all called. The end of the scope closes the handle, which by itself keeps nothing
--- alive.
--- (Of the standard signals the system delivers one where several of a kind have come before the first was taken.)
--- Does not yield.
---@param signal string|integer  not KILL, STOP nor those of faults (SEGV, BUS, FPE, ILL)
---@param fn fun(name: string): any  gets "SIGHUP"; what it raises is an error of the scope
---@return corun.SignalHandle  with :close(), also as <close>
function M.on_signal(signal, fn)
  local number = number_of(signal, "on_signal")
  errors.check_function(fn, "on_signal")
  local home, give_locals = scopes.owning(), locals.keep()
  return listen({ number }, function(delivered)
    give_locals(home:go(fn, signals.name(delivered)))
  end)
end

--- An iterator over signals to corun: for name in corun.signals { "HUP", "USR1" } do … Those that come meanwhile wait
--- for their turn. Leaving the loop gives the signals their default behaviour back, as closing a handle of on_signal.
--- Its calls yield, and raise kind "cancelled" in a cancelled scope: no delivery is lost by that.
---@param list (string|integer)[]
---@return fun(): string?  next; nil when the scope has ended
function M.signals(list)
  if type(list) ~= "table" or #list == 0 then
    local got = type(list) == "table" and "an empty one" or errors.show(list)
    errors.argument("signals: a list of signals expected, got %s", got)
  end
  local numbers, seen = {}, {}
  for _, signal in ipairs(list) do
    local number = number_of(signal, "signals")
    if not seen[number] then numbers[#numbers + 1] = number end
    seen[number] = true
  end
  local waiting, first, last, queue = {}, 1, 0, core.queue()
  local handle = listen(numbers, function(number)
    last = last + 1
    waiting[last] = signals.name(number)
    queue:wake()
  end)
  function handle._closed() queue:wake() end
  local function next_signal()
    core.check()
    while first > last do
      if not handle._home._listeners[handle] then return nil end
      queue:wait()
    end
    local name = waiting[first]
    waiting[first] = nil
    first = first + 1
    return name
  end
  return next_signal, nil, nil, handle
end

--- Between two turns of the loop: `count` deliveries of a signal.
function errors.hooks.signalled(number, count)
  local list = handles[number]
  if not list then
    if number == shows_tasks then M.show_tasks()
    elseif ends_us[number] then M.interrupted(number) end -- else it had come before its last handle was closed
    return
  end
  for _ = 1, count do
    for _, handle in ipairs(list) do
      if handle._home._listeners[handle] then handle._deliver(number) end
    end
  end
end

return M
