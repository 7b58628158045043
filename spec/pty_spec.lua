local corun = require "corun"
local raised = require "spec.support.raised"
local scripts = require "spec.support.scripts"
local support = require "spec.support"
local world = require "spec.support.world"

if not world.is_native then
  describe("A pty with the libuv backend", function()
    it("is refused, and nothing is started", function()
      local e = raised.error("unsupported", function() corun.run { "true", stdout = "pty" } end)
      assert.same({ "ENOTSUP", "terminal" }, { e.code, e.stage })
      assert.equal("cannot start true: option 'stdout': not possible with the libuv spawn backend", e.message)
      raised.error("unsupported", function() corun.spawn { "cat", stdin = "pty" } end)
    end)
  end)
  return
end

local all = { stdin = "pty", stdout = "pty", stderr = "pty" }

local function on_terminal(command, options)
  for name, value in pairs(all) do command[name] = value end
  for name, value in pairs(options or {}) do command[name] = value end
  return command
end

--- What a shell script prints about its terminal.
local function told(script, options)
  local spec = on_terminal({ "sh", "-c", script, crlf = true }, options)
  return corun.capture(spec)
end

describe("A pty", function()
  it("is the terminal of all streams that say so, and the child's controlling one", function()
    local names = told("tty; tty <&1; tty <&2; exec </dev/tty && tty")
    assert.matches("^(/dev/pts/%d+)\n%1\n%1\n%/dev/tty$", names)
    local numbers = told("exec ps -o pid=,pgid=,sid=,tpgid= -p $$")
    local pid, group, session, foreground = numbers:match("(%d+)%s+(%d+)%s+(%d+)%s+(%d+)")
    assert.same({ pid, pid, pid }, { group, session, foreground })
  end)

  it("has 24 rows and 80 columns, or its size", function()
    assert.equal("24 80", told("stty size"))
    assert.equal("5 65535", told("stty size", { size = { 5, 65535 } }))
  end)

  it("echoes, or not, from the start", function()
    assert.matches("%f[%w-]echo%f[^%w]", (told("stty -a"):gsub("\n", " ")))
    assert.matches(" %-echo ", (told("stty -a", { echo = false }):gsub("\n", " ")))
    assert.equal("typed\r\ntyped\r\n", corun.run(on_terminal({ "cat" }, { input = "typed\n" })).stdout)
    assert.equal("typed\r\n", corun.run(on_terminal({ "cat" }, { input = "typed\n", echo = false })).stdout)
  end)

  it("may be given to some of the streams", function()
    local result = corun.run { "sh", "-c", "test -t 0 || echo no; test -t 1 && echo yes; echo e >&2", stdout = "pty" }
    assert.same({ "no\r\nyes\r\n", "e\n" }, { result.stdout, result.stderr })
    result = corun.run { "sh", "-c", "test -t 2 && echo err >&2; echo out", stderr = "pty" }
    assert.same({ "out\n", "err\r\n" }, { result.stdout, result.stderr })
    result = corun.run { "sh", "-c", "cat; echo more >/dev/tty", stdin = "pty", input = "in\n" }
    assert.same({ "in\n", "", "in\r\nmore\r\n" }, { result.stdout, result.stderr, result.terminal })
    result = corun.run { "sh", "-c", "echo out; echo err >&2", stdout = "pty", stderr = "stdout" }
    assert.same({ "out\r\nerr\r\n" }, { result.stdout, result.stderr })
  end)

  it("is read by one Reader", function()
    local p <close> = corun.spawn(on_terminal { "cat" })
    assert.equal(p.terminal, p.stdout)
    assert.is_nil(p.stderr)
    assert.equal("group", p.containment)
    local q <close> = corun.spawn { "cat", stderr = "pty" }
    assert.equal(q.terminal, q.stderr)
    assert.is_true(q.stdout ~= q.terminal)
    local r <close> = corun.spawn { "cat", stdin = "pty" }
    r:send_line("through")
    assert.equal("through\r\n", r.terminal:read_exactly(9))
    assert.equal("through", r.stdout:read_line())
    local s <close> = corun.spawn { "true" }
    assert.is_nil(s.terminal)
  end)

  it("belongs to the child's user", function()
    if not world.is_root then return pending("needs root") end
    assert.matches("^%d+ 65534$", told("id -u | tr '\\n' ' '; stat -c %u $(tty)", { uid = 65534 })
      :gsub("^65534 ", "0 "))
    assert.matches("opened", told("exec <$(tty) && echo opened", { uid = 65534 }))
  end)

  it("ends when the process does, though others have it open", function()
    corun.scope(function() -- its end stops what is left of the group
      local script = "trap '' HUP; sleep 60 & echo $!; exit 3"
      local result = corun.run(on_terminal { "sh", "-c", script, check = false, linger = false })
      assert.equal(3, result.code)
      assert.is_false(support.is_gone(result.stdout:match("%d+")))
      assert.is_nil(result.held_by)
      assert.is_false(result.truncated)
    end)
  end)

  it("does not end while the process has closed its streams, and has its own status", function()
    local script = "exec >/dev/null 2>&1 </dev/null; sleep 0.05; exec >/dev/tty; echo again"
    assert.equal("again", told(script))
    for _ = 1, 50 do assert.equal("0", told("exec >&- 2>&- <&-; echo 0 >/dev/tty", { check = false })) end
    for _ = 1, 50 do assert.equal("x\r\n", corun.run({ "echo", "x", stdout = "pty" }).stdout) end
  end)

  it("leaves nothing open in other children", function()
    local p <close> = corun.spawn(on_terminal { "cat" })
    p:send_line("here")
    p:expect("here")
    local others = corun.capture { "sh", "-c", "ls -l /proc/$$/fd" }
    assert.is_nil(others:find("/dev/p", 1, true))
  end)

  it("is captured as a pipe is: limit, format, lines, functions of lines, tee", function()
    assert.same({ "a", "b" }, corun.run({ "printf", "a\\nb\\n", stdout = "pty", format = "lines", crlf = true }).stdout)
    local e = raised.error("limit", function() corun.run { "yes", stdout = "pty", limit = 1000, grace = 1 } end)
    assert.equal("stdout", e.stream)
    local lines = {}
    for line in corun.command({ "seq", "3", stdout = "pty", crlf = true }):lines() do lines[#lines + 1] = line end
    assert.same({ "1", "2", "3" }, lines)
    local path = support.directory() .. "/transcript"
    local p = corun.spawn(on_terminal({ "cat" }, { tee = { file = path } }))
    p:send_line("kept"):close_stdin()
    p:wait_closed(10)
    assert.equal("kept\r\nkept\r\n", support.read_file(path))
    raised.error("idle", function() corun.run(on_terminal({ "cat" }, { idle_timeout = 0.05, input = function()
      corun.sleep(60)
    end })) end)
  end)

  it("may be at the ends of a Pipeline", function()
    local run <close> = corun.pipeline { { "cat", stdin = "pty", echo = false }, { "tr", "a-z", "A-Z" } }:spawn()
    run.stdin:write("shout\r")
    run.stdin:write_eof()
    assert.equal("SHOUT\n", run.stdout:read())
    local result = (corun.command { "echo", "x" } | { "sh", "-c", "cat; test -t 1 && echo tty", stdout = "pty" }):run()
    assert.equal("x\r\ntty\r\n", result.stdout)
  end)

  it("is never a file that is left open when the start fails", function()
    local before = support.descriptors()
    for _ = 1, 20 do
      raised.error("spawn", function() corun.run(on_terminal { "/no/such/program" }) end)
      raised.error("spawn", function() corun.run { "true", stdin = "pty", stdout = { file = "/no/such/file" } } end)
    end
    assert.same(before, support.descriptors())
  end)
end)

describe("Wrong options of a pty", function()
  local function refused(options)
    return raised.argument(function() corun.run { "true", table.unpack(options), stdin = options.stdin,
      stdout = options.stdout, size = options.size, echo = options.echo, group = options.group,
      detached = options.detached, input = options.input } end)
  end

  it("are a size that is none", function()
    local expected = "option 'size': {rows, columns} expected, whole numbers from 1 to 65535, got "
    for shown, size in pairs { ["{0, 80}"] = { 0, 80 }, ["{24, 65536}"] = { 24, 65536 }, ["{24, nil}"] = { 24 },
      ["{1.5, 2}"] = { 1.5, 2 }, ['{"24", 80}'] = { "24", 80 }, ["{-1, 80}"] = { -1, 80 } } do
      assert.equal(expected .. shown, refused { stdout = "pty", size = size })
    end
    assert.equal(expected .. "80", refused { stdout = "pty", size = 80 })
    assert.matches("^option 'echo': true or false expected", refused { stdout = "pty", echo = 1 })
  end)

  it("are size and echo without one", function()
    assert.equal("option 'size': no stream of the child is a \"pty\"", refused { size = { 24, 80 } })
    assert.equal("option 'echo': no stream of the child is a \"pty\"", refused { echo = false })
  end)

  it("are those that cannot be with it", function()
    assert.equal("option 'group': a child with a pty leads a group of its own",
      refused { stdout = "pty", group = false })
    assert.equal("option 'detached': a pty hangs up when we end", refused { stdin = "pty", detached = true })
    assert.equal("options 'input' and 'stdin': only one of them, or stdin = \"pipe\" or \"pty\"",
      refused { stdin = "null", input = "x" })
  end)

  it("are in the middle of a Pipeline, or a function's", function()
    assert.matches("option 'stdout': its output is what the next stage reads", raised.argument(function()
      corun.pipeline { { "echo", stdout = "pty" }, { "cat" } }
    end))
    assert.matches("option 'stdin': stdin is the pipe from the stage before", raised.argument(function()
      corun.pipeline { { "echo" }, { "cat", stdin = "pty" } }
    end))
    assert.matches("option 'stdin': a function has no \"pty\"", raised.argument(function()
      corun.pipeline({ function() end, { "cat" } }):with({ stdin = "pty" }):run()
    end))
    assert.matches("option 'stdout': a function has no \"pty\"", raised.argument(function()
      corun.pipeline({ { "true" }, function() end }):with({ stdout = "pty" }):run()
    end))
  end)

  it("are methods of a process that has none, or was not started", function()
    local p <close> = corun.spawn { "cat" }
    local methods = { resize = { 1, 1 }, echo = { true }, wait_echo_off = {}, hangup = {}, interact = {} }
    for method, arguments in pairs(methods) do
      assert.equal(method .. ": no stream of the process is a \"pty\"",
        raised.argument(function() p[method](p, table.unpack(arguments)) end))
      assert.equal(method .. ": the process was not started",
        raised.argument(function() p[method](corun.process { "cat", stdin = "pty" }) end))
    end
  end)
end)

describe("A terminal that cannot be had", function()
  local function tried(before)
    local spec = scripts.native:spec([[
      local corun = require "corun"
      local _, e = corun.try(corun.run, { "true", stdin = "pty", stdout = "pty" })
      print(e.kind, e.code, e.stage, e.path, e.message)
      local names = {}
      for name in require "lfs".dir("/proc/self/fd") do
        local target = require "lfs".symlinkattributes("/proc/self/fd/" .. name, "target") or ""
        if target:find("ptmx") or target:find("pts/") then print("left open: " .. target) end
      end
      print(corun.capture { "echo", "still well" })
    ]])
    return corun.run(world.through({ "unshare", "-m", "sh", "-c", before .. ' && exec "$@"', "sh" }, spec)).stdout
  end

  it("is a start that failed, with the step and the errno: no /dev/ptmx", function()
    if not world.is_root then return pending("needs root") end
    if not corun.run({ "unshare", "-m", "true", check = false }).ok then return pending("needs mount namespaces") end
    assert.equal("spawn\tENOENT\topen\t/dev/ptmx\t" ..
      "cannot start true: option 'stdin': cannot open a terminal (/dev/ptmx): ENOENT no such file or directory\n" ..
      "still well\n", tried("mount -t tmpfs none /dev && mknod /dev/null c 1 3 && chmod 666 /dev/null"))
  end)

  it("is one with something else in its place", function()
    if not world.is_root then return pending("needs root") end
    if not corun.run({ "unshare", "-m", "true", check = false }).ok then return pending("needs mount namespaces") end
    assert.equal("spawn\tEINVAL\topen\t/dev/ptmx\t" ..
      "cannot start true: option 'stdin': cannot open a terminal (/dev/ptmx): EINVAL invalid argument\nstill well\n",
      tried("mount --bind /dev/null /dev/ptmx"))
  end)

  it("is one for which there is no descriptor", function()
    local spec = scripts.native:spec([[
      local corun = require "corun"
      local files = {}
      while true do
        local file = io.open("/dev/null")
        if not file then break end
        files[#files + 1] = file
      end
      for free = 0, 12 do
        local _, e = corun.try(corun.spawn, { "true", stdin = "pty", stdout = "pty" })
        if corun.Error == getmetatable(e) then print(free, e.kind, e.code) else _:wait() _:close() break end
        files[#files]:close()
        files[#files] = nil
      end
      print("started")
    ]])
    local text = corun.run(world.after("ulimit -n 60", spec)).stdout
    assert.matches("^0\tspawn\tEMFILE\n1\tspawn\tEMFILE\n2\tspawn\tEMFILE\n", text)
    assert.matches("\nstarted\n$", text)
  end)
end)
