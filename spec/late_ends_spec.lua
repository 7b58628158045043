--- What has happened while the script was busy is noticed before it counts that a limit or a cancellation came.

local corun = require "corun"
local raised = require "spec.support.raised"
local support = require "spec.support"
local waiting = require "spec.support.waiting"

local failure = raised.anything

--- Keeps everything else from running until fact() is true.
local function be_busy_until(fact)
  local deadline = os.time() + 10
  local value = fact()
  while not value do
    assert(os.time() < deadline, "it never came true")
    value = fact()
  end
  return value
end

local function be_busy_for(seconds)
  local deadline = corun.now() + seconds
  be_busy_until(function() return corun.now() > deadline end)
end

--- A command that waits to be let go and says its pid in a file; and a function that lets it go, and is busy until it
--- has ended.
local function ending(command)
  local path = support.directory() .. "/pid"
  assert(os.execute("mkfifo " .. path .. ".go"))
  local waiting_command = "read -r go < %s.go; echo $$ > %s.new; mv %s.new %s; "
  local words = { "sh", "-c", waiting_command:gsub("%%s", path) .. command }
  return words, function()
    local go = assert(io.open(path .. ".go", "r+")) -- does not wait until it reads
    go:write("go\n")
    go:flush()
    local pid = be_busy_until(function() return support.read_file(path) end):match("%d+")
    be_busy_until(function() return support.is_gone(pid) end)
    go:close()
  end
end

--- Starts fn(spec) in a task and lets it wait.
local function waits(fn, spec)
  local task = corun.go(fn, spec)
  corun.sleep(0)
  assert.equal("waiting", task.status)
  return task
end

describe("After a time-out, the first read that does not wait", function()
  local path, p

  --- Lets the child write, and is busy until it has.
  local function written()
    p.fds[3]:write("go\n")
    be_busy_until(function() return support.read_file(path) end)
  end

  before_each(function()
    path = support.directory() .. "/written"
    local command = "read -r go <&3; echo hello; touch " .. path .. "; exec sleep 1000"
    p = corun.spawn { "sh", "-c", command, fds = { [3] = "input" }, stderr = "null" }
  end)
  after_each(function() p:close() end)

  for name, read in pairs {
    read_line = function(reader) return reader:read_line() end, read = function(reader) return reader:read(5) end,
    read_exactly = function(reader) return reader:read_exactly(5) end,
    read_until = function(reader) return (reader:read_until("\n"):gsub("\n", "")) end,
    lines = function(reader) return reader:lines()() end, chunks = function(reader) return reader:chunks(5)() end,
  } do
    it("gives what is there: " .. name, function()
      raised.error("timeout", function() corun.timeout(0.001, corun.sleep, 1000) end)
      written()
      assert.equal("hello", read(p.stdout))
    end)
  end

  it("gives what is there, also after the time-out of an earlier read, and in a task", function()
    local task = corun.go(function()
      raised.error("timeout", function() corun.timeout(0.001, p.stdout.read_line, p.stdout) end)
      written()
      return p.stdout:read_line()
    end)
    assert.equal("hello", task:await(10))
  end)

  it("gives what is there when a scope has cancelled itself before", function()
    corun.scope(function(scope)
      scope:go(function() scope:cancel() end)
      corun.sleep(1000)
    end)
    written()
    assert.equal("hello", p.stdout:read_line())
  end)
end)

