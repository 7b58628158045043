#include <limits.h>
#include <stdlib.h>
#include <string.h>

#include "pattern_program.h"

#define NO_MEMORY "not enough memory"
#define IMPOSSIBLE " is not possible in a search that goes on with the stream"

static void add(struct set *set, unsigned c) { set->bits[c >> 6] |= (uint64_t)1 << (c & 63); }

static void add_range(struct set *set, unsigned from, unsigned to) {
  for (unsigned c = from; c <= to; c++) add(set, c);
}

static void negate(struct set *set) {
  for (int i = 0; i < 4; i++) set->bits[i] = ~set->bits[i];
}

static int only_member(const struct set *set) {
  int only = -1;
  for (int i = 0; i < 4; i++) {
    uint64_t bits = set->bits[i];
    if (!bits) continue;
    if (only >= 0 || (bits & (bits - 1))) return -1;
    only = 64 * i + __builtin_ctzll(bits);
  }
  return only;
}

/* Compiling: the text is read as Lua's own matcher does, but all of it, so that a mistake is told at once. */

struct source {
  const unsigned char *at, *end;
  struct patterns *p;
  struct pattern *pattern;
  unsigned open[PATTERN_CAPTURES];
  int depth; /* of open */
};

static bool next_is(const struct source *t, char c) { return t->at < t->end && *t->at == (unsigned char)c; }

static void put_item(struct source *t, enum kind kind, const struct set *set, unsigned slot) {
  struct item *item = &t->p->items[t->p->count++]; /* there is room: see reserve */
  *item = (struct item){.kind = kind, .slot = slot};
  if (set) item->set = *set;
}

/* %a and the like, as in the C locale: what a pattern means must not depend on where it runs. */
static void add_class(struct set *set, unsigned char class) {
  struct set members = {0};
  switch (class | 0x20) {
  case 'a': add_range(&members, 'A', 'Z'), add_range(&members, 'a', 'z'); break;
  case 'c': add_range(&members, 0, 31), add(&members, 127); break;
  case 'd': add_range(&members, '0', '9'); break;
  case 'g': add_range(&members, '!', '~'); break;
  case 'l': add_range(&members, 'a', 'z'); break;
  case 'p':
    add_range(&members, '!', '/'), add_range(&members, ':', '@');
    add_range(&members, '[', '`'), add_range(&members, '{', '~');
    break;
  case 's': add_range(&members, '\t', '\r'), add(&members, ' '); break;
  case 'u': add_range(&members, 'A', 'Z'); break;
  case 'w': add_range(&members, '0', '9'), add_range(&members, 'A', 'Z'), add_range(&members, 'a', 'z'); break;
  case 'x': add_range(&members, '0', '9'), add_range(&members, 'A', 'F'), add_range(&members, 'a', 'f'); break;
  case 'z': add(&members, 0); break; /* gone from the manual, not from Lua */
  default: add(set, class); return;
  }
  if (!(class & 0x20)) negate(&members);
  for (int i = 0; i < 4; i++) set->bits[i] |= members.bits[i];
}

/* Behind the '['. The end is found first, as Lua does: "]" may be the first member, and "%]" is one anywhere. */
static const char *read_set(struct source *t, struct set *set) {
  bool negated = next_is(t, '^');
  t->at += negated;
  const unsigned char *at = t->at;
  do {
    if (t->at == t->end) return "malformed pattern (missing ']')";
    if (*t->at++ == '%' && t->at < t->end) t->at++;
  } while (!next_is(t, ']'));
  const unsigned char *end = t->at++;
  for (; at < end; at++) {
    if (*at == '%') {
      add_class(set, *++at);
    } else if (end - at > 2 && at[1] == '-') {
      add_range(set, at[0], at[2]);
      at += 2;
    } else {
      add(set, *at);
    }
  }
  if (negated) negate(set);
  return NULL;
}

static const char *read_single(struct source *t, struct set *set) {
  switch (*t->at++) {
  case '[': return read_set(t, set);
  case '.': negate(set); return NULL;
  case '%':
    if (t->at == t->end) return "malformed pattern (ends with '%')";
    add_class(set, *t->at++);
    return NULL;
  default: add(set, t->at[-1]); return NULL;
  }
}

static const char *read_repeated(struct source *t) {
  struct set set = {0};
  const char *problem = read_single(t, &set);
  if (problem) return problem;
  static const enum kind kinds[] = {['?'] = OPTIONAL, ['*'] = GREEDY, ['-'] = LAZY, ['+'] = GREEDY};
  enum kind kind = t->at < t->end && *t->at < sizeof kinds / sizeof *kinds ? kinds[*t->at] : ONE;
  if (next_is(t, '+')) put_item(t, ONE, &set, 0);
  put_item(t, kind, &set, 0);
  t->at += kind != ONE;
  return NULL;
}

