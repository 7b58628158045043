local corun = require "corun"
local raised = require "spec.support.raised"
local scripts = require "spec.support.scripts"
local support = require "spec.support"
local waiting = require "spec.support.waiting"

local both <const> = "echo out; echo err >&2"
local in_turn <const> = "echo 1; echo 2 >&2; echo 3; echo 4 >&2"

local function sh(script, options)
  local spec = { "sh", "-c", script }
  for name, value in pairs(options or {}) do spec[name] = value end
  return spec
end

local function mode_of(path) return corun.capture { "stat", "-c", "%a", path } end

describe("stdout and stderr", function()
  local directory, path
  before_each(function()
    directory = support.directory()
    path = directory .. "/output"
  end)

  it("are captured by run, and Readers of spawn", function()
    local result = corun.run(sh(both))
    assert.same({ "out\n", "err\n" }, { result.stdout, result.stderr })
    local process <close> = corun.spawn(sh(both))
    assert.same({ "out\n", "err\n" }, { process.stdout:read(), process.stderr:read() })
  end)

  it("\"null\" go nowhere", function()
    local result = corun.run(sh(both, { stdout = "null", stderr = "null" }))
    assert.is_nil(result.stdout)
    assert.is_nil(result.stderr)
    result = corun.run(sh(both .. "; readlink /proc/self/fd/2", { stderr = "null" }))
    assert.equal("out\n/dev/null\n", result.stdout)
    assert.is_nil(result.stderr)
    local process <close> = corun.spawn(sh(both, { stdout = "null" }))
    assert.is_nil(process.stdout)
    assert.equal("err\n", process.stderr:read())
  end)

  it("\"inherit\" are ours", function()
    local result = scripts.native:run([[
      local corun = require "corun"
      local result = corun.run { "sh", "-c", "echo out; echo err >&2", stdout = "inherit", stderr = "inherit" }
      assert(result.stdout == nil and result.stderr == nil)
    ]])
    assert.same({ "out\n", "err\n" }, { result.stdout, result.stderr })
  end)

  it("\"inherit\" come after all that we have written, queued or buffered", function()
    local cat <close> = corun.spawn { "cat" }
    cat:suspend()
    waiting.wait_until("cat is stopped", function() return support.process_state(cat.pid) == "T" end)
    local script <close> = scripts.native:spawn([[
      local corun = require "corun"
      corun.stdout:write(("x"):rep(1000000), "\n") -- the most of it is queued: the pipe is full
      io.write("then\n")
      corun.stderr:write("queued\n")
      corun.run { "echo", "and the child", stdout = "inherit" }
    ]], { stdout = cat.stdin })
    cat:close_stdin()
    assert.equal("queued", script.stderr:read_line())
    waiting.wait_until("the script waits", function() return support.process_state(script.pid) == "S" end)
    cat:resume()
    local text = cat.stdout:read()
    assert.equal("x\nthen\nand the child\n", text:sub(-21))
    assert.equal(1000001 + 5 + 14, #text)
  end)

  it("{file = path} replace what the file held", function()
    support.write_file(path, ("old"):rep(100))
    local result = corun.run(sh(both, { stdout = { file = path } }))
    assert.is_nil(result.stdout)
    assert.equal("out\n", support.read_file(path))
    assert.equal("err\n", result.stderr)
  end)

  it("{file = path, append = true} add to it", function()
    corun.run(sh(both, { stdout = { file = path, append = true } }))
    corun.run(sh(both, { stderr = { file = path, append = true } }))
    corun.run(sh(both, { stdout = { file = path, append = false } }))
    assert.equal("out\n", support.read_file(path))
    corun.run(sh(both, { stdout = { file = path, append = true } }))
    assert.equal("out\nout\n", support.read_file(path))
  end)

  it("{file = path, mode = digits} give a new file these permissions", function()
    for _, mode in ipairs { "600", "640", tonumber("400", 8) } do
      os.remove(path)
      corun.run(sh(both, { stdout = { file = path, mode = mode } }))
      assert.equal(type(mode) == "number" and "400" or mode, mode_of(path))
    end
    os.remove(path)
    assert(os.execute(": >" .. path .. " && chmod 644 " .. path))
    corun.run(sh(both, { stdout = { file = path, mode = "600" } }))
    assert.equal("644", mode_of(path)) -- not a new file
  end)

  it("of one path are opened once", function()
    corun.run(sh(in_turn, { stdout = { file = path }, stderr = { file = path } }))
    assert.equal("1\n2\n3\n4\n", support.read_file(path))
    corun.run(sh(in_turn, { stdout = { file = path, append = true }, stderr = { file = path, append = true } }))
    assert.equal("1\n2\n3\n4\n1\n2\n3\n4\n", support.read_file(path))
  end)

  it("may be an open file, in order with what we write", function()
    local file <close> = io.open(path, "w")
    file:write("before\n")
    corun.run(sh(in_turn, { stdout = file, stderr = file }))
    file:write("after\n")
    file:close()
    assert.equal("before\n1\n2\n3\n4\nafter\n", support.read_file(path))
  end)

  it("may be a descriptor", function()
    local file <close> = io.open(path, "w")
    local number
    for fd, target in pairs(support.descriptors()) do
      if target == path then number = fd end
    end
    corun.run(sh(in_turn, { stdout = number, stderr = number }))
    file:close()
    assert.equal("1\n2\n3\n4\n", support.read_file(path))
  end)

  it("may be a Writer that we go on writing to", function()
    local cat <close> = corun.spawn { "cat" }
    cat:write("before\n")
    corun.run(sh(both, { stdout = cat.stdin }))
    corun.run(sh(both, { stdout = cat.stdin, stderr = cat.stdin }))
    cat:write("after\n")
    cat:close_stdin()
    assert.equal("before\nout\nout\nerr\nafter\n", cat.stdout:read())
  end)

  it("may be our own stdout, a file or a pipe, in order with what we write", function()
    local script = [[
      local corun = require "corun"
      corun.stdout:write("before\n")
      corun.run { "sh", "-c", "echo out; echo err >&2", stdout = corun.stdout, stderr = corun.stdout }
      corun.stdout:write("after\n")
    ]]
    assert.equal("before\nout\nerr\nafter\n", scripts.native:run(script).stdout)
    scripts.native:run(script, { stdout = { file = path } })
    assert.equal("before\nout\nerr\nafter\n", support.read_file(path))
  end)

  it("block for the child that shares a Writer", function()
    local cat <close> = corun.spawn { "cat" }
    local spec = sh("cat /proc/self/fdinfo/1 >&2; cat /proc/self/fdinfo/3 >&2; exec 3>&-", { stdout = cat.stdin })
    spec.fds = { [3] = cat.stdin }
    local flags = {}
    for octal in corun.run(spec).stderr:gmatch("flags:%s*(%d+)") do
      flags[#flags + 1] = tonumber(octal, 8) & tonumber("4000", 8)
    end
    assert.same({ 0, 0 }, flags)
  end)

  it("say that the Writer is closed", function()
    local cat <close> = corun.spawn { "cat" }
    cat.stdin:close()
    local e = raised.error("spawn", function() corun.run(sh(both, { stdout = cat.stdin })) end)
    assert.equal("EPIPE", e.code)
  end)

  it("can be opened as /dev/stdout and /dev/stderr", function()
    local result = corun.run(sh("echo out >/dev/stdout; echo err >/dev/stderr; echo more >/dev/stdout"))
    assert.same({ "out\nmore\n", "err\n" }, { result.stdout, result.stderr })
  end)
end)

describe("One stream in the other", function()
  it("keeps the order of stderr = \"stdout\"", function()
    local result = corun.run(sh(in_turn, { stderr = "stdout" }))
    assert.equal("1\n2\n3\n4\n", result.stdout)
    assert.is_nil(result.stderr)
    local process <close> = corun.spawn(sh(in_turn, { stderr = "stdout" }))
    assert.is_nil(process.stderr)
    assert.equal("1\n2\n3\n4\n", process.stdout:read())
  end)

  it("keeps the order of stdout = \"stderr\"", function()
    local result = corun.run(sh(in_turn, { stdout = "stderr" }))
    assert.equal("1\n2\n3\n4\n", result.stderr)
    assert.is_nil(result.stdout)
  end)

  it("goes where the other goes", function()
    local path = support.directory() .. "/output"
    corun.run(sh(in_turn, { stdout = { file = path }, stderr = "stdout" }))
    assert.equal("1\n2\n3\n4\n", support.read_file(path))
    local lines = {}
    corun.run(sh(in_turn, { stdout = function(line) lines[#lines + 1] = line end, stderr = "stdout" }))
    assert.same({ "1", "2", "3", "4" }, lines)
    assert.is_nil(corun.run(sh(in_turn, { stdout = "stderr", stderr = "null" })).stderr)
  end)
end)

describe("A function as stdout", function()
  it("is called with each line, the last without a newline included", function()
    local lines = {}
    local process <close> = corun.spawn { "printf", "one\n\ntwo\r\nthree", stdout = function(line)
      lines[#lines + 1] = line
    end }
    assert.is_nil(process.stdout)
    process:wait_closed(10)
    assert.same({ "one", "", "two\r", "three" }, lines)
  end)

  it("has got all lines when run returns", function()
    local lines, errors = 0, {}
    local result = corun.run(sh("seq 100000; echo err >&2", {
      stdout = function() lines = lines + 1 end,
      stderr = function(line) errors[#errors + 1] = line end,
    }))
    assert.equal(100000, lines)
    assert.same({ "err" }, errors)
    assert.is_nil(result.stdout)
    assert.is_nil(result.stderr)
  end)

  it("may wait, and then slows the child down", function()
    local seen = 0
    local release <close> = corun.spawn { "cat" }
    local process <close> = corun.spawn { "sh", "-c", "seq 1000000; echo done >&2", stdout = function()
      seen = seen + 1
      if seen == 1 then release.stdout:read_line() end
    end }
    waiting.wait_until("the first line is there", function() return seen > 0 end)
    waiting.let_others_run()
    assert.equal(1, seen)
    assert.is_nil(process.status)
    release:write("go\n")
    assert.equal("done", process.stderr:read_line())
    process:wait_closed(10)
    assert.equal(1000000, seen)
  end)

  it("that raises ends the scope with its error", function()
    local ok, e = pcall(corun.scope, function()
      corun.run { "yes", stdout = function() error("enough", 0) end }
    end)
    assert.is_false(ok)
    assert.equal("enough", e)
  end)
end)
