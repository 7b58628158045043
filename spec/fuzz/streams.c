/* Fuzzes what streams are made of: buffer, separator search, CSV, JSON, text and patterns. However the bytes are cut,
 * the result has to be the same as of the whole. The first byte of an input says what is fuzzed, the second how it is
 * cut. A target of libFuzzer: see scripts/dev/fuzz. */
#include <fcntl.h>
#include <unistd.h>

#include <lauxlib.h>
#include <lualib.h>

#include "fuzz.h"
#include "reader.h"
#include "records.h"
#include "text.h"

static struct loop loop;
static lua_State *lua; /* 1: utf8.len, 2: string.find */

/* --- buffer: the byte at place i of the stream is always the same, so the model is two numbers --- */

static char byte_at(size_t place) { return (char)(place * 31 + (place >> 8) + (place >> 16)); }

static void check_buffer(struct input *in, const struct buffer *b, size_t taken, size_t came) {
  size_t size = buffer_size(b);
  REQUIRE(size == came - taken && (b->block ? b->end <= b->capacity : size == 0));
  for (size_t i = 0; i < 16 && size; i++) {
    size_t at = i < 4 ? i % size : i < 8 ? size - 1 - i % size : random_below(in, size);
    REQUIRE(buffer_data(b)[at] == byte_at(taken + at));
  }
}

static void fuzz_buffer(struct input *in) {
  struct buffer b = {0};
  size_t taken = 0, came = 0;
  while (in->size) {
    unsigned what = take_byte(in);
    size_t size = (size_t)take_byte(in) << (what >> 4) % 11, held = buffer_size(&b);
    switch (what % 4) {
    case 0: {
      char *room = buffer_reserve(&loop, &b, size + 1);
      REQUIRE(room && buffer_room(&b) > size && buffer_size(&b) == held);
      size_t n = random_below(in, buffer_room(&b) + 1);
      if (held + n > 1 << 20) n = 0;
      for (size_t i = 0; i < n; i++) room[i] = byte_at(came++);
      if (n) buffer_commit(&b, n);
      else buffer_take(&loop, &b, 0);
      break;
    }
    case 1: {
      char *more = malloc(size);
      for (size_t i = 0; i < size; i++) more[i] = byte_at(came + i);
      if (held + size <= 1 << 20 && buffer_append(&loop, &b, more, size) == 0) came += size;
      free(more);
      break;
    }
    default:
      if (size > held) size = held;
      buffer_take(&loop, &b, size);
      taken += size;
    }
    check_buffer(in, &b, taken, came);
  }
  buffer_free(&loop, &b);
}

/* --- buffer and separator search: a Reader over a pipe, with a copy --- */

static void check_find(struct reader *r, struct input separator) {
  size_t expected = find_plainly(buffer_data(&r->buffer), buffer_size(&r->buffer), separator.data, separator.size);
  REQUIRE(reader_find(r, separator.data, separator.size) == expected);
}

/* What a caller of reader_find does, and others do in between; returns how many bytes were taken. */
static size_t use_reader(struct input *in, struct reader *r, struct input *separator, const struct input *separators) {
  size_t size = buffer_size(&r->buffer), taken = 0;
  switch (random_below(in, 8)) {
  case 0:
    *separator = separators[random_below(in, 2)];
    r->searched = 0;
    break;
  case 1:
    taken = random_below(in, size + 1);
    reader_take(r, taken);
    break;
  default: {
    check_find(r, *separator);
    size_t at = reader_find(r, separator->data, separator->size);
    if (at == SIZE_MAX || !random_below(in, 4)) break;
    taken = at + separator->size;
    reader_take(r, taken);
  }
  }
  return taken;
}

static void fuzz_reader(struct input *in) {
  struct input separators[2];
  for (int i = 0; i < 2; i++) {
    separators[i] = take_part(in, 1 + take_byte(in) % 20);
    if (!separators[i].size) separators[i] = (struct input){"\n", 1, 0};
  }
  struct input separator = separators[0];
  struct input all = *in;
  int fds[2];
  REQUIRE(pipe2(fds, O_NONBLOCK | O_CLOEXEC) == 0);
  struct reader r, copy;
  reader_open(&r, &loop, fds[0]);
  reader_open_copy(&copy, &r);
  size_t came = 0, taken = 0;
  while (in->size) {
    struct input piece = take_part(in, next_piece(in, in->size < 60000 ? in->size : 60000));
    REQUIRE(write(fds[1], piece.data, piece.size) == (ssize_t)piece.size);
    REQUIRE(reader_fill(&r) == (ssize_t)piece.size);
    came += piece.size;
    for (size_t i = random_below(in, 3); i; i--) taken += use_reader(in, &r, &separator, separators);
    REQUIRE(same(buffer_data(&r.buffer), buffer_size(&r.buffer), all.data + taken, came - taken));
    REQUIRE(r.searched <= buffer_size(&r.buffer));
    if (!random_below(in, 4)) reader_take(&copy, random_below(in, buffer_size(&copy.buffer) + 1));
    size_t rest = buffer_size(&copy.buffer);
    REQUIRE(same(buffer_data(&copy.buffer), rest, all.data + came - rest, rest));
  }
  close(fds[1]);
  REQUIRE(reader_fill(&r) == 0 && r.eof && copy.eof && r.total == came);
  check_find(&r, separator);
  reader_close(&copy);
  reader_close(&r);
}

/* --- CSV --- */

