local corun = require "corun"
local raised = require "spec.support.raised"
local scripts = require "spec.support.scripts"
local support = require "spec.support"
local waiting = require "spec.support.waiting"
local world = require "spec.support.world"

local MIB = 1 << 20

--- A child that counts the bytes of its stdin, but reads none before tell(p).
local function late_counter()
  return corun.spawn { "sh", "-c", "read -r go <&3; exec wc -c", fds = { [3] = "input" }, stderr = "null" }
end

local function tell(p) p.fds[3]:write("go\n") end

--- A child that never reads.
local function deaf()
  return corun.spawn { support.fixture "ready", stdout = "null", stderr = "null" }
end

describe("Writer:write", function()
  it("writes all of its arguments in order, numbers as Lua writes them", function()
    local p <close> = corun.spawn { "cat", stderr = "null" }
    p.stdin:write("a", 1, "", -2.5, "b\0c", "\n")
    p.stdin:close()
    assert.equal("a1-2.5b\0c\n", p.stdout:read())
  end)

  it("writes more than a hundred pieces in order", function()
    local p <close> = corun.spawn { "cat", stderr = "null" }
    local pieces = {}
    for i = 1, 150 do pieces[i] = ("%d "):format(i) end
    p.stdin:write(table.unpack(pieces))
    p.stdin:close()
    assert.equal(table.concat(pieces), p.stdout:read())
  end)

  it("takes nothing for nothing", function()
    local p <close> = corun.spawn { "cat", stderr = "null" }
    p.stdin:write()
    p.stdin:write("")
    p.stdin:close()
    assert.equal("", p.stdout:read())
  end)

  it("refuses what is neither string nor number and writes nothing of that call", function()
    local p <close> = corun.spawn { "cat", stderr = "null" }
    for _, wrong in ipairs { {}, true, print } do
      local message = raised.argument(function() p.stdin:write("x", wrong) end)
      assert.matches("write: .*string.*got .*" .. (wrong == true and "true" or type(wrong)), message)
    end
    assert.matches("write: .*got nil", raised.argument(function() p.stdin:write("x", nil) end))
    p.stdin:close()
    assert.equal("", p.stdout:read())
  end)

  it("returns while fewer than 1 MiB are queued, and waits above", function()
    local p <close> = late_counter()
    local calls = 0
    local task = corun.go(function()
      while calls < 64 do
        p.stdin:write(("x"):rep(65536))
        calls = calls + 1
      end
    end)
    waiting.let_others_run()
    assert.equal("waiting", task.status)
    -- 64 KiB are in the pipe
    assert.is_true(calls * 65536 >= MIB and calls * 65536 <= MIB + 2 * 65536, "calls " .. calls)
    assert.is_true(p.stdin.buffered < MIB)
    tell(p)
    task:await()
    p.stdin:close()
    assert.equal(64 * 65536, tonumber(p.stdout:read()))
  end)

  it("keeps memory bounded however slow the child is #slow", function()
    local p <close> = late_counter()
    local piece = ("x"):rep(100000)
    local task = corun.go(function()
      for _ = 1, 500 do p.stdin:write(piece) end
      p.stdin:close()
    end)
    local before = world.resident()
    waiting.let_others_run()
    tell(p)
    task:await()
    -- A sanitizer keeps what is freed.
    assert.is_true(scripts.sanitized or world.resident() - before < 4 * MIB)
    assert.equal(50000000, tonumber(p.stdout:read()))
  end)

  it("lets other tasks run while it waits", function()
    local p <close> = deaf()
    local writing = corun.go(pcall, p.stdin.write, p.stdin, ("x"):rep(4 * MIB))
    local other = corun.go(function() return corun.capture { "echo", "hello" } end)
    assert.equal("hello", other:await())
    assert.equal("waiting", writing.status)
    p:kill()
    local ok, e = writing:await()
    assert.is_false(ok)
    assert.equal("EPIPE", e.code)
  end)

  it("writes each call of several tasks as one unbroken piece, first come, first served", function()
    local p <close> = corun.spawn { "cat", stderr = "null" }
    local size, order = MIB + 300 * 1024, {} -- more than a call leaves in the queue
    local tasks = {}
    for i, letter in ipairs { "a", "b", "c", "d" } do
      tasks[i] = corun.go(function()
        for _ = 1, 3 do p.stdin:write(letter:rep(size), letter:upper()) end
      end)
    end
    corun.go(function()
      for _, task in ipairs(tasks) do task:await() end
      p.stdin:write_eof()
    end)
    while true do
      local letter = p.stdout:read(1)
      if not letter then break end
      local piece = letter .. p.stdout:read_until(letter:upper())
      assert.is_true(piece == letter:rep(size))
      order[#order + 1] = letter
    end
    assert.equal("abcdabcdabcd", table.concat(order))
  end)

  it("raises \"io\" with EPIPE once the child has closed its stdin", function()
    local p <close> = corun.spawn { "sh", "-c", "exec <&-; echo closed; exec sleep 1000", stderr = "null" }
    assert.equal("closed", p.stdout:read_line())
    local e = raised.error("io", function() p.stdin:write("x") end)
    assert.equal("EPIPE", e.code)
    assert.equal("EPIPE", raised.error("io", function() p.stdin:write("again") end).code)
  end)

  it("raises it in a task that waits when the child ends", function()
    local p <close> = deaf()
    local task = corun.go(pcall, p.stdin.write, p.stdin, ("x"):rep(4 * MIB))
    waiting.let_others_run()
    p:signal("KILL")
    local ok, e = task:await()
    assert.is_false(ok)
    assert.equal("io", e.kind)
    assert.equal("EPIPE", e.code)
  end)

  it("raises \"closed\" after close(), write_eof() and a <close> block", function()
    for _, finish in ipairs { "close", "write_eof" } do
      local p <close> = corun.spawn { "cat", stderr = "null" }
      p.stdin[finish](p.stdin)
      raised.error("closed", function() p.stdin:write("x") end)
    end
    local p <close> = corun.spawn { "cat", stderr = "null" }
    do
      local writer <close> = p.stdin
      writer:write("x")
    end
    raised.error("closed", function() p.stdin:write("y") end)
    assert.equal("x", p.stdout:read())
  end)

  it("says in `written` how much went when it is cancelled, and it was just that", function()
    local p <close> = late_counter()
    local task = corun.go(function()
      local _, e = pcall(p.stdin.write, p.stdin, ("x"):rep(4 * MIB))
      return e
    end)
    waiting.let_others_run()
    task:cancel()
    local e = task:await()
    assert.equal("cancelled", e.kind)
    assert.is_true(e.written > 0 and e.written < 4 * MIB)
    tell(p)
    p.stdin:close()
    assert.equal(e.written, tonumber(p.stdout:read()))
  end)

  it("lets the next task write when the one before is cancelled", function()
    local p <close> = late_counter()
    local first = corun.go(function()
      local _, e = pcall(p.stdin.write, p.stdin, ("x"):rep(4 * MIB))
      return e.written
    end)
    local second = corun.go(function() p.stdin:write("12345") end)
    waiting.let_others_run()
    first:cancel()
    tell(p)
    second:await()
    p.stdin:close()
    assert.equal(first:await() + 5, tonumber(p.stdout:read()))
  end)
end)

describe("Writer:writelines", function()
  it("writes all that an iterator gives", function()
    local p <close> = corun.spawn { "cat", stderr = "null" }
    p.stdin:writelines(("one two three"):gmatch("%S+ ?"))
    p.stdin:close()
    assert.equal("one two three", p.stdout:read())
  end)
end)

describe("A Writer as a string", function()
  it("says in words what it is", function()
    local p <close> = deaf()
    assert.equal("Writer (open, 0 bytes queued)", tostring(p.stdin))
    p.stdin:write(("x"):rep(65536 + 1000))
    assert.equal("Writer (open, 1000 bytes queued)", tostring(p.stdin))
    p.stdin:write_eof()
    assert.equal("Writer (closing, 1000 bytes queued)", tostring(p.stdin))
    p:kill()
    p:close()
    assert.equal("Writer (closed, 0 bytes queued)", tostring(p.stdin))
  end)
end)
