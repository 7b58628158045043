#include "process.h"

#include <signal.h>
#include <stddef.h>
#include <stdlib.h>
#include <unistd.h>

#include "fd.h"
#include "guard.h"
#include "terminal.h"

static void unlink_from_loop(struct process *p) {
  if (p->prev) p->prev->next = p->next;
  else if (p->loop->processes == p) p->loop->processes = p->next;
  if (p->next) p->next->prev = p->prev;
  p->prev = p->next = NULL;
}

/* Its usage is longer than all else, and few of 10,000 children have ended. */
static void keep_status(struct process *p, const struct spawn_status *status, const struct rusage *usage) {
  p->status = *status;
  p->usage = usage ? malloc(sizeof *p->usage) : NULL;
  if (p->usage) *p->usage = *usage;
}

static void child_ended(struct spawn_child *child, const struct spawn_status *status, const struct rusage *usage) {
  struct process *p = (struct process *)((char *)child - offsetof(struct process, child));
  keep_status(p, status, usage);
  p->has_ended = true;
  p->ended_at = loop_now();
  fd_close(&p->terminal);
  procfs_memo_close(&p->memo);
  /* Ctrl-C was for it alone. That it has died of it means that the user wants an end: we do, too, as a shell does. */
  bool ends_us = status->signo == SIGINT || status->signo == SIGHUP; /* HUP: the terminal is gone */
  if (terminal_process_ended(p) && ends_us && !p->was_interrupted) raise(status->signo);
  waitq_wake_all(&p->ended);
  if (p->on_end) p->on_end(p);
}

void process_init(struct process *p, struct loop *loop) {
  *p = (struct process){.loop = loop, .terminal = -1, .child = {.pidfd = -1, .ended = child_ended}, .memo = PROCFS_MEMO};
  waitq_init(&p->ended);
}

static void close_owned(struct owned *owned) {
  process_close((struct process *)((char *)owned - offsetof(struct process, owned)));
}

static void drop_cgroup(struct process *p, bool remove) {
  if (!p->cgroup) return;
  if (remove) cgroup_remove(p->cgroup);
  cgroup_free(p->cgroup);
  p->cgroup = NULL;
}

int process_start(struct process *p, const struct spawn_request *request, struct spawn_failure *failure) {
  struct spawn_request entering = *request;
  if (p->cgroup) entering.cgroup = p->cgroup->procs;
  int err = guard_keep();
  if (err) *failure = (struct spawn_failure){.stage = SPAWN_GUARD, .error = err, .index = -1};
  else err = spawn_start(p->loop, &entering, &p->child, failure);
  if (err) {
    if (request->foreground) terminal_end(p->loop);
    drop_cgroup(p, true);
    return err;
  }
  if (request->foreground) terminal_lend(p);
  p->started_at = loop_now();
  p->next = p->loop->processes;
  if (p->next) p->next->prev = p;
  p->loop->processes = p;
  loop_own(p->loop, &p->owned, close_owned);
  return 0;
}

void process_keep_terminal(struct process *p, int slave) { p->terminal = slave; }

int process_signal(struct process *p, int signo) {
  if (signo == SIGINT || signo == SIGHUP) p->was_interrupted = true;
  return process_is_running(p) ? spawn_signal(&p->child, signo) : UV_ESRCH;
}

/* To those of the found that are not in `signalled`, and then are. `in_group`: the group has got it. *result: 0 once
 * somebody was reached, else why not. */
static int signal_found(struct process *p, int signo, const struct members *found, struct members *signalled,
                        bool in_group, int *result) {
  for (size_t i = 0; i < found->count; i++) {
    const struct member *member = &found->list[i];
    if (members_have(signalled, member)) continue;
    int err = members_add(signalled, member);
    if (err) return err;
    if (in_group && getpgid(member->pid) == p->child.pid) continue;
    int refused = tree_signal_member(member, signo);
    if (*result && refused != UV_ESRCH) *result = refused;
  }
  return 0;
}

/* The tree as it can be looked for: once its group is empty, the number may come back as a stranger's. */
static struct tree tree_now(struct process *p) {
  return (struct tree){.leader = p->child.pid, .has_ended = p->has_ended, .mark = p->child.mark,
                       .own_group = p->child.own_group && (!p->has_ended || process_has_group(p))};
}

static struct members *signalled_of(struct process *p) {
  if (!p->signalled) p->signalled = calloc(1, sizeof *p->signalled);
  return p->signalled;
}

static void forget_signalled(struct process *p) {
  if (p->signalled) members_free(p->signalled);
  free(p->signalled);
  p->signalled = NULL;
}

static int signal_cgroup(struct process *p, int signo) {
  int err = cgroup_signal(p->cgroup, signo);
  if (err && err != UV_ESRCH) return spawn_signal_group(&p->child, signo); /* what we can reach without a descriptor */
  /* Somebody may have moved it to another cgroup. */
  bool alone = process_is_running(p) && !cgroup_has(p->cgroup, p->child.pid);
  return alone && !spawn_signal(&p->child, signo) ? 0 : err;
}

