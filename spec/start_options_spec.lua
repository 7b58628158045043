--- A start that an option prevents: the Error names the option, its value and the errno, and nothing is left half
--- started.

local corun = require "corun"
local facts = require "spec.support.facts"
local raised = require "spec.support.raised"
local support = require "spec.support"
local world = require "spec.support.world"

-- Option, value as Lua source, code, stage, the message behind "option 'NAME': ", whether every backend says so; first
-- what is not root's to do.
local refused = {
  { "nice", "-5", "EACCES", "nice", "cannot change the niceness by -5: EACCES permission denied" },
  { "oom_score_adj", "-1000", "EACCES", "oom_score_adj",
    "cannot set oom_score_adj to -1000: EACCES permission denied" },
  { "uid", "0", "EPERM", "setuid", "cannot become the user 0: EPERM operation not permitted", true },
  { "uid", "'root'", "EPERM", "setgid", "cannot take the group 0: EPERM operation not permitted", true },
  { "gid", "0", "EPERM", "setgid", "cannot take the group 0: EPERM operation not permitted", true },
  { "groups", "{ 0, 7 }", "EPERM", "setgroups", "cannot take the groups {0, 7}: EPERM operation not permitted" },
  { "groups", "{}", "EPERM", "setgroups", "cannot take the groups {}: EPERM operation not permitted" },
  { "stdout", "{ file = '/proc/1/mem' }", "EACCES", "open", "cannot open '/proc/1/mem': EACCES permission denied",
    true },
  { "rlimits", "{ core = 0, nofile = { 9, 1 << 40 } }", "EPERM", "rlimit",
    "cannot set nofile to 9 (soft), 1099511627776 (hard): EPERM operation not permitted" },
  { "rlimits", "{ nofile = 'unlimited' }", "EPERM", "rlimit",
    "cannot set nofile to unlimited (soft), unlimited (hard): EPERM operation not permitted" },
  { "cpu_affinity", "{ 8191 }", "EINVAL", "affinity", "there is no processor 8191 for us: EINVAL invalid argument" },
  { "cwd", "'/no/such'", "ENOENT", "chdir",
    "cannot enter the directory '/no/such': ENOENT no such file or directory",
    true },
  { "stdin", "{ file = '/no/such' }", "ENOENT", "open", "cannot open '/no/such': ENOENT no such file or directory",
    true },
  { "stdin", "999", "EBADF", "stdio", "cannot place our descriptor 999: EBADF bad file descriptor", true },
  { "stderr", "998", "EBADF", "stdio", "cannot place our descriptor 998: EBADF bad file descriptor", true },
}
local for_all = 9 -- from here on for root too

local script = [[
  local corun = require "corun"
  local function children()
    local file <close> = io.open "/proc/thread-self/children"
    return file:read "a"
  end
  local function descriptors() -- of ours, as a child sees them once its start is over for us
    return corun.capture { "sh", "-c", "cat; ls /proc/$PPID/fd", input = "" }
  end
  descriptors() -- what is opened once is open then
  local before = descriptors()
  local result, e = corun.try(corun.run, { "true", OPTION = VALUE })
  print(result and "started" or ("%s\t%s\t%s\t%s"):format(e.kind, e.code, e.stage, e.option))
  print(e and e.message)
  print("children: " .. children() .. (descriptors() == before and "" or " and descriptors"))
]]

describe("An ordinary user's start that is refused", function()
  for _, case in ipairs(refused) do
    local option, value, code, stage, message, always = table.unpack(case)
    if world.is_native or always then
      it(("names the option, the value and the errno: %s = %s"):format(option, value), function()
        local source = script:gsub("OPTION", option):gsub("VALUE", value)
        local first, second, third = facts.as_ordinary(source):match("^([^\n]*)\n([^\n]*)\n([^\n]*)\n$")
        assert.equal(("spawn\t%s\t%s\t%s"):format(code, stage, option), first)
        assert.equal(("cannot start true: option '%s': %s"):format(option, message), second)
        assert.equal("children: ", third)
      end)
    end
  end
end)

describe("A start that is refused to everybody", function()
  for i = for_all, #refused do
    local option, value, code, stage, message, always = table.unpack(refused[i])
    if world.is_native or always then
      it(("names the option, the value and the errno: %s = %s"):format(option, value), function()
        local open = support.descriptors()
        local spec = { "true", [option] = load("return " .. value)() }
        local e = raised.error("spawn", function() corun.spawn(spec) end)
        assert.same({ code, stage, option, { "true" } }, { e.code, e.stage, e.option, e.argv })
        assert.equal(("cannot start true: option '%s': %s"):format(option, message), e.message)
        assert.same({}, support.children())
        assert.same(open, support.descriptors())
      end)
    end
  end
end)

if not world.is_native then
  describe("An option that the backend cannot serve", function()
    local options = { nice = 1, rlimits = { core = 0 }, umask = 0, groups = { 7 }, cpu_affinity = { 0 },
      oom_score_adj = 1000, no_new_privileges = true }
    for option, value in pairs(options) do
      it("is refused with its name: " .. option, function()
        local e = raised.error("unsupported", function() corun.run { "true", [option] = value } end)
        assert.same({ "ENOTSUP", option }, { e.code, e.option })
        assert.equal(("cannot start true: option '%s': not possible with the libuv spawn backend"):format(option),
          e.message)
        assert.same({}, support.children())
      end)
    end
  end)
end

describe("A start whose tee cannot be opened", function()
  it("names it", function()
    local spec = { "true", tee = { file = "/no/such/file" } }
    local e = raised.error("spawn", function() corun.run(spec) end)
    assert.same({ "ENOENT", "open", "tee", "/no/such/file" }, { e.code, e.stage, e.option, e.path })
    assert.equal("cannot start true: option 'tee': cannot open '/no/such/file': no such file or directory", e.message)
  end)
end)

describe("A start that no option prevents", function()
  it("names none", function()
    local e = raised.error("spawn", function() corun.run { "/no/such/program", cwd = "/", umask = nil } end)
    assert.is_nil(e.option)
    assert.equal("cannot start /no/such/program: no such file or directory", e.message)
  end)
end)
