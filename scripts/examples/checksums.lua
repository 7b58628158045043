#!/usr/bin/env corun
--- SHA-256 of every file below a directory: many at a time, printed in order, in the format of `sha256sum -c`.
---
---   corun scripts/examples/checksums.lua [-j JOBS] [DIRECTORY]
---
--- A file that cannot be read is reported and does not stop the others; the exit status is then 1.

local corun = require "corun"

local jobs, directory = 4, "."
local words = { ... }
while #words > 0 do
  local word = table.remove(words, 1)
  local count = word:match("^%-j(%d*)$")
  if count then
    jobs = math.tointeger(tonumber(count ~= "" and count or table.remove(words, 1)))
  else
    directory = word
  end
end
if not jobs or jobs < 1 then
  io.stderr:write("usage: checksums.lua [-j JOBS] [DIRECTORY]\n")
  os.exit(2)
end

-- The one separator that no path can contain is the NUL byte, and format = "nul" takes the output apart at it: a list
-- of paths comes back, whatever is in their names. `cwd` is the child's: ours stays where it is.
local paths = corun.capture { "find", ".", "-type", "f", "-print0", cwd = directory, format = "nul" }
table.sort(paths)

local function checksum(path)
  -- A start that fails still raises (is there no sha256sum?): that is worth stopping for. A bad exit is not, and with
  -- check = false it comes back as a Result like any other.
  return corun.run { "sha256sum", "--", path, cwd = directory, check = false }
end

local failed = 0

local function report(result)
  if result.ok then
    -- Not print: this waits for a slow reader without holding up the other tasks, and nothing stays in a buffer.
    corun.stdout:write(result.stdout)
  else
    failed = failed + 1
    corun.stderr:write(result.stderr)
  end
end

-- A window slides over the list. Task i starts when the result of task i - jobs has been printed. So at most `jobs`
-- programs run, the output is in order, and no more than `jobs` results are in memory, be there ten files or ten
-- million. The price: one slow file holds up those behind it. (In corun.map, as compile.lua has it, nobody waits
-- for a slow one, but all results are kept until the end.)
corun.scope(function(scope)
  local tasks = {}
  for i = 1, #paths + jobs do
    local done = tasks[i - jobs]
    if done then
      report(done:await())
      tasks[i - jobs] = nil
    end
    if paths[i] then tasks[i] = scope:go(checksum, paths[i]) end
  end
end)

if failed > 0 then
  error(("%d of %d files could not be read"):format(failed, #paths), 0)
end
