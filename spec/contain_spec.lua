local corun = require "corun"
local raised = require "spec.support.raised"
local scripts = require "spec.support.scripts"
local support = require "spec.support"
local waiting = require "spec.support.waiting"
local world = require "spec.support.world"

local function is_gone_soon(pid)
  waiting.wait_until("process " .. pid .. " is gone", function() return support.is_gone(pid) end, 20)
end

--- A guard goes on for a moment after what it guards.
after_each(function()
  waiting.wait_until("all guards are gone", function()
    return not table.concat(support.marked("CORUN_SPEC=" .. corun.env.CORUN_SPEC), "\n"):find("guard of", 1, true)
  end)
end)

--- What scripts begin with: daemon() leaves a process in a session of its own whose parent has ended, and says its
--- pid, as does detached() that of a detached one.
local head = [[
local corun = require "corun"
local ready = os.getenv "FIXTURES" .. "/ready"
local function say(p) io.write(p.stdout:read_line(), "\n") io.stdout:flush() return p end
local function daemon() say(corun.spawn { "sh", "-c", 'setsid "$0" &', ready, stderr = "null" }):wait() end
local function detached() say(corun.spawn { ready, detached = true, stderr = "null" }) end
]]

local function pid_of(line) return math.tointeger(tonumber(line:match("^ready (%d+)$"))) end

--- Starts a script, contained in one of the ways; returns it and the pids that it says.
local function start(way, source, count)
  local script = way.host:spawn(head .. way.call .. source, { before = way.before, stderr = "null" })
  local pids = {}
  for i = 1, count do pids[i] = pid_of(script.stdout:read_line()) end
  return script, table.unpack(pids)
end

