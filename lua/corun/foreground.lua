--- The terminal that corun was started on, lent to a child: what the core does is in runtime/core/terminal.h.

local core = require "corun.core"
local stdio = require "corun.stdio"

local M = {}

--- Whether a child with these checked options has our own standard input.
local function inherits_stdin(options)
  local stdin = options.stdin
  if type(stdin) == "userdata" then
    return stdin == rawget(stdio, "stdin") or stdin == io.stdin and io.type(stdin) == "file"
  end
  return stdin == "inherit" or stdin == 0
end

--- Whether its stdin is a terminal of ours: then, without the terminal being lent, it must be in our group to read it.
function M.is_on_terminal(options)
  return inherits_stdin(options) and core.isatty(0)
end

--- Decides just before a start whether the child gets the terminal: it has inherited it as its stdin, is not to share
--- our group nor to have a session of its own, corun is in the foreground of that terminal, and no other child has it.
---@param options table  checked
---@param plan table     of specs.plan
function M.begin(options, plan)
  if options.group == false or plan.session or plan.pty or not inherits_stdin(options) then return end
  if not core.terminal_begin() then return end
  plan.foreground, plan.group = true, true
end

--- While the REPL reads a line, a child that lives on is in the background.
---@param on boolean
function M.pause(on) core.terminal_pause(on) end

return M
