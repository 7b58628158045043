/* The limit of what a stream can be: each workload in plain system calls. Also the producers that all contenders read
 * from, and the command-line peers. run.lua builds and runs it.
 *
 *   limit produce BYTES          writes so many bytes in blocks of 64 KiB
 *   limit produce-lines LINES    writes so many lines of 20 bytes on average; one of 1000 has "needle" in it
 *                                PRODUCER_CORE in the environment: both run on that core
 *   limit WORKLOAD SIZE          prints seconds, own CPU seconds, peak memory in KiB, and a check value
 *   limit read BYTES READ_SIZE PIPE_SIZE [poll]
 *                                the same with other sizes; poll: not blocking, waits in epoll
 */
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#ifdef WITH_LUA
#include <lauxlib.h>
#include <lua.h>
#include <lualib.h>
#endif

#define BLOCK 65536
#define NEEDLE "needle"

static const char *self;

static void fail(const char *what) {
  perror(what);
  exit(1);
}

/* --- producers --- */

/* Whether reader and writer share a core changes all results, so it can be said. */
static void take_core(void) {
  const char *core = getenv("PRODUCER_CORE");
  cpu_set_t set;
  if (!core) return;
  CPU_ZERO(&set);
  CPU_SET(atoi(core), &set);
  if (sched_setaffinity(0, sizeof set, &set)) fail("PRODUCER_CORE");
}

static void write_all(const char *data, size_t size) {
  while (size) {
    ssize_t n = write(1, data, size);
    if (n < 0) exit(0); /* nobody reads any more */
    data += n;
    size -= (size_t)n;
  }
}

static int produce(long long bytes) {
  static char block[BLOCK];
  memset(block, 'x', BLOCK);
  for (; bytes > 0; bytes -= BLOCK) write_all(block, bytes < BLOCK ? (size_t)bytes : BLOCK);
  return 0;
}

/* So many different lines that no interpreter still knows a line's string when it comes again. */
#define UNIT_LINES 200000

