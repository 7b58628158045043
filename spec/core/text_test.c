/* Cleaning: what goes, what stays, and that nothing else happens. */
#include "text.h"

#include <stdlib.h>
#include <string.h>

#include "check.h"

#define SEED 20240312u
#define ROUNDS 20000
#define ALL (TEXT_CRLF | TEXT_UTF8 | TEXT_ANSI)
#define BAD "\xef\xbf\xbd"

static unsigned random_state = SEED;

static unsigned random_below(unsigned limit) {
  random_state = random_state * 1664525u + 1013904223u;
  return (unsigned)(((unsigned long long)random_state * limit) >> 32);
}

/* The cleaned text, to be freed. All memory is exactly of the size that was promised. */
static char *clean(const char *data, size_t size, int flags, size_t *cleaned) {
  char *input = calloc(1, size ? size : 1), *out = malloc(size ? 3 * size : 1);
  if (size) memcpy(input, data, size);
  *cleaned = text_clean(input, size, flags, out);
  bool same = *cleaned == size && (size == 0 || memcmp(out, input, size) == 0);
  CHECK(*cleaned <= 3 * size);
  CHECK_EQUAL(text_is_clean(input, size, flags), same);
  free(input);
  return out;
}

static void print_bytes(const char *name, const char *data, size_t size) {
  printf("  %s", name);
  for (size_t i = 0; i < size; i++) printf(" %02x", (unsigned char)data[i]);
  printf("\n");
}

static bool check_clean(const char *data, size_t size, int flags, const char *expected, size_t expected_size) {
  size_t cleaned;
  char *out = clean(data, size, flags, &cleaned);
  bool ok = cleaned == expected_size && memcmp(out, expected, cleaned) == 0;
  if (!CHECK(ok)) {
    print_bytes("input ", data, size);
    print_bytes("is    ", out, cleaned);
    print_bytes("not   ", expected, expected_size);
  }
  free(out);
  return ok;
}

static bool check_string(const char *data, int flags, const char *expected) {
  return check_clean(data, strlen(data), flags, expected, strlen(expected));
}

struct example {
  const char *input, *expected;
};

static const struct example utf8_examples[] = {
  /* good: the first and last of each length, what surrounds the surrogates, a noncharacter, a BOM */
  {"", ""},
  {"a\x7f", "a\x7f"},
  {"\xc2\x80\xdf\xbf", "\xc2\x80\xdf\xbf"},
  {"\xe0\xa0\x80\xef\xbf\xbf", "\xe0\xa0\x80\xef\xbf\xbf"},
  {"\xed\x9f\xbf\xee\x80\x80", "\xed\x9f\xbf\xee\x80\x80"},
  {"\xf0\x90\x80\x80\xf4\x8f\xbf\xbf", "\xf0\x90\x80\x80\xf4\x8f\xbf\xbf"},
  {"\xef\xbb\xbf" BAD, "\xef\xbb\xbf" BAD},
  /* no such bytes */
  {"\xff", BAD},
  {"\xfe\xff", BAD BAD},
  {"\xf5\x80\x80\x80", BAD BAD BAD BAD},
  {"\xf8\x88\x80\x80\x80", BAD BAD BAD BAD BAD},
  {"\xfc\x84\x80\x80\x80\x80", BAD BAD BAD BAD BAD BAD},
  /* continuation bytes alone */
  {"\x80", BAD},
  {"a\xbf\x80z", "a" BAD BAD "z"},
  {"\xc3\xa9\xa9", "\xc3\xa9" BAD},
  /* overlong */
  {"\xc0\x80", BAD BAD},
  {"\xc1\xbf", BAD BAD},
  {"\xe0\x80\x80", BAD BAD BAD},
  {"\xe0\x9f\xbf", BAD BAD BAD},
  {"\xf0\x80\x80\x80", BAD BAD BAD BAD},
  {"\xf0\x8f\xbf\xbf", BAD BAD BAD BAD},
  /* surrogates, and more than U+10FFFF */
  {"\xed\xa0\x80", BAD BAD BAD},
  {"\xed\xbf\xbf", BAD BAD BAD},
  {"\xed\xa0\xbd\xed\xb8\x80", BAD BAD BAD BAD BAD BAD},
  {"\xf4\x90\x80\x80", BAD BAD BAD BAD},
  /* cut short: one for all that would have been good */
  {"\xc3", BAD},
  {"\xc3z", BAD "z"},
  {"\xc3\xc3\xa9", BAD "\xc3\xa9"},
  {"\xe2\x82", BAD},
  {"\xe2\x82z", BAD "z"},
  {"\xe2\xe2\x82\xac", BAD "\xe2\x82\xac"},
  {"\xf0\x9f\x98", BAD},
  {"\xf0\x9f\x98z", BAD "z"},
  {"\xf0\x9f\xf0\x9f\x98\x80", BAD "\xf0\x9f\x98\x80"},
  {"\xe0", BAD},
  {"\xe0\xa0", BAD},
  {"\xf4\x8f", BAD},
  /* the examples of the Unicode Standard, tables 3-8 to 3-11 */
  {"\xc0\xaf\xe0\x80\xbf\xf0\x81\x82" "A", BAD BAD BAD BAD BAD BAD BAD BAD "A"},
  {"\xed\xa0\x80\xed\xbf\xbf\xed\xaf" "A", BAD BAD BAD BAD BAD BAD BAD BAD "A"},
  {"\xf4\x91\x92\x93\xff" "A\x80\xbf" "B", BAD BAD BAD BAD BAD "A" BAD BAD "B"},
  {"\xe1\x80\xe2\xf0\x91\x92\xf1\xbf" "A", BAD BAD BAD BAD "A"},
};

