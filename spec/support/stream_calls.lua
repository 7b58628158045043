--- Calls of a Reader, made at random and each compared with the model (spec/support/streams.lua).
---
--- What they are about: s.reader, s.text (all that comes), s.at (where the next byte to be read is), s.iterators,
--- s.documents (JSON documents read), s.calls (what was called, in words).

local corun = require "corun"
local streams = require "spec.support.streams"

local one_of = streams.one_of

local M = {}

local function kind_of(e) return getmetatable(e) == corun.Error and e.kind or nil end

local function say(value)
  if type(value) ~= "string" then return tostring(value) end
  return #value > 80 and ("%q… (%d bytes)"):format(value:sub(1, 80), #value) or ("%q"):format(value)
end

local function expect_that(s, ok, what, actual, expected)
  if ok then return end
  error(("%s: at %d of %d: %s: %s, not %s"):format(s.calls[#s.calls], s.at, #s.text, what, say(actual),
    say(expected)), 0)
end

local function expect_equal(s, what, actual, expected)
  expect_that(s, streams.equal(actual, expected), what, actual, expected)
end

local function rest(s) return s.text:sub(s.at) end

--- For who has to read a failure.
local function note(s, format, ...) s.calls[#s.calls + 1] = format:format(...) end

local GIVEN_UP = {}

--- pcall, sometimes with time limits before, which must not take anything; `moves`, a function, is told what they took.
--- Sometimes that is all: then GIVEN_UP is raised, and other calls come next.
local function call(s, random, moves, fn, ...)
  local limits = random(4) == 1 and random(3) or 0
  for _ = 1, limits do
    local done
    corun.move_on(one_of(random, { 0, 0, 0.0001, 0.0004 }), function(...)
      done = table.pack(pcall(fn, ...))
      if kind_of(done[2]) ~= "cancelled" then return end
      local e
      done, e = nil, done[2]
      error(e, 0)
    end, ...)
    if done then return table.unpack(done, 1, done.n) end
    local at = s.reader:_position() + 1
    if moves then moves(at) else expect_equal(s, "taken by a read that was cancelled", at - s.at, 0) end
  end
  if limits > 0 and not s.is_ending and random(3) == 1 then error(GIVEN_UP, 0) end
  return pcall(fn, ...)
end

--- What a call has given, against the model's kind of error (nil: none), value, and next position.
local function expect_result(s, kind, value, after, ok, got)
  if kind then
    expect_equal(s, "error", not ok and kind_of(got) or got, kind)
    if kind == "incomplete" then expect_equal(s, "partial", got.partial, value) end
  else
    expect_that(s, ok, "an error", not ok and got, value)
    expect_equal(s, "result", got, value)
  end
  s.at = after
end

local function some_size(s, random)
  return one_of(random, { 0, 1, random(10), random(300), random(#s.text + 10), 70000 })
end

local function expect_some(s, n, ok, got)
  expect_that(s, ok, "an error", not ok and got, "bytes")
  if n == 0 then return expect_equal(s, "result", got, "") end
  if s.at > #s.text then return expect_equal(s, "result", got, nil) end
  expect_that(s, got and #got >= 1 and #got <= n, "size", got and #got, n)
  expect_equal(s, "bytes", got, s.text:sub(s.at, s.at + #got - 1))
  s.at = s.at + #got
end

local function some_options(s, random)
  local options = { keep = one_of(random, { true, false }) }
  if random(4) == 1 then options.utf8 = "replace" end
  if random(4) == 1 then options.ansi = "strip" end
  if random(6) == 1 then options.limit = one_of(random, { 0, random(20), random(#s.text + 1), 1 << 28 }) end
  return options
end

local function line_options(s, random)
  local options = some_options(s, random)
  options.crlf = random(3) == 1
  return options
end

--- Iterators stay: they are called again between other calls.
local function iterator(s, name, expect_next)
  s.iterators[#s.iterators + 1] = { name = name, expect = expect_next }
end

local function record_iterator(s, name, next_item, separator, options)
  iterator(s, name, function(random)
    local kind, value, after = streams.line_or_record(s, separator, options)
    expect_result(s, kind, value, after, call(s, random, nil, next_item))
  end)
end

--- Cancelled, a grep may have passed over lines, and over no other.
local function passed_over(s, pattern, plain)
  return function(at)
    while s.at < at do
      local body, _, after = streams.record(s.text, s.at, "\n")
      expect_that(s, after <= at and not body:find(pattern, 1, plain), "passed over by a cancelled grep", at, after)
      s.at = after
    end
  end
end

--- Cancelled, these may have taken what is no part of a record.
local function only(s, bytes)
  return function(at)
    local taken = s.text:sub(s.at, at - 1)
    expect_that(s, not taken:find("[^" .. bytes .. "]"), "taken by a read that was cancelled", taken, bytes)
    s.at = at
  end
end

local function expect_bad(s, ok, e, is_cut, number, offset)
  expect_that(s, not ok and kind_of(e), "no error", e, "kind io or incomplete")
  expect_equal(s, "error", { e.kind, e.record, e.offset }, { is_cut and "incomplete" or "io", number, offset })
end

local function csv_iterator(s, separator)
  local next_record, number = s.reader:csv { separator = separator }, 0
  iterator(s, "csv " .. separator, function(random)
    local ok, fields, got_number, got_offset = call(s, random, only(s, "\r\n"), next_record)
    while s.text:find("^\r?\n", s.at) do s.at = s.text:match("^\r?\n()", s.at) end
    local expected, after, is_cut = streams.csv_record(s.text, s.at, separator)
    if after then number = number + 1 end
    if after and not expected then
      expect_bad(s, ok, fields, is_cut, number, s.at - 1)
    else
      expect_that(s, ok, "an error", fields, "none")
      expect_equal(s, "record", { fields, got_number, got_offset },
        { expected, expected and number, expected and s.at - 1 })
    end
    s.at = after or s.at
  end)
end

local calls = {
  function(s, random)
    local n = some_size(s, random)
    note(s, "read(%d)", n)
    expect_some(s, n, call(s, random, nil, s.reader.read, s.reader, n))
  end,
  function(s, random)
    local n = some_size(s, random)
    note(s, "read_exactly(%d)", n)
    local bytes = s.text:sub(s.at, s.at + n - 1)
    expect_result(s, #bytes < n and "incomplete" or nil, bytes, s.at + #bytes,
      call(s, random, nil, s.reader.read_exactly, s.reader, n))
  end,
  function(s, random)
    local n = some_size(s, random)
    note(s, "peek(%d)", n)
    local bytes = s.text:sub(s.at, s.at + n - 1)
    if n > 0 and bytes == "" then bytes = nil end
    expect_result(s, nil, bytes, s.at, call(s, random, nil, s.reader.peek, s.reader, n))
  end,
  function(s, random)
    note(s, "at_eof()")
    expect_result(s, nil, s.at > #s.text, s.at, call(s, random, nil, s.reader.at_eof, s.reader))
  end,
  function(s, random)
    local separator, options = streams.separator(s, random), some_options(s, random)
    note(s, "read_until(%q, limit %s)", separator, options.limit)
    local kind, value, after = streams.line_or_record(s, separator, options, true)
    expect_result(s, kind, value, after, call(s, random, nil, s.reader.read_until, s.reader, separator, options))
  end,
  function(s, random)
    local options = line_options(s, random)
    note(s, "read_line(limit %s)", options.limit)
    local kind, value, after = streams.line_or_record(s, "\n", options)
    expect_result(s, kind, value, after, call(s, random, nil, s.reader.read_line, s.reader, options))
  end,
  function(s, random)
    local options = line_options(s, random)
    record_iterator(s, "lines", s.reader:lines(options), "\n", options)
  end,
  function(s, random)
    local separator, options = streams.separator(s, random), some_options(s, random)
    record_iterator(s, ("records %q"):format(separator), s.reader:records(separator, options), separator, options)
  end,
  function(s) record_iterator(s, "nul", s.reader:nul(), "\0", {}) end,
  function(s, random)
    local n = random(100)
    local next_chunk = s.reader:chunks(n)
    iterator(s, "chunks", function(own) expect_some(s, n, call(s, own, nil, next_chunk)) end)
  end,
  function(s, random)
    local plain, options = streams.is_long(s) or random(2) == 1, line_options(s, random)
    local pattern = plain and streams.separator(s, random) or streams.pattern(s, random)
    options.plain = plain
    local next_line = s.reader:grep(pattern, options)
    iterator(s, ("grep %q, plain: %s"):format(pattern, plain), function(own)
      local result = table.pack(call(s, own, passed_over(s, pattern, plain), next_line))
      local kind, value, after = streams.matching_line(s, pattern, plain, options)
      expect_result(s, kind, value, after, table.unpack(result, 1, result.n))
    end)
  end,
  function(s, random) csv_iterator(s, one_of(random, { ",", ",", ";", "\t" })) end,
  function(s, random)
    note(s, "json()")
    local ok, got = call(s, random, only(s, " \t\r\n"), s.reader.json, s.reader)
    local from, after, is_cut, value, problem = streams.json_document(s.text, s.at)
    if from then s.documents = s.documents + 1 end
    if problem then
      expect_bad(s, ok, got, is_cut, s.documents, from - 1)
      s.at = after
    else
      expect_result(s, nil, value, after, ok, got)
    end
  end,
  function(s, random)
    if not s.patterns or random(2) == 1 then -- else once more the same ones
      s.plain, s.patterns = streams.is_long(s) or random(2) == 1, {}
      for i = 1, random(3) do
        s.patterns[i] = s.plain and streams.separator(s, random) or streams.pattern(s, random)
      end
    end
    note(s, "expect(%q, plain: %s)", table.concat(s.patterns, " | "), s.plain)
    local options = { settle = math.huge, plain = s.plain }
    local ok, got = call(s, random, nil, s.reader.expect, s.reader, s.patterns, options)
    local from, to, captures, index = streams.find(s.text, s.at, s.patterns, s.plain)
    if not from then return expect_result(s, "incomplete", rest(s), #s.text + 1, ok, got) end
    expect_result(s, nil, { before = rest(s):sub(1, from - 1), match = rest(s):sub(from, to), index = index,
      captures = captures }, s.at + to, ok, got)
  end,
  function(s, random)
    local separator = streams.separator(s, random)
    note(s, "expect(%q, timeout 0)", separator)
    local ok, got = pcall(s.reader.expect, s.reader, separator, { timeout = 0, plain = true })
    local from, to = s.text:find(separator, s.at, true)
    if ok then
      expect_equal(s, "match", { got.before, got.match }, { s.text:sub(s.at, (from or 0) - 1), separator })
      s.at = to + 1
    elseif got.kind == "timeout" then
      expect_that(s, #got.tail <= 200 and s.text:find(got.tail, s.at, true), "the last bytes", got.tail, "some text")
    else
      expect_result(s, "incomplete", rest(s), #s.text + 1, ok, got)
    end
  end,
  function(_, random)
    corun.sleep(one_of(random, { 0, 0, 0, 0.0002 }))
    for _ = 1, random(20) do corun.sleep(0) end
  end,
}

--- Calls one of the iterators up to five times.
local function iterate(s, random)
  local each = one_of(random, s.iterators)
  for i = 1, random(5) do
    note(s, "%s (%d)", each.name, i)
    each.expect(random)
  end
end

--- One of the calls, or of the iterators. Each has a generator of its own: what comes after it does not depend on how
--- far it came.
function M.call_any(s, random)
  local which, own = random(#calls + 12), streams.generator(random(1 << 30))
  if not calls[which] and #s.iterators == 0 then return end
  local ok, e = pcall(calls[which] or iterate, s, own)
  if not ok and e ~= GIVEN_UP then error(e, 0) end
end

M.note, M.call, M.expect_that, M.expect_equal, M.expect_result = note, call, expect_that, expect_equal, expect_result
M.rest, M.kind_of = rest, kind_of

return M