int process_signal_tree(struct process *p, int signo, enum tree_pass pass) {
  if (signo == SIGINT || signo == SIGHUP) p->was_interrupted = true;
  if (!p->child.pid) return UV_ESRCH;
  if (p->cgroup) return pass == TREE_NEWCOMERS ? UV_ESRCH : signal_cgroup(p, signo);
  if (!p->child.own_group) return pass == TREE_NEWCOMERS ? UV_ESRCH : spawn_signal(&p->child, signo);
  struct members found = {0}, once = {0};
  struct members *signalled = pass == TREE_ONCE ? NULL : signalled_of(p);
  if (!signalled) signalled = &once; /* out of memory: newcomers are not told from the others */
  if (pass == TREE_ALL || pass == TREE_FIRST) signalled->count = 0;
  uint64_t not_before = pass == TREE_FIRST || pass == TREE_ONCE ? tree_recent(p->loop) : loop_now();
  struct tree tree = tree_now(p);
  int result = UV_ESRCH;
  /* Who is of the tree is looked up before anybody gets it: parents that end take the way to their children along. */
  int err = tree_members(p->loop, &tree, TREE_MARKED, not_before, &found);
  if (pass != TREE_NEWCOMERS) result = spawn_signal_group(&p->child, signo);
  while (!err) {
    size_t before = signalled->count;
    bool in_group = !before && pass != TREE_NEWCOMERS; /* who comes to the group later has not got it */
    err = signal_found(p, signo, &found, signalled, in_group, &result);
    if (err || pass != TREE_ALL || signalled->count == before) break;
    found.count = 0;
    err = tree_members(p->loop, &tree, TREE_MARKED, loop_now(), &found);
  }
  members_free(&found);
  members_free(&once);
  return result == UV_ESRCH && err && err != UV_ENOTSUP ? err : result;
}

bool process_has_group(struct process *p) {
  if (p->cgroup) return cgroup_signal(p->cgroup, 0) != UV_ESRCH; /* without a descriptor it cannot tell */
  return p->child.own_group && !spawn_signal_group(&p->child, 0);
}

bool process_tree_is_alive(struct process *p) {
  if (process_is_running(p)) return true;
  if (p->cgroup) return process_has_group(p);
  if (!p->child.pid || !p->child.own_group) return false;
  struct tree tree = tree_now(p);
  bool has_group = tree.own_group;
  uint64_t not_before = p->seen_alive_at > p->ended_at ? p->seen_alive_at : p->ended_at;
  struct members found = {0};
  int err = tree_members(p->loop, &tree, TREE_MARKED, not_before, &found);
  /* Who has ended since it was seen may have forked before: another look shows whom. */
  if (!err && !found.count && found.had_ended) err = tree_members(p->loop, &tree, TREE_MARKED, loop_now(), &found);
  if (!err && !found.count && has_group) err = tree_members(p->loop, &tree, TREE_WALKED, loop_now(), &found);
  bool alive = err == UV_ENOTSUP ? has_group : err || found.count > 0; /* whom we could not look for may be there */
  if (alive) p->seen_alive_at = loop_now();
  members_free(&found);
  return alive;
}

int process_members(struct process *p, struct members *members) {
  if (!p->child.pid) return 0;
  struct tree tree = tree_now(p);
  return tree_members(p->loop, &tree, TREE_WALKED, loop_now(), members);
}

static void forget(struct process *p, bool kill) {
  if (!p->child.pid) return;
  loop_disown(&p->owned);
  unlink_from_loop(p);
  fd_close(&p->terminal);
  procfs_memo_close(&p->memo);
  if (kill) process_signal_tree(p, SIGKILL, TREE_ALL);
  if (kill && process_is_running(p)) spawn_signal(&p->child, SIGKILL);
  bool running = process_is_running(p);
  spawn_release(&p->child, kill && running);
  if (p->cgroup && kill) cgroup_destroy(p->cgroup);
  forget_signalled(p);
  terminal_process_ended(p);
  if (running) {
    p->has_ended = true;
    p->ended_at = loop_now();
    p->status = (struct spawn_status){.unknown = true, .code = -1};
    waitq_wake_all(&p->ended);
  }
}

static void give_back(struct process *p, bool remove_cgroup) {
  drop_cgroup(p, remove_cgroup);
  free(p->usage);
  p->usage = NULL;
}

void process_close(struct process *p) {
  /* Members of a group whose leader has ended are not killed here: that is for stop plans to decide. */
  forget(p, process_is_running(p) && !p->detached);
  give_back(p, true);
}

void process_abandon(struct process *p) {
  forget(p, false);
  give_back(p, false);
}

void process_let_go(struct process *p) {
  if (!p->has_ended) return;
  unlink_from_loop(p);
  spawn_release(&p->child, false);
  forget_signalled(p);
  drop_cgroup(p, true);
}

void process_kill_all(struct loop *loop) {
  for (struct process *p = loop->processes; p; p = p->next)
    if (!p->detached) process_signal_tree(p, SIGKILL, TREE_ALL);
  for (struct cgroup *g = loop->cgroups; g; g = g->next) cgroup_destroy(g);
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
