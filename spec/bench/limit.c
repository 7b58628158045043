/* Its beginning, what its parts share, and what it does as a child. */
#include "limit.h"

#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

const char *limit_path;

void fail(const char *what) {
  fprintf(stderr, "limit: %s: %s\n", what, strerror(errno));
  exit(1);
}

void make_pipe(int pair[2]) {
  if (pipe2(pair, O_CLOEXEC)) fail("pipe2");
}

/* --- what is measured --- */

double now(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

double cpu_of(const struct rusage *usage) {
  return (double)usage->ru_utime.tv_sec + (double)usage->ru_utime.tv_usec / 1e6 + (double)usage->ru_stime.tv_sec +
         (double)usage->ru_stime.tv_usec / 1e6;
}

struct stopwatch watch_start(void) {
  struct rusage usage;
  getrusage(RUSAGE_SELF, &usage);
  return (struct stopwatch){now(), cpu_of(&usage)};
}

struct stopwatch watch_stop(struct stopwatch since) {
  double seconds = now() - since.seconds;
  struct rusage usage;
  getrusage(RUSAGE_SELF, &usage);
  return (struct stopwatch){seconds, cpu_of(&usage) - since.cpu};
}

/* Of this program alone: ru_maxrss counts what the process was before its exec, too. */
static long peak_memory(void) {
  char line[256];
  long kib = 0;
  FILE *f = fopen("/proc/self/status", "r");
  while (f && fgets(line, sizeof line, f)) sscanf(line, "VmHWM: %ld", &kib);
  if (f) fclose(f);
  return kib;
}

long long private_memory(void) {
  char line[256];
  long long sum = 0, kib;
  FILE *f = fopen("/proc/self/smaps_rollup", "r");
  if (!f) fail("/proc/self/smaps_rollup");
  while (fgets(line, sizeof line, f))
    if (sscanf(line, "Anonymous: %lld", &kib) == 1) sum += kib;
  fclose(f);
  return sum * 1024;
}

void report(struct stopwatch since, const char *check) {
  struct stopwatch took = watch_stop(since);
  printf("%.6f %.6f %ld %s\n", took.seconds, took.cpu, peak_memory(), check);
}

void report_count(struct stopwatch since, long long count) {
  char check[32];
  snprintf(check, sizeof check, "%lld", count);
  report(since, check);
}

/* --- programs --- */

char *find_program(const char *name) {
  static char path[4096];
  const char *directories = getenv("PATH");
  if (strchr(name, '/')) return strdup(name);
  for (const char *at = directories ? directories : "/usr/bin:/bin"; *at;) {
    size_t length = strcspn(at, ":");
    snprintf(path, sizeof path, "%.*s/%s", (int)length, at, name);
    if (length && access(path, X_OK) == 0) return strdup(path);
    at += length + (at[length] == ':');
  }
  errno = ENOENT;
  fail(name);
}

struct start {
  const char *path;
  char *const *argv;
  const int *fds;
};

static int begin_child(void *data) {
  const struct start *start = data;
  for (int fd = 0; fd < 3; fd++)
    if (start->fds[fd] >= 0) dup2(start->fds[fd], fd);
  execve(start->path, start->argv, environ);
  _exit(127);
}

/* clone and not vfork: the child has its own stack, and the descriptor comes with it. */
pid_t start_program(const char *path, char *const argv[], const int fds[3], int *pidfd) {
  static _Thread_local _Alignas(16) char stack[16384];
  struct start start = {path, argv, fds};
  int flags = CLONE_VM | CLONE_VFORK | SIGCHLD | (pidfd ? CLONE_PIDFD : 0);
  pid_t pid = clone(begin_child, stack + sizeof stack, flags, &start, pidfd);
  if (pid < 0) fail("clone");
  return pid;
}

/* --- as a child --- */

/* Whether reader and writer share a core changes all results, so it can be said. */
static void take_core(void) {
  const char *core = getenv("PRODUCER_CORE");
  cpu_set_t set;
  if (!core) return;
  CPU_ZERO(&set);
  CPU_SET(atoi(core), &set);
  if (sched_setaffinity(0, sizeof set, &set)) fail("PRODUCER_CORE");
}

/* Until it is killed; or has become an orphan, which it need not notice at once. */
static void idle(void) {
  for (pid_t parent = getppid(); getppid() == parent;) sleep(30);
  _exit(0);
}

static int hold(const char *fifo) {
  if (open(fifo, O_RDONLY) < 0) fail(fifo);
  return 0;
}

/* Does what it is told to as a child, and never returns; or was told something else. */
static void be_child(const char *mode, const char *word) {
  if (!strcmp(mode, "nothing")) _exit(0);
  if (!word && !strcmp(mode, "idle")) idle(); /* with a size it is the workload */
  if (!word) return;
  if (!strcmp(mode, "hold")) _exit(hold(word));
  if (!strncmp(mode, "produce", 7)) take_core();
  if (!strcmp(mode, "produce")) _exit(produce(atoll(word)));
  if (!strcmp(mode, "produce-lines")) _exit(produce_lines(atoll(word)));
}

static const struct workload *find_workload(const char *name) {
  const struct workload *parts[] = {
      stream_workloads, process_workloads, task_workloads,
#ifdef WITH_LUA
      lua_workloads,
#endif
  };
  for (size_t i = 0; i < sizeof parts / sizeof *parts; i++)
    for (const struct workload *workload = parts[i]; workload->name; workload++)
      if (!strcmp(workload->name, name)) return workload;
  return NULL;
}

int main(int argc, char **argv) {
  static char path[4096];
  if (argc > 1) be_child(argv[1], argv[2]);
  if (argc < 3) {
    fprintf(stderr, "usage: limit WORKLOAD SIZE [WORD…]\n");
    return 2;
  }
  const struct workload *workload = find_workload(argv[1]);
  if (!workload) return 77;
  if (readlink("/proc/self/exe", path, sizeof path - 1) < 0) fail("/proc/self/exe");
  limit_path = path;
  workload->run(atoll(argv[2]), argv + 3);
  return 0;
}
