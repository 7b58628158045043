#include "text.h"

#include <stdint.h>
#include <string.h>

enum { BEL = 0x07, CAN = 0x18, SUB = 0x1a, ESC = 0x1b };

static size_t find_byte(const char *data, size_t at, size_t size, char byte) {
  const char *found = at < size ? memchr(data + at, byte, size - at) : NULL;
  return found ? (size_t)(found - data) : size;
}

static size_t append(char *out, size_t length, const char *data, size_t size) {
  if (size) memmove(out + length, data, size);
  return length + size;
}

static size_t skip_range(const char *data, size_t at, size_t size, char low, char high) {
  while (at < size && data[at] >= low && data[at] <= high) at++;
  return at;
}

/* As skip_range for the one byte that ends a sequence: one that does not fit is text again. */
static size_t skip_final(const char *data, size_t at, size_t size, char low, char high) {
  return at < size && data[at] >= low && data[at] <= high ? at + 1 : at;
}

/* OSC, DCS, SOS, PM and APC end with ST (ESC \) or, as people write it, with BEL. As in a terminal, CAN and SUB break
 * them off and any other ESC begins a new sequence. */
static size_t string_end(const char *data, size_t at, size_t size) {
  for (; at < size; at++) {
    char byte = data[at];
    if (byte == BEL || byte == CAN || byte == SUB) return at + 1;
    if (byte == ESC) return at + 1 < size && data[at + 1] == '\\' ? at + 2 : at;
  }
  return size;
}

/* Behind the escape sequence whose ESC is at `at`. An ESC that begins none goes alone. */
static size_t escape_end(const char *data, size_t at, size_t size) {
  if (++at == size) return size;
  switch (data[at]) {
  case '[': return skip_final(data, skip_range(data, at + 1, size, ' ', '?'), size, '@', '~');
  case ']': case 'P': case 'X': case '^': case '_': return string_end(data, at + 1, size);
  }
  return skip_final(data, skip_range(data, at, size, ' ', '/'), size, '0', '~');
}

static size_t without_ansi(const char *data, size_t size, char *out) {
  size_t length = 0;
  for (size_t at = 0; at < size;) {
    size_t escape = find_byte(data, at, size, ESC);
    length = append(out, length, data + at, escape - at);
    at = escape < size ? escape_end(data, escape, size) : size;
  }
  return length;
}

/* The next run of CRs before an LF: its start, or `size`; *end is the LF. */
static size_t find_crlf(const char *data, size_t at, size_t size, size_t *end) {
  while ((at = find_byte(data, at, size, '\r')) < size) {
    *end = skip_range(data, at, size, '\r', '\r');
    if (*end < size && data[*end] == '\n') return at;
    at = *end;
  }
  return *end = size;
}

/* `out` may be `data`. */
static size_t without_crlf(const char *data, size_t size, char *out) {
  size_t length = 0;
  for (size_t at = 0; at < size;) {
    size_t end, start = find_crlf(data, at, size, &end);
    length = append(out, length, data + at, start - at);
    at = end;
  }
  return length;
}

static size_t skip_ascii(const unsigned char *data, size_t at, size_t size) {
  uint64_t words[4];
  while (size - at >= sizeof words) {
    memcpy(words, data + at, sizeof words);
    if ((words[0] | words[1] | words[2] | words[3]) & (UINT64_MAX / 255 << 7)) break;
    at += sizeof words;
  }
  while (at < size && data[at] < 0x80) at++;
  return at;
}

/* How many of the bytes are one character, or, *good being false then, the longest part of one (at least a byte). The
 * second byte has narrower bounds behind some first ones: no overlong forms, no surrogates, nothing over U+10FFFF. */
static size_t character(const unsigned char *data, size_t size, bool *good) {
  unsigned char first = data[0], low = 0x80, high = 0xbf;
  *good = first < 0x80;
  if (first < 0xc2 || first > 0xf4) return 1;
  if (first == 0xe0) low = 0xa0;
  if (first == 0xed) high = 0x9f;
  if (first == 0xf0) low = 0x90;
  if (first == 0xf4) high = 0x8f;
  size_t whole = first < 0xe0 ? 2 : first < 0xf0 ? 3 : 4, n = 1;
  for (; n < whole && n < size && data[n] >= low && data[n] <= high; n++) {
    low = 0x80;
    high = 0xbf;
  }
  *good = n == whole;
  return n;
}

/* Where the first bad sequence is from `at` on, or `size`; *bad is its size. */
static size_t find_bad(const char *text, size_t at, size_t size, size_t *bad) {
  const unsigned char *data = (const unsigned char *)text;
  while ((at = skip_ascii(data, at, size)) < size) {
    bool good;
    do {
      *bad = character(data + at, size - at, &good);
      if (!good) return at;
      at += *bad;
    } while (at < size && data[at] >= 0x80);
  }
  *bad = 0;
  return size;
}

/* `data` may be the last third of `out`: what is written never grows to more than three times what was read. */
static size_t with_good_utf8(const char *data, size_t size, char *out) {
  size_t length = 0;
  for (size_t at = 0; at < size;) {
    size_t bad, end = find_bad(data, at, size, &bad);
    length = append(out, length, data + at, end - at);
    if (bad) length = append(out, length, "\xef\xbf\xbd", 3);
    at = end + bad;
  }
  return length;
}

bool text_is_clean(const char *data, size_t size, int flags) {
  size_t ignored;
  if (flags & TEXT_ANSI && find_byte(data, 0, size, ESC) < size) return false;
  if (flags & TEXT_CRLF && find_crlf(data, 0, size, &ignored) < size) return false;
  return !(flags & TEXT_UTF8) || find_bad(data, 0, size, &ignored) == size;
}

size_t text_clean(const char *data, size_t size, int flags, char *out) {
  char *stage = flags & TEXT_UTF8 ? out + 2 * size : out; /* the first two only make it shorter */
  if (flags & TEXT_ANSI) {
    size = without_ansi(data, size, stage);
    data = stage;
  }
  if (flags & TEXT_CRLF) {
    size = without_crlf(data, size, stage);
    data = stage;
  }
  if (flags & TEXT_UTF8) return with_good_utf8(data, size, out);
  return data == out ? size : append(out, 0, data, size);
}
