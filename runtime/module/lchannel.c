/* Channel: values on their way from task to task; and select over several channels.
 *
 * A value is in one of three places: on the Lua stack of a task that waits to send it, in the channel's buffer, on the
 * Lua stack of the task that has received it. It goes from one to the next inside one C function, which nothing
 * interrupts. A cancellation or a time-out only ends a wait, and one that comes after the value has gone comes too
 * late: so no value is lost, and none is there twice.
 *
 * Nobody waits to send while there is room, and nobody waits to receive while there is a value: first come, first
 * served on both sides.
 */
#include <limits.h>
#include <math.h>
#include <stdint.h>

#include "runtime.h"

#define CLASS "corun.Channel"
#define SMALL 64

struct channel {
  struct waitq senders, receivers;
  lua_Integer capacity;
  lua_Integer size, first, count; /* the buffer: a ring in the list that is its first user value */
  bool closed;
};

/* A task in a select waits in several queues at once. */
struct alternative {
  struct waiter waiter; /* first */
  struct choice *choice;
};

struct choice {
  struct task *task;
  uint32_t wait; /* which of the task's waits it is */
  int count, start;
  int taken; /* the number of the alternative that somebody else has completed, or 0 */
  struct alternative alternatives[];
};

static bool is_waiting(const struct choice *choice) {
  return choice->task->state == TASK_PARKED && choice->task->waits == choice->wait;
}

/* A channel was closed: look again. */
static void alternative_woken(struct waiter *waiter) {
  struct choice *choice = ((struct alternative *)waiter)->choice;
  if (is_waiting(choice)) task_unpark(choice->task, WAKE_EVENT);
}

static void choice_leave(struct choice *choice) {
  for (int i = 0; i < choice->count; i++) waiter_remove(&choice->alternatives[i].waiter);
}

/* --- the other side --- */

struct partner {
  struct task *task;        /* NULL: nobody waits */
  struct alternative *with; /* of its select, or NULL */
};

static struct partner first_of(struct waitq *q) {
  while (!waitq_empty(q)) {
    struct waiter *w = q->head.next;
    if (w->wake != alternative_woken) return (struct partner){task_of_waiter(w), NULL};
    struct alternative *a = (struct alternative *)w;
    if (is_waiting(a->choice)) return (struct partner){a->choice->task, a};
    waiter_remove(w); /* timed out or cancelled, and not run since */
  }
  return (struct partner){NULL, NULL};
}

static void complete(struct partner p) {
  if (p.with) {
    p.with->choice->taken = (int)(p.with - p.with->choice->alternatives) + 1;
    choice_leave(p.with->choice);
  }
  task_unpark(p.task, WAKE_EVENT);
}

/* What a select has on its stack; a plain send has the channel, when it is due, the seconds, the value. */
enum { CASES = 1, DUE, SECONDS, CHOICE, RECEIVED };
enum { CHANNEL = 1, VALUE = SECONDS + 1 };

/* Takes the value from the stack of the task that waits to send it. */
static void take_from(lua_State *L, struct partner p) {
  lua_State *S = p.task->at;
  if (p.with) lua_rawgeti(S, CASES, 2 * (p.with - p.with->choice->alternatives) + 2);
  lua_xmove(S, L, 1); /* a plain send sees by its stack that the value has gone */
  complete(p);
}

/* A new list of `size` for the values of the channel at `index`. It grows by doubling, whatever the capacity is. */
static void resize(lua_State *L, struct channel *c, int index, lua_Integer size) {
  if (size > c->capacity) size = c->capacity;
  lua_createtable(L, (int)size, 0);
  lua_getiuservalue(L, index, 1);
  for (lua_Integer i = 0; i < c->count; i++) {
    lua_rawgeti(L, -1, (c->first + i) % c->size + 1);
    lua_rawseti(L, -3, i + 1);
  }
  lua_pop(L, 1);
  lua_setiuservalue(L, index, 1);
  c->first = 0;
  c->size = size;
}

