local corun = require "corun"
local raised = require "spec.support.raised"
local support = require "spec.support"
local waiting = require "spec.support.waiting"
local world = require "spec.support.world"

local MIB = 1 << 20

local function buffered(reader)
  return tonumber(tostring(reader):match("(%d+) bytes buffered"))
end

--- Bytes that a process has written so far.
local function written(pid)
  return tonumber(support.read_file(("/proc/%d/io"):format(pid)):match("wchar: (%d+)"))
end

--- The pipes that we have open, as a count.
local function pipes()
  local count = 0
  for _, target in pairs(support.descriptors()) do
    if target:find("^pipe:") then count = count + 1 end
  end
  return count
end

local function collect()
  corun.sleep(0)
  collectgarbage()
  collectgarbage()
  corun.sleep(0)
end

describe("A Reader that nobody reads", function()
  it("stops at its high water and lets the child block in its write", function()
    local flood <close> = corun.spawn { "yes", stdin = "null", stderr = "null" }
    waiting.wait_until("the Reader is full", function() return buffered(flood.stdout) >= MIB end)
    waiting.wait_until("the child blocks", function() return support.process_state(flood.pid) == "S" end)
    local count = written(flood.pid)
    waiting.let_others_run()
    assert.equal("S", (support.process_state(flood.pid)))
    assert.equal(count, written(flood.pid))
    assert.is_true(buffered(flood.stdout) <= MIB)
    assert.is_true(count <= MIB + 256 * 1024 + 65536, "the child could write " .. count) -- and the pipe, grown
  end)

  it("lets the child go on when it is read again", function()
    local flood <close> = corun.spawn { "yes", stdin = "null", stderr = "null" }
    waiting.wait_until("the Reader is full", function() return buffered(flood.stdout) >= MIB end)
    waiting.wait_until("the child blocks", function() return support.process_state(flood.pid) == "S" end)
    local count = written(flood.pid)
    flood.stdout:read_exactly(2 * MIB)
    waiting.wait_until("the child writes", function() return written(flood.pid) > count end)
  end)

  it("keeps memory bounded however much the child has", function()
    local before = world.resident()
    local floods <close> = setmetatable({}, {
      __close = function(self)
        for _, flood in ipairs(self) do flood:close() end
      end,
    })
    for i = 1, 4 do floods[i] = corun.spawn { "yes", stdin = "null", stderr = "null" } end
    for _, flood in ipairs(floods) do
      waiting.wait_until("the Reader is full", function() return buffered(flood.stdout) >= MIB end)
    end
    waiting.let_others_run()
    -- 1 MiB in a block of at most twice the size, each
    assert.is_true(world.resident() - before < 10 * MIB)
  end)

  it("keeps memory bounded while a slow task reads line by line", function()
    local flood <close> = corun.spawn { "yes", stdin = "null", stderr = "null" }
    local most, lines = 0, 0
    for _ in flood:stream_stdout() do
      lines = lines + 1
      if lines % 1000 == 0 then most = math.max(most, buffered(flood.stdout)) end
      if lines == 2000000 then break end
    end
    assert.is_true(most <= 2 * MIB, "buffered " .. most)
  end)
end)

describe("A task that reads without an end", function()
  it("lets the others run", function()
    local flood <close> = corun.spawn { "yes", stdin = "null", stderr = "null" }
    local turns, going = 0, true
    local other = corun.go(function()
      while going do
        corun.sleep(0)
        turns = turns + 1
      end
    end)
    for _ = 1, 1000 do flood.stdout:read(65536) end
    going = false
    other:await()
    assert.is_true(turns >= 10, "turns of the other task: " .. turns)
  end)

  it("can be stopped by a time limit", function()
    local flood <close> = corun.spawn { "yes", stdin = "null", stderr = "null" }
    local lines = 0
    raised.error("timeout", function()
      corun.timeout(0.05, function()
        for _ in flood:stream_stdout() do lines = lines + 1 end
      end)
    end)
    assert.is_true(lines > 0)
  end)
end)

describe("A Reader of a line of 100 MB", function()
  local size = 100 * 1000 * 1000

  local function long_line()
    return corun.spawn { "head", "-c", size, "/dev/zero", stdin = "null", stderr = "null" }
  end

  it("refuses it at the default limit of 64 MiB and keeps what came #slow", function()
    local p <close> = long_line()
    local e = raised.error("limit", function() p.stdout:read_line() end)
    assert.matches("67108864", e.message)
    assert.is_true(buffered(p.stdout) > 64 * MIB)
    assert.is_true(buffered(p.stdout) < 68 * MIB)
    local rest = p.stdout:read()
    assert.equal(size, #rest)
    assert.is_nil(rest:find("[^\0]"))
  end)

  it("gives it whole under a higher one #slow", function()
    local p <close> = long_line()
    assert.equal(size, #p.stdout:read_line { limit = 2 * size })
    assert.is_nil(p.stdout:read_line())
  end)

  it("gives up early under a lower one", function()
    local p <close> = long_line()
    raised.error("limit", function() p.stdout:read_line { limit = 1000 } end)
    assert.is_true(buffered(p.stdout) <= MIB + 65536)
  end)
end)

describe("The descriptor of a Reader", function()
  it("is given back at the end of the stream, before anything was read", function()
    local before = pipes()
    local p <close> = corun.spawn { "echo", "text", stdin = "null", stderr = "null" }
    assert.equal(before + 1, pipes())
    p:wait_closed()
    assert.equal(before, pipes())
    assert.equal("text\n", p.stdout:read())
  end)

  it("is given back by close()", function()
    local before = pipes()
    local p <close> = corun.spawn { support.fixture "ready", stdin = "null", stderr = "null" }
    p.stdout:close()
    assert.equal(before, pipes())
  end)

  it("is given back when the ended Process that had it is dropped", function()
    local before, alive = support.descriptors(), setmetatable({}, { __mode = "k" })
    local function leave_behind()
      local p = corun.spawn { "sh", "-c", "echo unread; exec sleep 0" }
      p:wait()
      p.stdout:peek(1)
      alive[p], alive[p.stdout], alive[p.stdin] = true, true, true
    end
    leave_behind()
    collect()
    assert.is_nil(next(alive))
    assert.same(before, support.descriptors())
  end)
end)

describe("A Reader without its Process", function()
  -- The end of a stream may come before that of the child.
  after_each(function()
    waiting.wait_until("the child is reaped", function() return #support.children() == 0 end)
  end)

  it("works on while it is referenced", function()
    local function only_the_reader()
      return corun.spawn({ "sh", "-c", "echo one; echo two", stderr = "null" }).stdout
    end
    local reader = only_the_reader()
    collect()
    assert.equal("one", reader:read_line())
    collect()
    assert.equal("two", reader:read_line())
    assert.is_nil(reader:read_line())
  end)

  it("works on while only its iterator is referenced", function()
    local function only_the_iterator()
      return corun.spawn({ "sh", "-c", "echo one; echo two", stderr = "null" }):stream_stdout()
    end
    local lines = {}
    for line in only_the_iterator() do
      lines[#lines + 1] = line
      collect()
    end
    assert.same({ "one", "two" }, lines)
  end)
end)
