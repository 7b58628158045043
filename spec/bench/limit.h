/* The limit: each workload of the benchmark in plain system calls, as well as C can do it. It is one program, which
 * also serves all contenders as their child; run.lua builds it.
 *
 *   limit WORKLOAD SIZE [WORD…]  does it and prints "SECONDS CPU KIB CHECK": wall time and own CPU time of the job
 *                                alone, peak memory (or memory for each child or task, in bytes), and a value in which
 *                                all contenders must agree. 77: no such workload
 *
 * As a child:
 *   limit idle                   waits for a signal that kills it, or the end of its parent
 *   limit hold FIFO              waits until somebody opens the FIFO for writing, and exits
 *   limit nothing                exits at once: what starting a program costs at least
 *   limit produce BYTES          writes so many bytes in blocks of 64 KiB
 *   limit produce-lines LINES    writes so many lines of 20 bytes on average; one of 1000 has "needle" in it
 *                                PRODUCER_CORE in the environment: both run on that core
 */
#ifndef LIMIT_H
#define LIMIT_H

#include <stddef.h>
#include <sys/resource.h>
#include <sys/types.h>

/* The path of this program. */
extern const char *limit_path;

_Noreturn void fail(const char *what);
/* A pipe; both ends are close-on-exec. */
void make_pipe(int pair[2]);

/* The clock of a job: wall time, and CPU time of this process without its children. */
struct stopwatch {
  double seconds, cpu;
};
double now(void);
double cpu_of(const struct rusage *usage);
struct stopwatch watch_start(void);
/* How much has gone by since. */
struct stopwatch watch_stop(struct stopwatch since);

/* Prints the line: the time since the start, peak memory, the check. */
void report(struct stopwatch since, const char *check);
void report_count(struct stopwatch since, long long count);
/* Private memory of this process in bytes, as /proc/self/smaps_rollup knows it. Without that of its file, which is the
 * children's, too, once there are any. */
long long private_memory(void);

/* A program by name, looked for in PATH; ends this one if there is none. */
char *find_program(const char *name);
/* Starts a program by its path, as vfork does: returns once it runs. Its stdin, stdout and stderr are these
 * descriptors; -1: our own. If pidfd is not NULL, it is given a descriptor of the child. */
pid_t start_program(const char *path, char *const argv[], const int fds[3], int *pidfd);

/* Lines of a child, in a buffer of this module: the next one without its newline; NULL at the end. */
void open_lines(long long size);
const char *next_line(size_t *size);
void report_lines(struct stopwatch since, long long lines, long long bytes);

/* A workload: its size, further words of the command line (NULL-terminated). */
struct workload {
  const char *name;
  void (*run)(long long size, char *const words[]);
};
/* Each ends with a name of NULL. */
extern const struct workload stream_workloads[], process_workloads[], task_workloads[], lua_workloads[];

/* As a child. */
int produce(long long bytes);
int produce_lines(long long lines);

#endif
