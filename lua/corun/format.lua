--- Formats: what captured output is handed out as.

local errors = require "corun.error"

local M = {}

local function json()
  local found, cjson = pcall(require, "cjson.safe")
  if not found then
    error(errors.new("unsupported", "JSON needs the Lua module 'cjson' (Debian: lua-cjson; LuaRocks: lua-cjson)"), 0)
  end
  return cjson
end

local function decode_json(text, where)
  local value, problem = json().decode(text)
  if value == nil and problem then error(errors.new("io", ("%s: %s"):format(where, problem)), 0) end
  return value
end

local function split(text, separator)
  local parts, from = {}, 1
  while from <= #text do
    local at = text:find(separator, from, true) or #text + 1
    parts[#parts + 1] = text:sub(from, at - 1)
    from = at + 1
  end
  return parts
end

local decoders = {
  bytes = function(text) return text end,
  lines = function(text) return split(text, "\n") end,
  nul = function(text) return split(text, "\0") end,
  json = function(text) return decode_json(text, "JSON") end,
  jsonl = function(text)
    local values = {}
    for number, line in ipairs(split(text, "\n")) do
      if line:find("%S") then values[#values + 1] = decode_json(line, "JSON, line " .. number) end
    end
    return values
  end,
}

--- The names that `format` takes, for its check.
M.names = { bytes = true, lines = true, nul = true, json = true, jsonl = true }

---@param format "bytes"|"lines"|"nul"|"json"|"jsonl"
---@param text string
---@return any  a string, a list of strings, or what was decoded
---Raises kind "io" for what is no JSON, "unsupported" where cjson is missing.
function M.decode(format, text)
  return decoders[format](text)
end

--- An iterator over a Reader in that format; "bytes" gives lines, "json" the one document.
---@param format string
---@param reader corun.Reader
---@return fun(): any
function M.iterate(format, reader)
  if format == "bytes" or format == "lines" then return reader:lines() end
  if format == "nul" then
    return function()
      if reader:at_eof() then return nil end
      local ok, record = pcall(reader.read_until, reader, "\0")
      if ok then return record end
      if errors.is_kind(record, "incomplete") then return record.partial end
      error(record, 0)
    end
  end
  if format == "json" then
    local text = reader:read()
    return function()
      local document = text
      text = nil
      return document and decode_json(document, "JSON")
    end
  end
  local number = 0
  return function()
    for line in reader:lines() do
      number = number + 1
      if line:find("%S") then return decode_json(line, "JSON, line " .. number) end
    end
  end
end

return M
