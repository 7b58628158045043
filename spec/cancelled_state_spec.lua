--- What a cancelled operation leaves behind in streams: no byte is lost, none is there twice.

local corun = require "corun"
local raised = require "spec.support.raised"
local support = require "spec.support"
local waiting = require "spec.support.waiting"

local MIB = 1 << 20

local function buffered(reader) return tonumber(tostring(reader):match("(%d+) bytes buffered")) end

--- Runs fn in a task, cancels that once it waits, and gives the Error.
local function cancel(fn)
  local task = corun.go(function() return pcall(fn) end)
  waiting.wait_until("the task waits", function()
    waiting.let_others_run()
    return task.status ~= "ready"
  end)
  assert.equal("waiting", task.status)
  task:cancel("why")
  local ok, e = task:await(10)
  assert.is_false(ok)
  assert.equal("cancelled", e.kind)
  assert.equal("why", e.reason)
  return e
end

--- Runs fn in a time limit that expires.
local function time_out(fn)
  raised.error("timeout", function() corun.timeout(0.002, fn) end)
end

describe("A Reader", function()
  local echo -- a cat that sends back what it gets
  before_each(function() echo = corun.spawn { "cat", stderr = "null" } end)
  after_each(function() echo:close() end)

  --- Sends these bytes and waits until the Reader holds so many.
  local function send(bytes, count)
    echo:write(bytes)
    waiting.wait_until(count .. " bytes are there", function() return buffered(echo.stdout) == count end)
  end

  -- Each waits for more than "ab\r", by the name of what is called.
  local operations = {
    ["read()"] = function(reader) return reader:read() end,
    ["read_exactly"] = function(reader) return reader:read_exactly(9) end,
    ["read_exactly of more than it holds otherwise"] = function(reader) return reader:read_exactly(3 * MIB) end,
    ["read_until"] = function(reader) return reader:read_until("\r\n--") end,
    ["read_line"] = function(reader) return reader:read_line() end,
    ["read_line with options"] = function(reader) return reader:read_line { crlf = true, keep = true, limit = 100 } end,
    ["peek"] = function(reader) return reader:peek(9) end,
    ["lines"] = function(reader) return (reader:lines { crlf = true })() end,
    ["Process:lines"] = function() return echo:lines()() end,
    ["read_line in a coroutine"] = function(reader)
      return coroutine.wrap(function() return reader:read_line() end)()
    end,
    ["read_line in table.sort"] = function(reader)
      table.sort({ 2, 1 }, function() return reader:read_line() end)
    end,
  }

  for name, operation in pairs(operations) do
    it("keeps what had come when " .. name .. " is cancelled", function()
      send("ab\r", 3)
      cancel(function() operation(echo.stdout) end)
      assert.equal(3, buffered(echo.stdout))
      send("\n--c", 7)
      assert.equal("ab", echo.stdout:peek(2))
      assert.equal("ab\r", echo.stdout:read_until("\n--"))
      echo:close_stdin()
      assert.equal("c", echo.stdout:read())
      assert.is_true(echo.stdout:at_eof())
    end)

    it("keeps it when a time limit ends " .. name .. ", each time", function()
      send("ab\r", 3)
      for _ = 1, 3 do time_out(function() operation(echo.stdout) end) end
      send("\n", 4)
      assert.equal("ab", echo.stdout:read_line { crlf = true })
    end)
  end

  it("has given what an iterator of lines had given, and goes on with the next line", function()
    local lines = {}
    send("one\ntwo\nthr", 11)
    cancel(function()
      for line in echo.stdout:lines() do lines[#lines + 1] = line end
    end)
    echo:write("ee\nfour")
    echo:close_stdin()
    for line in echo.stdout:lines() do lines[#lines + 1] = line end
    assert.same({ "one", "two", "three", "four" }, lines)
  end)

  it("has lost nothing when its lines are cancelled over and over while they come", function()
    local count, sum, rounds = 0, 0, 0
    local numbers <close> = corun.spawn { "seq", 20000, stderr = "null" }
    repeat
      rounds = rounds + 1
      corun.sleep(0)
      local at_end = corun.move_on(0.0001 * (rounds % 4), function()
        for line in numbers.stdout:lines() do
          count, sum = count + 1, sum + tonumber(line)
          if count % 500 == 0 then corun.sleep(0) end
        end
        return true
      end)
    until at_end
    assert.equal(20000, count)
    assert.equal(20000 * 20001 // 2, sum)
    assert.is_true(rounds > 1)
  end)

  it("can be read by the next task as soon as the cancelled one has run", function()
    local task = corun.go(function() return pcall(echo.stdout.read_line, echo.stdout) end)
    waiting.let_others_run()
    task:cancel()
    task:await()
    local other = corun.go(function() return echo.stdout:read_line() end)
    echo:write("line\n")
    assert.equal("line", other:await(10))
  end)

  it("holds no more than its high water again when a large read was cancelled", function()
    local flood <close> = corun.spawn { "yes", stderr = "null" }
    corun.scope(function(scope)
      local reading = scope:go(function() flood.stdout:read_exactly(1 << 30) end)
      waiting.wait_until("much is there", function() return buffered(flood.stdout) > 2 * MIB end)
      reading:cancel()
    end)
    local held = buffered(flood.stdout)
    waiting.let_others_run()
    corun.sleep(0.005)
    assert.equal(held, buffered(flood.stdout))
    assert.equal("y\ny\n", flood.stdout:read(4))
  end)

  it("that was read in an already cancelled scope has given nothing", function()
    send("one\ntwo\n", 8)
    corun.scope(function(scope)
      scope:cancel()
      local next_line, next_chunk, next_of_both = echo.stdout:lines(), echo.stdout:chunks(), echo:lines()
      for _, read in ipairs {
        function() echo.stdout:read_line() end, function() echo.stdout:read(1) end, function() echo.stdout:peek(1) end,
        function() next_line() end, function() next_chunk() end, function() next_of_both() end,
      } do
        raised.error("cancelled", read)
      end
    end)
    assert.equal(8, buffered(echo.stdout))
    assert.equal("one", echo.stdout:read_line())
  end)
end)

describe("A line function", function()
  it("that is cancelled with its scope has been given each line at most once", function()
    local lines = {}
    local task = corun.go(corun.scope, function(scope)
      scope:spawn {
        "sh", "-c", "echo one; echo two; exec sleep 1000", stderr = "null", grace = 0.5,
        stdout = function(line)
          lines[#lines + 1] = line
          if line == "two" then scope:cancel("enough") end
        end,
      }
      corun.sleep(1000)
    end)
    assert.same({ nil, "enough", n = 2 }, table.pack(task:await(10)))
    assert.same({ "one", "two" }, lines)
  end)
end)

describe("Process:communicate", function()
  it("that is cancelled leaves the process alone, and the next one gives the whole", function()
    local p <close> = corun.spawn { "sh", "-c", "echo one; read -r line; echo $line; read -r go <&3; echo three",
      fds = { [3] = "input" } }
    local e = cancel(function() p:communicate("two\n") end)
    assert.is_nil(e.result)
    assert.is_nil(p.status)
    p.fds[3]:write("go\n")
    assert.equal("one\ntwo\nthree\n", p:communicate(nil, 10).stdout)
  end)
end)

describe("corun.run", function()
  it("that is cancelled has stopped its process, and the Error has what came before", function()
    local said = support.directory() .. "/said"
    local task = corun.go(function()
      return pcall(corun.run, { "sh", "-c", "echo $$; echo to stderr >&2; : >'" .. said .. "'; exec sleep 1000" })
    end)
    waiting.wait_until("it has said all", function() return support.read_file(said) end)
    waiting.let_others_run()
    task:cancel("why")
    local ok, e = task:await(10)
    assert.is_false(ok)
    assert.equal("why", e.reason)
    assert.equal(e.result.pid .. "\n", e.result.stdout)
    assert.equal("to stderr\n", e.result.stderr)
    assert.equal("cancelled", e.result.reason)
    assert.same({ "TERM" }, e.result.stopped)
    assert.is_nil(support.process_state(e.result.pid))
  end)
end)
