-- What corun holds for a child that runs, and for a Result that is kept: bounds of memory, as Lua counts it.

local corun = require "corun"
local support = require "spec.support"

local ready = support.fixture "ready"
local COUNT = 64 -- so many that the tables which grow with them count for little more than what they hold

local function held()
  collectgarbage()
  collectgarbage()
  return collectgarbage "count" * 1024
end

--- Lua's bytes for each of COUNT things that `make` gives, and these.
local function bytes_each(make)
  local list = table.pack(make(), make()) -- what is loaded and kept at the first time
  for i = 1, COUNT do list[i] = false end
  local before = held()
  for i = 1, COUNT do list[i] = make() end
  return (held() - before) / COUNT, list
end

local function idle(streams)
  return bytes_each(function()
    return corun.spawn { ready, stdin = streams, stdout = streams, stderr = streams, stop = { "KILL" } }
  end)
end

describe("A child that runs", function()
  it("holds 1.25 KiB of Lua's memory at most without pipes", function()
    corun.scope(function(scope)
      local bytes = idle "null"
      assert.is_true(bytes > 0 and bytes <= 1280, bytes)
      scope:cancel()
    end)
  end)

  it("holds 2.5 KiB of it at most with three", function()
    corun.scope(function(scope)
      local bytes = idle "pipe"
      assert.is_true(bytes > 1280 and bytes <= 2560, bytes)
      scope:cancel()
    end)
  end)

  it("tells what it is as if that were its fields", function()
    local before = os.time()
    local process <close> = corun.spawn { ready, "a b", stdin = "null", stdout = "null", stderr = "null" }
    assert.same({ ready, "a b" }, process.argv)
    assert.equal("integer", math.type(process.pid))
    assert.is_true(process.started_at >= before and process.started_at <= os.time() + 1)
    assert.same({}, process.fds)
    assert.equal(process.fds, process.fds)
    process:kill()
    assert.equal("integer", math.type(process.pid))
  end)
end)

describe("A Result that is kept", function()
  it("does not hold what was captured once more", function()
    local size = 100000
    local function make() return corun.run { "head", "-c", size, "/dev/zero" } end
    local bytes, list = bytes_each(make)
    assert.equal(size, #list[COUNT].stdout)
    assert.is_true(bytes > size and bytes < size + 4096, bytes)
    assert.equal("Reader (closed, 0 bytes buffered)", tostring(list[COUNT]._captured)) -- its memory is not Lua's
  end)

  it("has all its fields, for pairs, too", function()
    local result = corun.run { "printf", "out" }
    local fields = {}
    for name, value in pairs(result) do fields[name] = value end
    for _, name in ipairs { "ok", "code", "status", "reason", "stdout", "stderr", "pid", "argv", "command", "cwd",
        "started_at", "duration", "truncated", "bytes_out" } do
      assert.is_not_nil(fields[name], name)
      assert.equal(result[name], fields[name])
    end
    assert.equal(result.usage, fields.usage) -- nil with the libuv backend
    assert.same({ "printf out", 3 }, { result.command, result.bytes_out })
  end)

  it("stays as it was, though its process goes on #slow", function()
    local process <close> = corun.spawn { ready, stop = { "CONT" }, timeout = 0, check = false }
    local result = process:communicate()
    assert.is_nil(result.status)
    local duration = result.duration
    corun.sleep(0.01)
    assert.equal(duration, result.duration)
    process:kill()
    assert.is_nil(result.status)
  end)
end)
