local corun = require "corun"
local lfs = require "lfs"
local raised = require "spec.support.raised"
local support = require "spec.support"
local waiting = require "spec.support.waiting"
local world = require "spec.support.world"

local ready = support.fixture "ready"

describe("Process", function()
  it("lives from its start through writing, reading, streaming and a signal to its status", function()
    local p = corun.process { "cat" }
    p:start()
    p:write("one\ntwo\nthree\n")
    assert.equal("one\n", p:read_stdout(4))
    local lines = {}
    for line in p:stream_stdout() do
      lines[#lines + 1] = line
      if line == "three" then break end
    end
    assert.same({ "two", "three" }, lines)
    assert.is_nil(p.status)
    assert.is_true(p:signal("TERM"))
    local status = p:wait(10)
    assert.equal("SIGTERM", status.signal)
    assert.equal(status, p.status)
  end)

  describe("before its start", function()
    it("is nothing yet", function()
      local p = corun.process { "true" }
      assert.is_nil(p.pid)
      assert.is_nil(p.status)
      assert.is_nil(p.started_at)
      assert.is_nil(p.duration)
      assert.equal("Process (not started)", tostring(p))
    end)

    it("can be given its command when it starts", function()
      local p <close> = corun.process():start { "echo", "given" }
      assert.equal("given\n", p:read_stdout())
      local q <close> = corun.process { "echo", "first" }:start { "echo", "second" }
      assert.equal("second\n", q:read_stdout())
    end)

    it("refuses what needs a running process, and a start without a command", function()
      local p = corun.process()
      for _, method in ipairs { "wait", "wait_closed", "kill", "terminate", "communicate", "usage" } do
        assert.matches(method .. ".*not started", raised.argument(function() p[method](p) end))
      end
      assert.matches("signal.*not started", raised.argument(function() p:signal("TERM") end))
      assert.matches("no command", raised.argument(function() p:start() end))
      assert.is_nil(p:close())
    end)

    it("refuses a wrong spec when it is made", function()
      assert.matches("unknown option 'tiemout'", raised.argument(function() corun.process { "x", tiemout = 1 } end))
    end)
  end)

  it("refuses a second start, while it runs and after", function()
    local p <close> = corun.spawn { ready }
    assert.matches("started before", raised.argument(function() p:start() end))
    p:kill()
    assert.matches("started before", raised.argument(function() p:start { "true" } end))
  end)

  describe("fields", function()
    it("are those of the command", function()
      local p <close> = corun.spawn { "sh", "-c", "exec \"$0\" 'x y'", ready, "", "it's", 12, 2 ^ 40 }
      assert.equal(ready, p:stream_stdout()() and ready)
      assert.same({ "sh", "-c", "exec \"$0\" 'x y'", ready, "", "it's", "12", "1099511627776" }, p.argv)
      assert.equal([[sh -c 'exec "$0" '\''x y'\''' ]] .. ready .. [[ '' 'it'\''s' 12 1099511627776]], p.command)
      local again = corun.capture { "sh", "-c", "for a in " .. p.command .. "; do printf '%s;' \"$a\"; done" }
      assert.equal(table.concat(p.argv, ";") .. ";", again)
    end)

    it("are those of a running process", function()
      local before = os.time()
      local p <close> = corun.spawn { ready }
      assert.equal("ready " .. p.pid, p.stdout:read_line())
      assert.equal(lfs.currentdir(), p.cwd)
      assert.equal("group", p.containment)
      assert.is_true(math.abs(p.started_at - before) < 60, "not seconds of the epoch: " .. p.started_at)
      assert.is_nil(p.ended_at)
      assert.is_nil(p.status)
      local duration = p.duration
      waiting.wait_until("time goes on", function() return p.duration > duration end)
      assert.equal(("Process %d (running): %s"):format(p.pid, ready), tostring(p))
    end)

    it("are those of an ended process", function()
      local p <close> = corun.spawn { "sh", "-c", "exit 3", cwd = "/" }
      p:wait()
      assert.equal("/", p.cwd)
      assert.equal(3, p.status.code)
      assert.equal("integer", math.type(p.pid))
      assert.is_true(math.abs(p.ended_at - p.started_at - p.duration) < 0.001)
      local duration = p.duration
      waiting.let_others_run()
      assert.equal(duration, p.duration)
      assert.equal(("Process %d (exit 3): sh -c 'exit 3'"):format(p.pid), tostring(p))
    end)

    it("have a stream for each pipe and nil for what is none", function()
      local core = require "corun.core"
      local p <close> = corun.spawn { "true" }
      assert.is_true(getmetatable(p.stdin) == core.Writer)
      assert.is_true(getmetatable(p.stdout) == core.Reader)
      assert.is_true(getmetatable(p.stderr) == core.Reader)
      assert.same({}, p.fds)
      local q <close> = corun.spawn { "true", stdin = "null", stdout = "null", stderr = "stdout" }
      assert.is_nil(q.stdin)
      assert.is_nil(q.stdout)
      assert.is_nil(q.stderr)
    end)

    it("say \"process\" for the containment without a group of its own", function()
      local p <close> = corun.spawn { ready, group = false }
      assert.equal("process", p.containment)
    end)
  end)

  describe("usage()", function()
    it("is live while it runs", function()
      local p <close> = corun.spawn { "sh", "-c", "while :; do :; done" }
      waiting.wait_until("it has used processor time", function() return p:usage().user_time > 0 end)
      assert.is_true(p:usage().max_rss >= 4096)
      assert.is_true(p:usage().system_time >= 0)
    end)

    it("is the kernel's accounting after the end", function()
      local p <close> = corun.spawn { "sh", "-c", "i=0; while [ $i -lt 20000 ]; do i=$((i+1)); done" }
      p:wait()
      local usage = p:usage()
      if not world.is_native then
        assert.is_nil(usage)
        return
      end
      assert.is_true(usage.user_time + usage.system_time > 0)
      assert.is_true(usage.user_time + usage.system_time <= p.duration + 0.1)
      assert.is_true(usage.max_rss >= 4096)
    end)
  end)
end)

describe("Status", function()
  local function status_of(...)
    local p <close> = corun.spawn { ... }
    return p:wait(10)
  end

  it("is ok after exit 0", function()
    local status = status_of "true"
    assert.is_true(status.ok)
    assert.equal(0, status.code)
    assert.is_nil(status.signal)
    assert.is_nil(status.signo)
    assert.is_false(status.core_dumped)
    assert.equal("exit 0", tostring(status))
  end)

  it("has the code of another exit", function()
    for _, code in ipairs { 1, 3, 127, 255 } do
      local status = status_of("sh", "-c", "exit " .. code)
      assert.is_false(status.ok)
      assert.equal(code, status.code)
      assert.equal("exit " .. code, tostring(status))
    end
  end)

  it("has the name and number of a signal", function()
    for name, number in pairs { SIGKILL = 9, SIGTERM = 15, SIGHUP = 1, ["SIGRTMIN+2"] = 36, SIGRTMIN = 34 } do
      local p <close> = corun.spawn { ready }
      p.stdout:read_line()
      assert.is_true(p:signal(name))
      local status = p:wait(10)
      assert.is_false(status.ok)
      assert.is_nil(status.code)
      assert.equal(name, status.signal)
      assert.equal(number, status.signo)
      assert.equal("signal " .. name, tostring(status))
    end
  end)
end)

describe("Process:wait", function()
  it("gives the same Status to any number of tasks, before the end and after", function()
    local p <close> = corun.spawn { "sh", "-c", "read -r go; exit 4" }
    local tasks = {}
    for i = 1, 5 do tasks[i] = corun.go(function() return p:wait() end) end
    waiting.let_others_run()
    for _, task in ipairs(tasks) do assert.equal("waiting", task.status) end
    p:write("go\n")
    local status = p:wait()
    assert.equal(4, status.code)
    for _, task in ipairs(tasks) do assert.equal(status, task:await()) end
    assert.equal(status, p:wait())
    assert.equal(status, p:wait(0))
  end)

  it("raises \"timeout\" and leaves the process alone", function()
    local p <close> = corun.spawn { "sh", "-c", "read -r go; exit 5" }
    local e = raised.error("timeout", function() p:wait(0.01) end)
    assert.equal(0.01, e.seconds)
    raised.has(e.message, p.command)
    raised.error("timeout", function() p:wait(0) end)
    assert.is_nil(p.status)
    p:write("go\n")
    assert.equal(5, p:wait(10).code)
  end)

  it("does not wait for the output", function()
    local p <close> = corun.spawn { support.fixture "holder" }
    assert.is_true(p:wait(10).ok)
  end)

  it("keeps output for later", function()
    local p <close> = corun.spawn { "sh", "-c", "echo out; echo err >&2" }
    p:wait()
    assert.equal("out\n", p:read_stdout())
    assert.equal("err\n", p:read_stderr())
  end)

  it("refuses a wrong time", function()
    local p <close> = corun.spawn { "true" }
    p:wait()
    for _, wrong in ipairs { -1, 0 / 0, "x" } do
      assert.matches("wait: seconds expected", raised.argument(function() p:wait(wrong) end))
    end
  end)
end)

describe("Process:wait_closed", function()
  it("waits for the end and for the streams", function()
    local p <close> = corun.spawn { support.fixture "holder", stdin = "null" }
    local held = p.stdout:read_line():match("%d+")
    local e = raised.error("timeout", function() p:wait_closed(0.02) end)
    assert.equal(0.02, e.seconds)
    local task = corun.go(function() return p:wait_closed() end)
    waiting.let_others_run()
    assert.equal("waiting", task.status)
    assert.is_true(p.status.ok)
    corun.run { "kill", "-KILL", held }
    assert.equal(p.status, task:await(10))
  end)

  it("waits until the line functions are done", function()
    local lines = {}
    local p <close> = corun.spawn {
      "printf", "1\\n2\\n3\\n", stdout = function(line)
        corun.sleep(0.002)
        lines[#lines + 1] = line
      end,
    }
    p:wait_closed()
    assert.same({ "1", "2", "3" }, lines)
  end)

  it("leaves the data to be read", function()
    local p <close> = corun.spawn { "echo", "text" }
    p:wait_closed()
    assert.equal("text\n", p:read_stdout())
  end)
end)
