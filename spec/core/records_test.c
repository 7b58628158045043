/* Where records end: however the stream is cut, the same ones are found. */
#include "records.h"

#include <stdlib.h>
#include <string.h>

#include "check.h"

#define SEED 20240311u
#define ROUNDS 3000
#define MOST 4096

static unsigned random_state = SEED;

static unsigned random_below(unsigned limit) {
  random_state = random_state * 1664525u + 1013904223u;
  return (unsigned)(((unsigned long long)random_state * limit) >> 32);
}

static char random_of(const char *alphabet) { return alphabet[random_below((unsigned)strlen(alphabet))]; }

struct text {
  char data[4 * MOST];
  size_t size;
};

static void add(struct text *t, const char *data, size_t size) {
  if (!CHECK(size <= sizeof t->data - t->size)) exit(check_summary());
  if (size) memcpy(t->data + t->size, data, size);
  t->size += size;
}

static void add_byte(struct text *t, char byte) { add(t, &byte, 1); }
static void add_string(struct text *t, const char *string) { add(t, string, strlen(string)); }

/* Bytes that come in pieces. What is there is in memory of its own size, so that a look too far is seen. */
struct stream {
  const struct text *all;
  size_t start, end; /* the bytes that came and were not taken */
  size_t step;       /* so many come at a time; 0: a random number */
  bool at_end;
  char *held;
};

static void hold(struct stream *s) {
  size_t size = s->end - s->start;
  free(s->held);
  s->held = malloc(size ? size : 1);
  if (size) memcpy(s->held, s->all->data + s->start, size);
}

static struct stream stream_open(const struct text *all, size_t first, size_t step) {
  struct stream s = {.all = all, .end = first < all->size ? first : all->size, .step = step};
  hold(&s);
  return s;
}

static void more(struct stream *s) {
  size_t left = s->all->size - s->end, step = s->step ? s->step : random_below(9);
  s->at_end = left == 0;
  s->end += step < left ? step : left;
  hold(s);
}

static void take(struct stream *s, size_t size) {
  s->start += size;
  hold(s);
}

/* Writes <field> for each field; the bytes must be those of the record. */
static void describe_fields(const char *record, size_t size, char separator, struct text *out) {
  size_t at = 0;
  struct csv_field field;
  while (csv_next(record, size, separator, &at, &field)) {
    bool doubled = false;
    add_byte(out, '<');
    for (size_t i = 0; i < field.size; i++) {
      add_byte(out, field.data[i]);
      if (field.data[i] == '"' && i + 1 < field.size && field.data[i + 1] == '"') i++, doubled = true;
    }
    add_byte(out, '>');
    CHECK_EQUAL(field.doubled, doubled);
  }
}

static void describe_record(const struct csv_scan *scan, const char *record, size_t size, char sep, struct text *out) {
  char fault[120];
  if (scan->bad) {
    CHECK(scan->bad_at < size);
    snprintf(fault, sizeof fault, "bad at %zu: %s", scan->bad_at, scan->bad);
    add_string(out, fault);
  } else {
    describe_fields(record, size, sep, out);
  }
  add_byte(out, ';');
}

/* All records of the stream in words. */
static void describe_csv(struct stream *s, char separator, struct text *out) {
  struct csv_scan scan = {0};
  out->size = 0;
  for (;;) {
    size_t came = s->end - s->start, size = csv_scan(&scan, s->held, came, separator, s->at_end);
    if (size > 0) {
      CHECK(size <= came);
      describe_record(&scan, s->held, size, separator, out);
      scan = (struct csv_scan){0};
      take(s, size);
    } else if (s->at_end) {
      break;
    } else {
      CHECK_EQUAL(scan.at, came); /* each byte once */
      more(s);
    }
  }
  CHECK_EQUAL(s->start, s->all->size);
  free(s->held);
}

static void describe_json(struct stream *s, char unused, struct text *out) {
  struct json_scan scan = {0};
  (void)unused;
  out->size = 0;
  for (;;) {
    size_t came = s->end - s->start, size = json_scan(&scan, s->held, came, s->at_end);
    if (size > 0) {
      CHECK(size <= came);
      size_t blank = json_blank(s->held, size);
      add(out, s->held + blank, size - blank);
      add_byte(out, ';');
      scan = (struct json_scan){0};
      take(s, size);
    } else if (s->at_end) {
      break;
    } else {
      CHECK_EQUAL(scan.at, came);
      more(s);
    }
  }
  CHECK_EQUAL(s->start, s->all->size);
  free(s->held);
}

