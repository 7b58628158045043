#include "procfs.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <uv.h>

#ifdef __linux__
#include <sys/syscall.h>

ssize_t procfs_read(pid_t pid, const char *name, char *text, size_t size) {
  char path[64];
  snprintf(path, sizeof path, "/proc/%d/%s", (int)pid, name);
  int fd = open(path, O_RDONLY | O_CLOEXEC);
  if (fd < 0) return errno == ENOENT ? UV_ESRCH : uv_translate_sys_error(errno);
  size_t have = 0;
  ssize_t n = 0;
  while (have < size - 1 && ((n = read(fd, text + have, size - 1 - have)) > 0 || (n < 0 && errno == EINTR)))
    if (n > 0) have += (size_t)n;
  int err = n < 0 ? uv_translate_sys_error(errno) : 0; /* ESRCH: it ended meanwhile */
  close(fd);
  text[have] = '\0';
  return err ? err : (ssize_t)have;
}

int procfs_stat(pid_t pid, struct procfs_stat *stat) {
  static _Atomic long ticks, page; /* asked once: sysconf costs as much as the file */
  if (!ticks) {
    page = sysconf(_SC_PAGESIZE);
    ticks = sysconf(_SC_CLK_TCK);
  }
  char text[1024];
  ssize_t size = procfs_read(pid, "stat", text, sizeof text);
  if (size < 0) return (int)size;
  /* The name in parentheses may hold anything, a ')' included: the fields count from the last one. */
  const char *name = strchr(text, '('), *end = strrchr(text, ')');
  int parent, group, session;
  unsigned long user, system;
  unsigned long long started;
  long rss;
  if (!name || !end ||
      sscanf(end + 1, " %c %d %d %d %*d %*d %*u %*u %*u %*u %*u %lu %lu %*d %*d %*d %*d %ld %*d %llu %*u %ld",
             &stat->state, &parent, &group, &session, &user, &system, &stat->threads, &started, &rss) != 9)
    return UV_EIO;
  stat->pid = pid;
  stat->parent = parent;
  stat->group = group;
  stat->session = session;
  stat->user_time = (double)user / (double)ticks;
  stat->system_time = (double)system / (double)ticks;
  stat->started = started;
  stat->rss = (uint64_t)rss * (uint64_t)page;
  snprintf(stat->name, sizeof stat->name, "%.*s", (int)(end - name - 1), name + 1);
  return 0;
}

/* No opendir, which takes memory. */
int procfs_each(int (*fn)(void *, pid_t), void *context) {
  int dir = open("/proc", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (dir < 0) return errno == ENOENT ? UV_ENOTSUP : uv_translate_sys_error(errno);
  char entries[8192] __attribute__((aligned(8)));
  int result = 0;
  long size;
  while (!result && (size = syscall(SYS_getdents64, dir, entries, sizeof entries)) > 0) {
    for (long at = 0; at < size && !result;) {
      struct { uint64_t inode; int64_t offset; uint16_t length; uint8_t type; char name[1]; } *entry =
          (void *)(entries + at);
      char *end;
      long pid = strtol(entry->name, &end, 10);
      if (pid > 0 && !*end) result = fn(context, (pid_t)pid);
      at += entry->length;
    }
  }
  close(dir);
  return result;
}

#else

ssize_t procfs_read(pid_t pid, const char *name, char *text, size_t size) {
  (void)pid, (void)name, (void)text, (void)size;
  return UV_ENOTSUP;
}

int procfs_stat(pid_t pid, struct procfs_stat *stat) {
  (void)pid, (void)stat;
  return UV_ENOTSUP;
}

int procfs_each(int (*fn)(void *, pid_t), void *context) {
  (void)fn, (void)context;
  return UV_ENOTSUP;
}

#endif
