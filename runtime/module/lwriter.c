/* Writer: the Lua face of core/writer.h. What the methods promise is said in lua/corun/meta.lua. */
#include <fcntl.h>
#include <string.h>

#include "fd.h"
#include "lstream.h"

#define CLASS "corun.Writer"
#define PARTS 64

struct writer *push_writer(lua_State *L, struct runtime *rt) {
  struct lua_writer *w = lua_newuserdatauv(L, sizeof *w, 0);
  memset(w, 0, sizeof *w);
  w->runtime = rt;
  w->core.loop = &rt->loop;
  w->core.fd = -1;
  w->core.ending = true;
  waitq_init(&w->core.writable);
  waitq_init(&w->core.drained);
  waitq_init(&w->turn);
  luaL_setmetatable(L, CLASS);
  return &w->core;
}

struct writer *check_writer(lua_State *L, int index) { return check_object(L, index, CLASS_WRITER, CLASS); }
static struct lua_writer *check_lua_writer(lua_State *L) {
  return check_object(L, 1, CLASS_WRITER, CLASS);
}

bool writing_begin(struct runtime *rt, struct lua_writer *w) {
  if (w->owner && w->owner != rt->current) return false;
  w->owner = rt->current;
  return true;
}

/* The next in the queue becomes the owner at once, so that nobody overtakes it. */
void writing_end(struct runtime *rt, struct lua_writer *w) {
  if (w->owner != rt->current) return;
  w->owner = waitq_empty(&w->turn) ? NULL : task_of_waiter(w->turn.head.next);
  waitq_wake_one(&w->turn);
}

int raise_writer_closed(lua_State *L, struct lua_writer *w) {
  int err = w->core.error;
  if (err) return raise_error(L, "io", err, "write: %s", uv_strerror(err));
  return raise_error(L, "closed", 0, "write: the Writer is closed");
}

void writing_flush_stdio(struct runtime *rt, struct lua_writer *w) {
  if (w->stdio && rt->before_output) rt->before_output(rt);
  if (w->stdio) fflush(w->stdio);
}

/* Hands over what goes now. The stack holds the Writer, the strings, and as last the bytes already gone. */
static size_t write_parts(lua_State *L, struct lua_writer *w, size_t gone, size_t *left) {
  int last = lua_gettop(L) - 1;
  for (;;) {
    struct iovec parts[PARTS];
    int count = 0;
    size_t skip = gone, total = 0;
    for (int i = 2; i <= last && count < PARTS; i++) {
      size_t size;
      const char *data = lua_tolstring(L, i, &size);
      if (skip >= size) {
        skip -= size;
        continue;
      }
      parts[count++] = (struct iovec){(char *)data + skip, size - skip};
      total += size - skip;
      skip = 0;
    }
    *left = total;
    if (!count) return gone;
    ssize_t n = writer_write(&w->core, parts, count);
    if (n <= 0) return gone;
    gone += (size_t)n;
  }
}

static int queue_parts(lua_State *L, struct lua_writer *w, size_t gone) {
  int last = lua_gettop(L) - 1, err = 0;
  for (int i = 2; i <= last && !err; i++) {
    size_t size;
    const char *data = lua_tolstring(L, i, &size);
    size_t skip = gone < size ? gone : size;
    gone -= skip;
    err = writer_queue(&w->core, data + skip, size - skip);
  }
  return err;
}

static size_t all_left(lua_State *L, size_t gone) {
  size_t total = 0;
  for (int i = 2; i < lua_gettop(L); i++) total += lua_rawlen(L, i);
  return total - gone;
}

/* For the Error that is about to be raised. */
static void note_written(lua_State *L, lua_Integer bytes) {
  runtime_push_hook(L, "write_cancelled");
  lua_pushinteger(L, bytes);
  lua_call(L, 1, 0);
}

