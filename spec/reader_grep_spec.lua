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

local function list_of(iterator)
  local list = {}
  for item in iterator do list[#list + 1] = item end
  return list
end

--- What grep gives for a stream of its own.
local function grep_in(text, pattern, options)
  start()
  local list = list_of(reader_of(text):grep(pattern, options))
  return list
end

local function lines_of(text)
  local lines = {}
  for line in (text .. (text:find("[^\n]$") and "\n" or "")):gmatch("(.-)\n") do lines[#lines + 1] = line end
  return lines
end

--- What grep has to give, by string.find.
local function model(text, pattern)
  local list = {}
  for _, line in ipairs(lines_of(text)) do
    if line:find(pattern) then list[#list + 1] = line end
  end
  return list
end

describe("Reader:grep", function()
  after_each(stop)

  it("gives the lines that match, without their newlines, also a last one without", function()
    assert.same({ "an apple", "a pea", "ape" }, grep_in("an apple\nplum\n\na pea\nape", "[ap]p?[pe]%l"))
    assert.same({}, grep_in("plum\n\nfig", "apple"))
    assert.same({}, grep_in("", ".*"))
  end)

  it("gives each line once, however often it matches", function()
    assert.same({ "aaaa" }, grep_in("aaaa\nb\n", "a"))
  end)

  it("takes the ends of a line for ^ and $, the stream's end as well", function()
    local text = "ab\nba\nab"
    assert.same({ "ab", "ab" }, grep_in(text, "^a"))
    assert.same({ "ab", "ab" }, grep_in(text, "b$"))
    assert.same({}, grep_in("a\nb\n", "^$"))
    assert.same({ "", "" }, grep_in("\na\n\n", "^$"))
    assert.same({ "" }, grep_in("\n", "$"))
  end)

  it("gives every line for an empty pattern", function()
    for _, plain in ipairs { true, false } do
      assert.same({ "a", "", "b" }, grep_in("a\n\nb", "", { plain = plain }))
    end
  end)

  it("takes a plain pattern as it stands", function()
    local text = "a.c\nabc\n^a\n%a\n[a\na$\n"
    for _, line in ipairs { "a.c", "^a", "%a", "[a", "a$" } do
      assert.same({ line }, grep_in(text, line, { plain = true }))
    end
  end)

  it("has no newline in what it searches: a pattern with one matches nothing", function()
    for _, pattern in ipairs { "a\nb", "\n", "a\n", "\nb" } do
      assert.same({}, grep_in("xa\nby\na\nb", pattern, { plain = true, keep = true }))
      assert.same({}, grep_in("xa\nby\na\nb", pattern))
    end
  end)

  it("knows captures, positions, lazy items and frontiers", function()
    assert.same({ "key = 1" }, grep_in("key = 1\nkey == 1\n", "^(%w+)%s*=%s*()(%d-)$"))
    assert.same({ "THE (quick) fox" }, grep_in("THEE quick\nTHE (quick) fox\n", "%f[%a]THE%f[%A]"))
    assert.same({ "a b" }, grep_in("ab\na b\n", "a%f[^%a]."))
  end)

  it("finds NUL bytes and others in lines", function()
    local text = "a\0b\n\255\n\0\nab\n"
    assert.same({ "a\0b", "\0" }, grep_in(text, "\0"))
    assert.same({ "a\0b" }, grep_in(text, "a\0", { plain = true }))
    assert.same({ "\255" }, grep_in(text, "[\128-\255]"))
  end)

  it("finds a pattern of many items", function()
    local pattern = ("[ab]c?"):rep(50) .. "$"
    local good = ("abc"):rep(25)
    assert.same({ good, "d" .. good }, grep_in(("ab"):rep(24) .. "\n" .. good .. "\nd" .. good .. "\n" .. good .. "d\n",
      pattern))
  end)

  it("has %f for the end of a line, too", function()
    assert.same({ "one two" }, grep_in("one two\ntwofold\n", "two%f[%W]"))
  end)

  for _, pattern in ipairs { "needle", "n[e]+dle", "le$", "^%w*needle", "[^-]$", "e.-d" } do
    it(("finds %q wherever the stream is cut"):format(pattern), function()
      local text = "hay\nneedl\nneneedle\n\nneedle-\nneedle"
      for cut = 1, #text - 1 do
        start()
        local task = waiting.start(function() return list_of(echo.stdout:grep(pattern)) end)
        send(text:sub(1, cut))
        send(text:sub(cut + 1))
        echo:close_stdin()
        assert.same(model(text, pattern), task:await(), "cut behind byte " .. cut)
      end
    end)
  end

  it("gives what string.find says of each line, for random text in random pieces", function()
    local items = { "a", "b", "%a", "[ab]", "[^a]", "%s", "a-", "b*", "a?", ".-", "(a)", "()", "%f[a]", "c", "ab", "$",
      "^", "b+", ".+", "%f[%s]" }
    local function random_of(list, most)
      local chosen = {}
      for i = 1, math.random(most) do chosen[i] = list[math.random(#list)] end
      return table.concat(chosen)
    end
    for _ = 1, 60 do
      local text, pattern = random_of({ "a", "b", "c", " ", "\n" }, 300), random_of(items, 6)
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
      local list = list_of(echo.stdout:grep(pattern))
      writing:await()
      assert.same(model(text, pattern), list, ("%q in %q"):format(pattern, text))
    end
  end)

  it("gives whole lines that are longer than the buffers", function()
    local long = ("x"):rep(3 << 20)
    local text = long .. "\n" .. long .. "end\nstart" .. long .. "\nshort end"
    for _, pattern in ipairs { "end", "e[n]d$" } do
      assert.is_true(table.concat(grep_in(text, pattern), "|") == long .. "end|short end")
    end
    assert.is_true(table.concat(grep_in(text, "^start"), "|") == "start" .. long)
  end)

  it("makes no strings of the lines that do not match", function()
    local text = ("some line or other\n"):rep(200000) .. "the end\n"
    for _, pattern in ipairs { "end", "[e]nd$" } do
      start()
      local next_line = reader_of(text):grep(pattern)
      collectgarbage()
      collectgarbage("stop")
      local before = collectgarbage("count")
      local line = next_line()
      local grown = collectgarbage("count") - before
      collectgarbage("restart")
      assert.equal("the end", line)
      assert.is_true(grown < 1000, "KiB: " .. grown)
    end
  end)
end)

describe("Reader:grep's options", function()
  after_each(stop)

  it("keep gives the newline where there is one", function()
    assert.same({ "ab\n", "a" }, grep_in("ab\nb\na", "a", { keep = true }))
  end)

  it("crlf takes the CR off, of what is given, not of what is searched", function()
    assert.same({ "a", "ab\rb" }, grep_in("a\r\nab\rb\r\nc\r\n", "a", { crlf = true }))
    assert.same({}, grep_in("a\r\n", "a$", { crlf = true }))
    assert.same({ "a" }, grep_in("a\r\n", "a\r$", { crlf = true }))
    assert.same({ "a\r" }, grep_in("a\r", "a", { crlf = true }))
  end)

  it("utf8 and ansi clean what is given, not what is searched", function()
    local text = "\27[31mred\27[0m\nbl\255ue\ngreen\n"
    assert.same({ "red" }, grep_in(text, "r[e]d", { ansi = "strip" }))
    assert.same({ "red" }, grep_in(text, "31m", { ansi = "strip", plain = true }))
    assert.same({ "bl\u{fffd}ue" }, grep_in(text, "\255", { utf8 = "replace" }))
  end)

  it("limit raises for a longer line, also one that does not match, however it comes, and leaves it", function()
    for text in ("match\nno\nlong match\nmatch|match\nno\nlong no\nmatch"):gmatch("[^|]+") do
      for cut = 1, #text - 1 do
        start()
        local next_line = echo.stdout:grep(cut % 2 == 0 and "match" or "m[a]tch", { limit = 5 })
        local task = waiting.start(function() return next_line(), pcall(next_line) end)
        send(text:sub(1, cut))
        send(text:sub(cut + 1) .. "\n")
        local first, _, e = task:await()
        assert.same({ "match", "limit" }, { first, e.kind }, "cut behind byte " .. cut)
        assert.matches("a line over the limit of 5 bytes", e.message)
        assert.matches("^long", echo.stdout:read_line())
        assert.equal("match", next_line())
      end
    end
  end)
end)

describe("Reader:grep on one Reader with others", function()
  before_each(start)
  after_each(stop)

  it("goes on where another grep or lines has stopped", function()
    local reader = reader_of("a1\nb1\nx\na2\ny\nb2 a\nb3\na3\nz")
    local as, bs, lines = reader:grep("a"), reader:grep("^b%d"), reader:lines()
    assert.equal("a1", as())
    assert.equal("b1", bs())
    assert.equal("x", lines())
    assert.equal("b2 a", bs())
    assert.equal("b3", lines())
    assert.equal("a3", as())
    assert.equal("z", reader:read())
    assert.is_nil(as())
  end)

  it("takes what it has passed over when a time limit ends it, and not the line that has no end yet", function()
    for _, pattern in ipairs { "match", "m[a]tch" } do
      local next_line = echo.stdout:grep(pattern)
      send("no\nno\nhalf a mat")
      raised.error("timeout", function() corun.timeout(0.001, next_line) end)
      send("ch\nrest\n")
      assert.equal("half a match", next_line())
      assert.equal("rest", echo.stdout:read_line())
    end
  end)

  it("leaves what it has seen in vain to a search for something else", function()
    local letters, digits = echo.stdout:grep("letter"), echo.stdout:grep("[%d]")
    send("1 and")
    raised.error("timeout", function() corun.timeout(0.001, letters) end)
    send(" 2\n")
    assert.equal("1 and 2", digits())
  end)

  it("raises \"busy\" while another task reads, and \"closed\" on a closed Reader", function()
    local task = waiting.start(function() return echo.stdout:grep("a")() end)
    local next_line = echo.stdout:grep("b")
    raised.error("busy", function() next_line() end)
    send("a\n")
    assert.equal("a", task:await())
    echo.stdout:close()
    raised.error("closed", function() next_line() end)
  end)

  it("refuses wrong patterns and options when it is called, not when it iterates", function()
    local function refused(...)
      local arguments = table.pack(...)
      return raised.argument(function() echo.stdout:grep(table.unpack(arguments, 1, arguments.n)) end)
    end
    assert.equal("grep: a pattern expected, got nil", refused())
    assert.equal("grep: a pattern expected, got a table", refused({ "a" }))
    raised.has(refused("%b()"), 'grep: pattern "%b()": %b is not possible')
    raised.has(refused("(a)%1"), 'grep: pattern "(a)%1": a back reference (%1) is not possible')
    assert.equal("grep: pattern \"a[b\": malformed pattern (missing ']')", refused("a[b"))
    assert.equal("grep: pattern \"a%\": malformed pattern (ends with '%')", refused("a%"))
    assert.equal('grep: pattern "(a": unfinished capture', refused("(a"))
    assert.equal('grep: pattern "^a)": invalid pattern capture', refused("^a)"))
    assert.equal("grep: a table of options expected, got true", refused("a", true))
    assert.equal("grep: unknown option \"color\"", refused("a", { color = true }))
    assert.equal("grep: option 'plain': true or false expected, got 1", refused("a", { plain = 1 }))
    assert.equal("grep: option 'utf8': \"replace\" expected, got true", refused("a", { utf8 = true }))
    assert.equal("grep: option 'limit': a number of bytes (0 or more) expected, got -1", refused("a", { limit = -1 }))
  end)
end)
