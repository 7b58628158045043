--- What the README shows and scripts/examples/ holds is run here, so that it stays true.

local corun = require "corun"
local lfs = require "lfs"
local scripts = require "spec.support.scripts"
local support = require "spec.support"
local world = require "spec.support.world"

local here = lfs.currentdir()

--- The fenced blocks of a Markdown text: language, text and line of each, in order.
local function blocks_of(markdown)
  local blocks, open, number = {}, nil, 0
  for line in markdown:gmatch("([^\n]*)\n") do
    number = number + 1
    local language = line:match("^```(.*)$")
    if open and language then
      open.text = table.concat(open.lines, "\n") .. "\n"
      open = nil
    elseif open then
      table.insert(open.lines, line)
    elseif language then
      open = { language = language, line = number, lines = {} }
      blocks[#blocks + 1] = open
    end
  end
  assert(not open, "a block is not closed")
  return blocks
end

local function assert_ended_well(result)
  assert.equal("exit 0", tostring(result.status), result.stderr)
end

describe("README #once", function()
  local text = support.read_file("README.md")
  local blocks = blocks_of(text)

  for i, block in ipairs(blocks) do
    local after = blocks[i + 1]
    local printed = after and after.language == "text" and after.text
    local is_possible = world.is_native or not block.text:find('"pty"', 1, true)
    for _, host in ipairs(block.language == "lua" and is_possible and scripts.hosts or {}) do
      it(("runs as it says, the script of line %d in %s #slow"):format(block.line, host.name), function()
        local result = host:run(block.text)
        assert_ended_well(result)
        assert.equal("", result.stderr)
        if printed then assert.equal(printed, result.stdout) end
      end)
    end
  end

  it("has scripts in it", function()
    local count = 0
    for _, block in ipairs(blocks) do count = count + (block.language == "lua" and 1 or 0) end
    assert.is_true(count >= 5)
  end)

  it("names files that exist", function()
    for path in text:gmatch("%]%(([^#)]+)%)") do assert.is_not_nil(lfs.attributes(path), path) end
    for path in text:gmatch("scripts/dev/%l+") do assert.is_not_nil(lfs.attributes(path), path) end
  end)

  it("is one page", function()
    local _, lines = text:gsub("\n", "")
    assert.is_true(lines < 280)
  end)
end)

describe("the manual page", function()
  it("names every option of --help", function()
    local page = support.read_file("scripts/corun.1"):gsub("\\", "")
    local count = 0
    for name in scripts.run_corun({ "--help" }).stdout:gmatch("\n  %-([-%a]*)") do
      count = count + 1
      assert.is_not_nil(page:find("\n.It Fl" .. (name == "" and "\n" or " " .. name), 1, true), "-" .. name)
    end
    assert.is_true(count > 5)
  end)
end)

--- Runs the example `name` in `host`; options: its arguments, and those of a spec.
local function run_example(host, name, options)
  return host:run(support.read_file(("scripts/examples/%s.lua"):format(name)), options)
end

local function spawn_example(host, name, options)
  return host:spawn(support.read_file(("scripts/examples/%s.lua"):format(name)), options)
end

--- How the host ends after a SIGINT: corun by status, a stock interpreter by the signal.
local function assert_interrupted(host, status)
  assert.equal(host.is_stock and "signal SIGINT" or "exit 130", tostring(status))
end

local function list(directory)
  local names = {}
  for name in lfs.dir(directory) do
    if name ~= "." and name ~= ".." then names[#names + 1] = name end
  end
  return names
end

--- A directory that looks like a checkout; files: path below runtime/ → text.
local function checkout(files)
  local directory = support.directory()
  for _, part in ipairs { "", "/core", "/module" } do assert(lfs.mkdir(directory .. "/runtime" .. part)) end
  for path, text in pairs(files) do support.write_file(directory .. "/runtime/" .. path, text) end
  return directory
end

--- An executable shell script.
local function program(directory, name, text)
  local path = directory .. "/" .. name
  support.write_file(path, "#!/bin/sh\n" .. text)
  assert(os.execute("chmod +x " .. path))
  return path
end

for _, host in ipairs(scripts.hosts) do
  describe("example compile in " .. host.name, function()
    it("compiles corun's own sources #slow #once", function()
      local temporary = support.directory()
      local result = run_example(host, "compile", { "-j2", here, env = { TMPDIR = temporary } })
      assert_ended_well(result)
      local costs = world.is_native and "%d+%.%d+ s +%d+%.%d+ s +%d+%.%d MiB" or "%d+%.%d+ s +%- +%-"
      for _, folder in ipairs { "core", "module" } do
        for _, name in ipairs(list("runtime/" .. folder)) do
          if name:find("%.c$") and name ~= "spawn_libuv.c" then
            local row = "\n" .. name:gsub("%.", "%%.") .. " +exit 0 +" .. costs .. "\n"
            assert.matches(row, result.stdout)
          end
        end
      end
      local done, all = result.stdout:match("\n(%d+) of (%d+) files in [%d.]+ s, 2 at a time\n$")
      assert.is_not_nil(done, result.stdout)
      assert.equal(all, done)
      assert.same({}, list(temporary))
    end)

    it("fails at a source that does not compile, and still prints the table", function()
      local temporary = support.directory()
      local broken = checkout { ["core/broken.c"] = "int main( {\n" }
      local result = run_example(host, "compile", { "-j", 2, broken, env = { TMPDIR = temporary } })
      assert.equal(1, result.code)
      assert.matches("%[broken%.c%] .*broken%.c:1:%d+: error", result.stderr) -- live
      assert.matches("/runtime/core/broken%.c %-o .*: exit 1 after", result.stderr) -- at the end
      assert.matches("\nbroken%.c +exit 1 +", result.stdout)
      assert.matches("\n1 of 1 files", result.stdout)
      assert.same({}, list(temporary))
    end)

    it("stops the others at the first error", function()
      local sources = checkout { ["core/bad.c"] = "", ["core/endless.c"] = "", ["module/later.c"] = "" }
      local compiler = program(sources, "compiler", [[
        case "$*" in
          *bad.c*) read line <"$0.fifo"; exit 1;;
          *endless.c*) trap 'exit 3' TERM; echo up >"$0.fifo"; while :; do sleep 1; done;;
        esac
      ]])
      assert(os.execute("mkfifo " .. compiler .. ".fifo"))
      local result = run_example(host, "compile", { "-j2", sources, env = { CC = compiler } })
      assert.equal(1, result.code)
      assert.matches("\nbad%.c +exit 1 ", result.stdout)
      assert.matches("\nendless%.c +cancelled: exit 3 ", result.stdout)
      assert.matches("\n2 of 3 files", result.stdout)
    end)

    it("stops all at Ctrl-C, and still prints the table", function()
      local sources = checkout { ["core/endless.c"] = "" }
      local compiler = program(sources, "compiler", "echo up; exec sleep 1000")
      local script = spawn_example(host, "compile", { sources, env = { CC = compiler } })
      assert.equal("[endless.c] up", script.stdout:read_line())
      script:signal("INT")
      assert.matches("\nendless%.c +cancelled: signal SIGTERM ", script.stdout:read())
      assert_interrupted(host, script:wait())
    end)

    it("refuses wrong arguments", function()
      local result = run_example(host, "compile", { "-j0" })
      assert.equal(2, result.code)
      assert.matches("^usage: ", result.stderr)
    end)
  end)

  describe("example checksums in " .. host.name, function()
    it("prints what sha256sum can check", function()
      local result = run_example(host, "checksums", { here .. "/spec" })
      assert_ended_well(result)
      local _, lines = result.stdout:gsub("\n", "")
      assert.is_true(lines > 5)
      corun.run { "sha256sum", "--check", "--strict", input = result.stdout, cwd = "spec" }
    end)

    it("prints in order, whatever the names are", function()
      local tree = support.directory()
      local names = { "-x", "a b", "back\\slash", "line\nbreak", "quote'\"", "z" }
      for _, name in ipairs(names) do support.write_file(tree .. "/" .. name, name) end
      local expected = {}
      for i, name in ipairs(names) do
        expected[i] = corun.run { "sha256sum", "--", "./" .. name, cwd = tree }.stdout
      end
      local result = run_example(host, "checksums", { "-j3", tree })
      assert_ended_well(result)
      assert.equal(table.concat(expected), result.stdout)
    end)

    it("reports a file that cannot be read, and goes on", function()
      local tree, path = support.directory(), support.directory()
      for _, name in ipairs { "a", "b", "c" } do support.write_file(tree .. "/" .. name, "") end
      program(path, "sha256sum", [[
        case "$2" in
          ./b) echo "cannot read $2" >&2; exit 1;;
          *) echo "sum  $2";;
        esac
      ]])
      local result = run_example(host, "checksums", { tree, env = { PATH = path .. ":" .. os.getenv("PATH") } })
      assert.equal(1, result.code)
      assert.equal("sum  ./a\nsum  ./c\n", result.stdout)
      assert.matches("^cannot read ./b\n.*1 of 3 files could not be read", result.stderr)
    end)
  end)

  describe("example follow in " .. host.name, function()
    it("starts the command again as often as it may", function()
      local result = run_example(host, "follow", { "-n", 2, "-p", 0.01, "sh", "-c", "echo line; echo problem >&2" })
      assert_ended_well(result)
      assert.equal(("T line\nT problem\n"):rep(3), (result.stdout:gsub("%d%d:%d%d:%d%d", "T")))
      local said = "follow: the command has ended; restart in %g s\n"
      assert.equal(said:format(0.01) .. said:format(0.02), result.stderr)
    end)

    it("ends as the last run has ended", function()
      local result = run_example(host, "follow", { "-n", 1, "-p", 0, "sh", "-c", "exit 3" })
      assert.equal(1, result.code)
      assert.matches("^follow: sh %-c 'exit 3': exit 3 after .- s; restart in 0 s\n.*exit 3", result.stderr)
    end)

    it("starts a silent command again", function()
      local silent = "sleep 1000 & exec sleep 1000"
      local result = run_example(host, "follow", { "-n", 1, "-p", 0, "-i", 0.1, "sh", "-c", silent })
      assert.equal(1, result.code)
      assert.matches("^follow: .*no output for 0%.1 s, signal SIGTERM after .- s; restart in 0 s\n", result.stderr)
    end)

    it("does not try again what cannot be started", function()
      local result = run_example(host, "follow", { "./no-such-program" })
      assert.equal(1, result.code)
      assert.matches("cannot start ./no%-such%-program", result.stderr)
      assert.is_nil(result.stderr:find("restart", 1, true))
    end)

    it("ends with its command at Ctrl-C", function()
      local script = spawn_example(host, "follow", { "sh", "-c", "echo up; sleep 1000 & exec sleep 1000" })
      assert.matches("^%d%d:%d%d:%d%d up$", script.stdout:read_line())
      script:signal("INT")
      assert.equal("", script.stdout:read())
      assert_interrupted(host, script:wait())
    end)
  end)

  describe("example health in " .. host.name, function()
    it("starts a server, uses it and stops it #slow #once", function()
      local temporary = support.directory()
      local result = run_example(host, "health", { env = { TMPDIR = temporary } })
      assert_ended_well(result)
      assert.equal("", result.stderr)
      local attempts = tonumber(result.stdout:match("^ready after [%d.]+ s, (%d+) attempt"))
      local requests = tonumber(result.stdout:match("\nstopped %(signal SIGTERM%) after (%d+) requests"))
      assert.is_true(requests >= 7 and requests <= attempts + 6, result.stdout)
      assert.same({}, list(temporary))
    end)
  end)
