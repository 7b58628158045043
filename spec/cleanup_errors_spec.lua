--- Errors while cleaning up: they do not hide the error that there was before, which has them in its list `also`.

local corun = require "corun"
local raised = require "spec.support.raised"
local scripts = require "spec.support.scripts"
local support = require "spec.support"

local closing = support.closing

--- A value whose __close raises e.
local function failing(e)
  return closing(function() error(e, 0) end)
end

local failure = raised.anything

-- Where clean-up may fail: each runs fn in a scope and cleans up after it with that error.
local places = {
  ["a defer"] = function(fn, e)
    corun.scope(function(scope)
      scope:defer(function() error(e, 0) end)
      fn()
    end)
  end,
  ["a defer that waits before"] = function(fn, e)
    corun.scope(function(scope)
      scope:defer(function()
        corun.sleep(0.001)
        error(e, 0)
      end)
      fn()
    end)
  end,
  ["a task that a defer has started"] = function(fn, e)
    corun.scope(function(scope)
      scope:defer(function() corun.scope(function(inner) inner:go(error, e, 0) end) end)
      fn()
    end)
  end,
  ["a __close handler of the body"] = function(fn, e)
    corun.scope(function()
      local _ <close> = failing(e)
      fn()
    end)
  end,
  ["a __close handler of a function that the body calls"] = function(fn, e)
    corun.scope(function()
      local function inner()
        local _ <close> = failing(e)
        fn()
      end
      inner()
    end)
  end,
  ["a __close handler that waits before"] = function(fn, e)
    corun.scope(function()
      local _ <close> = closing(function()
        corun.sleep(0.001)
        error(e, 0)
      end)
      fn()
    end)
  end,
  ["a __close handler of a task"] = function(fn, e)
    corun.scope(function(scope)
      scope:go(function()
        local _ <close> = failing(e)
        fn()
      end)
    end)
  end,
  ["a __close handler of a task, in a scope of its own"] = function(fn, e)
    corun.scope(function(scope)
      scope:go(function()
        corun.scope(function()
          local _ <close> = failing(e)
          fn()
        end)
      end)
    end)
  end,
  ["a __close handler in a time limit"] = function(fn, e)
    corun.timeout(1000, function()
      local _ <close> = failing(e)
      fn()
    end)
  end,
  ["a __close handler in a shield"] = function(fn, e)
    corun.scope(function()
      corun.shield(function()
        local _ <close> = failing(e)
        fn()
      end)
    end)
  end,
}

-- What may have been raised before.
local text, thing = "plain string", { "table" }
local _, exit = pcall(corun.run, { "sh", "-c", "exit 3" })
local firsts = { ["a string"] = text, ["a table"] = thing, ["an Error"] = exit, ["false"] = false }

for place, run in pairs(places) do
  describe("An error in " .. place, function()
    for name, first in pairs(firsts) do
      it("is in `also` of the first, which is " .. name, function()
        local e = failure(run, function()
          if first == exit then corun.run { "sh", "-c", "exit 3" } end
          error(first, 0)
        end, "in clean-up")
        assert.is_true(getmetatable(e) == corun.Error)
        if first == exit then
          assert.equal("exit", e.kind)
          assert.equal(3, e.result.code)
          assert.is_nil(e.value)
        else
          assert.equal("error", e.kind)
          assert.is_true(rawequal(first, e.value))
          assert.equal(tostring(first), e.message)
        end
        assert.same({ "in clean-up" }, e.also)
        assert.matches("\n  also: in clean%-up$", tostring(e))
      end)
    end

    it("is the error where there is none before", function()
      for _, e in ipairs { "in clean-up", { "table" } } do
        assert.is_true(rawequal(e, failure(run, function() end, e)))
      end
    end)

    it("is one with the first where it is the very same", function()
      for _, e in ipairs { "same", { "same" } } do
        assert.is_true(rawequal(e, failure(run, function() error(e, 0) end, e)))
      end
    end)
  end)
