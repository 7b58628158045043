--- The program corun: its command line, and what it says of errors.

local corun = require "corun"
local raised = require "spec.support.raised"
local scripts = require "spec.support.scripts"
local support = require "spec.support"

local run = scripts.run_corun

--- Runs corun with these arguments in a new directory that has these files.
local function run_with(files, arguments, options)
  options = options or {}
  options.cwd = support.directory()
  for name, text in pairs(files) do support.write_file(options.cwd .. "/" .. name, text) end
  return run(arguments, options)
end

describe("corun -e", function()
  it("runs a string, several in their order, joined to the option or not", function()
    assert.equal("1\n2\n3\n", run({ "-e", "print(1)", "-eprint(2)", "-e", "x = 3", "-e", "print(x)" }).stdout)
  end)

  it("has corun as a global", function()
    assert.equal("hi\n", run({ "-e", "print(corun.capture{'echo', 'hi'})" }).stdout)
  end)

  it("runs before the script, which then has no such global of its own", function()
    local result = run_with({ ["script.lua"] = "print(x, corun)" }, { "-l", "string", "-e", "x = 1", "script.lua" })
    assert.matches("^1\t", result.stdout)
    assert.equal("nil\n", run_with({ ["script.lua"] = "print(corun)" }, { "script.lua" }).stdout)
  end)

  it("ends corun with status 1 when the string fails", function()
    local result = run { "-e", "error('mine')", "-e", "print 'not reached'" }
    assert.equal(1, result.code)
    assert.equal("", result.stdout)
    assert.matches("^corun: %(command line%):1: mine\n", result.stderr)
    assert.equal(1, run({ "-e", "this is no Lua" }).code)
  end)
end)

describe("corun's other options", function()
  it("-l requires a library into a global, -l g=mod under another name", function()
    assert.equal("hi\n", run({ "-l", "corun", "-e", "print(corun.capture{'echo', 'hi'})" }).stdout)
    assert.equal("hi\n", run({ "-l", "c=corun", "-e", "print(c.capture{'echo', 'hi'})" }).stdout)
    local result = run { "-l", "no.such.module" }
    assert.equal(1, result.code)
    raised.has(result.stderr, "module 'no.such.module' not found")
  end)

  it("-v shows the version", function()
    local result = run { "-v" }
    assert.equal(0, result.code)
    assert.matches("^corun %d+%.%d+%.%d+, Lua 5%.4%.%d+\n$", result.stdout)
    assert.matches("^corun .*\n1\n$", run({ "-v", "-e", "print(1)" }).stdout)
  end)

  it("-E ignores LUA_INIT and LUA_PATH", function()
    local options = { env = { LUA_INIT = "print 'init'", LUA_PATH = "/nowhere/?.lua" } }
    assert.equal("init\ntrue\n", run({ "-e", "print(package.path:find '/nowhere' ~= nil)" }, options).stdout)
    assert.equal("false\n", run({ "-E", "-e", "print(package.path:find '/nowhere' ~= nil)" }, options).stdout)
  end)

  it("LUA_INIT can name a file", function()
    local directory = support.directory()
    support.write_file(directory .. "/init.lua", "print 'from the file'")
    local result = run({ "-e", "print 'then'" }, { env = { LUA_INIT = "@" .. directory .. "/init.lua" } })
    assert.equal("from the file\nthen\n", result.stdout)
  end)

  it("-W turns warnings on", function()
    assert.equal("", run({ "-e", "warn 'careful'" }).stderr)
    assert.equal("Lua warning: careful\n", run({ "-W", "-e", "warn 'careful'" }).stderr)
  end)

  it("-- and - end the options", function()
    assert.equal("-e\n", run_with({ ["-x.lua"] = "print(...)" }, { "--", "-x.lua", "-e" }).stdout)
    assert.equal("a\t-e\n", run({ "-", "a", "-e" }, { input = "print(...)" }).stdout)
  end)

  it("--help explains itself", function()
    local result = run { "--help" }
    assert.equal(0, result.code)
    assert.matches("^usage: corun %[options%] %[script %[args%]%]\n", result.stdout)
    for option in ("-e -i -l -v -E -W -- CORUN_LUA_DIR"):gmatch("%S+") do raised.has(result.stdout, option) end
  end)

  it("that it does not know, or that lack an argument, are refused", function()
    for what, arguments in pairs {
      ["unrecognized option '-x'"] = { "-x" }, ["unrecognized option '--nope'"] = { "--nope" },
      ["an argument is missing after '-e'"] = { "-e" }, ["an argument is missing after '-l'"] = { "-l" },
    } do
      local result = run(arguments)
      assert.equal(1, result.code)
      raised.has(result.stderr, what)
      raised.has(result.stderr, "usage: corun")
    end
  end)
end)

