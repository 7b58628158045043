local corun = require "corun"
local raised = require "spec.support.raised"
local support = require "spec.support"
local waiting = require "spec.support.waiting"

local stubborn = support.fixture "stubborn"

local function command(...) return corun.command { ... } end
local function sh(lines) return command("sh", "-c", lines) end

local cat, sleeper, yes = command("cat"), command("sleep", "1000"), command("yes")
local function copy(reader, writer) reader:copy_to(writer) end

--- What of this example is still there.
local function survivors() return support.marked("CORUN_SPEC=" .. corun.env.CORUN_SPEC) end

--- One field of each stage's Result.
local function each(result, field)
  local list = {}
  for i, stage in ipairs(result.stages) do list[i] = stage[field] end
  return list
end

describe("run of a Pipeline that is stopped", function()
  --- A command that ends at the first signal, but leaves a process behind that only KILL ends, and that holds no pipe.
  --- Once that one runs, which `path` tells, the command goes on with these lines of shell.
  local function leaves(path, lines)
    return sh([[
      "$0" >"$1" 2>/dev/null <&- &
      until [ -s "$1" ]; do sleep 0.005; done
    ]] .. lines):args(stubborn, path)
  end

  local path
  before_each(function() path = support.directory() .. "/ready" end)

  it("waits for the whole stop plan of each stage", function()
    local over = leaves(path, "exec yes >&2") -- until it is stopped for that
    for _, pipeline in ipairs { corun.pipeline { over }, over | cat, cat | over | copy, corun.merge { over, cat } } do
      local result = pipeline:with({ limit = 10, grace = 0.05, check = false }):run()
      assert.same({ { "TERM", "KILL" }, "SIGTERM", "limit" }, { result.stopped, result.signal, result.reason })
      assert.same({}, survivors())
      os.remove(path)
    end
  end)

  it("does so after a cancellation", function()
    corun.scope(function(scope)
      scope:go(function()
        waiting.wait_until("it is ready", function() return (support.read_file(path) or ""):find("ready") end)
        scope:cancel()
      end)
      local pipeline = leaves(path, "exec sleep 1000") | cat
      pipeline:with({ grace = 0.05 }):run()
    end)
    assert.same({}, survivors())
  end)

  it("does so when another stage was the cause", function()
    local result = (leaves(path, "exec sleep 1000") | leaves(path .. "2", "exec yes >&2"))
      :with({ limit = 10, grace = 0.05, check = false }):run()
    assert.same({ "limit", "limit" }, each(result, "reason"))
    assert.same({ "TERM", "KILL" }, result.stages[2].stopped)
    assert.same({}, survivors())
  end)

  it("does so when lines() is left", function()
    local count = 0
    for _ in (leaves(path, "exec yes") | cat):with({ grace = 0.05 }):lines() do
      count = count + 1
      if count == 2 then break end
    end
    assert.same({}, survivors())
  end)
end)

