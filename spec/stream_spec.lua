local core = require "corun.core"
local corun = require "corun"
local raised = require "spec.support.raised"
local waiting = require "spec.support.waiting"

local function reader_of(bytes) return core.string_reader(bytes) end

local function lines(...) return reader_of(table.concat({ ... }, "\n") .. "\n") end

--- An iterator that counts, how often it was asked, in a table.
local function counter(last)
  local state = { asked = 0 }
  return function()
    state.asked = state.asked + 1
    if state.asked <= last then return state.asked end
  end, state
end

--- The first values that the iterator gives.
local function all(iterator)
  local list = {}
  for value in iterator do list[#list + 1] = value end
  return list
end

describe("corun.stream", function()
  it("gives what an iterator gives, all values of it, and its end", function()
    local given = { { 1, "a", nil, "z" }, { false }, { 2 } }
    local at = 0
    local stream = corun.stream(function()
      at = at + 1
      if given[at] then return table.unpack(given[at], 1, 4) end
    end)
    assert.same({ n = 4, 1, "a", nil, "z" }, table.pack(stream()))
    assert.is_false((stream()))
    assert.equal(2, (stream()))
    assert.is_nil((stream()))
  end)

  it("takes what can be called: another stream, a channel, an object", function()
    local object = setmetatable({ left = 2 }, {
      __call = function(self)
        self.left = self.left - 1
        if self.left >= 0 then return self.left end
      end,
    })
    assert.same({ 1, 0 }, all(corun.stream(object)))
    assert.same({ 1, 2, 3 }, all(corun.stream(corun.stream((counter(3))))))
    local channel = corun.channel(3)
    for _, value in ipairs { 1, false, 3 } do channel:send(value) end
    channel:close()
    assert.same({ "1", "false", "3" }, all(corun.stream(channel):map(tostring)))
  end)

  it("refuses what is no iterator", function()
    for _, wrong in ipairs { 5, "text", true } do
      assert.equal(("stream: an iterator expected, got %s"):format(wrong == "text" and '"text"' or wrong),
        raised.argument(function() corun.stream(wrong) end))
    end
    assert.equal("stream: an iterator expected, got nil", raised.argument(function() corun.stream() end))
    assert.equal("stream: an iterator expected, got a table", raised.argument(function() corun.stream { 1 } end))
  end)
end)

describe("map", function()
  it("gives what the function makes of each item and its further values", function()
    local at = 0
    local pairs_of = corun.stream(function()
      at = at + 1
      if at <= 3 then return at, at * 10 end
    end)
    local got = {}
    for a, b in pairs_of:map(function(...) return select("#", ...), ... end) do got[#got + 1] = { a, b } end
    assert.same({ { 2, 1 }, { 2, 2 }, { 2, 3 } }, got)
  end)

  it("leaves out what becomes nil, and keeps what becomes false", function()
    local made = corun.stream((counter(6))):map(function(n)
      if n % 2 == 0 then return n % 4 == 0 end
    end)
    assert.same({ false, true, false }, all(made))
  end)

  it("leaves out very many in a row", function()
    local found = corun.stream((counter(300000))):map(function(n) if n == 300000 then return n end end)
    assert.equal(300000, found())
    assert.is_nil(found())
  end)

  it("raises what the function raises, and goes on with the next item", function()
    local stream = corun.stream((counter(3))):map(function(n)
      if n == 2 then error("two", 0) end
      return n
    end)
    assert.equal(1, stream())
    assert.equal("two", raised.anything(stream))
    assert.equal(3, stream())
    assert.is_nil(stream())
  end)

  it("may wait in the function while others run", function()
    local channel = corun.channel(0)
    local task = waiting.start(function()
      return all(corun.stream((counter(2))):map(function(n) return n .. channel:receive() end))
    end)
    assert.equal("waiting", task.status)
    channel:send("a")
    waiting.let_others_run()
    assert.equal("waiting", task.status)
    channel:send("b")
    assert.same({ "1a", "2b" }, task:await())
  end)
end)

describe("filter", function()
  it("gives the items for which the function is true, with all their values", function()
    local got = {}
    for line, note in lines("a", "b", "c"):map(function(line) return line, line:rep(2) end)
      :filter(function(_, note) return note ~= "bb" end) do got[#got + 1] = line .. note end
    assert.same({ "aaa", "ccc" }, got)
  end)

  it("takes any value but nil and false for true, and passes on a false item", function()
    assert.same({ "a" }, all(lines("a"):filter(function() return 0 end)))
    assert.same({}, all(lines("a"):filter(function() return nil end)))
    local given = { false, true, false }
    local at = 0
    local stream = corun.stream(function()
      at = at + 1
      return given[at]
    end)
    assert.same({ false, false }, all(stream:filter(function(item) return item == false end)))
  end)
end)

describe("take", function()
  it("gives the first items, and asks for no more", function()
    local iterator, state = counter(10)
    assert.same({ 1, 2, 3 }, all(corun.stream(iterator):take(3)))
    assert.equal(3, state.asked)
    assert.same({}, all(corun.stream(iterator):take(0)))
    assert.equal(3, state.asked)
  end)

  it("gives all where there are fewer", function()
    assert.same({ 1, 2 }, all(corun.stream((counter(2))):take(5)))
  end)

  it("leaves the rest of a Reader in it", function()
    local reader = reader_of("1\n2\n3\nrest")
    assert.same({ "1", "2" }, all(reader:take(2)))
    assert.equal("3\nrest", reader:read())
  end)

  it("does not wait for an item that nobody will get", function()
    local pipe = core.pipe()
    local reader, writer = pipe:reader(), pipe:writer()
    writer:write("only\n")
    assert.same({ "only" }, all(reader:take(1)))
    writer:close()
    reader:close()
  end)
end)

describe("batch", function()
  it("gives lists of that many, the last one shorter", function()
    assert.same({ { 1, 2 }, { 3, 4 }, { 5 } }, all(corun.stream((counter(5))):batch(2)))
    assert.same({ { 1, 2 }, { 3, 4 } }, all(corun.stream((counter(4))):batch(2)))
    assert.same({ { 1 }, { 2 } }, all(corun.stream((counter(2))):batch(1)))
    assert.same({}, all(corun.stream((counter(0))):batch(3)))
  end)

  it("keeps false items, and of each the first value", function()
    local given = { false, true, false }
    local at = 0
    local stream = corun.stream(function()
      at = at + 1
      return given[at], "second"
    end)
    assert.same({ { false, true }, { false } }, all(stream:batch(2)))
  end)

  it("asks for no item of the next list", function()
    local iterator, state = counter(10)
    assert.same({ 1, 2, 3 }, corun.stream(iterator):batch(3)())
    assert.equal(3, state.asked)
  end)
end)

describe("timestamps", function()
  it("adds when each item was read, behind its values", function()
    local before = core.time()
    local got = {}
    for line, other, time in lines("a", "b"):map(function(line) return line, false end):timestamps() do
      got[#got + 1] = { line, other }
      assert.is_true(time >= before and time <= core.time())
    end
    assert.same({ { "a", false }, { "b", false } }, got)
  end)

  it("counts a nil among the values", function()
    local stream = corun.stream(function() return 1, nil, nil end):timestamps()
    local values = table.pack(stream())
    assert.equal(4, values.n)
    assert.equal("number", type(values[4]))
  end)

  it("gives the time of reading, not of the call", function()
    local pipe = core.pipe()
    local reader, writer = pipe:reader(), pipe:writer()
    local task = waiting.start(function() return select(2, reader:timestamps()()) end)
    corun.sleep(0.002)
    local sent = core.time()
    writer:write("late\n")
    assert.is_true(task:await() >= sent)
    writer:close()
    reader:close()
  end)
end)

describe("Adapters of a Reader", function()
  it("are over its lines, and compose", function()
    local child <close> = corun.spawn { "seq", "100", stdin = "null", stderr = "null" }
    local got = child.stdout:map(tonumber):filter(function(n) return n % 7 == 0 end):take(5):batch(2)
    assert.same({ { 7, 14 }, { 21, 28 }, { 35 } }, all(got))
    assert.equal("36", child.stdout:read_line())
  end)

  it("read on where a loop over another was left", function()
    local reader = lines("1", "2", "3", "4", "5", "6")
    for line in reader:map(function(line) return line end) do
      if line == "2" then break end
    end
    assert.same({ "3", "4" }, reader:batch(2)())
    assert.equal("5", reader:filter(function() return true end)())
    assert.equal("6\n", reader:read())
  end)

  it("take the last line without newline, and none of an empty stream", function()
    assert.same({ "a", "b" }, all(reader_of("a\nb"):map(function(line) return line end)))
    assert.same({}, all(reader_of(""):batch(2)))
    assert.same({ "", "" }, all(reader_of("\n\n"):filter(function(line) return line == "" end)))
  end)

  it("raise what the Reader raises", function()
    local reader = lines("1", "2")
    local stream = reader:map(function(line) return line end)
    assert.equal("1", stream())
    reader:close()
    raised.error("closed", function() stream() end)
  end)

  it("have read no line that a time limit has ended the wait for", function()
    local pipe = core.pipe()
    local reader, writer = pipe:reader(), pipe:writer()
    local stream = reader:map(string.upper):filter(function() return true end)
    writer:write("one\ntw")
    assert.equal("ONE", stream())
    raised.error("timeout", function() corun.timeout(0.001, function() stream() end) end)
    writer:write("o\n")
    assert.equal("TWO", stream())
    writer:close()
    reader:close()
  end)

  it("can be had over other formats by corun.stream", function()
    local reader = reader_of('{"n":1}\n{"n":2}\nno json\n{"n":4}\n')
    local stream = corun.stream(reader:jsonl()):map(function(value) return value.n end)
    assert.equal(1, stream())
    assert.equal(2, stream())
    assert.equal(3, raised.anything(stream).record)
    assert.equal(4, stream())
    assert.same({ { { "a", "b" }, { "c", "d" } } }, all(corun.stream(reader_of("a,b\nc,d\n"):csv()):batch(2)))
  end)

  it("refuse wrong arguments when they are made", function()
    local reader = lines("1")
    assert.equal("map: a function expected, got nil", raised.argument(function() reader:map() end))
    assert.equal('filter: a function expected, got "x"', raised.argument(function() reader:filter("x") end))
    for _, wrong in ipairs { -1, 1.5, "2" } do
      local shown = wrong == "2" and '"2"' or wrong
      assert.equal("take: a whole number, 0 or more, expected, got " .. shown,
        raised.argument(function() reader:take(wrong) end))
      assert.equal("batch: a whole number, 1 or more, expected, got " .. shown,
        raised.argument(function() reader:batch(wrong) end))
    end
    assert.equal("batch: a whole number, 1 or more, expected, got 0", raised.argument(function() reader:batch(0) end))
    assert.equal("1\n", reader:read())
  end)
end)
