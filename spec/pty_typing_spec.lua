--- What is typed into a child's terminal.

local corun = require "corun"
local raised = require "spec.support.raised"
local support = require "spec.support"
local waiting = require "spec.support.waiting"
local world = require "spec.support.world"

if not world.is_native then return end

local function spawn(command, options)
  command.stdin, command.stdout, command.stderr = "pty", "pty", "pty"
  for name, value in pairs(options or {}) do command[name] = value end
  return corun.spawn(command)
end

--- A child after `stty MODES`, at its first read.
local function with_modes(modes, script, options)
  local p = spawn({ "sh", "-c", ("stty %s; echo go; %s"):format(modes, script) }, options)
  p:expect("go\r?\n", 10)
  return p
end

describe("What is typed", function()
  it("is a line with send_line, on a terminal and on a pipe", function()
    local p <close> = with_modes("-echo", "exec od -An -c")
    p:send_line("a"):send_line(12):send_line():close_stdin()
    p:wait(10)
    assert.equal("a  \\n   1   2  \\n  \\n", p.terminal:read():match("^%s*(.-)%s*$"))
    local q <close> = corun.spawn { "od", "-An", "-c" }
    q:send_line("b"):close_stdin()
    assert.equal("b  \\n", q.stdout:read():match("^%s*(.-)%s*$"))
    local r <close> = corun.spawn { "od", "-An", "-c", stdout = "pty" } -- its stdin is a pipe
    r:send_line("c"):close_stdin()
    assert.equal("c  \\n", r.terminal:read():match("^%s*(.-)%s*$"))
  end)

  it("goes through whole, whatever bytes, where the terminal is raw", function()
    local bytes = {}
    for i = 0, 255 do bytes[#bytes + 1] = string.char(i) end
    local block = table.concat(bytes):rep(1024) -- 256 KiB
    local p <close> = with_modes("raw -echo", "exec head -c " .. #block)
    local writing = corun.go(p.write, p, block)
    assert.is_true(p.terminal:read() == block)
    writing:await()
    assert.equal(0, p:wait(10).code)
  end)

  it("is one unbroken piece for each of two tasks", function()
    local p <close> = with_modes("raw -echo", "exec head -c 400000")
    for _, letter in ipairs { "a", "b" } do
      corun.go(function()
        for _ = 1, 20 do p:write(letter:rep(9999), "\n") end
      end)
    end
    local counts = { a = 0, b = 0 }
    for line in p.terminal:lines() do
      assert.equal(9999, #line)
      local letter = line:sub(1, 1)
      assert.is_true(line == letter:rep(9999))
      counts[letter] = counts[letter] + 1
    end
    assert.same({ a = 20, b = 20 }, counts)
  end)

  it("is cut by the kernel after 4095 bytes of a line that a program reads as lines", function()
    local p <close> = with_modes("-echo", "exec wc -c")
    p:write(("x"):rep(10000), "\n"):close_stdin()
    assert.equal("4096\r\n", p.terminal:read())
    local q <close> = with_modes("-echo", "exec wc -c")
    for _ = 1, 100 do q:write(("x"):rep(4000), "\n") end
    q:close_stdin()
    assert.equal("400100\r\n", q.terminal:read())
  end)

  it("ends by close_stdin, typed once after a line and twice in it; more can be typed", function()
    local p <close> = with_modes("-echo", "cat; echo 1; cat; echo 2; cat; echo 3; cat")
    p:close_stdin()
    p:expect("^1\r\n", 10)
    p:write("line\n"):close_stdin()
    p:expect("^line\r\n2\r\n", 10)
    p:write("mid"):close_stdin()
    p:expect("^mid3\r\n", 10)
    assert.is_false(p.stdin:is_closing())
    p:send_line("last"):close_stdin()
    assert.equal(0, p:wait(10).code)
    assert.equal("last\r\n", p.terminal:read())
  end)

  it("ends by the key that the terminal has for it", function()
    local p <close> = with_modes("-echo eof ^X", "cat; echo -; cat")
    p:send_line("\4"):close_stdin()
    p:expect("^\4\r\n%-\r\n", 10)
    p:write("x\3"):close_stdin() -- Ctrl-C drops the line, and kills
    assert.equal("SIGINT", p:wait(10).signal)
    local q <close> = with_modes("-echo -isig", "cat; echo -; cat")
    q:write("x\3"):close_stdin() -- a byte as any other
    q:expect("^x\3%-\r\n", 10)
    local r <close> = with_modes("eof undef", "cat")
    local e = raised.error("unsupported", function() r:close_stdin() end)
    assert.equal("write_eof: the terminal has no key for the end of file", e.message)
    local s <close> = with_modes("raw -echo", "exec head -c 2")
    s:write("x"):close_stdin() -- who reads keys gets one
    assert.equal("x\4", s.terminal:read())
  end)

  it("reaches the foreground as a signal: Ctrl-C, Ctrl-\\", function()
    for key, signal in pairs { ["\3"] = "SIGINT", ["\28"] = "SIGQUIT" } do
      local p <close> = with_modes("-echo", "exec sleep 1000")
      p:write(key)
      assert.equal(signal, p:wait(10).signal)
    end
    local p <close> = spawn { "sh", "-c", "trap 'echo INT' INT; echo go; while :; do sleep 0.01; done" }
    p:expect("go", 10)
    p:write("\3")
    p:expect("INT", 10)
  end)

  it("is echoed as echo says, which changes while it runs", function()
    local p <close> = spawn { "cat" }
    assert.is_true(p:echo())
    p:send_line("one")
    p:expect("one\r\none\r\n", 10)
    assert.is_false(p:echo(false))
    p:send_line("two")
    p:expect("^two\r\n", 10)
    assert.is_true(p:echo(true))
    p:send_line("three")
    p:expect("^three\r\nthree\r\n", 10)
    assert.equal("echo: true or false expected, got 1", raised.argument(function() p:echo(1) end))
  end)

  it("comes from run's input, then EOF, also where nothing was given", function()
    assert.equal("in\r\n", corun.run({ "cat", stdin = "pty", stdout = "pty", echo = false, input = "in\n" }).stdout)
    assert.equal("mid", corun.run({ "cat", stdin = "pty", stdout = "pty", echo = false, input = "mid" }).stdout)
    assert.equal("", corun.run({ "cat", stdin = "pty", stdout = "pty" }).stdout)
    local parts = { "a\n", "b\n", "c\n" }
    local result = corun.run { "cat", stdin = "pty", stdout = "pty", echo = false,
      input = function() return table.remove(parts, 1) end }
    assert.equal("a\r\nb\r\nc\r\n", result.stdout)
    assert.is_true(corun.run { "true", stdin = "pty", input = ("x\n"):rep(100000) }.ok) -- which reads nothing
  end)

  it("is waited for by a cancelled write in the middle, which says how much went", function()
    local p <close> = with_modes("raw -echo", "exec sleep 1000")
    p.stdin.high_water = 1000
    local e
    corun.move_on(0.05, function()
      local ok, raised_error = pcall(p.write, p, ("x"):rep(1000000))
      assert.is_false(ok)
      e = raised_error
      error(e, 0)
    end)
    assert.equal("cancelled", e.kind)
    assert.is_true(e.written > 0 and e.written < 1000000)
    p:kill()
    assert.equal("EPIPE", raised.error("io", function() p:write("x") end).code)
  end)

  it("raises EPIPE when the child ends in the middle of a write, or has ended", function()
    local p <close> = with_modes("raw -echo", "exec sleep 1000")
    p.stdin.high_water = 1000
    local writing = waiting.start(function()
      local ok, e = pcall(p.write, p, ("x"):rep(1000000))
      return ok or e.code
    end)
    waiting.let_others_run()
    os.execute("kill -KILL " .. p.pid)
    assert.equal("EPIPE", writing:await(10))
    local q <close> = spawn { "true" }
    q:wait(10)
    local e = raised.error("io", function() q:send_line("x") end)
    assert.same({ "EPIPE", "write: broken pipe" }, { e.code, e.message })
    q:close_stdin() -- as on a pipe: quiet
  end)
end)

describe("wait_echo_off", function()
  it("returns at once where it is off", function()
    local p <close> = spawn({ "cat" }, { echo = false })
    p:wait_echo_off(0)
  end)

  it("raises after its time, is cancelled, and leaves all as it was", function()
    local p <close> = spawn { "cat" }
    local e = raised.error("timeout", function() p:wait_echo_off(0.05) end)
    assert.equal(0.05, e.seconds)
    assert.equal("cat: its terminal still echoes after 0.05 s", e.message)
    raised.error("timeout", function() p:wait_echo_off(0) end)
    raised.error("timeout", function() corun.timeout(0.05, function() p:wait_echo_off() end) end)
    raised.argument(function() p:wait_echo_off(-1) end)
    p:send_line("well")
    p:expect("well\r\nwell\r\n", 10)
  end)

  it("raises when the terminal ends meanwhile", function()
    for _, fn in ipairs { function(p) p:kill() end, function(p) p:hangup() end, function(p) p:close() end } do
      local p <close> = spawn { "sleep", "1000" }
      local waiter = waiting.start(function() return select(2, corun.try(p.wait_echo_off, p)) end)
      fn(p)
      local e = waiter:await(10)
      assert.equal("closed", e.kind)
      raised.has(e.message, "sleep 1000: wait_echo_off: its terminal has ended")
    end
  end)
end)

describe("A descriptor of a terminal", function()
  it("is never left, whatever its end was", function()
    local before = support.descriptors()
    for i = 1, 60 do
      local p <close> = spawn { "cat" }
      if i % 4 == 0 then p:kill() elseif i % 4 == 1 then p:hangup() elseif i % 4 == 2 then p:close_stdin() end
    end
    assert.same(before, support.descriptors())
  end)
end)
