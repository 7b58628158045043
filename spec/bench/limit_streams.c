/* Streams: what is read from a child. Also the producers that all contenders read from, and peers that are commands. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/wait.h>
#include <unistd.h>

#include "limit.h"

#define BLOCK 65536
#define NEEDLE "needle"

/* --- producers --- */

static void write_all(const char *data, size_t size) {
  while (size) {
    ssize_t n = write(1, data, size);
    if (n < 0) exit(0); /* nobody reads any more */
    data += n;
    size -= (size_t)n;
  }
}

int produce(long long bytes) {
  static char block[BLOCK];
  memset(block, 'x', BLOCK);
  for (; bytes > 0; bytes -= BLOCK) write_all(block, bytes < BLOCK ? (size_t)bytes : BLOCK);
  return 0;
}

/* So many different lines that no interpreter still knows a line's string when it comes again. */
#define UNIT_LINES 200000

int produce_lines(long long lines) {
  char *unit = malloc(UNIT_LINES * 32 + BLOCK);
  size_t *starts = malloc((UNIT_LINES + 1) * sizeof *starts), size = 0;
  if (!unit || !starts) fail("malloc");
  unsigned random = 1;
  for (int i = 0; i < UNIT_LINES; i++) {
    starts[i] = size;
    random = random * 1103515245u + 12345u;
    size_t length = 9 + (random >> 16) % 21; /* 9 to 29, and the newline */
    int n = sprintf(unit + size, "%06d", i);
    memset(unit + size + n, 'a' + i % 10, 32 - (size_t)n);
    if (i % 1000 == 500) {
      length = 25;
      memcpy(unit + size + 12, NEEDLE, strlen(NEEDLE));
    }
    size += length;
    unit[size++] = '\n';
  }
  starts[UNIT_LINES] = size;
  memcpy(unit + size, unit, BLOCK); /* so that a block may begin anywhere */
  long long left = lines / UNIT_LINES * (long long)size + (long long)starts[lines % UNIT_LINES];
  for (size_t at = 0; left > 0; left -= BLOCK, at = (at + BLOCK) % size)
    write_all(unit + at, left < BLOCK ? (size_t)left : BLOCK);
  return 0;
}

/* --- what is started --- */

static pid_t start(char *const argv[], int in, int out) {
  char *path = find_program(argv[0]);
  pid_t pid = start_program(path, argv, (int[]){in, out, -1}, NULL);
  free(path);
  return pid;
}

static int start_producer(const char *mode, long long size, int pipe_size) {
  int pair[2];
  char text[32];
  snprintf(text, sizeof text, "%lld", size);
  make_pipe(pair);
  if (pipe_size && fcntl(pair[0], F_SETPIPE_SZ, pipe_size) < 0) fail("F_SETPIPE_SZ");
  start((char *[]){(char *)limit_path, (char *)mode, text, NULL}, -1, pair[1]);
  close(pair[1]);
  return pair[0];
}

static ssize_t read_some(int fd, char *data, size_t size) {
  ssize_t n;
  do n = read(fd, data, size);
  while (n < 0 && errno == EINTR);
  return n;
}

/* Words: the size of a read, the size of the pipe, "poll" (not blocking, waits in epoll). */
static void read_blocks(long long size, char *const words[]) {
  size_t read_size = words[0] ? (size_t)atol(words[0]) : BLOCK;
  int pipe_size = words[0] && words[1] ? atoi(words[1]) : 0, polled = words[0] && words[1] && words[2];
  char *block = malloc(read_size);
  long long total = 0;
  struct stopwatch clock = watch_start();
  int fd = start_producer("produce", size, pipe_size), epoll = -1;
  if (polled) {
    fcntl(fd, F_SETFL, O_NONBLOCK);
    epoll = epoll_create1(EPOLL_CLOEXEC);
    epoll_ctl(epoll, EPOLL_CTL_ADD, fd, &(struct epoll_event){.events = EPOLLIN});
  }
  for (;;) {
    ssize_t n = read_some(fd, block, read_size);
    if (n == 0) break;
    if (n > 0) total += n;
    else if (errno != EAGAIN) fail("read");
    else epoll_wait(epoll, &(struct epoll_event){0}, 1, -1);
  }
  wait(NULL);
  report_count(clock, total);
}

/* --- lines --- */

static struct {
  int fd;
  size_t start, end; /* data[start .. end) */
  char data[2 * BLOCK];
} in;

void open_lines(long long size) { in.fd = start_producer("produce-lines", size, 0); }

/* Moves what is left to the front and reads on; 0 at the end. */
static int fill(void) {
  size_t held = in.end - in.start;
  memmove(in.data, in.data + in.start, held);
  in.start = 0;
  in.end = held;
  ssize_t n = read_some(in.fd, in.data + held, BLOCK);
  if (n <= 0) return 0;
  in.end += (size_t)n;
  return 1;
}

const char *next_line(size_t *size) {
  for (;;) {
    const char *line = in.data + in.start;
    const char *end = memchr(line, '\n', in.end - in.start);
    if (end) {
      *size = (size_t)(end - line);
      in.start += *size + 1;
      return line;
    }
    if (!fill()) return NULL;
  }
}

void report_lines(struct stopwatch clock, long long lines, long long bytes) {
  char check[64];
  wait(NULL);
  snprintf(check, sizeof check, "%lld:%lld", lines, bytes);
  report(clock, check);
}

static void lines(long long size, char *const words[]) {
  (void)words;
  long long count = 0, bytes = 0;
  size_t length;
  struct stopwatch clock = watch_start();
  open_lines(size);
  while (next_line(&length)) {
    count++;
    bytes += (long long)length;
  }
  report_lines(clock, count, bytes);
}

