/* Signals to the runtime: SIGINT, SIGTERM, SIGHUP and SIGPIPE, which end it, and those that scripts handle.
 *
 * Not a uv_signal_t: the first four must go to whoever had them before while corun has nothing to stop (a stock
 * interpreter has its own SIGINT), must reach a script that computes without ever waiting, and a second SIGINT must end a
 * program that no longer answers. The handler counts, wakes the loop (uv_async_send may be called from a handler) and
 * asks the running coroutine for a hook, as lua.c does; what a signal means is decided in lua/corun/interrupt.lua.
 */
#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "rawmode.h"
#include "runtime.h"
#include "terminal.h"

enum { RUNTIMES = 64 };

static bool ends_us(int signo) {
  return signo == SIGINT || signo == SIGTERM || signo == SIGHUP || signo == SIGPIPE;
}

/* Signals are the process's, so this is, too: the runtimes that want them, and what was there before. */
static _Atomic(struct runtime *) runtimes[RUNTIMES];
static struct sigaction previous[RUNTIME_SIGNALS];
static atomic_int in_handler;
static pthread_mutex_t install_lock = PTHREAD_MUTEX_INITIALIZER;

static void raise_hook(lua_State *L, lua_Debug *ar);

/* Instructions after which a script counts as one that does not wait. One that soon does is interrupted there, where
 * it expects it, and not between any two of its lines. */
enum { PATIENCE = 10000 };

/* SIGPIPE is for every pipe; only a closed stdout ends the program, the others are errors of their writes. */
static bool stdout_is_closed(void) {
  struct pollfd fd = {.fd = 1, .events = POLLOUT};
  return poll(&fd, 1, 0) == 1 && (fd.revents & (POLLERR | POLLNVAL));
}

static void forward(int signo, siginfo_t *info, void *context) {
  struct sigaction *old = &previous[signo];
  if (old->sa_flags & SA_SIGINFO) {
    old->sa_sigaction(signo, info, context);
  } else if (old->sa_handler == SIG_DFL) {
    if (signo == SIGPIPE) return; /* ignored while corun is loaded: a write to a child must not end us */
    rawmode_end();
    sigaction(signo, old, NULL);
    raise(signo); /* delivered as soon as this handler returns */
  } else if (old->sa_handler != SIG_IGN) {
    old->sa_handler(signo);
  }
}

/* A main chunk that waits in us could not be interrupted by anybody else. */
static bool is_busy(const struct runtime *rt) {
  return rt->busy || (rt->root && rt->root->state == TASK_PARKED);
}

static void handle(int signo, siginfo_t *info, void *context) {
  int saved_errno = errno;
  atomic_fetch_add(&in_handler, 1);
  bool taken = false, is_end = ends_us(signo) && (signo != SIGPIPE || stdout_is_closed());
  for (int i = 0; i < RUNTIMES; i++) {
    struct runtime *rt = runtimes[i];
    if (!rt || !(rt->listens[signo] || (is_end && is_busy(rt)))) continue;
    taken = true;
    bool is_first = !atomic_fetch_add(&rt->pending[signo], 1);
    if (!is_first && signo == SIGINT && !rt->listens[signo]) {
      /* The first one was not even noticed: end as without us. Children die with their parent. */
      terminal_restore();
      struct sigaction standard = {.sa_handler = SIG_DFL};
      rawmode_end();
      sigaction(signo, &standard, NULL);
      raise(signo);
      break;
    }
    rt->signals_pending = true;
    uv_async_send(&rt->signalled);
    struct task *t = rt->current;
    if (is_first && t) lua_sethook(t->thread, raise_hook, LUA_MASKCOUNT, PATIENCE); /* again would begin its count again */
  }
  if (!taken) forward(signo, info, context);
  atomic_fetch_sub(&in_handler, 1);
  errno = saved_errno;
}