typedef void describe_fn(struct stream *s, char separator, struct text *out);

static bool check_text(const struct text *is, const struct text *expected, const struct text *input, const char *how) {
  bool ok = is->size == expected->size && memcmp(is->data, expected->data, is->size) == 0;
  if (CHECK(ok)) return true;
  printf("  %s of \"%.*s\"\n  is  \"%.*s\"\n  not \"%.*s\"\n", how, (int)input->size, input->data, (int)is->size,
         is->data, (int)expected->size, expected->data);
  return false;
}

/* In one piece, cut in two everywhere, byte by byte, and in random pieces. */
static bool check_cuts(describe_fn *describe, const struct text *input, char separator, const struct text *expected) {
  static struct text out;
  struct stream whole = stream_open(input, input->size, 1);
  describe(&whole, separator, &out);
  bool ok = check_text(&out, expected, input, "the whole");
  for (size_t cut = 0; ok && cut < input->size; cut++) {
    struct stream two = stream_open(input, cut, input->size);
    describe(&two, separator, &out);
    ok = check_text(&out, expected, input, "a cut");
  }
  for (size_t step = 0; ok && step < 2; step++) {
    struct stream pieces = stream_open(input, 0, step);
    describe(&pieces, separator, &out);
    ok = check_text(&out, expected, input, "pieces");
  }
  return ok;
}

struct example {
  const char *input, *expected;
};

#define INSIDE "a quote inside of a field without quotes;"
#define BEHIND "something between a closing quote and the separator;"
#define OPEN "the stream ends inside of a quoted field;"

static const struct example csv_examples[] = {
  {"", ""},
  {"\n", "<>;"},
  {"\r\n", "<>;"},
  {"\n\na", "<>;<>;<a>;"},
  {"a", "<a>;"},
  {"a\n", "<a>;"},
  {"a\r\n", "<a>;"},
  {"a,b\nc,d\n", "<a><b>;<c><d>;"},
  {"a,b\r\nc,d\r\n", "<a><b>;<c><d>;"},
  {",", "<><>;"},
  {"a,\n,b\n,,\n", "<a><>;<><b>;<><><>;"},
  {" a , b \n", "< a >< b >;"},
  {"a\rb\n", "<a\rb>;"},
  {"a\r,\r\nb\r", "<a\r><>;<b\r>;"},
  {"\r\r\n", "<\r>;"},
  {"\"a\"", "<a>;"},
  {"\"\"", "<>;"},
  {"\"\"\n\"\",\"\"\r\n", "<>;<><>;"},
  {"\"a,b\",c\n", "<a,b><c>;"},
  {"\"a\nb\",\"c\r\nd\"\r\ne", "<a\nb><c\r\nd>;<e>;"},
  {"\"\"\"\"", "<\">;"},
  {"\"\"\"\"\"\",\"a\"\"b\"\"\"\n", "<\"\"><a\"b\">;"},
  {"\",\",\"\n\"\n", "<,><\n>;"},
  {"\"\r\n\"\r\n", "<\r\n>;"},
  {"0123456789abcdef,\"0123456789abcdef\"\n", "<0123456789abcdef><0123456789abcdef>;"},
  {"\xef\xbb\xbf" "a,\xc3\xa9\n", "<\xef\xbb\xbf" "a><\xc3\xa9>;"},
  {"a\"b,c\nd\n", "bad at 1: " INSIDE "<d>;"},
  {"a, \"b\"\n\"c\"\n", "bad at 3: " INSIDE "<c>;"},
  {"a\"b\"\"\r\nc\"\n", "bad at 1: " INSIDE "bad at 1: " INSIDE},
  {"x,a\"", "bad at 3: " INSIDE},
  {"\"a\"b,\"c\nd\n", "bad at 3: " BEHIND "<d>;"},
  {"\"a\" ,b\nc", "bad at 3: " BEHIND "<c>;"},
  {"\"a\"\r,b\nc", "bad at 3: " BEHIND "<c>;"},
  {"\"a\"\r\r\nc", "bad at 3: " BEHIND "<c>;"},
  {"\"a\"\r", "bad at 3: " BEHIND},
  {"\"a\"\r\"\nb\n", "bad at 3: " BEHIND "<b>;"},
  {"\"\"a\"\"\nb", "bad at 2: " BEHIND "<b>;"},
  {"a\nb,\"c\nd", "<a>;bad at 2: " OPEN},
  {"\"a\",\"", "bad at 4: " OPEN},
  {"\"\"\"", "bad at 0: " OPEN},
};

