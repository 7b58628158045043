/* The Lua face of core/tree.h: who is of a process's tree; and of core/guard.h. */
#include <string.h>
#include <unistd.h>

#include "guard.h"
#include "process.h"
#include "procfs.h"
#include "runtime.h"
#include "tree.h"

#define MEMBERS_CLASS "corun.core.Members"

/* A command line as it can be shown: its words with spaces between; the name in brackets where there is none. */
static void push_command(lua_State *L, const struct procfs_stat *stat) {
  char text[4096];
  ssize_t size = procfs_read(stat->pid, "cmdline", text, sizeof text);
  while (size > 0 && text[size - 1] == '\0') size--;
  for (ssize_t i = 0; i < size; i++)
    if (text[i] == '\0') text[i] = ' ';
  if (size > 0) lua_pushlstring(L, text, (size_t)size);
  else lua_pushfstring(L, "[%s]", stat->name);
}

static void push_member(lua_State *L, const struct procfs_stat *stat) {
  lua_createtable(L, 0, 4);
  lua_pushinteger(L, stat->pid);
  lua_setfield(L, -2, "pid");
  lua_pushinteger(L, stat->parent);
  lua_setfield(L, -2, "parent");
  lua_pushlstring(L, &stat->state, 1);
  lua_setfield(L, -2, "state");
  push_command(L, stat);
  lua_setfield(L, -2, "command");
}

/* core.members(process) → {{pid, parent, state (a letter), command}, …} of who is of its tree and runs, but for itself */
static int f_members(lua_State *L) {
  struct process *p = check_process(L, 1);
  struct members *found = lua_newuserdatauv(L, sizeof *found, 0); /* what follows may raise */
  *found = (struct members){0};
  luaL_setmetatable(L, MEMBERS_CLASS);
  int err = process_members(p, found);
  if (err && err != UV_ENOTSUP) return raise_error(L, "io", err, "/proc: %s", uv_strerror(err));
  lua_createtable(L, (int)found->count, 0);
  for (size_t i = 0; i < found->count; i++) {
    struct procfs_stat stat;
    if (procfs_stat(found->list[i].pid, &stat) || stat.started != found->list[i].started) continue;
    push_member(L, &stat);
    lua_rawseti(L, -2, luaL_len(L, -2) + 1);
  }
  members_free(found);
  return 1;
}

static int f_members_gc(lua_State *L) {
  members_free(lua_touserdata(L, 1));
  return 0;
}

/* core.contain() → true, or nil, what is missing and the error's name */
static int f_contain(lua_State *L) {
  const char *missing = NULL;
  int err = guard_start(&missing);
  if (!err) {
    lua_pushboolean(L, 1);
    return 1;
  }
  lua_pushnil(L);
  lua_pushstring(L, missing);
  push_error_name(L, err);
  return 3;
}

/* core.kill_marked(seconds): SIGKILL to all that this process has ever started and what came of it, but for the
 * detached; waits until they are gone, at most so long. */
static int f_kill_marked(lua_State *L) {
  tree_kill_all(tree_runtime(), (int)luaL_checkinteger(L, 1));
  return 0;
}

static const luaL_Reg functions[] = {
    {"members", f_members}, {"contain", f_contain}, {"kill_marked", f_kill_marked}, {NULL, NULL}};

static const luaL_Reg no_methods[] = {{NULL, NULL}};
static const luaL_Reg meta[] = {{"__gc", f_members_gc}, {NULL, NULL}};

void tree_register(lua_State *L, struct runtime *rt) {
  make_class(L, MEMBERS_CLASS, no_methods, meta, rt);
  set_functions(L, functions, rt);
}
