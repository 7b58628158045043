#!/usr/bin/env corun
--- Starts a web server, waits until it answers, uses it, stops it and reports: the shape of many an integration test.
---
---   corun scripts/examples/health.lua

local corun = require "corun"

-- What the client runs. Each word of a command arrives as it is here, newlines and quotes included.
local CLIENT = [[
import sys, urllib.request
with urllib.request.urlopen(sys.argv[1], timeout=2) as answer:
    sys.stdout.buffer.write(answer.read())
]]

local function fetch(url)
  return corun.capture { "python3", "-c", CLIENT, url, timeout = 5 }
end

--- The port, from the server's first line ("Serving HTTP on 127.0.0.1 port 40123 …").
local function read_port(server)
  local line = server.stdout:read_line()
  if not line then error("the server ended before it said its port: " .. server.stderr:read(), 0) end
  return line:match("port (%d+)") or error("no port in: " .. line, 0)
end

-- Only a client that failed is a reason to ask again. Everything else (a time limit that has passed, a missing python3)
-- has to get out.
local patient = {
  times = math.huge, delay = 0.1, factor = 1, when = function(e) return type(e) == "table" and e.kind == "exit" end,
}

--- Asks until there is an answer, and says how often. Waiting has no limit of its own: the caller gives one.
local function wait_until_ready(url)
  return corun.retry(patient, function(attempt)
    fetch(url)
    return attempt
  end)
end

-- What is started in a scope is stopped at its end, however that comes: by an error in the checks, too, or Ctrl-C. So
-- there is no server left over that holds the port for the next run, and no clean-up code to get wrong.
corun.scope(function(scope)
  local directory = corun.capture { "mktemp", "-d" }
  scope:defer(function() corun.run { "rm", "-rf", directory } end)
  local page = assert(io.open(directory .. "/health", "w"))
  page:write("all is well\n")
  page:close()

  -- Port 0: the kernel picks a free one, and two runs at once do not collide. -u: python does not keep its first line
  -- in a buffer.
  local server = scope:spawn {
    "python3", "-u", "-m", "http.server", "0", "--bind", "127.0.0.1", "--directory", directory, stdin = "null",
  }

  -- One limit for all that has to happen until the server is ready. corun.timeout stops what waits in it, and the
  -- error leaves the scope, which stops the server.
  local started = corun.now()
  local port, attempts = corun.timeout(10, function()
    local number = read_port(server)
    return number, wait_until_ready(("http://127.0.0.1:%s/health"):format(number))
  end)
  local url = ("http://127.0.0.1:%s"):format(port)
  print(("ready after %.2f s, %d attempt(s)"):format(corun.now() - started, attempts))

  -- Use it: several clients at the same time, each a task. await gives what the task returned, or raises its error.
  local clients = {}
  for i = 1, 5 do clients[i] = scope:go(fetch, url .. "/health") end
  for i, client in ipairs(clients) do
    local answer = client:await()
    assert(answer == "all is well", ("client %d got %q"):format(i, answer))
  end
  print(("%d clients were answered"):format(#clients))

  -- What must fail has to fail in the right way.
  local _, e = corun.try(fetch, url .. "/missing")
  assert(e and e.kind == "exit" and e.result.stderr:find("404"), "a missing page was served")
  print("a missing page is an error 404")

  -- The end of the scope would do this, too. Asked for here, it gives a Status, and after it nothing more is written.
  local status = server:terminate()
  local requests = 0
  for line in server:stream_stderr() do
    if line:find('"GET ') then requests = requests + 1 end
  end
  print(("stopped (%s) after %d requests and %.1f s"):format(status, requests, server.duration))
end)
