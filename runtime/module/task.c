/* Tasks: coroutines, parking, the scheduler, cancellation as one task sees it. Which tasks a cancelled scope
 * concerns is decided in lua/corun/scope.lua. */
#include <math.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include "runtime.h"

#define TASK_CLASS "corun.Task"

/* After so many resumes, or reads that did not wait, the loop gets a turn, so that busy tasks starve neither timers
 * nor each other's children. */
#define RUNS_PER_TURN 64
#define READS_PER_TURN 16
#define IDLE_STACKS 8

/* --- ready tasks --- */

static void make_ready(struct task *t, enum wake wake) {
  struct runtime *rt = t->runtime;
  t->state = TASK_READY;
  t->wake = (unsigned char)wake;
  t->next = NULL;
  if (rt->last) rt->last->next = t;
  else rt->first = t;
  rt->last = t;
}

void task_unpark(struct task *t, enum wake wake) {
  if (t->state != TASK_PARKED) return;
  waiter_remove(&t->waiter);
  timer_stop(&t->runtime->loop, &t->timer);
  make_ready(t, wake);
}

static void waiter_woken(struct waiter *waiter) { task_unpark(task_of_waiter(waiter), WAKE_EVENT); }
static void timer_fired(struct timer *timer) { task_unpark(owner_of(timer, struct task, timer), WAKE_TIMEOUT); }

static struct task *take_ready(struct runtime *rt) {
  struct task *t = rt->first;
  if (!t) return NULL;
  rt->first = t->next;
  if (!rt->first) rt->last = NULL;
  t->next = NULL;
  return t;
}

/* --- the scheduler --- */

/* Calls a hook whose function and arguments are on the service thread. */
static bool call_hook(lua_State *S, int arguments, int results) {
  if (lua_pcall(S, arguments, results, 0) == LUA_OK) return true;
  fprintf(stderr, "corun: in a hook: %s\n", luaL_tolstring(S, -1, NULL));
  lua_pop(S, 2);
  return false;
}

/* A failed task: the hook sees the coroutine as the error left it, for the traceback; then its pending to-be-closed
 * variables run. They may block, on this C stack, as the task that they belong to. */
static void unwind(struct runtime *rt, struct task *t, int status) {
  lua_State *S = rt->service;
  void *error_key = &t->timer;
  runtime_push_hook(S, "task_failed");
  lua_rawgetp(S, LUA_REGISTRYINDEX, t);
  if (status == LUA_YIELD)
    lua_pushliteral(S, "attempt to yield from outside a coroutine (a task is not a coroutine of yours)");
  else
    lua_xmove(t->thread, S, 1);
  if (!call_hook(S, 2, 1)) lua_pushliteral(S, "error in error handling");
  lua_pushvalue(S, -1);
  lua_rawsetp(S, LUA_REGISTRYINDEX, error_key);
  if (status == LUA_YIELD) lua_pop(S, 1);
  else lua_xmove(S, t->thread, 1); /* what the __close handlers are given */
  rt->current = t;
  t->state = TASK_RUNNING;
  t->unwinding = true;
  status = lua_resetthread(t->thread);
  rt->current = NULL;
  t->failed = true;
  lua_rawgetp(S, LUA_REGISTRYINDEX, error_key);
  if (status != LUA_OK) {
    lua_xmove(t->thread, S, 1);
    if (lua_rawequal(S, -1, -2)) {
      lua_pop(S, 1);
    } else { /* a __close handler has failed, too: which of the errors it ended by */
      runtime_push_hook(S, "unwinding_failed");
      lua_insert(S, -3);
      push_task(S, t);
      if (!call_hook(S, 3, 1)) lua_pushliteral(S, "error in error handling");
    }
  }
  lua_xmove(S, t->thread, 1);
  lua_pushnil(S);
  lua_rawsetp(S, LUA_REGISTRYINDEX, error_key);
}

