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

  it("is what capture returns", function()
    assert.same({ "a", "b" }, corun.capture { "printf", "a\nb\n", format = "lines" })
    assert.same({ 1 }, corun.capture { "echo", "[1]", format = "json" })
    assert.equal("text", corun.capture { "echo", '"text"', format = "json" })
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
    raised.has(e.message, "JSON, line 3")
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
