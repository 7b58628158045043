local corun = require "corun"
local raised = require "spec.support.raised"
local scripts = require "spec.support.scripts"

--- What fn(scope) does in a scope of its own, whose tasks may fail: the outcome of pcall(corun.scope).
local function in_scope(fn) return pcall(corun.scope, fn) end

describe("corun.go", function()
  it("starts the function at the next wait, with its arguments", function()
    local seen
    local task = corun.go(function(...) seen = table.pack(...) end, 1, nil, "x", nil)
    assert.is_nil(seen)
    assert.equal("ready", task.status)
    corun.sleep(0)
    assert.same({ 1, nil, "x", nil, n = 4 }, seen)
    assert.equal("ended", task.status)
  end)

  it("starts tasks in the order in which they were made", function()
    local order = {}
    for i = 1, 100 do corun.go(function() order[#order + 1] = i end) end
    corun.sleep(0)
    for i = 1, 100 do assert.equal(i, order[i]) end
  end)

  it("gives each task its own name", function()
    local first, second = corun.go(corun.sleep, 0), corun.go(function() end)
    first:cancel()
    assert.matches("^task %d+$", first.name)
    assert.not_equal(first.name, second.name)
    assert.equal(second.name .. " (ready)", tostring(second))
    second:await()
    assert.equal(second.name .. " (ended)", tostring(second))
  end)

  it("refuses what is no function", function()
    for _, wrong in ipairs { 1, "x", {} } do
      assert.matches("go: a function expected, got", raised.argument(function() corun.go(wrong) end))
    end
  end)

  it("puts a task that a task starts into the same scope", function()
    local order = {}
    corun.scope(function()
      corun.go(function()
        corun.go(function()
          corun.sleep(0.002)
          order[#order + 1] = "inner"
        end)
      end)
    end)
    order[#order + 1] = "after"
    assert.same({ "inner", "after" }, order)
  end)

  it("lets tasks take turns", function()
    local order = {}
    local tasks = {}
    for _, letter in ipairs { "a", "b", "c" } do
      tasks[#tasks + 1] = corun.go(function()
        for _ = 1, 3 do
          order[#order + 1] = letter
          corun.sleep(0)
        end
      end)
    end
    for _, task in ipairs(tasks) do task:await() end
    assert.equal("abcabcabc", table.concat(order))
  end)
end)

describe("Task:await", function()
  it("gives all that the function returned, before its end and after, to any number of tasks", function()
    local task = corun.go(function()
      corun.sleep(0.002)
      return 1, nil, "x", nil
    end)
    local others = {}
    for i = 1, 3 do others[i] = corun.go(function() return table.pack(task:await()) end) end
    local expected = { 1, nil, "x", nil, n = 4 }
    assert.same(expected, table.pack(task:await()))
    assert.same(expected, table.pack(task:await()))
    for _, other in ipairs(others) do assert.same(expected, other:await()) end
  end)

  it("gives nothing for nothing, and a thousand results", function()
    assert.equal(0, select("#", corun.go(function() end):await()))
    local many = {}
    for i = 1, 1000 do many[i] = i end
    assert.same(many, { corun.go(table.unpack, many):await() })
  end)

  it("raises what the task raised, as it is", function()
    for _, thing in ipairs { "text", { a = "table" }, 42, false } do
      local seen
      local ok, e = in_scope(function(scope)
        local task = scope:go(function() error(thing, 0) end)
        seen = table.pack(pcall(task.await, task))
        assert.equal("failed", task.status)
      end)
      assert.same({ false, thing, n = 2 }, seen)
      assert.is_false(ok)
      assert.equal(thing, e)
    end
  end)

  it("raises the Error of what failed in the task, which knows its line", function()
    local ok, e = in_scope(function(scope)
      scope:go(function() corun.run { "false" } end)
    end)
    assert.is_false(ok)
    assert.equal("exit", e.kind)
    assert.matches("^spec/task_spec.lua:%d+:$", e.where)
    assert.matches("spec/task_spec.lua:%d+", e.traceback)
  end)

  it("raises \"timeout\" after so long and leaves the task alone", function()
    local finish
    local task = corun.go(function()
      while not finish do corun.sleep(0.001) end
      return "done"
    end)
    assert.equal(0.005, raised.error("timeout", function() task:await(0.005) end).seconds)
    raised.error("timeout", function() task:await(0) end)
    finish = true
    assert.equal("done", task:await(10))
    assert.equal("done", task:await(0))
  end)

  it("refuses the task itself, and a wrong time", function()
    local task
    task = corun.go(function() return pcall(task.await, task) end)
    local ok, e = task:await()
    assert.is_false(ok)
    assert.equal("deadlock", e.kind)
    assert.matches("^spec/task_spec.lua:%d+: await: task %d+ would wait for itself$", tostring(e))
    for _, wrong in ipairs { -1, 0 / 0, "x" } do
      assert.matches("await: seconds expected", raised.argument(function() task:await(wrong) end))
    end
  end)
end)

describe("Task.status", function()
  it("is ready, running, waiting and ended in its turn", function()
    local task, inside
    task = corun.go(function()
      inside = task.status
      corun.sleep(0.002)
    end)
    assert.equal("ready", task.status)
    corun.sleep(0)
    assert.equal("running", inside)
    assert.equal("waiting", task.status)
    task:await()
    assert.equal("ended", task.status)
  end)
end)

describe("A task", function()
  it("cannot yield to nobody: that is an error in it", function()
    local ok, e = in_scope(function(scope)
      scope:go(function() coroutine.yield("nobody") end)
    end)
    assert.is_false(ok)
    assert.matches("yield from outside a coroutine", tostring(e))
  end)

  it("runs its <close> variables when it fails or is cancelled, and they may wait", function()
    local closed = {}
    local function closing(name)
      return setmetatable({}, { __close = function()
        corun.sleep(0.001)
        closed[#closed + 1] = name
      end })
    end
    local task = corun.go(function()
      local _ <close> = closing "cancelled"
      corun.sleep(1000)
    end)
    corun.sleep(0)
    task:cancel()
    raised.error("cancelled", function() task:await() end)
    in_scope(function(scope)
      scope:go(function()
        local _ <close> = closing "failed"
        error("x")
      end)
    end)
    assert.same({ "cancelled", "failed" }, closed)
  end)

  it("is collected once it has ended and nobody has it", function()
    local alive = setmetatable({}, { __mode = "k" })
    for _ = 1, 100 do alive[corun.go(function() return {} end)] = true end
    corun.sleep(0)
    corun.sleep(0)
    collectgarbage()
    collectgarbage()
    assert.is_nil(next(alive))
  end)

  it("may be one of ten thousand", function()
    local sum, tasks = 0, {}
    for i = 1, 10000 do
      tasks[i] = corun.go(function()
        corun.sleep(0.001 * (i % 7))
        sum = sum + i
      end)
    end
    for _, task in ipairs(tasks) do task:await() end
    assert.equal(50005000, sum)
  end)
end)

describe("A deadlock", function()
  for _, host in ipairs(scripts.hosts) do
    it("of two tasks that await each other is an error of kind \"deadlock\" under " .. host.name, function()
      local result = host:run [[
        local corun = require "corun"
        local first, second
        first = corun.go(function() return second:await() end)
        second = corun.go(function() return first:await() end)
        local ok, e = pcall(first.await, first)
        print(ok, e.kind)
      ]]
      assert.equal("false\tdeadlock\n", result.stdout)
      raised.has(result.stderr, "every task waits for something that can never come")
    end)
  end
end)
