#include "rawmode.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <termios.h>
#include <unistd.h>
#include <uv.h>

#include "fd.h"

static struct {
  atomic_bool on;
  int fd; /* one of our own: the script may close its stdin meanwhile */
  pid_t pid;
  struct termios before;
} raw = {.fd = -1};

/* Those that end a program. INT, TERM and HUP are interrupt.c's, which ends us by them only in ways that lead here;
 * under a program that handles one of these itself, it is left to that. */
static const int fatal[] = {SIGHUP,  SIGINT,  SIGQUIT, SIGILL,  SIGTRAP, SIGABRT, SIGBUS,    SIGFPE,
                            SIGUSR1, SIGSEGV, SIGUSR2, SIGALRM, SIGTERM, SIGXCPU, SIGVTALRM, SIGPROF, SIGSYS,
                            SIGXFSZ,
#ifdef SIGPWR
                            SIGPWR,
#endif
#ifdef SIGSTKFLT
                            SIGSTKFLT,
#endif
#ifdef __linux__
                            SIGIO, /* elsewhere it is ignored by default */
#endif
};
enum { FATAL = sizeof fatal / sizeof *fatal };

#ifdef SIGRTMIN
static int last_fatal(void) { return FATAL + SIGRTMAX - SIGRTMIN + 1; }
static int fatal_at(int i) { return i < FATAL ? fatal[i] : SIGRTMIN + i - FATAL; }
#else
static int last_fatal(void) { return FATAL; }
static int fatal_at(int i) { return fatal[i]; }
#endif

static void ended_by(int signo) {
  rawmode_end();
  raise(signo); /* the handler was reset when it was called (SA_RESETHAND); delivered when this returns */
}

static void catch_fatal(void) {
  struct sigaction ours = {.sa_handler = ended_by, .sa_flags = (int)SA_RESETHAND | SA_ONSTACK};
  sigemptyset(&ours.sa_mask);
  for (int i = 0; i < last_fatal(); i++) {
    struct sigaction now;
    if (sigaction(fatal_at(i), NULL, &now) || (now.sa_flags & SA_SIGINFO) || now.sa_handler != SIG_DFL) continue;
    sigaction(fatal_at(i), &ours, NULL);
  }
}

static void release_fatal(void) {
  struct sigaction standard = {.sa_handler = SIG_DFL};
  for (int i = 0; i < last_fatal(); i++) {
    struct sigaction now;
    if (sigaction(fatal_at(i), NULL, &now) || (now.sa_flags & SA_SIGINFO) || now.sa_handler != ended_by) continue;
    sigaction(fatal_at(i), &standard, NULL);
  }
}

/* A process of the background is stopped by SIGTTOU where it sets the modes: not on our way out. */
static void set_modes(const struct termios *modes) {
  sigset_t ttou, saved;
  sigemptyset(&ttou);
  sigaddset(&ttou, SIGTTOU);
  pthread_sigmask(SIG_BLOCK, &ttou, &saved);
  while (tcsetattr(raw.fd, TCSANOW, modes) && errno == EINTR) {} /* not TCSADRAIN: output may be stopped (Ctrl-S) */
  pthread_sigmask(SIG_SETMASK, &saved, NULL);
}

void rawmode_end(void) {
  int saved_errno = errno;
  if (raw.pid == getpid() && atomic_exchange(&raw.on, false)) {
    set_modes(&raw.before);
    release_fatal();
    fd_close(&raw.fd);
  }
  errno = saved_errno;
}

bool rawmode_is_on(void) { return raw.on; }

void rawmode_again(void) {
  if (!raw.on) return;
  struct termios modes = raw.before;
  cfmakeraw(&modes);
  tcsetattr(raw.fd, TCSANOW, &modes);
}

static void register_at_exit(void) { atexit(rawmode_end); }

int rawmode_begin(int fd) {
  if (raw.on) return UV_EBUSY;
  struct termios modes;
  if (tcgetattr(fd, &modes)) return uv_translate_sys_error(errno);
  int copy = fd_duplicate(fd);
  if (copy < 0) return copy;
  static pthread_once_t once = PTHREAD_ONCE_INIT;
  pthread_once(&once, register_at_exit);
  raw.fd = copy;
  raw.pid = getpid();
  raw.before = modes;
  catch_fatal();
  raw.on = true;
  cfmakeraw(&modes);
  /* As a background process we are stopped here until we are put in the foreground, as every program that asks. */
  while (tcsetattr(fd, TCSANOW, &modes)) {
    if (errno == EINTR) continue;
    int err = uv_translate_sys_error(errno);
    rawmode_end();
    return err;
  }
  return 0;
}
