/* Pipe: a kernel pipe that is not read or written by us yet, for pipelines; and the relay of core/relay.h. */
#include <errno.h>
#include <fcntl.h>
#include <string.h>

#include "fd.h"
#include "lstream.h"
#include "relay.h"

#define PIPE "corun.Pipe"
#define RELAY "corun.Relay"

struct lua_pipe {
  int ends[2]; /* -1 once closed or given away; [0] is read from */
};

/* core.pipe() → a Pipe */
static int f_pipe(lua_State *L) {
  struct lua_pipe *p = lua_newuserdatauv(L, sizeof *p, 0);
  p->ends[0] = p->ends[1] = -1;
  luaL_setmetatable(L, PIPE);
  int err = fd_pipe(p->ends);
  return err ? raise_error(L, "io", err, "pipe: %s", uv_strerror(err)) : 1;
}

static struct lua_pipe *check_pipe(lua_State *L, int index) { return luaL_checkudata(L, index, PIPE); }

static int push_end(lua_State *L, int end) {
  lua_pushinteger(L, check_pipe(L, 1)->ends[end]);
  return 1;
}

/* pipe:read_end(), pipe:write_end() → the descriptor; it stays the Pipe's */
static int f_read_end(lua_State *L) { return push_end(L, 0); }
static int f_write_end(lua_State *L) { return push_end(L, 1); }

static int take_end(struct lua_pipe *p, int end) {
  int fd = p->ends[end];
  p->ends[end] = -1;
  return fd;
}

/* pipe:reader() → a Reader that has the read end now */
static int f_reader(lua_State *L) {
  struct runtime *rt = runtime_of(L);
  struct lua_pipe *p = check_pipe(L, 1);
  struct reader *r = push_reader(L, rt);
  reader_open(r, &rt->loop, take_end(p, 0));
  fd_set_nonblocking(r->fd, true);
  reader_start(r); /* its error is the stream's */
  runtime_renew_canary(rt, L);
  return 1;
}

/* pipe:writer() → a Writer that has the write end now */
static int f_writer(lua_State *L) {
  struct runtime *rt = runtime_of(L);
  struct lua_pipe *p = check_pipe(L, 1);
  writer_open(push_writer(L, rt), &rt->loop, take_end(p, 1));
  runtime_renew_canary(rt, L);
  return 1;
}

static int f_close_read(lua_State *L) {
  fd_close(&check_pipe(L, 1)->ends[0]);
  return 0;
}

static int f_close_write(lua_State *L) {
  fd_close(&check_pipe(L, 1)->ends[1]);
  return 0;
}

static int f_close(lua_State *L) {
  f_close_read(L);
  return f_close_write(L);
}

/* --- files --- */

/* core.open(path, "r"|"w"|"a", mode) → a Reader or Writer */
static int f_open(lua_State *L) {
  struct runtime *rt = runtime_of(L);
  const char *path = luaL_checkstring(L, 1), *how = luaL_checkstring(L, 2);
  unsigned mode = (unsigned)luaL_optinteger(L, 3, 0666);
  struct reader *r = *how == 'r' ? push_reader(L, rt) : NULL;
  struct writer *w = r ? NULL : push_writer(L, rt);
  int flags = r ? O_RDONLY : O_WRONLY | O_CREAT | (*how == 'a' ? O_APPEND : O_TRUNC);
  int fd = fd_open(path, flags | O_NOCTTY | O_NONBLOCK, mode);
  if (fd < 0) return raise_error(L, "io", fd, "cannot open '%s': %s", path, uv_strerror(fd));
  if (r) {
    reader_open(r, &rt->loop, fd);
    reader_start(r);
  } else {
    writer_open(w, &rt->loop, fd);
  }
  runtime_renew_canary(rt, L);
  return 1;
}

/* --- relay --- */

struct lua_relay {
  struct relay core; /* first */
  struct runtime *runtime;
};

/* A descriptor that the relay may have: a Pipe's write end, or a copy of a Writer's. */
static int take_output(lua_State *L, int index, bool *polled) {
  struct lua_pipe *p = luaL_testudata(L, index, PIPE);
  *polled = p || !check_writer(L, index)->is_file;
  return p ? take_end(p, 1) : fd_duplicate(check_writer(L, index)->fd);
}

