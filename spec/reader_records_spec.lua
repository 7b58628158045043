local corun = require "corun"
local echo = require "spec.support.echo"
local raised = require "spec.support.raised"
local waiting = require "spec.support.waiting"

local send, start, stop, reader_of = echo.send, echo.start, echo.stop, echo.reader_of

local function list_of(iterator)
  local list = {}
  for item in iterator do list[#list + 1] = item end
  return list
end

--- What records has to give, by string.find.
local function model(text, separator)
  local list, at = {}, 1
  while at <= #text do
    local first, last = text:find(separator, at, true)
    list[#list + 1] = text:sub(at, (first or #text + 1) - 1)
    at = (last or #text) + 1
  end
  return list
end

--- What a task that reads all records gets while these pieces come one after the other.
local function records_of_pieces(separator, ...)
  start()
  local task = waiting.start(function() return list_of(echo.stdout:records(separator)) end)
  for _, piece in ipairs { ... } do send(piece) end
  echo:close_stdin()
  local list = task:await()
  return list
end

describe("Reader:records", function()
  before_each(start)
  after_each(stop)

  it("gives what the separators end, empty records too, and a last one without", function()
    assert.same({ "one", "", "two", "three" }, list_of(reader_of("one;;two;three"):records(";")))
  end)

  it("has no empty record behind a last separator", function()
    assert.same({ "one", "" }, list_of(reader_of("one----"):records("--")))
  end)

  it("has no record for an empty stream", function()
    assert.same({}, list_of(reader_of(""):records(";")))
  end)

  it("takes newlines and any other bytes for content", function()
    assert.same({ "a\nb\0", "\255\r\n" }, list_of(reader_of("a\nb\0\254\255\r\n"):records("\254")))
  end)

  it("takes a part of the separator at the end of the stream for content", function()
    assert.same({ "a", "b\r\n\r" }, list_of(reader_of("a\r\n\r\nb\r\n\r"):records("\r\n\r\n")))
  end)

  it("keeps the separator where there is one when asked to", function()
    assert.same({ "a--", "--", "b" }, list_of(reader_of("a----b"):records("--", { keep = true })))
  end)

  it("gives nil again and again at the end", function()
    local next_record = reader_of("a"):records(";")
    assert.equal("a", next_record())
    assert.is_nil(next_record())
    assert.is_nil(next_record())
  end)

  it("leaves the Reader usable when the loop is left", function()
    local reader = reader_of("1;2;3\n4;5")
    for record in reader:records(";") do
      if record == "2" then break end
    end
    assert.equal("3", reader:read_line())
    assert.same({ "4", "5" }, list_of(reader:records(";")))
  end)

  it("can be mixed with records of other separators on one Reader", function()
    local reader = reader_of("a,b;c,d;;e,f;g")
    local commas, semicolons = reader:records(","), reader:records(";;")
    assert.equal("a", commas())
    assert.equal("b;c,d", semicolons())
    assert.equal("e", commas())
    assert.equal("f", reader:records(";")())
    assert.equal("g", semicolons())
    assert.is_nil(commas())
  end)

  it("finds what it was not looking for before, after a time limit", function()
    send("a;b,c")
    local commas, colons = echo.stdout:records(","), echo.stdout:records(":")
    raised.error("timeout", function() corun.timeout(0.001, colons) end)
    assert.equal("a;b", commas())
  end)

  it("loses nothing to a time limit in the middle of a separator", function()
    local next_record = echo.stdout:records("<end>")
    send("one<e")
    raised.error("timeout", function() corun.timeout(0.001, next_record) end)
    send("nd>two")
    assert.equal("one", next_record())
    assert.equal("two", echo.stdout:read(3))
  end)

  it("raises \"closed\" once the Reader is closed", function()
    local next_record = reader_of("1;2;"):records(";")
    assert.equal("1", next_record())
    echo.stdout:close()
    raised.error("closed", function() next_record() end)
  end)

  it("raises \"busy\" while another task reads", function()
    local task = waiting.start(function() return echo.stdout:records(";")() end)
    local next_record = echo.stdout:records(";")
    raised.error("busy", function() next_record() end)
    send("a;")
    assert.equal("a", task:await())
  end)

  it("refuses wrong arguments when it is called, not when it iterates", function()
    local reader = echo.stdout
    assert.equal("records: a separator of one byte or more expected, got \"\"",
      raised.argument(function() reader:records("") end))
    assert.equal("records: a separator of one byte or more expected, got nil",
      raised.argument(function() reader:records() end))
    assert.equal("records: a separator of one byte or more expected, got 0",
      raised.argument(function() reader:records(0) end))
    assert.equal("records: a table of options expected, got \"keep\"",
      raised.argument(function() reader:records(";", "keep") end))
    assert.equal("records: option: 'keep', 'utf8', 'ansi' or 'limit' expected, got \"crlf\"",
      raised.argument(function() reader:records(";", { crlf = true }) end))
    assert.equal("records: option 'limit': a number of bytes (0 or more) expected, got -1",
      raised.argument(function() reader:records(";", { limit = -1 }) end))
    assert.equal("records: option 'keep': true or false expected, got 1",
      raised.argument(function() reader:records(";", { keep = 1 }) end))
  end)
end)

describe("Reader:records of a stream in pieces", function()
  after_each(stop)

  -- Separators that begin again within themselves, and are shorter and longer than what corun remembers of one.
  local texts = {
    [";"] = "a;;b",
    ["\r\n"] = "\r\r\n\n\r\na",
    ["aab"] = "aaab.aab.aaaab",
    ["aa"] = "aaa.aaaaa",
    [("="):rep(16)] = "x" .. ("="):rep(33) .. "y",
    ["<" .. ("-"):rep(18) .. ">"] = "<--<" .. ("-"):rep(18) .. ">->" .. ("-"):rep(18) .. ">",
  }

  for separator, text in pairs(texts) do
    it(("finds %q wherever the stream is cut"):format(separator), function()
      for cut = 1, #text - 1 do
        local list = records_of_pieces(separator, text:sub(1, cut), text:sub(cut + 1))
        assert.same(model(text, separator), list, "cut behind byte " .. cut)
      end
    end)

    it(("finds %q when it comes byte by byte"):format(separator), function()
      local bytes = list_of(text:gmatch("."))
      assert.same(model(text, separator), records_of_pieces(separator, table.unpack(bytes)))
    end)
  end

  it("gives what string.find gives for random bytes, separators and pieces", function()
    local function random_bytes(most)
      local bytes = {}
      for i = 1, math.random(most) do bytes[i] = ({ "a", "b", "\n" })[math.random(3)] end
      return table.concat(bytes)
    end
    for _ = 1, 60 do
      local text, separator = random_bytes(300), random_bytes(4)
      start()
      local writing = corun.go(function()
        local at = 1
        while at <= #text do
          local size = math.random(60)
          echo:write(text:sub(at, at + size - 1))
          at = at + size
          if math.random(2) == 1 then corun.sleep(0) end
        end
        echo:close_stdin()
      end)
      local list = list_of(echo.stdout:records(separator))
      writing:await()
      assert.same(model(text, separator), list, ("%q in %q"):format(separator, text))
    end
  end)
end)

describe("Reader:records with a limit", function()
  before_each(start)
  after_each(stop)

  it("gives a record of just that length: its separator does not count", function()
    assert.same({ "abc", "de", "fgh" }, list_of(reader_of("abc--de--fgh"):records("--", { limit = 3 })))
  end)

  it("raises \"limit\" for a longer one and leaves every byte", function()
    local reader = reader_of("ab--abcd--e")
    local next_record = reader:records("--", { limit = 3 })
    assert.equal("ab", next_record())
    for _ = 1, 2 do
      local e = raised.error("limit", function() next_record() end)
      assert.matches("a record over the limit of 3 bytes", e.message)
    end
    assert.equal("abcd", reader:records("--")())
    assert.equal("e", next_record())
  end)

  it("raises it for a last one without separator", function()
    local reader = reader_of("abcd")
    raised.error("limit", function() reader:records("--", { limit = 3 })() end)
    assert.equal("abcd", reader:read())
  end)

  it("waits for the rest of a separator that may begin where the limit is", function()
    local next_record = echo.stdout:records("--", { limit = 3 })
    local task = waiting.start(function() return next_record() end)
    send("abc-")
    assert.equal("waiting", task.status)
    send("-")
    assert.equal("abc", task:await())
  end)

  it("raises it as soon as no separator can come within it", function()
    local next_record = echo.stdout:records("--", { limit = 3 })
    send("abc-d")
    raised.error("limit", function() next_record() end)
    assert.equal("abc-d", echo.stdout:read_exactly(5))
  end)

  it("may be 0: then there are empty records only", function()
    local next_record = reader_of(";;a;"):records(";", { limit = 0 })
    assert.equal("", next_record())
    assert.equal("", next_record())
    raised.error("limit", function() next_record() end)
  end)

  it("over the high water lets a record be longer than that", function()
    local size = 3 << 20
    corun.go(function()
      echo:write(("x"):rep(size), "--y")
      echo:close_stdin()
    end)
    local next_record = echo.stdout:records("--")
    assert.equal(size, #next_record())
    assert.equal("y", next_record())
  end)
end)

describe("Reader:nul", function()
  before_each(start)
  after_each(stop)

  it("gives what NUL bytes end, newlines and empty records as well", function()
    assert.same({ "a", "", "b\nc", "d" }, list_of(reader_of("a\0\0b\nc\0d"):nul()))
  end)

  it("gives the names that find -print0 prints", function()
    local find <close> = corun.spawn { "find", "spec/support", "-name", "ra*.lua", "-print0", stdin = "null" }
    assert.same({ "spec/support/raised.lua" }, list_of(find.stdout:nul()))
  end)
end)