describe("A script", function()
  it("gets its arguments, and all of the command line in arg", function()
    local script = "print(...) print(arg[0], arg[1], arg[2], arg[3], arg[-1], arg[-3])"
    local result = run_with({ ["script.lua"] = script }, { "-e", "x = 1", "script.lua", "a b", "-v" })
    assert.equal("a b\t-v\nscript.lua\ta b\t-v\tnil\tx = 1\t" .. scripts.corun .. "\n", result.stdout)
  end)

  it("is read from stdin when none is named", function()
    assert.equal("hi\n", run({}, { input = "print(require('corun').capture{'echo', 'hi'})" }).stdout)
    assert.equal("", run({}, { stdin = "null" }).stdout)
  end)

  it("may begin with #! and be executed", function()
    local path = support.directory() .. "/script"
    support.write_file(path, "#!" .. scripts.corun .. "\nprint(require('corun').capture{'echo', ...})\n")
    assert(os.execute("chmod +x " .. path))
    assert.equal("x y\n", corun.run({ path, "x", "y" }).stdout)
  end)

  it("ends with status 0, or 1 when it cannot be read or compiled", function()
    assert.equal(0, run_with({ ["script.lua"] = "" }, { "script.lua" }).code)
    local result = run { "/no/such/script.lua" }
    assert.equal(1, result.code)
    assert.matches("^corun: cannot open /no/such/script.lua", result.stderr)
    result = run_with({ ["script.lua"] = "\n\nthis is no Lua" }, { "script.lua" })
    assert.equal(1, result.code)
    assert.matches("^corun: script.lua:3: syntax error", result.stderr)
  end)

  it("needs nothing but the one file corun", function()
    local code = "print(corun.capture{'/bin/echo', 'hi'})"
    local result = corun.run { scripts.corun, "-e", code, clear_env = true, cwd = "/", check = false }
    assert.equal("hi\n", result.stdout)
    assert.equal("", result.stderr)
  end)

  it("is given the sources from CORUN_LUA_DIR when that is set", function()
    local directory = support.directory()
    assert(os.execute("cp -r lua/corun " .. directory))
    local source = support.read_file("lua/corun/init.lua")
    support.write_file(directory .. "/corun/init.lua", "print 'from the directory'\n" .. source)
    local result = run({ "-e", "require 'corun'" }, { env = { CORUN_LUA_DIR = directory } })
    assert.equal("from the directory\n", result.stdout)
    assert.equal(0, result.code)
  end)

  it("is plain Lua when it does not use corun", function()
    local result = run { "-e", "local t = {} for i = 1, 3 do t[i] = i end print(table.concat(t, ' '), _VERSION)" }
    assert.equal("1 2 3\tLua 5.4\n", result.stdout)
  end)
end)

describe("An uncaught error", function()
  --- stderr of a script that must fail with status 1.
  local function complaint(source)
    local result = scripts.native:run(source)
    assert.equal(1, result.code)
    return result.stderr
  end

  it("of the script itself is printed with a traceback into the script only", function()
    local text = complaint [[
local corun = require "corun"
local function inner() error("mine") end
local function outer() corun.scope(function() inner() end) end
outer()
]]
    assert.matches("^corun: script.lua:2: mine\nstack traceback:\n", text)
    raised.has(text, "script.lua:4: in main chunk")
    assert.is_nil(text:find("[C]", 1, true))
    assert.is_nil(text:find("corun/", 1, true))
  end)

  it("of a command is printed as a person needs it", function()
    local text = complaint [[
local corun = require "corun"
local function build()
  corun.run{"sh", "-c", "echo compiling; echo the reason >&2; exit 3"}
end
build()
]]
    assert.matches("^corun: script.lua:3: sh %-c 'echo compiling; echo the reason >&2; exit 3': exit 3 after %d", text)
    raised.has(text, "\n  stderr: the reason\n")
    raised.has(text, "script.lua:3: in ")
    raised.has(text, "'build'")
    raised.has(text, "script.lua:5: in main chunk")
    assert.is_nil(text:find("corun/", 1, true))
    assert.is_nil(text:find("[C]", 1, true))
  end)

  it("of a start names the program and the reason", function()
    local text = complaint "require('corun').run{'no-such-program', 'x y'}"
    assert.matches("^corun: script.lua:1: .*no%-such%-program", text)
    raised.has(text, "no such file or directory")
  end)

  it("of a task is printed with the lines of the task", function()
    local text = complaint [[
local corun = require "corun"
local function work()
  corun.sleep(0)
  corun.run{"false"}
end
corun.go(work)
corun.sleep(1000)
]]
    assert.matches("^corun: script.lua:4: false: exit 1 after", text)
    raised.has(text, "script.lua:4: in ")
    local _, count = text:gsub("false: exit 1", "")
    assert.equal(1, count)
  end)

  it("of a task is printed when the main chunk has ended before", function()
    local text = complaint [[
local corun = require "corun"
corun.go(function()
  corun.sleep(0.001)
  error("late")
end)
]]
    raised.has(text, "script.lua:4: late")
    raised.has(text, "stack traceback:\n\tscript.lua:4: in ")
  end)

  it("of several tasks is printed for each", function()
    local text = complaint [[
local corun = require "corun"
for i = 1, 3 do
  corun.go(function()
    pcall(corun.sleep, 0.001)
    error("error " .. i, 0)
  end)
end
]]
    for i = 1, 3 do raised.has(text, "error " .. i) end
  end)

  it("that is no string is printed, too", function()
    raised.has(complaint "require 'corun' error(setmetatable({}, {__tostring = function() return 'mine' end}))", "mine")
    assert.matches("table", complaint "require 'corun' error({})")
    assert.matches("nil", complaint "require 'corun' error()")
  end)

  it("that a line inside of corun raises for a wrong argument names the script's line", function()
    local text = complaint "local corun = require 'corun'\n\ncorun.run{'true', timout = 1}\n"
    assert.matches("^corun: script.lua:3: run: unknown option 'timout'", text)
    assert.is_nil(text:find("corun/", 1, true))
  end)
end)
