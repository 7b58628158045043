#include "plan.h"

#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "fd.h"
#include "reader.h"
#include "tree.h"
#include "writer.h"

#define CLASS "corun.core.Plan"

extern char **environ;

static void release(struct plan *plan) {
  for (size_t i = 0; i < plan->close_count; i++) fd_close(&plan->close_fds[i]);
  fd_close(&plan->slave);
  if (plan->close_fds != plan->few_close_fds) free(plan->close_fds);
  if (plan->fds != plan->few_fds) free(plan->fds);
  if (plan->argv != plan->few_words) free(plan->argv);
  free(plan->envp);
  free(plan->limits);
  free(plan->groups);
  free(plan->cpus);
  *plan = (struct plan){.slave = -1};
}

static void *allocate(lua_State *L, size_t count, size_t size) {
  void *memory = calloc(count ? count : 1, size);
  if (!memory) luaL_error(L, "not enough memory");
  return memory;
}

/* The strings of the list at `index` into *out, which plan->few_words may be; they stay the table's. */
static void read_strings(lua_State *L, int index, char ***out, char **few) {
  size_t count = (size_t)lua_rawlen(L, index);
  char **strings = few && count < PLAN_WORDS ? few : allocate(L, count + 1, sizeof *strings);
  *out = strings;
  for (size_t i = 0; i < count; i++) {
    lua_rawgeti(L, index, (lua_Integer)i + 1);
    strings[i] = (char *)lua_tostring(L, -1); /* spec.lua has made them strings */
    lua_pop(L, 1);
  }
  strings[count] = NULL;
}

static lua_Integer integer_field(lua_State *L, int index, const char *name, lua_Integer otherwise) {
  lua_getfield(L, index, name);
  lua_Integer value = luaL_optinteger(L, -1, otherwise);
  lua_pop(L, 1);
  return value;
}

bool boolean_field(lua_State *L, int index, const char *name) {
  lua_getfield(L, index, name);
  bool value = lua_toboolean(L, -1);
  lua_pop(L, 1);
  return value;
}

static const char *string_field(lua_State *L, int index, const char *name) {
  lua_getfield(L, index, name);
  const char *value = lua_tostring(L, -1);
  lua_pop(L, 1); /* the table keeps it */
  return value;
}

/* rlimits = {{resource, soft, hard}, …}; -1 is unlimited */
static void read_limits(lua_State *L, struct plan *plan) {
  if (lua_getfield(L, SLOT_PLAN, "limits") == LUA_TTABLE) {
    plan->request.limit_count = (size_t)luaL_len(L, -1);
    plan->limits = allocate(L, plan->request.limit_count, sizeof *plan->limits);
    for (size_t i = 0; i < plan->request.limit_count; i++) {
      lua_Integer values[3];
      lua_rawgeti(L, -1, (lua_Integer)i + 1);
      for (int k = 0; k < 3; k++) {
        lua_rawgeti(L, -1, k + 1);
        values[k] = lua_tointeger(L, -1);
        lua_pop(L, 1);
      }
      plan->limits[i] = (struct spawn_limit){(int)values[0], {values[1] < 0 ? RLIM_INFINITY : (rlim_t)values[1],
                                                           values[2] < 0 ? RLIM_INFINITY : (rlim_t)values[2]}};
      lua_pop(L, 1);
    }
    plan->request.limits = plan->limits;
  }
  lua_pop(L, 1);
}

/* Whether the script itself sets the limit that marks a tree. */
static bool has_own_mark(const struct plan *plan) {
#ifdef RLIMIT_LOCKS
  for (size_t i = 0; i < plan->request.limit_count; i++)
    if (plan->request.limits[i].resource == RLIMIT_LOCKS) return true;
#endif
  return false;
}

static void read_groups(lua_State *L, struct plan *plan) {
  if (lua_getfield(L, SLOT_PLAN, "groups") == LUA_TTABLE) {
    plan->request.group_count = (int)luaL_len(L, -1);
    plan->groups = allocate(L, (size_t)plan->request.group_count, sizeof *plan->groups);
    for (int i = 0; i < plan->request.group_count; i++) {
      lua_rawgeti(L, -1, i + 1);
      plan->groups[i] = (gid_t)lua_tointeger(L, -1);
      lua_pop(L, 1);
    }
    plan->request.groups = plan->groups;
  }
  lua_pop(L, 1);
}

