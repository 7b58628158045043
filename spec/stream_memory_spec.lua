--- How much memory streams take: of a program of its own, so that nothing else counts.
---
--- CORUN_STREAM_MIB=4096 sends more through communicate than the everyday 1024.

local corun = require "corun"
local scripts = require "spec.support.scripts"
local waiting = require "spec.support.waiting"

local mib_through = tonumber(os.getenv("CORUN_STREAM_MIB")) or 1024

-- What each script begins with. memory "VmRSS" and its peak "VmHWM" are in MiB.
local beginning = [[
  local corun = require "corun"
  local MIB = 1 << 20
  local function memory(field)
    local file <close> = io.open("/proc/self/status")
    return tonumber(file:read("a"):match(field .. ":%s*(%d+) kB")) / 1024
  end
  local function resident()
    collectgarbage()
    collectgarbage()
    corun.sleep(0) -- a turn of the loop
    return memory "VmRSS"
  end
  local function long_line(mib, then_what) -- a child that prints it
    return corun.spawn { "sh", "-c", ("head -c %d /dev/zero | tr '\\0' x; %s"):format(mib * MIB, then_what) }
  end
  local function check(what, growth, most)
    if growth > most then print(("%s: memory has grown by %.1f MiB"):format(what, growth)) end
  end
]]

-- A sanitizer keeps what was freed for a while.
local environment = { ASAN_OPTIONS = "quarantine_size_mb=1" }

--- Runs a script that prints what is wrong.
local function run(source)
  local result = scripts.native:run(beginning .. source, { env = environment, timeout = 120 })
  assert.equal("", result.stderr .. result.stdout)
  assert.is_true(result.ok)
end

describe("Memory", function()
  it(("stays under 20 MiB when %d MiB go through communicate with \"spill\" #once"):format(mib_through), function()
    run(([[
      local count, sent = %d, 0
      local filling = ("x"):rep(MIB - 8)
      local function block(i) return ("<i8"):pack(i) .. filling end
      local before = resident()
      local cat = corun.spawn { "cat", overflow = "spill" }
      local result = cat:communicate(function()
        if sent == count then return nil end
        sent = sent + 1
        return block(sent)
      end)
      check("communicate", memory "VmHWM" - before, 20)
      for i = 1, count do
        if result.stdout:read_exactly(MIB) ~= block(i) then print("wrong bytes in block " .. i) end
      end
      if result.stdout:read() ~= "" or result.truncated then print("more or less than was sent") end
      check("reading it back", memory "VmHWM" - before, 20)
    ]]):format(mib_through))
  end)

  it("of a line of 200 MiB is only what it takes, and nothing is lost over the limit #once", function()
    run [[
      local before = resident()
      local child = long_line(200, "printf '\\nnext\\nrest'")
      local _, e = corun.try(child.stdout.read_line, child.stdout)
      if not e or e.kind ~= "limit" or not e.message:find("67108864 bytes") then print("no limit: " .. tostring(e)) end
      check("the default limit", memory "VmHWM" - before, 2 * 64 + 20)
      if child.stdout:read_exactly(MIB) ~= ("x"):rep(MIB) then print("read does not go on") end
      local line = child.stdout:read_line { limit = 1 << 28 }
      if line ~= ("x"):rep(199 * MIB) then print("another line: " .. #line) end
      if child.stdout:read_line() ~= "next" or child.stdout:read() ~= "rest" then print("the rest is lost") end
    ]]
  end)

  it("comes back after a long line and is not taken again for short ones #once", function()
    run [[
      local child = long_line(100, "while read -r line; do echo; echo next; done")
      local before = resident()
      child:write("go\n")
      if #child.stdout:read_line { limit = 1 << 28 } ~= 100 * MIB then print("another line") end
      if child.stdout:read_line() ~= "next" then print("another next line") end
      check("after the line", resident() - before, 4)
    ]]
  end)

  it("comes back after all of a long stream was read, grep and count take none #once", function()
    run [[
      local before = resident()
      local lines = "yes 'a line of some bytes' | head -c " .. 64 * MIB
      if corun.spawn({ "sh", "-c", lines }).stdout:count() ~= 64 * MIB // 21 + 1 then print("another count") end
      for _ in corun.spawn({ "sh", "-c", lines }).stdout:grep("another") do print("a line that matches") end
      for _ in corun.spawn({ "sh", "-c", lines }).stdout:grep("^.-another$") do print("a line that matches") end
      check("count and grep", memory "VmHWM" - before, 6)
      if #corun.spawn({ "sh", "-c", lines }).stdout:read() ~= 64 * MIB then print("another size") end
      check("after read", resident() - before, 4)
    ]]
  end)

  it("does not grow for a reader that is slower than its child #once", function()
    run [[
      local child = corun.spawn { "head", "-c", tostring(64 * MIB), "/dev/zero" }
      local reader, left, most = child.stdout, 64 * MIB, 0
      local function buffered() return tonumber(tostring(reader):match("(%d+) bytes")) end
      local before = resident()
      while buffered() < MIB do corun.sleep(0.0005) end -- its high water
      while left > 0 do
        for _ = 1, 10 do corun.sleep(0) end -- reads ahead
        most = math.max(most, buffered())
        left = left - #reader:read(65536)
      end
      check("reading slowly", memory "VmHWM" - before, 6)
      if most > MIB + MIB // 4 then print("read ahead: " .. most) end
    ]]
  end)
end)

describe("A Writer whose reader has stopped", function()
  local reader
  before_each(function() reader = corun.spawn { "cat", stdout = "null" } end)
  after_each(function() reader:close() end)

  it("holds less than its high water, and goes on with its reader", function()
    local writer, piece, given = reader.stdin, ("x"):rep(100000), 0
    reader:suspend()
    local task = waiting.start(function()
      return writer:writelines(function()
        given = given + 1
        if given <= 100 then return piece end
      end)
    end)
    waiting.wait_until("it is full", function() return writer.buffered >= writer.high_water - #piece end)
    waiting.let_others_run()
    assert.equal("waiting", task.status)
    assert.is_true(writer.buffered < writer.high_water)
    assert.is_true(given < 20)
    reader:resume()
    task:await()
    assert.equal(101, given)
    writer:close()
    assert.equal("exit 0", tostring(reader:wait()))
  end)
end)
