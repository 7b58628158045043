/* The Lua face of core/terminal.h. */
#include "terminal.h"

#include "runtime.h"

/* core.terminal_begin() → whether the child that is started next may have our terminal */
static int f_begin(lua_State *L) {
  lua_pushboolean(L, terminal_begin(&runtime_of(L)->loop));
  return 1;
}

/* core.terminal_pause(boolean): takes the terminal back from a child that lives, and gives it again */
static int f_pause(lua_State *L) {
  terminal_pause(&runtime_of(L)->loop, lua_toboolean(L, 1));
  return 0;
}

static const luaL_Reg functions[] = {{"terminal_begin", f_begin}, {"terminal_pause", f_pause}, {NULL, NULL}};

void terminal_register(lua_State *L, struct runtime *rt) { set_functions(L, functions, rt); }
