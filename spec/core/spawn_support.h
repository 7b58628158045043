/* What the spawn tests share: a child with its recorded end, a request to change, and this program as its own child. */
#ifndef SPAWN_SUPPORT_H
#define SPAWN_SUPPORT_H

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "check.h"
#include "spawn.h"

extern char **environ;

#ifdef CORUN_SPAWN_LIBUV
static const bool is_native = false;
#else
static const bool is_native = true;
#endif

static struct loop loop;

struct child {
  struct spawn_child core;
  struct spawn_status status;
  bool has_usage;
  struct rusage usage;
  int ended; /* how often */
};

static void child_ended(struct spawn_child *core, const struct spawn_status *status, const struct rusage *usage) {
  struct child *child = (struct child *)((char *)core - offsetof(struct child, core));
  child->status = *status;
  child->has_usage = usage != NULL;
  if (usage) child->usage = *usage;
  child->ended++;
}

/* A request for a shell script without streams; the caller changes it before `start`. */
static struct spawn_request shell(char **argv, char *script) {
  argv[0] = "sh";
  argv[1] = "-c";
  argv[2] = script;
  argv[3] = NULL;
  return (struct spawn_request){.argv = argv, .envp = environ, .file = "/bin/sh", .path = "/bin:/usr/bin",
                                .group_count = -1, .uid = -1, .gid = -1, .umask = -1, .ctty = -1};
}

static int start(struct child *child, const struct spawn_request *request, struct spawn_failure *failure) {
  *child = (struct child){.core = {.pidfd = -1, .ended = child_ended}};
  return spawn_start(&loop, request, &child->core, failure);
}

static void wait_for(struct child *child) {
  while (!child->ended) loop_turn(&loop, true);
}

static void finish(struct child *child) {
  wait_for(child);
  CHECK_EQUAL(child->ended, 1);
  spawn_release(&child->core, false);
  loop_turn(&loop, false);
}

static int count_descriptors(void) {
  int count = 0;
  for (int fd = 0; fd < 1024; fd++) count += fcntl(fd, F_GETFD) >= 0;
  return count;
}

static bool has_no_child(void) {
  return waitpid(-1, NULL, WNOHANG) < 0 && errno == ECHILD;
}

/* Runs to the end with its stdout in `text`. */
static void run(struct spawn_request *request, struct child *child, char *text, size_t size) {
  int pair[2];
  struct spawn_failure failure;
  CHECK_EQUAL(pipe(pair), 0);
  fcntl(pair[0], F_SETFD, FD_CLOEXEC);
  fcntl(pair[1], F_SETFD, FD_CLOEXEC);
  struct spawn_fd fds[] = {{.child = 1, .parent = pair[1]}};
  request->fds = fds;
  request->fd_count = 1;
  int err = start(child, request, &failure);
  close(pair[1]);
  size_t filled = 0;
  for (ssize_t n; (n = read(pair[0], text + filled, size - 1 - filled)) > 0;) filled += (size_t)n;
  text[filled] = '\0';
  close(pair[0]);
  if (CHECK_EQUAL(err, 0)) finish(child);
}

#endif
