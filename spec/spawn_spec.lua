local corun = require "corun"
local raised = require "spec.support.raised"
local scripts = require "spec.support.scripts"
local support = require "spec.support"
local world = require "spec.support.world"

describe("A start that fails", function()
  local directory
  before_each(function() directory = support.directory() end)

  it("says what was not found, where, and from which line of the script", function()
    local e = raised.error("spawn", function() corun.run { "no-such-program", "a b" } end)
    assert.equal("ENOENT", e.code)
    assert.equal("exec", e.stage)
    assert.equal("no-such-program", e.path)
    assert.same({ "no-such-program", "a b" }, e.argv)
    raised.has(e.message, "cannot start no-such-program")
    raised.has(e.message, "no such file or directory")
    assert.is_nil(e.message:find("interpreter"))
    assert.is_nil(e.result)
    assert.matches("spawn_spec%.lua:%d+: ", e.traceback)
  end)

  it("says the same of a path that does not exist", function()
    local e = raised.error("spawn", function() corun.run { "/no/such/program" } end)
    assert.same({ "ENOENT", "exec", "/no/such/program" }, { e.code, e.stage, e.path })
    raised.has(e.message, "cannot start /no/such/program")
  end)

  it("raises from spawn, capture, sh's kin and start alike", function()
    local missing = { "/no/such/program" }
    local verbs = {
      function() corun.spawn(missing) end,
      function() corun.capture(missing) end,
      function() corun.process(missing):start() end,
      function() corun.process():start(missing) end,
      function() corun.command(missing):run() end,
      function() corun.command(missing):spawn() end,
      function() corun.command(missing):lines() end,
      function() corun.scope(function(scope) scope:spawn(missing) end) end,
    }
    for _, verb in ipairs(verbs) do assert.equal("ENOENT", raised.error("spawn", verb).code) end
  end)

  it("raises though check is false", function()
    local e = raised.error("spawn", function() corun.run { "/no/such/program", check = false } end)
    assert.equal("ENOENT", e.code)
  end)

  it("leaves a process that can be started again", function()
    local process = corun.process()
    raised.error("spawn", function() process:start { "/no/such/program" } end)
    assert.is_nil(process.pid)
    assert.is_nil(process.status)
    process:start { "true" }
    assert.is_true(process:wait().ok)
  end)

  it("tells a missing interpreter from a missing program", function()
    local program = world.program(directory .. "/script", "#!/no/such/interpreter -x\n")
    local e = raised.error("spawn", function() corun.run { program } end)
    assert.same({ "ENOENT", "exec", program }, { e.code, e.stage, e.path })
    raised.has(e.message, "interpreter")
    raised.has(e.message, "/no/such/interpreter")
  end)

  it("names the missing interpreter of a program that was found by PATH", function()
    world.program(directory .. "/script", "#!/no/such/interpreter\n")
    local e = raised.error("spawn", function() corun.run { "script", env = { PATH = directory } } end)
    assert.same({ "ENOENT", "exec" }, { e.code, e.stage })
    raised.has(e.message, "/no/such/interpreter")
  end)

  it("names the missing interpreter of a program in the child's directory", function()
    world.program(directory .. "/script", "#!/no/such/interpreter\n")
    local e = raised.error("spawn", function() corun.run { "./script", cwd = directory } end)
    assert.same({ "ENOENT", "exec" }, { e.code, e.stage })
    raised.has(e.message, "/no/such/interpreter")
  end)

  it("tells a missing directory from a missing program", function()
    local e = raised.error("spawn", function() corun.run { "true", cwd = "/no/such/directory" } end)
    assert.same({ "ENOENT", "chdir", "/no/such/directory" }, { e.code, e.stage, e.path })
    assert.same({ "true" }, e.argv)
    raised.has(e.message, "/no/such/directory")
  end)

  it("says that the directory is none", function()
    support.write_file(directory .. "/file", "")
    local e = raised.error("spawn", function() corun.run { "true", cwd = directory .. "/file" } end)
    assert.same({ "ENOTDIR", "chdir", directory .. "/file" }, { e.code, e.stage, e.path })
  end)

  it("says EACCES of a file that is not executable, and of a directory", function()
    support.write_file(directory .. "/file", "#!/bin/sh\n")
    local e = raised.error("spawn", function() corun.run { directory .. "/file" } end)
    assert.same({ "EACCES", "exec", directory .. "/file" }, { e.code, e.stage, e.path })
    raised.has(e.message, "permission denied")
    assert.equal("EACCES", raised.error("spawn", function() corun.run { directory } end).code)
  end)

  if world.is_native then -- elsewhere the C library gives it to /bin/sh
    it("says ENOEXEC of an executable text without #!", function()
      local program = world.program(directory .. "/text", "echo a shell was here\n")
      local e = raised.error("spawn", function() corun.run { program } end)
      assert.same({ "ENOEXEC", "exec", program }, { e.code, e.stage, e.path })
      world.program(directory .. "/empty", "")
      e = raised.error("spawn", function() corun.run { "empty", env = { PATH = directory } } end)
      assert.equal("ENOEXEC", e.code)
    end)

    it("says at which limit it failed", function()
      local spec = { "true", rlimits = { core = 0, nofile = { 20, 1 << 40 } } } -- more than anybody may have
      local e = raised.error("spawn", function() corun.run(spec) end)
      assert.same({ "EPERM", "rlimit", "rlimits" }, { e.code, e.stage, e.option })
    end)
  else
    it("says that the backend cannot do what it cannot", function()
      local e = raised.error("unsupported", function() corun.run { "true", nice = 1 } end)
      assert.equal("nice", e.stage)
      raised.has(e.message, "libuv")
    end)
  end

  it("says E2BIG of an argument that is too long", function()
    assert.equal("exit 0", tostring(corun.run({ "true", ("x"):rep(131071) }).status))
    local e = raised.error("spawn", function() corun.run { "true", ("x"):rep(131072) } end)
    assert.same({ "E2BIG", "exec", "true" }, { e.code, e.stage, e.path })
    e = raised.error("spawn", function() corun.run { "true", env = { LONG = ("x"):rep(131072) } } end)
    assert.equal("E2BIG", e.code)
  end)

  it("says which file of its stdio could not be opened, and starts nothing", function()
    local touch = { "touch", directory .. "/started" }
    local missing = "/no/such/directory/file"
    for _, option in ipairs { "stdin", "stdout", "stderr" } do
      touch[option] = { file = missing }
      local e = raised.error("spawn", function() corun.run(touch) end)
      assert.same({ "ENOENT", "open", missing, touch[1] }, { e.code, e.stage, e.path, e.argv[1] })
      raised.has(e.message, "cannot open '" .. missing .. "'")
      touch[option] = nil
    end
    touch.fds = { [3] = { file = missing, read = true } }
    local e = raised.error("spawn", function() corun.run(touch) end)
    assert.same({ "ENOENT", "open", missing }, { e.code, e.stage, e.path })
    touch.fds = { [7] = { file = directory } }
    e = raised.error("spawn", function() corun.run(touch) end)
    assert.same({ "EISDIR", "open", directory }, { e.code, e.stage, e.path })
    assert.is_nil(support.read_file(directory .. "/started"))
  end)

  it("gives back the pipes it had made at once", function()
    local open = support.descriptors()
    local stderr = { file = "/no/such/directory/file" }
    raised.error("spawn", function() corun.spawn { "true", stderr = stderr, fds = { [3] = "output" } } end)
    assert.same(open, support.descriptors())
    raised.error("spawn", function() corun.spawn { "/no/such/program", fds = { [3] = "output" } } end)
    assert.same(open, support.descriptors())
  end)

  it("says EBADF of a descriptor that is not open", function()
    local e = raised.error("spawn", function() corun.run { "true", stdout = 999 } end)
    assert.equal("EBADF", e.code)
  end)

  it("says that it may not become the user", function()
    if world.is_root then return end -- who may become anybody
    local e = raised.error("spawn", function() corun.run { "true", uid = 0 } end)
    assert.same({ "EPERM", "setuid" }, { e.code, e.stage })
  end)

  it("refuses ids that stand for no user or group, and does not stay root", function()
    if not world.is_root then return pending("needs root") end
    -- (uid_t)-1 means "unchanged" to the kernel, and 2^32 is 0 in 32 bits.
    for _, id in ipairs { 0xffffffff, 0x100000000 } do
      local ok, e = pcall(corun.run, { "id", "-u", uid = id })
      assert.is_false(ok, ("uid %d: ran as %s"):format(id, tostring(e)))
      ok, e = pcall(corun.run, { "id", "-g", gid = id })
      assert.is_false(ok, ("gid %d: ran as %s"):format(id, tostring(e)))
      ok, e = pcall(corun.run, { "id", "-G", groups = { id } })
      assert.is_false(ok, ("groups {%d}: ran as %s"):format(id, tostring(e)))
    end
  end)
end)

