local corun = require "corun"
local raised = require "spec.support.raised"
local support = require "spec.support"
local waiting = require "spec.support.waiting"

local function command(...) return corun.command { ... } end
local function sh(lines) return command("sh", "-c", lines) end

local cat, sleeper = command("cat"), command("sleep", "1000")

local function upper(reader, writer)
  for chunk in reader:chunks() do writer:write(chunk:upper()) end
end

local function copy(reader, writer) reader:copy_to(writer) end

--- What of this example is still there.
local function survivors() return support.marked("CORUN_SPEC=" .. corun.env.CORUN_SPEC) end

describe("A function in a Pipeline", function()
  it("reads what comes before it and writes what follows, in any place", function()
    local function source(_, writer) writer:write("a\n", "b\n") end
    assert.equal("a\nb", (source | cat):capture())
    assert.equal("A\nB", (command("printf", "a\\nb\\n") | upper | cat):capture())
    assert.equal("A\nB", (command("printf", "a\\nb\\n") | upper):capture())
    assert.equal("A\nB", corun.pipeline({ source, upper }):capture())
    assert.equal("A\nB", corun.pipeline({ source, copy, upper, copy, cat, copy }):capture())
  end)

  it("may be the only stage", function()
    local result = corun.pipeline({ function(reader, writer) writer:write("got ", #reader:read()) end }):run()
    assert.same({ true, 0, "got 0" }, { result.ok, result.code, result.stdout })
  end)

  it("has all the methods of Readers and Writers", function()
    local function numbered(reader, writer)
      local number = 0
      for line in reader:lines() do
        number = number + 1
        writer:write(number, " ", line, "\n")
      end
    end
    local function evens(reader, writer)
      writer:writelines(reader:filter(function(line) return tonumber(line) % 2 == 0 end))
    end
    assert.equal("1 7\n2 8\n3 9", (command("seq", 7, 9) | numbered):capture())
    assert.equal("246", (command("seq", 6) | evens):capture())
  end)

  it("reads what the Pipeline's input and stdin say, as the first stage", function()
    local pipeline = upper | cat
    assert.equal("TEXT", pipeline:with({ input = "text" }):capture())
    local parts = { "a", "b" }
    assert.equal("AB", pipeline:with({ input = function() return table.remove(parts, 1) end }):capture())
    local path = support.directory() .. "/file"
    support.write_file(path, "in a file")
    assert.equal("IN A FILE", pipeline:with({ stdin = { file = path } }):capture())
    local file <close> = assert(io.open(path))
    assert.equal("IN A FILE", pipeline:with({ stdin = file }):capture())
    local process <close> = corun.spawn { "printf", "one\\ntwo\\n" }
    assert.equal("one", process.stdout:read_line())
    assert.equal("TWO", pipeline:with({ stdin = process.stdout }):capture())
    assert.equal("", pipeline:capture())
  end)

  it("may leave an endless input", function()
    local function first_line(reader, writer) writer:write(reader:read_line()) end
    local result = corun.pipeline({ first_line }):with({ input = function() return "x\n" end }):run()
    assert.same({ true, "x" }, { result.ok, result.stdout })
  end)

  it("writes where the Pipeline's stdout says, as the last stage", function()
    local path = support.directory() .. "/file"
    local pipeline = command("echo", "text") | upper
    assert.is_nil(pipeline:with({ stdout = { file = path } }):run().stdout)
    pipeline:with({ stdout = { file = path, append = true } }):run()
    assert.equal("TEXT\nTEXT\n", support.read_file(path))
    local process <close> = corun.spawn { "cat" }
    pipeline:with({ stdout = process.stdin }):run()
    process:write("still open")
    process:close_stdin()
    assert.equal("TEXT\nstill open", process.stdout:read())
    assert.is_nil(pipeline:with({ stdout = "null" }):run().stdout)
  end)

  it("moves much data as it is", function()
    local text = {}
    for i = 1, 65536 do text[i] = ("%063d\n"):format(i) end
    text = table.concat(text) -- 4 MiB
    local function by_lines(reader, writer) writer:writelines(reader:lines({ keep = true })) end
    local function at_once(reader, writer) writer:write(reader:read()) end
    local pipeline = corun.pipeline { copy, by_lines, at_once, cat, copy, by_lines }
    assert.is_true(pipeline:with({ input = text }):run().stdout == text)
  end)

  it("goes on when what it reads has ended", function()
    local function both(reader, writer)
      writer:write(reader:read(), "and more\n")
      assert(reader:read_line() == nil and reader:at_eof())
    end
    assert.equal("a\nand more", (command("echo", "a") | both | cat):capture())
  end)

  it("may close its streams itself", function()
    local event = corun.event()
    local function early(reader, writer)
      writer:write(reader:read_line())
      reader:close()
      writer:close()
      event:wait()
    end
    local result = (command("yes") | early | function(reader, writer)
      writer:write("<", reader:read(), ">") -- has come to the end, though the one before still runs
      event:set()
    end):run()
    assert.same({ true, "<y>", "SIGPIPE" }, { result.ok, result.stdout, result.stages[1].signal })
  end)

  it("has written all before its Pipeline ends, however slowly it is read", function()
    local text = ("x"):rep(900000) -- less than a Writer's high water, more than a pipe holds
    local result = (function(_, writer) writer:write(text) end | sh("read line; wc -c; echo $line")):run()
    assert.is_true(result.ok)
    local slow = function(reader, writer)
      corun.sleep(0)
      writer:write(#reader:read())
    end
    assert.equal("900000", corun.pipeline({ function(_, writer) writer:write(text) end, slow }):capture())
  end)

  it("has a Result with what it was, what it read and what was captured of it", function()
    local result = (command("seq", 3) | function(reader, writer) writer:write(reader:read(), "end") end):run()
    local stage = result.stages[2]
    assert.same({ true, 0, "exit", "1\n2\n3\nend", 6, 9 },
      { stage.ok, stage.code, stage.reason, stage.stdout, stage.bytes_in, stage.bytes_out })
    assert.matches("function at .*pipeline_function_spec%.lua:%d+", stage.command)
    assert.is_true(stage.duration >= 0 and stage.duration <= result.duration)
    assert.is_nil(stage.pid or stage.stderr or stage.usage or stage.error)
  end)
end)

describe("A function of a Pipeline that raises", function()
  it("is raised again by run, as it was", function()
    local value = { "any value" }
    for _, e in ipairs { "text", value, false, corun.Error } do
      local ok, caught = pcall(function() (command("echo") | function() error(e, 0) end | cat):run() end)
      assert.is_true(not ok and rawequal(caught, e), tostring(caught))
    end
  end)

  it("is a stage with code 1 with check = false", function()
    local result = (cat | function() error("oh", 0) end | cat):with({ check = false }):run()
    assert.same({ false, 1, "exit", "oh" }, { result.ok, result.code, result.reason, result.stages[2].error })
    assert.same({ true, true }, { result.stages[1].ok, result.stages[3].ok })
  end)

  it("is the one that counts where it is the rightmost", function()
    local function fails(text) return function() error(text, 0) end end
    local ok, e = pcall(function() corun.pipeline({ fails("left"), fails("right"), cat }):run() end)
    assert.same({ false, "right" }, { ok, e })
    ok, e = pcall(function() corun.pipeline({ command("false"), fails("right") }):run() end)
    assert.same({ false, "right" }, { ok, e })
    e = raised.error("exit", function() corun.pipeline({ fails("left"), command("false") }):run() end)
    assert.equal("left", e.result.stages[1].error)
  end)

  it("cuts off the one before and is the end of what the next one reads", function()
    local result = (command("yes") | function(_, writer)
      writer:write("before"):drain()
      error("oh", 0)
    end | cat):with({ check = false }):run()
    assert.same({ "before", "SIGPIPE", "oh" }, { result.stdout, result.stages[1].signal, result.stages[2].error })
  end)

  it("raises the errors of its tasks, too", function()
    local function with_task()
      corun.go(error, "of the task", 0)
      corun.sleep(1000)
    end
    local ok, e = pcall(function() (with_task | cat):run() end)
    assert.same({ false, "of the task" }, { ok, e })
  end)

  it("has failed with the cancellation of a task that it waits for", function()
    local e = raised.anything(function()
      (cat | function()
        local task = corun.go(corun.sleep, 1000)
        task:cancel()
        task:await()
      end):run()
    end)
    assert.equal("cancelled", e.kind)
  end)

  it("may raise what a command in it raises", function()
    local e = raised.anything(function() (cat | function() corun.run { "false" } end | cat):run() end)
    assert.same({ "exit", "false" }, { e.kind, e.result.command })
  end)
end)

describe("A function of a Pipeline owns what it starts", function()
  it("and waits for its tasks, which may write", function()
    local function with_task(_, writer)
      corun.go(function()
        corun.sleep(0)
        writer:write("late")
      end)
      writer:write("early ")
    end
    assert.equal("early late", (with_task | cat):capture())
  end)

  it("and stops its processes when it ends", function()
    local process
    local result = (function(_, writer)
      process = corun.spawn { "sleep", "1000" }
      writer:write("x")
    end | cat):run()
    assert.same({ true, "SIGTERM" }, { result.ok, process.status.signal })
  end)

  it("and does so when it is cancelled", function()
    local cleaned
    local function starts(reader)
      corun.spawn { "sleep", "1000" }
      corun.go(corun.run, { "sleep", "1000" })
      local _ <close> = support.closing(function() cleaned = true end)
      reader:read()
    end
    local result = (sleeper | starts):with({ timeout = 0.05, check = false }):run()
    assert.same({ "timeout", "timeout", true }, { result.reason, result.stages[2].reason, cleaned })
    assert.same({}, survivors())
  end)
end)

describe("A function of a Pipeline may", function()
  it("hand its Reader and its Writer to children", function()
    local function through(reader, writer)
      corun.run { "tr", "a-z", "A-Z", stdin = reader, stdout = writer }
      writer:write("end\n")
    end
    local result = (command("seq", "-f", "line %g", 100000) | through | command("cksum")):run()
    local expected = corun.sh("(seq -f 'LINE %g' 100000; echo end) | cksum").stdout
    assert.equal(expected, result.stdout)
  end)

  it("run a Pipeline itself", function()
    local function nested(reader, writer)
      writer:write((command("sort", "-rn") | command("head", "-2")):with({ stdin = reader }):capture(), "\n")
    end
    assert.equal("100\n99\nend", (command("seq", 100) | nested | sh("cat; echo end")):capture())
  end)

  it("talk to a process that it has spawned", function()
    local function through(reader, writer)
      local process <close> = corun.spawn { "sed", "-u", "s/^/> /" }
      for line in reader:lines() do
        process:write(line, "\n")
        writer:write(process.stdout:read_line(), "\n")
      end
    end
    assert.equal("> 1\n> 2\n> 3", (command("seq", 3) | through):capture())
  end)

  it("swallow the cancellation; it is stopped all the same", function()
    local tries = 0
    local function stubborn(reader)
      while tries < 5 do
        pcall(reader.read, reader)
        tries = tries + 1
      end
    end
    local result = (sleeper | stubborn):with({ timeout = 0.02, check = false }):run()
    assert.same({ false, "timeout", "timeout", 5 },
      { result.ok, result.reason, result.stages[2].reason, tries })
  end)

  it("be several at work at the same time, on one stream after the other", function()
    local order = {}
    local function says(name)
      return function(reader, writer)
        for line in reader:lines() do
          order[#order + 1] = name .. line
          writer:write(line, "\n")
        end
      end
    end
    local p <close> = corun.pipeline({ says("a"), says("b") }):spawn()
    for i = 1, 2 do
      p.stdin:write(i, "\n")
      assert.equal(tostring(i), p.stdout:read_line())
    end
    assert.same({ "a1", "b1", "a2", "b2" }, order)
    p.stdin:close()
    waiting.wait_until("it has ended", function() return p.status end)
    assert.is_true(p.status.ok)
  end)
end)
