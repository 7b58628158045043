local corun = require "corun"
local core = require "corun.core"
local raised = require "spec.support.raised"
local support = require "spec.support"

local function command(...) return corun.command { ... } end

local cat = command("cat")

--- A command that runs these lines of shell.
local function sh(lines) return command("sh", "-c", lines) end

describe("A Pipeline", function()
  it("connects each command's output to the next one's input", function()
    local pipeline = command("printf", "pear\nfig\napple\n") | command("sort") | command("head", "-2")
    assert.equal("apple\nfig\n", pipeline:run().stdout)
    assert.equal("apple\nfig", pipeline:capture())
  end)

  it("is made of Commands, specs, functions and Pipelines by corun.pipeline", function()
    local pipeline = corun.pipeline {
      { "seq", 3 }, command("tac"), function(reader, writer) writer:write("<", reader:read(), ">") end, cat | cat,
    }
    assert.equal("<3\n2\n1\n>", pipeline:run().stdout)
    assert.equal(5, #pipeline:run().stages)
  end)

  it("is made by | of one Command or Pipeline and anything else, on either side", function()
    local upper = function(reader, writer) writer:write(reader:read():upper()) end
    assert.equal("A", (command("echo", "a") | upper):capture())
    assert.equal("a", ({ "echo", "a" } | cat):capture())
    assert.equal("b", (function(_, writer) writer:write("b") end | cat):capture())
    assert.equal("C", (command("echo", "c") | (cat | upper) | { "cat" }):capture())
  end)

  it("may have one stage", function()
    local result = corun.pipeline({ { "sh", "-c", "echo out; echo err >&2" } }):run()
    assert.same({ true, "out\n", "err\n", 1 }, { result.ok, result.stdout, result.stderr, #result.stages })
  end)

  it("starts nothing before it runs, and runs as often as one likes", function()
    local path = support.directory() .. "/count"
    local pipeline = command("echo", "x") | command("tee", "-a", path)
    assert.is_nil(support.read_file(path))
    pipeline:run()
    assert.equal("x\n", support.read_file(path))
    pipeline:run()
    assert.equal("x\nx\n", support.read_file(path))
  end)

  it("does not change what it is made of, or when more is added to it", function()
    local two = command("echo", "a") | cat
    local four = two | command("tr", "a", "b") | sh("cat; echo end")
    assert.equal("a", two:capture())
    assert.equal("b\nend", four:capture())
    assert.equal("a", two:capture())
  end)

  it("does not see later changes of the tables it was made from", function()
    local spec = { "sh", "-c", "cat; echo $A", env = { A = "first" } }
    local parts = { { "echo", "x" }, spec }
    local pipeline = corun.pipeline(parts)
    spec[3], spec.env.A, parts[2], parts[3] = "echo late", "late", { "false" }, { "false" }
    assert.equal("x\nfirst", pipeline:capture())
  end)

  it("refuses an assignment", function()
    local pipeline = cat | cat
    assert.equal('a Pipeline does not change: no assignment to "cwd"; use :with{…}',
      raised.argument(function() pipeline.cwd = "/" end))
  end)

  it("is a command line as a string", function()
    assert.equal("echo 'two words' | cat -n", tostring(command("echo", "two words") | command("cat", "-n")))
    local text = tostring(cat | function() end)
    assert.matches("^cat | <function at .*pipeline_spec%.lua:%d+>$", text)
    assert.equal("{ echo a & echo b | cat & wait; } | sort",
      tostring(corun.merge { command("echo", "a"), command("echo", "b") | cat } | { "sort" }))
    assert.equal("cat | tee >(wc -l) >(cat | sort) | md5sum",
      tostring(corun.tee(cat, { command("wc", "-l"), cat | command("sort"), command("md5sum") })))
  end)

  it("moves much data as it is", function()
    local bytes = {}
    for i = 0, 255 do bytes[i + 1] = string.char(i) end
    local text = table.concat(bytes):rep(16384) -- 4 MiB
    assert.is_true((cat | cat | cat):with({ input = text }):run().stdout == text)
  end)

  it("runs in a coroutine of the script", function()
    local out = coroutine.wrap(function() return (command("echo", "a") | cat):capture() end)()
    assert.equal("a", out)
  end)

  it("lets other tasks run meanwhile", function()
    local event, out = corun.event(), nil
    local function input()
      if out then return nil end
      event:wait() -- which another task sets, once it has had what a child of its own says
      return out
    end
    corun.scope(function(scope)
      local task = scope:go(function() return (cat | cat):with({ input = input }):capture() end)
      scope:go(function()
        out = corun.capture { "echo", "other" }
        event:set()
      end)
      assert.equal("other", task:await())
    end)
  end)
end)

describe("What a Pipeline reads", function()
  it("is nothing unless said otherwise", function()
    assert.equal("", (cat | cat):capture())
    assert.equal("0", (command("wc", "-c") | cat):capture())
  end)

  it("is its input: a string or what an iterator gives", function()
    assert.equal("text", (cat | cat):with({ input = "text" }):capture())
    assert.equal("", (cat | cat):with({ input = "" }):capture())
    local left = 3
    local function countdown()
      left = left - 1
      if left >= 0 then return left .. "\n" end
    end
    assert.equal("2\n1\n0", (cat | cat):with({ input = countdown }):capture())
  end)

  it("may be more than the first stage wants", function()
    assert.is_true((command("true") | cat):with({ input = ("x"):rep(1000000) }):run().ok)
    assert.is_true((command("true") | cat):with({ input = function() return ("x"):rep(100000) end }):run().ok)
  end)

  it("is a file, a Reader, an open Lua file", function()
    local path = support.directory() .. "/file"
    support.write_file(path, "content\n")
    assert.equal("content", (cat | cat):with({ stdin = { file = path } }):capture())
    local source <close> = corun.spawn { "seq", 4 }
    assert.equal("1", source.stdout:read_line())
    assert.equal("2\n3\n4", (cat | cat):with({ stdin = source.stdout }):capture())
    local file <close> = assert(io.open(path))
    assert.equal("content", (cat | cat):with({ stdin = file }):capture())
  end)

  it("is what the first stage's spec says, unless the Pipeline says otherwise", function()
    local pipeline = corun.pipeline { { "cat", input = "its own" }, cat }
    assert.equal("its own", pipeline:capture())
    assert.equal("other", pipeline:with({ input = "other" }):capture())
    assert.equal("", pipeline:with({ stdin = "null" }):capture())
    assert.equal("new", corun.pipeline({ { "cat", stdin = "null" }, cat }):with({ input = "new" }):capture())
  end)

  it("has failed with an error of its iterator", function()
    local ok, e = pcall(corun.scope, function()
      (cat | cat):with({ input = function() error("no more", 0) end }):run()
    end)
    assert.same({ false, "no more" }, { ok, e })
  end)
end)

describe("What a Pipeline writes", function()
  it("may go to a file, a function, a Writer or nowhere instead", function()
    local pipeline, path = command("seq", 3) | cat, support.directory() .. "/file"
    assert.is_nil(pipeline:with({ stdout = { file = path } }):run().stdout)
    assert.equal("1\n2\n3\n", support.read_file(path))
    pipeline:with({ stdout = { file = path, append = true } }):run()
    assert.equal(12, #support.read_file(path))
    local lines = {}
    pipeline:with({ stdout = function(line) lines[#lines + 1] = line end }):run()
    assert.same({ "1", "2", "3" }, lines)
    local other <close> = corun.spawn { "wc", "-l" }
    pipeline:with({ stdout = other.stdin }):run()
    other:close_stdin()
    assert.equal("3\n", other.stdout:read())
    assert.is_nil(pipeline:with({ stdout = "null" }):run().stdout)
  end)

  it("is handed out in the format of the Pipeline or its last stage", function()
    assert.same({ "1", "2" }, (command("seq", 2) | cat):with({ format = "lines" }):run().stdout)
    assert.same({ "1", "2" }, corun.pipeline({ { "seq", 2 }, { "cat", format = "lines" } }):capture())
    assert.same({ 1, 2 }, (cat | cat):with({ input = "[1, 2]", format = "json" }):capture())
  end)

  it("that is not in its format is an Error with the bytes", function()
    local e = raised.error("io", function() (command("echo", "{") | cat):with({ format = "json" }):run() end)
    raised.has(e.message, "echo '{' | cat: JSON, record 1 at byte 0")
    assert.equal("{\n", e.result.stdout)
  end)

  it("loses its carriage returns, bad UTF-8 and escape sequences where that is asked for", function()
    local pipeline = command("printf", "a\\r\\n\\377\\033[1mb") | cat
    assert.equal("a\r\n\255\27[1mb", pipeline:run().stdout)
    local cleaned = pipeline:with { crlf = true, utf8 = "replace", ansi = "strip" }
    assert.equal("a\n\u{FFFD}b", cleaned:run().stdout)
  end)

  it("comes line by line from lines(), or as its format says", function()
    local seen = {}
    for line in (command("seq", 3) | cat):lines() do seen[#seen + 1] = line end
    for item in (cat | cat):with({ input = "[1]\n[2]\n", format = "jsonl" }):lines() do seen[#seen + 1] = item[1] end
    for item in (command("printf", "a\\0b") | cat):with({ format = "nul" }):lines() do seen[#seen + 1] = item end
    assert.same({ "1", "2", "3", 1, 2, "a", "b" }, seen)
  end)

  it("comes from lines() while the stages still run, and leaving the loop stops them", function()
    local seen = {}
    for line in (sh("echo first; echo second; exec sleep 1000") | cat):lines() do
      seen[#seen + 1] = line
      if #seen == 2 then break end
    end
    assert.same({ "first", "second" }, seen)
    assert.same({}, support.children())
  end)

  it("ends lines() with an Error where a stage has failed", function()
    local seen = {}
    local e = raised.error("exit", function()
      for line in (sh("echo a; exit 3") | cat):with({ stdout = "pipe" }):lines() do seen[#seen + 1] = line end
    end)
    assert.same({ { "a" }, 3 }, { seen, e.result.code })
    for _ in (sh("exit 3") | cat):with({ check = false }):lines() do seen[#seen + 1] = "more" end
    assert.equal(1, #seen)
  end)

  it("counts apart for each stage's stderr", function()
    local result = (sh("echo one >&2; echo x") | function(_, writer) writer:write("y") end
      | sh("cat; echo three >&2")):run()
    assert.same({ "one\n", "three\n" }, { result.stages[1].stderr, result.stages[3].stderr })
    assert.is_nil(result.stages[2].stderr)
    assert.equal("three\n", result.stderr)
    assert.equal("y", result.stdout)
  end)

  it("has a stage's stderr in it where that stage says so", function()
    assert.equal("a\nb", corun.pipeline({ { "sh", "-c", "echo a; echo b >&2", stderr = "stdout" }, cat }):capture())
  end)
end)

describe("The options of a Pipeline", function()
  it("make another one", function()
    local pipeline = sh("echo $A") | cat
    local one, two = pipeline:with { env = { A = "1" } }, pipeline:with { env = { A = "2" } }
    assert.same({ "", "1", "2" }, { pipeline:capture(), one:capture(), two:capture() })
    assert.equal("3", one:with({ env = { A = "3" } }):capture())
    assert.equal("1", one:with({ timeout = 60 }):capture())
  end)

  it("cwd, env and clear_env are of every stage", function()
    local pipeline = sh("echo $PWD $A") | sh("cat; echo $PWD $A")
    assert.equal("/ z\n/ z", pipeline:with({ cwd = "/", env = { A = "z" } }):capture())
    local env = command("/usr/bin/env")
    assert.equal("B=1", (env | cat):with({ clear_env = true, env = { B = 1 } }):capture())
  end)

  it("leave what each stage has for itself", function()
    local pipeline = corun.pipeline { { "sh", "-c", "echo $PWD", cwd = "/" }, { "sh", "-c", "cat; pwd", cwd = "/usr" } }
    assert.equal("/\n/usr", pipeline:capture())
    assert.equal("/\n/usr", pipeline:with({ timeout = 60 }):capture())
  end)
end)

describe("The Result of a Pipeline", function()
  it("has those of its stages", function()
    local result = (sh("echo one; exec >&-; cat <&-; exit 0") | command("wc", "-c")):run()
    local first, last = table.unpack(result.stages)
    assert.same({ "sh", true, "exit 0", "exit" }, { first.argv[1], first.ok, tostring(first.status), first.reason })
    assert.same({ "wc -c", "4\n", true }, { last.command, last.stdout, last.ok })
    assert.is_nil(first.stdout)
    for _, stage in ipairs(result.stages) do
      assert.is_true(math.type(stage.pid) == "integer" and stage.duration > 0 and stage.duration <= result.duration)
    end
  end)

  it("is that of the last stage where all went well", function()
    local result = (command("echo", "a") | cat):run()
    assert.same({ true, 0, "exit", "a\n", "", false, "echo a | cat" },
      { result.ok, result.code, result.reason, result.stdout, result.stderr, result.truncated, result.command })
    assert.equal(result.stages[2].pid, result.pid)
    assert.same({ "cat" }, result.argv)
    assert.equal(result.stages[1].started_at, result.started_at)
    assert.is_nil(result.signal or result.stopped or result.held_by)
    assert.equal("a", tostring(result))
  end)

  it("has the sum of what its stages used", function()
    local result = (sh("i=0; while [ $i -lt 2000 ]; do i=$((i+1)); done") | command("true")):run()
    if core.backend ~= "native" then return assert.is_nil(result.usage) end
    local first, second = result.stages[1].usage, result.stages[2].usage
    assert.equal(first.user_time + second.user_time, result.usage.user_time)
    assert.equal(first.system_time + second.system_time, result.usage.system_time)
    assert.equal(math.max(first.max_rss, second.max_rss), result.usage.max_rss)
  end)
end)
