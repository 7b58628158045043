-- The workloads in luv: lua5.4 (or luajit) luv.lua LIMIT WORKLOAD SIZE. Prints what limit.c prints. luv has callbacks
-- and no tasks: there is nothing to switch between.
local uv = require "luv"
local limit, workload, size = arg[1], arg[2], arg[3]
local number, at_a_time, nap = tonumber(size), 4, 3

-- What is measured

local clock = {}

local function cpu()
  local usage = uv.getrusage()
  return usage.utime.sec + usage.stime.sec + (usage.utime.usec + usage.stime.usec) / 1e6
end

--- Called again by a workload that has something to prepare.
function clock.start()
  clock.began, clock.cpu_began, clock.seconds = uv.hrtime(), cpu(), nil
end

--- Called before its end by a workload that has something to clean up.
function clock.stop()
  if clock.seconds then return end
  clock.seconds, clock.cpu = (uv.hrtime() - clock.began) / 1e9, cpu() - clock.cpu_began
end

local function kib(file, prefix)
  local sum = 0
  for line in io.lines("/proc/self/" .. file) do sum = sum + (line:match("^" .. prefix .. ".*:%s*(%d+)") or 0) end
  return sum
end

local function private() return kib("smaps_rollup", "Private_") end

local function each_costs(kib_more) clock.memory = ("%.0f"):format(kib_more * 1024 / number) end

-- Processes

--- Starts a child; on_exit is given its code, or 128 + the signal that ended it.
local function spawn(file, args, stdio, on_exit, cwd)
  local handle, pid
  handle, pid = uv.spawn(file, { args = args, stdio = stdio, cwd = cwd }, function(code, signal)
    handle:close()
    if on_exit then on_exit(signal > 0 and 128 + signal or code) end
  end)
  if not handle then
    io.stderr:write(("luv: %s: %s\n"):format(file, pid))
    os.exit(1) -- and no error: after this, luv 1.44 crashes when the state is closed
  end
  return handle
end

local bare = { nil, 1, 2 }

--- Calls job(i, done) with the numbers up to `number`, four at a time; job calls done() at its end.
local function pool(job)
  local started, ended = 0, 0
  local function start_next()
    if started == number then return end
    started = started + 1
    job(started, function()
      ended = ended + 1
      if ended == number then uv.stop() end -- others may be alive
      start_next()
    end)
  end
  for _ = 1, at_a_time do start_next() end
  uv.run()
end

local function count_good(start)
  local good = 0
  pool(function(i, done)
    start(i, function(code)
      if code == 0 then good = good + 1 end
      done()
    end)
  end)
  return good
end

local function start_true(_, on_exit) spawn("/bin/true", nil, bare, on_exit) end

