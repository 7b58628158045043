/* Reader, continued: by separator (lines, records, count) and by format (CSV, JSON). */
#include <stdlib.h>
#include <string.h>

#include "lstream.h"

enum { CLEAN = TEXT_UTF8 | TEXT_ANSI };

void clean_text(lua_State *L, int flags) {
  size_t size;
  const char *data = lua_tolstring(L, -1, &size);
  if (!flags || text_is_clean(data, size, flags)) return;
  luaL_Buffer b;
  char *room = luaL_buffinitsize(L, &b, size * 3);
  luaL_pushresultsize(&b, text_clean(data, size, flags, room));
  lua_remove(L, -2);
}

/* A record that may have to be cleaned: with its end, of which the CR may be part, and then without. */
static void push_cleaned(lua_State *L, const char *data, size_t at, size_t size, int flags) {
  bool is_line = size == at + 1 && data[at] == '\n';
  lua_pushlstring(L, data, is_line || flags & RECORD_KEEP ? size : at);
  clean_text(L, flags & (CLEAN | TEXT_CRLF));
  if (!is_line || flags & RECORD_KEEP) return;
  const char *line = lua_tolstring(L, -1, &size);
  if (!size || line[size - 1] != '\n') return;
  lua_pushlstring(L, line, size - 1);
  lua_remove(L, -2);
}

int push_record(lua_State *L, struct lua_reader *r, const char *data, size_t at, size_t size, int flags, size_t taken) {
  r->pushing = true;
  if (flags & (CLEAN | TEXT_CRLF)) push_cleaned(L, data, at, size, flags);
  else lua_pushlstring(L, data, flags & RECORD_KEEP ? size : at);
  r->pushing = false;
  reader_take(&r->core, taken);
  return 1;
}

/* --- options: { keep, crlf, utf8, ansi, limit } --- */

static bool boolean_option(lua_State *L, int index, const char *what, const char *name) {
  if (!lua_isboolean(L, index))
    raise_argument(L, index, lua_pushfstring(L, "%s: option '%s'", what, name), "true or false");
  return lua_toboolean(L, index);
}

static int word_option(lua_State *L, int index, const char *what, const char *name, const char *word, int flag) {
  const char *value = lua_type(L, index) == LUA_TSTRING ? lua_tostring(L, index) : "";
  if (strcmp(value, word))
    raise_argument(L, index, lua_pushfstring(L, "%s: option '%s'", what, name), lua_pushfstring(L, "\"%s\"", word));
  return flag;
}

static lua_Integer size_option(lua_State *L, int index, const char *what, const char *name) {
  int is_integer;
  lua_Integer size = lua_tointegerx(L, index, &is_integer);
  if (!is_integer || size < 0 || lua_type(L, index) != LUA_TNUMBER)
    raise_argument(L, index, lua_pushfstring(L, "%s: option '%s'", what, name), "a number of bytes (0 or more)");
  return size;
}

/* Pushes flags and limit from the options table at `index` (or nil). `extra` names one option more that is true or
 * false ("crlf" for lines) and sets `extra_flag`; NULL: none. */
static void push_options(lua_State *L, int index, const char *what, const char *extra, int extra_flag) {
  lua_Integer flags = 0, limit = LINE_LIMIT;
  if (!lua_isnoneornil(L, index)) {
    if (!lua_istable(L, index)) raise_argument(L, index, what, "a table of options");
    lua_pushnil(L);
    int key = lua_gettop(L), value = key + 1;
    while (lua_next(L, index)) {
      const char *name = lua_type(L, key) == LUA_TSTRING ? lua_tostring(L, key) : "";
      if (!strcmp(name, "keep")) flags |= boolean_option(L, value, what, name) ? RECORD_KEEP : 0;
      else if (extra && !strcmp(name, extra)) flags |= boolean_option(L, value, what, name) ? extra_flag : 0;
      else if (!strcmp(name, "utf8")) flags |= word_option(L, value, what, name, "replace", TEXT_UTF8);
      else if (!strcmp(name, "ansi")) flags |= word_option(L, value, what, name, "strip", TEXT_ANSI);
      else if (!strcmp(name, "limit")) limit = size_option(L, value, what, name);
      else
        raise_argument(L, key, lua_pushfstring(L, "%s: option", what),
                       lua_pushfstring(L, "'keep',%s%s%s 'utf8', 'ansi' or 'limit'", extra ? " '" : "",
                                       extra ? extra : "", extra ? "'," : ""));
      lua_pop(L, 1);
    }
  }
  lua_pushinteger(L, flags);
  lua_pushinteger(L, limit);
}

