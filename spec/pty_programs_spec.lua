--- Real programs on a terminal of their own.

local corun = require "corun"
local raised = require "spec.support.raised"
local support = require "spec.support"
local world = require "spec.support.world"

if not world.is_native then return end

local function spawn(command, options)
  command.stdin, command.stdout, command.stderr = "pty", "pty", "pty"
  for name, value in pairs(options or {}) do command[name] = value end
  return corun.spawn(command)
end

--- The example, where the program is installed.
local function with(program, name, fn)
  it(name, function()
    if not corun.which(program) then return pending("needs " .. program) end
    return fn()
  end)
end

describe("python3 -i on a pty", function()
  local function python()
    local p = spawn({ "/usr/bin/python3", "-q", "-i" }, { env = { TERM = "dumb", PYTHONSTARTUP = false } })
    p:expect(">>> ", 10)
    return p
  end

  with("/usr/bin/python3", "is asked and answers, and ends when EOF is typed", function()
    local p <close> = python()
    p:send_line("6 * 7")
    assert.equal("42", p:expect("\n(%d+)\r\n>>> ", 10).captures[1])
    p:send_line("import os; os.isatty(0), os.get_terminal_size()")
    assert.matches("True, os.terminal_size%(columns=80, lines=24%)", p:expect(">>> ", 10).before)
    p:close_stdin()
    assert.equal(0, p:wait(10).code)
  end)

  with("/usr/bin/python3", "is interrupted by Ctrl-C", function()
    local p <close> = python()
    -- Not one long sleep: Python does not see a signal that comes just before the system call.
    p:send_line("import time; print('sle' + 'eping'); exec('while True: time.sleep(0.01)')")
    p:expect("sleeping\r\n", 10)
    p:write("\3")
    p:expect("KeyboardInterrupt.*>>> ", 10)
    p:send_line("exit(5)")
    assert.equal(5, p:wait(10).code)
  end)

  with("/usr/bin/python3", "is ended by communicate, which types EOF at its prompt", function()
    local p <close> = python()
    p:send_line("print('a' * 3)")
    p:expect("aaa\r\n>>> ", 10)
    local result = p:communicate(nil, 20)
    assert.is_true(result.ok)
  end)
end)

