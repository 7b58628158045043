/* The host's allocator: random blocks of random sizes, each filled with a pattern of its own, against overlaps, lost
 * contents and leaks. */
#include "alloc.h"

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "check.h"

#define ROUNDS 300000
#define BLOCKS 5000

static unsigned random_state = 20261122u;

static unsigned random_below(unsigned limit) {
  random_state = random_state * 1664525u + 1013904223u;
  return (unsigned)(((unsigned long long)random_state * limit) >> 32);
}

/* Mostly small, around the sizes of classes, sometimes malloc's. */
static size_t random_size(void) {
  switch (random_below(4)) {
  case 0: return 1 + random_below(3);
  case 1: return 126 + random_below(6);
  case 2: return 1 + random_below(5000);
  default: return 1 + random_below(128);
  }
}

static struct {
  unsigned char *data;
  size_t size;
  unsigned char fill;
} blocks[BLOCKS];

static bool is_whole(int i, size_t size) {
  for (size_t k = 0; k < size; k++)
    if (blocks[i].data[k] != blocks[i].fill) return false;
  return true;
}

static void set_size(struct alloc *a, int i, size_t size) {
  size_t kept = size < blocks[i].size ? size : blocks[i].size;
  unsigned char *data = alloc_block(a, blocks[i].data, blocks[i].size, size);
  CHECK((data != NULL) == (size > 0));
  CHECK((uintptr_t)data % 16 == 0);
  blocks[i].data = data;
  blocks[i].size = size;
  CHECK(is_whole(i, kept));
  blocks[i].fill = (unsigned char)random_below(256);
  if (size) memset(data, blocks[i].fill, size);
}

/* Grows to many blocks and shrinks to few again, so that slabs fill, empty and go back. */
static void test_random_blocks(void) {
  struct alloc a = {0};
  for (int i = 0; i < ROUNDS; i++) {
    int range = i / (ROUNDS / 6) % 2 ? BLOCKS / 50 : BLOCKS;
    int block = (int)random_below((unsigned)range);
    CHECK(is_whole(block, blocks[block].size));
    set_size(&a, block, random_below(3) ? random_size() : 0);
    if (range < BLOCKS && blocks[BLOCKS - 1 - i % BLOCKS].size) set_size(&a, BLOCKS - 1 - i % BLOCKS, 0);
  }
  for (int i = 0; i < BLOCKS; i++) set_size(&a, i, 0);
  alloc_end(&a);
  int left = 0;
  for (int i = 0; i < ALLOC_CLASSES; i++) left += a.open[i] != NULL;
  CHECK_EQUAL(left, 0);
  CHECK(a.regions == NULL);
}

static void test_nothing(void) {
  struct alloc a = {0};
  CHECK(alloc_block(&a, NULL, 5, 0) == NULL); /* Lua passes the kind of object as the old size of none */
  alloc_end(&a);
}

int main(void) {
  test_nothing();
  test_random_blocks();
  return check_summary();
}
