--- Trees of processes of random shape (fixtures/sprout.c), and what is left of them.

local corun = require "corun"
local support = require "spec.support"
local waiting = require "spec.support.waiting"

local M = {}

M.program = support.fixture "sprout"

---@class Sprout
---@field seed integer
---@field names string  the file to which its members write their pids
---@field mark string   CORUN_SPROUT in the environment of those that have kept it: ours, not of another run beside us
---@field said string[]  for failures
local Sprout = {}
Sprout.__index = Sprout

--- A tree that is still to be started, in a directory of its own.
function M.new(seed)
  local names = support.directory() .. "/pids"
  return setmetatable({ seed = seed, names = names, mark = support.pid .. "-" .. seed, said = {} }, Sprout)
end

--- The spec of its command, with these options.
function Sprout:spec(options)
  local spec = { M.program, self.seed, self.names, env = { CORUN_SPROUT = self.mark } }
  for name, value in pairs(options) do spec[name] = value end
  return spec
end

--- The pids of all that it ever had.
function Sprout:members()
  local pids = {}
  for pid in (support.read_file(self.names) or ""):gmatch("%d+") do pids[#pids + 1] = tonumber(pid) end
  return pids
end

--- Those that live, with their commands.
function Sprout:survivors()
  local found, seen = support.marked("CORUN_SPROUT=" .. self.mark), {}
  for _, each in ipairs(found) do seen[tonumber(each:match("%d+"))] = true end
  for _, pid in ipairs(self:members()) do
    if not seen[pid] and not support.is_gone(pid) then found[#found + 1] = pid .. " (without environment)" end
  end
  return found
end

--- Waits until nobody is left, where that is not promised for the moment.
function Sprout:wait_until_gone()
  waiting.wait_until("nobody is left of tree " .. self.seed, function() return #self:survivors() == 0 end, 20)
end

--- Kills what a failed example has left, so that only that one fails.
function Sprout:__close()
  for _, each in ipairs(self:survivors()) do corun.run { "kill", "-KILL", each:match("%d+"), check = false } end
end

return M
