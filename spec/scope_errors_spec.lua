--- Several errors of one scope: which are told, in which order, and where they come from.

local corun = require "corun"
local raised = require "spec.support.raised"
local scripts = require "spec.support.scripts"

local function line() return debug.getinfo(2, "l").currentline end

--- What a scope of fn raises.
local function failure(fn, ...)
  local ok, e = pcall(corun.scope, fn, ...)
  assert.is_false(ok, "nothing was raised")
  return e
end

--- Checks a traceback: its first line is that line of this file.
local function begins_at(number, traceback)
  assert.equal(("\tspec/scope_errors_spec.lua:%d: "):format(number), traceback:match("^.-:%d+: "))
end

--- A task of the scope that raises when it is cancelled.
local function fails_when_cancelled(scope, e)
  return scope:go(function()
    pcall(corun.sleep, 1000)
    error(e, 0)
  end)
end

describe("Errors of a scope's body and of a task", function()
  it("come in the order in which they were raised", function()
    local e = failure(function(scope)
      fails_when_cancelled(scope, "task")
      corun.sleep(0)
      error("body", 0)
    end)
    assert.equal("group", e.kind)
    assert.same({ "body", "task" }, e.errors)
    e = failure(function(scope)
      scope:go(error, "task", 0)
      pcall(corun.sleep, 1000)
      error("body", 0)
    end)
    assert.equal("group", e.kind)
    assert.same({ "task", "body" }, e.errors)
  end)

  it("are the very values that were raised", function()
    local first, second, third = { 1 }, setmetatable({}, { __tostring = function() return "third" end }), false
    local e = failure(function(scope)
      fails_when_cancelled(scope, second)
      fails_when_cancelled(scope, third)
      corun.sleep(0)
      error(first)
    end)
    assert.equal(3, #e.errors)
    assert.is_true(rawequal(first, e.errors[1]))
    assert.is_true(rawequal(second, e.errors[2]))
    assert.is_false(e.errors[3])
  end)

  it("do not include the cancellations that the first one brings", function()
    local e = failure(function(scope)
      for _ = 1, 3 do scope:go(corun.sleep, 1000) end
      scope:go(function() corun.timeout(1000, corun.sleep, 1000) end)
      scope:go(function() corun.scope(function(inner) inner:go(corun.sleep, 1000) end) end)
      scope:go(corun.run, { "sleep", "1000" })
      scope:go(error, "only one", 0)
      corun.sleep(1000)
    end)
    assert.equal("only one", e)
  end)

  it("do not include what a scope that was cancelled by itself is told", function()
    assert.equal("only one", failure(function(scope)
      fails_when_cancelled(scope, "only one")
      corun.sleep(0)
      scope:cancel("reason")
      corun.sleep(1000)
    end))
  end)

  it("give the first one as the reason to those that are cancelled for it", function()
    local first, in_task, in_body = {}, nil, nil
    local e = failure(function(scope)
      scope:go(function() in_task = raised.error("cancelled", function() corun.sleep(1000) end) end)
      scope:go(error, first)
      in_body = raised.error("cancelled", function() corun.sleep(1000) end)
    end)
    assert.is_true(rawequal(first, e))
    assert.is_true(rawequal(first, in_task.reason))
    assert.is_true(rawequal(first, in_body.reason))
  end)

  it("say in words how many there are, and each", function()
    local e = failure(function(scope)
      fails_when_cancelled(scope, "second\nof two lines")
      corun.sleep(0)
      corun.run { "sh", "-c", "echo why >&2; exit 3" }
    end)
    assert.matches("^2 errors; the first: sh %-c .*: exit 3 after %d", e.message)
    local text = tostring(e)
    raised.has(text, "\n  1) spec/scope_errors_spec.lua:")
    raised.has(text, "\n       stderr: why\n  2) second\n     of two lines")
  end)
end)

describe("The tracebacks of several errors", function()
  it("have the numbers of the errors, and name the lines that have raised", function()
    local in_body, in_task, in_helper
    local function helper()
      in_helper = line() + 1
      error("in a helper")
    end
    local e = failure(function(scope)
      scope:go(function()
        pcall(corun.sleep, 1000)
        in_task = line() + 1
        error({})
      end)
      scope:go(function()
        pcall(corun.sleep, 1000)
        helper()
      end)
      corun.sleep(0)
      in_body = line() + 1
      error("in the body")
    end)
    assert.equal(3, #e.errors)
    assert.equal(3, #e.tracebacks)
    begins_at(in_body, e.tracebacks[1])
    begins_at(in_task, e.tracebacks[2])
    begins_at(in_helper, e.tracebacks[3])
    assert.equal(2, select(2, e.tracebacks[3]:gsub("\n", "\n")) + 1)
    for _, traceback in ipairs(e.tracebacks) do assert.is_nil(traceback:find("corun/", 1, true)) end
  end)

  it("are those of the Errors themselves where they are such", function()
    local run_line
    local e = failure(function(scope)
      fails_when_cancelled(scope, "string")
      corun.sleep(0)
      run_line = line() + 1
      corun.run { "false" }
    end)
    assert.equal(e.errors[1].traceback, e.tracebacks[1])
    begins_at(run_line, e.tracebacks[1])
  end)

  it("name the line that has raised, though the value went through scopes, limits and an await before", function()
    local raised_at
    local e = failure(function(scope)
      fails_when_cancelled(scope, "second")
      corun.sleep(0)
      corun.timeout(1000, function()
        corun.scope(function(inner)
          local task = inner:go(function()
            raised_at = line() + 1
            error({})
          end)
          corun.shield(function() task:await() end)
        end)
      end)
    end)
    assert.equal(2, #e.errors)
    begins_at(raised_at, e.tracebacks[1])
  end)
end)

describe("Groups in each other", function()
  local function two_errors(first, second)
    return function(scope)
      fails_when_cancelled(scope, second)
      corun.sleep(0)
      error(first, 0)
    end
  end

  it("pass through scopes around that have no other error, as they are", function()
    local inner
    local e = failure(function(outer)
      outer:go(function()
        corun.scope(function()
          inner = failure(two_errors("a", "b"))
          error(inner, 0)
        end)
      end)
    end)
    assert.is_true(rawequal(inner, e))
    assert.same({ "a", "b" }, e.errors)
  end)

  it("stay groups among the errors of the scope around", function()
    local e = failure(function(outer)
      outer:go(function() corun.scope(two_errors("a", "b")) end)
      outer:go(function()
        pcall(corun.sleep, 1000)
        corun.shield(function() corun.scope(two_errors("c", "d")) end)
      end)
    end)
    assert.equal("group", e.kind)
    assert.equal(2, #e.errors)
    assert.same({ "a", "b" }, e.errors[1].errors)
    assert.same({ "c", "d" }, e.errors[2].errors)
    assert.equal("2 errors; the first: 2 errors; the first: a", e.message)
    for i, names in ipairs { "ab", "cd" } do
      raised.has(tostring(e), ("\n  %d) spec/scope_errors_spec.lua:"):format(i))
      raised.has(tostring(e), ("\n       1) %s\n       2) %s"):format(names:sub(1, 1), names:sub(2)))
    end
  end)
end)

describe("One error that comes several ways", function()
  it("is one: of its task, of all that await it, and of scopes around them", function()
    for _, thing in ipairs { "string", { "table" }, (raised.error("exit", function() corun.run { "false" } end)) } do
      assert.is_true(rawequal(thing, failure(function(scope)
        local task = scope:go(function()
          corun.sleep(0)
          error(thing, 0)
        end)
        for _ = 1, 2 do scope:go(function() task:await() end) end
        scope:go(function()
          corun.scope(function(inner) inner:go(function() task:await() end) end)
        end)
        task:await()
      end)))
    end
  end)

  it("is several when they only look alike", function()
    local e = failure(function(scope)
      for _ = 1, 2 do scope:go(error, { "table" }) end
    end)
    assert.equal("group", e.kind)
    assert.same({ { "table" }, { "table" } }, e.errors)
    assert.is_false(rawequal(e.errors[1], e.errors[2]))
  end)
end)

describe("Errors that nobody catches", function()
  local source = [[
local corun = require "corun"
local function fetch(name)
  pcall(corun.sleep, name == "first" and 0 or 1000)
  error(name)
end
corun.scope(function(scope)
  scope:go(fetch, "first")
  scope:go(fetch, "second")
end)
]]

  it("are printed by corun, each with its own traceback", function()
    local result = scripts.native:run(source)
    assert.equal(1, result.code)
    local shape = "^corun: 2 errors; the first: script.lua:4: first\n"
      .. "1%) script.lua:4: first\nstack traceback:\n\tscript.lua:4: in .-\n"
      .. "2%) script.lua:4: second\nstack traceback:\n\tscript.lua:4: in .-\n$"
    assert.matches(shape, result.stderr)
  end)

  it("are printed by a stock interpreter as the text of the group", function()
    for _, host in ipairs(scripts.hosts) do
      local result = host:run(source)
      raised.has(result.stderr, "2 errors; the first: script.lua:4: first\n")
      raised.has(result.stderr, "2) script.lua:4: second\n")
    end
  end)
end)
