local corun = require "corun"
local raised = require "spec.support.raised"
local support = require "spec.support"
local waiting = require "spec.support.waiting"

local MB = 1000 * 1000

--- A child that copies its stdin, but reads none before tell(p).
local function late_cat(options)
  local spec = { "sh", "-c", "echo early; read -r go <&3; exec cat", fds = { [3] = "input" } }
  for name, value in pairs(options or {}) do spec[name] = value end
  return corun.spawn(spec)
end

local function tell(p) p.fds[3]:write("go\n") end

describe("Process:communicate", function()
  it("feeds the input, then EOF, and gives both outputs and the status", function()
    local p <close> = corun.spawn { "sh", "-c", "cat; echo err >&2; exit 3" }
    local result = p:communicate("input")
    assert.equal("input", result.stdout)
    assert.equal("err\n", result.stderr)
    assert.equal(3, result.code)
    assert.is_false(result.ok)
    assert.equal("exit", result.reason)
    assert.equal(p.status, result.status)
    assert.equal(p.pid, result.pid)
  end)

  it("gives EOF at once without input", function()
    local p <close> = corun.spawn { "cat" }
    assert.equal("", p:communicate().stdout)
  end)

  it("takes an iterator for its input", function()
    local p <close> = corun.spawn { "cat" }
    local parts = coroutine.wrap(function()
      for letter in ("abc"):gmatch(".") do coroutine.yield(letter .. ",") end
    end)
    assert.equal("a,b,c,", p:communicate(parts).stdout)
  end)

  it("echoes 100 MB through cat #slow", function()
    local p <close> = corun.spawn { "cat", limit = 128 * MB }
    local input = ("0123456789"):rep(10 * MB)
    local result = p:communicate(input)
    assert.is_true(result.stdout == input)
    assert.is_true(result.ok)
  end)

  it("fills both outputs without a deadlock", function()
    local p <close> = corun.spawn { "sh", "-c", "head -c 3000000 /dev/zero >&2; head -c 3000000 /dev/zero; cat" }
    local result = p:communicate(("x"):rep(3 * MB))
    assert.equal(6 * MB, #result.stdout)
    assert.equal(3 * MB, #result.stderr)
  end)

  it("does not mind a child that closes its stdin early", function()
    local p <close> = corun.spawn { "head", "-c", "3" }
    local result = p:communicate(("x"):rep(5 * MB))
    assert.equal("xxx", result.stdout)
    assert.is_true(result.ok)
  end)

  it("raises a bad end only where the spec has check", function()
    local p <close> = corun.spawn { "sh", "-c", "echo why >&2; exit 4", check = true }
    local ok, e = pcall(p.communicate, p)
    assert.is_false(ok)
    assert.equal("exit", e.kind)
    assert.equal(4, e.result.code)
    assert.equal("why\n", e.result.stderr)
    local q <close> = corun.spawn { "sh", "-c", "exit 4", check = { 4 } }
    assert.is_true(q:communicate().ok)
  end)

  it("includes what was read ahead, and not what was read before", function()
    local p <close> = corun.spawn { "sh", "-c", "echo one; echo two; cat" }
    assert.equal("one", p.stdout:read_line())
    assert.equal("two\nthree", p:communicate("three").stdout)
  end)

  it("refuses a wrong input and a wrong time", function()
    local p <close> = corun.spawn { "cat" }
    assert.matches("communicate: a string or an iterator expected, got a table", raised.argument(function()
      p:communicate {}
    end))
    assert.matches("communicate: seconds expected, .* got %-1", raised.argument(function() p:communicate("", -1) end))
    assert.equal("still here", p:communicate("still here").stdout)
  end)

  describe("with a timeout", function()
    it("leaves the process alone, and gives the whole the next time", function()
      local p <close> = late_cat()
      local e = raised.error("timeout", function() p:communicate("input", 0.02) end)
      assert.equal(0.02, e.seconds)
      assert.is_nil(p.status)
      tell(p)
      local result = p:communicate()
      assert.equal("early\ninput", result.stdout)
      assert.is_true(result.ok)
      assert.equal("exit", result.reason)
    end)

    it("goes on with an input that was not yet written", function()
      corun.scope(function()
        local p <close> = late_cat()
        local input = ("0123456789"):rep(400000)
        raised.error("timeout", function() p:communicate(input, 0.02) end)
        tell(p)
        local result = p:communicate()
        assert.is_true(result.stdout == "early\n" .. input, "bytes that came: " .. #result.stdout)
      end)
    end)

    it("can pass any number of times", function()
      local p <close> = late_cat()
      raised.error("timeout", function() p:communicate("input", 0) end)
      for _ = 1, 3 do raised.error("timeout", function() p:communicate(nil, 0.002) end) end
      tell(p)
      assert.equal("early\ninput", p:communicate(nil, 10).stdout)
    end)

    it("holds though a grandchild keeps the pipe", function()
      local p <close> = corun.spawn { support.fixture "holder" }
      local before = corun.now()
      raised.error("timeout", function() p:communicate(nil, 0.05) end)
      assert.is_true(corun.now() - before < 1)
    end)
  end)

  it("leaves the process alone when it is cancelled", function()
    local p <close> = late_cat()
    local task = corun.go(function() return p:communicate("input") end)
    waiting.let_others_run()
    task:cancel()
    waiting.let_others_run()
    assert.equal("cancelled", task.status)
    assert.is_nil(p.status)
    tell(p)
    assert.equal("early\ninput", p:communicate().stdout)
  end)

  it("gives up a pipe that a grandchild holds, after `linger`", function()
    local p <close> = corun.spawn { support.fixture "holder", linger = 0.05 }
    local result = p:communicate(nil, 10)
    assert.is_true(result.ok)
    local held = tonumber(result.stdout:match("^held (%d+)\n$"))
    assert.same({ held }, result.held_by)
    assert.is_true(result.truncated)
  end)
end)

describe("Process:lines", function()
  it("gives the lines of both streams as they come", function()
    local p <close> = corun.spawn { "sh", "-c", "read -r a; echo $a; read -r b; echo $b >&2; read -r c; echo $c" }
    local seen = {}
    p:write("one\n")
    for line, source in p:lines() do
      seen[#seen + 1] = source .. " " .. line
      if line == "one" then p:write("two\n") end
      if line == "two" then p:write("three\n") end
    end
    assert.same({ "stdout one", "stderr two", "stdout three" }, seen)
  end)

  it("gives every line, in order for each stream, and last ones without newline", function()
    local p <close> = corun.spawn {
      "sh", "-c", "i=0; while [ $i -lt 2000 ]; do i=$((i+1)); echo $i; echo $i >&2; done; printf end; printf end >&2",
    }
    local seen = { stdout = {}, stderr = {} }
    for line, source in p:lines() do table.insert(seen[source], line) end
    for _, lines in pairs(seen) do
      assert.equal(2001, #lines)
      for i = 1, 2000 do assert.equal(tostring(i), lines[i]) end
      assert.equal("end", lines[2001])
    end
  end)

  it("leaves the streams usable when the loop is left", function()
    local p <close> = corun.spawn { "printf", "1\\n2\\n3\\n" }
    for line in p:lines() do
      if line == "2" then break end
    end
    assert.equal("3", p.stdout:read_line())
    assert.is_nil(p.stdout:read_line())
  end)

  it("works with one stream alone and refuses none", function()
    local p <close> = corun.spawn { "echo", "x", stderr = "null" }
    local lines = {}
    for line, source in p:lines() do lines[#lines + 1] = source .. line end
    assert.same({ "stdoutx" }, lines)
    local q <close> = corun.spawn { "true", stdout = "null", stderr = "null" }
    assert.matches("not a pipe", raised.argument(function() q:lines() end))
  end)
end)

describe("500 children at once", function()
  it("are each read line by line #slow", function()
    local sums = {}
    corun.scope(function(scope)
      local processes = {}
      for i = 1, 500 do
        processes[i] = scope:spawn { "sh", "-c", "read -r a; echo $a; echo $0; echo done", i }
      end
      assert.equal(500, #support.children())
      for i, p in ipairs(processes) do
        scope:go(function()
          p:write(i, "\n")
          local lines = {}
          for line in p:stream_stdout() do lines[#lines + 1] = line end
          sums[i] = table.concat(lines, " ")
          p:wait()
        end)
      end
    end)
    for i = 1, 500 do assert.equal(("%d %d done"):format(i, i), sums[i]) end
    assert.same({}, support.children())
  end)
end)

describe("Process:communicate that does not end", function()
  it("leaves the process its own time limit", function()
    local p <close> = corun.spawn { "sleep", "1000", timeout = 0.1 }
    raised.error("timeout", function() p:communicate(nil, 0.01) end)
    assert.equal("SIGTERM", p:wait(10).signal)
  end)
end)

describe("Process:communicate with a small input", function()
  it("waits for what another task still writes, and reads meanwhile", function()
    local p <close> = corun.spawn { "cat", timeout = 20 }
    corun.scope(function(scope)
      scope:go(function() p.stdin:write(("x"):rep(1 << 21)) end)
      corun.sleep(0)
      assert.equal((1 << 21) + 5, #p:communicate("hello").stdout)
    end)
  end)
end)
