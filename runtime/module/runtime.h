/* The runtime of one Lua state: its loop, its tasks, and how a blocking operation waits.
 *
 * Every function of the module has the runtime as its first upvalue. A blocking operation is written as a
 * continuation that can be entered again and again:
 *
 *   static int read_k(lua_State *L, int status, lua_KContext ctx) {
 *     struct runtime *rt = runtime_of(L);
 *     for (;; status = LUA_YIELD) {
 *       enum wake wake = task_outcome(rt, L, status);     // raises if the task was cancelled
 *       if (what we want is there) return …;
 *       if (wake == WAKE_TIMEOUT) return …;
 *       task_park(rt, L, &queue, due, ctx, read_k);       // yields, or comes back on the same C stack
 *     }
 *   }
 *
 * Its state between two rounds lies on the Lua stack. A libuv callback only wakes waiters; woken tasks are resumed
 * by the scheduler, between two turns of the loop, and nowhere else.
 */
#ifndef CORUN_RUNTIME_H
#define CORUN_RUNTIME_H

#include <lauxlib.h>
#include <lua.h>
#include <signal.h>
#include <stdatomic.h>
#include <stddef.h>

#include "loop.h"
#include "stack.h"
#include "waiter.h"

enum wake {
  WAKE_EVENT,
  WAKE_TIMEOUT,
  WAKE_CANCEL,
  WAKE_DEADLOCK, /* nothing is left that could wake anybody */
  WAKE_MEMORY,   /* there was none for the wait */
};

enum task_state { TASK_READY, TASK_PARKED, TASK_RUNNING, TASK_ENDED };

/* A task: a coroutine with a scope. Lives in a userdata whose first user value is its thread and whose second is
 * its scope; the scope holds the userdata until the task has ended. */
struct task {
  struct waiter waiter; /* first: task_of_waiter */
  struct timer timer;
  struct runtime *runtime;
  lua_State *thread;
  lua_State *at;        /* the coroutine in which it waits or last waited: its own or one of the user's */
  uint32_t since;       /* when it began to wait, in the loop's milliseconds */
  uint32_t waits;       /* how often it has waited: tells a wait that is over */
  struct stack *stack;  /* where it waits, if that is a C stack; else NULL: it yielded */
  struct task *next;    /* in the ready list */
  struct waitq joiners; /* NULL ring until somebody awaits */
  unsigned id;
  unsigned char state;  /* enum task_state */
  unsigned char wake;   /* enum wake */
  bool cancelled;       /* its scope is: blocking operations raise */
  bool failed;          /* ended by an error, which is on top of its stack */
  bool has_joiners;
  bool unwinding;       /* its pending __close handlers run */
  int arguments;        /* for the first resume */
};

/* Something that Lua is told of between two turns: the end of a task or process, a timer. */
struct post {
  struct post *prev, *next;
  void (*deliver)(struct runtime *rt, lua_State *L, struct post *post); /* pushes hook and arguments */
};

/* What methods look for in most of their calls, see check_object. */
enum class { CLASS_CHANNEL, CLASS_PROCESS, CLASS_QUEUE, CLASS_READER, CLASS_TASK, CLASS_TIMER, CLASS_WRITER, CLASSES };

#define RUNTIME_SIGNALS 65 /* Linux has 64 */

struct runtime {
  struct loop loop;
  lua_State *service;           /* the thread on which hooks run; they must not block */
  struct task *root;            /* the main thread as a task */
  struct task *current;         /* NULL in the scheduler and in hooks */
  struct task *first, *last;    /* ready, in order */
  int runs;                     /* tasks resumed since the last turn */
  uint64_t tick;                /* loop_tick at the last turn */
  unsigned random;              /* where the next select begins */
  int reads;                    /* reads made without a turn, see runtime_may_read */
  struct post posts;            /* ring */
  struct stack program;         /* the stack the program started on */
  struct stack *stack;          /* the one we are on */
  struct stack *idle;           /* schedulers left behind */
  int idle_count;
  unsigned task_ids, searches;  /* the last serial numbers */
  const void *classes[CLASSES]; /* their metatables, by lua_topointer */
  lua_CFunction pcall, xpcall;  /* to know them in a call stack */
  lua_CFunction wrapped;        /* what coroutine.wrap returns */
  void *canary;                 /* the newest one, see runtime_renew_canary */
  bool closed, exiting;
  int pid;                      /* a fork's copy of us must not touch our children */
  void (*before_output)(struct runtime *); /* of the host's REPL, or NULL */
  void (*before_wait)(struct runtime *);
  uv_async_t signalled;
  atomic_bool signals_pending;
  atomic_int pending[RUNTIME_SIGNALS]; /* how often each has come since the last turn */
  atomic_bool listens[RUNTIME_SIGNALS];
  atomic_bool busy;             /* it has children or tasks: the signals that end a program are ours */
};