static void read_cpus(lua_State *L, struct plan *plan) {
  if (lua_getfield(L, SLOT_PLAN, "cpus") == LUA_TTABLE) {
    plan->request.cpu_count = (size_t)luaL_len(L, -1);
    plan->cpus = allocate(L, plan->request.cpu_count, sizeof *plan->cpus);
    for (size_t i = 0; i < plan->request.cpu_count; i++) {
      lua_rawgeti(L, -1, (lua_Integer)i + 1);
      plan->cpus[i] = (int)lua_tointeger(L, -1);
      lua_pop(L, 1);
    }
    plan->request.cpus = plan->cpus;
  }
  lua_pop(L, 1);
}

static bool on_main_thread(struct runtime *rt) {
#ifdef __linux__
  return gettid() == rt->pid;
#else
  (void)rt;
  return true;
#endif
}

/* What few starts have. */
static void read_more(lua_State *L, struct plan *plan) {
  struct spawn_request *request = &plan->request;
  lua_getfield(L, SLOT_PLAN, "path");
  if (!lua_isnil(L, -1)) request->path = lua_tostring(L, -1);
  lua_pop(L, 1);
  request->cwd = string_field(L, SLOT_PLAN, "cwd");
  request->uid = (long)integer_field(L, SLOT_PLAN, "uid", -1);
  request->gid = (long)integer_field(L, SLOT_PLAN, "gid", -1);
  request->umask = (int)integer_field(L, SLOT_PLAN, "umask", -1);
  request->nice = (int)integer_field(L, SLOT_PLAN, "nice", 0);
  request->oom_score_adj = string_field(L, SLOT_PLAN, "oom_score_adj");
  request->no_new_privileges = boolean_field(L, SLOT_PLAN, "no_new_privileges");
  request->session = boolean_field(L, SLOT_PLAN, "session");
  if (lua_getfield(L, SLOT_PLAN, "env") == LUA_TTABLE) {
    read_strings(L, lua_gettop(L), &plan->envp, NULL);
    request->envp = plan->envp;
  }
  lua_pop(L, 1);
  read_limits(L, plan);
  read_groups(L, plan);
  read_cpus(L, plan);
}

void plan_read(lua_State *L, struct runtime *rt, struct plan *plan) {
  plan->request = (struct spawn_request){
      .file = lua_tostring(L, SLOT_FILE),
      .path = getenv("PATH"),
      .envp = environ,
      .uid = -1,
      .gid = -1,
      .group_count = -1,
      .umask = -1,
      .ctty = -1,
      .group = boolean_field(L, SLOT_PLAN, "group"),
      .foreground = boolean_field(L, SLOT_PLAN, "foreground"),
      .die_with_parent = boolean_field(L, SLOT_PLAN, "die_with_parent") && on_main_thread(rt),
  };
  read_strings(L, SLOT_ARGV, &plan->argv, plan->few_words);
  plan->request.argv = plan->argv;
  if (boolean_field(L, SLOT_PLAN, "has_more")) read_more(L, plan);
  if (!has_own_mark(plan)) plan->request.mark = tree_new_mark(boolean_field(L, SLOT_PLAN, "detached"));
}

/* --- descriptors --- */

static int keep_for_child(struct plan *plan, int fd) {
  if (fd >= 0) plan->close_fds[plan->close_count++] = fd;
  return fd;
}

/* Takes our end of a pipe from the top of the stack. */
static void keep_stream(lua_State *L, int child) {
  if (child <= 2) lua_replace(L, SLOT_STREAMS + child);
  else lua_rawseti(L, SLOT_OTHERS, child);
}

static void need_others(lua_State *L) {
  if (!lua_isnil(L, SLOT_OTHERS)) return;
  lua_newtable(L);
  lua_replace(L, SLOT_OTHERS);
}

