--- Each error is raised once, with where it came from: nil ones, several at a time, and errors in their own `also`.

local corun = require "corun"
local raised = require "spec.support.raised"
local scripts = require "spec.support.scripts"
local support = require "spec.support"

local closing = support.closing

local function failing(e)
  return closing(function() error(e, 0) end)
end

local failure = raised.anything

-- Places that raise what fn raises.
local places = {
  ["a scope"] = function(fn) corun.scope(fn) end,
  ["a scope in a scope"] = function(fn) corun.scope(function() corun.scope(fn) end) end,
  ["a task"] = function(fn) corun.scope(function(scope) scope:go(fn) end) end,
  ["an awaited task"] = function(fn) corun.scope(function(scope) scope:go(fn):await() end) end,
  ["a task that has waited"] = function(fn)
    corun.scope(function(scope)
      scope:go(function()
        corun.sleep(0)
        fn()
      end)
    end)
  end,
  ["a defer"] = function(fn) corun.scope(function(scope) scope:defer(fn) end) end,
  ["corun.timeout"] = function(fn) corun.timeout(1000, fn) end,
  ["corun.move_on"] = function(fn) corun.move_on(1000, fn) end,
  ["corun.shield"] = corun.shield,
  ["corun.all"] = function(fn) corun.all { fn } end,
  ["corun.race"] = function(fn) corun.race { fn } end,
  ["corun.map"] = function(fn) corun.map({ 1 }, fn) end,
  ["an iterator of corun.map"] = function(fn) corun.map(fn, print) end,
  ["corun.retry"] = function(fn) corun.retry({ times = 2, delay = 0 }, fn) end,
}

local function raise_nil() error(nil) end

describe("error(nil)", function()
  for name, place in pairs(places) do
    it("is an error in " .. name, function()
      local e = failure(place, raise_nil)
      assert.equal(corun.Error, getmetatable(e))
      assert.equal("error", e.kind)
      assert.equal("nil", e.message)
      assert.is_nil(e.value)
      raised.has(e.traceback, "spec/error_origins_spec.lua:" .. debug.getinfo(raise_nil, "S").linedefined)
    end)
  end

  it("makes its task a failed one, and is one of several errors", function()
    local task
    local e = failure(corun.scope, function(scope)
      task = scope:go(error, nil)
      pcall(corun.sleep, 1000)
      error("of the body", 0)
    end)
    assert.equal("failed", task.status)
    assert.equal("group", e.kind)
    assert.equal("error", e.errors[1].kind)
    assert.equal("of the body", e.errors[2])
  end)

  it("of a __close handler is in `also`", function()
    local e = failure(corun.scope, function()
      local _ <close> = failing(nil)
      error("first", 0)
    end)
    assert.equal("first", e.value)
    assert.equal("error", e.also[1].kind)
  end)

  it("ends a program", function()
    for _, host in ipairs(scripts.hosts) do
      local result = host:run 'require "corun".scope(function() error(nil) end)'
      assert.equal(1, result.code)
      raised.has(result.stderr, "nil")
    end
  end)
end)

-- What runs fn in a place where the errors of all of its __close handlers are kept.
local keeping = {
  ["a scope"] = function(fn) corun.scope(fn) end,
  ["corun.timeout"] = function(fn) corun.timeout(1000, fn) end,
  ["corun.retry"] = function(fn) corun.retry({ times = 1 }, fn) end,
  ["a scope in a task"] = function(fn) corun.scope(function(scope) scope:go(corun.scope, fn) end) end,
}

describe("Three errors, two of them in __close handlers, in", function()
  for name, place in pairs(keeping) do
    it(name .. " are all there: the first with the others in the order in which they came", function()
      local e = failure(place, function()
        local _ <close> = failing "outer"
        local _ <close> = failing "inner"
        error("first", 0)
      end)
      assert.equal("first", e.value)
      assert.same({ "inner", "outer" }, e.also)
      raised.has(tostring(e), "first\n  also: inner\n  also: outer")
    end)
  end

  it("handlers within one another are, too, and one raised again is there once", function()
    local again = { "again" }
    local e = failure(corun.scope, function()
      local _ <close> = closing(function(_, cause) error(cause, 0) end)
      local _ <close> = failing "outer"
      local _ <close> = closing(function()
        local _ <close> = failing(again)
        error("inner", 0)
      end)
      error("first", 0)
    end)
    assert.equal("first", e.value)
    assert.same({ "inner", again, "outer" }, e.also)
  end)
end)

