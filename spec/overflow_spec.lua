local corun = require "corun"
local raised = require "spec.support.raised"
local scripts = require "spec.support.scripts"
local support = require "spec.support"

--- The bytes from … to of "0123456789" again and again.
local function pattern(from, to)
  return ("0123456789"):rep(to // 10 + 1):sub(from + 1, to)
end

--- A command that prints so many bytes of it.
local function print_bytes(count, options)
  local path = support.directory() .. "/bytes"
  support.write_file(path, pattern(0, count))
  local spec = { "cat", path }
  for name, value in pairs(options) do spec[name] = value end
  return spec
end

describe("A stream over its limit", function()
  it("stops the command and raises kind \"limit\"", function()
    local e = raised.error("limit", function() corun.run { "yes", limit = 1000 } end)
    assert.equal("stdout", e.stream)
    assert.matches("^yes: more than 1000 bytes of stdout", e.message)
    local result = e.result
    assert.equal(("y\n"):rep(500), result.stdout)
    assert.same({ false, "limit", true }, { result.ok, result.reason, result.truncated })
    assert.equal("SIGTERM", result.signal)
    assert.same({ "TERM" }, result.stopped)
  end)

  it("may be stderr", function()
    local e = raised.error("limit", function() corun.run { "sh", "-c", "echo out; exec yes >&2", limit = 1000 } end)
    assert.equal("stderr", e.stream)
    assert.equal("out\n", e.result.stdout)
    assert.equal(1000, #e.result.stderr)
  end)

  it("is a Result with check = false", function()
    local result = corun.run { "yes", limit = 1000, check = false }
    assert.same({ false, "limit", true, 1000 }, { result.ok, result.reason, result.truncated, #result.stdout })
  end)

  it("is not one that holds just the limit", function()
    for _, limit in ipairs { 1, 10, 65536, 100000 } do
      local result = corun.run(print_bytes(limit, { limit = limit }))
      assert.is_true(result.stdout == pattern(0, limit))
      assert.is_false(result.truncated)
      raised.error("limit", function() corun.run(print_bytes(limit + 1, { limit = limit })) end)
    end
    assert.equal("", corun.run({ "true", limit = 0 }).stdout)
    raised.error("limit", function() corun.run { "echo", limit = 0 } end)
  end)

  it("counts each stream by itself", function()
    local result = corun.run { "sh", "-c", "printf 12345; printf 67890 >&2", limit = 5 }
    assert.same({ "12345", "67890" }, { result.stdout, result.stderr })
  end)

  it("is an Error of capture, sh and communicate, too", function()
    raised.error("limit", function() corun.capture { "yes", limit = 10 } end)
    raised.error("limit", function() corun.sh { "exec yes", limit = 10 } end)
    local process <close> = corun.spawn { "yes", limit = 10, check = true }
    local _, e = corun.try(process.communicate, process)
    assert.same({ "limit", "stdout" }, { e.kind, e.stream })
  end)
end)

describe("A stream over its limit of a child that has ended already", function()
  it("is no less an Error", function()
    local process <close> = corun.spawn { "printf", "12345678901", limit = 10, check = true }
    process:wait()
    local result, e = corun.try(process.communicate, process)
    assert.is_nil(result)
    assert.same({ "limit", "stdout" }, { e.kind, e.stream })
    assert.same({ "1234567890", true }, { e.result.stdout, e.result.truncated })
  end)
end)

describe("overflow = \"truncate\"", function()
  it("keeps head and tail", function()
    for _, count in ipairs { 1001, 5000, 200000, 3000000 } do
      local result = corun.run(print_bytes(count, { limit = 1000, overflow = "truncate" }))
      assert.equal(pattern(0, 500), result.stdout:sub(1, 500))
      assert.equal(pattern(count - 500, count), result.stdout:sub(501))
      assert.is_true(result.truncated)
      assert.same({ true, "exit" }, { result.ok, result.reason })
    end
  end)

  it("changes nothing within the limit", function()
    local result = corun.run(print_bytes(1000, { limit = 1000, overflow = "truncate" }))
    assert.equal(pattern(0, 1000), result.stdout)
    assert.is_false(result.truncated)
  end)

  it("keeps head and tail of stderr, too, and an odd number of bytes", function()
    local spec = { "sh", "-c", "seq 100000 >&2; echo out", limit = 11, overflow = "truncate" }
    local result = corun.run(spec)
    assert.equal("out\n", result.stdout)
    assert.equal("1\n2\n3" .. "00000\n", result.stderr)
    assert.is_true(result.truncated)
  end)
end)

describe("overflow = \"spill\"", function()
  it("moves the stream to a file that a Reader reads", function()
    local open = support.descriptors()
    do
      local result = corun.run(print_bytes(300000, { limit = 1000, overflow = "spill" }))
      assert.is_true(getmetatable(result.stdout) == require("corun.core").Reader)
      assert.same({ true, false, "exit" }, { result.ok, result.truncated, result.reason })
      assert.equal(pattern(0, 10), result.stdout:read_exactly(10))
      assert.is_true(result.stdout:read() == pattern(10, 300000))
      assert.equal("", result.stderr)
    end
    collectgarbage()
    collectgarbage()
    corun.sleep(0)
    assert.same(open, support.descriptors())
  end)

  it("leaves a string within the limit", function()
    assert.equal(pattern(0, 1000), corun.run(print_bytes(1000, { limit = 1000, overflow = "spill" })).stdout)
  end)

  it("has lines, and a string", function()
    local result = corun.run { "seq", 100000, limit = 1000, overflow = "spill" }
    local count = 0
    for line in result:lines() do
      count = count + 1
      assert(line == tostring(count))
    end
    assert.equal(100000, count)
    local text = tostring(corun.run { "seq", 100000, limit = 1000, overflow = "spill" })
    assert.equal("99999\n100000", text:sub(-12))
  end)

  it("leaves no file behind", function()
    local directory = support.directory()
    local before = corun.env.TMPDIR
    finally(function() corun.env.TMPDIR = before end)
    corun.env.TMPDIR = directory
    local result = corun.run(print_bytes(300000, { limit = 1000, overflow = "spill" }))
    assert.equal("", corun.capture { "ls", "-A", directory })
    local where = corun.capture { "readlink", "/proc/self/fd/0", stdin = result.stdout }
    assert.equal(directory, where:sub(1, #directory))
  end)

  it("takes 200 MB in little memory #slow", function()
    local result = scripts.native:run([[
      local corun = require "corun"
      local function peak() return tonumber(io.open("/proc/self/status"):read("a"):match("VmHWM:%s*(%d+)")) end
      corun.run { "true" }
      local before = peak()
      local result = corun.run { "head", "-c", 200 * 1000 * 1000, "/dev/zero", limit = 1 << 20, overflow = "spill" }
      local count = 0
      for chunk in result.stdout:chunks() do count = count + #chunk end
      print(count, peak() - before)
    ]])
    local count, growth = result.stdout:match("^(%d+)\t(%d+)\n$")
    assert.equal("200000000", count, result.stderr)
    assert.is_true(tonumber(growth) < (scripts.sanitized and 512 or 16) * 1024, growth .. " KiB more")
  end)
end)
