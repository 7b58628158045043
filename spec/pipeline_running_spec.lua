local corun = require "corun"
local raised = require "spec.support.raised"
local scripts = require "spec.support.scripts"
local support = require "spec.support"
local waiting = require "spec.support.waiting"

local ready, stubborn = support.fixture "ready", support.fixture "stubborn"

local function command(...) return corun.command { ... } end
local function sh(lines) return command("sh", "-c", lines) end

local cat = command("cat")

local function copy(reader, writer) reader:copy_to(writer) end
local function reads(reader) reader:read() end

--- What of this example is still there.
local function survivors() return support.marked("CORUN_SPEC=" .. corun.env.CORUN_SPEC) end

--- A Pipeline of processes that ignore TERM, running.
local function stubborn_pipeline(options)
  local p = corun.pipeline({ { stubborn, stderr = "null" }, { stubborn } }):with(options or {}):spawn()
  p.stdout:read_line()
  waiting.wait_until("the first ignores TERM, too", function()
    local status = support.read_file("/proc/" .. p.stages[1].pid .. "/status")
    local ignored = tonumber(status:match("SigIgn:%s*(%x+)"), 16)
    return ignored & (1 << 14) ~= 0 and ignored & (1 << 0) ~= 0
  end)
  return p
end

describe("A running Pipeline", function()
  it("has its stages, a Writer to the first and a Reader from the last", function()
    local p <close> = (cat | command("tr", "a", "b") | copy):spawn()
    assert.equal(3, #p.stages)
    assert.same({ { "cat" }, "tr a b" }, { p.stages[1].argv, p.stages[2].command })
    for i = 1, 2 do assert.is_false(support.is_gone(p.stages[i].pid)) end
    assert.is_nil(p.stages[2].stdin or p.stages[2].stdout)
    p.stdin:write("a\n")
    p.stdin:write_eof()
    assert.equal("b\n", p.stdout:read())
    assert.same({ true, 0 }, { p:wait().ok, p.status.code })
    for i = 1, 3 do assert.equal("exit 0", tostring(p.stages[i].status)) end
  end)

  it("has each stage's stderr", function()
    local p <close> = (sh("echo one >&2") | sh("cat; echo two >&2")):spawn()
    assert.same({ "one\n", "two\n", "" }, { p.stages[1].stderr:read(), p.stages[2].stderr:read(), p.stdout:read() })
    p:wait()
  end)

  it("has no streams where its ends are no pipes", function()
    local p <close> = (cat | cat):with({ stdin = "null", stdout = "null" }):spawn()
    assert.is_nil(p.stdin or p.stdout)
    assert.is_true(p:wait().ok)
  end)

  it("has functions at its ends, too", function()
    local p <close> = corun.pipeline({ copy, copy }):spawn()
    p.stdin:write("text")
    p.stdin:close()
    assert.equal("text", p.stdout:read())
    assert.is_true(p:wait().ok)
  end)

  it("feeds its input", function()
    local p <close> = (cat | cat):with({ input = "text" }):spawn()
    assert.equal("text", p.stdout:read())
    p:wait()
  end)

  it("tells what it is", function()
    local p <close> = (cat | command("wc", "-l")):spawn()
    assert.equal("Pipeline (running): cat | wc -l", tostring(p))
    assert.is_nil(p.status)
    p.stdin:close()
    p:wait()
    assert.equal("Pipeline (exit 0): cat | wc -l", tostring(p))
  end)
end)

describe("wait() of a running Pipeline", function()
  it("gives the status of the rightmost stage that failed, else of the last", function()
    local p <close> = (sh("exit 2") | sh("exit 3") | command("true")):spawn()
    assert.same({ 3, false, "exit 3" }, { p:wait().code, p.status.ok, tostring(p.status) })
    local q <close> = (command("yes") | command("head", "-1")):spawn()
    assert.same({ true, 0 }, { q:wait().ok, q.status.code })
  end)

  it("gives the same to all, before and after the end", function()
    local p <close> = (cat | cat):spawn()
    corun.scope(function(scope)
      local first, second = scope:go(p.wait, p), scope:go(p.wait, p, 60)
      p.stdin:close()
      assert.same({ 0, 0 }, { first:await().code, second:await().code })
    end)
    assert.equal(0, p:wait().code)
    assert.equal(0, p:wait(0).code)
  end)

  it("does not wait for all of a function's output to be read", function()
    local p <close> = (cat | copy):with({ input = "text" }):spawn()
    assert.is_true(p:wait().ok)
    assert.equal("text", p.stdout:read())
  end)

  it("raises kind \"timeout\" and leaves it alone", function()
    for _, first in ipairs { cat, reads } do
      local p <close> = (first | cat):spawn()
      local e = raised.error("timeout", function() p:wait(0.01) end)
      assert.equal(0.01, e.seconds)
      raised.has(e.message, "| cat: still running after 0.01 s")
      raised.error("timeout", function() p:wait(0) end)
      assert.is_nil(p.status)
      p.stdin:close()
      assert.is_true(p:wait(60).ok)
    end
  end)

  it("refuses a wrong time", function()
    local p <close> = (cat | cat):spawn()
    assert.equal("wait: seconds expected, 0 or more, got -1", raised.argument(function() p:wait(-1) end))
    assert.equal('wait: seconds expected, 0 or more, got "1"', raised.argument(function() p:wait("1") end))
  end)

  it("is left by a cancellation, which leaves the Pipeline alone", function()
    local p <close> = (cat | cat):spawn()
    assert.same({ nil, "timeout" }, { corun.move_on(0.01, p.wait, p) })
    p.stdin:write("still there")
    p.stdin:close()
    assert.equal("still there", p.stdout:read())
  end)
end)

describe("A running Pipeline is stopped", function()
  it("by a signal to each of its processes", function()
    local p <close> = (cat | copy | cat):spawn()
    assert.is_true(p:signal("INT"))
    assert.same({ "SIGINT", "SIGINT" }, { p:wait().signal, p.stages[1].status.signal })
    assert.is_false(p:signal("INT"))
  end)

  it("by terminate(), with its stop plan or another grace", function()
    local p <close> = (command(ready) | command(ready)):spawn()
    assert.equal("SIGTERM", p:terminate().signal)
    assert.equal("SIGTERM", p.stages[1].status.signal)
    local q <close> = stubborn_pipeline()
    assert.equal("SIGKILL", q:terminate(0.01).signal)
    assert.equal("SIGKILL", q.stages[1].status.signal)
    local r <close> = stubborn_pipeline { grace = 0.01 }
    assert.equal("SIGKILL", r:terminate().signal)
    assert.equal('terminate: seconds expected, 0 or more, got "1"', raised.argument(function() r:terminate("1") end))
  end)

  it("by kill(), which asks nobody", function()
    local p <close> = stubborn_pipeline()
    assert.equal("SIGKILL", p:kill().signal)
    assert.equal("SIGKILL", p.stages[1].status.signal)
    assert.equal("SIGKILL", p:kill().signal)
  end)

  it("with its functions: they are cancelled", function()
    for _, stop in ipairs { "kill", "terminate" } do
      local p <close> = (cat | reads | reads):spawn()
      p[stop](p)
      for i = 2, 3 do
        assert.same({ 1, "cancelled" }, { p.stages[i].status.code, p.stages[i].status.reason })
      end
    end
  end)

  it("by close(), which also closes its streams, and once is enough", function()
    local p = (cat | copy | cat):spawn()
    p:close()
    assert.equal("SIGTERM", p.status.signal)
    assert.same({}, support.children())
    raised.error("closed", function() p.stdin:write("x") end)
    raised.error("closed", function() p.stdout:read() end)
    p:close()
    assert.equal("SIGTERM", p:terminate().signal)
  end)

  it("at the end of a block as <close>, also by an error", function()
    local stages
    local ok, e = pcall(function()
      local p <close> = (command("yes") | copy | cat):spawn()
      stages = p.stages
      p.stdout:read_line()
      error("out", 0)
    end)
    assert.same({ false, "out" }, { ok, e })
    assert.is_true(stages[1].status and stages[2].status and stages[3].status and true)
    assert.same({}, support.children())
  end)

  it("at the end of its scope, all stages at the same time", function()
    local p
    corun.scope(function()
      p = (command(ready) | cat | reads):spawn()
    end)
    assert.equal("SIGTERM", p.stages[1].status.signal)
    assert.is_not_nil(p.status)
    assert.same({}, survivors())
  end)

  it("by a cancellation of its scope", function()
    local p
    corun.scope(function(scope)
      p = (command(ready) | cat | reads | cat):spawn()
      scope:cancel()
    end)
    assert.is_not_nil(p.status)
    assert.same({}, survivors())
  end)

  it("however many of its stages have ended before", function()
    local p
    corun.scope(function()
      p = (command("true") | command("sleep", "1000") | command("false")):spawn()
      waiting.wait_until("two have ended", function() return p.stages[1].status and p.stages[3].status end)
    end)
    assert.same({ 0, "SIGTERM", 1 },
      { p.stages[1].status.code, p.stages[2].status.signal, p.stages[3].status.code })
    assert.equal(1, p.status.code)
  end)
end)

describe("A function of a running Pipeline that raises", function()
  it("is an error of the scope", function()
    local p
    local ok, e = pcall(corun.scope, function()
      p = (cat | function() error("oh", 0) end | cat):spawn()
      corun.sleep(1000)
    end)
    assert.same({ false, "oh" }, { ok, e })
    assert.same({ 1, "oh" }, { p.stages[2].status.code, p.stages[2].error })
  end)

  it("is none where it was cut off", function()
    local p = corun.scope(function()
      local p = (function(_, writer)
        while true do writer:write(("x"):rep(1000)) end
      end | command("true")):spawn()
      assert.is_true(p:wait().ok)
      return p
    end)
    assert.equal("EPIPE", p.stages[1].error.code)
  end)
end)

for _, host in ipairs(scripts.hosts) do
  describe("A script with a Pipeline, in " .. host.name, function()
    --- Runs it until it has said "ready", sends INT, and returns its status.
    local function interrupt(source)
      local script <close> = host:spawn(source, { env = { READY = ready } })
      assert.equal("ready", script.stdout:read_line())
      script:signal("INT")
      local status = script:wait(10)
      if not host.is_stock then assert.equal("", script.stderr:read()) end
      return status
    end

    local function assert_interrupted(status)
      if host.is_stock then assert.equal("SIGINT", status.signal) else assert.equal(130, status.code) end
      assert.same({}, survivors())
    end

    it("is ended by Ctrl-C while it runs one, and nothing is left", function()
      assert_interrupted(interrupt([[
        local corun = require "corun"
        local function copy(reader, writer) reader:copy_to(writer) end
        corun.go(function() print("ready") io.stdout:flush() end)
        corun.pipeline({ { "sleep", "1000" }, copy, { os.getenv("READY") }, { "cat" } }):run()
      ]]))
    end)

    it("is ended by Ctrl-C while one runs, and nothing is left", function()
      assert_interrupted(interrupt([[
        local corun = require "corun"
        local function copy(reader, writer) reader:copy_to(writer) end
        local p = corun.pipeline({ { os.getenv("READY") }, copy, { "cat" } }):spawn()
        p.stdout:read_line()
        print("ready") io.stdout:flush()
        corun.sleep(1000)
      ]]))
    end)

    it("stops one that still runs at its end", function()
      local result = host:run([[
        local corun = require "corun"
        local p = corun.pipeline({ { os.getenv("READY") }, function(reader) reader:read() end, { "cat" } }):spawn()
        print(#p.stages)
      ]], { env = { READY = ready } })
      assert.same({ "3\n", "", 0 }, { result.stdout, result.stderr, result.code })
      assert.same({}, survivors())
    end)
  end)
end
