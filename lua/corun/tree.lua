--- corun.tasks(): who waits for what, and where. Nothing is noted for it while all goes well: what a task waits for is
--- read from its stack.

local core = require "corun.core"
local errors = require "corun.error"
local interrupt = require "corun.interrupt"
local pipelines = require "corun.pipeline"
local processes = require "corun.process"
local running = require "corun.running"
local scopes = require "corun.scope"
local sync = require "corun.sync"

local M = {}

local prefix = errors.library_prefix

-- One task

local function is_ours(frame) return frame.what ~= "C" and frame.source:sub(1, #prefix) == prefix end
local function is_script(frame) return frame.what ~= "C" and not is_ours(frame) end
local function line_of(frame) return ("%s:%d"):format(frame.short_src, frame.currentline) end

--- Public functions and methods → their names.
local function public_names()
  local names = {}
  for _, class in ipairs { package.loaded["corun"] or {}, core.Reader.__index, core.Writer.methods,
      core.Channel.__index, core.Task.methods, scopes.Scope, processes.Process, pipelines.Pipeline, running.Running,
      sync.Event, sync.Semaphore, sync.Mutex } do
    for name, value in pairs(class) do
      local is_public = type(name) == "string" and name:sub(1, 1) ~= "_"
      if is_public and type(value) == "function" then names[value] = names[value] or name end
    end
  end
  return names
end

--- The stack of a task, innermost first: that of the coroutine in which it waits, and around it that of its own.
local function frames_of(task, at)
  local frames = {}
  local own = task:_thread()
  for _, thread in ipairs(at == own and { own } or { at, own }) do
    for level = 0, 200 do
      local frame = debug.getinfo(thread, level, "Slnf")
      if not frame then break end
      frame.thread, frame.level = thread, level
      frames[#frames + 1] = frame
    end
  end
  return frames
end

local function is_object(value)
  if getmetatable(value) == scopes.Scope then return false end
  local meta = debug.getmetatable(value)
  local kind = type(value)
  return (kind == "table" or kind == "userdata") and meta and type(meta.__name) == "string" and meta.__tostring
    and meta.__name:find("^corun%.%u") ~= nil
end

--- What a frame of ours works on: its first argument, or what a C iterator holds.
local function object_of(frame)
  local _, value = debug.getlocal(frame.thread, frame.level, 1)
  if is_object(value) then return value end
  for i = 1, frame.what == "C" and 3 or 0 do
    _, value = debug.getupvalue(frame.func, i)
    if is_object(value) then return value end
  end
end

--- The operation that a script has called, the object it works on, and the script's line.
local function operation(frames, names)
  local call, object, where
  for i, frame in ipairs(frames) do
    if is_script(frame) then
      where = line_of(frame)
      break
    end
    call = names[frame.func] or (i == 1 or is_ours(frame) and frame.name == "for iterator") and frame.name or call
    object = object_of(frame) or object
  end
  return call, object, where
end

--- The line of the script whose call has opened `scope`: the one that called the function of ours that holds it.
local function where_opened(scope, frames)
  local found
  for _, frame in ipairs(frames) do
    if found and is_script(frame) then return line_of(frame) end
    for i = 1, is_ours(frame) and 20 or 0 do
      local name, value = debug.getlocal(frame.thread, frame.level, i)
      if not name then break end
      if name == "scope" and rawequal(value, scope) then found = true end
    end
  end
end

-- The tree

---@class corun.TaskNode
---@field kind "task"
---@field name string
---@field status string
---@field waits_for string?  the function that it has called: "sleep", "read_line"
---@field on string?         the object of that call, as text
---@field since number?      time of corun.now() at which the wait began
---@field where string?      "script.lua:12"
---@field traceback string?  the script's functions, innermost first
---@field scopes corun.ScopeNode[]  that it has opened

---@class corun.ProcessNode
---@field kind "process"
---@field pid integer
---@field command string
---@field status string      "running", or how it ended, when only members of its group are left
---@field since number       time of corun.now() at which it started

---@class corun.ScopeNode
---@field kind "scope"
---@field where string?      the script's line that has opened it; nil for the root
---@field deadline number?
---@field cancelled boolean
---@field tasks corun.TaskNode[]        started in it
---@field processes corun.ProcessNode[] started in it
---@field scopes corun.ScopeNode[]      opened in it

local Tree = {} -- the metatable of the root's node
Tree.__name = "corun.Tree"

local scope_node

--- Whether somebody is in it: not so in what a coroutine has opened and will not end any more, if it owns nothing.
local function is_shown(scope)
  if scope._is_background then return false end
  return scopes.is_around(scope, scope._opener) or scope._tasks and scopes.owns_something(scope)
end

local function add_scopes(list, scope, frames, tree)
  for child in pairs(scope._children) do
    if is_shown(child) then list[#list + 1] = scope_node(child, frames, tree) end
  end
end

local function task_node(task, opened, tree)
  local status = task.status
  local node = { kind = "task", name = task.name, status = status, scopes = {}, _id = task:_id() }
  local at, since = task:_waiting()
  local frames = frames_of(task, at or task:_thread())
  if at then
    local object
    node.waits_for, object, node.where = operation(frames, tree.names)
    node.since, node.on = since, object and tostring(object)
    node.traceback = errors.script_traceback(at)
    if scopes.is_finishing and task == scopes.root._opener then
      node.waits_for, node.on = "the end of the script", nil
    end
  end
  if opened then add_scopes(node.scopes, opened, frames, tree) end
  tree.tasks[#tree.tasks + 1] = { node = node, task = task }
  return node
end

local function process_node(process)
  local status = process.status
  return { kind = "process", pid = process.pid, command = process.command, since = (process._handle:times()),
    status = status and tostring(status) or "running" }
end

local function by(field)
  return function(a, b) return a[field] < b[field] end
end

--- `frames` are those of the task that has opened the scope.
function scope_node(scope, frames, tree)
  local node = { kind = "scope", deadline = scope.deadline, cancelled = scope._cancelled and true or false, tasks = {},
    processes = {}, scopes = {}, where = frames and where_opened(scope, frames) }
  local based = {} -- task → the scope in which it has opened others
  for child in pairs(scope._children) do
    local opener = child._opener
    if child._is_background then
      local helper = task_node(opener, child, tree)
      helper.is_helper = true
      node.tasks[#node.tasks + 1] = helper
    elseif scope._tasks and scope._tasks[opener] then
      based[opener] = child
    elseif frames and is_shown(child) then
      node.scopes[#node.scopes + 1] = scope_node(child, frames, tree)
    end
  end
  for task in pairs(scope._tasks or {}) do node.tasks[#node.tasks + 1] = task_node(task, based[task], tree) end
  for process in pairs(scope._processes or {}) do
    if process.pid then node.processes[#node.processes + 1] = process_node(process) end
  end
  table.sort(node.tasks, by "_id")
  table.sort(node.processes, by "pid")
  return node
end

local function look_around()
  local tree = { tasks = {}, names = public_names() }
  local root = scopes.root
  local node = scope_node(root, nil, tree)
  local main = task_node(root._opener, nil, tree)
  local frames = frames_of(root._opener, root._opener:_waiting() or root._opener:_thread())
  for child in pairs(root._children) do
    if child._opener == root._opener and is_shown(child) then
      main.scopes[#main.scopes + 1] = scope_node(child, frames, tree)
    end
  end
  table.insert(node.tasks, 1, main)
  return setmetatable(node, Tree), tree.tasks
end

--- In a coroutine of its own: so the frames of the one that runs are the script's.
local function look() return coroutine.wrap(look_around)() end

--- The tree of scopes, tasks and processes, with what each task waits for, since when, and where; tostring writes it
--- down. The root is the scope of the whole program, its first task the main chunk. Does not yield.
---@return corun.ScopeNode
function M.tasks()
  return (look())
end

-- As text

local function seconds(time) return ("%.1f s"):format(math.max(0, core.now() - time)) end

local function task_text(node)
  local name = node.name:gsub("%c", " ")
  if not node.since then return ("%s: %s"):format(name, node.status) end
  local text = ("%s: in %s for %s"):format(name, node.waits_for or "?", seconds(node.since))
  if node.where then text = ("%s at %s"):format(text, node.where) end
  return node.on and ("%s, %s"):format(text, node.on) or text
end

local write_scope

local function write_task(node, indent, lines)
  lines[#lines + 1] = indent .. task_text(node)
  for _, scope in ipairs(node.scopes) do write_scope(scope, indent .. "  ", lines) end
end

function write_scope(node, indent, lines)
  local text = "scope"
  if node.where then text = ("%s at %s"):format(text, node.where) end
  if node.deadline then text = ("%s, %.1f s left"):format(text, math.max(0, node.deadline - core.now())) end
  lines[#lines + 1] = indent .. text .. (node.cancelled and ", cancelled" or "")
  indent = indent .. "  "
  for _, task in ipairs(node.tasks) do write_task(task, indent, lines) end
  for _, process in ipairs(node.processes) do
    lines[#lines + 1] = ("%sprocess %d: %s for %s: %s"):format(indent, process.pid, process.status,
      seconds(process.since), process.command)
  end
  for _, scope in ipairs(node.scopes) do write_scope(scope, indent, lines) end
end

function Tree:__tostring()
  local lines = {}
  write_scope(self, "", lines)
  lines[1] = "corun, process " .. core.pid() .. (self.cancelled and ", cancelled" or "")
  return table.concat(lines, "\n")
end

--- SIGQUIT to the program.
function interrupt.show_tasks()
  io.stdout:flush()
  io.stderr:write(tostring(M.tasks()), "\n")
end

-- Deadlock: no task is ready, and nothing that the loop watches could make one ready. (A running child, a timer, a
-- Reader whose other end is open, an open handle of on_signal could: while there is one, nothing is said.)

local waiting -- of each task, as text, when it was found out

--- Whether it waits for the end of a scope of its own.
local function is_ending(task)
  local scope = task:_scope()
  while scope do
    if scope._ending and scope._opener == task then return true end
    scope = scope._parent
  end
end

--- The main task is told: it ends its scopes, and so cancels the others. When it does that already, and some do not
--- end for it because they are shielded, these are told.
function errors.hooks.deadlocked()
  local _, tasks = look()
  waiting = {}
  table.sort(tasks, function(a, b) return a.node._id < b.node._id end)
  for _, each in ipairs(tasks) do
    local is_own = each.node.is_helper and not each.node.where -- reading lines for a function, say
    if each.node.since and not is_own then waiting[#waiting + 1] = task_text(each.node) end
  end
  local main = scopes.root._opener
  local told
  for _, each in ipairs(is_ending(main) and tasks or {}) do
    if each.node.since and not is_ending(each.task) then
      core.wake_deadlocked(each.task)
      told = true
    end
  end
  if not told then core.wake_deadlocked(main) end
end

function errors.hooks.deadlock_error()
  return errors.new("deadlock", "every task waits for something that can never come", { waiting = waiting })
end

return M
