#include "terminal.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <sys/wait.h>
#include <termios.h>
#include <unistd.h>

#include "fd.h"
#include "process.h"
#include "rawmode.h"

#ifdef CORUN_SPAWN_LIBUV
enum { CAN_LEND = false }; /* uv_spawn makes no group, only a session, which would be without the terminal */
#else
enum { CAN_LEND = true };
#endif

#define POLL_INTERVAL 100000000ull /* nanoseconds */

static struct {
  atomic_flag taken;
  struct loop *loop;
  struct process *borrower;  /* NULL while its start is under way */
  pid_t owner;               /* the process that lends */
  pid_t own_group, group;    /* ours and the borrower's; -1: not known yet */
  int fd;                    /* the terminal, a descriptor of our own: 0 may be closed by the script */
  struct termios ours, theirs;
  bool has_theirs;
  atomic_bool lent;          /* the foreground group is theirs, as far as we know */
  bool paused;
  int stopped_by;            /* the signal; 0 while it runs */
  struct sigaction on_input, on_output; /* SIGTTIN and SIGTTOU as they were */
  struct timer timer;
  struct waitq returned;
} loan = {.taken = ATOMIC_FLAG_INIT, .fd = -1};

static bool is_ours(const struct loop *loop) { return loan.loop == loop && loan.fd >= 0 && loan.owner == getpid(); }

/* --- handing it over --- */

/* From the background the terminal's owner can only be changed by who blocks SIGTTOU. */
static void set_foreground(pid_t group) {
  sigset_t set, saved;
  sigemptyset(&set);
  sigaddset(&set, SIGTTOU);
  pthread_sigmask(SIG_BLOCK, &set, &saved);
  tcsetpgrp(loan.fd, group);
  pthread_sigmask(SIG_SETMASK, &saved, NULL);
}

static void ignore(int signo, struct sigaction *old) {
  struct sigaction ignored = {.sa_handler = SIG_IGN};
  sigaction(signo, NULL, old);
  if (!(old->sa_flags & SA_SIGINFO) && old->sa_handler == SIG_DFL) sigaction(signo, &ignored, NULL);
}

static void no_longer_ignore(int signo, const struct sigaction *old) {
  struct sigaction now;
  sigaction(signo, NULL, &now);
  bool is_ignored = !(now.sa_flags & SA_SIGINFO) && now.sa_handler == SIG_IGN;
  if (is_ignored) sigaction(signo, old, NULL); /* else somebody has set a handler meanwhile */
}

static void note_lent(void) {
  ignore(SIGTTIN, &loan.on_input);
  ignore(SIGTTOU, &loan.on_output);
  loan.lent = true;
}

static void lend(void) {
  if (!loan.lent) {
    if (loan.has_theirs) tcsetattr(loan.fd, TCSANOW, &loan.theirs);
    note_lent();
  }
  set_foreground(loan.group);
}

/* The foreground may be a group that the borrower has made, as a shell does for its jobs. That of who started us is
 * another matter: it has taken the terminal because we were stopped. */
static bool may_take(pid_t foreground) {
  if (foreground < 0 || foreground == loan.own_group) return false;
  return foreground == loan.group || (foreground != getpgid(getppid()) && foreground != getpgid(getsid(0)));
}

/* `keep_modes`: as they are, else as they were before the start. */
static void take(bool keep_modes) {
  if (!loan.lent) return;
  pid_t foreground = tcgetpgrp(loan.fd);
  if (may_take(foreground)) set_foreground(foreground = loan.own_group);
  if (foreground == loan.own_group && !keep_modes) tcsetattr(loan.fd, TCSANOW, &loan.ours);
  no_longer_ignore(SIGTTIN, &loan.on_input);
  no_longer_ignore(SIGTTOU, &loan.on_output);
  loan.lent = false;
  waitq_wake_all(&loan.returned);
  /* Others of our group that have asked for it meanwhile were stopped. */
  if (foreground == loan.own_group) kill(0, SIGCONT);
}

/* From a borrower that lives: it gets its modes again. */
static void take_for_now(void) {
  if (!loan.lent) return;
  if (may_take(tcgetpgrp(loan.fd))) loan.has_theirs = tcgetattr(loan.fd, &loan.theirs) == 0;
  take(false);
}

static void finish(void) {
  timer_stop(loan.loop, &loan.timer);
  fd_close(&loan.fd);
  loan.borrower = NULL;
  loan.loop = NULL;
  atomic_flag_clear(&loan.taken);
}

/* --- stops --- */

static bool is_job_stop(int signo) { return signo == SIGTSTP || signo == SIGTTIN || signo == SIGTTOU; }

/* As our starter's job would be stopped: all of our group, by the default action. Where nobody could continue us, the
 * kernel (the group is orphaned) or our starter (it has had the signal ignored) sees to it that we just go on. */
