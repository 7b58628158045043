--- After every example nothing is left: no task, no process (ours or a grandchild), no zombie, no descriptor.

local busted = require "busted"
local support = require "spec.support"
local corun = require "corun"
local scopes = require "corun.scope"

local before, marker
local self = support.read_file("/proc/self/stat"):match("^%d+") .. "." .. os.time() -- another run may go on beside
local count = 0
local example = "?" -- busted reports what happens here as the suite's

busted.subscribe({ "test", "start" }, function(element)
  example = element.name
  return nil, true
end)

local function settle()
  collectgarbage()
  collectgarbage()
  corun.sleep(1e-9) -- a turn of the loop: closed handles are let go there
  corun.sleep(1e-9)
end

settle()
local _ = corun.stdout -- made once, when it is first used; not a leak of the example that does

busted.before_each(function()
  count = count + 1
  marker = ("CORUN_SPEC=%s.%d"):format(self, count)
  corun.env.CORUN_SPEC = marker:match("=(.*)")
  before = support.descriptors()
end)

--- Descriptors that were not there before the example.
local function new_descriptors()
  local new = {}
  for fd, target in pairs(support.descriptors()) do
    if before[fd] ~= target then new[#new + 1] = ("descriptor %d (%s)"):format(fd, target) end
  end
  return new
end

local function left_over()
  local problems = {}
  if next(scopes.root._tasks) then problems[#problems + 1] = "a task that has not ended" end
  if next(scopes.root._processes) then problems[#problems + 1] = "a process in the root scope" end
  if scopes.root._cancelled then problems[#problems + 1] = "the root scope was cancelled" end
  local errors = scopes.root._errors
  for i = #errors, 1, -1 do
    problems[#problems + 1] = "an unseen error: " .. tostring(table.remove(errors, i))
  end
  for _, pid in ipairs(support.children()) do
    problems[#problems + 1] = ("child %d (%s)"):format(pid, tostring(support.process_state(pid)))
  end
  for _, survivor in ipairs(support.marked(marker)) do
    problems[#problems + 1] = "survivor " .. survivor
    os.execute("kill -KILL " .. survivor:match("%d+")) -- or every later example would find it again
  end
  if #new_descriptors() > 0 then settle() end -- the collector may close them; it takes its time, so only then
  table.move(new_descriptors(), 1, 1000, #problems + 1, problems)
  return problems
end

busted.after_each(function()
  for _, path in ipairs(support.directories) do os.execute("rm -rf " .. path) end
  support.directories = {}
  local problems = left_over()
  if #problems > 0 then error(("left over by %q: "):format(example) .. table.concat(problems, "; "), 0) end
end)
