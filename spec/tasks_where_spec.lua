--- corun.tasks(): the lines, names and times that are harder to tell.

local corun = require "corun"
local waiting = require "spec.support.waiting"

local file = debug.getinfo(1, "S").short_src

--- The line on which this is called.
local function here() return debug.getinfo(2, "l").currentline end
local function place(line) return ("%s:%d"):format(file, line) end

local function main_scopes() return corun.tasks().tasks[1].scopes end

--- The node of fn as a task, once it waits.
local function look(fn)
  local node
  corun.scope(function(scope)
    local task = scope:go(fn)
    waiting.wait_until("it waits", function() return task.status == "waiting" end)
    waiting.let_others_run()
    node = main_scopes()[1].tasks[1]
    scope:cancel()
  end)
  return node
end

describe("corun.tasks gives the line at which a scope was opened", function()
  it("by the task that asks", function()
    local at = here() + 1
    corun.scope(function()
      assert.equal(place(at), main_scopes()[1].where)
      corun.timeout(1000, function()
        assert.equal(place(at), main_scopes()[1].where)
        assert.equal(place(at + 2), main_scopes()[1].scopes[1].where)
      end)
    end)
  end)

  it("by a task that asks, which is not the main one", function()
    local at, where
    corun.go(function()
      at = here() + 1
      corun.scope(function() where = corun.tasks().tasks[2].scopes[1].where end)
    end):await()
    assert.equal(place(at), where)
  end)

  it("with others inside of it", function()
    local at
    local node = look(function()
      at = here() + 1
      corun.scope(function()
        corun.timeout(1000, function()
          corun.scope(function() corun.sleep(1000) end)
        end)
      end)
    end)
    local outer = node.scopes[1]
    assert.same({ place(at), place(at + 1), place(at + 2) },
      { outer.where, outer.scopes[1].where, outer.scopes[1].scopes[1].where })
  end)
end)

describe("corun.tasks names what the script has called", function()
  local function sleep() corun.sleep(1000) end
  for name, fn in pairs {
    run = function() corun.run { "sleep", "1000" } end,
    capture = function() corun.capture { "sleep", "1000" } end,
    sh = function() corun.sh "exec sleep 1000" end,
    all = function() corun.all { sleep } end,
    race = function() corun.race { sleep } end,
    map = function() corun.map({ 1 }, sleep) end,
    communicate = function()
      local p <close> = corun.spawn { "sleep", "1000" }
      p:communicate()
    end,
  } do
    it("(" .. name .. ")", function() assert.equal(name, look(fn).waits_for) end)
  end
end)

describe("corun.tasks says since when a task waits", function()
  it("though the program has computed for long meanwhile", function()
    corun.scope(function(scope)
      local before = corun.now()
      scope:go(corun.sleep, 1000)
      corun.sleep(0.002)
      while corun.now() - before < 0.1 do end
      local since = main_scopes()[1].tasks[1].since
      assert.is_true(since - before < 0.05, ("%g s too late"):format(since - before))
      scope:cancel()
    end)
  end)
end)
