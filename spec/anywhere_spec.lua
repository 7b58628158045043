--- A blocking operation may stand wherever Lua code may stand.

local corun = require "corun"
local raised = require "spec.support.raised"
local support = require "spec.support"
local waiting = require "spec.support.waiting"

-- Places: each calls op somewhere and returns what that gave.
local places = {}

function places.plainly(op) return op() end

function places.in_pcall(op)
  local _, value = pcall(op)
  return value
end

function places.in_a_message_handler(op)
  local _, value = xpcall(error, function() return op() end)
  return value
end

function places.in_a_coroutine(op) return coroutine.wrap(op)() end

function places.five_coroutines_deep(op)
  for _ = 1, 5 do
    local inner = op
    op = function() return coroutine.wrap(inner)() end
  end
  return op()
end

function places.in_pcall_in_a_coroutine_in_pcall(op)
  local _, _, value = pcall(coroutine.wrap(function() return pcall(op) end))
  return value
end

function places.in_an_iterator(op)
  local result
  for value in function(_, last) return last == nil and op() or nil end do result = value end
  return result
end

function places.in_a_close_handler(op)
  local value
  do
    local _ <close> = setmetatable({}, { __close = function() value = op() end })
  end
  return value
end

function places.in_a_close_handler_after_an_error(op)
  local value
  pcall(function()
    local _ <close> = setmetatable({}, { __close = function() value = op() end })
    error("x")
  end)
  return value
end

function places.in_coroutine_close(op)
  local value
  local co = coroutine.create(function()
    local _ <close> = setmetatable({}, { __close = function() value = op() end })
    coroutine.yield()
  end)
  coroutine.resume(co)
  coroutine.close(co)
  return value
end

function places.in_table_sort(op)
  local value
  table.sort({ 2, 1 }, function(a, b)
    value = value or op()
    return a < b
  end)
  return value
end

function places.in_gsub(op)
  local value
  string.gsub("x", ".", function() value = op() end)
  return value
end

function places.in_gsub_in_sort_in_a_coroutine(op)
  return coroutine.wrap(function()
    local value
    table.sort({ 2, 1 }, function(a, b)
      if not value then ("x"):gsub(".", function() value = op() end) end
      return a < b
    end)
    return value
  end)()
end

function places.in_require(op)
  package.preload["spec.anywhere.module"] = op
  package.loaded["spec.anywhere.module"] = nil
  return (require "spec.anywhere.module")
end

function places.in_dofile(op)
  local path = support.directory() .. "/chunk.lua"
  support.write_file(path, "return spec_anywhere_operation()")
  _G.spec_anywhere_operation = op
  return (dofile(path))
end

function places.in_the_reader_of_load(op)
  local value
  load(function()
    if value then return nil end
    value = op()
    return "return 1"
  end)
  return value
end

-- Metamethods, each with an expression that calls it.
for event, use in pairs {
  __index = function(t) return t.x end, __newindex = function(t) t.x = 1 end, __call = function(t) return t() end,
  __add = function(t) return t + 1 end, __concat = function(t) return t .. "x" end, __len = function(t) return #t end,
  __eq = function(t) return t == setmetatable({}, getmetatable(t)) end, __lt = function(t) return t < t end,
  __unm = function(t) return -t end, __tostring = function(t) return tostring(t) end,
  __pairs = function(t) return pairs(t) end,
} do
  places["in" .. event] = function(op)
    local value
    use(setmetatable({}, { [event] = function()
      value = op()
      return "text"
    end }))
    return value
  end
end

local names = {}
for name in pairs(places) do names[#names + 1] = name end
table.sort(names)

local function say(word)
  return function() return corun.capture { "echo", word } end
end

describe("A blocking operation", function()
  for _, name in ipairs(names) do
    local place = places[name]

    it("waits " .. name:gsub("_+", " ") .. ", in the main chunk and in a task", function()
      assert.equal("main", place(say "main"))
      assert.equal("task", corun.go(place, say "task"):await())
    end)

    it("lets other tasks run while it waits " .. name:gsub("_+", " "), function()
      local go_on
      corun.go(function()
        corun.sleep(0.001)
        go_on = true
      end)
      assert.equal("gone on", place(function()
        while not go_on do corun.sleep(0) end
        return "gone on"
      end))
    end)

    it("can be stopped by a time limit " .. name:gsub("_+", " "), function()
      local seen
      place(function()
        local ok, e = pcall(corun.timeout, 0.001, corun.sleep, 0.5)
        seen = not ok and e.kind
        return "text"
      end)
      assert.equal("timeout", seen)
    end)
  end

  it("may wait in any such place for what waits in any other, in either order #slow", function()
    for _, first in ipairs(names) do
      for _, second in ipairs(names) do
        local later = corun.go(places[first], function()
          corun.sleep(0)
          corun.sleep(0)
          return first
        end)
        local sooner = corun.go(places[second], function()
          corun.sleep(0)
          return second
        end)
        local waits = corun.go(places[second], function() return later:await() end)
        local waits_too = corun.go(places[first], function() return sooner:await() end)
        assert.equal(first, waits:await())
        assert.equal(second, waits_too:await())
      end
    end
  end)

  it("may stand in hundreds of places at once, which end in any order", function()
    local tasks, finished = {}, {}
    for i = 1, 400 do
      local name = names[i % #names + 1]
      tasks[i] = corun.go(places[name], function()
        corun.sleep(((i * 7919) % 41) / 2000)
        finished[#finished + 1] = i
        return i
      end)
    end
    for i, task in ipairs(tasks) do assert.equal(i, task:await()) end
    assert.equal(400, #finished)
  end)

  it("waits below a hundred nested calls of C functions", function()
    local function nest(depth)
      if depth == 0 then return corun.capture { "echo", "deep" } end
      local value
      ("x"):gsub("x", function() value = nest(depth - 1) end)
      return value
    end
    assert.equal("deep", nest(100))
    assert.equal("deep", corun.go(nest, 100):await())
  end)

  it("raises its error in that place", function()
    for _, name in ipairs { "in_table_sort", "in_gsub", "in_a_coroutine", "in__index", "in_require" } do
      local ok, e = pcall(places[name], function() return corun.run { "false" } end)
      assert.is_false(ok)
      assert.equal("exit", type(e) == "table" and e.kind or e)
    end
  end)

  it("leaves no place behind when its task is cancelled", function()
    for _, name in ipairs(names) do
      local task = corun.go(pcall, places[name], function() corun.sleep(name:find("close") and 0.01 or 1000) end)
      waiting.let_others_run()
      assert.equal("waiting", task.status)
      task:cancel()
      waiting.wait_until("it has ended " .. name, function() return task.status == "ended" end)
    end
  end)

  it("names the line of a wrong argument there", function()
    for _, name in ipairs { "in_table_sort", "in_gsub", "in__index" } do
      assert.matches("sleep: seconds expected", raised.argument(function()
        places[name](function() corun.sleep(-1) end)
      end))
    end
  end)
end)
