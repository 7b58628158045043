local corun = require "corun"
local lfs = require "lfs"
local scripts = require "spec.support.scripts"
local support = require "spec.support"
local world = require "spec.support.world"

--- What the fixture "limits" says: name → rest of the line, as numbers where it is one.
local function facts(options)
  local spec = { scripts.fixtures .. "/limits" }
  for name, value in pairs(options or {}) do spec[name] = value end
  local values = {}
  for name, value in corun.run(spec).stdout:gmatch("(%w+) ?([^\n]*)\n") do values[name] = tonumber(value) or value end
  return values
end

--- "soft hard" of our own limit of open files, as we were started with it.
local function our_limit(resource)
  local soft, hard = require("corun.core").rlimit(require("corun.core").limits[resource])
  return ("%d %d"):format(soft, hard)
end

describe("A child's directory", function()
  it("is cwd, ours without it", function()
    local directory = support.directory()
    local result = corun.run { "pwd", "-P", cwd = directory }
    assert.equal(directory, tostring(result))
    assert.equal(directory, result.cwd)
    result = corun.run { "pwd", "-P" }
    assert.equal(lfs.currentdir(), tostring(result))
    assert.equal(lfs.currentdir(), result.cwd)
  end)

  it("may be given from ours, and does not change ours", function()
    assert.equal(lfs.currentdir() .. "/spec", corun.capture { "pwd", "-P", cwd = "spec" })
    assert.equal(lfs.currentdir(), corun.capture { "pwd", "-P" })
  end)
end)

describe("A child's environment", function()
  local function environment(options)
    local spec = { "env", "-0", format = "nul" }
    for name, value in pairs(options) do spec[name] = value end
    local values = {}
    for _, entry in ipairs(corun.run(spec).stdout) do
      local name, value = entry:match("^([^=]*)=(.*)$")
      assert.is_nil(values[name], "twice: " .. name)
      values[name] = value
    end
    return values
  end

  it("is ours", function()
    corun.env.CORUN_SPEC_OWN = "a value\nof two lines"
    finally(function() corun.env.CORUN_SPEC_OWN = nil end)
    local expected = {}
    for name, value in pairs(corun.env) do expected[name] = value end
    assert.equal("a value\nof two lines", expected.CORUN_SPEC_OWN)
    assert.same(expected, environment {})
  end)

  it("gets what env adds and loses what it sets to false", function()
    local values = environment { env = { ADDED = "a=b", COUNT = 2 ^ 53, HOME = false, EMPTY = "" } }
    assert.same({ "a=b", "9007199254740992", "" }, { values.ADDED, values.COUNT, values.EMPTY })
    assert.is_nil(values.HOME)
    assert.equal(corun.env.PATH, values.PATH)
    assert.is_nil(corun.env.ADDED)
  end)

  it("is env alone with clear_env", function()
    assert.same({ A = "1" }, environment { clear_env = true, env = { A = 1, HOME = false } })
    assert.same({}, environment { clear_env = true })
  end)
end)

describe("A child's argv", function()
  it("has its words as they are, numbers written out", function()
    local script = 'for word; do printf "%s\\0" "$word"; done'
    local function words(...) return corun.run({ "sh", "-c", script, "sh", format = "nul", ... }).stdout end
    assert.same({ "", " ", "a b", "*", "$HOME", "'\"", "-n", "\n", "\255" },
      words("", " ", "a b", "*", "$HOME", "'\"", "-n", "\n", "\255"))
    assert.same({ "1", "1.5", "9007199254740992", "-7", "0.1", "1", "9223372036854775807" },
      words(1, 1.5, 2 ^ 53, -7, 0.1, 1.0, math.maxinteger))
  end)

  it("begins with argv0 where that is given", function()
    assert.equal("sh", corun.capture { "sh", "-c", "echo $0" })
    assert.equal("another name", corun.capture { "sh", "-c", "echo $0", argv0 = "another name" })
    assert.equal("", corun.capture { "sh", "-c", "echo $0", argv0 = "" })
  end)
end)

