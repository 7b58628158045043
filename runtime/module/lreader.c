/* Reader: the Lua face of core/reader.h. Each reading method is an attempt on the buffer, repeated until it says that
 * it is done. What the methods promise is said in lua/corun/meta.lua. */
#include "reader.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "fd.h"
#include "runtime.h"

#define CLASS "corun.Reader"
#define LINE_LIMIT (64 << 20)
#define CHUNK 65536
#define SEPARATOR_KEPT 16

enum { KEEP = 1, CRLF = 2 };

struct lua_reader {
  struct reader core; /* first: a pointer to one is a pointer to the other */
  struct runtime *runtime;
  struct task *owner; /* the task in the middle of an operation, or NULL */
  char separator[SEPARATOR_KEPT]; /* what core.searched is about */
  size_t separator_size;
};

/* An attempt: the number of results once it is done, or MORE. At the end of the stream it is always done. */
enum { MORE = -1 };
typedef int (*attempt)(lua_State *L, struct lua_reader *r);

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

struct reader *check_reader(lua_State *L, int index) { return luaL_checkudata(L, index, CLASS); }
struct reader *test_reader(lua_State *L, int index) { return luaL_testudata(L, index, CLASS); }
static struct lua_reader *check(lua_State *L) { return luaL_checkudata(L, 1, CLASS); }

static void release(struct lua_reader *r) {
  r->owner = NULL;
  if (r->core.demand) reader_demand(&r->core, 0);
}

static int raise_end(lua_State *L, struct lua_reader *r) {
  int err = r->core.error;
  release(r);
  return raise_error(L, "io", err, "read: %s", uv_strerror(err));
}

static int operation_k(lua_State *L, int status, lua_KContext ctx) {
  struct runtime *rt = runtime_of(L);
  struct lua_reader *r = lua_touserdata(L, 1);
  attempt try = (attempt)ctx;
  for (;;) {
    enum wake wake = task_wake_reason(rt, status);
    if (task_must_raise(rt, L, wake)) {
      release(r);
      return task_raise_wake(rt, L, wake);
    }
    if (r->core.closed) {
      release(r);
      return raise_error(L, "closed", 0, "read: the Reader is closed");
    }
    int results = try(L, r);
    if (results != MORE) {
      release(r);
      return results;
    }
    if (runtime_may_read(rt)) {
      status = LUA_OK; /* it did not wait: why it was woken is over */
      if (reader_fill(&r->core) != UV_EAGAIN) continue;
      task_park(rt, L, &r->core.readable, 0, ctx, operation_k);
    } else {
      task_breathe(rt, L, ctx, operation_k);
    }
    status = LUA_YIELD;
  }
}

static void begin(lua_State *L, struct runtime *rt, struct lua_reader *r) {
  task_check(rt, L);
  if (r->owner && r->owner != rt->current)
    raise_error(L, "busy", 0, "read: another task is reading this Reader");
  r->owner = rt->current;
}

static int operate(lua_State *L, struct lua_reader *r, attempt try) {
  begin(L, runtime_of(L), r);
  return operation_k(L, LUA_OK, (lua_KContext)try);
}

/* Pushes `size` bytes from the front, less `cut` of them at the end, and takes them all. In this order: the push may
 * raise, and then nothing is lost. */
static int push_front(lua_State *L, struct lua_reader *r, size_t size, size_t cut) {
  lua_pushlstring(L, buffer_data(&r->core.buffer), size - cut);
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
  if (r->core.error) return raise_end(L, r);
  lua_pushnil(L);
  return 1;
}

static int try_read_all(lua_State *L, struct lua_reader *r) {
  if (!r->core.eof) {
    if (!r->core.demand) reader_demand(&r->core, SIZE_MAX);
    return MORE;
  }
  if (r->core.error) return raise_end(L, r);
  return push_front(L, r, buffer_size(&r->core.buffer), 0);
}

