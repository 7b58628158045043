--- Terminals where two things come together: two who want ours, an end and somebody who writes on.

local corun = require "corun"
local jobs = require "spec.support.jobs"
local raised = require "spec.support.raised"
local support = require "spec.support"
local waiting = require "spec.support.waiting"
local world = require "spec.support.world"

if not world.is_native then return end

local numbers = require("corun.core").signals

describe("A pty", function()
  it("that has no key for EOF lets a CLOSE step be followed by the next", function()
    local p <close> = corun.spawn { "sh", "-c", "stty eof undef; echo ready; exec sleep 1000", stdin = "pty",
      stdout = "pty", stop = { { "CLOSE", 3600 }, { "TERM", 60 } } }
    p:expect("ready", 20)
    assert.equal("SIGTERM", p:terminate().signal)
    assert.same({ "TERM" }, p:communicate().stopped)
  end)

  -- A descendant that no hang-up ends writes on, and the terminal is full when its process ends: we do not read then.
  local function full_terminal()
    local script = "trap '' HUP; yes line 2>/dev/null & read -r line; exit 3"
    local p = corun.spawn { "sh", "-c", script, stdin = "pipe", stdout = "pty", stderr = "null" }
    assert.equal("line\r\n", p.stdout:read_exactly(6))
    p:close_stdin()
    os.execute "sleep 0.01"
    return p
  end

  it("ends with its process for who reads it, though a descendant goes on writing", function()
    for _ = 1, 6 do
      local p <close> = full_terminal()
      assert.equal(3, p:wait(20).code)
      assert.is_true(#corun.timeout(20, p.stdout.read, p.stdout) > 0)
      assert.is_nil(p.stdout:read(1))
    end
  end)

  it("is closed then for who waits for that, too", function()
    for _ = 1, 6 do
      local p <close> = full_terminal()
      assert.equal(3, p:wait_closed(20).code)
      assert.is_true(#p.stdout:read() > 0)
    end
  end)

  it("has a stdin of ours alone: no child can share it", function()
    local p <close> = corun.spawn { "cat", stdin = "pty", stdout = "pty", echo = false, crlf = true }
    for _, stream in ipairs { "stdout", "stderr" } do
      local e = raised.error("unsupported", function() corun.run { "echo", "x", [stream] = p.stdin } end)
      assert.same({ "ENOTSUP", stream }, { e.code, e.option })
    end
    p:write("still ours\n")
    assert.equal("still ours", p.stdout:read_line { crlf = true })
  end)

  it("may be what another child reads", function()
    local p <close> = corun.spawn { "sh", "-c", "read -r line; seq 3", stdin = "pipe", stdout = "pty" }
    local reading = waiting.start(corun.run, { "cat", stdin = p.stdout })
    p:write("go\n")
    assert.equal("1\r\n2\r\n3\r\n", reading:await(20).stdout)
    assert.equal(0, p:wait(20).code)
  end)
end)

jobs.describe("Our terminal, while it is", function(host)
  -- A child of ours on a terminal of its own, whose line comes when interact has begun.
  local other = [[
    local q <close> = corun.spawn { "cat", stdin = "pty", stdout = "pty", echo = false }
  ]]

  it("handed over, is not lent to a child, which would bring the raw modes back", function()
    jobs.start(host, jobs.write_pid .. other .. [[
      local p
      corun.on_signal("USR2", function() p = begin { front, "silent" } end)
      q:write("begun\n")
      print(q:interact())
      print(p.containment)
      p:kill()
    ]])
    jobs.expect "begun"
    corun.run { "kill", "-USR2", jobs.pid() }
    jobs.expect "ready front, shared group"
    jobs.type "\29"
    jobs.expect "escape"
    jobs.expect "process"
    jobs.expect_end(0)
  end)

  it("lent to a child, is not handed over", function()
    jobs.start(host, other .. [[
      local p <close> = begin { front, "silent" }
      local _, e = corun.try(q.interact, q)
      print(e.kind, e.message)
    ]])
    assert.equal("front, own group", jobs.expect_ready())
    jobs.expect "busy\tinteract: the terminal is handed to another process already"
    jobs.expect_end(0)
  end)

  for _, signal in ipairs { "XFSZ", "XCPU", "RTMIN", "RTMAX", "IO", "STKFLT" } do
    it("handed over, has its modes back when SIG" .. signal .. " ends the program", function()
      jobs.start(host, jobs.write_pid .. other .. 'q:write("begun " .. q.pid .. " it\\n") q:interact()')
      local child = jobs.expect(" it"):match("begun (%d+)$")
      corun.run { "kill", "-" .. numbers[signal], jobs.pid() }
      jobs.expect_end(128 + numbers[signal])
      waiting.wait_until("the child is gone", function() return support.is_gone(child) end)
    end)
  end

  it("inherited by a child in a session of its own, is not lent: we read on", function()
    for _, options in ipairs { "new_session = true, stdout = 'pipe'", "stdout = 'pty', stderr = 'null'" } do
      jobs.start(host, ([[
        local p <close> = corun.spawn(on_terminal { front, "silent", %s })
        print((p.stdout:read_line():gsub("\r", "")))
        print("read", corun.stdin:read_line(), p.status)
      ]]):format(options))
      assert.equal("back, own group", jobs.expect_ready())
      jobs.type "line\n"
      jobs.expect "read\tline\tnil"
      jobs.expect_end(0)
      jobs.close()
    end
  end)

  it("lent to a child, is not there for others of our group: they are stopped, and go on afterwards", function()
    jobs.start(host, [[
      local first <close> = begin { front, "silent" }
      local second <close> = begin { front, group = false }
      local function state() return io.open("/proc/" .. second.pid .. "/stat"):read("a"):match("%) (%a)") end
      repeat corun.sleep(0.001) until state() == "T"
      print "stopped"
      first:kill()
      second:wait()
    ]])
    assert.equal("front, own group", jobs.expect_ready())
    assert.equal("back, shared group", jobs.expect_ready())
    jobs.expect "stopped"
    jobs.expect "continued front cooked"
    jobs.type "hello\n"
    jobs.expect "got hello"
    jobs.type "exit\n"
    jobs.expect_end(0)
  end)
end)
