/* Patterns by example, and against string.find: random patterns, random subjects, fed in random pieces. */
#include "pattern.h"

#include <lauxlib.h>
#include <lualib.h>
#include <stdlib.h>
#include <string.h>

#include "check.h"

#define SEED 20240311u
#define ROUNDS 60000
#define MOST 3 /* patterns at once */

static unsigned random_state = SEED;

static unsigned random_below(unsigned limit) {
  random_state = random_state * 1664525u + 1013904223u;
  return (unsigned)(((unsigned long long)random_state * limit) >> 32);
}

struct text {
  char bytes[512];
  size_t size;
};

static void append(struct text *t, const char *bytes, size_t size) {
  if (size > sizeof t->bytes - 1 - t->size) size = sizeof t->bytes - 1 - t->size;
  for (size_t i = 0; i < size; i++) t->bytes[t->size++] = bytes[i] ? bytes[i] : '\1'; /* \0 would end what is printed */
  t->bytes[t->size] = '\0';
}

static void append_words(struct text *t, const char *words) { append(t, words, strlen(words)); }

static void append_number(struct text *t, const char *before, size_t number) {
  char digits[64];
  append(t, digits, (size_t)snprintf(digits, sizeof digits, "%s%zu", before, number));
}

/* A match in words: "1-3" from 1 up to 3, with captures "1-3:b:@2", and "#1:" before it unless it is of pattern 0. */
static struct text in_words(const struct match *m, const char *subject) {
  struct text t = {0};
  if (!m) return append_words(&t, "none"), t;
  if (m->index) append_number(&t, "#", (size_t)m->index), append_words(&t, ":");
  append_number(&t, "", m->start);
  append_number(&t, "-", m->end);
  for (int i = 0; i < m->count; i++) {
    append_words(&t, ":");
    if (m->captures[i].size == PATTERN_POSITION) append_number(&t, "@", m->captures[i].start);
    else append(&t, subject + m->captures[i].start, m->captures[i].size);
  }
  return t;
}

static bool same(const struct text *actual, const struct text *expected) {
  return actual->size == expected->size && !memcmp(actual->bytes, expected->bytes, actual->size);
}

static struct patterns *one(const char *pattern) {
  struct patterns *p = patterns_new();
  const char *problem = patterns_add(p, pattern, strlen(pattern), false);
  if (!CHECK(problem == NULL)) printf("  %s: %s\n", pattern, problem);
  return p;
}

static struct text search_whole(struct patterns *p, const char *subject, size_t size, size_t piece) {
  struct search *s = search_new(p);
  for (size_t at = 0; at < size; at += piece) search_feed(s, subject + at, size - at < piece ? size - at : piece);
  search_end(s);
  struct text words = in_words(search_match(s), subject);
  search_free(s);
  return words;
}

/* Examples */

static const struct {
  const char *pattern, *subject, *expected;
} examples[] = {
  {"needle", "a needle", "2-8"}, {"needle", "a neednneedle", "7-13"},
  {"", "abc", "0-0"}, {"", "", "0-0"},
  {"a*", "baa", "0-0"}, {"a+", "baaab", "1-4"},
  {"a-b", "caab", "1-4"}, {"(a*)(a-)(a?)", "aaa", "0-3:aaa::"},
  {"(a-)(a*)", "aaa", "0-3::aaa"}, {"(a?)(a?)b", "xab", "1-3:a:"},
  {"(.-)\n", "one\ntwo\n", "0-4:one"}, {"(.*)\n", "one\ntwo\n", "0-8:one\ntwo"},
  {"ERROR%s+(%d+)", "an ERROR  42.", "3-12:42"}, {"(%w+)=((%w+)())", "key=value;", "0-9:key:value:value:@9"},
  {"()b()", "abc", "1-2:@1:@2"}, {"^a", "ba", "none"},
  {"^b(.)", "ba", "0-2:a"}, {"^^b", "^b", "0-2"},
  {"^*", "**", "0-1"}, {"a$", "aba", "2-3"},
  {"a$", "ab", "none"}, {"$", "ab", "2-2"},
  {"^$", "", "0-0"}, {"^$", "a", "none"},
  {"$a", "b$a", "1-3"}, {"(a$)", "a$", "0-2:a$"},
  {"%s*$", "a b  ", "3-5"}, {"[]]", "a]", "1-2"},
  {"[^]a]", "a]b", "2-3"}, {"[a-]+", "b-a-", "1-4"},
  {"[%a-z]", "-", "0-1"}, {"[%]%-]+", "a]-", "1-3"},
  {"[+--]+", "a+,-.", "1-4"}, {"%%%.", "%.", "0-2"},
  {"[^%s]+", "  ab ", "2-4"}, {"%f[%w]%w+%f[%W]", "  ab ", "2-4"},
  {"%f[%w]%w+%f[%W]", "ab", "0-2"}, {"%f[%w]()", "  ab ", "2-2:@2"},
  {"%f[%z]", "ab", "2-2"}, {"b%f[%z]$", "ab", "1-2"},
  {"a.-%f[b]", "acccb", "0-4"},
  {":)", "a:)", "1-3"}, /* as string.find: no magic character, no mistake */
  {"\xe9[\xe0-\xff]", "\xe9\xe9", "0-2"},
};

