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
  uint64_t minor_faults, major_faults;
  long threads;
  uint64_t rss;         /* bytes */
  uint64_t started;     /* ticks after boot */
};
int procfs_stat(pid_t pid, struct procfs_stat *stat);

/* What a process uses: /proc/PID/stat, status, io, task/TID/children. A number that cannot be read is -1. */
struct procfs_usage {
  double user_time, system_time; /* seconds, of all threads */
  int64_t rss, max_rss;          /* bytes */
  int64_t minor_faults, major_faults;
  int64_t threads;
  int64_t children;              /* direct ones, of all threads */
  int64_t read_bytes, written_bytes; /* from and to storage; these four are the process's own user's to read */
  int64_t read_chars, written_chars; /* by read(2), write(2) and their kind, whatever it was: files, pipes, sockets */
};

/* What makes the next sample of a process cheap; the caller's, who sets it to PROCFS_MEMO and closes it at the end.
 * Most of the cost of a sample is in the kernel: finding the files, so two are kept open, and writing the numbers of
 * `status`, which is only read for the peak of the memory: that grows by page faults alone, so while their number stands
 * still, so does the peak. */
struct procfs_memo {
  int64_t faults, peak;
  int children_fd, io_fd; /* -1: none */
};
#define PROCFS_MEMO {.children_fd = -1, .io_fd = -1}
void procfs_memo_close(struct procfs_memo *memo);

int procfs_usage(pid_t pid, struct procfs_memo *memo, struct procfs_usage *usage);

/* An open file, from /proc/PID/fd and fdinfo. */
struct procfs_file {
  int fd;
  int mode;         /* O_RDONLY, O_WRONLY, O_RDWR; -1: neither (O_PATH) */
  int64_t position; /* bytes; -1 where it cannot be known */
  char *path;       /* or the kernel's name of what is no file: "pipe:[123]" */
};
struct procfs_files {
  struct procfs_file *list; /* by number */
  size_t count;
};

/* The open files of a process; what was there before in *files must be empty. UV_EACCES: it is another user's. Whatever
 * it returns, the caller frees them. */
int procfs_open_files(pid_t pid, struct procfs_files *files);
void procfs_files_free(struct procfs_files *files);

/* Reads a small file of /proc/PID into `text`, at most size - 1 bytes and a NUL: the number of bytes, or an error. */
ssize_t procfs_read(pid_t pid, const char *name, char *text, size_t size);

/* Whether it still runs: there is a process of that number that is no zombie. An orphan given to a slow pid 1 may stay
 * a zombie for seconds. */
static inline int procfs_state_runs(char state) { return state != 'Z' && state != 'X'; }

/* Calls fn with the number of each process, in ascending order, until it returns nonzero; returns that, or 0, or an
 * error. */
int procfs_each(int (*fn)(void *context, pid_t pid), void *context);

#endif
