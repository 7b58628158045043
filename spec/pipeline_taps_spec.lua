local corun = require "corun"
local scripts = require "spec.support.scripts"
local support = require "spec.support"
local world = require "spec.support.world"

local function command(...) return corun.command { ... } end

local cat, head, cksum = command("cat"), command("head", "-1"), command("cksum")
local checksum = corun.capture { "sh", "-c", "seq 300000 | cksum" }

--- Reads from its stdin only what was there before it ended, and leaves a process behind that holds it open.
local holds_stdin = command("sh", "-c", "exec 3<&0; sleep 1000 3<&3 >/dev/null 2>&1 &")

--- What of this example is still there.
local function survivors() return support.marked("CORUN_SPEC=" .. corun.env.CORUN_SPEC) end

--- Taps of each kind but those to our own stdout; and a process that takes what one to a Writer copies.
local function taps()
  local other = corun.spawn { "cat", stdout = "null" }
  return other, { { file = support.directory() .. "/copy" }, { file = "/dev/null", append = true }, other.stdin }
end

describe("A tap on a stage that writes for ever", function()
  it("ends when what follows has ended, and the stage is cut off", function()
    local other <close>, list = taps()
    for _, tap in ipairs(list) do
      local result = corun.pipeline({ { "yes", tee = tap }, head }):run()
      assert.same({ true, "y\n", true, "SIGPIPE" },
        { result.ok, result.stdout, result.stages[1].ok, result.stages[1].signal })
    end
    assert.is_nil(other.status)
    assert.equal("y\ny\n", support.read_file(list[1].file):sub(1, 4))
  end)

  it("ends with those on the stages after it", function()
    local other <close>, list = taps()
    local result = corun.pipeline({ { "yes", tee = list[1] }, { "cat", tee = list[2] }, { "cat", tee = other.stdin },
      function(reader, writer) writer:write(reader:read_line()) end }):run()
    assert.same({ true, "y" }, { result.ok, result.stdout })
    for i = 1, 3 do assert.equal("SIGPIPE", result.stages[i].signal) end
  end)

  it("ends when a function that follows has", function()
    local other <close>, list = taps()
    for _, tap in ipairs(list) do
      local function first(reader, writer) writer:write(reader:read_line()) end
      assert.equal("y", corun.pipeline({ { "yes", tee = tap }, first, cat }):capture())
    end
    assert.is_nil(other.status)
  end)

  it("is stopped with it, by a time limit, a cancellation, close", function()
    local other <close>, list = taps()
    for _, tap in ipairs(list) do
      local pipeline = corun.pipeline { { "yes", tee = tap }, { "cat", stdout = "null" } }
      assert.equal("timeout", pipeline:with({ timeout = 0.01, check = false }):run().reason)
      assert.same({ nil, "timeout" }, { corun.move_on(0.01, pipeline.run, pipeline) })
      local p <close> = pipeline:spawn()
      p:close()
    end
    assert.same({ other.pid }, support.children())
  end)
end)

describe("A tap to a Writer", function()

  it("gives that one its bytes whole, behind those that came before", function()
    local other <close> = corun.spawn { "sh", "-c", "read go < \"$0\"; cksum", "/dev/null" }
    local queued = ("x"):rep(500000)
    corun.scope(function(scope)
      scope:go(function() other:write(queued) end)
      scope:go(function() corun.pipeline({ { "echo", "tail", tee = other.stdin }, cat }):run() end)
    end)
    other:close_stdin()
    assert.equal(corun.capture { "cksum", input = queued .. "tail\n" } .. "\n", other.stdout:read())
  end)

  it("that nobody reads from holds its stage back, until that is stopped", function()
    local other <close> = corun.spawn { "sleep", "1000" }
    local pipeline = corun.pipeline { { "yes", tee = other.stdin }, { "wc", "-c" } }
    local result = pipeline:with({ timeout = 0.1, check = false }):run()
    assert.same({ false, "timeout" }, { result.ok, result.reason })
    assert.is_nil(other.status)
  end)
end)

describe("A tap into a file", function()
  it("is left out when the disk is full, and the others get all", function()
    local full = { file = "/dev/full" }
    assert.equal(checksum, corun.pipeline({ { "seq", 300000, tee = full }, cksum }):capture())
    local path = support.directory() .. "/copy"
    assert.equal(checksum, corun.pipeline({ { "seq", 300000, tee = full }, { "cat", tee = { file = path } }, cksum })
      :capture())
    assert.equal(checksum, corun.capture { "sh", "-c", 'cksum < "$0"', path })
  end)

  it("has all when run returns, whatever follows makes of it", function()
    local path = support.directory() .. "/copy"
    local all = ("all of it\n"):rep(20000)
    for _, last in ipairs { command("sh", "-c", "cat >/dev/null"), function(reader) reader:read() end } do
      local source = { "cat", input = all, tee = { file = path } }
      assert.is_true(corun.pipeline({ source, last }):run().ok)
      assert.is_true(support.read_file(path) == all)
    end
  end)

  it("does not keep a Pipeline from its end when somebody holds the pipe behind it and reads nothing", function()
    local path = support.directory() .. "/copy"
    local pipeline = corun.pipeline { { "head", "-c", "100000", "/dev/zero", tee = { file = path } }, holds_stdin }
    corun.scope(function()
      local result = pipeline:with({ linger = 0.05 }):run()
      assert.same({ true, "exit" }, { result.ok, result.reason })
    end)
    corun.scope(function()
      local result = corun.move_on(0.1, pipeline.run, pipeline)
      assert.is_true(result.ok) -- all stages had ended well, and that stands
    end)
    corun.scope(function()
      local p <close> = pipeline:spawn()
      p.stages[2]:wait()
    end)
    assert.same({}, survivors())
  end)
end)

