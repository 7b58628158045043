local corun = require "corun"
local raised = require "spec.support.raised"
local scripts = require "spec.support.scripts"
local support = require "spec.support"
local waiting = require "spec.support.waiting"

local NONBLOCK <const> = tonumber("4000", 8)

local function flags_of(pid, fd)
  return tonumber(support.read_file(("/proc/%s/fdinfo/%d"):format(pid, fd)):match("flags:%s*(%d+)"), 8)
end

local function target_of(pid, fd)
  return require("lfs").symlinkattributes(("/proc/%s/fd/%d"):format(pid, fd), "target")
end

local function descriptor_of(path)
  for fd, target in pairs(support.descriptors()) do
    if target == path then return fd end
  end
end

describe("stdin", function()
  local path
  before_each(function()
    path = support.directory() .. "/input"
    support.write_file(path, "one\ntwo\nthree\n")
  end)

  it("is nothing for run, capture and sh", function()
    assert.equal("", corun.run({ "cat" }).stdout)
    assert.equal("", corun.capture { "cat" })
    assert.equal("", corun.sh("cat").stdout)
    assert.equal("/dev/null", corun.capture { "readlink", "/proc/self/fd/0" })
  end)

  it("is a Writer for spawn", function()
    local process <close> = corun.spawn { "cat" }
    assert.is_true(getmetatable(process.stdin) == require("corun.core").Writer)
    process:write("te", "xt")
    process:close_stdin()
    assert.equal("text", process.stdout:read())
  end)

  it("\"null\" is nothing", function()
    local process <close> = corun.spawn { "cat", stdin = "null" }
    assert.is_nil(process.stdin)
    assert.equal("", process.stdout:read())
  end)

  it("\"inherit\" is ours", function()
    local result = scripts.native:run([[
      local corun = require "corun"
      corun.run { "cat", stdin = "inherit", stdout = "inherit" }
    ]], { input = "for the script's child" })
    assert.equal("for the script's child", result.stdout)
  end)

  it("{file = path} is that file", function()
    assert.equal("one\ntwo\nthree\n", corun.run({ "cat", stdin = { file = path } }).stdout)
    local process <close> = corun.spawn { "cat", stdin = { file = path } }
    assert.is_nil(process.stdin)
    assert.equal("one", process.stdout:read_line())
  end)

  it("an open file is that file from where we have read to", function()
    local file <close> = io.open(path)
    assert.equal("one", file:read())
    assert.equal("two\nthree\n", corun.run({ "cat", stdin = file }).stdout)
  end)

  it("a number is that descriptor", function()
    local file <close> = io.open(path)
    local _ = file
    assert.equal("one\ntwo\nthree\n", corun.run({ "cat", stdin = descriptor_of(path) }).stdout)
  end)

  it("can be opened as /dev/stdin", function()
    assert.equal("text", corun.run({ "cat", "/dev/stdin", input = "text" }).stdout)
    local process <close> = corun.spawn { "cat", "/dev/stdin" }
    process:write("text")
    process:close_stdin()
    assert.equal("text", process.stdout:read())
  end)

  it("blocks for the child", function()
    local process <close> = corun.spawn { "cat" }
    assert.equal(0, flags_of(process.pid, 0) & NONBLOCK)
    assert.equal(0, flags_of(process.pid, 1) & NONBLOCK)
  end)
end)

