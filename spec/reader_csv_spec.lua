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

--- The records of a stream of its own.
local function csv_of(text, options)
  start()
  return list_of(reader_of(text):csv(options))
end

describe("Reader:csv", function()
  before_each(start)
  after_each(stop)

  it("gives each record as a list of its fields", function()
    assert.same({ { "a", "b", "c" }, { "1", "2", "3" } }, csv_of("a,b,c\n1,2,3\n"))
    assert.same({ { "a" }, { "b", "c" } }, csv_of("a\nb,c"))
    assert.same({}, csv_of(""))
  end)

  it("knows empty fields, in quotes or not, at the ends too", function()
    assert.same({ { "", "", "" }, { "", "x", "" }, { "" } }, csv_of(',,""\n"",x,\n""\n'))
  end)

  it("takes blanks for content", function()
    assert.same({ { " a ", "\tb" } }, csv_of(" a ,\tb\n"))
  end)

  it("finds separators, newlines and doubled quotes in quotes", function()
    assert.same({ { "a,b", "c\nd", 'e"f' }, { '"', "\r\n\n", '""' } },
      csv_of('"a,b","c\nd","e""f"\n"""","\r\n\n",""""""\n'))
  end)

  it("ends records with LF or CRLF, and keeps a CR elsewhere", function()
    assert.same({ { "a", "b" }, { "c\rd", "e" }, { "f" } }, csv_of('a,b\r\nc\rd,"e"\r\n"f"\r\n'))
    assert.same({ { "a", "b\r" } }, csv_of("a,b\r"))
  end)

  it("passes over empty lines", function()
    assert.same({ { "a" }, { "b" } }, csv_of("\n\r\na\n\n\r\n\nb\n\n"))
  end)

  it("knows no newline in quotes for an empty line", function()
    assert.same({ { "\n" }, { "\n\n", "x" } }, csv_of('"\n"\n"\n\n",x\n'))
  end)

  it("keeps any other bytes", function()
    assert.same({ { "a\0b", "\255" } }, csv_of('a\0b,"\255"\n'))
  end)

  it("gives the number of each record and its first byte as well", function()
    local found = {}
    for fields, number, offset in reader_of('a\n"b\nb",c\n\n\nd'):csv() do
      found[#found + 1] = { fields[1], number, offset }
    end
    assert.same({ { "a", 1, 0 }, { "b\nb", 2, 2 }, { "d", 3, 12 } }, found)
  end)

  it("finds the ends of records wherever the stream is cut", function()
    local text = 'a,"b\n""c""",\r\n\n"",""\r\n"d\r",e\r\nf'
    for cut = 1, #text - 1 do
      start()
      local task = waiting.start(function() return list_of(echo.stdout:csv()) end)
      send(text:sub(1, cut))
      send(text:sub(cut + 1))
      echo:close_stdin()
      assert.same({ { "a", 'b\n"c"', "" }, { "", "" }, { "d\r", "e" }, { "f" } }, task:await(), "cut behind " .. cut)
    end
  end)

  it("gives a record as soon as its line has ended", function()
    local task = waiting.start(echo.stdout:csv())
    for byte in ('a,"b\n"'):gmatch(".") do send(byte) end
    assert.equal("waiting", task.status)
    send("\n")
    assert.same({ "a", "b\n" }, (task:await()))
  end)

  it("gives what was written, for random fields in random pieces", function()
    local parts = { "a", "b c", ",", "\n", "\r\n", '"', '""', "" }
    local function random_field()
      local field = {}
      for i = 1, math.random(0, 4) do field[i] = parts[math.random(#parts)] end
      return table.concat(field)
    end
    for _ = 1, 30 do
      local records, lines = {}, {}
      for i = 1, math.random(20) do
        local fields, written = {}, {}
        for k = 1, math.random(5) do
          fields[k] = random_field()
          local quoted = fields[k]:find('[,"\r\n]') or #fields[k] == 0 or math.random(2) == 1
          written[k] = quoted and '"' .. fields[k]:gsub('"', '""') .. '"' or fields[k]
        end
        records[i], lines[i] = fields, table.concat(written, ",")
      end
      local text = table.concat(lines, "\n")
      start()
      local writing = corun.go(function()
        local at = 1
        while at <= #text do
          local size = math.random(40)
          echo:write(text:sub(at, at + size - 1))
          at = at + size
          if math.random(2) == 1 then corun.sleep(0) end
        end
        echo:close_stdin()
      end)
      local got = list_of(echo.stdout:csv())
      writing:await()
      assert.same(records, got, ("%q"):format(text))
    end
  end)

  it("gives records that are longer than the Reader's high water", function()
    local long = ("x\n"):rep(1 << 20)
    corun.go(function()
      echo:write('a,"', long, '"\nb\n')
      echo:close_stdin()
    end)
    local next_record = echo.stdout:csv()
    assert.is_true(next_record()[2] == long)
    assert.same({ "b" }, (next_record()))
  end)

  it("loses nothing to a time limit in the middle of a record", function()
    local next_record = echo.stdout:csv()
    send('a\nb,"c\n')
    assert.same({ "a" }, (next_record()))
    raised.error("timeout", function() corun.timeout(0.001, next_record) end)
    send('d"",\n')
    raised.error("timeout", function() corun.timeout(0.001, next_record) end)
    send('e"\n')
    local fields, number, offset = next_record()
    assert.same({ { "b", 'c\nd",\ne' }, 2, 2 }, { fields, number, offset })
  end)

  it("goes on behind what others have read", function()
    local reader = reader_of('a\n"b\nc",d\ne\n"f"\n')
    local next_record = reader:csv()
    assert.same({ "a" }, (next_record()))
    assert.equal('"b', reader:read_line())
    assert.equal('c"', reader:read_until(","))
    assert.same({ "d" }, (next_record()))
    local fields, number, offset = reader:csv()()
    assert.same({ { "e" }, 1, 10 }, { fields, number, offset })
    assert.same({ "f" }, (next_record()))
  end)

  it("does not go on within a quoted field that somebody has read", function()
    local next_record = echo.stdout:csv()
    send('"a')
    raised.error("timeout", function() corun.timeout(0.001, next_record) end)
    assert.equal('"a', echo.stdout:read(2))
    send("b,c\n")
    assert.same({ "b", "c" }, (next_record()))
  end)

  it("refuses wrong options when it is called", function()
    local reader = echo.stdout
    for _, separator in ipairs { "", ",,", '"', "\n", "\r", 1 } do
      raised.has(raised.argument(function() reader:csv { separator = separator } end),
        "csv: option 'separator': one character, no quote or newline, expected, got ")
    end
    assert.equal("csv: option 'header': true or false expected, got 1",
      raised.argument(function() reader:csv { header = 1 } end))
    assert.equal('csv: unknown option "sep"', raised.argument(function() reader:csv { sep = ";" } end))
    assert.equal("csv: option 'limit': a number of bytes (0 or more) expected, got -1",
      raised.argument(function() reader:csv { limit = -1 } end))
  end)
end)

describe("Reader:csv's options", function()
  before_each(start)
  after_each(stop)

  it("separator may be any byte", function()
    for _, separator in ipairs { ";", "\t", " ", "\0", "|", "\255" } do
      local text = ('a#"b#c"#\n#'):gsub("#", separator)
      assert.same({ { "a", "b" .. separator .. "c", "" }, { "", "" } }, csv_of(text, { separator = separator }))
    end
    assert.same({ { "a,b", "c" } }, csv_of("a,b;c\n", { separator = ";" }))
  end)

  it("header names the fields of what follows", function()
    assert.same({ { name = "one", value = "1" }, { name = "t,wo", value = "" } },
      csv_of('name,value\none,1\n\n"t,wo",\n', { header = true }))
    assert.same({}, csv_of("name,value\n", { header = true }))
    assert.same({}, csv_of("", { header = true }))
  end)

  it("header counts as the first record, and one with another number of fields is an Error", function()
    local next_record = reader_of("a,b\n1\n1,2,3\n1,2\n"):csv { header = true }
    for _, expected in ipairs { { 2, 4, "1 field" }, { 3, 6, "3 fields" } } do
      local e = raised.error("io", function() next_record() end)
      assert.same({ expected[1], expected[2] }, { e.record, e.offset })
      raised.has(e.message, expected[3])
    end
    local record, number, offset = next_record()
    assert.same({ { a = "1", b = "2" }, 4, 12 }, { record, number, offset })
    assert.is_nil(next_record())
  end)

  it("limit raises for a longer record, which stays", function()
    local reader = reader_of('a,b\n"c\nd"\n"e"\n')
    local next_record = reader:csv { limit = 4 }
    assert.same({ "a", "b" }, (next_record()))
    for _ = 1, 2 do
      local e = raised.error("limit", function() next_record() end)
      raised.has(e.message, "a record over the limit of 4 bytes")
    end
    assert.same({ "c\nd" }, (reader:csv()()))
    assert.same({ "e" }, (next_record()))
  end)
end)

describe("A bad record for Reader:csv", function()
  before_each(start)
  after_each(stop)

  it("is an Error with its number and first byte, and the next call goes on with the next line", function()
    local next_record = reader_of('a\nb"c,d\n"e"f,"\n"g"\r,\n"h"\r"\n\ni,j\n'):csv()
    assert.same({ "a" }, (next_record()))
    local quote = "a quote inside of a field without quotes"
    local behind = "something between a closing quote and the separator"
    for _, expected in ipairs { { 2, 2, quote }, { 3, 8, behind }, { 4, 15, behind }, { 5, 21, behind } } do
      local e = raised.error("io", function() next_record() end)
      assert.same({ expected[1], expected[2] }, { e.record, e.offset })
      raised.has(e.message, ("CSV, record %d at byte %d: %s"):format(table.unpack(expected)))
    end
    local fields, number, offset = next_record()
    assert.same({ { "i", "j" }, 6, 28 }, { fields, number, offset })
    assert.is_nil(next_record())
  end)

  it("is the same wherever the stream is cut", function()
    local text = 'b"c,"\n"e"f,"\n"g"\r,\nx\n'
    for cut = 1, #text - 1 do
      start()
      local next_record = echo.stdout:csv()
      local task = waiting.start(function()
        local found = {}
        for i = 1, 4 do
          local ok, value = pcall(next_record)
          found[i] = ok and value or value.offset
        end
        return found
      end)
      send(text:sub(1, cut))
      send(text:sub(cut + 1))
      assert.same({ 0, 6, 13, { "x" } }, task:await(), "cut behind byte " .. cut)
    end
  end)

  it("is \"incomplete\" where the stream ends inside of quotes", function()
    for _, rest in ipairs { '"', 'b,"c', '"b\n,c', '"b""' } do
      start()
      local next_record = reader_of("a\n" .. rest):csv()
      assert.same({ "a" }, (next_record()))
      local e = raised.error("incomplete", function() next_record() end)
      assert.same({ 2, 2 }, { e.record, e.offset })
      raised.has(e.message, "ends inside of a quoted field")
      assert.is_nil(next_record())
    end
  end)
end)
