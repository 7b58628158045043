/* pidfds (Linux): a process that stays the same one, whoever gets its number later. Names that the headers of today's
 * distributions lack, and what a kernel (or a sandbox, or valgrind) that has them not is asked instead. */
#ifndef CORUN_PIDFD_H
#define CORUN_PIDFD_H

#ifdef __linux__

#include <errno.h>
#include <signal.h>
#include <sys/syscall.h>
#include <sys/types.h>
#include <unistd.h>
#include <uv.h>

#ifndef SYS_pidfd_send_signal
#define SYS_pidfd_send_signal 424
#endif
#ifndef SYS_pidfd_open
#define SYS_pidfd_open 434
#endif

enum { PIDFD_NONE = -1000000 }; /* where there are none: no libuv error */

/* A pidfd, PIDFD_NONE, or an error. */
static inline int pidfd_open(pid_t pid) {
  int fd = (int)syscall(SYS_pidfd_open, pid, 0);
  if (fd >= 0) return fd;
  return errno == ENOSYS ? PIDFD_NONE : uv_translate_sys_error(errno);
}

/* Sends by `fd` (or PIDFD_NONE); where that cannot be, by the number, which the caller has just looked at. */
static inline int pidfd_signal(int fd, pid_t pid, int signo) {
  long result = -1;
  errno = ENOSYS;
  if (fd >= 0) result = syscall(SYS_pidfd_send_signal, fd, signo, NULL, 0);
  if (result && errno == ENOSYS) result = kill(pid, signo);
  return result ? uv_translate_sys_error(errno) : 0;
}

#endif
#endif
