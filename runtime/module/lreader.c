/* Reader: the Lua face of core/reader.h: its life, reading by count, capture. What the methods promise is said in
 * lua/corun/meta.lua. */
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "fd.h"
#include "lstream.h"

#define CLASS "corun.Reader"
#define CHUNK 65536

struct reader *push_reader(lua_State *L, struct runtime *rt) {
  struct lua_reader *r = lua_newuserdatauv(L, sizeof *r, 1); /* user value: the source of a copy */
  memset(r, 0, sizeof *r);
  r->runtime = rt;
  r->core.loop = &rt->loop;
  r->core.closed = r->core.eof = true;
  r->core.fd = r->core.spill_fd = -1;
  waitq_init(&r->core.readable);
  waitq_init(&r->core.ended);
  luaL_setmetatable(L, CLASS);
  return &r->core;
}

struct reader *check_reader(lua_State *L, int index) { return check_object(L, index, CLASS_READER, CLASS); }
struct reader *test_reader(lua_State *L, int index) { return test_object(L, index, CLASS_READER); }
struct lua_reader *check_lua_reader(lua_State *L) { return check_object(L, 1, CLASS_READER, CLASS); }

void reading_end(struct lua_reader *r) {
  r->owner = NULL;
  if (r->core.demand) reader_demand(&r->core, 0);
}

int raise_stream_error(lua_State *L, struct lua_reader *r) {
  int err = r->core.error;
  reading_end(r);
  return raise_error(L, "io", err, "read: %s", uv_strerror(err));
}

int raise_reader_closed(lua_State *L, struct lua_reader *r) {
  reading_end(r);
  return raise_error(L, "closed", 0, "read: the Reader is closed");
}

static int operation_k(lua_State *L, int status, lua_KContext ctx) {
  struct runtime *rt = runtime_of(L);
  struct lua_reader *r = lua_touserdata(L, 1);
  attempt try = (attempt)ctx;
  for (;;) {
    enum wake wake = task_wake_reason(rt, status);
    if (task_must_raise(rt, L, wake)) {
      reading_end(r);
      return task_raise_wake(rt, L, wake);
    }
    if (r->core.closed) return raise_reader_closed(L, r);
    int results = try(L, r);
    if (results != MORE) {
      reading_end(r);
      return results;
    }
    if (runtime_may_read(rt)) {
      status = LUA_OK; /* it did not wait: why it was woken is over */
      if (reader_try(&r->core) != UV_EAGAIN) continue;
      reader_await(&r->core);
      task_park(rt, L, &r->core.readable, 0, ctx, operation_k);
    } else if (task_is_cancelled(rt, L)) { /* a stream that never makes anybody wait */
      reading_end(r);
      return task_raise_wake(rt, L, WAKE_CANCEL);
    } else {
      task_breathe(rt, L, ctx, operation_k);
    }
    status = LUA_YIELD;
  }
}

void reading_begin(lua_State *L, struct runtime *rt, struct lua_reader *r) {
  task_check(rt, L);
  if (r->pushing || (r->owner && r->owner != rt->current))
    raise_error(L, "busy", 0, "read: another task is reading this Reader");
  r->owner = rt->current;
}

int reading_go_on(lua_State *L, attempt try) { return operation_k(L, LUA_OK, (lua_KContext)try); }

int operate(lua_State *L, struct lua_reader *r, attempt try) {
  reading_begin(L, runtime_of(L), r);
  return reading_go_on(L, try);
}

int push_front(lua_State *L, struct lua_reader *r, size_t size, size_t cut) {
  r->pushing = true;
  lua_pushlstring(L, buffer_data(&r->core.buffer), size - cut);
  r->pushing = false;
  reader_take(&r->core, size);
  return 1;
}

/* --- by count --- */

static size_t check_count(lua_State *L, int index, const char *what) {
  int is_integer;
  lua_Integer n = lua_tointegerx(L, index, &is_integer);
  if (!is_integer || n < 0) {
    luaL_checkany(L, index);
    raise_argument(L, index, what, "a number of bytes (0 or more)");
  }
  return (size_t)n;
}

static int try_read(lua_State *L, struct lua_reader *r) {
  size_t n = (size_t)lua_tointeger(L, 2), size = buffer_size(&r->core.buffer);
  if (size) return push_front(L, r, n < size ? n : size, 0);
  if (!r->core.eof) return MORE;
  if (r->core.error) return raise_stream_error(L, r);
  lua_pushnil(L);
  return 1;
}

