/* Process: one child from its start to its status.
 *
 * Life: process_init, process_start (once; after a failure it may be tried again), then it runs until the loop
 * learns of its end: `status` is set, `ended` is woken, `on_end` is called. Its streams are nobody's business here: the end of a
 * process is not the end of its output.
 *
 * Ownership: embedded in its owner, who calls process_close before going away; no callback comes after that. While
 * it runs it is in its loop's list of running children.
 */
#ifndef CORUN_PROCESS_H
#define CORUN_PROCESS_H

#include "spawn.h"
#include "waiter.h"

struct process {
  /* read-only */
  struct spawn_child child;    /* child.pid: 0 before the start; stays readable after the end */
  struct spawn_status status;  /* once has_ended */
  bool has_ended;
  uint64_t started_at, ended_at; /* loop_now; ended_at is 0 while it runs */
  struct waitq ended;
  bool detached;                 /* has a session of its own, to outlive us */
  int terminal;                  /* its end of a terminal that it leads, kept open while it runs, or -1 */
  /* public */
  void (*on_end)(struct process *); /* may be NULL; only records */
  /* private */
  struct owned owned;
  struct loop *loop;
  struct process *prev, *next;
};

void process_init(struct process *p, struct loop *loop);
int process_start(struct process *p, const struct spawn_request *request, struct spawn_failure *failure);

/* Keeps the child's end of its terminal open until the process has ended; the descriptor is the process's. A program
 * that closes its standard streams just before it exits, or for a while, would end the terminal: we would read EIO,
 * close the master, and that kills it (SIGHUP). */
void process_keep_terminal(struct process *p, int slave);

static inline bool process_is_running(const struct process *p) { return p->child.pid && !p->has_ended; }

/* To the process alone, and to all that is left of its group (also after its end); UV_ESRCH when nobody was there. */
int process_signal(struct process *p, int signo);
int process_signal_tree(struct process *p, int signo);

/* Kills what runs (the tree), reaps it, forgets it. A detached process is let run. */
void process_close(struct process *p);

/* Lets it run on without us: no status will come. */
void process_abandon(struct process *p);

/* Live numbers of a running process from /proc (Linux; UV_ENOTSUP elsewhere): seconds and bytes. */
struct process_usage {
  double user_time, system_time;
  uint64_t rss, max_rss;
};
int process_usage(const struct process *p, struct process_usage *usage);

/* Kills the trees of all running children of the loop, at once and without waiting. */
void process_kill_all(struct loop *loop);

#endif