static int make_pipe(lua_State *L, struct runtime *rt, struct plan *plan, int child, bool child_writes) {
  if (child > 2) need_others(L);
  int pair[2];
  struct reader *r = child_writes ? push_reader(L, rt) : NULL; /* may raise: before there is a pipe to lose */
  struct writer *w = child_writes ? NULL : push_writer(L, rt);
  int err = fd_pipe(pair);
  if (err) return err;
  keep_for_child(plan, child_writes ? pair[1] : pair[0]);
  if (r) reader_open(r, &rt->loop, fd_settle(pair[0]));
  else writer_open(w, &rt->loop, fd_settle(pair[1]));
  keep_stream(L, child);
  return plan->close_fds[plan->close_count - 1];
}

/* A start that failed gives a moved Reader its descriptor back. */
void plan_restore_reader(struct runtime *rt, struct plan *plan) {
  if (!plan->moved) return;
  int fd = plan->close_fds[plan->moved_at];
  plan->close_fds[plan->moved_at] = -1;
  reader_open(plan->moved, &rt->loop, fd);
  reader_start(plan->moved);
}

static int move_reader(struct plan *plan, struct reader *r) {
  int fd = keep_for_child(plan, reader_detach(r));
  if (fd >= 0) {
    plan->moved = r;
    plan->moved_at = plan->close_count - 1;
  }
  return fd;
}

/* A Writer's descriptor does not block, and a child would not expect that: it gets a description of its own. */
static int share_writer(struct plan *plan, struct writer *w) {
  if (w->fd < 0) return UV_EPIPE;
  if (w->is_terminal) return UV_ENOTSUP; /* to open a master again is to open another terminal */
  if (w->is_file) return w->fd; /* it blocks, and a description of its own would begin at offset 0 */
  int fd = fd_reopen(w->fd, O_WRONLY);
  if (fd < 0) return w->fd;
  fd_set_nonblocking(fd, false);
  return keep_for_child(plan, fd);
}

/* One terminal for all that say so. */
static int take_terminal(lua_State *L, struct runtime *rt, struct plan *plan) {
  if (plan->slave >= 0) return plan->slave;
  need_others(L);
  int slave = terminal_open(L, rt, SLOT_PLAN, SLOT_OTHERS);
  if (slave >= 0) plan->slave = slave;
  return slave;
}

/* One description for all children serves: it has neither an offset nor anything to wait for. */
static int null_input(struct runtime *rt) {
  if (rt->loop.null < 0) rt->loop.null = fd_open("/dev/null", O_RDONLY, 0);
  return rt->loop.null;
}

/* Performs the action on top of the stack ({child, kind, argument, flags, mode}); the parent's descriptor or an error. */
static int take_action(lua_State *L, struct runtime *rt, struct plan *plan, int child,
                       const struct spawn_fd *done, size_t done_count) {
  int action = lua_gettop(L);
  lua_rawgeti(L, action, 2);
  const char *kind = lua_tostring(L, -1);
  lua_rawgeti(L, action, 3);
  if (!strcmp(kind, "output")) return make_pipe(L, rt, plan, child, true);
  if (!strcmp(kind, "input")) return make_pipe(L, rt, plan, child, false);
  if (!strcmp(kind, "pty")) return take_terminal(L, rt, plan);
  if (!strcmp(kind, "null")) return child == 0 ? null_input(rt) : keep_for_child(plan, fd_open("/dev/null", O_RDWR, 0));
  if (!strcmp(kind, "fd")) return (int)lua_tointeger(L, -1);
  if (!strcmp(kind, "lua")) {
    luaL_Stream *stream = luaL_checkudata(L, -1, LUA_FILEHANDLE);
    if (!stream->closef) return UV_EBADF;
    fflush(stream->f);
    return fileno(stream->f);
  }
  if (!strcmp(kind, "writer")) return share_writer(plan, check_writer(L, -1));
  if (!strcmp(kind, "reader")) return move_reader(plan, check_reader(L, -1));
  if (!strcmp(kind, "same")) {
    int other = (int)lua_tointeger(L, -1);
    for (size_t i = 0; i < done_count; i++)
      if (done[i].child == other) return done[i].parent;
    return UV_EBADF;
  }
  /* "file": path, how, mode */
  const char *path = lua_tostring(L, -1);
  lua_rawgeti(L, action, 4);
  const char *how = lua_tostring(L, -1);
  int flags = *how == 'r' ? O_RDONLY : O_WRONLY | O_CREAT | (*how == 'a' ? O_APPEND : O_TRUNC);
  lua_rawgeti(L, action, 5);
  return keep_for_child(plan, fd_open(path, flags | O_NOCTTY, (unsigned)luaL_optinteger(L, -1, 0666)));
}

