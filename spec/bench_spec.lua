--- The benchmark's own work, in its smallest size: what it says is true, and what goes wrong is said.

local corun = require "corun"
local json = require "cjson"
local scripts = require "spec.support.scripts"
local support = require "spec.support"
local world = require "spec.support.world"

--- Runs it with these words; CORUN is the program that is measured.
local function bench(words, program)
  return corun.run {
    scripts.corun, "spec/bench/run.lua", check = false, timeout = 60,
    env = { CORUN = program or scripts.corun, CORUN_LUA_DIR = scripts.absolute("lua") }, table.unpack(words),
  }
end

local function assert_status(code, result) assert.equal("exit " .. code, tostring(result.status), result.stderr) end

describe("The benchmark #once", function()
  it("measures the limit and corun, and writes what it found #slow", function()
    local out = support.directory() .. "/out"
    local result = bench { "--quick", "--out", out, "spawn", "switch", "count" }
    assert_status(0, result)
    assert.is_not_nil(result.stdout:find("\nspawn: [^\n]+\n  limit +%d+ /s .-\n  corun +%d+ /s [^\n]+ KiB\n"),
      result.stdout)

    local found = json.decode(support.read_file(out .. "/results.json"))
    assert.is_truthy(found.machine.cores >= 1 and found.machine.kernel and found.date)
    local names = {}
    for i, workload in ipairs(found.workloads) do
      names[i] = workload.name
      assert.same({ 1, 2 }, { workload.rounds, #workload.contenders })
      local limit, own = table.unpack(workload.contenders)
      assert.same({ "limit", "corun" }, { limit.name, own.name })
      assert.equal(limit.runs[1].check, own.runs[1].check)
      assert.is_true(own.seconds > 0 and own.cpu > 0 and own.kib > 0)
      assert.near(limit.seconds / own.seconds, own.ratio_to_limit, 1e-9)
    end
    assert.equal("spawn switch count", table.concat(names, " "):sub(1, 18))

    local markdown, html = support.read_file(out .. "/summary.md"), support.read_file(out .. "/report.html")
    for _, name in ipairs(names) do
      assert.is_not_nil(markdown:find("\n| " .. name, 1, true), markdown)
      assert.is_not_nil(html:find(('aria-label="%s'):format(name), 1, true), html)
    end
  end)

  it("fails, and says why, when a contender does not do its work #slow", function()
    local directory = support.directory()
    local liar = world.program(directory .. "/liar", [[
#!/bin/sh
case $3 in
  switch) echo "0.1 0.1 100 41" ;;
  timers) echo "no such luck" >&2; exit 3 ;;
  jobs) echo "0.1 0.1 100" ;;
esac
]])
    local result = bench({ "--quick", "--out", directory, "switch", "timers", "jobs" }, liar)
    assert_status(1, result)
    local function says(text) assert.is_not_nil(result.stdout:find(text, 1, true), result.stdout) end
    says("failed: has found 41, not 10000\n")
    says("failed: exit 3: no such luck\n")
    says("failed: unexpected output '0.1 0.1 100'\n")
    local found = json.decode(support.read_file(directory .. "/results.json"))
    assert.equal("has found 41, not 10000", found.workloads[1].contenders[2].failed)
  end)

  for _, case in ipairs {
    { "an unknown option", { "--fast" }, "unknown option '--fast'" },
    { "an unknown workload", { "--quick", "spwan" }, "unknown workload 'spwan'" },
    { "rounds that are no number", { "--rounds", "some" }, "--rounds: a number from 1 expected, got 'some'" },
    { "no rounds", { "--rounds", "0" }, "--rounds: a number from 1 expected, got '0'" },
    { "a program that is not there", { "--before", "/nowhere/corun" }, "--before: no program '/nowhere/corun'" },
    { "a missing value", { "--out" }, "--out: a value expected, got 'nothing'" },
  } do
    local what, words, message = table.unpack(case)
    it("does not begin with " .. what, function()
      local result = bench(words)
      assert_status(2, result)
      assert.equal("", result.stdout)
      assert.equal(("bench: %s"):format(message), result.stderr:sub(1, #message + 7))
    end)
  end
end)
