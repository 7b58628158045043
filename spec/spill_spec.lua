local core = require "corun.core"
local corun = require "corun"
local raised = require "spec.support.raised"
local support = require "spec.support"

local MIB = 1 << 20

--- The bytes from … to of "0123456789" again and again.
local function pattern(from, to)
  return ("0123456789"):rep(to // 10 + 1):sub(from + 1, to)
end

--- A command that prints so many bytes of it, to stderr with `redirect`.
local function print_bytes(count, options, redirect)
  local path = support.directory() .. "/bytes"
  support.write_file(path, pattern(0, count))
  local spec = { "sh", "-c", ("cat %s %s"):format(path, redirect or ""), overflow = "spill" }
  for name, value in pairs(options) do spec[name] = value end
  return spec
end

local function is_reader(value) return getmetatable(value) == core.Reader end

describe("overflow = \"spill\" within the limit", function()
  it("is a string, also where that was in the file for a while", function()
    for _, case in ipairs { { 0, 10 }, { 10, 10 }, { MIB, MIB }, { MIB + 1, 2 * MIB }, { 5000000, 5000000 },
      { 3 * MIB, 64 * MIB } } do
      local result = corun.run(print_bytes(case[1], { limit = case[2] }))
      assert.equal("string", type(result.stdout))
      assert.is_true(result.stdout == pattern(0, case[1]), case[1])
      assert.is_false(result.truncated)
      assert.is_nil(result.omitted)
    end
  end)

  it("is what capture, a format and lines() take apart", function()
    local spec = { "seq", 400000, limit = 4000000, overflow = "spill" } -- more than stays in memory
    local text = corun.capture(spec)
    assert.equal("399999\n400000", text:sub(-13))
    local count = 0
    for line in corun.run(spec):lines() do
      count = count + 1
      assert(line == tostring(count))
    end
    assert.equal(400000, count)
    spec.format = "lines"
    assert.equal(400000, #corun.run(spec).stdout)
  end)
end)

describe("overflow = \"spill\" over the limit", function()
  it("is a Reader over all bytes, from the first one over", function()
    for _, case in ipairs { { 1, 0 }, { 11, 10 }, { MIB + 1, MIB }, { 2 * MIB + 1, 2 * MIB }, { 3000000, 10 } } do
      local result = corun.run(print_bytes(case[1], { limit = case[2] }))
      assert.is_true(is_reader(result.stdout), case[1])
      assert.same({ true, false, "exit" }, { result.ok, result.truncated, result.reason })
      assert.is_true(result.stdout:read() == pattern(0, case[1]))
      assert.is_nil(result.stdout:read(1))
    end
  end)

  it("counts stdout and stderr each by itself", function()
    local result = corun.run { "sh", "-c", "printf 12345; printf 678901 >&2", limit = 5, overflow = "spill" }
    assert.equal("12345", result.stdout)
    assert.equal("678901", result.stderr:read())
    local both = corun.run { "sh", "-c", "seq 100000; seq 200000 >&2", limit = 5, overflow = "spill" }
    assert.equal(100000, both.stdout:count())
    assert.equal(200000, both.stderr:count())
  end)

  it("has all that Readers have: lines, seeking of none, copies, other children's stdin", function()
    local path = support.directory() .. "/copy"
    local spec = { "seq", 50000, limit = 100, overflow = "spill" }
    local size = #table.concat(corun.run({ "seq", 50000, format = "lines" }).stdout, "\n") + 1
    assert.equal(size, corun.run(spec).stdout:copy_to { file = path })
    assert.equal("50000", corun.capture { "tail", "-n", 1, path })
    local reader = corun.run(spec).stdout
    assert.equal("1", reader:read_line())
    assert.equal("49999", corun.capture { "wc", "-l", stdin = reader })
    assert.equal("777", corun.run(spec).stdout:grep("^777$")())
    assert.equal("x123", corun.run(spec).stdout:map(function(line) return "x" .. line end)
      :filter(function(line) return line == "x123" end)())
  end)

  it("has lines() and a string of it, with a newline at its end or without", function()
    for _, last in ipairs { "last", "last\n" } do
      local spec = { "printf", "%s", ("line\n"):rep(1000) .. last, limit = 100, overflow = "spill" }
      local lines = {}
      for line in corun.run(spec):lines() do lines[#lines + 1] = line end
      assert.same({ 1001, "line", "last" }, { #lines, lines[1000], lines[1001] })
      assert.equal(("line\n"):rep(1000) .. "last", tostring(corun.run(spec)))
    end
  end)

  it("is what a failed command has printed, too, and one that was stopped", function()
    local _, e = corun.try(corun.run, { "sh", "-c", "seq 1000; exit 3", limit = 10, overflow = "spill" })
    assert.same({ "exit", 3 }, { e.kind, e.result.code })
    assert.equal(1000, e.result.stdout:count())
    _, e = corun.try(corun.run, { "sh", "-c", "seq 1000; exec sleep 60", limit = 10, overflow = "spill",
      idle_timeout = 0.05 })
    assert.equal("idle", e.kind)
    assert.equal(1000, e.result.stdout:count())
    local result = corun.run { "sh", "-c", "seq 1000; kill -KILL $$", limit = 10, overflow = "spill", check = false }
    assert.same({ "SIGKILL", 1000 }, { result.signal, result.stdout:count() })
  end)

  it("outlives the process, and gives its descriptor back when it is read or closed", function()
    local function files()
      local count = 0
      for _, target in pairs(support.descriptors()) do
        if target:find("(deleted)", 1, true) then count = count + 1 end
      end
      return count
    end
    local before = files()
    local stdout
    do
      local child <close> = corun.spawn { "seq", 10000, limit = 10, overflow = "spill" }
      stdout = child:communicate().stdout
    end
    assert.equal(before + 1, files())
    assert.equal(10000, stdout:count())
    assert.equal(before, files())
    local child <close> = corun.spawn { "seq", 10000, limit = 10, overflow = "spill" }
    stdout = child:communicate().stdout
    child:close()
    stdout:close()
    assert.equal(before, files())
  end)
end)

describe("communicate with overflow = \"spill\"", function()
  it("goes on after a time-out and gives the whole", function()
    local child <close> = corun.spawn { "sh", "-c", "seq 20000; read -r line <&3; seq 20001 40000; echo $line >&2",
      fds = { [3] = "input" }, limit = 1000, overflow = "spill" }
    for _ = 1, 3 do raised.error("timeout", function() child:communicate(nil, 0.01) end) end
    child.fds[3]:write("go on\n")
    local result = child:communicate()
    assert.equal("go on\n", result.stderr)
    local count = 0
    for line in result:lines() do
      count = count + 1
      assert(line == tostring(count))
    end
    assert.equal(40000, count)
  end)

  it("gives a string after a time-out where it stays within the limit", function()
    local child <close> = corun.spawn { "sh", "-c", "printf one; read -r line <&3; printf two", fds = { [3] = "input" },
      limit = 6, overflow = "spill" }
    raised.error("timeout", function() child:communicate(nil, 0.01) end)
    child.fds[3]:write("go on\n")
    assert.equal("onetwo", child:communicate().stdout)
  end)

  it("takes in and gives out more than fits into a pipe at the same time", function()
    local bytes = pattern(0, 5000000)
    local child <close> = corun.spawn { "cat", limit = 1000, overflow = "spill" }
    assert.is_true(child:communicate(bytes).stdout:read() == bytes)
  end)
end)

describe("overflow = \"truncate\"", function()
  it("says in `omitted` how many bytes of each stream were left out", function()
    local script = "seq 10000; printf 12345 >&2"
    local size = #corun.run({ "seq", 10000 }).stdout
    local result = corun.run { "sh", "-c", script, limit = 1000, overflow = "truncate" }
    assert.same({ stdout = size - 1000, stderr = 0 }, result.omitted)
    assert.equal(1000, #result.stdout)
    result = corun.run { "sh", "-c", script, limit = 4, overflow = "truncate" }
    assert.same({ stdout = size - 4, stderr = 1 }, result.omitted)
    assert.equal("1245", result.stderr)
    assert.is_true(result.truncated)
  end)

  it("has none where all is there, and with a limit of 0 has left out all", function()
    local result = corun.run { "printf", "12345", limit = 5, overflow = "truncate" }
    assert.same({ "12345", false }, { result.stdout, result.truncated })
    assert.is_nil(result.omitted)
    result = corun.run { "printf", "12345", limit = 0, overflow = "truncate" }
    assert.same({ "", { stdout = 5, stderr = 0 } }, { result.stdout, result.omitted })
  end)

  it("counts bytes that came in the hundred thousands", function()
    for _, count in ipairs { 200000, 1234567, 3000001 } do
      local result = corun.run(print_bytes(count, { limit = 1001, overflow = "truncate" }))
      assert.same({ stdout = count - 1001, stderr = 0 }, result.omitted)
      assert.equal(pattern(0, 500) .. pattern(count - 501, count), result.stdout)
    end
  end)
end)