static int write_k(lua_State *L, int status, lua_KContext ctx) {
  struct runtime *rt = runtime_of(L);
  struct lua_writer *w = lua_touserdata(L, 1);
  for (bool has_breathed = false;; status = LUA_YIELD) {
    size_t gone = (size_t)lua_tointeger(L, -1), left;
    enum wake wake = task_wake_reason(rt, status);
    if (task_must_raise(rt, L, wake)) {
      writing_end(rt, w);
      note_written(L, (lua_Integer)gone);
      return task_raise_wake(rt, L, wake);
    }
    if (!writing_begin(rt, w)) {
      task_park(rt, L, &w->turn, 0, ctx, write_k);
      continue;
    }
    gone = write_parts(L, w, gone, &left);
    if (w->core.fd < 0 || w->core.ending) {
      writing_end(rt, w);
      return raise_writer_closed(L, w);
    }
    left = all_left(L, gone);
    if (left && buffer_size(&w->core.queue) + left < w->core.high_water) {
      int err = queue_parts(L, w, gone);
      if (err) {
        writing_end(rt, w);
        return raise_error(L, "io", err, "write: %s", uv_strerror(err));
      }
      gone += left;
      left = 0;
    }
    if (!left && (has_breathed || runtime_may_run(rt))) {
      writing_end(rt, w);
      lua_settop(L, 1);
      return 1;
    }
    lua_pop(L, 1);
    lua_pushinteger(L, (lua_Integer)gone);
    if (!left) { /* all is out, but who never has to wait must not keep the others waiting */
      task_breathe(rt, L, ctx, write_k);
      has_breathed = true;
      continue;
    }
    writer_want(&w->core);
    task_park(rt, L, &w->core.writable, 0, ctx, write_k);
  }
}

static int f_write(lua_State *L) {
  struct runtime *rt = runtime_of(L);
  struct lua_writer *w = check_lua_writer(L);
  for (int i = lua_gettop(L); i > 1; i--) /* numbers become strings here */
    if (!lua_tostring(L, i)) raise_argument(L, i, "write", "strings or numbers");
  if (task_is_cancelled(rt, L)) note_written(L, 0);
  task_check(rt, L);
  if (w->core.fd < 0 || w->core.ending) return raise_writer_closed(L, w);
  writing_flush_stdio(rt, w);
  lua_pushinteger(L, 0);
  return write_k(L, LUA_OK, 0);
}

/* writer:_gather(string) → true if it was put into the queue, for many small writes with one system call: the queue
 * goes out when there is as much of it as a pipe holds, or when the loop turns. Else it has to be written. */
static int f_gather(lua_State *L) {
  struct lua_writer *w = check_lua_writer(L);
  struct writer *core = &w->core;
  size_t size;
  const char *data = lua_type(L, 2) == LUA_TSTRING ? lua_tolstring(L, 2, &size) : NULL;
  bool possible = data && !w->owner && !w->stdio && core->fd >= 0 && !core->ending && !core->is_file &&
                  !task_is_cancelled(runtime_of(L), L) && buffer_size(&core->queue) + size < core->high_water;
  if (possible) possible = writer_queue(core, data, size) == 0;
  if (possible && buffer_size(&core->queue) >= LOOP_BLOCK) writer_flush(core);
  lua_pushboolean(L, possible);
  return 1;
}

/* writer:_flush(): what was gathered goes now, as far as the kernel takes it. */
static int f_flush(lua_State *L) {
  writer_flush(check_writer(L, 1));
  return 0;
}

static int drain_k(lua_State *L, int status, lua_KContext ctx) {
  struct runtime *rt = runtime_of(L);
  struct lua_writer *w = lua_touserdata(L, 1);
  bool until_closed = lua_toboolean(L, 2);
  for (;; status = LUA_YIELD) {
    task_outcome(rt, L, status);
    if (w->core.fd < 0 && w->core.error) return raise_writer_closed(L, w);
    if (w->core.fd < 0 || (!until_closed && !buffer_size(&w->core.queue))) return 0;
    task_park(rt, L, &w->core.drained, 0, ctx, drain_k);
  }
}

static int drain(lua_State *L, bool until_closed) {
  struct lua_writer *w = check_lua_writer(L);
  lua_settop(L, 1);
  lua_pushboolean(L, until_closed);
  if (w->core.fd >= 0) task_check(runtime_of(L), L);
  return drain_k(L, LUA_OK, 0);
}

static int f_drain(lua_State *L) { return drain(L, false); }
static int f_wait_closed(lua_State *L) { return drain(L, true); }

static int f_write_eof(lua_State *L) {
  struct writer *w = check_writer(L, 1);
  if (!w->is_terminal) writer_end(w);
  int err = w->is_terminal ? writer_type_eof(w) : 0;
  if (err) return raise_error(L, "unsupported", err, "write_eof: the terminal has no key for the end of file");
  return 0;
}

static int f_close(lua_State *L) {
  writer_end(check_writer(L, 1));
  return drain(L, true);
}

/* As __close: what the kernel takes at once goes, the rest is dropped; it does not wait and raises nothing. */
static int f_abandon(lua_State *L) {
  struct lua_writer *w = check_lua_writer(L);
  if (!w->runtime->closed) writer_close(&w->core);
  return 0;
}