static int produce_lines(long long lines) {
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

/* --- what is measured --- */

static double now(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

static double cpu_of(const struct rusage *usage) {
  return (double)usage->ru_utime.tv_sec + (double)usage->ru_utime.tv_usec / 1e6 + (double)usage->ru_stime.tv_sec +
         (double)usage->ru_stime.tv_usec / 1e6;
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

static void report(double start, const char *check) {
  double seconds = now() - start;
  struct rusage usage;
  getrusage(RUSAGE_SELF, &usage);
  printf("%.6f %.6f %ld %s\n", seconds, cpu_of(&usage), peak_memory(), check);
}

static pid_t start_child(char *const argv[], int in, int out) {
  pid_t pid = vfork();
  if (pid < 0) fail("vfork");
  if (pid == 0) {
    if (in >= 0) dup2(in, 0);
    if (out >= 0) dup2(out, 1);
    execvp(argv[0], argv);
    _exit(127);
  }
  return pid;
}

static void make_pipe(int pair[2]) {
  if (pipe2(pair, O_CLOEXEC)) fail("pipe2");
}

static int start_producer(const char *mode, const char *size, int pipe_size) {
  int pair[2];
  make_pipe(pair);
  if (pipe_size && fcntl(pair[0], F_SETPIPE_SZ, pipe_size) < 0) fail("F_SETPIPE_SZ");
  start_child((char *[]){(char *)self, (char *)mode, (char *)size, NULL}, -1, pair[1]);
  close(pair[1]);
  return pair[0];
}

static ssize_t read_some(int fd, char *data, size_t size) {
  ssize_t n;
  do n = read(fd, data, size);
  while (n < 0 && errno == EINTR);
  return n;
}

static void read_blocks(const char *size, size_t read_size, int pipe_size, int polled) {
  char *block = malloc(read_size), check[64];
  long long total = 0;
  double start = now();
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
  snprintf(check, sizeof check, "%lld", total);
  report(start, check);
}

/* --- lines --- */

struct lines {
  int fd;
  size_t start, end; /* data[start .. end) */
  char data[2 * BLOCK];
};

/* Moves what is left to the front and reads on; 0 at the end. */
static int fill(struct lines *in) {
  size_t held = in->end - in->start;
  memmove(in->data, in->data + in->start, held);
  in->start = 0;
  in->end = held;
  ssize_t n = read_some(in->fd, in->data + held, BLOCK);
  if (n <= 0) return 0;
  in->end += (size_t)n;
  return 1;
}

static inline const char *next_line(struct lines *in, size_t *size) {
  for (;;) {
    const char *line = in->data + in->start;
    const char *end = memchr(line, '\n', in->end - in->start);
    if (end) {
      *size = (size_t)(end - line);
      in->start += *size + 1;
      return line;
    }
    if (!fill(in)) return NULL;
  }
}

static void report_lines(double start, long long lines, long long bytes) {
  char check[64];
  wait(NULL);
  snprintf(check, sizeof check, "%lld:%lld", lines, bytes);
  report(start, check);
}

static struct lines in;

static void lines(const char *size) {
  long long count = 0, bytes = 0;
  size_t length;
  double start = now();
  in.fd = start_producer("produce-lines", size, 0);
  while (next_line(&in, &length)) {
    count++;
    bytes += (long long)length;
  }
  report_lines(start, count, bytes);
}

static void count(const char *size) {
  char check[64];
  long long count = 0;
  double start = now();
  in.fd = start_producer("produce-lines", size, 0);
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
  snprintf(check, sizeof check, "%lld", count);
  report(start, check);
}

/* Looks for the needle in all that has come, and only then for the ends of its line. */
static void grep(const char *size) {
  long long found = 0, bytes = 0;
  double start = now();
  in.fd = start_producer("produce-lines", size, 0);
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
  } while (fill(&in));
  report_lines(start, found, bytes);
}

#ifdef WITH_LUA
/* What Lua strings cost: made and dropped in a C loop, or given to a Lua loop by a bare C function. */

static int f_next(lua_State *L) {
  size_t size;
  const char *line = next_line(&in, &size);
  if (!line) return 0;
  lua_pushlstring(L, line, size);
  return 1;
}

static void lines_in_lua(const char *size, int with_loop) {
  long long count = 0, bytes = 0;
  size_t length;
  lua_State *L = luaL_newstate();
  luaL_openlibs(L);
  double start = now();
  in.fd = start_producer("produce-lines", size, 0);
  if (with_loop) {
    luaL_loadstring(L, "local next = ... local n, b = 0, 0 "
                       "for line in next do n = n + 1 b = b + #line end return n, b");
    lua_pushcfunction(L, f_next);
    lua_call(L, 1, 2);
    count = lua_tointeger(L, -2);
    bytes = lua_tointeger(L, -1);
  } else {
    const char *line;
    while ((line = next_line(&in, &length))) {
      lua_pushlstring(L, line, length);
      lua_pop(L, 1);
      count++;
      bytes += (long long)length;
    }
  }
  report_lines(start, count, bytes);
}
#endif

/* --- processes --- */

static void roundtrip(long long rounds) {
  int to[2], from[2];
  char out[64], back[64], check[64];
  long long bytes = 0;
  double start = now();
  make_pipe(to);
  make_pipe(from);
  start_child((char *[]){"cat", NULL}, to[0], from[1]);
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
  snprintf(check, sizeof check, "%lld", bytes);
  report(start, check);
}

static void read_answer(int fd, char *answer, size_t size) {
  size_t got = 0;
  ssize_t n;
  while (got < size - 1 && (n = read_some(fd, answer + got, size - 1 - got)) > 0) got += (size_t)n;
  answer[got] = '\0';
}

static void pipeline(const char *size) {
  int first[2], second[2], last[2];
  char answer[64];
  double start = now();
  make_pipe(first);
  start_child((char *[]){"yes", NULL}, -1, first[1]);
  close(first[1]);
  make_pipe(second);
  start_child((char *[]){"head", "-c", (char *)size, NULL}, first[0], second[1]);
  close(first[0]);
  close(second[1]);
  make_pipe(last);
  start_child((char *[]){"wc", "-c", NULL}, second[0], last[1]);
  close(second[0]);
  close(last[1]);
  read_answer(last[0], answer, sizeof answer);
  while (wait(NULL) > 0) {}
  answer[strcspn(answer, "\n")] = '\0';
  report(start, answer);
}

/* The same by dash, which says itself what it has used apart from its children. */
static void pipeline_dash(const char *size) {
  int pair[2];
  char script[128], answer[256];
  snprintf(script, sizeof script, "yes | head -c %s | wc -c; times; grep VmHWM /proc/$$/status", size);
  double start = now();
  make_pipe(pair);
  start_child((char *[]){"dash", "-c", script, NULL}, -1, pair[1]);
  close(pair[1]);
  read_answer(pair[0], answer, sizeof answer);
  wait(NULL);
  double seconds = now() - start, user = 0, system = 0;
  long long bytes = 0;
  long kib = 0;
  const char *memory = strstr(answer, "VmHWM:");
  sscanf(answer, "%lld 0m%lfs 0m%lfs", &bytes, &user, &system);
  if (memory) sscanf(memory, "VmHWM: %ld", &kib);
  printf("%.6f %.6f %ld %lld\n", seconds, user + system, kib, bytes);
}

/* A program that reads the lines and prints a number. */
static void lines_by(char *const argv[], const char *size) {
  int pair[2], status;
  char answer[64];
  struct rusage usage;
  double start = now();
  int fd = start_producer("produce-lines", size, 0);
  make_pipe(pair);
  pid_t pid = start_child(argv, fd, pair[1]);
  close(fd);
  close(pair[1]);
  read_answer(pair[0], answer, sizeof answer);
  wait4(pid, &status, 0, &usage);
  answer[strcspn(answer, "\n")] = '\0';
  printf("%.6f %.6f %ld %s\n", now() - start, cpu_of(&usage), usage.ru_maxrss, answer);
}

int main(int argc, char **argv) {
  const char *mode = argc > 2 ? argv[1] : "", *size = argc > 2 ? argv[2] : "";
  static char path[4096];
  if (readlink("/proc/self/exe", path, sizeof path - 1) < 0) fail("/proc/self/exe");
  self = path;
  if (!strncmp(mode, "produce", 7)) take_core();
  if (!strcmp(mode, "produce")) return produce(atoll(size));
  if (!strcmp(mode, "produce-lines")) return produce_lines(atoll(size));
  if (!strcmp(mode, "read"))
    read_blocks(size, argc > 3 ? (size_t)atol(argv[3]) : BLOCK, argc > 4 ? atoi(argv[4]) : 0, argc > 5);
  else if (!strcmp(mode, "lines")) lines(size);
  else if (!strcmp(mode, "count")) count(size);
  else if (!strcmp(mode, "grep")) grep(size);
  else if (!strcmp(mode, "roundtrip")) roundtrip(atoll(size));
  else if (!strcmp(mode, "pipeline")) pipeline(size);
  else if (!strcmp(mode, "pipeline-dash")) pipeline_dash(size);
  else if (!strcmp(mode, "count-wc")) lines_by((char *[]){"wc", "-l", NULL}, size);
  else if (!strcmp(mode, "grep-grep")) lines_by((char *[]){"grep", "-cF", NEEDLE, NULL}, size);
#ifdef WITH_LUA
  else if (!strcmp(mode, "lines-pushlstring")) lines_in_lua(size, 0);
  else if (!strcmp(mode, "lines-loop")) lines_in_lua(size, 1);
#endif
  else {
    fprintf(stderr, "limit: no workload '%s'\n", mode);
    return 2;
  }
  return 0;
}
