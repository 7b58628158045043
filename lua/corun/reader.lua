--- Reader: the methods that need no C. The others: meta.lua.

local core = require "corun.core"
local errors = require "corun.error"
local formats = require "corun.format"
local scopes = require "corun.scope"
local stdio = require "corun.stdio"
local streams = require "corun.stream"

---@class corun.Reader
local methods = core.Reader.__index

local LIMIT = 64 * 1024 * 1024

local function a_boolean(value) if type(value) ~= "boolean" then return "true or false" end end
local function a_size(value)
  if type(value) ~= "number" or not math.tointeger(value) or value < 0 then return "a number of bytes (0 or more)" end
end

local text_options = {
  crlf = a_boolean,
  utf8 = function(value) if value ~= "replace" then return '"replace"' end end,
  ansi = function(value) if value ~= "strip" then return '"strip"' end end,
}

--- These options, and those for text.
local function with_text_options(options)
  for name, check in pairs(text_options) do options[name] = check end
  return options
end

-- Formats

local json_options = with_text_options { limit = a_size }

--- The next JSON document, decoded; nil at the end. Documents may follow one another with or without white space
--- between, over lines or not. null is cjson.null. Needs lua-cjson. Yields unless it has the document.
---@param options { limit: integer?, crlf: boolean?, utf8: "replace"?, ansi: "strip"? }?  limit: most bytes of a
---document, default 64 MiB; the others as for lines
---@return any
---Raises as read (a cancelled one may have taken white space); kind "limit"; kind "io" for what is no JSON,
---"incomplete" where the stream ends in the middle, with `record` (which document) and `offset` (its first byte): it is
---taken, and the next call goes on behind it.
function methods.json(reader, options)
  options = errors.check_options(options, json_options, "json")
  local text, number, offset, is_cut = reader:_document(options.limit or LIMIT)
  if text == nil then return nil end
  local flags = formats.text_flags(options)
  local value, problem = formats.decode_json(flags and core.clean(text, flags) or text)
  if not problem then return value end
  error(errors.hooks.record_error(is_cut and "incomplete" or "io", "JSON", problem, number, offset), 0)
end

--- An iterator over JSON documents, one on each line; empty lines are passed over. Needs lua-cjson. Yields.
---@param options table?  as for lines
---@return fun(): any
---Raises as lines; kind "io" for a line that is no JSON, with `record` (the line) and `offset` (its first byte): the
---next call goes on with the next line.
function methods.jsonl(reader, options)
  local next_line = reader:lines(options, "jsonl")
  local number = 0
  return function()
    while true do
      local offset = reader:_position()
      local line = next_line()
      if not line then return nil end
      number = number + 1
      if line:find("%S") then
        local value, problem = formats.decode_json(line)
        if problem then error(errors.hooks.record_error("io", "JSON", problem, number, offset), 0) end
        return value
      end
    end
  end
end

local csv_options = with_text_options {
  separator = function(value)
    if type(value) ~= "string" or not value:find('^[^"\r\n]$') then return "one character, no quote or newline," end
  end,
  header = a_boolean, limit = a_size,
}

--- Names for fields, from the first record.
local function check_header(names, offset)
  local seen = {}
  for _, name in ipairs(names) do
    if seen[name] then
      error(errors.hooks.record_error("io", "CSV", ("the header has '%s' twice"):format(name), 1, offset), 0)
    end
    seen[name] = true
  end
  return names
end

