--- Limits of a child's cgroup: what they do where they can be set, and what is said where they cannot.

local cgroups = require "spec.support.cgroups"
local cgroup = require "corun.cgroup"
local corun = require "corun"
local facts = require "spec.support.facts"
local raised = require "spec.support.raised"
local support = require "spec.support"
local world = require "spec.support.world"

local takes = support.fixture "takes"

--- The text of a control file of the child's own cgroup.
local function control(file, options)
  local path = ("%s$(sed -n 's/^0:://p' /proc/self/cgroup)/%s"):format(cgroups.mount, file)
  local spec = { "sh", "-c", "cat " .. path }
  for name, value in pairs(options) do spec[name] = value end
  return corun.capture(spec)
end

local function it_with(controller, title, fn)
  it(title, function()
    if not cgroups.has(controller) then return pending(("needs the cgroup controller \"%s\""):format(controller)) end
    fn()
    assert.same({}, cgroups.left())
  end)
end

describe("memory_max", function()
  it_with("memory", "is the child's memory.max", function()
    assert.equal("67108864", control("memory.max", { memory_max = 64 << 20 }))
    assert.equal("max", control("memory.max", { memory_max = "unlimited" }))
  end)

  it_with("memory", "has a child killed that takes more", function()
    if #support.read_file("/proc/swaps") > 200 then return pending("what is swapped out does not count") end
    local function take(mib)
      return corun.run { takes, "memory", mib << 20, memory_max = 64 << 20, check = false }
    end
    assert.equal("took 1048576", tostring(take(1)))
    assert.equal("signal SIGKILL", tostring(take(256).status))
  end)
end)

describe("pids_max", function()
  it_with("pids", "is the child's pids.max", function()
    assert.equal("7", control("pids.max", { pids_max = 7 }))
  end)

  it_with("pids", "has fork fail with EAGAIN", function()
    assert.equal("took 3 EAGAIN", corun.capture { takes, "processes", 10, pids_max = 4 })
    assert.equal("took 10", corun.capture { takes, "processes", 10, pids_max = 11 })
  end)
end)

describe("cpu_max", function()
  it_with("cpu", "is the child's cpu.max", function()
    assert.equal("50000 100000", control("cpu.max", { cpu_max = 0.5 }))
    assert.equal("200000 100000", control("cpu.max", { cpu_max = 2 }))
    assert.equal("1000 100000", control("cpu.max", { cpu_max = 0.01 }))
    assert.equal("max 100000", control("cpu.max", { cpu_max = "unlimited" }))
  end)
end)

