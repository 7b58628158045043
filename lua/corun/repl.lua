--- The interactive session: reads lines, runs them, prints values, while tasks and children go on.

require "corun" -- the host ends a script that has it by the rules of scopes
local core = require "corun.core"
local errors = require "corun.error"
local foreground = require "corun.foreground"
local interrupt = require "corun.interrupt"
local scopes = require "corun.scope"
local stdio = require "corun.stdio"
local input = require "corun.line_input"

local function compile(text)
  local chunk = load("return " .. text, "=stdin")
  if chunk then return chunk end
  return load(text, "=stdin")
end

local function is_incomplete(message)
  return message:sub(-5) == "<eof>"
end

local function history_file()
  local dir = os.getenv("XDG_STATE_HOME")
  if dir and dir ~= "" then return dir .. "/corun_history" end
  local home = os.getenv("HOME")
  return home and home .. "/.corun_history"
end

--- Line input: with editing, or plain.
local function open_input()
  local ok, problem = core.isatty(0)
  if ok then ok, problem = input.open(history_file()) end
  if ok then
    local plain_print = print
    function print(...) -- luacheck: ignore 121
      input.hide()
      plain_print(...)
      io.stdout:flush()
    end
    return input.read, function()
      print = plain_print -- luacheck: ignore 121
      input.close()
    end
  end
  if problem then io.stderr:write("corun: ", problem, "\n") end
  return function(prompt)
    io.write(prompt)
    io.flush()
    return stdio.stdin:read_line()
  end, function() end
end

--- The next statement as a function; nil and why not; or nil alone at the end. Ctrl-C (false) begins anew.
local function read_statement(read)
  local text
  repeat text = read("> ") until text ~= false
  if not text then return nil end
  while true do
    local chunk, problem = compile(text)
    if chunk or not is_incomplete(problem) then return chunk, problem end
    local more = read(">> ")
    if more == false then return read_statement(read) end
    if not more then return nil, problem end
    text = text .. "\n" .. more
  end
end

local function show(value)
  if type(value) == "table" and not (getmetatable(value) and getmetatable(value).__tostring) then
    local found, inspect = pcall(require, "inspect")
    if found then return inspect(value) end
  end
  return tostring(value)
end

local function print_values(...)
  local count = select("#", ...)
  if count == 0 then return end
  local parts = {}
  for i = 1, count do parts[i] = show((select(i, ...))) end
  print(table.concat(parts, "\t"))
end

local function print_error(e)
  if not errors.is(e) and type(e) == "table" and e.traceback then
    io.stderr:write(e.message, "\n", e.traceback, "\n")
  else
    io.stderr:write(tostring(e), "\n")
  end
end

local show_tasks = interrupt.show_tasks
function interrupt.show_tasks()
  input.hide() -- the line that is typed; it is shown again before the next wait
  show_tasks()
end

local running -- the scope of the line that runs

--- Ctrl-C stops the line, or throws away what is typed; other signals end the session as they end a script.
local ended = interrupt.interrupted
function interrupt.interrupted(number)
  if number ~= core.signals.INT then
    ended(number)
  elseif running then
    running:cancel("interrupted")
  else
    input.cancel()
  end
end

-- One owning scope for each line, which stays open while something of it lives.

local sessions = {}

--- pcall(fn) in that scope. After an error what fn has started is stopped; else it lives on.
local function run_in(scope, fn)
  local outer = core.scope()
  scopes.enter(scope)
  local values = table.pack(pcall(fn))
  if values[1] and not scope._cancelled and scopes.owns_something(scope) then
    sessions[#sessions + 1] = scope
  else
    if not values[1] then scope:cancel("the line failed") end
    scopes.join(scope)
    scopes.close(scope)
  end
  scopes.enter(outer)
  return table.unpack(values, 1, values.n)
end

local function end_sessions()
  for _, scope in ipairs(sessions) do
    scope:cancel("the session ends")
    scopes.join(scope)
    scopes.close(scope)
  end
  sessions = {}
end

--- Whether Ctrl-C has ended the line: its scope is cancelled by it, or the program that had the terminal has died of
--- it.
local function is_interruption(e, scope)
  if errors.is_kind(e, "cancelled") then return e._by == scope end
  return scope._cancelled and errors.is(e) and e.result and e.result.signal == "SIGINT"
end

--- Runs one line in a scope of its own. What it has started lives on with the session if the line went well, and is
--- stopped with it if not.
local function run_line(chunk)
  local scope = scopes.open(true)
  scope._is_session = true
  running = scope
  foreground.pause(false)
  local values = table.pack(run_in(scope, chunk))
  running = nil
  foreground.pause(true)
  if values[1] then
    print_values(table.unpack(values, 2, values.n))
  elseif is_interruption(values[2], scope) then
    io.stderr:write("\ninterrupted\n") -- the terminal has just shown ^C
  else
    print_error(values[2])
  end
end

return function()
  local read, close = open_input()
  scopes.on_session_error = print_error
  while true do
    local ok, chunk, problem = pcall(read_statement, read)
    if not ok then break end -- the session is cancelled by a signal
    if chunk then
      run_line(chunk)
    elseif problem then
      io.stderr:write(problem, "\n")
    else
      break
    end
  end
  close()
  if not interrupt.ended_by then print() end
  end_sessions()
end
