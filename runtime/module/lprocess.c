/* Process: the Lua face of core/process.h. */
#include "process.h"

#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "plan.h"
#include "reader.h"
#include "runtime.h"
#include "terminal.h"
#include "writer.h"

#define CLASS "corun.core.Process"

struct lua_process {
  struct process core; /* first */
  struct runtime *runtime;
  struct post post;
  lua_Number began;        /* when it was started, seconds since the epoch */
  struct reader *terminal; /* NULL, or these are its second and third user value, which it has for a pty only */
  struct writer *keyboard;
};

struct process *check_process(lua_State *L, int index) { return check_object(L, index, CLASS_PROCESS, CLASS); }

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
  /* What has a finalizer lives on for some collections, and with it what it refers to. */
  lua_pushnil(L);
  lua_setiuservalue(L, -3, 1);
  lua_remove(L, -2);
  lua_pushboolean(L, process_has_group(&p->core));
  lua_pushnil(L);
  lua_rawsetp(L, LUA_REGISTRYINDEX, p);
}

static void process_ended(struct process *core) {
  struct lua_process *p = (struct lua_process *)core;
  if (p->terminal) reader_end_terminal(p->terminal);
  if (p->keyboard) writer_end_terminal(p->keyboard);
  runtime_post(p->runtime, &p->post, process_posted);
}

/* Our end of a pipe at `index`: polled once the child runs, or closed at once, not when the collector comes. */
static void settle_stream(lua_State *L, int index, bool started) {
  struct reader *r = test_reader(L, index);
  if (r && started) reader_start(r); /* its error is the stream's */
  else if (r) reader_close(r);
  else if (!started) writer_close(check_writer(L, index));
}

static void settle_streams(lua_State *L, bool started) {
  for (int i = SLOT_STREAMS; i < SLOT_OTHERS; i++)
    if (!lua_isnil(L, i)) settle_stream(L, i, started);
  if (lua_isnil(L, SLOT_OTHERS)) return;
  lua_pushnil(L);
  while (lua_next(L, SLOT_OTHERS)) {
    settle_stream(L, lua_gettop(L), started);
    lua_pop(L, 1);
  }
}

