local corun = require "corun"
local raised = require "spec.support.raised"
local scripts = require "spec.support.scripts"
local support = require "spec.support"
local world = require "spec.support.world"

local function time() return require("corun.core").time() end

describe("The Result of a success", function()
  it("says how it ended and what it printed", function()
    local before, clock = time(), corun.now()
    local result = corun.run { "sh", "-c", "echo out; echo err >&2", cwd = "/tmp" }
    assert.is_true(result.ok)
    assert.equal(0, result.code)
    assert.is_nil(result.signal)
    assert.equal("exit", result.reason)
    assert.same({ "out\n", "err\n" }, { result.stdout, result.stderr })
    assert.same({ "sh", "-c", "echo out; echo err >&2" }, result.argv)
    assert.equal("sh -c 'echo out; echo err >&2'", result.command)
    assert.equal("/tmp", result.cwd)
    assert.equal("integer", math.type(result.pid))
    assert.is_true(result.started_at >= before and result.started_at <= time())
    assert.is_true(result.duration > 0 and result.duration <= corun.now() - clock)
    assert.is_nil(result.stopped)
    assert.is_nil(result.held_by)
    assert.is_false(result.truncated)
  end)

  it("has a Status", function()
    local status = corun.run({ "true" }).status
    assert.same({ true, 0, false }, { status.ok, status.code, status.core_dumped })
    assert.is_nil(status.signal)
    assert.is_nil(status.signo)
    assert.equal("exit 0", tostring(status))
  end)

  it("says what it used", function()
    local usage = corun.run({ "sh", "-c", "i=0; while [ $i -lt 50000 ]; do i=$((i+1)); done" }).usage
    if not world.is_native then return assert.is_nil(usage) end -- uv_spawn drops it
    assert.is_true(usage.user_time + usage.system_time > 0.001)
    assert.is_true(usage.user_time < 60 and usage.system_time < 60)
    -- The kernel counts the moment before exec, in our memory: under a sanitizer that may be a gigabyte of its own.
    local ours = tonumber(io.open("/proc/self/status"):read("a"):match("VmHWM:%s*(%d+)")) * 1024
    assert.is_true(usage.max_rss > 100 * 1024 and usage.max_rss < ours + 1024 * 1024 * 1024)
  end)

  it("is stdout without its last newlines as a string", function()
    assert.equal("a\n\nb", tostring(corun.run { "printf", "a\n\nb\n\n\n" }))
    assert.equal("", tostring(corun.run { "true" }))
    assert.equal("", tostring(corun.run { "true", stdout = "null" }))
    assert.equal(" a\r", tostring(corun.run { "printf", " a\r\n" }))
  end)

  it("has lines and JSON", function()
    local lines = {}
    for line in corun.run({ "printf", "a\n\nb\r\nc" }):lines() do lines[#lines + 1] = line end
    assert.same({ "a", "", "b\r", "c" }, lines)
    for _ in corun.run({ "true" }):lines() do error("a line of nothing") end
    assert.same({ a = { 1, 2 } }, corun.run({ "echo", '{"a": [1, 2]}' }):json())
    local e = raised.error("io", function() corun.run({ "echo", "{" }):json() end)
    raised.has(e.message, "JSON")
  end)
end)

describe("A bad exit", function()
  it("is raised with its Result", function()
    local e = raised.error("exit", function() corun.run { "sh", "-c", "echo out; echo why >&2; exit 3" } end)
    local result = e.result
    assert.is_false(result.ok)
    assert.equal(3, result.code)
    assert.is_nil(result.signal)
    assert.equal("exit", result.reason)
    assert.same({ "out\n", "why\n" }, { result.stdout, result.stderr })
    assert.same({ false, 3, "exit 3" }, { result.status.ok, result.status.code, tostring(result.status) })
    assert.is_nil(result.stopped)
    assert.is_false(result.truncated)
    assert.equal("sh", result.argv[1])
  end)

  it("is raised by capture, sh and a Command, too", function()
    assert.equal(1, raised.error("exit", function() corun.capture { "false" } end).result.code)
    assert.equal(7, raised.error("exit", function() corun.sh("exit {}", 7) end).result.code)
    assert.equal(1, raised.error("exit", function() corun.command({ "false" }):run() end).result.code)
  end)

  it("is a Result with check = false", function()
    local result = corun.run { "sh", "-c", "echo out; exit 3", check = false }
    assert.same({ false, 3, "exit", "out\n" }, { result.ok, result.code, result.reason, result.stdout })
    assert.equal("out", corun.capture { "sh", "-c", "echo out; exit 3", check = false })
    assert.equal(3, corun.sh({ "exit 3", check = false }).code)
    assert.is_true(corun.run({ "true", check = false }).ok)
  end)

  it("is what is not in the list of good codes", function()
    local result = corun.run { "sh", "-c", "exit 3", check = { 0, 3 } }
    assert.same({ true, 3 }, { result.ok, result.code })
    assert.is_true(corun.run({ "true", check = { 0, 3 } }).ok)
    assert.equal(0, raised.error("exit", function() corun.run { "true", check = { 1 } } end).result.code)
    local e = raised.error("exit", function() corun.run { "sh", "-c", "exit 2", check = { 0, 3 } } end)
    assert.equal(2, e.result.code)
    raised.error("exit", function() corun.run { "true", check = {} } end)
    raised.error("exit", function() corun.run { "sh", "-c", "kill -KILL $$", check = { 0, 9, 137 } } end)
  end)

  it("is raised with check = true", function()
    raised.error("exit", function() corun.run { "false", check = true } end)
  end)

  it("is not raised by spawn and wait", function()
    local process <close> = corun.spawn { "false" }
    assert.same({ false, 1 }, { process:wait().ok, process.status.code })
    assert.is_false(process:communicate().ok)
  end)
end)

describe("An end by a signal", function()
  it("is raised with its Result", function()
    local e = raised.error("exit", function() corun.run { "sh", "-c", "echo out; kill -KILL $$" } end)
    local result = e.result
    assert.is_false(result.ok)
    assert.is_nil(result.code)
    assert.same({ "SIGKILL", "signal", "out\n" }, { result.signal, result.reason, result.stdout })
    local status = result.status
    assert.same({ false, "SIGKILL", 9, false }, { status.ok, status.signal, status.signo, status.core_dumped })
    assert.is_nil(status.code)
    assert.equal("signal SIGKILL", tostring(status))
    assert.is_nil(result.stopped)
  end)

  it("is a Result with check = false", function()
    local result = corun.run { "sh", "-c", "kill -TERM $$", check = false }
    assert.same({ false, "SIGTERM", "signal" }, { result.ok, result.signal, result.reason })
  end)

  it("has a name for real-time signals", function()
    local fixture = scripts.fixtures .. "/ready"
    for signal, name in pairs { ["RTMIN+2"] = "SIGRTMIN+2", ["RTMIN"] = "SIGRTMIN", ["SIGRTMAX"] = "SIGRTMAX" } do
      local process <close> = corun.spawn { fixture }
      process.stdout:read_line()
      process:signal(signal)
      assert.equal(name, process:wait().signal)
    end
  end)

  it("is not that of a shell that reports one", function()
    local result = corun.run { "sh", "-c", "exit 137", check = false }
    assert.same({ 137, "exit" }, { result.code, result.reason })
    assert.is_nil(result.signal)
  end)
end)

describe("A Result's held_by", function()
  it("names who kept a pipe open after the exit", function()
    corun.scope(function() -- whose end is the holder's
      local result = corun.run { scripts.fixtures .. "/holder", linger = 0.05 }
      local pid = tonumber(result.stdout:match("^held (%d+)\n$"))
      assert.same({ pid }, result.held_by)
      assert.is_true(result.truncated)
      assert.same({ true, 0, "exit" }, { result.ok, result.code, result.reason })
      assert.is_false(support.is_gone(pid)) -- left alone so far
    end)
  end)
end)

describe("corun.capture", function()
  it("returns stdout without its last newlines, and nothing else of it", function()
    assert.equal("a\n\nb", corun.capture { "printf", "a\n\nb\n\n" })
    assert.equal("", corun.capture { "true" })
    assert.equal("\na ", corun.capture { "printf", "\na \n" })
    assert.equal("a\0b", corun.capture { "printf", "a\\000b\\n" })
    assert.equal(1, select("#", corun.capture { "printf", "a\n" }))
  end)

  it("leaves stderr out", function()
    assert.equal("out", corun.capture { "sh", "-c", "echo out; echo err >&2" })
  end)
end)
