/* Processes: many short ones, four at a time, and many that live. */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "limit.h"

#define AT_A_TIME 4

static void *allocate(size_t count, size_t size) {
  void *memory = calloc(count ? count : 1, size);
  if (!memory) fail("calloc");
  return memory;
}

static int open_null(void) {
  int fd = open("/dev/null", O_RDONLY | O_CLOEXEC);
  if (fd < 0) fail("/dev/null");
  return fd;
}

static int has_ended_well(int status) { return WIFEXITED(status) && WEXITSTATUS(status) == 0; }

/* --- four at a time, nothing captured --- */

/* What is started; each number from 0 once. */
struct job {
  char *path;
  char *const *argv;
  int fds[3];
};

static struct job job_of(char *const argv[]) {
  return (struct job){find_program(argv[0]), argv, {open_null(), -1, -1}};
}

static pid_t start_job(const struct job *job, int *pidfd) {
  return start_program(job->path, job->argv, job->fds, pidfd);
}

/* wait4 for any child: one system call for each end. It goes through all children, so it wants to have no others. */
static long long run_by_wait(const struct job *job, long long size) {
  long long started = 0, good = 0;
  int status;
  for (; started < size && started < AT_A_TIME; started++) start_job(job, NULL);
  for (long long ended = 0; ended < size; ended++) {
    if (wait4(-1, &status, 0, NULL) < 0) fail("wait4");
    good += has_ended_well(status);
    if (started < size) start_job(job, NULL), started++;
  }
  return good;
}

/* By pidfd, whoever else lives. */
static long long run_by_poll(const struct job *job, long long size) {
  struct pollfd ends[AT_A_TIME];
  pid_t pids[AT_A_TIME];
  long long started = 0, good = 0;
  int status;
  for (int i = 0; i < AT_A_TIME; i++) ends[i] = (struct pollfd){-1, POLLIN, 0};
  for (; started < size && started < AT_A_TIME; started++) pids[started] = start_job(job, &ends[started].fd);
  for (long long ended = 0; ended < size;) {
    if (poll(ends, AT_A_TIME, -1) < 0) fail("poll");
    for (int i = 0; i < AT_A_TIME; i++) {
      if (ends[i].fd < 0 || !ends[i].revents) continue;
      if (wait4(pids[i], &status, 0, NULL) < 0) fail("wait4");
      good += has_ended_well(status);
      ended++;
      close(ends[i].fd);
      ends[i].fd = -1;
      if (started < size) pids[i] = start_job(job, &ends[i].fd), started++;
    }
  }
  return good;
}

/* Four threads, each of which starts one and waits for it: one may start while another is suspended in vfork. */
struct share {
  const struct job *job;
  long long size, good;
};

static void *run_share(void *data) {
  struct share *share = data;
  int status;
  for (long long i = 0; i < share->size; i++) {
    if (wait4(start_job(share->job, NULL), &status, 0, NULL) < 0) fail("wait4");
    share->good += has_ended_well(status);
  }
  return NULL;
}

static long long run_by_threads(const struct job *job, long long size) {
  pthread_t threads[AT_A_TIME];
  struct share shares[AT_A_TIME];
  long long good = 0;
  for (int i = 0; i < AT_A_TIME; i++) {
    shares[i] = (struct share){job, size / AT_A_TIME + (i < size % AT_A_TIME), 0};
    if (pthread_create(&threads[i], NULL, run_share, &shares[i])) fail("pthread_create");
  }
  for (int i = 0; i < AT_A_TIME; i++) {
    pthread_join(threads[i], NULL);
    good += shares[i].good;
  }
  return good;
}

static char *const true_argv[] = {"/bin/true", NULL};

/* Words: "poll" or "threads" for the other two ways. */
static void spawn(long long size, char *const words[]) {
  const char *way = words[0] ? words[0] : "wait";
  struct job job = job_of(true_argv);
  struct stopwatch clock = watch_start();
  long long good = !strcmp(way, "threads") ? run_by_threads(&job, size)
                   : !strcmp(way, "poll")  ? run_by_poll(&job, size)
                                           : run_by_wait(&job, size);
  report_count(clock, good);
}

static void spawn_threads(long long size, char *const words[]) {
  (void)words;
  spawn(size, (char *[]){"threads", NULL});
}

/* With 1 GiB in small pieces. */
static void spawn_heap(long long size, char *const words[]) {
  size_t count = 1 << 20;
  char **pieces = allocate(count, sizeof *pieces);
  for (size_t i = 0; i < count; i++) {
    if (!(pieces[i] = malloc(1024))) fail("malloc");
    memset(pieces[i], 'x', 1024);
    memcpy(pieces[i], &i, sizeof i);
  }
  spawn(size, words);
}

/* --- children that live --- */

struct child {
  pid_t pid;
  int pipes[3]; /* our ends */
};

