/* What a spawn costs whom, by the real spawn_start, in one or several threads with a loop each. See scaling.lua.
 *
 *   spawner parts COUNT DESCRIPTORS PROGRAM…   one child after another, with so many further descriptors open; the
 *                                              lower quartiles in microseconds (what disturbs only adds), see `parts`
 *   spawner rate THREADS JOBS SECONDS PROGRAM… children/s, the share of the time that a thread was suspended, and the
 *                                              processor time for each child in microseconds, all included
 *   spawner overlap THREADS JOBS SECONDS PROGRAM…  the same, bare, by a clone that does not suspend the parent
 *   spawner vfork THREADS JOBS SECONDS PROGRAM…    and, to compare with, by one that does
 */
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "spawn.h"

extern char **environ;

static double seconds_of(clockid_t clock) {
  struct timespec t;
  clock_gettime(clock, &t);
  return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}
static double wall(void) { return seconds_of(CLOCK_MONOTONIC); }
static double own(void) { return seconds_of(CLOCK_THREAD_CPUTIME_ID); }

static void fail(const char *what, int err) {
  fprintf(stderr, "spawner: %s: %s\n", what, uv_strerror(err));
  exit(1);
}

struct child {
  struct spawn_child core;
  struct spawn_status status;
  struct rusage usage;
  bool is_running;
  char *stack;        /* of an overlapped one: in use until the kernel clears `tid` */
  volatile pid_t tid;
  int pidfd;
};

static double cpu_of(const struct rusage *usage) {
  return (double)(usage->ru_utime.tv_sec + usage->ru_stime.tv_sec) +
         (double)(usage->ru_utime.tv_usec + usage->ru_stime.tv_usec) / 1e6;
}

static void ended_cb(struct spawn_child *core, const struct spawn_status *status, const struct rusage *usage) {
  struct child *child = (struct child *)((char *)core - offsetof(struct child, core));
  child->status = *status;
  if (usage) child->usage = *usage;
  child->is_running = false;
}

static int start(struct loop *loop, char **argv, struct child *child) {
  struct spawn_request request = {.argv = argv, .envp = environ, .file = argv[0], .path = "/usr/bin:/bin",
    .group_count = -1, .uid = -1, .gid = -1, .umask = -1, .ctty = -1, .group = true, .mark = 1};
  struct spawn_fd fds[] = {{0, 0}, {1, 1}, {2, 2}};
  request.fds = fds;
  request.fd_count = 3;
  struct spawn_failure failure;
  *child = (struct child){.core = {.pidfd = -1, .ended = ended_cb}, .is_running = true};
  int err = spawn_start(loop, &request, &child->core, &failure);
  if (err) child->is_running = false;
  return err;
}

/* --- parts --- */

struct parts {
  double own;       /* processor time of the parent in spawn_start */
  double suspended; /* what else passes there: the child up to the end of exec, and two switches */
  double alone;     /* from there to the end of the child */
  double reap;      /* processor time of the parent for that end */
  double child;     /* processor time of the child, all of it */
};

static struct parts one_by_one(struct loop *loop, char **argv) {
  struct child child;
  struct parts parts;
  double w0 = wall(), c0 = own();
  int err = start(loop, argv, &child);
  double w1 = wall(), c1 = own();
  if (err && err != UV_ENOENT) fail(argv[0], err);
  while (child.is_running) loop_turn(loop, true);
  parts = (struct parts){c1 - c0, w1 - w0 - (c1 - c0), wall() - w1, own() - c1, cpu_of(&child.usage)};
  if (!err) spawn_release(&child.core, false);
  loop_turn(loop, false); /* libuv closes the watch */
  return parts;
}

static int compare(const void *a, const void *b) {
  double x = *(const double *)a, y = *(const double *)b;
  return (x > y) - (x < y);
}

static int measure_parts(int count, int descriptors, char **argv) {
  struct loop loop;
  enum { FIELDS = sizeof(struct parts) / sizeof(double) };
  double *values[FIELDS];
  loop_init(&loop);
  spawn_init(&loop);
  for (int i = 0; i < descriptors; i++)
    if (open("/dev/null", O_RDONLY | O_CLOEXEC) < 0) fail("open", uv_translate_sys_error(errno));
  for (int i = 0; i < FIELDS; i++) values[i] = calloc((size_t)count, sizeof **values);
  for (int n = -10; n < count; n++) {
    struct parts parts = one_by_one(&loop, argv);
    for (int i = 0; i < FIELDS && n >= 0; i++) values[i][n] = ((double *)&parts)[i];
  }
  for (int i = 0; i < FIELDS; i++) {
    qsort(values[i], (size_t)count, sizeof **values, compare);
    printf("%s%.1f", i ? " " : "", values[i][count / 4] * 1e6);
    free(values[i]);
  }
  printf("\n");
  spawn_exit(&loop);
  loop_close(&loop);
  return 0;
}

/* --- rate --- */

struct spawning {
  pthread_t thread;
  int jobs;
  double until;
  char **argv;
  int clone_flags; /* 0: spawn_start */
  long count;
  double suspended, took;
};