--- Runs fn, which must raise "unsupported" for the option; its message.
local function unsupported(option, fn)
  local e = raised.error("unsupported", fn)
  assert.same({ "ENOTSUP", "cgroup", option, "true" }, { e.code, e.stage, e.option, e.argv[1] })
  local prefix = ("cannot start true: option '%s': "):format(option)
  assert.equal(prefix, e.message:sub(1, #prefix))
  assert.same({}, support.children())
  assert.same({}, cgroups.left())
  return e.message:sub(#prefix + 1)
end

if not world.is_native then
  describe("A cgroup", function()
    it("is not possible with this backend, which is said of the option", function()
      for name, value in pairs { cgroup = true, memory_max = 1, cpu_max = 1, pids_max = 1 } do
        assert.equal("not possible with the libuv spawn backend",
          unsupported(name, function() corun.run { "true", [name] = value } end))
      end
    end)
  end)
  return
end

describe("A limit whose controller is not there", function()
  for _, case in ipairs { { "memory_max", "memory", 1 << 30 }, { "cpu_max", "cpu", 0.5 }, { "pids_max", "pids", 9 } } do
    local option, controller, value = table.unpack(case)
    it(("is refused with its name: %s"):format(option), function()
      if not cgroups.can_be_made or cgroups.directory ~= cgroups.mount then return pending("needs the root cgroup") end
      if (support.read_file(cgroups.directory .. "/cgroup.controllers") or ""):find(controller, 1, true) then
        return pending("it is there")
      end
      local text = unsupported(option, function() corun.run { "true", cgroup = true, [option] = value } end)
      assert.equal(('the controller "%s" is not available in %s/cgroup.controllers'):format(controller,
        cgroups.directory), text)
    end)
  end
end)

local script = [[
  local corun = require "corun"
  for _, options in ipairs { { cgroup = true }, { pids_max = 100 } } do
    options[1], options[2] = "cat", "/proc/self/cgroup"
    local result, e = corun.try(corun.run, options)
    print(result and tostring(result):match "0::(%S+)" or e.kind .. " " .. e.option .. " " .. e.message)
  end
  local ready = os.getenv "FIXTURES" .. "/ready"
  local ok = corun.try(function()
    local p <close> = corun.spawn { "sh", "-c", "setsid " .. ready .. " & exec " .. ready, cgroup = true }
    p:expect "ready"
    p:expect "ready"
    print(p.containment, p:kill())
  end)
]]

describe("An ordinary user", function()
  it("is told that the cgroup is not writable", function()
    if not world.is_root or not cgroups.mount then return pending("needs root and a cgroup v2") end
    local text = facts.as_ordinary(script)
    local procs = cgroups.directory .. "/cgroup.procs is not writable: EACCES permission denied\n"
    assert.equal("unsupported cgroup cannot start cat: option 'cgroup': " .. procs
      .. "unsupported pids_max cannot start cat: option 'pids_max': " .. procs, text)
  end)

  it("has cgroups for children below one that was given away", function()
    if not world.is_root or not cgroups.can_be_made then return pending("needs root and a writable cgroup v2") end
    local name = ("spec-%s"):format(corun.env.CORUN_SPEC)
    local directory = cgroups.directory .. "/" .. name
    local prepare = [[
      mkdir $0 && chown NOBODY $0 $0/cgroup.procs $0/cgroup.subtree_control && echo 0 >$0/cgroup.procs && exec "$@"
    ]]
    -- A corun in that cgroup, as root, runs the script as somebody else.
    local spec = facts.ordinary(script)
    local source = ("%s/outer.lua"):format(spec.cwd)
    support.write_file(source, ([[
      require("corun").run { %q, %q, uid = %d, gid = %d, stdout = "inherit", stderr = "inherit" }
    ]]):format(spec[1], spec[2], spec.uid, spec.gid))
    prepare = prepare:gsub("NOBODY", facts.nobody .. ":" .. facts.nobody)
    local result = corun.run { "sh", "-c", prepare, directory, spec[1], source, cwd = spec.cwd, env = spec.env,
      check = false }
    finally(function() os.execute("rmdir " .. directory) end)
    assert.equal("", result.stderr)
    local own = cgroups.of("self"):gsub("/$", "") .. "/" .. name
    local first, second, third = result.stdout:match("^([^\n]*)\n([^\n]*)\n([^\n]*)\n$")
    assert.equal(own .. "/corun-", (first:gsub("%d+%-%d+$", "")))
    if not cgroups.has("pids") then
      raised.has(second, "unsupported pids_max cannot start cat: option 'pids_max': the controller \"pids\" is not")
      raised.has(second, "available in " .. directory .. "/cgroup.controllers")
      raised.has(second, "; " .. cgroups.directory .. "/cgroup.procs is not writable: EACCES")
    end
    assert.equal("cgroup\tsignal SIGKILL", third)
    assert.equal("", corun.capture { "find", directory, "-mindepth", "1", "-type", "d" })
  end)
end)

describe("Where no cgroup v2 is mounted", function()
  it("says so", function()
    if not world.is_root or not cgroups.mount then return pending("needs root and a cgroup v2 to unmount") end
    local spec = facts.ordinary(script)
    local unmounted = { "unshare", "-m", "sh", "-c", 'umount "$0" && exec "$@"', cgroups.mount, spec[1], spec[2],
      cwd = spec.cwd, env = spec.env, check = false }
    local result = corun.run(unmounted)
    if not result.ok then return pending("it cannot be unmounted for a child: " .. result.stderr) end
    assert.equal("unsupported cgroup cannot start cat: option 'cgroup': no cgroup v2 is mounted\n"
      .. "unsupported pids_max cannot start cat: option 'pids_max': no cgroup v2 is mounted\n", result.stdout)
  end)
end)

describe("Our own cgroup and those around it", function()
  local function around(own, ...)
    local lines = { "22 1 8:1 / / rw,relatime shared:1 - ext4 /dev/root rw",
      "35 22 0:30 / /sys/fs/cgroup/memory rw shared:9 - cgroup cgroup rw,memory" }
    for _, line in ipairs { ... } do lines[#lines + 1] = line end
    return cgroup.around(own, table.concat(lines, "\n") .. "\n")
  end
  local plain = "41 31 0:38 / /sys/fs/cgroup rw,relatime shared:10 - cgroup2 cgroup2 rw,nsdelegate"

  it("are found from the nearest up to what is mounted", function()
    assert.same({ { "/sys/fs/cgroup/a/b", "/a/b" }, { "/sys/fs/cgroup/a", "/a" }, { "/sys/fs/cgroup", "/" } },
      around("4:memory:/x\n0::/a/b\n", plain))
    assert.same({ { "/sys/fs/cgroup", "/" } }, around("0::/\n", plain))
  end)

  it("are found where a part of the hierarchy is mounted, at a path with a blank", function()
    local part = "41 31 0:38 /docker/1 /mnt/my\\040cgroup rw - cgroup2 none rw"
    assert.same({ { "/mnt/my cgroup/x", "/docker/1/x" }, { "/mnt/my cgroup", "/docker/1" } },
      around("0::/docker/1/x\n", part))
    assert.same({ { "/mnt/my cgroup", "/docker/1" } }, around("0::/docker/1\n", part))
    assert.same({ nil, "our own cgroup /docker/12 is not below a mounted one" }, { around("0::/docker/12\n", part) })
    assert.same({ { "/sys/fs/cgroup/docker", "/docker" }, { "/sys/fs/cgroup", "/" } },
      around("0::/docker\n", part, plain))
  end)

  it("are not found outside of our cgroup namespace, or without version 2", function()
    assert.same({ nil, "our own cgroup /../other is not below a mounted one" }, { around("0::/../other\n", plain) })
    assert.same({ nil, "no cgroup v2 is mounted" }, { around("4:memory:/x\n") })
    assert.same({ nil, "no cgroup v2 is mounted" }, { cgroup.around(nil, nil) })
    assert.same({ nil, "our own cgroup (version 2) is not below a mounted one" }, { around("4:memory:/x\n", plain) })
  end)
end)
