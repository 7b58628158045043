--- The interactive session, driven through a terminal of the fixture pty.

local corun = require "corun"
local raised = require "spec.support.raised"
local scripts = require "spec.support.scripts"
local support = require "spec.support"
local world = require "spec.support.world"

local repl, home

--- Starts a session, up to its first prompt.
local function start(...)
  local command = corun.command { scripts.absolute(support.fixture "pty"), scripts.corun }:args(...)
  repl = command:with({
    stderr = "null", timeout = 20, cwd = home, env = {
      HOME = home, XDG_STATE_HOME = false, TERM = "xterm", FIXTURES = scripts.fixtures,
      CORUN_LUA_DIR = os.getenv("CORUN_LUA_DIR") and scripts.absolute("lua") or false,
    },
  }):spawn()
  return repl.stdout:read_until("> ")
end

--- Waits until this text comes; gives what came before it.
local function expect(text) return repl.stdout:read_until(text) end

--- Types a line; gives the lines that come up to the next prompt, without the echo.
local function enter(line, prompt)
  repl:write(line, "\n")
  local answer = expect("\r\n" .. (prompt or "> "))
  return (answer:gsub("^[^\n]*\n?", "", 1):gsub("\r", ""))
end

--- Types Ctrl-D; gives what the fixture says at the end.
local function finish()
  repl:write("\4")
  local answer = repl.stdout:read()
  return answer:match("%[.*%]")
end

