--- What strace -f has seen: the system calls of the program and, apart from them, those of its children before they are
--- another program.

local M = {}

-- The C library asks for more memory when it has none, which depends on what went before, and no collector runs.
local not_counted = { brk = true }

--- A call that this kernel does not know is not counted: what is called in its place is.
local function is_unknown(name, line)
  return line:find("= -1 ENOSYS", 1, true) or name == "pidfd_send_signal" and line:find("= -1 EINVAL", 1, true)
end

--- Calls by name in each part of the log: { { parent = {…}, child = {…} }, … }.
local function read(path)
  local own, starts_thread = nil, {}
  local part = { parent = {}, child = {} }
  local parts = { part }
  for line in io.lines(path) do
    local pid, rest = line:match("^(%d+) +(.*)")
    own = own or { [pid] = true }
    local name = rest:match("^([%w_]+)%(")
    local whose = own[pid] and part.parent or part.child
    if rest:find("CLONE_THREAD", 1, true) then starts_thread[pid] = true end
    local thread = rest:match("^[<. ]*clone.*= (%d+)$")
    if thread and starts_thread[pid] then own[thread], starts_thread[pid] = true, nil end
    if name == "clock_gettime" and rest:find("CLOCK_PROCESS_CPUTIME_ID", 1, true) then -- a mark
      part = { parent = {}, child = {} }
      parts[#parts + 1] = part
    elseif name and not not_counted[name] and not is_unknown(name, rest) then
      whose[name] = (whose[name] or 0) + 1
    end
  end
  return parts
end

local function sum(calls)
  local all = 0
  for _, count in pairs(calls) do all = all + count end
  return all
end

local function result(parent, child)
  return { system_calls = sum(parent), child_calls = sum(child), calls = parent, calls_of_child = child }
end

--- For one operation, see workload.lua.
function M.per_operation(path, n)
  local parts = read(path)
  assert(#parts == 6, path .. ": five marks expected")
  local function difference(whose)
    local less, calls = parts[2][whose], {}
    for name, count in pairs(parts[4][whose]) do
      local more = (count - (less[name] or 0)) / n
      if more ~= 0 then calls[name] = more end
    end
    return calls
  end
  return result(difference("parent"), difference("child"))
end

--- Of the whole program, which has no marks.
function M.whole(path)
  local part = read(path)[1]
  return result(part.parent, part.child)
end

return M