--- Starts a child, and calls on_end(code, stdout, stderr) once it has ended and both streams have.
local function capture(file, args, stdin, on_end)
  local out, err, code, open = {}, {}, nil, 3
  local function close()
    open = open - 1
    if open == 0 then on_end(code, table.concat(out), table.concat(err)) end
  end
  local function collector(chunks, pipe)
    return function(failure, data)
      assert(not failure, failure)
      if data then
        chunks[#chunks + 1] = data
      else
        pipe:close()
        close()
      end
    end
  end
  local stdout, stderr = uv.new_pipe(false), uv.new_pipe(false)
  spawn(file, args, { stdin, stdout, stderr }, function(its_code)
    code = its_code
    close()
  end)
  stdout:read_start(collector(out, stdout))
  stderr:read_start(collector(err, stderr))
end

local function captured(file, args)
  local total = 0
  pool(function(_, done)
    capture(file, args, nil, function(code, stdout, stderr)
      assert(code == 0, file)
      total = total + #stdout + #stderr
      done()
    end)
  end)
  return total
end

local function start_idle(count, with_pipes)
  local children = {}
  for i = 1, count do
    local stdio = with_pipes and { uv.new_pipe(false), uv.new_pipe(false), uv.new_pipe(false) } or bare
    children[i] = { process = spawn(limit, { "idle" }, stdio), stdio = stdio }
  end
  return children
end

local function end_idle(children)
  for _, child in ipairs(children) do
    child.process:kill("sigkill")
    for _, pipe in pairs(child.stdio) do
      if type(pipe) == "userdata" then pipe:close() end
    end
  end
  uv.run()
end

local function idle(with_pipes)
  local before = private()
  local children = start_idle(number, with_pipes)
  clock.stop()
  each_costs(private() - before)
  end_idle(children)
  return number
end

-- Streams

--- Starts a child whose output goes to on_read; with a stdin if `stdin` is a pipe.
local function start(file, args, stdin, on_read)
  local stdout = uv.new_pipe(false)
  spawn(file, args, { stdin, stdout, 2 })
  stdout:read_start(function(err, data)
    assert(not err, err)
    if not data then stdout:close() end
    on_read(data)
  end)
end

--- Calls on_line with each line; the rest of a chunk is put before the next one. gmatch takes a third more time.
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

local function lines(is_wanted)
  local count, bytes = 0, 0
  start(limit, { "produce-lines", size }, nil, split(function(line)
    if is_wanted and not is_wanted(line) then return end
    count = count + 1
    bytes = bytes + #line
  end))
  uv.run()
  return ("%d:%d"):format(count, bytes)
end

-- The workloads

local workloads = {}

workloads["spawn"] = function() return count_good(start_true) end

workloads["spawn-heap"] = function()
  local heap, format = {}, string.format
  local filler = (" "):rep(1016)
  for i = 1, 2 ^ 20 do heap[i] = format("%08d", i) .. filler end
  clock.start()
  local good = count_good(start_true)
  clock.stop()
  assert(#heap == 2 ^ 20)
  return good
end

workloads["churn"] = function()
  local others = start_idle(5000)
  clock.start()
  local good = count_good(start_true)
  clock.stop()
  end_idle(others)
  return good
end

workloads["run"] = function() return captured("/bin/echo", { "hello" }) end
workloads["capture"] = function() return captured(limit, { "produce", "65536" }) end
workloads["idle"] = function() return idle(true) end
workloads["idle-bare"] = function() return idle(false) end

--- Those that do not yet wait after a second find the FIFO open.
workloads["storm"] = function()
  local directory = assert(uv.fs_mkdtemp(uv.os_tmpdir() .. "/corun-bench-XXXXXX"))
  local fifo, good = directory .. "/fifo", 0
  spawn("mkfifo", { fifo }, bare, function(code) assert(code == 0, "mkfifo") end)
  uv.run()
  for _ = 1, number do
    spawn(limit, { "hold", fifo }, bare, function(code)
      if code == 0 then good = good + 1 end
    end)
  end
  uv.sleep(1000)
  clock.start()
  local fd = assert(uv.fs_open(fifo, "r+", 0))
  uv.run()
  clock.stop()
  uv.fs_close(fd)
  uv.fs_unlink(fifo)
  uv.fs_rmdir(directory)
  return good
end

workloads["jobs"] = function()
  local results, good = {}, 0
  pool(function(i, done)
    start_true(i, function(code)
      results["job " .. i] = code
      done()
    end)
  end)
  for _, code in pairs(results) do good = good + (code == 0 and 1 or 0) end
  return good
end

workloads["compile"] = function()
  local directory = os.getenv("COMPILE_DIR")
  return count_good(function(i, on_exit)
    spawn("cc", { "-O1", "-c", i .. ".c", "-o", i .. ".o" }, bare, on_exit, directory)
  end)
end

workloads["read"] = function()
  local total = 0
  start(limit, { "produce", size }, nil, function(data)
    if data then total = total + #data end
  end)
  uv.run()
  return total
end

workloads["lines"] = function() return lines() end

workloads["count"] = function()
  local count, find = 0, string.find
  start(limit, { "produce-lines", size }, nil, function(data)
    local at = data and find(data, "\n", 1, true)
    while at do
      count = count + 1
      at = find(data, "\n", at + 1, true)
    end
  end)
  uv.run()
  return count
end

workloads["grep"] = function()
  local find = string.find
  return lines(function(line) return find(line, "needle", 1, true) end)
end

workloads["roundtrip"] = function()
  local bytes, round, stdin = 0, 1, uv.new_pipe(false)
  start("cat", {}, stdin, split(function(line)
    bytes = bytes + #line
    round = round + 1
    if round <= number then
      stdin:write("ping " .. round .. "\n")
    else
      stdin:close()
    end
  end))
  stdin:write("ping 1\n")
  uv.run()
  return bytes
end

workloads["pipeline"] = function()
  local first, second = uv.pipe(), uv.pipe()
  spawn("yes", {}, { nil, first.write, 2 })
  uv.fs_close(first.write)
  spawn("head", { "-c", size }, { first.read, second.write, 2 })
  uv.fs_close(first.read)
  uv.fs_close(second.write)
  local answer
  capture("wc", { "-c" }, second.read, function(_, stdout) answer = stdout end)
  uv.fs_close(second.read)
  uv.run()
  return tonumber(answer)
end

workloads["sleepers"] = function()
  local before, ended = private(), 0
  for _ = 1, number do
    coroutine.wrap(function()
      local task, timer = coroutine.running(), uv.new_timer()
      timer:start(nap * 1000, 0, function()
        timer:close()
        coroutine.resume(task)
      end)
      coroutine.yield()
      ended = ended + 1
    end)()
  end
  local timer = uv.new_timer()
  timer:start(nap * 500, 0, function()
    timer:close()
    each_costs(private() - before)
  end)
  uv.run()
  clock.stop()
  clock.seconds = clock.seconds - nap
  return ended
end

local function nothing() end

workloads["timers-bare"] = function()
  for i = 1, number do
    local timer = uv.new_timer()
    timer:start(1e6, 0, nothing)
    timer:close()
    if i % 1000 == 0 then uv.run("nowait") end -- frees them
  end
  return number
end

--- The same with one handle, which only one task can use at a time.
workloads["timers-reused"] = function()
  local timer = uv.new_timer()
  for _ = 1, number do
    timer:start(1e6, 0, nothing)
    timer:stop()
  end
  return number
end

if not workloads[workload] then os.exit(77) end
clock.start()
local check = workloads[workload]()
clock.stop()
if type(check) == "number" then check = ("%d"):format(check) end
print(("%.6f %.6f %s %s"):format(clock.seconds, clock.cpu, clock.memory or kib("status", "VmHWM"), check))
