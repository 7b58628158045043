/* Terminals: those of children (core/pty.h), and raw mode of our own (core/rawmode.h). What the methods promise is said
 * in lua/corun/terminal.lua. */
#include <string.h>
#include <unistd.h>

#include "fd.h"
#include "lstream.h"
#include "pty.h"
#include "rawmode.h"
#include "terminal.h"

#define CLASS "corun.core.Terminal"

/* --- the start --- */

static lua_Integer item(lua_State *L, int index, int at) {
  lua_rawgeti(L, index, at);
  lua_Integer value = lua_isboolean(L, -1) ? lua_toboolean(L, -1) : lua_tointeger(L, -1);
  lua_pop(L, 1);
  return value;
}

int terminal_open(lua_State *L, struct runtime *rt, int plan, int streams) {
  lua_getfield(L, plan, "pty");
  int wanted = lua_gettop(L);
  struct pty_size size = {(unsigned short)item(L, wanted, 1), (unsigned short)item(L, wanted, 2)};
  bool echo = item(L, wanted, 3);
  lua_getfield(L, plan, "typed");
  bool typed = lua_toboolean(L, -1);
  lua_getfield(L, plan, "uid");
  lua_Integer uid = luaL_optinteger(L, -1, -1);
  struct writer *w = typed ? push_writer(L, rt) : NULL; /* both before there is a descriptor to lose */
  if (w) lua_rawseti(L, streams, 0);
  struct reader *r = push_reader(L, rt);
  lua_setfield(L, streams, "terminal");
  lua_settop(L, wanted - 1);
  struct pty pty;
  int err = pty_open(&pty, size, echo);
  if (err) return err;
  reader_open(r, &rt->loop, pty.master);
  reader_set_pty(r);
  int copy = w ? fd_duplicate(pty.master) : 0;
  if (copy < 0) { /* the Reader is closed by the start that fails */
    fd_close(&pty.slave);
    return copy;
  }
  if (w) writer_open_terminal(w, &rt->loop, copy);
  /* Who opens it again by its name (ttyname) has to be allowed to. Where this cannot be, the change of user fails. */
  int refused = uid >= 0 ? fchown(pty.slave, (uid_t)uid, (gid_t)-1) : 0;
  (void)refused;
  return pty.slave;
}

/* --- the terminal of a running child: its Reader and Writer, and what else can be done with it --- */

struct terminal {
  struct reader *reader; /* both are its user values */
  struct writer *writer; /* NULL where nothing can be typed */
};

/* core.terminal(reader, writer or nil) → a Terminal, which has no descriptor of its own */
static int f_terminal(lua_State *L) {
  struct reader *r = check_reader(L, 1);
  struct writer *w = lua_isnoneornil(L, 2) ? NULL : check_writer(L, 2);
  lua_settop(L, 2);
  struct terminal *t = lua_newuserdatauv(L, sizeof *t, 2);
  *t = (struct terminal){r, w};
  luaL_setmetatable(L, CLASS);
  for (int i = 1; i <= 2; i++) {
    lua_pushvalue(L, i);
    lua_setiuservalue(L, -2, i);
  }
  return 1;
}

static struct terminal *check_terminal(lua_State *L) { return luaL_checkudata(L, 1, CLASS); }

/* A descriptor of its master, or -1 where it has ended: nobody has it open, or we have hung up. */
static int master_of(const struct terminal *t) {
  if (t->reader->eof && !t->reader->closed) return -1;
  return t->reader->fd >= 0 ? t->reader->fd : t->writer ? t->writer->fd : -1;
}

static int push_done(lua_State *L, const char *what, int err) {
  if (err) return raise_error(L, "io", err, "%s: %s", what, uv_strerror(err));
  lua_pushboolean(L, 1);
  return 1;
}

/* terminal:is_open() */
static int f_is_open(lua_State *L) {
  lua_pushboolean(L, master_of(check_terminal(L)) >= 0);
  return 1;
}

/* terminal:resize(rows, columns) → true; nil where the terminal has ended; so the next one */
static int f_resize(lua_State *L) {
  int fd = master_of(check_terminal(L));
  struct pty_size size = {(unsigned short)luaL_checkinteger(L, 2), (unsigned short)luaL_checkinteger(L, 3)};
  return fd < 0 ? 0 : push_done(L, "resize", pty_resize(fd, size));
}