describe("input", function()
  it("is fed to stdin, then EOF", function()
    assert.equal("te\0xt\255", corun.run({ "cat", input = "te\0xt\255" }).stdout)
    assert.equal("", corun.run({ "cat", input = "" }).stdout)
    assert.equal("text", corun.capture { "cat", input = "text", stdin = "pipe" })
    assert.equal("text", corun.sh({ "cat", input = "text" }).stdout)
    local process <close> = corun.spawn { "cat", input = "text" }
    assert.equal("text", process.stdout:read())
  end)

  it("may be larger than every buffer", function()
    local text = ("0123456789abcde\n"):rep(10 * 1024 * 1024 // 16)
    local result = corun.run { "cat", input = text }
    assert.is_true(result.stdout == text)
  end)

  it("may be an iterator", function()
    local parts = {}
    for i = 1, 1000 do parts[i] = i .. "\n" end
    local i = 0
    local function next_part()
      i = i + 1
      return parts[i]
    end
    assert.equal(table.concat(parts), corun.run({ "cat", input = next_part }).stdout)
    local words = ("a b c"):gmatch("%a")
    assert.equal("abc", corun.run({ "cat", input = words }).stdout)
    assert.equal("", corun.run({ "cat", input = function() end }).stdout)
  end)

  it("may be an iterator that waits for another child", function()
    local source <close> = corun.spawn { "sh", "-c", "echo a; echo b" }
    assert.equal("ab", corun.run({ "cat", input = source.stdout:lines() }).stdout)
  end)

  it("is asked of an iterator no faster than the child reads", function()
    local asked = 0
    local process <close> = corun.spawn { scripts.fixtures .. "/ready", input = function()
      asked = asked + 1
      return asked <= 1000 and ("x"):rep(65536) or nil
    end }
    assert.matches("^ready", process.stdout:read_line())
    for _ = 1, 100 do corun.sleep(0) end
    assert.is_true(asked * 65536 < 2 * 1024 * 1024, asked .. " parts were asked for")
  end)

  it("that the child does not want is not missed", function()
    local much = ("x"):rep(10 * 1024 * 1024)
    assert.is_true(corun.run({ "true", input = much }).ok)
    assert.is_true(corun.run({ "true", input = "little" }).ok)
    assert.equal("xxx", corun.capture { "head", "-c", 3, input = much })
    local asked = 0
    local function endless()
      asked = asked + 1
      return ("x"):rep(65536)
    end
    assert.equal("x", corun.capture { "head", "-c", 1, input = endless })
    local process <close> = corun.spawn { "head", "-c", 1 }
    assert.equal("x", process:communicate(much).stdout)
  end)

  it("that raises is the scope's error", function()
    local ok, e = pcall(corun.scope, function()
      corun.run { "cat", input = function() error("no more input", 0) end }
    end)
    assert.is_false(ok)
    assert.equal("no more input", e)
  end)
end)

describe("A Reader as stdin", function()
  it("hands its descriptor over", function()
    local source <close> = corun.spawn { "sh", "-c", "read line; echo got $line" }
    local pipe = target_of(source.pid, 1)
    local process <close> = corun.spawn { "sh", "-c", "read line; echo and $line; cat", stdin = source.stdout }
    assert.is_nil(process.stdin)
    assert.equal(pipe, target_of(process.pid, 0))
    assert.equal(0, flags_of(process.pid, 0) & NONBLOCK)
    source:write("it\n")
    assert.equal("and got it\n", process.stdout:read())
  end)

  it("is closed for us then", function()
    local source <close> = corun.spawn { "cat" }
    local reader = source.stdout
    local process <close> = corun.spawn { "cat", stdin = reader }
    raised.error("closed", function() reader:read(1) end)
    source:write("text")
    source:close_stdin()
    assert.equal("text", process.stdout:read())
    source:wait_closed(10)
  end)

  it("loses no byte that was read ahead", function()
    local source <close> = corun.spawn { "sh", "-c", "echo one; echo two; head -c 3000000 /dev/zero" }
    assert.equal("one", source.stdout:read_line())
    local result = corun.run { "cat", stdin = source.stdout }
    assert.equal(3000004, #result.stdout)
    assert.equal("two\n", result.stdout:sub(1, 4))
  end)

  it("loses none when it is at its end", function()
    local source <close> = corun.spawn { "printf", "one\ntwo" }
    assert.equal("one", source.stdout:read_line())
    source:wait()
    assert.equal("two", corun.run({ "cat", stdin = source.stdout }).stdout)
    local empty <close> = corun.spawn { "true" }
    assert.is_true(empty.stdout:at_eof())
    assert.equal("", corun.run({ "cat", stdin = empty.stdout }).stdout)
  end)

  it("tells its source when the child has enough", function()
    for _, lines in ipairs { 0, 1 } do -- nothing read ahead, and something
      local source <close> = corun.spawn { "yes" }
      for _ = 1, lines do source.stdout:read_line() end
      assert.equal("y", corun.capture { "head", "-n", 1, stdin = source.stdout })
      assert.equal("SIGPIPE", source:wait(10).signal)
    end
  end)

  it("may be our own stdin, a file or a pipe, read ahead or not", function()
    local path = support.directory() .. "/input"
    support.write_file(path, "one\ntwo\n")
    for _, lines in ipairs { 0, 1 } do
      local script = ([[
        local corun = require "corun"
        for _ = 1, %d do corun.stdin:read_line() end
        corun.run { "cat", stdin = corun.stdin, stdout = "inherit" }
      ]]):format(lines)
      local expected = lines == 0 and "one\ntwo\n" or "two\n"
      assert.equal(expected, scripts.native:run(script, { input = "one\ntwo\n" }).stdout)
      assert.equal(expected, scripts.native:run(script, { stdin = { file = path } }).stdout)
    end
  end)

  it("that is closed is refused", function()
    local source <close> = corun.spawn { "echo", "text" }
    source.stdout:close()
    local ok, e = pcall(corun.run, { "cat", stdin = source.stdout })
    assert.is_false(ok)
    raised.has(tostring(e), "closed")
  end)

  it("that a task, or another child, is reading is busy, and loses nothing", function()
    for _, ahead in ipairs { false, true } do
      local source <close> = corun.spawn { "sh", "-c", "echo early; read -r word; echo $word" }
      if ahead then source.stdout:peek(1) end
      local reading = corun.go(function()
        if ahead then return corun.run({ "cat", stdin = source.stdout }).stdout end -- copied, as it was read ahead
        return source.stdout:read()
      end)
      waiting.let_others_run()
      raised.error("busy", function() corun.run { "cat", stdin = source.stdout } end)
      source:write("late\n")
      assert.equal("early\nlate\n", reading:await(10))
    end
  end)

  it("stays ours if the start fails", function()
    local source <close> = corun.spawn { "cat" }
    raised.error("spawn", function() corun.spawn { "/no/such/program", stdin = source.stdout } end)
    source:write("text\n")
    assert.equal("text", source.stdout:read_line())
  end)
end)
