--- The comparison of counted costs with recorded ones, spec/bench/counts.lua: that it fails when something has grown.

local lfs = require "lfs"
local scripts = require "spec.support.scripts"
local support = require "spec.support"

local bench = lfs.currentdir() .. "/spec/bench"
local path = package.path
package.path = bench .. "/counts/?.lua;" .. path
local record = require "record"
package.path = path

local function versions(changes)
  local all = { architecture = "a", compiler = "c", flags = "f", kernel = "1.2", libc = "l", libuv = "u", lua = "5.4.9",
    spawn = "native", valgrind = "v" }
  for name, value in pairs(changes or {}) do all[name] = value end
  return all
end

local function counts(changes)
  local all = { instructions = 1000, collecting = 1000, heap_calls = 10, system_calls = 20, child_calls = 40,
    lua_bytes = 1000, calls = { clone = 1, close = 19 }, calls_of_child = { execve = 40 } }
  for name, value in pairs(changes or {}) do all[name] = value end
  return all
end

local function compare(changes, changed_versions)
  return record.compare({ versions = versions(), workloads = { spawn = counts() } },
    { versions = versions(changed_versions), workloads = { spawn = counts(changes) } }, { "spawn" })
end

describe("The comparison of counts", function()
  it("is content with what is the same, or off by less than 5 %", function()
    for _, changes in ipairs { {}, { instructions = 1049, lua_bytes = 1050 }, { instructions = 951 } } do
      assert.same({ {}, {}, {} }, { compare(changes) })
    end
  end)

  it("fails for each count that has grown by more, and names workload, count, numbers and percent", function()
    assert.same({
      "spawn: instructions have grown: recorded 1000, now 1060 (+6.0 %)",
      "spawn: bytes allocated by Lua have grown: recorded 1000, now 2000 (+100.0 %)",
    }, (compare { instructions = 1060, lua_bytes = 2000 }))
    for _, count in ipairs(record.counts) do
      assert.equal(1, #compare { [count.name] = counts()[count.name] * 1.2 }, count.name)
    end
  end)

  it("says what system calls have come", function()
    assert.same({ "spawn: system calls have grown: recorded 20, now 22 (+10.0 %): epoll_ctl 0, now 2" },
      (compare { system_calls = 22, calls = { clone = 1, close = 19, epoll_ctl = 2 } }))
  end)

  it("fails for what grows from nothing, and for a workload that is not recorded", function()
    local before = counts { system_calls = 0, calls = {} }
    local now = counts { system_calls = 1, calls = { read = 1 } }
    local failures = record.compare({ versions = versions(), workloads = { read = before } },
      { versions = versions(), workloads = { read = now, write = now } }, { "read", "write" })
    assert.same({
      "write: not recorded: see --record",
      "read: system calls have grown: recorded 0, now 1: read 0, now 1",
    }, failures)
  end)

  it("says what has become less, and does not fail", function()
    local failures, gains = compare { system_calls = 10, calls = { close = 10 } }
    assert.same({}, failures)
    assert.same({ "spawn: system calls are fewer: recorded 20, now 10 (-50.0 %): clone 1, now 0; close 19, now 10" },
      gains)
  end)

  it("compares with another compiler only what is not made of machine code, and says so", function()
    local more = { instructions = 2000, collecting = 2000, heap_calls = 20, system_calls = 30, lua_bytes = 2000 }
    local failures, _, skipped = compare(more, { compiler = "d", kernel = "3.4" })
    assert.matches("^spawn: system calls have grown", failures[1])
    assert.matches("^spawn: bytes allocated by Lua have grown", failures[2])
    assert.equal(2, #failures)
    assert.same({
      'instructions: not compared, as compiler is "d", recorded with "c"',
      'instructions of the collector: not compared, as compiler is "d", recorded with "c"',
      'calls of malloc: not compared, as compiler is "d", recorded with "c"',
    }, skipped)
  end)

  it("reads what it has recorded", function()
    local file = support.directory() .. "/recorded.lua"
    local found = { versions = versions(), workloads = { spawn = counts { heap_calls = 0.5 }, run = counts() } }
    support.write_file(file, record.format(found, { "spawn", "run" }))
    assert.same(found, record.load(file))
  end)
end)

describe("spec/bench/counts.lua #once", function()
  if scripts.sanitized then return end -- valgrind and the sanitizer want the same memory

  local function count(...)
    return scripts.run_corun({ bench .. "/counts.lua", ... }, { timeout = 120, env = { CORUN_BIN = scripts.corun } })
  end

  it("counts and records, and fails once a recorded number is doctored", function()
    local file = support.directory() .. "/recorded.lua"
    local result = count("--record", "--recorded", file, "switch")
    assert.equal(0, result.code, result.stderr)
    local text, times = support.read_file(file):gsub("instructions = (%d+)", function(number)
      return ("instructions = %.0f"):format(number * 0.9)
    end)
    assert.equal(1, times)
    support.write_file(file, text)
    result = count("--recorded", file, "switch")
    assert.equal(1, result.code, result.stderr)
    assert.matches("FAILED: switch: instructions have grown: recorded %d+, now %d+ %(%+1[01]%.%d %%%)\n", result.stdout)
    assert.equal(1, select(2, result.stdout:gsub("FAILED", "")), result.stdout)
  end)
end)
