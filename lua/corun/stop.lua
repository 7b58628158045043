--- Stop plans: polite, wait, kill.

local core = require "corun.core"
local errors = require "corun.error"
local scopes = require "corun.owning"
local signals = require "corun.signals"

local M = {}

local KILL, CONT, STOP = core.signals.KILL, core.signals.CONT, core.signals.STOP

--- How long the end is waited for after the plan: SIGKILL works at once, but for a process in a system call that cannot
--- be interrupted.
local LAST_WAIT = 1

---@class corun.Step  a checked step of a plan
---@field name string    as it is noted: "TERM", "WRITE", …
---@field wait number    seconds to wait for the end
---@field signal integer?
---@field text string?   of WRITE
---@field command table? of RUN

---@param signal integer
---@param wait number
---@return corun.Step
function M.signal_step(signal, wait)
  return { name = signals.name(signal):gsub("^SIG", ""), wait = wait, signal = signal }
end

local default_plan = { M.signal_step(core.signals.TERM, 5), M.signal_step(KILL, 0) }

---@param grace number?  seconds between TERM and KILL, default 5
function M.default(grace)
  return grace and { M.signal_step(core.signals.TERM, grace), default_plan[2] } or default_plan
end

local function has_kill(plan)
  for _, step in ipairs(plan) do
    if step.signal == KILL then return true end
  end
  return false
end

--- The plan for the end of a scope: what has no KILL gets one after 5 s.
function M.with_kill(plan)
  if has_kill(plan) then return plan end
  local extended = { table.unpack(plan) }
  local last = {}
  for key, value in pairs(plan[#plan]) do last[key] = value end
  last.wait = math.max(last.wait, 5)
  extended[#extended] = last
  extended[#extended + 1] = M.signal_step(KILL, 0)
  return extended
end

--- The plan for the end of a session whose terminal was hung up: an interactive shell ignores TERM, but this ends it.
function M.with_hang_up(plan)
  return { M.signal_step(core.signals.HUP, 1), table.unpack(plan) }
end

--- Waits until nothing of the tree runs, and sees to it that newcomers get the signal, too. The leader's end is an
--- event; that its group has become empty is none, so that is looked at in growing steps.
local function wait_for_end(process, seconds, signal)
  local handle, deadline = process._handle, core.now() + seconds
  handle:wait(seconds)
  local pause = 0.001
  while handle:is_alive() do
    local left = deadline - core.now()
    if left <= 0 then return false end
    if signal then handle:signal_tree(signal, "newcomers") end
    core.sleep(math.min(pause, left))
    pause = math.min(pause * 2, 0.05)
  end
  return true
end

-- The steps. Each gives false where there is nobody whom it could reach, so that it is left out; or a function that
-- ends what it has begun.

local perform = {}

local function nothing() end

local function signal_tree(process, step)
  local handle, signal = process._handle, step.signal
  handle:signal_tree(signal, "first")
  -- A stopped process sees no signal but KILL until it goes on.
  if signal ~= KILL and signal ~= STOP and signal ~= CONT then handle:signal_tree(CONT, "once") end
  return nothing
end

local function in_background(process, fn)
  local task, scope = scopes.go_background(process._home, function() pcall(fn) end)
  return function()
    scope:cancel("the step is over")
    task:_await()
  end
end

function perform.WRITE(process, step)
  local stdin = process.stdin
  if not stdin or stdin:is_closing() then return false end
  return in_background(process, function() stdin:write(step.text) end)
end

function perform.CLOSE(process)
  local stdin = process.stdin
  if not stdin or stdin:is_closing() then return false end
  return pcall(process.close_stdin, process) and nothing -- a terminal may have no key for it
end

function perform.WAIT() return nothing end

--- What a failed RUN is noted as.
local function failure_of(e)
  local result = errors.is(e) and e.result
  if errors.is_kind(e, "timeout") then return "RUN (timeout)" end
  local ending = result and (result.status and tostring(result.status) or "still running")
  return ("RUN (%s)"):format(ending or errors.is(e) and e.code or errors.message(e))
end

local RUN_GRACE = 0.2 -- seconds between TERM and KILL where the command does not end in its time

--- Its time is the step's. When the tree is gone before, it gets a second to end.
function perform.RUN(process, step, note)
  local spec = { stdout = "null", stderr = "null", env = {} }
  for key, value in pairs(step.command) do spec[key] = value end
  for name, value in pairs(step.command.env or {}) do spec.env[name] = value end
  if not process.status then spec.env.CORUN_PID = process.pid end
  spec.timeout = math.min(step.wait, spec.timeout or step.wait)
  if not spec.stop then spec.grace = spec.grace or RUN_GRACE end
  local task, scope = scopes.go_background(process._home, function()
    local ok, e = pcall(require("corun.command").run, spec)
    if not ok and not errors.is_kind(e, "cancelled") then note(failure_of(e)) end
  end)
  return function(gone)
    if gone and task:_await(LAST_WAIT) == false then scope:cancel("the step is over") end
    task:_await()
  end
end

local function run_steps(process, plan)
  for _, step in ipairs(plan) do
    if not process._handle:is_alive() then return true end
    local stopped = process._stopped or {}
    local place = #stopped + 1
    local act = step.signal and signal_tree or perform[step.name]
    local finish = act(process, step, function(text) stopped[place] = text end)
    if finish then
      process._stopped = stopped
      stopped[place] = stopped[place] or step.name
      local gone = wait_for_end(process, step.wait, step.signal)
      finish(gone)
      if gone then return true end
    end
  end
  process._stopped_at = core.now()
  return wait_for_end(process, LAST_WAIT, plan[#plan].signal)
end

--- The pids of all that still runs of a tree.
local function survivors_of(process)
  local pids = {}
  if not process._handle:status() then pids[1] = process.pid end
  local members = process.containment ~= "process" and core.members(process._handle) or {}
  for _, member in ipairs(members) do pids[#pids + 1] = member.pid end
  table.sort(pids)
  return #pids > 0 and pids or nil
end

local under_way = {} -- task → the process on which it runs a plan

local function plan_over(process)
  local ended = process._stopping
  process._stops = process._stops - 1
  if process._stops == 0 then process._stopping = nil end
  ended:wake()
  process._handle:nudge() -- who collects it
  if process._stop_news then process._stop_news:wake() end
end

--- A task that will not go on (os.exit was called on top of it): nobody has to wait for its plan.
function M.lose(task)
  local process = under_way[task]
  under_way[task] = nil
  if process then plan_over(process) end
end

--- Runs the plan on the tree of a process until nothing of it is left. Each step that ran is noted in
--- process._stopped. While another plan runs, that is waited for, unless this one is urgent. Yields; call it shielded.
--- True if the tree is gone; else process.survivors has the pids of what is left.
---@param process corun.Process
---@param plan corun.Step[]
---@param is_urgent boolean?
---@return boolean
function M.run(process, plan, is_urgent)
  while process._stopping and not is_urgent do process._stopping:wait() end
  process._stopping, process._stops = process._stopping or core.queue(), (process._stops or 0) + 1
  local task = core.current()
  under_way[task] = process
  local ok, gone = pcall(run_steps, process, plan)
  under_way[task] = nil
  plan_over(process)
  process._stopped_at = process._stopped_at or core.now()
  if not ok then error(gone, 0) end
  rawset(process, "survivors", not gone and survivors_of(process) or nil)
  if gone then process:_let_go() end
  return gone
end

return M