static void put(lua_State *L, struct channel *c, int index) {
  if (c->count == c->size) resize(L, c, index, c->size ? 2 * c->size : SMALL);
  lua_getiuservalue(L, index, 1);
  lua_insert(L, -2);
  lua_rawseti(L, -2, (c->first + c->count) % c->size + 1);
  lua_pop(L, 1);
  c->count++;
}

/* Sends the value on top of the stack and takes it off, if that is possible now. The channel is at `index`. */
static bool try_send(lua_State *L, struct channel *c, int index) {
  struct partner receiver = first_of(&c->receivers);
  if (receiver.task) {
    lua_xmove(L, receiver.task->at, 1);
    complete(receiver);
    return true;
  }
  if (c->count >= c->capacity) return false;
  put(L, c, index);
  return true;
}

/* Pushes the next value, if there is one now; at the end of a closed channel, nil. */
static bool try_receive(lua_State *L, struct channel *c, int index) {
  struct partner sender = first_of(&c->senders);
  if (!c->count) {
    if (sender.task) take_from(L, sender);
    else if (c->closed) lua_pushnil(L);
    else return false;
    return true;
  }
  lua_Integer at = c->first + 1;
  lua_getiuservalue(L, index, 1);
  lua_rawgeti(L, -1, at);
  lua_pushnil(L);
  lua_rawseti(L, -3, at); /* the slot stays, and a sender's value that takes its place needs no memory */
  lua_remove(L, -2);
  c->count--;
  c->first = at % c->size;
  if (sender.task) {
    take_from(L, sender);
    put(L, c, index);
  } else if (!c->count && c->size > SMALL) {
    resize(L, c, index, SMALL); /* a burst is over */
  }
  return true;
}

/* --- send and receive --- */

static struct channel *check(lua_State *L, int index) { return check_object(L, index, CLASS_CHANNEL, CLASS); }

/* Leaves the channel, when it is due, and the seconds; a value on top of them stays there. */
static void prepare(lua_State *L, int seconds, bool has_value) {
  uint64_t due = check_seconds(L, seconds, has_value ? "send" : "receive");
  lua_settop(L, seconds);
  lua_pushinteger(L, (lua_Integer)due);
  lua_insert(L, DUE);
  if (has_value) lua_insert(L, SECONDS); /* the seconds below the value */
}

static int raise_timeout(lua_State *L, const char *what) {
  runtime_push_hook(L, "timeout_error");
  lua_pushstring(L, what);
  lua_pushvalue(L, SECONDS);
  lua_call(L, 2, 1);
  return lua_error(L);
}

static int raise_closed(lua_State *L, const char *what) {
  return raise_error(L, "closed", 0, "%s: the channel is closed", what);
}

static int finished_k(lua_State *L, int status, lua_KContext results) {
  (void)L, (void)status;
  return (int)results;
}

/* The operation is done, with its results on top. One that did not have to wait now and then lets the others have their
 * turn: only then, so that it has its place among those that wait. */
static int finished(lua_State *L, struct runtime *rt, int status, int results) {
  if (status == LUA_OK && !runtime_may_run(rt)) task_breathe(rt, L, results, finished_k);
  return results;
}

static int begin(lua_State *L, lua_KFunction k) {
  task_check(runtime_of(L), L);
  return k(L, LUA_OK, 0);
}

static int send_k(lua_State *L, int status, lua_KContext ctx) {
  struct runtime *rt = runtime_of(L);
  struct channel *c = lua_touserdata(L, CHANNEL);
  for (;; status = LUA_YIELD) {
    if (lua_gettop(L) < VALUE) return 0;
    enum wake wake = task_outcome(rt, L, status);
    if (c->closed) return raise_closed(L, "send");
    if (try_send(L, c, CHANNEL)) return finished(L, rt, status, 0);
    if (wake == WAKE_TIMEOUT) return raise_timeout(L, "send: nobody has received");
    task_park(rt, L, &c->senders, (uint64_t)lua_tointeger(L, DUE), ctx, send_k);
  }
}

