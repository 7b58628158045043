/* Reader, continued: by pattern (expect, grep). The patterns are core/pattern.h's. */
#include <string.h>

#include "lstream.h"
#include "pattern.h"

#define CLASS "corun.Search"

/* Patterns and how far a Reader was searched for them. Lua keeps it with the Reader, so that a search that ran out of
 * time goes on where it stopped. */
struct lua_search {
  struct patterns *patterns;
  struct search *search;
  uint64_t from;   /* the Reader's position where the search began */
  unsigned serial; /* tells it from one that was at the same place before */
  /* grep: where the line that may match begins (or the literal in it) whose end has not come, and how far the end was
   * looked for, as positions in the stream; hit_end 0: nowhere */
  uint64_t hit, hit_end;
};

static int f_search_gc(lua_State *L) {
  struct lua_search *s = luaL_checkudata(L, 1, CLASS);
  search_free(s->search);
  patterns_free(s->patterns);
  *s = (struct lua_search){0};
  return 0;
}

/* core.search(list of patterns, plain) → a Search, or nil, the number of the bad pattern, what is wrong with it */
static int f_search(lua_State *L) {
  luaL_checktype(L, 1, LUA_TTABLE);
  struct lua_search *s = lua_newuserdatauv(L, sizeof *s, 0);
  *s = (struct lua_search){.serial = ++runtime_of(L)->searches};
  luaL_setmetatable(L, CLASS);
  s->patterns = patterns_new();
  if (!s->patterns) return luaL_error(L, "not enough memory");
  for (lua_Integer i = 1; lua_rawgeti(L, 1, i) != LUA_TNIL; i++) {
    size_t size;
    const char *text = luaL_checklstring(L, -1, &size);
    const char *problem = patterns_add(s->patterns, text, size, lua_toboolean(L, 2));
    lua_pop(L, 1);
    if (!problem) continue;
    lua_pushnil(L);
    lua_pushinteger(L, i);
    lua_pushstring(L, problem);
    return 3;
  }
  lua_pop(L, 1);
  s->search = search_new(s->patterns);
  return s->search ? 1 : luaL_error(L, "not enough memory");
}

/* --- expect; the stack holds: Reader, Search, due, settle (nanoseconds), limit --- */

/* Looks at what has come, up to `limit` bytes. */
static enum search_state search_on(struct lua_search *s, struct lua_reader *r, size_t limit) {
  if (s->from != reader_position(&r->core)) { /* somebody has read meanwhile */
    search_restart(s->search);
    s->from = reader_position(&r->core);
  }
  size_t seen = search_size(s->search), size = buffer_size(&r->core.buffer), end = size < limit ? size : limit;
  enum search_state state = search_feed(s->search, buffer_data(&r->core.buffer) + seen, end > seen ? end - seen : 0);
  if (state == SEARCH_UNDECIDED && (size > limit || (r->core.eof && r->core.error))) return SEARCH_FOUND;
  return state != SEARCH_FOUND && size <= limit && r->core.eof && !r->core.error ? search_end(s->search) : state;
}

static void push_captures(lua_State *L, const struct match *match, const char *data) {
  lua_createtable(L, match->count, 0);
  for (int i = 0; i < match->count; i++) {
    if (match->captures[i].size == PATTERN_POSITION)
      lua_pushinteger(L, (lua_Integer)match->captures[i].start + 1);
    else
      lua_pushlstring(L, data + match->captures[i].start, match->captures[i].size);
    lua_rawseti(L, -2, i + 1);
  }
}

/* → before, match, index, captures; all up to the end of the match is taken. */
static int push_match(lua_State *L, struct lua_search *s, struct lua_reader *r) {
  struct match match = *search_match(s->search);
  search_restart(s->search);
  reading_end(r);
  push_front(L, r, match.end, 0);
  s->from = reader_position(&r->core);
  const char *data = lua_tostring(L, -1);
  lua_pushlstring(L, data, match.start);
  lua_pushlstring(L, data + match.start, match.end - match.start);
  lua_pushinteger(L, match.index + 1);
  push_captures(L, &match, data);
  return 4;
}

#define SHOWN 200 /* bytes of what came last */

/* → nil, the last bytes that came */
static int push_late(lua_State *L, struct lua_reader *r) {
  size_t size = buffer_size(&r->core.buffer), shown = size < SHOWN ? size : SHOWN;
  reading_end(r);
  lua_pushnil(L);
  lua_pushlstring(L, buffer_data(&r->core.buffer) + size - shown, shown);
  return 2;
}

static uint64_t earliest(uint64_t a, uint64_t b) {
  return !a || (b && b < a) ? b : a;
}