/* Behind ASCII of every length, so that words of it end everywhere. */
static void test_utf8_examples(void) {
  for (size_t i = 0; i < sizeof utf8_examples / sizeof *utf8_examples; i++) {
    char input[128], expected[128];
    for (int before = 0; before < 70; before++) {
      snprintf(input, sizeof input, "%*s%sz", before, "", utf8_examples[i].input);
      snprintf(expected, sizeof expected, "%*s%sz", before, "", utf8_examples[i].expected);
      if (!check_string(input, TEXT_UTF8, expected)) break;
    }
    check_string(utf8_examples[i].input, TEXT_UTF8, utf8_examples[i].expected);
    check_string(utf8_examples[i].input, TEXT_CRLF | TEXT_ANSI, utf8_examples[i].input);
  }
}

/* The decoder of the WHATWG's Encoding Standard to the letter, for comparison; writes U+FFFD or the bytes. */
static size_t decode_slowly(const unsigned char *data, size_t size, char *out) {
  size_t length = 0, needed = 0, seen = 0;
  unsigned char lower = 0x80, upper = 0xbf;
  for (size_t i = 0; i < size; i++) {
    unsigned char byte = data[i];
    if (needed && (byte < lower || byte > upper)) { /* and the byte is looked at again */
      length -= seen;
      memcpy(out + length, BAD, 3), length += 3;
      needed = seen = 0;
      lower = 0x80, upper = 0xbf;
    }
    if (!needed) {
      if (byte >= 0xc2 && byte <= 0xf4) needed = byte <= 0xdf ? 1 : byte <= 0xef ? 2 : 3;
      if (byte == 0xe0) lower = 0xa0;
      if (byte == 0xed) upper = 0x9f;
      if (byte == 0xf0) lower = 0x90;
      if (byte == 0xf4) upper = 0x8f;
      if (!needed && byte >= 0x80) memcpy(out + length, BAD, 3), length += 3;
      else out[length++] = (char)byte, seen = needed > 0;
    } else {
      lower = 0x80, upper = 0xbf;
      out[length++] = (char)byte, seen++;
      if (--needed == 0) seen = 0;
    }
  }
  if (needed) length -= seen, memcpy(out + length, BAD, 3), length += 3;
  return length;
}

/* All sequences of four of the bytes at the bounds of their kinds. */
static void test_utf8_sequences(void) {
  static const unsigned char bytes[] = {'a', 0x7f, 0x80, 0x8f, 0x90, 0x9f, 0xa0, 0xbf, 0xc1, 0xc2, 0xdf,
                                        0xe0, 0xe1, 0xec, 0xed, 0xee, 0xef, 0xf0, 0xf1, 0xf3, 0xf4, 0xf5};
  size_t count = sizeof bytes, all = count * count * count * count, wrong = 0;
  for (size_t i = 0; i < all; i++) {
    unsigned char input[4] = {bytes[i % count], bytes[i / count % count], bytes[i / count / count % count],
                              bytes[i / count / count / count]};
    char expected[12], is[12];
    size_t size = decode_slowly(input, 4, expected);
    bool same = text_clean((char *)input, 4, TEXT_UTF8, is) == size && !memcmp(is, expected, size);
    bool clean_already = size == 4 && !memcmp(input, expected, size);
    if (!same || text_is_clean((char *)input, 4, TEXT_UTF8) != clean_already) wrong++;
  }
  CHECK_EQUAL(wrong, 0);
}

