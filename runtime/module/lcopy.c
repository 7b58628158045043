/* Reader, continued: copying to a Writer, by splice(2) where the kernel can, without a Lua string in any case. */
#include <poll.h>
#include <string.h>

#include "fd.h"
#include "lstream.h"

enum progress { MOVED, NEEDS_BYTES, NEEDS_ROOM, AT_END, TOO_LONG };

/* How much of what is buffered may go as one piece: all, or whole lines only. 0: more bytes are needed. */
static size_t piece_of(const struct reader *r, bool lines) {
  size_t size = buffer_size(&r->buffer);
  if (!lines || r->eof || !size) return size;
  const char *data = buffer_data(&r->buffer), *newline = memrchr(data, '\n', size);
  return newline ? (size_t)(newline - data) + 1 : 0;
}

static bool has_room(int fd) {
  struct pollfd p = {.fd = fd, .events = POLLOUT};
  return poll(&p, 1, 0) > 0;
}

static enum progress splice_some(struct reader *r, struct writer *w, size_t *moved) {
  /* A terminal's Writer has to see what is typed. */
  ssize_t n = w->is_terminal ? UV_ENOTSUP : buffer_size(&w->queue) ? UV_EAGAIN : reader_splice(r, w->fd);
  if (n == UV_EPIPE || n > 0) writer_note(w, n);
  if (n == UV_EAGAIN) return has_room(w->fd) && !buffer_size(&w->queue) ? NEEDS_BYTES : NEEDS_ROOM;
  if (n == UV_ENOTSUP) return reader_fill(r) == UV_EAGAIN ? NEEDS_BYTES : MOVED;
  if (n > 0) *moved += (size_t)n;
  return MOVED;
}

/* One step. `missing`: lines, and the last byte that was written was no newline. */
static enum progress copy_some(struct reader *r, struct writer *w, bool lines, bool *missing, size_t *moved) {
  size_t size = piece_of(r, lines);
  if (size) {
    const char *data = buffer_data(&r->buffer);
    ssize_t n = writer_write(w, &(struct iovec){(char *)data, size}, 1);
    if (n < 0) return MOVED; /* the Writer knows */
    if (n == 0) return NEEDS_ROOM;
    *missing = lines && data[n - 1] != '\n';
    reader_take(r, (size_t)n);
    *moved += (size_t)n;
    return MOVED;
  }
  if (r->eof) {
    if (!*missing || r->error) return AT_END;
    if (writer_write(w, &(struct iovec){"\n", 1}, 1) == 0) return NEEDS_ROOM;
    *missing = false;
    *moved += 1;
    return MOVED;
  }
  if (!lines) return splice_some(r, w, moved);
  if (buffer_size(&r->buffer) > LINE_LIMIT) return TOO_LONG;
  if (buffer_size(&r->buffer) >= READER_HIGH_WATER / 2) reader_demand(r, LINE_LIMIT + 1);
  return reader_fill(r) == UV_EAGAIN ? NEEDS_BYTES : MOVED;
}

static void end_copy(struct runtime *rt, struct lua_reader *r, struct lua_writer *w) {
  if (r->owner == rt->current) {
    if (!r->core.closed) reader_hold(&r->core, false);
    reading_end(r);
  }
  writing_end(rt, w);
}

/* The stack holds: Reader, Writer, lines, whether a newline is missing, how many bytes were copied. */
static int copy_k(lua_State *L, int status, lua_KContext ctx) {
  struct runtime *rt = runtime_of(L);
  struct lua_reader *r = lua_touserdata(L, 1);
  struct lua_writer *w = lua_touserdata(L, 2);
  bool lines = lua_toboolean(L, 3);
  for (;; status = LUA_YIELD) {
    enum wake wake = task_wake_reason(rt, status);
    if (task_must_raise(rt, L, wake)) {
      end_copy(rt, r, w);
      return task_raise_wake(rt, L, wake);
    }
    if (r->core.closed) {
      end_copy(rt, r, w);
      return raise_reader_closed(L, r);
    }
    if (!writing_begin(rt, w)) {
      task_park(rt, L, &w->turn, 0, ctx, copy_k);
      continue;
    }
    bool missing = lua_toboolean(L, 4);
    size_t moved = (size_t)lua_tointeger(L, 5);
    enum progress progress = MOVED;
    while (progress == MOVED && w->core.fd >= 0 && !w->core.ending && runtime_may_read(rt))
      progress = copy_some(&r->core, &w->core, lines, &missing, &moved);
    lua_settop(L, 3);
    lua_pushboolean(L, missing);
    lua_pushinteger(L, (lua_Integer)moved);
    if (w->core.fd < 0 || w->core.ending) {
      end_copy(rt, r, w);
      return raise_writer_closed(L, w);
    }
    if (progress == AT_END) {
      end_copy(rt, r, w);
      return r->core.error ? raise_stream_error(L, r) : 1;
    }
    if (progress == TOO_LONG) {
      end_copy(rt, r, w);
      return raise_limit(L, r, "a line", LINE_LIMIT);
    }
    if (!missing) writing_end(rt, w); /* others may write between two pieces, but not in the middle of a line */
    if (progress == NEEDS_ROOM) {
      writer_want(&w->core);
      task_park(rt, L, &w->core.writable, 0, ctx, copy_k);
    } else if (progress == MOVED && task_is_cancelled(rt, L)) {
      end_copy(rt, r, w);
      return task_raise_wake(rt, L, WAKE_CANCEL);
    } else if (progress == MOVED) {
      task_breathe(rt, L, ctx, copy_k);
    } else {
      reader_want(&r->core);
      task_park(rt, L, &r->core.readable, 0, ctx, copy_k);
    }
  }
}

/* reader:_copy_to(writer, lines) → the number of bytes copied, at the end of the stream. `lines`: other tasks may write
 * to the Writer at the same time, and each line stays whole; a last one without newline gets one. */
static int f_copy_to(lua_State *L) {
  struct runtime *rt = runtime_of(L);
  struct lua_reader *r = check_lua_reader(L);
  struct lua_writer *w = (struct lua_writer *)check_writer(L, 2);
  lua_settop(L, 3);
  lua_pushboolean(L, 0);
  lua_pushinteger(L, 0);
  reading_begin(L, rt, r);
  if (w->core.fd < 0 || w->core.ending) {
    reading_end(r);
    return raise_writer_closed(L, w);
  }
  if (!r->core.closed) reader_hold(&r->core, true);
  writing_flush_stdio(rt, w);
  return copy_k(L, LUA_OK, 0);
}

static const luaL_Reg methods[] = {{"_copy_to", f_copy_to}, {NULL, NULL}};

void copy_register(lua_State *L, struct runtime *rt) { set_functions(L, methods, rt); }