static int receive_k(lua_State *L, int status, lua_KContext ctx) {
  struct runtime *rt = runtime_of(L);
  struct channel *c = lua_touserdata(L, CHANNEL);
  for (;; status = LUA_YIELD) {
    if (lua_gettop(L) > SECONDS) return 1;
    enum wake wake = task_outcome(rt, L, status);
    if (try_receive(L, c, CHANNEL)) return finished(L, rt, status, 1);
    if (wake == WAKE_TIMEOUT) return raise_timeout(L, "receive: nothing was sent");
    task_park(rt, L, &c->receivers, (uint64_t)lua_tointeger(L, DUE), ctx, receive_k);
  }
}

/* channel:send(value, seconds?) */
static int f_send(lua_State *L) {
  check(L, 1);
  lua_settop(L, 3);
  if (lua_isnil(L, 2)) return raise_argument(L, 2, "send", "a value other than nil (the end)");
  prepare(L, 3, true);
  return begin(L, send_k);
}

/* channel:receive(seconds?) → the value, or nil at the end */
static int f_receive(lua_State *L) {
  check(L, 1);
  lua_settop(L, 2);
  prepare(L, 2, false);
  return begin(L, receive_k);
}

/* for value in channel do … */
static int f_call(lua_State *L) {
  check(L, 1);
  lua_settop(L, 1);
  lua_pushinteger(L, 0);
  lua_pushnil(L);
  return begin(L, receive_k);
}

static int f_close(lua_State *L) {
  struct channel *c = check(L, 1);
  c->closed = true;
  waitq_wake_all(&c->receivers);
  waitq_wake_all(&c->senders);
  return 0;
}

static int f_len(lua_State *L) {
  lua_pushinteger(L, check(L, 1)->count);
  return 1;
}

static int f_tostring(lua_State *L) {
  struct channel *c = check(L, 1);
  if (c->capacity == LUA_MAXINTEGER) lua_pushliteral(L, "any number");
  else lua_pushinteger(L, c->capacity);
  lua_pushfstring(L, "Channel (%s%I of %s values)", c->closed ? "closed, " : "", (LUAI_UACINT)c->count,
                  lua_tostring(L, -1));
  return 1;
}

/* core.channel(capacity?) → Channel */
static int f_channel(lua_State *L) {
  int is_integer;
  lua_settop(L, 1);
  lua_Integer capacity = lua_tointegerx(L, 1, &is_integer);
  if (lua_isnil(L, 1)) capacity = 0;
  else if (lua_type(L, 1) == LUA_TNUMBER && lua_tonumber(L, 1) == (lua_Number)INFINITY) capacity = LUA_MAXINTEGER;
  else if (!is_integer || lua_type(L, 1) != LUA_TNUMBER || capacity < 0)
    return raise_argument(L, 1, "channel", "a number of values (0 or more)");
  struct channel *c = lua_newuserdatauv(L, sizeof *c, 1);
  *c = (struct channel){.capacity = capacity};
  waitq_init(&c->senders);
  waitq_init(&c->receivers);
  luaL_setmetatable(L, CLASS);
  lua_newtable(L);
  lua_setiuservalue(L, -2, 1);
  return 1;
}

/* --- select --- */

/* Makes CASES a table of its own: channel and value (or nil) of each case, one after the other. */
static int read_cases(lua_State *L) {
  static const char expected[] = "a list of channels and {channel, value to send}";
  if (!lua_istable(L, 1)) return raise_argument(L, 1, "select", expected);
  lua_Unsigned count = lua_rawlen(L, 1);
  if (!count || count > INT_MAX / 2) return raise_argument(L, 1, "select", expected);
  lua_createtable(L, (int)count * 2, 0);
  for (int i = 0; i < (int)count; i++) {
    lua_settop(L, 3);
    lua_rawgeti(L, 1, i + 1);
    if (lua_istable(L, 4)) {
      lua_rawgeti(L, 4, 2);
      if (lua_isnil(L, 5)) return raise_argument(L, 5, "select", "a value other than nil to send");
      lua_rawseti(L, 3, 2 * i + 2);
      lua_rawgeti(L, 4, 1);
      lua_replace(L, 4);
    }
    if (!test_object(L, 4, CLASS_CHANNEL)) return raise_argument(L, 4, "select", expected);
    lua_rawseti(L, 3, 2 * i + 1);
  }
  lua_replace(L, 1);
  return (int)count;
}

