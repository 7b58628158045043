local corun = require "corun"
local raised = require "spec.support.raised"
local support = require "spec.support"
local waiting = require "spec.support.waiting"

local echo -- a cat that sends back what it gets, so that a spec decides what comes, and when

local function buffered(reader)
  return tonumber(tostring(reader):match("(%d+) bytes buffered"))
end

--- Sends these bytes and waits until the Reader holds so many (default: these alone).
local function send(bytes, count)
  echo:write(bytes)
  count = count or #bytes
  waiting.wait_until(count .. " bytes are there", function() return buffered(echo.stdout) >= count end)
end

--- The Reader of a stream that holds just these bytes and has ended.
local function reader_of(bytes)
  send(bytes)
  echo:close_stdin()
  echo:wait()
  return echo.stdout
end

describe("Reader", function()
  before_each(function() echo = corun.spawn { "cat", stderr = "null" } end)
  after_each(function() echo:close() end)

  describe("read(n)", function()
    it("gives what there is as soon as there is something", function()
      send("abc")
      assert.equal("abc", echo.stdout:read(100))
    end)

    it("gives at most n bytes and keeps the rest", function()
      local reader = reader_of("abcde")
      assert.equal("ab", reader:read(2))
      assert.equal("cd", reader:read(2))
      assert.equal("e", reader:read(2))
    end)

    it("waits for the first byte", function()
      local task = corun.go(function() return echo.stdout:read(5) end)
      waiting.let_others_run()
      assert.equal("waiting", task.status)
      send("x", 0)
      assert.equal("x", task:await())
    end)

    it("is nil at the end, each time", function()
      local reader = reader_of("")
      assert.is_nil(reader:read(1))
      assert.is_nil(reader:read(1))
    end)

    it("takes nothing and waits for nothing when n is 0", function()
      assert.equal("", echo.stdout:read(0))
      local reader = reader_of("ab")
      assert.equal("", reader:read(0))
      assert.equal("ab", reader:read())
      assert.equal("", reader:read(0))
    end)

    it("keeps bytes as they are", function()
      local bytes = {}
      for byte = 0, 255 do bytes[#bytes + 1] = string.char(byte) end
      local all = table.concat(bytes)
      assert.equal(all, reader_of(all):read())
    end)

    it("refuses a negative count and what is no number", function()
      for _, method in ipairs { "read", "read_exactly", "peek" } do
        local function call(n) return function() echo.stdout[method](echo.stdout, n) end end
        assert.matches(method .. ": .*bytes.*got \"x\"", raised.argument(call("x")))
        assert.matches(method .. ": .*0 or more.*got %-1", raised.argument(call(-1)))
        assert.matches(method .. ": .*bytes.*got 1.5", raised.argument(call(1.5)))
      end
      assert.matches("chunks: .*1 or more.*got 0", raised.argument(function() echo.stdout:chunks(0) end))
    end)
  end)

  describe("read()", function()
    it("gives all to the end", function()
      assert.equal("one\ntwo", reader_of("one\ntwo"):read())
    end)

    it("gives an empty string when there is nothing", function()
      local reader = reader_of("")
      assert.equal("", reader:read())
      assert.equal("", reader:read())
    end)

    it("gives more than the high water", function()
      local text = ("0123456789abcdef"):rep(200000)
      local task = corun.go(function()
        echo:write(text)
        echo:close_stdin()
      end)
      assert.is_true(echo.stdout:read() == text)
      task:await()
    end)
  end)

  describe("read_exactly(n)", function()
    it("puts pieces together", function()
      local task = corun.go(function() return echo.stdout:read_exactly(6) end)
      for _, piece in ipairs { "a", "bcd", "efgh" } do
        send(piece, 0)
        waiting.let_others_run()
      end
      assert.equal("abcdef", task:await())
      assert.equal("gh", echo.stdout:read(9))
    end)

    it("gives an empty string for 0 bytes, also at the end", function()
      assert.equal("", reader_of(""):read_exactly(0))
    end)

    it("raises \"incomplete\" with what there was when the stream ends before", function()
      local reader = reader_of("abc")
      local e = raised.error("incomplete", function() reader:read_exactly(5) end)
      assert.equal("abc", e.partial)
      assert.matches("5 bytes", e.expected)
      assert.matches("5 bytes.*3 bytes", e.message)
    end)

    it("gives more than the high water", function()
      corun.go(function() echo:write(("x"):rep(3 << 20)) end)
      assert.equal(3 << 20, #echo.stdout:read_exactly(3 << 20))
    end)
  end)

  describe("peek(n)", function()
    it("gives the next bytes and leaves them", function()
      local reader = reader_of("abcd")
      assert.equal("abc", reader:peek(3))
      assert.equal("abc", reader:peek(3))
      assert.equal("abcd", reader:read())
    end)

    it("gives what is left when that is less, and nil at the end", function()
      local reader = reader_of("ab")
      assert.equal("ab", reader:peek(9))
      reader:read()
      assert.is_nil(reader:peek(1))
    end)
  end)

  describe("at_eof()", function()
    it("is false while there are bytes and true after the last", function()
      local reader = reader_of("ab")
      assert.is_false(reader:at_eof())
      reader:read(2)
      assert.is_true(reader:at_eof())
    end)

    it("waits until it is known", function()
      local task = corun.go(function() return echo.stdout:at_eof() end)
      waiting.let_others_run()
      assert.equal("waiting", task.status)
      echo:close_stdin()
      assert.is_true(task:await())
    end)
  end)

  describe("chunks()", function()
    it("gives pieces of at most n bytes to the end", function()
      local pieces = {}
      for piece in reader_of("abcdefg"):chunks(3) do pieces[#pieces + 1] = piece end
      assert.same({ "abc", "def", "g" }, pieces)
    end)

    it("loses nothing, whatever the sizes", function()
      local text = ("0123456789"):rep(50000)
      corun.go(function()
        echo:write(text)
        echo:close_stdin()
      end)
      local pieces = {}
      for piece in echo.stdout:chunks() do pieces[#pieces + 1] = piece end
      assert.is_true(table.concat(pieces) == text)
    end)
  end)

  describe("read by one task", function()
    it("refuses another one with kind \"busy\" and goes on", function()
      local first = corun.go(function() return echo.stdout:read_line() end)
      waiting.let_others_run()
      for _, method in ipairs { "read", "read_line", "read_exactly", "peek", "at_eof" } do
        local argument = method ~= "read_line" and 1 or nil
        local e = raised.error("busy", function() echo.stdout[method](echo.stdout, argument) end)
        assert.matches("another task", e.message)
      end
      send("line\n", 0)
      assert.equal("line", first:await())
    end)

    it("can be read by another one after", function()
      send("one\ntwo\n")
      assert.equal("one", corun.go(function() return echo.stdout:read_line() end):await())
      assert.equal("two", corun.go(function() return echo.stdout:read_line() end):await())
    end)

    it("loses nothing when that task is cancelled in the middle", function()
      send("half")
      local task = corun.go(function() return echo.stdout:read_exactly(8) end)
      waiting.let_others_run()
      task:cancel()
      raised.error("cancelled", function() task:await() end)
      send("done", 8)
      assert.equal("halfdone", echo.stdout:read_exactly(8))
    end)
  end)

  describe("close()", function()
    it("gives kind \"closed\" to the task that reads", function()
      local task = corun.go(pcall, echo.stdout.read_line, echo.stdout)
      waiting.let_others_run()
      echo.stdout:close()
      local ok, e = task:await()
      assert.is_false(ok)
      assert.equal("closed", e.kind)
    end)

    it("refuses every reading after it with kind \"closed\"", function()
      send("abc")
      echo.stdout:close()
      for _, method in ipairs { "read", "read_line", "read_exactly", "peek", "at_eof" } do
        local argument = method ~= "read_line" and 1 or nil
        raised.error("closed", function() echo.stdout[method](echo.stdout, argument) end)
      end
    end)

    it("does nothing the second time", function()
      echo.stdout:close()
      assert.has_no_error(function() echo.stdout:close() end)
    end)

    it("is what leaving a <close> block does", function()
      do
        local reader <close> = echo.stdout
        assert.equal("", reader:read(0))
      end
      raised.error("closed", function() echo.stdout:read(1) end)
    end)

    it("lets the child end by SIGPIPE", function()
      local flood <close> = corun.spawn { "yes", stderr = "null" }
      assert.equal("y", flood.stdout:read_line())
      flood.stdout:close()
      assert.equal("SIGPIPE", flood:wait(10).signal)
    end)
  end)

  it("ends when the last process that holds the pipe has gone, not with the child", function()
    local p <close> = corun.spawn { support.fixture "holder", stderr = "null" }
    local held = tonumber(p.stdout:read_line():match("^held (%d+)$"))
    assert.is_true(p:wait(10).ok)
    local task = corun.go(function() return p.stdout:at_eof() end)
    waiting.let_others_run()
    assert.equal("waiting", task.status)
    assert.is_false(support.is_gone(held))
    p:kill()
    assert.is_true(task:await(10))
  end)

  it("says in words what it is", function()
    assert.equal("Reader (open, 0 bytes buffered)", tostring(echo.stdout))
    assert.equal("Reader (at its end, 3 bytes buffered)", tostring(reader_of("abc")))
    echo.stdout:close()
    assert.equal("Reader (closed, 0 bytes buffered)", tostring(echo.stdout))
  end)
end)