--- Records by the names in the first one. Where that is bad, there is no way on.
local function with_header(next_record)
  local names, problem
  local function read_header()
    local ok, fields, _, offset = pcall(next_record)
    if ok and fields then ok, fields = pcall(check_header, fields, offset) end
    if ok then return fields end
    if errors.is(fields) and fields.record then problem = fields end
    error(fields, 0)
  end
  return function()
    if problem then error(problem, 0) end
    names = names or read_header()
    if not names then return nil end
    local fields, number, offset = next_record()
    if not fields then return nil end
    if #fields ~= #names then
      error(errors.hooks.record_error("io", "CSV", ("%d fields, but the header has %d"):format(#fields, #names), number,
        offset), 0)
    end
    local record = {}
    for i, name in ipairs(names) do record[name] = fields[i] end
    return record, number, offset
  end
end

local function with_clean_fields(next_record, flags)
  return function()
    local fields, number, offset = next_record()
    for i, field in ipairs(fields or {}) do fields[i] = core.clean(field, flags) end
    return fields, number, offset
  end
end

--- An iterator over the records of CSV (RFC 4180): lists of fields, or, with a header, tables by its names; then the
--- record's number and the offset of its first byte. Fields in quotes may hold separators, newlines and doubled quotes;
--- lines end with LF or CRLF; empty lines are passed over, and so is the mark that some programs write before UTF-8.
--- Yields.
---@param options { separator: string?, header: boolean?, limit: integer?, crlf: boolean?, utf8: "replace"?, ansi:
---"strip"? }?  separator: default ","; header: the first record names the fields; limit: most bytes of a record,
---default 64 MiB; the others as for lines, for each field
---@return fun(): table?, integer?, integer?
---Raises as read; kind "limit"; kind "io" for a bad record (a quote inside of a field without quotes, something between
---a closing quote and the separator, another number of fields than the header's), "incomplete" where the stream ends
---inside of quotes, with `record` (its number) and `offset`: the next call goes on with the next record.
function methods.csv(reader, options)
  options = errors.check_options(options, csv_options, "csv")
  local next_record = reader:_csv(options.limit or LIMIT, options.separator or ",")
  local flags = formats.text_flags(options)
  if flags then next_record = with_clean_fields(next_record, flags) end
  return options.header and with_header(next_record) or next_record
end

--- An iterator over records that end with a NUL, as find -print0 writes them; a last one without is one. Yields.
---@param options table?  as for records
---@return fun(): string?
---Raises as lines.
function methods.nul(reader, options)
  return reader:records("\0", options)
end

-- Patterns

local function check_patterns(patterns, what)
  local list = type(patterns) == "table" and patterns or { patterns }
  for i, pattern in ipairs(list) do
    if type(pattern) ~= "string" then
      errors.argument("%s: pattern %d: a string expected, got %s", what, i, errors.show(pattern))
    end
  end
  if #list == 0 then
    errors.argument("%s: a pattern or a list of patterns expected, got %s", what, errors.show(patterns))
  end
  return list
end

local function compile(patterns, plain, what)
  local search, number, problem = core.search(patterns, plain)
  if search then return search end
  errors.argument("%s: pattern %s: %s", what, errors.show(patterns[number]), problem)
end

local searches = setmetatable({}, { __mode = "k" }) -- Reader → the last search in it

--- The search for these patterns in this Reader: the one before, if it was for the same, which knows how far it got.
local function search_for(reader, patterns, plain)
  local key = plain and "p" or "m"
  for _, pattern in ipairs(patterns) do key = key .. #pattern .. ":" .. pattern end
  local known = searches[reader]
  if known and known.key == key then return known.search end
  local search = compile(patterns, plain, "expect")
  searches[reader] = { key = key, search = search }
  return search
end

local function a_time(value)
  if type(value) ~= "number" or value ~= value or value < 0 then return "seconds (0 or more)" end
end

local expect_options = { timeout = a_time, plain = a_boolean, settle = a_time, limit = a_size }
local SETTLE = 0.05

---@class corun.Match
---@field before string       what came before the match
---@field match string
---@field index integer       which of the patterns
---@field captures (string|integer)[]  of its captures; () gives a position in before .. match

--- Waits for text that matches: takes all up to its end, and leaves what follows. Of several patterns the match that
--- begins first counts, then the one listed first. Each byte is looked at once, however it comes; a search that ran out
--- of time goes on where it stopped, when it is for the same patterns. Patterns are Lua's, without %b and back
--- references; ^ is where the Reader stands, $ the end of the stream. Where more bytes could make a match longer, or
--- complete one that begins earlier ("%d+" after "12"), it is taken as it stands once nothing has come for `settle`
--- seconds, when the time is up, or at the end. Yields.
---@param patterns string|string[]
---@param options number|{ timeout: number?, plain: boolean?, settle: number?, limit: integer? }|nil  a number is the
---timeout. timeout: seconds, default none; plain: no magic characters; settle: default 0.05, math.huge: never; limit: a
---match ends within so many bytes, default 64 MiB
---@return corun.Match
---Raises kind "timeout" (`seconds`, `tail`: the last bytes seen; all stays in the Reader), "incomplete" at the end (all
---that was left in `partial`, taken), "limit" (all stays), and as read.
function methods.expect(reader, patterns, options)
  local list = check_patterns(patterns, "expect")
  if type(options) == "number" then
    if a_time(options) then
      errors.argument("expect: %s expected, got %s", a_time(options), errors.show(options))
    end
    options = { timeout = options }
  end
  options = errors.check_options(options, expect_options, "expect")
  local before, match, index, captures = reader:_expect(search_for(reader, list, options.plain), options.timeout,
    options.settle or SETTLE, options.limit or LIMIT)
  if before then return { before = before, match = match, index = index, captures = captures } end
  local shown = {}
  for i, pattern in ipairs(list) do shown[i] = errors.show(pattern) end
  error(errors.new("timeout", ("expect: no match for %s in %g s; the last bytes: %s"):format(
    table.concat(shown, ", "), options.timeout, match == "" and "none" or ("%q"):format(match):gsub("\\\n", "\\n")),
    { seconds = options.timeout, tail = match }), 0)
end

local grep_options = with_text_options { plain = a_boolean, keep = a_boolean, limit = a_size }

--- An iterator over the lines that match; the others are passed over without becoming Lua strings. Patterns are Lua's,
--- without %b and back references; ^ and $ are the ends of the line, without its newline. Yields.
---@param pattern string
---@param options { plain: boolean?, keep: boolean?, crlf: boolean?, utf8: "replace"?, ansi: "strip"?, limit: integer?
---}?  plain: a string without magic characters; the others as for lines (they are about the line that is given, not
---about the search)
---@return fun(): string?
---Raises as lines, also for a line over the limit that does not match. What a cancelled one has passed over is taken.
function methods.grep(reader, pattern, options)
  if type(pattern) ~= "string" then
    errors.argument("grep: a pattern expected, got %s", errors.show(pattern))
  end
  options = errors.check_options(options, grep_options, "grep")
  local flags = (formats.text_flags(options) or 0) | (options.keep and 8 or 0)
  return reader:_grep(compile({ pattern }, options.plain, "grep"), options.plain, flags, options.limit or LIMIT)
end

-- Copies

local file_options = {
  file = function(value)
    if type(value) ~= "string" or value == "" or value:find("\0", 1, true) then return "a path" end
  end,
  append = a_boolean,
  mode = function(value)
    if type(value) == "string" then value = value:find("^[0-7]+$") and tonumber(value, 8) end
    if math.type(value) ~= "integer" or value < 0 or value > 4095 then return "a number or octal digits as a string" end
  end,
}

--- A Writer on {file = path, append =, mode =}.
local function open_file(file, what)
  errors.check_options(file, file_options, what)
  if not file.file then errors.argument("%s: a Writer or {file = path} expected, got %s", what, errors.show(file)) end
  return (stdio.writer_for(file))
end

local function is_writer(value) return type(value) == "userdata" and getmetatable(value) == core.Writer end

--- Copies all that is left to a Writer, which stays open, or into a file; by the kernel, without a copy through our
--- memory, where one of the two is a pipe. Other tasks may write to the Writer at the same time. Yields.
---@param target corun.Writer|corun.File
---@param options { lines: boolean? }?  lines: each line stays whole, whatever else is written to the Writer; a last one
---without newline gets one
---@return integer bytes
---Raises as read and Writer:write, kind "io" where the file cannot be opened. What was copied before an error, a
---cancellation included, is taken; what was not, is not.
function methods.copy_to(reader, target, options)
  options = errors.check_options(options, { lines = a_boolean }, "copy_to")
  if is_writer(target) then return (reader:_copy_to(target, options.lines)) end
  if type(target) ~= "table" then
    errors.argument("copy_to: a Writer or {file = path} expected, got %s", errors.show(target))
  end
  reader:_check_free() -- before the file is emptied
  local file <close> = open_file(target, "copy_to")
  local bytes = reader:_copy_to(file, options.lines)
  file:close()
  return bytes
end

--- All that is read from this Reader from now on, what has come already included, is also written to the Writer, which
--- stays open; the slower of the two sets the pace. One tee at a time. It ends with the stream, when nobody reads the
--- Writer's other end any more, or with the current scope, which waits up to a second for what is still to be written.
--- Does not yield.
---@param writer corun.Writer
---@return corun.Reader self
---An error of the Writer (not EPIPE) is one of the scope.
function methods.tee(reader, writer)
  if not is_writer(writer) then errors.argument("tee: a Writer expected, got %s", errors.show(writer)) end
  local copy = reader:_copy()
  scopes.attend(function()
    local ok, e = pcall(copy._copy_to, copy, writer)
    copy:close()
    if not ok and not (errors.is(e) and e.code == "EPIPE") then error(e, 0) end
  end, function() reader:_end_copy() end)
  return reader
end

-- Adapters, over lines

for _, name in ipairs { "map", "filter", "take", "batch", "timestamps" } do
  methods[name] = function(reader, ...)
    local lines = streams.stream(reader:lines())
    return lines[name](lines, ...)
  end
end
