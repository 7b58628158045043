local corun = require "corun"
local raised = require "spec.support.raised"
local waiting = require "spec.support.waiting"

local echo -- a cat that sends back what it gets, so that a spec decides what comes, and when

local function arrived() return (select(3, echo.stdout:_status())) end

--- Has these bytes read into the Reader by one piece, and lets who waits for them look at them.
local function send(bytes)
  local before = arrived()
  echo:write(bytes)
  waiting.wait_until("the bytes have come", function() return arrived() >= before + #bytes end)
  corun.sleep(0)
end

local function start()
  if echo then echo:close() end
  echo = corun.spawn { "cat", stderr = "null" }
end
local function stop() echo:close() end

--- The Reader of a stream that holds just these bytes and ends.
local function reader_of(bytes)
  local cat = echo
  corun.go(function()
    cat:write(bytes)
    cat:close_stdin()
  end)
  return cat.stdout
end

local function size_of(iterator)
  local size = 0
  for _ in iterator do size = size + 1 end
  return size
end

--- count's answer for a stream of its own.
local function count_in(text, separator)
  start()
  local count = reader_of(text):count(separator)
  assert.is_nil(echo.stdout:read(1))
  return count
end

describe("Reader:count", function()
  after_each(stop)

  it("gives as many as lines would, with and without a newline at the end", function()
    assert.equal(0, count_in(""))
    assert.equal(1, count_in("\n"))
    assert.equal(1, count_in("a"))
    assert.equal(1, count_in("a\n"))
    assert.equal(2, count_in("a\nb"))
    assert.equal(3, count_in("\n\na"))
    assert.equal(2, count_in("a\r\n\0\n"))
  end)

  it("counts each one of many separators in a row", function()
    -- Around the sizes that are looked at together.
    for _, size in ipairs { 15, 16, 17, 255, 256, 257, 255 * 16 - 1, 255 * 16, 255 * 16 + 1, 100003 } do
      assert.equal(size, count_in(("\n"):rep(size)))
      assert.equal(size + 1, count_in(("\n"):rep(size) .. "x"))
    end
  end)

  it("takes any byte for a separator", function()
    for _, separator in ipairs { "\0", "\127", "\128", "\255", "%", "." } do
      local others = separator == "." and "\n:" or "\n."
      assert.equal(41, count_in((others:rep(9) .. separator):rep(40) .. others, separator))
    end
  end)

  it("counts records with a separator of several bytes", function()
    assert.equal(0, count_in("", "--"))
    assert.equal(2, count_in("a--b", "--"))
    assert.equal(2, count_in("a--b--", "--"))
    assert.equal(2, count_in("----", "--"))
    assert.equal(2, count_in("---", "--"))
    assert.equal(1, count_in("-", "--"))
    assert.equal(2, count_in("a--b-", "--"))
    assert.equal(3, count_in("aabaaab" .. ("="):rep(40), "aab"))
    assert.equal(3, count_in(("="):rep(41) .. "x" .. ("="):rep(40) .. "y", ("="):rep(40)))
  end)

  it("counts a separator wherever the stream is cut", function()
    local text, separator = "x\r\n\r\r\n\r\n\r\ny\r\n\r\n", "\r\n\r\n"
    for cut = 1, #text - 1 do
      start()
      local task = waiting.start(function() return echo.stdout:count(separator) end)
      send(text:sub(1, cut))
      send(text:sub(cut + 1))
      echo:close_stdin()
      assert.equal(2, task:await(), "cut behind byte " .. cut)
    end
  end)

  it("knows of an open record that came in a piece before", function()
    for _, separator in ipairs { "\n", "--" } do
      start()
      local task = waiting.start(function() return echo.stdout:count(separator) end)
      send("abc")
      send(separator)
      send("abc")
      send("de")
      echo:close_stdin()
      assert.equal(2, task:await())
    end
  end)

  it("gives as many as records for random bytes, separators and pieces", function()
    local function random_bytes(most)
      local bytes = {}
      for i = 1, math.random(0, most) do bytes[i] = ({ "a", "b", "\n" })[math.random(3)] end
      return table.concat(bytes)
    end
    for _ = 1, 30 do
      local text, separator = random_bytes(400), "a" .. random_bytes(3)
      start()
      local records = size_of(reader_of(text):records(separator))
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
      local first = math.random(0, 2)
      local next_record, read = echo.stdout:records(separator), 0
      for _ = 1, first do read = read + (next_record() and 1 or 0) end
      local count = read + echo.stdout:count(separator)
      writing:await()
      assert.equal(records, count, ("%q in %q, %d read before"):format(separator, text, first))
    end
  end)

  it("counts what is longer than the Reader's high water", function()
    local line = ("x"):rep(99) .. "\n"
    assert.equal(50000, count_in(line:rep(50000)))
    assert.equal(1, count_in(("x"):rep(3 << 20)))
    assert.equal(2, count_in(("-"):rep(3 << 20) .. ">x", "->"))
  end)

  it("makes no strings of what it counts", function()
    start()
    local reader = reader_of(("x"):rep(99) .. "\n")
    assert.equal(1, reader:count())
    local text = ("some line or other\n"):rep(300000)
    start()
    reader = reader_of(text)
    collectgarbage()
    collectgarbage("stop")
    local before = collectgarbage("count")
    local count = reader:count()
    local grown = collectgarbage("count") - before
    collectgarbage("restart")
    assert.equal(300000, count)
    assert.is_true(grown < 1000, "KiB: " .. grown)
  end)
end)

describe("Reader:count among other calls", function()
  before_each(start)
  after_each(stop)

  it("counts what is left, the rest of a line that was begun as one", function()
    local reader = reader_of("1\n2\n3 and more\n4")
    assert.equal("1", reader:read_line())
    assert.equal("2\n3", reader:read_exactly(3))
    assert.equal(2, reader:count())
    assert.is_true(reader:at_eof())
    assert.equal(0, reader:count())
  end)

  it("counts behind a line that is too long for another call", function()
    local reader = reader_of("12345\n6\n")
    raised.error("limit", function() reader:read_line { limit = 3 } end)
    assert.equal(2, reader:count())
  end)

  it("leaves the bytes behind it to be found when it was cancelled", function()
    local next_line = echo.stdout:lines()
    send("1\n2\n3")
    assert.equal("1", next_line())
    raised.error("timeout", function() corun.timeout(0.001, function() echo.stdout:count() end) end)
    send("and 4\n5\n")
    assert.equal("and 4", next_line()) -- what was counted is taken
    assert.equal("5", next_line())
  end)

  it("knows a separator of which a cancelled count has seen the first part", function()
    send("1--2<-")
    local count = function() return echo.stdout:count("<->") end
    raised.error("timeout", function() corun.timeout(0.001, count) end)
    send(">3")
    echo:close_stdin()
    assert.equal(2, count())
  end)

  it("raises \"busy\" while another task reads", function()
    local reader = echo.stdout
    local task = waiting.start(function() return reader:count() end)
    raised.error("busy", function() reader:count() end)
    raised.error("busy", function() reader:read(1) end)
    send("1\n2")
    echo:close_stdin()
    assert.equal(2, task:await())
  end)

  it("raises \"closed\" on a closed Reader, and when it is closed meanwhile", function()
    local reader = echo.stdout
    local task = waiting.start(function() return corun.try(reader.count, reader) end)
    send("1\n2")
    reader:close()
    local count, e = task:await()
    assert.same({ nil, "closed" }, { count, e.kind })
    raised.error("closed", function() reader:count() end)
  end)

  it("refuses a wrong separator", function()
    local expected = "count: a separator of one byte or more expected, got "
    assert.equal(expected .. '""', raised.argument(function() echo.stdout:count("") end))
    assert.equal(expected .. "10", raised.argument(function() echo.stdout:count(10) end))
    assert.equal(expected .. "a table", raised.argument(function() echo.stdout:count { "\n" } end))
  end)
end)
