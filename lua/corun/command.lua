--- Commands: run, capture, sh, and specs that are kept to be used again.

local core = require "corun.core"
local collector = require "corun.collect"
local errors = require "corun.error"
local formats = require "corun.format"
local pipelines = require "corun.pipeline"
local processes = require "corun.process"
local results = require "corun.result"
local scopes = require "corun.scope"
local shell = require "corun.shell"
local specs = require "corun.spec"

local M = {}

-- What is called at the end of these functions is in parentheses: after a tail call corun.tasks() could not tell that a
-- task is in `run`.

local usual = { check = true, owned = true, is_new = true }

local function run_checked(options)
  local process = processes.start_captured(options)
  local check = options.check
  if check == nil or check == true then return collector.collect(process, usual) end
  return collector.collect(process, { check = check, owned = true, is_new = true })
end

--- Runs a command to its end: stdin is null unless the spec says otherwise, stdout and stderr are captured. Yields.
---
--- When it is cancelled, or a time limit passes, the process is stopped by its plan and reaped before run returns.
--- A pipe that somebody else holds open after the exit is given up after `linger` seconds of silence (a second after a
--- stop plan): Result.held_by names who, Result.truncated is true.
---@param spec corun.Spec
---@return corun.Result
---Raises kind "spawn", "exit", "timeout", "idle", "limit", "cancelled"; all but the first carry `result`.
function M.run(spec)
  return (run_checked(specs.check(spec, "run")))
end

--- Runs a command and returns its stdout without trailing newlines, as $(…). Yields, raises as corun.run.
---@param spec corun.Spec
---@return string  with a `format`: what that makes of it
function M.capture(spec)
  return results.output_of(run_checked(specs.check(spec, "capture")))
end

local function split_template(template, ...)
  if type(template) ~= "table" then return template, table.pack(...), {} end
  local arguments, options = {}, {}
  for key, value in pairs(template) do
    if math.type(key) ~= "integer" then options[key] = value end
  end
  for i = 2, #template do arguments[i - 1] = template[i] end
  return template[1], arguments, options
end

--- Runs a command line by /bin/sh -c. Each {} in the template takes the next argument, quoted (a list becomes several
--- words); {{}} is a literal {}. With options: corun.sh{template, ..., cwd = …}. Yields, raises as corun.run.
---@param template string|table
---@param ... string|number|(string|number)[]
---@return corun.Result
function M.sh(template, ...)
  local text, arguments, spec = split_template(template, ...)
  if type(text) ~= "string" then errors.argument("sh: a template expected, got %s", errors.show(text)) end
  spec[1], spec[2], spec[3] = "/bin/sh", "-c", shell.fill(text, arguments)
  return (run_checked(specs.check(spec, "sh")))
end

--- The path at which a program of that name would be found, or nil. A name with a slash is looked at where it is.
---@param name string
---@return string?
function M.which(name)
  if type(name) ~= "string" or name == "" then
    errors.argument("which: a program's name expected, got %s", errors.show(name))
  end
  if name:find("\0", 1, true) then errors.argument("which: a NUL byte in %s", errors.show(name)) end
  return core.which(name, os.getenv("PATH"))
end

---@class corun.Command
---A spec to be used again; it never changes, each method gives a new one or runs it. a | b is a Pipeline.
---@operator bor: corun.Pipeline
local Command = {}
Command.__index = Command
Command.__name = "corun.Command"

local function make(spec)
  return setmetatable({ _spec = specs.copy(spec) }, Command)
end

function Command.__newindex(_, name)
  errors.argument("a Command does not change: no assignment to %s; use :with{…}", errors.show(name))
end

---@param spec corun.Spec
---@return corun.Command
function M.command(spec)
  specs.check(spec, "command")
  return make(spec)
end

--- The same command with other options.
---@param options table
---@return corun.Command
function Command:with(options)
  if type(options) ~= "table" then errors.argument("with: a table expected, got %s", errors.show(options)) end
  local spec = specs.copy(self._spec)
  for key, value in pairs(options) do
    if math.type(key) == "integer" then errors.argument("with: options only; arguments are added with :args") end
    spec[key] = value
  end
  specs.check(spec, "with")
  return make(spec)
end

--- The same command with further arguments.
---@param ... string|number
---@return corun.Command
function Command:args(...)
  local spec = specs.copy(self._spec)
  for i = 1, select("#", ...) do spec[#spec + 1] = shell.word_of((select(i, ...)), "args: argument " .. i) end
  specs.check(spec, "args")
  return make(spec)
end

Command.__bor = pipelines.join

function Command:run() return M.run(self._spec) end
function Command:capture() return M.capture(self._spec) end
function Command:spawn() return processes.spawn(self._spec, scopes.current()) end

--- Starts it and iterates over its output as `format` says (lines, if it says nothing). At the end a bad exit raises,
--- unless `check` is false. Breaking out of the loop stops the process. Yields.
---@return fun(): any
function Command:lines()
  local spec = specs.copy(self._spec)
  if spec.stderr == nil then spec.stderr = "inherit" end
  if spec.stdin == nil and spec.input == nil then spec.stdin = "null" end
  if spec.stdout ~= nil and spec.stdout ~= "pipe" and spec.stdout ~= "pty" then
    errors.argument("lines: option 'stdout': the output goes elsewhere")
  end
  local process = processes.spawn(spec, scopes.current())
  local next_item = formats.iterate(spec.format or "lines", process.stdout, formats.text_options(spec))
  return function()
    local item = next_item()
    if item ~= nil then return item end
    local check = spec.check
    if check == nil then check = true end
    collector.collect(process, { check = check, owned = true, raw = true })
    return nil
  end, nil, nil, process
end

function Command:__tostring()
  return shell.quote(table.unpack(self._spec))
end

return M
