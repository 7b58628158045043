#include "guard.h"

#include <errno.h>
#include <fcntl.h>
#include <locale.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>
#include <uv.h>

#include "pidfd.h"
#include "procfs.h"
#include "tree.h"

#ifdef __linux__
#include <sys/prctl.h>

#ifndef SYS_close_range
#define SYS_close_range 436
#endif

#define LAST_SECONDS 10 /* who is not gone after that is in a system call that cannot be interrupted */
#define LARGE (1 << 20)
#define KERNEL_MASK 8 /* bytes of the kernel's sigset_t */

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
static void give_memory_back(void) {} /* a sanitizer needs it */
#else
/* Our memory is the parent's until one of us writes to it: what it then changes would be kept twice. Of the copy only
 * the code, the data of libraries, this stack and errno are used. */
static void give_memory_back(void) {
  int fd = open("/proc/self/maps", O_RDONLY | O_CLOEXEC);
  if (fd < 0) return;
  char text[4096];
  const uintptr_t keep[] = {(uintptr_t)text, (uintptr_t)&errno};
  size_t have = 0;
  ssize_t n;
  while ((n = read(fd, text + have, sizeof text - 1 - have)) > 0) {
    have += (size_t)n;
    text[have] = '\0';
    char *line = text, *end;
    for (; (end = strchr(line, '\n')); line = end + 1) {
      *end = '\0';
      char *at = line;
      uintptr_t from = strtoull(at, &at, 16), to = strtoull(at + 1, &at, 16);
      bool is_private = !strncmp(at + 1, "rw-p", 4);
      bool is_anonymous = strstr(at, " 00:00 0") && (!strchr(at, '/') && (!strchr(at, '[') || strstr(at, "[heap]")));
      for (size_t i = 0; i < sizeof keep / sizeof *keep; i++)
        if (keep[i] >= from && keep[i] < to) is_private = false;
      if (is_private && is_anonymous && to - from >= LARGE) madvise((void *)from, to - from, MADV_DONTNEED);
    }
    have = strlen(line);
    memmove(text, line, have);
  }
  close(fd);
}
#endif

/* What `ps` shows is read from where the arguments lay when the program began, and, where the last of them does not end
 * there, on through the environment: see proc(5), arg_start and what follows it in stat. */
static void take_title(const char *title) {
  prctl(PR_SET_NAME, "guard");
  char text[2048];
  if (procfs_read(getpid(), "stat", text, sizeof text) < 0) return;
  char *at = strrchr(text, ')');
  for (int field = 2; at && field < 48; field++) at = strchr(at + 1, ' ');
  if (!at) return;
  uintptr_t from = strtoull(at, &at, 10), to = strtoull(at, &at, 10);
  uintptr_t environment = strtoull(at, &at, 10), end = strtoull(at, &at, 10);
  if (!from || to <= from) return;
  if (environment == to && end > to) to = end;
  memset((void *)from, 0, to - from);
  size_t size = strlen(title), room = to - from - 1;
  memcpy((void *)from, title, size < room ? size : room);
}

static void leave_oom_killer(void) {
  int fd = open("/proc/self/oom_score_adj", O_WRONLY | O_CLOEXEC);
  if (fd < 0) return;
  if (write(fd, "-1000", 5) < 0) {} /* needs a privilege; we are small enough without it */
  close(fd);
}

static _Noreturn void guard(pid_t parent, int pidfd, int ready, uint64_t runtime) {
  char title[32];
  setsid();
  if (chdir("/")) {} /* so that no file system is kept busy */
  snprintf(title, sizeof title, "guard of %d", (int)parent);
  take_title(title);
  struct rlimit limit; /* whoever kills the marked does not mean us */
  if (!getrlimit(RLIMIT_LOCKS, &limit)) {
    limit.rlim_cur = limit.rlim_max;
    setrlimit(RLIMIT_LOCKS, &limit);
  }
  leave_oom_killer();
  uselocale(newlocale(LC_ALL_MASK, "C", (locale_t)0)); /* which has no memory of its own */
  give_memory_back();
  /* None of the descriptors is kept but these two, and the second until we have said that we are there. */
  int two[] = {fcntl(pidfd, F_DUPFD, 2), fcntl(ready, F_DUPFD, 2)};
  dup2(two[0], 0);
  dup2(two[1], 1);
  if (syscall(SYS_close_range, 2, ~0u, 0)) {
    int most = (int)sysconf(_SC_OPEN_MAX);
    for (int fd = 2; fd < most; fd++) close(fd);
  }
  if (write(1, "", 1) < 0) _exit(1);
  close(1);
  struct pollfd end = {.fd = 0, .events = POLLIN};
  while (poll(&end, 1, -1) != 1) {}
  tree_kill_all(runtime, LAST_SECONDS);
  _exit(0);
}

static pid_t guarded, guard_pid; /* by which process it was started; its number */
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;

static int start(const char **missing) {
  *missing = "marks for processes (RLIMIT_LOCKS is in use, or /proc is not mounted)";
  uint64_t runtime = tree_runtime();
  if (!runtime) return UV_ENOTSUP;
  pid_t parent = getpid();
  *missing = "pidfd_open (Linux 5.3)";
  int pidfd = pidfd_open(parent);
  if (pidfd < 0) return pidfd == PIDFD_NONE ? UV_ENOTSUP : pidfd;
  *missing = "a process for the guard";
  int ready[2], err = 0;
  if (pipe2(ready, O_CLOEXEC)) {
    err = uv_translate_sys_error(errno);
    close(pidfd);
    return err;
  }
  /* It keeps this. Not pthread_sigmask, which leaves out what the C library uses itself. */
  char all[KERNEL_MASK], mask[KERNEL_MASK];
  memset(all, 0xff, sizeof all);
  syscall(SYS_rt_sigprocmask, SIG_SETMASK, all, mask, KERNEL_MASK);
  pid_t pid = fork();
  if (pid == 0) guard(parent, pidfd, ready[1], runtime);
  if (pid < 0) err = uv_translate_sys_error(errno);
  syscall(SYS_rt_sigprocmask, SIG_SETMASK, mask, NULL, KERNEL_MASK);
  close(ready[1]);
  close(pidfd);
  char byte;
  ssize_t n = -1;
  while (!err && (n = read(ready[0], &byte, 1)) < 0 && errno == EINTR) {}
  close(ready[0]);
  if (!err && n != 1) {
    waitpid(pid, NULL, 0);
    err = UV_EIO;
  }
  if (!err) {
    guarded = parent;
    guard_pid = pid;
  }
  return err;
}

int guard_start(const char **missing) {
  pthread_mutex_lock(&lock);
  bool is_first = guarded != getpid();
  int err = is_first ? start(missing) : 0;
  if (is_first && !err) tree_mark_ourselves();
  pthread_mutex_unlock(&lock);
  return err;
}

int guard_keep(void) {
  if (!guarded || guarded != getpid()) return 0;
  const char *missing;
  pthread_mutex_lock(&lock);
  if (guard_pid && waitpid(guard_pid, NULL, WNOHANG) != 0) guard_pid = 0; /* its number may become a child's */
  int err = guard_pid ? 0 : start(&missing);
  pthread_mutex_unlock(&lock);
  return err;
}

#else

int guard_start(const char **missing) {
  *missing = "Linux";
  return UV_ENOTSUP;
}

int guard_keep(void) { return 0; }

#endif
