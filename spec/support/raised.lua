--- What a function raises, with what holds for all of its kind checked: it names the script's own line.

local assert = require "luassert"
local corun = require "corun"

local M = {}

local function is_line_of(fn, where)
  local info = debug.getinfo(fn, "S")
  local file, line = tostring(where):match("^(.*):(%d+):$")
  line = tonumber(line)
  return file == info.short_src and line >= info.linedefined and line <= info.lastlinedefined
end

--- Calls fn, which must raise an argument error: an ordinary string that begins with the line in fn. Returns the rest.
function M.argument(fn)
  local ok, e = pcall(fn)
  assert.is_false(ok, "nothing was raised")
  assert.is_string(e)
  local where, text = e:match("^(.-:%d+:) (.*)$")
  assert.is_true(is_line_of(fn, where), "not a line of the function that called: " .. e)
  return text
end

--- Calls fn, which must raise an Error of that kind that knows the line in fn. Returns it.
function M.error(kind, fn)
  local ok, e = pcall(fn)
  assert.is_false(ok, "nothing was raised")
  assert.is_true(getmetatable(e) == corun.Error, "no corun.Error: " .. tostring(e))
  assert.equal(kind, e.kind, tostring(e))
  assert.is_true(is_line_of(fn, e.where), "not a line of the function that called: " .. tostring(e))
  assert.equal(e.where .. " " .. e.message, tostring(e):sub(1, #e.where + 1 + #e.message))
  return e
end

--- Calls fn(...), which must raise something. Returns it.
function M.anything(fn, ...)
  local ok, e = pcall(fn, ...)
  assert.is_false(ok, "nothing was raised")
  return e
end

--- A substring of text, taken as it stands.
function M.has(text, part)
  assert.is_true(text:find(part, 1, true) ~= nil, ("%q is not in %q"):format(part, text))
end

return M
