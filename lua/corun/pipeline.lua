--- Pipelines: commands and functions connected by kernel pipes; a | b | c.

local errors = require "corun.error"
local formats = require "corun.format"
local results = require "corun.result"
local running = require "corun.running"
local specs = require "corun.spec"
local shell = require "corun.shell"

local M = {}

---@alias corun.Stage corun.Command|corun.Spec|corun.Pipeline|fun(reader: corun.Reader, writer: corun.Writer)

---@class corun.Pipeline
---Commands and functions whose outputs are connected to the next one's inputs; it never changes, each method gives a
---new one or runs it. Bytes go from child to child through kernel pipes, not through corun. A function stage is called
---with a Reader on what comes before it and a Writer to what follows, in a task and a scope of its own; when it
---returns, both are closed.
---@operator bor: corun.Pipeline
local Pipeline = {}
M.Pipeline = Pipeline
Pipeline.__index = Pipeline
Pipeline.__name = "corun.Pipeline"

function Pipeline.__newindex(_, name)
  errors.argument("a Pipeline does not change: no assignment to %s; use :with{…}", errors.show(name))
end

local function make(chain, options)
  return setmetatable({ _chain = chain, _options = options }, Pipeline)
end

local function is_pipeline(value) return getmetatable(value) == Pipeline end

local function is_command(value)
  return type(value) == "table" and (getmetatable(value) or {}).__name == "corun.Command"
end

local function node_of(part, what)
  if type(part) == "function" then return { kind = "function", fn = part } end
  if is_command(part) then return { kind = "command", spec = part._spec } end
  if type(part) ~= "table" or getmetatable(part) then
    errors.argument("%s: a Command, a spec, a function or a Pipeline expected, got %s", what, errors.show(part))
  end
  specs.check(part, what)
  return { kind = "command", spec = specs.copy(part) }
end

--- What a node in the middle is connected to is not free.
local function check_place(node, what, is_first, is_last)
  if node.kind == "merge" and not is_first then errors.argument("%s: a merge reads nothing: it comes first", what) end
  if node.kind == "tee" and not is_last then
    errors.argument("%s: a tee has several ends: nothing can come behind it", what)
  end
  local spec = node.spec or {}
  for _, name in ipairs { "stdin", "input" } do
    if not is_first and spec[name] ~= nil then
      errors.argument("%s: option '%s': stdin is the pipe from the stage before", what, name)
    end
  end
  for _, name in ipairs { "stdout", "format" } do
    if not is_last and spec[name] ~= nil then
      errors.argument("%s: option '%s': its output is what the next stage reads", what, name)
    end
  end
end

