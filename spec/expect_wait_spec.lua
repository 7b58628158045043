local core = require "corun.core"
local corun = require "corun"
local raised = require "spec.support.raised"
local waiting = require "spec.support.waiting"

local reader, writer -- two ends of one pipe, so that a spec decides what comes, and when

local function buffered()
  return tonumber(tostring(reader):match("(%d+) bytes buffered"))
end

local function came() return (select(3, reader:_status())) end

local function send(bytes)
  local before = came()
  writer:write(bytes)
  waiting.wait_until("the bytes are there", function() return came() >= before + #bytes end)
end

local function open()
  local pipe = core.pipe()
  reader, writer = pipe:reader(), pipe:writer()
end

local function close()
  reader:close()
  writer:close()
end

describe("Reader:expect out of time", function()
  before_each(open)
  after_each(close)

  it("raises \"timeout\" with the patterns, the seconds and the last bytes, and takes nothing", function()
    send("almost\n")
    local e = raised.error("timeout", function() reader:expect({ "ready", "%d+" }, 0.002) end)
    assert.same({ 0.002, "almost\n" }, { e.seconds, e.tail })
    assert.equal("expect: no match for \"ready\", \"%d+\" in 0.002 s; the last bytes: \"almost\\n\"", e.message)
    assert.equal("almost\n", reader:read(10))
  end)

  it("says so where nothing came", function()
    local e = raised.error("timeout", function() reader:expect("x", { timeout = 0.001 }) end)
    assert.equal("", e.tail)
    assert.equal("expect: no match for \"x\" in 0.001 s; the last bytes: none", e.message)
  end)

  it("shows the last two hundred bytes of many", function()
    send(("a"):rep(500) .. ("b"):rep(199) .. "c")
    assert.equal(("b"):rep(199) .. "c", raised.error("timeout", function() reader:expect("x", 0.001) end).tail)
    assert.equal(700, buffered())
  end)

  it("gives what is there at once, with 0", function()
    send("here")
    assert.equal("ere", reader:expect("e.e", 0).match)
    raised.error("timeout", function() reader:expect("h", 0) end)
  end)

  it("goes on where it stopped, as if it had never stopped", function()
    send("x ab")
    for _ = 1, 3 do raised.error("timeout", function() reader:expect("a(b+)c", 0.001) end) end
    send("bb")
    raised.error("timeout", function() reader:expect("a(b+)c", 0.001) end)
    send("c!")
    local match = reader:expect("a(b+)c", 0.001)
    assert.same({ "x ", "abbbc", { "bbb" } }, { match.before, match.match, match.captures })
    assert.equal("!", reader:read(10))
  end)

  it("begins anew where the Reader stands when something was read between", function()
    send("abab")
    raised.error("timeout", function() reader:expect("^(.-)c", 0.001) end)
    assert.equal("a", reader:read(1))
    raised.error("timeout", function() reader:expect("^(.-)c", 0.001) end)
    assert.equal("b", reader:read_exactly(1))
    send("c")
    assert.same({ "ab" }, reader:expect("^(.-)c", 0.001).captures)
  end)

  it("forgets what was half found when that was read between", function()
    send("read")
    raised.error("timeout", function() reader:expect("ready", 0.001) end)
    assert.equal("read", reader:read(10))
    send("y")
    raised.error("timeout", function() reader:expect("ready", 0.001) end)
    send("ready")
    assert.equal("y", reader:expect("ready", 0.001).before)
  end)

  it("can search for something else", function()
    send("12 ab")
    raised.error("timeout", function() reader:expect("abc", 0.001) end)
    assert.equal("12", reader:expect("%d+", 1).match)
    send("c")
    assert.equal(" ", reader:expect("abc", 1).before)
  end)

  it("is not late for what comes before", function()
    local task = waiting.start(function() return reader:expect("ready", 10) end)
    send("rea")
    send("dy")
    assert.equal("ready", task:await().match)
  end)

  it("may be bounded from outside, too, and loses nothing then", function()
    send("rea")
    raised.error("timeout", function() corun.timeout(0.002, reader.expect, reader, "ready") end)
    send("dy.")
    assert.equal("ready", reader:expect("ready", 0.001).match)
    assert.equal(".", reader:read(1))
  end)
end)

describe("settle", function()
  before_each(open)
  after_each(close)

  it("is how long a match that could become longer waits in silence", function()
    send("12")
    assert.equal("12", reader:expect("%d+", { settle = 0.001 }).match)
    send("34")
    assert.equal("34", reader:expect("%d+").match)
  end)

  it("0 takes a match as it stands", function()
    send("aaa")
    assert.equal("aaa", reader:expect("a+", { settle = 0 }).match)
    send("ab")
    assert.equal("b", reader:expect({ "b", "abc" }, { settle = 0 }).match)
  end)

  it("math.huge waits until it can no longer become longer", function()
    local task = waiting.start(function() return reader:expect("%d+", { settle = math.huge }) end)
    send("12")
    corun.sleep(0.06) -- more than the default
    assert.equal("waiting", task.status)
    send("3 ")
    assert.equal("123", task:await().match)
  end)

  it("counts from the last byte", function()
    local task = waiting.start(function() return reader:expect("%d+", { settle = 10 }) end)
    for byte in ("12345"):gmatch(".") do send(byte) end
    waiting.let_others_run()
    assert.equal("waiting", task.status)
    send(";")
    assert.equal("12345", task:await().match)
  end)

  it("does not hold up what is decided", function()
    send("12;")
    assert.equal("12", reader:expect("%d+", { settle = math.huge, timeout = 0 }).match)
    assert.equal(";", reader:expect(";", { settle = math.huge, timeout = 0 }).match)
  end)
end)

describe("Reader:expect with a limit", function()
  before_each(open)
  after_each(close)

  it("raises \"limit\" when more has come without a match, and leaves every byte", function()
    send("12345")
    assert.equal("timeout", raised.anything(function() reader:expect("x", { limit = 5, timeout = 0.001 }) end).kind)
    local e = raised.error("limit", function() reader:expect("x", { limit = 4 }) end)
    assert.matches("over the limit of 4 bytes", e.message)
    send("x")
    assert.equal("12345", reader:expect("x", { limit = 6 }).before)
  end)

  it("looks through no more than that of a child that does not stop", function()
    local flood <close> = corun.spawn { "yes", stdin = "null", stderr = "null" }
    raised.error("limit", function() flood:expect("x", { limit = 1500000 }) end)
    assert.equal(("y\n"):rep(1000000), flood.stdout:read_exactly(2000000))
  end)
end)

describe("Reader:expect of two tasks", function()
  before_each(open)
  after_each(close)

  it("raises \"busy\" in the second, and the first goes on", function()
    local task = waiting.start(function() return reader:expect("ready") end)
    send("rea")
    raised.error("busy", function() reader:expect("ready", 0) end)
    raised.error("busy", function() reader:expect { "other", "r" } end)
    raised.error("busy", function() reader:read(1) end)
    send("dy")
    assert.same({ "", "ready" }, { task:await().before, task:await().match })
  end)

  it("that is cancelled has taken nothing, and the next goes on", function()
    local task = waiting.start(function() return reader:expect("ready") end)
    send("x rea")
    task:cancel()
    raised.error("cancelled", function() task:await() end)
    send("dy")
    assert.equal("x ", reader:expect("ready", 0.001).before)
  end)

  it("raises \"cancelled\" at once in a cancelled scope, also with a match that is there", function()
    send("ready")
    local _, reason = corun.scope(function(scope)
      scope:cancel("enough")
      assert.equal("cancelled", raised.anything(reader.expect, reader, "ready").kind)
    end)
    assert.equal("enough", reason)
    assert.equal("ready", reader:expect("ready", 0).match)
  end)

  it("raises \"closed\" when the Reader is closed under it, and after", function()
    local task = waiting.start(function() return raised.error("closed", function() reader:expect("x") end) end)
    reader:close()
    assert.matches("the Reader is closed", task:await().message)
    raised.error("closed", function() reader:expect("x", 0) end)
  end)
end)

describe("The options of Reader:expect", function()
  it("are named when they are wrong", function()
    local stream = core.string_reader("text")
    local function message(options) return raised.argument(function() stream:expect("x", options) end) end
    assert.equal("expect: seconds (0 or more) expected, got -1", message(-1))
    assert.matches("^expect: seconds %(0 or more%) expected, got %-?nan$", message(0 / 0))
    assert.equal("expect: a table of options expected, got \"1\"", message("1"))
    assert.equal("expect: option 'timeout': seconds (0 or more) expected, got \"1\"", message { timeout = "1" })
    assert.equal("expect: option 'settle': seconds (0 or more) expected, got -1", message { settle = -1 })
    assert.equal("expect: option 'plain': true or false expected, got 1", message { plain = 1 })
    assert.equal("expect: option 'limit': a number of bytes (0 or more) expected, got 1.5", message { limit = 1.5 })
    assert.equal("expect: unknown option \"time\"", message { time = 1 })
    assert.equal("text", stream:read())
  end)
end)

describe("A dialogue with a child over pipes", function()
  local script = [[
    printf 'name? '; read -r name
    printf 'age of %s? ' "$name"; read -r age
    if [ "$age" -gt 17 ]; then echo "welcome, $name"; else echo "sorry" >&2; exit 3; fi
  ]]

  it("asks and answers in turn, to the end", function()
    local child <close> = corun.spawn { "sh", "-c", script }
    child:expect("name%? ", 10)
    child:write("Ada\n")
    local match = child:expect({ "who%?", "age of (%w+)%? " }, 10)
    assert.same({ 2, { "Ada" } }, { match.index, match.captures })
    child:write("36\n")
    assert.equal("welcome", child:expect("^%w+, ", { timeout = 10 }).match:sub(1, 7))
    assert.equal("Ada\n", child.stdout:read())
    assert.is_true(child:wait().ok)
  end)

  it("ends with \"incomplete\" when the child ends instead of answering", function()
    local child <close> = corun.spawn { "sh", "-c", script }
    child:expect("name%? ", 10)
    child:write("Bob\n")
    child:expect("%? ", 10)
    child:write("7\n")
    local e = raised.error("incomplete", function() child:expect("welcome", 10) end)
    assert.equal("", e.partial)
    assert.equal("sorry\n", child.stderr:read())
    assert.equal(3, child:wait().code)
  end)

  it("can be held with several children at once", function()
    local answers = corun.map({ 3, 1, 2 }, function(number)
      local child <close> = corun.spawn { "sh", "-c", "read -r n; echo got $n; read -r n; echo and $n" }
      child:write(number, "\n")
      local first = child:expect("got (%d+)\n", 10).captures[1]
      child:write(number * 10, "\n")
      return first .. child:expect("and (%d+)\n", 10).captures[1]
    end)
    assert.same({ "330", "110", "220" }, answers)
  end)
end)
