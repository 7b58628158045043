local corun = require "corun"
local raised = require "spec.support.raised"
local support = require "spec.support"

describe("A Command", function()
  it("runs as often as one likes", function()
    local command = corun.command { "sh", "-c", "echo $$; echo err >&2" }
    local one, two = command:run(), command:run()
    assert.is_not_equal(one.stdout, two.stdout)
    assert.equal("err\n", two.stderr)
    assert.matches("^%d+$", command:capture())
    local process <close> = command:spawn()
    assert.matches("^%d+$", process.stdout:read_line())
    assert.is_true(process:wait().ok)
  end)

  it("starts nothing before that", function()
    local path = support.directory() .. "/started"
    local command = corun.command { "touch", path }
    assert.is_nil(support.read_file(path))
    command:run()
    assert.equal("", support.read_file(path))
  end)

  it("gives another one by :with and :args, and stays as it was", function()
    local command = corun.command { "sh", "-c", 'echo "$PWD" $A "$@"', "sh", cwd = "/" }
    local other = command:with { env = { A = "a" }, cwd = "/tmp" }
    local third = other:args("one", "two words")
    assert.equal("/", command:capture())
    assert.equal("/tmp a", other:capture())
    assert.equal("/tmp a one two words", third:capture())
    assert.equal("/tmp a one two words 3", third:args(3):capture())
    assert.equal("/", command:capture())
    assert.equal("/tmp a", other:args():capture())
  end)

  it("does not see later changes of the tables it was made from", function()
    local environment, words = { A = "first" }, { "one" }
    local spec = { "sh", "-c", 'echo "$A" "$@"', "sh", env = environment }
    local command = corun.command(spec):args(table.unpack(words))
    local options = { env = { A = "other" } }
    local other = command:with(options)
    spec[5], spec.cwd = "late", "/no/such/directory"
    environment.A = "late"
    options.env.A = "late"
    options.cwd = "/no/such/directory"
    assert.equal("first one", command:capture())
    assert.equal("other one", other:capture())
  end)

  it("cannot be changed by an assignment", function()
    local command = corun.command { "true" }
    assert.is_false(pcall(function() command.cwd = "/" end))
    assert.is_false(pcall(function() command[1] = "false" end))
  end)

  it("checks its spec when it is made", function()
    raised.has(raised.argument(function() corun.command { "true", colour = "red" } end), "'colour'")
    raised.has(raised.argument(function() corun.command {} end), "no program")
    local command = corun.command { "true" }
    raised.has(raised.argument(function() command:with { cwd = 7 } end), "'cwd'")
    raised.has(raised.argument(function() command:with { "false" } end), "with")
    raised.has(raised.argument(function() command:with("cwd") end), "table expected")
    raised.has(raised.argument(function() command:args({}) end), "a table")
    raised.has(raised.argument(function() command:args("a", nil, "b") end), "nil")
    raised.has(raised.argument(function() command:args("a", nil) end), "nil")
    raised.has(raised.argument(function() command:args(nil) end), "nil")
  end)

  it("is its command line as a string", function()
    assert.equal("sh -c 'exit 3'", tostring(corun.command { "sh", "-c", "exit 3" }))
  end)

  it("names the script's line when it fails", function()
    local command = corun.command { "false" }
    raised.error("exit", function() command:run() end)
    raised.error("exit", function() command:capture() end)
    raised.error("spawn", function() corun.command({ "/no/such/program" }):run() end)
  end)
end)

describe("Command:lines", function()
  local function collect(command)
    local lines = {}
    for line in command:lines() do lines[#lines + 1] = line end
    return lines
  end

  it("iterates over the lines of stdout", function()
    assert.same({ "one", "", "three" }, collect(corun.command { "printf", "one\n\nthree" }))
    assert.same({}, collect(corun.command { "true" }))
  end)

  it("gives lines as they come", function()
    local command = corun.command { "sh", "-c", "echo first; exec sleep 1000" }
    local seen
    for line in command:lines() do
      seen = line -- while it runs on, as sleep does …
      if seen == "first" then break end
    end
    assert.equal("first", seen)
    assert.same({}, support.children()) -- … and leaving the loop stops it
  end)

  it("raises a bad end after the last line", function()
    local command = corun.command { "sh", "-c", "echo one; exit 3", stderr = "null" }
    local lines = {}
    local e = raised.error("exit", function()
      for line in command:lines() do lines[#lines + 1] = line end
    end)
    assert.same({ "one" }, lines)
    assert.equal(3, e.result.code)
    assert.same({ "one" }, collect(command:with { check = false }))
  end)

  it("stops the command when the loop is left by an error", function()
    local command = corun.command { "sh", "-c", "echo first; exec sleep 1000" }
    local ok, e = pcall(function()
      for _ in command:lines() do error("mine", 0) end
    end)
    assert.is_false(ok)
    assert.equal("mine", e)
    assert.same({}, support.children())
  end)

  it("hands out what format says", function()
    assert.same({ "a", "b\n" }, collect(corun.command { "printf", "a\\000b\n", format = "nul" }))
    assert.same({ { n = 1 }, { n = 2 } }, collect(corun.command { "printf", '{"n":1}\n{"n":2}\n', format = "jsonl" }))
    assert.same({ { 1, 2 } }, collect(corun.command { "printf", "[1,\n2]", format = "json" }))
  end)
end)
