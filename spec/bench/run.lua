#!/usr/bin/env corun
--- corun, side by side with the raw-C limit and the peers. scripts/dev/bench builds what it needs and runs it.
local usage = [[
usage: scripts/dev/bench [OPTIONS] [WORKLOAD…]

Runs each workload (default: all) for the limit, corun and the peers that are there, in turn, and prints medians.

  --rounds N        so many rounds (default 5, or 3 where it takes long)
  --no-peers        only corun and the limit
  --before PROGRAM  and another corun: two builds side by side
  --quick           tiny sizes, one round, no peers: whether all of it works
  --out DIR         where results.json, report.html and summary.md go (default build/bench)
  --list            print the workloads and stop
  --help            print this and stop

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
local json_results = require "results"
local machine = require "machine"
local measure = require "measure"
local report = require "report"
local show = require "show"
local summary = require "summary"
local workloads = require "workloads"

local function misuse(...)
  io.stderr:write("bench: ", string.format(...), " (--help says more)\n")
  os.exit(2)
end

--- The absolute path of a program.
local function executable(option, name)
  local path = corun.which(name)
  if not path then misuse("%s: no program '%s'", option, name) end
  return corun.capture { "realpath", path }
end

local function read_options(words)
  local options = { out = "build/bench", wanted = {} }
  local known = {}
  for _, workload in ipairs(workloads) do known[workload.name] = true end
  local function value(option)
    local text = table.remove(words, 1)
    if not text or text:sub(1, 1) == "-" then misuse("%s: a value expected, got '%s'", option, text or "nothing") end
    return text
  end
  while #words > 0 do
    local word = table.remove(words, 1)
    if word == "--quick" then options.quick, options.no_peers = true, true
    elseif word == "--no-peers" then options.no_peers = true
    elseif word == "--before" then options.before = executable(word, value(word))
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

local command = corun.quote("scripts/dev/bench", ...)
local options = read_options { ... }
if options.help then
  io.write(usage)
  os.exit(0)
elseif options.list then
  list()
  os.exit(0)
end

local function is_wanted(workload, cores)
  return (not next(options.wanted) or options.wanted[workload.name])
    and not (workload.placement == "on two cores" and cores < 2)
end

local function write_file(name, text)
  local file = assert(io.open(("%s/%s"):format(options.out, name), "w"))
  assert(file:write(text))
  assert(file:close())
end

local function versions_of(who)
  local versions = {}
  for _, contender in ipairs(who) do
    versions[#versions + 1] = contender.version and { name = contender.name, text = contender.version } or nil
  end
  return versions
end

--- Where and with what this is done.
local function about_this(who)
  return {
    machine = machine.describe(), date = os.date("!%Y-%m-%dT%H:%M:%SZ"), commit = machine.commit(here),
    quick = options.quick, command = command, versions = versions_of(who),
  }
end

local function write_files(results, about)
  write_file("results.json", json_results.json(results, about))
  write_file("summary.md", summary.markdown(results, about))
  write_file("report.html", report.html(results, about))
end

--- Measures and prints one workload after the other; a list of what measure.workload returns. What has been found stays
--- when the rest is interrupted.
local function run_all(who, context, about)
  local results = {}
  for _, workload in ipairs(workloads) do
    if is_wanted(workload, about.machine.cores) then
      print(("\n%s: %s"):format(show.title(workload), workload.what))
      io.stdout:flush()
      local result = measure.workload(workload, who, context)
      for _, entry in ipairs(result.entries) do print(show.entry(result, entry)) end
      io.stdout:flush()
      results[#results + 1] = result
      write_files(results, about)
    end
  end
  return results
end

local function main(scope)
  local directory = corun.capture { "mktemp", "-d" }
  scope:defer(function() corun.run { "rm", "-rf", directory } end)
  corun.run { "mkdir", "-p", options.out, directory .. "/compile" }
  local program = corun.env.CORUN or corun.capture { "sh", "-c", "readlink /proc/$PPID/exe" }
  local who, limit = contenders[options.no_peers and "own" or "all"](here, directory, program, options.before)
  local about = about_this(who)
  local descriptors = machine.descriptors()
  local context = {
    limit = limit, rounds = options.rounds, quick = options.quick, compile_directory = directory .. "/compile",
  }
  --- Each child takes descriptors, and a program needs some for itself: no more children than there can be.
  function context.size_of(workload)
    if options.quick then return workload.quick end
    if not workload.descriptors then return workload.size end
    return math.tointeger(math.min(workload.size, (descriptors - 500) // workload.descriptors))
  end

  print(("%s; %d cores; Linux %s"):format(about.machine.cpu, about.machine.cores, about.machine.kernel))
  print(show.header())
  local results = run_all(who, context, about)
  print("\n" .. summary.text(results))
  if options.quick then print("(tiny sizes: they say that all of it works, and nothing else)") end
  print(("\n%s: results.json, report.html, summary.md"):format(options.out))
  for _, result in ipairs(results) do
    if result.limit.failed or result.corun.failed then return false end
  end
  return true
end

os.exit(corun.scope(main))
