/* SIGINT, SIGTERM, SIGHUP and SIGPIPE to the runtime.
 *
 * Not a uv_signal_t: these must go to whoever had them before while corun has nothing to stop (a stock interpreter
 * has its own SIGINT), must reach a script that computes without ever waiting, and a second SIGINT must end a
 * program that no longer answers. The handler counts, wakes the loop (uv_async_send may be called from a handler) and
 * asks the running coroutine for a hook, as lua.c does; what a signal means is decided in lua/corun/scope.lua.
 */
#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "runtime.h"

static const int numbers[] = {SIGINT, SIGTERM, SIGHUP, SIGPIPE};
enum { INTERRUPTS = sizeof numbers / sizeof *numbers, PIPE_INDEX = 3, RUNTIMES = 64 };

/* Signals are the process's, so this is, too: the runtimes that want them, and what was there before. */
static _Atomic(struct runtime *) runtimes[RUNTIMES];
static struct sigaction previous[INTERRUPTS];
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

static void forward(int signo, int index, siginfo_t *info, void *context) {
  struct sigaction *old = &previous[index];
  if (old->sa_flags & SA_SIGINFO) {
    old->sa_sigaction(signo, info, context);
  } else if (old->sa_handler == SIG_DFL) {
    if (index == PIPE_INDEX) return; /* ignored while corun is loaded: a write to a child must not end us */
    sigaction(signo, old, NULL);
    raise(signo); /* delivered as soon as this handler returns */
  } else if (old->sa_handler != SIG_IGN) {
    old->sa_handler(signo);
  }
}

static void handle(int signo, siginfo_t *info, void *context) {
  int saved_errno = errno, index = 0;
  while (numbers[index] != signo) index++;
  atomic_fetch_add(&in_handler, 1);
  bool taken = false;
  if (index != PIPE_INDEX || stdout_is_closed()) {
    for (int i = 0; i < RUNTIMES; i++) {
      struct runtime *rt = runtimes[i];
      if (!rt || !rt->busy) continue;
      taken = true;
      if (index == 0 && rt->pending[0]) {
        /* The first one was not even noticed: end as without us. Children die with their parent. */
        struct sigaction standard = {.sa_handler = SIG_DFL};
        sigaction(signo, &standard, NULL);
        raise(signo);
        break;
      }
      if (rt->pending[index]) continue; /* setting the hook again would start its count again */
      rt->pending[index] = 1;
      uv_async_send(&rt->signalled);
      struct task *t = rt->current;
      if (t) lua_sethook(t->thread, raise_hook, LUA_MASKCOUNT, PATIENCE);
    }
  }
  if (!taken) forward(signo, index, info, context);
  atomic_fetch_sub(&in_handler, 1);
  errno = saved_errno;
}

static bool is_pending(struct runtime *rt) {
  for (int i = 0; i < INTERRUPTS; i++)
    if (rt->pending[i]) return true;
  return false;
}

void interrupt_deliver(struct runtime *rt) {
  if (!is_pending(rt)) return;
  lua_State *S = rt->service;
  for (int i = 0; i < INTERRUPTS; i++) {
    if (!rt->pending[i]) continue;
    rt->pending[i] = 0;
    runtime_push_hook(S, "interrupted");
    lua_pushinteger(S, numbers[i]);
    if (lua_pcall(S, 1, 0, 0) != LUA_OK) lua_pop(S, 1);
  }
}

/* In the middle of a script that does not wait. corun's own Lua code is left to finish first: an error between any
 * two of its instructions could lose something. */
