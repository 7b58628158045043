/* A look at the processes of the machine, and who in it is of a tree (Linux; private to tree.c and its test).
 *
 * A look serves many trees: at the end of a scope with thousands of children each asks for its members. So what has
 * been seen is sorted once, by all that a process can be found by, and a search costs what it finds.
 */
#ifndef CORUN_TREE_LOOK_H
#define CORUN_TREE_LOOK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "tree.h"

struct seen {
  pid_t pid, parent, group; /* the latter two, `runs` and `started`: once it has_stat */
  bool runs, has_stat;
  bool is_member; /* private: in `found` */
  uint64_t soft, hard, started;
};
bool seen_read_marks(struct seen *seen); /* soft and hard; false where it has ended */
void seen_read_stat(struct seen *seen);

struct seen_key;

/* Zeroed to begin with. */
struct tree_look {
  uint64_t began, took; /* 0: there was none, or it failed */
  bool walked;          /* all processes, with their parents and groups; else those with a mark */
  struct seen *seen;    /* as /proc lists them: by pid */
  size_t count, capacity;
  struct seen **found;  /* by tree_look_search, by pid */
  size_t found_count;
  struct seen_key *keys; /* private */
  size_t key_count;
};

int tree_look_again(struct tree_look *look, bool walked);

/* Who is of the tree, but for its leader and ourselves, into `found`. */
void tree_look_search(struct tree_look *look, const struct tree *tree);

/* Makes what is in `seen` ready to be searched: private, but to the test, which fills it itself. */
int tree_look_sort(struct tree_look *look);

void tree_look_free(struct tree_look *look); /* it may be used again */

#endif
