/* spawn.h, as both backends serve it. Started with an argument, the program is the child of one of its own tests. */
#include <sys/prctl.h>
#include <sys/stat.h>

#include "fd.h"
#include "spawn_failures.h"
#include "spawn_maps.h"
#include "spawn_support.h"

static void test_exit(void) {
  char *argv[4], text[100];
  struct child child;
  struct spawn_request request = shell(argv, "echo out; exit 7");
  run(&request, &child, text, sizeof text);
  CHECK(!strcmp(text, "out\n"));
  CHECK(child.core.pid > 1);
  CHECK_EQUAL(child.status.code, 7);
  CHECK_EQUAL(child.status.signo, 0);
  CHECK(!child.status.unknown && !child.status.core_dumped);
  CHECK_EQUAL(child.has_usage, is_native);
  if (is_native) CHECK(child.usage.ru_maxrss > 100);
}

static void test_signal(void) {
  char *argv[4];
  struct child child;
  struct spawn_failure failure;
  struct spawn_request request = shell(argv, "exec sleep 1000");
  CHECK_EQUAL(start(&child, &request, &failure), 0);
  CHECK_EQUAL(spawn_signal(&child.core, 0), 0);
  CHECK_EQUAL(spawn_signal(&child.core, SIGKILL), 0);
  wait_for(&child);
  CHECK_EQUAL(child.status.code, -1);
  CHECK_EQUAL(child.status.signo, SIGKILL);
  CHECK_EQUAL(spawn_signal(&child.core, 0), UV_ESRCH);
  CHECK_EQUAL(spawn_signal_group(&child.core, 0), UV_ESRCH);
  finish(&child);
}

/* Groups and sessions */

static void test_group(void) {
  char *argv[4], text[100];
  int pid, group, session;
  const char *script = "read pid comm state ppid group session rest </proc/self/stat; echo $pid $group $session";
  struct child child;
  struct spawn_request request = shell(argv, (char *)script);
  run(&request, &child, text, sizeof text);
  CHECK_EQUAL(sscanf(text, "%d %d %d", &pid, &group, &session), 3);
  CHECK(pid == child.core.pid && group == getpgrp() && session == getsid(0));
  request.group = true;
  run(&request, &child, text, sizeof text);
  CHECK_EQUAL(sscanf(text, "%d %d %d", &pid, &group, &session), 3);
  CHECK(pid == child.core.pid && group == pid);
  CHECK(!is_native || session == getsid(0));
  request.session = true;
  run(&request, &child, text, sizeof text);
  CHECK_EQUAL(sscanf(text, "%d %d %d", &pid, &group, &session), 3);
  CHECK(pid == child.core.pid && group == pid && session == pid);
}

/* The leader has ended; a member of its group has not. We are the reaper of orphans here. */
static void test_group_after_leader(void) {
  char *argv[4], text[20] = "";
  struct child child;
  struct spawn_failure failure;
  int pair[2], status;
  CHECK_EQUAL(pipe2(pair, O_CLOEXEC), 0);
  struct spawn_fd fds[] = {{1, pair[1]}};
  struct spawn_request request = shell(argv, "sleep 1000 & echo $!");
  request.group = true;
  request.fds = fds;
  request.fd_count = 1;
  CHECK_EQUAL(start(&child, &request, &failure), 0);
  close(pair[1]);
  wait_for(&child);
  CHECK(read(pair[0], text, sizeof text - 1) > 0);
  pid_t member = atoi(text);
  CHECK_EQUAL(spawn_signal(&child.core, SIGTERM), UV_ESRCH); /* not the process that has ended */
  CHECK_EQUAL(spawn_signal_group(&child.core, 0), 0);
  CHECK_EQUAL(spawn_signal_group(&child.core, SIGTERM), 0);
  CHECK_EQUAL(waitpid(member, &status, 0), member);
  CHECK(WIFSIGNALED(status) && WTERMSIG(status) == SIGTERM);
  CHECK_EQUAL(spawn_signal_group(&child.core, SIGTERM), UV_ESRCH); /* empty */
  CHECK_EQUAL(spawn_signal_group(&child.core, SIGTERM), UV_ESRCH);
  CHECK_EQUAL(read(pair[0], text, sizeof text), 0);
  close(pair[0]);
  finish(&child);
}

static void test_group_signal_without_group(void) {
  char *argv[4];
  struct child child;
  struct spawn_failure failure;
  struct spawn_request request = shell(argv, "exec sleep 1000");
  CHECK_EQUAL(start(&child, &request, &failure), 0);
  CHECK_EQUAL(spawn_signal_group(&child.core, SIGTERM), 0); /* we are of that group, and go on */
  finish(&child);
  CHECK_EQUAL(child.status.signo, SIGTERM);
}

/* Release */

static void test_release(void) {
  char *argv[4];
  struct child child;
  struct spawn_failure failure;
  int before = count_descriptors(), status, pair[2];
  struct spawn_request request = shell(argv, "exec sleep 1000");
  CHECK_EQUAL(start(&child, &request, &failure), 0);
  pid_t pid = child.core.pid;
  CHECK_EQUAL(spawn_signal(&child.core, SIGKILL), 0);
  spawn_release(&child.core, true);
  CHECK(waitpid(pid, NULL, WNOHANG) < 0 && errno == ECHILD); /* reaped */
  loop_turn(&loop, false);
  CHECK_EQUAL(child.ended, 0);
  CHECK_EQUAL(count_descriptors(), before);

  CHECK_EQUAL(pipe2(pair, O_CLOEXEC), 0);
  struct spawn_fd fds[] = {{0, pair[0]}};
  request = shell(argv, "read line; exit 5");
  request.fds = fds;
  request.fd_count = 1;
  CHECK_EQUAL(start(&child, &request, &failure), 0);
  close(pair[0]);
  pid = child.core.pid;
  spawn_release(&child.core, false);
  loop_turn(&loop, false);
  CHECK_EQUAL(waitpid(pid, NULL, WNOHANG), 0); /* it runs on */
  CHECK_EQUAL(write(pair[1], "\n", 1), 1);
  CHECK_EQUAL(waitpid(pid, &status, 0), pid);
  CHECK_EQUAL(WEXITSTATUS(status), 5);
  close(pair[1]);
  loop_turn(&loop, false);
  CHECK_EQUAL(child.ended, 0);
  CHECK_EQUAL(count_descriptors(), before);
}