static const struct example json_examples[] = {
  {"", ""},
  {"{}", "{};"},
  {"{}{}[]1 2\"a\"\"b\"null", "{};{};[];1;2;\"a\";\"b\";null;"},
  {"{}\n", "{};;"},
  {" \t\r\n", ";"},
  {" 1", "1;"},
  {"1 ", "1;;"},
  {"-1.5e+7\ntrue\r\nfalse\n\n\nnull", "-1.5e+7;true;false;null;"},
  {"null[]null{}null\"\"null", "null;[];null;{};null;\"\";null;"},
  {"{\"a\":{\"b\":[1,{\"c\":null}]}} [[[]],[]]", "{\"a\":{\"b\":[1,{\"c\":null}]}};[[[]],[]];"},
  {"{\n  \"a\": 1\n}\n{\n  \"a\": 2\n}", "{\n  \"a\": 1\n};{\n  \"a\": 2\n};"},
  {"{\"}\":\"]\"}[\"[\"]", "{\"}\":\"]\"};[\"[\"];"},
  {"\"a\\\"b\"\"\\\\\"\"\\\\\\\"\"", "\"a\\\"b\";\"\\\\\";\"\\\\\\\"\";"},
  {"[\"\\\"]\",\"\\\\\"]\"\\u005d\\n\"", "[\"\\\"]\",\"\\\\\"];\"\\u005d\\n\";"},
  {"[\"0123456789abcdef\\\\0123456789\"]1", "[\"0123456789abcdef\\\\0123456789\"];1;"},
  {"\"\xc3\xa9\xf0\x9f\x98\x80\"\"\"", "\"\xc3\xa9\xf0\x9f\x98\x80\";\"\";"},
  {"[}{]1", "[};{];1;"},
  {"1,2]}3", "1;,;2;];};3;"},
  {"}},", "};};,;"},
  {"nonsense: here", "nonsense:;here;"},
  {"{\"a\":[1", "{\"a\":[1;"},
  {"[] \"a", "[];\"a;"},
  {"\"a\\", "\"a\\;"},
  {"\"a\\\"", "\"a\\\";"},
};

static void test_examples(describe_fn *describe, const struct example *examples, size_t count) {
  static struct text input, expected;
  for (size_t i = 0; i < count; i++) {
    input.size = expected.size = 0;
    add_string(&input, examples[i].input);
    add_string(&expected, examples[i].expected);
    check_cuts(describe, &input, ',', &expected);
  }
}

/* Adds a random field in CSV to `csv` and in words to `expected`. */
static void add_field(struct text *csv, struct text *expected, char separator) {
  char field[24];
  size_t size = random_below(4) ? random_below(6) : random_below(sizeof field);
  bool quotes = random_below(4) == 0;
  add_byte(expected, '<');
  for (size_t i = 0; i < size; i++) {
    field[i] = random_of(random_below(2) ? "abcdefgh \xe9" : "a\",;\n\r\t");
    quotes = quotes || field[i] == '"' || field[i] == separator || field[i] == '\n';
    add_byte(expected, field[i]);
  }
  add_byte(expected, '>');
  quotes = quotes || (size > 0 && field[size - 1] == '\r'); /* else it could be the line's */
  if (quotes) add_byte(csv, '"');
  for (size_t i = 0; i < size; i++) {
    if (field[i] == '"') add_byte(csv, '"');
    add_byte(csv, field[i]);
  }
  if (quotes) add_byte(csv, '"');
}

static void add_record(struct text *csv, struct text *expected, char separator, bool last) {
  size_t before = csv->size;
  for (unsigned left = 1 + random_below(5); left > 0; left--) {
    add_field(csv, expected, separator);
    if (left > 1) add_byte(csv, separator);
  }
  add_byte(expected, ';');
  if (last && csv->size > before && random_below(2)) return;
  add_string(csv, random_below(2) ? "\n" : "\r\n");
}

static void test_csv_round_trip(void) {
  static struct text csv, expected, out;
  for (int round = 0; round < ROUNDS; round++) {
    char separator = random_of(",;\t\xe9");
    csv.size = expected.size = 0;
    for (unsigned left = random_below(8); left > 0; left--) add_record(&csv, &expected, separator, left == 1);
    struct stream s = stream_open(&csv, 0, 0);
    describe_csv(&s, separator, &out);
    if (!check_text(&out, &expected, &csv, "the records")) break;
  }
}

