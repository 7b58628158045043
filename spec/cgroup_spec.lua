--- A cgroup of a child's own: where it is, what a tree kill reaches in it, and that it is removed.

local cgroups = require "spec.support.cgroups"
local corun = require "corun"
local facts = require "spec.support.facts"
local raised = require "spec.support.raised"
local scripts = require "spec.support.scripts"
local support = require "spec.support"
local waiting = require "spec.support.waiting"
local world = require "spec.support.world"

local ready, stubborn = support.fixture "ready", support.fixture "stubborn"

--- What gets away from its group: by setsid, a double fork, both; one that ignores signals; and the leader.
local tree = ([[
  setsid READY &
  ( READY & )
  ( setsid STUBBORN & )
  exec READY
]]):gsub("READY", ready):gsub("STUBBORN", stubborn)

--- Starts the tree in `options` and waits until all of it is there; its cgroup.
local function grow(scope, options)
  local spec = { "sh", "-c", tree, cgroup = true, grace = 0.1 }
  for name, value in pairs(options or {}) do spec[name] = value end
  local p = scope:spawn(spec)
  for _ = 1, 4 do p:expect("ready %d+\n") end
  return p, cgroups.of(p.pid)
end

local function assert_nobody_left(path)
  assert.same({}, cgroups.members(path))
  assert.same({}, support.marked("CORUN_SPEC=" .. corun.env.CORUN_SPEC))
end

if world.is_native and not cgroups.can_be_made then
  describe("cgroup = true", function()
    it("needs a cgroup v2 that is writable", function() pending("there is none here") end)
  end)
end

if not cgroups.can_be_made then return end