end

describe("The first error", function()
  it("keeps its traceback", function()
    for _, place in ipairs {
      "a defer", "a __close handler of the body", "a __close handler of a task, in a scope of its own",
      "a __close handler in a time limit",
    } do
      local line
      local e = failure(places[place], function()
        line = debug.getinfo(1, "l").currentline + 1
        error("first")
      end, "in clean-up")
      assert.matches(("^\tspec/cleanup_errors_spec.lua:%d: "):format(line), e.traceback)
    end
  end)
end)

describe("Errors in several defers", function()
  local function run(fn)
    return failure(corun.scope, function(scope)
      for i = 1, 3 do
        scope:defer(function() error("defer " .. i, 0) end)
      end
      fn()
    end)
  end

  it("are all in `also`, in the order in which they came", function()
    local e = run(function() error("first", 0) end)
    assert.equal("first", e.value)
    assert.same({ "defer 3", "defer 2", "defer 1" }, e.also)
    assert.equal("first\n  also: defer 3\n  also: defer 2\n  also: defer 1", tostring(e))
  end)

  it("are in `also` of the first of them where there is no other", function()
    local e = run(function() end)
    assert.equal("defer 3", e.value)
    assert.same({ "defer 2", "defer 1" }, e.also)
  end)

  it("are in `also` of the first of a group", function()
    local e = failure(corun.scope, function(scope)
      scope:defer(function() error("in a defer", 0) end)
      scope:go(function()
        pcall(corun.sleep, 1000)
        error("second", 0)
      end)
      corun.sleep(0)
      error("first", 0)
    end)
    assert.equal("group", e.kind)
    assert.equal("first", e.errors[1].value)
    assert.same({ "in a defer" }, e.errors[1].also)
    assert.equal("second", e.errors[2])
    raised.has(tostring(e), "\n  1) first\n       also: in a defer\n  2) second")
  end)

  it("may have an `also` of their own", function()
    local e = failure(corun.scope, function(scope)
      scope:defer(function()
        local _ <close> = failing("after the defer")
        corun.run { "false" }
      end)
      error("first", 0)
    end)
    assert.equal("first", e.value)
    assert.equal("exit", e.also[1].kind)
    assert.same({ "after the defer" }, e.also[1].also)
    assert.matches("^first\n  also: .*false: exit 1 after .*\n          also: after the defer$", tostring(e))
  end)
end)

describe("A __close handler", function()
  it("is given the error that it cleans up after, as it was raised", function()
    local given = {}
    for _, first in pairs { text, thing } do
      failure(corun.scope, function(scope)
        scope:go(function()
          local _ <close> = closing(function(_, e) given[#given + 1] = e end)
          error(first, 0)
        end):await()
      end)
      assert.is_true(rawequal(first, table.remove(given)))
    end
  end)

  it("may catch what goes wrong in it", function()
    assert.equal("first", failure(corun.scope, function()
      local _ <close> = closing(function() pcall(error, "caught") end)
      error("first", 0)
    end))
  end)
end)

describe("Errors of clean-up that nobody catches", function()
  it("are printed by corun with the traceback of the first, and by a stock interpreter", function()
    local source = [[
local corun = require "corun"
corun.scope(function(scope)
  scope:defer(function() error("in a defer") end)
  local _ <close> = setmetatable({}, {__close = function() error("in __close") end})
  error("first")
end)
]]
    local expected = "script.lua:5: first\n  also: script.lua:4: in __close\n  also: script.lua:3: in a defer\n"
    local result = scripts.native:run(source)
    assert.equal(1, result.code)
    local shape = "^corun: " .. expected .. "stack traceback:\n\tscript.lua:5: in .*\n\tscript.lua:2: in main chunk\n$"
    assert.matches(shape, result.stderr)
    for _, host in ipairs(scripts.hosts) do raised.has(host:run(source).stderr, expected) end
  end)
end)
