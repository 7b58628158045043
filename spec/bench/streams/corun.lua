-- The workloads in corun: corun corun.lua LIMIT WORKLOAD SIZE. Prints what limit.c prints; 77: corun has no such call.
local corun = require "corun"
local limit, workload, size = table.unpack(arg)

local function producer(mode)
  return corun.spawn { limit, mode, size, stdin = "null", stderr = "inherit" }
end

local function need(object, name)
  if not object[name] then os.exit(77) end
end

local function total_of(next_chunk)
  local total = 0
  for chunk in next_chunk do total = total + #chunk end
  return total
end

local function lines_of(next_line)
  local count, bytes = 0, 0
  for line in next_line do
    count = count + 1
    bytes = bytes + #line
  end
  return ("%d:%d"):format(count, bytes)
end

local workloads = {}

workloads["read"] = function() return total_of(producer("produce").stdout:chunks()) end

workloads["read-read"] = function()
  local reader, total = producer("produce").stdout, 0
  while true do
    local chunk = reader:read(65536)
    if not chunk then return total end
    total = total + #chunk
  end
end

workloads["lines"] = function() return lines_of(producer("produce-lines").stdout:lines()) end

workloads["count"] = function()
  need(corun.stdin, "count")
  return producer("produce-lines").stdout:count()
end

workloads["grep"] = function()
  need(corun.stdin, "grep")
  return lines_of(producer("produce-lines").stdout:grep("needle", { plain = true }))
end

workloads["roundtrip"] = function()
  local p, bytes = corun.spawn { "cat", stderr = "inherit" }, 0
  local stdout = p.stdout
  for i = 1, tonumber(size) do
    p:write("ping ", i, "\n")
    bytes = bytes + #stdout:read_line()
  end
  p:close_stdin()
  p:wait()
  return bytes
end

workloads["pipeline"] = function()
  need(corun, "pipeline")
  return tonumber(corun.pipeline({ { "yes" }, { "head", "-c", size }, { "wc", "-c" } }):run().stdout)
end

local function peak_memory()
  for line in io.lines("/proc/self/status") do
    local kib = line:match("^VmHWM:%s*(%d+)")
    if kib then return kib end
  end
end

local start = corun.now()
local check = workloads[workload]()
print(("%.6f %.6f %s %s"):format(corun.now() - start, os.clock(), peak_memory(), check))