static int expect_k(lua_State *L, int status, lua_KContext ctx) {
  struct runtime *rt = runtime_of(L);
  struct lua_reader *r = lua_touserdata(L, 1);
  struct lua_search *s = lua_touserdata(L, 2);
  uint64_t due = (uint64_t)lua_tointeger(L, 3);
  size_t limit = (size_t)lua_tointeger(L, 5);
  for (bool late = false;;) {
    enum wake wake = task_wake_reason(rt, status);
    if (task_must_raise(rt, L, wake)) {
      reading_end(r);
      return task_raise_wake(rt, L, wake);
    }
    if (r->core.closed) return raise_reader_closed(L, r);
    enum search_state state = search_on(s, r, limit);
    uint64_t now = loop_now(), settled = 0;
    if (state == SEARCH_UNDECIDED && lua_tointeger(L, 4) >= 0) /* as it stands, once nothing comes for a while */
      settled = r->core.active_at + (uint64_t)lua_tointeger(L, 4);
    if (state == SEARCH_FOUND || (settled && now >= settled && reader_fill(&r->core) == UV_EAGAIN))
      return push_match(L, s, r);
    size_t size = buffer_size(&r->core.buffer);
    if (size > limit) return raise_limit(L, r, "what comes before the end of a match", limit);
    if (r->core.eof && state == SEARCH_NONE) return raise_incomplete(L, r, "a match");
    if (due && now >= due && (late || reader_fill(&r->core) == UV_EAGAIN))
      return state == SEARCH_NONE ? push_late(L, r) : push_match(L, s, r);
    late = due && now >= due; /* what has come in time is looked at, once */
    if (late) continue;
    if (size >= READER_HIGH_WATER / 2 && !r->core.demand) reader_demand(&r->core, limit + 1);
    if (runtime_may_read(rt)) {
      status = LUA_OK;
      if (reader_try(&r->core) != UV_EAGAIN) continue;
      reader_await(&r->core);
      task_park(rt, L, &r->core.readable, earliest(due, settled), ctx, expect_k);
    } else if (task_is_cancelled(rt, L)) {
      reading_end(r);
      return task_raise_wake(rt, L, WAKE_CANCEL);
    } else {
      task_breathe(rt, L, ctx, expect_k);
    }
    status = LUA_YIELD;
  }
}

/* reader:_expect(search, seconds or nil, settle in seconds, limit) */
static int f_expect(lua_State *L) {
  struct lua_reader *r = check_lua_reader(L);
  luaL_checkudata(L, 2, CLASS);
  lua_settop(L, 5);
  uint64_t due = check_due(L, 3);
  lua_Number settle = lua_tonumber(L, 4) * 1e9;
  lua_pushinteger(L, (lua_Integer)due);
  lua_replace(L, 3);
  lua_pushinteger(L, settle < 9e18 ? (lua_Integer)settle : -1);
  lua_replace(L, 4);
  reading_begin(L, runtime_of(L), r);
  return expect_k(L, LUA_OK, 0);
}

/* --- grep; the stack holds: Reader, flags, limit, Search, what each match holds (nil: unknown), whether that is all
 * of the pattern --- */

/* What is buffered of the lines that are looked through. */
struct lines {
  const char *data;
  size_t size;
  size_t from;       /* the lines before do not match */
  size_t start, end; /* of the line that may match; its newline is at end, or the stream's end */
};

/* The first place from l->from on that holds the literal, or l->size. Moves l->from to the beginning of its line. */
static size_t find_literal(struct lua_reader *r, struct lines *l, const char *literal, size_t literal_size) {
  size_t searched = r->core.searched > l->from ? r->core.searched : l->from;
  const char *found = memmem(l->data + searched, l->size - searched, literal, literal_size);
  size_t at = found ? (size_t)(found - l->data) : l->size;
  const char *newline = memrchr(l->data + l->from, '\n', at - l->from);
  if (newline) l->from = (size_t)(newline - l->data) + 1;
  /* Not all of it, where it may have come in part. */
  if (!found) r->core.searched = l->size >= literal_size ? l->size - literal_size + 1 : 0;
  return at;
}

/* The next line that may match. False when none is whole; then l->from is behind all lines that do not match. */
static bool find_line(lua_State *L, struct lua_reader *r, struct lua_search *s, struct lines *l) {
  size_t literal_size = 0;
  const char *literal = lua_tolstring(L, 5, &literal_size);
  uint64_t position = reader_position(&r->core);
  bool is_known = s->hit_end && s->hit >= position + l->from;
  size_t at = is_known ? (size_t)(s->hit - position)
                       : literal ? find_literal(r, l, literal, literal_size) : l->from;
  if (at == l->size) return false;
  size_t looked = is_known ? (size_t)(s->hit_end - position) : at;
  const char *newline = memchr(l->data + looked, '\n', l->size - looked);
  s->hit_end = 0;
  if (!newline && (!r->core.eof || r->core.error)) {
    s->hit = position + at;
    s->hit_end = position + l->size;
    return false;
  }
  l->start = l->from;
  l->end = newline ? (size_t)(newline - l->data) : l->size;
  return true;
}