describe("A start without free descriptors", function()
  it("says EMFILE whichever descriptor is missing, leaves none open, and works again later", function()
    local spec = scripts.native:spec([[
      local corun = require "corun"
      local support = require "spec.support.init"
      local function count()
        local n = 0
        for _ in pairs(support.descriptors()) do n = n + 1 end
        return n
      end
      corun.run { "true", input = "x" } -- what is opened once is open
      collectgarbage()
      local at_first = count()
      local held = {}
      repeat
        local file = io.open("/dev/null")
        held[#held + 1] = file
      until not file
      for free = 0, 14 do
        local result, e = corun.try(corun.run, { "true", input = "x" })
        print(free, result and "started" or e.kind .. " " .. e.code .. ": " .. e.message)
        if e and free > 2 then -- count() needs a descriptor itself
          local after = count()
          collectgarbage()
          if count() ~= after then print("left to the collector", after - count()) end
        end
        table.remove(held):close()
      end
      for _, file in ipairs(held) do file:close() end
      collectgarbage()
      if count() ~= at_first then print("leaked", count() - at_first) end
    ]], { env = { LUA_PATH = world.directory .. "/?.lua;;" } })
    local text = corun.run(world.after("ulimit -n 40", spec)).stdout
    assert.matches("^0\tspawn EMFILE: cannot start true: [^\n]*too many open files", text)
    raised.has(text, "\n14\tstarted\n")
    assert.is_nil(text:gsub("spawn EMFILE", ""):find("spawn E"), text)
    assert.is_nil(text:find("leaked"), text)
    assert.is_nil(text:find("left to the collector"), text)
  end)
end)

describe("20,000 failed starts", function()
  local function stay_flat(fail)
    local function fail_often(times)
      for i = 1, times do
        fail()
        if i % 1000 == 0 then collectgarbage() end -- so that garbage is not taken for a leak
      end
      corun.sleep(0)
    end
    fail_often(2000)
    local memory, open = world.resident(), support.descriptors()
    fail_often(20000)
    assert.same(open, support.descriptors())
    if scripts.sanitized then return end -- it keeps freed memory for a while
    local growth = world.resident() - memory
    assert.is_true(growth < 2 * 1024 * 1024, ("grew by %d KiB"):format(growth // 1024))
  end

  it("of a missing program leave memory and descriptors flat #slow #once", function()
    stay_flat(function()
      local result, e = corun.try(corun.run, { "/no/such/program", "argument", env = { NAME = "value" } })
      assert(result == nil and e.code == "ENOENT")
    end)
  end)

  it("with a wrong stdio value leave memory and descriptors flat #slow #once", function()
    stay_flat(function()
      local result, e = corun.try(corun.run, { "true", stdin = "pipe", stderr = "nonsense" })
      assert(result == nil and e.kind == "error")
    end)
  end)

  it("with a file that cannot be opened, after two pipes, leave memory and descriptors flat #slow #once", function()
    stay_flat(function()
      local result, e = corun.try(corun.run, { "true", stdin = "pipe", stderr = { file = "/no/such/directory/file" } })
      assert(result == nil and e.stage == "open")
    end)
  end)
end)
