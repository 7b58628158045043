/* The module corun.core: what belongs to the state as a whole, and luaopen. */
#include "runtime.h"

#include <errno.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "fd.h"
#include "process.h"

#if defined(__GNUC__)
#define EXPORT __attribute__((visibility("default")))
#else
#define EXPORT
#endif

static const char hooks_key, canary_key, runtime_key;

struct runtime *runtime_of_state(lua_State *L) {
  lua_rawgetp(L, LUA_REGISTRYINDEX, &runtime_key);
  struct runtime *rt = lua_touserdata(L, -1);
  lua_pop(L, 1);
  return rt;
}

/* --- hooks and posts --- */

void runtime_push_hook(lua_State *L, const char *name) {
  lua_rawgetp(L, LUA_REGISTRYINDEX, &hooks_key);
  lua_getfield(L, -1, name);
  lua_remove(L, -2);
}

void runtime_post(struct runtime *rt, struct post *post,
                  void (*deliver)(struct runtime *, lua_State *, struct post *)) {
  post_remove(post);
  post->deliver = deliver;
  post->prev = rt->posts.prev;
  post->next = &rt->posts;
  post->prev->next = post;
  rt->posts.prev = post;
}

void post_remove(struct post *post) {
  if (!post->next) return;
  post->prev->next = post->next;
  post->next->prev = post->prev;
  post->prev = post->next = NULL;
}

static int f_deliver(lua_State *L) {
  struct runtime *rt = lua_touserdata(L, 1);
  struct post *post = lua_touserdata(L, 2);
  int top = lua_gettop(L);
  post->deliver(rt, L, post);
  lua_call(L, lua_gettop(L) - top - 1, 0);
  return 0;
}

void runtime_deliver(struct runtime *rt) {
  interrupt_deliver(rt);
  while (rt->posts.next != &rt->posts) {
    struct post *post = rt->posts.next;
    post_remove(post);
    lua_pushcfunction(rt->service, f_deliver);
    lua_pushlightuserdata(rt->service, rt);
    lua_pushlightuserdata(rt->service, post);
    if (lua_pcall(rt->service, 2, 0, 0) != LUA_OK) {
      fprintf(stderr, "corun: in a hook: %s\n", luaL_tolstring(rt->service, -1, NULL));
      lua_pop(rt->service, 2);
    }
  }
}

/* core.hooks(table): what the scheduler calls between two turns. */
static int f_hooks(lua_State *L) {
  luaL_checktype(L, 1, LUA_TTABLE);
  lua_settop(L, 1);
  lua_rawsetp(L, LUA_REGISTRYINDEX, &hooks_key);
  return 0;
}

/* --- errors --- */

void push_error_name(lua_State *L, int code) {
  char name[64];
  uv_err_name_r(code, name, sizeof name);
  if (strncmp(name, "Unknown", 7)) lua_pushstring(L, name);
  else if (code == -ENOEXEC) lua_pushliteral(L, "ENOEXEC");
  else lua_pushfstring(L, "E%d", -code);
}

const char *push_error_text(lua_State *L, int code) {
  char text[256];
  uv_strerror_r(code, text, sizeof text);
  if (!strncmp(text, "Unknown", 7)) return lua_pushstring(L, strerror(-code));
  return lua_pushstring(L, text);
}

int raise_error(lua_State *L, const char *kind, int code, const char *format, ...) {
  runtime_push_hook(L, "new_error");
  lua_pushstring(L, kind);
  va_list arguments;
  va_start(arguments, format);
  lua_pushvfstring(L, format, arguments);
  va_end(arguments);
  if (code) push_error_name(L, code);
  else lua_pushnil(L);
  lua_call(L, 3, 1);
  return lua_error(L);
}

int raise_argument(lua_State *L, int index, const char *what, const char *expected) {
  index = lua_absindex(L, index);
  runtime_push_hook(L, "argument_error");
  lua_pushstring(L, what);
  lua_pushstring(L, expected);
  lua_pushvalue(L, index);
  lua_call(L, 3, 0);
  return 0; /* the hook has raised */
}

/* --- the end of the state --- */

static void finish(struct runtime *rt, lua_State *L, const char *how) {
  runtime_push_hook(L, "finish");
  lua_pushstring(L, rt->exiting ? "exit" : how);
  lua_rawgetp(L, LUA_REGISTRYINDEX, rt->current ? rt->current : rt->root);
  lua_getiuservalue(L, -1, 2); /* its scope */
  lua_insert(L, -2);
  task_become_root(rt);
  if (lua_pcall(L, 3, 0, 0) != LUA_OK) {
    fprintf(stderr, "corun: %s\n", luaL_tolstring(L, -1, NULL));
    lua_pop(L, 2);
  }
}

static int f_canary_gc(lua_State *L) {
  struct runtime *rt = runtime_of(L);
  if (rt->canary == lua_touserdata(L, 1) && rt->pid == getpid()) finish(rt, L, "close");
  return 0;
}

void runtime_renew_canary(struct runtime *rt, lua_State *L) {
  void *canary = lua_newuserdatauv(L, 1, 0);
  luaL_setmetatable(L, "corun.core.Canary");
  rt->canary = canary;
  lua_rawsetp(L, LUA_REGISTRYINDEX, &canary_key);
}

