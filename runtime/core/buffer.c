#include "buffer.h"

#include <stdlib.h>
#include <string.h>

static void release(struct loop *loop, struct buffer *b) {
  loop_block_give(loop, b->block, b->capacity);
  *b = (struct buffer){0};
}

/* Doubles, so that n bytes cost O(n) copying in all. */
static char *grow(struct loop *loop, struct buffer *b, size_t needed) {
  size_t capacity = b->capacity ? b->capacity : LOOP_BLOCK;
  while (capacity < needed) {
    if (capacity > SIZE_MAX / 2) return NULL;
    capacity *= 2;
  }
  char *block;
  if (b->block && b->start == 0) {
    block = realloc(b->block, capacity); /* large blocks are remapped, not copied */
    if (!block) return NULL;
  } else {
    block = loop_block_take(loop, capacity);
    if (!block) return NULL;
    size_t size = buffer_size(b);
    if (size) memcpy(block, b->block + b->start, size);
    if (b->block) release(loop, b);
    b->start = 0;
    b->end = size;
  }
  b->block = block;
  b->capacity = capacity;
  return block;
}

char *buffer_reserve(struct loop *loop, struct buffer *b, size_t size) {
  if (b->block && b->capacity - b->end >= size) return b->block + b->end;
  size_t held = buffer_size(b);
  if (size > SIZE_MAX - held) return NULL;
  /* Moving to the front pays when at least half is free there: each byte then moves at most once a round. */
  if (b->block && b->start >= b->capacity / 2 && b->capacity - held >= size) {
    memmove(b->block, b->block + b->start, held);
    b->start = 0;
    b->end = held;
  } else if (!grow(loop, b, held + size)) {
    return NULL;
  }
  return b->block + b->end;
}

int buffer_append(struct loop *loop, struct buffer *b, const char *data, size_t size) {
  if (!size) return 0;
  char *room = buffer_reserve(loop, b, size);
  if (!room) return UV_ENOMEM;
  memcpy(room, data, size);
  buffer_commit(b, size);
  return 0;
}

/* The rest of a burst does not keep the memory of the burst. */
static void shrink(struct loop *loop, struct buffer *b) {
  size_t size = buffer_size(b);
  char *block = loop_block_take(loop, LOOP_BLOCK);
  if (!block) return;
  memcpy(block, b->block + b->start, size);
  release(loop, b);
  *b = (struct buffer){.block = block, .capacity = LOOP_BLOCK, .end = size};
}

void buffer_take(struct loop *loop, struct buffer *b, size_t size) {
  b->start += size;
  if (b->start == b->end && b->block) release(loop, b);
  else if (b->capacity > LOOP_LARGE_BLOCK && buffer_size(b) <= LOOP_BLOCK / 2) shrink(loop, b);
}

void buffer_free(struct loop *loop, struct buffer *b) {
  if (b->block) release(loop, b);
}