end

for _, host in ipairs(scripts.hosts) do
  describe("example frequent in " .. host.name, function()
    it("counts what matches in several files, one of them compressed", function()
      local directory = support.directory()
      support.write_file(directory .. "/a", "x 1\ny 2\nx 3\n")
      support.write_file(directory .. "/b", "z 1\ny 2\nx 4")
      corun.run { "gzip", directory .. "/b" }
      local result = run_example(host, "frequent",
        { "-n", "2", "-m", "^(%a)", directory .. "/a", directory .. "/b.gz" })
      assert_ended_well(result)
      assert.matches("^ *3 x\n *2 y\n$", result.stdout)
    end)

    it("says which file it cannot read", function()
      local result = run_example(host, "frequent", { "/nonexistent" })
      assert.equal(1, result.code)
      assert.matches("cat %-%- /nonexistent: exit 1.*No such file", result.stderr)
    end)
  end)
end

for _, host in ipairs(scripts.hosts) do
  describe("example limited in " .. host.name, function()
    it("ends as its command, and stops what that has left behind", function()
      local output = support.directory() .. "/output"
      local leaves = '(setsid "$0" >"$1" 2>&1 &); until grep -qs ready "$1"; do sleep 0.01; done; echo out; exit 3'
      local result = run_example(host, "limited", { "sh", "-c", leaves, support.fixture "ready", output })
      assert.same({ 3, "out\n" }, { result.code, result.stdout })
      assert.matches("^limited: exit 3 after .- MB, processes: %d+\n" ..
        "limited: left behind, and stopped: %d+ %(.-ready%)\n$", result.stderr)
    end)

    it("keeps to the time limit and to the niceness", function()
      local niceness = world.is_native and "1" or "0"
      local result = run_example(host, "limited", { "-t", "0.2", "-n", niceness, "sleep", "1000" })
      assert.same({ 124, "" }, { result.code, result.stdout })
      assert.matches("^limited: time limit, signal SIGTERM after [^\n]+\n$", result.stderr)
    end)

    it("says how it is used", function()
      for _, words in ipairs { {}, { "-t" }, { "-x", "1", "true" } } do
        local result = run_example(host, "limited", words)
        assert.equal(2, result.code)
        assert.matches("^usage: limited ", result.stderr)
      end
    end)
  end)
end

describe("corun", function()
  it("carries the examples", function()
    local result = scripts.run_corun { "examples/checksums", here .. "/spec/fixtures" }
    assert_ended_well(result)
    assert.matches("^%x+  %./", result.stdout)
  end)
end)