static int try_read_all(lua_State *L, struct lua_reader *r) {
  if (!r->core.eof) {
    if (!r->core.demand) reader_demand(&r->core, SIZE_MAX);
    return MORE;
  }
  if (r->core.error) return raise_stream_error(L, r);
  return push_front(L, r, buffer_size(&r->core.buffer), 0);
}

static int f_read(lua_State *L) {
  struct lua_reader *r = check_lua_reader(L);
  if (lua_isnoneornil(L, 2)) {
    lua_settop(L, 1);
    return operate(L, r, try_read_all);
  }
  if (check_count(L, 2, "read") == 0) {
    lua_pushliteral(L, "");
    return 1;
  }
  lua_settop(L, 2);
  return operate(L, r, try_read);
}

int raise_incomplete(lua_State *L, struct lua_reader *r, const char *expected) {
  if (r->core.error) return raise_stream_error(L, r);
  reading_end(r);
  runtime_push_hook(L, "incomplete_error");
  lua_pushstring(L, expected);
  push_front(L, r, buffer_size(&r->core.buffer), 0);
  lua_call(L, 2, 1);
  return lua_error(L);
}

int raise_limit(lua_State *L, struct lua_reader *r, const char *what, size_t limit) {
  reading_end(r);
  return raise_error(L, "limit", 0, "%s over the limit of %I bytes (the bytes stay in the Reader)", what,
                     (LUAI_UACINT)limit);
}

static int try_read_exactly(lua_State *L, struct lua_reader *r) {
  size_t n = (size_t)lua_tointeger(L, 2), size = buffer_size(&r->core.buffer);
  if (size >= n) return push_front(L, r, n, 0);
  if (r->core.eof) return raise_incomplete(L, r, lua_pushfstring(L, "%I bytes", (LUAI_UACINT)n));
  if (!r->core.demand) reader_demand(&r->core, n);
  return MORE;
}

static int f_read_exactly(lua_State *L) {
  struct lua_reader *r = check_lua_reader(L);
  lua_settop(L, 2);
  check_count(L, 2, "read_exactly");
  return operate(L, r, try_read_exactly);
}

static int try_peek(lua_State *L, struct lua_reader *r) {
  size_t n = (size_t)lua_tointeger(L, 2), size = buffer_size(&r->core.buffer);
  if (size < n && !r->core.eof) {
    if (!r->core.demand) reader_demand(&r->core, n);
    return MORE;
  }
  if (!size && r->core.error) return raise_stream_error(L, r);
  if (size) lua_pushlstring(L, buffer_data(&r->core.buffer), size < n ? size : n);
  else lua_pushnil(L);
  return 1;
}

static int f_peek(lua_State *L) {
  struct lua_reader *r = check_lua_reader(L);
  lua_settop(L, 2);
  size_t n = check_count(L, 2, "peek");
  if (n == 0) {
    lua_pushliteral(L, "");
    return 1;
  }
  lua_settop(L, 2);
  return operate(L, r, try_peek);
}

static int try_at_eof(lua_State *L, struct lua_reader *r) {
  size_t size = buffer_size(&r->core.buffer);
  if (!size && !r->core.eof) return MORE;
  lua_pushboolean(L, !size);
  return 1;
}

static int f_at_eof(lua_State *L) { return operate(L, check_lua_reader(L), try_at_eof); }

/* --- by pieces --- */

static int f_next_chunk(lua_State *L) {
  lua_settop(L, 0);
  lua_pushvalue(L, lua_upvalueindex(2));
  lua_pushvalue(L, lua_upvalueindex(3));
  return operate(L, lua_touserdata(L, 1), try_read);
}

static int f_chunks(lua_State *L) {
  check_lua_reader(L);
  int is_integer = 1;
  lua_Integer n = lua_isnoneornil(L, 2) ? CHUNK : lua_tointegerx(L, 2, &is_integer);
  if (!is_integer || n <= 0) raise_argument(L, 2, "chunks", "a number of bytes (1 or more)");
  lua_pushlightuserdata(L, runtime_of(L));
  lua_pushvalue(L, 1);
  lua_pushinteger(L, n);
  lua_pushcclosure(L, f_next_chunk, 3);
  return 1;
}

/* --- capture, for run and communicate --- */

/* reader:_capture(limit, "error"|"truncate"|"spill") */
static int f_capture(lua_State *L) {
  static const char *const names[] = {"error", "truncate", "spill", NULL};
  static const enum reader_overflow values[] = {READER_FAIL, READER_TRUNCATE, READER_SPILL};
  size_t limit = check_count(L, 2, "capture");
  reader_capture(check_reader(L, 1), limit, values[luaL_checkoption(L, 3, "error", names)]);
  return 0;
}

/* reader:_status() → ended, overflowed, total, omitted, active_at (of core.now), error code or nil,
 * whether it has spilled more than its limit */