static struct child *start_idle(long long count, int with_pipes) {
  struct child *children = allocate((size_t)count, sizeof *children);
  char *const argv[] = {(char *)limit_path, "idle", NULL};
  int null = open_null();
  for (long long i = 0; i < count; i++) {
    struct child *child = &children[i];
    int theirs[3] = {null, -1, -1};
    for (int fd = 0; with_pipes && fd < 3; fd++) {
      int pair[2];
      make_pipe(pair);
      child->pipes[fd] = pair[fd == 0];
      theirs[fd] = pair[fd != 0];
    }
    child->pid = start_program(limit_path, argv, theirs, NULL);
    for (int fd = 0; with_pipes && fd < 3; fd++) close(theirs[fd]);
  }
  close(null);
  return children;
}

static void kill_idle(struct child *children, long long count) {
  for (long long i = 0; i < count; i++) kill(children[i].pid, SIGKILL);
  for (long long i = 0; i < count; i++) waitpid(children[i].pid, NULL, 0);
  free(children);
}

static void churn(long long size, char *const words[]) {
  (void)words;
  enum { OTHERS = 5000 };
  struct child *others = start_idle(OTHERS, 0);
  struct job job = job_of(true_argv);
  struct stopwatch clock = watch_start();
  report_count(clock, run_by_poll(&job, size));
  kill_idle(others, OTHERS);
}

static void raise_open_files(void) {
  struct rlimit limit;
  getrlimit(RLIMIT_NOFILE, &limit);
  limit.rlim_cur = limit.rlim_max;
  setrlimit(RLIMIT_NOFILE, &limit);
}

static void hold_idle(long long size, int with_pipes) {
  raise_open_files();
  struct stopwatch clock = watch_start();
  long long before = private_memory();
  struct child *children = start_idle(size, with_pipes);
  struct stopwatch took = watch_stop(clock);
  long long bytes = private_memory() - before;
  printf("%.6f %.6f %.1f %lld\n", took.seconds, took.cpu, (double)bytes / (double)size, size);
  kill_idle(children, size);
}

static void idle(long long size, char *const words[]) {
  (void)words;
  hold_idle(size, 1);
}

static void idle_bare(long long size, char *const words[]) {
  (void)words;
  hold_idle(size, 0);
}

/* All of them end at once. What is measured begins when they are let go: the ends of all, and that they are seen. */
static void storm(long long size, char *const words[]) {
  (void)words;
  char directory[] = "/tmp/limit-XXXXXX", fifo[64];
  int status;
  long long good = 0;
  if (!mkdtemp(directory)) fail("mkdtemp");
  snprintf(fifo, sizeof fifo, "%s/fifo", directory);
  if (mkfifo(fifo, 0600)) fail(fifo);
  struct job job = job_of((char *const[]){(char *)limit_path, "hold", fifo, NULL});
  for (long long i = 0; i < size; i++) start_job(&job, NULL);
  sleep(1); /* by then they wait */
  struct stopwatch clock = watch_start();
  int fd = open(fifo, O_WRONLY | O_CLOEXEC);
  if (fd < 0) fail(fifo);
  for (long long i = 0; i < size; i++) {
    if (wait4(-1, &status, 0, NULL) < 0) fail("wait4");
    good += has_ended_well(status);
  }
  report_count(clock, good);
  close(fd);
  unlink(fifo);
  rmdir(directory);
}

/* --- captured --- */

struct stream {
  char *data;
  size_t size, room;
};

/* One that runs; its pipes are ends[2 * i] and ends[2 * i + 1] of the poll, -1 when closed. */
struct run {
  pid_t pid;
  int open;
  struct stream streams[2];
};

static void start_run(const struct job *job, struct run *run, struct pollfd ends[2], int count) {
  int theirs[3] = {job->fds[0], -1, -1}, pair[2];
  for (int i = 0; i < count; i++) {
    make_pipe(pair);
    ends[i].fd = pair[0];
    theirs[i + 1] = pair[1];
    run->streams[i].size = 0;
  }
  run->open = count;
  run->pid = start_program(job->path, job->argv, theirs, NULL);
  for (int i = 0; i < count; i++) close(theirs[i + 1]);
}

/* 0 at its end. */
static int read_stream(struct stream *stream, int fd) {
  if (stream->size == stream->room) {
    stream->room = stream->room ? 2 * stream->room : 65536;
    if (!(stream->data = realloc(stream->data, stream->room))) fail("realloc");
  }
  ssize_t n = read(fd, stream->data + stream->size, stream->room - stream->size);
  if (n < 0) fail("read");
  stream->size += (size_t)n;
  return n != 0;
}

