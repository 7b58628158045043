/* Starts that fail: each leaves no descriptor and no child. */
#ifndef SPAWN_FAILURES_H
#define SPAWN_FAILURES_H

#include <grp.h>
#include <sys/stat.h>

#include "spawn_support.h"

static int fail_with(struct spawn_request *request, enum spawn_stage stage, int error) {
  struct child child;
  struct spawn_failure failure;
  int before = count_descriptors();
  int err = start(&child, request, &failure);
  if (!CHECK(err != 0)) {
    finish(&child);
    return 0;
  }
  CHECK_EQUAL(err, error);
  CHECK_EQUAL(failure.error, err);
  if (stage != failure.stage) printf("  %s, not %s\n", spawn_stage_name(failure.stage), spawn_stage_name(stage));
  CHECK_EQUAL(failure.stage, stage);
  loop_turn(&loop, false);
  CHECK_EQUAL(child.ended, 0);
  CHECK_EQUAL(count_descriptors(), before);
  CHECK(has_no_child());
  return failure.interpreter[0] != 0;
}

static void write_program(const char *path, const char *text, mode_t mode) {
  unlink(path);
  FILE *file = fopen(path, "we");
  if (!CHECK(file != NULL)) exit(1);
  fputs(text, file);
  fclose(file);
  chmod(path, mode);
}

static void test_failures_of_exec(const char *directory) {
  char *argv[4], path[200];
  struct spawn_request request = shell(argv, "exit 0");
  snprintf(path, sizeof path, "%s/program", directory);
  request.file = "/no/such/program";
  CHECK(!fail_with(&request, SPAWN_EXEC, UV_ENOENT));
  request.file = "no-such-program";
  CHECK(!fail_with(&request, SPAWN_EXEC, UV_ENOENT));
  request.file = path;
  write_program(path, "#!/no/such/interpreter\n", 0755);
  CHECK(fail_with(&request, SPAWN_EXEC, UV_ENOENT));
  request.file = "program";
  request.path = directory;
  CHECK(fail_with(&request, SPAWN_EXEC, UV_ENOENT));
  write_program(path, "#!/bin/sh\n", 0644);
  CHECK(!fail_with(&request, SPAWN_EXEC, UV_EACCES));
  request.file = directory;
  CHECK(!fail_with(&request, SPAWN_EXEC, UV_EACCES));
  request.file = strrchr(directory, '/') + 1;
  request.path = "/tmp"; /* where it is, but as a directory */
  CHECK(!fail_with(&request, SPAWN_EXEC, UV_ENOENT));
  request.file = path;
  write_program(path, "exit 0\n", 0755); /* a shell would take it */
  if (is_native) CHECK(!fail_with(&request, SPAWN_EXEC, -ENOEXEC));
  request.file = "/bin/sh";
  request.cwd = "/no/such/directory";
  CHECK(!fail_with(&request, SPAWN_CHDIR, UV_ENOENT));
  request.cwd = path;
  CHECK(!fail_with(&request, SPAWN_CHDIR, UV_ENOTDIR));
  unlink(path);
}

static void test_failures_before(void) {
  char *argv[4];
  struct spawn_request request = shell(argv, "exit 0");
  struct spawn_fd fds[] = {{.child = 1, .parent = 999}};
  request.fds = fds;
  request.fd_count = 1;
  fail_with(&request, SPAWN_STDIO, UV_EBADF);
  request.fd_count = 0;
  struct spawn_limit limit = {RLIMIT_CORE, {2, 1}};
  request.limits = &limit;
  request.limit_count = 1;
  fail_with(&request, SPAWN_RLIMIT, is_native ? UV_EINVAL : UV_ENOTSUP);
  request.limit_count = 0;
  int cpus[] = {0, SPAWN_CPUS - 1};
  request.cpus = cpus;
  request.cpu_count = 2;
  fail_with(&request, SPAWN_AFFINITY, is_native ? UV_EINVAL : UV_ENOTSUP);
  request.cpu_count = 0;
  request.oom_score_adj = "1001";
  fail_with(&request, SPAWN_OOM_SCORE, is_native ? UV_EINVAL : UV_ENOTSUP);
  request.oom_score_adj = NULL;
  request.cgroup = "/no/such/cgroup.procs";
  fail_with(&request, SPAWN_CGROUP, is_native ? UV_ENOENT : UV_ENOTSUP);
  request.cgroup = NULL;
  gid_t group = getgid();
  if (is_native) return;
  request.nice = 1;
  fail_with(&request, SPAWN_NICE, UV_ENOTSUP);
  request.nice = 0;
  request.umask = 077;
  fail_with(&request, SPAWN_UMASK, UV_ENOTSUP);
  request.umask = -1;
  request.groups = &group;
  request.group_count = 1;
  fail_with(&request, SPAWN_SETGROUPS, UV_ENOTSUP);
}

/* What only somebody without privileges is refused: in a process that has given them up, with a loop of its own. */
static int unprivileged(void) {
  checks_passed = checks_failed = 0;
  if (geteuid() == 0 && (setgroups(0, NULL) || setgid(65534) || setuid(65534))) return 1;
  if (loop_init(&loop) || spawn_init(&loop)) return 1;
  char *argv[4];
  gid_t group = 0;
  struct spawn_request request = shell(argv, "exit 0");
  request.uid = 0;
  fail_with(&request, SPAWN_SETUID, UV_EPERM);
  request.uid = -1;
  request.gid = 0;
  fail_with(&request, SPAWN_SETGID, UV_EPERM);
  request.gid = -1;
  if (is_native) {
    request.groups = &group;
    request.group_count = 1;
    fail_with(&request, SPAWN_SETGROUPS, UV_EPERM);
    request.group_count = -1;
    request.nice = -5;
    fail_with(&request, SPAWN_NICE, UV_EACCES);
    request.nice = 0;
    struct rlimit none = {0, 0};
    setrlimit(RLIMIT_NPROC, &none);
    fail_with(&request, SPAWN_FORK, UV_EAGAIN);
  }
  spawn_exit(&loop);
  loop_close(&loop);
  return checks_failed ? 1 : 0;
}

static void test_failures_of_privilege(void) {
  fflush(stdout);
  pid_t pid = fork();
  if (pid == 0) {
    int status = unprivileged();
    fflush(stdout);
    _exit(status);
  }
  int status = -1;
  waitpid(pid, &status, 0);
  CHECK_EQUAL(status, 0);
}

static void test_no_descriptor_left(void) {
  if (!is_native) return;
  char *argv[4];
  int held[64], count = 0;
  struct rlimit ours, low = {40, 0};
  struct spawn_request request = shell(argv, "exit 0");
  getrlimit(RLIMIT_NOFILE, &ours);
  low.rlim_max = ours.rlim_max;
  setrlimit(RLIMIT_NOFILE, &low);
  while (count < 64 && (held[count] = dup(0)) >= 0) count++;
  fail_with(&request, SPAWN_FORK, UV_EMFILE);
  while (count) close(held[--count]);
  setrlimit(RLIMIT_NOFILE, &ours);
}

#endif
