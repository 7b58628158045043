/* The buffer against a simple model: an array that bytes are added to and cut from. */
#include "buffer.h"

#include <stdlib.h>
#include <string.h>

#include "check.h"

#define SEED 20240229u
#define ROUNDS 20000
#define MODEL_MOST (1 << 20)

static struct loop loop;

static unsigned random_state = SEED;

static unsigned random_below(unsigned limit) {
  random_state = random_state * 1664525u + 1013904223u;
  return (unsigned)(((unsigned long long)random_state * limit) >> 32);
}

/* Mostly small, sometimes around the size of a block, sometimes several blocks. */
static size_t random_size(void) {
  switch (random_below(8)) {
  case 0: return random_below(3);
  case 1: return LOOP_BLOCK - 2 + random_below(5);
  case 2: return random_below(5 * LOOP_BLOCK);
  default: return random_below(2000);
  }
}

struct model {
  char *bytes;
  size_t size;
};

static void fill(char *to, size_t size) {
  for (size_t i = 0; i < size; i++) to[i] = (char)random_below(256);
}

static bool same(const struct buffer *b, const struct model *m) {
  if (buffer_size(b) != m->size) return false;
  return m->size == 0 || memcmp(buffer_data(b), m->bytes, m->size) == 0;
}

static bool is_sound(const struct buffer *b) {
  if (!b->block) return b->capacity == 0 && b->start == 0 && b->end == 0;
  return b->start < b->end && b->end <= b->capacity && b->capacity >= LOOP_BLOCK;
}

static void cut(struct model *m, size_t size) {
  memmove(m->bytes, m->bytes + size, m->size - size);
  m->size -= size;
}

/* What reader_fill does: room for at least so much, then as many bytes as came. */
static void reserve_and_commit(struct buffer *b, struct model *m, size_t size) {
  char *room = buffer_reserve(&loop, b, size ? size : 1);
  CHECK(room != NULL);
  if (!room) return;
  CHECK(room == b->block + b->end);
  CHECK(buffer_room(b) >= size);
  size_t came = random_below((unsigned)buffer_room(b) + 1);
  if (m->size + came > MODEL_MOST || random_below(4) == 0) came = 0;
  if (came) {
    fill(room, came);
    memcpy(m->bytes + m->size, room, came);
    m->size += came;
    buffer_commit(b, came);
  } else {
    buffer_take(&loop, b, 0);
  }
}

static void append(struct buffer *b, struct model *m, size_t size) {
  if (m->size + size > MODEL_MOST) return;
  fill(m->bytes + m->size, size);
  CHECK_EQUAL(buffer_append(&loop, b, m->bytes + m->size, size), 0);
  m->size += size;
}

static void take(struct buffer *b, struct model *m, size_t size) {
  if (size > m->size) size = m->size;
  buffer_take(&loop, b, size);
  cut(m, size);
}

static void test_random_operations(void) {
  printf("seed %u\n", SEED);
  struct buffer b = {0};
  struct model m = {malloc(MODEL_MOST + 5 * LOOP_BLOCK), 0};
  for (int round = 0; round < ROUNDS; round++) {
    switch (random_below(8)) {
    case 0: case 1: append(&b, &m, random_size()); break;
    case 2: case 3: reserve_and_commit(&b, &m, random_size()); break;
    case 4: case 5: case 6: take(&b, &m, random_size()); break;
    default:
      if (random_below(20) == 0) take(&b, &m, m.size);
      if (random_below(200) == 0) {
        buffer_free(&loop, &b);
        m.size = 0;
      }
    }
    if (!CHECK(same(&b, &m)) || !CHECK(is_sound(&b))) {
      printf("  in round %d\n", round);
      break;
    }
  }
  buffer_free(&loop, &b);
  CHECK(is_sound(&b));
  free(m.bytes);
}

static void test_growth(void) {
  struct buffer b = {0};
  size_t moves = 0, total = 3 * 1000 * 1000;
  for (size_t i = 0; i < total; i++) {
    size_t before = b.capacity;
    char byte = (char)(i % 251);
    buffer_append(&loop, &b, &byte, 1);
    moves += b.capacity != before;
  }
  CHECK_EQUAL(buffer_size(&b), total);
  CHECK(b.capacity < 3 * total);
  CHECK(moves < 10); /* by doubling, or n bytes would cost n * n */
  bool all = true;
  for (size_t i = 0; i < total; i++) all = all && buffer_data(&b)[i] == (char)(i % 251);
  CHECK(all);
  buffer_free(&loop, &b);
}

