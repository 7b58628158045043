local corun = require "corun"
local raised = require "spec.support.raised"
local scripts = require "spec.support.scripts"
local support = require "spec.support"

describe("An Error", function()
  it("is a table of the class corun.Error", function()
    local e = raised.error("exit", function() corun.run { "false" } end)
    assert.equal("table", type(e))
    assert.is_true(getmetatable(e) == corun.Error)
  end)

  it("of a bad exit says the command as typed, how it ended, after how long", function()
    local e = raised.error("exit", function() corun.run { "sh", "-c", "exit 3" } end)
    assert.matches("^sh %-c 'exit 3': exit 3 after %d+%.%d%d s$", e.message)
    e = raised.error("exit", function() corun.run { "sh", "-c", "kill -KILL $$" } end)
    assert.matches("^sh %-c 'kill %-KILL %$%$': signal SIGKILL after %d+%.%d%d s$", e.message)
  end)

  it("of a time limit says the limit and how the process ended", function()
    local e = raised.error("timeout", function() corun.run { "sleep", 1000, timeout = 0.01 } end)
    assert.equal(0.01, e.seconds)
    assert.equal("timeout", e.result.reason)
    assert.equal("SIGTERM", e.result.signal)
    assert.same({ "TERM" }, e.result.stopped)
    assert.matches("^sleep 1000: .*0%.01 s.*signal SIGTERM after", e.message)
    e = raised.error("idle", function() corun.run { "sleep", 1000, idle_timeout = 0.01 } end)
    assert.same({ 0.01, "idle" }, { e.seconds, e.result.reason })
    raised.has(e.message, "no output for 0.01 s")
  end)

  it("of a cancellation carries the Result", function()
    local task = corun.go(corun.run, { scripts.fixtures .. "/ready" })
    corun.sleep(0) -- it has started
    task:cancel()
    local ok, e = pcall(task.await, task)
    assert.is_false(ok)
    assert.equal("cancelled", e.kind)
    assert.same({ "cancelled", "SIGTERM" }, { e.result.reason, e.result.signal })
  end)

  it("has a traceback of the script's own functions alone", function()
    local function inner() corun.run { "false" } end
    local function outer()
      inner()
      return "no tail call"
    end
    local _, e = corun.try(outer)
    local lines = {}
    for line in e.traceback:gmatch("[^\n]+") do lines[#lines + 1] = line end
    local line = debug.getinfo(inner, "S").linedefined
    assert.matches("error_spec%.lua:" .. line .. ": in .*inner", lines[1])
    assert.matches("error_spec%.lua:" .. line + 2 .. ": in ", lines[2])
    assert.is_nil(e.traceback:find("lua/corun", 1, true))
    assert.is_nil(e.traceback:find("corun.command", 1, true))
  end)

  it("as a string has the script's line, the message, and the last lines of stderr", function()
    local e = raised.error("exit", function()
      corun.run { "sh", "-c", "echo out; for i in $(seq 30); do echo line $i >&2; done; printf unfinished >&2; exit 1" }
    end)
    local lines = {}
    for line in tostring(e):gmatch("[^\n]+") do lines[#lines + 1] = line end
    assert.matches("^.*error_spec%.lua:%d+: sh %-c .*: exit 1 after", lines[1])
    raised.has(lines[#lines], "unfinished")
    raised.has(lines[#lines - 1], "line 30")
    assert.is_true(#lines > 3 and #lines < 20, "how much of stderr: " .. #lines)
    assert.is_nil(tostring(e):find("line 1\n", 1, true))
    assert.is_nil(tostring(e):find("out\n", 1, true))
  end)

  it("as a string is one line where there was no stderr", function()
    local e = raised.error("exit", function() corun.run { "false" } end)
    assert.is_nil(tostring(e):find("\n"))
    e = raised.error("exit", function() corun.run { "sh", "-c", "echo >&2; exit 1", stderr = "null" } end)
    assert.is_nil(tostring(e):find("\n"))
  end)

  it("names the line that started the process, not the one that waited", function()
    local process <close> = corun.spawn { "false", check = true }
    local line = debug.getinfo(1, "l").currentline - 1
    local ok, e = pcall(process.communicate, process)
    assert.is_false(ok)
    assert.matches("error_spec%.lua:" .. line .. ":$", e.where)
  end)

  it("is printed for a person at the end of a script", function()
    local result = scripts.native:run [[
      local corun = require "corun"
      corun.run { "sh", "-c", "echo why >&2; exit 4" }
    ]]
    assert.equal(1, result.code)
    assert.matches("^corun: script%.lua:2: sh %-c 'echo why >&2; exit 4': exit 4 after", result.stderr)
    raised.has(result.stderr, "why")
    raised.has(result.stderr, "stack traceback:\n\tscript.lua:2: in main chunk\n")
    assert.is_nil(result.stderr:find("corun/", 1, true), result.stderr)
    assert.equal("", result.stdout)
  end)
end)

describe("corun.try", function()
  it("returns what the function returns", function()
    assert.same({ 1, nil, 3, n = 3 }, table.pack(corun.try(function(...) return ... end, 1, nil, 3)))
    assert.same({ n = 0 }, table.pack(corun.try(function() end)))
    assert.is_true(corun.try(corun.run, { "true" }).ok)
  end)

  it("returns nil and the Error", function()
    local result, e = corun.try(corun.run, { "sh", "-c", "exit 3" })
    assert.is_nil(result)
    assert.same({ "exit", 3 }, { e.kind, e.result.code })
    result, e = corun.try(corun.run, { "/no/such/program" })
    assert.is_nil(result)
    assert.same({ "spawn", "ENOENT" }, { e.kind, e.code })
  end)

  it("returns an Error, too, for what is raised and is none", function()
    local _, e = corun.try(function() error("a message", 0) end)
    assert.same({ "error", "a message", "a message" }, { e.kind, e.message, e.value })
    local value = {}
    _, e = corun.try(function() error(value) end)
    assert.equal(value, e.value)
    _, e = corun.try(corun.run, { "true", colour = "red" })
    raised.has(e.message, "unknown option 'colour'")
  end)

  it("refuses what is no function", function()
    raised.has(raised.argument(function() corun.try(nil) end), "function expected")
    raised.has(raised.argument(function() corun.try({ "true" }) end), "function expected")
  end)

  it("waits as the function does", function()
    local order = {}
    local task = corun.go(function() order[#order + 1] = "task" end)
    corun.try(function()
      corun.sleep(0)
      order[#order + 1] = "tried"
    end)
    task:await()
    assert.same({ "task", "tried" }, order)
    assert.same({}, support.children())
  end)
end)