#define owner_of(pointer, type, field) ((type *)((char *)(pointer) - offsetof(type, field)))

static inline struct runtime *runtime_of(lua_State *L) {
  return lua_touserdata(L, lua_upvalueindex(1));
}

/* The same where there is no upvalue; NULL before corun.core was loaded. */
struct runtime *runtime_of_state(lua_State *L);

/* --- waiting (task.c) --- */

/* Raises kind "cancelled" when the current task is; the first thing in every blocking operation. Now and then it lets
 * the others have a turn before: a loop that swallows the error must not keep them from ending. */
void task_check(struct runtime *rt, lua_State *L);
/* Whether it would. */
bool task_is_cancelled(struct runtime *rt, lua_State *L);

/* How the wait ended, for status LUA_YIELD; WAKE_EVENT on the first round. Raises when the task was cancelled. */
enum wake task_outcome(struct runtime *rt, lua_State *L, int status);
/* The same without raising. */
enum wake task_wake_reason(struct runtime *rt, int status);
/* Whether task_raise_wake would raise. */
bool task_must_raise(struct runtime *rt, lua_State *L, enum wake wake);
/* Raises for these last three; returns where a clean-up is going on that the cancellation leaves alone. */
int task_raise_wake(struct runtime *rt, lua_State *L, enum wake wake);

/* Parks the current task until `queue` (may be NULL) wakes it or the loop's clock reaches `due` (0: never); in a
 * cancelled scope not at all. It always comes back in `k`, so that what was prepared for the wait can be undone. */
void task_park(struct runtime *rt, lua_State *L, struct waitq *queue, uint64_t due, lua_KContext ctx,
               lua_KFunction k);

/* Lets the loop and the other tasks have a turn: parks the current task as ready. */
void task_breathe(struct runtime *rt, lua_State *L, lua_KContext ctx, lua_KFunction k);
/* Lets those run that are ready; the loop gets its turn only now and then. */
void task_give_way(struct runtime *rt, lua_State *L, lua_KContext ctx, lua_KFunction k);

static inline struct task *task_of_waiter(struct waiter *waiter) { return (struct task *)waiter; }

/* Takes a parked task from what it waits for; for waiters of an operation's own. */
void task_unpark(struct task *t, enum wake wake);

/* False now and then: then somebody who has read much without waiting breathes. */
bool runtime_may_read(struct runtime *rt);

/* The state ends while this task (or none) runs, and it will not be continued: go on as the root task. */
void task_become_root(struct runtime *rt);

/* Seconds at `index` as a due time (nil: 0, never). Argument error for what is no time. */
uint64_t check_due(lua_State *L, int index);
/* The same, with an error that names `what`, at the script's line. */
uint64_t check_seconds(lua_State *L, int index, const char *what);
/* The same for what must not be nil, as seconds; and the time in so many. */
lua_Number check_some_seconds(lua_State *L, int index, const char *what);
uint64_t due_in(lua_Number seconds);

/* A task's userdata, on top of the stack. */
void push_task(lua_State *L, const struct task *t);

/* True while operations that had nothing to wait for may go on: else a task that always finds what it wants would
 * keep all others waiting. Whoever gets false breathes. */
bool runtime_may_run(struct runtime *rt);

/* How many __close handlers a task is in that runs or waits in L (closing.c). */
int closing_depth(struct runtime *rt, const struct task *t, lua_State *L);
void closing_register(lua_State *L, struct runtime *rt);

