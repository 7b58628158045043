local corun = require "corun"
local raised = require "spec.support.raised"

--- The Result of a command that prints this text.
local function printed(text, format, options)
  local spec = { "cat", input = text, format = format }
  for name, value in pairs(options or {}) do spec[name] = value end
  return corun.run(spec)
end

describe("The format of a Result's stdout", function()
  it("is the bytes where none is given, and with \"bytes\"", function()
    assert.equal("a\r\n\0\n", printed("a\r\n\0\n").stdout)
    assert.equal("a\r\n\0\n", printed("a\r\n\0\n", "bytes").stdout)
  end)

  it("\"lines\" is a list without their newlines", function()
    assert.same({ "a", "", "b\r", "c" }, printed("a\n\nb\r\nc", "lines").stdout)
    assert.same({ "a" }, printed("a\n", "lines").stdout)
    assert.same({ "", "" }, printed("\n\n", "lines").stdout)
    assert.same({}, printed("", "lines").stdout)
  end)

  it("\"nul\" is a list of what NUL bytes end", function()
    assert.same({ "a", "", "b\nc", "d" }, printed("a\0\0b\nc\0d", "nul").stdout)
    assert.same({ "a" }, printed("a\0", "nul").stdout)
    assert.same({}, printed("", "nul").stdout)
  end)

  it("\"json\" is one decoded document", function()
    assert.same({ a = { 1, 2 }, b = "ü" }, printed('{"a": [1,\n 2], "b": "\\u00fc"}\n', "json").stdout)
    assert.equal("text", printed('"text"', "json").stdout)
    assert.is_false(printed("false", "json").stdout)
  end)

  it("\"jsonl\" is a list of one document a line", function()
    assert.same({ { a = 1 }, { 2 }, "x" }, printed('{"a":1}\n\n[2]\n  \n"x"', "jsonl").stdout)
    assert.same({}, printed("", "jsonl").stdout)
  end)

  it("\"csv\" is a list of records, lists of their fields", function()
    assert.same({ { "a", "b" }, { "1", 'x,\n"y"' } }, printed('a,b\r\n\n1,"x,\n""y"""', "csv").stdout)
    assert.same({}, printed("\n", "csv").stdout)
  end)

  it("is what capture returns", function()
    assert.same({ "a", "b" }, corun.capture { "printf", "a\nb\n", format = "lines" })
    assert.same({ 1 }, corun.capture { "echo", "[1]", format = "json" })
    assert.equal("text", corun.capture { "echo", '"text"', format = "json" })
    assert.same({ { "a", "b" } }, corun.capture { "echo", "a,b", format = "csv" })
  end)

  it("\"csv\" leaves tostring and lines() the bytes", function()
    local result = printed('a,"b\nc"\n\n', "csv")
    assert.equal('a,"b\nc"', tostring(result))
    local lines = {}
    for line in result:lines() do lines[#lines + 1] = line end
    assert.same({ 'a,"b', 'c"', "" }, lines)
  end)

  it("leaves stderr, tostring and lines() as they are", function()
    local result = corun.run { "sh", "-c", "echo a; echo b; echo err >&2", format = "lines" }
    assert.same({ "a", "b" }, result.stdout)
    assert.equal("err\n", result.stderr)
    assert.equal("a\nb", tostring(result))
    local lines = {}
    for line in result:lines() do lines[#lines + 1] = line end
    assert.same({ "a", "b" }, lines)
    assert.same({ 7 }, printed("[7]", "lines"):json())
  end)

  it("is that of communicate, too", function()
    local process <close> = corun.spawn { "cat", format = "lines" }
    assert.same({ "a", "b" }, process:communicate("a\nb\n").stdout)
  end)

  it("concerns no stdout that is not captured", function()
    assert.is_nil(corun.run({ "echo", "x", stdout = "null", format = "json" }).stdout)
  end)
end)

describe("What is no JSON", function()
  it("is an Error that says where", function()
    local e = raised.error("io", function() printed("{", "json") end)
    raised.has(e.message, "JSON")
    e = raised.error("io", function() printed('{"a":1}\n[1]\nnonsense\n', "jsonl") end)
    raised.has(e.message, "JSON, record 3 at byte 12")
    assert.same({ 3, 12 }, { e.record, e.offset })
    raised.error("io", function() printed("", "json") end)
  end)

  it("carries the Result with the bytes", function()
    local e = raised.error("io", function() printed("{\n", "json") end)
    assert.equal("{\n", e.result.stdout)
    raised.has(e.message, "cat")
  end)

  it("does not hide the bad exit of what printed it", function()
    local e = raised.error("exit", function()
      corun.run { "sh", "-c", "echo nonsense; exit 3", format = "json" }
    end)
    assert.equal(3, e.result.code)
    local result = corun.run { "sh", "-c", "echo nonsense; exit 3", format = "json", check = false }
    assert.equal(3, result.code)
  end)
end)

describe("What is no CSV", function()
  it("is an Error that says where and carries the Result with the bytes", function()
    local text = 'a,b\n"c"d,e\nf\n'
    local e = raised.error("io", function() printed(text, "csv") end)
    raised.has(e.message, "cat: CSV, record 2 at byte 4: something between a closing quote and the separator")
    assert.same({ 2, 4, text }, { e.record, e.offset, e.result.stdout })
  end)

  it("is kind \"incomplete\" where the output ends inside of quotes", function()
    local e = raised.error("incomplete", function() corun.capture { "printf", 'a\n"b', format = "csv" } end)
    assert.same({ 2, 2, 'a\n"b' }, { e.record, e.offset, e.result.stdout })
  end)

  it("does not hide the bad exit of what printed it", function()
    local e = raised.error("exit", function() corun.run { "sh", "-c", "echo '\"'; exit 3", format = "csv" } end)
    assert.same({ 3, '"\n' }, { e.result.code, e.result.stdout })
  end)
end)

describe("The format of Command:lines", function()
  it("\"csv\" gives the records as they come", function()
    local lines = {}
    for fields in corun.command({ "printf", 'a,"b\nc"\nd\n', format = "csv" }):lines() do lines[#lines + 1] = fields end
    assert.same({ { "a", "b\nc" }, { "d" } }, lines)
  end)

  it("raises for a bad record where the loop has come to it", function()
    local found = {}
    local e = raised.error("io", function()
      for fields in corun.command({ "printf", 'a\nb"\nc\n', format = "csv" }):lines() do found[#found + 1] = fields end
    end)
    assert.same({ { "a" } }, found)
    assert.same({ 2, 2 }, { e.record, e.offset })
  end)

  it("is the last stage's in a Pipeline", function()
    local lines = {}
    local pipeline = corun.command { "printf", "b;2\na;1\n" } | corun.command { "sort" }
      | corun.command { "tr", ";", ",", format = "csv" }
    for fields in pipeline:lines() do lines[#lines + 1] = fields end
    assert.same({ { "a", "1" }, { "b", "2" } }, lines)
    assert.same(lines, pipeline:run().stdout)
    assert.same(lines, pipeline:capture())
  end)
end)
