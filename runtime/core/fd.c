#include "fd.h"

#include <errno.h>
#include <fcntl.h>
#include <stdatomic.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>
#include <uv.h>

int fd_pipe(int pair[2]) {
#ifdef __linux__
  if (pipe2(pair, O_CLOEXEC)) return uv_translate_sys_error(errno);
#else
  if (pipe(pair)) return uv_translate_sys_error(errno);
  fcntl(pair[0], F_SETFD, FD_CLOEXEC);
  fcntl(pair[1], F_SETFD, FD_CLOEXEC);
#endif
  return 0;
}

int fd_open(const char *path, int flags, unsigned mode) {
  int fd;
  do fd = open(path, flags | O_CLOEXEC, (mode_t)mode); /* a FIFO or slow mount may be interrupted */
  while (fd < 0 && errno == EINTR);
  return fd < 0 ? uv_translate_sys_error(errno) : fd;
}

int fd_duplicate(int fd) {
  int copy = fcntl(fd, F_DUPFD_CLOEXEC, 3);
  return copy < 0 ? uv_translate_sys_error(errno) : copy;
}

/* Up to the first number descriptors stay where they are; others go above the second. */
#define FEW 64
#define SETTLED 1024

static atomic_bool are_many;

int fd_settle(int fd) {
  if (fd < FEW || fd >= SETTLED) return fd;
  int settled = fcntl(fd, F_DUPFD_CLOEXEC, SETTLED);
  if (settled < 0) return fd; /* over the limit of open files */
  close(fd);
  atomic_store_explicit(&are_many, true, memory_order_relaxed);
  return settled;
}

bool fd_are_many(void) { return atomic_load_explicit(&are_many, memory_order_relaxed); }

int fd_set_nonblocking(int fd, bool on) {
  int flags = fcntl(fd, F_GETFL);
  if (flags < 0) return uv_translate_sys_error(errno);
  int wanted = on ? flags | O_NONBLOCK : flags & ~O_NONBLOCK;
  if (wanted != flags && fcntl(fd, F_SETFL, wanted)) return uv_translate_sys_error(errno);
  return 0;
}

int fd_reopen(int fd, int flags) {
#ifdef __linux__
  char path[64];
  snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
  /* O_NOCTTY: reopening a terminal must not make it ours. */
  int copy = fd_open(path, flags | O_NONBLOCK | O_NOCTTY, 0);
  return copy == UV_ENXIO || copy == UV_ENOENT ? UV_ENOTSUP : copy;
#else
  (void)fd, (void)flags;
  return UV_ENOTSUP;
#endif
}

void fd_close(int *fd) {
  if (*fd >= 0) close(*fd); /* EINTR included, Linux has closed it */
  *fd = -1;
}

bool fd_is_file(int fd) {
  struct stat st;
  if (fstat(fd, &st)) return false;
  if (S_ISREG(st.st_mode) || S_ISDIR(st.st_mode) || S_ISBLK(st.st_mode)) return true;
  /* /dev/null and its kind cannot be polled by epoll and never block; a terminal can. */
  return S_ISCHR(st.st_mode) && !isatty(fd);
}

int fd_fill_standard(void) {
  for (int fd = 0; fd <= 2; fd++) {
    if (fcntl(fd, F_GETFD) >= 0 || errno != EBADF) continue;
    int null = open("/dev/null", fd == 0 ? O_RDONLY : O_WRONLY); /* takes the lowest free number: this one */
    if (null < 0) return uv_translate_sys_error(errno);
  }
  return 0;
}