/* --- hooks (runtime.c) --- */

void runtime_post(struct runtime *rt, struct post *post, void (*deliver)(struct runtime *, lua_State *, struct post *));
void post_remove(struct post *post);
void runtime_deliver(struct runtime *rt);

/* Pushes the Lua function that was registered under `name` with core.hooks. */
void runtime_push_hook(lua_State *L, const char *name);

/* Lua's finalizers at lua_close run newest first: an object newer than all handles tells that the state closes while
 * they are all still whole. Called after handles were made. */
void runtime_renew_canary(struct runtime *rt, lua_State *L);

/* --- errors (runtime.c) --- */

/* Push the name ("ENOENT") and the text of a libuv or system error. libuv knows not all of the system's. */
void push_error_name(lua_State *L, int code);
const char *push_error_text(lua_State *L, int code);

/* Raises a corun.Error. `code` is a libuv error (0: none) that names the field `code`. */
int raise_error(lua_State *L, const char *kind, int code, const char *format, ...);

/* Raises an ordinary error for a wrong argument, at the line of the script that called into corun. `index` is the
 * argument's; the message is "WHAT: EXPECTED expected, got …". */
int raise_argument(lua_State *L, int index, const char *what, const char *expected);

/* --- signals to the runtime (interrupt.c) --- */
void interrupt_open(struct runtime *rt);
void interrupt_close(struct runtime *rt);
/* Called when the runtime gets or loses its last child or task. */
void interrupt_set_busy(struct runtime *rt, bool busy);
void interrupt_deliver(struct runtime *rt);

/* --- parts of the module; each adds its functions to the table on top of the stack --- */
void task_register(lua_State *L, struct runtime *rt);
void queue_register(lua_State *L, struct runtime *rt);
void channel_register(lua_State *L, struct runtime *rt);
void reader_register(lua_State *L, struct runtime *rt);
void writer_register(lua_State *L, struct runtime *rt);
void pipe_register(lua_State *L, struct runtime *rt);
void process_register(lua_State *L, struct runtime *rt);
void usage_register(lua_State *L, struct runtime *rt); /* adds to the class Process */
void pty_register(lua_State *L, struct runtime *rt);
void terminal_register(lua_State *L, struct runtime *rt);
void wait_register(lua_State *L, struct runtime *rt);
void system_register(lua_State *L, struct runtime *rt);
void tree_register(lua_State *L, struct runtime *rt);
void interrupt_register(lua_State *L, struct runtime *rt);

void set_functions(lua_State *L, const luaL_Reg *functions, struct runtime *rt);
/* A metatable of that name with methods and metamethods; the module table on top of the stack gets it under the last
 * part of the name, so that Lua can add to it. */
void make_class(lua_State *L, const char *name, const luaL_Reg *methods, const luaL_Reg *meta, struct runtime *rt);

/* The same for one that check_object and test_object find: as luaL_checkudata and luaL_testudata, without a look into
 * the registry. */
void make_known_class(lua_State *L, enum class which, const char *name, const luaL_Reg *methods, const luaL_Reg *meta,
                      struct runtime *rt);
void *check_object(lua_State *L, int index, enum class which, const char *name);
void *test_object(lua_State *L, int index, enum class which);

struct reader;
struct writer;
struct process;
struct reader *check_reader(lua_State *L, int index);
struct writer *check_writer(lua_State *L, int index);
struct process *check_process(lua_State *L, int index);
struct reader *test_reader(lua_State *L, int index); /* NULL where it is none; so with a Queue */
struct waitq *test_queue(lua_State *L, int index);
/* Opens a terminal for a child, as the plan at `plan` says (its field `pty`: {rows, columns, echo}). The table at
 * `streams` gets its Reader as `terminal`, not started yet, and, if the plan is `typed`, its Writer as [0]. Returns the
 * child's end, which is the caller's, or a libuv error. */
int terminal_open(lua_State *L, struct runtime *rt, int plan, int streams);
/* A new closed Reader or Writer on top of the stack, to be opened by the caller. */
struct reader *push_reader(lua_State *L, struct runtime *rt);
struct writer *push_writer(lua_State *L, struct runtime *rt);

#endif
