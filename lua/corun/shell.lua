--- Quoting for /bin/sh: for commands that are shown, and for what corun.sh puts into its template.

local errors = require "corun.error"

local M = {}

local function quote_word(word)
  if word ~= "" and not word:find("[^%w@%%+=:,./_-]") then return word end
  return "'" .. word:gsub("'", "'\\''") .. "'"
end

local function word_of(value, what)
  local kind = math.type(value)
  if kind == "integer" then return ("%d"):format(value) end
  if kind == "float" then return value == math.floor(value) and ("%.0f"):format(value) or ("%.14g"):format(value) end
  if type(value) ~= "string" then
    errors.argument("%s: a string or number expected, got %s", what, errors.show(value))
  end
  if value:find("\0", 1, true) then errors.argument("%s: a NUL byte in %s", what, errors.show(value)) end
  return value
end
M.word_of = word_of

local function quote_value(value, what)
  if type(value) ~= "table" then return quote_word(word_of(value, what)) end
  local words = {}
  for i = 1, #value do words[i] = quote_word(word_of(value[i], what .. "[" .. i .. "]")) end
  return table.concat(words, " ")
end

--- The arguments as words for /bin/sh, each quoted where it needs it, with spaces between. A list becomes several
--- words.
---@param ... string|number|(string|number)[]
---@return string
function M.quote(...)
  local parts = {}
  for i = 1, select("#", ...) do parts[i] = quote_value((select(i, ...)), "quote: argument " .. i) end
  return table.concat(parts, " ")
end

--- The template of corun.sh with each {} replaced by the next argument, quoted; {{}} is a literal {}.
function M.fill(template, arguments)
  local used, count = 0, arguments.n or #arguments
  local text = template:gsub("(%{?)%{%}(%}?)", function(before, after)
    if before == "{" and after == "}" then return "{}" end
    used = used + 1
    if used > count then errors.argument("sh: the template has more {} than there are arguments (%d)", count) end
    return before .. quote_value(arguments[used], "sh: argument " .. used) .. after
  end)
  if count > used then
    errors.argument("sh: %d arguments for %d {} in the template", count, used)
  end
  return text
end

return M
