--- What specs share: looking at the world from outside corun.

local support = {}

local lfs = require "lfs"

-- Absolute, for children with other directories.
support.fixtures = os.getenv("CORUN_FIXTURES") or "build/dev/fixtures"
if support.fixtures:sub(1, 1) ~= "/" then support.fixtures = lfs.currentdir() .. "/" .. support.fixtures end

--- The path of a fixture program.
function support.fixture(name) return support.fixtures .. "/" .. name end

function support.read_file(path)
  local file = io.open(path, "rb")
  if not file then return nil end
  local text = file:read("a")
  file:close()
  return text
end

function support.write_file(path, text)
  local file = assert(io.open(path, "wb"))
  file:write(text)
  file:close()
end

--- A new directory, removed after the example.
function support.directory()
  local path = os.tmpname()
  os.remove(path)
  assert(os.execute("mkdir " .. path))
  support.directories[#support.directories + 1] = path
  return path
end

support.directories = {}

--- Our open descriptors, as a set of "number → what it is".
function support.descriptors()
  local open = {}
  for name in lfs.dir("/proc/self/fd") do
    local target = lfs.symlinkattributes("/proc/self/fd/" .. name, "target")
    -- The directory that is being read is open itself.
    if tonumber(name) and target and not target:find("^/proc/%d+/fd$") then open[tonumber(name)] = target end
  end
  return open
end

--- State letter ("R", "S", "Z", "T", …) and group of a process; nil where there is none.
function support.process_state(pid)
  local stat = support.read_file("/proc/" .. pid .. "/stat")
  if not stat then return nil end
  local state, _, group = stat:match("^.*%) (%a) (%d+) (%d+)")
  return state, tonumber(group)
end

--- A value for a to-be-closed variable.
function support.closing(fn) return setmetatable({}, { __close = fn }) end

--- Our own process, as others see it: without asking corun.
support.pid = support.read_file("/proc/self/stat"):match("^%d+")

--- Sends us a signal, by a child of ours; and behind corun's back, so that it has come when this returns.
function support.send(signal) require("corun").run { "kill", "-" .. signal, support.pid } end
function support.send_at_once(signal) io.popen(("kill -%s %s"):format(signal, support.pid)):close() end

--- True once the process is gone: not there, or a zombie that its own parent has to take.
function support.is_gone(pid)
  local state = support.process_state(pid)
  return state == nil or state == "Z" or state == "X"
end

--- Our own children, zombies included.
function support.children()
  local text = support.read_file("/proc/thread-self/children") or ""
  local pids = {}
  for pid in text:gmatch("%d+") do pids[#pids + 1] = tonumber(pid) end
  return pids
end

--- Processes, of whatever parent, whose environment has NAME=value: what a spec has started and not stopped.
function support.marked(entry)
  local found = {}
  for name in lfs.dir("/proc") do
    if tonumber(name) then
      local environment = support.read_file("/proc/" .. name .. "/environ")
      if environment and ("\0" .. environment):find("\0" .. entry .. "\0", 1, true) and not support.is_gone(name) then
        local command = (support.read_file("/proc/" .. name .. "/cmdline") or ""):gsub("%z", " ")
        found[#found + 1] = name .. " " .. command
      end
    end
  end
  return found
end

return support
