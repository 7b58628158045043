#!/usr/bin/env corun
--- What corun's operations cost in the process that calls them, counted: numbers that a busy machine does not change.
---
---   build/release/bin/corun spec/bench/counts.lua [--names] [--json | --record] [--recorded FILE] [WORKLOAD…]
---
--- For one operation, of each workload in counts/workload.lua: instructions of the calling process outside of the
--- kernel (by callgrind; a child's are not counted), and those that it takes to collect what is left of it; system
--- calls (by strace) of the caller, and of its child before that is another program, which the caller waits for; bytes
--- that Lua has allocated; calls of malloc and the like; and microseconds (user + system), which are as good as the
--- machine is quiet. "start" and "load" are whole programs.
---
--- The counts are compared with the recorded ones (counts/recorded.lua, or FILE): exit status 1 and a message when one
--- has grown by more than 5 %. --record writes that file anew, or the WORKLOADs in it. --names: system calls by name.
--- --json: prints the counts as JSON, and compares nothing.
---
--- In the environment: CORUN_BIN, the program to measure (default: the one that runs this), in its build directory.

local corun = require "corun"

local here = arg[0]:match("^(.*)/") or "."
if here:sub(1, 1) ~= "/" then here = corun.capture { "pwd" } .. "/" .. here end
package.path = here .. "/counts/?.lua;" .. package.path

local measure = require "measure"
local record = require "record"
local versions = require "versions"

local function usage()
  io.stderr:write("usage: counts.lua [--names] [--json | --record] [--recorded FILE] [WORKLOAD…]\n  workloads: ",
    table.concat(measure.workloads, " "), "\n")
  os.exit(2)
end

local function read_arguments(words)
  local known, options = {}, { recorded = here .. "/counts/recorded.lua", workloads = {} }
  for _, name in ipairs(measure.workloads) do known[name] = true end
  while #words > 0 do
    local word = table.remove(words, 1)
    if word == "--names" or word == "--json" or word == "--record" then
      options[word:sub(3)] = true
    elseif word == "--recorded" then
      options.recorded = table.remove(words, 1) or usage()
    elseif known[word] then
      table.insert(options.workloads, word)
    else
      usage()
    end
  end
  if options.json and options.record then usage() end
  if #options.workloads == 0 then options.workloads = measure.workloads end
  return options
end

local columns = {
  { "instructions", "instructions" }, { "collecting", "collecting" }, { "system_calls", "system calls" },
  { "child_calls", "of the child" }, { "lua_bytes", "Lua bytes" }, { "heap_calls", "mallocs" },
  { "microseconds", "µs" },
}

local function print_table(found, options)
  local heads = { ("%-32s"):format("for one operation") }
  for i, column in ipairs(columns) do
    heads[i + 1] = (" "):rep(13 - utf8.len(column[2])) .. column[2]
  end
  print(table.concat(heads))
  for _, name in ipairs(options.workloads) do
    local counts, cells = found.workloads[name], { ("%-32s"):format(measure.titles[name]) }
    for i, column in ipairs(columns) do
      local value = counts[column[1]]
      cells[i + 1] = ("%13s"):format(value and record.show(column[1] == "microseconds" and value // 0.01 / 100 or value)
        or "-")
    end
    print(table.concat(cells))
    if options.names then
      for _, field in ipairs { "calls", "calls_of_child" } do
        local calls = counts[field]
        if calls and next(calls) then print(("    %s: %s"):format((field:gsub("_", " ")), record.show_calls(calls))) end
      end
    end
  end
end

--- What is recorded of other workloads stays, if it was counted with the same versions.
local function write_record(found, options)
  local recorded = record.load(options.recorded)
  for name, counts in pairs(recorded and recorded.workloads or {}) do
    if not found.workloads[name] then
      for version, value in pairs(found.versions) do
        assert(recorded.versions[version] == value, "another " .. version .. " is recorded: record all workloads anew")
      end
      found.workloads[name] = counts
    end
  end
  local text = record.format(found, measure.workloads)
  local file = assert(io.open(options.recorded, "w"))
  file:write(text)
  file:close()
end

--- Prints what has changed; whether nothing has grown.
local function compare(found, options)
  local failures, gains, skipped = record.compare(assert(record.load(options.recorded)), found, options.workloads)
  print()
  for _, message in ipairs(skipped) do print(message) end
  for _, message in ipairs(gains) do print(message) end
  if #gains > 0 then print("Fewer than recorded: --record writes them down.") end
  for _, message in ipairs(failures) do print("FAILED: " .. message) end
  if #failures == 0 then print("Nothing that was compared has grown by more than 5 %.") end
  return #failures == 0
end

local options = read_arguments { ... }
local program = corun.env.CORUN_BIN or corun.capture { "sh", "-c", "readlink /proc/$PPID/exe" }
program = corun.capture { "realpath", program }
local traced, reason = measure.may_trace()
if not traced then
  io.stderr:write("System calls are not counted: strace must not trace here (", reason, ").\n")
end
local found = {
  versions = versions.find(program:match("^(.*)/bin/[^/]+$")),
  workloads = measure.all(here .. "/counts", program, options.workloads),
}
if options.json then
  print(require("cjson").encode(found))
  return
end
print_table(found, options)
if options.record then return write_record(found, options) end
os.exit(compare(found, options))
