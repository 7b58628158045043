--- The end of the program: of the host's script, or of the state of an interpreter that has loaded corun.

local core = require "corun.core"
local containment = require "corun.contain"
local errors = require "corun.error"
local interrupt = require "corun.interrupt"
local scopes = require "corun.scope"
local stdio = require "corun.stdio"
local stop = require "corun.stop"
local time = require "corun.time"

local M = {}

local root = scopes.root

--- What we have queued for our own standard output goes out, though slowly; after a signal only what goes in a second.
local function flush_output()
  for _, name in ipairs { "stdout", "stderr" } do
    local writer = rawget(stdio, name)
    if writer and interrupt.ended_by then pcall(time.timeout, 1, writer.drain, writer)
    elseif writer then pcall(writer.drain, writer) end
  end
end

--- Ends the root scope. Returns the errors that nobody has seen.
function M.finish_root()
  scopes.enter(root)
  scopes.is_finishing = true
  scopes.join(root)
  scopes.shield(flush_output)
  containment.finish()
  root._ended = true
  return root._errors
end

--- The state closes (how = "close") or the process exits ("exit"). `task`, in `scope`, is the one that ends it all; it
--- will not go on, so its scopes are ended for it (the to-be-closed variables of its functions are lost, as in every
--- os.exit).
function errors.hooks.finish(how, scope, task)
  if root._ended then return end
  scopes.take_signals()
  if how == "exit" then root:cancel("exit") end
  scopes.enter(root)
  if how == "exit" then
    stop.lose(root._opener)
    stop.lose(task)
  end
  scopes.leave_all(task, scope)
  local first = #root._errors == 0 and 1 or 2 -- the first has ended the main chunk, which says so
  local unseen = M.finish_root()
  for i = first, #unseen do io.stderr:write("corun: ", tostring(unseen[i]), "\n") end
  if interrupt.ended_by and how == "close" and not scopes.hosted then core.die(interrupt.ended_by) end
end

-- The same function, but for telling that the program exits: closing the state alone is the end of the main chunk.
local exit = os.exit
function os.exit(...) -- luacheck: ignore 122
  core.exiting(true)
  local _, e = pcall(exit, ...) -- comes back only from a wrong argument
  core.exiting(false)
  error(e, 2)
end

return M