describe("A limit of a stage's own", function()
  --- The Error of a Pipeline with this spec as its second stage; and as its only one.
  local function errors_of(kind, spec)
    local e = raised.error(kind, function() corun.pipeline({ cat, spec, cat }):with({ stdin = "pipe" }):run() end)
    assert.equal(kind, raised.error(kind, function() corun.pipeline({ spec }):run() end).kind)
    assert.same({}, survivors())
    return e
  end

  it("names the stage and the time that was its", function()
    local e = errors_of("timeout", { "sleep", "1000", timeout = 0.05 })
    assert.equal(0.05, e.seconds)
    raised.has(e.message, "cat | sleep 1000 | cat: time limit of 0.05 s exceeded, stage 2, sleep 1000: signal SIGTERM")
    assert.same({ false, "timeout", "SIGTERM" }, { e.result.ok, e.result.reason, e.result.signal })
    e = errors_of("idle", { "sleep", "1000", idle_timeout = 0.05 })
    assert.equal(0.05, e.seconds)
    raised.has(e.message, "no output for 0.05 s, stage 2, sleep 1000: signal SIGTERM")
    assert.equal("idle", e.result.reason)
  end)

  it("names the stage and the number of bytes that was its", function()
    local e = errors_of("limit", { "sh", "-c", "exec yes >&2", limit = 10 })
    raised.has(e.message, "more than 10 bytes of stderr, stage 2, sh -c 'exec yes >&2': signal SIGTERM")
    assert.same({ "stderr", "y\ny\ny\ny\ny\n" }, { e.stream, e.result.stderr })
    e = raised.error("limit", function()
      corun.pipeline({ yes, { "cat", limit = 10 } }):with({ timeout = 60 }):run()
    end)
    raised.has(e.message, "more than 10 bytes of stdout, stage 2, cat: ")
  end)

  it("is the cause for the other stages, too, and none of them is ok", function()
    local result = corun.pipeline({ sleeper, { "sleep", "1000", timeout = 0.05 }, copy }):with({ check = false }):run()
    assert.same({ "timeout", "timeout", "timeout" }, each(result, "reason"))
    assert.same({ false, false, false }, each(result, "ok"))
  end)

  it("holds beside a longer one of the whole", function()
    local pipeline = corun.pipeline { cat, { "sleep", "1000", timeout = 0.05 } }
    local e = raised.error("timeout", function() pipeline:with({ timeout = 60, idle_timeout = 60 }):run() end)
    assert.equal(0.05, e.seconds)
  end)

  it("holds in a source of a merge and a branch of a tee", function()
    local limited = { "sleep", "1000", timeout = 0.05 }
    for _, pipeline in ipairs { corun.merge { sleeper, limited } | cat, corun.tee(sleeper, { cat, limited }) } do
      local e = raised.error("timeout", function() pipeline:run() end)
      assert.equal(0.05, e.seconds)
      raised.has(e.message, "sleep 1000: signal SIGTERM")
    end
    assert.same({}, survivors())
  end)
end)