static void test_examples(void) {
  for (size_t i = 0; i < sizeof examples / sizeof *examples; i++) {
    struct patterns *p = one(examples[i].pattern);
    const char *subject = examples[i].subject;
    struct text expected = {0};
    append_words(&expected, examples[i].expected);
    for (size_t piece = 1; piece < 20; piece++) {
      struct text words = search_whole(p, subject, strlen(subject), piece);
      if (CHECK(same(&words, &expected))) continue;
      printf("  %s in %s: %s, not %s\n", examples[i].pattern, subject, words.bytes, expected.bytes);
    }
    CHECK_EQUAL(patterns_match(p, subject, strlen(subject)), strcmp(examples[i].expected, "none") != 0);
    patterns_free(p);
  }
}

/* A state for each byte fed: '.' none, '~' undecided, '!' found. */
static const struct {
  const char *pattern, *subject, *states;
} progress[] = {
  {"login: ", "login: x", "......!!"},
  {"[Pp]assword:%s?", "password: ", "........~!"},
  {"(.-)\n", "ab\nc\n", "..!!!"},
  {"a+", "baab", ".~~!"},
  {"a-", "aa", "!!"},
  {"a.*", "aa", "~~"},
  {"a$", "aba", "..."},
  {"a%f[b]", "ab", ".!"},
  {"ab?", "aab", "~!!"},
  {"a*b?$", "aab", "..."},
};

static void test_progress(void) {
  for (size_t i = 0; i < sizeof progress / sizeof *progress; i++) {
    struct patterns *p = one(progress[i].pattern);
    struct search *s = search_new(p);
    for (size_t at = 0; progress[i].subject[at]; at++) {
      enum search_state state = search_feed(s, progress[i].subject + at, 1);
      if (!CHECK_EQUAL(".~!"[state], progress[i].states[at])) printf("  %s at %zu\n", progress[i].pattern, at);
      CHECK_EQUAL(search_match(s) != NULL, state != SEARCH_NONE);
      CHECK_EQUAL(search_size(s), at + 1);
    }
    search_restart(s);
    CHECK_EQUAL(search_size(s), 0);
    CHECK_EQUAL(".~!"[search_feed(s, progress[i].subject, 1)], progress[i].states[0]);
    search_free(s);
    patterns_free(p);
  }
}

static const struct {
  const char *pattern, *problem;
} mistakes[] = {
  {"a%", "malformed pattern (ends with '%')"},
  {"[a", "malformed pattern (missing ']')"},
  {"[a%", "malformed pattern (missing ']')"},
  {"[%]", "malformed pattern (missing ']')"},
  {"[]", "malformed pattern (missing ']')"},
  {"[^]", "malformed pattern (missing ']')"},
  {"%f[a", "malformed pattern (missing ']')"},
  {"%fa", "missing '[' after '%f' in pattern"},
  {"%f", "missing '[' after '%f' in pattern"},
  {"(a", "unfinished capture"},
  {"(a))", "invalid pattern capture"},
  {"a)*", "invalid pattern capture"},
  {"()()()()()()()()()()()()()()()()()()()()()()()()()()()()()()()()()", "too many captures"},
  {"%b()", "%b is not possible in a search that goes on with the stream"},
  {"(a)%1", "a back reference (%1) is not possible in a search that goes on with the stream"},
};