/* Whether one of the lines in [from, to) is longer than the limit; *from is where it begins then. */
static bool has_long_line(const char *data, size_t *from, size_t to, size_t limit) {
  while (to - *from > limit) {
    const char *newline = memchr(data + *from, '\n', to - *from);
    size_t end = newline ? (size_t)(newline - data) : to;
    if (end - *from > limit) return true;
    *from = newline ? end + 1 : to;
  }
  return false;
}

static int push_line(lua_State *L, struct lua_reader *r, const struct lines *l) {
  size_t end = l->end < l->size ? l->end + 1 : l->end;
  return push_record(L, r, l->data + l->start, l->end - l->start, end - l->start, (int)lua_tointeger(L, 2), end);
}

static int try_grep(lua_State *L, struct lua_reader *r) {
  size_t limit = (size_t)lua_tointeger(L, 3), passed = 0;
  struct lua_search *s = lua_touserdata(L, 4);
  struct lines l = {.data = buffer_data(&r->core.buffer), .size = buffer_size(&r->core.buffer)};
  bool found = false, too_long = false;
  while (!found && find_line(L, r, s, &l)) {
    too_long = has_long_line(l.data, &passed, l.end, limit);
    if (too_long) break;
    found = lua_toboolean(L, 6) || patterns_match(s->patterns, l.data + l.start, l.end - l.start);
    if (!found) passed = l.from = l.end < l.size ? l.end + 1 : l.end;
  }
  if (found) return push_line(L, r, &l);
  too_long = too_long || has_long_line(l.data, &passed, l.size, limit);
  passed = too_long ? passed : l.from;
  if (passed) reader_take(&r->core, passed); /* lines that do not match */
  if (too_long) return raise_limit(L, r, "a line", limit);
  if (!r->core.eof) {
    if (l.size - passed >= READER_HIGH_WATER / 2 && !r->core.demand) reader_demand(&r->core, limit + 1);
    return MORE;
  }
  if (r->core.error) return raise_stream_error(L, r);
  reader_take(&r->core, l.size - passed);
  lua_pushnil(L);
  return 1;
}

/* What `searched` is about is this search then; who searches for something else begins anew. */
static void use_search(struct lua_reader *r, struct lua_search *s) {
  if (r->separator_size == SIZE_MAX && !memcmp(r->separator, &s->serial, sizeof s->serial)) return;
  r->core.searched = 0;
  s->hit_end = 0;
  r->separator_size = SIZE_MAX;
  memcpy(r->separator, &s->serial, sizeof s->serial);
}

static int f_next_match(lua_State *L) {
  lua_settop(L, 0);
  for (int i = 2; i <= 7; i++) lua_pushvalue(L, lua_upvalueindex(i));
  struct lua_reader *r = lua_touserdata(L, 1);
  reading_begin(L, runtime_of(L), r);
  use_search(r, lua_touserdata(L, 4));
  return reading_go_on(L, try_grep);
}

/* reader:_grep(search, plain or nil, flags, limit) → the iterator over lines that match */
static int f_grep(lua_State *L) {
  check_lua_reader(L);
  lua_settop(L, 5);
  struct lua_search *s = luaL_checkudata(L, 2, CLASS);
  bool is_plain = lua_toboolean(L, 3);
  size_t size;
  const char *literal = patterns_literal(s->patterns, &size);
  lua_remove(L, 3);
  lua_rotate(L, 2, -1); /* Reader, flags, limit, Search */
  if (literal) lua_pushlstring(L, literal, size);
  else lua_pushnil(L);
  lua_pushboolean(L, is_plain && literal && !memchr(literal, '\n', size));
  lua_pushlightuserdata(L, runtime_of(L));
  lua_insert(L, 1);
  lua_pushcclosure(L, f_next_match, 7);
  return 1;
}

static const luaL_Reg functions[] = {{"search", f_search}, {NULL, NULL}};
static const luaL_Reg methods[] = {{"_expect", f_expect}, {"_grep", f_grep}, {NULL, NULL}};

void expect_register(lua_State *L, struct runtime *rt) {
  set_functions(L, methods, rt);
  luaL_newmetatable(L, CLASS);
  lua_pushcfunction(L, f_search_gc);
  lua_setfield(L, -2, "__gc");
  lua_pop(L, 1);
  lua_pushvalue(L, -3); /* the module table, below Reader and its methods */
  set_functions(L, functions, rt);
  lua_pop(L, 1);
}
