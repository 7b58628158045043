/* What objects written in Lua wait in: sleep, a queue of tasks, a timer. */
#include <string.h>

#include "runtime.h"

#define QUEUE_CLASS "corun.core.Queue"
#define TIMER_CLASS "corun.core.Timer"

/* --- sleep --- */

static int sleep_k(lua_State *L, int status, lua_KContext ctx) {
  struct runtime *rt = runtime_of(L);
  for (;; status = LUA_YIELD) {
    if (task_outcome(rt, L, status) == WAKE_TIMEOUT) return 0;
    task_park(rt, L, NULL, (uint64_t)lua_tointeger(L, 1), ctx, sleep_k);
  }
}

static int ready_k(lua_State *L, int status, lua_KContext ctx) {
  (void)status, (void)ctx;
  struct runtime *rt = runtime_of(L);
  return task_is_cancelled(rt, L) ? task_raise_wake(rt, L, WAKE_CANCEL) : 0;
}

/* corun.sleep(seconds), see time.lua. For 0 no timer is set: the task goes to the end of those that are ready. */
static int f_sleep(lua_State *L) {
  struct runtime *rt = runtime_of(L);
  lua_settop(L, 1);
  lua_Number seconds = check_some_seconds(L, 1, "sleep");
  task_check(rt, L);
  lua_settop(L, 0);
  if (seconds == 0) {
    task_give_way(rt, L, 0, ready_k);
    return ready_k(L, LUA_OK, 0);
  }
  lua_pushinteger(L, (lua_Integer)due_in(seconds));
  return sleep_k(L, LUA_OK, 0);
}

/* core.turn(): the loop looks what has happened, and the tasks that are ready run. */
static int f_turn(lua_State *L) {
  struct runtime *rt = runtime_of(L);
  task_check(rt, L);
  lua_settop(L, 0);
  task_breathe(rt, L, 0, ready_k);
  return ready_k(L, LUA_OK, 0);
}

/* core.now() → seconds of the monotonic clock */
static int f_now(lua_State *L) {
  lua_pushnumber(L, (lua_Number)loop_now() / 1e9);
  return 1;
}

/* --- Queue: what a Lua object makes its tasks wait in --- */

static int f_queue(lua_State *L) {
  struct waitq *q = lua_newuserdatauv(L, sizeof *q, 0);
  waitq_init(q);
  luaL_setmetatable(L, QUEUE_CLASS);
  return 1;
}

struct waitq *test_queue(lua_State *L, int index) { return test_object(L, index, CLASS_QUEUE); }

static struct waitq *check_queue(lua_State *L) { return check_object(L, 1, CLASS_QUEUE, QUEUE_CLASS); }

static int queue_wait_k(lua_State *L, int status, lua_KContext ctx) {
  struct runtime *rt = runtime_of(L);
  for (;; status = LUA_YIELD) {
    if (status == LUA_YIELD) {
      enum wake wake = task_wake_reason(rt, status);
      /* Whoever was woken has been given what it waited for, though it was cancelled since. */
      if (wake < WAKE_CANCEL) {
        lua_pushboolean(L, wake == WAKE_EVENT);
        return 1;
      }
      task_raise_wake(rt, L, wake);
    }
    task_park(rt, L, lua_touserdata(L, 1), (uint64_t)lua_tointeger(L, 2), ctx, queue_wait_k);
  }
}

/* queue:wait(seconds?) → true once it was woken, or false on time-out. Raises when the task is cancelled before it was
 * woken. */
static int f_queue_wait(lua_State *L) {
  check_queue(L);
  uint64_t due = check_due(L, 2);
  task_check(runtime_of(L), L);
  lua_settop(L, 1);
  lua_pushinteger(L, (lua_Integer)due);
  return queue_wait_k(L, LUA_OK, 0);
}

/* queue:wake(): all that wait now */
static int f_queue_wake(lua_State *L) {
  waitq_wake_all(check_queue(L));
  return 0;
}