/* --- by separator; the stack holds: Reader, flags, limit, separator (nil: newline), whether the last needs one --- */

/* Remembers the separator; what was searched for another one has to be searched again. */
static void use_separator(struct lua_reader *r, const char *sep, size_t size) {
  if (r->separator_size == size && size <= SEPARATOR_KEPT && !memcmp(r->separator, sep, size)) return;
  r->core.searched = 0;
  r->separator_size = size;
  if (size <= SEPARATOR_KEPT) memcpy(r->separator, sep, size);
}

static int try_record(lua_State *L, struct lua_reader *r) {
  int flags = (int)lua_tointeger(L, 2);
  size_t limit = (size_t)lua_tointeger(L, 3), sep_size = 1;
  bool is_line = lua_isnil(L, 4);
  const char *sep = is_line ? "\n" : lua_tolstring(L, 4, &sep_size);
  size_t at = reader_find(&r->core, sep, sep_size);
  const char *data = buffer_data(&r->core.buffer);
  if (at != SIZE_MAX && at <= limit) return push_record(L, r, data, at, at + sep_size, flags, at + sep_size);
  size_t size = buffer_size(&r->core.buffer);
  if (at != SIZE_MAX || size > limit + sep_size - 1) return raise_limit(L, r, is_line ? "a line" : "a record", limit);
  if (!r->core.eof) {
    /* Room for the separator and one byte more, which proves that there is none within the limit. */
    if (size >= READER_HIGH_WATER / 2 && !r->core.demand) reader_demand(&r->core, limit + sep_size + 1);
    return MORE;
  }
  if (size > limit) return raise_limit(L, r, is_line ? "a line" : "a record", limit);
  if (r->core.error) return raise_stream_error(L, r);
  if (lua_toboolean(L, 5)) return raise_incomplete(L, r, "a separator");
  if (size) return push_record(L, r, data, size, size, flags, size);
  lua_pushnil(L);
  return 1;
}

static const char *check_separator(lua_State *L, int index, const char *what, size_t *size) {
  const char *sep = lua_type(L, index) == LUA_TSTRING ? lua_tolstring(L, index, size) : NULL;
  if (!sep || !*size) raise_argument(L, index, what, "a separator of one byte or more");
  return sep;
}

/* Makes the stack that try_record wants of Reader and options, for lines. */
static struct lua_reader *prepare_line(lua_State *L, const char *what) {
  struct lua_reader *r = check_lua_reader(L);
  lua_settop(L, 2);
  push_options(L, 2, what, "crlf", TEXT_CRLF);
  lua_remove(L, 2);
  lua_pushnil(L);
  lua_pushboolean(L, 0);
  return r;
}

/* The same of Reader, separator and options. */
static struct lua_reader *prepare_record(lua_State *L, const char *what, bool needs_end) {
  struct lua_reader *r = check_lua_reader(L);
  size_t size = 0;
  lua_settop(L, 3);
  check_separator(L, 2, what, &size);
  push_options(L, 3, what, NULL, 0);
  lua_remove(L, 3);
  lua_rotate(L, 2, -1); /* Reader, flags, limit, separator */
  lua_pushboolean(L, needs_end);
  return r;
}

/* Reads what the stack says, which try_record wants. */
static int read_record(lua_State *L, struct lua_reader *r) {
  size_t size = 1;
  const char *sep = lua_isnil(L, 4) ? "\n" : lua_tolstring(L, 4, &size);
  reading_begin(L, runtime_of(L), r);
  use_separator(r, sep, size);
  return reading_go_on(L, try_record);
}

static int f_read_line(lua_State *L) { return read_record(L, prepare_line(L, "read_line")); }
static int f_read_until(lua_State *L) { return read_record(L, prepare_record(L, "read_until", true)); }

/* reader:_try_line(options) → line | nil at the end | false when there is none yet */
static int f_try_line(lua_State *L) {
  struct lua_reader *r = prepare_line(L, "lines");
  reading_begin(L, runtime_of(L), r);
  use_separator(r, "\n", 1);
  int results = try_record(L, r);
  r->owner = NULL;
  if (results != MORE) return results;
  lua_pushboolean(L, 0);
  return 1;
}

/* The iterators: upvalues are runtime, and what lies on the stack of try_record. */
static int push_iterator(lua_State *L, lua_CFunction next) {
  lua_pushlightuserdata(L, runtime_of(L));
  lua_insert(L, 1);
  lua_pushcclosure(L, next, lua_gettop(L));
  return 1;
}

