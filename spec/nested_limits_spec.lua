--- Time limits in each other: which of them has expired.

local corun = require "corun"
local support = require "spec.support"

local closing = support.closing

--- Lets time pass without letting corun see it.
local function compute_until(time)
  while corun.now() < time do end
end

-- Ways to limit time. Each calls fn in a limit of that many seconds, and gives "expired" when that is what ended it.
local limits = {
  timeout = function(seconds, fn)
    local ok, e = pcall(corun.timeout, seconds, fn)
    if ok then return e end
    if e.kind == "timeout" and e.seconds == seconds then return "expired" end
    error(e, 0)
  end,
  move_on = function(seconds, fn)
    local value, why = corun.move_on(seconds, fn)
    return value == nil and why == "timeout" and "expired" or value
  end,
  scope = function(seconds, fn)
    local value, why = corun.scope(function(scope)
      scope.deadline = corun.now() + seconds
      return fn()
    end)
    return value == nil and why == "timeout" and "expired" or value
  end,
  ["task of a scope"] = function(seconds, fn)
    local value, why = corun.scope(function(scope)
      scope.deadline = corun.now() + seconds
      return scope:go(fn):await()
    end)
    return value == nil and why == "timeout" and "expired" or value
  end,
}
local in_turn = { "timeout", "move_on", "scope" }
limits.mixed = function(seconds, fn, level) return limits[in_turn[level % #in_turn + 1]](seconds, fn) end

local names = {}
for name in pairs(limits) do names[#names + 1] = name end
table.sort(names)

for _, name in ipairs(names) do
  local limited = limits[name]

  describe("Limits in each other, of type " .. name, function()
    --- Nests so many limits, of which those at `short` (level → seconds) are short and the others very long, around
    --- `wait`. Gives the level that expired, and whether the wait was cancelled.
    local function nest(depth, short, wait)
      local expired, was_cancelled = {}, false
      local function open(level)
        if level > depth then
          was_cancelled = not pcall(wait)
          corun.sleep(0)
          return
        end
        local outcome = limited(short[level] or 1000 + level, function() return open(level + 1) end, level)
        if outcome == "expired" then expired[#expired + 1] = level end
        corun.sleep(0) -- those around are not cancelled
      end
      open(1)
      return expired, was_cancelled
    end

    local function sleep() corun.sleep(1000) end

    it("expire where the nearest is, and only there", function()
      for level = 1, 7 do
        local expired, was_cancelled = nest(7, { [level] = 0.002 }, sleep)
        assert.same({ level }, expired)
        assert.is_true(was_cancelled)
      end
    end)

    it("do so in the order of their times, not of their levels", function()
      assert.same({ 5 }, (nest(6, { [2] = 500, [3] = 100, [5] = 0.002, [6] = 50 }, sleep)))
      assert.same({ 2 }, (nest(6, { [2] = 0.002, [3] = 100, [6] = 50 }, sleep)))
    end)

    if name ~= "task of a scope" then -- there, others run in between
      it("expire at the outermost of those whose times have passed before anybody could see it", function()
        local expired = nest(6, { [2] = 0.002, [4] = 0.001, [5] = 0.003 }, function()
          compute_until(corun.now() + 0.004)
          corun.sleep(1000)
        end)
        assert.same({ 2 }, expired)
      end)
    end

    it("do so through forty of them", function()
      for _, level in ipairs { 1, 20, 40 } do assert.same({ level }, (nest(40, { [level] = 0.002 }, sleep))) end
    end)
  end)
end

describe("A limit that expires while another one in it has", function()
  --- Waits in a limit that has expired, in clean-up, until one of so many seconds around it has expired, too.
  local function overstay(seconds)
    local _ <close> = closing(function() corun.sleep(seconds * 2) end)
    corun.sleep(1000)
  end

  it("is the one that is told of when the inner one is still cleaning up", function()
    local order = {}
    local ok, e = pcall(corun.timeout, 0.01, function()
      local _, inner = pcall(corun.timeout, 0.001, overstay, 0.01)
      order[#order + 1] = inner.kind
      error(inner, 0)
    end)
    assert.is_false(ok)
    assert.equal("timeout", e.kind)
    assert.equal(0.01, e.seconds)
    assert.same({ "cancelled" }, order)
  end)

  it("is so for move_on and for a scope's deadline, too", function()
    local reached = false
    local outcome = table.pack(corun.move_on(0.01, function()
      corun.move_on(0.001, overstay, 0.01)
      reached = true
    end))
    assert.same({ nil, "timeout", n = 2 }, outcome)
    outcome = table.pack(corun.scope(function(outer)
      outer.deadline = corun.now() + 0.01
      corun.scope(function(inner)
        inner.deadline = corun.now() + 0.001
        overstay(0.01)
      end)
      reached = true
    end))
    assert.same({ nil, "timeout", n = 2 }, outcome)
    assert.is_false(reached)
  end)

  it("ends the handling of the inner one's error at its next wait", function()
    local handled
    local outcome = table.pack(corun.scope(function(outer)
      local _, inner = pcall(corun.timeout, 0.001, corun.sleep, 1000)
      handled = inner.seconds
      outer.deadline = corun.now()
      corun.sleep(1000)
    end))
    assert.same({ nil, "timeout", n = 2 }, outcome)
    assert.equal(0.001, handled)
  end)

  it("lets an error of the inner one that is on its way pass", function()
    local ok, e = pcall(corun.scope, function(outer)
      local _ <close> = closing(function()
        outer.deadline = corun.now()
        corun.sleep(0.001)
      end)
      corun.timeout(0.001, corun.sleep, 1000)
    end)
    assert.is_false(ok)
    assert.equal("timeout", e.kind)
    assert.equal(0.001, e.seconds)
  end)
end)
