--- A person's own coroutines: their yields are theirs, though blocking operations stand between.

local corun = require "corun"
local raised = require "spec.support.raised"
local support = require "spec.support"

describe("A coroutine.wrap generator", function()
  it("reads the lines of a child and yields them to the for that resumes it", function()
    local p <close> = corun.spawn { "printf", "one\\ntwo\\nthree\\n" }
    local lines = {}
    for line in coroutine.wrap(function()
      for line in p:stream_stdout() do coroutine.yield(line:upper()) end
    end) do
      lines[#lines + 1] = line
    end
    assert.same({ "ONE", "TWO", "THREE" }, lines)
  end)

  it("can stand on another one, and on a third", function()
    local p <close> = corun.spawn { "seq", 20 }
    local function numbers()
      for line in p:stream_stdout() do coroutine.yield(tonumber(line)) end
    end
    local function even()
      for number in coroutine.wrap(numbers) do
        corun.sleep(0)
        if number % 2 == 0 then coroutine.yield(number) end
      end
    end
    local function squared()
      for number in coroutine.wrap(even) do
        coroutine.yield(math.tointeger(tonumber(corun.capture { "expr", number, "*", number })))
      end
    end
    local got = {}
    for square in coroutine.wrap(squared) do got[#got + 1] = square end
    assert.same({ 4, 16, 36, 64, 100, 144, 196, 256, 324, 400 }, got)
  end)

  it("passes values both ways, nil ones too", function()
    local co = coroutine.create(function(...)
      corun.sleep(0)
      local got = table.pack(coroutine.yield(select("#", ...), ...))
      corun.sleep(0)
      return got.n, table.unpack(got, 1, got.n)
    end)
    assert.same({ true, 3, nil, 2, nil, n = 5 }, table.pack(coroutine.resume(co, nil, 2, nil)))
    assert.equal("suspended", coroutine.status(co))
    assert.same({ true, 2, "x", nil, n = 4 }, table.pack(coroutine.resume(co, "x", nil)))
    assert.equal("dead", coroutine.status(co))
  end)

  it("lets other tasks run while it waits", function()
    local ran
    local values = coroutine.wrap(function()
      corun.go(function() ran = true end)
      coroutine.yield "first"
      corun.sleep(0)
      coroutine.yield "second"
    end)
    assert.equal("first", values())
    assert.is_nil(ran)
    assert.equal("second", values())
    assert.is_true(ran)
  end)

  it("raises its errors at its resumer, with the Error as it is", function()
    local co = coroutine.create(function() corun.run { "false" } end)
    local ok, e = coroutine.resume(co)
    assert.is_false(ok)
    assert.equal("exit", e.kind)
    assert.equal("dead", coroutine.status(co))
  end)

  it("may be resumed by one task and then by another", function()
    local co = coroutine.wrap(function()
      for i = 1, 4 do
        corun.sleep(0.001)
        coroutine.yield(i)
      end
    end)
    assert.equal(1, co())
    assert.equal(2, corun.go(co):await())
    assert.equal(3, corun.go(function() return co() end):await())
    assert.equal(4, co())
  end)

  it("cannot be resumed by a second task while it waits for the first", function()
    local co = coroutine.create(function()
      corun.sleep(0.005)
      return "done"
    end)
    local first = corun.go(coroutine.resume, co)
    corun.sleep(0)
    local ok, problem = coroutine.resume(co)
    assert.is_false(ok)
    assert.matches("cannot resume", problem)
    assert.same({ true, "done" }, { first:await() })
  end)

  it("is cancelled with the task that resumed it", function()
    local seen
    local task = corun.go(function()
      local co = coroutine.wrap(function()
        local ok, e = pcall(corun.sleep, 1000)
        seen = not ok and e.kind
        coroutine.yield()
      end)
      co()
      corun.sleep(1000)
    end)
    corun.sleep(0)
    task:cancel()
    raised.error("cancelled", function() task:await() end)
    assert.equal("cancelled", seen)
  end)

  it("knows who is running", function()
    local co
    co = coroutine.create(function()
      assert.equal(co, (coroutine.running()))
      assert.is_true(coroutine.isyieldable())
      corun.sleep(0)
      assert.equal(co, (coroutine.running()))
    end)
    assert.is_true(coroutine.resume(co))
  end)

  it("can be dropped in the middle, and is collected with what it held", function()
    local before = support.descriptors()
    local alive = setmetatable({}, { __mode = "k" })
    local function leave_behind()
      local p = corun.spawn { "seq", 100 }
      local values = coroutine.wrap(function()
        for line in p:stream_stdout() do coroutine.yield(line) end
      end)
      assert.equal("1", values())
      p:wait()
      alive[values], alive[p] = true, true
    end
    leave_behind()
    for _ = 1, 3 do
      corun.sleep(0)
      collectgarbage()
    end
    assert.is_nil(next(alive))
    assert.same(before, support.descriptors())
  end)

  it("works in many tasks at once", function()
    local function count_lines(n)
      local p <close> = corun.spawn { "seq", n }
      local count = 0
      for _ in coroutine.wrap(function()
        for line in p:stream_stdout() do coroutine.yield(line) end
      end) do
        count = count + 1
      end
      return count
    end
    local tasks = {}
    for i = 1, 50 do tasks[i] = corun.go(count_lines, i * 10) end
    for i, task in ipairs(tasks) do assert.equal(i * 10, task:await()) end
  end)
end)

describe("A scheduler of a person's own", function()
  it("can run coroutines in turn, each of which waits", function()
    local order, threads = {}, {}
    for _, letter in ipairs { "a", "b", "c" } do
      threads[#threads + 1] = coroutine.create(function()
        for i = 1, 3 do
          corun.sleep(0.0005)
          order[#order + 1] = letter .. i
          coroutine.yield()
        end
      end)
    end
    repeat
      local alive = false
      for _, thread in ipairs(threads) do
        if coroutine.status(thread) == "suspended" then
          assert(coroutine.resume(thread))
          alive = true
        end
      end
    until not alive
    assert.equal("a1 b1 c1 a2 b2 c2 a3 b3 c3", table.concat(order, " "))
  end)
end)
