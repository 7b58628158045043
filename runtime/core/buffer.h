/* A byte queue in one piece of memory: bytes are added at the end and taken from the front.
 *
 * What is queued is always contiguous (buffer_data), so a line can be searched and handed out without a copy. There
 * is memory only while there are bytes: taking the last one gives the block back to the loop, and a few bytes that are
 * left in a large block move to a small one.
 *
 * Ownership: embedded in a Reader or Writer; buffer_free when that closes. Pointers into it hold until the next
 * call that reserves or takes.
 */
#ifndef CORUN_BUFFER_H
#define CORUN_BUFFER_H

#include "loop.h"

struct buffer {
  char *block;       /* NULL while empty */
  size_t capacity;   /* of block */
  size_t start, end; /* the bytes are block[start .. end) */
};

static inline size_t buffer_size(const struct buffer *b) { return b->end - b->start; }
static inline const char *buffer_data(const struct buffer *b) {
  return b->block ? b->block + b->start : "";
}

/* Room for `size` more bytes at the returned place, or NULL when out of memory (nothing changed). Follow with
 * buffer_commit, or with buffer_take(loop, b, 0) when nothing came. */
char *buffer_reserve(struct loop *loop, struct buffer *b, size_t size);
static inline size_t buffer_room(const struct buffer *b) { return b->capacity - b->end; }
static inline void buffer_commit(struct buffer *b, size_t size) { b->end += size; }

/* Adds a copy; UV_ENOMEM when it does not fit in memory. */
int buffer_append(struct loop *loop, struct buffer *b, const char *data, size_t size);

/* Takes `size` bytes (at most buffer_size) from the front. */
void buffer_take(struct loop *loop, struct buffer *b, size_t size);
void buffer_free(struct loop *loop, struct buffer *b);

#endif
