-- The workloads in a stock interpreter: lua5.4 stock.lua LIMIT WORKLOAD SIZE. Prints what limit.c prints, but no
-- seconds ("-": a stock interpreter has no clock for them); 77: no such workload.
local limit, workload, size = arg[1], arg[2], arg[3]

local workloads = {}

workloads["read"] = function()
  local total, file = 0, io.popen(("exec '%s' produce %s"):format(limit, size))
  for chunk in file:lines(65536) do total = total + #chunk end
  file:close()
  return total
end

workloads["lines"] = function()
  local count, bytes, file = 0, 0, io.popen(("exec '%s' produce-lines %s"):format(limit, size))
  for line in file:lines() do
    count = count + 1
    bytes = bytes + #line
  end
  file:close()
  return ("%d:%d"):format(count, bytes)
end

if not workloads[workload] then os.exit(77) end
local check = workloads[workload]()
local cpu, kib = os.clock(), nil
for line in io.lines("/proc/self/status") do kib = kib or line:match("^VmHWM:%s*(%d+)") end
print(("- %.6f %s %s"):format(cpu, kib, check))
