#include "process.h"

#include <signal.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

static void unlink_running(struct process *p) {
  if (p->prev) p->prev->next = p->next;
  else if (p->loop->running == p) p->loop->running = p->next;
  if (p->next) p->next->prev = p->prev;
  p->prev = p->next = NULL;
}

static void child_ended(struct spawn_child *child, const struct spawn_status *status) {
  struct process *p = (struct process *)((char *)child - offsetof(struct process, child));
  p->status = *status;
  p->has_ended = true;
  p->ended_at = loop_now();
  unlink_running(p);
  waitq_wake_all(&p->ended);
  if (p->on_end) p->on_end(p);
}

void process_init(struct process *p, struct loop *loop) {
  *p = (struct process){.loop = loop, .child = {.pidfd = -1, .ended = child_ended}};
  waitq_init(&p->ended);
}

static void close_owned(struct owned *owned) {
  process_close((struct process *)((char *)owned - offsetof(struct process, owned)));
}

int process_start(struct process *p, const struct spawn_request *request, struct spawn_failure *failure) {
  int err = spawn_start(p->loop, request, &p->child, failure);
  if (err) return err;
  p->started_at = loop_now();
  p->detached = request->session;
  p->next = p->loop->running;
  if (p->next) p->next->prev = p;
  p->loop->running = p;
  loop_own(p->loop, &p->owned, close_owned);
  return 0;
}

int process_signal(struct process *p, int signo) {
  return process_is_running(p) ? spawn_signal(&p->child, signo) : UV_ESRCH;
}

int process_signal_tree(struct process *p, int signo) {
  return p->child.pid ? spawn_signal_group(&p->child, signo) : UV_ESRCH;
}

static void forget(struct process *p, bool kill) {
  if (!p->child.pid) return;
  loop_disown(&p->owned);
  if (kill) process_signal_tree(p, SIGKILL);
  if (kill && process_is_running(p)) spawn_signal(&p->child, SIGKILL);
  bool running = process_is_running(p);
  spawn_release(&p->child, kill && running);
  if (running) {
    p->has_ended = true;
    p->ended_at = loop_now();
    p->status = (struct spawn_status){.unknown = true, .code = -1};
    unlink_running(p);
    waitq_wake_all(&p->ended);
  }
}

void process_close(struct process *p) {
  /* Members of a group whose leader has ended are not killed here: that is for stop plans to decide. */
  forget(p, process_is_running(p) && !p->detached);
}

void process_abandon(struct process *p) {
  forget(p, false);
}

void process_kill_all(struct loop *loop) {
  for (struct process *p = loop->running; p; p = p->next) process_signal_tree(p, SIGKILL);
}

int process_usage(const struct process *p, struct process_usage *usage) {
#ifdef __linux__
  char path[64], line[1024];
  snprintf(path, sizeof path, "/proc/%d/stat", (int)p->child.pid);
  FILE *file = fopen(path, "re");
  if (!file) return UV_ESRCH;
  size_t size = fread(line, 1, sizeof line - 1, file);
  fclose(file);
  line[size] = '\0';
  /* The name in parentheses may hold anything, a ')' included: the fields count from the last one. */
  const char *fields = strrchr(line, ')');
  unsigned long user, system;
  long rss;
  if (!fields || sscanf(fields + 1, " %*c %*d %*d %*d %*d %*d %*u %*u %*u %*u %*u %lu %lu %*d %*d %*d %*d "
                                    "%*d %*d %*u %*u %ld", &user, &system, &rss) != 3)
    return UV_EIO;
  double ticks = (double)sysconf(_SC_CLK_TCK);
  *usage = (struct process_usage){.user_time = (double)user / ticks, .system_time = (double)system / ticks,
                                  .rss = (uint64_t)rss * (uint64_t)sysconf(_SC_PAGESIZE)};
  snprintf(path, sizeof path, "/proc/%d/status", (int)p->child.pid);
  file = fopen(path, "re");
  if (!file) return UV_ESRCH;
  unsigned long kib;
  while (fgets(line, sizeof line, file))
    if (sscanf(line, "VmHWM: %lu kB", &kib) == 1) usage->max_rss = (uint64_t)kib * 1024;
  fclose(file);
  return 0;
#else
  (void)p, (void)usage;
  return UV_ENOTSUP;
#endif
}
