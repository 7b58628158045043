local core = require "corun.core"
local corun = require "corun"
local raised = require "spec.support.raised"
local waiting = require "spec.support.waiting"

local reader, writer -- two ends of one pipe, so that a spec decides what comes, and when

local function open()
  local pipe = core.pipe()
  reader, writer = pipe:reader(), pipe:writer()
end

local function close()
  reader:close()
  writer:close()
end

--- A Reader that holds just these bytes and has ended.
local function reader_of(bytes) return core.string_reader(bytes) end

local function came() return (select(3, reader:_status())) end

local function send(bytes)
  local before = came()
  writer:write(bytes)
  waiting.wait_until("the bytes are there", function() return came() >= before + #bytes end)
end

--- What a match is, in one comparable table.
local function parts(match)
  return { match.before, match.match, match.index, match.captures }
end

describe("Reader:expect", function()
  it("gives what came before, the match, and which pattern it was, and leaves what follows", function()
    local stream = reader_of("login as: root\nPassword: ")
    assert.same({ "login ", "as", 1, {} }, parts(stream:expect("as")))
    assert.same({ ": root\n", "Password:", 2, {} }, parts(stream:expect { "missing", "Password:" }))
    assert.equal(" ", stream:read())
  end)

  it("takes the match that begins first, not the pattern that is listed first", function()
    local match = reader_of("one two three"):expect { "three", "two", "on?e" }
    assert.same({ "", "one", 3, {} }, parts(match))
  end)

  it("takes of two that begin at one place the one listed first, though it is shorter or ends later", function()
    assert.same({ "x", "a", 1, {} }, parts(reader_of("xabc"):expect { "a", "abc" }))
    assert.same({ "x", "abc", 1, {} }, parts(reader_of("xabc"):expect { "abc", "a" }))
  end)

  it("waits for a longer one that begins earlier before it takes a shorter one inside of it", function()
    open()
    finally(close)
    local task = waiting.start(function() return reader:expect({ "b", "abcd" }, { settle = math.huge }) end)
    send("abc")
    waiting.let_others_run()
    assert.equal("waiting", task.status)
    send("d")
    assert.same({ "", "abcd", 2, {} }, parts(task:await()))
  end)

  it("takes the shorter one once the longer one can no longer come", function()
    open()
    finally(close)
    local task = waiting.start(function() return reader:expect({ "b", "abcd" }, { settle = math.huge }) end)
    send("abc")
    waiting.let_others_run()
    assert.equal("waiting", task.status)
    send("x")
    assert.same({ "a", "b", 1, {} }, parts(task:await()))
    assert.equal("cx", reader:read(10))
  end)

  it("gives captures: nested ones, empty ones, and positions in what came before and the match", function()
    local match = reader_of("key = value;rest"):expect "()(%w+)()%s*=%s*((%w)%w*)(%s*);"
    assert.same({ 1, "key", 4, "value", "v", "" }, match.captures)
    assert.same({ 3, "x", 4 }, reader_of("..x"):expect("()(x)()").captures)
    local stream = reader_of("skipped;ab")
    stream:read_until(";")
    assert.same({ 2 }, stream:expect("()b").captures)
  end)

  it("gives the captures of the pattern that matched", function()
    assert.same({ "", "b1", 2, { "1" } }, parts(reader_of("b1"):expect { "a(%d)(%d)", "b(%d)", "(b)()(%d)" }))
  end)

  it("knows that \"^\" is where the Reader stands", function()
    local stream = reader_of("abab")
    assert.same({ "", "ab", 1, {} }, parts(stream:expect "^ab"))
    assert.same({ "", "ab", 1, {} }, parts(stream:expect "^ab"))
    local e = raised.error("incomplete", function() reader_of("xab"):expect "^ab" end)
    assert.equal("xab", e.partial)
  end)

  it("knows that \"$\" is the end of the stream, and waits for it", function()
    open()
    finally(close)
    local task = waiting.start(function() return reader:expect("a$", { settle = 0 }) end)
    send("a")
    waiting.let_others_run()
    assert.equal("waiting", task.status)
    send("ba")
    waiting.let_others_run()
    assert.equal("waiting", task.status)
    writer:close()
    assert.same({ "ab", "a", 1, {} }, parts(task:await()))
    assert.same({ "", "", 1, {} }, parts(reader:expect "$")) -- the end has not gone away
  end)

  it("takes \"^\" and \"$\" elsewhere, and all magic with plain, as characters", function()
    assert.same({ "x", "a$b^c", 1, {} }, parts(reader_of("xa$b^c"):expect "a$b^c"))
    assert.same({ "aa", "a+%(", 1, {} }, parts(reader_of("aaa+%("):expect("a+%(", { plain = true })))
    assert.same({ "a", "^", 2, {} }, parts(reader_of("a^$"):expect({ "$", "^" }, { plain = true })))
  end)

  it("asks anew when the same text is meant otherwise", function()
    open()
    finally(close)
    send("a.bxb")
    raised.error("timeout", function() reader:expect("xx.", 0) end)
    raised.error("timeout", function() reader:expect("..b..b", { plain = true, timeout = 0 }) end)
    assert.equal("a.b", reader:expect("..b", { plain = false }).match)
    raised.error("timeout", function() reader:expect("..b", { plain = true, timeout = 0 }) end)
    assert.equal("xb", reader:read(9))
  end)

  it("matches an empty pattern at once and takes nothing", function()
    open()
    finally(close)
    assert.same({ "", "", 1, {} }, parts(reader:expect ""))
    send("ab")
    assert.same({ "", "", 2, {} }, parts(reader:expect { "b", "x*" }))
    assert.equal("ab", reader:read(9))
  end)

  it("takes any bytes: NUL, newlines, high ones", function()
    local match = reader_of("a\0\n\255b\0\255"):expect "b%z(\255)"
    assert.same({ "a\0\n\255", "b\0\255", 1, { "\255" } }, parts(match))
    assert.equal("\0\0", reader_of("x\0\0y"):expect("\0\0", { plain = true }).match)
  end)

  it("matches greedy, lazy, optional parts and frontiers as string.find does", function()
    local text = "THE (quick) fox"
    for _, pattern in ipairs { "%((.-)%)", "%f[%a]%a+%f[%A]", "%f[%a]%l+", "q.*%)", "q.-u?i", "[^%s%u]+", "%a+$",
      "%s-fox", "(%a*)%s(%a-)x" } do
      local found = table.pack(text:find(pattern))
      local match = reader_of(text):expect(pattern)
      assert.same({ text:sub(1, found[1] - 1), text:sub(found[1], found[2]), 1, { table.unpack(found, 3) } },
        parts(match), pattern)
    end
  end)

  it("gives the same wherever the stream is split", function()
    local text = "abab: 17 abc;cba\r\n> "
    for _, case in ipairs {
      { "abc", "%d+ " }, { "(%w+);(%w+)", "zzz" }, { "\r\n> $" }, { "b: ()", "ab: " }, { "aba?bc", "c(.-)b" },
    } do
      local whole = parts(reader_of(text):expect(case, { settle = math.huge }))
      for at = 1, #text - 1 do
        open()
        writer:write(text:sub(1, at))
        local task = waiting.start(function() return reader:expect(case, { settle = math.huge }) end)
        waiting.let_others_run() -- it has searched the first part, and waits or is done
        writer:write(text:sub(at + 1))
        writer:close()
        assert.same(whole, parts(task:await()), ("%s split at %d"):format(case[1], at))
        local rest = text:sub(#whole[1] + #whole[2] + 1)
        assert.equal(rest, reader:read())
      end
    end
  end)

  it("gives the same byte by byte", function()
    open()
    finally(close)
    local task = waiting.start(function() return reader:expect("(a+)b%s", { settle = math.huge }) end)
    for byte in ("xaabaaab"):gmatch(".") do send(byte) end
    waiting.let_others_run()
    assert.equal("waiting", task.status)
    send(" ")
    assert.same({ "xaab", "aaab ", 1, { "aaa" } }, parts(task:await()))
  end)

  it("finds what comes after megabytes, over the high water", function()
    local child <close> = corun.spawn { "sh", "-c", "head -c 3000000 /dev/zero; echo; echo 'ready 42 now'",
      stdin = "null", stderr = "null" }
    local match = child:expect "ready (%d+)"
    assert.equal(3000001, #match.before)
    assert.same({ "42" }, match.captures)
    assert.equal(" now\n", child.stdout:read())
  end)

  it("takes time in proportion to the stream, also where string.find does not", function()
    -- A hundred thousand letters, and none of these ends: the square of that would take minutes.
    local text = ("a"):rep(100000)
    raised.error("incomplete", function() reader_of(text):expect { "a*a*a*b", ".-.-c", "(a+)(a+)d" } end)
  end)

  it("is of a Process's stdout, too, and says so where that is no pipe", function()
    local child <close> = corun.spawn { "echo", "one two", stdin = "null", stderr = "null" }
    assert.equal("one", child:expect("%w+").match)
    local silent <close> = corun.spawn { "true", stdin = "null", stdout = "null", stderr = "null" }
    assert.matches("^stdout: not a pipe to us", raised.argument(function() silent:expect "x" end))
  end)
end)

describe("Reader:expect at the end of the stream", function()
  it("takes what could have become longer", function()
    local stream = reader_of("a 123")
    assert.same({ "a ", "123", 1, { "123" } }, parts(stream:expect("(%d+)", { settle = math.huge })))
    assert.equal("", stream:read())
  end)

  it("raises \"incomplete\" with all that was left, which is taken", function()
    local stream = reader_of("no such thing")
    stream:read(3)
    local e = raised.error("incomplete", function() stream:expect { "thing!", "^thing", "x" } end)
    assert.equal("such thing", e.partial)
    assert.equal("a match", e.expected)
    assert.is_true(stream:at_eof())
    assert.equal("", raised.error("incomplete", function() stream:expect "x" end).partial)
  end)

  it("raises it for one that waits when the stream ends", function()
    open()
    finally(close)
    local task = waiting.start(function()
      return raised.error("incomplete", function() reader:expect("ready") end)
    end)
    send("read")
    writer:close()
    assert.equal("read", task:await().partial)
  end)
end)

describe("Patterns of Reader:expect", function()
  it("are refused where they are wrong, with what is wrong, before anything is read", function()
    local stream = reader_of("text")
    for pattern, problem in pairs {
      ["[a"] = "malformed pattern (missing ']')", ["%"] = "malformed pattern (ends with '%')",
      ["a%"] = "malformed pattern (ends with '%')", ["(a"] = "unfinished capture",
      ["(a))"] = "invalid pattern capture", ["%f"] = "missing '[' after '%f' in pattern",
      ["%f[a"] = "malformed pattern (missing ']')",
      ["%b()"] = "%b is not possible in a search that goes on with the stream",
      ["(a)%1"] = "a back reference (%1) is not possible in a search that goes on with the stream",
    } do
      local message = raised.argument(function() stream:expect { "fine", pattern } end)
      assert.equal(("expect: pattern %q: %s"):format(pattern, problem), message)
    end
    raised.has(raised.argument(function() stream:expect(("()"):rep(33)) end), "too many captures")
    assert.equal("text", stream:read())
  end)

  it("may have 32 captures, and any sign with plain", function()
    assert.equal(32, #reader_of("x"):expect(("()"):rep(32) .. "x").captures)
    assert.equal("%b(", reader_of("(%b()"):expect("%b(", { plain = true }).match)
  end)

  it("are a string or a list of strings", function()
    local stream = reader_of("text")
    local expected = "expect: a pattern or a list of patterns expected, got "
    assert.equal(expected .. "nil", raised.argument(function() stream:expect() end))
    assert.equal(expected .. "a table", raised.argument(function() stream:expect {} end))
    assert.equal("expect: pattern 1: a string expected, got 5", raised.argument(function() stream:expect(5) end))
    assert.equal("expect: pattern 2: a string expected, got true",
      raised.argument(function() stream:expect { "a", true } end))
  end)
end)
