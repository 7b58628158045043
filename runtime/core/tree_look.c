#include "tree_look.h"

#ifdef __linux__

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "mark.h"
#include "procfs.h"

/* --- seeing --- */

static uint64_t limit_of(const char *word) {
  while (*word == ' ') word++;
  return *word == 'u' ? RLIM_INFINITY : strtoull(word, NULL, 10);
}

bool seen_read_marks(struct seen *seen) {
  struct rlimit limit;
  if (!prlimit(seen->pid, RLIMIT_LOCKS, NULL, &limit)) {
    seen->soft = limit.rlim_cur;
    seen->hard = limit.rlim_max;
    return true;
  }
  if (errno != EPERM) return false;
  /* Another user's may not be asked; but everybody may read what the kernel says of it. */
  char text[2048];
  if (procfs_read(seen->pid, "limits", text, sizeof text) < 0) return false;
  const char *line = strstr(text, "Max file locks ");
  if (!line) return false;
  const char *soft = line + 15;
  while (*soft == ' ') soft++;
  const char *hard = strchr(soft, ' ');
  seen->soft = limit_of(soft);
  seen->hard = hard ? limit_of(hard) : RLIM_INFINITY;
  return true;
}

void seen_read_stat(struct seen *seen) {
  struct procfs_stat stat;
  seen->has_stat = true;
  if (procfs_stat(seen->pid, &stat)) return;
  seen->runs = procfs_state_runs(stat.state);
  seen->parent = stat.parent;
  seen->group = stat.group;
  seen->started = stat.started;
}

static int see(void *context, pid_t pid) {
  struct tree_look *look = context;
  struct seen seen = {.pid = pid};
  if (!seen_read_marks(&seen)) return 0;
  if (look->walked) seen_read_stat(&seen);
  else if (!is_mark(seen.soft) && !is_mark(seen.hard)) return 0;
  if (look->count == look->capacity) {
    size_t capacity = look->capacity ? 2 * look->capacity : 64;
    struct seen *more = realloc(look->seen, capacity * sizeof *more);
    if (!more) return UV_ENOMEM;
    look->seen = more;
    look->capacity = capacity;
  }
  look->seen[look->count++] = seen;
  return 0;
}

int tree_look_again(struct tree_look *look, bool walked) {
  look->walked = walked;
  look->count = 0;
  look->began = loop_now();
  int err = procfs_each(see, look);
  if (!err) err = tree_look_sort(look);
  look->took = loop_now() - look->began;
  if (err) look->began = 0;
  return err;
}

void tree_look_free(struct tree_look *look) {
  free(look->seen);
  free(look->found);
  free(look->keys);
  *look = (struct tree_look){0};
}

/* --- sorting --- */

/* What a process is found by. Each kind has numbers of its own: parents are below 2^32, then groups, from 2^40 the soft
 * marks without OUTERMOST, so that those of one giver are next to each other, and with it the hard ones. Where they
 * should meet nevertheless it costs nothing but time: who has been found by a key is looked at as if by none. */
struct seen_key {
  uint64_t key;
  struct seen *seen;
};
#define MOST_KEYS 4

static uint64_t soft_key(uint64_t mark) { return mark & ~MARK_OUTERMOST; }
static uint64_t hard_key(uint64_t mark) { return mark | MARK_OUTERMOST; }
static uint64_t giver_key(pid_t pid) { return (uint64_t)pid << MARK_PID_AT; } /* up to that of the next pid */
static uint64_t parent_key(pid_t pid) { return (uint32_t)pid; }
static uint64_t group_key(pid_t pid) { return 1ull << 32 | (uint32_t)pid; }

static int compare_keys(const void *a, const void *b) {
  uint64_t one = ((const struct seen_key *)a)->key, other = ((const struct seen_key *)b)->key;
  return (one > other) - (one < other);
}

static void add_key(struct tree_look *look, uint64_t key, struct seen *seen) {
  look->keys[look->key_count++] = (struct seen_key){key, seen};
}

