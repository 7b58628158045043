--- Scripts on a terminal, as a person sees them who types: the fixture "jobs" is the shell with job control, "front"
--- the program in the script.

local assert = require "luassert"
local busted = require "busted"
local corun = require "corun"
local scripts = require "spec.support.scripts"
local support = require "spec.support"
local world = require "spec.support.world"

local M = {}

M.ctrl_c, M.ctrl_z = "\3", "\26"

--- What the shell says of the terminal at each stop and end of the job.
M.well = "modes kept, terminal its own"

local shell -- the fixture, with its job

--- What scripts begin with: the path of "front", a spec with all its streams on the terminal, a "front" that has begun,
--- and the terminal's foreground group.
local prelude = [[
  local corun = require "corun"
  local front = os.getenv "FIXTURES" .. "/front"
  local function on_terminal(spec)
    for _, name in ipairs { "stdin", "stdout", "stderr" } do spec[name] = spec[name] or "inherit" end
    return spec
  end
  local function begin(spec)
    local began = corun.event()
    function spec.stdout(line)
      print(line)
      began:set()
    end
    local process = corun.spawn(on_terminal(spec))
    began:wait()
    return process
  end
  local function foreground_group()
    local file <close> = io.open "/proc/self/stat"
    return tonumber(file:read("a"):match("%) %a %d+ %d+ %d+ %d+ (%-?%d+)"))
  end
]]

--- Starts a script as the job of a terminal. `words`: the fixture and its options, default { "jobs" }.
function M.start(host, source, words)
  words = words or { "jobs" }
  words[1] = support.fixture(words[1])
  shell = corun.spawn(world.through(words, host:spec(prelude .. source, { fds = { [3] = "input" }, timeout = 30 })))
  return shell
end

--- Waits for a text; gives what came before it.
function M.expect(text) return (shell:expect(text, { timeout = 20, plain = true }).before:gsub("\r", "")) end

--- Waits for a "front"; gives what it says of its place and group, and its pid.
function M.expect_ready()
  return table.unpack(shell:expect("ready (%a+, %a+ group), pid (%d+)\r\n", 20).captures)
end

function M.type(keys) shell:write(keys) end

--- Waits for the end of the job, which must be like that; gives what came before it.
function M.expect_end(status, terminal)
  local match = shell:expect("%[status (%d+), (.-)%]", 20)
  local before = match.before:gsub("\r", "")
  assert.same({ tostring(status), terminal or M.well }, match.captures, before)
  shell:wait(20) -- until nobody has the terminal
  return before
end

--- Hangs up, where the job has not ended.
function M.close() shell:close() end

--- Waits until the job is stopped by that signal; gives what the shell says of the terminal.
function M.expect_stop(signal)
  local match = shell:expect("%[stopped by (%d+), (.-)%]", 20)
  assert.equal(require("corun.core").signals[signal], tonumber(match.captures[1]))
  return match.captures[2]
end

--- Tells the shell what to do with the stopped job: "fg" or "bg".
function M.command(word) shell.fds[3]:write(word, "\n") end

--- The pid of the interpreter that runs the script, which has written it to the file "pid" in its directory.
M.write_pid = 'io.open("pid", "w"):write(require("corun.core").pid()):close()\n'
function M.pid() return tonumber(support.read_file(shell.cwd .. "/pid")) end

--- describe for each interpreter, where children can have the terminal.
function M.describe(name, body)
  if not world.is_native then return end
  for _, host in ipairs(scripts.hosts) do
    busted.describe(name .. " (" .. host.name .. ")", function()
      busted.after_each(M.close)
      body(host)
    end)
  end
end

return M
