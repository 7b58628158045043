--- How a terminal ends: with its child, by a hang-up, with its scope; and that nothing is lost before.

local corun = require "corun"
local raised = require "spec.support.raised"
local support = require "spec.support"
local waiting = require "spec.support.waiting"
local world = require "spec.support.world"

if not world.is_native then return end

local function on_terminal(command, options)
  command.stdin, command.stdout, command.stderr = "pty", "pty", "pty"
  for name, value in pairs(options or {}) do command[name] = value end
  return command
end

local function spawn(command, options) return corun.spawn(on_terminal(command, options)) end

--- A process that has written "ready".
local function ready(script, options)
  local p = spawn({ "sh", "-c", script }, options)
  p:expect("ready\r?\n", 10)
  return p
end

describe("The output of a pty", function()
  it("arrives whole, MiBs of it and its last bytes", function()
    local size = 4 << 20
    local p <close> = spawn { "sh", "-c", "stty raw -echo; head -c " .. size .. " /dev/zero; printf end" }
    local total, last = 0, ""
    for chunk in p.terminal:chunks() do
      total = total + #chunk
      last = (last .. chunk):sub(-3)
    end
    assert.same({ size + 3, "end" }, { total, last })
    assert.equal(0, p:wait(10).code)
    for _ = 1, 30 do
      local result = corun.run(on_terminal { "sh", "-c", "seq 3000; printf end; exit 4", check = false, crlf = true })
      assert.equal(4, result.code)
      assert.equal(13893 + 3, #result.stdout)
      assert.equal("3000\nend", result.stdout:sub(-8))
    end
  end)

  it("waits for its Reader, and what the kernel holds at the end is not lost", function()
    local p <close> = spawn { "sh", "-c", "stty raw -echo; head -c 1050000 /dev/zero" }
    assert.equal(0, p:wait(10).code)
    assert.is_true(corun.run(on_terminal { "sh", "-c", "stty raw -echo; head -c 3000000 /dev/zero" }).ok)
    assert.equal(1050000, #p.terminal:read())
    local q <close> = spawn { "sh", "-c", "stty raw -echo; head -c 3000000 /dev/zero" }
    raised.error("timeout", function() q:wait(0.2) end) -- nobody reads: it waits
    assert.equal(3000000, #q:communicate().stdout)
  end)

  it("goes to a tee and a captured Result alike, its last bytes too", function()
    local path = support.directory() .. "/copy"
    local result = corun.run(on_terminal({ "seq", "20000" }, { tee = { file = path } }))
    assert.equal(128894, #result.stdout)
    assert.is_true(support.read_file(path) == result.stdout)
  end)

  it("is there after a kill", function()
    local p <close> = ready "echo ready; printf last; kill -KILL $$"
    assert.equal("SIGKILL", p:wait(10).signal)
    assert.equal("last", p.terminal:read())
    assert.is_nil(p.terminal:read(1))
  end)

  it("is read by communicate, which may run out of time and go on", function()
    local p <close> = spawn { "sh", "-c", "echo before; read line; echo after $line" }
    raised.error("timeout", function() p:communicate(function() corun.sleep(0.1) return nil end, 0.05) end)
    local result = p:communicate()
    assert.equal("before\r\nafter\r\n", result.stdout)
  end)
end)

describe("hangup", function()
  it("ends the session by SIGHUP, and leaves what had come", function()
    local p <close> = ready "echo ready; echo more; exec sleep 1000"
    waiting.wait_until("more has come", function() return p.terminal:peek(6) end)
    p:hangup()
    p:hangup()
    assert.equal("SIGHUP", p:wait(10).signal)
    assert.equal("more\r\n", p.terminal:read())
    assert.equal("closed", raised.error("closed", function() p:write("x") end).kind)
    local e = raised.error("closed", function() p:resize(1, 1) end)
    assert.equal(p.command .. ": resize: its terminal has ended", e.message)
    raised.error("closed", function() p:echo() end)
  end)

  it("takes what was written before it, though nobody has read it yet", function()
    local path = support.directory() .. "/done"
    local p <close> = spawn { "sh", "-c", 'trap "" HUP; echo one; echo two; : >"$0"; exec sleep 1000', path }
    while not support.read_file(path) do os.execute("sleep 0.001") end -- corun does not turn meanwhile
    p:hangup()
    assert.equal("one\r\ntwo\r\n", p.terminal:read())
    assert.is_nil(p.status)
    p:kill()
  end)

  it("is closing both streams", function()
    local p <close> = ready "echo ready; exec sleep 1000"
    p.stdin:close()
    assert.is_nil(p.status)
    p.terminal:close()
    assert.equal("SIGHUP", p:wait(10).signal)
    local q <close> = ready "echo ready; exec sleep 1000"
    q.terminal:close()
    q:resize(3, 4) -- the Writer still has it
    q.stdin:close()
    assert.equal("SIGHUP", q:wait(10).signal)
  end)

  it("wakes who reads and who writes", function()
    local p <close> = ready "stty raw -echo; echo ready; exec sleep 1000"
    p.stdin.high_water = 1000
    local reading = waiting.start(p.terminal.read, p.terminal)
    local writing = waiting.start(function() return select(2, corun.try(p.write, p, ("x"):rep(1000000))) end)
    waiting.let_others_run()
    p:hangup()
    assert.equal("", reading:await(10))
    assert.equal("closed", writing:await(10).kind)
    assert.equal("SIGHUP", p:wait(10).signal)
  end)

  it("may be ignored: then the process reads EOF, and its writes fail", function()
    local path = support.directory() .. "/told"
    local script = [[
      trap "" HUP; echo ready
      read line || echo "read nothing" >"$0"
      echo x 2>/dev/null || echo "written nothing" >>"$0"
    ]]
    local p <close> = spawn { "sh", "-c", script, path }
    p:expect("ready", 10)
    p:hangup()
    p:wait(10)
    assert.equal("read nothing\nwritten nothing\n", support.read_file(path))
  end)
end)

describe("The end of a scope", function()
  it("hangs up first, then runs the plan", function()
    local path = support.directory() .. "/signals"
    local function stopped(script)
      support.write_file(path, "")
      local p
      corun.scope(function() p = spawn({ "sh", "-c", script .. "; echo ready; while :; do sleep 0.01; done", path },
        { grace = 0.2 }) p:expect("ready", 10) end)
      return p, support.read_file(path)
    end
    local p, told = stopped [[trap 'echo HUP >>"$0"; exit 3' HUP]]
    assert.same({ 3, "HUP\n" }, { p.status.code, told })
    p, told = stopped [[trap "" HUP; trap 'echo TERM >>"$0"; exit 4' TERM]]
    assert.same({ 4, "TERM\n" }, { p.status.code, told })
    p = stopped [[trap "" HUP TERM]]
    assert.equal("SIGKILL", p.status.signal)
  end)

  it("keeps to the plan where there is one", function()
    local p
    corun.scope(function()
      p = ready("trap 'exit 5' INT; trap 'exit 6' HUP; echo ready; while :; do sleep 0.01; done",
        { stop = { { "INT", 5 }, "KILL" } })
    end)
    assert.equal(5, p.status.code)
  end)

  it("comes for one whose terminal was closed, or that was never looked at", function()
    for _ = 1, 20 do
      corun.scope(function()
        spawn { "cat" }
        spawn({ "sleep", "1000" }).terminal:close()
        spawn({ "sleep", "1000" }):hangup()
        spawn({ "yes" })
      end)
    end
  end)
end)

describe("A time limit, with a pty,", function()
  it("stops by the plan, and the Error has what came", function()
    local e = raised.error("timeout", function()
      corun.run(on_terminal({ "sh", "-c", "echo out; exec sleep 1000" }, { timeout = 0.2 }))
    end)
    assert.same({ "out\r\n", "SIGTERM" }, { e.result.stdout, e.result.signal })
    local p <close> = spawn({ "sleep", "1000" }, { timeout = 0.05 })
    assert.equal("SIGTERM", p:wait(10).signal)
    local q <close> = spawn({ "sh", "-c", "echo x; exec sleep 1000" }, { idle_timeout = 0.05 })
    assert.equal("SIGTERM", q:wait(10).signal)
  end)

  it("holds though what is left of the session ignores HUP", function()
    corun.scope(function()
      local e = raised.error("timeout", function()
        corun.run(on_terminal({ "sh", "-c", "trap '' HUP; sleep 1000 & sleep 1000; :" }, { timeout = 0.05, grace = 2 }))
      end)
      assert.is_true(e.result.duration < 3)
    end)
  end)

  it("may come, as a cancellation, at any moment", function()
    for i = 0, 60 do
      corun.move_on(i / 20000, function()
        corun.run(on_terminal({ "sh", "-c", "echo a; read line; echo b" }, { input = "x\n" }))
      end)
      corun.move_on(i / 20000, function()
        local p <close> = spawn { "cat" }
        p:send_line("line")
        p:expect("line\r\nline\r\n")
        p:close_stdin()
        p:wait_closed()
      end)
    end
  end)
end)
