/* Process: the Lua face of core/process.h, and of spawn.h for its start. What a spec means is decided in
 * lua/corun/spec.lua, which hands over a plan: plain values, one descriptor action for each number of the child. */
#include "process.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "fd.h"
#include "reader.h"
#include "runtime.h"
#include "terminal.h"
#include "writer.h"

#define CLASS "corun.core.Process"
#define SCRATCH_CLASS "corun.core.Scratch"

extern char **environ;

struct lua_process {
  struct process core; /* first */
  struct runtime *runtime;
  struct post post;
  struct reader *terminal; /* NULL, or these are its second and third user value */
  struct writer *keyboard;
};

struct process *check_process(lua_State *L, int index) { return luaL_checkudata(L, index, CLASS); }

/* --- the plan --- */

/* All that a start takes and must give back, whatever Lua raises in between. */
struct scratch {
  int *close_fds; /* descriptors that are the child's alone */
  size_t close_count;
  struct reader *moved; /* a Reader whose descriptor the child was to get, as close_fds[moved_at] */
  size_t moved_at;
  int slave; /* the child's end of its terminal; -1: none */
  struct spawn_fd *fds;
  char **argv, **envp;
  struct spawn_limit *limits;
  gid_t *groups;
  int *cpus;
};

static int f_scratch_gc(lua_State *L) {
  struct scratch *s = lua_touserdata(L, 1);
  for (size_t i = 0; i < s->close_count; i++) fd_close(&s->close_fds[i]);
  fd_close(&s->slave);
  free(s->close_fds);
  free(s->fds);
  free(s->argv);
  free(s->envp);
  free(s->limits);
  free(s->groups);
  free(s->cpus);
  *s = (struct scratch){.slave = -1};
  return 0;
}

static void *allocate(lua_State *L, size_t count, size_t size) {
  void *memory = calloc(count ? count : 1, size);
  if (!memory) luaL_error(L, "not enough memory");
  return memory;
}

/* The strings of the list at `index`; they stay the table's. */
static char **read_strings(lua_State *L, int index) {
  lua_Integer count = luaL_len(L, index);
  char **strings = allocate(L, (size_t)count + 1, sizeof *strings);
  for (lua_Integer i = 1; i <= count; i++) {
    lua_rawgeti(L, index, i);
    strings[i - 1] = (char *)lua_tostring(L, -1); /* spec.lua has made them strings */
    lua_pop(L, 1);
  }
  return strings;
}

static lua_Integer integer_field(lua_State *L, int index, const char *name, lua_Integer otherwise) {
  lua_getfield(L, index, name);
  lua_Integer value = luaL_optinteger(L, -1, otherwise);
  lua_pop(L, 1);
  return value;
}

