--- What the stages of a Pipeline came to, as one Result.

local core = require "corun.core"
local results = require "corun.result"

local M = {}

local function was_cut_off(stage)
  if stage._was_cut_off then return stage:_was_cut_off() end
  local status = stage.status
  return status and (status.signal == "SIGPIPE" or status.code == 141) -- 141: what a shell makes of it
end

local function holds(list, code)
  for _, good in ipairs(list) do
    if code == good then return true end
  end
  return false
end

--- Whether its own end is a good one; `check` of the whole, where that is a list, counts for stages without one.
local function has_ended_well(run, stage)
  if stage._reason or not stage.status then return false end
  local check = stage._options.check
  if check == nil then check = run._options.check end
  if type(check) == "table" then return holds(check, stage.status.code) end
  return stage._options.check == false and not stage._is_joint or stage.status.code == 0
end

--- Whether a stage counts as good: it ended well, or it was cut off by stages that ended well.
local function is_good(run, stage)
  if has_ended_well(run, stage) then return true end
  if stage._reason or not was_cut_off(stage) then return false end
  if stage._is_joint then return true end
  for _, reader in ipairs(stage._feeds) do
    if not is_good(run, reader) then return false end
  end
  return #stage._feeds > 0
end

--- The rightmost stage that was stopped, and did not end by itself before that.
local function stopped_stage(run)
  local stopped
  for i = #run.stages, 1, -1 do
    local stage = run.stages[i]
    if stage._reason and not (stage.status and stage.status.ok) then return stage, i end
    if stage._reason and not stopped then stopped = i end
  end
  stopped = stopped or #run.stages
  return run.stages[stopped], stopped
end

--- The stage that decides: what was the cause of a stop, or was stopped; else the rightmost that has failed, else the
--- last. And whether all is well, and its number.
local function decisive(run)
  if run._reason then
    for i, stage in ipairs(run.stages) do
      if stage == run._culprit then return stage, false, i end
    end
    local stage, number = stopped_stage(run)
    return stage, false, number
  end
  for _, joint in ipairs(run._joints) do
    if not is_good(run, joint) then return joint, false, nil end
  end
  for i = #run.stages, 1, -1 do
    if not is_good(run, run.stages[i]) then return run.stages[i], false, i end
  end
  return run.stages[#run.stages], true, #run.stages
end

--- The Status of a running Pipeline, nil while a stage runs.
---@return corun.Status?
function M.status(run)
  for _, stage in ipairs(run:_all()) do
    if not stage.status then return nil end
  end
  return (decisive(run)).status
end

local function total_usage(list)
  local total
  for _, result in pairs(list) do
    if result.usage then
      total = total or { user_time = 0, system_time = 0, max_rss = 0 }
      total.user_time = total.user_time + result.usage.user_time
      total.system_time = total.system_time + result.usage.system_time
      total.max_rss = math.max(total.max_rss, result.usage.max_rss or 0)
    end
  end
  return total
end

--- The pids that a field of all stages has; nil where none has any.
local function pids_of(collected, name)
  local pids, seen = {}, {}
  for _, stage in pairs(collected) do
    for _, pid in ipairs(stage[name] or {}) do
      if not seen[pid] then pids[#pids + 1] = pid end
      seen[pid] = true
    end
  end
  table.sort(pids)
  return #pids > 0 and pids or nil
end

local function add_streams(run, result, collected)
  local last = collected[run._last]
  for _, name in ipairs { "stdout", "omitted", "_options", "_captured" } do result[name] = last[name] end
  for _, name in ipairs { "held_by", "survivors" } do result[name] = pids_of(collected, name) end
  for _, stage in pairs(collected) do result.truncated = result.truncated or stage.truncated end
end

--- What the stages came to, as one Result. `collected`: stage → its Result.
---@return corun.Result result, corun.Process|corun.FunctionStage stage  the stage that decides
function M.compose(run, collected)
  local list = {}
  for i, stage in ipairs(run.stages) do
    list[i] = collected[stage]
    list[i].ok = is_good(run, stage)
    if stage._moving then list[i].bytes_out = stage._moving:total() end
  end
  local stage, good, number = decisive(run)
  local has_failed = not good and number and (stage == run._culprit or not run._reason)
  local own = collected[stage]
  local result = results.new {
    ok = good and not run._reason, code = own.code, signal = own.signal, status = own.status,
    reason = run._reason or own.reason, stderr = own.stderr, pid = own.pid, argv = own.argv, command = run.command,
    cwd = own.cwd, started_at = run.stages[1].started_at, duration = core.now() - run._began,
    usage = total_usage(list), stopped = own.stopped, truncated = false, stages = list,
    _was_shown = own._was_shown,
    _failed = has_failed and ("stage %d, %s"):format(number, own.command) or nil,
  }
  add_streams(run, result, collected)
  return result, stage
end

return M