/* core.relay(first_decides, source, ...) → a Relay from a Pipe to Pipes and Writers, at work */
static int f_relay(lua_State *L) {
  struct runtime *rt = runtime_of(L);
  struct lua_pipe *source = check_pipe(L, 2);
  int count = lua_gettop(L);
  for (int i = 3; i <= count; i++) {
    struct writer *w = luaL_testudata(L, i, PIPE) ? NULL : check_writer(L, i);
    if (w && (w->fd < 0 || w->ending)) return raise_writer_closed(L, (struct lua_writer *)w);
  }
  struct lua_relay *relay = lua_newuserdatauv(L, sizeof *relay, 0);
  memset(relay, 0, sizeof *relay);
  relay->core.done = true;
  relay->runtime = rt;
  waitq_init(&relay->core.ended);
  luaL_setmetatable(L, RELAY);
  int err = relay_open(&relay->core, &rt->loop, take_end(source, 0), lua_toboolean(L, 1));
  for (int i = 3; i <= count && !err; i++) {
    bool polled;
    int fd = take_output(L, i, &polled);
    err = fd < 0 ? fd : relay_add(&relay->core, fd, polled);
  }
  if (!err) err = relay_start(&relay->core);
  if (err) {
    relay_close(&relay->core);
    return raise_error(L, err == UV_ENOTSUP ? "unsupported" : "io", err, "tee: %s", uv_strerror(err));
  }
  runtime_renew_canary(rt, L);
  return 1;
}

static int wait_k(lua_State *L, int status, lua_KContext ctx) {
  struct runtime *rt = runtime_of(L);
  struct lua_relay *relay = lua_touserdata(L, 1);
  for (;; status = LUA_YIELD) {
    enum wake wake = task_outcome(rt, L, status);
    if (relay->core.done || wake == WAKE_TIMEOUT) {
      lua_pushboolean(L, relay->core.done);
      return 1;
    }
    task_park(rt, L, &relay->core.ended, (uint64_t)ctx, ctx, wait_k);
  }
}

/* relay:wait(seconds or nil) → whether all is out */
static int f_wait(lua_State *L) {
  luaL_checkudata(L, 1, RELAY);
  uint64_t due = check_due(L, 2);
  task_check(runtime_of(L), L);
  return wait_k(L, LUA_OK, (lua_KContext)due);
}

/* relay:total() → bytes that came */
static int f_total(lua_State *L) {
  struct lua_relay *relay = luaL_checkudata(L, 1, RELAY);
  lua_pushinteger(L, (lua_Integer)relay->core.total);
  return 1;
}

static int f_relay_close(lua_State *L) {
  struct lua_relay *relay = luaL_checkudata(L, 1, RELAY);
  if (!relay->runtime->closed) relay_close(&relay->core);
  return 0;
}

static const luaL_Reg functions[] = {{"pipe", f_pipe}, {"open", f_open}, {"relay", f_relay}, {NULL, NULL}};
static const luaL_Reg pipe_methods[] = {
    {"read_end", f_read_end},     {"write_end", f_write_end},     {"reader", f_reader}, {"writer", f_writer},
    {"close_read", f_close_read}, {"close_write", f_close_write}, {"close", f_close},   {NULL, NULL}};
static const luaL_Reg pipe_meta[] = {{"__gc", f_close}, {"__close", f_close}, {NULL, NULL}};
static const luaL_Reg relay_methods[] = {
    {"wait", f_wait}, {"total", f_total}, {"close", f_relay_close}, {NULL, NULL}};
static const luaL_Reg relay_meta[] = {{"__gc", f_relay_close}, {"__close", f_relay_close}, {NULL, NULL}};

void pipe_register(lua_State *L, struct runtime *rt) {
  make_class(L, PIPE, pipe_methods, pipe_meta, rt);
  make_class(L, RELAY, relay_methods, relay_meta, rt);
  set_functions(L, functions, rt);
}