--- Runs it without corun, so that no other is around it; returns its first line.
local function outermost(spec)
  local words, unset = { "env" }, {}
  for name, value in pairs(spec.env) do
    if value then words[#words + 1] = name .. "=" .. value else table.move({ "-u", name }, 1, 2, #unset + 1, unset) end
  end
  table.move(words, 2, #words, #unset + 2)
  table.move(unset, 1, #unset, 2, words)
  table.move(spec, 1, #spec, #words + 1, words)
  local file <close> = io.popen(("cd %s && %s 2>/dev/null"):format(spec.cwd, corun.quote(table.unpack(words))))
  return file:read()
end

local ways = { { name = "corun --contain", host = scripts.native, before = { "--contain" }, call = "" } }
for _, host in ipairs(scripts.hosts) do
  ways[#ways + 1] = { name = "corun.contain() in " .. host.name, host = host, call = "corun.contain() " }
end

--- The guard of a process; nil where it has none.
local function guards_of(pid)
  local found = {}
  for child in (support.read_file(("/proc/%d/task/%d/children"):format(pid, pid)) or ""):gmatch("%d+") do
    if support.read_file("/proc/" .. child .. "/comm") == "guard\n" then found[#found + 1] = tonumber(child) end
  end
  return found
end

for _, way in ipairs(ways) do
  describe(way.name, function()
    it("takes along who has got away, when it is killed", function()
      for _, signal in ipairs { "KILL", "ABRT", "SEGV" } do
        corun.scope(function()
          local script, pid = start(way, "daemon() corun.sleep(1000)", 1)
          script:signal(signal)
          script:wait()
          is_gone_soon(pid)
        end)
      end
    end)

    it("takes along who has got away, at the end of the script", function()
      for _, ending in ipairs { "", "error 'wanted'", "os.exit(3)", "os.exit(3, true)" } do
        corun.scope(function()
          local script, pid = start(way, "daemon() " .. ending, 1)
          script:wait()
          assert.is_true(support.is_gone(pid), "after the end by " .. ending)
        end)
      end
    end)

    it("takes along who has got away, after a signal that ends the script", function()
      corun.scope(function()
        local script, pid = start(way, "daemon() corun.sleep(1000)", 1)
        script:signal("TERM")
        script:wait()
        is_gone_soon(pid) -- where nothing of corun runs, a stock interpreter ends by the signal itself: its guard acts
      end)
    end)

    it("leaves detached processes alone", function()
      for _, ending in ipairs { "", "os.execute 'kill -KILL $PPID'" } do
        corun.scope(function()
          local script, lives, goes = start(way, "detached() daemon() " .. ending, 2)
          script:wait()
          is_gone_soon(goes)
          assert.is_false(support.is_gone(lives))
          corun.run { "kill", "-KILL", lives }
          is_gone_soon(lives)
        end)
      end
    end)

    it("has one guard, which is gone soon after its end", function()
      corun.scope(function()
        local script = start(way, "corun.contain() corun.go(corun.contain) daemon() io.read()", 1)
        local guards = guards_of(script.pid)
        assert.equal(1, #guards)
        script:close_stdin()
        script:wait()
        is_gone_soon(guards[1])
      end)
    end)
  end)
end

describe("A script that is not contained", function()
  it("leaves a daemon behind, as ever", function()
    corun.scope(function()
      local script, pid = start({ host = scripts.native, call = "" }, "daemon()", 1)
      assert.same({}, guards_of(script.pid))
      script:wait()
      assert.is_false(support.is_gone(pid))
      corun.run { "kill", "-KILL", pid }
      is_gone_soon(pid)
    end)
  end)
end)

describe("corun.contain()", function()
  local contained = ways[2]

  it("concerns also who was started before it", function()
    corun.scope(function()
      local script, pid = start({ host = scripts.native, call = "daemon() corun.contain() " },
        "os.execute 'kill -KILL $PPID'", 1)
      script:wait()
      is_gone_soon(pid)
    end)
  end)

  it("works in tasks and where nothing can yield", function()
    for _, call in ipairs {
      "corun.go(corun.contain):await()", "table.sort({ 1, 2 }, function() corun.contain() end)",
      "coroutine.wrap(corun.contain)()",
    } do
      corun.scope(function()
        local script, pid = start({ host = scripts.native, call = call }, " daemon() corun.sleep(1000)", 1)
        script:signal("KILL")
        script:wait()
        is_gone_soon(pid)
      end)
    end
  end)

  it("has a guard in a session of its own that no signal reaches, with one descriptor and a telling name", function()
    corun.scope(function()
      local script = start(contained, "daemon() io.read()", 1)
      local guard = guards_of(script.pid)[1]
      local stat = support.read_file("/proc/" .. guard .. "/stat")
      assert.equal(guard, math.tointeger(tonumber(stat:match("^.*%) %a %d+ %d+ (%d+)"))))
      local function open_descriptors()
        return corun.capture { "ls", "/proc/" .. guard .. "/fd" }
      end
      waiting.wait_until("it has one descriptor", function() return open_descriptors() == "0" end)
      assert.equal("guard of " .. script.pid, (support.read_file("/proc/" .. guard .. "/cmdline"):gsub("%z+$", "")))
      for _, signal in ipairs { "TERM", "INT", "HUP", "USR1", "PIPE" } do
        corun.run { "kill", "-" .. signal, guard }
      end
      waiting.let_others_run()
      assert.is_false(support.is_gone(guard))
      script:close_stdin()
      script:wait()
      is_gone_soon(guard)
    end)
  end)

  it("holds for a corun below corun alone, and not for the one around", function()
    local source = head .. [[
      daemon()
      local inner = corun.spawn { os.getenv "CORUN", "--contain", "-e", os.getenv "INNER", stderr = "null" }
      say(inner)
      inner:signal "KILL"
      inner:wait()
      io.read()
    ]]
    corun.scope(function()
      local script = scripts.native:spawn(source, {
        env = { CORUN = scripts.corun, INNER = head .. "daemon() corun.sleep(1000)" }, stderr = "null",
      })
      local mine, inner = pid_of(script.stdout:read_line()), pid_of(script.stdout:read_line())
      is_gone_soon(inner)
      assert.is_false(support.is_gone(mine))
      corun.run { "kill", "-KILL", mine }
      is_gone_soon(mine)
      script:close_stdin()
      script:wait()
    end)
  end)

  it("holds for what a corun below has started, also when that was killed before", function()
    for _, first in ipairs { "", 'inner:signal "KILL" inner:wait()' } do
      local spec = scripts.native:spec(head .. [[
        corun.contain()
        local inner = say(corun.spawn { os.getenv "CORUN", "-e", os.getenv "INNER", stderr = "null" })
      ]] .. first .. ' os.execute "kill -KILL $PPID"', {
        env = { CORUN = scripts.corun, INNER = head .. "daemon() corun.sleep(1000)" },
      })
      local pid = pid_of(outermost(spec))
      is_gone_soon(pid)
    end
  end)
end)

describe("Where the mark of processes is taken", function()
  local missing = "contain: this needs marks for processes (RLIMIT_LOCKS is in use, or /proc is not mounted)"

  --- The same spec with a limit of file locks of its own.
  local function limited(spec) return world.through({ "prlimit", "--locks=1000:1000" }, spec) end

  it("corun --contain refuses to start and says what is missing", function()
    local spec = scripts.native:spec("print 'it has begun'", { before = { "--contain" }, check = false })
    local result = corun.run(limited(spec))
    assert.equal(1, result.code)
    assert.equal("", result.stdout)
    raised.has(result.stderr, "corun: " .. missing .. "\n")
  end)

  it("corun.contain() raises \"unsupported\", each time", function()
    for _, host in ipairs(scripts.hosts) do
      local result = corun.run(limited(host:spec([[
        local corun = require "corun"
        for _ = 1, 2 do
          local ok, e = pcall(corun.contain)
          print(ok, e.kind, e.code, e.message)
        end
      ]])))
      assert.equal(("false\tunsupported\tENOTSUP\t" .. missing .. "\n"):rep(2), result.stdout)
    end
  end)

  it("trees are found by their groups and parents", function()
    local result = corun.run(limited(scripts.native:spec([[
      local corun = require "corun"
      local ready = os.getenv "FIXTURES" .. "/ready"
      local p = corun.spawn { "sh", "-c", 'setsid "$0" & exec "$0"', ready }
      local first, second = p.stdout:read_line():match("%d+"), p.stdout:read_line():match("%d+")
      local tree = p:tree()
      print(#tree, tostring(tree[1].pid) == first or tostring(tree[1].pid) == second)
      print(p:kill(), #p:tree(), p.survivors)
    ]])))
    assert.equal("1\ttrue\nsignal SIGKILL\t0\tnil\n", result.stdout)
  end)
end)