static int f_status(lua_State *L) {
  struct reader *r = check_reader(L, 1);
  lua_pushboolean(L, r->eof);
  lua_pushboolean(L, r->overflowed);
  lua_pushinteger(L, (lua_Integer)r->total);
  lua_pushinteger(L, (lua_Integer)r->omitted);
  lua_pushnumber(L, (lua_Number)r->active_at / 1e9);
  if (r->error) lua_pushstring(L, uv_err_name(r->error));
  else lua_pushnil(L);
  lua_pushboolean(L, reader_is_over(r));
  return 7;
}

/* Bytes that were spilled, though within the limit, come back from the file. */
static int push_spilled(lua_State *L, const struct reader *r, size_t size) {
  luaL_Buffer b;
  char *room = luaL_buffinitsize(L, &b, r->spilled + size);
  for (uint64_t done = 0; done < r->spilled;) {
    ssize_t n = pread(r->spill_fd, room + done, r->spilled - done, (off_t)done);
    if (n <= 0) return raise_error(L, "io", UV_EIO, "spill: the temporary file cannot be read");
    done += (uint64_t)n;
  }
  memcpy(room + r->spilled, buffer_data(&r->buffer), size);
  luaL_pushresultsize(&b, r->spilled + size);
  return 1;
}

/* reader:_captured(and_close) → all that was kept, as a string (false where it has spilled more than its limit: then it
 * is not closed), how many bytes are left out, error code or nil. Without `and_close` it stays. */
static int f_captured(lua_State *L) {
  struct reader *r = check_reader(L, 1);
  reader_trim(r);
  size_t size = buffer_size(&r->buffer);
  if (r->overflow == READER_FAIL && size > r->high_water - 1) size = r->high_water - 1;
  if (reader_is_over(r)) lua_pushboolean(L, 0);
  else if (r->spilled) push_spilled(L, r, size);
  else lua_pushlstring(L, buffer_data(&r->buffer), size);
  lua_pushinteger(L, reader_is_over(r) ? 0 : (lua_Integer)r->omitted);
  if (r->error) lua_pushstring(L, uv_err_name(r->error));
  else lua_pushnil(L);
  if (lua_toboolean(L, 2) && !reader_is_over(r)) reader_close(r);
  return 3;
}

/* reader:_spilled() → a Reader over the temporary file; what is still in memory goes there first. */
static int f_spilled(lua_State *L) {
  struct runtime *rt = runtime_of(L);
  struct reader *r = check_reader(L, 1);
  struct reader *file = push_reader(L, rt);
  if (r->spill_fd < 0) return raise_error(L, "closed", 0, "spill: nothing was spilled");
  int fd = fd_reopen(r->spill_fd, 0);
  if (fd < 0) fd = fd_duplicate(r->spill_fd);
  if (fd < 0) return raise_error(L, "io", fd, "spill: %s", uv_strerror(fd));
  while (buffer_size(&r->buffer)) {
    ssize_t n = write(r->spill_fd, buffer_data(&r->buffer), buffer_size(&r->buffer));
    if (n <= 0) {
      fd_close(&fd);
      return raise_error(L, "io", UV_EIO, "spill: the temporary file cannot be written");
    }
    reader_take(r, (size_t)n);
    r->spilled += (uint64_t)n;
  }
  lseek(fd, 0, SEEK_SET);
  reader_open(file, &rt->loop, fd);
  return 1;
}

/* reader:_copy() → a Reader that gets the same bytes from now on. */
static int f_copy(lua_State *L) {
  struct reader *r = check_reader(L, 1);
  if (r->closed) return raise_error(L, "closed", 0, "tee: the Reader is closed");
  if (r->copy) return raise_error(L, "busy", 0, "tee: the Reader has a copy already");
  reader_open_copy(push_reader(L, runtime_of(L)), r);
  lua_pushvalue(L, 1);
  lua_setiuservalue(L, -2, 1);
  return 1;
}

/* reader:_is_closed() */
static int f_is_closed(lua_State *L) {
  lua_pushboolean(L, check_reader(L, 1)->closed);
  return 1;
}

/* reader:_can_detach() → true while its descriptor could still be handed to a child: nothing was read ahead, and its end
 * is one for others, too (of a pty it is EIO). */
static int f_can_detach(lua_State *L) {
  struct reader *r = check_reader(L, 1);
  lua_pushboolean(L, r->fd >= 0 && !r->is_pty && !buffer_size(&r->buffer) && !r->copy && r->overflow == READER_WAIT);
  return 1;
}

