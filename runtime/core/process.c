#include "process.h"

#include <signal.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include "fd.h"
#include "procfs.h"

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
  fd_close(&p->terminal);
  unlink_running(p);
  waitq_wake_all(&p->ended);
  if (p->on_end) p->on_end(p);
}

void process_init(struct process *p, struct loop *loop) {
  *p = (struct process){.loop = loop, .terminal = -1, .child = {.pidfd = -1, .ended = child_ended}};
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

void process_keep_terminal(struct process *p, int slave) { p->terminal = slave; }

int process_signal(struct process *p, int signo) {
  return process_is_running(p) ? spawn_signal(&p->child, signo) : UV_ESRCH;
}

int process_signal_tree(struct process *p, int signo) {
  return p->child.pid ? spawn_signal_group(&p->child, signo) : UV_ESRCH;
}

static void forget(struct process *p, bool kill) {
  if (!p->child.pid) return;
  loop_disown(&p->owned);
  fd_close(&p->terminal);
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
  struct procfs_stat stat;
  int err = procfs_stat(p->child.pid, &stat);
  if (err) return err;
  *usage = (struct process_usage){.user_time = stat.user_time, .system_time = stat.system_time, .rss = stat.rss};
  char text[4096];
  unsigned long kib;
  ssize_t size = procfs_read(p->child.pid, "status", text, sizeof text);
  if (size < 0) return (int)size;
  const char *peak = strstr(text, "\nVmHWM:");
  if (peak && sscanf(peak + 7, "%lu kB", &kib) == 1) usage->max_rss = (uint64_t)kib * 1024;
  return 0;
}