/* queue:wake_one() → the task that has waited longest, or nil when nobody waits */
static int f_queue_wake_one(lua_State *L) {
  struct waitq *q = check_queue(L);
  if (waitq_empty(q)) return 0;
  push_task(L, task_of_waiter(q->head.next));
  waitq_wake_one(q);
  return 1;
}

/* --- Timer: calls the hook timer_fired(object) --- */

struct lua_timer {
  struct timer timer;
  struct post post;
  struct runtime *runtime;
};

static void deliver_timer(struct runtime *rt, lua_State *L, struct post *post) {
  (void)rt;
  struct lua_timer *t = owner_of(post, struct lua_timer, post);
  runtime_push_hook(L, "timer_fired");
  lua_rawgetp(L, LUA_REGISTRYINDEX, t);
  lua_getiuservalue(L, -1, 1);
  lua_remove(L, -2);
  lua_pushnil(L);
  lua_rawsetp(L, LUA_REGISTRYINDEX, t);
}

static void lua_timer_fired(struct timer *timer) {
  struct lua_timer *t = owner_of(timer, struct lua_timer, timer);
  runtime_post(t->runtime, &t->post, deliver_timer);
}

static void timer_clear(lua_State *L, struct lua_timer *t) {
  if (t->runtime->closed) return;
  timer_stop(&t->runtime->loop, &t->timer);
  post_remove(&t->post);
  lua_pushnil(L);
  lua_rawsetp(L, LUA_REGISTRYINDEX, t);
}

/* Sets the timer on top of the stack: anchored as long as it is. */
static void timer_set(lua_State *L, struct lua_timer *t, lua_Number at) {
  lua_pushvalue(L, -1);
  lua_rawsetp(L, LUA_REGISTRYINDEX, t);
  uint64_t due = at <= 0 ? 1 : at > 9e9 ? (uint64_t)9e18 : (uint64_t)(at * 1e9);
  if (timer_start(&t->runtime->loop, &t->timer, due)) luaL_error(L, "not enough memory");
}

/* core.timer(object, at) → Timer, which fires at that time of core.now() */
static int f_timer(lua_State *L) {
  lua_Number at = luaL_checknumber(L, 2);
  struct lua_timer *t = lua_newuserdatauv(L, sizeof *t, 1);
  *t = (struct lua_timer){.timer = {.fire = lua_timer_fired}, .runtime = runtime_of(L)};
  luaL_setmetatable(L, TIMER_CLASS);
  lua_pushvalue(L, 1);
  lua_setiuservalue(L, -2, 1);
  timer_set(L, t, at);
  return 1;
}

/* timer:set(at): fires at that time instead; nil stops it */
static int f_timer_set(lua_State *L) {
  struct lua_timer *t = check_object(L, 1, CLASS_TIMER, TIMER_CLASS);
  lua_Number at = luaL_optnumber(L, 2, -1);
  bool stops = lua_isnoneornil(L, 2);
  timer_clear(L, t);
  lua_settop(L, 1);
  if (!stops) timer_set(L, t, at);
  return 0;
}

static const luaL_Reg functions[] = {{"sleep", f_sleep}, {"turn", f_turn},   {"now", f_now},
                                     {"queue", f_queue}, {"timer", f_timer}, {NULL, NULL}};
static const luaL_Reg queue_methods[] = {
    {"wait", f_queue_wait}, {"wake", f_queue_wake}, {"wake_one", f_queue_wake_one}, {NULL, NULL}};
static const luaL_Reg timer_methods[] = {{"set", f_timer_set}, {NULL, NULL}};
static const luaL_Reg no_meta[] = {{NULL, NULL}}; /* no finalizers, for the reason given in task.c */

void queue_register(lua_State *L, struct runtime *rt) {
  make_known_class(L, CLASS_QUEUE, QUEUE_CLASS, queue_methods, no_meta, rt);
  make_known_class(L, CLASS_TIMER, TIMER_CLASS, timer_methods, no_meta, rt);
  set_functions(L, functions, rt);
}
