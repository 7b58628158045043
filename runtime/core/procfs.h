/* What /proc tells of processes, ours or not (Linux). Elsewhere, and where there is no /proc, every call says so:
 * UV_ENOTSUP. UV_ESRCH: there is no such process. A number may have come back as another process since it was read:
 * `started` tells. */
#ifndef CORUN_PROCFS_H
#define CORUN_PROCFS_H

#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

/* /proc/PID/stat, see proc(5). */
struct procfs_stat {
  pid_t pid, parent, group, session;
  char state;           /* 'R', 'S', 'D', 'T', 'Z', … */
  char name[64];        /* the program's, cut off by the kernel */
  double user_time, system_time; /* seconds, of all threads */
  long threads;
  uint64_t rss;         /* bytes */
  uint64_t started;     /* ticks after boot */
};
int procfs_stat(pid_t pid, struct procfs_stat *stat);

/* Reads a small file of /proc/PID into `text`, at most size - 1 bytes and a NUL: the number of bytes, or an error. */
ssize_t procfs_read(pid_t pid, const char *name, char *text, size_t size);

/* Whether it still runs: there is a process of that number that is no zombie. An orphan given to a slow pid 1 may stay
 * a zombie for seconds. */
static inline int procfs_state_runs(char state) { return state != 'Z' && state != 'X'; }

/* Calls fn with the number of each process, in ascending order, until it returns nonzero; returns that, or 0, or an
 * error. */
int procfs_each(int (*fn)(void *context, pid_t pid), void *context);

#endif
