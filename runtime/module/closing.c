/* Whether a blocking operation was called from a __close handler.
 *
 * A function that runs as a to-be-closed variable's __close may finish its work though the scope is cancelled: clean-up
 * that cannot wait would be no clean-up. Lua names such a call ("metamethod", "close") when a block ends normally. When
 * an error unwinds, the caller is the protected call itself, and there it can be told by where it stands: pcall has only
 * `true` below the function that it calls, xpcall three values, but a __close is called above what the failed function
 * left; and any other C function that has a main chunk among its values is the program's own protected call. */
#include <lualib.h>
#include <string.h>

#include "runtime.h"

/* True where the caller's C frame holds at `index` something else than the function it has called. (A function with
 * variable arguments is moved up by Lua and leaves itself there.) */
static bool stands_above(lua_State *L, lua_Debug *ar, lua_Debug *caller, int index) {
  if (!lua_getlocal(L, caller, index)) return false;
  lua_getinfo(L, "f", ar);
  bool other = !lua_rawequal(L, -1, -2);
  lua_pop(L, 2);
  return other;
}

static bool holds_main_chunk(lua_State *L, lua_Debug *caller) {
  bool found = false;
  for (int i = 1; !found && lua_getlocal(L, caller, i); i++) {
    lua_Debug ar;
    if (lua_isfunction(L, -1) && !lua_iscfunction(L, -1)) {
      lua_getinfo(L, ">S", &ar);
      found = !strcmp(ar.what, "main");
    } else {
      lua_pop(L, 1);
    }
  }
  return found;
}

/* Of a function that its caller has no name for. */
static bool unwinds(const struct runtime *rt, lua_State *L, int level, lua_Debug *ar) {
  lua_Debug caller;
  lua_getinfo(L, "S", ar);
  if (strcmp(ar->what, "Lua") || !lua_getstack(L, level + 1, &caller)) return false;
  lua_getinfo(L, "f", &caller);
  lua_CFunction function = lua_tocfunction(L, -1);
  lua_pop(L, 1);
  if (!function) return false;
  if (function == rt->pcall) return stands_above(L, ar, &caller, 2);
  if (function == rt->xpcall) return stands_above(L, ar, &caller, 4);
  return holds_main_chunk(L, &caller);
}

static int close_handlers(const struct runtime *rt, const struct task *t, lua_State *L) {
  lua_Debug ar;
  int count = 0, boundaries = 0, level = 0;
  for (; lua_getstack(L, level, &ar); level++) {
    lua_getinfo(L, "nf", &ar);
    lua_CFunction function = lua_tocfunction(L, -1);
    lua_pop(L, 1);
    if (ar.name) count += !strcmp(ar.name, "close") && !strcmp(ar.namewhat, "metamethod");
    else if (!function) count += unwinds(rt, L, level, &ar);
    /* Nothing can yield across a C function but pcall and xpcall. Level 0 is the operation itself. */
    boundaries += level > 0 && function && function != rt->pcall && function != rt->xpcall;
  }
  /* A user's coroutine that is being closed (coroutine.close, or an error that leaves coroutine.wrap) runs its handlers
   * at its outermost level, where it cannot yield; its body, without a C function in between, could. */
  bool is_coroutine = L != rt->root->thread && L != t->thread;
  if (is_coroutine && !boundaries && !lua_isyieldable(L)) count++;
  return count;
}

/* The coroutine that L has resumed, from the function on top of L that has done it: coroutine.resume and close have it
 * as their first argument, a function of coroutine.wrap as its upvalue. */
static lua_State *resumed_by(const struct runtime *rt, lua_State *L) {
  lua_Debug ar;
  lua_State *resumed = NULL;
  int top = lua_gettop(L);
  if (!lua_getstack(L, 0, &ar) || !lua_checkstack(L, 3)) return NULL;
  lua_getinfo(L, "f", &ar);
  if (lua_tocfunction(L, -1) == rt->wrapped) lua_getupvalue(L, -1, 1);
  else if (lua_iscfunction(L, -1)) lua_getlocal(L, &ar, 1);
  resumed = lua_tothread(L, -1);
  lua_settop(L, top);
  return resumed;
}

/* Also counted: handlers around the coroutines that the task is in. */
int closing_depth(struct runtime *rt, const struct task *t, lua_State *L) {
  int depth = t->unwinding;
  for (lua_State *T = t->thread; T && T != L; T = resumed_by(rt, T)) depth += close_handlers(rt, t, T);
  return depth + close_handlers(rt, t, L);
}

static lua_CFunction global_function(lua_State *L, const char *name) {
  lua_getglobal(L, name);
  lua_CFunction function = lua_tocfunction(L, -1);
  lua_pop(L, 1);
  return function;
}

static int nothing(lua_State *L) {
  (void)L;
  return 0;
}

void closing_register(lua_State *L, struct runtime *rt) {
  rt->pcall = global_function(L, "pcall");
  rt->xpcall = global_function(L, "xpcall");
  luaL_requiref(L, LUA_COLIBNAME, luaopen_coroutine, 0);
  lua_getfield(L, -1, "wrap");
  lua_pushcfunction(L, nothing);
  lua_call(L, 1, 1);
  rt->wrapped = lua_tocfunction(L, -1);
  lua_pop(L, 2);
}
