local core = require "corun.core"
local corun = require "corun"
local raised = require "spec.support.raised"
local support = require "spec.support"
local waiting = require "spec.support.waiting"

local function open()
  local pipe = core.pipe()
  return pipe:reader(), pipe:writer()
end

local function numbers(count)
  local lines = {}
  for i = 1, count do lines[i] = ("%07d"):format(i) end
  return table.concat(lines, "\n") .. "\n"
end

local function file_of(bytes)
  local path = support.directory() .. "/file"
  support.write_file(path, bytes)
  return path
end

describe("Reader:tee", function()
  it("gives the Reader itself, and its bytes to the Writer, too, which stays open", function()
    local source, feed = open()
    local reader, writer = open()
    corun.scope(function()
      assert.equal(source, source:tee(writer))
      feed:write("one\n", "two")
      feed:close()
      assert.equal("one\ntwo", source:read())
      assert.equal("one\ntwo", reader:read_exactly(7))
    end)
    writer:write(" more")
    writer:close()
    assert.equal(" more", reader:read())
  end)

  it("copies as bytes come", function()
    local source, feed = open()
    local reader, writer = open()
    corun.scope(function()
      source:tee(writer)
      for _, piece in ipairs { "a", "bcd", "\n" } do
        feed:write(piece)
        assert.equal(piece, source:read_exactly(#piece))
        assert.equal(piece, reader:read_exactly(#piece))
      end
      feed:close()
    end)
    writer:close()
  end)

  it("loses no byte of much, however the Reader is read", function()
    local bytes = numbers(100000)
    for _, read in ipairs {
      function(source) return source:read() end,
      function(source)
        local lines = {}
        for line in source:lines { keep = true } do lines[#lines + 1] = line end
        return table.concat(lines)
      end,
      function(source)
        local path = support.directory() .. "/copy"
        assert.equal(#bytes, source:copy_to { file = path })
        return support.read_file(path)
      end,
    } do
      local child <close> = corun.spawn { "cat", file_of(bytes), stdin = "null", stderr = "null" }
      local reader, writer = open()
      local reading = corun.go(function() return reader:read() end)
      corun.scope(function() assert.is_true(read(child.stdout:tee(writer)) == bytes) end)
      writer:close()
      assert.is_true(reading:await() == bytes)
    end
  end)

  it("may be to a child and to several Readers' one Writer", function()
    local sort <close> = corun.spawn { "sort", stderr = "null" }
    corun.scope(function()
      for i = 1, 3 do
        local child = corun.spawn { "echo", i, stdin = "null", stderr = "null" }
        child.stdout:tee(sort.stdin)
        assert.equal(i .. "\n", child.stdout:read())
      end
    end)
    sort:close_stdin()
    assert.equal("1\n2\n3\n", sort.stdout:read())
  end)

  it("is left out once nobody reads the Writer's other end, and may be followed by another", function()
    local source, feed = open()
    local reader, writer = open()
    local second, to_second = open()
    corun.scope(function()
      source:tee(writer)
      reader:close()
      feed:write("one\n")
      assert.equal("one", source:read_line())
      waiting.wait_until("the Writer knows", function() return writer:is_closing() end)
      waiting.let_others_run()
      source:tee(to_second)
      feed:write("two\n")
      assert.equal("two", source:read_line())
      assert.equal("two", second:read_line())
    end)
    to_second:close()
  end)

  it("ends with its scope, when what has come so far is out", function()
    local source, feed = open()
    local reader, writer = open()
    corun.scope(function()
      source:tee(writer)
      feed:write("inside")
      assert.equal("inside", source:read_exactly(6))
    end)
    feed:write("outside")
    feed:close()
    assert.equal("outside", source:read())
    writer:close()
    assert.equal("inside", reader:read())
  end)

  it("is given up a second after the end of its scope where the Writer takes no more #once", function()
    local deaf <close> = corun.spawn { support.fixture "ready", stdout = "null", stderr = "null" }
    local child <close> = corun.spawn { "cat", file_of(numbers(50000)), stdin = "null", stderr = "null" }
    corun.scope(function()
      assert.equal(400000, #child.stdout:tee(deaf.stdin):read())
    end)
    assert.equal(0, deaf.stdin.buffered)
  end)

  it("ends with the Reader when that is closed", function()
    local source, feed = open()
    local reader, writer = open()
    corun.scope(function()
      source:tee(writer)
      feed:write("text")
      assert.equal("te", source:read_exactly(2))
      source:close()
    end)
    writer:close()
    assert.equal("text", reader:read())
  end)

  it("has an error of the Writer in its scope", function()
    local source, feed = open()
    local _, writer = open()
    writer:close()
    local e = raised.anything(corun.scope, function()
      source:tee(writer)
      feed:write("text")
      corun.sleep(1)
    end)
    assert.equal("closed", e.kind)
    assert.equal("text", source:read(10)) -- which is not the Reader's
  end)

  it("raises \"busy\" where there is one already", function()
    local source, feed = open()
    local _, writer = open()
    corun.scope(function()
      source:tee(writer)
      raised.has(raised.error("busy", function() source:tee(writer) end).message, "tee")
      feed:close()
    end)
    writer:close()
  end)

  it("takes a Writer and nothing else", function()
    local source, expected = open(), "tee: a Writer expected, got "
    assert.equal(expected .. "nil", raised.argument(function() source:tee() end))
    assert.equal(expected .. '"path"', raised.argument(function() source:tee("path") end))
    assert.equal(expected .. "a table", raised.argument(function() source:tee { file = "path" } end))
    assert.equal(expected .. "a userdata", raised.argument(function() source:tee(source) end))
    source:close()
  end)
end)

describe("The option tee", function()
  it("= Writer copies stdout, not stderr, there, and leaves it open", function()
    local reader, writer = open()
    local command = corun.command { "sh", "-c", "echo out; echo err >&2", tee = writer }
    for _ = 1, 2 do
      local result = command:run()
      assert.same({ "out\n", "err\n" }, { result.stdout, result.stderr })
    end
    writer:write("end")
    writer:close()
    assert.equal("out\nout\nend", reader:read())
  end)

  it("= {file = …} copies it into the file, all of it when run returns", function()
    local path, bytes = support.directory() .. "/copy", numbers(100000)
    assert.is_true(corun.run({ "cat", file_of(bytes), tee = { file = path } }).stdout == bytes)
    assert.is_true(support.read_file(path) == bytes)
    corun.run { "echo", "new", tee = { file = path } }
    assert.equal("new", corun.capture { "cat", path })
    corun.run { "echo", "added", tee = { file = path, append = true, mode = "600" } }
    assert.equal("new\nadded", corun.capture { "cat", path })
  end)

  it("gives a new file its mode", function()
    local path = support.directory() .. "/copy"
    corun.run { "true", tee = { file = path, mode = "600" } }
    assert.equal("600", corun.capture { "stat", "-c", "%a", path })
  end)

  it("copies all, however little is kept", function()
    local bytes = numbers(100000)
    for _, overflow in ipairs { "truncate", "spill" } do
      local path = support.directory() .. "/copy"
      corun.run { "cat", file_of(bytes), tee = { file = path }, limit = 1000, overflow = overflow }
      assert.is_true(support.read_file(path) == bytes)
    end
  end)

  it("copies what was merged, in its order", function()
    local path = support.directory() .. "/copy"
    corun.run { "sh", "-c", "echo a; echo b >&2; echo c", stderr = "stdout", tee = { file = path } }
    assert.equal("a\nb\nc\n", support.read_file(path))
  end)

  it("copies what a spawned child prints, as it is read, and what a failed one has printed", function()
    local reader, writer = open()
    local child <close> = corun.spawn { "sh", "-c", "echo one; read -r line; echo $line", tee = writer }
    assert.equal("one", child.stdout:read_line())
    assert.equal("one", reader:read_line())
    child:write("two\n")
    assert.equal("two", reader:read_line())
    corun.run { "sh", "-c", "echo three; exit 3", tee = writer, check = false }
    assert.equal("three", reader:read_line())
    writer:close()
  end)

  it("is named when it is wrong, before anything starts", function()
    local expected = "option 'tee': true, a prefix, a Writer or {file = path} expected, got "
    assert.equal(expected .. "1", raised.argument(function() corun.run { "true", tee = 1 } end))
    assert.equal(expected .. "a function", raised.argument(function() corun.run { "true", tee = print } end))
    assert.matches("option 'tee': {file = path} expected, got file = nil",
      raised.argument(function() corun.run { "true", tee = {} } end), 1, true)
    assert.equal("option 'tee': unknown field \"path\"",
      raised.argument(function() corun.run { "true", tee = { path = "x" } } end))
  end)
end)
