--- What goes through a Process's pipes by itself: input that is fed, lines for functions, copies for tees.

local core = require "corun.core"
local errors = require "corun.error"
local failures = require "corun.failure"
local formats = require "corun.format"
local scopes = require "corun.scope"
local stdio = require "corun.stdio"

local M = {}

--- A task that reads what a process writes; at the end of the scope it has a second from the process's end on (a
--- detached one is not waited for). Its error is one of the process's scope.
local function read_with(process, fn)
  local is_detached = process._options.detached
  local function finish()
    if process._handle and not is_detached then process._handle:wait() end
  end
  process._readers = process._readers or {}
  table.insert(process._readers, scopes.attend(fn, finish, is_detached and 0 or nil, process._home))
end

--- Calls fn with each line of the Reader.
local function read_lines_with(process, reader, fn)
  read_with(process, function()
    local ok, e, traceback = errors.call(function()
      for line in reader:lines(formats.text_options(process._options)) do fn(line) end
    end)
    reader:close()
    if not ok then errors.raise(e, traceback) end
  end)
end

--- Copies what comes to an output, which is closed then if it is `ours`.
function M.tee(process, reader, output, prefix, ours)
  local copy = reader:_copy()
  read_with(process, function()
    local ok, e, traceback = errors.call(function()
      if type(prefix) == "string" then
        for line in copy:lines() do output:write(prefix, line, "\n") end -- one unbroken piece
      else
        copy:_copy_to(output)
      end
      if ours then output:close() end
    end)
    copy:close()
    if ours then output:_abandon() end
    if not ok then errors.raise(e, traceback) end
  end)
end

local function start_tees(self, wanted)
  if wanted == true or type(wanted) == "string" then
    if self.stdout then M.tee(self, self.stdout, stdio.stdout, wanted) end
    if self.stderr then M.tee(self, self.stderr, stdio.stderr, wanted) end
  elseif wanted and self.stdout then
    M.tee(self, self.stdout, wanted, nil, self._owns_tee)
  end
end

--- Copies what a Reader had already read ahead, and the rest, to the child's stdin.
function M.pump(process, reader)
  local writer = process.stdin
  process.stdin = nil
  process._feeding = scopes.attend(function()
    pcall(reader._copy_to, reader, writer)
    reader:close()
    pcall(writer.close, writer) -- waits: what is queued goes with the Writer
    writer:_abandon()
  end, nil, 0, process._home)
end

--- Writes a string, or what an iterator gives, and EOF; until nobody reads it any more.
function M.feed_writer(writer, input)
  local ok, e = pcall(function()
    if type(input) == "string" then writer:write(input) else writer:writelines(input) end
  end)
  writer:write_eof()
  -- Nobody reads it any more, or it was closed by a step of a stop plan.
  if not ok and not errors.is_kind(e, "io") and not errors.is_kind(e, "closed") then error(e, 0) end
end

local small_input = 65536 -- goes into the pipe and the Writer's queue without waiting

--- Feeds `input` to stdin, then EOF. A child that closes its stdin early has read what it wanted. `alone`: nobody else
--- can be writing.
function M.feed(process, input, alone)
  local writer = process.stdin
  process._fed = true
  if not writer then errors.argument("input: stdin is no pipe") end
  if alone and type(input) == "string" and #input <= small_input then
    local ok, e = pcall(writer.write, writer, input)
    writer:write_eof()
    if not ok and not errors.is_kind(e, "io") then error(e, 0) end
    return
  end
  process._feeding = scopes.attend(function() M.feed_writer(writer, input) end, nil, 0)
end

--- One Reader for all streams that say "pty".
local function attach_terminal(self, reader)
  self.terminal = reader
  self._terminal = core.terminal(reader, self._options.stdin == "pty" and self.stdin or nil)
  if self._options.stdout == "pty" then
    self.stdout = reader
  elseif self._options.stderr == "pty" then
    self.stderr = reader
  end
end

--- The default reader of a stream: a function that gets each line.
local function hand_to_function(process, reader, fn)
  if type(fn) ~= "function" then return false end
  read_lines_with(process, reader, fn)
  process._silent = process._silent or {}
  table.insert(process._silent, reader)
  return true
end

--- Gives a process that was started with special options its streams: those of core.start.
function M.attach(self, stdin, stdout, stderr, others)
  local options = self._options
  self.stdin, self.stdout, self.stderr = stdin, stdout, stderr
  if others and others.terminal then
    attach_terminal(self, others.terminal)
    others.terminal = nil
  end
  start_tees(self, options.tee)
  if hand_to_function(self, self.stdout, options.stdout) then self.stdout = nil end
  if hand_to_function(self, self.stderr, options.stderr) then self.stderr = nil end
  if not others or next(others) == nil then return end
  self.fds = others
  for number, value in pairs(options.fds) do
    if hand_to_function(self, others[number], value) then others[number] = nil end
  end
end

local function drain(writer)
  if writer then writer:drain() end
end

--- What we have queued for an output comes before what the child writes to it.
function M.flush_shared(options, plan)
  if plan.shares_output then
    drain(rawget(stdio, "stdout"))
    drain(rawget(stdio, "stderr"))
  end
  if not options._is_special then return end
  drain(getmetatable(options.stdout) == core.Writer and options.stdout)
  drain(getmetatable(options.stderr) == core.Writer and options.stderr)
end

--- The Writer on the file that `tee` names, before anything starts.
function M.open_tee(self, options)
  if getmetatable(options.tee) == core.Writer or type(options.tee) == "table" then
    if options.stdout ~= "pipe" and options.stdout ~= "pty" then
      errors.argument("option 'tee': stdout does not come through a pipe of ours")
    end
  end
  if type(options.tee) ~= "table" then return end
  local ok, output = pcall(stdio.writer_for, options.tee)
  if ok then
    options.tee, self._owns_tee = output, true
    return
  end
  failures.raise_for(options, "spawn", output.message,
    { code = output.code, stage = "open", path = options.tee.file, option = "tee" })
end

return M
