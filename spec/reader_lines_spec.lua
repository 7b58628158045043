local corun = require "corun"
local raised = require "spec.support.raised"
local waiting = require "spec.support.waiting"

local echo -- a cat that sends back what it gets, so that a spec decides what comes, and when

local function buffered(reader)
  return tonumber(tostring(reader):match("(%d+) bytes buffered"))
end

local function send(bytes)
  local before = buffered(echo.stdout)
  echo:write(bytes)
  waiting.wait_until("the bytes are there", function() return buffered(echo.stdout) >= before + #bytes end)
end

--- The Reader of a stream that holds just these bytes and has ended.
local function reader_of(bytes)
  send(bytes)
  echo:close_stdin()
  echo:wait()
  return echo.stdout
end

local function lines_of(reader, options)
  local lines = {}
  for line in reader:lines(options) do lines[#lines + 1] = line end
  return lines
end

describe("Reader:read_until", function()
  before_each(function() echo = corun.spawn { "cat", stderr = "null" } end)
  after_each(function() echo:close() end)

  it("gives what is before the separator and takes the separator, too", function()
    local reader = reader_of("one--two--three")
    assert.equal("one", reader:read_until("--"))
    assert.equal("two", reader:read_until("--"))
    assert.equal("three", reader:read())
  end)

  it("keeps the separator when asked to", function()
    assert.equal("one--", reader_of("one--two"):read_until("--", { keep = true }))
  end)

  it("finds a separator of several bytes wherever it is split between two reads", function()
    local text, separator = "ab\r\n\r\ncd", "\r\n\r\n"
    for first = 1, #text - 1 do
      send(text:sub(1, first))
      local task = corun.go(function() return echo.stdout:read_until(separator) end)
      waiting.let_others_run() -- it has searched the first part, and waits or is done
      echo:write(text:sub(first + 1))
      assert.equal("ab", task:await())
      assert.equal("cd", echo.stdout:read_exactly(2))
    end
  end)

  it("finds a separator that comes byte by byte", function()
    local task = corun.go(function() return echo.stdout:read_until("aab") end)
    for byte in ("xaaaa"):gmatch(".") do send(byte) end
    assert.equal("waiting", task.status)
    echo:write("b")
    assert.equal("xaa", task:await())
  end)

  it("finds a separator that is not the one it looked for before", function()
    send("a;b,c")
    local task = corun.go(function() return echo.stdout:read_until("\n") end)
    waiting.let_others_run()
    task:cancel()
    waiting.let_others_run()
    assert.equal("cancelled", task.status)
    assert.equal("a", echo.stdout:read_until(";"))
    assert.equal("b", echo.stdout:read_until(","))
  end)

  it("takes any bytes for a separator, NUL and long ones", function()
    local long = ("="):rep(40)
    local reader = reader_of("a\0b%." .. long .. "c")
    assert.equal("a", reader:read_until("\0"))
    assert.equal("b", reader:read_until("%."))
    assert.equal("", reader:read_until(long))
    assert.equal("c", reader:read())
  end)

  it("raises \"incomplete\" with what there was when the stream ends before", function()
    local reader = reader_of("one-")
    local e = raised.error("incomplete", function() reader:read_until("--") end)
    assert.equal("one-", e.partial)
    assert.matches("separator", e.expected)
    assert.is_nil(echo.stdout:read(1))
  end)

  it("raises \"limit\" for a longer record and leaves every byte", function()
    local reader = reader_of("12345--6")
    local e = raised.error("limit", function() reader:read_until("--", { limit = 4 }) end)
    assert.matches("limit of 4 bytes", e.message)
    assert.equal("12345", reader:read_until("--", { limit = 5 }))
    assert.equal("6", reader:read())
  end)

  it("refuses an empty separator, an unknown option and a wrong limit, and says what it got", function()
    local reader = echo.stdout
    assert.matches("read_until: .*separator.* got \"\"", raised.argument(function() reader:read_until("") end))
    assert.matches("read_until: .*separator.* got nil", raised.argument(function() reader:read_until() end))
    assert.matches("'keep'.*got \"crlf\"", raised.argument(function() reader:read_until("x", { crlf = 1 }) end))
    assert.matches("'limit'.*bytes.*got %-1", raised.argument(function() reader:read_until("x", { limit = -1 }) end))
  end)
end)

describe("Reader:read_line", function()
  before_each(function() echo = corun.spawn { "cat", stderr = "null" } end)
  after_each(function() echo:close() end)

  it("gives lines without their newlines, empty ones too, and nil at the end", function()
    local reader = reader_of("one\n\ntwo\n")
    assert.equal("one", reader:read_line())
    assert.equal("", reader:read_line())
    assert.equal("two", reader:read_line())
    assert.is_nil(reader:read_line())
    assert.is_nil(reader:read_line())
  end)

  it("takes a last line without newline for a line", function()
    local reader = reader_of("one\ntwo")
    assert.equal("one", reader:read_line())
    assert.equal("two", reader:read_line({ keep = true }))
    assert.is_nil(reader:read_line())
  end)

  it("waits for the rest of a line", function()
    send("o")
    local task = corun.go(function() return echo.stdout:read_line() end)
    for byte in ("ne\n"):gmatch(".") do
      waiting.let_others_run()
      assert.equal("waiting", task.status)
      echo:write(byte)
    end
    assert.equal("one", task:await())
  end)

  it("keeps the newline when asked to", function()
    assert.same({ "a\n", "\n", "b" }, lines_of(reader_of("a\n\nb"), { keep = true }))
  end)

  it("keeps a CR", function()
    assert.same({ "a\r", "b" }, lines_of(reader_of("a\r\nb\n")))
  end)

  it("removes a CR only before the newline with crlf", function()
    local reader = reader_of("a\r\n\rb\r\r\nc\rd\n\r\ne\r")
    assert.same({ "a", "\rb", "c\rd", "", "e\r" }, lines_of(reader, { crlf = true }))
  end)

  it("keeps NUL bytes", function()
    assert.same({ "a\0b", "\0" }, lines_of(reader_of("a\0b\n\0\n")))
  end)

  describe("with a limit", function()
    it("gives a line of just that length", function()
      assert.equal("12345", reader_of("12345\n"):read_line { limit = 5 })
    end)

    it("raises \"limit\" for a longer one and leaves every byte", function()
      local reader = reader_of("123456\nnext\n")
      local e = raised.error("limit", function() reader:read_line { limit = 5 } end)
      assert.matches("a line over the limit of 5 bytes", e.message)
      assert.equal("123456", reader:read_line())
      assert.equal("next", reader:read_line { limit = 5 })
    end)

    it("raises it for a line that has no end yet", function()
      send("123456")
      raised.error("limit", function() echo.stdout:read_line { limit = 5 } end)
      send("\n")
      assert.equal("123456", echo.stdout:read_line())
    end)

    it("raises it for a last line without newline", function()
      local reader = reader_of("123456")
      raised.error("limit", function() reader:read_line { limit = 5 } end)
      assert.equal("123456", reader:read())
    end)
  end)

  it("names a wrong option, what it expected and what it got", function()
    local reader = echo.stdout
    assert.matches("'keep'.*got \"kep\"", raised.argument(function() reader:read_line { kep = true } end))
    assert.matches("read_line: .*table.* got 5", raised.argument(function() reader:read_line(5) end))
    assert.matches("'limit'.*bytes.*got %-1", raised.argument(function() reader:read_line { limit = -1 } end))
    assert.matches("'limit'.*bytes.*got \"x\"", raised.argument(function() reader:read_line { limit = "x" } end))
    assert.matches("'keep'.*true or false.*got 1", raised.argument(function() reader:read_line { keep = 1 } end))
  end)
end)

describe("Reader:lines", function()
  before_each(function() echo = corun.spawn { "cat", stderr = "null" } end)
  after_each(function() echo:close() end)

  it("iterates over all lines", function()
    local expected = {}
    for i = 1, 20000 do expected[i] = "line " .. i end
    corun.go(function()
      echo:write(table.concat(expected, "\n"), "\n")
      echo:close_stdin()
    end)
    assert.same(expected, lines_of(echo.stdout))
  end)

  it("has no lines for an empty stream", function()
    assert.same({}, lines_of(reader_of("")))
  end)

  it("leaves the Reader usable when the loop is left", function()
    local reader = reader_of("1\n2\n3\n4\n5\n")
    for line in reader:lines() do
      if line == "2" then break end
    end
    assert.equal("3", reader:read_line())
    for line in reader:lines() do
      if line == "4" then break end
    end
    assert.equal("5\n", reader:read())
  end)

  it("can be mixed with other ways of reading", function()
    local reader = reader_of("1\n2;x\n3\n")
    local next_line = reader:lines()
    assert.equal("1", next_line())
    assert.equal("2", reader:read_until(";"))
    assert.equal("x", next_line())
    assert.equal("3", next_line())
    assert.is_nil(next_line())
  end)

  it("raises \"limit\" and leaves every byte", function()
    local reader = reader_of("1\n12345\n2\n")
    local lines = {}
    raised.error("limit", function()
      for line in reader:lines { limit = 3 } do lines[#lines + 1] = line end
    end)
    assert.same({ "1" }, lines)
    assert.equal("12345\n2\n", reader:read())
  end)

  it("raises \"closed\" once the Reader is closed", function()
    local next_line = reader_of("1\n2\n"):lines()
    assert.equal("1", next_line())
    echo.stdout:close()
    raised.error("closed", function() next_line() end)
  end)

  it("refuses an unknown option when it is called, not when it iterates", function()
    assert.matches("'keep'.*got \"size\"", raised.argument(function() echo.stdout:lines { size = 3 } end))
  end)
end)
