--- p:interact() on a real terminal, seen from outside: the fixture `pty` tells whether the modes were kept.

local corun = require "corun"
local raised = require "spec.support.raised"
local scripts = require "spec.support.scripts"
local support = require "spec.support"
local waiting = require "spec.support.waiting"
local world = require "spec.support.world"

if not world.is_native then return end

local terminal = { support.fixture "pty" }

-- A child that answers each line, and tells its window's size when that changes.
local prelude = [[
  local corun = require "corun"
  local child = [=[
    trap 'stty size' WINCH
    echo ready $(stty size)
    while :; do
      read -r line # returns early when the size changes
      test "$line" = bye && exit
      test -n "$line" && echo "got <$line>"
      line=
    done
  ]=]
  local p = corun.spawn { "sh", "-c", child, stdin = "pty", stdout = "pty", stderr = "pty" }
  print("pid", require "corun.core".pid(), p.pid)
  io.stdout:flush()
]]

for _, host in ipairs(scripts.hosts) do
  local function on_terminal(source)
    return corun.spawn(world.through(terminal, host:spec(prelude .. source)))
  end

  --- Runs the script to where the child has been handed our terminal.
  local function begun(source)
    local outer = on_terminal(source)
    local pid, child = table.unpack(outer:expect("pid\t(%d+)\t(%d+)\r", 10).captures)
    outer:expect("ready 24 80\r\n", 10)
    return outer, pid, child
  end

  describe("interact in " .. host.name, function()
    it("hands the terminal over until the key, and gives it back", function()
      local outer <close> = begun [[
        local how = p:interact()
        print("how", how, corun.stdin:read_line())
        p:close()
      ]]
      outer:write("one\r")
      outer:expect("\ngot <one>\r\n", 10)
      outer:write("two\r\29rest\n")
      outer:expect("how\tescape\trest\r\n", 10)
      assert.matches("%[status 0, modes kept%]\n$", outer:read_stdout())
    end)

    it("types each byte as it is", function()
      local outer <close> = begun [[
        p:echo(false)
        print(p:interact { escape = "q" })
        p:close()
      ]]
      outer:write("\22\3 \255\0\29\r")
      outer:expect("got <\3 \255\29>\r\n", 10) -- Ctrl-V, as the child's terminal takes it; its shell drops the NUL
      outer:write("q")
      assert.matches("escape\r\n%[status 0, modes kept%]\n$", outer:read_stdout())
    end)

    it("returns when the child ends", function()
      local outer <close> = begun [[
        print(p:interact { escape = false })
        print(p:wait())
      ]]
      outer:write("\29\r")
      outer:expect("got <\29>", 10)
      outer:write("bye\r")
      assert.matches("end\r\nexit 0\r\n%[status 0, modes kept%]\n$", outer:read_stdout())
    end)

    it("returns at once with all that is left when the child has ended before", function()
      local outer <close> = on_terminal [[
        p:write("bye\r")
        p:wait()
        print(p:interact())
      ]]
      assert.matches("ready 24 80\r\n.*end\r\n%[status 0, modes kept%]\n$", outer:read_stdout())
    end)

    it("can be called again", function()
      local outer <close> = begun [[
        print(p:interact())
        print(p:interact())
        p:close()
      ]]
      outer:write("\29")
      outer:expect("escape\r\n", 10)
      outer:write("again\r")
      outer:expect("got <again>\r\n", 10)
      outer:write("\29")
      assert.matches("escape\r\n%[status 0, modes kept%]\n$", outer:read_stdout())
    end)

    it("keeps the child's window the size of ours", function()
      local spec = host:spec(prelude .. [[ print(p:interact()) p:close() ]])
      spec.stdin, spec.stdout, spec.stderr, spec.size = "pty", "pty", "pty", { 33, 99 }
      local outer <close> = corun.spawn(spec)
      outer:expect("ready", 10)
      outer:expect("33 99\r\n", 10)
      outer:resize(44, 111)
      outer:expect("44 111\r\n", 10)
      outer:write("\29")
      outer:expect("escape\r\n", 10)
      assert.equal(0, outer:wait(10).code)
    end)

    -- What ends it in other ways. USR2 makes the script do it, so that it happens in the middle.
    for name, case in pairs {
      ["an error in another task"] = { 'error("oops")', "oops.*%[status 1, modes kept%]" },
      ["os.exit"] = { "os.exit(3)", "%[status 3, modes kept%]" },
      ["os.exit that closes the state"] = { "os.exit(4, true)", "%[status 4, modes kept%]" },
      ["the end of the child"] = { "p:kill() print('killed')", "end\r\n%[status 0, modes kept%]" },
      ["a hang-up of the child"] = { "p:hangup()", "end\r\n%[status 0, modes kept%]" },
      ["closing the child"] = { "p:close()", "%[status %d, modes kept%]" },
    } do
      it("gives the terminal back after " .. name, function()
        local outer <close>, pid = begun(([[
          corun.on_signal("USR2", function() %s end)
          print(p:interact())
          p:close()
        ]]):format(case[1]))
        corun.run { "kill", "-USR2", pid }
        assert.matches(case[2] .. "\n$", outer:read_stdout())
      end)
    end

    for name, case in pairs {
      ["a time limit"] = { "print(corun.move_on(0.1, p.interact, p))", "%[status 0, modes kept%]" },
      ["an uncaught time limit"] = { "corun.timeout(0.1, p.interact, p)",
        "time limit of 0.1 s exceeded.*%[status 1, modes kept%]" },
      ["a cancellation"] = { [[corun.scope(function(scope)
        scope:go(function() corun.sleep(0.1) scope:cancel() end)
        p:interact()
      end)]], "%[status 0, modes kept%]" },
    } do
      it("gives the terminal back after " .. name, function()
        local outer <close> = begun(case[1] .. "\np:close()")
        assert.matches(case[2] .. "\n$", outer:read_stdout())
      end)
    end

    for _, signal in ipairs { "TERM", "INT", "HUP", "USR1", "ALRM", "ABRT", "SEGV", "QUIT" } do
      it("gives the terminal back when SIG" .. signal .. " ends the program", function()
        if host == scripts.native and signal == "QUIT" then return end -- there it shows the tasks
        if scripts.sanitized and signal == "SEGV" then return end -- it is the sanitizer's
        local outer <close>, pid, child = begun "p:interact()"
        corun.run { "kill", "-" .. signal, pid }
        assert.matches("%[status 1[2-4]%d, modes kept%]\n$", outer:read_stdout())
        waiting.wait_until("the child is gone", function() return support.is_gone(child) end)
      end)
    end

    it("does change the modes meanwhile: SIGKILL leaves them", function()
      local outer <close>, pid, child = begun "p:interact()"
      corun.run { "kill", "-KILL", pid }
      assert.matches("%[status 137, modes changed%]\n$", outer:read_stdout())
      waiting.wait_until("the child is gone", function() return support.is_gone(child) end)
    end)

    it("refuses a second hand-over, and a terminal that somebody reads", function()
      local outer <close>, pid = begun [[
        local q = corun.spawn { "cat", stdin = "pty" }
        corun.on_signal("USR2", function()
          local _, e = corun.try(q.interact, q)
          print(e.kind, e.message)
        end)
        print(p:interact())
        corun.go(q.terminal.read, q.terminal)
        corun.sleep(0)
        local _, e = corun.try(q.interact, q)
        print(e.kind)
        q:close() p:close()
      ]]
      corun.run { "kill", "-USR2", pid }
      outer:expect("busy\tinteract: the terminal is handed to another process already", 10)
      outer:write("\29")
      outer:expect("escape\r\nbusy\r\n", 10)
      outer:wait(10)
    end)

    it("needs a terminal as our stdin", function()
      local result = host:run(prelude .. [[
        local _, e = corun.try(p.interact, p)
        print(e.kind, e.message)
        p:close()
      ]])
      raised.has(result.stdout, "unsupported\tinteract: our stdin is no terminal: inappropriate ioctl for device\n")
    end)
  end)
end

describe("interact", function()
  it("refuses wrong options, and a process that cannot be typed to", function()
    local p <close> = corun.spawn { "cat", stdin = "pty", stdout = "pty" }
    for shown, escape in pairs { ['""'] = "", ['"ab"'] = "ab", ["1"] = 1, ["true"] = true } do
      assert.equal("interact: option 'escape': one character, or false, expected, got " .. shown,
        raised.argument(function() p:interact { escape = escape } end))
    end
    assert.matches("unknown option \"key\"", raised.argument(function() p:interact { key = "x" } end))
    local q <close> = corun.spawn { "cat", stdout = "pty" }
    assert.equal("interact: stdin of the process is no \"pty\"", raised.argument(function() q:interact() end))
  end)
end)