describe("The interactive session", function()
  before_each(function() home = support.directory() end)
  after_each(function() repl:close() end)

  it("says what it is, and prompts", function()
    assert.matches("^corun %d+%.%d+%.%d+, Lua 5%.4%.%d+\r\n$", start())
  end)

  it("prints the values of an expression", function()
    start()
    assert.equal("2", enter "1 + 1")
    assert.equal("text\tnil\ttrue", enter "'text', nil, true")
    assert.equal("", enter "print()")
    assert.equal("hi", enter "corun.capture{'echo', 'hi'}")
  end)

  it("runs a statement, whose globals stay", function()
    start()
    assert.equal("", enter "x = 41")
    assert.equal("42", enter "x + 1")
    assert.equal("nil", enter "nothing")
  end)

  it("asks on with >> until a statement is whole", function()
    start()
    assert.equal("", enter("for i = 1, 2 do", ">> "))
    assert.equal("", enter("print(i)", ">> "))
    assert.equal("1\n2", enter "end")
    assert.equal("", enter("[[first", ">> "))
    assert.equal("first\nsecond", enter "second]]")
  end)

  it("prints tables by inspect", function()
    start()
    assert.equal("{\n  a = 1,\n  b = { 2, 3 }\n}", enter "{a = 1, b = {2, 3}}")
    assert.equal("exit 0", enter "corun.run{'true'}.status")
  end)

  it("prints what is wrong, and goes on", function()
    start()
    raised.has(enter "this is no Lua", "syntax error")
    raised.has(enter "error('mine')", "mine")
    local message = enter "corun.run{'sh', '-c', 'echo why >&2; exit 3'}"
    raised.has(message, "exit 3 after")
    raised.has(message, "stderr: why")
    assert.equal("2", enter "1 + 1")
  end)

  it("waits for a process while tasks and other processes go on", function()
    start()
    enter "corun.go(function() for i = 1, 3 do corun.sleep(0.001) end done = true end)"
    assert.equal("hi", enter "corun.capture{'sh', '-c', 'sleep 0.05; echo hi'}")
    assert.equal("true", enter "done")
  end)

  it("stops a line that waits by Ctrl-C, and goes on", function()
    start()
    repl:write("print 'up' corun.run{'sleep', '1000'}\n")
    expect "up\r\n"
    repl:write("\3")
    expect "interrupted\r\n> "
    assert.equal("2", enter "1 + 1")
    assert.same({}, support.marked "sleep")
  end)

  it("stops a line that computes by Ctrl-C, too", function()
    start()
    repl:write("io.write('up\\n'):flush() while true do end\n")
    expect "up\r\n"
    repl:write("\3")
    expect "interrupted\r\n> "
    assert.equal("2", enter "1 + 1")
  end)

  if world.is_native then
    local front = "os.getenv 'FIXTURES' .. '/front'"

    it("lends the terminal to a program that a line runs", function()
      start()
      repl:write("corun.run{" .. front .. ", stdin = 'inherit', stdout = 'inherit'}.status\n")
      expect "ready front, own group"
      repl:write("hello\n")
      expect "got hello"
      repl:write("exit\n")
      expect "exit 0\r\n> "
      assert.equal("2", enter "1 + 1")
    end)

    it("ends a line whose program dies of Ctrl-C, and goes on", function()
      start()
      repl:write("corun.run{" .. front .. ", stdin = 'inherit', stdout = 'inherit'}\n")
      expect "ready front, own group"
      repl:write("\3")
      expect "interrupted\r\n> "
      assert.equal("2", enter "1 + 1")
    end)

    it("has the terminal for itself between lines, though a program lives on", function()
      start()
      local spawn = "p = corun.spawn{" .. front .. ", 'raw', 'silent', stdin = 'inherit', stderr = 'inherit'}"
      assert.matches("^ready front, own group", enter(spawn .. " print(p.stdout:read_line())"))
      assert.equal("2", enter "1 + 1")
      repl:write("print 'up' return p:wait()\n")
      expect "up\r\n"
      repl:write("\3")
      expect "signal SIGINT\r\n> "
      assert.equal("2", enter "1 + 1")
      assert.equal("[status 0, modes kept]", finish())
    end)
  end

  it("throws away what was typed at Ctrl-C", function()
    start()
    repl:write("garbage")
    expect "garbage"
    repl:write("\3")
    expect "^C\r\n> "
    assert.equal("2", enter "1 + 1")
  end)

  it("throws away a statement that is not whole at Ctrl-C", function()
    start()
    enter("for i = 1, 2 do", ">> ")
    repl:write("\3")
    assert.is_nil(expect("> "):find(">", 1, true))
    assert.equal("2", enter "1 + 1")
  end)

  it("shows what a task prints while a line is typed, and keeps the line", function()
    start()
    enter "corun.go(function() repeat corun.sleep(0.002) until io.open 'go' print 'from behind' end)"
    repl:write("100 + 2")
    expect "100 + 2"
    support.write_file(home .. "/go", "")
    expect "from behind\r\n"
    expect "> 100 + 2"
    assert.equal("120", enter "0")
  end)

  it("shows what a child prints on the terminal while a line is typed", function()
    start()
    enter "p = corun.spawn{'sh', '-c', 'until [ -e go ]; do sleep 0.01; done; echo from behind', stdout = 'inherit'}"
    repl:write("100 + 2")
    expect "100 + 2"
    support.write_file(home .. "/go", "")
    expect "from behind\r\n"
    repl:write("0\n")
    expect "120\r\n"
  end)

  it("prints the error of a task and goes on", function()
    start()
    enter "corun.go(function() repeat corun.sleep(0.002) until io.open 'go' error('behind', 0) end)"
    support.write_file(home .. "/go", "")
    expect "behind\r\n"
    expect "> "
    assert.equal("2", enter "1 + 1")
  end)

  it("keeps a process beyond its line, and stops it when it ends", function()
    start()
    enter "p = corun.spawn{os.getenv 'FIXTURES' .. '/ready'}"
    local pid = enter("p.stdout:read_line()"):match("ready (%d+)")
    assert.equal("nil", enter "p.status")
    assert.is_false(support.is_gone(pid))
    assert.equal("[status 0, modes kept]", finish())
    assert.is_true(support.is_gone(pid))
  end)

  it("stops what a line has started that failed", function()
    start()
    local message = enter "p = corun.spawn{os.getenv 'FIXTURES' .. '/ready'} p.stdout:read_line() error 'mine'"
    raised.has(message, "mine")
    assert.equal("signal SIGTERM", enter "p.status")
  end)

  it("ends at Ctrl-D with the modes of the terminal as they were", function()
    start()
    assert.equal("[status 0, modes kept]", finish())
  end)

  it("ends by os.exit and by SIGTERM with the modes of the terminal as they were", function()
    start()
    repl:write("os.exit(5)\n")
    assert.matches("%[status 5, modes kept%]", repl.stdout:read())
    repl:close()
    start()
    corun.run { "kill", "-TERM", enter "io.open('/proc/self/stat'):read('n')" }
    assert.matches("%[status 143, modes kept%]", repl.stdout:read())
  end)

  it("leaves the terminal in its usual modes to a command that inherits it", function()
    start()
    local modes = enter "corun.run{'stty', '-a', stdin = 'inherit', stdout = 'inherit'}.code"
    assert.matches("[^-]icanon", modes)
    assert.matches("[^-]echo ", modes)
  end)

  it("keeps a history from one session to the next", function()
    start()
    enter "40 + 2"
    finish()
    repl:close()
    raised.has(support.read_file(home .. "/.corun_history"), "40")
    start()
    repl:write("\27[A") -- up
    expect "40 + 2"
    repl:write("\n")
    expect "42\r\n"
  end)

  it("begins after a script with -i", function()
    support.write_file(home .. "/script.lua", "x = ... print 'ran'")
    raised.has(start("-i", "script.lua", "argument"), "ran\r\n")
    assert.equal("argument", enter "x")
  end)

  it("reads plain lines with -i where stdin is no terminal", function()
    local lines = "1 + 1\nfor i = 1, 2 do\nprint('line', i)\nend\n"
    local result = scripts.run_corun({ "-i" }, { input = lines, timeout = 3 })
    assert.equal("exit", result.reason)
    assert.equal(0, result.code)
    assert.matches("2\n.*line\t1\nline\t2\n", result.stdout)
  end)

  it("lets lines be edited", function()
    start()
    repl:write("1 + 3\127") -- backspace
    assert.equal("5", enter "4")
  end)
end)