static const char *read_open(struct source *t) {
  struct pattern *pattern = t->pattern;
  t->at++;
  if (pattern->captures == PATTERN_CAPTURES) return "too many captures";
  unsigned capture = (unsigned)pattern->captures++;
  put_item(t, SLOT, NULL, 1 + 2 * capture);
  if (next_is(t, ')')) {
    t->at++;
    pattern->positions |= (uint32_t)1 << capture;
  } else {
    t->open[t->depth++] = capture;
  }
  return NULL;
}

static const char *read_close(struct source *t) {
  t->at++;
  if (!t->depth) return "invalid pattern capture";
  put_item(t, SLOT, NULL, 2 + 2 * t->open[--t->depth]);
  return NULL;
}

static const char *read_frontier(struct source *t) {
  struct set set = {0};
  t->at += 2;
  if (!next_is(t, '[')) return "missing '[' after '%f' in pattern";
  t->at++;
  const char *problem = read_set(t, &set);
  if (!problem) put_item(t, FRONTIER, &set, 0);
  return problem;
}

static const char *read_part(struct source *t) {
  unsigned char c = t->at[0], next = t->end - t->at > 1 ? t->at[1] : 0;
  if (c == '(') return read_open(t);
  if (c == ')') return read_close(t);
  if (c == '%' && next == 'f') return read_frontier(t);
  if (c == '%' && next == 'b') return "%b" IMPOSSIBLE;
  if (c == '%' && next >= '0' && next <= '9') return "a back reference (%1)" IMPOSSIBLE;
  if (c != '$' || t->end - t->at > 1) return read_repeated(t);
  t->at++;
  put_item(t, END, NULL, 0);
  return NULL;
}

static const char *read_pattern(struct source *t) {
  t->pattern->anchored = next_is(t, '^');
  t->at += t->pattern->anchored;
  while (t->at < t->end) {
    const char *problem = read_part(t);
    if (problem) return problem;
  }
  return t->depth ? "unfinished capture" : NULL;
}

static void read_plain(struct source *t) {
  for (; t->at < t->end; t->at++) {
    struct set set = {0};
    add(&set, *t->at);
    put_item(t, ONE, &set, 0);
  }
}

/* Like string.find, which does not ask for the meaning of such a pattern: ":)" is no mistake. */
static bool has_magic(const char *text, size_t size) {
  for (size_t i = 0; i < size; i++)
    if (text[i] && strchr("^$*+?.([%-", text[i])) return true;
  return false;
}

/* What helps to search quickly. */

static bool takes_byte(const struct item *item) { return item->kind <= LAZY; }
static bool takes_nothing(const struct item *item) { return item->kind != ONE && item->kind != END; }

/* `live`: the items of a pattern that can be waited at after k bytes, whatever these were. Each step goes one byte on.
 * */
static void step_live(struct item *first, struct item *last) {
  for (size_t i = (size_t)(last - first); i > 0; i--) { /* backwards: what is moved is not met again */
    struct item *item = first + i - 1;
    if (!item->live) continue;
    if (item->kind == ONE || item->kind == OPTIONAL) item[1].live = true;
    item->live = item_repeats(item);
  }
}

static void spread_live(struct item *first, struct item *last) {
  for (struct item *item = first; item < last; item++)
    if (item->live && takes_nothing(item)) item[1].live = true;
}

static void note_begins(struct patterns *p, const struct pattern *pattern) {
  if (pattern->anchored) return; /* that begins in search_restart or never */
  struct item *first = p->items + pattern->first, *last = p->items + p->count - 1;
  for (struct item *item = first; item <= last; item++) item->live = item == first;
  for (unsigned k = 0; k < p->ahead; k++) {
    spread_live(first, last);
    if (last->live) p->ahead = k; /* it may end here */
    for (const struct item *item = first; item < last && k < p->ahead; item++) {
      if (!item->live || !takes_byte(item)) continue;
      for (unsigned c = 0; c < 256; c++) p->begins[c] |= (unsigned char)(set_has(&item->set, c) << k);
    }
    step_live(first, last);
  }
}

static void note_firsts(struct patterns *p) {
  p->first = FIRST_NONE;
  for (int c = 0; c < 256; c++) {
    if (p->ahead && !(p->begins[c] & 1)) continue;
    add(&p->firsts, (unsigned)c);
    p->first = p->first == FIRST_NONE ? c : FIRST_SEVERAL;
  }
}

static bool add_way(struct ways *w, const struct item *item) {
  if (w->count >= WAYS_MOST) {
    w->count = WAYS_MOST + 1;
    return false;
  }
  uint64_t bit = (uint64_t)1 << w->count++;
  for (unsigned c = 0; c < 256; c++)
    if (set_has(&item->set, c)) w->of[c] |= bit;
  switch (item->kind) {
  case OPTIONAL: w->skipped |= bit; break;
  case GREEDY: case LAZY: w->skipped |= bit, w->repeated |= bit; break;
  case FRONTIER: w->frontier |= bit; break;
  case END: w->end |= bit; break;
  case MATCH: w->match |= bit; break;
  default: break;
  }
  return true;
}