static void count(long long size, char *const words[]) {
  (void)words;
  long long count = 0;
  struct stopwatch clock = watch_start();
  open_lines(size);
  for (;;) {
    ssize_t n = read_some(in.fd, in.data, BLOCK);
    if (n <= 0) break;
    const char *at = in.data, *end = in.data + n;
    while ((at = memchr(at, '\n', (size_t)(end - at)))) {
      count++;
      at++;
    }
  }
  wait(NULL);
  report_count(clock, count);
}

/* Looks for the needle in all that has come, and only then for the ends of its line. */
static void grep(long long size, char *const words[]) {
  (void)words;
  long long found = 0, bytes = 0;
  struct stopwatch clock = watch_start();
  open_lines(size);
  do {
    const char *last = memrchr(in.data + in.start, '\n', in.end - in.start);
    if (!last) continue;
    const char *at = in.data + in.start, *end = last + 1, *hit;
    while ((hit = memmem(at, (size_t)(end - at), NEEDLE, strlen(NEEDLE)))) {
      const char *before = memrchr(at, '\n', (size_t)(hit - at));
      const char *line = before ? before + 1 : at;
      at = (const char *)memchr(hit, '\n', (size_t)(end - hit)) + 1;
      found++;
      bytes += at - 1 - line;
    }
    in.start = (size_t)(end - in.data);
  } while (fill());
  report_lines(clock, found, bytes);
}

/* --- processes --- */

static void roundtrip(long long rounds, char *const words[]) {
  (void)words;
  int to[2], from[2];
  char out[64], back[64];
  long long bytes = 0;
  struct stopwatch clock = watch_start();
  make_pipe(to);
  make_pipe(from);
  start((char *[]){"cat", NULL}, to[0], from[1]);
  close(to[0]);
  close(from[1]);
  for (long long i = 1; i <= rounds; i++) {
    int size = sprintf(out, "ping %lld\n", i);
    if (write(to[1], out, (size_t)size) != size) fail("write");
    size_t got = 0;
    do {
      ssize_t n = read_some(from[0], back + got, sizeof back - got);
      if (n <= 0) fail("read");
      got += (size_t)n;
    } while (back[got - 1] != '\n');
    bytes += (long long)got - 1;
  }
  close(to[1]);
  wait(NULL);
  report_count(clock, bytes);
}

static void read_answer(int fd, char *answer, size_t size) {
  size_t got = 0;
  ssize_t n;
  while (got < size - 1 && (n = read_some(fd, answer + got, size - 1 - got)) > 0) got += (size_t)n;
  answer[got] = '\0';
}

static void pipeline(long long size, char *const words[]) {
  (void)words;
  int first[2], second[2], last[2];
  char text[32], answer[64];
  snprintf(text, sizeof text, "%lld", size);
  struct stopwatch clock = watch_start();
  make_pipe(first);
  start((char *[]){"yes", NULL}, -1, first[1]);
  close(first[1]);
  make_pipe(second);
  start((char *[]){"head", "-c", text, NULL}, first[0], second[1]);
  close(first[0]);
  close(second[1]);
  make_pipe(last);
  start((char *[]){"wc", "-c", NULL}, second[0], last[1]);
  close(second[0]);
  close(last[1]);
  read_answer(last[0], answer, sizeof answer);
  while (wait(NULL) > 0) {}
  answer[strcspn(answer, "\n")] = '\0';
  report(clock, answer);
}

/* The same by dash, which says itself what it has used apart from its children. */
static void pipeline_dash(long long size, char *const words[]) {
  (void)words;
  int pair[2];
  char script[128], answer[256];
  snprintf(script, sizeof script, "yes | head -c %lld | wc -c; times; grep VmHWM /proc/$$/status", size);
  struct stopwatch clock = watch_start();
  make_pipe(pair);
  start((char *[]){"dash", "-c", script, NULL}, -1, pair[1]);
  close(pair[1]);
  read_answer(pair[0], answer, sizeof answer);
  wait(NULL);
  double seconds = now() - clock.seconds, user = 0, system = 0;
  long long bytes = 0;
  long kib = 0;
  const char *memory = strstr(answer, "VmHWM:");
  sscanf(answer, "%lld 0m%lfs 0m%lfs", &bytes, &user, &system);
  if (memory) sscanf(memory, "VmHWM: %ld", &kib);
  printf("%.6f %.6f %ld %lld\n", seconds, user + system, kib, bytes);
}

/* A program that reads the lines and prints a number. */
static void lines_by(char *const argv[], long long size) {
  int pair[2], status;
  char answer[64];
  struct rusage usage;
  double began = now();
  int fd = start_producer("produce-lines", size, 0);
  make_pipe(pair);
  pid_t pid = start(argv, fd, pair[1]);
  close(fd);
  close(pair[1]);
  read_answer(pair[0], answer, sizeof answer);
  wait4(pid, &status, 0, &usage);
  answer[strcspn(answer, "\n")] = '\0';
  printf("%.6f %.6f %ld %s\n", now() - began, cpu_of(&usage), usage.ru_maxrss, answer);
}

static void count_wc(long long size, char *const words[]) {
  (void)words;
  lines_by((char *[]){"wc", "-l", NULL}, size);
}

static void grep_grep(long long size, char *const words[]) {
  (void)words;
  lines_by((char *[]){"grep", "-cF", NEEDLE, NULL}, size);
}

const struct workload stream_workloads[] = {
    {"read", read_blocks},
    {"lines", lines},
    {"count", count},
    {"grep", grep},
    {"roundtrip", roundtrip},
    {"pipeline", pipeline},
    {"pipeline-dash", pipeline_dash},
    {"count-wc", count_wc},
    {"grep-grep", grep_grep},
    {NULL, NULL},
};