describe("cgroup = true", function()
  after_each(function() assert.same({}, cgroups.left()) end)

  it("starts the child in a new cgroup below ours", function()
    local pattern = "^" .. (cgroups.own .. "/corun-"):gsub("//", "/"):gsub("%p", "%%%0") .. support.pid .. "%-%d+$"
    local first, second = facts.of({ cgroup = true }).cgroup, facts.of({ cgroup = true }).cgroup
    assert.matches(pattern, first)
    assert.matches(pattern, second)
    assert.is_not_equal(first, second)
    assert.equal(cgroups.own, cgroups.of("self"))
    assert.equal(cgroups.own, facts.of({ cgroup = false }).cgroup)
  end)

  it("is the child's containment, with a group and without", function()
    for _, group in ipairs { true, false } do
      local p <close> = corun.spawn { ready, cgroup = true, group = group }
      assert.equal("cgroup", p.containment)
      p:kill()
      assert.equal("cgroup", p.containment)
    end
  end)

  it("holds the whole tree, and nobody else", function()
    corun.scope(function(scope)
      local p, path = grow(scope)
      local members = cgroups.members(path)
      assert.equal(4, #members)
      assert.is_true(table.concat(members, " "):find(tostring(p.pid), 1, true) ~= nil)
      for _, pid in ipairs(members) do assert.equal(path, cgroups.of(pid)) end
    end)
  end)

  it("is entered before the child becomes another user", function()
    if not world.is_root then return pending("needs root") end
    local values = facts.of { cgroup = true, uid = facts.nobody, no_new_privileges = true }
    assert.equal(facts.nobody, values.uid)
    assert.matches("/corun%-%d+%-%d+$", values.cgroup)
  end)

  it("is removed when a start fails", function()
    local open = support.descriptors()
    assert.equal("exec", raised.error("spawn", function() corun.run { "/no/such/program", cgroup = true } end).stage)
    assert.same({}, cgroups.left())
    local spec = { "true", cgroup = true, stdout = { file = "/no/such/directory/file" } }
    assert.equal("open", raised.error("spawn", function() corun.run(spec) end).stage)
    assert.same({}, cgroups.left())
    assert.same(open, support.descriptors())
  end)

  it("is removed after each of many", function()
    local open = support.descriptors()
    corun.map((function()
      local list = {}
      for i = 1, 100 do list[i] = i end
      return list
    end)(), function() corun.run { "true", cgroup = true } end, { jobs = 8 })
    assert.same({}, cgroups.left())
    assert.same(open, support.descriptors())
  end)
end)

describe("The tree in a cgroup", function()
  after_each(function() assert.same({}, cgroups.left()) end)

  it("is killed, all of it, and the cgroup removed", function()
    corun.scope(function(scope)
      local p, path = grow(scope)
      assert.equal("signal SIGKILL", tostring(p:kill()))
      assert_nobody_left(path)
      assert.same({}, cgroups.left())
      assert.is_false(p:signal_tree("KILL"))
    end)
  end)

  it("is killed when it is stopped", function()
    corun.scope(function(scope)
      local p, path = grow(scope)
      local members = cgroups.members(path)
      assert.is_true(p:suspend())
      for _, pid in ipairs(members) do
        waiting.wait_until("it is stopped", function() return support.process_state(pid) == "T" end)
      end
      p:kill()
      assert_nobody_left(path)
    end)
  end)

  it("goes on after it was suspended", function()
    corun.scope(function(scope)
      local p, path = grow(scope)
      p:suspend()
      p:resume()
      for _, pid in ipairs(cgroups.members(path)) do
        waiting.wait_until("it goes on", function() return support.process_state(pid) ~= "T" end)
      end
    end)
  end)

  it("is stopped by its plan at the end of the scope", function()
    local p, path
    corun.scope(function(scope) p, path = grow(scope) end)
    assert.equal("signal SIGTERM", tostring(p.status))
    assert_nobody_left(path)
  end)

  it("gets each signal, wherever its members are", function()
    corun.scope(function(scope)
      local p, path = grow(scope)
      assert.is_true(p:signal_tree("TERM"))
      waiting.wait_until("only the stubborn one is left", function() return #cgroups.members(path) == 1 end)
      assert.equal("signal SIGTERM", tostring(p:wait(10)))
      assert.is_true(p:signal_tree(0))
      assert.is_true(p:signal_tree("KILL"))
      waiting.wait_until("nobody is left", function() return not p:signal_tree(0) end)
    end)
  end)

  it("is stopped after its leader has ended, by terminate", function()
    corun.scope(function(scope)
      local p = scope:spawn { "sh", "-c", ("setsid %s &"):format(stubborn), cgroup = true, grace = 0.05 }
      p:expect("ready")
      assert.equal("exit 0", tostring(p:wait(10)))
      local path = "/" .. cgroups.left()[1]:sub(#cgroups.mount + 2)
      assert.equal(1, #cgroups.members(path))
      p:terminate()
      assert_nobody_left(path)
      assert.same({}, cgroups.left())
    end)
  end)

  it("is stopped by a time limit", function()
    local result = corun.run { "sh", "-c", tree, cgroup = true, timeout = 0.2, grace = 0.1, check = false }
    assert.equal("timeout", result.reason)
    assert.same({ "TERM", "KILL" }, result.stopped)
    assert.is_nil(result.held_by)
    assert.same({}, support.marked("CORUN_SPEC=" .. corun.env.CORUN_SPEC))
  end)

  it("is reached in cgroups that it has made itself, which are removed", function()
    if not world.is_root then return pending("needs root") end
    corun.scope(function(scope)
      local script = ([[
        own=MOUNT$(sed -n 's/^0:://p' /proc/self/cgroup)
        mkdir -p $own/a/b $own/c
        sh -c 'echo 0 >$0/a/b/cgroup.procs; exec READY' $own &
        exec READY
      ]]):gsub("MOUNT", cgroups.mount):gsub("READY", ready)
      for _, stop in ipairs { "kill", "terminate" } do
        local p = scope:spawn { "sh", "-c", script, cgroup = true }
        for _ = 1, 2 do p:expect("ready %d+\n") end
        local path = cgroups.of(p.pid)
        assert.equal(1, #cgroups.members(path .. "/a/b"))
        p[stop](p)
        assert.same({}, cgroups.left())
        assert_nobody_left(path)
      end
    end)
  end)

  it("does not hold a leader that somebody has moved, who is killed nevertheless", function()
    if not world.is_root then return pending("needs root") end
    corun.scope(function(scope)
      local script = ("echo 0 >%s/cgroup.procs; exec %s"):format(cgroups.directory, ready)
      local p = scope:spawn { "sh", "-c", script, cgroup = true }
      p:expect("ready")
      assert.equal(cgroups.own, cgroups.of(p.pid))
      assert.equal("signal SIGKILL", tostring(p:kill()))
    end)
  end)

  it("is killed as far as its group goes when we have no descriptor left", function()
    local spec = scripts.native:spec [[
      local corun = require "corun"
      corun.scope(function(scope)
        local p = scope:spawn { os.getenv "FIXTURES" .. "/stubborn", cgroup = true }
        p:expect "ready"
        local held = {}
        repeat
          local file = io.open "/dev/null"
          held[#held + 1] = file
        until not file
        print(p.containment, p:signal_tree(0), p:kill(), p:signal_tree(0))
        for _, file in ipairs(held) do file:close() end
      end)
    ]]
    local result = corun.run(world.after("ulimit -n 40", spec))
    assert.equal("cgroup\ttrue\tsignal SIGKILL\tfalse\n", result.stdout)
    assert.same({}, cgroups.left(result.pid))
  end)

  it("of each stage of a Pipeline is its own", function()
    local pipeline = corun.command { "cat", "/proc/self/cgroup", cgroup = true }
      | corun.command { "sh", "-c", "cat; cat /proc/self/cgroup", cgroup = true }
    local seen = {}
    for path in pipeline:run().stdout:gmatch("0::(%S+)") do seen[#seen + 1] = path end
    assert.equal(2, #seen)
    assert.is_not_equal(seen[1], seen[2])
  end)
end)

describe("At the end of the program no cgroup and nobody in it is left", function()
  local start = [[
    local corun = require "corun"
    local ready = os.getenv "FIXTURES" .. "/ready"
    local p = corun.spawn { "sh", "-c", "setsid " .. ready .. " & exec " .. ready, cgroup = true, grace = 0.1 }
    p:expect("ready"); p:expect("ready")
    local daemon = corun.spawn { "sh", "-c", "setsid " .. ready .. " &", cgroup = true, grace = 0.1 }
    daemon:expect("ready")
    daemon:wait()
    io.write("started\n") io.flush()
  ]]
  local ends = {
    ["when it comes to its end"] = "",
    ["by os.exit"] = "os.exit(3, true)",
    ["by os.exit without closing the state"] = "os.exit(3)",
    ["by an error"] = "error 'wrong'",
  }
  for _, host in ipairs(scripts.hosts) do
    for how, last_line in pairs(ends) do
      it(how .. " in " .. host.name, function()
        local result = host:run(start .. last_line)
        raised.has(result.stdout, "started\n")
        assert.same({}, cgroups.left(result.pid))
        assert.same({}, support.marked("CORUN_SPEC=" .. corun.env.CORUN_SPEC))
      end)
    end

    for _, signals in ipairs { { "TERM" }, { "INT" }, { "INT", "INT" } } do
      it("by " .. table.concat(signals, " and ") .. " in " .. host.name, function()
        local p <close> = host:spawn(start .. "corun.shield(corun.sleep, 100)")
        p:expect("started\n")
        for i, signal in ipairs(signals) do
          p:signal(signal)
          if i < #signals then corun.sleep(0.05) end -- one pending signal is not two
        end
        p:wait(10)
        assert.same({}, cgroups.left(p.pid))
        assert.same({}, support.marked("CORUN_SPEC=" .. corun.env.CORUN_SPEC))
      end)
    end
  end
end)
