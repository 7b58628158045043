--- Streams made at random, and what is in them by a plain reading in Lua: what Readers are compared with.

local cjson = require("cjson.safe").new()
local core = require "corun.core"

local M = {}

cjson.decode_invalid_numbers(false) -- "nan", "0x10"

--- A generator of its own: random(n) gives 1 … n. (xorshift64*)
function M.generator(start)
  local state = start * 0x9E3779B97F4A7C15 | 1
  local function random(n)
    state = state ~ (state >> 12)
    state = state ~ (state << 25)
    state = state ~ (state >> 27)
    return (((state * 0x2545F4914F6CDD1D) >> 33) % n) + 1
  end
  for _ = 1, 4 do random(2) end
  return random
end

local function one_of(random, list) return list[random(#list)] end
M.one_of = one_of

-- Bytes

local function repeated(random, most, make)
  local parts = {}
  for i = 1, random(most) do parts[i] = make(random) end
  return table.concat(parts)
end

local words = { "", "a", "ab", "x1 y2", "error: 42", "\t", "aabaab", "--", "\0", "ünï", "\r", "=", ";", "the end",
  ("="):rep(20), ("ab"):rep(9) }
local newlines = { "\n", "\n", "\n", "\r\n", "\n\n" }
local csv_fields = { "", "1", "two words", '"quoted"', '"a,b"', '"line\nline"', '"say ""so"""', '""', "x\ry", '"\r\n"' }
local json = { '{"a":[1,2,{"b":"}\\""}]}', "[]", "{}", '"x\\\\"', "12", "-1.5e3", "true", "null", '"]"', "[[[]]]",
  '[[[[["x"]]],{"a":{"b":[[1]]}}]]',
  '{"k":"line\\n"}', "nul", "[1,", "]", ",", '{"open', "[}" }
local blanks = { "", " ", "\n", "\r\n\t" }
local texts = { "plain", "\27[1mbold\27[0m", "\27]0;title\7", "é", "€", "\u{1F600}", "\xC3", "\xFF\xFE", "\27", "\27(B",
  "\xE2\x82", "\r" }

local kinds = {
  function(random) return repeated(random, 200, function() return string.char(random(256) - 1) end) end,
  function(random) return repeated(random, 60, function() return one_of(random, { "a", "b", "\n" }) end) end,
  function(random)
    return repeated(random, 40, function() return one_of(random, { ",", '"', "\n", "\r", "\0", "a", "\xFF" }) end)
  end,
  function(random)
    return repeated(random, 20, function()
      return repeated(random, 3, function() return one_of(random, words) end) .. one_of(random, newlines)
    end)
  end,
  function(random)
    return repeated(random, 8, function()
      return repeated(random, 4, function() return one_of(random, csv_fields) .. "," end)
        .. one_of(random, csv_fields) .. one_of(random, newlines)
    end)
  end,
  function(random)
    return repeated(random, 8, function() return one_of(random, json) .. one_of(random, blanks) end)
  end,
  function(random) return repeated(random, 20, function() return one_of(random, texts) end) .. "\n" end,
  function(random) return one_of(random, words):rep(random(400)) end,
}

--- Bytes as none of the readers likes them; one in 60 is longer than a pipe.
function M.bytes(random)
  local bytes = random(20) == 1 and "" or repeated(random, 10, function() return one_of(random, kinds)(random) end)
  if random(60) > 1 then return bytes end
  return bytes .. one_of(random, { "x", "\n", "ab,\n", '""', "é\n" }):rep(random(60000)) .. bytes
end

--- The bytes as fixtures/pieces takes them, cut at random: into few and long pieces, or many short ones.
function M.pieces(random, bytes)
  local parts, at, most = {}, 1, one_of(random, { 1, 3, 20, 200, 70000 })
  most = math.max(most, #bytes // 60)
  while at <= #bytes do
    local piece = bytes:sub(at, at + random(most) - 1)
    local at_once = random(4) == 1 and 1 << 31 or 0
    parts[#parts + 1] = string.pack("<I4", #piece | at_once) .. piece
    at = at + #piece
  end
  return table.concat(parts)
end

-- Arguments; s as in stream_calls.lua

--- A separator that is likely to come, or one that overlaps itself.
function M.separator(s, random)
  if random(3) == 1 then
    return one_of(random, { "\n", "\r\n", "\0", "ab", "aab", "aabaab", ("="):rep(20), ("ab"):rep(9) })
  end
  local from = s.at + random(300) - 1
  local separator = s.text:sub(from, from + random(20) - 1)
  return separator == "" and ";" or separator
end

--- string.find may take the square of this.
function M.is_long(s) return #s.text > 10000 end

--- A pattern, sometimes with what comes.
function M.pattern(s, random)
  local from = s.at + random(200) - 1
  local literal = s.text:sub(from, from + random(4) - 1):gsub("\n", ""):gsub("%W", "%%%0")
  return one_of(random, { literal, literal .. ".", "^" .. literal, "%f[%w]%w+", "()%d+()", "(%a+)%s", "[^\n]*\n",
    "\r?\n$", "(" .. literal .. ")(.?)", ".-" .. literal .. "x", "^(.-),", "[\"'](.-)[\"']", "a*b", "%c+", ".$",
    "zzz" .. literal, "%s+$", "[^%w]+%w", "\0", "(.-)a", "()" })
end

-- Models: each is given the whole text and a position, and says what is there and where what follows begins.

--- Up to a separator: the bytes before it, whether it is there, the next position.
function M.record(text, at, separator)
  local from, to = text:find(separator, at, true)
  return text:sub(at, (from or 0) - 1), from ~= nil, (to or #text) + 1
end

--- What a call for a line or record has to give: kind of error, value, next position.
function M.line_or_record(s, separator, options, needs_end)
  local body, has_end, after = M.record(s.text, s.at, separator)
  if #body > (options.limit or math.huge) then return "limit", nil, s.at end
  if not has_end and needs_end then return "incomplete", body, after end
  if s.at > #s.text then return nil, nil, s.at end
  local is_line = separator == "\n" and has_end -- it is cleaned with its end
  if has_end and (is_line or options.keep) then body = body .. separator end
  body = core.clean(body, (options.crlf and 1 or 0) | (options.utf8 and 2 or 0) | (options.ansi and 4 or 0))
  if is_line and not options.keep then body = body:gsub("\n$", "") end
  return nil, body, after
end

--- The same for grep; s.at moves over the lines that do not match.
function M.matching_line(s, pattern, plain, options)
  while true do
    local body, _, after = M.record(s.text, s.at, "\n")
    if s.at > #s.text then return nil, nil, s.at end
    if #body > (options.limit or math.huge) then return "limit", nil, s.at end
    if body:find(pattern, 1, plain) then return M.line_or_record(s, "\n", options) end
    s.at = after
  end
end

--- A CSV record: its fields (nil: it is bad), the next position, whether the end of the text has cut it; nil, nil at
--- the end.
function M.csv_record(text, at, separator)
  if at > #text then return nil, nil end
  local fields, i = {}, at
  local function bad(from) return nil, (text:find("\n", from, true) or #text) + 1 end
  while true do
    local value, stop = "", nil
    if text:sub(i, i) == '"' then
      i = i + 1
      while true do
        local quote = text:find('"', i, true)
        if not quote then return nil, #text + 1, true end
        value, i = value .. text:sub(i, quote - 1), quote + 1
        if text:sub(i, i) ~= '"' then break end
        value, i = value .. '"', i + 1
      end
      stop = text:match("^\r?\n()", i)
      if not stop and i <= #text and text:sub(i, i) ~= separator then return bad(i) end
    else
      local last = text:find(('[%%%s\n"]'):format(separator), i) or #text + 1
      value, i = text:sub(i, last - 1), last
      local byte = text:sub(i, i)
      if byte == '"' then return bad(i) end
      if byte == "\n" then value, stop = value:gsub("\r$", ""), i + 1 end
    end
    fields[#fields + 1] = value
    if stop or i > #text then return fields, stop or i end
    i = i + 1
  end
end

--- Behind a string, or behind what is nested; nil where it does not end.
local function behind_string(text, at)
  while true do
    local i = text:find('["\\]', at)
    if not i then return nil end
    if text:sub(i, i) == '"' then return i + 1 end
    at = i + 2
  end
end

local function behind_nested(text, at)
  local depth = 0
  repeat
    local i = text:find('["%[%]{}]', at)
    if not i then return nil end
    local c = text:sub(i, i)
    if c == '"' then at = behind_string(text, i + 1)
    else depth, at = depth + ((c == "[" or c == "{") and 1 or -1), i + 1 end
  until not at or depth == 0
  return at
end

--- A JSON document: where it begins (nil: there is none), the next position, whether the end of the text has cut it,
--- and as cjson has it, value and problem.
function M.json_document(text, at)
  local from = text:find("[^ \t\r\n]", at)
  if not from then return nil, #text + 1 end
  local first = text:sub(from, from)
  local after
  if first == '"' then after = behind_string(text, from + 1)
  elseif first == "[" or first == "{" then after = behind_nested(text, from)
  elseif first == "]" or first == "}" or first == "," then after = from + 1
  else after = text:find('[ \t\r\n,"%[%]{}]', from + 1) or #text + 1 end
  local document = text:sub(from, (after or 0) - 1)
  if document:find("\0", 1, true) then return from, after or #text + 1, not after, nil, "a NUL byte" end -- cjson's end
  return from, after or #text + 1, not after, cjson.decode(document)
end

--- Of several patterns the match that begins first, then the one listed first: its start, end, captures, index.
function M.find(text, at, patterns, plain)
  local rest, best = text:sub(at), nil
  for index, pattern in ipairs(patterns) do
    local found = table.pack(rest:find(pattern, 1, plain))
    if found[1] and (not best or found[1] < best[1]) then
      best = found
      best.index = index
    end
  end
  if best then return best[1], best[2], table.move(best, 3, best.n, 1, {}), best.index end
end

function M.equal(a, b)
  if type(a) ~= "table" or type(b) ~= "table" then return a == b or (a ~= a and b ~= b) end
  for key, value in pairs(a) do
    if not M.equal(value, b[key]) then return false end
  end
  for key in pairs(b) do
    if a[key] == nil then return false end
  end
  return true
end

return M
