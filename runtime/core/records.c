#include "records.h"

#include <stdint.h>
#include <string.h>

#define EACH_BYTE (UINT64_MAX / 255) /* 0x0101...: times a byte, that byte eight times */

/* High bits mark the zero bytes; bytes above a zero one may be marked wrongly, so it says whether, not where. */
static inline uint64_t zero_bytes(uint64_t word) {
  return (word - EACH_BYTE) & ~word & (EACH_BYTE << 7);
}

/* Where the first of two bytes is from `at` on, or `size`. One pass: a memchr for each would look again and again at
 * the bytes before the rarer one. */
static inline size_t find_either(const char *data, size_t at, size_t size, char a, char b) {
  uint64_t each_a = EACH_BYTE * (unsigned char)a, each_b = EACH_BYTE * (unsigned char)b;
  while (size - at >= sizeof(uint64_t)) {
    uint64_t word;
    memcpy(&word, data + at, sizeof word);
    if (zero_bytes(word ^ each_a) | zero_bytes(word ^ each_b)) break;
    at += sizeof word;
  }
  while (at < size && data[at] != a && data[at] != b) at++;
  return at;
}

enum csv_state {
  CSV_PLAIN,  /* not in quotes */
  CSV_QUOTED,
  CSV_CLOSED, /* behind a quote in a quoted field: its end, or the first half of "" */
  CSV_RETURN, /* behind a CR behind the closing quote: only LF may follow */
  CSV_BAD,    /* on the way to the end of the line */
};

#define BEHIND_QUOTE "something between a closing quote and the separator"

static void csv_fault(struct csv_scan *s, size_t at, const char *what) {
  s->state = CSV_BAD;
  s->bad = what;
  s->bad_at = at;
}

/* Between quotes only quotes and newlines matter: whether a quote opens a field shows in the byte before it. */
static bool csv_plain(struct csv_scan *s, const char *data, size_t size, char separator) {
  size_t at = find_either(data, s->at, size, '"', '\n');
  s->at = at < size ? at + 1 : size;
  if (at == size) return false;
  if (data[at] == '\n') return true;
  if (at == 0 || data[at - 1] == separator) {
    s->state = CSV_QUOTED;
    s->bad_at = at; /* should it stay open */
  } else {
    csv_fault(s, at, "a quote inside of a field without quotes");
  }
  return false;
}

static void csv_quoted(struct csv_scan *s, const char *data, size_t size) {
  const char *quote = memchr(data + s->at, '"', size - s->at);
  s->at = quote ? (size_t)(quote - data) + 1 : size;
  if (quote) s->state = CSV_CLOSED;
}

static bool csv_closed(struct csv_scan *s, const char *data, char separator) {
  size_t at = s->at++;
  char byte = data[at];
  if (byte == separator) s->state = CSV_PLAIN;
  else if (byte == '"') s->state = CSV_QUOTED;
  else if (byte == '\r') s->state = CSV_RETURN;
  else if (byte != '\n') csv_fault(s, at, BEHIND_QUOTE);
  return byte == '\n';
}

static bool csv_bad(struct csv_scan *s, const char *data, size_t size) {
  const char *newline = memchr(data + s->at, '\n', size - s->at);
  s->at = newline ? (size_t)(newline - data) + 1 : size;
  return newline != NULL;
}

static void csv_lone_return(struct csv_scan *s) {
  csv_fault(s, s->at - 1, BEHIND_QUOTE);
}

/* Goes on by at least a byte, to the next place of interest; true when that is behind the record. */
static bool csv_step(struct csv_scan *s, const char *data, size_t size, char separator) {
  switch (s->state) {
  case CSV_PLAIN: return csv_plain(s, data, size, separator);
  case CSV_QUOTED: csv_quoted(s, data, size); return false;
  case CSV_CLOSED: return csv_closed(s, data, separator);
  case CSV_RETURN: /* an LF is next at best, else the next LF is the end all the same */
    if (data[s->at] != '\n') csv_lone_return(s);
  }
  return csv_bad(s, data, size);
}

size_t csv_scan(struct csv_scan *s, const char *data, size_t size, char separator, bool at_end) {
  while (s->at < size) {
    if (csv_step(s, data, size, separator)) return s->at;
  }
  if (!at_end) return 0;
  s->cut = s->state == CSV_QUOTED;
  if (s->cut) csv_fault(s, s->bad_at, "the stream ends inside of a quoted field");
  if (s->state == CSV_RETURN) csv_lone_return(s);
  return s->at;
}

size_t csv_content(const char *record, size_t size) {
  if (size == 0 || record[size - 1] != '\n') return size;
  size--;
  return size > 0 && record[size - 1] == '\r' ? size - 1 : size;
}

