/* Waiting for any of several Processes, Readers and Queues. */
#include "process.h"
#include "reader.h"
#include "runtime.h"

struct any_waiter {
  struct waiter waiter; /* first */
  struct task *task;
  uint32_t wait;
  struct waitq *queue;
};

static void any_woken(struct waiter *waiter) {
  struct any_waiter *w = (struct any_waiter *)waiter;
  if (w->wait == w->task->waits) task_unpark(w->task, WAKE_EVENT); /* else the task was taken from there for good */
}

struct any {
  size_t count;
  struct any_waiter waiters[];
};

/* Takes them from their queues; false when one of them has been woken. */
static bool any_clear(struct any *any) {
  bool all = true;
  for (size_t i = 0; i < any->count; i++) {
    all = all && waiter_queued(&any->waiters[i].waiter);
    waiter_remove(&any->waiters[i].waiter);
  }
  return all;
}

static int wait_any_k(lua_State *L, int status, lua_KContext ctx) {
  struct runtime *rt = runtime_of(L);
  struct any *any = lua_touserdata(L, -1);
  for (;; status = LUA_YIELD) {
    bool happened = status == LUA_YIELD && !any_clear(any);
    enum wake wake = task_outcome(rt, L, status);
    if (happened || wake == WAKE_TIMEOUT) {
      lua_pushboolean(L, happened);
      return 1;
    }
    for (size_t i = 0; i < any->count; i++) {
      any->waiters[i].wait = rt->current->waits + 1;
      waitq_add(any->waiters[i].queue, &any->waiters[i].waiter);
    }
    task_park(rt, L, NULL, (uint64_t)lua_tointeger(L, -2), ctx, wait_any_k);
  }
}

static int wait_for_any(lua_State *L, struct waitq **queues, size_t count, uint64_t due) {
  struct runtime *rt = runtime_of(L);
  task_check(rt, L);
  lua_pushinteger(L, (lua_Integer)due);
  struct any *any = lua_newuserdatauv(L, sizeof *any + count * sizeof *any->waiters, 0);
  any->count = count;
  for (size_t i = 0; i < count; i++) {
    any->waiters[i] = (struct any_waiter){{.wake = any_woken}, rt->current, 0, queues[i]};
  }
  return wait_any_k(L, LUA_OK, 0);
}

enum { ANY_MOST = 16 };

/* core.wait_any(seconds or nil, ...) → true when one of the Processes has ended or one of the Readers is at its end
 * (or over its capture limit), at once if one already is, or when one of the Queues is woken; false on time-out. nil
 * arguments are passed over. */
static int f_wait_any(lua_State *L) {
  uint64_t due = check_due(L, 1);
  struct waitq *queues[ANY_MOST];
  size_t count = 0;
  luaL_argcheck(L, lua_gettop(L) <= ANY_MOST, 2, "too many to wait for");
  for (int i = 2; i <= lua_gettop(L); i++) {
    struct reader *r = test_reader(L, i);
    struct waitq *q = r ? NULL : test_queue(L, i);
    struct process *p = r || q || lua_isnil(L, i) ? NULL : check_process(L, i);
    if ((r && (r->eof || r->overflowed)) || (p && p->has_ended)) {
      lua_pushboolean(L, 1);
      return 1;
    }
    if (r) queues[count++] = &r->ended;
    if (p) queues[count++] = &p->ended;
    if (q) queues[count++] = q;
  }
  return wait_for_any(L, queues, count, due);
}

/* core.wait_readable(seconds or nil, ...) → true when one of the Readers gets more bytes, ends or is closed. */
static int f_wait_readable(lua_State *L) {
  uint64_t due = check_due(L, 1);
  struct waitq *queues[ANY_MOST];
  size_t count = 0;
  luaL_argcheck(L, lua_gettop(L) <= ANY_MOST, 2, "too many to wait for");
  for (int i = 2; i <= lua_gettop(L); i++) {
    struct reader *r = check_reader(L, i);
    reader_await(r);
    queues[count++] = &r->readable;
  }
  return wait_for_any(L, queues, count, due);
}

static const luaL_Reg functions[] = {
    {"wait_any", f_wait_any}, {"wait_readable", f_wait_readable}, {NULL, NULL}};

void wait_register(lua_State *L, struct runtime *rt) {
  set_functions(L, functions, rt);
}