static int f_read(lua_State *L) {
  struct lua_reader *r = check(L);
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

static int raise_incomplete(lua_State *L, struct lua_reader *r, const char *expected) {
  if (r->core.error) return raise_end(L, r);
  release(r);
  runtime_push_hook(L, "incomplete_error");
  lua_pushstring(L, expected);
  push_front(L, r, buffer_size(&r->core.buffer), 0);
  lua_call(L, 2, 1);
  return lua_error(L);
}

static int try_read_exactly(lua_State *L, struct lua_reader *r) {
  size_t n = (size_t)lua_tointeger(L, 2), size = buffer_size(&r->core.buffer);
  if (size >= n) return push_front(L, r, n, 0);
  if (r->core.eof) return raise_incomplete(L, r, lua_pushfstring(L, "%I bytes", (LUAI_UACINT)n));
  if (!r->core.demand) reader_demand(&r->core, n);
  return MORE;
}

static int f_read_exactly(lua_State *L) {
  struct lua_reader *r = check(L);
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
  if (!size && r->core.error) return raise_end(L, r);
  if (size) lua_pushlstring(L, buffer_data(&r->core.buffer), size < n ? size : n);
  else lua_pushnil(L);
  return 1;
}

static int f_peek(lua_State *L) {
  struct lua_reader *r = check(L);
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

static int f_at_eof(lua_State *L) { return operate(L, check(L), try_at_eof); }

/* --- by separator; the stack holds: Reader, flags, limit, separator (nil: newline) --- */

static int push_record(lua_State *L, struct lua_reader *r, size_t at, size_t sep_size, lua_Integer flags) {
  size_t cut = flags & KEEP ? 0 : sep_size;
  if ((flags & CRLF) && cut && at && buffer_data(&r->core.buffer)[at - 1] == '\r') cut++;
  return push_front(L, r, at + sep_size, cut);
}

static int try_record(lua_State *L, struct lua_reader *r) {
  lua_Integer flags = lua_tointeger(L, 2);
  size_t limit = (size_t)lua_tointeger(L, 3), sep_size = 1;
  const char *sep = lua_isnil(L, 4) ? "\n" : lua_tolstring(L, 4, &sep_size);
  bool is_line = lua_isnil(L, 4);
  size_t at = reader_find(&r->core, sep, sep_size);
  if (at != SIZE_MAX && at <= limit) return push_record(L, r, at, sep_size, flags);
  size_t size = buffer_size(&r->core.buffer);
  if (at != SIZE_MAX || size > limit) {
    release(r);
    return raise_error(L, "limit", 0, "%s over the limit of %I bytes (the bytes stay in the Reader)",
                       is_line ? "a line" : "a record", (LUAI_UACINT)limit);
  }
  if (!r->core.eof) {
    /* Room for the separator and one byte more, which proves that there is none within the limit. */
    if (size >= READER_HIGH_WATER / 2 && !r->core.demand) reader_demand(&r->core, limit + sep_size + 1);
    return MORE;
  }
  if (r->core.error) return raise_end(L, r);
  if (!is_line) return raise_incomplete(L, r, "a separator");
  if (size) return push_front(L, r, size, 0);
  lua_pushnil(L);
  return 1;
}

/* The option on top of the stack. */
static bool boolean_option(lua_State *L, const char *what, const char *name) {
  int value = lua_gettop(L);
  if (!lua_isboolean(L, value))
    raise_argument(L, value, lua_pushfstring(L, "%s: option '%s'", what, name), "true or false");
  return lua_toboolean(L, value);
}

/* Replaces what is above `index` by flags, limit and separator, from the options table at `index` (or nil). */
static void read_options(lua_State *L, int index, const char *what, bool with_crlf) {
  lua_Integer flags = 0, limit = LINE_LIMIT;
  if (!lua_isnoneornil(L, index)) {
    if (!lua_istable(L, index)) raise_argument(L, index, what, "a table of options");
    lua_pushnil(L); /* names at index + 1, values at index + 2 */
    while (lua_next(L, index)) {
      const char *name = lua_type(L, -2) == LUA_TSTRING ? lua_tostring(L, -2) : "?";
      if (!strcmp(name, "keep")) {
        flags |= boolean_option(L, what, name) ? KEEP : 0;
      } else if (with_crlf && !strcmp(name, "crlf")) {
        flags |= boolean_option(L, what, name) ? CRLF : 0;
      } else if (!strcmp(name, "limit")) {
        int is_integer;
        limit = lua_tointegerx(L, -1, &is_integer);
        if (!is_integer || limit < 0) raise_argument(L, index + 2, lua_pushfstring(L, "%s: option 'limit'", what), "a number of bytes (0 or more)");
      } else {
        raise_argument(L, index + 1, lua_pushfstring(L, "%s: option", what),
                       with_crlf ? "'keep', 'crlf' or 'limit'" : "'keep' or 'limit'");
      }
      lua_pop(L, 1);
    }
  }
  lua_pushinteger(L, flags);
  lua_pushinteger(L, limit);
}

/* Remembers the separator; what was searched for another one has to be searched again. */
static void use_separator(struct lua_reader *r, const char *sep, size_t size) {
  if (r->separator_size == size && size <= SEPARATOR_KEPT && !memcmp(r->separator, sep, size)) return;
  r->core.searched = 0;
  r->separator_size = size;
  if (size <= SEPARATOR_KEPT) memcpy(r->separator, sep, size);
}

static int f_read_line(lua_State *L) {
  struct lua_reader *r = check(L);
  lua_settop(L, 2);
  read_options(L, 2, "read_line", true);
  lua_remove(L, 2);
  lua_pushnil(L);
  use_separator(r, "\n", 1);
  return operate(L, r, try_record);
}

/* reader:_try_line(options) → line | nil at the end | false when there is none yet */
static int f_try_line(lua_State *L) {
  struct lua_reader *r = check(L);
  lua_settop(L, 2);
  read_options(L, 2, "lines", true);
  lua_remove(L, 2);
  lua_pushnil(L);
  use_separator(r, "\n", 1);
  begin(L, runtime_of(L), r);
  int results = try_record(L, r);
  r->owner = NULL;
  if (results != MORE) return results;
  lua_pushboolean(L, 0);
  return 1;
}

static int f_read_until(lua_State *L) {
  struct lua_reader *r = check(L);
  size_t size = 0;
  lua_settop(L, 3);
  const char *sep = lua_type(L, 2) == LUA_TSTRING ? lua_tolstring(L, 2, &size) : NULL;
  if (!size) raise_argument(L, 2, "read_until", "a separator of one byte or more");
  read_options(L, 3, "read_until", false);
  lua_remove(L, 3);
  lua_rotate(L, 2, -1); /* Reader, flags, limit, separator */
  use_separator(r, sep, size);
  return operate(L, r, try_record);
}

/* The iterator of lines(): upvalues are runtime, Reader, flags, limit. The first part is the hot path of corun: a line
 * that is in the buffer costs a memchr and the string. */
static int f_next_line(lua_State *L) {
  struct runtime *rt = runtime_of(L);
  struct lua_reader *r = lua_touserdata(L, lua_upvalueindex(2));
  if (!r->owner && rt->current && !rt->current->cancelled && r->separator_size == 1 && *r->separator == '\n') {
    size_t at = reader_find(&r->core, "\n", 1);
    if (at != SIZE_MAX && at <= (size_t)lua_tointeger(L, lua_upvalueindex(4)))
      return push_record(L, r, at, 1, lua_tointeger(L, lua_upvalueindex(3)));
  }
  lua_settop(L, 0);
  for (int i = 2; i <= 4; i++) lua_pushvalue(L, lua_upvalueindex(i));
  lua_pushnil(L);
  use_separator(r, "\n", 1);
  return operate(L, r, try_record);
}

static int f_lines(lua_State *L) {
  check(L);
  lua_settop(L, 2);
  read_options(L, 2, "lines", true);
  lua_remove(L, 2);
  lua_pushlightuserdata(L, runtime_of(L));
  lua_insert(L, 1);
  lua_pushcclosure(L, f_next_line, 4);
  return 1;
}

static int f_next_chunk(lua_State *L) {
  lua_settop(L, 0);
  lua_pushvalue(L, lua_upvalueindex(2));
  lua_pushvalue(L, lua_upvalueindex(3));
  return operate(L, lua_touserdata(L, 1), try_read);
}

static int f_chunks(lua_State *L) {
  check(L);
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

/* reader:_status() → ended, overflowed, total, omitted, active_at (of core.now), error code or nil, spilled */
static int f_status(lua_State *L) {
  struct reader *r = check_reader(L, 1);
  lua_pushboolean(L, r->eof);
  lua_pushboolean(L, r->overflowed);
  lua_pushinteger(L, (lua_Integer)r->total);
  lua_pushinteger(L, (lua_Integer)r->omitted);
  lua_pushnumber(L, (lua_Number)r->active_at / 1e9);
  if (r->error) lua_pushstring(L, uv_err_name(r->error));
  else lua_pushnil(L);
  lua_pushboolean(L, r->spill_fd >= 0);
  return 7;
}

/* reader:_captured() → all that was kept, as a string; it stays. */
static int f_captured(lua_State *L) {
  struct reader *r = check_reader(L, 1);
  reader_trim(r);
  size_t size = buffer_size(&r->buffer);
  if (r->overflow == READER_FAIL && size > r->high_water - 1) size = r->high_water - 1;
  lua_pushlstring(L, buffer_data(&r->buffer), size);
  return 1;
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
  }
  lseek(fd, 0, SEEK_SET);
  reader_open(file, &rt->loop, fd);
  return 1;
}

/* reader:_copy() → a Reader that gets the same bytes from now on. */
static int f_copy(lua_State *L) {
  struct reader *r = check_reader(L, 1);
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

/* reader:_can_detach() → true while its descriptor could still be handed to a child: nothing was read ahead. */
static int f_can_detach(lua_State *L) {
  struct reader *r = check_reader(L, 1);
  lua_pushboolean(L, r->fd >= 0 && !buffer_size(&r->buffer) && !r->copy && r->overflow == READER_WAIT);
  return 1;
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

/* --- life --- */

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
  struct lua_reader *r = check(L);
  if (r->runtime->closed) return 0;
  reader_close(&r->core);
  return 0;
}

/* core.stdin() → a Reader on our standard input, which others may share: a description of its own, if possible. */
static int f_stdin(lua_State *L) {
  struct runtime *rt = runtime_of(L);
  struct reader *r = push_reader(L, rt);
  int fd = -1;
  if (!fd_is_file(0)) {
    fd = fd_reopen(0, 0 /* O_RDONLY */);
  }
  if (fd < 0) fd = fd_duplicate(0); /* a file (the offset is shared, as with any reader of it) or a socket */
  if (fd < 0) return raise_error(L, "io", fd, "stdin: %s", uv_strerror(fd));
  reader_open(r, &rt->loop, fd);
  reader_start(r); /* its error is the stream's */
  runtime_renew_canary(rt, L);
  return 1;
}

static const luaL_Reg functions[] = {{"stdin", f_stdin}, {NULL, NULL}};
static const luaL_Reg methods[] = {
    {"read", f_read},           {"read_exactly", f_read_exactly}, {"peek", f_peek},       {"at_eof", f_at_eof},
    {"read_line", f_read_line}, {"read_until", f_read_until},     {"lines", f_lines},     {"chunks", f_chunks},
    {"close", f_close},         {"_capture", f_capture},          {"_status", f_status},  {"_captured", f_captured},
    {"_spilled", f_spilled},    {"_copy", f_copy},                {"_fd", f_fd}, {"_end_copy", f_end_copy},              {"_try_line", f_try_line},
    {"_can_detach", f_can_detach},
    {"_is_closed", f_is_closed}, {NULL, NULL}};
static const luaL_Reg meta[] = {{"__gc", f_gc}, {"__close", f_close}, {"__tostring", f_tostring}, {NULL, NULL}};

void reader_register(lua_State *L, struct runtime *rt) {
  make_class(L, CLASS, methods, meta, rt);
  set_functions(L, functions, rt);
}
