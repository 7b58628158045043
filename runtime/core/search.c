#include <stdlib.h>
#include <string.h>

#include "pattern_program.h"

enum { UNKNOWN = -1, NO_MORE = 256 }; /* besides the next byte */

/* A way to match, as far as it came: the item it waits at, and which slots of the list it has (some share theirs). */
struct way {
  unsigned item, slots;
};

/* All ways to match at one place, best first: earlier begun, then by pattern, then as Lua would try them. */
struct list {
  struct way *ways;
  unsigned count;
  size_t *slots; /* `stride` each */
  unsigned used;
};

struct search {
  const struct patterns *p;
  size_t stride;
  struct list lists[2], *now, *next;
  size_t *marks;          /* by item: the round in which it was entered last; a worse way need not go there again */
  size_t round;           /* one for each list */
  unsigned *lazy;         /* stack of enter */
  size_t fed;
  size_t position;        /* of the ways in `now` */
  unsigned char previous; /* the byte before that */
  bool waiting;           /* a frontier in `now` waits for the next byte */
  bool matched;
  bool walked;            /* these bytes by skip */
  struct match match;
};

/* Searching without captures: which bytes can begin a match, and the ways as bits. */

static bool may_begin(const struct patterns *p, const unsigned char *at, const unsigned char *end) {
  size_t size = (size_t)(end - at) < p->ahead ? (size_t)(end - at) : p->ahead;
  for (size_t k = 0; k < size; k++)
    if (!(p->begins[at[k]] >> k & 1)) return false;
  return true;
}

static const unsigned char *next_first(const struct patterns *p, const unsigned char *at, const unsigned char *end) {
  if (p->first >= 0) {
    const unsigned char *found = memchr(at, p->first, (size_t)(end - at));
    return found ? found : end;
  }
  const unsigned char *begins = p->begins;
  while (end - at >= 4 && !((begins[at[0]] | begins[at[1]] | begins[at[2]] | begins[at[3]]) & 1)) at += 4;
  while (at < end && !(begins[*at] & 1)) at++;
  return at;
}

/* The first place, from `at` on, where a match can begin, or `end`. */
static const unsigned char *next_begin(const struct patterns *p, const unsigned char *at, const unsigned char *end) {
  if (!p->ahead) return at;
  if (p->first == FIRST_NONE) return end;
  if (p->pattern_count == 1 && p->lead > 1) {
    const unsigned char *found = memmem(at, (size_t)(end - at), p->literals, p->lead);
    if (found) return found;
    if ((size_t)(end - at) >= p->lead) at = end - p->lead + 1; /* it may have come in part */
  }
  while ((at = next_first(p, at, end)) < end && !may_begin(p, at, end)) at++;
  return at;
}

struct walk {
  uint64_t state;            /* the items that are waited at */
  unsigned char previous;
  const unsigned char *idle; /* the last place where all ways had ended */
};

static uint64_t pass_frontiers(const struct ways *w, uint64_t state, unsigned char previous, unsigned char next) {
  uint64_t open = w->frontier & w->of[next] & ~w->of[previous];
  for (;;) {
    uint64_t more = state | ways_spread(w, (state & open) << 1);
    if (more == state) return state;
    state = more; /* there may be a frontier behind a frontier */
  }
}

/* True as soon as there is a match. */
static bool walk(struct walk *walk, const struct patterns *p, const unsigned char *at, const unsigned char *end) {
  const struct ways *w = &p->ways;
  uint64_t state = walk->state;
  while (at < end) {
    if (w->frontier) {
      state = pass_frontiers(w, state, walk->previous, *at);
      if (state & w->match) return true;
      walk->previous = *at;
    }
    uint64_t taken = state & ~w->frontier & w->of[*at++];
    if (taken) {
      state = w->begin | ways_spread(w, (taken & w->repeated) | (taken & ~w->repeated) << 1);
      if (state & w->match) return true;
    } else {
      state = w->begin;
      walk->idle = at = next_begin(p, at, end);
      walk->previous = at[-1];
    }
  }
  walk->state = state;
  return false;
}

static bool match_by_search(struct search *s, const char *line, size_t size) {
  search_restart(s);
  return search_feed(s, line, size) != SEARCH_NONE || search_end(s) != SEARCH_NONE;
}

bool patterns_match(struct patterns *p, const char *line, size_t size) {
  const struct ways *w = &p->ways;
  if (w->count > WAYS_MOST) return match_by_search(p->scratch, line, size);
  struct walk whole = {.state = w->begin | w->begin_anchored};
  const unsigned char *at = (const unsigned char *)line;
  if (whole.state & w->match || walk(&whole, p, at, at + size)) return true;
  uint64_t state = pass_frontiers(w, whole.state, whole.previous, '\0');
  return state & (w->match | w->end);
}

