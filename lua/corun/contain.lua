--- Containment: nothing that a script has started outlives it.

local core = require "corun.core"
local errors = require "corun.error"

local M = {}

local is_contained = false

--- From now on nothing that this program has ever started outlives it, but for what is `detached`: however it ends, by
--- SIGKILL, a crash or the OOM killer included, and whatever its descendants have done to get away (setsid, a daemon's
--- double fork). That goes for what os.execute and io.popen start from then on, too (but below another corun). A guard
--- process of its own waits for that end and kills them; at an ordinary end corun does that itself. It costs a spawn
--- nothing. A second call does nothing. Needs Linux. `corun --contain script.lua` calls it
--- before the script. Does not yield.
---Raises kind "unsupported" where that cannot be had; the message names what is missing.
function M.contain()
  if is_contained then return end
  local ok, missing, code = core.contain()
  if not ok then error(errors.new("unsupported", "contain: this needs " .. missing, { code = code }), 0) end
  is_contained = true
end

--- Whether contain was called.
function M.is_contained() return is_contained end

local LAST_WAIT = 5 -- seconds for those in a system call that cannot be interrupted

--- The end of the program, after its scopes have ended.
function M.finish()
  if is_contained then core.kill_marked(LAST_WAIT) end
end

return M