/* The fields are what the record is made of. */
static void check_fields(const char *record, size_t size, char separator) {
  struct csv_field field;
  size_t at = 0;
  const char *place = record;
  for (int i = 0; csv_next(record, size, separator, &at, &field); i++) {
    bool quoted = place < record + size && *place == '"';
    REQUIRE(field.data == place + quoted);
    for (size_t k = 0; k < field.size; k++) {
      if (field.data[k] == '"') REQUIRE(quoted && field.doubled && field.data[++k] == '"');
      else REQUIRE(quoted || (field.data[k] != separator && field.data[k] != '\n'));
    }
    place = field.data + field.size + quoted;
    REQUIRE(place <= record + size && (!quoted || place[-1] == '"'));
    if (place < record + size && *place == separator) place++;
  }
  size_t rest = (size_t)(record + size - place);
  REQUIRE(!rest || same(place, rest, "\n", 1) || same(place, rest, "\r\n", 2));
}

static struct csv_scan scan_csv_pieces(struct input *in, char separator, size_t *record) {
  struct csv_scan scan = {0};
  for (size_t fed = 0; fed < in->size;) {
    fed += next_piece(in, in->size - fed);
    char *part = copy_of(in->data, fed);
    *record = csv_scan(&scan, part, fed, separator, false);
    free(part);
    REQUIRE(scan.at <= fed);
    if (*record) return scan;
  }
  *record = csv_scan(&scan, in->data, in->size, separator, true);
  return scan;
}

static void fuzz_csv(struct input *in) {
  char separator = ",;\t|"[take_byte(in) % 4];
  while (in->size) {
    struct csv_scan whole = {0};
    size_t size = csv_scan(&whole, in->data, in->size, separator, true), pieces;
    struct csv_scan scan = scan_csv_pieces(in, separator, &pieces);
    REQUIRE(size > 0 && size <= in->size && pieces == size);
    REQUIRE(scan.bad == whole.bad && (!scan.bad || scan.bad_at == whole.bad_at));
    REQUIRE(!scan.bad || scan.bad_at < size);
    char *record = copy_of(in->data, size);
    if (!scan.bad) check_fields(record, size, separator);
    free(record);
    take_part(in, size);
  }
}

/* --- JSON --- */

static size_t scan_json_pieces(struct input *in) {
  struct json_scan scan = {0};
  for (size_t fed = 0; fed < in->size;) {
    fed += next_piece(in, in->size - fed);
    char *part = copy_of(in->data, fed);
    size_t document = json_scan(&scan, part, fed, false);
    free(part);
    if (document) return document;
  }
  return json_scan(&scan, in->data, in->size, true);
}

static void fuzz_json(struct input *in) {
  while (in->size) {
    struct json_scan scan = {0};
    size_t size = json_scan(&scan, in->data, in->size, true);
    REQUIRE(size > 0 && size <= in->size && scan_json_pieces(in) == size);
    size_t blank = json_blank(in->data, size);
    REQUIRE(blank < size || size == in->size);
    struct json_scan alone = {0}; /* the document by itself is one */
    REQUIRE(json_scan(&alone, in->data + blank, size - blank, true) == size - blank);
    take_part(in, size);
  }
}

/* --- text --- */

static void fuzz_text(struct input *in) {
  int flags = (int)(take_byte(in) % 8);
  char *data = copy_of(in->data, in->size), *out = malloc(3 * in->size + 1), *again = malloc(9 * in->size + 1);
  size_t size = text_clean(data, in->size, flags, out);
  REQUIRE(size <= 3 * in->size && text_is_clean(out, size, flags));
  REQUIRE(same(out, text_clean(out, size, flags, again), again, size) && same(out, size, again, size));
  if (text_is_clean(data, in->size, flags)) REQUIRE(same(data, in->size, out, size));
  if (flags & TEXT_ANSI) REQUIRE(!memchr(out, 0x1b, size));
  if (flags & TEXT_CRLF) REQUIRE(find_plainly(out, size, "\r\n", 2) == SIZE_MAX);
  if (flags & TEXT_UTF8) { /* as Lua sees it */
    lua_pushvalue(lua, 1);
    lua_pushlstring(lua, out, size);
    lua_call(lua, 1, 1);
    REQUIRE(lua_isinteger(lua, -1));
  }
  free(again);
  free(out);
  free(data);
}

static void fuzz_expect(struct input *in) { fuzz_patterns(in, lua); }

int LLVMFuzzerInitialize(int *argc, char ***argv);
int LLVMFuzzerInitialize(int *argc, char ***argv) {
  (void)argc, (void)argv;
  REQUIRE(loop_init(&loop) == 0);
  lua = luaL_newstate();
  luaL_openlibs(lua);
  lua_getglobal(lua, "utf8");
  lua_getfield(lua, -1, "len");
  lua_replace(lua, 1);
  lua_getglobal(lua, "string");
  lua_getfield(lua, -1, "find");
  lua_replace(lua, 2);
  return 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  static void (*const targets[])(struct input *) = {fuzz_buffer, fuzz_reader, fuzz_csv,
                                                    fuzz_json,   fuzz_text,   fuzz_expect};
  struct input in = {(const char *)data, size, 0};
  unsigned target = take_byte(&in);
  in.cuts = take_byte(&in) * 2654435761u;
  targets[target % (sizeof targets / sizeof *targets)](&in);
  lua_settop(lua, 2);
  return 0;
}