void interrupt_deliver(struct runtime *rt) {
  if (!atomic_exchange(&rt->signals_pending, false)) return;
  lua_State *S = rt->service;
  for (int signo = 1; signo < RUNTIME_SIGNALS; signo++) {
    int count = atomic_exchange(&rt->pending[signo], 0);
    if (!count) continue;
    runtime_push_hook(S, "signalled");
    lua_pushinteger(S, signo);
    lua_pushinteger(S, count);
    if (lua_pcall(S, 2, 0, 0) == LUA_OK) continue;
    fprintf(stderr, "corun: in a hook: %s\n", luaL_tolstring(S, -1, NULL));
    lua_pop(S, 2);
  }
}

/* In the middle of a script that does not wait. corun's own Lua code is left to finish first: an error between any
 * two of its instructions could lose something. */
static void raise_hook(lua_State *L, lua_Debug *ar) {
  struct runtime *rt = runtime_of_state(L);
  if (!rt || !rt->signals_pending || !rt->current) {
    lua_sethook(L, NULL, 0, 0);
    return;
  }
  lua_getinfo(L, "S", ar);
  runtime_push_hook(L, "library_prefix");
  const char *prefix = lua_tostring(L, -1);
  bool inside = *ar->what == 'C' || (prefix && !strncmp(ar->source, prefix, strlen(prefix)));
  lua_pop(L, 1);
  if (inside) return;
  lua_sethook(L, NULL, 0, 0);
  struct task *t = rt->current;
  rt->current = NULL;
  interrupt_deliver(rt);
  rt->current = t;
  if (rt->signals_pending) lua_sethook(L, raise_hook, LUA_MASKCOUNT, PATIENCE); /* it came meanwhile, and saw no task */
  task_check(rt, L);
}

static void signalled_cb(uv_async_t *async) { (void)async; }

static bool is_ours(const struct sigaction *action) {
  return (action->sa_flags & SA_SIGINFO) && action->sa_sigaction == handle;
}

static void install(int signo) {
  struct sigaction old;
  if (sigaction(signo, NULL, &old) || is_ours(&old)) return;
  previous[signo] = old;
  struct sigaction ours = {.sa_sigaction = handle, .sa_flags = SA_SIGINFO | SA_RESTART | SA_ONSTACK};
  sigemptyset(&ours.sa_mask);
  sigaction(signo, &ours, NULL);
}

static void uninstall(int signo) {
  struct sigaction now;
  if (!sigaction(signo, NULL, &now) && is_ours(&now)) sigaction(signo, &previous[signo], NULL);
}

static void let_through(int signo) {
  sigset_t set;
  sigemptyset(&set);
  sigaddset(&set, signo);
  pthread_sigmask(SIG_UNBLOCK, &set, NULL);
}

/* Takes the signals that end us if somebody else has them now; one that was ignored by whoever started us stays
 * ignored, one that was blocked is let through. */
static void install_ends(void) {
  pthread_mutex_lock(&install_lock);
  for (int signo = 1; signo < RUNTIME_SIGNALS; signo++) {
    struct sigaction old;
    if (!ends_us(signo)) continue;
    let_through(signo);
    if (sigaction(signo, NULL, &old)) continue;
    bool standard = !(old.sa_flags & SA_SIGINFO) && old.sa_handler == SIG_DFL;
    bool ignored = !(old.sa_flags & SA_SIGINFO) && old.sa_handler == SIG_IGN;
    if (ignored || (signo == SIGPIPE && !standard)) continue;
    install(signo);
  }
  pthread_mutex_unlock(&install_lock);
}

/* Gives back what no runtime wants any more. */
static void settle(int signo) {
  pthread_mutex_lock(&install_lock);
  bool wanted = false, any = false;
  for (int i = 0; i < RUNTIMES; i++) {
    struct runtime *rt = runtimes[i];
    any = any || rt;
    wanted = wanted || (rt && rt->listens[signo]);
  }
  bool was_ignored = !(previous[signo].sa_flags & SA_SIGINFO) && previous[signo].sa_handler == SIG_IGN;
  if (!wanted && !(any && ends_us(signo) && !was_ignored)) uninstall(signo);
  pthread_mutex_unlock(&install_lock);
}

