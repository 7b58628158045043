--- Trees, containment and os.exit at their edges: descriptors that run out, numbers that come again, plans interrupted.

local corun = require "corun"
local raised = require "spec.support.raised"
local scripts = require "spec.support.scripts"
local support = require "spec.support"
local waiting = require "spec.support.waiting"
local world = require "spec.support.world"

local ready = support.fixture "ready"

local function is_gone_soon(pid)
  waiting.wait_until("process " .. pid .. " is gone", function() return support.is_gone(pid) end, 20)
end

--- A guard goes on for a moment after what it guards.
after_each(function()
  waiting.wait_until("all guards are gone", function()
    return not table.concat(support.marked("CORUN_SPEC=" .. corun.env.CORUN_SPEC), "\n"):find("guard of", 1, true)
  end)
end)

--- What scripts begin with. daemon() leaves a process in a session of its own whose parent has ended, and says its pid.
local head = [[
  local corun = require "corun"
  local ready, stubborn = os.getenv "FIXTURES" .. "/ready", os.getenv "FIXTURES" .. "/stubborn"
  local function say(p) io.write(p.stdout:read_line(), "\n") io.stdout:flush() return p end
  local function daemon() say(corun.spawn { "sh", "-c", 'setsid "$0" &', ready, stderr = "null" }):wait() end
  local function fill()
    local files, file = {}, io.open "/dev/null"
    while file do
      files[#files + 1] = file
      file = io.open "/dev/null"
    end
    return files
  end
]]

--- Runs it without corun, so that no other is around it; returns its first line.
local function outermost(spec)
  local words, unset = {}, { "env" }
  for name, value in pairs(spec.env) do
    if value then words[#words + 1] = name .. "=" .. value else table.move({ "-u", name }, 1, 2, #unset + 1, unset) end
  end
  table.move(words, 1, #words, #unset + 1, unset)
  table.move(spec, 1, #spec, #unset + 1, unset)
  local file <close> = io.popen(("cd %s && %s 2>/dev/null"):format(spec.cwd, corun.quote(table.unpack(unset))))
  return file:read()
end

describe("usage()", function()
  it("holds no descriptor after the end of the process, though its group goes on", function()
    local p <close> = corun.spawn { "sh", "-c", '"$0" & read -r line', ready, stderr = "null" }
    local member = tonumber(p.stdout:read_line():match("%d+"))
    local before = support.descriptors()
    assert.is_true(p:usage().rss > 0)
    p:write("\n")
    p:wait(20)
    assert.is_false(support.is_gone(member))
    for fd, target in pairs(support.descriptors()) do
      assert.is_true(before[fd] == target, ("descriptor %d is open on %s"):format(fd, target))
    end
  end)
end)

describe("A start for which descriptors run out", function()
  it("says what failed, and leaves nothing open", function()
    local result = corun.run(world.after("ulimit -n 40", scripts.native:spec(head .. [[
      local core = require "corun.core"
      local function try(spec, left)
        local files = fill()
        for _ = 1, left do table.remove(files):close() end
        local process, e = corun.try(corun.spawn, spec)
        for _, file in ipairs(files) do file:close() end
        if process then return process:wait().ok end
        print(e.code, e.stage, (e.message:gsub("^cannot start .-: ", "")))
      end
      for _, stdio in ipairs { "inherit", "null", "pipe" } do
        local left = 0
        while not try({ "true", stdin = stdio, stdout = stdio, stderr = stdio }, left) do left = left + 1 end
      end
    ]])))
    local stages = {}
    for line in result.stdout:gmatch("[^\n]+") do
      local stage, what = line:match("^EMFILE\t(%a+)\t(.*): EMFILE too many open files$")
      assert.is_truthy(stage, line)
      stages[stage] = what
    end
    assert.equal("cannot make a process", stages.fork)
    assert.matches("^cannot open descriptor %d of the child$", stages.open)
  end)
end)

describe("A contained script", function()
  it("cannot start anything once its guard is gone and there is no descriptor for another", function()
    corun.scope(function()
      local result = corun.run(world.after("ulimit -n 40", scripts.native:spec(head .. [[
        corun.contain()
        local pid = require "corun.core".pid()
        local function guard()
          local children = io.open(("/proc/%d/task/%d/children"):format(pid, pid)):read("a")
          for child in children:gmatch("%d+") do
            local file = io.open("/proc/" .. child .. "/comm")
            if file and file:read() == "guard" then return child end
          end
        end
        local first = guard()
        corun.run { "kill", "-KILL", first }
        local function state() return (io.open("/proc/" .. first .. "/stat"):read("a"):match("%) (%a)")) end
        repeat corun.sleep(0.001) until state() == "Z" -- reaped by the next start
        local files = fill()
        table.remove(files):close()
        local inherited = { "true", stdin = "inherit", stdout = "inherit", stderr = "inherit" }
        local _, e = corun.try(corun.spawn, inherited)
        print(e.kind, e.stage, e.code, e.message)
        for _, file in ipairs(files) do file:close() end
        print(corun.run(inherited).status, first ~= guard() and guard() ~= nil)
        daemon()
        os.execute "kill -KILL $PPID"
      ]], { check = false })))
      local e, pid = result.stdout:match("^(.-)\nexit 0\ttrue\nready (%d+)\n$")
      assert.equal("spawn\tguard\tEMFILE\tcannot start true: cannot start the guard of corun.contain again: " ..
        "EMFILE too many open files", e, result.stdout .. result.stderr)
      is_gone_soon(pid)
    end)
  end)

  if world.is_native then -- the other backend has no rlimits
    it("cannot set the limit that marks its trees", function()
      for _, host in ipairs(scripts.hosts) do
        local result = host:run(head .. [[
          print(corun.run { "true", rlimits = { locks = 5 } }.status)
          corun.contain()
          local _, e = corun.try(corun.run, { "true", rlimits = { nofile = 64, locks = 5 } })
          print(e.kind, e.code, e.option, e.message)
          print(corun.run { "true", rlimits = { nofile = 64 } }.status)
        ]])
        assert.equal("exit 0\nunsupported\tENOTSUP\trlimits.locks\tcannot start true: option 'rlimits.locks': " ..
          "corun.contain needs this limit for itself\nexit 0\n", result.stdout)
      end
    end)
  end

  it("takes along what os.execute and io.popen have started", function()
    for _, host in ipairs(scripts.hosts) do
      for _, call in ipairs {
        [[os.execute("setsid " .. ready .. " >out & until test -s out; do sleep 0.01; done; cat out")]],
        [[io.write(io.popen("setsid " .. ready .. " & exec sleep 1000"):read(), "\n")]],
      } do
        local spec = host:spec(head .. "corun.contain() " .. call .. ' io.stdout:flush() os.execute "kill -KILL $PPID"')
        local pid = tonumber(outermost(spec):match("^ready (%d+)$"))
        is_gone_soon(pid)
      end
    end
  end)

  it("is guarded whatever its locale is, and its size, and the guard keeps its title", function()
    for _, host in ipairs(scripts.hosts) do
      corun.scope(function()
        local script = host:spawn(head .. [[
          os.setlocale(os.getenv "NAME")
          KEEP = {}
          for i = 1, 100000 do KEEP[i] = { ("x"):rep(i % 100) .. i } end
          corun.contain()
          daemon()
          corun.sleep(1000)
        ]], { env = { NAME = "C.UTF-8" }, stderr = "null" })
        local pid = tonumber(script.stdout:read_line():match("^ready (%d+)$"))
        local titles = ""
        for child in support.read_file(("/proc/%d/task/%d/children"):format(script.pid, script.pid)):gmatch("%d+") do
          titles = titles .. (support.read_file("/proc/" .. child .. "/cmdline") or "")
        end
        raised.has(titles, "guard of " .. script.pid)
        script:signal("KILL")
        script:wait(20)
        is_gone_soon(pid)
      end)
    end
  end)
end)

-- In a pid namespace of its own a script may choose the next pid: a stranger gets the number of a group that is gone.
local recycling = head .. [[
  local p = corun.spawn { "true", stdin = "null", stdout = "null", stderr = "null" }
  p:wait()
  local file = assert(io.open("/proc/sys/kernel/ns_last_pid", "w"))
  assert(file:write(tostring(p.pid - 1)))
  file:close()
  local q = corun.spawn { "sh", "-c", '"$0" & wait', ready }
  assert(q.pid == p.pid, "it has another pid: " .. q.pid)
  q.stdout:read_line()
  print(#p:tree(), #q:tree(), p:signal_tree("TERM"))
  print(#q:tree(), p:terminate(0), p:kill())
  p:close()
  corun.sleep(0)
  print(q.status, #q:tree(), q:kill())
]]

describe("A group with the number of one that is gone", function()
  local words = { "unshare", "--pid", "--fork", "--mount-proc" }
  if not world.is_root then table.move({ "--user", "--map-root-user" }, 1, 2, #words + 1, words) end
  local can = corun.run(world.through(words, { "sh", "-c", "echo 1 >/proc/sys/kernel/ns_last_pid", check = false })).ok

  for _, host in ipairs(scripts.hosts) do
    it("is nobody's but its own, in " .. host.name, function()
      if not can then return pending("needs a pid namespace") end
      local spec = host:spec(recycling)
      spec.timeout = 60
      local result = corun.run(world.through(words, spec))
      assert.equal("0\t1\tfalse\n1\texit 0\texit 0\nnil\t1\tsignal SIGKILL\n", result.stdout)
    end)
  end
end)

-- Ends of scripts

local stops = {
  ["a time limit"] = "corun.run { ready, timeout = 0, stop = plan }",
  ["terminate()"] = "corun.spawn({ ready, stop = plan }):terminate()",
  ["close()"] = "corun.spawn({ ready, stop = plan }):close()",
  ["the end of a scope"] = "corun.scope(function(scope) scope:spawn { ready, stop = plan } end)",
}

for _, host in ipairs(scripts.hosts) do
  describe("os.exit in a task of " .. host.name, function()
    it("does not wait for the plan that the main chunk runs, but stops the process anew #once", function()
      local cases = {}
      for name, stop in pairs(stops) do
        for _, ending in ipairs { "os.exit(8)", "os.exit(8, true)" } do
          cases[#cases + 1] = { what = name .. ", " .. ending, source = head .. [[
            local plan = { { "RUN", { "sh", "-c", "echo stopping >&2", stderr = "inherit" }, 0.2 }, "KILL" }
            corun.go(function() corun.sleep(0.05) ]] .. ending .. " end) " .. stop .. " corun.sleep(1000)" }
        end
      end
      local ends = corun.map(cases, function(case)
        local result = host:run(case.source)
        return ("%s: %s, %s"):format(case.what, result.status, result.stderr)
      end)
      for i, case in ipairs(cases) do
        assert.equal(case.what .. ": exit 8, stopping\nstopping\n", ends[i])
      end
    end)
  end)

  describe("A second Ctrl-C in " .. host.name, function()
    it("kills a group whose leader has ended", function()
      corun.scope(function()
        local script = host:spawn(head .. [[
          local plan = { { "RUN", { "sh", "-c", "echo stopping", stdout = "inherit" }, 3600 } }
          say(corun.spawn { "sh", "-c", '"$0" & exit 0', stubborn, stderr = "null", stop = plan }):wait()
          print "waiting"
          io.stdout:flush()
          corun.sleep(1000)
        ]], { stderr = "null" })
        local pid = tonumber(script.stdout:read_line():match("^ready (%d+)$"))
        assert.equal("waiting", script.stdout:read_line())
        script:signal("INT")
        assert.equal("stopping", script.stdout:read_line())
        assert.is_false(support.is_gone(pid))
        script:signal("INT")
        script:wait(20)
        is_gone_soon(pid)
      end)
    end)
  end)
end