static void attach_terminal(lua_State *L, struct lua_process *p, int slave) {
  process_keep_terminal(&p->core, slave);
  lua_getfield(L, SLOT_OTHERS, "terminal");
  p->terminal = check_reader(L, -1);
  lua_setiuservalue(L, SLOT_PROCESS, 2);
  if (!boolean_field(L, SLOT_PLAN, "typed")) return;
  lua_rawgeti(L, SLOT_OTHERS, 0);
  p->keyboard = check_writer(L, -1);
  lua_pushvalue(L, -1);
  lua_replace(L, SLOT_STREAMS);
  lua_setiuservalue(L, SLOT_PROCESS, 3);
  lua_pushnil(L);
  lua_rawseti(L, SLOT_OTHERS, 0);
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

/* In SLOT_PROCESS. */
static struct lua_process *push_process(lua_State *L, struct runtime *rt) {
  bool has_terminal = lua_getfield(L, SLOT_PLAN, "pty") != LUA_TNIL;
  lua_pop(L, 1);
  struct lua_process *p = lua_newuserdatauv(L, sizeof *p, has_terminal ? 3 : 1);
  memset(p, 0, sizeof *p);
  process_init(&p->core, &rt->loop);
  p->runtime = rt;
  p->core.on_end = process_ended;
  luaL_setmetatable(L, CLASS);
  lua_pushvalue(L, SLOT_OBJECT);
  lua_setiuservalue(L, SLOT_PROCESS, 1);
  return p;
}

static lua_Number epoch_seconds(void) {
  struct timespec now;
  clock_gettime(CLOCK_REALTIME, &now);
  return (lua_Number)now.tv_sec + (lua_Number)now.tv_nsec / 1e9;
}

/* Opens the descriptors and starts it: 0, or the error, its place and (*failed) its number. */
static int start(lua_State *L, struct runtime *rt, struct lua_process *p, struct plan *plan,
                 struct spawn_failure *failure, const char **stage, lua_Integer *failed) {
  *stage = "open";
  int err = plan_open(L, rt, plan, failed);
  if (err) {
    if (plan->request.foreground) terminal_end(&rt->loop);
    process_close(&p->core);
    return err;
  }
  if (boolean_field(L, SLOT_PLAN, "shares_output")) fflush(NULL); /* what we printed comes before what it prints */
  p->began = epoch_seconds();
  err = process_start(&p->core, &plan->request, failure);
  if (!err) return 0;
  *stage = spawn_stage_name(failure->stage);
  *failed = 1 + failure->index;
  if (failure->stage == SPAWN_STDIO && failure->index >= 0) *failed = 1 + plan->fds[failure->index].child;
  return err;
}

/* core.start(plan, object, argv, file) → Process handle, Writer or nil, Reader or nil (stdout), Reader or nil (stderr),
 *                          {[number] = Reader or Writer} or nil
 *                        | nil, stage, code, message, the script whose interpreter is missing or nil, number of the
 *                          descriptor action ("open"), limit ("rlimit"), processor ("affinity") or nil; at
 *                          "stdio" the child's number of the descriptor, plus 1
 * `object` is what the hook process_ended gets. The Reader of a terminal is in the last one as `terminal`. */
static int f_start(lua_State *L) {
  struct runtime *rt = runtime_of(L);
  luaL_checktype(L, SLOT_PLAN, LUA_TTABLE);
  luaL_checktype(L, SLOT_ARGV, LUA_TTABLE);
  lua_settop(L, SLOT_FILE);
  struct lua_process *p = push_process(L, rt);
  lua_settop(L, SLOT_OTHERS);
  struct plan *plan = plan_take(L);
  plan_read(L, rt, plan);
  p->core.detached = boolean_field(L, SLOT_PLAN, "detached");
  take_cgroup(L, rt, &p->core);

  struct spawn_failure failure;
  failure.interpreter[0] = '\0';
  const char *stage;
  lua_Integer failed = 0;
  int err = start(L, rt, p, plan, &failure, &stage, &failed);
  if (err) plan_restore_reader(rt, plan);
  else if (plan->slave >= 0) attach_terminal(L, p, plan->slave);
  if (!err) plan->slave = -1;
  settle_streams(L, !err);
  plan_give(L, plan);
  if (err) return push_failure(L, stage, err, failure.interpreter, failed);
  lua_pushvalue(L, SLOT_PROCESS);
  lua_rawsetp(L, LUA_REGISTRYINDEX, p);
  runtime_renew_canary(rt, L);
  lua_settop(L, SLOT_OTHERS);
  return 1 + SLOT_OTHERS - SLOT_PROCESS;
}

/* --- methods --- */

static int f_pid(lua_State *L) {
  lua_pushinteger(L, check_process(L, 1)->child.pid);
  return 1;
}

/* process:began() → when it was started, in seconds since the epoch */
static int f_began(lua_State *L) {
  lua_pushnumber(L, ((struct lua_process *)check_process(L, 1))->began);
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

/* process:nudge(): who waits for its end is woken to look whether something else is new, as the end of a stop plan. */
static int f_nudge(lua_State *L) {
  waitq_wake_all(&check_process(L, 1)->ended);
  return 0;
}

/* process:release(): lets it run; it is reaped if it ends in our time. */
static int f_release(lua_State *L) {
  spawn_unref(&check_process(L, 1)->child);
  return f_nudge(L);
}

static int f_kill_all(lua_State *L) {
  process_kill_all(&runtime_of(L)->loop);
  return 0;
}

static const luaL_Reg functions[] = {
    {"start", f_start}, {"kill_all", f_kill_all}, {NULL, NULL}};
static const luaL_Reg methods[] = {
    {"pid", f_pid},       {"began", f_began},   {"times", f_times},   {"status", f_status}, {"wait", f_wait},
    {"signal", f_signal}, {"let_go", f_let_go}, {"nudge", f_nudge},   {"release", f_release},
    {"signal_tree", f_signal_tree},
    {"has_group", f_has_group}, {"is_alive", f_is_alive}, {NULL, NULL}};
static const luaL_Reg meta[] = {{"__gc", f_gc}, {NULL, NULL}};

void process_register(lua_State *L, struct runtime *rt) {
  make_known_class(L, CLASS_PROCESS, CLASS, methods, meta, rt);
  usage_register(L, rt);
  plan_register(L, rt);
  set_functions(L, functions, rt);
}
