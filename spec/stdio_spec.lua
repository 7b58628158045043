local corun = require "corun"
local scripts = require "spec.support.scripts"
local support = require "spec.support"
local waiting = require "spec.support.waiting"

local filter = [[
local corun = require "corun"
for chunk in corun.stdin:chunks() do corun.stdout:write(chunk) end
]]

for _, host in ipairs(scripts.hosts) do
  describe("In a script under " .. host.name, function()
    describe("corun.stdin", function()
      it("is a Reader on the script's standard input", function()
        local result = host:run([[
          local corun = require "corun"
          print(getmetatable(corun.stdin) == require("corun.core").Reader)
          print(corun.stdin:read_line())
          print(#corun.stdin:read())
          print(corun.stdin:read_line())
        ]], { input = "first\nsecond\nthird" })
        assert.equal("true\nfirst\n12\nnil\n", result.stdout)
      end)

      it("reads a file, and nothing from /dev/null", function()
        local path = support.directory() .. "/input"
        support.write_file(path, ("x"):rep(300000))
        local script = [[print(#require("corun").stdin:read())]]
        assert.equal("300000\n", host:run(script, { stdin = { file = path } }).stdout)
        assert.equal("0\n", host:run(script, { stdin = "null" }).stdout)
      end)

      it("does not keep the script from ending", function()
        local p <close> = host:spawn([[
          local corun = require "corun"
          corun.stdin:peek(1)
          print "end"
        ]])
        p:write("x")
        assert.equal("end", p.stdout:read_line())
        assert.is_true(p:wait(10).ok)
      end)
    end)

    describe("corun.stdout", function()
      it("writes in order with print and io.write", function()
        local result = host:run [[
          local corun = require "corun"
          io.write("1 ")
          corun.stdout:write("2 ")
          print "3"
          corun.stderr:write("error\n")
          io.write("4 ")
          corun.stdout:write(5, "\n")
        ]]
        assert.equal("1 2 3\n4 5\n", result.stdout)
        assert.equal("error\n", result.stderr)
      end)

      it("writes before a child that shares it, and after", function()
        local result = host:run [[
          local corun = require "corun"
          print "1"
          corun.run{"echo", "2", stdout = "inherit"}
          corun.stdout:write("3\n")
          corun.run{"echo", "4", stdout = "inherit"}
          print "5"
        ]]
        assert.equal("1\n2\n3\n4\n5\n", result.stdout)
      end)

      it("loses nothing that a slow reader has not taken when the script ends", function()
        local p <close> = host:spawn [[
          local corun = require "corun"
          corun.stdout:write(("x"):rep(900000))
          corun.stderr:write("written\n")
        ]]
        assert.equal("written", p.stderr:read_line())
        assert.equal(900000, #p.stdout:read())
        assert.is_true(p:wait(10).ok)
      end)

      it("loses nothing however the script ends", function()
        for _, ending in ipairs {
          "os.exit(0)", "os.exit(0, true)", "error 'x'", "corun.go(function() os.exit(0) end) corun.sleep(1)",
          "corun.run{'false'}", "corun.stdout:write_eof()",
        } do
          local p <close> = host:spawn([[
            local corun = require "corun"
            corun.stdout:write(("x"):rep(900000))
            corun.stderr:write("written\n")
          ]] .. ending)
          assert.equal("written", p.stderr:read_line())
          assert.equal(900000, #p.stdout:read(), ending)
        end
      end)

      it("appends to a file that it shares with others", function()
        local path = support.directory() .. "/output"
        host:run([[
          local corun = require "corun"
          corun.stdout:write("1\n")
          corun.run{"echo", "2", stdout = "inherit"}
          corun.stdout:write("3\n")
        ]], { stdout = { file = path } })
        assert.equal("1\n2\n3\n", support.read_file(path))
      end)
    end)

    describe("a filter", function()
      it("copies its input to its output", function()
        local text = ("0123456789abcde\n"):rep(200000)
        local result = host:run(filter, { input = text })
        assert.is_true(result.ok)
        assert.is_true(result.stdout == text)
      end)

      it("lets other tasks run while it waits for input", function()
        local p <close> = host:spawn([[
          local corun = require "corun"
          corun.go(function()
            for i = 1, 3 do
              corun.sleep(0.001)
              corun.stderr:write("tick ", i, "\n")
            end
          end)
        ]] .. filter)
        for i = 1, 3 do assert.equal("tick " .. i, p.stderr:read_line()) end -- no input came yet
        p:write("text")
        assert.equal("text", p.stdout:read(10))
        p:close_stdin()
        assert.is_true(p:wait(10).ok)
      end)

      it("lets other tasks run while nobody takes its output", function()
        local p <close> = host:spawn([[
          local corun = require "corun"
          corun.go(function() corun.stdout:write(("x"):rep(4 << 20)) end)
          corun.sleep(0)
          corun.stderr:write("still here\n")
        ]])
        assert.equal("still here", p.stderr:read_line())
        assert.equal(4 << 20, #p.stdout:read())
      end)

      it("stops reading when its output is full #slow", function()
        local p <close> = host:spawn(filter)
        local calls = 0
        local task = corun.go(pcall, function()
          while calls < 1000 do
            p:write(("x"):rep(65536))
            calls = calls + 1
          end
        end)
        waiting.wait_until("nothing moves any more", function()
          local before = calls
          waiting.let_others_run()
          return tostring(p.stdout):find("%d%d%d%d%d%d%d bytes") and calls == before
            and support.process_state(p.pid) == "S"
        end)
        -- a Reader or Writer of 1 MiB at each of four places, and two pipes
        assert.is_true(calls * 65536 < 5 << 20, "accepted: " .. calls * 65536)
        assert.equal("waiting", task.status)
        task:cancel()
      end)
    end)

    describe("what others share", function()
      -- Prints the flags of an open file description as other processes see them; 04000 is O_NONBLOCK.
      local flags_of = [[
        local function is_nonblocking(pid, fd)
          local text = io.open(("/proc/%s/fdinfo/%d"):format(pid, fd)):read("a")
          return tonumber(text:match("flags:%s*(%d+)"), 8) & tonumber("4000", 8) ~= 0
        end
      ]]

      it("stays blocking for them: a stdout and stderr", function()
        local result = host:run(flags_of .. [[
          local corun = require "corun"
          local p <close> = corun.spawn{"sleep", "1000", stdout = "inherit", stderr = "inherit"}
          corun.stdout:write("x")
          corun.stderr:write("x")
          for fd = 1, 2 do print(is_nonblocking("self", fd), is_nonblocking(p.pid, fd)) end
        ]])
        assert.equal("xfalse\tfalse\nfalse\tfalse\n", result.stdout)
      end)

      it("stays blocking for them: a stdin", function()
        local result = host:run(flags_of .. [[
          local corun = require "corun"
          corun.stdin:read(1)
          local p <close> = corun.spawn{"sleep", "1000", stdin = "inherit"}
          print(is_nonblocking("self", 0), is_nonblocking(p.pid, 0))
        ]], { input = "xyz" })
        assert.equal("false\tfalse\n", result.stdout)
      end)

      it("stays blocking after the script, too", function()
        local spec = host:spec [[
          local corun = require "corun"
          corun.stdin:read(1)
          corun.stdout:write("x\n")
        ]]
        local command = corun.quote(table.unpack(spec)) .. "; cat /proc/$$/fdinfo/0 /proc/$$/fdinfo/1"
        local result = corun.run { "sh", "-c", command, cwd = spec.cwd, env = spec.env, input = "xyz" }
        local flags = {}
        for octal in result.stdout:gmatch("flags:%s*(%d+)") do flags[#flags + 1] = tonumber(octal, 8) & 2048 end
        assert.same({ 0, 0 }, flags)
      end)
    end)

    it("a closed stdin, stdout and stderr are /dev/null, not somebody's pipe", function()
      local spec = host:spec([[
        local corun = require "corun"
        local p = corun.spawn{"cat"}
        local out = io.open("result", "w")
        out:write(tostring(corun.stdin:read()), ";")
        corun.stdout:write("lost")
        io.stderr:write("lost")
        p:write("text")
        p:close_stdin()
        out:write(p.stdout:read())
        out:close()
      ]])
      local command = "exec " .. corun.quote(table.unpack(spec)) .. " <&- >&- 2>&-"
      local result = corun.run { "sh", "-c", command, cwd = spec.cwd, env = spec.env }
      assert.is_true(result.ok)
      assert.equal(";text", support.read_file(spec.cwd .. "/result"))
    end)
  end)
end
