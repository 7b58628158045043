--- What a child inherits without being asked: nothing.

local corun = require "corun"
local scripts = require "spec.support.scripts"
local support = require "spec.support"
local world = require "spec.support.world"

--- The open descriptors of a child, "0 1 2".
local function descriptors(options)
  local spec = { scripts.fixtures .. "/fds", format = "lines" }
  for name, value in pairs(options or {}) do spec[name] = value end
  local numbers = {}
  for i, line in ipairs(corun.run(spec).stdout) do numbers[i] = tonumber(line) end
  table.sort(numbers)
  return table.concat(numbers, " ")
end

--- What the fixture "signals" says of a child: { SigBlk = number, SigIgn = number, SigCgt = number }.
local function signals(text)
  local sets = {}
  for name, digits in text:gmatch("(%w+):%s*(%x+)") do sets[name] = tonumber(digits, 16) end
  assert.is_not_nil(sets.SigIgn and sets.SigBlk, text)
  return sets
end

local none <const> = { SigBlk = 0, SigIgn = 0, SigCgt = 0 }

describe("A child's descriptors", function()
  it("are 0, 1, 2", function()
    assert.equal("0 1 2", descriptors())
  end)

  it("are 0, 1, 2 though the program has inheritable ones", function()
    local cloexec <const> = tonumber("2000000", 8)
    local function count_inheritable()
      local count = 0
      for fd in pairs(support.descriptors()) do
        local info = support.read_file("/proc/self/fdinfo/" .. fd)
        if info and fd > 2 and tonumber(info:match("flags:%s*(%d+)"), 8) & cloexec == 0 then count = count + 1 end
      end
      return count
    end
    local before = count_inheritable()
    local file <close> = io.open("/dev/null")
    local pipe <close> = io.popen("cat >/dev/null", "w")
    assert.equal(before + 2, count_inheritable()) -- or this would show nothing
    assert.equal("0 1 2", descriptors())
    assert.equal("0 1 2", descriptors { stdin = file, stdout = "pipe" })
    assert.equal("0 1 2", descriptors { input = "text", stderr = "stdout" })
    local _ = pipe
  end)

  it("are 0, 1, 2 though the runtime was started with more", function()
    local spec = scripts.native:spec([[
      local corun = require "corun"
      io.write(corun.capture { os.getenv "FIXTURES" .. "/fds" })
    ]])
    assert.equal("0\n1\n2", corun.run(world.after("exec 7>/dev/null 9<&0 6>&1", spec)).stdout)
  end)

  it("are 0, 1, 2 though the runtime was started without some of them", function()
    for _, closing in ipairs { "<&-", ">&-", "2>&-", "<&- >&- 2>&-" } do
      local spec = scripts.native:spec([[
        local corun = require "corun"
        local file = io.open("result", "w")
        file:write(corun.capture { os.getenv "FIXTURES" .. "/fds" })
        file:close()
      ]])
      assert.is_true(corun.run(world.after("exec " .. closing, spec)).ok)
      assert.equal("0\n1\n2", support.read_file(spec.cwd .. "/result"), closing)
    end
  end)

  it("are those and what fds names, gaps included", function()
    assert.equal("0 1 2 3", descriptors { fds = { [3] = "output" } })
    assert.equal("0 1 2 5 9", descriptors { fds = { [5] = "output", [9] = "input" } })
    assert.equal("0 1 2 100", descriptors { fds = { [100] = { file = "/dev/null" } } })
  end)

  it("are 0, 1, 2 beside other children with pipes", function()
    local others = {}
    for i = 1, 5 do others[i] = corun.spawn { "cat", fds = { [3] = "output" } } end
    assert.equal("0 1 2", descriptors())
    for _, process in ipairs(others) do process:kill() end
  end)

  it("are 0, 1, 2 when it is started in a task or in a coroutine", function()
    assert.equal("0 1 2", corun.go(descriptors):await())
    assert.equal("0 1 2", coroutine.wrap(function() return descriptors() end)())
    local generator = coroutine.wrap(function()
      coroutine.yield("first")
      coroutine.yield(descriptors())
    end)
    assert.equal("first", generator())
    assert.equal("0 1 2", generator())
  end)

  it("leave no pipe of another child open, so that EOF comes", function()
    local one <close> = corun.spawn { "cat" }
    local two <close> = corun.spawn { "cat" }
    one:close_stdin()
    assert.equal("", one.stdout:read())
    assert.is_nil(two.status)
  end)
end)

describe("A child's signals", function()
  local fixture <const> = scripts.fixtures .. "/signals"

  it("have their default dispositions and none is blocked", function()
    assert.same(none, signals(corun.run({ fixture }).stdout))
    assert.same(none, signals(corun.go(corun.run, { fixture }):await().stdout))
  end)

  it("have them though the runtime was started with some ignored and blocked", function()
    -- Not the real-time ones: uv_spawn does not know them.
    local wrapper = { "env", "--ignore-signal=HUP,USR1,CHLD,PIPE,TERM", "--block-signal=USR2,CHLD,TERM" }
    if world.is_native then
      wrapper = { "env", "--ignore-signal=HUP,USR1,CHLD,PIPE,TERM,RTMAX", "--block-signal=USR2,CHLD,TERM,RTMIN" }
    end
    assert.is_not_same(none, signals(corun.run(world.through(wrapper, { fixture })).stdout))
    local spec = scripts.native:spec([[
      local corun = require "corun"
      local result = corun.run { os.getenv "FIXTURES" .. "/signals" }
      print(result.status, result.stdout)
    ]])
    spec.timeout, spec.stop = 10, { "KILL" }
    local text = corun.run(world.through(wrapper, spec)).stdout
    assert.matches("^exit 0\t", text)
    assert.same(none, signals(text))
  end)

  it("have them while we handle some ourselves", function()
    local result = scripts.native:run([[
      local corun = require "corun"
      local p <close> = corun.spawn { "cat" } -- from now on SIGINT, SIGTERM, SIGHUP are ours
      io.write(corun.run { os.getenv "FIXTURES" .. "/signals" }.stdout)
    ]])
    assert.same(none, signals(result.stdout))
  end)

  it("kill it as they would under a shell", function()
    for _, name in ipairs { "TERM", "INT", "HUP", "USR1", "PIPE" } do
      local process <close> = corun.spawn { "sleep", 1000 }
      assert.is_true(process:signal(name))
      assert.equal("SIG" .. name, process:wait().signal)
    end
  end)
end)

describe("The runtime, started with signals blocked that it handles", function()
  for name, number in pairs { TERM = 15, HUP = 1, INT = 2 } do
    it("ends by SIG" .. name .. " all the same", function()
      local spec = scripts.native:spec([[
        local corun = require "corun"
        corun.run { os.getenv "FIXTURES" .. "/ready", stdout = "inherit" }
      ]])
      spec.stop = { "KILL" }
      local process <close> = corun.spawn(world.through({ "env", "--block-signal=" .. name }, spec))
      assert.matches("^ready", process.stdout:read_line())
      process:signal(name)
      assert.equal("exit " .. 128 + number, tostring(process:wait(5)))
    end)
  end
end)