/* exit() without lua_close, as os.exit does it: what runs is stopped here. Only for states of the thread that exits;
 * a second thread's may be anywhere. */
static _Thread_local struct runtime *open_runtimes[16];

static void at_exit(void) {
  for (int i = 0; i < 16; i++) {
    struct runtime *rt = open_runtimes[i];
    if (rt && !rt->closed && rt->pid == getpid()) finish(rt, rt->service, "exit");
  }
}

/* core.exiting(boolean): os.exit is being called. With its second argument it closes the state, which by itself would
 * be the end of the main chunk: tasks would be waited for. */
static int f_exiting(lua_State *L) {
  runtime_of(L)->exiting = lua_toboolean(L, 1);
  return 0;
}

static void register_at_exit(void) { atexit(at_exit); }

static int f_runtime_gc(lua_State *L) {
  struct runtime *rt = lua_touserdata(L, 1);
  if (rt->closed) return 0;
  rt->closed = true;
  for (int i = 0; i < 16; i++)
    if (open_runtimes[i] == rt) open_runtimes[i] = NULL;
  interrupt_close(rt);
  loop_close(&rt->loop);
  spawn_exit(&rt->loop);
  while (rt->idle) {
    struct stack *stack = rt->idle;
    rt->idle = stack->next;
    if (stack != rt->stack) stack_free(stack);
  }
  return 0;
}

/* --- luaopen --- */

void set_functions(lua_State *L, const luaL_Reg *functions, struct runtime *rt) {
  lua_pushlightuserdata(L, rt);
  luaL_setfuncs(L, functions, 1);
}

void make_class(lua_State *L, const char *name, const luaL_Reg *methods, const luaL_Reg *meta, struct runtime *rt) {
  luaL_newmetatable(L, name);
  lua_newtable(L);
  set_functions(L, methods, rt);
  lua_setfield(L, -2, "__index");
  set_functions(L, meta, rt);
  lua_setfield(L, -2, strrchr(name, '.') + 1);
}

void make_known_class(lua_State *L, enum class which, const char *name, const luaL_Reg *methods, const luaL_Reg *meta,
                      struct runtime *rt) {
  make_class(L, name, methods, meta, rt);
  luaL_getmetatable(L, name); /* the registry keeps it */
  rt->classes[which] = lua_topointer(L, -1);
  lua_pop(L, 1);
}

void *test_object(lua_State *L, int index, enum class which) {
  void *object = lua_touserdata(L, index);
  if (!object || !lua_getmetatable(L, index)) return NULL;
  const void *metatable = lua_topointer(L, -1);
  lua_pop(L, 1);
  return metatable == runtime_of(L)->classes[which] ? object : NULL;
}

void *check_object(lua_State *L, int index, enum class which, const char *name) {
  void *object = test_object(L, index, which);
  return object ? object : luaL_checkudata(L, index, name); /* which raises */
}

static const luaL_Reg canary_meta[] = {{"__gc", f_canary_gc}, {NULL, NULL}};
static const luaL_Reg functions[] = {{"hooks", f_hooks}, {"exiting", f_exiting}, {NULL, NULL}};

static struct runtime *open_runtime(lua_State *L) {
  struct runtime *rt = lua_newuserdatauv(L, sizeof *rt, 0);
  memset(rt, 0, sizeof *rt);
  rt->closed = true;
  lua_newtable(L);
  lua_pushcfunction(L, f_runtime_gc);
  lua_setfield(L, -2, "__gc");
  lua_setmetatable(L, -2);
  lua_rawsetp(L, LUA_REGISTRYINDEX, &runtime_key);
  rt->pid = (int)getpid();
  rt->posts.prev = rt->posts.next = &rt->posts;
  rt->stack = &rt->program;
  rt->service = lua_newthread(L);
  lua_rawsetp(L, LUA_REGISTRYINDEX, &rt->service);
  int err = fd_fill_standard();
  if (!err) err = loop_init(&rt->loop);
  if (!err) err = spawn_init(&rt->loop);
  if (err) luaL_error(L, "corun: cannot make a loop: %s", uv_strerror(err));
  rt->closed = false;
  interrupt_open(rt);
  for (int i = 0; i < 16; i++) {
    if (open_runtimes[i]) continue;
    open_runtimes[i] = rt;
    break;
  }
  static pthread_once_t once = PTHREAD_ONCE_INIT;
  pthread_once(&once, register_at_exit);
  return rt;
}

EXPORT int luaopen_corun_core(lua_State *L);
int luaopen_corun_core(lua_State *L) {
  lua_newtable(L);
  struct runtime *rt = open_runtime(L);
  lua_pushliteral(L, SPAWN_BACKEND);
  lua_setfield(L, -2, "backend");
  luaL_newmetatable(L, "corun.core.Canary");
  set_functions(L, canary_meta, rt);
  lua_pop(L, 1);
  set_functions(L, functions, rt);
  task_register(L, rt);
  queue_register(L, rt);
  channel_register(L, rt);
  reader_register(L, rt);
  writer_register(L, rt);
  pipe_register(L, rt);
  process_register(L, rt);
  pty_register(L, rt);
  wait_register(L, rt);
  system_register(L, rt);
  terminal_register(L, rt);
  tree_register(L, rt);
  interrupt_register(L, rt);
  runtime_renew_canary(rt, L);
  return 1;
}