static void finish_task(struct runtime *rt, struct task *t, int status) {
  lua_State *S = rt->service;
  if (status != LUA_OK) unwind(rt, t, status);
  t->state = TASK_ENDED;
  if (t->has_joiners) waitq_wake_all(&t->joiners);
  runtime_push_hook(S, "task_ended");
  lua_rawgetp(S, LUA_REGISTRYINDEX, t); /* the userdata, anchored from the start to here */
  lua_pushnil(S);
  lua_rawsetp(S, LUA_REGISTRYINDEX, t);
  call_hook(S, 1, 0);
}

static void leave_for(struct runtime *rt, struct stack *to) {
  struct stack *here = rt->stack;
  rt->stack = to;
  stack_switch(here, to);
}

static void run_task(struct runtime *rt, struct task *t) {
  rt->current = t;
  t->state = TASK_RUNNING;
  if (t->stack) {
    /* It stands on a stack of its own: this one is left as an idle scheduler. */
    struct stack *to = t->stack;
    t->stack = NULL;
    rt->stack->next = rt->idle;
    rt->idle = rt->stack;
    rt->idle_count++;
    leave_for(rt, to);
    return;
  }
  int arguments = t->arguments, results;
  t->arguments = 0;
  int status = lua_resume(t->thread, NULL, arguments, &results);
  /* The task may have been moved to another C stack and back to this one in between: rt->stack is where we are. */
  rt->current = NULL;
  if (status == LUA_YIELD && t->state != TASK_RUNNING) {
    lua_pop(t->thread, results);
    return; /* parked, or ready again */
  }
  /* Still running and yet yielded: a yield of its own, which has no resumer. As in a main chunk, that is an error. */
  finish_task(rt, t, status);
}

static void turn(struct runtime *rt, bool block) {
  rt->runs = rt->reads = 0;
  if (block && rt->before_wait) rt->before_wait(rt);
  loop_turn(&rt->loop, block);
  rt->tick = loop_tick();
  runtime_deliver(rt);
}

/* Nothing can wake anybody any more. The hook says so to one or all, with core.wake_deadlocked. */
static void deadlock(struct runtime *rt) {
  runtime_push_hook(rt->service, "deadlocked");
  call_hook(rt->service, 0, 0);
  if (!rt->first) task_unpark(rt->root, WAKE_DEADLOCK);
}

static void schedule(void *arg) {
  struct runtime *rt = arg;
  for (;;) {
    if (rt->runs >= RUNS_PER_TURN) turn(rt, false);
    struct task *t = take_ready(rt);
    if (t) {
      rt->runs++;
      run_task(rt, t);
      continue;
    }
    runtime_deliver(rt);
    if (rt->first) continue;
    if (loop_alive(&rt->loop) || rt->root->state != TASK_PARKED) turn(rt, true);
    else deadlock(rt);
  }
}

static void trim_idle_stacks(struct runtime *rt) {
  while (rt->idle_count > IDLE_STACKS) {
    struct stack *stack = rt->idle;
    rt->idle = stack->next;
    rt->idle_count--;
    stack_free(stack);
  }
}

static bool has_scheduler(struct runtime *rt) {
  if (rt->idle) return true;
  rt->idle = stack_new(schedule, rt);
  if (rt->idle) rt->idle_count++;
  return rt->idle != NULL;
}

static void wait_on_stack(struct runtime *rt, struct task *t) {
  struct stack *scheduler = rt->idle;
  rt->idle = scheduler->next;
  rt->idle_count--;
  t->stack = rt->stack;
  rt->current = NULL;
  leave_for(rt, scheduler);
  trim_idle_stacks(rt);
}

/* --- waiting --- */

/* Only the task's own coroutine was resumed by the scheduler; a yield of any other would reach the user's resumer. */
static bool may_yield(const struct task *t, lua_State *L) { return t->thread == L && lua_isyieldable(L); }

static void leave(struct runtime *rt, lua_State *L, struct task *t, lua_KContext ctx, lua_KFunction k) {
  if (may_yield(t, L)) lua_yieldk(L, 0, ctx, k);
  else wait_on_stack(rt, t);
}

