local cjson = require "cjson"
local corun = require "corun"
local echo = require "spec.support.echo"
local raised = require "spec.support.raised"
local waiting = require "spec.support.waiting"

local send, start, stop, reader_of = echo.send, echo.start, echo.stop, echo.reader_of

--- All documents of a Reader, in a list.
local function documents_of(reader)
  local list = {}
  while true do
    local document = reader:json()
    if document == nil then return list end
    list[#list + 1] = document
  end
end

local function list_of(iterator)
  local list = {}
  for item in iterator do list[#list + 1] = item end
  return list
end

describe("Reader:json", function()
  before_each(start)
  after_each(stop)

  it("gives one document after the other, with and without white space between", function()
    local reader = reader_of('{"a": [1, {"b": 2}]}\n\n[3][4]{} \t"x""y"\r\n5 true\nfalse[]')
    assert.same({ { a = { 1, { b = 2 } } }, { 3 }, { 4 }, {}, "x", "y", 5, true, false, {} }, documents_of(reader))
    assert.is_nil(reader:json())
  end)

  it("gives cjson.null for null, which is not the end", function()
    local reader = reader_of("null [null]")
    assert.equal(cjson.null, reader:json())
    assert.equal(cjson.null, reader:json()[1])
    assert.is_nil(reader:json())
  end)

  it("gives nil for a stream of nothing, or of white space", function()
    assert.is_nil(reader_of(""):json())
    start()
    assert.is_nil(reader_of(" \n\t\r\n"):json())
  end)

  it("takes brackets, quotes and newlines in strings for text", function()
    local text = '{"}]": "{[\\"\\\\", "b": ["\\\\\\"]", "\\n"]}["\\\\"]'
    assert.same({ { ["}]"] = '{["\\', b = { '\\"]', "\n" } }, { "\\" } }, documents_of(reader_of(text)))
  end)

  it("finds the ends of documents wherever the stream is cut", function()
    local text = ' {"a\\"}": [1, "]\\\\"]}[ [ ] ]\n12 "x\\\\"true{}'
    for cut = 1, #text - 1 do
      start()
      local task = waiting.start(function() return documents_of(echo.stdout) end)
      send(text:sub(1, cut))
      send(text:sub(cut + 1))
      echo:close_stdin()
      assert.same({ { ['a"}'] = { 1, "]\\" } }, { {} }, 12, "x\\", true, {} }, task:await(), "cut behind byte " .. cut)
    end
  end)

  it("gives a document as soon as its last byte has come", function()
    for _, text in ipairs { '{"a": [1]}', "[]", '"a"', "[ {} ]" } do
      local task = waiting.start(function() return echo.stdout:json() end)
      for byte in text:sub(1, -2):gmatch(".") do
        send(byte)
        assert.equal("waiting", task.status)
      end
      send(text:sub(-1))
      assert.same(cjson.decode(text), task:await())
    end
  end)

  it("waits for what follows a number, which may be longer", function()
    local task = waiting.start(function() return echo.stdout:json() end)
    send("12")
    assert.equal("waiting", task.status)
    send("3\n")
    assert.equal(123, task:await())
  end)

  it("gives documents that are longer than the Reader's high water", function()
    local long = ("x"):rep(3 << 20)
    corun.go(function()
      echo:write('["', long, '"]', '{"', long, '":1}')
      echo:close_stdin()
    end)
    assert.is_true(echo.stdout:json()[1] == long)
    assert.equal(1, echo.stdout:json()[long])
    assert.is_nil(echo.stdout:json())
  end)

  it("loses nothing to a time limit in the middle of a document", function()
    send('[1]{"a": "x')
    assert.same({ 1 }, echo.stdout:json())
    raised.error("timeout", function() corun.timeout(0.001, function() echo.stdout:json() end) end)
    send('}"}')
    assert.same({ a = "x}" }, echo.stdout:json())
  end)

  it("begins where the Reader stands", function()
    local reader = reader_of("head 1\n[1]tail [2] {}")
    assert.equal("head 1", reader:read_line())
    assert.same({ 1 }, reader:json())
    assert.equal("tail", reader:read_until(" "))
    assert.same({ 2 }, reader:json())
    assert.equal(" {", reader:read(2))
    local e = raised.error("io", function() reader:json() end)
    assert.equal(20, e.offset)
  end)

  it("begins anew behind what somebody read of a document that had come in part", function()
    send('[[["')
    raised.error("timeout", function() corun.timeout(0.001, function() echo.stdout:json() end) end)
    assert.equal('[[["', echo.stdout:read(4))
    send("[7]")
    assert.same({ 7 }, echo.stdout:json())
  end)

  it("refuses wrong options", function()
    local reader = echo.stdout
    assert.equal('json: unknown option "limits"', raised.argument(function() reader:json { limits = 1 } end))
    assert.equal("json: option 'limit': a number of bytes (0 or more) expected, got -1",
      raised.argument(function() reader:json { limit = -1 } end))
    assert.equal('json: a table of options expected, got "x"', raised.argument(function() reader:json("x") end))
  end)

  it("says that it needs cjson where that is missing", function()
    local loaded = package.loaded["cjson.safe"]
    package.loaded["cjson.safe"] = nil
    package.preload["cjson.safe"] = function() error("not here") end
    local reader = reader_of("[1]")
    local ok, e = pcall(reader.json, reader)
    package.preload["cjson.safe"] = nil
    package.loaded["cjson.safe"] = loaded
    assert.same({ false, "unsupported" }, { ok, e.kind })
    raised.has(e.message, "lua-cjson")
  end)
end)

describe("What is no JSON for Reader:json", function()
  before_each(start)
  after_each(stop)

  it("is an Error with the document's number and first byte, and the next call goes on behind it", function()
    local reader = reader_of('[1]\n nonsense [2}\n{"a" 3}[4]')
    assert.same({ 1 }, reader:json())
    for _, expected in ipairs { { 2, 5 }, { 3, 14 }, { 4, 18 } } do
      local e = raised.error("io", function() reader:json() end)
      assert.same(expected, { e.record, e.offset })
      raised.has(e.message, ("JSON, record %d at byte %d: "):format(expected[1], expected[2]))
    end
    assert.same({ 4 }, reader:json())
    assert.is_nil(reader:json())
  end)

  it("may be a bracket or a comma too many: that alone is left out", function()
    local reader = reader_of("[1]]2,}3")
    assert.same({ 1 }, reader:json())
    raised.error("io", function() reader:json() end)
    assert.equal(2, reader:json())
    raised.error("io", function() reader:json() end)
    raised.error("io", function() reader:json() end)
    assert.equal(3, reader:json())
  end)

  it("is \"incomplete\" where the stream ends in the middle of an object, array or string", function()
    for _, rest in ipairs { "[1,", '{"a":', '[[{"b": 1}]', "{", '"', '"abc', '{"abc', '["a\\', '["a\\u00', "[tru" } do
      start()
      local reader = reader_of("[1] " .. rest)
      assert.same({ 1 }, reader:json())
      local e = raised.error("incomplete", function() reader:json() end)
      assert.same({ 2, 4 }, { e.record, e.offset })
      assert.is_nil(reader:json())
    end
  end)
end)

describe("Reader:json with a limit", function()
  before_each(start)
  after_each(stop)

  it("gives a document of just that size, whatever white space there is around it", function()
    local reader = reader_of("\n\n \t\r\n\n\n[1,2]\n\n\n\n\n\n\n[3]\n\n\n\n\n\n\n")
    assert.same({ 1, 2 }, reader:json { limit = 5 })
    assert.same({ 3 }, reader:json { limit = 5.0 })
    assert.is_nil(reader:json { limit = 2 })
  end)

  it("raises \"limit\" for a longer one, which stays", function()
    local reader = reader_of("[1,2][3]")
    for _ = 1, 2 do
      local e = raised.error("limit", function() reader:json { limit = 4 } end)
      raised.has(e.message, "a document over the limit of 4 bytes")
    end
    assert.same({ 1, 2 }, reader:json { limit = 5 })
    assert.same({ 3 }, reader:json { limit = 4 })
  end)

  it("raises it for one that has no end yet, and goes on with it under a higher one", function()
    send("[1,2")
    raised.error("limit", function() echo.stdout:json { limit = 3 } end)
    send(",3]")
    assert.same({ 1, 2, 3 }, echo.stdout:json())
  end)
end)

describe("Reader:jsonl", function()
  before_each(start)
  after_each(stop)

  it("gives one document a line, passes over empty lines, and needs no newline at the end", function()
    assert.same({ { a = 1 }, "x", { 2 } }, list_of(reader_of('{"a":1}\n\n \t\r\n"x"\r\n[2]'):jsonl()))
  end)

  it("does not take false and null for the end", function()
    assert.same({ false, cjson.null, 1 }, list_of(reader_of("false\nnull\n1\n"):jsonl()))
  end)

  it("raises for a line that is none, with its number and first byte, and goes on with the next", function()
    local next_document = reader_of('[1]\n\n[2\n3]\n"4" 5\n[6]\n'):jsonl()
    assert.same({ 1 }, next_document())
    for _, expected in ipairs { { 3, 5 }, { 4, 8 }, { 5, 11 } } do
      local e = raised.error("io", function() next_document() end)
      assert.same(expected, { e.record, e.offset })
      raised.has(e.message, ("JSON, record %d at byte %d: "):format(expected[1], expected[2]))
    end
    assert.same({ 6 }, next_document())
    assert.is_nil(next_document())
  end)

  it("raises \"limit\" for a longer line, which stays", function()
    local reader = reader_of("[1]\n[1,2]\n[3]\n")
    local next_document = reader:jsonl { limit = 4 }
    assert.same({ 1 }, next_document())
    raised.error("limit", function() next_document() end)
    assert.equal("[1,2]", reader:read_line())
    assert.same({ 3 }, next_document())
  end)

  it("takes the options of lines for its lines", function()
    assert.same({ "\u{fffd}" }, list_of(reader_of('"\255"\n'):jsonl { utf8 = "replace" }))
    start()
    assert.same({ { 1 } }, list_of(reader_of("\27[1m[1]\27[0m\n"):jsonl { ansi = "strip" }))
  end)

  it("is as strict as json: no NUL, no number that JSON does not know", function()
    for _, text in ipairs { '"a\0b"', "1\0", "NaN", "[Infinity]", "-Infinity", "nan", "0x10", "01", "[-01]", ".5" } do
      start()
      local reader = reader_of(text .. "\n" .. text .. " \n[1]")
      raised.error("io", function() reader:jsonl()() end)
      raised.error("io", function() reader:json() end)
      assert.same({ 1 }, reader:json())
    end
  end)

  it("refuses wrong options in its own name", function()
    assert.equal("jsonl: a table of options expected, got 5", raised.argument(function() echo.stdout:jsonl(5) end))
    assert.equal("jsonl: option 'limit': a number of bytes (0 or more) expected, got -1",
      raised.argument(function() echo.stdout:jsonl { limit = -1 } end))
  end)

  it("loses nothing to a time limit in the middle of a line", function()
    local next_document = echo.stdout:jsonl()
    send('[1]\n["a')
    assert.same({ 1 }, next_document())
    raised.error("timeout", function() corun.timeout(0.001, next_document) end)
    send('b"]\n')
    assert.same({ "ab" }, next_document())
  end)
end)
