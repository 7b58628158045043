/* What is known of a process: the Lua face of what core/process.h reads from /proc, and of the kernel's accounting. */
#include <fcntl.h>
#include <sys/resource.h>

#include "process.h"
#include "runtime.h"

#define CLASS "corun.core.Process"
#define FILES_CLASS "corun.core.Files"

/* --- usage --- */

static void set_number(lua_State *L, const char *name, lua_Number value) {
  lua_pushnumber(L, value);
  lua_setfield(L, -2, name);
}

static void set_integer(lua_State *L, const char *name, lua_Integer value) {
  if (value < 0) return; /* not known */
  lua_pushinteger(L, value);
  lua_setfield(L, -2, name);
}

static double seconds_of(struct timeval t) { return (double)t.tv_sec + (double)t.tv_usec / 1e6; }

static void push_final(lua_State *L, const struct rusage *u) {
  lua_createtable(L, 0, 9);
  set_number(L, "user_time", seconds_of(u->ru_utime));
  set_number(L, "system_time", seconds_of(u->ru_stime));
#ifdef __APPLE__
  set_integer(L, "max_rss", u->ru_maxrss);
#else
  set_integer(L, "max_rss", (lua_Integer)u->ru_maxrss * 1024);
#endif
  set_integer(L, "minor_faults", u->ru_minflt);
  set_integer(L, "major_faults", u->ru_majflt);
  set_integer(L, "voluntary_switches", u->ru_nvcsw);
  set_integer(L, "involuntary_switches", u->ru_nivcsw);
  set_integer(L, "read_bytes", (lua_Integer)u->ru_inblock * 512);
  set_integer(L, "written_bytes", (lua_Integer)u->ru_oublock * 512);
}

static void push_live(lua_State *L, const struct procfs_usage *u) {
  lua_createtable(L, 0, 12);
  set_number(L, "user_time", u->user_time);
  set_number(L, "system_time", u->system_time);
  set_integer(L, "rss", u->rss);
  set_integer(L, "max_rss", u->max_rss);
  set_integer(L, "minor_faults", u->minor_faults);
  set_integer(L, "major_faults", u->major_faults);
  set_integer(L, "threads", u->threads);
  set_integer(L, "children", u->children);
  set_integer(L, "read_bytes", u->read_bytes);
  set_integer(L, "written_bytes", u->written_bytes);
  set_integer(L, "read_chars", u->read_chars);
  set_integer(L, "written_chars", u->written_chars);
}

/* process:usage() → table, or nil where it cannot be known */
static int f_usage(lua_State *L) {
  struct process *p = check_process(L, 1);
  if (p->has_ended) {
    if (!p->usage) return 0;
    push_final(L, p->usage);
    return 1;
  }
  struct procfs_usage usage;
  if (process_usage(p, &usage)) return 0;
  push_live(L, &usage);
  return 1;
}

/* --- open files --- */

/* In a userdata, so that they are freed though making the table raises. */
static int f_files_gc(lua_State *L) {
  procfs_files_free(lua_touserdata(L, 1));
  return 0;
}

static void push_file(lua_State *L, const struct procfs_file *file) {
  static const char *const modes[] = {[O_RDONLY] = "r", [O_WRONLY] = "w", [O_RDWR] = "rw"};
  lua_createtable(L, 0, 4);
  set_integer(L, "fd", file->fd);
  set_integer(L, "position", file->position);
  lua_pushstring(L, file->path);
  lua_setfield(L, -2, "path");
  if (file->mode < 0 || file->mode > O_RDWR) return;
  lua_pushstring(L, modes[file->mode]);
  lua_setfield(L, -2, "mode");
}

/* process:open_files() → list of {fd, path, mode, position}; empty after the end */
static int f_open_files(lua_State *L) {
  struct process *p = check_process(L, 1);
  lua_settop(L, 1);
  struct procfs_files *files = lua_newuserdatauv(L, sizeof *files, 0); /* 2 */
  *files = (struct procfs_files){0};
  luaL_setmetatable(L, FILES_CLASS);
  int err = process_open_files(p, files);
  if (err && err != UV_ESRCH)
    return raise_error(L, err == UV_ENOTSUP ? "unsupported" : "io", err, "open_files: %s", uv_strerror(err));
  lua_createtable(L, (int)files->count, 0);
  for (size_t i = 0; i < files->count; i++) {
    push_file(L, &files->list[i]);
    lua_rawseti(L, -2, (lua_Integer)i + 1);
  }
  procfs_files_free(files); /* now, not when the collector comes */
  return 1;
}

/* process:state() → the letter of /proc/PID/stat while it runs, or nil */
static int f_state(lua_State *L) {
  struct process *p = check_process(L, 1);
  struct procfs_stat stat;
  if (!process_is_running(p) || procfs_stat(p->child.pid, &stat)) return 0;
  lua_pushlstring(L, &stat.state, 1);
  return 1;
}

static const luaL_Reg methods[] = {{"usage", f_usage}, {"state", f_state}, {"open_files", f_open_files}, {NULL, NULL}};

void usage_register(lua_State *L, struct runtime *rt) {
  luaL_newmetatable(L, FILES_CLASS);
  lua_pushcfunction(L, f_files_gc);
  lua_setfield(L, -2, "__gc");
  lua_pop(L, 1);
  luaL_getmetatable(L, CLASS);
  lua_getfield(L, -1, "__index");
  set_functions(L, methods, rt);
  lua_pop(L, 2);
}