for _, host in ipairs(scripts.hosts) do
  describe("A tap with a prefix, in " .. host.name, function()
    --- What a script prints that runs `source` with `pipeline`, a function, and `corun`.
    local function printed(source)
      local result = host:run([[
        local corun = require "corun"
        local function pipeline(...) return corun.pipeline { ... } end
      ]] .. source)
      assert.same({ "", 0 }, { result.stderr, result.code })
      return result.stdout
    end

    it("prints each line of what the stage writes, and what follows gets it without", function()
      assert.equal("P 1\nP 2\n3", printed [[
        io.write(pipeline({ "seq", 2, tee = "P " }, { "awk", "{ n += $1 } END { print n }" }):capture())
      ]])
    end)

    it("has printed all lines when run returns, however slowly they are read", function()
      local lines = {}
      for i = 1, 30000 do lines[i] = "P " .. i .. "\n" end
      local spec = world.through({ "sh", "-c", '"$@" | (sleep 0.05; cat)', "sh" }, host:spec [[
        local corun = require "corun"
        local last = corun.pipeline({ { "seq", 30000, tee = "P " }, { "tail", "-1" } }):capture()
        corun.stdout:write("after ", last, "\n")
      ]])
      assert.is_true(corun.run(spec).stdout == table.concat(lines) .. "after 30000\n")
    end)

    it("is no error when its stage is stopped or cut off", function()
      assert.equal("P a\ntimeout\n", printed [[
        corun.scope(function()
          local result = pipeline({ "sh", "-c", "echo a; exec sleep 1000", tee = "P " }, { "cat" })
            :with({ timeout = 0.1, check = false }):run()
          print(result.reason)
        end)
      ]])
      local text = printed [[
        corun.scope(function()
          local result = pipeline({ "yes", tee = "P " }, { "head", "-2" }):run()
          corun.stdout:write(result.stages[1].signal, ", ", result.stdout)
        end)
      ]]
      assert.matches("^P y\nP y\n", text)
      assert.matches("\nSIGPIPE, y\ny\n$", text)
    end)

    it("may be of several stages: no line is torn", function()
      local text = printed [[
        local result = pipeline({ "seq", 5000, tee = "A " }, { "cat", tee = "B " }, { "wc", "-l" }):run()
        corun.stdout:write("C ", result.stdout)
      ]]
      local counts = { A = 0, B = 0, C = 0 }
      for name, number in text:gmatch("(.-) (%d+)\n") do
        counts[name] = counts[name] + 1
        assert.equal(name == "C" and 5000 or counts[name], tonumber(number))
      end
      assert.same({ A = 5000, B = 5000, C = 1 }, counts)
    end)

    it("gives a last line without newline one", function()
      assert.equal("P a\nP b\na\nb", printed [[
        io.write(pipeline({ "printf", "a\\nb", tee = "P " }, { "cat" }):capture())
      ]])
    end)
  end)
end

describe("The tee of a whole Pipeline", function()
  it("copies what comes out at the end to a file or Writer, whatever the stages' taps", function()
    local directory = support.directory()
    local middle, file, other = directory .. "/middle", directory .. "/end", directory .. "/other"
    local pipeline = corun.command { "seq", "2", tee = { file = middle } } | command("tac")
    assert.equal("2\n1", pipeline:with({ tee = { file = file } }):capture())
    assert.equal("1\n2\n", support.read_file(middle))
    assert.equal("2\n1\n", support.read_file(file))
    local sink <close> = corun.spawn { "cat", stdout = { file = other } }
    assert.equal("2\n1", pipeline:with({ tee = sink.stdin }):capture())
    sink:close_stdin()
    sink:wait()
    assert.equal("2\n1\n", support.read_file(other))
  end)

  it("does the same where a function comes last, and for the last branch of a tee", function()
    local file = support.directory() .. "/end"
    local copy = function(reader, writer) reader:copy_to(writer) end
    assert.equal("1\n2", (command("seq", "2") | copy):with({ tee = { file = file } }):capture())
    assert.equal("1\n2\n", support.read_file(file))
    corun.tee({ "seq", "2" }, { { "wc", "-l" }, { "tac" } }):with({ tee = { file = file } }):run()
    assert.equal("2\n1\n", support.read_file(file))
  end)
end)