/* True when a case could be completed now; its number and what it gives are on top then. */
static bool try_cases(lua_State *L, struct choice *choice) {
  for (int n = 0; n < choice->count; n++) {
    int i = (choice->start + n) % choice->count; /* not always the first: none of them starves */
    lua_rawgeti(L, CASES, 2 * i + 1);
    struct channel *c = lua_touserdata(L, -1);
    int index = lua_gettop(L);
    lua_pushinteger(L, i + 1);
    if (lua_rawgeti(L, CASES, 2 * i + 2) == LUA_TNIL) {
      lua_pop(L, 1);
      if (try_receive(L, c, index)) return true;
    } else {
      if (c->closed) raise_closed(L, "select");
      if (try_send(L, c, index)) {
        lua_pushboolean(L, true);
        return true;
      }
    }
    lua_settop(L, CHOICE);
  }
  return false;
}

static void queue_cases(lua_State *L, struct choice *choice) {
  choice->wait = choice->task->waits + 1;
  for (int i = 0; i < choice->count; i++) {
    lua_rawgeti(L, CASES, 2 * i + 1);
    struct channel *c = lua_touserdata(L, -1);
    bool sends = lua_rawgeti(L, CASES, 2 * i + 2) != LUA_TNIL;
    waitq_add(sends ? &c->senders : &c->receivers, &choice->alternatives[i].waiter);
    lua_pop(L, 2);
  }
}

static int select_k(lua_State *L, int status, lua_KContext ctx) {
  struct runtime *rt = runtime_of(L);
  struct choice *choice = lua_touserdata(L, CHOICE);
  for (;; status = LUA_YIELD) {
    choice_leave(choice);
    if (choice->taken) {
      if (lua_gettop(L) < RECEIVED) lua_pushboolean(L, true);
      lua_pushinteger(L, choice->taken);
      lua_insert(L, -2);
      return 2;
    }
    enum wake wake = task_outcome(rt, L, status);
    if (try_cases(L, choice)) return finished(L, rt, status, 2);
    if (wake == WAKE_TIMEOUT) return raise_timeout(L, "select: nothing came");
    queue_cases(L, choice);
    task_park(rt, L, NULL, (uint64_t)lua_tointeger(L, DUE), ctx, select_k);
  }
}

/* Where to begin: were it always with the next case, two selects in turn would each always begin with the same. */
static unsigned next_random(struct runtime *rt) {
  rt->random = rt->random * 1664525 + 1013904223;
  return rt->random >> 16;
}

/* core.select(cases, seconds?) → number of the case, the value received or true */
static int f_select(lua_State *L) {
  struct runtime *rt = runtime_of(L);
  lua_settop(L, 2);
  int count = read_cases(L);
  lua_settop(L, 2);
  uint64_t due = check_seconds(L, 2, "select");
  lua_pushinteger(L, (lua_Integer)due);
  lua_insert(L, DUE);
  struct choice *choice = lua_newuserdatauv(L, sizeof *choice + (size_t)count * sizeof *choice->alternatives, 0);
  *choice = (struct choice){.task = rt->current, .count = count, .start = (int)(next_random(rt) % (unsigned)count)};
  for (int i = 0; i < count; i++)
    choice->alternatives[i] = (struct alternative){.waiter = {.wake = alternative_woken}, .choice = choice};
  return begin(L, select_k);
}

static const luaL_Reg functions[] = {{"channel", f_channel}, {"select", f_select}, {NULL, NULL}};
static const luaL_Reg methods[] = {{"send", f_send}, {"receive", f_receive}, {"close", f_close}, {NULL, NULL}};
static const luaL_Reg meta[] = {{"__call", f_call}, {"__close", f_close},       {"__len", f_len},
                                {"__tostring", f_tostring}, {NULL, NULL}};

void channel_register(lua_State *L, struct runtime *rt) {
  make_known_class(L, CLASS_CHANNEL, CLASS, methods, meta, rt);
  set_functions(L, functions, rt);
}