describe("bash on a pty", function()
  local environment = {
    TERM = "dumb", PS1 = "ready> ", HISTFILE = false, INPUTRC = "/dev/null", PROMPT_COMMAND = false,
  }

  local function bash()
    local p = spawn({ "bash", "--norc", "--noprofile", "-i" }, { env = environment })
    p:expect("ready> ", 10)
    return p
  end

  local function answer(p, line)
    p:send_line(line)
    return p:expect("\n([^\r\n]*)\r\n.-ready> ", 10).captures[1]
  end

  with("bash", "has job control: Ctrl-C reaches the job in the foreground, not bash", function()
    local p <close> = bash()
    p:send_line("sh -c 'echo pid $$; exec sleep 1000'")
    local job = p:expect("pid (%d+)\r\n", 10).captures[1]
    local _, group = support.process_state(job)
    assert.is_true(group ~= p.pid) -- a group of its own
    p:write("\3")
    p:expect("ready> ", 10)
    assert.is_true(support.is_gone(job))
    assert.equal("status 130", answer(p, "echo status $?"))
    assert.is_nil(p.status)
    p:close_stdin()
    assert.equal(0, p:wait(10).code)
  end)

  with("bash", "stops a job by Ctrl-Z and takes it back", function()
    local p <close> = bash()
    p:send_line("sh -c 'echo go; read line; echo got $line'")
    p:expect("\ngo\r\n", 10)
    p:write("\26")
    p:expect("Stopped.*ready> ", 10)
    p:send_line("fg")
    p:expect("\nsh %-c[^\n]*\n", 10)
    p:send_line("word")
    p:expect("\ngot word\r\n", 10)
    p:expect("ready> ", 10)
    p:send_line("exit 7")
    assert.equal(7, p:wait(10).code)
  end)

  with("bash", "sees the window's size, and its changes", function()
    local p <close> = bash()
    assert.equal("24 80", answer(p, "stty size"))
    p:resize(50, 132)
    assert.equal("50 132", answer(p, "stty size"))
    p:send_line("sh -c 'trap \"stty size; exit\" WINCH; echo wait; while :; do sleep 0.01; done'")
    p:expect("\nwait\r\n", 10)
    p:resize(7, 60)
    p:expect("7 60\r\n", 10)
    p:expect("ready> ", 10)
  end)

  with("bash", "ends with its scope at once, though it ignores TERM", function()
    local p
    for _ = 1, 5 do
      corun.scope(function() p = bash() end)
      assert.is_true(p.status.signal == "SIGHUP" or p.status.code ~= nil) -- or EOF
      assert.is_true(#p._stopped <= 1, table.concat(p._stopped, " "))
    end
  end)

  with("bash", "ends by EOF at the prompt, and not by EOF in its programs", function()
    local p <close> = bash()
    p:send_line("sh -c 'echo go; exec cat'")
    p:expect("\ngo\r\n", 10)
    p:write("in mid-line")
    p:close_stdin() -- of cat: typed twice
    p:expect("in mid%-linein mid%-line", 10)
    p:expect("ready> ", 10)
    assert.equal("still here", answer(p, "echo still here"))
    p:send_line("sh -c 'echo go; exec cat'")
    p:expect("\ngo\r\n", 10)
    p:send_line("a line")
    p:expect("a line\r\na line\r\n", 10)
    p:close_stdin() -- typed once
    p:expect("ready> ", 10)
    p:close_stdin()
    p:wait(10)
  end)
end)

describe("A program that asks for a password", function()
  local ask = support.fixture "password"

  it("gets it once echo is off, and it is not echoed", function()
    local p <close> = spawn { ask }
    p:expect("Password: ", 10)
    p:wait_echo_off(10)
    p:send_line("secret")
    p:wait(10)
    assert.equal("\r\ngot secret\r\n", p.terminal:read())
    raised.error("closed", function() p:wait_echo_off(1) end)
  end)

  it("asks on the terminal while its output comes through a pipe", function()
    local p <close> = corun.spawn { ask, stdin = "pty", stdout = "pipe" }
    p:expect("Password: ", 10)
    p:wait_echo_off(10)
    p:send_line("hidden"):wait(10)
    assert.equal("got hidden\n", p.stdout:read())
    assert.equal("\r\n", p.terminal:read())
  end)

  it("does not get what was typed before it asked", function()
    local path = support.directory() .. "/go"
    local p <close> = spawn { "sh", "-c", 'while ! test -e "$1"; do sleep 0.01; done; exec "$0"', ask, path }
    p:send_line("too early")
    p:expect("too early\r\n", 10)
    support.write_file(path, "")
    p:expect("Password: ", 10)
    p:wait_echo_off(10)
    p:send_line("in time")
    assert.equal(0, p:wait(10).code)
    assert.matches("got in time\r\n$", p.terminal:read())
  end)

  it("ends without one by EOF", function()
    local p <close> = spawn { ask }
    p:expect("Password: ", 10)
    p:wait_echo_off(10)
    p:close_stdin()
    assert.equal(2, p:wait(10).code)
  end)
end)

describe("less on a pty", function()
  with("less", "shows a page at a time", function()
    local path = support.directory() .. "/text"
    local lines = {}
    for i = 1, 100 do lines[i] = ("line %d."):format(i) end
    support.write_file(path, table.concat(lines, "\n") .. "\n")
    local environment = { TERM = "xterm", LESS = false, LESSOPEN = false, LESSHISTFILE = "-" }
    local p <close> = spawn({ "less", path }, { size = { 11, 40 }, env = environment })
    local first = p:expect("line 10%.", 10)
    assert.matches("line 1%..*line 9%.", first.before)
    p:expect("text", 10) -- its prompt
    assert.is_false(p:echo()) -- it reads keys
    p:write(" ")
    p:expect("line 20%.", 10)
    p:write("G")
    p:expect("line 100%.", 10)
    p:write("q")
    assert.equal(0, p:wait(10).code)
    assert.is_nil(p.terminal:read():find("line 21.", 1, true))
  end)
end)