describe("A time limit of the whole", function()
  it("names no stage", function()
    for _, pipeline in ipairs { sleeper | cat, cat | sleeper, corun.merge { sleeper, sleeper } | cat,
      corun.merge { sleeper, sleeper }, corun.tee(sleeper, { cat, cat }), sleeper | copy } do
      local e = raised.error("timeout", function() pipeline:with({ timeout = 0.01 }):run() end)
      local text = tostring(pipeline) .. ": time limit of 0.01 s exceeded, "
      assert.equal(text, e.message:sub(1, #text))
      assert.is_nil(e.message:find("stage", 1, true))
    end
  end)

  it("is decided by a stage that was stopped, not by one that saw the end of its input before", function()
    for _, pipeline in ipairs { sleeper | cat, sleeper | cat | cat, corun.merge { sleeper, sleeper } | cat } do
      local limited = pipeline:with { timeout = 0.02 }
      local p <close> = limited:spawn()
      local status = p:wait()
      assert.same({ false, "SIGTERM", "timeout" }, { status.ok, status.signal, status.reason })
      local result = limited:with({ check = false }):run()
      assert.same({ false, "SIGTERM", "timeout" }, { result.ok, result.signal, result.reason })
    end
  end)
end)

describe("A function in a Pipeline that raises after it has written much", function()
  local text = ("x"):rep(300000)
  local function fails(_, writer)
    writer:write(text)
    error("oh", 0)
  end

  it("has written all of it, wherever it goes", function()
    local wc = command("wc", "-c")
    assert.equal("300000\n", corun.pipeline({ fails, wc }):with({ check = false }):run().stdout)
    assert.is_true(corun.pipeline({ fails }):with({ check = false }):run().stdout == text)
    assert.equal("300000\n", (corun.pipeline { cat, fails, copy } | wc):with({ check = false }):run().stdout)
    local path = support.directory() .. "/file"
    corun.pipeline({ fails }):with({ stdout = { file = path }, check = false }):run()
    assert.is_true(support.read_file(path) == text)
  end)

  it("raises that, and its status is bad", function()
    for _, pipeline in ipairs { corun.pipeline { fails, cat }, corun.pipeline { fails } } do
      assert.same({ false, "oh" }, { pcall(pipeline.run, pipeline) })
      local result = pipeline:with({ check = false }):run()
      assert.same({ false, false, "oh" }, { result.ok, result.stages[1].ok, result.stages[1].error })
    end
  end)

  it("does not wait for one that reads no more", function()
    local function fails_anyway(_, writer)
      pcall(writer.write, writer, text) -- which may see already that nobody reads
      error("oh", 0)
    end
    local result = corun.pipeline({ fails_anyway, { "head", "-c1" } }):with({ check = false }):run()
    assert.same({ false, "oh", "x" }, { result.ok, result.stages[1].error, result.stdout })
  end)
end)

describe("A function before a stage that cannot start", function()
  it("is never called, wherever it is", function()
    local calls = 0
    local function counts() calls = calls + 1 end
    local missing = command("/no/such/program")
    for _, pipeline in ipairs { counts | missing, counts | cat | missing, corun.merge { counts, missing },
      corun.merge { counts, cat } | missing, corun.tee(counts, { cat, missing }),
      corun.pipeline { counts, { "cat", tee = { file = "/dev/null" } }, missing } } do
      raised.error("spawn", function() pipeline:run() end)
      raised.error("spawn", function() pipeline:spawn() end)
    end
    waiting.let_others_run()
    assert.equal(0, calls)
  end)
end)

describe("An iterator that feeds an input and waits", function()
  local entered, left

  local function input()
    local _ <close> = support.closing(function() left = left + 1 end)
    entered = entered + 1
    corun.sleep(1000)
  end

  before_each(function() entered, left = 0, 0 end)

  --- Calls fn in a scope, at whose end as many iterators must have been entered and left.
  local function ends(count, fn)
    corun.scope(fn)
    assert.same({ count, count }, { entered, left })
    assert.same({}, survivors())
  end

  it("ends with its process", function()
    ends(1, function() assert.is_true(corun.run({ "sleep", "0.01", input = input }).ok) end)
    ends(2, function() assert.is_true((command("sleep", "0.01") | cat):with({ input = input }):run().ok) end)
    ends(3, function() assert.is_true(corun.merge({ { "sleep", "0.01", input = input }, cat }):run().ok) end)
  end)

  it("ends with its function", function()
    local function short() corun.sleep(0.01) end
    ends(1, function() assert.is_true(corun.pipeline({ short }):with({ input = input }):run().ok) end)
    ends(2, function() assert.is_true((short | cat):with({ input = input }):run().ok) end)
  end)

  it("ends with a time limit, a cancellation, and the scope", function()
    ends(1, function()
      assert.same({ nil, "timeout" }, { corun.move_on(0.01, corun.run, { "cat", input = input }) })
    end)
    ends(2, function()
      assert.equal("timeout", (cat | cat):with({ input = input, timeout = 0.01, check = false }):run().reason)
    end)
    ends(3, function() corun.move_on(0.01, function() (copy | cat):with({ input = input }):run() end) end)
    ends(5, function()
      local _ = corun.spawn { "cat", input = input }
      local p = (cat | copy):with({ input = input }):spawn()
      waiting.wait_until("both are asked", function() return entered == 5 end)
      assert.is_nil(p.status)
    end)
  end)
end)

describe("What follows a merge and ends before its sources", function()
  it("cuts all of them off, and that is a success each time", function()
    for i = 1, 30 do
      local merged = i % 2 == 0 and corun.merge { yes, yes } or corun.merge { yes, cat | yes, yes | copy }
      local result = (merged | command("head", "-1")):run()
      assert.same({ true, "y\n", "SIGPIPE" }, { result.ok, result.stdout, result.stages[1].signal })
    end
  end)
end)
