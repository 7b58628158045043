/* Who is found in a look at /proc: the same as by asking all of all. The looks are made up at random, so that chains of
 * runtimes and parents, numbers that came again and limits that only look like marks meet. */
#include "check.h"

#ifdef __linux__

#include <signal.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "mark.h"
#include "procfs.h"
#include "tree_look.h"

#define REAL 4  /* processes that are there: only these can be found to be givers of marks */
#define PIDS 24 /* and such that are not, and we */

static pid_t pids[PIDS];
static uint64_t random_state = 88172645463325252;

static unsigned any(unsigned below) {
  random_state ^= random_state << 13;
  random_state ^= random_state >> 7;
  random_state ^= random_state << 17;
  return (unsigned)(random_state >> 33) % below;
}

static pid_t any_pid(void) { return pids[any(2) ? any(REAL) : any(PIDS)]; }

static uint64_t any_limit(void) {
  struct procfs_stat stat;
  if (any(4) == 0) return any(2) ? RLIM_INFINITY : any(3);
  pid_t pid = any_pid();
  uint64_t started = procfs_stat(pid, &stat) || any(6) == 0 ? any(9) : stat.started;
  return giver(pid, started) | (any(2) ? MARK_OUTERMOST : 0) | (any(2) ? MARK_DETACHED : 0) | any(3);
}

static void see_any(struct tree_look *look) {
  look->walked = any(2);
  look->count = 0;
  for (int i = 0; i < PIDS; i++) {
    if (any(4) == 0) continue;
    struct seen *seen = &look->seen[look->count++];
    *seen = (struct seen){.pid = pids[i], .parent = any_pid(), .group = any_pid(), .soft = any_limit()};
    seen->hard = any(2) ? seen->soft : any_limit();
    if (!look->walked && !is_mark(seen->soft) && !is_mark(seen->hard)) look->count--;
  }
}

static struct tree any_tree(const struct tree_look *look) {
  struct tree tree = {.leader = any_pid(), .own_group = any(2), .has_ended = any(3) == 0};
  const struct seen *seen = &look->seen[any((unsigned)look->count)];
  if (any(3)) tree.mark = any(2) ? seen->soft : seen->hard;
  if (!is_mark(tree.mark)) tree.mark = 0;
  return tree;
}

/* --- asking all of all --- */

static bool is_child_of(const struct tree_look *look, const struct seen *seen, pid_t pid) {
  struct procfs_stat stat;
  if (look->walked && seen->parent == pid) return true;
  return giver_of(seen->soft) && !procfs_stat(pid, &stat) && giver_of(seen->soft) == giver(pid, stat.started);
}

static bool is_of(const struct tree_look *look, const struct tree *tree, const bool *found, const struct seen *seen) {
  if (tree->mark && (seen->soft == tree->mark || seen->hard == tree->mark)) return true;
  if (look->walked && tree->own_group && seen->group == tree->leader) return true;
  if (!tree->has_ended && is_child_of(look, seen, tree->leader)) return true;
  for (size_t i = 0; i < look->count; i++)
    if (found[i] && is_child_of(look, seen, look->seen[i].pid)) return true;
  return false;
}

static size_t ask_all(const struct tree_look *look, const struct tree *tree, bool *found) {
  size_t count = 0, before;
  do {
    before = count;
    for (size_t i = 0; i < look->count; i++) {
      const struct seen *seen = &look->seen[i];
      if (found[i] || seen->pid == getpid() || seen->pid == tree->leader || !is_of(look, tree, found, seen)) continue;
      found[i] = true;
      count++;
    }
  } while (count > before);
  return count;
}

static bool finds_the_same(struct tree_look *look, const struct tree *tree, size_t *total) {
  bool found[PIDS] = {false};
  size_t count = ask_all(look, tree, found), at = 0;
  *total += count;
  tree_look_search(look, tree);
  if (look->found_count != count) return false;
  for (size_t i = 0; i < look->count; i++)
    if (found[i] && look->found[at++] != &look->seen[i]) return false;
  return true;
}

static void search_random_looks(void) {
  size_t looks = 0, total = 0;
  struct tree_look look = {.seen = calloc(PIDS, sizeof(struct seen)), .capacity = PIDS};
  for (bool same = look.seen != NULL; same && looks < 1000; looks++) {
    see_any(&look);
    if (!CHECK_EQUAL(tree_look_sort(&look), 0)) break;
    for (int i = 0; look.count && i < 10 && same; i++) {
      struct tree tree = any_tree(&look);
      same = CHECK(finds_the_same(&look, &tree, &total));
    }
  }
  CHECK_EQUAL(looks, 1000);
  CHECK(total > 10000);
  tree_look_free(&look);
}

static pid_t start(void) {
  pid_t pid = fork();
  if (pid) return pid;
  prctl(PR_SET_PDEATHSIG, SIGKILL);
  for (;;) pause();
}

static void end(pid_t pid) {
  if (CHECK(pid > 0) && CHECK_EQUAL(kill(pid, SIGKILL), 0)) CHECK_EQUAL(waitpid(pid, NULL, 0), pid);
}

/* --- one whose limits have changed since the look, as if its number were another's --- */

static size_t count_members(struct loop *loop, uint64_t mark, uint64_t not_before, bool *had_ended) {
  struct members members = {0};
  struct tree tree = {.leader = getpid(), .has_ended = true, .mark = mark};
  CHECK_EQUAL(tree_members(loop, &tree, TREE_MARKED, not_before, &members), 0);
  size_t count = members.count;
  *had_ended = members.had_ended;
  members_free(&members);
  return count;
}

static void meet_another(void) {
  static struct loop loop;
  bool had_ended;
  uint64_t mark = giver(pids[REAL + 1], 1) | 1, other = giver(pids[REAL + 2], 1) | 1;
  pid_t pid = start();
  CHECK_EQUAL(prlimit(pid, RLIMIT_LOCKS, &(struct rlimit){mark, RLIM_INFINITY}, NULL), 0);
  CHECK_EQUAL(count_members(&loop, other, 0, &had_ended), 0); /* the look is there */
  CHECK(!had_ended);
  CHECK_EQUAL(prlimit(pid, RLIMIT_LOCKS, &(struct rlimit){other, RLIM_INFINITY}, NULL), 0);
  for (int i = 0; i < 2; i++) {
    CHECK_EQUAL(count_members(&loop, mark, 0, &had_ended), 0);
    CHECK(had_ended);
  }
  CHECK_EQUAL(count_members(&loop, other, loop_now(), &had_ended), 1);
  end(pid);
  tree_forget(&loop);
}

int main(void) {
  for (int i = 0; i < PIDS; i++) pids[i] = i < REAL ? start() : 4000000 + i;
  pids[REAL] = getpid();
  search_random_looks();
  meet_another();
  for (int i = 0; i < REAL; i++) end(pids[i]);
  return check_summary();
}

#else

int main(void) { return check_summary(); }

#endif
