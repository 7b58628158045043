--- The workloads of the benchmark, as data.
---
--- name        who takes part runs it under this name, unless `variants` says otherwise
--- what        for people
--- size, quick the size of it, and that of --quick
--- unit, per   how its rate is shown: so many of the unit are 1 (`per`) of it
--- placement   "on one core": reader and writer share one. "on two cores": each has its own. Which it is decides more
---             than any program does, and the scheduler throws dice for it
--- descriptors so many for each child: there are no more children than can be had
--- compares    "seconds" (default), or "bytes": memory for each child or task, less is better
--- rounds      so many, unless --rounds says otherwise (default 5)
--- timeout     seconds that a contender may take for one run
--- variants    contender = list of what it runs; a contender without one runs `name`
--- references  contenders, or one variant of them, that are shown, but are no peers: they hand nothing to a script, or
---             do less
--- budget      what corun has promised, a list of
---               { to = label, at_least = ratio } of that one's speed, as the table labels it; "peers": of all of them
---               { to = contender, times_at_most = factor } the other way round
---               { bytes_at_most = n }, { seconds_at_most = n }, { rate_at_least = n }

-- They start what is in a file, and hand nothing to a script.
local make_and_ninja = { make = true, ninja = true }

local faster_than_peers = { to = "peers", at_least = 1 }

local function lines_workload(placement)
  return {
    name = "lines", what = "iterate lines of 20 bytes as strings", size = 20000000, quick = 100000,
    unit = "million/s", per = 1e6, placement = placement, rounds = 3,
    variants = {
      ["lua in C"] = { "lines-loop", "lines-pushlstring" }, node = { "lines", "lines-readline" },
      python = { "lines", "lines-iterate" },
    },
    references = { ["lua in C"] = true },
    budget = {
      { rate_at_least = 10e6 }, { to = "luv", at_least = 2 }, { to = "lua5.4", at_least = 1.2 }, faster_than_peers,
    },
  }
end

local function read_workload(placement)
  return {
    name = "read", what = "read 4 GB from a child", size = 1 << 32, quick = 1 << 24, unit = "GB/s", per = 1e9,
    placement = placement, rounds = 3, variants = { corun = { "read", "read-read" } },
    budget = { { to = "limit", at_least = 0.9 }, faster_than_peers },
  }
end

local function count_workload(placement)
  return {
    name = "count", what = "count the lines of a child", size = 20000000, quick = 100000, unit = "million/s", per = 1e6,
    placement = placement, rounds = 3, variants = { system = { "count-wc" }, go = { "count", "count-scanner" } },
    references = { system = true },
    budget = { { to = "limit", at_least = 0.8 }, faster_than_peers },
  }
end

local function grep_workload(placement)
  return {
    name = "grep", what = "the lines of a child with a word in them", size = 20000000, quick = 100000,
    unit = "million/s", per = 1e6, placement = placement, rounds = 3, variants = { system = { "grep-grep" } },
    references = { system = true },
    budget = { { to = "limit", at_least = 0.8 }, faster_than_peers },
  }
end