/* The field in quotes whose first byte is at `at`; returns where its closing quote is. */
static size_t quoted_field(const char *record, size_t at, size_t end, struct csv_field *field) {
  size_t quote = at;
  for (;;) {
    const char *found = quote < end ? memchr(record + quote, '"', end - quote) : NULL;
    quote = found ? (size_t)(found - record) : end;
    if (quote + 1 >= end || record[quote + 1] != '"') break;
    field->doubled = true;
    quote += 2;
  }
  field->data = record + at;
  field->size = quote - at;
  return quote;
}

bool csv_next(const char *record, size_t size, char separator, size_t *at, struct csv_field *field) {
  size_t end = csv_content(record, size), start = *at;
  if (start > end) return false;
  *field = (struct csv_field){.data = record + start};
  bool quoted = start < end && record[start] == '"';
  size_t from = quoted ? quoted_field(record, start + 1, end, field) : start;
  const char *found = from < end ? memchr(record + from, separator, end - from) : NULL;
  size_t to = found ? (size_t)(found - record) : end;
  if (!quoted) field->size = to - start;
  *at = to + 1;
  return true;
}

enum json_state {
  JSON_BEFORE, /* in the white space before a document */
  JSON_SCALAR, /* a number, true, false, null, or rubbish */
  JSON_NESTED, /* in an object or array */
  JSON_STRING,
  JSON_ESCAPE, /* behind a backslash in a string */
};

enum { BLANK = 1, COMMA = 2, QUOTE = 4, OPENS = 8, CLOSES = 16, ANY = 31 };

static const unsigned char json_class[256] = {
  [' '] = BLANK, ['\t'] = BLANK, ['\n'] = BLANK, ['\r'] = BLANK, [','] = COMMA, ['"'] = QUOTE,
  ['{'] = OPENS, ['['] = OPENS, ['}'] = CLOSES, [']'] = CLOSES,
};

static inline int class_of(char byte) { return json_class[(unsigned char)byte]; }

static inline size_t skip_to(const char *data, size_t at, size_t size, int classes) {
  while (at < size && !(class_of(data[at]) & classes)) at++;
  return at;
}

size_t json_blank(const char *data, size_t size) {
  size_t at = 0;
  while (at < size && class_of(data[at]) == BLANK) at++;
  return at;
}

static bool json_before(struct json_scan *s, const char *data, size_t size) {
  s->at += json_blank(data + s->at, size - s->at);
  if (s->at == size) return false;
  int class = class_of(data[s->at++]);
  s->depth = class == OPENS;
  s->state = class == OPENS ? JSON_NESTED : class == QUOTE ? JSON_STRING : JSON_SCALAR;
  return class == CLOSES || class == COMMA;
}

static bool json_scalar(struct json_scan *s, const char *data, size_t size) {
  s->at = skip_to(data, s->at, size, ANY);
  return s->at < size;
}

static bool json_nested(struct json_scan *s, const char *data, size_t size) {
  size_t at = s->at, depth = s->depth;
  int class = 0;
  while (depth > 0) {
    at = skip_to(data, at, size, QUOTE | OPENS | CLOSES);
    if (at == size) break;
    class = class_of(data[at++]);
    if (class == QUOTE) break;
    depth += class == OPENS ? 1 : -1;
  }
  s->at = at;
  s->depth = depth;
  if (class == QUOTE) s->state = JSON_STRING;
  return depth == 0;
}

static bool json_string(struct json_scan *s, const char *data, size_t size) {
  size_t at = find_either(data, s->at, size, '"', '\\');
  s->at = at < size ? at + 1 : size;
  if (at == size) return false;
  s->state = data[at] == '\\' ? JSON_ESCAPE : JSON_NESTED;
  return s->state == JSON_NESTED && s->depth == 0;
}

/* Goes on to the next place of interest; true when that is behind the document. */
static bool json_step(struct json_scan *s, const char *data, size_t size) {
  switch (s->state) {
  case JSON_BEFORE: return json_before(s, data, size);
  case JSON_SCALAR: return json_scalar(s, data, size);
  case JSON_NESTED: return json_nested(s, data, size);
  case JSON_STRING: return json_string(s, data, size);
  }
  s->at++; /* whatever was escaped */
  s->state = JSON_STRING;
  return false;
}

size_t json_scan(struct json_scan *s, const char *data, size_t size, bool at_end) {
  while (s->at < size) {
    if (json_step(s, data, size)) return s->at;
  }
  s->cut = at_end && s->state > JSON_SCALAR;
  return at_end ? s->at : 0;
}