static void test_mistakes(void) {
  struct patterns *p = one("b");
  for (size_t i = 0; i < sizeof mistakes / sizeof *mistakes; i++) {
    const char *problem = patterns_add(p, mistakes[i].pattern, strlen(mistakes[i].pattern), false);
    if (CHECK(problem && !strcmp(problem, mistakes[i].problem))) continue;
    printf("  %s: %s\n", mistakes[i].pattern, problem ? problem : "no problem");
  }
  struct text words = search_whole(p, "(a)bc", 5, 5); /* nothing was added */
  CHECK(!strcmp(words.bytes, "3-4"));
  CHECK(patterns_match(p, "b", 1) && !patterns_match(p, "a", 1));
  patterns_free(p);
}

static void test_plain(void) {
  struct patterns *p = patterns_new();
  CHECK(patterns_add(p, "%d.\0(", 5, true) == NULL);
  CHECK(patterns_match(p, "a%d.\0(b", 7));
  CHECK(!patterns_match(p, "a%d.", 4) && !patterns_match(p, "1x\0(", 4));
  struct text words = search_whole(p, "%d%d.%d.\0(", 10, 3);
  CHECK(!strcmp(words.bytes, "5-10"));
  patterns_free(p);
}

static void test_literal(void) {
  static const char *const literals[][2] = {
    {"needle", "needle"}, {"ERROR%s+(%d+)", "ERROR"}, {"^(a)b[c]()%.$", "abc."}, {"ab?cde*fg", "cd"},
    {"%f[%w]ab%f[%W]", "ab"}, {"ab+c", "ab"}, {"%d+", NULL}, {"a*", NULL}, {"", NULL}, {"[ab]", NULL}};
  for (size_t i = 0; i < sizeof literals / sizeof *literals; i++) {
    struct patterns *p = one(literals[i][0]);
    size_t size = 0;
    const char *literal = patterns_literal(p, &size), *expected = literals[i][1];
    CHECK(expected ? literal && size == strlen(expected) && !memcmp(literal, expected, size) : !literal);
    CHECK(patterns_add(p, "x", 1, false) == NULL);
    CHECK(patterns_literal(p, &size) == NULL); /* of several there is none */
    patterns_free(p);
  }
}

/* Up to more items than fit into the bits of a number, and prefixes that come in part. */
static void test_sizes(void) {
  char pattern[130], subject[400], expected[32];
  memset(pattern, 'a', sizeof pattern);
  memset(subject, 'a', sizeof subject);
  subject[sizeof subject - 1] = 'b';
  for (size_t size = 1; size < sizeof pattern; size += size < 4 || (size > 60 && size < 68) ? 1 : 3) {
    pattern[size - 1] = 'b';
    struct patterns *p = patterns_new();
    CHECK(patterns_add(p, pattern, size, false) == NULL);
    snprintf(expected, sizeof expected, "%zu-400", sizeof subject - size);
    for (size_t piece = 1; piece < 300; piece += 23) {
      CHECK(!strcmp(search_whole(p, subject, sizeof subject, piece).bytes, expected));
    }
    CHECK(patterns_match(p, subject, sizeof subject) && !patterns_match(p, subject, sizeof subject - 1));
    patterns_free(p);
    pattern[size - 1] = 'a';
  }
}

/* Nothing that takes the square of this ends while one waits. */
static void test_linear(void) {
  static const char *const patterns[] = {
    "a.-x", "a*a*a*x", ".-.-.-x", "(a*)(a*)x", "a+x$", "%a%f[x]", "a?a?a?a?a?a?a?a?aaaaaaaax", "a[bc][bc]?[^a]-[bc]+x"};
  size_t size = 1 << 19;
  char *same_bytes = malloc(size), *mixed = malloc(size);
  memset(same_bytes, 'a', size);
  for (size_t i = 0; i < size; i++) mixed[i] = "aabbb"[i % 5];
  for (size_t i = 0; i < sizeof patterns / sizeof *patterns; i++) {
    struct patterns *p = one(patterns[i]);
    CHECK(!strcmp(search_whole(p, same_bytes, size, 4096).bytes, "none"));
    CHECK(!strcmp(search_whole(p, mixed, size, size).bytes, "none"));
    CHECK(!patterns_match(p, same_bytes, size) && !patterns_match(p, mixed, size));
    patterns_free(p);
  }
  free(same_bytes);
  free(mixed);
}