/* Searching with captures. */

static void record(struct search *s, unsigned index, const size_t *slots) {
  const struct pattern *pattern = s->p->patterns + index;
  s->matched = true;
  s->match.index = (int)index;
  s->match.start = slots[0];
  s->match.end = s->position;
  s->match.count = pattern->captures;
  for (int i = 0; i < pattern->captures; i++) {
    size_t start = slots[1 + 2 * i], size = slots[2 + 2 * i] - start;
    s->match.captures[i].start = start;
    s->match.captures[i].size = pattern->positions >> i & 1 ? PATTERN_POSITION : size;
  }
}

static void put(struct list *list, size_t item) {
  list->ways[list->count++] = (struct way){.item = (unsigned)item, .slots = list->used};
}

/* Whether a frontier or $ lets pass; it waits when that cannot be told yet. */
static bool passes(struct search *s, struct list *list, const struct item *item, int next) {
  if (next == UNKNOWN) {
    put(list, (size_t)(item - s->p->items));
    s->waiting = s->waiting || item->kind == FRONTIER;
    return false;
  }
  if (item->kind == END) return next == NO_MORE;
  return !set_has(&item->set, s->previous) && set_has(&item->set, (unsigned char)next);
}

/* Takes a way to the items from `at` on that wait for a byte, best first. True if it is a match already, and whatever
 * is worse than that must not be entered. `from` is what it remembers, NULL if it begins here. */
static bool enter(struct search *s, struct list *list, size_t at, const size_t *from, int next) {
  if (s->marks[at] == s->round) return false;
  size_t *slots = list->slots + list->used * s->stride;
  for (size_t i = 0; from && i < s->stride; i++) slots[i] = from[i]; /* mostly few: memcpy is slower */
  if (!from) slots[0] = s->position;
  unsigned before = list->count, lazy = 0;
  bool matched = false;
  for (bool on = true; on && s->marks[at] != s->round; at++) {
    const struct item *item = s->p->items + at;
    s->marks[at] = s->round;
    switch (item->kind) {
    case ONE: put(list, at); on = false; break;
    case OPTIONAL: case GREEDY: put(list, at); break;
    case LAZY: s->lazy[lazy++] = (unsigned)at; break;
    case FRONTIER: case END: on = passes(s, list, item, next); break;
    case SLOT: slots[item->slot] = s->position; break;
    case MATCH: record(s, item->slot, slots); matched = true; on = false; break;
    }
  }
  while (lazy && !matched) put(list, s->lazy[--lazy]);
  list->used += list->count > before;
  return matched;
}

/* Only until there is a match: what begins later is worse. */
static void begin(struct search *s, int next) {
  for (unsigned i = 0; i < s->p->pattern_count && !s->matched; i++) {
    const struct pattern *pattern = s->p->patterns + i;
    if (s->marks[pattern->entry] == s->round || (pattern->anchored && s->position > 0)) continue;
    enter(s, s->now, pattern->first, NULL, next);
  }
}

static void start_list(struct search *s) {
  struct list *list = s->now;
  s->now = s->next;
  s->next = list;
  s->now->count = s->now->used = 0;
  s->waiting = false;
  s->round++;
}

/* Lets the ways that wait know the next byte; the others find their place again. */
static void look(struct search *s, int next) {
  start_list(s);
  const struct list *old = s->next;
  for (unsigned i = 0; i < old->count; i++) {
    const struct way *way = old->ways + i;
    if (enter(s, s->now, way->item, old->slots + way->slots * s->stride, next)) break;
  }
}

static void step(struct search *s, unsigned char c) {
  start_list(s);
  s->position++;
  const struct list *old = s->next;
  for (unsigned i = 0; i < old->count; i++) {
    const struct way *way = old->ways + i;
    const struct item *item = s->p->items + way->item;
    if (!set_has(&item->set, c)) continue;
    unsigned to = way->item + !item_repeats(item);
    if (enter(s, s->now, to, old->slots + way->slots * s->stride, UNKNOWN)) break;
  }
  s->previous = c;
}

/* With no way to go on: to where one can begin, and the first time to where one does that is open at the end or leads
 * to a match. Not again: as next_begin looks ahead there may be none for a while, and each walk could be over all. */
