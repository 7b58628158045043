--- What is known of a process while it runs and after its end: usage and open files.

local corun = require "corun"
local raised = require "spec.support.raised"
local scripts = require "spec.support.scripts"
local support = require "spec.support"
local waiting = require "spec.support.waiting"
local world = require "spec.support.world"

local ready, threads = support.fixture "ready", support.fixture "threads"

local function keys_of(values)
  local keys = {}
  for key in pairs(values) do keys[#keys + 1] = key end
  table.sort(keys)
  return keys
end

--- The number behind a name in /proc/PID/FILE, read without corun.
local function in_proc(p, file, name)
  return tonumber(support.read_file(("/proc/%d/%s"):format(p.pid, file)):match(name .. ":%s*(%d+)"))
end

local function descriptor_count() return #keys_of(support.descriptors()) end

describe("Process usage", function()
  it("has the numbers of a live process", function()
    local p <close> = corun.spawn { ready }
    p:expect("ready", 10)
    assert.same({
      "children", "major_faults", "max_rss", "minor_faults", "read_bytes", "read_chars", "rss", "system_time",
      "threads", "user_time", "written_bytes", "written_chars",
    }, keys_of(p:usage()))
  end)

  it("is what /proc says", function()
    local file = support.directory() .. "/file"
    local p <close> = corun.spawn { "sh", "-c", "printf '%1000000d' 0 >" .. file .. "; echo ready; read x" }
    p:expect("ready\n", 10)
    waiting.wait_until("it reads", function() return support.process_state(p.pid) == "S" end)
    local usage = p:usage()
    assert.equal(in_proc(p, "status", "VmHWM") * 1024, usage.max_rss)
    assert.is_true(usage.rss > 0 and usage.rss <= usage.max_rss)
    assert.equal(in_proc(p, "io", "rchar"), usage.read_chars)
    assert.equal(in_proc(p, "io", "wchar"), usage.written_chars)
    assert.is_true(usage.written_chars >= 1000000)
    assert.equal(in_proc(p, "io", "\nread_bytes"), usage.read_bytes)
    assert.equal(in_proc(p, "io", "\nwrite_bytes"), usage.written_bytes)
    assert.is_true(usage.minor_faults > 10)
    assert.same({ 1, 0 }, { usage.threads, usage.children })
  end)

  it("follows what the process does, sample after sample", function()
    local p <close> = corun.spawn { "sh", "-c", [[
      read x; sleep 1000 & read x; kill $!; wait; read x; a=$(printf '%4000000d' 0); echo grown; read x
    ]] }
    local first = p:usage()
    assert.equal(0, first.children)
    p:write("\n")
    waiting.wait_until("it has a child", function() return p:usage().children == 1 end)
    p:write("\n")
    waiting.wait_until("it has none", function() return p:usage().children == 0 end)
    p:write("\n")
    p:expect("grown", 10)
    local last = p:usage()
    assert.is_true(last.max_rss >= first.max_rss + 2000000, ("%d, then %d"):format(first.max_rss, last.max_rss))
    assert.equal(in_proc(p, "status", "VmHWM") * 1024, last.max_rss)
    assert.is_true(last.minor_faults > first.minor_faults)
    assert.is_true(last.read_chars >= first.read_chars + 3)
  end)

  it("counts threads, and the children of each", function()
    local p <close> = corun.spawn { threads }
    p:expect("ready", 10)
    local usage = p:usage()
    assert.same({ 2, 1 }, { usage.threads, usage.children })
  end)

  it("counts more children than one read of the kernel's list gives", function()
    local p <close> = corun.spawn { "sh", "-c", "for i in $(seq 900); do sleep 1000 & done; echo ready; wait" }
    p:expect("ready", 30)
    assert.equal(900, p:usage().children)
  end)

  it("holds no descriptor of ours after the end", function()
    local before = descriptor_count()
    local p = corun.spawn { ready, stdout = "null", stderr = "null", stdin = "null" }
    p:usage()
    p:usage()
    p:kill()
    p:usage()
    p:close()
    assert.equal(before, descriptor_count())
  end)

  it("is that of the whole life after the end", function()
    local file = support.directory() .. "/file"
    local p = corun.spawn { "sh", "-c", "printf '%1000000d' 0 >" .. file .. "; read x" }
    waiting.wait_until("it has written", function()
      return p:usage().written_chars >= 1000000 and support.process_state(p.pid) == "S"
    end)
    local live = p:usage()
    p:close_stdin()
    p:wait(10)
    local final = p:usage()
    if not world.is_native then return assert.is_nil(final) end
    assert.same({
      "involuntary_switches", "major_faults", "max_rss", "minor_faults", "read_bytes", "system_time", "user_time",
      "voluntary_switches", "written_bytes",
    }, keys_of(final))
    assert.is_true(final.written_bytes >= live.written_bytes)
    assert.is_true(final.minor_faults >= live.minor_faults)
    assert.same(final, p:usage())
    p:close()
  end)
end)

describe("A process's open files", function()
  it("are its descriptors by number, with path, mode and position", function()
    local directory = support.directory()
    support.write_file(directory .. "/in", "0123456789")
    local p <close> = corun.spawn { "sh", "-c", [[
      exec 5<in 6>out 7<>both 8>>gone; rm gone; read -r x <&5; printf abc >&6; echo ready; read x
    ]], cwd = directory, stderr = "null", stdout = "pipe" }
    p:expect("ready", 10)
    local files = {}
    for i, file in ipairs(p:open_files()) do
      if file.fd >= 5 and file.fd <= 8 then files[#files + 1] = file end
      if i <= 3 then assert.equal(i - 1, file.fd) end
    end
    assert.same({
      { fd = 5, path = directory .. "/in", mode = "r", position = 10 },
      { fd = 6, path = directory .. "/out", mode = "w", position = 3 },
      { fd = 7, path = directory .. "/both", mode = "rw", position = 0 },
      { fd = 8, path = directory .. "/gone (deleted)", mode = "w", position = 0 },
    }, files)
  end)

  it("have the kernel's names where they are no files", function()
    local p <close> = corun.spawn { ready, stderr = "null" }
    p:expect("ready", 10)
    local files = p:open_files()
    assert.equal(3, #files)
    assert.matches("^pipe:%[%d+%]$", files[1].path)
    assert.same({ "r", "w" }, { files[1].mode, files[2].mode })
    assert.equal("/dev/null", files[3].path)
  end)

  it("are none after the end", function()
    local p = corun.spawn { ready }
    p:kill()
    assert.same({}, p:open_files())
    p:close()
  end)

  it("are those of a process that has ended but is not waited for yet: none", function()
    local p <close> = corun.spawn { "true" }
    while support.process_state(p.pid) ~= "Z" do os.execute("true") end -- the loop must not turn
    assert.same({}, p:open_files())
  end)

  it("need a process that was started", function()
    assert.matches("^open_files: the process was not started",
      raised.argument(function() corun.process():open_files() end))
  end)
end)

describe("What another user's process does", function()
  --- As an ordinary user: the script's output.
  local function run(source)
    local directory = support.directory()
    local program = scripts.corun
    if world.is_root then
      program = directory .. "/corun"
      assert(os.execute(("chmod 755 %s && cp %s %s %s"):format(directory, scripts.corun, threads, directory)))
    end
    return corun.run { program, "-e", source, cwd = directory, uid = world.is_root and 65534 or nil, timeout = 20,
      env = { CORUN_LUA_DIR = false, FIXTURE = world.is_root and directory .. "/threads" or threads } }.stdout
  end

  it("is told as far as everybody may know", function()
    assert.equal("2\t1\ttrue\tnil\tnil\tnil\tnil\n", run [[
      local p <close> = corun.spawn { os.getenv "FIXTURE", "private" }
      p:expect("ready", 10)
      local u = p:usage()
      print(u.threads, u.children, u.max_rss > 0, u.read_bytes, u.written_bytes, u.read_chars, u.written_chars)
    ]])
  end)

  it("is an Error where its open files are asked for", function()
    assert.equal("io\tEACCES\topen_files: permission denied\n", run [[
      local p <close> = corun.spawn { os.getenv "FIXTURE", "private" }
      p:expect("ready", 10)
      local _, e = corun.try(p.open_files, p)
      print(e.kind, e.code, e.message)
    ]])
  end)
end)
