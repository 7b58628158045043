#include "process.h"

#include <signal.h>
#include <stddef.h>

#include "terminal.h"

static void unlink_running(struct process *p) {
  if (p->prev) p->prev->next = p->next;
  else if (p->loop->running == p) p->loop->running = p->next;
  if (p->next) p->next->prev = p->prev;
  p->prev = p->next = NULL;
  procfs_memo_close(&p->memo);
}

static void child_ended(struct spawn_child *child, const struct spawn_status *status) {
  struct process *p = (struct process *)((char *)child - offsetof(struct process, child));
  p->status = *status;
  p->has_ended = true;
  p->ended_at = loop_now();
  unlink_running(p);
  /* Ctrl-C was for it alone. That it has died of it means that the user wants an end: we do, too, as a shell does. */
  if (terminal_process_ended(p) && status->signo == SIGINT && !p->was_interrupted) raise(SIGINT);
  waitq_wake_all(&p->ended);
  if (p->on_end) p->on_end(p);
}

void process_init(struct process *p, struct loop *loop) {
  *p = (struct process){.loop = loop, .child = {.pidfd = -1, .ended = child_ended}, .memo = PROCFS_MEMO};
  waitq_init(&p->ended);
}

static void close_owned(struct owned *owned) {
  process_close((struct process *)((char *)owned - offsetof(struct process, owned)));
}

int process_start(struct process *p, const struct spawn_request *request, struct spawn_failure *failure) {
  int err = spawn_start(p->loop, request, &p->child, failure);
  if (err) {
    if (request->foreground) terminal_end(p->loop);
    return err;
  }
  if (request->foreground) terminal_lend(p);
  p->started_at = loop_now();
  p->detached = request->session;
  p->next = p->loop->running;
  if (p->next) p->next->prev = p;
  p->loop->running = p;
  loop_own(p->loop, &p->owned, close_owned);
  return 0;
}

int process_signal(struct process *p, int signo) {
  if (signo == SIGINT) p->was_interrupted = true;
  return process_is_running(p) ? spawn_signal(&p->child, signo) : UV_ESRCH;
}

int process_signal_tree(struct process *p, int signo) {
  if (signo == SIGINT) p->was_interrupted = true;
  return p->child.pid ? spawn_signal_group(&p->child, signo) : UV_ESRCH;
}

static void forget(struct process *p, bool kill) {
  if (!p->child.pid) return;
  loop_disown(&p->owned);
  if (kill) process_signal_tree(p, SIGKILL);
  if (kill && process_is_running(p)) spawn_signal(&p->child, SIGKILL);
  bool running = process_is_running(p);
  spawn_release(&p->child, kill && running);
  terminal_process_ended(p);
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

int process_usage(struct process *p, struct procfs_usage *usage) {
  return process_is_running(p) ? procfs_usage(p->child.pid, &p->memo, usage) : UV_ESRCH;
}

/* The descriptors of a process that nobody has reaped yet though it has ended belong to root. */
static bool is_zombie(const struct process *p) {
  struct procfs_stat stat;
  return !procfs_stat(p->child.pid, &stat) && !procfs_state_runs(stat.state);
}

int process_open_files(const struct process *p, struct procfs_files *files) {
  if (!process_is_running(p)) return UV_ESRCH;
  int err = procfs_open_files(p->child.pid, files);
  return err == UV_EACCES && is_zombie(p) ? UV_ESRCH : err;
}