static void push_upvalues(lua_State *L, int count) {
  lua_settop(L, 0);
  for (int i = 0; i < count; i++) lua_pushvalue(L, lua_upvalueindex(2 + i));
}

/* What the upvalues of a line iterator say, where it costs nothing to look. */
struct line_iterator {
  struct runtime *runtime;
  struct lua_reader *reader;
  int flags;
  size_t limit;
};

/* The hot path of corun: a line that is in the buffer costs a memchr and the string. False where it is not that easy.
 */
static inline bool push_line_at_once(lua_State *L, const struct line_iterator *it) {
  struct lua_reader *r = it->reader;
  const struct task *current = it->runtime->current;
  if (r->owner || r->pushing || !current || current->cancelled) return false;
  if (r->separator_size != 1 || *r->separator != '\n') return false;
  struct buffer *b = &r->core.buffer;
  const char *data = buffer_data(b);
  size_t size = buffer_size(b), searched = r->core.searched;
  const char *newline = searched < size ? memchr(data + searched, '\n', size - searched) : NULL;
  if (!newline) return false;
  size_t at = (size_t)(newline - data);
  if (at > it->limit) return false;
  if (it->flags) return push_record(L, r, data, at, at + 1, it->flags, at + 1);
  r->pushing = true;
  lua_pushlstring(L, data, at);
  r->pushing = false;
  if (at + 1 < size && buffer_size(b) == size && reader_has_slack(&r->core)) { /* all that reader_take would do */
    b->start += at + 1;
    r->core.searched = 0;
  } else {
    reader_take(&r->core, at + 1);
  }
  return true;
}

static int f_next_line(lua_State *L) {
  if (push_line_at_once(L, lua_touserdata(L, lua_upvalueindex(7)))) return 1;
  push_upvalues(L, 5);
  return read_record(L, lua_touserdata(L, 1));
}

/* reader:lines(options); corun's own callers add the name that an error of the options shows. */
static int f_lines(lua_State *L) {
  struct lua_reader *r = prepare_line(L, lua_isstring(L, 3) ? lua_tostring(L, 3) : "lines");
  struct line_iterator *it = lua_newuserdatauv(L, sizeof *it, 0);
  *it = (struct line_iterator){runtime_of(L), r, (int)lua_tointeger(L, 2), (size_t)lua_tointeger(L, 3)};
  return push_iterator(L, f_next_line);
}

static int f_next_record(lua_State *L) {
  push_upvalues(L, 5);
  return read_record(L, lua_touserdata(L, 1));
}

static int f_records(lua_State *L) {
  prepare_record(L, "records", false);
  return push_iterator(L, f_next_record);
}

/* --- count; the stack holds: Reader, separator, how many so far, whether bytes came after the last separator --- */

/* Many times the speed of a memchr for each where lines are short: sixteen bytes a step. */
static size_t count_byte(const char *data, size_t size, char byte) {
  typedef unsigned char block __attribute__((vector_size(16)));
  block wanted;
  memset(&wanted, byte, sizeof wanted);
  size_t count = 0;
  while (size >= sizeof(block)) {
    size_t steps = size / sizeof(block) < 255 ? size / sizeof(block) : 255; /* what a byte can count */
    block sum = {0};
    for (size_t i = 0; i < steps; i++, data += sizeof(block)) {
      block bytes;
      memcpy(&bytes, data, sizeof bytes);
      sum -= (block)(bytes == wanted); /* true is -1 */
    }
    for (size_t i = 0; i < sizeof(block); i++) count += sum[i];
    size -= steps * sizeof(block);
  }
  for (; size; size--) count += *data++ == byte;
  return count;
}

/* Counts in the buffer; *end is behind the last separator, or 0. */
static size_t count_separators(struct lua_reader *r, const char *sep, size_t sep_size, size_t *end) {
  const char *data = buffer_data(&r->core.buffer);
  size_t size = buffer_size(&r->core.buffer), count = 0;
  if (sep_size == 1) {
    const char *last = memrchr(data, *sep, size);
    *end = last ? (size_t)(last - data) + 1 : 0;
    return count_byte(data, *end, *sep);
  }
  *end = 0;
  for (const char *at; (at = memmem(data + *end, size - *end, sep, sep_size)); count++)
    *end = (size_t)(at - data) + sep_size;
  return count;
}

