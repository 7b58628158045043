--- A child with our own terminal: its place, and Ctrl-C.

local jobs = require "spec.support.jobs"

jobs.describe("A child with our terminal", function(host)
  it("is alone in the foreground, and then corun is again", function()
    jobs.start(host, [[
      local p = corun.spawn(on_terminal { front })
      p:wait()
      print(p.containment)
      corun.run(on_terminal { front, group = false })
    ]])
    assert.equal("front, own group", jobs.expect_ready())
    jobs.type "hello\n"
    jobs.expect "got hello"
    jobs.type "exit\n"
    jobs.expect "group\r\n"
    assert.equal("front, shared group", jobs.expect_ready())
    jobs.type "exit\n"
    jobs.expect_end(0)
  end)

  it("has it by \"inherit\", by number and by io.stdin, whatever its stdout is", function()
    for _, stdin in ipairs { '"inherit"', "0", "io.stdin" } do
      jobs.start(host, ('io.write(corun.run { front, stdin = %s }.stdout)'):format(stdin))
      jobs.type "exit\n" -- it is there when the child comes to read it
      assert.equal("front, own group", jobs.expect_ready())
      jobs.expect_end(0)
      jobs.close()
    end
  end)

  it("is in our group with group = false", function()
    jobs.start(host, [[
      local p = corun.spawn(on_terminal { front, group = false })
      p:wait()
      print(p.containment)
    ]])
    assert.equal("front, shared group", jobs.expect_ready())
    jobs.type "exit\n"
    jobs.expect "process\r\n"
    jobs.expect_end(0)
  end)

  it("is in our group while another has the terminal", function()
    jobs.start(host, [[
      local first <close> = corun.spawn(on_terminal { front, stdout = "pipe" })
      print(first.stdout:read_line())
      local second <close> = corun.spawn(on_terminal { front, "silent", stdout = "pipe" })
      print(second.stdout:read_line())
    ]])
    assert.equal("front, own group", jobs.expect_ready())
    assert.equal("back, shared group", jobs.expect_ready())
    jobs.expect_end(0)
  end)

  it("is in our group while corun is in the background", function()
    jobs.start(host, 'print(corun.spawn(on_terminal { front, "silent", stdout = "pipe" }).stdout:read_line())',
      { "jobs", "-b" })
    assert.equal("back, shared group", jobs.expect_ready())
    jobs.expect_end(0, "modes kept, terminal not its own")
  end)

  it("may be the first stage of a Pipeline", function()
    jobs.start(host, 'print((corun.command { front, stdin = "inherit" } | corun.command { "tac" }):capture())')
    jobs.type "exit\n"
    assert.equal("front, own group", jobs.expect_ready())
    jobs.expect_end(0)
  end)

  it("gives it back where it cannot be started", function()
    jobs.start(host, [[
      print(corun.try(corun.run, on_terminal { "/no/such/program" }))
      corun.run(on_terminal { front, group = false })
    ]])
    jobs.expect "no such file or directory"
    assert.equal("front, shared group", jobs.expect_ready())
    jobs.type "exit\n"
    jobs.expect_end(0)
  end)

  it("is not disturbed by a Reader on it, which goes on when it has ended", function()
    jobs.start(host, [[
      print("asked", corun.stdin:read_line())
      local reading = corun.go(function() return corun.stdin:read_line() end)
      corun.run(on_terminal { front })
      print("then", reading:await())
    ]])
    jobs.type "first\n"
    jobs.expect "asked\tfirst"
    jobs.expect_ready()
    jobs.type "for the child\n"
    jobs.expect "got for the child"
    jobs.type "exit\n"
    jobs.type "last\n"
    jobs.expect "then\tlast"
    jobs.expect_end(0)
  end)
end)

jobs.describe("Ctrl-C at a child with our terminal", function(host)
  it("ends corun, too, where the child has died of it", function()
    jobs.start(host, [[
      for i = 1, 3 do corun.run(on_terminal { front, "silent", check = false }) end
      print "not reached"
    ]])
    jobs.expect_ready()
    jobs.type(jobs.ctrl_c)
    local before = jobs.expect_end(130)
    assert.is_nil(before:find "ready" or before:find "not reached", before)
  end)

  it("is not reported as the command's failure", function()
    if host.is_stock then return end -- lua5.4 prints whatever ends its main chunk
    jobs.start(host, 'corun.run(on_terminal { front, "silent" })')
    jobs.expect_ready()
    jobs.type(jobs.ctrl_c)
    assert.equal("^C", jobs.expect_end(130))
  end)

  it("runs the clean-up of the script", function()
    jobs.start(host, [[
      corun.scope(function(scope)
        scope:defer(function() print "cleaned up" end)
        corun.run(on_terminal { front, "silent" })
      end)
    ]])
    jobs.expect_ready()
    jobs.type(jobs.ctrl_c)
    jobs.expect "cleaned up"
    jobs.expect_end(130)
  end)

  it("is for the handlers of the script, where there are any", function()
    jobs.start(host, [[
      local handle = corun.on_signal("INT", function(name) print("handled", name) end)
      print(corun.run(on_terminal { front, "silent", check = false }).status)
      handle:close()
    ]])
    jobs.expect_ready()
    jobs.type(jobs.ctrl_c)
    jobs.expect "handled\tSIGINT"
    jobs.expect_end(0)
  end)

  it("is the child's alone where it handles it", function()
    jobs.start(host, [[
      print(corun.run(on_terminal { front, "handle" }).status)
    ]])
    jobs.expect_ready()
    for _ = 1, 2 do
      jobs.type(jobs.ctrl_c)
      jobs.expect "interrupt"
    end
    jobs.type "exit\n"
    jobs.expect "exit 0"
    jobs.expect_end(0)
  end)

  it("is another thing than a SIGINT that the script sends", function()
    jobs.start(host, [[
      local p = corun.spawn(on_terminal { front, "silent", stdout = "pipe" })
      p:expect "ready"
      p:signal "INT"
      print(p:wait())
      print(corun.run(on_terminal { front, "silent", timeout = 0, stop = { { "INT", 5 } }, check = false }).status)
      corun.run { "true" }
      print "reached"
    ]])
    jobs.expect "signal SIGINT"
    jobs.expect "signal SIGINT"
    jobs.expect "reached"
    jobs.expect_end(0)
  end)

  it("is corun's own between two children", function()
    jobs.start(host, [[
      corun.run(on_terminal { front })
      corun.go(print, "alone") -- runs when the main chunk waits
      corun.sleep(1000)
    ]])
    jobs.expect_ready()
    jobs.type "exit\n"
    jobs.expect "alone"
    jobs.type(jobs.ctrl_c)
    jobs.expect_end(130)
  end)
end)
