local corun = require "corun"
local raised = require "spec.support.raised"
local support = require "spec.support"

local function command(...) return corun.command { ... } end
local function sh(lines) return command("sh", "-c", lines) end

local cat, sort = command("cat"), command("sort")

--- The lines of a text, in order.
local function sorted(text)
  local lines = {}
  for line in text:gmatch("([^\n]*)\n") do lines[#lines + 1] = line end
  table.sort(lines)
  return lines
end

--- A function that writes these strings, with a turn of the loop between.
local function writes(...)
  local parts = { ... }
  return function(_, writer)
    for _, part in ipairs(parts) do
      writer:write(part):drain()
      corun.sleep(0)
    end
  end
end

describe("corun.merge", function()
  it("gives what all of its sources write to what follows", function()
    local merged = corun.merge { command("echo", "b"), { "echo", "c" }, sh("echo d") | cat, writes("a\n") }
    assert.equal("a\nb\nc\nd", (merged | sort):capture())
  end)

  it("is a Pipeline of its own", function()
    local merged = corun.merge { command("echo", "a"), sh("echo b; echo err >&2") }
    local result = merged:run()
    assert.same({ { "a", "b" }, true, "err\n" }, { sorted(result.stdout), result.ok, result.stages[2].stderr })
    assert.equal(2, #result.stages)
    local seen = {}
    for line in corun.merge({ command("echo", "a"), sh("echo b") }):lines() do seen[#seen + 1] = line end
    table.sort(seen)
    assert.same({ "a", "b" }, seen)
    assert.same({ "a", "b" }, sorted(merged:capture() .. "\n"))
  end)

  it("may have one source, or merges as sources", function()
    assert.equal("a", corun.merge({ command("echo", "a") }):capture())
    local nested = corun.merge { corun.merge { command("echo", "a"), command("echo", "b") }, command("echo", "c") }
    assert.same({ "a", "b", "c" }, sorted(nested:run().stdout))
  end)

  it("keeps the lines of many sources whole, however long they are", function()
    local sources, expected = {}, {}
    for i = 1, 6 do
      local length = 20000 + i * 9973
      sources[i] = sh(([[
        line=$(head -c %d /dev/zero | tr '\0' %d)
        for k in 1 2 3 4 5 6 7 8 9 10; do echo "$line"; done
      ]]):format(length, i))
      for _ = 1, 10 do expected[#expected + 1] = tostring(i):rep(length) end
    end
    local lines = sorted(corun.merge(sources):run().stdout)
    assert.equal(60, #lines)
    for i = 1, 60 do assert.is_true(lines[i] == expected[i], "line " .. i .. " is torn") end
  end)

  it("keeps lines whole that come in pieces", function()
    local sources = {}
    for i = 1, 4 do
      sources[i] = writes(i .. "a", i .. "b", "\n" .. i .. "c", "\n", "\n" .. i)
    end
    local lines = sorted(corun.merge(sources):run().stdout)
    assert.same({ "", "", "", "", "1", "1a1b", "1c", "2", "2a2b", "2c", "3", "3a3b", "3c", "4", "4a4b", "4c" }, lines)
  end)

  it("keeps the order within each source", function()
    local sources = {}
    for i = 1, 3 do sources[i] = command("seq", "-f", i .. " %g", 20000) end
    local next_of = { 1, 1, 1 }
    for line in corun.merge(sources):lines() do
      local source, number = line:match("^(%d) (%S+)$")
      source = tonumber(source)
      assert(tonumber(number) == next_of[source], line)
      next_of[source] = next_of[source] + 1
    end
    assert.same({ 20001, 20001, 20001 }, next_of)
  end)

  it("gives a last line without a newline one, and nothing to what is empty", function()
    local text = corun.merge({ command("printf", "a"), command("printf", "b"), command("true") }):run().stdout
    assert.same({ "a", "b" }, sorted(text))
    assert.equal(4, #text)
    assert.equal("", corun.merge({ command("true"), writes() }):run().stdout)
    assert.equal("\n\n", corun.merge({ command("printf", "\\n\\n"), command("true") }):run().stdout)
  end)

  it("gives lines as they come, while the sources still run", function()
    local p <close> = corun.merge({ sh("echo a; exec sleep 1000"), sh("echo b; exec sleep 1000") }):spawn()
    local seen = { p.stdout:read_line(), p.stdout:read_line() }
    table.sort(seen)
    assert.same({ "a", "b" }, seen)
    assert.is_nil(p.status)
  end)

  it("moves much data", function()
    local merged = corun.merge { command("seq", 200000), command("seq", 200001, 400000), cat }
    assert.equal(corun.capture { "sh", "-c", "seq 400000 | cksum" },
      (merged | command("sort", "-n") | command("cksum")):capture())
  end)

  it("is as a string what a shell would do", function()
    assert.equal("{ echo a & cat | sort & wait; } | wc -l",
      tostring(corun.merge { command("echo", "a"), cat | sort } | command("wc", "-l")))
  end)
end)

describe("What the sources of a merge read", function()
  it("is nothing, or for each what it says for itself", function()
    local path = support.directory() .. "/file"
    support.write_file(path, "c\n")
    local merged = corun.merge {
      { "cat", input = "a\n" }, { "cat", input = "b\n" } | cat, { "cat", stdin = { file = path } }, cat,
      function(reader, writer) writer:write(#reader:read()) end,
    }
    assert.same({ "0", "a", "b", "c" }, sorted(merged:run().stdout))
  end)

  it("is for the first one the input of the Pipeline", function()
    local merged = corun.merge { cat, cat }
    assert.equal("x\n", merged:with({ input = "x\n" }):run().stdout)
    local p <close> = merged:spawn()
    p.stdin:write("y\n")
    p.stdin:close()
    assert.equal("y\n", p.stdout:read())
    assert.is_true(p:wait().ok)
  end)
end)

describe("A source of a merge that fails", function()
  it("is a failure of the Pipeline; the others go on", function()
    local e = raised.error("exit", function()
      (corun.merge { sh("echo why >&2; exit 4"), command("echo", "a") } | cat):run()
    end)
    raised.has(e.message, "stage 1, sh -c 'echo why >&2; exit 4': exit 4")
    assert.same({ 4, "a\n", "why\n" }, { e.result.code, e.result.stdout, e.result.stderr })
    local result = corun.merge({ command("echo", "a"), command("false") }):with({ check = false }):run()
    assert.same({ false, 1, "a\n" }, { result.ok, result.code, result.stdout })
  end)

  it("is its error where it is a function", function()
    local function fails(_, writer)
      writer:write("before\n"):drain()
      error("oh", 0)
    end
    local ok, e = pcall(function() corun.merge({ fails, command("echo", "a") }):run() end)
    assert.same({ false, "oh" }, { ok, e })
    local result = corun.merge({ fails, command("echo", "a") }):with({ check = false }):run()
    assert.same({ "a", "before" }, sorted(result.stdout))
  end)

  it("may be good by its check", function()
    assert.is_true(corun.merge({ { "sh", "-c", "exit 3", check = { 0, 3 } }, cat }):run().ok)
    assert.is_true(corun.merge({ { "false", check = false }, cat }):run().ok)
  end)
end)

describe("What follows a merge and ends early", function()
  it("cuts off its one source", function()
    local result = (corun.merge { command("yes") } | command("head", "-1")):run()
    assert.same({ true, "y\n", "SIGPIPE" }, { result.ok, result.stdout, result.stages[1].signal })
  end)

  it("cuts off one that writes while others are silent", function()
    local result = (corun.merge { command("yes"), command("true") } | command("head", "-2")):run()
    assert.same({ true, "y\ny\n", true }, { result.ok, result.stdout, result.stages[1].ok })
  end)
end)

describe("A merge that is stopped", function()
  it("stops all of its sources, and what follows", function()
    local merged = corun.merge { command("yes"), command("sleep", "1000"), function() corun.sleep(1000) end }
    local result = (merged | command("sleep", "1000")):with({ timeout = 0.05, check = false }):run()
    assert.same({ false, "timeout" }, { result.ok, result.reason })
    for _, stage in ipairs(result.stages) do assert.equal("timeout", stage.reason) end
    assert.same({}, support.children())
  end)

  it("may be so by a cancellation, close, or leaving lines()", function()
    local merged = corun.merge { command("yes"), command("yes"), command("sleep", "1000") }
    assert.same({ nil, "timeout" }, { corun.move_on(0.05, function() (merged | command("sleep", "1000")):run() end) })
    assert.same({}, support.children())
    local p <close> = merged:spawn()
    p.stdout:read_line()
    p:close()
    assert.same({}, support.children())
    local count = 0
    for _ in merged:lines() do
      count = count + 1
      if count == 3 then break end
    end
    assert.same({}, support.children())
  end)
end)
