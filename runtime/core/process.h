/* Process: one child from its start to its status.
 *
 * Life: process_init, process_start (once; after a failure it may be tried again), then it runs until the loop
 * learns of its end: `status` is set, `ended` is woken, `on_end` is called. Its streams are nobody's business here: the
 * end of a process is not the end of its output.
 *
 * Ownership: embedded in its owner, who calls process_close before going away; no callback comes after that.
 */
#ifndef CORUN_PROCESS_H
#define CORUN_PROCESS_H

#include "cgroup.h"
#include "procfs.h"
#include "spawn.h"
#include "tree.h"
#include "waiter.h"

/* There may be 100,000 that run: what only few of them need, or need only at the end, is allocated then. */
struct process {
  /* read-only */
  struct spawn_child child;    /* child.pid: 0 before the start; stays readable after the end */
  struct spawn_status status;  /* once has_ended */
  struct rusage *usage;        /* the same; NULL where it is not known */
  uint64_t started_at, ended_at; /* loop_now; ended_at is 0 while it runs */
  struct waitq ended;
  int terminal;                  /* its end of a terminal that it leads, kept open while it runs, or -1 */
  bool has_ended;
  bool was_interrupted;          /* we have sent it SIGINT or SIGHUP */
  /* public */
  bool detached;                 /* set before the start: is to outlive us */
  struct cgroup *cgroup;         /* set before the start, ours from then on; NULL: it has none of its own */
  void (*on_end)(struct process *); /* may be NULL; only records */
  /* private */
  struct members *signalled;     /* of its tree, since the last process_signal_tree of TREE_ALL or TREE_FIRST */
  uint64_t seen_alive_at;        /* when a member of its tree was found last */
  struct owned owned;
  struct loop *loop;
  struct process *prev, *next;   /* in its loop's list until it is let go */
  struct procfs_memo memo;
};

void process_init(struct process *p, struct loop *loop);
int process_start(struct process *p, const struct spawn_request *request, struct spawn_failure *failure);

/* Keeps the child's end of its terminal open until the process has ended; the descriptor is the process's. A program
 * that closes its standard streams just before it exits, or for a while, would end the terminal: we would read EIO,
 * close the master, and that kills it (SIGHUP). */
void process_keep_terminal(struct process *p, int slave);

static inline bool process_is_running(const struct process *p) { return p->child.pid && !p->has_ended; }

/* To the process alone; UV_ESRCH when it has ended. */
int process_signal(struct process *p, int signo);

/* To all that is left of its tree (also after its end): its cgroup, or else its group and who has left that. A process
 * without a group of its own: to it alone. UV_ESRCH when nobody was there, another error when nobody could be reached;
 * signal 0 only asks. */
enum tree_pass {
  TREE_ALL,       /* until nobody is found who has not got it */
  TREE_FIRST,     /* those that are found now, by a recent look at /proc; others are newcomers */
  TREE_ONCE,      /* the same, but nobody is a newcomer by it */
  TREE_NEWCOMERS, /* those that have not got it by the last TREE_FIRST */
};
int process_signal_tree(struct process *p, int signo, enum tree_pass pass);

/* Whether its cgroup or group has members; in a group zombies count, too. */
bool process_has_group(struct process *p);

/* Whether something of its tree still runs. */
bool process_tree_is_alive(struct process *p);

/* Adds all members of its tree that run, but for itself, however they can be found: also where they would not be
 * signalled since it has no group of its own. */
int process_members(struct process *p, struct members *members);

/* Kills what runs (the tree), reaps it, forgets it. A detached process is let run. */
void process_close(struct process *p);

/* Lets it run on without us: no status will come. */
void process_abandon(struct process *p);

/* Once it has ended and nobody of its group is wanted any more: gives back what would reach them, removes its cgroup. */
void process_let_go(struct process *p);

/* Live numbers of a running process. It is ours, and nobody reaps it before `has_ended` is set: until then its number
 * cannot come back as another process, however old it is. UV_ENOTSUP where there is no /proc. */
int process_usage(struct process *p, struct procfs_usage *usage);
int process_open_files(const struct process *p, struct procfs_files *files);

/* Kills the trees of all children of the loop that were not let go, but for the detached, at once. Those with a cgroup are waited
 * for, so that it can be removed. */
void process_kill_all(struct loop *loop);

#endif