static int try_count(lua_State *L, struct lua_reader *r) {
  size_t sep_size, end;
  const char *sep = lua_tolstring(L, 2, &sep_size);
  lua_Integer count = lua_tointeger(L, 3) + (lua_Integer)count_separators(r, sep, sep_size, &end);
  size_t size = buffer_size(&r->core.buffer), rest = size - end;
  /* What may be the beginning of a separator stays. */
  if (r->core.eof) rest = 0;
  else if (rest > sep_size - 1) rest = sep_size - 1;
  bool open = size - rest > end || (!end && lua_toboolean(L, 4));
  if (size) reader_take(&r->core, size - rest);
  lua_pushinteger(L, count);
  lua_replace(L, 3);
  lua_pushboolean(L, open);
  lua_replace(L, 4);
  if (!r->core.eof) return MORE;
  if (r->core.error) return raise_stream_error(L, r);
  lua_pushinteger(L, count + open);
  return 1;
}

static int f_count(lua_State *L) {
  struct lua_reader *r = check_lua_reader(L);
  size_t size = 0;
  lua_settop(L, 2);
  if (lua_isnil(L, 2)) {
    lua_pushliteral(L, "\n");
    lua_replace(L, 2);
  }
  check_separator(L, 2, "count", &size);
  lua_pushinteger(L, 0);
  lua_pushboolean(L, 0);
  return operate(L, r, try_count);
}

/* --- formats --- */

/* Raises the error of a bad record; the record is taken, so that the next can be read. */
static int raise_record(lua_State *L, struct lua_reader *r, const char *kind, const char *problem, lua_Integer number,
                        uint64_t offset) {
  reading_end(r);
  runtime_push_hook(L, "record_error");
  lua_pushstring(L, kind);
  lua_pushstring(L, "CSV");
  lua_pushstring(L, problem);
  lua_pushinteger(L, number);
  lua_pushinteger(L, (lua_Integer)offset);
  lua_call(L, 5, 1);
  return lua_error(L);
}

/* Where an iterator over CSV stands. */
struct csv_place {
  struct csv_scan scan;
  uint64_t position; /* of the record that is scanned */
  lua_Integer number;
};

static void push_field(lua_State *L, const struct csv_field *field) {
  if (!field->doubled) {
    lua_pushlstring(L, field->data, field->size);
    return;
  }
  luaL_Buffer b;
  luaL_buffinit(L, &b);
  const char *data = field->data, *end = data + field->size;
  for (const char *quote; (quote = memchr(data, '"', (size_t)(end - data))); data = quote + 2)
    luaL_addlstring(&b, data, (size_t)(quote - data) + 1);
  luaL_addlstring(&b, data, (size_t)(end - data));
  luaL_pushresult(&b);
}

/* Of the record that lies on top of the stack as a string. */
static void push_fields(lua_State *L, char separator) {
  size_t size;
  const char *record = lua_tolstring(L, -1, &size);
  lua_newtable(L);
  struct csv_field field;
  size_t at = 0;
  for (lua_Integer i = 1; csv_next(record, size, separator, &at, &field); i++) {
    push_field(L, &field);
    lua_rawseti(L, -2, i);
  }
}

static void next_csv(struct csv_place *c, struct lua_reader *r, size_t size) {
  c->scan = (struct csv_scan){0};
  reader_take(&r->core, size);
  c->position = reader_position(&r->core);
}

#define BOM "\xEF\xBB\xBF"

/* What spreadsheets write before UTF-8 is no part of the first field. False where more bytes are needed. */
static bool skip_bom(struct csv_place *c, struct lua_reader *r) {
  size_t size = buffer_size(&r->core.buffer);
  if (c->position || memcmp(buffer_data(&r->core.buffer), BOM, size < 3 ? size : 3)) return true;
  if (size < 3) return r->core.eof;
  next_csv(c, r, 3);
  return true;
}