describe("A child's limits", function()
  it("of open files are those that we were started with", function()
    local spec = scripts.native:spec([[
      local corun = require "corun"
      local ours = io.open("/proc/self/limits"):read("a"):match("Max open files%s+(%d+)%s+(%d+)")
      print(ours, (corun.capture { os.getenv "FIXTURES" .. "/limits" }):match("nofile (%d+ %d+)"))
    ]])
    local text = corun.run(world.after("ulimit -Sn 512; ulimit -Hn 900", spec)).stdout
    assert.equal("900\t512 900\n", text) -- corun raises its own
  end)

  if world.is_native then
    it("are a number for both, or soft and hard", function()
      assert.equal("64 64", facts({ rlimits = { nofile = 64 } }).nofile)
      local values = facts { rlimits = { nofile = { 64, 128 }, core = { 0, 4096 } } }
      assert.same({ "64 128", "0 4096" }, { values.nofile, values.core })
    end)

    it("are unlimited where that is said", function()
      if not our_limit("core"):find(" -1", 1, true) and not world.is_root then return pending("needs root") end
      assert.equal("-1 -1", facts({ rlimits = { core = "unlimited" } }).core)
      assert.equal("0 -1", facts({ rlimits = { core = { 0, "unlimited" } } }).core)
    end)

    it("leave those that are not named as they are", function()
      assert.equal(our_limit("nofile"), facts({ rlimits = { core = 0 } }).nofile)
    end)
  end
end)

if world.is_native then
  describe("A child's umask and niceness", function()
    it("are ours, with a umask from a number or octal digits", function()
      local ours = facts()
      assert.same({ 27, 77 }, { facts({ umask = tonumber("27", 8) }).umask, facts({ umask = "077" }).umask })
      assert.equal(0, facts({ umask = 0 }).umask)
      assert.same(ours.umask, facts().umask)
    end)

    it("add nice to our niceness", function()
      local ours = facts().nice
      assert.equal(math.min(ours + 3, 19), facts({ nice = 3 }).nice)
      assert.equal(ours, facts({ nice = 0 }).nice)
      assert.equal(19, facts({ nice = 40 }).nice)
      assert.equal(ours, facts().nice)
    end)
  end)
end

describe("A child's user", function()
  -- Somebody with a name and another primary group than root's; the fixture where everybody may run it.
  local name, uid, gid
  for line in io.lines("/etc/passwd") do
    local user, id, primary = line:match("^([^:]+):[^:]*:(%d+):(%d+):")
    if id and not name and tonumber(id) > 0 and tonumber(primary) > 0 then
      name, uid, gid = user, tonumber(id), tonumber(primary)
    end
  end

  local function as(options)
    local directory = support.directory()
    assert(os.execute(("chmod 755 %s && cp %s/limits %s"):format(directory, scripts.fixtures, directory)))
    local spec = { directory .. "/limits" }
    for option, value in pairs(options) do spec[option] = value end
    local values = {}
    for key, value in corun.run(spec).stdout:gmatch("(%w+) ?([^\n]*)\n") do values[key] = value end
    return values
  end

  it("is given by number, with root's groups dropped", function()
    if not world.is_root then return pending("needs root") end
    local values = as { uid = uid }
    assert.same({ tostring(uid), "0", "" }, { values.uid, values.gid, values.groups })
    values = as { uid = uid, gid = gid }
    assert.same({ tostring(uid), tostring(gid), "" }, { values.uid, values.gid, values.groups })
  end)

  it("is given by name, with its primary group", function()
    if not world.is_root then return pending("needs root") end
    local values = as { uid = name }
    assert.same({ tostring(uid), tostring(gid), "" }, { values.uid, values.gid, values.groups })
    assert.equal("7", as({ uid = name, gid = 7 }).gid)
  end)

  it("has a group by name alone", function()
    if not world.is_root then return pending("needs root") end
    local group, id
    for line in io.lines("/etc/group") do
      group, id = line:match("^([^:]+):[^:]*:(%d+):")
      if tonumber(id) > 0 then break end
    end
    local values = as { gid = group }
    assert.same({ "0", id }, { values.uid, values.gid })
  end)

  if world.is_native then
    it("has the supplementary groups that are listed", function()
      if not world.is_root then return pending("needs root") end
      assert.equal("5 7", as({ uid = uid, gid = gid, groups = { 5, 7 } }).groups)
      assert.equal("", as({ uid = uid, groups = {} }).groups)
    end)
  end

  it("is ours when it is our own", function()
    local values = as { uid = world.uid }
    assert.equal(tostring(world.uid), values.uid)
  end)
end)

describe("A child's process group", function()
  local our_group = select(2, support.process_state("self"))

  it("is its own", function()
    local values = facts()
    assert.equal(values.pid, values.pgid)
    assert.is_not_equal(our_group, values.pgid)
  end)

  it("is ours with group = false", function()
    assert.equal(our_group, facts({ group = false }).pgid)
    local process <close> = corun.spawn { scripts.fixtures .. "/ready", group = false }
    assert.equal("process", process.containment)
  end)

  it("is in our session, and in its own when detached", function()
    if world.is_native then assert.is_not_equal(facts().pid, facts().sid) end
    local values = facts { detached = true }
    assert.same({ values.pid, values.pid }, { values.pgid, values.sid })
  end)
end)
