--- Process: one child, its streams, its end.

local core = require "corun.core"
local attaching = require "corun.attach"
local cgroups = require "corun.cgroup"
local collector = require "corun.collect"
local containment = require "corun.contain"
local errors = require "corun.error"
local failures = require "corun.failure"
local foreground = require "corun.foreground"
local formats = require "corun.format"
local results = require "corun.result"
local scopes = require "corun.scope"
local shell = require "corun.shell"
local signals = require "corun.signals"
local specs = require "corun.spec"
local stop = require "corun.stop"

local M = {}

---@class corun.Process
---@field pid integer?
---@field argv string[]
---@field command string          copy-pasteable
---@field cwd string
---@field stdin corun.Writer?     nil where it is no pipe; so the next two
---@field stdout corun.Reader?
---@field stderr corun.Reader?
---@field fds table<integer, corun.Reader|corun.Writer>
---@field started_at number?      seconds since the epoch
---@field ended_at number?
---@field duration number?        seconds; so far, while it runs
---@field status corun.Status?    nil while it runs
---@field containment "cgroup"|"group"|"process"  what a tree kill reaches: its cgroup; its process group and, on Linux,
---also who has left that (setsid, a daemon's double fork: see runtime/core/tree.h); or itself alone
---@field survivors integer[]?    pids of what the last stop plan has left; nil: nothing
local Process = {}
Process.__name = "corun.Process"
M.Process = Process

local getters = {}
local none = {}

function Process.__index(self, name)
  local method = Process[name]
  if method ~= nil then return method end
  local getter = getters[name]
  if getter then return getter(self) end
end

function getters.pid(self)
  local handle = rawget(self, "_handle")
  return handle and handle:pid()
end

function getters.started_at(self)
  local handle = rawget(self, "_handle")
  return handle and handle:began()
end

function getters.argv(self)
  local options = rawget(self, "_options")
  return options and options.argv
end

function getters.fds(self)
  if not self._handle then return nil end
  local fds = {}
  rawset(self, "fds", fds)
  return fds
end

function getters._stop_plan(self)
  local options = self._options
  return options.stop or stop.default(options.grace)
end

function getters.command(self)
  local words = {}
  for i, word in ipairs(self.argv) do words[i] = shell.quote(word) end
  return table.concat(words, " ")
end

function getters.cwd(self) return self._options.cwd or core.cwd() end

function getters.status(self)
  if not self._handle then return nil end
  local ended, code, signo, core_dumped, unknown = self._handle:status()
  if not ended then return nil end
  local status = results.status(code, signo, core_dumped, unknown, self._reason)
  rawset(self, "status", status)
  return status
end

function getters.duration(self)
  if not self._handle then return nil end
  local started, ended = self._handle:times()
  return (ended > 0 and ended or core.now()) - started
end

function getters.ended_at(self)
  if not self.status then return nil end
  return self.started_at + self.duration
end

function getters.containment(self)
  if self._has_cgroup then return "cgroup" end
  return self._handle and not self._is_in_our_group and "group" or "process"
end

function Process:__tostring()
  if not self._handle then return "Process (not started)" end
  local status = self.status
  return ("Process %d (%s): %s"):format(self.pid, status and tostring(status) or "running", self.command)
end

-- Ended, but with members of their group left, so that their scope still holds them. Nothing tells when such a group
-- gets empty: each start looks at the two that waited longest, so that they do not pile up in a long-lived scope.
local lingering = { first = 1, last = 0 }

local LINGERS_LONG = 5 -- seconds

local function linger(process)
  process._lingers_since = process._lingers_since or core.now()
  lingering.last = lingering.last + 1
  lingering[lingering.last] = process
  process._lingers = lingering.last
end

--- While something of it may be left, SIGINT is ours.
local function set_live(process, live)
  if (process._is_live or false) == live then return end
  process._is_live = live or nil
  scopes.count_live(live and 1 or -1)
end

--- Nothing of it is left: its scope and its descriptor let it go.
local function let_go(self)
  set_live(self, false)
  self._home._processes[self] = nil
  if lingering.last >= lingering.first and self._lingers then lingering[self._lingers] = nil end
  self._handle:let_go()
end
Process._let_go = let_go

--- Now and then without the zombies, which a pid 1 that does not reap leaves there for ever.
local function is_left(process)
  if not process._handle:has_group() then return false end
  if core.now() - process._lingers_since < LINGERS_LONG then return true end
  process._lingers_since = core.now()
  return process._handle:is_alive()
end

local function let_go_of_lingering()
  local stop_at = math.min(lingering.first + 1, lingering.last)
  while lingering.first <= stop_at do
    local process = lingering[lingering.first]
    lingering[lingering.first] = nil
    lingering.first = lingering.first + 1
    if process then
      process._lingers = nil
      if is_left(process) then linger(process) else let_go(process) end
    end
  end
end

-- Starting

--- What feeds its stdin is of no use any more.
function Process:_end_feeding()
  if self._feeding then self._feeding:_end_of_scope() end
  self._feeding = nil
end

--- The time limits of a process that nobody collects.
local function watch_limits(self)
  local _, scope = scopes.go_background(self._home, function()
    local ok, expired = pcall(collector.wait_for_limit, self)
    if ok and expired then self:_stop(self._stop_plan) end
  end)
  self._limit_watch = scope
end

--- The cgroup of its own. From then on nothing may raise until core.start takes it.
local function make_cgroup(self, options, plan)
  local cgroup, failure = cgroups.make(options)
  if not cgroup then
    if self._owns_tee then options.tee:_abandon() end
    failures.raise_for(options, failure.kind, failure.message,
      { code = failure.code, stage = "cgroup", option = failure.option })
  end
  plan.cgroup = cgroup
end

--- What marks a tree is not the script's while that contains it.
local function refuse_locks(options)
  for _, limit in ipairs(options.rlimits) do
    if limit[4] == "locks" then
      failures.raise_for(options, "unsupported", "corun.contain needs this limit for itself",
        { code = "ENOTSUP", option = "rlimits.locks" })
    end
  end
end

local function check_idle_timeout(options, plan)
  if not (options.stdout == "pipe" or options.stderr == "pipe" or type(options.stdout) == "function"
      or type(options.stderr) == "function" or plan.pty) then
    errors.argument("option 'idle_timeout': neither stdout nor stderr is a pipe that could be watched")
  end
end

--- What only special options need, before the start.
local function prepare(self, options, plan)
  if options.rlimits and containment.is_contained() then refuse_locks(options) end
  attaching.open_tee(self, options)
  self._has_cgroup = cgroups.is_wanted(options) or nil
  if self._has_cgroup then make_cgroup(self, options, plan) end
  foreground.begin(options, plan)
  self._is_in_our_group = not plan.group or nil
end

--- A Process that has its first fields, and room for as many as it has while it runs.
local function new(options, home)
  return setmetatable({
    _options = options, _home = home, _where = core.where(errors.library_prefix), _is_live = true,
    _handle = nil, stdin = nil, stdout = nil, stderr = nil,
  }, Process)
end

--- The same for one that corun.process has made.
local function renew(self, options, home)
  self._options, self._home, self._where, self._is_live = options, home, core.where(errors.library_prefix), true
  self.argv = nil
  return self
end

local function give_up(self, options, plan, ...)
  set_live(self, false)
  if self._owns_tee then options.tee:_abandon() end
  failures.raise(options, plan, ...)
end

--- Starts a process with checked options; the defaults are for its streams. `unstarted`: of corun.process, or nil.
local function start(options, defaults, scope, unstarted)
  local plan, argv = specs.plan(options, defaults)
  if lingering.last >= lingering.first then let_go_of_lingering() end
  if options.idle_timeout then check_idle_timeout(options, plan) end
  if plan.shares_output or options._is_special then attaching.flush_shared(options, plan) end
  local home = scope._home
  local self = unstarted and renew(unstarted, options, home) or new(options, home)
  if options._is_special then prepare(self, options, plan) end
  scopes.count_live(1) -- before it: a signal to us may come with the child's first breath
  local handle, stdin, stdout, stderr, others, number = core.start(plan, self, argv, options.argv[1])
  if not handle then give_up(self, options, plan, stdin, stdout, stderr, others, number) end
  self._handle = handle
  if not options.detached then home._processes[self] = true end
  if options._is_special then
    attaching.attach(self, stdin, stdout, stderr, others)
    if plan.pump then attaching.pump(self, plan.pump) end
  else
    self.stdin, self.stdout, self.stderr = stdin, stdout, stderr
  end
  if options.input ~= nil then attaching.feed(self, options.input, true) end
  return self
end

local pipes = { stdin = "pipe", stdout = "pipe", stderr = "pipe" }
local captured = { stdin = "null", stdout = "pipe", stderr = "pipe" }

--- A process that run, capture or sh collects.
function M.start_captured(options)
  core.check() -- in a cancelled scope nothing new is started; so below
  local self = start(options, captured, scopes.current())
  -- stdin = "pipe", to which nobody could write
  if options.stdin ~= "null" and self.stdin and not self._fed then self.stdin:write_eof() end
  return self
end

--- A started process with three pipes unless the spec says otherwise.
function M.spawn(spec, scope)
  local options = specs.check(spec, "spawn")
  core.check()
  local self = start(options, pipes, scope)
  if options.timeout or options.idle_timeout then watch_limits(self) end
  return self
end

--- A stage of a Pipeline, from checked options. What collects it sees to its time limits.
function M.start_stage(options, scope, is_collected)
  local self = start(options, pipes, scope)
  if not is_collected and (options.timeout or options.idle_timeout) then watch_limits(self) end
  return self
end

--- A process that is not started.
---@param spec corun.Spec?
---@return corun.Process
function M.process(spec)
  if spec ~= nil then specs.check(spec, "process") end
  return setmetatable({ _spec = spec, argv = {} }, Process)
end

--- Starts a process that corun.process made. Raises kind "spawn"; a second start raises.
---@param spec corun.Spec?  replaces what corun.process was given
---@return corun.Process self
function Process:start(spec)
  if self._handle then errors.argument("start: the process was started before (pid %d)", self.pid) end
  spec = spec or self._spec
  if spec == nil then errors.argument("start: there is no command, neither here nor in corun.process") end
  local options = specs.check(spec, "start")
  core.check()
  start(options, pipes, scopes.current(), self)
  if options.timeout or options.idle_timeout then watch_limits(self) end
  return self
end

-- The end

local function handle_of(self, what)
  if not self._handle then errors.argument("%s: the process was not started", what) end
  if self._options.detached and self._released then
    errors.argument("%s: the process was released (pid %d)", what, self.pid)
  end
  return self._handle
end

local function timed_out(self, what, seconds)
  return errors.new("timeout", ("%s: %s after %g s"):format(self.command, what, seconds), { seconds = seconds })
end

local function left_of(deadline)
  return deadline and math.max(0, deadline - core.now())
end

local function deadline_of(seconds, what)
  return seconds and core.now() + errors.check_seconds(seconds, what)
end

--- Waits until the process has ended. Its streams may still hold data, or be held open by others. Any number of tasks
--- may wait, before or after the end. A cancelled wait leaves the process alone: it goes on until the end of its scope.
--- Yields unless it has ended.
---@param seconds number?  at most so long; then kind "timeout" is raised and the process is left alone
---@return corun.Status
function Process:wait(seconds)
  local handle = handle_of(self, "wait")
  if seconds ~= nil then errors.check_seconds(seconds, "wait") end
  if not handle:wait(seconds) then error(timed_out(self, "still running", seconds), 0) end
  return self.status
end

local function wait_for_readers(self, deadline)
  for _, reading in ipairs(self._readers or none) do
    if not reading:wait(left_of(deadline)) then return false end
  end
  return true
end

--- Waits until the process has ended, its output has come to the end and its line functions are done. What nobody
--- reads is kept in the Readers up to their high water: more than that blocks the child, and this. A cancelled wait
--- leaves the process alone. Yields.
---@param seconds number?
---@return corun.Status
function Process:wait_closed(seconds)
  local handle = handle_of(self, "wait_closed")
  local deadline = deadline_of(seconds, "wait_closed")
  local function late() error(timed_out(self, "not closed", seconds), 0) end
  if not handle:wait(seconds) then late() end
  local ours = { self.stdout or false, self.stderr or false, self.terminal or false, table.unpack(self._silent or {}) }
  for _, stream in ipairs(ours) do
    if stream and not core.wait_any(left_of(deadline), stream) then late() end
  end
  for _, stream in pairs(rawget(self, "fds") or none) do
    if getmetatable(stream) == core.Reader and not core.wait_any(left_of(deadline), stream) then late() end
  end
  if not wait_for_readers(self, deadline) then late() end
  return self.status
end

--- Runs a stop plan on the tree; false if some of it is left.
function Process:_stop(plan, is_urgent)
  return scopes.shield(function() return stop.run(self, plan, is_urgent) end)
end

local function close_streams(self)
  if self.stdin then self.stdin:_abandon() end
  for _, stream in pairs { self.stdout or false, self.stderr or false, self.terminal or false } do
    if stream then stream:close() end
  end
  for _, stream in pairs(rawget(self, "fds") or none) do
    if getmetatable(stream) == core.Reader then stream:close() else stream:_abandon() end
  end
end

--- Line functions and tees get a second to finish after the process was stopped, then they are given up.
function Process:_end_readers()
  for _, reading in ipairs(self._readers or none) do reading:_end_of_scope() end
end

--- What the end of its scope does to it: stopped, reaped, streams closed. Of one that has ended, whoever has left its
--- group by then is a daemon that shall live.
function Process:_end_of_scope()
  if not self.status or self._stopping or rawget(self, "survivors") or self._handle:has_group() then
    local plan = stop.with_kill(self._stop_plan)
    if self._terminal and not self._options.stop then
      self._terminal:hang_up()
      plan = stop.with_hang_up(plan)
    end
    stop.run(self, plan)
  end
  if self.status then self:_let_go() end
  self._home._processes[self] = nil
  self:_end_feeding()
  self:_end_readers()
  close_streams(self)
end

--- Between two turns of the loop, once it was reaped. `has_group`: members of its group are left.
function errors.hooks.process_ended(self, has_group)
  -- A plan that runs looks for who is left, and whom it could not stop is its scope's.
  if self._options.detached and self._released or self._stopping or rawget(self, "survivors") then return end
  if has_group then linger(self) else let_go(self) end
end

--- Runs the stop plan on the tree and waits; while another one runs, for its end before. With nothing left of the tree
--- nothing is done. Not interrupted by a cancellation. Yields.
---@param grace number?  seconds between TERM and KILL, with the default plan; default 5
---@return corun.Status?  nil if it still runs (a plan without KILL)
function Process:terminate(grace)
  handle_of(self, "terminate")
  if grace ~= nil then errors.check_seconds(grace, "terminate") end
  local plan = grace and stop.default(grace) or self._stop_plan
  self:_stop(plan)
  return self.status
end

local kill_plan = { stop.signal_step(core.signals.KILL, 0) }

--- SIGKILL to the tree, and waits; also while a stop plan runs. Yields.
---@return corun.Status
function Process:kill()
  handle_of(self, "kill")
  self:_stop(kill_plan, true)
  return self.status
end

--- Stops the tree by its plan (with KILL 5 s after a plan that has none), reaps it and closes its streams; a detached
--- process, too. A second
--- call does nothing. Not interrupted by a cancellation. Yields.
function Process:close()
  if not self._handle or self._closed or self._released then return end
  self._closed = true
  scopes.shield(function() self:_end_of_scope() end)
end

Process.__close = Process.close

--- Gives a detached process up: corun neither stops nor waits for it any more, also not for its time limit, and closes
--- its ends of the pipes. Yields where a line function or an input iterator of the process has to end.
---@return integer pid
function Process:release()
  local handle = handle_of(self, "release")
  if not self._options.detached then errors.argument("release: only a process with detached = true outlives corun") end
  if self._stopping then errors.argument("release: a stop plan runs on the process") end
  if self._limit_watch then self._limit_watch:cancel() end
  if not self.status then handle:release() end
  set_live(self, false)
  self._released = true
  scopes.shield(function()
    self:_end_feeding()
    self:_end_readers()
  end)
  close_streams(self)
  return self.pid
end

--- Sends a signal to the process alone.
---@param signal string|integer
---@return boolean  false when it has ended
function Process:signal(signal)
  return handle_of(self, "signal"):signal(signals.number(signal, "signal"))
end

--- Sends a signal to all that is left of its tree (see `containment`), also after its own end.
---@param signal string|integer
---@return boolean  false when nobody was there
function Process:signal_tree(signal)
  return handle_of(self, "signal_tree"):signal_tree(signals.number(signal, "signal_tree"))
end

local CONT, STOP = core.signals.CONT, core.signals.STOP

--- What of its tree runs, but for itself: children, theirs, and so on, however they have left it. [] where it cannot be
--- known. Does not yield.
---@return { pid: integer, parent: integer, state: string, command: string }[]  in the order of their pids; state: "R"
---(runs), "S" (sleeps), "D" (cannot be interrupted), "T" (stopped), …, see proc(5)
function Process:tree() return core.members(handle_of(self, "tree")) end

--- Stops the tree (SIGSTOP), and lets it go on (SIGCONT).
---@return boolean  false when nobody was there
function Process:suspend() return handle_of(self, "suspend"):signal_tree(STOP) end

---@return boolean
function Process:resume() return handle_of(self, "resume"):signal_tree(CONT) end

---@class corun.Usage  what cannot be known is absent (the I/O of another user's process, where we are not root)
---@field user_time number         seconds of processor time, of all threads; so the next
---@field system_time number
---@field max_rss integer?         bytes: the most memory that it had at once. The final number is never less than what
---corun itself had when it started it: the kernel counts the moment before exec, too
---@field minor_faults integer     page faults without and with a read from storage
---@field major_faults integer
---@field read_bytes integer?      from storage; what came from the cache is not counted
---@field written_bytes integer?   to storage, or rather to what will be written there
---@field rss integer?             live only, as the next: bytes of memory now
---@field threads integer?
---@field children integer?        direct ones, zombies included
---@field read_chars integer?      bytes by read(2) and its kind, from whatever: files, pipes, sockets
---@field written_chars integer?
---@field voluntary_switches integer?    final only, as the next: context switches
---@field involuntary_switches integer?

--- What it uses: live from /proc (Linux; processor time in steps of 10 ms), final from the kernel's accounting, where
--- the children that it has waited for are included. Does not yield.
---@return corun.Usage?  nil where it cannot be known: after the end with the libuv backend, or where somebody else has
---reaped it; before, where there is no /proc
function Process:usage()
  return handle_of(self, "usage"):usage()
end

---@class corun.OpenFile
---@field fd integer
---@field path string        as the kernel has it: with " (deleted)" behind it if it was removed; "pipe:[123]",
---"socket:[123]", "anon_inode:[eventpoll]" for what is no file
---@field mode "r"|"w"|"rw"|nil  nil for a descriptor that can neither be read nor written (O_PATH)
---@field position integer?  bytes from the beginning; 0 for what has none

--- The descriptors that it has open now, by number (Linux). After its end it has none: an empty list. Does not yield.
---Raises kind "io" with code "EACCES" for a process of another user, where we are not root.
---@return corun.OpenFile[]
function Process:open_files()
  return handle_of(self, "open_files"):open_files()
end

-- Streams

local function stream_of(self, name)
  local stream = self[name]
  if not stream then errors.argument("%s: not a pipe to us", name) end
  return stream
end

--- Writes to stdin, see Writer:write. Yields while the pipe is full.
function Process:write(...)
  stream_of(self, "stdin"):write(...)
  return self
end

--- EOF on stdin, once what was written is out. On a terminal it is typed (VEOF, twice in the middle of a line), and the
--- Writer stays open: a program that asks again gets what is typed next. Does not wait.
---Raises kind "unsupported" where the terminal has no key for it.
function Process:close_stdin() stream_of(self, "stdin"):write_eof() end

--- See Reader:expect, of the terminal where there is one, else of stdout.
function Process:expect(patterns, options)
  return (self.terminal or stream_of(self, "stdout")):expect(patterns, options)
end

--- See Reader:read.
function Process:read_stdout(n) return stream_of(self, "stdout"):read(n) end
function Process:read_stderr(n) return stream_of(self, "stderr"):read(n) end

local function lines_of(self, name, options)
  return stream_of(self, name):lines(options or formats.text_options(self._options))
end

--- Iterators over lines, see Reader:lines; without options by the spec's `crlf`, `utf8` and `ansi`.
function Process:stream_stdout(options) return lines_of(self, "stdout", options) end
function Process:stream_stderr(options) return lines_of(self, "stderr", options) end

--- Iterates over the lines of both streams as they come: for line, source in p:lines() do … source is "stdout" or
--- "stderr". Breaking out of it leaves the Readers usable, at most one line further on each. Yields.
---@return fun(): string?, "stdout"|"stderr"|nil
function Process:lines(options)
  local sources = {}
  for _, name in ipairs { "stdout", "stderr" } do
    if self[name] then sources[#sources + 1] = { self[name], name } end
  end
  if #sources == 0 then stream_of(self, "stdout") end
  return collector.merged_lines(sources, options or formats.text_options(self._options))
end

--- Feeds `input` to stdin, then EOF; reads both outputs to their ends (or until `linger` after the exit); waits for
--- the end. Raises kind "timeout" after `seconds`, and then, as when it is cancelled, leaves the process alone: a
--- second call goes on where this one stopped and gives the whole. `check` counts if the spec has it. Yields.
---@param input string|fun(): string?|nil  or anything else that can be called, as a Stream or Channel
---@param seconds number?
---@return corun.Result
function Process:communicate(input, seconds)
  handle_of(self, "communicate")
  local deadline = deadline_of(seconds, "communicate")
  core.check()
  if input ~= nil then
    if type(input) ~= "string" and not errors.is_callable(input) then
      errors.argument("communicate: a string or an iterator expected, got %s", errors.show(input))
    end
    attaching.feed(self, input)
  elseif self.stdin and not self._fed then
    self._fed = self._terminal ~= nil -- it would be typed once more
    self.stdin:write_eof()
  end
  local watched = self._limit_watch
  if watched then watched:cancel() end -- for the time being the limits are watched here
  local ok, result = pcall(collector.collect, self,
    { deadline = deadline, seconds = seconds, check = self._options.check or false })
  if watched and not self.status then watch_limits(self) end
  return errors.reraise(ok, result)
end

return M
