--- Wrong arguments, refused before anything starts: one table over all fields of a spec.

local corun = require "corun"
local raised = require "spec.support.raised"
local support = require "spec.support"

local NAN <const> = 0 / 0
local closed = io.tmpfile()
closed:close()

-- Field, wrong value, and what the message says: what was expected, and what was given.
local wrong = {
  { "cwd", 7, "string", "7" },
  { "cwd", "", "empty" },
  { "cwd", "a\0b", "NUL" },
  { "env", "A=1", "names and values", '"A=1"' },
  { "env", { ["A=B"] = "x" }, "name", '"A=B"' },
  { "env", { [""] = "x" }, "name", '""' },
  { "env", { ["A\0B"] = "x" }, "name", '"A\\0B"' },
  { "env", { "A=1" }, "name", "1" },
  { "env", { A = true }, "A: a string, a number or false", "true" },
  { "env", { A = {} }, "A: a string, a number or false", "a table" },
  { "env", { A = "x\0y" }, "A: a NUL" },
  { "clear_env", "yes", "true or false", '"yes"' },
  { "umask", "8", "octal", '"8"' },
  { "umask", "rwx", "octal", '"rwx"' },
  { "umask", "", "octal", '""' },
  { "umask", -1, "octal", "-1" },
  { "umask", 4096, "octal", "4096" },
  { "umask", 1.5, "octal", "1.5" },
  { "umask", true, "octal", "true" },
  { "uid", "no such user", "no such user" },
  { "uid", "root\0x", "root" },
  { "uid", -1, "name or a number", "-1" },
  { "uid", 1.5, "name or a number", "1.5" },
  { "uid", true, "name or a number", "true" },
  { "gid", "no such group", "no such group" },
  { "gid", "", "''" },
  { "gid", "root\0x", "root" },
  { "gid", -1, "name or a number", "-1" },
  { "gid", {}, "name or a number", "a table" },
  { "groups", "wheel", "list", '"wheel"' },
  { "groups", { "no such group" }, "no such group" },
  { "groups", { -1 }, "name or a number", "-1" },
  { "nice", "5", "whole number", '"5"' },
  { "nice", 1.5, "whole number", "1.5" },
  { "nice", 41, "-40 to 40", "41" },
  { "rlimits", 5, "list", "5" },
  { "rlimits", { nosuch = 1 }, "limit", '"nosuch"' },
  { "rlimits", { 64 }, "limit", "1" },
  { "rlimits", { nofile = "many" }, "unlimited", '"many"' },
  { "rlimits", { nofile = -2 }, "whole number", "-2" },
  { "rlimits", { nofile = 1.5 }, "whole number", "1.5" },
  { "rlimits", { nofile = { 64 } }, "whole number", "nil" },
  { "rlimits", { nofile = { 64, true } }, "whole number", "true" },
  { "argv0", 5, "string", "5" },
  { "argv0", "a\0b", "NUL" },
  { "stdin", "pip", '"pipe"', '"pip"' },
  { "stdin", "stdout", '"null"', '"stdout"' },
  { "stdin", true, "Reader", "true" },
  { "stdin", -1, "descriptor number", "-1" },
  { "stdin", 1.5, "descriptor number", "1.5" },
  { "stdin", function() end, "open file", "a function" },
  { "stdin", closed, "closed" },
  { "stdin", {}, "file = path", "nil" },
  { "stdin", { file = 5 }, "file = path", "5" },
  { "stdin", { file = "" }, "file = path", '""' },
  { "stdin", { file = "a\0b" }, "file = path", '"a\\0b"' },
  { "stdin", { "path" }, "unknown field", "1" },
  { "stdout", "pip", '"pipe"', '"pip"' },
  { "stdout", "stdout", '"stderr"', '"stdout"' },
  { "stdout", true, "a function", "true" },
  { "stdout", -1, "descriptor number", "-1" },
  { "stdout", closed, "closed" },
  { "stdout", { file = "/dev/null", apend = true }, "unknown field", '"apend"' },
  { "stdout", { file = "/dev/null", append = "no" }, "true or false", '"no"' },
  { "stdout", { file = "/dev/null", mode = "rw" }, "octal", '"rw"' },
  { "stdout", { file = "/dev/null", mode = 1.5 }, "octal", "1.5" },
  { "stderr", "stderr", '"stdout"', '"stderr"' },
  { "stderr", 1.5, "descriptor number", "1.5" },
  { "stderr", { file = {} }, "file = path", "a table" },
  { "fds", 5, "list", "5" },
  { "fds", { [2] = "output" }, "3", "2" },
  { "fds", { [3.5] = "output" }, "3", "3.5" },
  { "fds", { ["3"] = "output" }, "3", '"3"' },
  { "fds", { [3] = "pip" }, '"output"', '"pip"' },
  { "fds", { [3] = true }, '"input"', "true" },
  { "fds", { [3] = { file = "/dev/null", read = 1 } }, "true or false", "1" },
  { "input", 5, "string", "5" },
  { "input", {}, "iterator", "a table" },
  { "timeout", "1", "seconds", '"1"' },
  { "timeout", -1, "0 or more", "-1" },
  { "timeout", NAN, "seconds", "nan" },
  { "timeout", true, "seconds", "true" },
  { "idle_timeout", -0.1, "0 or more", "-0.1" },
  { "idle_timeout", NAN, "seconds", "nan" },
  { "linger", true, "seconds", "true" },
  { "linger", -1, "0 or more", "-1" },
  { "grace", "5", "seconds", '"5"' },
  { "grace", -1, "0 or more", "-1" },
  { "stop", "TERM", "steps", '"TERM"' },
  { "stop", {}, "step" },
  { "stop", { "TERM", "NOSUCH" }, "step 2: a signal", '"NOSUCH"' },
  { "stop", { true }, "step 1: a signal", "true" },
  { "stop", { { "TERM", "5" } }, "seconds", '"5"' },
  { "stop", { { "TERM", -1 } }, "0 or more", "-1" },
  { "stop", { 1000 }, "a signal", "1000" },
  { "check", "yes", "exit codes", '"yes"' },
  { "check", { "0" }, "exit codes", '"0"' },
  { "check", { 1.5 }, "exit codes", "1.5" },
  { "limit", -1, "whole number", "-1" },
  { "limit", 1.5, "whole number", "1.5" },
  { "limit", "1M", "whole number", '"1M"' },
  { "overflow", "drop", '"truncate"', '"drop"' },
  { "overflow", true, '"spill"', "true" },
  { "tee", 1, "prefix", "1" },
  { "group", "yes", "true or false", '"yes"' },
  { "detached", 1, "true or false", "1" },
  { "format", "xml", '"jsonl"', '"xml"' },
  { "format", 5, '"lines"', "5" },
}