/* What goes whole, in the middle of text as well as cut anywhere at its end. */
static const char *const sequences[] = {
  "\x1b[m", "\x1b[0m", "\x1b[1;31m", "\x1b[38;5;208m", "\x1b[38:2::1:2:3m", "\x1b[4:3m",
  "\x1b[H", "\x1b[10;20H", "\x1b[2J", "\x1b[K", "\x1b[?25l", "\x1b[?1049h", "\x1b[>4;2m", "\x1b[!p", "\x1b[2 q",
  "\x1b[1$}", "\x1b[200~", "\x1b[6n", "\x1b[5A", "\x1b[@",
  "\x1b]0;title\a", "\x1b]0;title\x1b\\", "\x1b]2;\xc3\xa9t\xc3\xa9\x1b\\", "\x1b]\a", "\x1b]0;\n[31m\a",
  "\x1b]8;;https://example.org/?a=b\x1b\\", "\x1b]8;id=1;file:///tmp\a", "\x1b]52;c;aGVsbG8=\a", "\x1b]133;A\a",
  "\x1bP1$r0m\x1b\\", "\x1bPq#0;2;0;0;0\n~-\x1b\\", "\x1b_Gi=1;AAAA\x1b\\", "\x1b^private\x1b\\", "\x1bXstart\x1b\\",
  "\x1b]0;broken off\x18", "\x1b]0;broken off\x1a",
  "\x1b(B", "\x1b)0", "\x1b%G", "\x1b#8", "\x1b F", "\x1b$(C",
  "\x1b=", "\x1b>", "\x1b" "7", "\x1b" "8", "\x1b" "c", "\x1bM", "\x1b\\", "\x1b~",
};

static void test_ansi_sequences(void) {
  char input[128];
  for (size_t i = 0; i < sizeof sequences / sizeof *sequences; i++) {
    int size = (int)strlen(sequences[i]);
    for (int cut = 1; cut <= size; cut++) {
      snprintf(input, sizeof input, "ab%.*s", cut, sequences[i]);
      check_string(input, TEXT_ANSI, "ab");
    }
    snprintf(input, sizeof input, "ab%sAB", sequences[i]);
    check_string(input, TEXT_ANSI, "abAB");
    snprintf(input, sizeof input, "%s%s\xc3%s\xa9%s", sequences[i], sequences[i], sequences[i], sequences[i]);
    check_string(input, ALL, "\xc3\xa9");
    check_string(sequences[i], TEXT_CRLF, sequences[i]);
  }
}

static const struct example ansi_examples[] = {
  {"\x1b[32mok\x1b[0m done", "ok done"},
  {"\x1b]8;;http://a\x1b\\link\x1b]8;;\x1b\\!", "link!"},
  {"tab\tbell\abackspace\b\x9b" "31m\x9d", "tab\tbell\abackspace\b\x9b" "31m\x9d"},
  {"\xc2\x9b" "1m \xe2\x94\x9b\xe2\x9c\x94", "\xc2\x9b" "1m \xe2\x94\x9b\xe2\x9c\x94"},
  {"[31m", "[31m"},
  /* an ESC that begins nothing */
  {"a\x1b\nb", "a\nb"},
  {"a\x1b\x1b[mb", "ab"},
  {"a\x1b\xc3\xa9", "a\xc3\xa9"},
  {"a\x1b\x7f" "b", "a\x7f" "b"},
  /* sequences that break off */
  {"a\x1b[31\nb", "a\nb"},
  {"a\x1b[3\xc3\xa9", "a\xc3\xa9"},
  {"a\x1b[3\x1b[mb", "ab"},
  {"a\x1b(\nb", "a\nb"},
  {"a\x1b]0;t\x1b[31mb", "ab"},
  /* one in another, as tmux and screen hand them on */
  {"a\x1bPtmux;\x1b\x1b]0;t\a\x1b\\b", "ab"},
  {"a\x1bP\x1b]0;t\a\x1b\\b", "ab"},
  {"a\x1b]0;open\nand more text", "a"},
};