return {
  {
    name = "spawn", what = "start and reap true, 4 at a time", size = 2000, quick = 100, unit = "/s", per = 1,
    variants = { limit = { "spawn", "spawn-threads" } },
    references = make_and_ninja,
    budget = { { to = "limit", at_least = 0.95 }, faster_than_peers },
  },
  {
    name = "spawn-heap", what = "the same with 1 GiB of live heap", size = 600, quick = 20, unit = "/s", per = 1,
    rounds = 3, timeout = 300, -- who forks needs a while
    variants = { limit = { "spawn-heap", "spawn" }, corun = { "spawn-heap", "spawn" } },
    budget = { { to = "corun (spawn)", at_least = 0.95 }, faster_than_peers },
  },
  {
    name = "churn", what = "the same beside 5,000 living children", size = 1000, quick = 20, unit = "/s", per = 1,
    rounds = 3, timeout = 300,
    variants = { limit = { "churn", "spawn" }, corun = { "churn", "spawn" } },
    budget = { { to = "corun (spawn)", at_least = 0.95 }, faster_than_peers },
  },
  {
    name = "storm", what = "children that all end at once", size = 5000, quick = 100, unit = "/s", per = 1,
    budget = { faster_than_peers },
  },
  {
    name = "run", what = "echo hello with its output and status, 4 at a time", size = 2000, quick = 100, unit = "/s",
    per = 1, variants = { limit = { "run", "run-stdout" }, corun = { "run", "run-stdout" } },
    references = make_and_ninja,
    budget = { { to = "limit", at_least = 0.95 }, faster_than_peers },
  },
  {
    name = "capture", what = "64 KiB of output and the status, 4 at a time", size = 2000, quick = 50, unit = "/s",
    per = 1, references = make_and_ninja, budget = { faster_than_peers },
  },
  {
    name = "idle", what = "memory for each living child with three pipes", size = 10000, quick = 50, unit = "/s",
    per = 1, descriptors = 4, compares = "bytes", rounds = 1,
    budget = { { bytes_at_most = 6 * 1024 }, faster_than_peers },
  },
  {
    name = "idle-bare", what = "memory for each living child without pipes", size = 10000, quick = 50, unit = "/s",
    per = 1, descriptors = 1, compares = "bytes", rounds = 1,
    budget = { { bytes_at_most = 1.5 * 1024 }, faster_than_peers },
  },
  {
    name = "sleepers", what = "tasks that sleep: memory for each, and to start and end them", size = 100000,
    quick = 1000, unit = "million/s", per = 1e6, compares = "bytes", rounds = 1,
    budget = { { bytes_at_most = 1.5 * 1024 }, { seconds_at_most = 1 }, faster_than_peers },
  },
  {
    name = "switch", what = "switches between two tasks", size = 2000000, quick = 10000, unit = "million/s", per = 1e6,
    variants = {
      ["lua in C"] = { "switch-resume", "switch-lua" }, node = { "switch", "switch-immediate" },
      bun = { "switch", "switch-immediate" }, deno = { "switch", "switch-immediate" },
    },
    -- A promise that is fulfilled lets other promises go on, but neither a timer nor a descriptor.
    references = { ["lua in C"] = true, node = "switch", bun = "switch", deno = "switch" },
    budget = { faster_than_peers },
  },
  {
    name = "timers", what = "calls with a time limit that they do not reach", size = 1000000, quick = 10000,
    unit = "million/s", per = 1e6,
    variants = {
      go = { "timers", "timers-bare" }, python = { "timers", "timers-bare" }, node = { "timers", "timers-bare" },
      bun = { "timers", "timers-bare" }, deno = { "timers", "timers-bare" }, luv = { "timers-bare", "timers-reused" },
      ["luv, luajit"] = { "timers-bare", "timers-reused" },
    },
    -- A timer alone, set and cancelled, stops no call.
    references = {
      go = "timers-bare", python = "timers-bare", node = "timers-bare", bun = "timers-bare", deno = "timers-bare",
      luv = true, ["luv, luajit"] = true,
    },
    budget = { faster_than_peers },
  },
  {
    name = "startup", what = "the empty program", size = 100, quick = 10, unit = "/s", per = 1,
    references = { ["lua5.4"] = true, luajit = true, go = true },
    budget = { { to = "lua5.4", times_at_most = 1.3 }, faster_than_peers },
  },
  {
    name = "compile", what = "compile small C files, 4 at a time", size = 200, quick = 4, unit = "/s", per = 1,
    rounds = 3, budget = { faster_than_peers },
  },
  read_workload("on one core"), read_workload("on two cores"),
  lines_workload("on two cores"),
  count_workload("on one core"), count_workload("on two cores"),
  grep_workload("on one core"), grep_workload("on two cores"),
  {
    name = "roundtrip", what = "a line through cat and back", size = 200000, quick = 1000, unit = "thousand/s",
    per = 1e3, placement = "on one core",
    budget = { { to = "limit", at_least = 0.6 }, faster_than_peers },
  },
  {
    name = "pipeline", what = "yes | head | wc", size = 1 << 33, quick = 1 << 24, unit = "GB/s", per = 1e9,
    variants = { system = { "pipeline-dash" } }, budget = { faster_than_peers },
  },
  {
    name = "jobs", what = "a queue of commands, 4 at a time, with the result of each", size = 10000, quick = 100,
    unit = "/s", per = 1, rounds = 1, timeout = 600, variants = { corun = { "jobs", "spawn" } },
    references = make_and_ninja,
    budget = { { to = "corun (spawn)", at_least = 0.9 }, { to = "parallel", at_least = 6 }, faster_than_peers },
  },
}