static void raise_hook(lua_State *L, lua_Debug *ar) {
  struct runtime *rt = runtime_of_state(L);
  if (!rt || !is_pending(rt) || !rt->current) {
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
  task_check(rt, L);
}

static void signalled_cb(uv_async_t *async) { (void)async; }

/* Takes the signals if somebody else has them now; one that was ignored by whoever started us stays ignored, one that
 * was blocked is let through. */
static void install(void) {
  pthread_mutex_lock(&install_lock);
  sigset_t ours_unblocked;
  sigemptyset(&ours_unblocked);
  for (int i = 0; i < INTERRUPTS; i++) sigaddset(&ours_unblocked, numbers[i]);
  pthread_sigmask(SIG_UNBLOCK, &ours_unblocked, NULL);
  for (int i = 0; i < INTERRUPTS; i++) {
    struct sigaction old;
    if (sigaction(numbers[i], NULL, &old)) continue;
    if ((old.sa_flags & SA_SIGINFO) && old.sa_sigaction == handle) continue;
    if (!(old.sa_flags & SA_SIGINFO) && old.sa_handler == SIG_IGN) continue;
    if (i == PIPE_INDEX && ((old.sa_flags & SA_SIGINFO) || old.sa_handler != SIG_DFL)) continue;
    previous[i] = old;
    struct sigaction ours = {.sa_sigaction = handle, .sa_flags = SA_SIGINFO | SA_RESTART | SA_ONSTACK};
    sigemptyset(&ours.sa_mask);
    sigaction(numbers[i], &ours, NULL);
  }
  pthread_mutex_unlock(&install_lock);
}

static void uninstall(void) {
  pthread_mutex_lock(&install_lock);
  for (int i = 0; i < INTERRUPTS; i++) {
    struct sigaction now;
    if (sigaction(numbers[i], NULL, &now) || !(now.sa_flags & SA_SIGINFO) || now.sa_sigaction != handle) continue;
    sigaction(numbers[i], &previous[i], NULL);
  }
  pthread_mutex_unlock(&install_lock);
}

void interrupt_open(struct runtime *rt) {
  uv_async_init(&rt->loop.uv, &rt->signalled, signalled_cb);
  uv_unref((uv_handle_t *)&rt->signalled);
  for (int i = 0; i < RUNTIMES; i++) {
    struct runtime *none = NULL;
    if (atomic_compare_exchange_strong(&runtimes[i], &none, rt)) break;
  }
  install();
}

void interrupt_close(struct runtime *rt) {
  bool others = false;
  for (int i = 0; i < RUNTIMES; i++) {
    if (runtimes[i] == rt) runtimes[i] = NULL;
    else others = others || runtimes[i];
  }
  while (in_handler) {} /* a handler on another thread may still look at rt */
  if (!others) uninstall();
  uv_close((uv_handle_t *)&rt->signalled, NULL);
}

void interrupt_set_busy(struct runtime *rt, bool busy) {
  if (busy && !rt->busy) install(); /* lua.c sets its own SIGINT for each chunk */
  rt->busy = busy;
}

/* core.set_busy(boolean): whether SIGINT, SIGTERM and SIGHUP are the runtime's, or whoever's they were before. */
static int f_set_busy(lua_State *L) {
  interrupt_set_busy(runtime_of(L), lua_toboolean(L, 1));
  return 0;
}

/* core.die(signo): ends the program by that signal, as if it had never been caught. */
static int f_die(lua_State *L) {
  int signo = (int)luaL_checkinteger(L, 1);
  struct sigaction standard = {.sa_handler = SIG_DFL};
  sigaction(signo, &standard, NULL);
  sigset_t set;
  sigemptyset(&set);
  sigaddset(&set, signo);
  sigprocmask(SIG_UNBLOCK, &set, NULL);
  raise(signo);
  return 0;
}

/* core.quit(status): ends the process at once, with nothing but our own output flushed. For the host. */
static int f_quit(lua_State *L) {
  fflush(NULL);
  _exit((int)luaL_checkinteger(L, 1));
}

/* core.stdout_closed() → true when nobody reads our standard output any more. */
static int f_stdout_closed(lua_State *L) {
  lua_pushboolean(L, stdout_is_closed());
  return 1;
}

static const luaL_Reg functions[] = {
    {"set_busy", f_set_busy}, {"die", f_die}, {"quit", f_quit}, {"stdout_closed", f_stdout_closed}, {NULL, NULL}};

void interrupt_register(lua_State *L, struct runtime *rt) {
  set_functions(L, functions, rt);
}
