--- A terminal of the child's own ("pty"): what a Process can do with it. Adds to Process.
---
--- It has the kernel's habits: what is typed is echoed unless echo is off; a newline that is written comes as CR LF;
--- while programs read lines, more than 4095 bytes of one are dropped; what is typed ahead is dropped by programs that
--- flush it (a password's question), and an EOF typed ahead is lost when they begin to read keys (readline): wait for
--- their prompt first.

local core = require "corun.core"
local errors = require "corun.error"
local interrupt = require "corun.interrupt"
local processes = require "corun.process"
local scopes = require "corun.owning"
local checks = require "corun.options"
local stdio = require "corun.stdio"

---@class corun.Process
---@field terminal corun.Reader?  what comes from its terminal: stdout or stderr where these are "pty", else a Reader of
---its own (what is echoed, and what is written to /dev/tty); nil without a "pty". It ends when the process has ended,
---which hangs the terminal up, whoever else has it open
local Process = processes.Process

local function terminal_of(self, what)
  if not self._handle then errors.argument("%s: the process was not started", what) end
  if not self._terminal then errors.argument("%s: no stream of the process is a \"pty\"", what) end
  return self._terminal
end

local function raise_ended(self, what)
  error(errors.new("closed", ("%s: %s: its terminal has ended"):format(self.command, what)), 0)
end

--- Changes the size of its window; the programs in the foreground of the terminal get SIGWINCH. Does not yield.
---@param rows integer     1 to 65535; so columns
---@param columns integer
---Raises kind "closed" when the terminal has ended.
function Process:resize(rows, columns)
  local terminal = terminal_of(self, "resize")
  if not checks.is_window_size(rows, columns) then
    errors.argument("resize: rows and columns expected, whole numbers from 1 to 65535, got %s and %s",
      errors.show(rows), errors.show(columns))
  end
  if not terminal:resize(rows, columns) then raise_ended(self, "resize") end
end

--- Switches on or off that the terminal echoes what is typed. Programs switch it, too: whoever does it last decides.
--- Without an argument nothing is changed. Does not yield.
---@param on boolean?
---@return boolean  whether it does now
---Raises kind "closed" when the terminal has ended.
function Process:echo(on)
  local terminal = terminal_of(self, "echo")
  if on ~= nil and type(on) ~= "boolean" then
    errors.argument("echo: true or false expected, got %s", errors.show(on))
  end
  if on ~= nil and not terminal:set_echo(on) then raise_ended(self, "echo") end
  local echoes = terminal:echoes()
  if echoes == nil then raise_ended(self, "echo") end
  return echoes
end

--- Waits until the terminal does not echo, as programs have it while they read a password: what is written before
--- would be shown, or thrown away. Yields unless it is so.
---@param seconds number?  at most so long; then kind "timeout" is raised
---Raises kind "closed" when the terminal has ended, or the process.
function Process:wait_echo_off(seconds)
  local terminal = terminal_of(self, "wait_echo_off")
  local deadline = seconds ~= nil and core.now() + errors.check_seconds(seconds, "wait_echo_off") or math.huge
  core.check()
  local pause = 0.001 -- nothing tells of a change: it is looked at in growing steps
  while true do
    local echoes = terminal:echoes()
    if echoes == nil or self.status then raise_ended(self, "wait_echo_off") end
    if not echoes then return end
    local left = deadline - core.now()
    if left <= 0 then
      error(errors.new("timeout", ("%s: its terminal still echoes after %g s"):format(self.command, seconds),
        { seconds = seconds }), 0)
    end
    core.sleep(math.min(pause, left))
    pause = math.min(pause * 2, 0.02)
  end
end

--- Hangs the terminal up, as closing its window does: the session's leader and the foreground get SIGHUP, reads of the
--- terminal end, writes fail. What had come stays in `terminal`, which is at its end then; nothing can be typed any
--- more. A second call does nothing. Does not wait for the process: it may ignore SIGHUP.
function Process:hangup()
  terminal_of(self, "hangup"):hang_up()
end

--- Writes the text and Enter: "\r" on a terminal, as the key sends it, "\n" on a pipe. Yields, raises as write.
---@param text (string|number)?
---@return corun.Process self
function Process:send_line(text)
  return self:write(text == nil and "" or text, self._terminal and self._options.stdin == "pty" and "\r" or "\n")
end

-- Our own terminal

local raw_mode = setmetatable({}, { __close = function() core.raw_mode(false) end })

local CHUNK = 4096

local interact_options = {
  escape = function(value)
    if value ~= false and (type(value) ~= "string" or #value ~= 1) then return "one character, or false," end
  end,
}

--- Gives the child what is typed, until the key. What was typed behind it stays in our stdin. False when our own stdin
--- has come to its end, or nobody reads what is typed.
local function type_until(self, key)
  local stdin = stdio.stdin
  while true do
    local typed, is_key = stdin:_read_to_key(key, CHUNK)
    if typed == nil then return false end
    if #typed > 0 then
      local ok, e = pcall(self.stdin.write, self.stdin, typed)
      if not ok and (errors.is_kind(e, "io") or errors.is_kind(e, "closed")) then return false end
      errors.reraise(ok, e)
    end
    if is_key then return true end
  end
end

local function follow_size(self)
  local rows, columns = core.window_size()
  if rows then self._terminal:resize(rows, columns) end
end

--- Hands our own terminal to the child: what is typed goes to its stdin, key by key, what comes from its terminal to
--- our stdout, its window gets the size of ours and follows it. Until the escape key is typed, or the child's terminal
--- has ended. Then, and however else this or the program ends (but by SIGKILL), our terminal has its modes back. Ctrl-C
--- and its kind are the child's meanwhile. Yields.
---@param options { escape: string|false? }?  escape: the key, default Ctrl-] ("\29"); false: none. What is typed behind
---it stays in corun.stdin
---@return "escape"|"end"
---Raises kind "unsupported" when our stdin is no terminal, "busy" when it is handed over already or another task
---reads one of the two terminals; and as Reader:copy_to and Writer:write.
function Process:interact(options)
  local terminal = terminal_of(self, "interact")
  if self._options.stdin ~= "pty" then errors.argument("interact: stdin of the process is no \"pty\"") end
  options = errors.check_options(options, interact_options, "interact")
  local key = options.escape == nil and 29 or options.escape and options.escape:byte() or nil
  core.check()
  core.raw_mode(true)
  local _ <close> = raw_mode
  local how = "end"
  scopes.scope(function(scope)
    interrupt.on_signal("WINCH", function() follow_size(self) end)
    interrupt.on_signal("CONT", function() core.raw_mode("again") end)
    if terminal:is_open() then follow_size(self) end
    scope:go(function()
      if not type_until(self, key) then return end
      how = "escape"
      scope:cancel()
    end)
    self.terminal:copy_to(stdio.stdout)
    scope:cancel()
  end)
  return how
end
