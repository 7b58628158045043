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
  { "groups", { 1.5 }, "name or a number", "1.5" },
  { "groups", { 5, nil, 7 }, "list of groups", "a hole" },
  { "groups", { 5, extra = 7 }, "list of groups", '"extra"' },
  { "uid", NAN, "name or a number", "nan" },
  { "nice", "5", "whole number", '"5"' },
  { "nice", 1.5, "whole number", "1.5" },
  { "nice", 41, "-40 to 40", "41" },
  { "nice", NAN, "whole number", "nan" },
  { "cpu_affinity", 0, "list of processors", "0" },
  { "cpu_affinity", "0-1", "list of processors", '"0-1"' },
  { "cpu_affinity", {}, "list of processors", "empty" },
  { "cpu_affinity", { 0, nil, 1 }, "list of processors", "a hole" },
  { "cpu_affinity", { 0, most = 1 }, "list of processors", '"most"' },
  { "cpu_affinity", { [0] = 0 }, "list of processors", "0" },
  { "cpu_affinity", { -1 }, "from 0 to 8191", "-1" },
  { "cpu_affinity", { 0, 8192 }, "from 0 to 8191", "8192" },
  { "cpu_affinity", { 0.5 }, "from 0 to 8191", "0.5" },
  { "cpu_affinity", { "0" }, "from 0 to 8191", '"0"' },
  { "cpu_affinity", { NAN }, "from 0 to 8191", "nan" },
  { "oom_score_adj", -1001, "from -1000 to 1000", "-1001" },
  { "oom_score_adj", 1001, "from -1000 to 1000", "1001" },
  { "oom_score_adj", 0.5, "whole number", "0.5" },
  { "oom_score_adj", "500", "whole number", '"500"' },
  { "oom_score_adj", NAN, "whole number", "nan" },
  { "no_new_privileges", 1, "true or false", "1" },
  { "new_session", "yes", "true or false", '"yes"' },
  { "cgroup", "name", "true or false", '"name"' },
  { "memory_max", -1, "1 or more", "-1" },
  { "memory_max", 0, "1 or more", "0" },
  { "memory_max", 1.5e6, "whole number of bytes", "1500000.0" },
  { "memory_max", "64M", '"unlimited"', '"64M"' },
  { "memory_max", NAN, "whole number of bytes", "nan" },
  { "pids_max", 0, "1 or more", "0" },
  { "pids_max", -1, "1 or more", "-1" },
  { "pids_max", true, '"unlimited"', "true" },
  { "cpu_max", 0, "from 0.01", "0" },
  { "cpu_max", -0.5, "from 0.01", "-0.5" },
  { "cpu_max", 8193, "to 8192", "8193" },
  { "cpu_max", NAN, "from 0.01", "nan" },
  { "cpu_max", math.huge, "to 8192", "inf" },
  { "cpu_max", "50%", '"unlimited"', '"50%"' },
  { "rlimits", 5, "list", "5" },
  { "rlimits", { nosuch = 1 }, "limit", '"nosuch"' },
  { "rlimits", { 64 }, "limit", "1" },
  { "rlimits", { nofile = "many" }, "unlimited", '"many"' },
  { "rlimits", { nofile = -2 }, "whole number", "-2" },
  { "rlimits", { nofile = 1.5 }, "whole number", "1.5" },
  { "rlimits", { nofile = { 64 } }, "whole number", "nil" },
  { "rlimits", { nofile = {} }, "whole number", "nil" },
  { "rlimits", { nofile = { 64, 32 } }, "at most the hard one", "{64, 32}" },
  { "rlimits", { nofile = { "unlimited", 32 } }, "at most the hard one", '{"unlimited", 32}' },
  { "rlimits", { nofile = { 1, 2, 3 } }, "a soft and a hard limit", "3" },
  { "rlimits", { nofile = { 1, 2, soft = 3 } }, "two limits", '"soft"' },
  { "rlimits", { nofile = NAN }, "whole number", "nan" },
  { "rlimits", { NOFILE = 64 }, "limit", '"NOFILE"' },
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
    touch.stdin, touch.input = nil, nil
    for _, pair in ipairs { { "new_session", true, "group", false }, { "cgroup", true, "detached", true },
      { "memory_max", 1, "detached", true }, { "cgroup", false, "memory_max", 1 }, { "cgroup", false, "cpu_max", 1 },
      { "cgroup", false, "pids_max", 1 } } do
      touch[pair[1]], touch[pair[3]] = pair[2], pair[4]
      message = raised.argument(function() corun.run(touch) end)
      raised.has(message, "'" .. pair[1]:gsub("memory_max", pair[4] == true and "cgroup" or "%0") .. "'")
      raised.has(message, "'" .. pair[3] .. "'")
      touch[pair[1]], touch[pair[3]] = nil, nil
      assert_not_started()
    end
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