/* Against string.find */

static const char *const singles[] = {
  "a", "a", "b", "c", "1", ".", "%a", "%d", "%s", "%W", "%.", "%z",
  "[ab]", "[^a]", "[a-c]", "[%d_]", "[^%w]", "[]b]", "[^^]", "[b-]"};
static const char *const frontiers[] = {"%f[%w]", "%f[%W]", "%f[a]", "%f[^a]", "%f[%z]", "%f[b1]"};

struct sample {
  char pattern[128];
  size_t size;
  bool looks_ahead; /* what it finds in a part may not be what it finds in the whole */
};

static void add_part(struct sample *s, const char *part) {
  memcpy(s->pattern + s->size, part, strlen(part));
  s->size += strlen(part);
}

static struct sample random_sample(unsigned parts, unsigned repeated) {
  struct sample s = {0};
  unsigned open = 0;
  if (random_below(8) == 0) add_part(&s, "^");
  for (unsigned i = 0; i < parts; i++) {
    unsigned what = random_below(16);
    if (what == 0) add_part(&s, "()");
    if (what == 1 || what == 2) add_part(&s, "("), open++;
    if (what == 3) add_part(&s, frontiers[random_below(6)]), s.looks_ahead = true;
    add_part(&s, singles[random_below(sizeof singles / sizeof *singles)]);
    if (repeated && random_below(2)) add_part(&s, (const char *[]){"*", "+", "-", "?"}[random_below(4)]), repeated--;
    if (open && random_below(2)) add_part(&s, ")"), open--;
  }
  for (; open; open--) add_part(&s, ")");
  if (random_below(8) == 0) add_part(&s, "$"), s.looks_ahead = true;
  return s;
}

static struct sample random_garbage(void) {
  struct sample s = {.size = random_below(9), .looks_ahead = true};
  for (size_t i = 0; i < s.size; i++) s.pattern[i] = "aab%%[]^$()*+-?.fd"[random_below(19)];
  return s;
}

struct find {
  struct text words;
  size_t start;
  const char *error;
};

/* string.find, its result put in words like a match of pattern `index`. */
static struct find lua_find(lua_State *L, const struct sample *s, size_t index, const char *subject, size_t size) {
  struct find f = {.start = SIZE_MAX};
  lua_settop(L, 1); /* 1: string.find */
  lua_pushvalue(L, 1);
  lua_pushlstring(L, subject, size);
  lua_pushlstring(L, s->pattern, s->size);
  if (lua_pcall(L, 2, LUA_MULTRET, 0)) {
    f.error = lua_tostring(L, -1);
  } else if (lua_isnil(L, 2)) {
    append_words(&f.words, "none");
  } else {
    f.start = (size_t)lua_tointeger(L, 2) - 1;
    if (index) append_number(&f.words, "#", index), append_words(&f.words, ":");
    append_number(&f.words, "", f.start);
    append_number(&f.words, "-", (size_t)lua_tointeger(L, 3));
    for (int i = 4; i <= lua_gettop(L); i++) {
      size_t capture_size;
      append_words(&f.words, ":");
      if (lua_type(L, i) == LUA_TNUMBER) append_number(&f.words, "@", (size_t)lua_tointeger(L, i) - 1);
      else append(&f.words, lua_tolstring(L, i, &capture_size), lua_rawlen(L, i));
    }
  }
  return f;
}

struct trial {
  struct sample samples[MOST];
  size_t count;
  char subject[128];
  size_t size;
};

static struct find lua_find_first(lua_State *L, const struct trial *t, size_t size) {
  struct find best = lua_find(L, &t->samples[0], 0, t->subject, size);
  for (size_t i = 1; i < t->count; i++) {
    struct find f = lua_find(L, &t->samples[i], i, t->subject, size);
    if (f.start < best.start) best = f;
  }
  return best;
}

static bool same_as(const struct find *expected, const struct match *match, const struct trial *t) {
  struct text words = in_words(match, t->subject);
  if (CHECK(same(&words, &expected->words))) return true;
  printf("  in '%.*s': %s, not %s\n", (int)t->size, t->subject, words.bytes, expected->words.bytes);
  for (size_t i = 0; i < t->count; i++) printf("  %.*s\n", (int)t->samples[i].size, t->samples[i].pattern);
  return false;
}

