-- The workloads in luv: lua5.4 (or luajit) luv.lua LIMIT WORKLOAD SIZE. Prints what limit.c prints.
local uv = require "luv"
local limit, workload, size = arg[1], arg[2], arg[3]

--- Starts a child whose output goes to on_read; with a stdin if `stdin` is a pipe.
local function start(file, args, stdin, on_read)
  local stdout, handle = uv.new_pipe(false), nil
  handle = uv.spawn(file, { args = args, stdio = { stdin, stdout, 2 } }, function() handle:close() end)
  stdout:read_start(function(err, data)
    assert(not err, err)
    if not data then stdout:close() end
    on_read(data)
  end)
end

--- Calls on_line with each line; the rest of a chunk is put before the next one.
local function split(on_line)
  local find, sub, rest = string.find, string.sub, nil
  return function(data)
    if not data then
      if rest then on_line(rest) end
      return
    end
    local from, to = 1, find(data, "\n", 1, true)
    if rest then
      if not to then
        rest = rest .. data
        return
      end
      on_line(rest .. sub(data, 1, to - 1))
      from = to + 1
      to = find(data, "\n", from, true)
    end
    while to do
      on_line(sub(data, from, to - 1))
      from = to + 1
      to = find(data, "\n", from, true)
    end
    rest = from <= #data and sub(data, from) or nil
  end
end

--- The same with gmatch: one call of C for each line. Faster without a compiler.
local function split_by_pattern(on_line)
  local find, sub, gmatch, rest = string.find, string.sub, string.gmatch, nil
  return function(data)
    if not data then
      if rest then on_line(rest) end
      return
    end
    if rest then
      local to = find(data, "\n", 1, true)
      if not to then
        rest = rest .. data
        return
      end
      on_line(rest .. sub(data, 1, to - 1))
      data = sub(data, to + 1)
    end
    local got = 0
    for line in gmatch(data, "([^\n]*)\n") do
      got = got + #line + 1
      on_line(line)
    end
    rest = got < #data and sub(data, got + 1) or nil
  end
end

local workloads = {}

workloads["read"] = function()
  local total = 0
  start(limit, { "produce", size }, nil, function(data)
    if data then total = total + #data end
  end)
  uv.run()
  return ("%d"):format(total)
end

local function lines(splitter)
  local count, bytes = 0, 0
  start(limit, { "produce-lines", size }, nil, splitter(function(line)
    count = count + 1
    bytes = bytes + #line
  end))
  uv.run()
  return ("%d:%d"):format(count, bytes)
end

workloads["lines"] = function() return lines(split) end
workloads["lines-gmatch"] = function() return lines(split_by_pattern) end

workloads["roundtrip"] = function()
  local bytes, round, rounds, stdin = 0, 1, tonumber(size), uv.new_pipe(false)
  start("cat", {}, stdin, split(function(line)
    bytes = bytes + #line
    round = round + 1
    if round <= rounds then
      stdin:write("ping " .. round .. "\n")
    else
      stdin:close()
    end
  end))
  stdin:write("ping 1\n")
  uv.run()
  return ("%d"):format(bytes)
end

local began = uv.hrtime()
local check = workloads[workload]()
local seconds, usage = (uv.hrtime() - began) / 1e9, uv.getrusage()
local function time_of(t) return t.sec + t.usec / 1e6 end
local kib
for line in io.lines("/proc/self/status") do kib = kib or line:match("^VmHWM:%s*(%d+)") end
print(("%.6f %.6f %s %s"):format(seconds, time_of(usage.utime) + time_of(usage.stime), kib, check))
