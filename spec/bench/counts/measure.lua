--- Counts the cost of corun's operations in the process that calls them.

local corun = require "corun"
local callgrind = require "callgrind"
local strace = require "strace"

local M = {}

--- Operations done once and twice for the difference. Fewer where callgrind has to be forked each time.
local operations = {
  spawn = 10, run = 10, capture = 10, read = 100, line = 8192, lines = 8192, count = 50, roundtrip = 100,
  switch = 200, handover = 200, timer = 100, sleeper = 70,
}

--- Whole programs.
local programs = { start = "", load = 'require "corun"' }

--- What is counted, in the order of tables.
M.workloads = {
  "spawn", "run", "capture", "read", "line", "lines", "count", "roundtrip", "switch", "handover", "timer", "sleeper",
  "start", "load",
}

M.titles = {
  spawn = "spawn and wait: true, no pipes", run = "run: one line of output", capture = "capture: 64 KiB",
  read = "read: 64 KiB", line = "read_line", lines = "a line of lines()", count = "count: 64 KiB, 4096 lines",
  roundtrip = "write a line, read the answer", switch = "task switch: sleep(0)", handover = "channel: send, receive",
  timer = "a time limit set and lifted", sleeper = "a task: sleeps, is cancelled", start = "corun -e ''",
  load = "corun -e 'require \"corun\"'",
}

-- The C library chooses its string functions by what the processor can; and where that can copy by one instruction,
-- callgrind takes this for one instruction a byte.
local plain_processor = "glibc.cpu.hwcaps=-AVX2,-AVX_Fast_Unaligned_Load,-AVX512F,-AVX512VL,-ERMS,-FSRM"

--- Where the measured programs run. Lengths of paths and the environment are counted, too, so they are the same
--- everywhere.
local function new_place(scope, here, program)
  local place = { directory = corun.capture { "mktemp", "-d", "/tmp/corun-XXXXXX" } }
  scope:defer(function() corun.run { "rm", "-rf", place.directory } end)
  local fixtures = program:match("^(.*)/bin/[^/]+$") .. "/fixtures/"
  local links = {
    corun = program, ["true"] = corun.which("true"), ["workload.lua"] = here .. "/workload.lua",
    lockstep = fixtures .. "lockstep", ["epoch.so"] = fixtures .. "epoch.so",
  }
  for name, target in pairs(links) do
    corun.run { "ln", "-s", target, place.directory .. "/" .. name }
  end
  return place
end

--- Runs corun with `arguments` there, under the tool whose command `tool` is (empty: none); returns what it prints.
local function run(place, tool, arguments)
  local spec = {
    cwd = place.directory, timeout = 120, clear_env = true,
    env = {
      PATH = place.directory, GLIBC_TUNABLES = plain_processor, LD_PRELOAD = place.directory .. "/epoch.so",
    },
  }
  table.move(tool, 1, #tool, 1, spec)
  spec[#spec + 1] = place.directory .. "/corun"
  table.move(arguments, 1, #arguments, #spec + 1, spec)
  return corun.run(spec).stdout
end

local function arguments_of(name, n)
  if programs[name] then return { "-e", programs[name] } end
  return { "workload.lua", name, tostring(n) }
end

local ways = {}

function ways.callgrind(place, name)
  local out, n = place.directory .. "/callgrind." .. name, operations[name]
  local printed = run(place, {
    assert(corun.which("valgrind"), "valgrind is missing: see scripts/dev/setup"), "--tool=callgrind", "--quiet",
    "--vgdb=no", "--compress-strings=no", "--dump-before=clock", "--dump-before=clock@*",
    "--callgrind-out-file=" .. out,
  }, arguments_of(name, n))
  if not n then return callgrind.read(out) end
  local counts = callgrind.per_operation(out, n)
  counts.lua_bytes = tonumber(printed:match("%S+")) -- here, as addresses are the same in each run
  return counts
end

function ways.strace(place, name)
  local out, n = place.directory .. "/strace." .. name, operations[name]
  run(place, { corun.which("strace"), "--follow-forks", "--detach-on=execve", "--output=" .. out },
    arguments_of(name, n))
  return (n and strace.per_operation or strace.whole)(out, n)
end

--- The time, which needs no tool to be taken; and of a whole program Lua's bytes.
function ways.plain(place, name)
  local n = operations[name]
  if n then
    return { microseconds = tonumber(run(place, {}, arguments_of(name, n * 5)):match("%S+%s+(%S+)")) }
  end
  local report = 'collectgarbage("stop") %s print(collectgarbage("count") * 1024, os.clock() * 1e6)'
  local bytes, microseconds = run(place, {}, { "-e", report:format(programs[name]) }):match("(%S+)%s+(%S+)")
  return { lua_bytes = tonumber(bytes), microseconds = tonumber(microseconds) }
end

--- Whether strace may do its work; false and its message where the system forbids that. Raises where it is missing or
--- fails for another reason.
function M.may_trace()
  local tool = assert(corun.which("strace"), "strace is missing: see scripts/dev/setup")
  local result = corun.run { tool, "--output=/dev/null", "true", check = false, env = { LC_ALL = "C" } }
  if result.ok then return true end
  assert(result.stderr:find("Operation not permitted", 1, true) or result.stderr:find("Permission denied", 1, true),
    result.stderr)
  return false, result.stderr:match("[^\n]*")
end

--- Counts `workloads` (a list of names) for the executable `program`; `here` is this directory. Returns by name
--- { instructions, collecting (to free what the operation has left), heap_calls, system_calls, child_calls (of the
--- child before it is another program: the parent waits for it), calls and calls_of_child (by name), lua_bytes,
--- microseconds (user + system) }.
function M.all(here, program, workloads)
  local tasks, found, may_trace = {}, {}, M.may_trace()
  for _, name in ipairs(workloads) do
    found[name] = {}
    for way in pairs(ways) do
      if way ~= "strace" or may_trace then tasks[#tasks + 1] = { name = name, way = way } end
    end
  end
  corun.scope(function(scope)
    local place = new_place(scope, here, program)
    corun.map(tasks, function(task)
      for count, value in pairs(ways[task.way](place, task.name)) do found[task.name][count] = value end
    end, { jobs = tonumber(corun.capture { "nproc" }) })
  end)
  return found
end

return M
