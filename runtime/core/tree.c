#include "tree.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "mark.h"
#include "pidfd.h"
#include "procfs.h"
#include "tree_look.h"

bool members_have(const struct members *members, const struct member *member) {
  for (size_t i = 0; i < members->count; i++)
    if (members->list[i].pid == member->pid && members->list[i].started == member->started) return true;
  return false;
}

int members_add(struct members *members, const struct member *member) {
  if (members->count == members->capacity) {
    size_t capacity = members->capacity ? 2 * members->capacity : 16;
    struct member *list = realloc(members->list, capacity * sizeof *list);
    if (!list) return UV_ENOMEM;
    members->list = list;
    members->capacity = capacity;
  }
  members->list[members->count++] = *member;
  return 0;
}

void members_free(struct members *members) {
  free(members->list);
  *members = (struct members){0};
}

#ifdef __linux__

static struct {
  pid_t pid;           /* of which process this is: a fork of us is another */
  uint64_t runtime;    /* MARK_RUNTIME of our marks; 0: we can give none */
  uint64_t outermost;  /* the mark that our children keep as their hard limit; 0: each its own */
} ours;
static pthread_mutex_t ours_lock = PTHREAD_MUTEX_INITIALIZER;
static _Atomic uint64_t counter;

static void prepare(void) {
  struct rlimit limit;
  struct procfs_stat stat;
  ours.runtime = ours.outermost = 0;
  if (sizeof(limit.rlim_cur) < 8 || UINTPTR_MAX <= UINT32_MAX) return; /* the kernel's are 32 bits, too */
  if (getrlimit(RLIMIT_LOCKS, &limit) || procfs_stat(getpid(), &stat)) return;
  if (limit.rlim_max != RLIM_INFINITY) {
    if (!(limit.rlim_max & MARK_OUTERMOST) || !is_mark(limit.rlim_max)) return; /* somebody else's */
    ours.outermost = limit.rlim_max;
  } else if (limit.rlim_cur & MARK_OUTERMOST && is_mark(limit.rlim_cur)) {
    ours.outermost = limit.rlim_max = limit.rlim_cur; /* from a libuv backend, which can set the soft one only */
    setrlimit(RLIMIT_LOCKS, &limit);
  }
  uint64_t noise = 0;
  uv_random(NULL, NULL, &noise, sizeof noise, 0, NULL); /* without it: as it was before */
  counter = noise & MARK_COUNTER;
  ours.runtime = giver(getpid(), stat.started) | (noise >> 32 & 0x3f) << MARK_RANDOM_AT;
}

uint64_t tree_runtime(void) {
  pthread_mutex_lock(&ours_lock);
  pid_t pid = getpid();
  if (ours.pid != pid) prepare();
  ours.pid = pid;
  uint64_t runtime = ours.runtime;
  pthread_mutex_unlock(&ours_lock);
  return runtime;
}

uint64_t tree_new_mark(bool detached) {
  uint64_t runtime = tree_runtime();
  if (!runtime) return 0;
  return runtime | (detached ? MARK_DETACHED : 0) | (++counter & MARK_COUNTER) | (ours.outermost ? 0 : MARK_OUTERMOST);
}

void tree_mark_ourselves(void) {
  uint64_t mark = tree_new_mark(false);
  struct rlimit limit = {.rlim_cur = mark, .rlim_max = RLIM_INFINITY};
  if (mark && !ours.outermost) setrlimit(RLIMIT_LOCKS, &limit);
}

struct rlimit tree_mark_limit(uint64_t mark) {
  return (struct rlimit){.rlim_cur = mark, .rlim_max = ours.outermost ? ours.outermost : mark};
}

/* --- members --- */

uint64_t tree_recent(const struct loop *loop) {
  return loop_now() - 10 * (loop->look ? loop->look->took : 0);
}

void tree_forget(struct loop *loop) {
  if (loop->look) tree_look_free(loop->look);
  free(loop->look);
  loop->look = NULL;
}

/* Reads its stat. False where the number has become another's since it was seen. */
static bool is_still(struct seen *seen) {
  struct seen now = {.pid = seen->pid};
  seen_read_stat(seen);
  return seen_read_marks(&now) ? now.soft == seen->soft && now.hard == seen->hard : !seen->runs;
}

