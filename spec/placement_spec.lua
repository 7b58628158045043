--- Where and with which rights a child runs, seen from inside it.

local corun = require "corun"
local facts = require "spec.support.facts"
local raised = require "spec.support.raised"
local scripts = require "spec.support.scripts"
local support = require "spec.support"
local waiting = require "spec.support.waiting"
local world = require "spec.support.world"

local ours = facts.of {}

--- The numbers in "0 1 2", as strings.
local function words_of(text)
  local words = {}
  for word in tostring(text):gmatch("%d+") do words[#words + 1] = word end
  return words
end

local processors = words_of(ours.cpus)
local last = tonumber(processors[#processors])

if world.is_native then
  describe("A child's processors", function()
    it("are ours", function()
      assert.equal(support.read_file("/proc/self/status"):match("Cpus_allowed:%s*(%S+)"),
        corun.capture({ "cat", "/proc/self/status" }):match("Cpus_allowed:%s*(%S+)"))
    end)

    it("are those of cpu_affinity, and ours stay", function()
      assert.equal(last, facts.of({ cpu_affinity = { last } }).cpus)
      assert.equal(tonumber(processors[1]), facts.of({ cpu_affinity = { tonumber(processors[1]) } }).cpus)
      assert.equal(ours.cpus, facts.of({}).cpus)
    end)

    it("may be given in any order and twice", function()
      local all = {}
      for i, number in ipairs(processors) do all[#processors - i + 1] = tonumber(number) end
      all[#all + 1] = last
      assert.equal(ours.cpus, facts.of({ cpu_affinity = all }).cpus)
    end)

    it("have to be there, each of them", function()
      local e = raised.error("spawn", function() corun.run { "true", cpu_affinity = { last, 8191 } } end)
      assert.same({ "EINVAL", "affinity", "cpu_affinity" }, { e.code, e.stage, e.option })
      assert.equal("cannot start true: option 'cpu_affinity': there is no processor 8191 for us: " ..
        "EINVAL invalid argument", e.message)
      e = raised.error("spawn", function() corun.run { "true", cpu_affinity = { 8191 } } end)
      raised.has(e.message, "no processor 8191 for us: EINVAL")
      e = raised.error("spawn", function() corun.run { "true", cpu_affinity = { 8190, 8191 } } end)
      raised.has(e.message, "option 'cpu_affinity': cannot run on the processors {8190, 8191}: EINVAL")
    end)
  end)

  describe("A child's oom_score_adj", function()
    it("is ours", function() assert.equal(tonumber(support.read_file("/proc/self/oom_score_adj")), ours.oom) end)

    it("is what the option says, and ours stays", function()
      assert.equal(1000, facts.of({ oom_score_adj = 1000 }).oom)
      assert.equal(ours.oom, facts.of({ oom_score_adj = ours.oom }).oom)
      assert.equal(ours.oom, tonumber(support.read_file("/proc/self/oom_score_adj")))
    end)

    it("is set though the child may not open a file", function()
      -- The program needs its libraries: it does not get far.
      local result = corun.run { "true", oom_score_adj = 1000, rlimits = { nofile = 0 }, check = false }
      assert.equal("exit", result.reason)
    end)

    it("may be less than ours for root, before it becomes another user", function()
      if not os.execute("sh -c 'echo -500 >/proc/self/oom_score_adj' 2>/dev/null") then
        return pending("needs CAP_SYS_RESOURCE")
      end
      local values = facts.of { oom_score_adj = -500, uid = facts.nobody }
      assert.same({ -500, facts.nobody }, { values.oom, values.uid })
    end)

    it("of less than ours is refused to an ordinary user", function()
      local text = facts.as_ordinary [[
        local corun = require "corun"
        local _, e = corun.try(corun.run, { "true", oom_score_adj = -1000 })
        print(e.kind, e.code, e.stage, e.option, e.message)
        print(#corun.run({ "cat", "/proc/self/oom_score_adj", oom_score_adj = 1000 }).stdout)
      ]]
      assert.equal("spawn\tEACCES\toom_score_adj\toom_score_adj\tcannot start true: option 'oom_score_adj': " ..
        "cannot set oom_score_adj to -1000: EACCES permission denied\n5\n", text)
    end)
  end)

  describe("no_new_privileges", function()
    it("is set in the child, not in us", function()
      assert.equal(1, facts.of({ no_new_privileges = true }).nnp)
      assert.equal(ours.nnp, facts.of({ no_new_privileges = false }).nnp)
      assert.equal(ours.nnp, facts.of({}).nnp)
    end)

    it("makes a set-user-ID program run as its caller", function()
      if not world.is_root then return pending("needs root") end
      local directory = support.directory()
      assert(os.execute(("cd %s && chmod 755 . && cp /usr/bin/id . && chmod 4755 id"):format(directory)))
      local function user(option)
        return corun.capture { directory .. "/id", "-u", uid = facts.nobody, no_new_privileges = option }
      end
      if user(nil) ~= "0" then return pending("set-user-ID has no effect here") end
      assert.equal(tostring(facts.nobody), user(true))
    end)
  end)
end

describe("new_session", function()
  it("makes the child the leader of a session and of a group", function()
    local values = facts.of { new_session = true }
    assert.same({ values.pid, values.pid }, { values.sid, values.pgid })
    if world.is_native then assert.equal(ours.sid, facts.of({ new_session = false }).sid) end
  end)

  it("has a group though stdin is inherited", function()
    local values = facts.of { new_session = true, stdin = "inherit" }
    assert.same({ values.pid, values.pid }, { values.sid, values.pgid })
  end)

  it("leaves the child to its scope, which stops its group", function()
    local p
    corun.scope(function(scope)
      p = scope:spawn { "sh", "-c", '"$0" & exec "$0"', support.fixture "ready", new_session = true }
      assert.equal("group", p.containment)
      p:expect("ready %d+\n.-ready %d+\n")
    end)
    assert.equal("signal SIGTERM", tostring(p.status))
    assert.is_false(p:signal_tree(0))
  end)

  if world.is_native then
    it("dies with us, as a detached one does not", function()
      assert.same({ 9, 9 }, { ours.death, facts.of({ new_session = true }).death })
      assert.equal(0, facts.of({ detached = true }).death)
      local p <close> = scripts.native:spawn [[
        local corun = require "corun"
        print(corun.spawn({ os.getenv "FIXTURES" .. "/ready", new_session = true, no_new_privileges = true,
          uid = tonumber(corun.capture { "id", "-u" }) }).stdout:read_line())
        corun.sleep(100)
      ]]
      local pid = p:expect("ready (%d+)").captures[1]
      p:signal "KILL"
      waiting.wait_until("the child of the killed one is gone", function() return support.is_gone(pid) end)
    end)

    it("contradicts group = false", function()
      assert.equal("options 'new_session' and 'group': the leader of a session leads a group",
        raised.argument(function() corun.run { "true", new_session = true, group = false } end))
    end)
  end
end)

if world.is_native then
  -- What may be lowered by everybody: name in rlimits → in the fixture, where it differs.
  local names = { "fsize", "data", "stack", "core", "nofile", "as", "rss", "nproc", "memlock", "locks", "sigpending",
    "msgqueue", "rttime", "cpu", nice = "nicelimit", rtprio = "rtprio" }

  describe("Every limit", function()
    for key, name in pairs(names) do
      local limit = math.type(key) == "integer" and name or key
      it(limit .. " is set by its name, soft and hard", function()
        local before = limit ~= "locks" and facts.of({})[name] or "4096" -- there each child has a number of its own
        local hard = tonumber(tostring(before):match("%-?%d+$"))
        local most = hard == -1 and 1 << 40 or hard
        local wanted = { most // 2, most }
        local values = facts.of { rlimits = { [limit] = wanted } }
        assert.equal(("%d %d"):format(most // 2, most), tostring(values[name]))
        if limit ~= "locks" then assert.equal(before, facts.of({})[name]) end
      end)
    end

    it("that core knows is in this list", function()
      local known = {}
      for key, name in pairs(names) do known[math.type(key) == "integer" and name or key] = true end
      for name in pairs(require("corun.core").limits) do assert.is_true(known[name], name) end
    end)
  end)
end