/* The stack holds: Reader, limit, the place, the separator. */
static int try_csv(lua_State *L, struct lua_reader *r) {
  size_t limit = (size_t)lua_tointeger(L, 2);
  struct csv_place *c = lua_touserdata(L, 3);
  char separator = *lua_tostring(L, 4);
  if (c->position != reader_position(&r->core)) next_csv(c, r, 0); /* others have read meanwhile */
  if (!skip_bom(c, r)) return MORE;
  for (;;) {
    const char *data = buffer_data(&r->core.buffer);
    size_t size = buffer_size(&r->core.buffer);
    size_t record = csv_scan(&c->scan, data, size, separator, r->core.eof && !r->core.error);
    if (record ? csv_content(data, record) > limit : size > limit + 2) {
      c->scan = (struct csv_scan){0};
      return raise_limit(L, r, "a record", limit);
    }
    if (!record && !r->core.eof) {
      if (size >= READER_HIGH_WATER / 2 && !r->core.demand) reader_demand(&r->core, limit + 3);
      return MORE;
    }
    if (!record && r->core.error) return raise_stream_error(L, r);
    if (!record) {
      lua_pushnil(L);
      return 1;
    }
    struct csv_scan scan = c->scan;
    uint64_t offset = c->position;
    bool is_empty = !scan.bad && csv_content(data, record) == 0;
    r->pushing = true;
    if (!scan.bad && !is_empty) lua_pushlstring(L, data, record);
    r->pushing = false;
    next_csv(c, r, record);
    if (is_empty) continue;
    c->number++;
    if (scan.bad) return raise_record(L, r, scan.cut ? "incomplete" : "io", scan.bad, c->number, offset);
    push_fields(L, separator);
    lua_pushinteger(L, c->number);
    lua_pushinteger(L, (lua_Integer)offset);
    return 3;
  }
}

static int f_next_csv(lua_State *L) {
  push_upvalues(L, 4);
  return operate(L, lua_touserdata(L, 1), try_csv);
}

/* reader:_csv(limit, separator) → an iterator: fields, number, offset */
static int f_csv(lua_State *L) {
  struct lua_reader *r = check_lua_reader(L);
  lua_settop(L, 3);
  struct csv_place *c = lua_newuserdatauv(L, sizeof *c, 0);
  *c = (struct csv_place){.position = reader_position(&r->core)};
  lua_insert(L, 3);
  return push_iterator(L, f_next_csv);
}

/* The white space before a document is passed over, and taken. */
static void begin_document(struct lua_reader *r) {
  r->json = (struct json_scan){0};
  reader_take(&r->core, json_blank(buffer_data(&r->core.buffer), buffer_size(&r->core.buffer)));
  r->json_from = reader_position(&r->core);
}

/* The stack holds: Reader, limit. → text of the next JSON document, its number, its offset, whether the stream has
 * ended in it; nil at the end. */
static int try_document(lua_State *L, struct lua_reader *r) {
  size_t limit = (size_t)lua_tointeger(L, 2);
  if (!r->json.at || r->json_from != reader_position(&r->core)) begin_document(r);
  const char *data = buffer_data(&r->core.buffer);
  size_t size = buffer_size(&r->core.buffer);
  size_t document = json_scan(&r->json, data, size, r->core.eof && !r->core.error);
  struct json_scan scan = r->json;
  if ((document ? document : size) > limit) {
    r->json = (struct json_scan){0};
    return raise_limit(L, r, "a document", limit);
  }
  if (!document && !r->core.eof) {
    if (size >= READER_HIGH_WATER / 2 && !r->core.demand) reader_demand(&r->core, limit + 1);
    return MORE;
  }
  r->json = (struct json_scan){0};
  if (!document && r->core.error) return raise_stream_error(L, r);
  if (!document) {
    lua_pushnil(L);
    return 1;
  }
  push_front(L, r, document, 0);
  lua_pushinteger(L, ++r->documents);
  lua_pushinteger(L, (lua_Integer)r->json_from);
  lua_pushboolean(L, scan.cut);
  return 4;
}

/* reader:_document(limit) */
static int f_document(lua_State *L) {
  struct lua_reader *r = check_lua_reader(L);
  lua_settop(L, 2);
  return operate(L, r, try_document);
}

/* core.clean(string, flags) → the string cleaned as these flags of text.h say */
static int f_clean(lua_State *L) {
  luaL_checkstring(L, 1);
  int flags = (int)luaL_checkinteger(L, 2);
  lua_settop(L, 1);
  clean_text(L, flags);
  return 1;
}

static const luaL_Reg functions[] = {{"clean", f_clean}, {NULL, NULL}};
static const luaL_Reg methods[] = {
    {"read_line", f_read_line}, {"read_until", f_read_until}, {"lines", f_lines},       {"records", f_records},
    {"count", f_count},         {"_try_line", f_try_line},    {"_csv", f_csv},          {"_document", f_document},
    {NULL, NULL}};

void records_register(lua_State *L, struct runtime *rt) {
  set_functions(L, methods, rt);
  lua_pushvalue(L, -3); /* the module table, below Reader and its methods */
  set_functions(L, functions, rt);
  lua_pop(L, 1);
}