static int compare_fds(const void *a, const void *b) {
  return ((const struct spawn_fd *)a)->child - ((const struct spawn_fd *)b)->child;
}

/* In the order of the list: what others refer to with "same" comes first. */
int plan_open(lua_State *L, struct runtime *rt, struct plan *plan, lua_Integer *failed) {
  lua_getfield(L, SLOT_PLAN, "fds");
  int list = lua_gettop(L);
  lua_Integer count = (lua_Integer)lua_rawlen(L, list);
  bool few = count <= PLAN_FEW;
  plan->fds = few ? plan->few_fds : allocate(L, (size_t)count, sizeof *plan->fds);
  plan->close_fds = few ? plan->few_close_fds : allocate(L, (size_t)count, sizeof *plan->close_fds);
  for (lua_Integer i = 1; i <= count; i++) {
    lua_settop(L, list);
    lua_rawgeti(L, list, i);
    lua_rawgeti(L, -1, 1);
    int child = (int)lua_tointeger(L, -1);
    lua_pop(L, 1);
    int fd = take_action(L, rt, plan, child, plan->fds, (size_t)i - 1);
    if (fd < 0) {
      *failed = i;
      return fd;
    }
    plan->fds[i - 1] = (struct spawn_fd){.child = child, .parent = fd};
    if (fd == plan->slave) plan->request.ctty = child; /* any of them will do */
  }
  qsort(plan->fds, (size_t)count, sizeof *plan->fds, compare_fds);
  plan->request.fds = plan->fds;
  plan->request.fd_count = (size_t)count;
  lua_settop(L, list - 1);
  return 0;
}

static int f_gc(lua_State *L) {
  release(lua_touserdata(L, 1));
  return 0;
}

static const char spare_key;

/* A start does not yield, but an allocation in it may run a finalizer that starts another child: that one finds no
 * spare plan and makes its own. */
struct plan *plan_take(lua_State *L) {
  lua_rawgetp(L, LUA_REGISTRYINDEX, &spare_key);
  struct plan *plan = lua_touserdata(L, -1);
  if (plan) {
    lua_pushboolean(L, 0);
    lua_rawsetp(L, LUA_REGISTRYINDEX, &spare_key);
    return plan;
  }
  lua_pop(L, 1);
  plan = lua_newuserdatauv(L, sizeof *plan, 0);
  *plan = (struct plan){.slave = -1};
  luaL_setmetatable(L, CLASS);
  return plan;
}

void plan_give(lua_State *L, struct plan *plan) {
  release(plan);
  lua_pushvalue(L, SLOT_TAKEN);
  lua_rawsetp(L, LUA_REGISTRYINDEX, &spare_key);
}

/* core.words(spec) → its array part as a list of its own, if all in it are strings that can be arguments; else nil */
static int f_words(lua_State *L) {
  lua_settop(L, 1);
  lua_Integer count = luaL_len(L, 1);
  if (count > INT_MAX) return 0;
  lua_createtable(L, (int)count, 0);
  for (lua_Integer i = 1; i <= count; i++) {
    lua_geti(L, 1, i);
    size_t size;
    const char *word = lua_type(L, -1) == LUA_TSTRING ? lua_tolstring(L, -1, &size) : NULL;
    if (!word || strlen(word) != size) return 0;
    lua_rawseti(L, 2, i);
  }
  return 1;
}

static const luaL_Reg functions[] = {{"words", f_words}, {NULL, NULL}};
static const luaL_Reg methods[] = {{NULL, NULL}};
static const luaL_Reg meta[] = {{"__gc", f_gc}, {NULL, NULL}};

void plan_register(lua_State *L, struct runtime *rt) {
  make_class(L, CLASS, methods, meta, rt);
  set_functions(L, functions, rt);
}
