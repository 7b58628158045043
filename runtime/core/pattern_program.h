/* What pattern.c makes of the patterns, for search.c to run; nobody else includes this.
 *
 * A pattern is a row of items, without branches: from each one goes to the next, to itself (repeated), or no further.
 * So positions are kept for an item's captures once it is passed, and need not be forgotten on another way.
 */
#ifndef CORUN_PATTERN_PROGRAM_H
#define CORUN_PATTERN_PROGRAM_H

#include <stdint.h>

#include "pattern.h"

#define AHEAD_MOST 8 /* one bit of patterns.begins each */
#define WAYS_MOST 64 /* one bit of a uint64_t each */

struct set {
  uint64_t bits[4];
};

static inline bool set_has(const struct set *set, unsigned c) { return set->bits[c >> 6] >> (c & 63) & 1; }

/* X, X?, X*, X-, %f[X], $, a place to remember, the end of the pattern. X+ is X X*. */
enum kind { ONE, OPTIONAL, GREEDY, LAZY, FRONTIER, END, SLOT, MATCH };

struct item {
  enum kind kind;
  bool live;      /* scratch of patterns_add */
  unsigned slot;  /* SLOT: which; MATCH: the index of the pattern */
  struct set set; /* ONE to FRONTIER */
};

static inline bool item_repeats(const struct item *item) { return item->kind == GREEDY || item->kind == LAZY; }

struct pattern {
  size_t first, entry; /* its first item, and the first one but SLOT */
  bool anchored;
  int captures;
  uint32_t positions; /* which of them are () */
};

/* Each item but SLOT is a bit, and all that are waited at are one number, stepped with a few operations. */
struct ways {
  unsigned count;                  /* more than WAYS_MOST: they do not fit, and the rest is void */
  uint64_t of[256];                /* by byte: items whose set has it */
  uint64_t repeated, skipped;      /* X* and X-; these and X? */
  uint64_t frontier, end, match;   /* items of these kinds; a match behind $ has no bit */
  uint64_t begin, begin_anchored;  /* what is waited at first, at any place and where the search began */
};

/* All that can be reached over items that may be left out. In a row of them the addition carries from the lowest one
 * that is waited at to the first one that cannot. */
static inline uint64_t ways_spread(const struct ways *w, uint64_t set) {
  return set | ((w->skipped + (set & w->skipped)) ^ w->skipped);
}

enum { FIRST_NONE = -1, FIRST_SEVERAL = -2 };

struct patterns {
  struct item *items;
  size_t count, capacity;
  struct pattern *patterns;
  unsigned pattern_count;
  size_t stride;             /* slots of a way: where it began, then two for each capture */
  struct search *scratch;    /* of patterns_match */
  struct ways ways;
  /* how a match can begin */
  unsigned char begins[256]; /* bit k: with this as byte k */
  unsigned ahead;            /* how many of these bits are to be asked */
  int first;                 /* the only first byte, or FIRST_ */
  struct set firsts;
  /* of the first pattern */
  char *literals;            /* its runs of single bytes; the one it begins with, if any, is the first */
  size_t lead;               /* size of that */
  size_t longest, longest_size;
};

#endif