/* terminal:set_echo(boolean) */
static int f_set_echo(lua_State *L) {
  int fd = master_of(check_terminal(L));
  return fd < 0 ? 0 : push_done(L, "echo", pty_set_echo(fd, lua_toboolean(L, 2)));
}

/* terminal:echoes() → boolean; nil where the terminal has ended */
static int f_echoes(lua_State *L) {
  int fd = master_of(check_terminal(L));
  if (fd < 0) return 0;
  int on = pty_echoes(fd);
  if (on < 0) return push_done(L, "echo", on);
  lua_pushboolean(L, on);
  return 1;
}

/* terminal:hang_up(): closes the master. What the session has written so far can still be read. */
static int f_hang_up(lua_State *L) {
  struct terminal *t = check_terminal(L);
  while (!t->reader->eof && t->reader->fd >= 0 && buffer_size(&t->reader->buffer) < READER_HIGH_WATER)
    if (reader_fill(t->reader) <= 0) break;
  reader_end(t->reader);
  if (t->writer) writer_close(t->writer);
  return 0;
}

/* --- our own terminal --- */

/* core.raw_mode(boolean): of the terminal on descriptor 0. Its end raises nothing. core.raw_mode("again"): after a stop. */
static int f_raw_mode(lua_State *L) {
  if (lua_type(L, 1) == LUA_TSTRING) {
    rawmode_again();
    return 0;
  }
  if (!lua_toboolean(L, 1)) {
    rawmode_end();
    return 0;
  }
  int err = terminal_is_lent() ? UV_EBUSY : rawmode_begin(0);
  if (err == UV_EBUSY) return raise_error(L, "busy", 0, "interact: the terminal is handed to another process already");
  if (err) return raise_error(L, "unsupported", err, "interact: our stdin is no terminal: %s", uv_strerror(err));
  return 0;
}

/* core.window_size() → rows, columns of the terminal on descriptor 0; nil where it has none */
static int f_window_size(lua_State *L) {
  struct pty_size size;
  if (pty_get_size(0, &size) || !size.rows || !size.columns) return 0;
  lua_pushinteger(L, size.rows);
  lua_pushinteger(L, size.columns);
  return 2;
}

/* The stack holds: Reader, the byte, most bytes. */
static int try_read_to_key(lua_State *L, struct lua_reader *r) {
  size_t size = buffer_size(&r->core.buffer), most = (size_t)lua_tointeger(L, 3);
  if (!size && !r->core.eof) return MORE;
  if (!size && r->core.error) return raise_stream_error(L, r);
  if (!size) return 0;
  if (size > most) size = most;
  const char *data = buffer_data(&r->core.buffer);
  const char *at = lua_isnil(L, 2) ? NULL : memchr(data, (int)lua_tointeger(L, 2), size);
  size_t taken = at ? (size_t)(at - data) + 1 : size;
  push_front(L, r, taken, at ? 1 : 0);
  lua_pushboolean(L, at != NULL);
  return 2;
}

/* reader:_read_to_key(byte or nil, most) → what came before that byte, and whether it came: then it is taken, and what
 * follows is not. Nothing at the end. */
static int f_read_to_key(lua_State *L) {
  struct lua_reader *r = check_lua_reader(L);
  lua_settop(L, 3);
  return operate(L, r, try_read_to_key);
}

static const luaL_Reg functions[] = {
    {"terminal", f_terminal}, {"raw_mode", f_raw_mode}, {"window_size", f_window_size}, {NULL, NULL}};
static const luaL_Reg methods[] = {{"is_open", f_is_open}, {"resize", f_resize},   {"set_echo", f_set_echo},
                                   {"echoes", f_echoes},   {"hang_up", f_hang_up}, {NULL, NULL}};
static const luaL_Reg reader_methods[] = {{"_read_to_key", f_read_to_key}, {NULL, NULL}};
static const luaL_Reg no_meta[] = {{NULL, NULL}};

void pty_register(lua_State *L, struct runtime *rt) {
  make_class(L, CLASS, methods, no_meta, rt);
  lua_getfield(L, -1, "Reader");
  lua_getfield(L, -1, "__index");
  set_functions(L, reader_methods, rt);
  lua_pop(L, 2);
  set_functions(L, functions, rt);
}
