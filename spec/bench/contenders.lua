--- Who takes part. Each contender is
---
---   name       of the table
---   argv, env  its program; LIMIT, WORKLOAD and SIZE are added. It prints "SECONDS CPU KIB CHECK" (limit.h), and ends
---              with 77 where it has no such workload
---   startup    argv of its empty program, which the limit starts and times; nil: none
---   version    what it says about itself
---   is_peer    whether corun wants to be ahead of it
---   is_limit   it is the limit's program, and is not told LIMIT
---   only_variants  it runs what a workload names for it, and nothing else
---
--- Where the peers' programs are found is said in the environment (peers/setup prints it): GO, NODE, BUN, DENO, PYTHON,
--- LUV_CPATH (where lua5.4 finds luv), LUAJIT, LUAJIT_LUV_CPATH, XARGS, PARALLEL, MAKE, NINJA. A peer that is not there
--- is left out.

local corun = require "corun"

local M = {}

--- The first line that a command prints, on whichever side; nil where it fails.
local function first_line(argv)
  local result = corun.try(corun.run, { stderr = "stdout", check = false, timeout = 20, table.unpack(argv) })
  return result and result.ok and result.stdout:match("[^\n]+") or nil
end

--- What the environment says; "" says nothing.
local function setting(name)
  local value = corun.env[name]
  return value ~= "" and value or nil
end

local function compile(command)
  local result, e = corun.try(command.run, command)
  return result ~= nil, e
end

local function limit_compiler(here, ...)
  local command = corun.command { setting("CC") or "cc", "-std=c11", "-O2", "-D_GNU_SOURCE", "-pthread", ... }
  for _, name in ipairs { "limit", "limit_streams", "limit_processes", "limit_tasks" } do
    command = command:args(("%s/%s.c"):format(here, name))
  end
  return command
end

--- The limit, as tight as it can be: static where that is possible.
local function build_limit(here, directory)
  local limit = directory .. "/limit"
  local command = limit_compiler(here, "-o", limit)
  if not compile(command:args("-static")) then command:run() end
  return limit
end

--- The limit with Lua in it; nil where Lua is not to be had.
local function build_limit_with_lua(here, directory)
  local flags = corun.run { "pkg-config", "--cflags", "--libs", "lua5.4", check = false }
  if not flags.ok then return nil end
  local program = directory .. "/limit-lua"
  local command = limit_compiler(here, "-o", program, "-DWITH_LUA", here .. "/limit_lua.c")
  for word in flags.stdout:gmatch("%S+") do command = command:args(word) end
  return compile(command) and program or nil
end

local function corun_contender(here, name, program)
  return {
    name = name, argv = { program, here .. "/corun.lua" }, startup = { program, "-e", "" },
    version = first_line { program, "--version" },
  }
end

--- The limit and corun, and perhaps another corun, which is no peer. Returns the list, and the path of the limit.
---@param program string  the corun to measure
---@param before string?  and the one to measure it with
function M.own(here, directory, program, before)
  local limit = build_limit(here, directory)
  local cc = setting("CC") or "cc"
  local list = {
    {
      name = "limit", argv = { limit }, is_limit = true, startup = { limit, "nothing" },
      version = first_line { cc, "--version" },
    },
    corun_contender(here, "corun", program),
  }
  if before then list[3] = corun_contender(here, "before", before) end
  return list, limit
end

local function luv(here, name, interpreter, cpath)
  if not interpreter then return nil end
  local env = { LUA_CPATH = cpath and cpath .. ";;" or nil }
  local version = first_line {
    interpreter, "-e", "print((jit and jit.version or _VERSION) .. ', libuv ' .. require('luv').version_string())",
    env = env, cwd = "/",
  }
  return version and { name = name, argv = { interpreter, here .. "/peers/luv.lua" }, env = env, version = version }
end

local function go(here, directory)
  local command = setting("GO")
  if not command then return nil end
  local program, empty = directory .. "/go", directory .. "/go-empty"
  for output, source in pairs { [program] = "main.go", [empty] = "empty.go" } do
    local ok, e = compile(corun.command { command, "build", "-o", output, here .. "/peers/" .. source, cwd = "/" })
    if not ok then
      io.stderr:write(("go is left out: %s\n"):format(e))
      return nil
    end
  end
  return { name = "go", argv = { program }, startup = { empty }, version = first_line { command, "version" } }
end

--- A program that is run by an interpreter: the variable that names that, the file, and an empty program.
local function script(here, name, variable, file, startup, before)
  local interpreter = setting(variable)
  if not interpreter then return nil end
  local argv = { interpreter }
  table.move(before or {}, 1, #(before or {}), 2, argv)
  argv[#argv + 1] = ("%s/peers/%s"):format(here, file)
  table.insert(startup, 1, interpreter)
  return { name = name, argv = argv, startup = startup, version = first_line { interpreter, "--version" } }
end

--- A command that runs commands.
local function command(here, name, variable)
  local program = setting(variable)
  if not program then return nil end
  return {
    name = name, argv = { "sh", here .. "/peers/commands.sh", name }, version = first_line { program, "--version" },
  }
end

--- The same, and all peers that can be found.
function M.all(here, directory, program, before)
  local list, limit = M.own(here, directory, program, before)
  local with_lua = build_limit_with_lua(here, directory)
  local lua = corun.which("lua5.4") or corun.which("lua")
  local luajit = setting("LUAJIT")
  local function add(contender, is_reference)
    if not contender then return end
    contender.is_peer = not is_reference
    list[#list + 1] = contender
  end
  add(with_lua and { name = "lua in C", argv = { with_lua }, is_limit = true, only_variants = true }, true)
  add { name = "system", argv = { limit }, is_limit = true, only_variants = true } -- commands, timed by the limit
  add(lua and {
    name = "lua5.4", argv = { lua, here .. "/peers/stock.lua" }, startup = { lua, "-e", "" },
    version = first_line { lua, "-v" },
  })
  add(luajit and { name = "luajit", startup = { luajit, "-e", "" }, version = first_line { luajit, "-v" } })
  add(luv(here, "luv", lua, setting("LUV_CPATH")))
  add(luv(here, "luv, luajit", luajit, setting("LUAJIT_LUV_CPATH")))
  add(go(here, directory))
  add(script(here, "node", "NODE", "node.mjs", { "-e", "" }))
  -- bun prints its help when there is no program at all.
  add(script(here, "bun", "BUN", "bun.mjs", { "-e", ";" }))
  add(script(here, "deno", "DENO", "deno.mjs", { "eval", "" }, { "run", "--allow-all", "--quiet" }))
  add(script(here, "python", "PYTHON", "main.py", { "-c", "" }))
  for _, name in ipairs { "xargs", "parallel", "make", "ninja" } do add(command(here, name, name:upper())) end
  return list, limit
end

return M
