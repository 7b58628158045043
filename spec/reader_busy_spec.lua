local corun = require "corun"
local scripts = require "spec.support.scripts"
local raised = require "spec.support.raised"
local waiting = require "spec.support.waiting"

local echo -- a cat that sends back what it gets, so that a spec decides what comes, and when

local function arrived() return (select(3, echo.stdout:_status())) end

--- Has these bytes read into the Reader, and lets who waits for them look at them.
local function send(bytes)
  local before = arrived()
  echo:write(bytes)
  waiting.wait_until("the bytes have come", function() return arrived() >= before + #bytes end)
  waiting.let_others_run()
end

local function start()
  if echo then echo:close() end
  echo = corun.spawn { "cat", stderr = "null" }
end
local function stop() echo:close() end

-- Calls that a Reader with some bytes refuses while another task reads. They are for less than that one, or for other
-- things, or would be refused for their limits.
local refused = {
  ["read(1)"] = function() echo.stdout:read(1) end,
  ["read()"] = function() echo.stdout:read() end,
  ["read_exactly(1)"] = function() echo.stdout:read_exactly(1) end,
  ["read_exactly(1000)"] = function() echo.stdout:read_exactly(1000) end,
  ["read_line"] = function() echo.stdout:read_line() end,
  ["read_line with a limit"] = function() echo.stdout:read_line { limit = 1 } end,
  ["lines"] = function() echo.stdout:lines { crlf = true, keep = true }() end,
  ["read_until of what is there"] = function() echo.stdout:read_until("b") end,
  ["read_until of another separator"] = function() echo.stdout:read_until("\n#\n", { limit = 1 }) end,
  ["records"] = function() echo.stdout:records("#")() end,
  ["nul"] = function() echo.stdout:nul()() end,
  ["count"] = function() echo.stdout:count() end,
  ["count of records"] = function() echo.stdout:count("a") end,
  ["chunks"] = function() echo.stdout:chunks(1)() end,
  ["peek"] = function() echo.stdout:peek(1) end,
  ["at_eof"] = function() echo.stdout:at_eof() end,
  ["json"] = function() echo.stdout:json { limit = 1 } end,
  ["jsonl"] = function() echo.stdout:jsonl()() end,
  ["csv"] = function() echo.stdout:csv { separator = "b", limit = 1 }() end,
  ["csv with a header"] = function() echo.stdout:csv { header = true }() end,
  ["grep"] = function() echo.stdout:grep("a", { limit = 1 })() end,
  ["grep, plain"] = function() echo.stdout:grep("b", { plain = true })() end,
  ["expect"] = function() echo.stdout:expect({ "b", "a" }, 0) end,
  ["copy_to"] = function() echo.stdout:copy_to(echo.stdin) end,
}

-- Calls that wait while there is only what is sent first; what they give after the second, and what is left then.
local waiters = {
  { "read_until", "ab\nb", "c#d\ne", function(reader) return reader:read_until("#") end, "ab\nbc", "d\ne" },
  { "read_until with a limit", "ab\nb", "c#d\ne", function(reader) return reader:read_until("#", { limit = 5 }) end,
    "ab\nbc", "d\ne" },
  { "records", "ab\nb", "c#d\ne", function(reader) return reader:records("\nbc#")() end, "ab", "d\ne" },
  { "read_line", "ab", "c\rd\r\ne", function(reader) return reader:read_line { crlf = true } end, "abc\rd", "e" },
  { "lines", "ab", "c#d\ne", function(reader) return reader:lines()() end, "abc#d", "e" },
  { "read_exactly", "ab\n", "c#d\ne", function(reader) return reader:read_exactly(5) end, "ab\nc#", "d\ne" },
  { "peek", "ab\n", "c#d\ne", function(reader) return reader:peek(5) end, "ab\nc#", "ab\nc#d\ne" },
  { "json", '["a', 'b"]\ne', function(reader) return reader:json { limit = 6 }[1] end, "ab", "\ne" },
  { "csv", 'ab,"b', 'c"\ne', function(reader) return table.concat(reader:csv()(), "|") end, "ab|bc", "e" },
  { "grep", "ab\nb", "c#d\ne", function(reader) return reader:grep("b%w#")() end, "bc#d", "e" },
  { "grep, plain", "ab\nb", "c#d\ne", function(reader) return reader:grep("c#", { plain = true })() end, "bc#d", "e" },
  { "expect", "ab\nb", "c#d\ne", function(reader) return reader:expect("b\n?b(c)").captures[1] end, "c", "#d\ne" },
}

describe("A call that is refused as \"busy\"", function()
  before_each(start)
  after_each(stop)

  for _, case in ipairs(waiters) do
    local name, first, second, read, expected, rest = table.unpack(case, 1, 6)
    it(("changes nothing for %s, nor for who reads next"):format(name), function()
      local reader = echo.stdout
      send(first)
      local task = waiting.start(read, reader)
      for what, call in pairs(refused) do
        assert.equal("busy", raised.error("busy", call).kind, what)
      end
      assert.equal("waiting", task.status)
      send(second)
      assert.equal(expected, task:await())
      echo:close_stdin()
      assert.equal(rest, reader:read())
    end)
  end

  it("leaves no separator, limit or pattern behind for a later call", function()
    local reader = echo.stdout
    for what, call in pairs(refused) do
      send("x\ny")
      local task = waiting.start(function() return pcall(reader.read_until, reader, "#", { limit = 6 }) end)
      raised.error("busy", call)
      send("zzzzz\nz")
      local _, e = task:await()
      assert.equal("limit", e.kind, what)
      assert.same({ "x", "yzzzzz" }, { reader:read_line(), reader:read_line() }, what)
      assert.equal("z", reader:read(1))
    end
  end)

  it("may come from a task that is cancelled then: the other one waits on", function()
    local reader = echo.stdout
    local task = waiting.start(function() return reader:read_line() end)
    assert.same({ nil, "timeout" }, { corun.move_on(0.001, function()
      raised.error("busy", function() reader:read_line() end)
      corun.sleep(1000)
    end) })
    send("line\n")
    assert.equal("line", task:await())
  end)

  it("does not count: close goes through, and who waits gets \"closed\"", function()
    local reader = echo.stdout
    local task = waiting.start(function() return pcall(reader.read_line, reader) end)
    raised.error("busy", function() reader:read_line() end)
    reader:close()
    assert.equal("closed", select(2, task:await()).kind)
    raised.error("closed", function() reader:read_line() end)
  end)
end)

-- In a process of its own: the collector has to come round often, and here it has much to look through.
local finalizers = [==[
  local corun = require "corun"
  local wanted = ...
  local line = "a line of text that is longer than forty characters, so no short string"
  local text = (line .. "\n"):rep(40000)
  local fields = ("x"):rep(60)
  local ways = {
    lines = { text, function(reader) return reader:lines() end, line },
    ["lines with options"] = { (text:gsub("text", "te\27[mxt")), function(reader)
      return reader:lines { ansi = "strip", utf8 = "replace" }
    end, line },
    records = { text, function(reader) return reader:records("\n") end, line },
    read_until = { text, function(reader)
      return function() return (reader:read_until("\n", { keep = true })) end
    end, line .. "\n" },
    read_exactly = { text, function(reader)
      return function() return reader:read_exactly(#line + 1) end
    end, line .. "\n" },
    grep = { text, function(reader) return reader:grep("l[i]ne") end, line },
    ["grep, plain"] = { text, function(reader) return reader:grep("text", { plain = true }) end, line },
    expect = { text, function(reader)
      return function() return reader:expect("(te)xt.-(string)\n").captures[2] end
    end, "string" },
    json = { ('["' .. line .. '"]\n'):rep(40000), function(reader)
      return function() return (reader:json() or {})[1] end
    end, line },
    csv = { ((fields .. ","):rep(300) .. fields .. "\n"):rep(400), function(reader)
      local next_record = reader:csv()
      return function()
        local record = next_record()
        return record and table.concat(record, ",")
      end
    end, (fields .. ","):rep(300) .. fields },
  }
  local bytes, iterate, expected = table.unpack(ways[wanted])
  collectgarbage("incremental", 10, 1000)
  for after = 1, 10 do
    local cat <close> = corun.spawn { "cat", input = bytes, stderr = "null" }
    local reader, count, closed = cat.stdout, 0, false
    local meta = { __gc = function()
      reader:close()
      closed = true
    end }
    local next_item = iterate(reader)
    local ok, e = pcall(function()
      for item in next_item do
        count = count + 1
        assert(item == expected, item)
        if count == after then setmetatable({}, meta) end
      end
    end)
    assert(closed and not ok and e.kind == "closed", tostring(e))
  end
  print("good")
]==]

describe("A Reader while its results are made #once", function()
  for _, name in ipairs { "lines", "lines with options", "records", "read_until", "read_exactly", "grep", "grep, plain",
    "expect", "json", "csv" } do
    it("may be closed by a finalizer, from " .. name, function()
      for _, host in ipairs(scripts.hosts) do
        local result = host:run(finalizers, { name })
        assert.same({ "good\n", "" }, { result.stdout, result.stderr })
      end
    end)
  end
end)
