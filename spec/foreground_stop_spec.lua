--- A child with our own terminal that is stopped: Ctrl-Z, suspend.

local corun = require "corun"
local jobs = require "spec.support.jobs"
local support = require "spec.support"
local waiting = require "spec.support.waiting"

jobs.describe("Ctrl-Z at a child with our terminal", function(host)
  it("stops corun with it, and fg continues both, again and again", function()
    jobs.start(host, "print(corun.run(on_terminal { front }).status)")
    local _, pid = jobs.expect_ready()
    for _ = 1, 2 do
      jobs.type(jobs.ctrl_z)
      assert.equal(jobs.well, jobs.expect_stop "TSTP")
      assert.equal("T", support.process_state(pid))
      jobs.command "fg"
      jobs.expect "continued front cooked"
      jobs.type "hello\n"
      jobs.expect "got hello"
    end
    jobs.type "exit\n"
    jobs.expect "exit 0"
    jobs.expect_end(0)
  end)

  it("gives the shell its modes, and then the child its own again", function()
    jobs.start(host, 'corun.run(on_terminal { front, "raw", "silent", check = false })')
    local _, pid = jobs.expect_ready()
    for _ = 1, 2 do
      jobs.type(jobs.ctrl_z)
      assert.equal(jobs.well, jobs.expect_stop "TSTP")
      jobs.command "fg"
      jobs.expect "continued front raw"
    end
    corun.run { "kill", "-KILL", pid }
    jobs.expect_end(0)
  end)

  it("and bg let it go on until it wants the terminal", function()
    jobs.start(host, "corun.run(on_terminal { front })")
    jobs.expect_ready()
    jobs.type(jobs.ctrl_z)
    assert.equal(jobs.well, jobs.expect_stop "TSTP")
    jobs.command "bg"
    jobs.expect "continued back cooked"
    assert.equal("modes kept, terminal not its own", jobs.expect_stop "TTIN")
    jobs.command "fg"
    jobs.expect "continued front cooked"
    jobs.type "hello\n"
    jobs.expect "got hello"
    jobs.type "exit\n"
    jobs.expect_end(0)
  end)

  it("is undone at once where nobody could continue us", function()
    jobs.start(host, "corun.run(on_terminal { front })", { "pty" }) -- it leads the session
    jobs.expect_ready()
    jobs.type(jobs.ctrl_z)
    jobs.expect "continued front cooked"
    jobs.type "exit\n"
    jobs.expect "[status 0, modes kept]"
  end)
end)

jobs.describe("A suspended child", function(host)
  it("does not have the terminal until it goes on", function()
    jobs.start(host, [[
      local ours = foreground_group()
      local p = begin { front }
      corun.on_signal("INT", function() print "ours" p:resume() end)
      p:suspend()
      repeat corun.sleep(0.01) until foreground_group() == ours
      print "suspended"
      repeat corun.sleep(0.01) until foreground_group() == p.pid
      print "given again"
      p:wait()
    ]])
    jobs.expect_ready()
    jobs.expect "suspended"
    jobs.type(jobs.ctrl_c)
    jobs.expect "ours"
    jobs.expect "continued"
    jobs.expect "given again"
    jobs.type "hello\n"
    jobs.expect "got hello"
    jobs.type "exit\n"
    jobs.expect_end(0)
  end)
end)

jobs.describe("A child with our terminal", function(host)
  it("gets it again when corun alone was stopped, and is continued in the foreground", function()
    jobs.start(host, jobs.write_pid .. 'corun.run(on_terminal { front, "handle" })')
    local _, pid = jobs.expect_ready()
    corun.run { "kill", "-STOP", jobs.pid() }
    assert.equal("modes kept, terminal lost", jobs.expect_stop "STOP") -- the child has it
    jobs.command "fg"
    waiting.wait_until("the child is in the foreground", function()
      local stat = support.read_file("/proc/" .. pid .. "/stat")
      return stat:match("%) %a %d+ %d+ %d+ %d+ (%-?%d+)") == pid
    end)
    jobs.type(jobs.ctrl_c)
    jobs.expect "interrupt"
    jobs.type "exit\n"
    jobs.expect_end(0)
  end)
end)
