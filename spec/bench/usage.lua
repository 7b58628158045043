--- What it costs to sample the usage of many processes. Run with corun: usage.lua [PROCESSES] [ROUNDS].

local corun = require "corun"

local count, rounds = tonumber(arg[1]) or 1000, tonumber(arg[2]) or 50

local processes = {}
for i = 1, count do
  processes[i] = corun.spawn { "sleep", "1000", stdin = "null", stdout = "null", stderr = "null", stop = { "KILL" } }
end

--- Seconds of processor time for one round, the least and the middle of several.
local function cost(sample)
  local costs = {}
  for round = 1, rounds do
    local began = os.clock()
    for i = 1, count do sample(processes[i]) end
    costs[round] = os.clock() - began
  end
  table.sort(costs)
  return costs[1], costs[rounds // 2 + 1]
end

corun.sleep(1) -- they have come to rest
for _, what in ipairs { "usage", "open_files" } do
  local least, middle = cost(processes[1][what])
  print(("%-10s of %d processes once a second: %.2f %% of a core (least %.2f %%), %.1f us each"):format(what, count,
    middle * 100, least * 100, middle / count * 1e6))
end