static void *by_spawn_start(void *arg) {
  struct spawning *s = arg;
  struct loop loop;
  loop_init(&loop);
  spawn_init(&loop);
  struct child *children = calloc((size_t)s->jobs, sizeof *children);
  double began = wall();
  while (wall() < s->until) {
    for (int i = 0; i < s->jobs; i++) {
      if (children[i].is_running) continue;
      if (children[i].core.pid) spawn_release(&children[i].core, false);
      children[i].core.pid = 0;
      double w = wall(), c = own();
      int err = start(&loop, s->argv, &children[i]);
      if (err && err != UV_ENOENT) fail(s->argv[0], err);
      s->suspended += wall() - w - (own() - c);
      s->count++;
    }
    loop_turn(&loop, loop_alive(&loop));
  }
  s->took = wall() - began;
  for (int i = 0; i < s->jobs; i++) {
    while (children[i].is_running) loop_turn(&loop, true);
    if (children[i].core.pid) spawn_release(&children[i].core, false);
  }
  spawn_exit(&loop);
  loop_close(&loop);
  free(children);
  return NULL;
}

/* The bare clone, with as much of a child as every one needs, to see what not being suspended would give. */
static int bare_child(void *arg) {
  char **argv = arg;
  unsigned long long none = 0;
  syscall(SYS_setpgid, 0, 0);
  syscall(SYS_rt_sigprocmask, SIG_SETMASK, &none, NULL, 8);
  syscall(SYS_execve, argv[0], argv, environ);
  syscall(SYS_exit, 127);
  return 127;
}

enum { STACK = 16384 };

static void start_bare(struct spawning *s, struct child *child, int epoll) {
  while (child->tid) sched_yield(); /* still on its stack */
  sigset_t all, saved;
  sigfillset(&all);
  pthread_sigmask(SIG_SETMASK, &all, &saved);
  child->tid = 1;
  child->core.pid = clone(bare_child, child->stack + STACK, s->clone_flags, s->argv, &child->pidfd, NULL, &child->tid);
  pthread_sigmask(SIG_SETMASK, &saved, NULL);
  if (child->core.pid < 0) fail("clone", uv_translate_sys_error(errno));
  child->is_running = true;
  struct epoll_event event = {.events = EPOLLIN, .data.ptr = child};
  epoll_ctl(epoll, EPOLL_CTL_ADD, child->pidfd, &event);
}

static void reap_bare(int epoll) {
  struct epoll_event events[64];
  int ready = epoll_wait(epoll, events, 64, -1);
  for (int i = 0; i < ready; i++) {
    struct child *child = events[i].data.ptr;
    if (waitpid(child->core.pid, NULL, WNOHANG) <= 0) continue;
    epoll_ctl(epoll, EPOLL_CTL_DEL, child->pidfd, NULL); /* a child on its way to exec has a copy of the descriptor */
    close(child->pidfd);
    child->is_running = false;
  }
}

static void *by_clone(void *arg) {
  struct spawning *s = arg;
  int epoll = epoll_create1(EPOLL_CLOEXEC), running = 0;
  struct child *children = calloc((size_t)s->jobs, sizeof *children);
  for (int i = 0; i < s->jobs; i++)
    children[i].stack = mmap(NULL, STACK, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  double began = wall();
  while (wall() < s->until || running) {
    bool is_over = wall() >= s->until;
    if (!is_over) s->took = wall() - began;
    running = 0;
    for (int i = 0; i < s->jobs; i++) {
      if (!children[i].is_running && !is_over) {
        double w = wall(), c = own();
        start_bare(s, &children[i], epoll);
        s->suspended += wall() - w - (own() - c);
        s->count++;
      }
      running += children[i].is_running;
    }
    if (running) reap_bare(epoll);
  }
  close(epoll);
  for (int i = 0; i < s->jobs; i++) munmap(children[i].stack, STACK);
  free(children);
  return NULL;
}

static int measure_rate(int clone_flags, int threads, int jobs, double seconds, char **argv) {
  struct spawning *all = calloc((size_t)threads, sizeof *all);
  long count = 0;
  double suspended = 0, took = 0;
  spawn_prepare_process();
  for (int i = 0; i < threads; i++) {
    all[i] = (struct spawning){.jobs = jobs / threads + (i < jobs % threads), .until = wall() + seconds, .argv = argv,
                               .clone_flags = clone_flags};
    int err = pthread_create(&all[i].thread, NULL, clone_flags ? by_clone : by_spawn_start, &all[i]);
    if (err) fail("thread", -err);
  }
  for (int i = 0; i < threads; i++) {
    pthread_join(all[i].thread, NULL);
    count += all[i].count;
    suspended += all[i].suspended;
    took += all[i].took;
  }
  struct rusage self, children;
  getrusage(RUSAGE_SELF, &self);
  getrusage(RUSAGE_CHILDREN, &children);
  printf("%.0f %.3f %.1f\n", (double)count / (took / threads), suspended / took,
         (cpu_of(&self) + cpu_of(&children)) / (double)count * 1e6);
  free(all);
  return 0;
}

int main(int argc, char **argv) {
  const char *what = argc > 4 ? argv[1] : "";
  if (!strcmp(what, "parts")) return measure_parts(atoi(argv[2]), atoi(argv[3]), argv + 4);
  if (argc < 6) return fprintf(stderr, "usage: see spec/bench/scaling/spawner.c\n"), 2;
  int flags = 0, bare = CLONE_VM | CLONE_PIDFD | CLONE_CHILD_CLEARTID | SIGCHLD;
  if (!strcmp(what, "overlap")) flags = bare;
  if (!strcmp(what, "vfork")) flags = bare | CLONE_VFORK;
  return measure_rate(flags, atoi(argv[2]), atoi(argv[3]), atof(argv[4]), argv + 5);
}
