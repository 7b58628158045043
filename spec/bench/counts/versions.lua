--- What counts depend on besides corun itself.

local corun = require "corun"

local M = {}

local function first_line(...) return corun.capture({ ... }):match("[^\n]*") end

--- Of the machine, the tools, and the build at the directory `build`.
function M.find(build)
  local cache = {}
  for line in io.lines(build .. "/CMakeCache.txt") do
    local name, value = line:match("^([%w_]+):%u+=(.*)")
    if name then cache[name] = value end
  end
  local kind = cache.CMAKE_BUILD_TYPE
  local compiler = first_line(cache.CMAKE_C_COMPILER, "--version"):gsub("^g?cc ", "gcc ") -- it says how it was called
  return {
    architecture = corun.capture { "uname", "-m" },
    kernel = corun.capture({ "uname", "-r" }):match("%d+%.%d+"),
    compiler = compiler,
    flags = kind .. " " .. cache["CMAKE_C_FLAGS_" .. kind:upper()],
    libc = corun.capture { "getconf", "GNU_LIBC_VERSION" },
    libuv = cache.UV_VERSION,
    lua = cache.LUA_VERSION,
    spawn = cache.CORUN_SPAWN,
    valgrind = first_line("valgrind", "--version"),
  }
end

-- The kernel decides none of the counts, or fallbacks would be counted (see strace.lua): it is written down only.
local by_machine_code = {
  "architecture", "compiler", "flags", "libc", "libuv", "lua", "spawn", "valgrind",
}

--- By count, the versions that have to be the same for numbers to be comparable.
M.matter = {
  instructions = by_machine_code,
  collecting = by_machine_code,
  heap_calls = by_machine_code,
  system_calls = { "architecture", "libc", "libuv", "spawn" },
  child_calls = { "architecture", "spawn" }, -- ours alone
  lua_bytes = { "architecture", "lua" },
}

--- Of the versions that matter for `count` the first that differs: its name, or nil.
function M.difference(count, recorded, now)
  for _, name in ipairs(M.matter[count]) do
    if recorded[name] ~= now[name] then return name end
  end
end

return M