/* A queue that is never empty but never long stays small, however much goes through it. */
static void test_queue(void) {
  static char chunk[30000];
  struct buffer b = {0};
  size_t largest = 0;
  buffer_append(&loop, &b, chunk, 10000);
  for (int i = 0; i < 5000; i++) {
    memset(chunk, i, sizeof chunk);
    buffer_append(&loop, &b, chunk, sizeof chunk);
    if (b.capacity > largest) largest = b.capacity;
    buffer_take(&loop, &b, sizeof chunk);
  }
  CHECK_EQUAL(buffer_size(&b), 10000);
  CHECK(largest <= 2 * LOOP_BLOCK);
  bool last = true;
  for (size_t i = 0; i < 10000; i++) last = last && buffer_data(&b)[i] == (char)4999;
  CHECK(last);
  buffer_free(&loop, &b);
}

static void test_memory_only_for_bytes(void) {
  struct buffer b = {0};
  CHECK_EQUAL(buffer_append(&loop, &b, "", 0), 0);
  CHECK(b.block == NULL);
  CHECK(buffer_data(&b) != NULL);
  buffer_take(&loop, &b, 0);
  buffer_free(&loop, &b);
  CHECK(is_sound(&b));

  CHECK(buffer_reserve(&loop, &b, 100) != NULL); /* nothing came */
  buffer_take(&loop, &b, 0);
  CHECK(b.block == NULL && b.capacity == 0);

  buffer_append(&loop, &b, "abc", 3);
  buffer_take(&loop, &b, 2);
  CHECK(b.block != NULL && buffer_size(&b) == 1 && *buffer_data(&b) == 'c');
  buffer_reserve(&loop, &b, 10 * LOOP_BLOCK);
  buffer_take(&loop, &b, 0);
  CHECK(buffer_size(&b) == 1 && *buffer_data(&b) == 'c');
  buffer_take(&loop, &b, 1);
  CHECK(b.block == NULL && b.capacity == 0);

  buffer_append(&loop, &b, "abc", 3);
  buffer_free(&loop, &b);
  CHECK(b.block == NULL && buffer_size(&b) == 0);
  buffer_free(&loop, &b);
}

static void test_too_much(void) {
  struct buffer b = {0};
  CHECK(buffer_reserve(&loop, &b, SIZE_MAX) == NULL);
  CHECK(is_sound(&b));
  buffer_append(&loop, &b, "abc", 3);
  CHECK(buffer_reserve(&loop, &b, SIZE_MAX) == NULL);
  CHECK(buffer_reserve(&loop, &b, SIZE_MAX - 3) == NULL);
  CHECK_EQUAL(buffer_append(&loop, &b, "d", SIZE_MAX - 2), UV_ENOMEM);
  CHECK(buffer_size(&b) == 3 && !memcmp(buffer_data(&b), "abc", 3));
  buffer_free(&loop, &b);
}

/* The loop keeps one block of the usual size for the next buffer. */
static void test_spare_block(void) {
  struct buffer a = {0}, b = {0}, large = {0};
  free(loop.spare);
  loop.spare = NULL;
  buffer_append(&loop, &a, "a", 1);
  buffer_append(&loop, &b, "b", 1);
  CHECK(loop.spare == NULL);
  char *block = a.block;
  buffer_take(&loop, &a, 1);
  CHECK(loop.spare == block);
  buffer_take(&loop, &b, 1); /* one is enough */
  CHECK(loop.spare == block);
  buffer_append(&loop, &b, "b", 1);
  CHECK(b.block == block && loop.spare == NULL);
  buffer_reserve(&loop, &large, LOOP_BLOCK + 1);
  buffer_take(&loop, &large, 0);
  CHECK(loop.spare == NULL); /* a large one is not kept */
  buffer_append(&loop, &b, "c", 1);
  buffer_reserve(&loop, &b, 3 * LOOP_BLOCK);
  CHECK(!memcmp(buffer_data(&b), "bc", 2));
  buffer_free(&loop, &b);
}

int main(void) {
  if (!CHECK_EQUAL(loop_init(&loop), 0)) return check_summary();
  test_random_operations();
  test_growth();
  test_queue();
  test_memory_only_for_bytes();
  test_too_much();
  test_spare_block();
  loop_close(&loop);
  return check_summary();
}
