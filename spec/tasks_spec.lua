--- corun.tasks(): the tree of scopes, tasks and processes. What is said of each wait: tasks_waits_spec.

local corun = require "corun"
local raised = require "spec.support.raised"
local scripts = require "spec.support.scripts"
local support = require "spec.support"
local waiting = require "spec.support.waiting"

local file = debug.getinfo(1, "S").short_src

--- The line on which this is called.
local function here() return debug.getinfo(2, "l").currentline end
local function place(line) return ("%s:%d"):format(file, line) end

--- The main task's node, of a new tree or this one.
local function main_node(tree) return (tree or corun.tasks()).tasks[1] end

--- The names of the tasks in a node's list, in order.
local function names(nodes)
  local list = {}
  for i, node in ipairs(nodes) do list[i] = node.name end
  return list
end

--- Starts fn as a task with that name and lets it begin to wait.
local function go(scope, name, fn, ...)
  local task = scope:go(fn, ...)
  task.name = name
  waiting.wait_until(name .. " waits", function() return task.status == "waiting" end)
  return task
end

describe("corun.tasks", function()
  it("gives the scope of the program, whose first task is the main one", function()
    local tree = corun.tasks()
    assert.equal("scope", tree.kind)
    assert.is_nil(tree.where)
    assert.is_nil(tree.deadline)
    assert.is_false(tree.cancelled)
    local main = main_node(tree)
    assert.same({ "task", "main", "running" }, { main.kind, main.name, main.status })
    assert.same({}, main.scopes)
    assert.equal(1, #tree.tasks)
    assert.same({}, tree.processes)
    assert.same({}, tree.scopes)
  end)

  it("gives what was started in that scope after the main task, in order", function()
    local tasks = {}
    for i = 1, 3 do
      tasks[i] = corun.go(corun.sleep, 1000)
      tasks[i].name = "number " .. i
    end
    local p <close> = corun.spawn { "cat" }
    local tree = corun.tasks()
    for _, task in ipairs(tasks) do task:cancel() end
    assert.same({ "main", "number 1", "number 2", "number 3" }, names(tree.tasks))
    assert.equal(1, #tree.processes)
    assert.equal(p.pid, tree.processes[1].pid)
    waiting.let_others_run()
    assert.same({ "main" }, names(corun.tasks().tasks))
  end)

  it("gives the scopes that a task has opened, with what is in them", function()
    local tree
    corun.scope(function(outer)
      go(outer, "sleeper", corun.sleep, 1000)
      corun.scope(function(inner)
        go(inner, "deep sleeper", corun.sleep, 1000)
        tree = corun.tasks()
        inner:cancel()
      end)
      outer:cancel()
    end)
    local outer = main_node(tree).scopes[1]
    assert.equal("scope", outer.kind)
    assert.same({ "sleeper" }, names(outer.tasks))
    assert.equal(1, #outer.scopes)
    assert.same({ "deep sleeper" }, names(outer.scopes[1].tasks))
    assert.same({ {}, {}, {} }, { outer.processes, outer.scopes[1].processes, outer.scopes[1].scopes })
  end)

  it("gives under a task what that one has opened, and the line where", function()
    local tree, line
    corun.scope(function(scope)
      go(scope, "opener", function()
        corun.scope(function(inner)
          inner:go(corun.sleep, 1000).name = "inner"
          line = here() + 1
          corun.timeout(1000, function() corun.sleep(1000) end)
        end)
      end)
      waiting.let_others_run()
      tree = corun.tasks()
      scope:cancel()
    end)
    local scope = main_node(tree).scopes[1]
    assert.same({ "opener" }, names(scope.tasks))
    assert.same({}, scope.scopes)
    local opened = scope.tasks[1].scopes
    assert.equal(1, #opened)
    assert.same({ "inner" }, names(opened[1].tasks))
    assert.equal(1, #opened[1].scopes)
    assert.equal(place(line), opened[1].scopes[1].where)
    assert.same({}, opened[1].scopes[1].tasks)
  end)

  it("gives time limits and shields as scopes, with their deadlines", function()
    local tree
    local before, event = corun.now(), corun.event()
    corun.scope(function(scope)
      go(scope, "limited", function()
        corun.timeout(100, function()
          corun.move_on(50, function()
            corun.shield(function() event:wait() end)
          end)
        end)
      end)
      tree = corun.tasks()
      event:set()
    end)
    local limit = main_node(tree).scopes[1].tasks[1].scopes[1]
    assert.is_true(limit.deadline >= before + 100 and limit.deadline < before + 110)
    local nested = limit.scopes[1]
    assert.is_true(nested.deadline >= before + 50 and nested.deadline < before + 60)
    local shield = nested.scopes[1]
    assert.is_nil(shield.deadline)
    assert.same({}, shield.scopes)
  end)

  it("gives the deadline of a scope as it was set, and whether it is cancelled", function()
    corun.scope(function(scope)
      local node = main_node().scopes[1]
      assert.is_nil(node.deadline)
      assert.is_false(node.cancelled)
      scope.deadline = corun.now() + 1000
      assert.equal(scope.deadline, main_node().scopes[1].deadline)
      scope:cancel()
      assert.is_true(main_node().scopes[1].cancelled)
      assert.is_false(corun.tasks().cancelled)
    end)
  end)

  it("gives processes with pid, command and since when they run, in the order of the pids", function()
    local tree, before
    local pids = {}
    corun.scope(function(scope)
      before = corun.now()
      for _, argument in ipairs { "-", "a b" } do
        local p = scope:spawn { "sh", "-c", "read x", argument }
        pids[#pids + 1] = p.pid
      end
      tree = corun.tasks()
    end)
    table.sort(pids)
    local nodes = main_node(tree).scopes[1].processes
    assert.same(pids, { nodes[1].pid, nodes[2].pid })
    for _, node in ipairs(nodes) do
      assert.equal("process", node.kind)
      assert.equal("running", node.status)
      assert.matches("^sh %-c 'read x' [-']", node.command)
      assert.is_true(node.since >= before - 0.01 and node.since <= corun.now())
    end
  end)

  it("gives a process that has ended only while others of its group are left", function()
    corun.scope(function(scope)
      local p = scope:spawn { "sh", "-c", "sleep 1000 </dev/null >/dev/null 2>&1 & exit 3" }
      p:wait()
      local node = main_node().scopes[1].processes[1]
      assert.equal(p.pid, node.pid)
      assert.equal("exit 3", node.status)
      p:kill()
      waiting.wait_until("none is listed", function() return #main_node().scopes[1].processes == 0 end)
    end)
  end)

  it("works in a task, in a coroutine, in a callback and in clean-up", function()
    local seen = {}
    local function look(where) seen[#seen + 1] = where .. ": " .. main_node().status end
    local task = corun.go(function() look "task" end)
    task:await()
    coroutine.wrap(function() look "coroutine" end)()
    table.sort({ 2, 1 }, function() look "sort" end)
    corun.scope(function(scope) scope:defer(function() look "defer" end) end)
    do
      local _ <close> = setmetatable({}, { __close = function() look "close" end })
    end
    assert.same({ "task: waiting", "coroutine: running", "sort: running", "defer: running", "close: running" }, seen)
  end)
end)

describe("A task's name", function()
  it("is \"task\" and a number unless it is given one, which the tree and the text show", function()
    corun.scope(function(scope)
      local task = go(scope, "fetch", corun.sleep, 1000)
      local other = scope:go(corun.sleep, 1000)
      assert.equal("fetch (waiting)", tostring(task))
      assert.matches("^task %d+ %(ready%)$", tostring(other))
      local nodes = main_node().scopes[1].tasks
      assert.same({ "fetch", other.name }, names(nodes))
      raised.has(tostring(corun.tasks()), "\n      fetch: in sleep for ")
      task.name = "fetch again"
      assert.equal("fetch again", main_node().scopes[1].tasks[1].name)
      scope:cancel()
    end)
  end)

  it("is a string, and the only field that can be set", function()
    local task = corun.go(function() end)
    for value, text in pairs { [1] = "1", [true] = "true", [print] = "a function" } do
      assert.equal("name: a string expected, got " .. text, raised.argument(function() task.name = value end))
    end
    assert.equal("name: a string expected, got nil", raised.argument(function() task.name = nil end))
    assert.equal('a Task has no field "title" to be set', raised.argument(function() task.title = "x" end))
    task:await()
  end)
end)

describe("The text of corun.tasks", function()
  it("has a line for each scope, task and process, with the script's line", function()
    local text, line
    corun.scope(function(scope)
      local mutex = corun.mutex()
      mutex:lock()
      go(scope, "opener", function()
        line = here() + 1
        corun.scope(function(inner)
          inner.deadline = corun.now() + 1000
          inner:go(function() mutex:lock() end).name = "locker"
          inner:spawn { "cat", "-" }
          corun.sleep(1000)
        end)
      end)
      waiting.let_others_run()
      scope:go(function() end).name = "new"
      text = tostring(corun.tasks())
      scope:cancel()
      mutex:unlock()
    end)
    local at = file:gsub("%p", "%%%0")
    local expected = {
      "^corun, process " .. support.read_file("/proc/self/stat"):match("^%d+") .. "$",
      "^  main: running$", "^    scope",
      ("^      opener: in sleep for %%d+%%.%%d s at %s:%d$"):format(at, line + 4),
      ("^        scope at %s:%d, %%d+%%.%%d s left$"):format(at, line),
      ("^          locker: in lock for %%d+%%.%%d s at %s:%d, Mutex %%(held by main%%)$"):format(at, line + 2),
      "^          process %d+: running for %d+%.%d s: cat %-$", "^      new: ready$",
    }
    local n = 0
    for each in text:gmatch("[^\n]+") do
      n = n + 1
      assert.matches(expected[n] or "no more lines", each)
    end
    assert.equal(#expected, n)
  end)

  it("says of a scope that it is cancelled", function()
    corun.scope(function(scope)
      scope:cancel()
      assert.matches("\n    scope[^\n]*, cancelled$", tostring(corun.tasks()))
    end)
  end)
end)

for _, host in ipairs(scripts.hosts) do
  describe("corun.tasks in a script under " .. host.name, function()
    it("shows the main task at the end of the script, and what it waits for", function()
      local result = host:run [[
        local corun = require "corun"
        corun.go(function()
          corun.sleep(0.01)
          print(corun.tasks())
        end).name = "last"
      ]]
      assert.matches("^corun, process %d+\n  main: in the end of the script for %d+%.%d s\n  last: running\n$",
        result.stdout)
      assert.equal(0, result.code)
    end)
  end)
end
