local corun = require "corun"
local raised = require "spec.support.raised"
local waiting = require "spec.support.waiting"

local BAD <const> = "\u{fffd}"

--- Calls use(Reader, …) with the Reader of a stream that holds just these bytes and has ended.
local function with(bytes, use)
  local cat <close> = corun.spawn { "cat", input = bytes, stderr = "null" }
  cat:wait_closed()
  return use(cat.stdout)
end

local function list_of(iterator)
  local list = {}
  for item in iterator do list[#list + 1] = item end
  return list
end

-- Ways to read the one line that a stream holds, all of them with options.
local ways = {
  { "read_line", function(reader, options) return reader:read_line(options) end },
  { "lines", function(reader, options) return reader:lines(options)() end },
  { "read_until", function(reader, options) return reader:read_until("\n", options) end },
  { "records", function(reader, options) return reader:records("\n", options)() end },
  { "grep", function(reader, options) return reader:grep("", options)() end },
}

-- What there was and what is made of it.
local broken = {
  ["\255"] = BAD, ["a\192b"] = "a" .. BAD .. "b", ["\128\129"] = BAD .. BAD,
  ["\xe2\x82"] = BAD, ["\xe2\x82a"] = BAD .. "a", ["\xf0\x9f\x98x"] = BAD .. "x", -- cut: one for all of it
  ["\xc0\xaf"] = BAD .. BAD, ["\xed\xa0\x80"] = BAD .. BAD .. BAD, -- overlong, a surrogate
  ["\xf4\x90\x80\x80"] = BAD .. BAD .. BAD .. BAD, -- too large
  ["ü\xffß€\xc3"] = "ü" .. BAD .. "ß€" .. BAD,
  [("x"):rep(100) .. "\xe9t\xe9"] = ("x"):rep(100) .. BAD .. "t" .. BAD,
}

local coloured = {
  ["\27[1;31mred\27[0m"] = "red", ["\27[Kx\27[2Jy"] = "xy", ["a\27[?25hb"] = "ab",
  ["\27]0;title\7text"] = "text", ["\27]8;;http://x\27\\link\27]8;;\27\\"] = "link", -- OSC with BEL and with ST
  ["\27(Bx\0277y\027=z"] = "xyz", ["\27Pq..\27\\x"] = "x",
  ["x\27[3"] = "x", ["x\27"] = "x", ["\27\27[mx"] = "x",
  ["[31mno escape"] = "[31mno escape",
}

describe("utf8 = \"replace\" of a Reader", function()
  for _, way in ipairs(ways) do
    it(("makes U+FFFD of what is no UTF-8 in what %s gives, and only when asked"):format(way[1]), function()
      for text, expected in pairs(broken) do
        assert.equal(expected, with(text .. "\nnext", function(reader)
          local line = way[2](reader, { utf8 = "replace" })
          assert.equal("next", reader:read())
          return line
        end))
        assert.equal(text, with(text .. "\n", way[2]))
      end
    end)
  end

  it("leaves good text as it is", function()
    local good = "plain \0 ü€😀 \u{10ffff}\u{d7ff}\u{e000}\27[m\r"
    for _, way in ipairs(ways) do
      assert.equal(good, with(good .. "\n", function(reader) return way[2](reader, { utf8 = "replace" }) end))
    end
  end)

  it("takes the bytes of the stream for its limit, not those of the text", function()
    with("\255\255\255\n", function(reader)
      raised.error("limit", function() reader:read_line { limit = 2, utf8 = "replace" } end)
      assert.equal(BAD:rep(3), reader:read_line { limit = 3, utf8 = "replace" })
    end)
  end)

  it("leaves partial of an incomplete record the bytes", function()
    with("a\255", function(reader)
      local e = raised.error("incomplete", function() reader:read_until(";", { utf8 = "replace" }) end)
      assert.equal("a\255", e.partial)
    end)
  end)

  it("replaces in a last line without newline, and beside a separator that is kept", function()
    for _, way in ipairs(ways) do
      if way[1] ~= "read_until" then
        assert.equal("a" .. BAD, with("a\xe2\x82", function(reader) return way[2](reader, { utf8 = "replace" }) end))
      end
      local options = { utf8 = "replace", keep = true }
      assert.equal("a" .. BAD .. "\n", with("a\xe2\x82\n", function(reader) return way[2](reader, options) end))
    end
  end)

  it("does not break a character that comes in two pieces", function()
    local cat <close> = corun.spawn { "cat", stderr = "null" }
    local task = waiting.start(function() return cat.stdout:read_line { utf8 = "replace" } end)
    for byte in ("€\n"):gmatch(".") do
      cat:write(byte)
      waiting.let_others_run()
    end
    assert.equal("€", task:await())
  end)
end)

describe("ansi = \"strip\" of a Reader", function()
  for _, way in ipairs(ways) do
    it(("takes escape sequences out of what %s gives, and only when asked"):format(way[1]), function()
      for text, expected in pairs(coloured) do
        assert.equal(expected, with(text .. "\n", function(reader) return way[2](reader, { ansi = "strip" }) end))
        assert.equal(text, with(text .. "\n", way[2]))
      end
    end)
  end

  it("goes together with utf8 and keep: what was parted by a sequence is one character", function()
    local text = "\xe2\27[1m\x82\xac\xff\27[0m\n"
    local options = { utf8 = "replace", ansi = "strip", keep = true }
    for _, way in ipairs(ways) do
      assert.equal("€" .. BAD .. "\n", with(text, function(reader) return way[2](reader, options) end))
    end
  end)
end)

describe("crlf of a Reader", function()
  it("goes together with utf8", function()
    with("a\255\r\nb\rc\r\n", function(reader)
      assert.same({ "a" .. BAD, "b\rc" }, list_of(reader:lines { crlf = true, utf8 = "replace" }))
    end)
  end)

  it("with keep leaves the newline alone", function()
    with("a\r\nb\n", function(reader)
      assert.same({ "a\n", "b\n" }, list_of(reader:lines { crlf = true, keep = true }))
    end)
  end)

  it("is no option of read_until and records", function()
    with("", function(reader)
      raised.has(raised.argument(function() reader:read_until("\n", { crlf = true }) end), 'got "crlf"')
      raised.has(raised.argument(function() reader:records("\n", { crlf = true }) end), 'got "crlf"')
    end)
  end)
end)

describe("A text option", function()
  it("with another word is refused with what was expected and given", function()
    with("", function(reader)
      local options
      local calls = {
        read_line = function() reader:read_line(options) end,
        lines = function() reader:lines(options) end,
        read_until = function() reader:read_until(";", options) end,
        records = function() reader:records(";", options) end,
        grep = function() reader:grep("a", options) end,
      }
      for name, call in pairs(calls) do
        options = { utf8 = "strip" }
        assert.equal(name .. ": option 'utf8': \"replace\" expected, got \"strip\"", raised.argument(call))
        options = { utf8 = true }
        assert.equal(name .. ": option 'utf8': \"replace\" expected, got true", raised.argument(call))
        options = { ansi = 1 }
        assert.equal(name .. ": option 'ansi': \"strip\" expected, got 1", raised.argument(call))
      end
    end)
  end)

  it("of a command is refused likewise, before it starts", function()
    local function refused(option, value)
      return raised.argument(function() corun.run { "true", [option] = value } end)
    end
    assert.equal("option 'utf8': one of \"replace\" expected, got \"strip\"", refused("utf8", "strip"))
    assert.equal("option 'ansi': one of \"strip\" expected, got true", refused("ansi", true))
    assert.equal("option 'crlf': true or false expected, got \"yes\"", refused("crlf", "yes"))
    assert.equal("option 'crlf': true or false expected, got 1", raised.argument(function()
      (corun.command { "true" } | corun.command { "true" }):with { crlf = 1 }
    end))
  end)
end)

describe("Text options of a command", function()
  -- Both streams get the same: lines that end with CRLF, what is no UTF-8, and an escape sequence.
  local raw = "\27[1mone\27[0m\r\ntw\255o\r\nthr\ree"
  local clean = "one\ntw" .. BAD .. "o\nthr\ree"
  local options = { crlf = true, utf8 = "replace", ansi = "strip" }

  local function printing(more)
    local spec = { "sh", "-c", 'printf %s "$1"; printf %s "$1" >&2', "sh", raw }
    for name, value in pairs(options) do spec[name] = value end
    for name, value in pairs(more or {}) do spec[name] = value end
    return spec
  end

  it("clean both streams of a Result, each only when asked", function()
    local result = corun.run(printing())
    assert.same({ clean, clean }, { result.stdout, result.stderr })
    assert.equal(raw, corun.run({ "printf", "%s", raw }).stdout)
    assert.equal((raw:gsub("\r\n", "\n")), corun.run({ "printf", "%s", raw, crlf = true }).stdout)
    assert.equal((raw:gsub("\255", BAD)), corun.run({ "printf", "%s", raw, utf8 = "replace" }).stdout)
    assert.equal((raw:gsub("\27%[%dm", "")), corun.run({ "printf", "%s", raw, ansi = "strip" }).stdout)
  end)

  it("clean what capture, sh and communicate give", function()
    assert.equal(clean, corun.capture(printing { stderr = "null" }))
    assert.equal("a\nb\n", corun.sh({ "printf 'a\\r\\nb\\r\\n'", crlf = true }).stdout)
    local process <close> = corun.spawn(printing())
    local result = process:communicate()
    assert.same({ clean, clean }, { result.stdout, result.stderr })
  end)

  it("come before the format", function()
    assert.same({ "one", "tw" .. BAD .. "o", "thr\ree" }, corun.capture(printing { format = "lines", stderr = "null" }))
    assert.same({ BAD }, corun.capture { "printf", '["\\377"]', format = "json", utf8 = "replace" })
  end)

  it("clean the Result of an Error, and the lines that its text shows", function()
    local e = raised.error("exit", function()
      corun.run { "sh", "-c", "printf '\\033[1mbad\\r\\n' >&2; exit 3", crlf = true, ansi = "strip" }
    end)
    assert.equal("bad\n", e.result.stderr)
    assert.matches("\n  stderr: bad$", tostring(e))
  end)

  it("clean the lines that a function gets", function()
    local out, err = {}, {}
    local process <close> = corun.spawn(printing {
      stdout = function(line) out[#out + 1] = line end, stderr = function(line) err[#err + 1] = line end,
    })
    process:wait_closed()
    assert.same({ "one", "tw" .. BAD .. "o", "thr\ree" }, out)
    assert.same(out, err)
  end)

  it("clean the lines of Command:lines", function()
    local lines = list_of(corun.command(printing { stderr = "null" }):lines())
    assert.same({ "one", "tw" .. BAD .. "o", "thr\ree" }, lines)
  end)

  it("count bytes of the stream for the limit", function()
    assert.equal(BAD:rep(3), corun.run({ "printf", "\\377\\377\\377", utf8 = "replace", limit = 3 }).stdout)
    local e = raised.error("limit", function() corun.run { "printf", "\\033[1mabc", ansi = "strip", limit = 5 } end)
    assert.equal("a", e.result.stdout)
  end)

  it("clean head and tail of what was truncated", function()
    local spec = { "sh", "-c", "printf 'a\\r\\n\\377'; seq 1000; printf 'b\\r\\n\\377'" }
    spec.limit, spec.overflow, spec.crlf, spec.utf8 = 8, "truncate", true, "replace"
    local result = corun.run(spec)
    assert.equal("a\n" .. BAD .. "b\n" .. BAD, result.stdout)
    assert.is_true(result.truncated)
  end)

  it("clean what went to a file and came back within the limit", function()
    local spec = { "sh", "-c", "yes 1 | head -c 2000000; printf 'a\\r\\n'" }
    spec.limit, spec.overflow, spec.crlf = 2000003, "spill", true
    assert.equal("1\na\n", corun.run(spec).stdout:sub(-4))
  end)
end)

describe("Text options of a Pipeline", function()
  it("clean its output", function()
    local pipeline = corun.command { "printf", "\\033[1ma\\377\\r\\n" } | corun.command { "cat" }
    local options = { crlf = true, utf8 = "replace", ansi = "strip" }
    assert.equal("a" .. BAD .. "\n", pipeline:with(options):run().stdout)
    assert.equal("a" .. BAD, pipeline:with(options):capture())
    assert.same({ "a" .. BAD }, list_of(pipeline:with(options):lines()))
    assert.equal("\27[1ma\255\r\n", pipeline:run().stdout)
  end)

  it("do not touch what goes from stage to stage", function()
    local pipeline = corun.command { "printf", "a\\r\\n" } | corun.command { "wc", "-c" }
    assert.equal("3", pipeline:with({ crlf = true }):capture())
  end)

  it("of the last stage clean its output, and that of a function, too", function()
    assert.equal("a\n", (corun.command { "printf", "a\\r\\n" } | corun.command { "cat", crlf = true }):run().stdout)
    local upper = corun.pipeline { { "printf", "a\\r\\n" }, function(reader, writer)
      writer:write(reader:read():upper())
    end }
    assert.equal("A\n", upper:with({ crlf = true }):run().stdout)
  end)
end)