static struct task *current_task(struct runtime *rt, lua_State *L) {
  struct task *t = rt->current;
  if (!t) luaL_error(L, "corun: a blocking operation where nothing can wait (a hook or a closed state)");
  return t;
}

/* Whether the cancellation of a task reaches the place where it is, in the coroutine `at`. */
static bool is_concerned(struct runtime *rt, lua_State *L, const struct task *t, lua_State *at) {
  runtime_push_hook(L, "is_concerned");
  push_task(L, t);
  lua_pushinteger(L, closing_depth(rt, t, at));
  lua_call(L, 2, 1);
  bool concerned = lua_toboolean(L, -1);
  lua_pop(L, 1);
  return concerned;
}

bool task_is_cancelled(struct runtime *rt, lua_State *L) {
  struct task *t = current_task(rt, L);
  return t->cancelled && is_concerned(rt, L, t, L);
}

static void come_back(struct task *t, lua_State *L, enum wake wake, lua_KContext ctx, lua_KFunction k) {
  t->wake = (unsigned char)wake;
  if (!may_yield(t, L)) return;
  make_ready(t, wake);
  lua_yieldk(L, 0, ctx, k);
}

void task_park(struct runtime *rt, lua_State *L, struct waitq *queue, uint64_t due, lua_KContext ctx,
               lua_KFunction k) {
  struct task *t = current_task(rt, L);
  t->at = L;
  t->since = (uint32_t)uv_now(&rt->loop.uv); /* as old as the last turn, which is good enough, and costs nothing */
  t->waits++;
  if (task_is_cancelled(rt, L)) { /* while it was ready after another wait: nobody would wake it again */
    come_back(t, L, WAKE_CANCEL, ctx, k);
  } else if ((!may_yield(t, L) && !has_scheduler(rt)) || (due && timer_start(&rt->loop, &t->timer, due))) {
    come_back(t, L, WAKE_MEMORY, ctx, k);
  } else {
    t->state = TASK_PARKED;
    if (queue) waitq_add(queue, &t->waiter);
    leave(rt, L, t, ctx, k);
  }
}

static void stand_in_line(struct runtime *rt, lua_State *L, lua_KContext ctx, lua_KFunction k) {
  struct task *t = current_task(rt, L);
  t->at = L;
  t->wake = WAKE_EVENT;
  if (!may_yield(t, L) && !has_scheduler(rt)) return;
  make_ready(t, WAKE_EVENT);
  leave(rt, L, t, ctx, k);
}

void task_breathe(struct runtime *rt, lua_State *L, lua_KContext ctx, lua_KFunction k) {
  rt->runs = RUNS_PER_TURN;
  stand_in_line(rt, L, ctx, k);
}

void task_give_way(struct runtime *rt, lua_State *L, lua_KContext ctx, lua_KFunction k) {
  if (loop_tick() != rt->tick) rt->runs = RUNS_PER_TURN;
  stand_in_line(rt, L, ctx, k);
}

bool runtime_may_run(struct runtime *rt) {
  return rt->runs++ < RUNS_PER_TURN;
}

bool runtime_may_read(struct runtime *rt) {
  return rt->reads++ < READS_PER_TURN;
}

bool task_must_raise(struct runtime *rt, lua_State *L, enum wake wake) {
  return wake == WAKE_CANCEL ? is_concerned(rt, L, rt->current, L) : wake > WAKE_CANCEL;
}

int task_raise_wake(struct runtime *rt, lua_State *L, enum wake wake) {
  if (wake == WAKE_MEMORY) return luaL_error(L, "not enough memory");
  if (!task_must_raise(rt, L, wake)) return 0;
  runtime_push_hook(L, wake == WAKE_CANCEL ? "cancelled_error" : "deadlock_error");
  lua_call(L, 0, 1);
  return lua_error(L);
}

