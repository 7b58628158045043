local cjson = require "cjson"
local corun = require "corun"
local raised = require "spec.support.raised"

local BAD <const> = "\u{fffd}"

local function command(spec) return corun.command(spec) end

local function list_of(iterator)
  local list = {}
  for item in iterator do list[#list + 1] = item end
  return list
end

--- The spec of a command that prints these bytes, with these options.
local function printing(bytes, options)
  local spec = { "printf", "%s", (bytes:gsub("%z", "\1")) }
  if bytes:find("\0", 1, true) then spec = { "sh", "-c", 'printf %s "$0" | tr "\\001" "\\000"', spec[3] } end
  for name, value in pairs(options or {}) do spec[name] = value end
  return spec
end

--- What a command gives that prints these bytes with these options; a Pipeline, and one that ends with a function.
local function results(bytes, options)
  local plain = printing(bytes)
  local function copy(reader, writer) reader:copy_to(writer) end
  return {
    corun.run(printing(bytes, options)),
    (command(plain) | { "cat" }):with(options):run(),
    (command(plain) | copy):with(options):run(),
  }
end

describe("crlf with ansi", function()
  it("takes the CRs off that stand right before the newline once the sequences are gone", function()
    local options = { crlf = true, ansi = "strip" }
    for text, expected in pairs { ["a\r\27[K\n"] = "a\n", ["a\27[K\r\n"] = "a\n", ["a\r\27[K\r\27[m\nb\r"] = "a\nb\r",
      ["a\r\r\n"] = "a\n", ["a\rb\r\n"] = "a\rb\n" } do
      for _, result in ipairs(results(text, options)) do assert.equal(expected, result.stdout) end
      local process <close> = corun.spawn(printing(text))
      assert.equal(expected:match("^[^\n]*"), process.stdout:read_line(options))
    end
  end)
end)

describe("The text of a Result that has spilled", function()
  it("is cleaned in lines() and as a string; the Reader has the bytes as they came", function()
    local bytes = "\27[1ma\27[m\r\nb\255\r\n"
    local options = { crlf = true, ansi = "strip", utf8 = "replace", limit = 3, overflow = "spill" }
    for _, result in ipairs(results(bytes, options)) do
      assert.same({ "a", "b" .. BAD }, list_of(result:lines()))
    end
    for _, result in ipairs(results(bytes, options)) do assert.equal("a\nb" .. BAD, tostring(result)) end
    for _, result in ipairs(results(bytes, options)) do assert.equal(bytes, result.stdout:read()) end
  end)
end)

describe("The text of a Result that was truncated", function()
  --- Head and tail of so many bytes, which they have to become.
  local function cleaned(bytes, limit, options)
    options.limit, options.overflow = limit, "truncate"
    local found
    for i, result in ipairs(results(bytes, options)) do
      assert.is_true(result.truncated)
      assert.is_true(i == 1 or found == result.stdout, "not the same from each")
      found = result.stdout
    end
    return found
  end

  it("has nothing that was made of bytes on both sides of the gap", function()
    assert.equal("a" .. BAD .. BAD .. "b", cleaned("a\xc3xxxx\xa9b", 4, { utf8 = "replace" }))
    assert.equal("aHELLO", cleaned("a\27]xxxxHELLO", 10, { ansi = "strip" }))
    assert.equal("a\r\nb", cleaned("a\rxxxx\nb", 4, { crlf = true }))
  end)

  it("is cleaned on both sides, with an odd limit as well", function()
    local options = { crlf = true, utf8 = "replace" }
    assert.equal("a\n\nb" .. BAD, cleaned("a\r\nxxxxx\r\nb\255", 7, options))
    assert.equal(BAD .. "\n", cleaned("\xe2\x82\xac\r\n", 3, options))
  end)
end)

describe("The text options of a command", function()
  local options = { crlf = true, ansi = "strip", utf8 = "replace" }
  local bytes, lines = "\27[1ma\27[m\r\nb\255\r\n", { "a", "b" .. BAD }

  it("are those of the iterators over its lines", function()
    for _, name in ipairs { "stream_stdout", "lines" } do
      local process <close> = corun.spawn(printing(bytes, options))
      assert.same(lines, list_of(process[name](process)))
    end
    local process <close> = corun.spawn { "sh", "-c", 'printf %s "$0" >&2', bytes, crlf = true, utf8 = "replace" }
    assert.same({ "\27[1ma\27[m", "b" .. BAD }, list_of(process:stream_stderr()))
  end)

  it("give way to the options that these get", function()
    for _, name in ipairs { "stream_stdout", "lines" } do
      local process <close> = corun.spawn(printing(bytes, options))
      assert.same({ "a\r", "b\255\r" }, list_of(process[name](process, { ansi = "strip" })))
      local other <close> = corun.spawn(printing(bytes, options))
      assert.same({ "\27[1ma\27[m\r", "b\255\r" }, list_of(other[name](other, {})))
    end
  end)

  it("are no options of its Readers", function()
    local process <close> = corun.spawn(printing(bytes, options))
    assert.equal(bytes, process.stdout:read())
  end)

  it("of the last stage of a Pipeline are those of lines(), unless the Pipeline has others", function()
    local pipeline = command { "true" } | printing(bytes, options)
    assert.same(lines, list_of(pipeline:lines()))
    assert.same(lines, list_of((command(printing(bytes)) | { "cat" }):with(options):lines()))
    local last = corun.tee(command(printing(bytes)), { { "cat" }, { "cat", crlf = true } })
    assert.same({ "\27[1ma\27[m", "b\255" }, list_of(last:lines()))
    assert.same({ "\27[1ma\27[m", "b" .. BAD }, list_of(last:with({ utf8 = "replace" }):lines()))
  end)

  for format, case in pairs {
    lines = { "\27[1ma\255\r\nb", { "a" .. BAD, "b" } },
    nul = { "\27[1ma\255\0b", { "a" .. BAD, "b" } },
    csv = { "\27[1ma\255,b\r\nc", { { "a" .. BAD, "b" }, { "c" } } },
    jsonl = { '["\27[1ma\255"]\r\n[1]', { { "a" .. BAD }, { 1 } } },
    json = { '["\27[1ma\255"]', { { "a" .. BAD } } },
  } do
    it("are those of lines() and run() with the format " .. format, function()
      local printed, expected = table.unpack(case)
      local whole = format == "json" and expected[1] or expected
      local spec = printing(printed, options)
      spec.format = format
      assert.same(expected, list_of(command(spec):lines()))
      assert.same(expected, list_of((command { "true" } | spec):lines()))
      assert.same(whole, corun.capture(spec))
      assert.same(whole, (command { "true" } | spec):capture())
      assert.same(whole, (command(printing(printed)) | { "cat" })
        :with({ format = format, crlf = true, ansi = "strip", utf8 = "replace" }):capture())
    end)
  end
end)

describe("A Result whose format is json", function()
  it("keeps newlines at the end of a string", function()
    assert.equal("a\n\n", corun.capture { "printf", '"a\\\\n\\\\n"', format = "json" })
    assert.equal("a\n\n", corun.pipeline({ { "printf", '"a\\\\n\\\\n"', format = "json" } }):capture())
  end)

  it("has its text as lines and as a string, whatever the value is", function()
    for text, value in pairs { ["null"] = cjson.null, ["false"] = false, ["[1]"] = { 1 }, ['"a"'] = "a" } do
      local result = corun.run { "printf", "%s", text .. "\n", format = "json" }
      assert.same(value, result.stdout)
      assert.same({ { text }, text }, { list_of(result:lines()), tostring(result) })
      assert.same(value, result:json())
    end
  end)
end)

describe("A limit of a Reader's call", function()
  it("may be a whole number of either kind", function()
    local calls = {
      grep = function(reader, limit) return reader:grep("1", { limit = limit })() end,
      json = function(reader, limit) return reader:json { limit = limit }[1] end,
      jsonl = function(reader, limit) return reader:jsonl { limit = limit }()[1] end,
      csv = function(reader, limit) return reader:csv { limit = limit }()[1] end,
      lines = function(reader, limit) return reader:lines { limit = limit }() end,
      read_until = function(reader, limit) return reader:read_until("\n", { limit = limit }) end,
      expect = function(reader, limit) return reader:expect("1", { limit = limit }).match end,
    }
    for name, call in pairs(calls) do
      for _, limit in ipairs { 3, 3.0, 2 ^ 20 } do
        local process <close> = corun.spawn { "echo", "[1]" }
        call(process.stdout, limit)
      end
      local process <close> = corun.spawn { "echo", "[1]" }
      raised.has(raised.anything(call, process.stdout, 3.5),
        ": " .. name .. ": option 'limit': a number of bytes (0 or more) expected, got 3.5")
    end
  end)
end)
