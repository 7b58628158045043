local corun = require "corun"
local raised = require "spec.support.raised"
local support = require "spec.support"
local waiting = require "spec.support.waiting"

local ready, stubborn, holder = support.fixture "ready", support.fixture "stubborn", support.fixture "holder"

local function command(...) return corun.command { ... } end
local function sh(lines) return command("sh", "-c", lines) end

local cat, sleeper = command("cat"), command("sleep", "1000")

--- What of this example is still there.
local function survivors() return support.marked("CORUN_SPEC=" .. corun.env.CORUN_SPEC) end

--- The reasons of a Result's stages.
local function reasons(result)
  local list = {}
  for i, stage in ipairs(result.stages) do list[i] = stage.reason end
  return list
end

describe("The timeout of a Pipeline", function()
  it("stops all stages by their plans and raises \"timeout\" with what there was", function()
    local e = raised.error("timeout", function()
      (sh("echo out; echo err >&2; exec sleep 1000") | cat | sh("cat; sleep 1000")):with({ timeout = 0.1 }):run()
    end)
    assert.equal(0.1, e.seconds)
    raised.has(e.message, "| cat | sh -c 'cat; sleep 1000': time limit of 0.1 s exceeded, ")
    local result = e.result
    assert.same({ false, "timeout", "out\n" }, { result.ok, result.reason, result.stdout })
    assert.same({ "timeout", "timeout", "timeout" }, reasons(result))
    assert.equal("err\n", result.stages[1].stderr)
    assert.same({ "TERM" }, result.stages[1].stopped)
    assert.equal("SIGTERM", result.stages[3].signal)
    assert.same({}, survivors())
  end)

  it("is a Result with check = false", function()
    local result = (sleeper | sleeper):with({ timeout = 0.01, check = false }):run()
    assert.same({ false, "timeout", "SIGTERM" }, { result.ok, result.reason, result.signal })
  end)

  it("is at once when it is 0", function()
    local e = raised.error("timeout", function() (sleeper | sleeper):with({ timeout = 0 }):run() end)
    assert.equal(0, e.seconds)
  end)

  it("does not concern what ends before", function()
    local result = (command("echo", "a") | cat):with({ timeout = 60, idle_timeout = 60 }):run()
    assert.same({ true, "exit" }, { result.ok, result.reason })
    assert.is_nil(result.stopped)
  end)

  it("reaches what the stages have started", function()
    local pipeline = sh("sleep 1000 & sleep 1000") | sh("sleep 1000 | cat")
    local result = pipeline:with({ timeout = 0.05, check = false }):run()
    assert.equal("timeout", result.reason)
    assert.same({}, survivors())
  end)

  it("holds for functions", function()
    local cancelled
    local function waits(reader)
      local ok, e = pcall(reader.read, reader)
      cancelled = not ok and e.kind
      error(e, 0)
    end
    local e = raised.error("timeout", function() (sleeper | waits | cat):with({ timeout = 0.05 }):run() end)
    assert.equal("cancelled", cancelled)
    assert.same({ "timeout", "timeout", "timeout" }, reasons(e.result))
  end)

  it("ends lines(), after what came before", function()
    local seen = {}
    raised.error("timeout", function()
      for line in (sh("echo a; exec sleep 1000") | cat):with({ timeout = 0.1 }):lines() do seen[#seen + 1] = line end
    end)
    assert.same({ "a" }, seen)
  end)

  it("holds for one that is spawned, and that nobody waits for", function()
    local p <close> = (sleeper | sleeper):with({ timeout = 0.05 }):spawn()
    waiting.wait_until("it has ended", function() return p.status end)
    assert.same({ "SIGTERM", "timeout", false }, { p.status.signal, p.status.reason, p.status.ok })
    assert.same({}, survivors())
  end)
end)

describe("The idle_timeout of a Pipeline", function()
  it("stops it when nothing has come out for so long", function()
    local e = raised.error("idle", function()
      (sh("echo a; exec sleep 1000") | cat):with({ idle_timeout = 0.1 }):run()
    end)
    assert.equal(0.1, e.seconds)
    raised.has(e.message, "no output for 0.1 s")
    assert.same({ "a\n", "idle" }, { e.result.stdout, e.result.reason })
    assert.same({ "idle", "idle" }, reasons(e.result))
  end)

  it("leaves it alone while any stage says something #slow", function()
    local ticks = "for i in 1 2 3 4 5 6 7 8; do sleep 0.05; echo $i%s; done"
    local options = { idle_timeout = 0.3 }
    assert.is_true((sh(ticks:format(" >&2")) | cat):with(options):run().ok)
    assert.is_true((sh(ticks:format("")) | cat):with(options):run().ok)
  end)
end)

describe("The limit of a Pipeline", function()
  it("is of what comes out: it stops all stages and raises \"limit\"", function()
    local e = raised.error("limit", function() (command("yes") | cat):with({ limit = 1000 }):run() end)
    assert.equal("stdout", e.stream)
    raised.has(e.message, "yes | cat: more than 1000 bytes of stdout")
    assert.same({ 1000, "limit", true }, { #e.result.stdout, e.result.reason, e.result.truncated })
    assert.same({ "limit", "limit" }, reasons(e.result))
    local function copy(reader, writer) reader:copy_to(writer) end
    e = raised.error("limit", function() (command("yes") | copy):with({ limit = 1000 }):run() end)
    assert.same({ "stdout", 1000 }, { e.stream, #e.result.stdout })
  end)

  it("is of each stage's stderr, too", function()
    local e = raised.error("limit", function() (sh("exec yes >&2") | cat):with({ limit = 1000 }):run() end)
    assert.equal("stderr", e.stream)
    assert.equal(1000, #e.result.stages[1].stderr)
  end)

  it("does not concern what goes from stage to stage, and not what just fits", function()
    local result = (command("seq", 100000) | command("tail", "-1")):with({ limit = 7 }):run()
    assert.same({ "100000\n", false }, { result.stdout, result.truncated })
  end)

  it("= \"truncate\" keeps head and tail, of a function's output, too", function()
    local function copy(reader, writer) reader:copy_to(writer) end
    for _, last in ipairs { cat, copy } do
      local result = (command("seq", 100000) | last):with({ limit = 20, overflow = "truncate" }):run()
      assert.same({ "1\n2\n3\n4\n5\n" .. "99\n100000\n", true, true }, { result.stdout, result.truncated, result.ok })
    end
  end)

  it("= \"spill\" gives a Reader over all of it", function()
    local function copy(reader, writer) reader:copy_to(writer) end
    for _, last in ipairs { cat, copy } do
      local result = (command("seq", 100000) | last):with({ limit = 1000, overflow = "spill" }):run()
      assert.same({ true, false, 100000 }, { result.ok, result.truncated, result.stdout:count() })
    end
  end)
end)

describe("A pipe that is held open after the end of a Pipeline", function()
  it("is given up after `linger` seconds of silence, and the Result says who held it", function()
    corun.scope(function()
      local result = (cat | command(holder)):with({ linger = 0.05 }):run()
      assert.same({ true, "exit", true }, { result.ok, result.reason, result.truncated })
      assert.same({ tonumber(result.stdout:match("^held (%d+)\n$")) }, result.held_by)
      assert.is_false(support.is_gone(result.held_by[1]))
    end)
    assert.same({}, survivors())
  end)

  it("may be the stderr of any stage", function()
    corun.scope(function()
      local result = (sh('"$0" >&2 '):args(holder) | cat):with({ linger = 0.05 }):run()
      assert.is_true(result.ok)
      assert.same({ tonumber(result.stages[1].stderr:match("^held (%d+)\n$")) }, result.held_by)
      assert.same({ true, false }, { result.stages[1].truncated, result.stages[2].truncated })
    end)
  end)
end)

describe("The stop plan of a Pipeline", function()
  it("is run for all stages at the same time", function()
    local result = (command(stubborn) | command(stubborn) | command(stubborn)):with({
      timeout = 0.1, stop = { { "TERM", 0.3 }, "KILL" }, check = false,
    }):run()
    for _, stage in ipairs(result.stages) do
      assert.same({ { "TERM", "KILL" }, "SIGKILL" }, { stage.stopped, stage.signal })
    end
    -- One after the other they would have to end at least 0.3 s apart.
    local first, last = math.huge, 0
    for _, stage in ipairs(result.stages) do
      local ended = stage.started_at + stage.duration
      first, last = math.min(first, ended), math.max(last, ended)
    end
    assert.is_true(last - first < 0.3, "they ended " .. last - first .. " s apart")
  end)

  it("has the `grace` of the Pipeline, or each stage's own plan", function()
    local result = (command(stubborn) | command(stubborn)):with({ timeout = 0.1, grace = 0.01, check = false }):run()
    assert.same({ { "TERM", "KILL" }, { "TERM", "KILL" } }, { result.stages[1].stopped, result.stages[2].stopped })
    result = corun.pipeline({ { stubborn, stop = { "KILL" } }, { ready, stop = { "INT" } } })
      :with({ timeout = 0.05, check = false }):run()
    assert.same({ { "KILL" }, { "INT" } }, { result.stages[1].stopped, result.stages[2].stopped })
    assert.same({ "SIGKILL", "SIGINT" }, { result.stages[1].signal, result.stages[2].signal })
  end)
end)

describe("A Pipeline that is cancelled", function()
  it("is stopped, and the Error has what there was", function()
    local e
    local result, reason = corun.move_on(0.1, function()
      local _, caught = pcall(function() (sh("echo a; exec sleep 1000") | cat):run() end)
      e = caught
      error(e, 0)
    end)
    assert.same({ nil, "timeout" }, { result, reason })
    assert.equal("cancelled", e.kind)
    assert.same({ false, "cancelled", "a\n" }, { e.result.ok, e.result.reason, e.result.stdout })
    assert.same({ "cancelled", "cancelled" }, reasons(e.result))
    assert.same({}, support.children())
  end)

  it("may be so by an error of another task, wherever it waits", function()
    local function copy(reader, writer) reader:copy_to(writer) end
    local pipelines = {
      sleeper | cat, cat | sleeper, sleeper | copy | cat, copy | sleeper, corun.merge { sleeper, cat } | cat,
      corun.tee(sleeper, { cat, copy }), (command("yes") | cat):with { stdout = "null" },
    }
    for _, pipeline in ipairs(pipelines) do
      local ok, e = pcall(corun.scope, function(scope)
        local task = waiting.start(function() pipeline:run() end)
        waiting.wait_until("the task waits", function() return task.status == "waiting" end)
        scope:go(error, "stop", 0)
      end)
      assert.same({ false, "stop" }, { ok, e })
      assert.same({}, survivors())
    end
  end)

  it("does not start in a cancelled scope", function()
    local path = support.directory() .. "/started"
    corun.scope(function(scope)
      scope:cancel()
      for _, method in ipairs { "run", "spawn", "lines" } do
        local pipeline = command("touch", path) | cat
        local _, e = corun.try(pipeline[method], pipeline)
        assert.equal("cancelled", e.kind)
      end
    end)
    assert.is_nil(support.read_file(path))
  end)

  it("is a success where all had ended well: that stands #once", function()
    corun.scope(function()
      local result
      corun.move_on(0.1, function() -- while it waits for who holds the pipe
        result = (command("true") | sh("echo a; sleep 1000 &")):run()
      end)
      assert.same({ true, "a\n", true }, { result.ok, result.stdout, result.truncated })
    end)
  end)
end)

describe("A limit of one stage", function()
  it("stops all of the Pipeline", function()
    local result = corun.pipeline({ { "sleep", "1000", timeout = 0.05 }, sleeper }):with({ check = false }):run()
    assert.same({ false, "timeout" }, { result.ok, result.reason })
    assert.same({ "timeout", "timeout" }, reasons(result))
    result = corun.pipeline({ sleeper, { "sleep", "1000", idle_timeout = 0.05 } }):with({ check = false }):run()
    assert.same({ false, "idle" }, { result.ok, result.reason })
    result = corun.pipeline({ { "sh", "-c", "exec yes >&2", limit = 10 }, sleeper }):with({ check = false }):run()
    assert.same({ false, "limit", 10 }, { result.ok, result.reason, #result.stages[1].stderr })
    assert.same({}, survivors())
  end)

  it("raises kind \"limit\" with the stream", function()
    local pipeline = corun.pipeline { { "sh", "-c", "exec yes >&2", limit = 10 }, cat }
    local e = raised.error("limit", function() pipeline:run() end)
    assert.equal("stderr", e.stream)
  end)
end)