static int raise_cancelled_k(lua_State *L, int status, lua_KContext ctx) {
  (void)status, (void)ctx;
  return task_raise_wake(runtime_of(L), L, WAKE_CANCEL);
}

void task_check(struct runtime *rt, lua_State *L) {
  if (!task_is_cancelled(rt, L)) return;
  if (!runtime_may_run(rt)) task_breathe(rt, L, 0, raise_cancelled_k);
  task_raise_wake(rt, L, WAKE_CANCEL);
}

enum wake task_wake_reason(struct runtime *rt, int status) {
  return status == LUA_YIELD ? (enum wake)rt->current->wake : WAKE_EVENT;
}

enum wake task_outcome(struct runtime *rt, lua_State *L, int status) {
  enum wake wake = task_wake_reason(rt, status);
  if (wake < WAKE_CANCEL) return wake;
  task_raise_wake(rt, L, wake);
  return WAKE_EVENT;
}

uint64_t due_in(lua_Number seconds) {
  uint64_t now = loop_now();
  return seconds > 1e9 ? now + (uint64_t)1e18 : now + (uint64_t)ceil(seconds * 1e9);
}

static bool are_seconds(lua_State *L, int index) {
  return lua_type(L, index) == LUA_TNUMBER && lua_tonumber(L, index) >= 0;
}

lua_Number check_some_seconds(lua_State *L, int index, const char *what) {
  if (are_seconds(L, index)) return lua_tonumber(L, index);
  runtime_push_hook(L, "check_seconds");
  lua_pushvalue(L, index);
  lua_pushstring(L, what);
  lua_call(L, 2, 0);
  return luaL_argerror(L, index, "seconds expected"); /* the hook has raised */
}

uint64_t check_seconds(lua_State *L, int index, const char *what) {
  if (lua_isnoneornil(L, index)) return 0;
  return due_in(check_some_seconds(L, index, what));
}

uint64_t check_due(lua_State *L, int index) {
  if (lua_isnoneornil(L, index)) return 0;
  lua_Number seconds = luaL_checknumber(L, index);
  luaL_argcheck(L, seconds >= 0, index, "seconds expected, 0 or more");
  return due_in(seconds);
}

/* --- Task --- */

static struct task *check_task(lua_State *L, int index) { return check_object(L, index, CLASS_TASK, TASK_CLASS); }

static struct task *new_task(lua_State *L, struct runtime *rt) {
  struct task *t = lua_newuserdatauv(L, sizeof *t, 2);
  memset(t, 0, sizeof *t);
  t->runtime = rt;
  t->state = TASK_ENDED;
  t->waiter.wake = waiter_woken;
  t->timer.fire = timer_fired;
  t->id = rt->task_ids++;
  luaL_setmetatable(L, TASK_CLASS);
  return t;
}

/* core.task(scope, fn, ...) → Task, ready to run. */
static int f_task(lua_State *L) {
  struct runtime *rt = runtime_of(L);
  luaL_checktype(L, 2, LUA_TFUNCTION);
  int arguments = lua_gettop(L) - 2;
  struct task *t = new_task(L, rt);
  lua_insert(L, 1); /* task, scope, fn, ... */
  lua_State *thread = lua_newthread(L);
  lua_setiuservalue(L, 1, 1);
  lua_pushvalue(L, 2);
  lua_setiuservalue(L, 1, 2);
  luaL_checkstack(L, 1, NULL);
  if (!lua_checkstack(thread, arguments + 1)) return luaL_error(L, "too many arguments");
  lua_pushvalue(L, 1);
  lua_rawsetp(L, LUA_REGISTRYINDEX, t);
  t->thread = thread;
  t->arguments = arguments;
  lua_xmove(L, thread, arguments + 1);
  make_ready(t, WAKE_EVENT);
  lua_settop(L, 1);
  return 1;
}

void push_task(lua_State *L, const struct task *t) {
  lua_rawgetp(L, LUA_REGISTRYINDEX, t);
}

