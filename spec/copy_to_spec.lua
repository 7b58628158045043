local core = require "corun.core"
local corun = require "corun"
local raised = require "spec.support.raised"
local scripts = require "spec.support.scripts"
local support = require "spec.support"
local waiting = require "spec.support.waiting"

local function open()
  local pipe = core.pipe()
  return pipe:reader(), pipe:writer()
end

--- Bytes that do not repeat where a lost or doubled one could hide.
local function numbers(count)
  local lines = {}
  for i = 1, count do lines[i] = ("%07d"):format(i) end
  return table.concat(lines, "\n") .. "\n"
end

local function new_path() return support.directory() .. "/file" end

local function file_of(bytes)
  local path = new_path()
  support.write_file(path, bytes)
  return path
end

--- A child that prints this file.
local function printing(path) return corun.spawn { "cat", path, stdin = "null", stderr = "null" } end

describe("Reader:copy_to a Writer", function()
  it("moves all to another child's stdin, returns how much that was, and leaves the Writer open", function()
    local bytes = numbers(100000)
    local from <close> = printing(file_of(bytes))
    local to <close> = corun.spawn { "cat", stderr = "null" }
    local reading = corun.go(function() return to.stdout:read() end)
    assert.equal(#bytes, from.stdout:copy_to(to.stdin))
    to.stdin:write("more"):close()
    assert.is_true(reading:await() == bytes .. "more")
  end)

  it("begins with the bytes that were read ahead, less those that were taken", function()
    local from <close> = corun.spawn { "printf", "one\ntwo\nthree", stdin = "null", stderr = "null" }
    from:wait_closed()
    assert.equal("one", from.stdout:read_line())
    local reader, writer = open()
    assert.equal(9, from.stdout:copy_to(writer))
    assert.equal("two\nthree", reader:read_exactly(9))
  end)

  it("comes after what is queued in the Writer", function()
    local first, bytes = ("a"):rep(1500000), numbers(50000)
    local reader, writer = open()
    local from <close> = printing(file_of(bytes))
    writer.high_water = 2000000
    writer:write(first)
    assert.is_true(writer.buffered > 0)
    local copy = waiting.start(function() return from.stdout:copy_to(writer) end)
    assert.is_true(reader:read_exactly(#first) == first)
    assert.is_true(reader:read_exactly(#bytes) == bytes)
    assert.equal(#bytes, copy:await())
  end)

  it("waits while nobody reads, with no more in memory than the pipes hold", function()
    local flood <close> = corun.spawn { "yes", stdin = "null", stderr = "null" }
    local deaf <close> = corun.spawn { support.fixture "ready", stdout = "null", stderr = "null" }
    local copy = waiting.start(function() flood.stdout:copy_to(deaf.stdin) end)
    waiting.wait_until("the child blocks", function() return support.process_state(flood.pid) == "S" end)
    waiting.let_others_run()
    assert.equal("waiting", copy.status)
    assert.equal(0, deaf.stdin.buffered)
    assert.is_true(tonumber(tostring(flood.stdout):match("(%d+) bytes")) <= 1 << 20)
    copy:cancel()
  end)

  it("raises \"io\", EPIPE, when nobody reads the other end, and what was not copied can be read", function()
    local bytes = numbers(400000) -- more than the Reader reads ahead
    for _, options in ipairs { {}, { lines = true } } do
      local from <close> = printing(file_of(bytes))
      local reader, writer = open()
      local copy = waiting.start(function()
        return raised.error("io", function() from.stdout:copy_to(writer, options) end)
      end)
      assert.is_true(bytes:sub(1, 1000) == reader:read_exactly(1000))
      reader:close()
      assert.equal("EPIPE", copy:await().code)
      local rest = from.stdout:read()
      assert.is_true(rest == bytes:sub(-#rest) and #rest < #bytes)
      assert.is_true(writer:is_closing())
    end
  end)

  it("raises \"closed\" on a closed Reader or Writer, and takes nothing then", function()
    local source, feed = open()
    local _, writer = open()
    feed:write("text")
    writer:close()
    raised.error("closed", function() source:copy_to(writer) end)
    assert.equal("text", source:read(10))
    source:close()
    local _, good = open()
    raised.error("closed", function() source:copy_to(good) end)
  end)

  it("lets no second task read, and raises \"closed\" when the Reader is closed under it", function()
    local source, feed = open()
    local reader, writer = open()
    local copy = waiting.start(function() return raised.error("closed", function() source:copy_to(writer) end) end)
    feed:write("text")
    assert.equal("text", reader:read_exactly(4))
    raised.error("busy", function() source:read(1) end)
    raised.error("busy", function() source:copy_to(writer) end)
    source:close()
    assert.matches("Reader is closed", copy:await().message)
    assert.equal("usable", writer:write("usable") and reader:read(10))
  end)
end)

describe("Reader:copy_to a file", function()
  it("makes it or empties it, or adds to its end with append; and returns how much was copied", function()
    local path = new_path()
    for _, bytes in ipairs { numbers(100000), "short " } do
      local from <close> = printing(file_of(bytes))
      assert.equal(#bytes, from.stdout:copy_to { file = path })
      assert.is_true(support.read_file(path) == bytes)
    end
    local from <close> = printing(file_of(numbers(50000)))
    assert.equal(400000, from.stdout:copy_to { file = path, append = true })
    assert.is_true(support.read_file(path) == "short " .. numbers(50000))
  end)

  it("gives a new one that mode", function()
    for mode, shown in pairs { ["600"] = "600", [tonumber("640", 8)] = "640" } do
      local path = new_path()
      core.string_reader("x"):copy_to { file = path, mode = mode }
      assert.equal(shown, corun.capture { "stat", "-c", "%a", path })
    end
  end)

  it("raises \"io\" where it cannot be opened or written, and takes nothing then", function()
    local source = core.string_reader("text")
    local e = raised.error("io", function() source:copy_to { file = "/nowhere/file" } end)
    assert.equal("ENOENT", e.code)
    raised.has(e.message, "'/nowhere/file'")
    local from <close> = corun.spawn { "echo", "x", stdin = "null", stderr = "null" }
    assert.equal("ENOSPC", raised.error("io", function() from.stdout:copy_to { file = "/dev/full" } end).code)
    assert.equal("ENOSPC", raised.error("io", function() source:copy_to { file = "/dev/full" } end).code)
    assert.equal("text x\n", source:read() .. " " .. from.stdout:read())
  end)

  it("may be from a file, and from a file into a pipe", function()
    local bytes = numbers(200000)
    local from, path = file_of(bytes), new_path()
    assert.equal(#bytes, core.open(from, "r"):copy_to { file = path })
    assert.is_true(support.read_file(path) == bytes)
    local source, reader, writer = core.open(path, "r"), open()
    assert.equal("0000001\n", source:read(8))
    local reading = corun.go(function() return reader:read() end)
    assert.equal(#bytes - 8, source:copy_to(writer))
    writer:close()
    assert.is_true(reading:await() == bytes:sub(9))
  end)
end)

describe("Reader:copy_to with lines = true", function()
  it("keeps the lines of several children whole, and adds the newline that a last one has not", function()
    local reader, writer = open()
    local script = "i=0; while [ $i -lt 2000 ]; do i=$((i + 1)); echo $0-$i-end; done; printf $0-last-end"
    local all = corun.go(function()
      local counts = corun.map({ 1, 2, 3 }, function(i)
        local child <close> = corun.spawn { "sh", "-c", script, i, stdin = "null", stderr = "null" }
        return child.stdout:copy_to(writer, { lines = true })
      end)
      writer:close()
      return counts[1] + counts[2] + counts[3]
    end)
    local seen, bytes = { 0, 0, 0 }, 0
    for line in reader:lines() do
      local child, number = line:match("^(%d)%-(%w+)%-end$")
      child, bytes = assert(tonumber(child), line), bytes + #line + 1
      seen[child] = seen[child] + 1
      assert(number == (seen[child] <= 2000 and tostring(seen[child]) or "last"), line)
    end
    assert.same({ 2001, 2001, 2001 }, seen)
    assert.equal(bytes, all:await())
  end)

  it("lets others write between two lines, but not inside of one that is longer than the pipe", function()
    local long = ("x"):rep(3000000)
    local from <close> = printing(file_of(long .. "\nshort\n"))
    local reader, writer = open()
    local copy = waiting.start(function() return from.stdout:copy_to(writer, { lines = true }) end)
    assert.equal("x", reader:read_exactly(1)) -- it is in the middle of the line
    local other = waiting.start(function() writer:write("other\n") end)
    assert.is_true(reader:read_line() == long:sub(2))
    local rest = { reader:read_line(), reader:read_line() }
    table.sort(rest)
    assert.same({ "other", "short" }, rest)
    assert.equal(#long + 7, copy:await())
    other:await()
  end)

  it("holds back a line that has not ended, and gives the next its turn meanwhile", function()
    local source, feed = open()
    local reader, writer = open()
    local copy = waiting.start(function() return source:copy_to(writer, { lines = true }) end)
    feed:write("whole\npart")
    assert.equal("whole", reader:read_line())
    writer:write("other\n")
    feed:write("ial\nlast")
    assert.equal("other", reader:read_line())
    assert.equal("partial", reader:read_line())
    feed:close()
    assert.equal(#"whole\npartial\nlast\n", copy:await())
    assert.equal("last\n", reader:read(10))
  end)

  it("adds no newline to one that ends with it, nor to nothing", function()
    local reader, writer = open()
    assert.equal(2, core.string_reader("a\n"):copy_to(writer, { lines = true }))
    assert.equal(0, core.string_reader(""):copy_to(writer, { lines = true }))
    assert.equal(1, core.string_reader("\n"):copy_to(writer, { lines = true }))
    assert.equal(2, core.string_reader("b"):copy_to(writer, { lines = true }))
    writer:close()
    assert.equal("a\n\nb\n", reader:read())
  end)
end)

describe("A Reader:copy_to that is cancelled or out of time", function()
  it("has lost no byte and doubled none, however often it goes on", function()
    local bytes = numbers(100000)
    for _, options in ipairs { {}, { lines = true } } do
      local from <close> = printing(file_of(bytes))
      local reader, writer = open()
      local reading = waiting.start(function() return reader:read() end)
      local breaks, count = 0, nil
      while not count do
        local copy = corun.go(function() return from.stdout:copy_to(writer, options) end)
        for _ = 1, breaks % 7 + 1 do corun.sleep(0) end
        copy:cancel()
        count = corun.try(copy.await, copy)
        breaks = breaks + 1
      end
      writer:close()
      assert.is_true(reading:await() == bytes)
      assert.is_true(breaks > 1)
    end
  end)

  it("goes on in the Reader where the Writer has got to, and leaves both usable", function()
    local flood <close> = corun.spawn { "seq", "inf", stdin = "null", stderr = "null" }
    local reader, writer = open()
    raised.error("timeout", function() corun.timeout(0.01, flood.stdout.copy_to, flood.stdout, writer) end)
    local rest = flood.stdout:read_until("\n")
    corun.go(function() writer:write(rest, "\n"):close() end)
    local count = 0
    for line in reader:lines() do
      count = count + 1
      assert(line == tostring(count))
    end
    assert.equal(tostring(count + 1), flood.stdout:read_line())
  end)
end)

describe("Reader:copy_to in a script", function()
  for _, host in ipairs(scripts.hosts) do
    it("from our stdin to our stdout, in order with print, under " .. host.name, function()
      local bytes = numbers(50000)
      local result = host:run([[
        local corun = require "corun"
        print(corun.stdin:read_line())
        print(corun.stdin:copy_to(corun.stdout))
      ]], { input = "first\n" .. bytes })
      assert.is_true(result.stdout == "first\n" .. bytes .. #bytes .. "\n", result.stderr)
    end)
  end
end)

describe("The arguments of Reader:copy_to", function()
  it("are named when they are wrong, before anything is made or read", function()
    local source, path = core.string_reader("text"), new_path()
    local function message(...)
      local arguments = table.pack(...)
      return raised.argument(function() source:copy_to(table.unpack(arguments, 1, arguments.n)) end)
    end
    local expected = "copy_to: a Writer or {file = path} expected, got "
    assert.same({ expected .. "nil", expected .. '"a"', expected .. "a table", expected .. "a userdata" },
      { message(), message("a"), message {}, message(source) })
    assert.equal('copy_to: option \'file\': a path expected, got ""', message { file = "" })
    assert.equal("copy_to: option 'append': true or false expected, got 1", message { file = path, append = 1 })
    assert.equal("copy_to: option 'mode': a number or octal digits as a string expected, got \"9\"",
      message { file = path, mode = "9" })
    assert.equal('copy_to: unknown option "read"', message { file = path, read = true })
    assert.equal("copy_to: option 'lines': true or false expected, got 1", message({ file = path }, { lines = 1 }))
    assert.equal('copy_to: unknown option "line"', message({ file = path }, { line = true }))
    assert.equal("copy_to: a table of options expected, got true", message({ file = path }, true))
    assert.is_nil(support.read_file(path))
    assert.equal("text", source:read())
  end)
end)
