--- Random bytes come from a child in random pieces and are read by random mixes of all calls of a Reader; a plain
--- reading in Lua says what each has to give.
---
--- CORUN_STREAMS=100000 runs more of them than the everyday 500; CORUN_SEED=N repeats a run: a failure names its seed.

local corun = require "corun"
local reading = require "spec.support.stream_calls"
local streams = require "spec.support.streams"
local support = require "spec.support"

local count = tonumber(os.getenv("CORUN_STREAMS")) or 500
local seed = tonumber(os.getenv("CORUN_SEED")) or 20261122
local path -- of a file to copy to

local call, expect_equal, expect_result, note = reading.call, reading.expect_equal, reading.expect_result, reading.note

local function count_records(s, separator)
  local number, at = 0, s.at
  while at <= #s.text do
    number, at = number + 1, select(3, streams.record(s.text, at, separator))
  end
  return number
end

--- What copy_to has to write with { lines = true }.
local function with_newline(text)
  return (text == "" or text:sub(-1) == "\n") and text or text .. "\n"
end

--- How streams are read to their ends.
local ends = {
  function(s, random)
    note(s, "read()")
    expect_result(s, nil, reading.rest(s), #s.text + 1, call(s, random, nil, s.reader.read, s.reader))
  end,
  function(s, random)
    local separator = streams.separator(s, random)
    note(s, "count(%q)", separator)
    local result = table.pack(call(s, random, function(at) s.at = at end, s.reader.count, s.reader, separator))
    expect_result(s, nil, count_records(s, separator), #s.text + 1, table.unpack(result))
  end,
  function(s, random)
    note(s, "copy_to a file")
    support.write_file(path, "")
    local first = s.at
    local ok, bytes = call(s, random, function(at)
      s.at = at
      expect_equal(s, "copied by a cancelled copy_to", support.read_file(path), s.text:sub(first, at - 1))
    end, s.reader.copy_to, s.reader, { file = path, append = true })
    expect_result(s, nil, #s.text + 1 - s.at, #s.text + 1, ok, bytes)
    expect_equal(s, "the file", support.read_file(path), s.text:sub(first))
  end,
  function(s, random)
    local lines = random(2) == 1
    note(s, "copy_to a child, lines: %s", lines)
    local cat <close> = corun.spawn { "cat", stderr = "null" }
    local expected = reading.rest(s)
    if lines then expected = with_newline(expected) end
    local task = corun.go(cat.stdout.read, cat.stdout)
    local ok, bytes = pcall(s.reader.copy_to, s.reader, cat.stdin, { lines = lines })
    expect_result(s, nil, #expected, #s.text + 1, ok, bytes)
    cat:close_stdin()
    expect_equal(s, "what the child has read", task:await(), expected)
  end,
  function(s)
    note(s, "a child's stdin")
    local result = corun.run { "cat", stdin = s.reader }
    expect_equal(s, "what the child has read", result.stdout, reading.rest(s))
    s.moved = true
  end,
}
local weighted = { 1, 1, 1, 1, 1, 1, 2, 2, 2, 3, 3, 4, 5 }

local function expect_end(s)
  local reader = s.reader
  note(s, "at the end")
  expect_equal(s, "what is left", { reader:read(1), reader:read(), reader:at_eof(), reader:peek(1), reader:read_line(),
    reader:json(), reader:count(), reader:_position() }, { nil, "", true, nil, nil, nil, 0, #s.text })
  local ok, e = pcall(reader.read_exactly, reader, 1)
  expect_equal(s, "what is left", not ok and { reading.kind_of(e), e.partial }, { "incomplete", "" })
end

local function read_all(s, random)
  for _ = 1, random(16) do reading.call_any(s, random) end
  s.is_ending = true
  ends[streams.one_of(random, weighted)](s, random)
  if not s.moved then expect_end(s) end
end

--- Reads what a child prints in pieces. `copy`: a Writer that gets it, too.
local function read_child(s, random, copy)
  local p <close> = corun.spawn { support.fixture("pieces"), stderr = "null" }
  s.reader = p.stdout
  if copy then s.reader:tee(copy) end
  p:write(streams.pieces(random, s.text))
  p.stdin:write_eof()
  read_all(s, random)
  if not s.moved then expect_equal(s, "the child's end", tostring(p:wait()), "exit 0") end
end

local function read_with_tee(s, random)
  local cat <close> = corun.spawn { "cat", stderr = "null" }
  corun.scope(function() read_child(s, random, cat.stdin) end)
  cat:close_stdin()
  expect_equal(s, "what tee has copied", cat.stdout:read(), s.text)
end

local function read_one(number)
  local random = streams.generator(number)
  local s = { text = streams.bytes(random), at = 1, iterators = {}, documents = 0, calls = {} }
  local ok, e = pcall(corun.timeout, 20, corun.scope, function()
    if random(20) == 1 then read_with_tee(s, random) else read_child(s, random) end
  end)
  if ok then return end
  error(("CORUN_STREAMS=1 CORUN_SEED=%d: %s\ncalls: %s"):format(number, e, table.concat(s.calls, "; ")), 0)
end

describe("Of streams that come in random pieces and are read by random calls", function()
  setup(function() path = os.tmpname() end)
  teardown(function() os.remove(path) end)

  it(("%d lose no byte and give what a plain reading gives"):format(count), function()
    for number = seed, seed + count - 1 do read_one(number) end
  end)
end)
