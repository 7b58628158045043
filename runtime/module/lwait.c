/* Waiting for any of several Processes, Readers and Queues. */
#include <math.h>

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

/* --- a process and all of its output --- */

/* Who waits for all of it is not woken for each part. */
struct whole_waiter {
  struct waiter waiter; /* first */
  struct whole *whole;
};

enum { WHOLE_READERS = 3 };

struct whole {
  struct task *task;
  uint32_t wait;
  bool had_ended; /* the process, when the wait began */
  size_t count;
  struct process *process;
  struct reader *readers[WHOLE_READERS];
  struct whole_waiter end, ends[WHOLE_READERS];
  uint64_t linger, limit; /* nanoseconds; 0: for ever */
};

static bool whole_is_over(const struct whole *w) {
  for (size_t i = 0; i < w->count; i++)
    if (!w->readers[i]->eof) return false;
  return w->process->has_ended;
}

static bool whole_overflowed(const struct whole *w) {
  for (size_t i = 0; i < w->count; i++)
    if (w->readers[i]->overflowed) return true;
  return false;
}

static void whole_wake(struct whole *w) {
  if (w->wait == w->task->waits) task_unpark(w->task, WAKE_EVENT);
}

static void whole_end_woken(struct waiter *waiter) { whole_wake(((struct whole_waiter *)waiter)->whole); }

static void whole_reader_woken(struct waiter *waiter) {
  struct whole *w = ((struct whole_waiter *)waiter)->whole;
  if (whole_is_over(w) || whole_overflowed(w)) whole_wake(w);
}

/* When its time is over, or a pipe that is held open after the exit has been silent for `linger`; 0: never. */
static uint64_t whole_due(const struct whole *w) {
  uint64_t limit = w->limit ? w->process->started_at + w->limit : 0;
  if (!w->process->has_ended || !w->linger) return limit;
  uint64_t last = w->process->ended_at;
  for (size_t i = 0; i < w->count; i++)
    if (w->readers[i]->active_at > last) last = w->readers[i]->active_at;
  return limit && limit < last + w->linger ? limit : last + w->linger;
}

/* Takes its waiters from their queues; true where that of the process was woken, and not by its end. */
static bool whole_clear(struct whole *w) {
  bool nudged = !waiter_queued(&w->end.waiter) && (w->had_ended || !w->process->has_ended);
  waiter_remove(&w->end.waiter);
  for (size_t i = 0; i < w->count; i++) waiter_remove(&w->ends[i].waiter);
  return nudged;
}

static int wait_whole_k(lua_State *L, int status, lua_KContext ctx) {
  struct runtime *rt = runtime_of(L);
  struct whole *w = lua_touserdata(L, -1);
  for (;; status = LUA_YIELD) {
    bool nudged = status == LUA_YIELD && whole_clear(w);
    enum wake wake = task_outcome(rt, L, status);
    bool over = whole_is_over(w), overflowed = whole_overflowed(w);
    if (over || overflowed || nudged || wake == WAKE_TIMEOUT) {
      lua_pushboolean(L, over && !overflowed);
      return 1;
    }
    w->wait = w->task->waits + 1;
    w->had_ended = w->process->has_ended;
    waitq_add(&w->process->ended, &w->end.waiter);
    for (size_t i = 0; i < w->count; i++)
      if (!w->readers[i]->eof) waitq_add(&w->readers[i]->ended, &w->ends[i].waiter);
    task_park(rt, L, NULL, whole_due(w), ctx, wait_whole_k);
  }
}

/* Seconds at `index` as nanoseconds, at least one; nil, and centuries, are 0: for ever. */
static uint64_t opt_span(lua_State *L, int index) {
  lua_Number seconds = luaL_optnumber(L, index, HUGE_VAL);
  return seconds < 1e9 ? 1 + (uint64_t)(seconds * 1e9) : 0;
}

/* core.wait_whole(Process, linger or nil, limit or nil, ...) → true once the Process has ended and all of the Readers
 * (nil and false are passed over) are at their ends; false where the caller has to look first: one of them is over its
 * capture limit, nothing came for `linger` seconds after the exit, `limit` seconds have passed since the start, or the
 * Process was nudged. */
static int f_wait_whole(lua_State *L) {
  struct runtime *rt = runtime_of(L);
  struct process *p = check_process(L, 1);
  uint64_t linger = opt_span(L, 2), limit = opt_span(L, 3);
  int first = 4, top = lua_gettop(L);
  luaL_argcheck(L, top < first + WHOLE_READERS, first, "too many to wait for");
  task_check(rt, L);
  struct whole *w = lua_newuserdatauv(L, sizeof *w, 0);
  *w = (struct whole){.task = rt->current, .process = p, .end = {{.wake = whole_end_woken}, w}, .linger = linger,
                      .limit = limit};
  for (int i = first; i <= top; i++) {
    if (!lua_toboolean(L, i)) continue;
    w->ends[w->count] = (struct whole_waiter){{.wake = whole_reader_woken}, w};
    w->readers[w->count++] = check_reader(L, i);
  }
  return wait_whole_k(L, LUA_OK, 0);
}

static const luaL_Reg functions[] = {
    {"wait_any", f_wait_any}, {"wait_readable", f_wait_readable}, {"wait_whole", f_wait_whole}, {NULL, NULL}};

void wait_register(lua_State *L, struct runtime *rt) {
  set_functions(L, functions, rt);
}