int tree_members(struct loop *loop, const struct tree *tree, enum tree_search search, uint64_t not_before,
                 struct members *members) {
  if (!tree->mark) search = TREE_WALKED;
  if (!loop->look) loop->look = calloc(1, sizeof *loop->look);
  struct tree_look *look = loop->look;
  if (!look) return UV_ENOMEM;
  bool serves = look->began && look->began >= not_before && (search == TREE_MARKED || look->walked);
  int err = serves ? 0 : tree_look_again(look, search == TREE_WALKED);
  if (err) return err;
  tree_look_search(look, tree);
  for (size_t i = 0; i < look->found_count && !err; i++) {
    struct seen *seen = look->found[i];
    if (!seen->has_stat && !is_still(seen)) seen->runs = false; /* nor is it another time */
    if (seen->runs) err = members_add(members, &(struct member){seen->pid, seen->started});
    else members->had_ended = true;
  }
  return err;
}

int tree_signal_member(const struct member *member, int signo) {
  int fd = pidfd_open(member->pid);
  if (fd < 0 && fd != PIDFD_NONE) return fd;
  struct procfs_stat stat;
  int err = procfs_stat(member->pid, &stat);
  if (!err && (stat.started != member->started || !procfs_state_runs(stat.state))) err = UV_ESRCH;
  if (!err) err = pidfd_signal(fd, member->pid, signo);
  if (fd >= 0) close(fd);
  return err;
}

/* --- everything --- */

#define EMPTY_LOOKS 3

struct killing {
  uint64_t runtime;
  uint64_t givers[512]; /* runtimes that it has brought forth: their children have their marks */
  size_t giver_count;
  size_t found;         /* in this round */
};

static bool is_given(const struct killing *killing, uint64_t mark) {
  if (!is_mark(mark)) return false;
  if ((mark & MARK_RUNTIME) == killing->runtime) return true;
  for (size_t i = 0; i < killing->giver_count; i++)
    if (giver_of(mark) == killing->givers[i]) return true;
  return false;
}

static bool is_to_die(const struct killing *killing, pid_t pid) {
  struct seen seen = {.pid = pid};
  if (pid == getpid() || !seen_read_marks(&seen)) return false;
  for (int i = 0; i < 2; i++) {
    uint64_t mark = i ? seen.soft : seen.hard;
    if (is_mark(mark) && (mark & MARK_RUNTIME) == killing->runtime && mark & MARK_DETACHED) return false;
  }
  return is_given(killing, seen.soft) || is_given(killing, seen.hard);
}

static int kill_one(void *context, pid_t pid) {
  struct killing *killing = context;
  struct procfs_stat stat;
  if (!is_to_die(killing, pid)) return 0;
  int fd = pidfd_open(pid); /* from here on it is nobody else */
  if (fd < 0 && fd != PIDFD_NONE) {
    killing->found++; /* it has just ended: who knows whom it has forked before */
    return 0;
  }
  if (is_to_die(killing, pid) && !procfs_stat(pid, &stat) && procfs_state_runs(stat.state) &&
      pidfd_signal(fd, pid, SIGKILL) != UV_EPERM) {
    killing->found++;
    bool has_room = killing->giver_count < sizeof killing->givers / sizeof *killing->givers;
    uint64_t one_more = giver(pid, stat.started);
    if (has_room && !is_given(killing, one_more)) killing->givers[killing->giver_count++] = one_more;
  }
  if (fd >= 0) close(fd);
  return 0;
}

void tree_kill_all(uint64_t runtime, int seconds) {
  if (!runtime) return;
  struct killing killing = {.runtime = runtime};
  uint64_t until = loop_now() + (uint64_t)seconds * 1000000000;
  struct timespec pause = {.tv_nsec = 1000000};
  /* Nobody, and nobody again: who was forked while we looked is found then. */
  for (int empty = 0; empty < EMPTY_LOOKS && loop_now() < until;) {
    killing.found = 0;
    procfs_each(kill_one, &killing);
    empty = killing.found ? 0 : empty + 1;
    if (empty < EMPTY_LOOKS) nanosleep(&pause, NULL);
  }
}

#else

uint64_t tree_new_mark(bool detached) {
  (void)detached;
  return 0;
}

struct rlimit tree_mark_limit(uint64_t mark) { return (struct rlimit){mark, mark}; }

int tree_members(struct loop *loop, const struct tree *tree, enum tree_search search, uint64_t not_before,
                 struct members *members) {
  (void)loop, (void)tree, (void)search, (void)not_before, (void)members;
  return UV_ENOTSUP;
}

int tree_signal_member(const struct member *member, int signo) {
  (void)member, (void)signo;
  return UV_ENOTSUP;
}

void tree_kill_all(uint64_t runtime, int seconds) { (void)runtime, (void)seconds; }
void tree_mark_ourselves(void) {}
uint64_t tree_runtime(void) { return 0; }
uint64_t tree_recent(const struct loop *loop) {
  (void)loop;
  return 0;
}

void tree_forget(struct loop *loop) { (void)loop; }

#endif
