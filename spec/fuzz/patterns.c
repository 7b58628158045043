/* Fuzzes core/pattern.h: a search finds the same however its subject is cut, and what string.find finds. */
#include <lauxlib.h>

#include "fuzz.h"
#include "pattern.h"

#define MOST 3

struct trial {
  struct input patterns[MOST], subject;
  size_t count;
  bool plain;
  struct patterns *compiled;
};

static bool same_match(const struct match *a, const struct match *b) {
  if (a->index != b->index || a->start != b->start || a->end != b->end || a->count != b->count) return false;
  for (int i = 0; i < a->count; i++)
    if (a->captures[i].start != b->captures[i].start || a->captures[i].size != b->captures[i].size) return false;
  return true;
}

static void check_bounds(const struct match *match, const struct trial *t) {
  REQUIRE(match->start <= match->end && match->end <= t->subject.size);
  REQUIRE(match->index >= 0 && (size_t)match->index < t->count);
  for (int i = 0; i < match->count; i++) {
    size_t start = match->captures[i].start, size = match->captures[i].size;
    REQUIRE(start >= match->start && start <= match->end);
    REQUIRE(size == PATTERN_POSITION || size <= match->end - start);
  }
}

/* The whole at once; false where there is no match. */
static bool search_whole(struct trial *t, struct match *match) {
  struct search *s = search_new(t->compiled);
  search_feed(s, t->subject.data, t->subject.size);
  enum search_state state = search_end(s);
  const struct match *found = search_match(s);
  REQUIRE((state == SEARCH_FOUND) == (found != NULL) && state != SEARCH_UNDECIDED);
  if (found) check_bounds(found, t);
  if (found) *match = *found;
  search_free(s);
  return found != NULL;
}

static void search_pieces(struct trial *t, struct search *s, const struct match *whole) {
  enum search_state state = SEARCH_NONE;
  for (size_t fed = 0; fed < t->subject.size;) {
    size_t piece = next_piece(&t->subject, t->subject.size - fed);
    char *copy = copy_of(t->subject.data + fed, piece);
    bool was_found = state == SEARCH_FOUND;
    state = search_feed(s, copy, piece);
    free(copy);
    fed += piece;
    REQUIRE(search_size(s) == fed);
    REQUIRE(!was_found || state == SEARCH_FOUND);
    REQUIRE((state == SEARCH_NONE) == !search_match(s));
    if (state != SEARCH_NONE) check_bounds(search_match(s), t);
    if (state != SEARCH_NONE) REQUIRE(whole && search_match(s)->end <= fed);
    if (state == SEARCH_FOUND) REQUIRE(same_match(search_match(s), whole));
  }
  REQUIRE(search_end(s) == (whole ? SEARCH_FOUND : SEARCH_NONE));
  REQUIRE(!whole || same_match(search_match(s), whole));
}

/* string.find may take very long with several repeated items. */
static bool is_quick(const struct input *pattern, const struct input *subject) {
  size_t repeats = 0;
  for (size_t i = 0; i < pattern->size; i++) repeats += strchr("*+-?", pattern->data[i]) != NULL;
  return pattern->size <= 40 && (repeats <= 2 ? subject->size <= 200 : repeats <= 4 && subject->size <= 20);
}

static bool same_as_lua(lua_State *lua, const struct match *match, const char *subject) {
  for (int i = 0; i < match->count; i++) {
    size_t size;
    if (match->captures[i].size == PATTERN_POSITION) {
      if (!lua_isinteger(lua, 5 + i) || (size_t)lua_tointeger(lua, 5 + i) != match->captures[i].start + 1) return false;
      continue;
    }
    const char *text = lua_tolstring(lua, 5 + i, &size);
    if (!text || !same(text, size, subject + match->captures[i].start, match->captures[i].size)) return false;
  }
  return (size_t)lua_tointeger(lua, 3) == match->start + 1 && (size_t)lua_tointeger(lua, 4) == match->end;
}

/* Calls string.find; its results lie from index 3 on. False where it refuses the pattern. */
static bool lua_find(lua_State *lua, const struct trial *t, size_t index) {
  lua_settop(lua, 2);
  lua_pushvalue(lua, 2);
  lua_pushlstring(lua, t->subject.data, t->subject.size);
  lua_pushlstring(lua, t->patterns[index].data, t->patterns[index].size);
  lua_pushinteger(lua, 1);
  lua_pushboolean(lua, t->plain);
  return lua_pcall(lua, 4, LUA_MULTRET, 0) == LUA_OK;
}

/* What string.find finds in the whole: of several the first that begins first. */
static void compare_with_lua(lua_State *lua, const struct trial *t, const struct match *match) {
  size_t best = SIZE_MAX, index = 0;
  for (size_t i = 0; i < t->count; i++) {
    if (!is_quick(&t->patterns[i], &t->subject)) return;
    REQUIRE(lua_find(lua, t, i)); /* we refuse what it refuses */
    size_t start = lua_isnil(lua, 3) ? SIZE_MAX : (size_t)lua_tointeger(lua, 3);
    if (start < best) best = start, index = i;
  }
  REQUIRE((best != SIZE_MAX) == (match != NULL));
  if (!match) return;
  REQUIRE((size_t)match->index == index);
  REQUIRE(lua_find(lua, t, index) && same_as_lua(lua, match, t->subject.data));
}

static void check_match_of_line(const struct trial *t, const struct match *match) {
  char *line = copy_of(t->subject.data, t->subject.size);
  REQUIRE(patterns_match(t->compiled, line, t->subject.size) == (match != NULL));
  free(line);
  size_t size, rest = match ? match->end - match->start : 0;
  const char *literal = match ? patterns_literal(t->compiled, &size) : NULL, *at = t->subject.data;
  if (!literal) return;
  for (at += match->start; rest >= size && memcmp(at, literal, size); at++) rest--;
  REQUIRE(rest >= size);
}

static void search(struct trial *t, lua_State *lua) {
  struct match match;
  bool found = search_whole(t, &match);
  struct search *s = search_new(t->compiled);
  search_pieces(t, s, found ? &match : NULL);
  search_restart(s); /* in the middle, and then again */
  search_feed(s, t->subject.data, t->subject.size / 2);
  search_restart(s);
  search_pieces(t, s, found ? &match : NULL);
  search_free(s);
  check_match_of_line(t, found ? &match : NULL);
  compare_with_lua(lua, t, found ? &match : NULL);
}

void fuzz_patterns(struct input *in, lua_State *lua) {
  struct trial t = {.compiled = patterns_new()};
  unsigned head = take_byte(in);
  t.plain = head & 1;
  for (unsigned i = 0; i <= (head >> 1) % MOST; i++) {
    t.patterns[t.count] = take_part(in, take_byte(in) % 64);
    const struct input *pattern = &t.patterns[t.count];
    char *text = copy_of(pattern->data, pattern->size);
    t.count += patterns_add(t.compiled, text, pattern->size, t.plain) == NULL;
    free(text);
  }
  t.subject = *in;
  if (t.count) search(&t, lua);
  patterns_free(t.compiled);
}