local function check_places(chain, what, is_first, is_last)
  for i, node in ipairs(chain) do
    check_place(node, ("%s: stage %d"):format(what, i), is_first and i == 1, is_last and i == #chain)
  end
end

--- The options of a Pipeline that may be those of its commands; of the others, those that only the first or last has.
local of_commands = {
  "cwd", "env", "clear_env", "limit", "overflow", "linger", "stop", "grace", "crlf", "utf8", "ansi",
}
local of_the_first = { stdin = true, input = true }
local of_the_last = { stdout = true, format = true }

--- Options of a part of a Pipeline become those of its commands; what is about its ends stays with the whole, where the
--- ends are the same.
local function absorb(part, what, options, is_first, is_last)
  local rest = specs.copy(part._options)
  local own = {}
  for _, name in ipairs(of_commands) do own[name], rest[name] = rest[name], nil end
  local chain = {}
  for i, node in ipairs(part._chain) do
    local spec = node.spec and specs.copy(node.spec)
    if spec then
      if own.grace ~= nil then spec.stop = nil end
      if own.stop ~= nil then spec.grace = nil end
      for name, value in pairs(own) do spec[name] = value end
    end
    chain[i] = { kind = node.kind, fn = node.fn, spec = spec, sources = node.sources, branches = node.branches }
  end
  for name, value in pairs(rest) do
    if not (of_the_first[name] and is_first or of_the_last[name] and is_last) then
      errors.argument("%s: option '%s' of a part: it can only be one of the whole", what, name)
    end
    options[name] = value
  end
  return chain
end

local function build(parts, what, count)
  local chain, options = {}, {}
  for i = 1, count do
    local name = ("%s: stage %d"):format(what, i)
    local part = parts[i]
    if is_pipeline(part) then
      local nodes = absorb(part, name, options, i == 1, i == count)
      table.move(nodes, 1, #nodes, #chain + 1, chain)
    else
      chain[#chain + 1] = node_of(part, name)
    end
  end
  check_places(chain, what, true, true)
  return make(chain, options)
end

local function check_parts(parts, what)
  if type(parts) ~= "table" or getmetatable(parts) then
    errors.argument("%s: a list of stages expected, got %s", what, errors.show(parts))
  end
  if #parts == 0 then errors.argument("%s: at least one stage expected, got none", what) end
  for key in pairs(parts) do
    if math.type(key) ~= "integer" or key < 1 or key > #parts then
      errors.argument("%s: a list of stages expected, got one with %s; options are set with :with{…}", what,
        errors.show(key))
    end
  end
end

--- A Pipeline of Commands, specs, functions and other Pipelines. a | b | c is the same for Commands. Does not start
--- anything.
---@param parts corun.Stage[]
---@return corun.Pipeline
function M.pipeline(parts)
  check_parts(parts, "pipeline")
  return build(parts, "pipeline", #parts)
end

--- The operator | of Commands and Pipelines.
function M.join(a, b) return build({ a, b }, "pipeline", 2) end
Pipeline.__bor = M.join

--- The parts of a merge or tee, as Pipelines without options of their own.
local function pipelines_of(parts, what, is_first, is_last)
  check_parts(parts, what)
  local list = {}
  for i = 1, #parts do
    local name = ("%s: %d"):format(what, i)
    local part = is_pipeline(parts[i]) and parts[i] or build({ parts[i] }, name, 1)
    local options = {}
    list[i] = make(absorb(part, name, options, is_first, is_last), options)
    check_places(list[i]._chain, name, is_first, is_last)
    local option = next(options)
    if option then errors.argument("%s: option '%s' of a part: it can only be one of its commands", name, option) end
  end
  return list
end

--- Fan-out: what `source` writes goes to each of the branches, within the kernel. The slowest branch sets the pace; one
--- that ends early is left out; when all have ended, the source is cut off. Each branch's output is in its last stage's
--- Result (`stages`); the Pipeline's own is that of the last branch. Linux only (else kind "unsupported" when it
--- starts).
---@param source corun.Stage
---@param branches corun.Stage[]
---@return corun.Pipeline
function M.tee(source, branches)
  local list = pipelines_of(branches, "tee", false, true)
  local options = {}
  local chain = absorb(is_pipeline(source) and source or build({ source }, "tee", 1), "tee", options, true, false)
  chain[#chain + 1] = { kind = "tee", branches = list }
  check_places(chain, "tee", true, true)
  return make(chain, options)
end

--- Fan-in: what all of them write, as it comes, line by line: no line is torn, a last one without newline gets one. As
--- a Pipeline of its own or the beginning of one: corun.merge{a, b} | c.
---@param sources corun.Stage[]
---@return corun.Pipeline
function M.merge(sources)
  return make({ { kind = "merge", sources = pipelines_of(sources, "merge", true, false) } }, {})
end

-- The specs at the ends: theirs may say what the Pipeline's stdin and stdout are.

function Pipeline:_first_spec()
  local node = self._chain[1]
  if node.kind == "merge" then return node.sources[1]:_first_spec() end
  return node.spec or {}
end

function Pipeline:_last_spec()
  local node = self._chain[#self._chain]
  if node.kind == "tee" then return node.branches[#node.branches]:_last_spec() end
  return node.spec or {}
end

local with_options = {}
for _, name in ipairs { "input", "stdin", "stdout", "cwd", "env", "clear_env", "timeout", "idle_timeout", "linger",
  "stop", "grace", "check", "limit", "overflow", "tee", "format", "crlf", "utf8", "ansi" } do
  with_options[name] = true
end

--- The same Pipeline with options: `input` and `stdin` of the first stage; `stdout`, `format`, `crlf`, `utf8`, `ansi`
--- of what comes out at the end; `cwd`, `env`, `clear_env`, `limit`, `overflow`, `linger`, `stop`, `grace` for every
--- stage; `tee = true` and a prefix for all that is captured, a Writer or file for what comes out at the end;
--- `timeout`, `idle_timeout` and `check` for the whole. They replace those of the stages.
---@param options table
---@return corun.Pipeline
function Pipeline:with(options)
  if type(options) ~= "table" then errors.argument("with: a table expected, got %s", errors.show(options)) end
  local merged = specs.copy(self._options)
  for name, value in pairs(options) do
    if not with_options[name] then
      errors.argument("with: a Pipeline has no option %s", errors.show(name))
    end
    merged[name] = value
  end
  merged = specs.copy(merged)
  local probe = specs.copy(merged)
  probe[1] = "true"
  specs.check(probe, "with")
  return make(self._chain, merged)
end

local function check_of(pipeline)
  local check = pipeline._options.check
  if check == nil then return true end
  return check
end

local function run(pipeline)
  local started = running.start(pipeline, { stdin = "null", stdout = "pipe", stderr = "pipe", is_collected = true })
  return running.collect(started, check_of(pipeline))
end

--- Runs it to its end: stdin is null unless said otherwise; the last stage's stdout and each stage's stderr are
--- captured. It has failed if a stage has: with a bad exit (by its own `check`), by a signal, a time limit, an error of
--- a function. What does not count is a stage that was cut off (SIGPIPE, which a shell reports as 141; EPIPE in a
--- function) by later ones that have ended well. Yields.
---@return corun.Result  status, stderr and pid are those of the rightmost stage that failed, else of the last; `stages`
---has each one's own Result, with `bytes_in` and `bytes_out` where they are known
---Raises as corun.run; what a function stage raises is raised again.
function Pipeline:run() return (run(self)) end

--- Runs it and returns its output without trailing newlines. Yields, raises as run.
---@return string  with a `format`: what that makes of it
function Pipeline:capture() return (results.output_of(run(self))) end

--- Starts it in the current scope: with a pipe to the first stage's stdin, from the last one's stdout, and from each
--- stderr, unless said otherwise.
---@return corun.RunningPipeline
---Raises as corun.spawn; then nothing of it is left running.
function Pipeline:spawn()
  return running.start(self, { stdin = "pipe", stdout = "pipe", stderr = "pipe" })
end

--- Starts it and iterates over its output as `format` says (lines, if it says nothing). At the end a bad end raises,
--- unless `check` is false. Breaking out of the loop stops it. Yields.
---@return fun(): any
function Pipeline:lines()
  local stdout = self._options.stdout
  if stdout == nil then stdout = self:_last_spec().stdout end
  if stdout ~= nil and stdout ~= "pipe" and stdout ~= "pty" then
    errors.argument("lines: option 'stdout': the output goes elsewhere")
  end
  local started = running.start(self, { stdin = "null", stdout = "pipe", stderr = "inherit", is_collected = true })
  local text_options = formats.text_options(self:_last_spec())
  for name, value in pairs(formats.text_options(self._options)) do text_options[name] = value end
  local next_item = formats.iterate(started._format or "lines", started.stdout, text_options)
  return function()
    local item = next_item()
    if item ~= nil then return item end
    started._format = nil
    running.collect(started, check_of(self))
    return nil
  end, nil, nil, started
end

local function text_of(node)
  if node.kind == "command" then return shell.quote(table.unpack(node.spec)) end
  if node.kind == "function" then
    local info = debug.getinfo(node.fn, "S")
    return ("<function at %s:%d>"):format(info.short_src, info.linedefined)
  end
  local parts = {}
  if node.kind == "merge" then
    for i, source in ipairs(node.sources) do parts[i] = tostring(source) end
    return "{ " .. table.concat(parts, " & ") .. " & wait; }"
  end
  for i = 1, #node.branches - 1 do parts[i] = ">(" .. tostring(node.branches[i]) .. ")" end
  table.insert(parts, 1, "tee")
  return table.concat(parts, " ") .. " | " .. tostring(node.branches[#node.branches])
end

--- As it would be typed into a shell.
function Pipeline:__tostring()
  local words = {}
  for i, node in ipairs(self._chain) do words[i] = text_of(node) end
  return table.concat(words, " | ")
end

return M
