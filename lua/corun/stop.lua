--- Stop plans: polite, wait, kill.

local core = require "corun.core"

local M = {}

local TERM, KILL, CONT, STOP = core.signals.TERM, core.signals.KILL, core.signals.CONT, core.signals.STOP
local HUP = core.signals.HUP

--- How long the end is waited for after the plan: SIGKILL works at once, but for a process in a system call that cannot
--- be interrupted.
local LAST_WAIT = 1

---@param grace number?  seconds between TERM and KILL, default 5
function M.default(grace)
  return { { TERM, grace or 5, "TERM" }, { KILL, 0, "KILL" } }
end

local function has_kill(plan)
  for _, step in ipairs(plan) do
    if step[1] == KILL then return true end
  end
  return false
end

--- The plan for the end of a scope: what has no KILL gets one after 5 s.
function M.with_kill(plan)
  if has_kill(plan) then return plan end
  local extended = { table.unpack(plan) }
  local last = extended[#extended]
  extended[#extended] = { last[1], math.max(last[2], 5), last[3] }
  extended[#extended + 1] = { KILL, 0, "KILL" }
  return extended
end

--- The plan for the end of a session whose terminal was hung up: an interactive shell ignores TERM, but this ends it.
function M.with_hang_up(plan)
  return { { HUP, 1, "HUP" }, table.unpack(plan) }
end

--- Whether anything of the tree still runs. Of a group whose leader is reaped, the kernel also counts zombies that a
--- slow pid 1 has not taken yet: those are looked up.
local function is_alive(process)
  local handle = process._handle
  if not handle:status() then return true end
  if not process._own_group or not handle:signal_tree(0) then return false end
  return core.group_members(process.pid) > 0
end
M.is_alive = is_alive

--- Waits until nothing of the tree runs. The leader's end is an event; that its group has become empty is none, so
--- that is looked at in growing steps.
local function wait_for_end(process, seconds)
  local deadline = core.now() + seconds
  process._handle:wait(seconds)
  local pause = 0.001
  while is_alive(process) do
    local left = deadline - core.now()
    if left <= 0 then return false end
    core.sleep(math.min(pause, left))
    pause = math.min(pause * 2, 0.05)
  end
  return true
end

local function run_steps(process, plan)
  local handle = process._handle
  local stopped = process._stopped or {}
  process._stopped = stopped
  for _, step in ipairs(plan) do
    if not is_alive(process) then return true end
    local number = step[1]
    handle:signal_tree(number)
    stopped[#stopped + 1] = step[3]
    -- A stopped process sees no signal but KILL until it goes on.
    if number ~= KILL and number ~= STOP and number ~= CONT then handle:signal_tree(CONT) end
    if wait_for_end(process, step[2]) then return true end
  end
  process._stopped_at = core.now()
  return wait_for_end(process, LAST_WAIT)
end

--- Runs the plan on the tree of a process until nothing of it is left. Each step that ran is noted in
--- process._stopped. Yields; call it shielded. True if the tree is gone.
---@param process corun.Process
---@param plan table  checked steps: {number, seconds, name}
---@return boolean
function M.run(process, plan)
  process._stopping = true
  local gone = run_steps(process, plan)
  process._stopping = nil
  process._stopped_at = process._stopped_at or core.now()
  if gone then process:_let_go() end
  return gone
end

return M
