#!/usr/bin/env corun
--- Follows what a command prints, with the time before each line, and starts the command again when it ends.
---
---   corun scripts/examples/follow.lua [-n RESTARTS] [-i IDLE] [-p PAUSE] COMMAND [ARGUMENT…]
---   corun scripts/examples/follow.lua -i 60 ssh web1 tail -n 0 -F /var/log/syslog
---
---   -n RESTARTS  give up after so many restarts (default: never); the exit status is that of the last run, 0 or 1
---   -i IDLE      a command that is silent for so many seconds hangs: stop it and start it again (default: never)
---   -p PAUSE     seconds before the first restart (default 0.5); each further pause is twice as long, up to 30
---
--- Ctrl-C ends the command, then the script (exit status 130).

local corun = require "corun"

local LONGEST_PAUSE = 30
local STABLE = 10 -- a run of so many seconds was a good one: the pauses begin anew

local options = { n = math.huge, p = 0.5 }
local words = { ... }
while words[1] and words[1]:find("^%-[nip]$") do
  local letter = table.remove(words, 1):sub(2)
  options[letter] = tonumber(table.remove(words, 1) or "") or error("-" .. letter .. ": a number expected", 0)
end
if #words == 0 then
  io.stderr:write("usage: follow.lua [-n RESTARTS] [-i IDLE] [-p PAUSE] COMMAND [ARGUMENT…]\n")
  os.exit(2)
end

-- One description, started as often as needed. stderr comes with stdout, in the order in which it was written; the
-- process group is the command's own, so that stopping it reaches what it has started, too.
local source = corun.command(words):with { stderr = "stdout", idle_timeout = options.i }

--- Tells the person, on stderr: stdout is for the lines alone.
local function say(format, ...)
  corun.stderr:write("follow: ", format:format(...), "\n")
end

local function follow()
  -- lines() starts the command. The loop takes each line as it comes; meanwhile the command can write on, until the
  -- buffer is full: from then on it waits for us, as at a shell's pipe. After the last line the loop raises if the
  -- command ended badly; leaving it early (by break or an error) would stop the command.
  for line in source:lines() do
    -- Not print, which keeps lines in a buffer when stdout is a pipe or a file.
    corun.stdout:write(os.date("%H:%M:%S "), line, "\n")
  end
end

local pause = options.p
for restarts = 0, options.n do
  local started = corun.now() -- a clock that nobody sets, unlike os.time
  local _, e = corun.try(follow)
  -- What ended the run decides what to do. A bad end and silence are what this script is for; a command that cannot
  -- be started will not start next time either, and "cancelled" is Ctrl-C on its way out, which nobody may swallow.
  if e and e.kind ~= "exit" and e.kind ~= "idle" then error(e, 0) end
  if restarts >= options.n then
    if e then error(e, 0) end
    break
  end
  if corun.now() - started >= STABLE then pause = options.p end
  say("%s; restart in %g s", e and e.message or "the command has ended", pause)
  corun.sleep(pause)
  pause = math.min(pause * 2, LONGEST_PAUSE)
end