int tree_look_sort(struct tree_look *look) {
  look->key_count = look->found_count = 0;
  if (!look->count) return 0;
  struct seen_key *keys = realloc(look->keys, MOST_KEYS * look->count * sizeof *keys);
  if (keys) look->keys = keys;
  struct seen **found = realloc(look->found, look->count * sizeof(struct seen *));
  if (found) look->found = found;
  if (!keys || !found) return UV_ENOMEM;
  for (size_t i = 0; i < look->count; i++) {
    struct seen *seen = &look->seen[i];
    if (is_mark(seen->soft)) add_key(look, soft_key(seen->soft), seen);
    if (is_mark(seen->hard) && seen->hard != seen->soft) add_key(look, hard_key(seen->hard), seen);
    if (!look->walked) continue;
    add_key(look, parent_key(seen->parent), seen);
    add_key(look, group_key(seen->group), seen);
  }
  qsort(look->keys, look->key_count, sizeof *look->keys, compare_keys);
  return 0;
}

/* --- searching --- */

static bool has_mark(const struct tree *tree, const struct seen *seen) {
  return tree->mark && (seen->soft == tree->mark || seen->hard == tree->mark);
}

/* Whether it is the runtime that has given this mark, and not one to which its number has come. */
static bool is_giver(pid_t pid, uint64_t mark) {
  struct procfs_stat stat;
  return is_mark(mark) && giver_pid(mark) == pid && !procfs_stat(pid, &stat) &&
         giver_of(mark) == giver(pid, stat.started);
}

static bool follows(const struct tree_look *look, const struct seen *seen, const struct seen *member) {
  return (look->walked && seen->parent == member->pid) || is_giver(member->pid, seen->soft);
}

static bool is_of_leader(const struct tree_look *look, const struct tree *tree, const struct seen *seen) {
  if (has_mark(tree, seen)) return true;
  if (look->walked && tree->own_group && seen->group == tree->leader) return true;
  if (tree->has_ended) return false;
  return (look->walked && seen->parent == tree->leader) || is_giver(tree->leader, seen->soft);
}

struct search {
  struct tree_look *look;
  const struct tree *tree;
  const struct seen *member; /* whom the next follow; NULL: the leader */
  pid_t self;
};

static bool is_found(const struct search *search, const struct seen *seen) {
  if (seen->is_member || seen->pid == search->self || seen->pid == search->tree->leader) return false;
  return search->member ? follows(search->look, seen, search->member) : is_of_leader(search->look, search->tree, seen);
}

static size_t first_key(const struct tree_look *look, uint64_t from) {
  size_t low = 0, high = look->key_count;
  while (low < high) {
    size_t middle = low + (high - low) / 2;
    if (look->keys[middle].key < from) low = middle + 1;
    else high = middle;
  }
  return low;
}

/* Those among the keys from `from` to below `to`. */
static void search_keys(const struct search *search, uint64_t from, uint64_t to) {
  struct tree_look *look = search->look;
  for (size_t i = first_key(look, from); i < look->key_count && look->keys[i].key < to; i++) {
    struct seen *seen = look->keys[i].seen;
    if (!is_found(search, seen)) continue;
    seen->is_member = true;
    look->found[look->found_count++] = seen;
  }
}

static void search_key(const struct search *search, uint64_t key) { search_keys(search, key, key + 1); }

static void search_followers(const struct search *search, pid_t pid) {
  search_keys(search, giver_key(pid), giver_key(pid + 1));
  if (search->look->walked) search_key(search, parent_key(pid));
}

static int compare_places(const void *a, const void *b) {
  const struct seen *one = *(struct seen *const *)a, *other = *(struct seen *const *)b;
  return (one > other) - (one < other);
}

void tree_look_search(struct tree_look *look, const struct tree *tree) {
  struct search search = {.look = look, .tree = tree, .self = getpid()};
  for (size_t i = 0; i < look->found_count; i++) look->found[i]->is_member = false;
  look->found_count = 0;
  if (tree->mark) {
    search_key(&search, soft_key(tree->mark));
    search_key(&search, hard_key(tree->mark));
  }
  if (look->walked) search_key(&search, group_key(tree->leader));
  search_followers(&search, tree->leader);
  for (size_t i = 0; i < look->found_count; i++) { /* which grows */
    search.member = look->found[i];
    search_followers(&search, search.member->pid);
  }
  if (look->found_count > 1) qsort(look->found, look->found_count, sizeof *look->found, compare_places);
}

#endif
