--- Formats: what captured output is handed out as.

local core = require "corun.core"
local errors = require "corun.error"

local M = {}

local decoders = setmetatable({}, { __mode = "k" }) -- of each cjson, one with settings that are ours alone

local function decoder_of(cjson)
  local decoder = cjson.new()
  decoder.decode_invalid_numbers(false)
  decoders[cjson] = decoder
  return decoder
end

--- One JSON document: the value, or nil and what is wrong with it. null is cjson.null. Raises kind "unsupported" where
--- cjson is missing.
---@param text string
---@return any value, string? problem
function M.decode_json(text)
  local found, cjson = pcall(require, "cjson.safe")
  if not found then
    error(errors.new("unsupported", "JSON needs the Lua module 'cjson' (Debian: lua-cjson; LuaRocks: lua-cjson)"), 0)
  end
  if text:find("\0", 1, true) then return nil, "a NUL byte" end -- where cjson would stop
  return (decoders[cjson] or decoder_of(cjson)).decode(text)
end

local iterators = {
  bytes = function(reader, options) return reader:lines(options) end,
  lines = function(reader, options) return reader:lines(options) end,
  nul = function(reader, options) return reader:nul({ utf8 = options.utf8, ansi = options.ansi }) end,
  jsonl = function(reader, options) return reader:jsonl(options) end,
  csv = function(reader, options) return reader:csv(options) end,
  json = function(reader, options)
    return function() return (reader:json(options)) end
  end,
}

--- The names that `format` takes, for its check.
M.names = iterators

--- An iterator over a Reader in that format; "bytes" gives lines, "json" one document after the other.
---@param format string
---@param reader corun.Reader
---@param options table?  crlf, utf8, ansi: what M.text_options gives
---@return fun(): any
function M.iterate(format, reader, options)
  return iterators[format](reader, options or {})
end

--- The options `crlf`, `utf8` and `ansi` of a spec, as those of a Reader's methods.
function M.text_options(spec)
  return { crlf = spec.crlf, utf8 = spec.utf8, ansi = spec.ansi }
end

--- The same as flags of core.clean; nil for nothing.
function M.text_flags(options)
  local flags = (options.crlf and 1 or 0) | (options.utf8 and 2 or 0) | (options.ansi and 4 or 0)
  return flags ~= 0 and flags or nil
end

---@param format "bytes"|"lines"|"nul"|"json"|"jsonl"|"csv"
---@param text string
---@return any  a string, a list, or for "json" the one document
---Raises kind "io" (or "incomplete") for what is not in that format, with `record` and `offset`; "unsupported" where
---cjson is missing.
function M.decode(format, text)
  if format == "bytes" then return text end
  if format == "json" then
    local value, problem = M.decode_json(text)
    if problem then error(errors.hooks.record_error("io", "JSON", problem, 1, 0), 0) end
    return value
  end
  local list = {}
  for item in iterators[format](core.string_reader(text), {}) do list[#list + 1] = item end
  return list
end

return M