static const struct example crlf_examples[] = {
  {"a\r\nb\r\n", "a\nb\n"},
  {"\r\n", "\n"},
  {"\r\n\r\n", "\n\n"},
  {"a\r\r\r\nb", "a\nb"},
  {"50%\r100%\r\n", "50%\r100%\n"},
  {"a\n\rb\r", "a\n\rb\r"},
  {"\r", "\r"},
  {"\n", "\n"},
};

static const struct example combined_examples[] = {
  {"\x1b[1ma\r\x1b[m\nb\r\n", "a\nb\n"},
  {"\xe2\x1b[m\x82\x1b]0;t\a\xac", "\xe2\x82\xac"},
  {"\xc3\r\n\xa9", BAD "\n" BAD},
  {"\r\x1b[\xff\n", "\r" BAD "\n"},
  {"\xff\xff\x1b[m\xff\xff\r\n", BAD BAD BAD BAD "\n"},
};

static void test_examples(const struct example *examples, size_t count, int flags) {
  for (size_t i = 0; i < count; i++) check_string(examples[i].input, flags, examples[i].expected);
}

static void test_zero_bytes(void) {
  static const char input[] = "a\0\x1b[31m\0\r\n\x1b]\0\a\xff\0";
  check_clean(input, sizeof input - 1, ALL, "a\0\0\n" BAD "\0", 8);
  check_clean(input, sizeof input - 1, 0, input, sizeof input - 1);
  check_clean(NULL, 0, ALL, "", 0);
}

/* Random parts of what is of interest. */
static size_t random_text(char *to, size_t most) {
  static const char *const parts[] = {"\x1b", "[", "]", "(", ";3", "\\", "\a", "\r", "\r\n", "\n", "m", "some words ",
                                      "\xc3\xa9", "\xe2\x82\xac", "\xf0\x9f\x98\x80", "\xf0\x9f", "\x80", "\xff"};
  size_t size = 0;
  for (unsigned left = random_below(40); left > 0 && size + 16 < most; left--) {
    const char *part = parts[random_below(sizeof parts / sizeof *parts)];
    if (random_below(10) == 0) {
      to[size++] = (char)random_below(256);
    } else {
      memcpy(to + size, part, strlen(part));
      size += strlen(part);
    }
  }
  return size;
}

/* What was cleaned is clean, and stays as it is. */
static void test_random_text(void) {
  char input[512];
  for (int round = 0; round < ROUNDS; round++) {
    int flags = (int)random_below(ALL + 1);
    size_t size = random_text(input, sizeof input), once, twice;
    char *first = clean(input, size, flags, &once), *second = clean(first, once, flags, &twice);
    bool ok = CHECK(text_is_clean(first, once, flags)) && CHECK(twice == once && !memcmp(first, second, once));
    if (flags & TEXT_ANSI) ok = CHECK(!memchr(first, 0x1b, once)) && ok;
    free(first);
    free(second);
    if (!ok) {
      print_bytes("input ", input, size);
      break;
    }
  }
}

/* One step after the other is the same as all at once. */
static void test_order(void) {
  char input[512];
  for (int round = 0; round < ROUNDS / 4; round++) {
    size_t size = random_text(input, sizeof input), a, b, c;
    char *ansi = clean(input, size, TEXT_ANSI, &a);
    char *crlf = clean(ansi, a, TEXT_CRLF, &b);
    char *utf8 = clean(crlf, b, TEXT_UTF8, &c);
    bool ok = check_clean(input, size, ALL, utf8, c);
    free(ansi);
    free(crlf);
    free(utf8);
    if (!ok) break;
  }
}

int main(void) {
  printf("seed %u\n", SEED);
  test_utf8_examples();
  test_utf8_sequences();
  test_ansi_sequences();
  test_examples(ansi_examples, sizeof ansi_examples / sizeof *ansi_examples, TEXT_ANSI);
  test_examples(crlf_examples, sizeof crlf_examples / sizeof *crlf_examples, TEXT_CRLF);
  test_examples(crlf_examples, sizeof crlf_examples / sizeof *crlf_examples, ALL);
  test_examples(combined_examples, sizeof combined_examples / sizeof *combined_examples, ALL);
  test_zero_bytes();
  test_random_text();
  test_order();
  return check_summary();
}
