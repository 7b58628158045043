/* The tree of a child: itself and whoever descends from it, also those that have left its process group (setsid) or
 * its line of parents (a double fork). Linux; elsewhere nothing is found and only the group is reached.
 *
 * A process can change its group, its session, its parent, its environment and close every descriptor. What it keeps
 * is its resource limits, and RLIMIT_LOCKS has limited nothing since Linux 2.4: whatever is set there has no effect but
 * to be inherited. So each child gets a number of its own as its soft RLIMIT_LOCKS before its program starts, the mark,
 * and whoever has the mark is of its tree: one prlimit(2) in the child, and when a tree is to be stopped one for each
 * process of the machine (0.5 us). No cgroup is needed, no privilege, nothing is left behind.
 *
 * A mark names the runtime that gave it. Where corun runs below corun, the hard limit keeps the mark of the outermost
 * one, the soft one that of the innermost; whoever was marked by a runtime that is a member is a member. (Of three in
 * each other, the one in the middle loses a daemon of the innermost once that has ended.)
 *
 * Where no mark can be given (the hard limit is already used by somebody, a 32-bit kernel, a sandbox that forbids it,
 * rlimits.locks in a spec), members are found by group and parents, so that a daemon whose parent has ended is missed.
 *
 * Freezing the tree while it is looked through (SIGSTOP) would be seen by every parent in it; instead newcomers are
 * looked for until there is none.
 */
#ifndef CORUN_TREE_H
#define CORUN_TREE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/resource.h>
#include <sys/types.h>

#include "loop.h"

struct tree {
  pid_t leader;   /* the child */
  bool has_ended; /* the leader was reaped: its number may be another's */
  bool own_group; /* the leader's number is that of its process group, which has members */
  uint64_t mark;  /* 0: none */
};

/* Processes, each with what tells it from another that gets its number later. Zeroed to begin with. */
struct member {
  pid_t pid;
  uint64_t started; /* ticks after boot */
};
struct members {
  struct member *list;
  size_t count, capacity;
  bool had_ended; /* set by tree_members where some of whom it found had ended meanwhile, and may have forked before */
};
bool members_have(const struct members *members, const struct member *member);
int members_add(struct members *members, const struct member *member);
void members_free(struct members *members); /* it may be used again */

/* A new mark, or 0 where none can be given. `detached`: for a tree that tree_kill_all leaves alone. */
uint64_t tree_new_mark(bool detached);

/* What RLIMIT_LOCKS of a child with this mark is to be. Applied by the child itself before exec. */
struct rlimit tree_mark_limit(uint64_t mark);

/* How members are found. */
enum tree_search {
  TREE_MARKED, /* by their mark: quick (TREE_WALKED where there is none) */
  TREE_WALKED, /* also by their group and parents */
};

/* Adds the members that run (zombies do not), but for the leader. An earlier look at /proc serves again if it began at
 * `not_before` or later (loop_now). */
int tree_members(struct loop *loop, const struct tree *tree, enum tree_search search, uint64_t not_before,
                 struct members *members);

/* Since when a look counts as recent where newcomers are looked for again: many trees that are stopped at the same time
 * share one, so that it is not the most of their cost. */
uint64_t tree_recent(const struct loop *loop);

/* Sends to it through a pidfd, if it is still there: UV_ESRCH if it is not. */
int tree_signal_member(const struct member *member, int signo);

/* SIGKILL to all that a runtime (see tree_runtime) has marked, but for detached trees, until nobody is left or `seconds`
 * have passed. Takes no memory and no lock: the guard calls it in the copy of a process that may have threads. */
void tree_kill_all(uint64_t runtime, int seconds);

/* Marks this process itself, so that those are found, too, whom it starts without corun (system, popen). Not below
 * another corun, which has to find us by the mark that it has given. */
void tree_mark_ourselves(void);

/* This process as a giver of marks; 0 where it cannot give any. */
uint64_t tree_runtime(void);

void tree_forget(struct loop *loop); /* frees the last look */

#endif
