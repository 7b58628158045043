/* Which of our descriptors a child gets under which number: overlapping maps, and that all others are closed. */
#ifndef SPAWN_MAPS_H
#define SPAWN_MAPS_H

#include "spawn_support.h"

#define SEED 20240229u
#define PLACES 10 /* descriptors 3 .. 12 are the tests' own */

/* As a child: writes each open descriptor's own number, as a byte, to that descriptor; there must be `expected` above
 * 2. (uv_spawn opens /dev/null where the map has no 0, 1 or 2.) */
static int write_numbers(int expected) {
  int count = 0;
  for (int fd = 0; fd < 1024; fd++) {
    unsigned char byte = (unsigned char)fd;
    if (fcntl(fd, F_GETFD) < 0) continue;
    if (write(fd, &byte, 1) != 1 && fd > 2) return 1;
    count += fd > 2;
  }
  return count == expected ? 0 : 2;
}

static unsigned random_state = SEED;

static int random_below(int limit) {
  random_state = random_state * 1664525u + 1013904223u;
  return (int)(((unsigned long long)random_state * (unsigned)limit) >> 32);
}

/* Starts write_numbers with this map; a pipe's end lies at each of 3 .. 12, every other one inheritable. Each pipe
 * must get the numbers that the map gives it and no other. */
static void check_map(const struct spawn_fd *fds, size_t count) {
  int ends[PLACES];
  for (int i = 0; i < PLACES; i++) {
    int pair[2];
    CHECK_EQUAL(pipe(pair), 0);
    ends[i] = fcntl(pair[0], F_DUPFD_CLOEXEC, 100);
    close(pair[0]);
    dup3(pair[1], 3 + i, i % 2 ? O_CLOEXEC : 0); /* only the map decides */
    close(pair[1]);
  }
  char expected[12];
  int above = 0;
  for (size_t i = 0; i < count; i++) above += fds[i].child > 2;
  snprintf(expected, sizeof expected, "%d", above);
  char *argv[] = {"test_spawn", "write-numbers", expected, NULL};
  char *unused[4];
  struct spawn_request request = shell(unused, "");
  request.argv = argv;
  request.file = "/proc/self/exe";
  request.fds = fds;
  request.fd_count = count;
  struct child child;
  struct spawn_failure failure;
  bool started = CHECK_EQUAL(start(&child, &request, &failure), 0);
  for (int i = 0; i < PLACES; i++) {
    int null = open("/dev/null", O_RDWR | O_CLOEXEC);
    dup3(null, 3 + i, O_CLOEXEC);
    close(null);
    unsigned char bytes[64];
    ssize_t n = started ? read(ends[i], bytes, sizeof bytes) : 0, at = 0;
    while (n > 0 && n < (ssize_t)sizeof bytes) { /* until nobody holds it */
      ssize_t more = read(ends[i], bytes + n, sizeof bytes - (size_t)n);
      if (more <= 0) break;
      n += more;
    }
    for (size_t k = 0; k < count; k++) /* both ascend */
      if (fds[k].parent == 3 + i && !CHECK(at < n && bytes[at++] == fds[k].child))
        printf("  child %d <- parent %d\n", fds[k].child, fds[k].parent);
    CHECK_EQUAL(n, at);
    close(ends[i]);
  }
  if (!started) return;
  finish(&child);
  CHECK_EQUAL(child.status.code, 0);
}

static void test_overlapping_maps(void) {
  check_map((struct spawn_fd[]){{3, 4}, {4, 3}}, 2);
  check_map((struct spawn_fd[]){{0, 5}, {3, 4}, {4, 3}}, 3);
  check_map((struct spawn_fd[]){{3, 4}, {4, 5}, {5, 3}}, 3);
  check_map((struct spawn_fd[]){{3, 3}, {4, 3}, {5, 3}}, 3);
  check_map((struct spawn_fd[]){{0, 3}, {1, 3}, {2, 3}, {3, 12}}, 4);
  check_map((struct spawn_fd[]){{7, 7}, {12, 3}, {60, 7}}, 3);
  check_map((struct spawn_fd[]){{5, 6}}, 1);
  check_map(NULL, 0);
}

static void test_random_maps(void) {
  printf("seed %u\n", SEED);
  for (int round = 0; round < 100; round++) {
    struct spawn_fd fds[16];
    size_t count = 0;
    for (int number = 0; number < 16; number++)
      if (random_below(2)) fds[count++] = (struct spawn_fd){number, 3 + random_below(PLACES)};
    check_map(fds, count);
  }
}

#endif
