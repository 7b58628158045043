local corun = require "corun"
local support = require "spec.support"
local waiting = require "spec.support.waiting"

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

describe("The end of a Writer", function()
  it("is reached by close(), which waits until all has gone", function()
    local p <close> = late_counter()
    p.stdin:write(("x"):rep(MIB))
    assert.is_true(p.stdin.buffered > 0)
    local task = corun.go(function() p.stdin:close() end)
    waiting.let_others_run()
    assert.equal("waiting", task.status)
    assert.is_true(p.stdin:is_closing())
    tell(p)
    task:await()
    assert.equal(0, p.stdin.buffered)
    assert.equal(MIB, tonumber(p.stdout:read()))
  end)

  it("is reached by write_eof() without waiting, and waited for by wait_closed()", function()
    local p <close> = late_counter()
    p.stdin:write(("x"):rep(MIB))
    assert.is_false(p.stdin:is_closing())
    p.stdin:write_eof()
    assert.is_true(p.stdin:is_closing())
    assert.is_true(p.stdin.buffered > 0)
    local task = corun.go(function() p.stdin:wait_closed() end)
    waiting.let_others_run()
    assert.equal("waiting", task.status)
    tell(p)
    task:await()
    assert.equal(0, p.stdin.buffered)
    assert.equal(MIB, tonumber(p.stdout:read()))
  end)

  it("can be asked for twice", function()
    local p <close> = corun.spawn { "cat", stderr = "null" }
    p.stdin:close()
    p.stdin:close()
    p.stdin:write_eof()
    p.stdin:wait_closed()
    assert.is_true(p.stdin:is_closing())
    assert.equal("", p.stdout:read())
  end)

  it("gives the descriptor back", function()
    local p <close> = corun.spawn { support.fixture "ready", stdout = "null", stderr = "null" }
    local before = support.descriptors()
    p.stdin:close()
    local after, gone = support.descriptors(), 0
    for fd in pairs(before) do
      if not after[fd] then gone = gone + 1 end
    end
    assert.equal(1, gone)
  end)

  it("raises what went wrong with queued bytes from close() and drain()", function()
    for _, method in ipairs { "close", "drain", "wait_closed" } do
      local p <close> = deaf()
      p.stdin:write(("x"):rep(MIB))
      local task = corun.go(pcall, p.stdin[method], p.stdin)
      waiting.let_others_run()
      p:signal("KILL")
      local ok, e = task:await()
      assert.is_false(ok)
      assert.equal("EPIPE", e.code)
    end
  end)
end)

describe("Writer:drain", function()
  it("returns at once when nothing is queued", function()
    local p <close> = corun.spawn { "cat", stderr = "null" }
    p.stdin:write("x")
    assert.equal(0, p.stdin.buffered)
    corun.timeout(1, p.stdin.drain, p.stdin)
  end)

  it("waits until the queue is empty", function()
    local p <close> = late_counter()
    p.stdin:write(("x"):rep(MIB))
    local task = corun.go(function()
      p.stdin:drain()
      return p.stdin.buffered
    end)
    waiting.let_others_run()
    assert.equal("waiting", task.status)
    tell(p)
    assert.equal(0, task:await())
    assert.is_false(p.stdin:is_closing())
  end)
end)
