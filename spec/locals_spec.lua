local corun = require "corun"
local raised = require "spec.support.raised"
local scripts = require "spec.support.scripts"
local waiting = require "spec.support.waiting"

local locals = corun.locals

--- Runs fn in a task of its own, so that the examples do not find each other's values, and gives what it returns.
local function in_task(fn)
  return corun.scope(function(scope) return scope:go(fn):await() end)
end

--- An example in a task of its own.
local function it_in_task(name, fn)
  it(name, function() in_task(fn) end)
end

describe("corun.locals", function()
  it_in_task("are read, assigned and removed as the fields of a table are", function()
    assert.is_nil(locals.id)
    locals.id = "request 7"
    locals["any text"], locals[""] = false, {}
    assert.equal("request 7", locals.id)
    assert.is_false(locals["any text"])
    assert.same({}, locals[""])
    locals.id = nil
    assert.is_nil(locals.id)
    assert.is_false(locals["any text"])
  end)

  it_in_task("are iterated over with pairs, also while they are changed", function()
    for _ in pairs(locals) do error "there are none" end
    locals.a, locals.b, locals.c, locals.gone = 1, false, "x", 1
    locals.gone = nil
    local seen = {}
    for name, value in pairs(locals) do
      seen[name] = value
      locals[name], locals[name .. " changed"] = nil, true
    end
    assert.same({ a = 1, b = false, c = "x" }, seen)
    assert.is_nil(locals.a)
    assert.is_true(locals["a changed"])
  end)

  it("refuse what is no name", function()
    for shown, name in pairs { ["1"] = 1, ["true"] = true, ["a table"] = {}, ["a function"] = print } do
      local message = raised.argument(function() locals[name] = "value" end)
      assert.equal("locals: a name expected, got " .. shown, message)
      assert.is_nil(locals[name])
    end
    assert.equal("locals: a name expected, got nil", raised.argument(function() locals[nil] = "value" end))
    assert.is_nil(locals[nil])
    assert.is_nil(next(locals))
  end)

  it_in_task("are inherited by a task as they are when it is started", function()
    locals.id, locals.gone, locals.late = "at the start", "there", nil
    local task = corun.go(function() return locals.id, locals.gone, locals.late end)
    locals.id, locals.gone, locals.late = "later", nil, "late" -- before the task runs
    assert.same({ "at the start", "there" }, { task:await() })
    assert.is_nil(corun.go(function() return locals.gone end):await())
  end)

  it_in_task("may be changed and removed by a task, which only its own later tasks see", function()
    locals.id, locals.gone = "parent", "there"
    local child = corun.go(function()
      local before = corun.go(function() return locals.id end)
      locals.id, locals.gone, locals.new = "child", nil, "new"
      local after = corun.go(function() return locals.id .. " " .. tostring(locals.gone) .. " " .. locals.new end)
      return before:await(), after:await()
    end)
    assert.same({ "parent", "child nil new" }, { child:await() })
    assert.same({ "parent", "there" }, { locals.id, locals.gone, locals.new })
  end)

  it_in_task("are each task's own, also when they take turns", function()
    local wrong = 0
    corun.map({ 1, 2, 3, 4, 5, 6 }, function(i)
      locals.id = i
      for round = 1, 5 do
        locals.round = round
        corun.sleep(i % 3 * 0.0005)
        if locals.id ~= i or locals.round ~= round then wrong = wrong + 1 end
      end
    end, { jobs = math.huge })
    assert.equal(0, wrong)
    assert.is_nil(locals.id)
  end)

  it_in_task("come from the task that starts another one, whosever scope that is in", function()
    locals.id = "owner"
    corun.scope(function(scope)
      scope:go(function()
        locals.id = "starter"
        assert.equal("starter", scope:go(function() return locals.id end):await())
      end)
    end)
  end)

  it_in_task("stay the same in what calls its function in the same task", function()
    local function add() locals.count = (locals.count or 0) + 1 end
    corun.scope(add)
    corun.timeout(1000, add)
    corun.move_on(1000, add)
    corun.shield(add)
    corun.retry({}, add)
    corun.every(0.0001, function()
      add()
      return false
    end)
    corun.scope(function(scope)
      scope:defer(add)
      scope:go(function() locals.count = 100 end)
      local _ <close> = setmetatable({}, { __close = add })
    end)
    assert.equal(8, locals.count)
  end)

  it_in_task("are inherited by the functions of all, race and map", function()
    locals.id = "caller"
    local function set(value)
      local before = locals.id
      locals.id = value
      corun.sleep(0)
      return before .. " " .. locals.id
    end
    local function set_own() return set "own" end
    assert.same({ "caller own", "caller own" }, corun.all { set_own, set_own })
    assert.equal("caller own", corun.race { set_own, function() corun.sleep(1000) end })
    assert.same({ "caller a", "caller b" }, corun.map({ "a", "b" }, set, { jobs = 1 }))
    assert.equal("caller", locals.id)
  end)

  it_in_task("of the caller of map may be set by the iterator, for each item", function()
    local i = 0
    assert.same({ "item 1", "item 2", "item 3" }, corun.map(function()
      i = i + 1
      locals.id = "item " .. i
      return i <= 3 and i or nil
    end, function()
      corun.sleep(0.001)
      return locals.id
    end, { jobs = 3 }))
  end)

  it_in_task("are those of the task in a coroutine: of the one that resumes it", function()
    locals.id = "one"
    local co = coroutine.wrap(function()
      for _ = 1, 3 do
        corun.sleep(0)
        coroutine.yield(locals.id)
      end
      locals.id = "from the coroutine"
    end)
    assert.equal("one", co())
    assert.equal("two", corun.go(function()
      locals.id = "two"
      return co()
    end):await())
    assert.equal("one", co())
    co()
    assert.equal("from the coroutine", locals.id)
  end)

  it_in_task("are those of the task in a callback of table.sort, though others run while that waits", function()
    locals.id = "sorter"
    local seen = {}
    local other = corun.go(function()
      locals.id = "other"
      corun.sleep(0.001)
      seen[#seen + 1] = locals.id
    end)
    table.sort({ 2, 1 }, function(a, b)
      other:await()
      seen[#seen + 1] = locals.id
      locals.set = "in the callback"
      return a < b
    end)
    assert.equal("other sorter", seen[1] .. " " .. seen[2])
    assert.equal("in the callback", locals.set)
  end)

  it_in_task("last as long as their task, and no longer", function()
    local alive = setmetatable({}, { __mode = "k" })
    corun.go(function()
      local value = { locals = locals }
      alive[value] = true
      locals.value, locals.again = value, setmetatable({ value }, {})
      value = nil -- luacheck: ignore 311
      corun.sleep(0)
      collectgarbage()
      collectgarbage()
      assert.equal(locals.value, locals.again[1])
    end):await()
    corun.sleep(0)
    collectgarbage()
    collectgarbage()
    assert.is_nil(next(alive))
  end)
end)

describe("corun.locals in a function that a process is given", function()
  it_in_task("for its lines are those of the task that started it, as they were then", function()
    locals.id = "at the start"
    local seen = {}
    local function note(line)
      seen[#seen + 1] = line .. ": " .. tostring(locals.id)
      locals.id = "changed by " .. line
    end
    local script = "read go; echo one; echo two; echo err >&2"
    local p <close> = corun.spawn { "sh", "-c", script, stdout = note, stderr = note }
    locals.id = "later"
    p:write("go\n")
    p:wait_closed(10)
    table.sort(seen)
    assert.same({ "err: at the start", "one: at the start", "two: changed by one" }, seen)
    assert.equal("later", locals.id)
  end)

  it_in_task("of a command that was prepared before are those of who runs it", function()
    locals.id = "when it was prepared"
    local seen
    local command = corun.command { "echo", "line", stdout = function() seen = locals.id end }
    for _, id in ipairs { "first", "second" } do
      corun.go(function()
        locals.id = id
        command:run()
      end):await()
      assert.equal(id, seen)
    end
  end)

  it_in_task("for its input are those of the task that started it, too", function()
    locals.id = "at the start"
    local chunks, seen = 0, nil
    local p <close> = corun.spawn { "cat", stdout = "null", input = function()
      chunks = chunks + 1
      seen = locals.id
      return chunks == 1 and "text" or nil
    end }
    locals.id = "later"
    p:wait_closed(10)
    assert.equal("at the start", seen)
  end)
end)

describe("corun.locals in a handler of signals", function()
  it_in_task("are those of the task that set it up, as they were then, for each delivery anew", function()
    locals.id = "at the start"
    local seen = {}
    local _ <close> = corun.on_signal("USR1", function(name)
      seen[#seen + 1] = name .. ": " .. locals.id
      locals.id = "changed by the handler"
    end)
    locals.id = "later"
    for i = 1, 2 do
      corun.go(function()
        locals.id = "of another task"
        corun.run { "sh", "-c", "kill -USR1 $PPID" }
        waiting.wait_until("it was delivered", function() return #seen == i end)
      end):await()
    end
    assert.same({ "SIGUSR1: at the start", "SIGUSR1: at the start" }, seen)
    assert.equal("later", locals.id)
  end)

  it("are none where there were none", function()
    local seen
    local _ <close> = corun.on_signal("USR1", function() seen = { locals.id } end)
    in_task(function()
      locals.id = "of another task"
      corun.run { "sh", "-c", "kill -USR1 $PPID" }
      waiting.wait_until("it was delivered", function() return seen end)
    end)
    assert.same({}, seen)
  end)
end)

for _, host in ipairs(scripts.hosts) do
  describe("corun.locals of the main chunk under " .. host.name, function()
    it("are inherited by its tasks, and kept to the end", function()
      local result = host:run [[
        local corun = require "corun"
        local _ <close> = setmetatable({}, { __close = function() print("closed " .. corun.locals.id) end })
        corun.locals.id = "main"
        local task = corun.go(function()
          print("task " .. corun.locals.id)
          corun.locals.id = "task"
          corun.sleep(0.001)
          print("still " .. corun.locals.id)
        end)
        task:await()
        print("main " .. corun.locals.id)
        corun.go(function() print("last " .. corun.locals.id) end)
      ]]
      assert.equal("", result.stderr)
      assert.equal("task main\nstill task\nmain main\nclosed main\nlast main\n", result.stdout)
    end)
  end)
end