/* A record may be read with or without its line end; the field points into it. */
static void test_csv_fields(void) {
  const char record[] = "ab,\"c\"\"d\",\r\n";
  for (size_t cut = 0; cut <= 2; cut += 2) {
    struct csv_field field;
    size_t at = 0, size = sizeof record - 1 - cut;
    CHECK(csv_next(record, size, ',', &at, &field));
    CHECK(field.data == record && field.size == 2 && !field.doubled);
    CHECK(csv_next(record, size, ',', &at, &field));
    CHECK(field.data == record + 4 && field.size == 4 && field.doubled);
    CHECK(csv_next(record, size, ',', &at, &field));
    CHECK(field.size == 0 && !field.doubled);
    CHECK(!csv_next(record, size, ',', &at, &field));
    CHECK(!csv_next(record, size, ',', &at, &field));
  }
}

static void add_blank(struct text *t) {
  while (random_below(3) == 0) add_byte(t, random_of(" \n\t\r"));
}

static void add_json_string(struct text *t) {
  add_byte(t, '"');
  for (unsigned left = random_below(random_below(4) ? 5 : 30); left > 0; left--) {
    if (random_below(4) == 0) add_byte(t, '\\'), add_byte(t, random_of("\"\\nu/"));
    else add_byte(t, random_of("ab{}[],: \xe9"));
  }
  add_byte(t, '"');
}

static const char *const scalars[] = {"null", "true", "false", "0", "-12.5e-3", "123456789012345678901234567890"};

static void add_value(struct text *t, unsigned depth) {
  unsigned kind = random_below(depth ? 4 : 2), members = random_below(4);
  if (kind == 0) add_string(t, scalars[random_below(6)]);
  if (kind == 1) add_json_string(t);
  if (kind < 2) return;
  add_byte(t, kind == 2 ? '{' : '[');
  for (unsigned i = 0; i < members; i++) {
    if (i) add_byte(t, ',');
    add_blank(t);
    if (kind == 2) add_json_string(t), add_byte(t, ':');
    add_value(t, depth - 1);
    add_blank(t);
  }
  add_byte(t, kind == 2 ? '}' : ']');
}

static bool ends_itself(const struct text *json) {
  return json->size == 0 || strchr("}]\" \n\t\r", json->data[json->size - 1]);
}

static void test_json_round_trip(void) {
  static struct text json, expected, out, document;
  for (int round = 0; round < ROUNDS; round++) {
    json.size = expected.size = 0;
    for (unsigned left = random_below(6); left > 0; left--) {
      document.size = 0;
      add_value(&document, 3);
      if (json.size > 3 * MOST || document.size > MOST / 2) break;
      add_blank(&json);
      if (!ends_itself(&json) && !strchr("{[\"", *document.data)) add_byte(&json, random_of(" \n"));
      add(&json, document.data, document.size);
      add(&expected, document.data, document.size);
      add_byte(&expected, ';');
    }
    struct stream s = stream_open(&json, 0, 0);
    describe_json(&s, 0, &out);
    if (!check_text(&out, &expected, &json, "the documents")) break;
  }
}

/* Whatever comes: there is a way on, and the cuts make no difference. */
static void test_rubbish(describe_fn *describe, const char *alphabet) {
  static struct text input, expected;
  for (int round = 0; round < ROUNDS; round++) {
    input.size = 0;
    for (unsigned left = random_below(40); left > 0; left--) {
      add_byte(&input, random_below(10) ? random_of(alphabet) : (char)random_below(256));
    }
    struct stream whole = stream_open(&input, input.size, 1);
    describe(&whole, ',', &expected);
    if (!check_cuts(describe, &input, ',', &expected)) break;
  }
}

/* Deeper than any stack. */
static void test_json_depth(void) {
  size_t depth = 1000000;
  char *json = malloc(2 * depth);
  memset(json, '[', depth);
  memset(json + depth, ']', depth);
  struct json_scan scan = {0};
  CHECK_EQUAL(json_scan(&scan, json, 2 * depth - 1, false), 0);
  CHECK_EQUAL(scan.depth, 1);
  CHECK_EQUAL(json_scan(&scan, json, 2 * depth, false), 2 * depth);
  free(json);
}

int main(void) {
  printf("seed %u\n", SEED);
  test_examples(describe_csv, csv_examples, sizeof csv_examples / sizeof *csv_examples);
  test_csv_fields();
  test_csv_round_trip();
  test_rubbish(describe_csv, "a,\"\"\n\r");
  test_examples(describe_json, json_examples, sizeof json_examples / sizeof *json_examples);
  test_json_round_trip();
  test_json_depth();
  test_rubbish(describe_json, "a1{}[],\"\"\\ \n");
  return check_summary();
}