describe("A command that had ended while the script was busy", function()
  local owning = {
    ["corun.run"] = corun.run, ["a command"] = function(spec) return corun.command(spec):run() end,
    ["corun.run without a check"] = function(spec)
      spec.check = false
      return corun.run(spec)
    end,
  }

  for name, call in pairs(owning) do
    it("has its good Result, though a cancellation comes before the script sees it: " .. name, function()
      local spec, be_busy = ending "echo out"
      local task = waits(call, spec)
      be_busy()
      task:cancel()
      local result = task:await(10)
      assert.is_true(result.ok)
      assert.equal("out\n", result.stdout)
      assert.equal("exit", result.reason)
      assert.equal("ended", task.status)
    end)
  end

  it("has ended in time, though the script has a look only after the limit: run", function()
    local directory, limit = support.directory(), 0.4
    local function exists(name) return support.read_file(directory .. "/" .. name) end
    assert(os.execute(("mkfifo %s/begin"):format(directory)))
    local other <close> = corun.spawn { "sh", "-c", "read -r go <&3; echo line; touch written", cwd = directory,
      fds = { [3] = "input" }, stderr = "null" }
    local be_busy
    local busy = waits(function()
      other.stdout:read_line()
      be_busy()
      be_busy_for(limit)
    end)
    local spec
    spec, be_busy = ending "exit 0"
    spec[3] = "read -r go < begin; exec >&-; touch closed; " .. spec[3]
    spec.cwd, spec.timeout = directory, limit
    local task = waits(corun.run, spec)
    other.fds[3]:write("go\n")
    be_busy_until(function() return exists "written" end)
    support.write_file(directory .. "/begin", "go\n")
    be_busy_until(function() return exists "closed" end)
    local result = task:await(10) -- one of its outputs has ended: it is ready, but behind the other
    assert.equal("ended", busy.status)
    assert.equal(0, result.code)
    assert.equal("exit", result.reason)
  end)

  -- Ways to wait for the end of a process that has a limit.
  for name, wait in pairs {
    wait = function(p) return p:wait() end, wait_closed = function(p) return p:wait_closed() end,
    communicate = function(p) return p:communicate() end,
  } do
    it("has ended in time, though the script has a look only after the limit: " .. name, function()
      for _, limit in ipairs { "timeout", "idle_timeout" } do
        local spec, be_busy = ending "exit 0"
        spec[limit] = 0.3
        local p <close> = corun.spawn(spec)
        be_busy()
        be_busy_for(0.35)
        local ending_of = wait(p)
        assert.equal(0, ending_of.code)
        assert.equal("exit", ending_of.reason, limit)
      end
    end)
  end

  it("is no time-out, though what it has printed is read after the limit", function()
    for command, code in pairs { ["echo out"] = 0, ["echo out; exit 3"] = 3 } do
      local spec, be_busy = ending(command)
      spec.timeout, spec.check = 0.3, false
      local task = waits(corun.run, spec)
      be_busy()
      be_busy_for(0.35)
      local result = task:await(10)
      assert.equal("exit", result.reason)
      assert.equal(code, result.code)
      assert.equal("out\n", result.stdout)
    end
  end)

  it("and has failed is no success: the cancellation is raised, with its Result", function()
    local spec, be_busy = ending "echo out; exit 3"
    local task = waits(corun.run, spec)
    be_busy()
    task:cancel("why")
    local e = failure(task.await, task, 10)
    assert.equal("cancelled", e.kind)
    assert.equal("why", e.reason)
    assert.equal(3, e.result.code)
    assert.equal("out\n", e.result.stdout)
    assert.is_nil(e.result.stopped)
  end)

  it("is a success for a time limit around it, whose result stands", function()
    local spec, be_busy = ending "echo out"
    local task = waits(function() return corun.timeout(0.1, corun.run, spec) end)
    be_busy()
    be_busy_for(0.1)
    assert.equal("out\n", task:await(10).stdout)
  end)

  it("is stopped by its limit all the same while it runs", function()
    local spec = { "sh", "-c", "echo out; exec sleep 1000", timeout = 0.3 }
    local task = waits(function() return failure(corun.run, spec) end)
    be_busy_for(0.35)
    local e = task:await(10)
    assert.equal("timeout", e.kind)
    assert.equal("timeout", e.result.reason)
  end)
end)

describe("Process:communicate in a cancelled scope", function()
  it("neither writes its input nor closes stdin: a later one does", function()
    local p <close> = corun.spawn { "cat" }
    corun.scope(function(scope)
      scope:cancel()
      raised.error("cancelled", function() p:communicate("hello") end)
      raised.error("cancelled", function() p:communicate() end)
      raised.error("cancelled", function() p:communicate(function() error "it was asked" end) end)
    end)
    assert.equal("hello", p:communicate("hello").stdout)
  end)

  it("has handed over its input when it waited for its turn: a second call goes on", function()
    local text = ("0123456789abcdef"):rep(1 << 18)
    local p <close> = corun.spawn { "sh", "-c", "read -r go <&3; exec wc -c", fds = { [3] = "input" } }
    local writing = waits(function() p.stdin:write(text) end)
    local task = waits(function() p:communicate("hello") end)
    task:cancel()
    waiting.let_others_run()
    assert.equal("cancelled", task.status)
    p.fds[3]:write("go\n")
    local result = p:communicate()
    writing:await(10)
    assert.equal(#text + #"hello", tonumber(result.stdout))
  end)
end)
