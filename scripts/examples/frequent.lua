#!/usr/bin/env corun
--- The most frequent lines of any number of files, compressed or not; or of what matches in them.
---
---   corun scripts/examples/frequent.lua [-n COUNT] [-m PATTERN] FILE…
---
--- With a Lua pattern, its first capture is counted (or all that matches, if it has none), where it matches in a line.
--- A name that ends in .gz goes through gzip.

local corun = require "corun"

local count, pattern, sources = "20", nil, {}
local words = { ... }
while #words > 0 do
  local word = table.remove(words, 1)
  if word == "-n" then
    count = table.remove(words, 1)
  elseif word == "-m" then
    pattern = table.remove(words, 1)
  else
    sources[#sources + 1] = word:find("%.gz$") and { "gzip", "-dc", "--", word } or { "cat", "--", word }
  end
end
if #sources == 0 or not (count and count:find("^%d+$")) then
  io.stderr:write("usage: frequent.lua [-n COUNT] [-m PATTERN] FILE…\n")
  os.exit(2)
end

-- All files are read at the same time and merged line by line: no line is torn, whoever writes how much at once.
local lines = corun.merge(sources)

if pattern then
  -- A stage may be a Lua function. Lines that do not match never become Lua strings.
  lines = lines | function(reader, writer)
    local found = corun.stream(reader:grep(pattern)):map(function(line) return line:match(pattern) .. "\n" end)
    writer:writelines(found)
  end
end

-- The children are connected by kernel pipes; what they write does not come through here. `head` ends early, which cuts
-- the others off: that is a success. A file that cannot be read is none.
local command = corun.command
local ranking = lines | command { "sort" } | command { "uniq", "-c" } | command { "sort", "-rn" }
  | command { "head", "-n", count }
ranking:with({ stdout = "inherit", env = { LC_ALL = "C" } }):run()