/* core.current() → the task that runs; in a hook, the main one */
static int f_current(lua_State *L) {
  struct runtime *rt = runtime_of(L);
  push_task(L, rt->current ? rt->current : rt->root);
  return 1;
}

static int f_scope(lua_State *L) {
  f_current(L);
  lua_getiuservalue(L, -1, 2);
  return 1;
}

/* core.place() → the current task, its scope; the coroutine that runs, unless that is the task's own; in how many
 * __close handlers it is */
static int f_place(lua_State *L) {
  struct runtime *rt = runtime_of(L);
  const struct task *t = rt->current ? rt->current : rt->root;
  lua_settop(L, 0);
  push_task(L, t);
  lua_getiuservalue(L, 1, 2);
  if (L == t->thread) lua_pushnil(L);
  else lua_pushthread(L);
  lua_pushinteger(L, rt->current ? closing_depth(rt, t, L) : 0);
  return 4;
}

/* core.enter(scope, cancelled): makes it the current task's scope. */
static int f_enter(lua_State *L) {
  struct runtime *rt = runtime_of(L);
  bool cancelled = lua_toboolean(L, 2);
  struct task *t = rt->current ? rt->current : rt->root;
  f_current(L);
  lua_pushvalue(L, 1);
  lua_setiuservalue(L, -2, 2);
  t->cancelled = cancelled;
  return 0;
}

/* core.cancel(task): its next blocking operations raise, and it is woken from the present one. Not where it waits in a
 * clean-up that may go on: it would lose its place in a queue. */
static int f_cancel(lua_State *L) {
  struct task *t = check_task(L, 1);
  t->cancelled = true;
  if (t->state == TASK_PARKED && is_concerned(t->runtime, L, t, t->at)) task_unpark(t, WAKE_CANCEL);
  return 0;
}

/* core.wake_deadlocked(task): what it waits for can never come; raises kind "deadlock" there. */
static int f_wake_deadlocked(lua_State *L) {
  task_unpark(check_task(L, 1), WAKE_DEADLOCK);
  return 0;
}

static int await_k(lua_State *L, int status, lua_KContext ctx) {
  struct runtime *rt = runtime_of(L);
  struct task *t = lua_touserdata(L, 1);
  for (;; status = LUA_YIELD) {
    if (t->state == TASK_ENDED) break;
    if (task_outcome(rt, L, status) == WAKE_TIMEOUT) {
      lua_pushboolean(L, 0);
      return 1;
    }
    task_park(rt, L, &t->joiners, (uint64_t)lua_tointeger(L, 2), ctx, await_k);
  }
  if (t->failed) {
    lua_pushnil(L);
    lua_pushvalue(t->thread, -1);
    lua_xmove(t->thread, L, 1);
    return 2;
  }
  int results = lua_gettop(t->thread);
  luaL_checkstack(L, results + 1, "too many results");
  if (!lua_checkstack(t->thread, results)) return luaL_error(L, "too many results");
  lua_pushboolean(L, 1);
  for (int i = 1; i <= results; i++) lua_pushvalue(t->thread, i);
  lua_xmove(t->thread, L, results);
  return results + 1;
}

/* task:_await(seconds?) → true, results… | nil, error | false on time-out */
static int f_await(lua_State *L) {
  struct runtime *rt = runtime_of(L);
  struct task *t = check_task(L, 1);
  uint64_t due = check_due(L, 2);
  if (t == rt->current) return luaL_error(L, "a task cannot await itself");
  lua_settop(L, 1);
  lua_pushinteger(L, (lua_Integer)due);
  if (t->state != TASK_ENDED) task_check(rt, L);
  if (!t->has_joiners) {
    waitq_init(&t->joiners);
    t->has_joiners = true;
  }
  return await_k(L, LUA_OK, 0);
}

/* task:_state() → "ready" | "waiting" | "running" | "ended" | "failed" */
static int f_state(lua_State *L) {
  struct task *t = check_task(L, 1);
  static const char *const names[] = {"ready", "waiting", "running", "ended"};
  lua_pushstring(L, t->failed ? "failed" : names[t->state]);
  return 1;
}

