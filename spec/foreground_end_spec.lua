--- Our own terminal after a child that had it.

local corun = require "corun"
local jobs = require "spec.support.jobs"
local raised = require "spec.support.raised"

jobs.describe("Our terminal comes back, with its modes, when its child", function(host)
  --- Runs the script, in which a child has set the terminal to raw mode; `act` is called with the child's pid.
  local function after(source, act)
    jobs.start(host, source .. '\ncorun.run(on_terminal { front, group = false })')
    local _, pid = jobs.expect_ready()
    if act then act(pid) end
    assert.equal("front, shared group", jobs.expect_ready())
    jobs.type "exit\n" -- is only read as a line if the modes are back
    jobs.expect_end(0)
  end

  it("is killed from outside", function()
    after('corun.run(on_terminal { front, "raw", "silent", check = false })',
      function(pid) corun.run { "kill", "-KILL", pid } end)
  end)

  it("ends with a status other than 0", function()
    after('corun.run(on_terminal { "sh", "-c", "$0 raw </dev/tty; exit 3", front, check = false })',
      function() jobs.type "exit\n" end)
  end)

  it("is stopped by a time limit", function()
    after('corun.run(on_terminal { front, "raw", "silent", timeout = 0.1, check = false })')
  end)

  it("is stopped by its plan, suspended or not", function()
    after [[
      local p = begin { front, "raw", "silent", "stubborn", grace = 0.05 }
      p:suspend()
      p:terminate()
    ]]
  end)

  it("is stopped at the end of its scope, after an error", function()
    after [[
      pcall(corun.scope, function()
        begin { front, "raw", "silent" }
        error "mine"
      end)
    ]]
  end)
end)

jobs.describe("Our terminal comes back, with its modes, when corun", function(host)
  local function ends(status, source, act)
    jobs.start(host, source)
    jobs.expect_ready()
    if act then act() end
    jobs.expect_end(status)
  end
  local raw = 'begin { front, "raw", "silent" } '

  it("ends its script", function() ends(0, raw) end)
  it("fails", function() ends(1, raw .. 'error "mine"') end)
  it("exits", function() ends(7, raw .. "os.exit(7)") end)
  it("exits by closing the state", function() ends(7, raw .. "os.exit(7, true)") end)

  it("gets SIGTERM", function()
    ends(128 + 15, jobs.write_pid .. raw .. "corun.sleep(1000)",
      function() corun.run { "kill", "-TERM", jobs.pid() } end)
  end)

  it("is killed by a second SIGINT", function()
    ends(128 + 2, jobs.write_pid .. [[
      corun.spawn(on_terminal { front, "raw", "silent", "stubborn", grace = 1000 })
      corun.sleep(1000)
    ]], function()
      corun.run { "kill", "-INT", jobs.pid() }
      jobs.expect "asked to end"
      corun.run { "kill", "-INT", jobs.pid() }
    end)
  end)
end)

jobs.describe("The modes that a child sets", function(host)
  it("stay where it ends well", function()
    jobs.start(host, [[
      corun.run(on_terminal { "stty", "-echo" })
      corun.run(on_terminal { "stty" })
      corun.run(on_terminal { "stty", "echo" })
    ]])
    raised.has(jobs.expect "[status 0, modes kept, terminal its own]", "-echo")
  end)
end)
