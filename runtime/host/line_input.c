#include "line_input.h"

#include <dlfcn.h>
#include <lauxlib.h>
#include <stdio.h>
#include <stdio_ext.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "fd.h"
#include "runtime.h"
#include "watch.h"

/* libedit's readline interface, as far as it is used. */
static struct {
  void (*handler_install)(const char *, void (*)(char *));
  void (*handler_remove)(void);
  void (*read_char)(void);
  void (*add_history)(const char *);
  int (*read_history)(const char *);
  int (*write_history)(const char *);
  int (*stifle_history)(int);
  void (*redisplay)(void);
  int *catch_signals;
} edit;

/* There is one terminal, so there is one of these. */
static struct {
  struct runtime *runtime;
  struct watch *watch;
  int fd; /* the terminal opened again: polling sets O_NONBLOCK, and fd 0 is shared with whoever started us */
  char *history;
  char *line;
  char prompt[64];
  bool ready, at_end, cancelled, active, hidden;
  struct waitq lines;
} input = {.fd = -1};

static void hide(void) {
  if (!input.active || input.hidden) return;
  input.hidden = true;
  dprintf(1, "\r\033[K");
}

/* Before our Writer on the terminal writes, and when the scheduler is about to wait: what tasks have printed since
 * comes out above the line that is being typed. */
static void before_output(struct runtime *rt) {
  (void)rt;
  hide();
}

static void before_wait(struct runtime *rt) {
  (void)rt;
  if (!input.active) { /* a line runs: what it has written is seen before it waits */
    fflush(stdout);
    fflush(stderr);
    return;
  }
  if (__fpending(stdout) || __fpending(stderr)) {
    hide();
    fflush(stdout);
    fflush(stderr);
  }
  if (!input.hidden) return;
  input.hidden = false;
  edit.redisplay();
}

static void line_cb(char *line) {
  edit.handler_remove();
  input.active = false;
  input.ready = true;
  input.at_end = line == NULL;
  free(input.line);
  input.line = line;
  if (line && *line) edit.add_history(line);
}

static void readable(void *owner, int events) {
  (void)owner, (void)events;
  if (!input.active) return;
  edit.read_char();
  if (input.ready) {
    watch_set(input.watch, 0);
    waitq_wake_all(&input.lines);
  }
}

static int load(void **library) {
  static const char *const names[] = {"libedit.so.2", "libedit.so.0", "libedit.so", "libedit.3.dylib"};
  for (size_t i = 0; i < sizeof names / sizeof *names && !*library; i++)
    *library = dlopen(names[i], RTLD_NOW | RTLD_LOCAL);
  if (!*library) return 0;
#define FIND(field, name) (*(void **)&edit.field = dlsym(*library, name))
  return FIND(handler_install, "rl_callback_handler_install") && FIND(handler_remove, "rl_callback_handler_remove") &&
         FIND(read_char, "rl_callback_read_char") && FIND(add_history, "add_history") &&
         FIND(read_history, "read_history") && FIND(write_history, "write_history") &&
         FIND(stifle_history, "stifle_history") && FIND(redisplay, "rl_forced_update_display") &&
         FIND(catch_signals, "rl_catch_signals");
#undef FIND
}

static void restore_terminal(void) {
  if (input.active) edit.handler_remove();
  input.active = false;
}

static int f_open(lua_State *L) {
  static void *library;
  const char *history = luaL_optstring(L, 1, NULL);
  input.runtime = runtime_of(L);
  if (!library && !load(&library)) {
    lua_pushnil(L);
    lua_pushliteral(L, "line editing needs libedit (Debian: libedit2)");
    return 2;
  }
  *edit.catch_signals = 0; /* SIGINT is ours: it stops a line or throws one away */
  waitq_init(&input.lines);
  input.fd = fd_reopen(0, 0);
  int err = input.fd < 0 ? input.fd : watch_open(&input.runtime->loop, input.fd, 0, readable, NULL, &input.watch);
  if (err) {
    fd_close(&input.fd);
    lua_pushnil(L);
    lua_pushfstring(L, "the terminal cannot be polled: %s", uv_strerror(err));
    return 2;
  }
  if (history) {
    input.history = strdup(history);
    edit.stifle_history(1000);
    edit.read_history(history); /* missing the first time */
  }
  /* Buffered, so that what is printed while a line is typed can be seen coming. */
  setvbuf(stdout, NULL, _IOFBF, 65536);
  setvbuf(stderr, NULL, _IOFBF, 65536);
  input.runtime->before_output = before_output;
  input.runtime->before_wait = before_wait;
  atexit(restore_terminal);
  lua_pushboolean(L, 1);
  return 1;
}

static int read_k(lua_State *L, int status, lua_KContext ctx) {
  struct runtime *rt = input.runtime;
  for (;; status = LUA_YIELD) {
    enum wake wake = task_wake_reason(rt, status);
    if (wake >= WAKE_CANCEL) {
      restore_terminal();
      watch_set(input.watch, 0);
      task_raise_wake(rt, L, wake);
    }
    if (input.ready) break;
    task_park(rt, L, &input.lines, 0, ctx, read_k);
  }
  input.ready = false;
  if (input.at_end) lua_pushnil(L);
  else if (input.cancelled) lua_pushboolean(L, 0);
  else lua_pushstring(L, input.line);
  return 1;
}

static int f_read(lua_State *L) {
  const char *prompt = luaL_checkstring(L, 1);
  snprintf(input.prompt, sizeof input.prompt, "%s", prompt);
  task_check(input.runtime, L);
  fflush(stdout);
  fflush(stderr);
  input.ready = input.hidden = input.cancelled = false;
  input.active = true;
  edit.handler_install(input.prompt, line_cb);
  watch_set(input.watch, UV_READABLE);
  lua_settop(L, 0);
  return read_k(L, LUA_OK, 0);
}

/* Ctrl-C at the prompt: read returns false instead of what was typed. */
static int f_cancel(lua_State *L) {
  lua_settop(L, 0);
  if (!input.active) return 0;
  restore_terminal();
  watch_set(input.watch, 0);
  dprintf(1, "^C\n");
  input.at_end = false;
  input.cancelled = input.ready = true;
  waitq_wake_all(&input.lines);
  return 0;
}

/* Before something is printed: the line that is being typed goes out of the way, and comes back at the next wait. */
static int f_hide(lua_State *L) {
  (void)L;
  hide();
  return 0;
}

static int f_close(lua_State *L) {
  (void)L;
  restore_terminal();
  if (input.watch) watch_close(input.watch);
  input.watch = NULL;
  fd_close(&input.fd);
  if (input.history && edit.write_history) edit.write_history(input.history);
  free(input.history);
  free(input.line);
  input.history = input.line = NULL;
  if (input.runtime) input.runtime->before_output = input.runtime->before_wait = NULL;
  fflush(NULL);
  setvbuf(stdout, NULL, _IOLBF, 0);
  setvbuf(stderr, NULL, _IONBF, 0);
  return 0;
}

int luaopen_line_input(lua_State *L) {
  static const luaL_Reg functions[] = {
      {"open", f_open}, {"read", f_read}, {"cancel", f_cancel}, {"hide", f_hide}, {"close", f_close}, {NULL, NULL}};
  lua_newtable(L);
  set_functions(L, functions, runtime_of_state(L));
  return 1;
}
