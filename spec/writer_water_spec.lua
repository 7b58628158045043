local core = require "corun.core"
local corun = require "corun"
local raised = require "spec.support.raised"
local scripts = require "spec.support.scripts"
local support = require "spec.support"
local waiting = require "spec.support.waiting"

local MIB = 1 << 20

local function open()
  local pipe = core.pipe()
  return pipe:reader(), pipe:writer()
end

--- A child that never reads, and one that counts the bytes of its stdin after tell(p).
local function deaf() return corun.spawn { support.fixture "ready", stdout = "null", stderr = "null" } end
local function late_counter()
  return corun.spawn { "sh", "-c", "read -r go <&3; exec wc -c", fds = { [3] = "input" }, stderr = "null" }
end
local function tell(p) p.fds[3]:write("go\n") end

--- Writes pieces of 1000 bytes until that waits; returns how many bytes are queued then.
local function fill(p)
  local task = waiting.start(function()
    for _ = 1, 10000 do p.stdin:write(("x"):rep(1000)) end
  end)
  waiting.wait_until("it waits", function() return task.status == "waiting" end)
  waiting.let_others_run()
  assert.equal("waiting", task.status)
  task:cancel()
  return p.stdin.buffered
end

describe("The water marks of a Writer", function()
  it("are 1 MiB and a quarter of that", function()
    local reader, writer = open()
    assert.same({ MIB, MIB // 4 }, { writer.high_water, writer.low_water })
    assert.is_nil(writer.no_such_field)
    writer:close()
    reader:close()
  end)

  it("can be set: the high one sets the low one, too", function()
    local reader, writer = open()
    writer.high_water = 4000
    assert.same({ 4000, 1000 }, { writer.high_water, writer.low_water })
    writer.low_water = 3999
    assert.same({ 4000, 3999 }, { writer.high_water, writer.low_water })
    writer.high_water = 0
    assert.same({ 0, 0 }, { writer.high_water, writer.low_water })
    writer:close()
    reader:close()
  end)

  it("are numbers of bytes, and the only fields that can be set", function()
    local reader, writer = open()
    local expected = "high_water: a number of bytes (0 or more) expected, got "
    assert.equal(expected .. "-1", raised.argument(function() writer.high_water = -1 end))
    assert.equal(expected .. '"5"', raised.argument(function() writer.high_water = "5" end))
    assert.equal(expected .. "1.5", raised.argument(function() writer.high_water = 1.5 end))
    assert.equal("low_water: a number of bytes (0 or more) expected, got nil",
      raised.argument(function() writer.low_water = nil end))
    for _, name in ipairs { "buffered", "write", "highwater" } do
      assert.equal(("a Writer's field: 'high_water' or 'low_water' expected, got %q"):format(name),
        raised.argument(function() writer[name] = 5 end))
    end
    assert.same({ MIB, MIB // 4 }, { writer.high_water, writer.low_water })
    writer:close()
    reader:close()
  end)

  it("bound what is queued", function()
    for _, high in ipairs { 10000, 100000, 3 * MIB } do
      local p <close> = deaf()
      p.stdin.high_water = high
      local queued = fill(p)
      assert.is_true(queued < high and queued >= high - 1000, ("%d of %d"):format(queued, high))
    end
  end)

  it("let nothing be queued with 0", function()
    local p <close> = deaf()
    p.stdin.high_water = 0
    assert.equal(0, fill(p))
  end)

  it("let who waits go on at the low one, and not before", function()
    local p <close> = late_counter()
    p.stdin.high_water = 400000
    p.stdin.low_water = 100
    local most
    local task = waiting.start(function()
      p.stdin:write(("x"):rep(460000)) -- 64 KiB are in the pipe, the rest is queued
      p.stdin:write(("x"):rep(20000))
      most = p.stdin.buffered
    end)
    waiting.let_others_run()
    assert.equal("waiting", task.status)
    tell(p)
    task:await()
    assert.is_true(most <= 20100, most)
    p.stdin:close()
    assert.equal("480000\n", p.stdout:read())
  end)

  it("do not hold up a write larger than both, which then goes as the reader takes it", function()
    local p <close> = late_counter()
    local big = ("x"):rep(5 * MIB)
    p.stdin.high_water = 1000
    local task = waiting.start(function() return p.stdin:write(big) end)
    waiting.let_others_run()
    assert.equal("waiting", task.status)
    assert.equal(0, p.stdin.buffered)
    tell(p)
    assert.equal(p.stdin, task:await())
    p.stdin:close()
    assert.equal(5 * MIB .. "\n", p.stdout:read())
  end)
end)

describe("Writer:writelines", function()
  it("writes what an iterator, a list, or what can be called gives, numbers as Lua writes them", function()
    local reader, writer = open()
    local object = setmetatable({ left = 2 }, {
      __call = function(self)
        self.left = self.left - 1
        if self.left >= 0 then return ("%d "):format(self.left) end
      end,
    })
    assert.equal(writer, writer:writelines { "a", "", "b\0", 1, 2.5 })
    writer:writelines(("x y"):gmatch("%a")):writelines {}:writelines(object)
    writer:writelines(corun.stream(("1 2"):gmatch("%d")):map(function(digit) return digit .. ";" end))
    writer:close()
    assert.equal("ab\0" .. "12.5" .. "xy" .. "1 0 " .. "1;2;", reader:read())
  end)

  it("writes very many small ones, in order with what else this task writes", function()
    local reader, writer = open()
    local reading = corun.go(function() return reader:read() end)
    local at, expected = 0, { "first\n" }
    writer:write("first\n")
    writer:writelines(function()
      at = at + 1
      expected[at + 1] = at .. "\n"
      return at <= 200000 and at .. "\n" or nil
    end)
    expected[#expected] = "last\n"
    writer:write("last\n")
    writer:close()
    assert.is_true(reading:await() == table.concat(expected))
  end)

  it("has less than high_water queued whenever it asks for the next, and waits there", function()
    local p <close> = late_counter()
    p.stdin.high_water = 50000
    local most, asked = 0, 0
    local task = waiting.start(function()
      p.stdin:writelines(function()
        most, asked = math.max(most, p.stdin.buffered), asked + 1
        if asked <= 3000 then return ("x"):rep(100) end
      end)
    end)
    waiting.wait_until("it waits", function() return task.status == "waiting" end)
    waiting.let_others_run()
    assert.equal("waiting", task.status)
    assert.is_true(asked < 3000)
    tell(p)
    task:await()
    p.stdin:close()
    assert.equal("300000\n", p.stdout:read())
    assert.is_true(most < 50000, most)
  end)

  it("takes constant memory", function()
    local result = scripts.native:run([[
      local corun = require "corun"
      local function peak() return tonumber(io.open("/proc/self/status"):read("a"):match("VmHWM:%s*(%d+)")) end
      local child = corun.spawn { "cat", stdout = "null", stderr = "null" }
      local before, left = peak(), 200000
      child.stdin:writelines(function()
        left = left - 1
        if left >= 0 then return ("x"):rep(250) .. left end
      end)
      print(peak() - before)
    ]])
    local growth = assert(tonumber(result.stdout), result.stderr) -- of 50 MB
    assert.is_true(scripts.sanitized or growth < 8 * 1024, growth .. " KiB more")
  end)

  it("sends what it has while its iterator waits", function()
    local reader, writer = open()
    local channel = corun.channel(0)
    local task = corun.go(function() writer:writelines(function() return channel:receive() end) end)
    for _, piece in ipairs { "one", "two" } do
      channel:send(piece)
      assert.equal(piece, reader:read_exactly(3))
    end
    channel:close()
    task:await()
    writer:close()
    assert.equal("", reader:read())
  end)

  it("raises what its iterator raises, and has written what came before", function()
    local reader, writer = open()
    local at = 0
    local e = raised.anything(writer.writelines, writer, function()
      at = at + 1
      if at == 3 then error("third", 0) end
      return at .. "\n"
    end)
    assert.equal("third", e)
    writer:write("after")
    writer:close()
    assert.equal("1\n2\nafter", reader:read())
  end)

  it("lets the writes of other tasks come between, each whole", function()
    local reader, writer = open()
    local reading = corun.go(function() return reader:read() end)
    corun.map({ "a", "b", "c" }, function(name)
      local left = 2000
      writer:writelines(function()
        left = left - 1
        if left % 500 == 0 then corun.sleep(0) end
        if left >= 0 then return name .. ("-"):rep(left % 300) .. "\n" end
      end)
    end)
    writer:close()
    local counts = { a = 0, b = 0, c = 0 }
    for name, rest in reading:await():gmatch("([^\n])([^\n]*)\n") do
      counts[name] = counts[name] + 1
      assert(not rest:find("[^-]"), rest)
      assert(#rest == (2000 - counts[name]) % 300, name .. counts[name])
    end
    assert.same({ a = 2000, b = 2000, c = 2000 }, counts)
  end)

  it("waits its turn behind a write that waits", function()
    local reader, writer = open()
    local big = ("x"):rep(4 * MIB)
    local first = waiting.start(function() writer:write(big, "\n") end)
    local second = waiting.start(function() writer:writelines { "a", "b" } end)
    local third = waiting.start(function() writer:write("c") end)
    assert.is_true(reader:read_line() == big)
    for _, task in ipairs { first, second, third } do task:await() end
    writer:close()
    local rest = reader:read()
    assert.is_true(rest == "abc" or rest == "acb", rest)
  end)

  it("writes into a file, and to our stdout in order with print", function()
    local path = support.directory() .. "/file"
    local file = core.open(path, "w")
    file:writelines { "one\n", "two\n" }
    assert.equal("one\ntwo\n", support.read_file(path))
    file:close()
    local result = scripts.native:run([[
      local corun = require "corun"
      io.write("a") corun.stdout:writelines { "b", "c" } io.write("d") corun.stdout:writelines(("ef"):gmatch("."))
    ]])
    assert.equal("abcdef", result.stdout, result.stderr)
  end)

  it("raises \"io\", EPIPE, once the other end is closed, and asks for no more", function()
    local reader, writer = open()
    reader:close()
    local asked = 0
    local e = raised.error("io", function()
      writer:writelines(function()
        asked = asked + 1
        return ("x"):rep(100000)
      end)
    end)
    assert.same({ "EPIPE", true }, { e.code, asked <= 3 })
    raised.error("io", function() writer:writelines { "x" } end)
  end)

  it("raises \"closed\" on a closed Writer, \"cancelled\" in a cancelled scope", function()
    local reader, writer = open()
    corun.scope(function(scope)
      scope:cancel()
      assert.equal("cancelled", raised.anything(writer.writelines, writer, { "x" }).kind)
    end)
    writer:close()
    raised.error("closed", function() writer:writelines { "x" } end)
    assert.equal("", reader:read())
  end)

  it("refuses what it cannot write, and says what it got", function()
    local reader, writer = open()
    local expected = "writelines: an iterator or a list of strings expected, got "
    assert.equal(expected .. "nil", raised.argument(function() writer:writelines() end))
    assert.equal(expected .. '"text"', raised.argument(function() writer:writelines("text") end))
    assert.equal("write: strings or numbers expected, got a table",
      raised.argument(function() writer:writelines { "a", {}, "b" } end))
    writer:close()
    assert.equal("a", reader:read())
  end)
end)