static bool search_like_find(lua_State *L, struct search *s, const struct trial *t) {
  struct find whole = lua_find_first(L, t, t->size);
  bool looks_ahead = false;
  for (size_t i = 0; i < t->count; i++) looks_ahead = looks_ahead || t->samples[i].looks_ahead;
  search_restart(s);
  for (size_t at = 0; at < t->size;) {
    size_t piece = 1 + random_below((unsigned)(t->size - at));
    if (random_below(2) && piece > 2) piece = 2;
    enum search_state state = search_feed(s, t->subject + at, piece);
    at += piece;
    if (state == SEARCH_FOUND && !same_as(&whole, search_match(s), t)) return false;
    if (looks_ahead) continue;
    struct find part = lua_find_first(L, t, at);
    if (!same_as(&part, search_match(s), t)) return false;
  }
  search_end(s);
  return same_as(&whole, search_match(s), t);
}

static bool match_like_find(lua_State *L, struct patterns *p, const struct trial *t) {
  bool expected = lua_find_first(L, t, t->size).start != SIZE_MAX;
  size_t size = 0;
  const char *literal = patterns_literal(p, &size);
  if (CHECK(patterns_match(p, t->subject, t->size) == expected) &&
      CHECK(!expected || !literal || memmem(t->subject, t->size, literal, size))) return true;
  printf("  '%.*s' in '%.*s'\n", (int)t->samples[0].size, t->samples[0].pattern, (int)t->size, t->subject);
  return false;
}

static bool compare(lua_State *L, const struct trial *t, bool large) {
  struct patterns *p = patterns_new();
  for (size_t i = 0; i < t->count; i++) patterns_add(p, t->samples[i].pattern, t->samples[i].size, false);
  char never[80] = {'z'};
  if (large) patterns_add(p, never, sizeof never, true); /* too much for the quick ways */
  struct search *s = search_new(p);
  bool ok = search_like_find(L, s, t) && match_like_find(L, p, t);
  search_free(s);
  patterns_free(p);
  return ok;
}

static void random_subject(struct trial *t, unsigned size) {
  t->size = random_below(size);
  for (size_t i = 0; i < t->size; i++) t->subject[i] = "aaaabbc1. \0_^]-"[random_below(15)];
}

static void test_like_find(lua_State *L) {
  printf("seed %u\n", SEED);
  for (int round = 0; round < ROUNDS; round++) {
    bool is_long = round % 4 == 0; /* then less to repeat, or string.find takes its time */
    struct trial t = {.count = round % 3 ? 1 : 1 + random_below(MOST)};
    for (size_t i = 0; i < t.count; i++) t.samples[i] = random_sample(random_below(6), is_long ? 2 : 6);
    random_subject(&t, is_long ? 100 : 16);
    if (!compare(L, &t, round % 5 == 0)) break;
  }
}

/* What string.find refuses may be refused before it comes to it; what it accepts is accepted. */
static bool compare_garbage(lua_State *L, const struct trial *t) {
  const struct sample *sample = &t->samples[0];
  struct find f = lua_find(L, sample, 0, t->subject, t->size);
  struct patterns *p = patterns_new();
  const char *problem = patterns_add(p, sample->pattern, sample->size, false);
  patterns_free(p);
  bool ok = CHECK(!f.error || problem);
  if (ok && f.error && !strstr(problem, "is not possible")) ok = CHECK(strstr(f.error, problem) != NULL);
  if (ok && !problem) return compare(L, t, false);
  if (!ok) printf("  %.*s: %s, not %s\n", (int)sample->size, sample->pattern, problem, f.error);
  return ok;
}

static void test_garbage_like_find(lua_State *L) {
  for (int round = 0; round < ROUNDS; round++) {
    struct trial t = {.samples = {random_garbage()}, .count = 1};
    random_subject(&t, 10);
    if (!compare_garbage(L, &t)) break;
  }
}

int main(void) {
  test_examples();
  test_progress();
  test_mistakes();
  test_plain();
  test_literal();
  test_sizes();
  test_linear();
  lua_State *L = luaL_newstate();
  luaL_openlibs(L);
  lua_getglobal(L, "string");
  lua_getfield(L, -1, "find");
  lua_replace(L, 1);
  test_like_find(L);
  test_garbage_like_find(L);
  lua_close(L);
  return check_summary();
}