/* reader:_check_free(): raises as a read would before it reads. */
static int f_check_free(lua_State *L) {
  struct lua_reader *r = check_lua_reader(L);
  reading_begin(L, runtime_of(L), r);
  if (r->core.closed) return raise_reader_closed(L, r);
  reading_end(r);
  return 0;
}

/* reader:_end_copy() */
static int f_end_copy(lua_State *L) {
  reader_end_copy(check_reader(L, 1));
  return 0;
}

/* reader:_fd() → the descriptor's number, or nil */
static int f_fd(lua_State *L) {
  struct reader *r = check_reader(L, 1);
  if (r->fd < 0) return 0;
  lua_pushinteger(L, r->fd);
  return 1;
}

/* reader:_position() → how many bytes were taken since it was opened */
static int f_position(lua_State *L) {
  lua_pushinteger(L, (lua_Integer)reader_position(check_reader(L, 1)));
  return 1;
}

/* --- life --- */

int check_descriptor(lua_State *L, int index) {
  luaL_Stream *stream = luaL_testudata(L, index, LUA_FILEHANDLE);
  if (!stream) return (int)luaL_checkinteger(L, index);
  if (!stream->closef) return luaL_argerror(L, index, "the file is closed");
  fflush(stream->f);
  return fileno(stream->f);
}

/* A task that waits in it gets kind "closed". A second close is a quiet no-op. */
static int f_close(lua_State *L) {
  reader_close(check_reader(L, 1));
  return 0;
}

static int f_tostring(lua_State *L) {
  struct reader *r = check_reader(L, 1);
  lua_pushfstring(L, "Reader (%s, %I bytes buffered)", r->closed ? "closed" : r->eof ? "at its end" : "open",
                  (LUAI_UACINT)buffer_size(&r->buffer));
  return 1;
}

static int f_gc(lua_State *L) {
  struct lua_reader *r = check_lua_reader(L);
  if (r->runtime->closed) return 0;
  reader_close(&r->core);
  return 0;
}

/* core.input(descriptor or open Lua file) → a Reader on it, which others may share: a description of its own, if
 * possible.
 */
static int f_input(lua_State *L) {
  struct runtime *rt = runtime_of(L);
  int number = check_descriptor(L, 1), fd = -1;
  struct reader *r = push_reader(L, rt);
  if (!fd_is_file(number)) fd = fd_reopen(number, 0 /* O_RDONLY */);
  if (fd < 0) fd = fd_duplicate(number); /* a file (the offset is shared, as with any reader of it) or a socket */
  if (fd < 0) return raise_error(L, "io", fd, "input %d: %s", number, uv_strerror(fd));
  reader_open(r, &rt->loop, fd);
  r->lazy = isatty(fd);
  if (tcgetpgrp(fd) >= 0) reader_is_our_terminal(r);
  reader_start(r); /* its error is the stream's */
  runtime_renew_canary(rt, L);
  return 1;
}

/* core.string_reader(string) → a Reader at its end, with these bytes left in it */
static int f_string_reader(lua_State *L) {
  struct runtime *rt = runtime_of(L);
  size_t size;
  const char *data = luaL_checklstring(L, 1, &size);
  struct reader *r = push_reader(L, rt);
  r->closed = false;
  r->total = size;
  if (buffer_append(&rt->loop, &r->buffer, data, size)) return luaL_error(L, "not enough memory");
  runtime_renew_canary(rt, L);
  return 1;
}

static const luaL_Reg functions[] = {{"input", f_input}, {"string_reader", f_string_reader}, {NULL, NULL}};
static const luaL_Reg methods[] = {
    {"read", f_read},           {"read_exactly", f_read_exactly}, {"peek", f_peek},
    {"at_eof", f_at_eof},       {"chunks", f_chunks},             {"close", f_close},
    {"_capture", f_capture},    {"_status", f_status},            {"_captured", f_captured},
    {"_spilled", f_spilled},    {"_copy", f_copy},                {"_end_copy", f_end_copy},
    {"_fd", f_fd},              {"_can_detach", f_can_detach},    {"_is_closed", f_is_closed},
    {"_position", f_position},  {"_check_free", f_check_free},    {NULL, NULL}};
static const luaL_Reg meta[] = {{"__gc", f_gc}, {"__close", f_close}, {"__tostring", f_tostring}, {NULL, NULL}};

void reader_register(lua_State *L, struct runtime *rt) {
  make_known_class(L, CLASS_READER, CLASS, methods, meta, rt);
  lua_getfield(L, -1, "Reader");
  lua_getfield(L, -1, "__index");
  records_register(L, rt);
  expect_register(L, rt);
  copy_register(L, rt);
  lua_pop(L, 2);
  set_functions(L, functions, rt);
}