/* Runs argv so often, four at a time, and captures `count` streams of each: stdout, stderr. */
static void run_captured(char *const argv[], long long size, int count) {
  struct job job = job_of(argv);
  struct pollfd ends[2 * AT_A_TIME];
  struct run runs[AT_A_TIME] = {0};
  long long started = 0, ended = 0, bytes = 0;
  int status;
  for (int i = 0; i < 2 * AT_A_TIME; i++) ends[i] = (struct pollfd){-1, POLLIN, 0};
  struct stopwatch clock = watch_start();
  for (; started < size && started < AT_A_TIME; started++)
    start_run(&job, &runs[started], &ends[2 * started], count);
  while (ended < size) {
    if (poll(ends, 2 * AT_A_TIME, -1) < 0) fail("poll");
    for (int i = 0; i < 2 * AT_A_TIME; i++) {
      struct run *run = &runs[i / 2];
      if (ends[i].fd < 0 || !ends[i].revents || read_stream(&run->streams[i % 2], ends[i].fd)) continue;
      close(ends[i].fd);
      ends[i].fd = -1;
      if (--run->open > 0) continue;
      if (wait4(run->pid, &status, 0, NULL) < 0 || !has_ended_well(status)) fail(job.path);
      bytes += (long long)(run->streams[0].size + run->streams[1].size);
      ended++;
      /* Its ends are given new pipes, which have no events yet. */
      int first = i - i % 2;
      ends[first].revents = ends[first + 1].revents = 0;
      if (started < size) start_run(&job, run, &ends[first], count), started++;
    }
  }
  report_count(clock, bytes);
}

static char *const echo_argv[] = {"/bin/echo", "hello", NULL};

static void run(long long size, char *const words[]) {
  (void)words;
  run_captured(echo_argv, size, 2);
}

static void run_stdout(long long size, char *const words[]) {
  (void)words;
  run_captured(echo_argv, size, 1);
}

static void capture(long long size, char *const words[]) {
  (void)words;
  run_captured((char *const[]){(char *)limit_path, "produce", "65536", NULL}, size, 2);
}

/* --- one after the other, four at a time --- */

/* Starts the command of the words so often, one after the other. CPU time and memory are the command's. */
static void startup(long long size, char *const words[]) {
  if (!words[0]) {
    fprintf(stderr, "limit: startup: a command expected\n");
    exit(2);
  }
  char *path = find_program(words[0]);
  int fds[3] = {open_null(), -1, -1}, status;
  long long good = 0;
  double began = now();
  for (long long i = 0; i < size; i++) {
    if (wait4(start_program(path, words, fds, NULL), &status, 0, NULL) < 0) fail("wait4");
    good += has_ended_well(status);
  }
  double seconds = now() - began;
  struct rusage usage;
  getrusage(RUSAGE_CHILDREN, &usage);
  printf("%.6f %.6f %ld %lld\n", seconds, cpu_of(&usage), usage.ru_maxrss, good);
}

/* In the directory COMPILE_DIR: 1.c to SIZE.c become 1.o to SIZE.o. */
static void compile(long long size, char *const words[]) {
  (void)words;
  char source[32], object[32];
  const char *directory = getenv("COMPILE_DIR");
  if (!directory || chdir(directory)) fail("COMPILE_DIR");
  struct job job = job_of((char *const[]){"cc", "-O1", "-c", source, "-o", object, NULL});
  struct stopwatch clock = watch_start();
  long long started = 0, good = 0;
  int status;
  for (long long ended = 0; ended < size;) {
    if (started < size && started - ended < AT_A_TIME) {
      started++;
      snprintf(source, sizeof source, "%lld.c", started);
      snprintf(object, sizeof object, "%lld.o", started);
      start_job(&job, NULL);
      continue;
    }
    if (wait4(-1, &status, 0, NULL) < 0) fail("wait4");
    good += has_ended_well(status);
    ended++;
  }
  report_count(clock, good);
}

/* The results by name, which here is a number. */
static void jobs(long long size, char *const words[]) {
  (void)words;
  int *results = allocate((size_t)size, sizeof *results), status;
  struct job job = job_of(true_argv);
  struct running {
    pid_t pid;
    long long number;
  } running[AT_A_TIME] = {0};
  struct stopwatch clock = watch_start();
  long long started = 0, good = 0;
  for (; started < size && started < AT_A_TIME; started++)
    running[started] = (struct running){start_job(&job, NULL), started};
  for (long long ended = 0; ended < size; ended++) {
    pid_t pid = wait4(-1, &status, 0, NULL);
    if (pid < 0) fail("wait4");
    struct running *slot = running;
    while (slot->pid != pid) slot++;
    results[slot->number] = status;
    if (started < size) *slot = (struct running){start_job(&job, NULL), started}, started++;
  }
  for (long long i = 0; i < size; i++) good += has_ended_well(results[i]);
  report_count(clock, good);
  free(results);
}

const struct workload process_workloads[] = {
    {"spawn", spawn},
    {"spawn-threads", spawn_threads},
    {"spawn-heap", spawn_heap},
    {"churn", churn},
    {"storm", storm},
    {"run", run},
    {"run-stdout", run_stdout},
    {"capture", capture},
    {"idle", idle},
    {"idle-bare", idle_bare},
    {"jobs", jobs},
    {"startup", startup},
    {"compile", compile},
    {NULL, NULL},
};