describe("The tracebacks of what clean-up raises that is no Error", function()
  local function raise(text) error(text, 0) end
  local line = "spec/error_origins_spec.lua:" .. debug.getinfo(raise, "S").linedefined .. ":"

  local function failing_twice(scope)
    local _ <close> = closing(function() raise "outer" end)
    local _ <close> = closing(function() raise "inner" end)
    scope:cancel()
    corun.sleep(1000)
  end

  it("are in a group, after a cancellation that it came with", function()
    local e = failure(corun.scope, function(scope)
      for i = 1, 2 do
        scope:go(corun.scope, function()
          local _ <close> = closing(function() raise("of task " .. i) end)
          corun.sleep(1000)
        end)
      end
      corun.sleep(0)
      failing_twice(scope)
    end)
    assert.equal("group", e.kind)
    assert.equal(3, #e.errors)
    for i = 1, 3 do
      assert.is_true(e.tracebacks[i]:find(line, 1, true) ~= nil, ("%d: %q"):format(i, e.tracebacks[i]))
    end
  end)

  it("become that of the Error that has the others in `also`", function()
    local e = failure(corun.scope, failing_twice)
    assert.equal("inner", e.value)
    assert.same({ "outer" }, e.also)
    raised.has(e.traceback:match("^[^\n]*"), line)
  end)

  it("are kept by a limit that has expired, and by corun.move_on", function()
    local e = failure(corun.move_on, 0.001, function()
      local _ <close> = closing(function() raise "outer" end)
      local _ <close> = closing(function() raise "inner" end)
      corun.sleep(1000)
    end)
    assert.equal("inner", e.value)
    raised.has(e.traceback:match("^[^\n]*"), line)
  end)

  it("are printed by the program", function()
    local result = scripts.native:run [[
local corun = require "corun"
local function raise(text) error(text) end
corun.scope(function(scope)
  local _ <close> = setmetatable({}, {__close = function() raise "in the clean-up" end})
  scope:cancel()
  corun.sleep(0)
end)
]]
    assert.equal(1, result.code)
    local expected = "corun: script.lua:2: in the clean-up\nstack traceback:\n\tscript.lua:2: in "
    assert.equal(expected, result.stderr:sub(1, #expected))
  end)
end)

describe("An Error that is in its own `also`", function()
  --- An Error that has in `also` a group of which it is one.
  local function recursive()
    local first = failure(corun.run, { "sh", "-c", "exit 3" })
    local group = failure(corun.scope, function(scope)
      scope:go(error, first, 0)
      scope:go(function()
        pcall(corun.sleep, 1000)
        error("second", 0)
      end)
    end)
    assert.equal("group", group.kind)
    return failure(corun.scope, function()
      local _ <close> = failing(group)
      error(first, 0)
    end)
  end

  it("is written once in its text", function()
    local e = recursive()
    assert.equal("exit", e.kind)
    assert.equal(e, e.also[1].errors[1])
    local text = tostring(e)
    raised.has(text, "also: ")
    raised.has(text, "2) second")
    local _, count = text:gsub("\n", "")
    assert.is_true(count < 10, text)
    assert.equal(text, tostring(e))
  end)
end)

describe("Two errors of the root scope", function()
  local second = [[
    local corun = require "corun"
    corun.go(error, "error a", 0)
    corun.go(function()
      pcall(corun.sleep, 1000)
      error("error b", 0)
    end)
  ]]
  for name, rest in pairs {
    ["has ended"] = "", ["waits"] = "corun.sleep(1000)", ["waits for a command"] = "corun.run { 'sleep', '1000' }",
  } do
    it("are both printed where the main chunk " .. name, function()
      for _, host in ipairs(scripts.hosts) do
        local result = host:run(second .. rest)
        for _, text in ipairs { "error a", "error b" } do
          assert.is_true(result.stderr:find(text, 1, true) ~= nil, host.name .. ": " .. result.stderr)
        end
      end
    end)
  end
end)