static void stop_ourselves(int signo) {
  struct sigaction standard = {.sa_handler = SIG_DFL}, old;
  sigaction(signo, NULL, &old);
  if (!(old.sa_flags & SA_SIGINFO) && old.sa_handler == SIG_IGN) return;
  sigset_t set, saved;
  sigemptyset(&set);
  sigaddset(&set, signo);
  sigaction(signo, &standard, NULL);
  pthread_sigmask(SIG_UNBLOCK, &set, &saved);
  kill(0, signo); /* comes back when we are continued */
  pthread_sigmask(SIG_SETMASK, &saved, NULL);
  sigaction(signo, &old, NULL);
}

/* In the foreground again, or in the background: there it is stopped again when it asks for the terminal. */
static void go_on(void) {
  if (tcgetpgrp(loan.fd) == loan.own_group) lend();
  loan.stopped_by = 0;
  kill(-loan.group, SIGCONT);
}

static void look_for_stops(void) {
  siginfo_t info;
  for (;;) {
    info = (siginfo_t){0};
    if (waitid(P_PID, (id_t)loan.group, &info, WSTOPPED | WCONTINUED | WNOHANG) || !info.si_pid) return;
    loan.stopped_by = info.si_code == CLD_STOPPED ? info.si_status : 0;
  }
}

static void settle(void) {
  look_for_stops();
  if (loan.paused) return;
  bool is_front = tcgetpgrp(loan.fd) == loan.own_group;
  if (!loan.stopped_by) {
    if (is_front) lend(); /* it was suspended, or our starter had taken the terminal */
  } else if (!is_job_stop(loan.stopped_by)) {
    take_for_now(); /* by suspend(): Ctrl-C is for us until it goes on */
  } else if (is_front && loan.stopped_by != SIGTSTP) {
    go_on(); /* it had to wait for the terminal, which is there now */
  } else {
    take_for_now();
    stop_ourselves(loan.stopped_by);
    go_on();
  }
}

static void poll_again(void) { timer_start(loan.loop, &loan.timer, loop_now() + POLL_INTERVAL); }

static void poll_cb(struct timer *timer) {
  (void)timer;
  settle();
  poll_again();
}

/* --- the loan --- */

bool terminal_begin(struct loop *loop) {
  pid_t own_group = getpgrp();
  if (!CAN_LEND || tcgetpgrp(0) != own_group || rawmode_is_on()) return false;
  bool is_left = is_ours(loop) && !loan.borrower; /* a start that came to nothing */
  if (!is_left && atomic_flag_test_and_set(&loan.taken)) return false;
  if (is_left) fd_close(&loan.fd);
  int fd = fd_duplicate(0);
  if (fd < 0 || tcgetattr(fd, &loan.ours)) {
    fd_close(&fd);
    atomic_flag_clear(&loan.taken);
    return false;
  }
  loan.fd = fd;
  loan.loop = loop;
  loan.owner = getpid();
  loan.own_group = own_group;
  loan.group = -1;
  loan.borrower = NULL;
  loan.has_theirs = loan.paused = false;
  loan.lent = false;
  loan.stopped_by = 0;
  loan.timer = (struct timer){.fire = poll_cb};
  waitq_init(&loan.returned);
  return true;
}

void terminal_lend(struct process *p) {
  loan.borrower = p;
  loan.group = p->child.pid;
  note_lent();
  poll_again();
}

void terminal_end(struct loop *loop) {
  if (!is_ours(loop) || loan.borrower) return;
  note_lent(); /* its start may have failed after it had taken the terminal */
  take(false);
  finish();
}

bool terminal_process_ended(struct process *p) {
  if (!is_ours(p->loop) || loan.borrower != p) return false;
  take(p->status.code == 0);
  finish();
  return true;
}

void terminal_pause(struct loop *loop, bool on) {
  if (!is_ours(loop) || !loan.borrower || loan.paused == on) return;
  loan.paused = on;
  look_for_stops();
  if (on) take_for_now();
  else if (is_job_stop(loan.stopped_by)) go_on();
  else if (!loan.stopped_by) lend();
}

bool terminal_wait(struct loop *loop, struct waiter *waiter) {
  if (!is_ours(loop) || !loan.lent) return false;
  if (!waiter_queued(waiter)) waitq_add(&loan.returned, waiter);
  return true;
}

bool terminal_is_lent(void) { return loan.fd >= 0 && loan.lent && loan.owner == getpid(); }

void terminal_restore(void) {
  if (loan.fd < 0 || !loan.lent || loan.owner != getpid()) return;
  int saved_errno = errno;
  pid_t foreground = tcgetpgrp(loan.fd);
  if (may_take(foreground)) set_foreground(foreground = loan.own_group);
  if (foreground == loan.own_group) tcsetattr(loan.fd, TCSANOW, &loan.ours);
  errno = saved_errno;
}
