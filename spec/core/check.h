/* Checks for the C tests. A failed one prints its place and goes on; check_summary is what main returns. */
#ifndef CHECK_H
#define CHECK_H

#include <stdbool.h>
#include <stdio.h>

static int checks_passed, checks_failed;

static bool check_that(bool ok, const char *text, const char *file, int line) {
  if (ok) {
    checks_passed++;
  } else {
    checks_failed++;
    printf("%s:%d: %s\n", file, line, text);
  }
  return ok;
}

static bool check_equal(long long actual, long long expected, const char *text, const char *file, int line) {
  bool ok = check_that(actual == expected, text, file, line);
  if (!ok) printf("  is %lld, not %lld\n", actual, expected);
  return ok;
}

#define CHECK(condition) check_that((condition), #condition, __FILE__, __LINE__)
#define CHECK_EQUAL(actual, expected) \
  check_equal((long long)(actual), (long long)(expected), #actual " == " #expected, __FILE__, __LINE__)

static int check_summary(void) {
  printf("%d passed, %d failed\n", checks_passed, checks_failed);
  return checks_failed ? 1 : 0;
}

#endif