/* writer:_total() → bytes that the kernel has taken */
static int f_total(lua_State *L) {
  lua_pushinteger(L, (lua_Integer)check_writer(L, 1)->total);
  return 1;
}

static int f_is_closing(lua_State *L) {
  lua_pushboolean(L, check_writer(L, 1)->ending);
  return 1;
}

static int f_tostring(lua_State *L) {
  struct writer *w = check_writer(L, 1);
  lua_pushfstring(L, "Writer (%s, %I bytes queued)", w->fd < 0 ? "closed" : w->ending ? "closing" : "open",
                  (LUAI_UACINT)buffer_size(&w->queue));
  return 1;
}

/* Methods, and the fields. */
static int f_index(lua_State *L) {
  const char *name = lua_type(L, 2) == LUA_TSTRING ? lua_tostring(L, 2) : "";
  struct writer *w = check_writer(L, 1);
  size_t size;
  if (!strcmp(name, "buffered")) size = buffer_size(&w->queue);
  else if (!strcmp(name, "high_water")) size = w->high_water;
  else if (!strcmp(name, "low_water")) size = w->low_water;
  else {
    lua_settop(L, 2);
    lua_rawget(L, lua_upvalueindex(2));
    return 1;
  }
  lua_pushinteger(L, (lua_Integer)size);
  return 1;
}

static int f_newindex(lua_State *L) {
  struct writer *w = check_writer(L, 1);
  const char *name = lua_type(L, 2) == LUA_TSTRING ? lua_tostring(L, 2) : "";
  bool high = !strcmp(name, "high_water"), low = !strcmp(name, "low_water");
  if (!high && !low) return raise_argument(L, 2, "a Writer's field", "'high_water' or 'low_water'");
  int is_integer;
  lua_Integer size = lua_tointegerx(L, 3, &is_integer);
  if (!is_integer || size < 0 || lua_type(L, 3) != LUA_TNUMBER)
    return raise_argument(L, 3, name, "a number of bytes (0 or more)");
  if (high) w->high_water = (size_t)size;
  w->low_water = high ? (size_t)size / 4 : (size_t)size;
  return 0;
}

/* core.output(descriptor or open Lua file) → a Writer on it, which others may share. */
static int f_output(lua_State *L) {
  struct runtime *rt = runtime_of(L);
  int number = check_descriptor(L, 1), fd = -1;
  struct writer *w = push_writer(L, rt);
  /* Where no description of its own can be had, a copy of the descriptor would have to be made not blocking for
   * everybody: then writes block instead. A file is opened again by nobody: its offset is shared. */
  if (!fd_is_file(number)) fd = fd_reopen(number, O_WRONLY);
  bool blocking = fd < 0;
  if (blocking) fd = fd_duplicate(number);
  if (fd < 0) return raise_error(L, "io", fd, "output %d: %s", number, uv_strerror(fd));
  if (blocking) {
    w->fd = fd;
    w->ending = false;
    w->is_file = true;
  } else {
    writer_open(w, &rt->loop, fd);
  }
  ((struct lua_writer *)w)->stdio = number == 1 ? stdout : number == 2 ? stderr : NULL;
  runtime_renew_canary(rt, L);
  return 1;
}

static const luaL_Reg functions[] = {{"output", f_output}, {NULL, NULL}};
static const luaL_Reg methods[] = {{"write", f_write},         {"drain", f_drain},
                                   {"close", f_close},         {"write_eof", f_write_eof},
                                   {"wait_closed", f_wait_closed}, {"is_closing", f_is_closing},
                                   {"_abandon", f_abandon},    {"_gather", f_gather},
                                   {"_flush", f_flush},        {"_total", f_total},  {NULL, NULL}};
static const luaL_Reg meta[] = {{"__gc", f_abandon}, {"__close", f_abandon}, {"__tostring", f_tostring},
                               {"__newindex", f_newindex}, {NULL, NULL}};

void writer_register(lua_State *L, struct runtime *rt) {
  make_known_class(L, CLASS_WRITER, CLASS, methods, meta, rt);
  /* __index: a function over the methods, for the fields. */
  lua_getfield(L, -1, "Writer");
  lua_pushlightuserdata(L, rt);
  lua_getfield(L, -2, "__index");
  lua_pushvalue(L, -1);
  lua_setfield(L, -4, "methods");
  lua_pushcclosure(L, f_index, 2);
  lua_setfield(L, -2, "__index");
  lua_pop(L, 1);
  set_functions(L, functions, rt);
}
