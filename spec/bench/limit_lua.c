/* What Lua itself costs, without corun: strings made in a C loop, or given to a Lua loop by a bare C function; and two
 * coroutines that yield to each other. With WITH_LUA. */
#include <lauxlib.h>
#include <lua.h>
#include <lualib.h>

#include "limit.h"

static int f_next(lua_State *L) {
  size_t size;
  const char *line = next_line(&size);
  if (!line) return 0;
  lua_pushlstring(L, line, size);
  return 1;
}

static void lines_loop(long long size, char *const words[]) {
  (void)words;
  lua_State *L = luaL_newstate();
  luaL_openlibs(L);
  struct stopwatch clock = watch_start();
  open_lines(size);
  luaL_loadstring(L, "local next = ... local n, b = 0, 0 "
                     "for line in next do n = n + 1 b = b + #line end return n, b");
  lua_pushcfunction(L, f_next);
  lua_call(L, 1, 2);
  report_lines(clock, lua_tointeger(L, -2), lua_tointeger(L, -1));
}

static void lines_pushlstring(long long size, char *const words[]) {
  (void)words;
  long long count = 0, bytes = 0;
  size_t length;
  const char *line;
  lua_State *L = luaL_newstate();
  struct stopwatch clock = watch_start();
  open_lines(size);
  while ((line = next_line(&length))) {
    lua_pushlstring(L, line, length);
    lua_pop(L, 1);
    count++;
    bytes += (long long)length;
  }
  report_lines(clock, count, bytes);
}

/* Resumed from C, as a scheduler in C does; and from Lua, as coroutine.resume does. */

static lua_State *new_yielder(lua_State *L) {
  lua_State *co = lua_newthread(L);
  luaL_loadstring(co, "local yield, n = coroutine.yield, 0 while true do n = n + 1 yield() end");
  return co;
}

static void switch_resume(long long size, char *const words[]) {
  (void)words;
  lua_State *L = luaL_newstate();
  luaL_openlibs(L);
  lua_State *tasks[2] = {new_yielder(L), new_yielder(L)};
  struct stopwatch clock = watch_start();
  long long i = 0;
  int results;
  while (i < size && lua_resume(tasks[i & 1], L, 0, &results) == LUA_YIELD) i++;
  report_count(clock, i);
}

static void switch_lua(long long size, char *const words[]) {
  (void)words;
  lua_State *L = luaL_newstate();
  luaL_openlibs(L);
  struct stopwatch clock = watch_start();
  luaL_loadstring(L, "local size = ... local resume, yield = coroutine.resume, coroutine.yield "
                     "local function new() return coroutine.create(function() while true do yield() end end) end "
                     "local one, two, n = new(), new(), 0 "
                     "while n < size do resume(one) resume(two) n = n + 2 end return n");
  lua_pushinteger(L, size);
  lua_call(L, 1, 1);
  report_count(clock, lua_tointeger(L, -1));
}

const struct workload lua_workloads[] = {
    {"lines-loop", lines_loop},
    {"lines-pushlstring", lines_pushlstring},
    {"switch-resume", switch_resume},
    {"switch-lua", switch_lua},
    {NULL, NULL},
};