static int f_id(lua_State *L) {
  lua_pushinteger(L, check_task(L, 1)->id);
  return 1;
}

/* task:_thread() → its coroutine, for tracebacks */
static int f_thread(lua_State *L) {
  check_task(L, 1);
  lua_getiuservalue(L, 1, 1);
  return 1;
}

/* task:_waiting() → the coroutine in which it waits, since when (of core.now); nil when it does not wait */
static int f_waiting(lua_State *L) {
  struct task *t = check_task(L, 1);
  if (t->state != TASK_PARKED) return 0;
  lua_pushthread(t->at);
  lua_xmove(t->at, L, 1);
  uint32_t ago = (uint32_t)(loop_now() / 1000000) - t->since; /* libuv's clock, looked at now */
  if (ago > INT32_MAX) ago = 0;                               /* that of the wait was read from a finer one */
  lua_pushnumber(L, (lua_Number)loop_now() / 1e9 - (lua_Number)ago / 1e3);
  return 2;
}

static int f_task_scope(lua_State *L) {
  check_task(L, 1);
  lua_getiuservalue(L, 1, 2);
  return 1;
}

static int f_task_set_scope(lua_State *L) {
  check_task(L, 1);
  lua_settop(L, 2);
  lua_setiuservalue(L, 1, 2);
  return 0;
}

/* core.closing_depth() → how many __close handlers the task is in */
static int f_closing_depth(lua_State *L) {
  struct runtime *rt = runtime_of(L);
  lua_pushinteger(L, rt->current ? closing_depth(rt, rt->current, L) : 0);
  return 1;
}

/* core.check(): raises if the current task is cancelled. */
static int f_check(lua_State *L) {
  task_check(runtime_of(L), L);
  return 0;
}

/* --- registration --- */

/* None of these has a finalizer: a task is anchored until it has ended and a timer while it is set, and at the end of
 * the state, when all finalizers run, the tasks still need theirs. */

static const luaL_Reg functions[] = {
    {"task", f_task},   {"current", f_current}, {"scope", f_scope}, {"enter", f_enter},  {"place", f_place},
    {"cancel", f_cancel}, {"check", f_check}, {"wake_deadlocked", f_wake_deadlocked},
    {"closing_depth", f_closing_depth}, {NULL, NULL}};
static const luaL_Reg task_methods[] = {
    {"_await", f_await}, {"_state", f_state}, {"_id", f_id}, {"_thread", f_thread},
    {"_waiting", f_waiting},
    {"_scope", f_task_scope}, {"_set_scope", f_task_set_scope}, {NULL, NULL}};
static const luaL_Reg no_meta[] = {{NULL, NULL}};

void task_register(lua_State *L, struct runtime *rt) {
  closing_register(L, rt);
  make_known_class(L, CLASS_TASK, TASK_CLASS, task_methods, no_meta, rt);
  set_functions(L, functions, rt);
  /* The main thread is the root task: it runs already, and it can only wait on its C stack. */
  struct task *root = new_task(L, rt);
  lua_rawgeti(L, LUA_REGISTRYINDEX, LUA_RIDX_MAINTHREAD);
  root->thread = lua_tothread(L, -1);
  lua_setiuservalue(L, -2, 1);
  lua_rawsetp(L, LUA_REGISTRYINDEX, root);
  root->state = TASK_RUNNING;
  rt->root = rt->current = root;
}

void task_become_root(struct runtime *rt) {
  struct task *t = rt->current;
  if (t == rt->root) return;
  if (t) t->state = TASK_ENDED;
  rt->root->waits++;
  waiter_remove(&rt->root->waiter);
  timer_stop(&rt->loop, &rt->root->timer);
  rt->root->stack = NULL;
  rt->root->state = TASK_RUNNING;
  rt->current = rt->root;
}