static const unsigned char *skip(struct search *s, const unsigned char *at, const unsigned char *end) {
  const struct patterns *p = s->p;
  const unsigned char *to = next_begin(p, at, end);
  if (!s->walked && p->ways.count <= WAYS_MOST && to < end) {
    s->walked = true;
    struct walk rest = {.state = p->ways.begin, .previous = to > at ? to[-1] : s->previous, .idle = to};
    walk(&rest, p, to, end);
    to = rest.idle;
  }
  if (to == at) return at;
  s->position += (size_t)(to - at);
  s->previous = to[-1];
  return to;
}

/* The bytes on which the ways that repeat an item go on with that, and all others end: also those that begin, or wait
 * at a frontier. */
static struct set steady_bytes(const struct search *s) {
  const struct patterns *p = s->p;
  struct set steady = {{UINT64_MAX, UINT64_MAX, UINT64_MAX, UINT64_MAX}};
  for (unsigned i = 0; i < s->now->count; i++) {
    const struct item *item = p->items + s->now->ways[i].item;
    uint64_t flip = item_repeats(item) ? 0 : UINT64_MAX;
    for (int k = 0; k < 4; k++) steady.bits[k] &= item->set.bits[k] ^ flip;
  }
  bool begun = true; /* what would begin is under way already: that is better */
  for (unsigned i = 0; i < p->pattern_count; i++)
    begun = begun && (p->patterns[i].anchored || s->marks[p->patterns[i].entry] == s->round);
  for (int k = 0; k < 4 && !begun && !s->matched; k++) steady.bits[k] &= ~p->firsts.bits[k];
  return steady;
}

static bool same_items(const struct list *a, const struct list *b) {
  if (a->count != b->count) return false;
  for (unsigned i = 0; i < a->count; i++)
    if (a->ways[i].item != b->ways[i].item) return false;
  return true;
}

/* Over bytes on which nothing changes but positions: of such a row the first step shows that it is one, and the last
 * one sets the positions. This is what makes "(.-)\n" quick. */
static const unsigned char *stay(struct search *s, const unsigned char *at, const unsigned char *end) {
  struct set steady = steady_bytes(s);
  if (!set_has(&steady, *at)) return at;
  step(s, *at++);
  if (!same_items(s->now, s->next)) return at;
  const unsigned char *last = at;
  while (last < end && set_has(&steady, *last)) last++;
  if (last == at) return at;
  s->position += (size_t)(last - at) - 1;
  step(s, last[-1]);
  return last;
}

static enum search_state state_of(const struct search *s) {
  if (!s->matched) return SEARCH_NONE;
  return s->now->count ? SEARCH_UNDECIDED : SEARCH_FOUND;
}

enum search_state search_feed(struct search *s, const char *data, size_t size) {
  const unsigned char *at = (const unsigned char *)data, *end = at + size;
  s->fed += size;
  s->walked = false;
  while (at < end && !(s->matched && !s->now->count)) {
    const unsigned char *from = at;
    if (!s->now->count && (at = skip(s, at, end)) == end) break;
    if (s->now->count && (at = stay(s, at, end)) > from) continue;
    if (s->waiting) look(s, *at);
    if (may_begin(s->p, at, end)) begin(s, *at);
    step(s, *at++);
  }
  return state_of(s);
}

enum search_state search_end(struct search *s) {
  look(s, NO_MORE);
  begin(s, NO_MORE);
  s->now->count = 0;
  return state_of(s);
}

void search_restart(struct search *s) {
  start_list(s);
  s->fed = s->position = 0;
  s->previous = '\0';
  s->matched = false;
  begin(s, UNKNOWN);
}

static bool allocate(struct search *s) {
  size_t most = s->p->count + 1;
  for (int i = 0; i < 2; i++) {
    s->lists[i].ways = calloc(most, sizeof *s->lists[i].ways);
    s->lists[i].slots = calloc(most, s->stride * sizeof *s->lists[i].slots);
    if (!s->lists[i].ways || !s->lists[i].slots) return false;
  }
  s->marks = calloc(most, sizeof *s->marks);
  s->lazy = calloc(most, sizeof *s->lazy);
  return s->marks && s->lazy;
}

struct search *search_new(struct patterns *p) {
  struct search *s = calloc(1, sizeof *s);
  if (!s) return NULL;
  s->p = p;
  s->stride = p->stride;
  s->now = &s->lists[0];
  s->next = &s->lists[1];
  if (!allocate(s)) {
    search_free(s);
    return NULL;
  }
  search_restart(s);
  return s;
}

void search_free(struct search *s) {
  if (!s) return;
  for (int i = 0; i < 2; i++) {
    free(s->lists[i].ways);
    free(s->lists[i].slots);
  }
  free(s->marks);
  free(s->lazy);
  free(s);
}

size_t search_size(const struct search *s) { return s->fed; }

const struct match *search_match(const struct search *s) { return s->matched ? &s->match : NULL; }