static void test_status_taken_by_others(void) {
  if (!is_native) return; /* uv_spawn never tells */
  char *argv[4];
  struct child child;
  struct spawn_failure failure;
  struct spawn_request request = shell(argv, "exit 3");
  CHECK_EQUAL(start(&child, &request, &failure), 0);
  CHECK_EQUAL(waitpid(child.core.pid, NULL, 0), child.core.pid);
  finish(&child);
  CHECK(child.status.unknown && child.status.code == -1 && !child.has_usage);
}

static void test_death_of_the_parent(void) {
  if (!is_native) return;
  int pair[2];
  char bytes[2];
  CHECK_EQUAL(pipe2(pair, O_CLOEXEC), 0);
  fflush(stdout);
  pid_t parent = fork();
  if (parent == 0) {
    char *argv[4];
    struct child child;
    struct spawn_failure failure;
    struct spawn_fd fds[] = {{1, pair[1]}};
    struct spawn_request request = shell(argv, "echo; exec sleep 1000");
    request.fds = fds;
    request.fd_count = 1;
    request.die_with_parent = true;
    if (loop_init(&loop) || spawn_init(&loop) || start(&child, &request, &failure)) _exit(1);
    close(pair[1]);
    for (;;) pause();
  }
  close(pair[1]);
  CHECK_EQUAL(read(pair[0], bytes, 1), 1); /* it runs */
  kill(parent, SIGKILL);
  CHECK_EQUAL(waitpid(parent, NULL, 0), parent);
  CHECK_EQUAL(read(pair[0], bytes, 1), 0); /* and has ended */
  CHECK(waitpid(-1, NULL, 0) > 0);         /* an orphan, ours */
  close(pair[0]);
}

static void check_candidates(const char *name, const char *path, const char *expected) {
  char *list, text[500] = "";
  CHECK_EQUAL(spawn_candidates(name, path, &list), 0);
  for (const char *at = list; *at; at += strlen(at) + 1) strcat(strcat(text, at), " ");
  if (!CHECK(!strcmp(text, expected))) printf("  %s with %s: %s\n", name, path ? path : "none", text);
  free(list);
}

static void test_candidates(void) {
  check_candidates("x", "/a:/b/c", "/a/x /b/c/x ");
  check_candidates("x", ":/a::/b:", "/a/x /b/x ");
  check_candidates("x", "", "");
  check_candidates("x", ":", "");
  check_candidates("./x", "/a", "./x ");
  check_candidates("a/x", NULL, "a/x ");
  check_candidates("x", NULL, "/usr/local/bin/x /usr/bin/x /bin/x ");
}

static void test_starts(const char *directory) {
  test_exit();
  test_signal();
  test_failures_of_exec(directory);
  test_failures_before();
  test_failures_of_privilege();
  test_no_descriptor_left();
  test_overlapping_maps();
  test_random_maps();
  test_group();
  test_group_after_leader();
  test_group_signal_without_group();
  test_release();
  test_status_taken_by_others();
  test_death_of_the_parent();
}

/* Where there are many descriptors a child begins with ours: nothing that it does to its own may reach them. */
static void test_starts_with_many_descriptors(const char *directory) {
  CHECK(!fd_are_many());
  int many = fd_settle(fcntl(0, F_DUPFD_CLOEXEC, 200));
  if (!CHECK(many >= 1024 && fd_are_many())) return; /* or the limit of open files is too low for that */
  CHECK_EQUAL(fd_settle(many), many);
  struct stat before[3], after[3];
  for (int fd = 0; fd < 3; fd++) fstat(fd, &before[fd]);
  int count = count_descriptors();
  test_starts(directory);
  CHECK_EQUAL(count_descriptors(), count);
  CHECK(fcntl(many, F_GETFD) == FD_CLOEXEC);
  for (int fd = 0; fd < 3; fd++) {
    fstat(fd, &after[fd]);
    CHECK(before[fd].st_dev == after[fd].st_dev && before[fd].st_ino == after[fd].st_ino);
  }
  close(many);
}

int main(int argc, char **argv) {
  if (argc > 2 && !strcmp(argv[1], "write-numbers")) return write_numbers(atoi(argv[2]));
  alarm(60); /* a test that hangs fails */
  prctl(PR_SET_CHILD_SUBREAPER, 1);
  int null = open("/dev/null", O_RDWR | O_CLOEXEC);
  for (int fd = 3; fd < 3 + PLACES; fd++) dup3(null, fd, O_CLOEXEC);
  char directory[] = "/tmp/corun-XXXXXX";
  if (!mkdtemp(directory) || loop_init(&loop) || spawn_init(&loop)) return 1;
  test_starts(directory);
  test_starts_with_many_descriptors(directory);
  test_candidates();
  CHECK(has_no_child());
  rmdir(directory);
  spawn_exit(&loop);
  loop_close(&loop);
  return check_summary();
}
