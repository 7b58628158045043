#!/usr/bin/env corun
--- Compiles corun's own C sources, several at a time, and says what each of them cost.
---
---   corun scripts/examples/compile.lua [-j JOBS] [CHECKOUT]
---
--- CHECKOUT is the directory of a corun checkout (default "."), JOBS how many compilers run at once (default: as many
--- as there are cores). CC names the compiler. The objects are thrown away: the table at the end is the product.

local corun = require "corun"

local jobs, checkout = corun.capture { "nproc" }, "."
local words = { ... }
while #words > 0 do
  local word = table.remove(words, 1)
  local count = word:match("^%-j(%d*)$")
  if count then
    jobs = count ~= "" and count or table.remove(words, 1)
  else
    checkout = word
  end
end
jobs = math.tointeger(tonumber(jobs))
if not jobs or jobs < 1 then
  io.stderr:write("usage: compile.lua [-j JOBS] [CHECKOUT]\n")
  os.exit(2)
end

-- A command to be used again: each source adds its own words to it. There is no shell, so a path may hold spaces or a
-- dollar sign; one string that means several words is taken apart here, in the open.
local core, module = checkout .. "/runtime/core", checkout .. "/runtime/module"
local argv = {}
for word in (corun.env.CC or "cc"):gmatch("%S+") do argv[#argv + 1] = word end
local compiler = corun.command(argv)
  :args("-std=c11", "-O2", "-Wall", "-Wextra", "-fPIC", "-D_GNU_SOURCE", "-I" .. core, "-I" .. module)
for flag in corun.capture({ "pkg-config", "--cflags", "lua5.4", "libuv" }):gmatch("%S+") do
  compiler = compiler:args(flag)
end

-- spawn_libuv.c is the portable twin of spawn_native.c: a build has one of the two.
local sources = corun.capture {
  "find", core, module, "-name", "*.c", "!", "-name", "spawn_libuv.c", format = "lines",
}
table.sort(sources)

local rows = {}

local function compile(source, object)
  local name = source:match("[^/]+$")
  -- tee: what the compiler says is shown as it comes, and captured as well. timeout: when the minute is over, the
  -- compiler and all that it has started get SIGTERM, and after a grace SIGKILL.
  local command = compiler:args("-c", source, "-o", object):with { tee = ("[%s] "):format(name), timeout = 60 }
  local result, e = corun.try(command.run, command)
  -- What failed carries its Result inside the Error, in the same shape (but for a compiler that could not start).
  rows[#rows + 1] = { name = name, result = result or e.result }
  if e then error(e, 0) end
end

-- The scope owns what happens in it. map keeps so many compilers at work; the first error (or Ctrl-C, from outside)
-- cancels the others, and a cancelled run stops its compiler before it raises. So after this call nothing runs any
-- more, and the objects are gone, however it went.
local started = corun.now()
local _, failure = corun.try(corun.scope, function(scope)
  local objects = corun.capture { "mktemp", "-d" }
  scope:defer(function() corun.run { "rm", "-rf", objects } end)
  corun.map(sources, function(source, i) compile(source, ("%s/%d.o"):format(objects, i)) end, { jobs = jobs })
end)

local function in_words(result)
  if not result then return "not started" end
  if result.reason == "exit" or result.reason == "signal" then return tostring(result.status) end
  return ("%s: %s"):format(result.reason, result.status) -- "timeout: signal SIGTERM"
end

local function cell(format, value) return value and format:format(value) or "-" end

local ROW = "%-20s %-25s %8s %8s %10s"
print(ROW:format("file", "status", "wall", "user", "max RSS"))
for _, row in ipairs(rows) do
  local usage = row.result and row.result.usage or {} -- nil where the system does not tell
  print(ROW:format(row.name, in_words(row.result), cell("%.2f s", row.result and row.result.duration),
    cell("%.2f s", usage.user_time), cell("%.1f MiB", usage.max_rss and usage.max_rss / 2 ^ 20)))
end
print(("%d of %d files in %.2f s, %d at a time"):format(#rows, #sources, corun.now() - started, jobs))

-- Raised again, so that the reason is printed and the exit status is 1 (after Ctrl-C: 130).
if failure then error(failure, 0) end
