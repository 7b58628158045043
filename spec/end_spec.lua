--- The end of a script: however it comes, nothing of the script is left.

local raised = require "spec.support.raised"
local scripts = require "spec.support.scripts"
local support = require "spec.support"
local waiting = require "spec.support.waiting"
local world = require "spec.support.world"

-- A child that prints its pid on the script's stdout, and a task that would sleep for a long time.
local alive = [[
  local corun = require "corun"
  local p = corun.spawn{os.getenv "FIXTURES" .. "/ready", stderr = "null"}
  io.stdout:write(p.stdout:read_line(), "\n")
  io.stdout:flush()
]]

local function child_of(result) return result.stdout:match("ready (%d+)\n") end

for _, host in ipairs(scripts.hosts) do
  describe("The end of a script's main chunk under " .. host.name, function()
    it("waits for its tasks, then stops its processes", function()
      local result = host:run(alive .. [[
        corun.go(function()
          corun.sleep(0.01)
          print("task", p.status)
        end)
        corun.sleep(0)
        print "main"
      ]])
      assert.equal("", result.stderr)
      assert.equal(0, result.code)
      assert.matches("^ready %d+\nmain\ntask\tnil\n$", result.stdout)
      assert.is_true(support.is_gone(child_of(result)))
    end)

    it("waits for a task that was made after all processes", function()
      local result = host:run [[
        local corun = require "corun"
        corun.run{"true"}
        corun.go(function()
          corun.sleep(0.01)
          print(corun.capture{"echo", "through"})
        end)
        corun.sleep(0)
      ]]
      assert.equal("through\n", result.stdout)
      assert.equal("", result.stderr)
    end)

    it("kills what does not listen", function()
      local result = host:run [[
        local corun = require "corun"
        local p = corun.spawn{os.getenv "FIXTURES" .. "/stubborn", grace = 0.05}
        print(p.stdout:read_line())
      ]]
      assert.equal(0, result.code)
      assert.is_true(support.is_gone(child_of(result)))
    end)

    it("runs what was deferred in the tasks' scopes, and <close> variables", function()
      local result = host:run [[
        local corun = require "corun"
        corun.go(function()
          local _ <close> = setmetatable({}, {__close = function() print(corun.capture{"echo", "closed"}) end})
          corun.scope(function(scope)
            scope:defer(function() print(corun.capture{"echo", "deferred"}) end)
          end)
        end)
      ]]
      assert.equal("deferred\nclosed\n", result.stdout)
    end)

    it("is an error when a task fails after it", function()
      local result = host:run [[
        local corun = require "corun"
        corun.go(function()
          corun.sleep(0.001)
          error("late", 0)
        end)
      ]]
      raised.has(result.stderr, "late")
      -- A stock interpreter has decided on its status before it closes the state.
      assert.equal(host.name == "corun" and 1 or 0, result.code)
    end)
  end)

  describe("An uncaught error under " .. host.name, function()
    it("stops tasks and processes and ends with status 1", function()
      -- A stock interpreter does not tell a module that the main chunk has failed: there the task is waited for.
      local length = host.name == "corun" and 1000 or 0.01
      local result = host:run(alive .. [[
        corun.go(function() corun.sleep(]] .. length .. [[) end)
        corun.sleep(0)
        error("mine")
      ]], { timeout = 3 })
      assert.equal("exit", result.reason)
      assert.equal(1, result.code)
      raised.has(result.stderr, "script.lua:7: mine")
      assert.is_true(support.is_gone(child_of(result)))
    end)

    it("of a task ends the main chunk, which waits", function()
      local result = host:run(alive .. [[
        corun.go(function() error("mine", 0) end)
        corun.sleep(1000)
        print "not reached"
      ]], { timeout = 3 })
      assert.equal(1, result.code)
      raised.has(result.stderr, "mine")
      assert.is_nil(result.stdout:find("not reached"))
      assert.is_true(support.is_gone(child_of(result)))
    end)
  end)

  describe("os.exit under " .. host.name, function()
    local places = {
      ["in the main chunk"] = "%s",
      ["in a task"] = "corun.go(function() %s end) corun.sleep(1000)",
      ["in a task, when the main chunk has ended"] = "corun.go(function() corun.sleep(0.001) %s end)",
      ["in a coroutine in a task"] = "corun.go(function() coroutine.wrap(function() corun.sleep(0) %s end)() end)",
      ["in a callback of table.sort"] = "table.sort({2, 1}, function() corun.sleep(0) %s end)",
      ["in a scope"] = "corun.scope(function(scope) scope:go(corun.sleep, 1000) corun.sleep(0) %s end)",
    }
    for place, code in pairs(places) do
      for _, call in ipairs { "os.exit(7)", "os.exit(7, true)" } do
        it(place .. ", as " .. call .. ", gives that status and stops everything", function()
          local result = host:run(alive .. [[
            corun.go(function() corun.sleep(1000) end)
            corun.sleep(0)
          ]] .. code:format(call), { timeout = 3 })
          assert.equal("exit", result.reason)
          assert.equal(7, result.code)
          assert.equal("", result.stderr)
          assert.is_true(support.is_gone(child_of(result)))
        end)
      end
    end

    it("takes true and false, and prints what was written before", function()
      assert.equal(0, host:run("require 'corun' os.exit(true)").code)
      assert.equal(1, host:run("require 'corun' os.exit(false)").code)
      assert.equal("text", host:run("require 'corun' io.write 'text' os.exit()").stdout)
    end)
  end)

  describe("SIGKILL of a script under " .. host.name, function()
    (world.is_native and it or pending)("kills its children with it", function()
      local p <close> = host:spawn(alive .. "corun.sleep(1000)")
      local child = p.stdout:read_line():match("%d+")
      p:signal("KILL")
      assert.equal("SIGKILL", p:wait(10).signal)
      waiting.wait_until("the child is gone", function() return support.is_gone(child) end)
    end)
  end)
end