void interrupt_open(struct runtime *rt) {
  uv_async_init(&rt->loop.uv, &rt->signalled, signalled_cb);
  uv_unref((uv_handle_t *)&rt->signalled);
  rt->loop.uv_changed = true;
  for (int i = 0; i < RUNTIMES; i++) {
    struct runtime *none = NULL;
    if (atomic_compare_exchange_strong(&runtimes[i], &none, rt)) break;
  }
  install_ends();
}

void interrupt_close(struct runtime *rt) {
  for (int i = 0; i < RUNTIMES; i++)
    if (runtimes[i] == rt) runtimes[i] = NULL;
  while (in_handler) {} /* a handler on another thread may still look at rt */
  for (int signo = 1; signo < RUNTIME_SIGNALS; signo++)
    if (rt->listens[signo] || ends_us(signo)) settle(signo);
  uv_close((uv_handle_t *)&rt->signalled, NULL);
}

void interrupt_set_busy(struct runtime *rt, bool busy) {
  if (busy && !rt->busy) install_ends(); /* lua.c sets its own SIGINT for each chunk */
  rt->busy = busy;
}

/* core.listen(signo, boolean, unless_ignored): whether the hook `signalled` is told of that signal; then it does nothing
 * else. Returns false where it was ignored by whoever started us, and that was to be respected. */
static int f_listen(lua_State *L) {
  struct runtime *rt = runtime_of(L);
  int signo = (int)luaL_checkinteger(L, 1);
  luaL_argcheck(L, signo > 0 && signo < RUNTIME_SIGNALS, 1, "no signal");
  struct sigaction now;
  if (lua_toboolean(L, 3) && !sigaction(signo, NULL, &now) && now.sa_handler == SIG_IGN) {
    lua_pushboolean(L, false);
    return 1;
  }
  if (lua_toboolean(L, 2)) {
    rt->listens[signo] = true;
    pthread_mutex_lock(&install_lock);
    install(signo);
    pthread_mutex_unlock(&install_lock);
    let_through(signo);
  } else {
    rt->listens[signo] = false;
    settle(signo);
  }
  lua_pushboolean(L, true);
  return 1;
}

/* core.expect_signals(boolean): whether a task may wait for a signal alone: then that is no deadlock. */
static int f_expect_signals(lua_State *L) {
  uv_handle_t *async = (uv_handle_t *)&runtime_of(L)->signalled;
  if (lua_toboolean(L, 1)) uv_ref(async);
  else uv_unref(async);
  return 0;
}

/* core.set_busy(boolean): whether SIGINT, SIGTERM and SIGHUP are the runtime's, or whoever's they were before. */
static int f_set_busy(lua_State *L) {
  interrupt_set_busy(runtime_of(L), lua_toboolean(L, 1));
  return 0;
}

/* core.die(signo): ends the program by that signal, as if it had never been caught. */
static int f_die(lua_State *L) {
  int signo = (int)luaL_checkinteger(L, 1);
  terminal_restore();
  struct sigaction standard = {.sa_handler = SIG_DFL};
  rawmode_end();
  sigaction(signo, &standard, NULL);
  let_through(signo);
  raise(signo);
  return 0;
}

/* core.quit(status): ends the process at once, with nothing but our own output flushed. For the host. */
static int f_quit(lua_State *L) {
  rawmode_end();
  terminal_restore();
  fflush(NULL);
  _exit((int)luaL_checkinteger(L, 1));
}

/* core.stdout_closed() → true when nobody reads our standard output any more. */
static int f_stdout_closed(lua_State *L) {
  lua_pushboolean(L, stdout_is_closed());
  return 1;
}

static const luaL_Reg functions[] = {
    {"set_busy", f_set_busy}, {"die", f_die},       {"quit", f_quit}, {"stdout_closed", f_stdout_closed},
    {"listen", f_listen},     {"expect_signals", f_expect_signals}, {NULL, NULL}};

void interrupt_register(lua_State *L, struct runtime *rt) {
  set_functions(L, functions, rt);
}
