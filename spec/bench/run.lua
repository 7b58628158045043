#!/usr/bin/env corun
--- corun, side by side with the raw-C limit and the peers. scripts/dev/bench builds what it needs and runs it.
local usage = [[
usage: run.lua [OPTIONS] [WORKLOAD…]

Runs each workload (default: all) for the limit, corun and the peers that are there, in turn, and prints medians.

  --rounds N   so many rounds (default 5)
  --quick      tiny sizes, one round, only corun and the limit: whether all of it works
  --out DIR    where results.json, report.html and summary.md go (default build/bench)
  --list       print the workloads and stop
  --help       print this and stop

CORUN in the environment is the program to measure (default: the one that runs this); contenders.lua says how the
peers are found. The columns: the rate; seconds; ratio to the limit (1: as fast, less: slower), the median of the
rounds and the best; ratio to the best peer; CPU time of the program itself, without its children, and that for each
child, line, …; its peak memory, or the memory for each child or task.

Exit status: 0, or 1 when corun or the limit has failed, or 2 for a wrong command line.
]]

local corun = require "corun"

local here = arg[0]:match("^(.*)/") or "."
if here:sub(1, 1) ~= "/" then here = corun.capture { "pwd" } .. "/" .. here end
package.path = ("%s;%s/?.lua"):format(package.path, here)

local contenders = require "contenders"
local measure = require "measure"
local show = require "show"
local workloads = require "workloads"

local function misuse(...)
  io.stderr:write("run.lua: ", string.format(...), "\n(--help says more)\n")
  os.exit(2)
end

local function read_options(words)
  local options = { rounds = 5, out = "build/bench", wanted = {} }
  local known = {}
  for _, workload in ipairs(workloads) do known[workload.name] = true end
  local function value(option)
    return table.remove(words, 1) or misuse("%s: a value expected", option)
  end
  while #words > 0 do
    local word = table.remove(words, 1)
    if word == "--quick" then options.quick = true
    elseif word == "--list" or word == "--help" then options[word:sub(3)] = true
    elseif word == "--out" then options.out = value(word)
    elseif word == "--rounds" then
      local text = value(word)
      options.rounds = math.tointeger(tonumber(text))
      if not options.rounds or options.rounds < 1 then misuse("--rounds: a number from 1 expected, got '%s'", text) end
    elseif word:sub(1, 1) == "-" then misuse("unknown option '%s'", word)
    elseif not known[word] then misuse("unknown workload '%s' (--list prints them)", word)
    else options.wanted[word] = true
    end
  end
  if options.quick then options.rounds = 1 end
  return options
end

local function list()
  local width, seen = 0, {}
  for _, workload in ipairs(workloads) do width = math.max(width, #workload.name) end
  for _, workload in ipairs(workloads) do
    if not seen[workload.name] then print(("%-" .. width .. "s  %s"):format(workload.name, workload.what)) end
    seen[workload.name] = true
  end
end

local options = read_options { ... }
if options.help then
  io.write(usage)
  os.exit(0)
elseif options.list then
  list()
  os.exit(0)
end

local cores = tonumber(corun.capture { "nproc" })
-- What corun gives its children is what it was given: the hard limit is theirs to take.
local descriptors = tonumber(corun.capture { "sh", "-c", "ulimit -Hn" }) or math.huge

--- Children of which each has pipes, and a program that needs some descriptors for itself: no more than there can be.
local function size_of(workload)
  if options.quick then return workload.quick end
  if not workload.descriptors then return workload.size end
  return math.tointeger(math.min(workload.size, (descriptors - 500) // workload.descriptors))
end

local function is_wanted(workload)
  return (not next(options.wanted) or options.wanted[workload.name])
    and not (workload.placement == "on two cores" and cores < 2)
end

local function fails(result)
  return result.limit.failed or result.corun.failed
end

local failed = false
corun.scope(function(scope)
  local directory = corun.capture { "mktemp", "-d" }
  scope:defer(function() corun.run { "rm", "-rf", directory } end)
  local program = corun.env.CORUN or corun.capture { "sh", "-c", "readlink /proc/$PPID/exe" }
  local who, limit = contenders[options.quick and "own" or "all"](here, directory, program)
  local context = {
    limit = limit, rounds = options.rounds, quick = options.quick, directory = directory,
    size_of = size_of,
  }
  print(("%d rounds, %d cores\n%s"):format(options.rounds, cores, show.header()))
  for _, workload in ipairs(workloads) do
    if is_wanted(workload) then
      print(("\n%s: %s"):format(show.title(workload), workload.what))
      local result = measure.workload(workload, who, context)
      for _, entry in ipairs(result.entries) do print(show.entry(result, entry)) end
      io.stdout:flush()
      failed = failed or fails(result)
    end
  end
end)
os.exit(not failed)