static void add_ways(struct patterns *p, const struct pattern *pattern) {
  struct ways *w = &p->ways;
  unsigned first = w->count;
  const struct item *item = p->items + pattern->first;
  for (bool more = true; more; item++) {
    if (item->kind == SLOT) continue;
    if (!add_way(w, item)) return;
    more = item->kind != END && item->kind != MATCH;
  }
  uint64_t begin = ways_spread(w, (uint64_t)1 << first);
  if (pattern->anchored) w->begin_anchored |= begin;
  else w->begin |= begin;
}

static void note_literals(struct patterns *p) {
  size_t used = 0, start = 0;
  bool leading = true;
  for (const struct item *item = p->items; item < p->items + p->count; item++) {
    if (item->kind == SLOT || item->kind == FRONTIER) continue;
    int c = item->kind == ONE ? only_member(&item->set) : -1;
    leading = leading && c >= 0;
    if (c < 0) {
      start = used;
      continue;
    }
    p->literals[used++] = (char)c;
    if (leading) p->lead = used;
    if (used - start <= p->longest_size) continue;
    p->longest = start;
    p->longest_size = used - start;
  }
}

/* Room for a pattern of that size: no more items than characters, and MATCH. */
static bool reserve(struct patterns *p, size_t size) {
  if (size >= INT_MAX / 2 || p->count >= INT_MAX / 2) return false; /* indices are unsigned */
  size_t needed = p->count + size + 1;
  if (needed > p->capacity) {
    size_t capacity = needed > 2 * p->capacity ? needed : 2 * p->capacity;
    struct item *items = realloc(p->items, capacity * sizeof *items);
    if (!items) return false;
    p->items = items;
    p->capacity = capacity;
  }
  struct pattern *patterns = realloc(p->patterns, (p->pattern_count + 1) * sizeof *patterns);
  if (!patterns) return false;
  p->patterns = patterns;
  if (p->pattern_count) return true;
  char *literals = realloc(p->literals, size + 1);
  if (!literals) return false;
  p->literals = literals;
  return true;
}

static const char *compile(struct patterns *p, const char *text, size_t size, bool plain) {
  struct pattern *pattern = p->patterns + p->pattern_count;
  *pattern = (struct pattern){.first = p->count};
  const unsigned char *at = (const unsigned char *)text;
  struct source source = {.at = at, .end = at + size, .p = p, .pattern = pattern};
  const char *problem = NULL;
  if (plain || !has_magic(text, size)) read_plain(&source);
  else problem = read_pattern(&source);
  put_item(&source, MATCH, NULL, p->pattern_count);
  size_t stride = 1 + 2 * (size_t)pattern->captures;
  if (stride > p->stride) p->stride = stride; /* too much does no harm if there was a problem */
  return problem;
}

/* Only when the ways may not fit: see patterns_match. */
static const char *renew_scratch(struct patterns *p, size_t new_items) {
  if (p->ways.count + new_items <= WAYS_MOST) return NULL;
  struct search *scratch = search_new(p);
  if (!scratch) return NO_MEMORY;
  search_free(p->scratch);
  p->scratch = scratch;
  return NULL;
}

struct patterns *patterns_new(void) {
  struct patterns *p = calloc(1, sizeof *p);
  if (!p) return NULL;
  p->ahead = AHEAD_MOST;
  p->first = FIRST_NONE;
  p->stride = 1;
  return p;
}

void patterns_free(struct patterns *p) {
  if (!p) return;
  search_free(p->scratch);
  free(p->items);
  free(p->patterns);
  free(p->literals);
  free(p);
}

const char *patterns_add(struct patterns *p, const char *text, size_t size, bool plain) {
  if (!reserve(p, size)) return NO_MEMORY;
  size_t count = p->count;
  const char *problem = compile(p, text, size, plain);
  if (!problem) problem = renew_scratch(p, p->count - count);
  if (problem) {
    p->count = count;
    return problem;
  }
  struct pattern *pattern = &p->patterns[p->pattern_count++];
  for (pattern->entry = pattern->first; p->items[pattern->entry].kind == SLOT;) pattern->entry++;
  if (p->pattern_count == 1) note_literals(p);
  note_begins(p, pattern);
  note_firsts(p);
  add_ways(p, pattern);
  return NULL;
}

const char *patterns_literal(const struct patterns *p, size_t *size) {
  if (p->pattern_count != 1 || !p->longest_size) return NULL;
  *size = p->longest_size;
  return p->literals + p->longest;
}