static bool boolean_field(lua_State *L, int index, const char *name) {
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
static void read_limits(lua_State *L, struct scratch *s, struct spawn_request *q) {
  if (lua_getfield(L, 1, "limits") == LUA_TTABLE) {
    q->limit_count = (size_t)luaL_len(L, -1);
    s->limits = allocate(L, q->limit_count, sizeof *s->limits);
    for (size_t i = 0; i < q->limit_count; i++) {
      lua_Integer values[3];
      lua_rawgeti(L, -1, (lua_Integer)i + 1);
      for (int k = 0; k < 3; k++) {
        lua_rawgeti(L, -1, k + 1);
        values[k] = lua_tointeger(L, -1);
        lua_pop(L, 1);
      }
      s->limits[i] = (struct spawn_limit){(int)values[0], {values[1] < 0 ? RLIM_INFINITY : (rlim_t)values[1],
                                                           values[2] < 0 ? RLIM_INFINITY : (rlim_t)values[2]}};
      lua_pop(L, 1);
    }
    q->limits = s->limits;
  }
  lua_pop(L, 1);
}

/* Whether the script itself sets the limit that marks a tree. */
static bool has_own_mark(const struct spawn_request *q) {
#ifdef RLIMIT_LOCKS
  for (size_t i = 0; i < q->limit_count; i++)
    if (q->limits[i].resource == RLIMIT_LOCKS) return true;
#endif
  return false;
}

static void read_groups(lua_State *L, struct scratch *s, struct spawn_request *q) {
  q->group_count = -1;
  if (lua_getfield(L, 1, "groups") == LUA_TTABLE) {
    q->group_count = (int)luaL_len(L, -1);
    s->groups = allocate(L, (size_t)q->group_count, sizeof *s->groups);
    for (int i = 0; i < q->group_count; i++) {
      lua_rawgeti(L, -1, i + 1);
      s->groups[i] = (gid_t)lua_tointeger(L, -1);
      lua_pop(L, 1);
    }
    q->groups = s->groups;
  }
  lua_pop(L, 1);
}

static void read_cpus(lua_State *L, struct scratch *s, struct spawn_request *q) {
  if (lua_getfield(L, 1, "cpus") == LUA_TTABLE) {
    q->cpu_count = (size_t)luaL_len(L, -1);
    s->cpus = allocate(L, q->cpu_count, sizeof *s->cpus);
    for (size_t i = 0; i < q->cpu_count; i++) {
      lua_rawgeti(L, -1, (lua_Integer)i + 1);
      s->cpus[i] = (int)lua_tointeger(L, -1);
      lua_pop(L, 1);
    }
    q->cpus = s->cpus;
  }
  lua_pop(L, 1);
}

/* cgroup = {directory, path}: a cgroup made for this child; from here on it is the process's. */
static void take_cgroup(lua_State *L, struct runtime *rt, struct process *p) {
  if (lua_getfield(L, 1, "cgroup") == LUA_TTABLE) {
    lua_rawgeti(L, -1, 1);
    lua_rawgeti(L, -2, 2);
    p->cgroup = cgroup_new(&rt->loop, lua_tostring(L, -2), lua_tostring(L, -1));
    if (!p->cgroup) luaL_error(L, "not enough memory");
    lua_pop(L, 2);
  }
  lua_pop(L, 1);
}

/* --- descriptors --- */

static int keep_for_child(struct scratch *s, int fd) {
  if (fd >= 0) s->close_fds[s->close_count++] = fd;
  return fd;
}

static int make_pipe(lua_State *L, struct runtime *rt, struct scratch *s, int streams, int child, bool child_writes) {
  int pair[2];
  int err = fd_pipe(pair);
  if (err) return err;
  int ours = child_writes ? pair[0] : pair[1];
  keep_for_child(s, child_writes ? pair[1] : pair[0]);
  if (child_writes) {
    reader_open(push_reader(L, rt), &rt->loop, ours); /* raises only when out of memory; then `ours` is lost with us */
  } else {
    writer_open(push_writer(L, rt), &rt->loop, ours);
  }
  lua_rawseti(L, streams, child);
  return s->close_fds[s->close_count - 1];
}

/* A start that failed gives a moved Reader its descriptor back. */
static void restore_reader(struct runtime *rt, struct scratch *s) {
  if (!s->moved) return;
  int fd = s->close_fds[s->moved_at];
  s->close_fds[s->moved_at] = -1;
  reader_open(s->moved, &rt->loop, fd);
  reader_start(s->moved);
}

static int move_reader(struct scratch *s, struct reader *r) {
  int fd = keep_for_child(s, reader_detach(r));
  if (fd >= 0) {
    s->moved = r;
    s->moved_at = s->close_count - 1;
  }
  return fd;
}

/* A Writer's descriptor does not block, and a child would not expect that: it gets a description of its own. */
static int share_writer(struct scratch *s, struct writer *w) {
  if (w->fd < 0) return UV_EPIPE;
  if (w->is_file) return w->fd; /* it blocks, and a description of its own would begin at offset 0 */
  int fd = fd_reopen(w->fd, O_WRONLY);
  if (fd < 0) return w->fd;
  fd_set_nonblocking(fd, false);
  return keep_for_child(s, fd);
}

/* One terminal for all that say so. */
static int take_terminal(lua_State *L, struct runtime *rt, struct scratch *s, int streams) {
  if (s->slave >= 0) return s->slave;
  int slave = terminal_open(L, rt, 1, streams);
  if (slave >= 0) s->slave = slave;
  return slave;
}

/* Performs the action on top of the stack ({child, kind, argument, flags, mode}); the parent's descriptor or an error. */
static int take_action(lua_State *L, struct runtime *rt, struct scratch *s, int streams, int child,
                       const struct spawn_fd *done, size_t done_count) {
  int action = lua_gettop(L);
  lua_rawgeti(L, action, 2);
  const char *kind = lua_tostring(L, -1);
  lua_rawgeti(L, action, 3);
  if (!strcmp(kind, "output")) return make_pipe(L, rt, s, streams, child, true);
  if (!strcmp(kind, "input")) return make_pipe(L, rt, s, streams, child, false);
  if (!strcmp(kind, "pty")) return take_terminal(L, rt, s, streams);
  if (!strcmp(kind, "null")) return keep_for_child(s, fd_open("/dev/null", child == 0 ? O_RDONLY : O_RDWR, 0));
  if (!strcmp(kind, "fd")) return (int)lua_tointeger(L, -1);
  if (!strcmp(kind, "lua")) {
    luaL_Stream *stream = luaL_checkudata(L, -1, LUA_FILEHANDLE);
    if (!stream->closef) return UV_EBADF;
    fflush(stream->f);
    return fileno(stream->f);
  }
  if (!strcmp(kind, "writer")) return share_writer(s, check_writer(L, -1));
  if (!strcmp(kind, "reader")) return move_reader(s, check_reader(L, -1));
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
  return keep_for_child(s, fd_open(path, flags | O_NOCTTY, (unsigned)luaL_optinteger(L, -1, 0666)));
}

static int compare_fds(const void *a, const void *b) {
  return ((const struct spawn_fd *)a)->child - ((const struct spawn_fd *)b)->child;
}

/* plan.fds, in its order: what others refer to with "same" comes first. On an error *failed is the action's number. */
static int read_fds(lua_State *L, struct runtime *rt, struct scratch *s, struct spawn_request *q, int streams,
                    lua_Integer *failed) {
  lua_getfield(L, 1, "fds");
  int list = lua_gettop(L);
  lua_Integer count = luaL_len(L, list);
  s->fds = allocate(L, (size_t)count, sizeof *s->fds);
  s->close_fds = allocate(L, (size_t)count, sizeof *s->close_fds);
  for (lua_Integer i = 1; i <= count; i++) {
    lua_settop(L, list);
    lua_rawgeti(L, list, i);
    lua_rawgeti(L, -1, 1);
    int child = (int)lua_tointeger(L, -1);
    lua_pop(L, 1);
    int fd = take_action(L, rt, s, streams, child, s->fds, (size_t)i - 1);
    if (fd < 0) {
      *failed = i;
      return fd;
    }
    s->fds[i - 1] = (struct spawn_fd){.child = child, .parent = fd};
    if (fd == s->slave) q->ctty = child; /* any of them will do */
  }
  qsort(s->fds, (size_t)count, sizeof *s->fds, compare_fds);
  q->fds = s->fds;
  q->fd_count = (size_t)count;
  lua_settop(L, list - 1);
  return 0;
}

/* --- start --- */

/* `found`: the script whose interpreter is missing, or "". `number`: of what failed, from 1, or 0. */
static int push_failure(lua_State *L, const char *stage, int err, const char *found, lua_Integer number) {
  lua_pushnil(L);
  lua_pushstring(L, stage);
  push_error_name(L, err);
  push_error_text(L, err);
  if (*found) lua_pushstring(L, found);
  else lua_pushnil(L);
  if (number) lua_pushinteger(L, number);
  else lua_pushnil(L);
  return 6;
}

static void process_posted(struct runtime *rt, lua_State *L, struct post *post) {
  (void)rt;
  struct lua_process *p = (struct lua_process *)((char *)post - offsetof(struct lua_process, post));
  runtime_push_hook(L, "process_ended");
  lua_rawgetp(L, LUA_REGISTRYINDEX, p); /* anchored while it runs */
  lua_getiuservalue(L, -1, 1);
  lua_remove(L, -2);
  lua_pushnil(L);
  lua_rawsetp(L, LUA_REGISTRYINDEX, p);
}

static void process_ended(struct process *core) {
  struct lua_process *p = (struct lua_process *)core;
  if (p->terminal) reader_end_terminal(p->terminal);
  if (p->keyboard) writer_end_terminal(p->keyboard);
  runtime_post(p->runtime, &p->post, process_posted);
}

static bool on_main_thread(struct runtime *rt) {
#ifdef __linux__
  return gettid() == rt->pid;
#else
  (void)rt;
  return true;
#endif
}

/* Our ends of the pipes: polled once the child runs, or closed at once, not when the collector comes. */
static void settle_streams(lua_State *L, int streams, bool started) {
  lua_pushnil(L);
  while (lua_next(L, streams)) {
    struct reader *r = test_reader(L, -1);
    if (r && started) reader_start(r); /* its error is the stream's */
    else if (r) reader_close(r);
    else if (!started) writer_close(check_writer(L, -1));
    lua_pop(L, 1);
  }
}

/* The process at 3 leads a terminal; its streams at 4. */
static void attach_terminal(lua_State *L, struct lua_process *p, int slave) {
  process_keep_terminal(&p->core, slave);
  lua_getfield(L, 4, "terminal");
  p->terminal = check_reader(L, -1);
  lua_setiuservalue(L, 3, 2);
  if (boolean_field(L, 1, "typed")) {
    lua_rawgeti(L, 4, 0);
    p->keyboard = check_writer(L, -1);
    lua_setiuservalue(L, 3, 3);
  }
}

/* core.start(plan, object) → Process handle, {[number] = Reader or Writer}
 *                        | nil, stage, code, message, the script whose interpreter is missing or nil, number of the
 *                          descriptor action ("open"), limit ("rlimit"), processor ("affinity") or nil; at
 *                          "stdio" the child's number of the descriptor, plus 1
 * `object` is what the hook process_ended gets. The Reader of a terminal is in streams.terminal. */
static int f_start(lua_State *L) {
  struct runtime *rt = runtime_of(L);
  luaL_checktype(L, 1, LUA_TTABLE);
  lua_settop(L, 2);
  struct lua_process *p = lua_newuserdatauv(L, sizeof *p, 3); /* 3 */
  memset(p, 0, sizeof *p);
  process_init(&p->core, &rt->loop);
  p->runtime = rt;
  p->core.on_end = process_ended;
  luaL_setmetatable(L, CLASS);
  lua_pushvalue(L, 2);
  lua_setiuservalue(L, 3, 1);
  lua_newtable(L); /* 4: streams */
  struct scratch *s = lua_newuserdatauv(L, sizeof *s, 0); /* 5 */
  memset(s, 0, sizeof *s);
  s->slave = -1;
  luaL_setmetatable(L, SCRATCH_CLASS);

  struct spawn_request q = {
      .file = string_field(L, 1, "file"),
      .path = string_field(L, 1, "path"),
      .cwd = string_field(L, 1, "cwd"),
      .uid = (long)integer_field(L, 1, "uid", -1),
      .gid = (long)integer_field(L, 1, "gid", -1),
      .umask = (int)integer_field(L, 1, "umask", -1),
      .nice = (int)integer_field(L, 1, "nice", 0),
      .oom_score_adj = string_field(L, 1, "oom_score_adj"),
      .no_new_privileges = boolean_field(L, 1, "no_new_privileges"),
      .ctty = -1,
      .session = boolean_field(L, 1, "session"),
      .group = boolean_field(L, 1, "group"),
      .foreground = boolean_field(L, 1, "foreground"),
      .die_with_parent = boolean_field(L, 1, "die_with_parent") && on_main_thread(rt),
  };
  lua_getfield(L, 1, "argv");
  q.argv = s->argv = read_strings(L, lua_gettop(L));
  lua_pop(L, 1);
  if (lua_getfield(L, 1, "env") == LUA_TTABLE) q.envp = s->envp = read_strings(L, lua_gettop(L));
  else q.envp = environ;
  lua_pop(L, 1);
  read_limits(L, s, &q);
  read_groups(L, s, &q);
  read_cpus(L, s, &q);
  p->core.detached = boolean_field(L, 1, "detached");
  if (!has_own_mark(&q)) q.mark = tree_new_mark(p->core.detached);
  take_cgroup(L, rt, &p->core);

  lua_Integer failed = 0;
  int err = read_fds(L, rt, s, &q, 4, &failed);
  if (err) {
    if (q.foreground) terminal_end(&rt->loop);
    restore_reader(rt, s);
    settle_streams(L, 4, false);
    lua_pushcfunction(L, f_scratch_gc);
    lua_pushvalue(L, 5);
    lua_call(L, 1, 0);
    process_close(&p->core);
    return push_failure(L, "open", err, "", failed);
  }
  if (boolean_field(L, 1, "shares_output")) fflush(NULL); /* what we printed comes before what the child prints */
  struct spawn_failure failure;
  err = process_start(&p->core, &q, &failure);
  if (err) {
    failed = 1 + (failure.stage == SPAWN_STDIO && failure.index >= 0 ? q.fds[failure.index].child : failure.index);
    restore_reader(rt, s);
  } else {
    if (s->slave >= 0) attach_terminal(L, p, s->slave);
    s->slave = -1;
  }
  settle_streams(L, 4, !err);
  lua_pushcfunction(L, f_scratch_gc);
  lua_pushvalue(L, 5);
  lua_call(L, 1, 0);
  if (err) return push_failure(L, spawn_stage_name(failure.stage), err, failure.interpreter, failed);
  lua_pushvalue(L, 3);
  lua_rawsetp(L, LUA_REGISTRYINDEX, p);
  runtime_renew_canary(rt, L);
  lua_settop(L, 4);
  return 2;
}

/* --- methods --- */

static int f_pid(lua_State *L) {
  lua_pushinteger(L, check_process(L, 1)->child.pid);
  return 1;
}

/* process:times() → started, ended (0 while it runs), of core.now */
static int f_times(lua_State *L) {
  struct process *p = check_process(L, 1);
  lua_pushnumber(L, (lua_Number)p->started_at / 1e9);
  lua_pushnumber(L, (lua_Number)p->ended_at / 1e9);
  return 2;
}

/* process:status() → nil while it runs | code or nil, signal number or nil, core dumped, unknown (after `true`) */
static int f_status(lua_State *L) {
  struct process *p = check_process(L, 1);
  if (!p->has_ended) return 0;
  lua_pushboolean(L, 1);
  if (p->status.code >= 0) lua_pushinteger(L, p->status.code);
  else lua_pushnil(L);
  if (p->status.signo) lua_pushinteger(L, p->status.signo);
  else lua_pushnil(L);
  lua_pushboolean(L, p->status.core_dumped);
  lua_pushboolean(L, p->status.unknown);
  return 5;
}

static int wait_k(lua_State *L, int status, lua_KContext ctx) {
  struct runtime *rt = runtime_of(L);
  struct process *p = lua_touserdata(L, 1);
  for (;; status = LUA_YIELD) {
    if (!process_is_running(p)) { /* before the cancellation: an end that has come stands */
      lua_pushboolean(L, 1);
      return 1;
    }
    if (task_outcome(rt, L, status) == WAKE_TIMEOUT) {
      lua_pushboolean(L, 0);
      return 1;
    }
    task_park(rt, L, &p->ended, (uint64_t)lua_tointeger(L, 2), ctx, wait_k);
  }
}

/* process:wait(seconds?) → true once it has ended, false on time-out */
static int f_wait(lua_State *L) {
  struct process *p = check_process(L, 1);
  uint64_t due = check_due(L, 2);
  if (process_is_running(p)) task_check(runtime_of(L), L);
  lua_settop(L, 1);
  lua_pushinteger(L, (lua_Integer)due);
  return wait_k(L, LUA_OK, 0);
}

static int push_reached(lua_State *L, int err) {
  if (err && err != UV_ESRCH) return raise_error(L, "io", err, "signal: %s", uv_strerror(err));
  lua_pushboolean(L, !err);
  return 1;
}

static int f_signal(lua_State *L) {
  return push_reached(L, process_signal(check_process(L, 1), (int)luaL_checkinteger(L, 2)));
}

/* process:signal_tree(signo, pass?) → whether somebody was reached; see process_signal_tree. With a pass it is a step of
 * a plan, which goes on where somebody cannot be reached. */
static int f_signal_tree(lua_State *L) {
  static const char *const passes[] = {"all", "first", "once", "newcomers", NULL};
  static const enum tree_pass values[] = {TREE_ALL, TREE_FIRST, TREE_ONCE, TREE_NEWCOMERS};
  enum tree_pass pass = values[luaL_checkoption(L, 3, "all", passes)];
  int err = process_signal_tree(check_process(L, 1), (int)luaL_checkinteger(L, 2), pass);
  return push_reached(L, err && pass != TREE_ALL ? UV_ESRCH : err);
}

/* process:has_group() → see process_has_group */
static int f_has_group(lua_State *L) {
  lua_pushboolean(L, process_has_group(check_process(L, 1)));
  return 1;
}

/* process:is_alive() → whether something of its tree still runs */
static int f_is_alive(lua_State *L) {
  lua_pushboolean(L, process_tree_is_alive(check_process(L, 1)));
  return 1;
}

/* process:close(): kills and reaps what still runs. The scope does this in better ways before. */
static void close_process(struct lua_process *p) {
  post_remove(&p->post);
  if (p->runtime->pid == getpid()) process_close(&p->core);
  else process_abandon(&p->core);
}

static int f_gc(lua_State *L) {
  struct lua_process *p = (struct lua_process *)check_process(L, 1);
  if (!p->runtime->closed) close_process(p);
  return 0;
}

/* process:let_go(): once it has ended, gives back the descriptor by which the rest of its group could be reached, and
 * removes its cgroup. */
static int f_let_go(lua_State *L) {
  process_let_go(check_process(L, 1));
  return 0;
}

/* process:release(): lets it run; it is reaped if it ends in our time. */
static int f_release(lua_State *L) {
  spawn_unref(&check_process(L, 1)->child);
  return 0;
}

static int f_kill_all(lua_State *L) {
  process_kill_all(&runtime_of(L)->loop);
  return 0;
}

static const luaL_Reg functions[] = {
    {"start", f_start}, {"kill_all", f_kill_all}, {NULL, NULL}};
static const luaL_Reg methods[] = {
    {"pid", f_pid},       {"times", f_times},   {"status", f_status}, {"wait", f_wait}, {"signal", f_signal},
    {"let_go", f_let_go}, {"release", f_release}, {"signal_tree", f_signal_tree},
    {"has_group", f_has_group}, {"is_alive", f_is_alive}, {NULL, NULL}};
static const luaL_Reg meta[] = {{"__gc", f_gc}, {NULL, NULL}};
static const luaL_Reg no_methods[] = {{NULL, NULL}};
static const luaL_Reg scratch_meta[] = {{"__gc", f_scratch_gc}, {NULL, NULL}};

void process_register(lua_State *L, struct runtime *rt) {
  make_class(L, CLASS, methods, meta, rt);
  usage_register(L, rt);
  make_class(L, SCRATCH_CLASS, no_methods, scratch_meta, rt);
  set_functions(L, functions, rt);
}