describe("A wrong option", function()
  local touch
  before_each(function() touch = { "touch", support.directory() .. "/started" } end)

  local function assert_not_started()
    assert.same({}, support.children())
    assert.is_nil(support.read_file(touch[2]))
  end

  for i, case in ipairs(wrong) do
    local name, value, expectation, given = table.unpack(case)
    local title = ("%s is refused with its name, the expectation and the value (case %d: %s)")
    it(title:format(name, i, expectation), function()
      touch[name] = value
      local message = raised.argument(function() corun.run(touch) end)
      raised.has(message, "'" .. name)
      raised.has(message, expectation)
      if given then raised.has(message, given) end
      assert_not_started()
    end)
  end

  it("is refused by every verb", function()
    local verbs = {
      run = function() corun.run(touch) end,
      capture = function() corun.capture(touch) end,
      spawn = function() corun.spawn(touch) end,
      sh = function() corun.sh { "touch {}", touch[2], colour = "red" } end,
      process = function() corun.process(touch) end,
      start = function() corun.process():start(touch) end,
      command = function() corun.command(touch) end,
      with = function() corun.command { "true" }:with { colour = "red" } end,
      scope = function() corun.scope(function(scope) scope:spawn(touch) end) end,
    }
    touch.colour = "red"
    for verb, call in pairs(verbs) do
      assert.is_not_nil(raised.argument(call):find("unknown option 'colour'", 1, true), verb)
      assert_not_started()
    end
  end)

  it("is refused where it contradicts another", function()
    touch.stdout, touch.stderr = "stderr", "stdout"
    local message = raised.argument(function() corun.run(touch) end)
    raised.has(message, "'stdout'")
    raised.has(message, "'stderr'")
    touch.stdout, touch.stderr, touch.stdin, touch.input = nil, nil, "null", "text"
    message = raised.argument(function() corun.run(touch) end)
    raised.has(message, "'input'")
    raised.has(message, "'stdin'")
    assert_not_started()
  end)
end)

describe("A wrong command", function()
  local cases = {
    { "that is no table", "echo", "a table expected, got \"echo\"" },
    { "that is missing", nil, "a table expected, got nil" },
    { "without a word", {}, "no program" },
    { "with options alone", { cwd = "/" }, "no program" },
    { "with an empty program name", { "" }, "program's name is empty" },
    { "with a NUL byte in the program name", { "tr\0ue" }, "NUL" },
    { "with a NUL byte in an argument", { "echo", "a", "b\0c" }, "argument 3: a NUL byte in \"b\\0c\"" },
    { "with a table for an argument", { "echo", {} }, "argument 2: a string or number expected, got a table" },
    { "with a boolean for an argument", { "echo", true }, "argument 2: a string or number expected, got true" },
    { "with a hole", { "echo", nil, "c" }, "argument 2" },
    { "with a hole at its end", { "echo", "b", [4] = "d" }, "argument" },
    { "that begins with a hole", { nil, "b" }, "argument 1" },
    { "with a word at 0", { [0] = "zero", "echo" }, "0" },
    { "with a word at 1.5", { "echo", [1.5] = "x" }, "1.5" },
    { "with true for an option's name", { "echo", [true] = "x" }, "true" },
  }
  for _, case in ipairs(cases) do
    local name, spec, expectation = case[1], case[2], case[3]
    it(name .. " is refused", function()
      raised.has(raised.argument(function() corun.run(spec) end), expectation)
      raised.has(raised.argument(function() corun.spawn(spec) end), expectation)
      assert.same({}, support.children())
    end)
  end
end)
