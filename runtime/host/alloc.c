#include "alloc.h"

#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#define UNIT 16
#define SMALL_MOST (ALLOC_CLASSES * UNIT)
#define SLAB_SIZE 16384 /* slabs begin at multiples of it, so that a block's is known from its address */

struct block {
  struct block *next;
};

struct slab {
  struct slab *prev, *next;      /* the ring of those with free blocks */
  struct block *free;            /* given back */
  uint32_t fresh, end;           /* offsets: what was never used begins at fresh */
  uint32_t used, size;           /* blocks in use; bytes of each */
};

#define FIRST ((sizeof(struct slab) + UNIT - 1) / UNIT * UNIT)

static bool is_full(const struct slab *s) { return !s->free && s->fresh + s->size > s->end; }

static void link_slab(struct slab **ring, struct slab *s) {
  if (*ring) {
    s->next = *ring;
    s->prev = s->next->prev;
    s->prev->next = s->next->prev = s;
  } else {
    s->prev = s->next = s;
  }
  *ring = s;
}

static void unlink_slab(struct slab **ring, struct slab *s) {
  if (*ring == s) *ring = s->next == s ? NULL : s->next;
  s->prev->next = s->next;
  s->next->prev = s->prev;
}

static struct slab *new_slab(struct slab **ring, size_t size) {
  void *memory;
  /* malloc's own header goes into what is left: so slabs lie side by side. */
  if (posix_memalign(&memory, SLAB_SIZE, SLAB_SIZE - UNIT)) return NULL;
  struct slab *s = memory;
  *s = (struct slab){.fresh = FIRST, .end = SLAB_SIZE - UNIT, .size = (uint32_t)size};
  link_slab(ring, s);
  return s;
}

static void *take(struct alloc *a, size_t index) {
  struct slab **ring = &a->open[index], *s = *ring;
  if (!s && !(s = new_slab(ring, (index + 1) * UNIT))) return NULL;
  void *block = s->free;
  if (block) {
    s->free = s->free->next;
  } else {
    block = (char *)s + s->fresh;
    s->fresh += s->size;
  }
  s->used++;
  if (is_full(s)) unlink_slab(ring, s);
  return block;
}

static void give(struct alloc *a, size_t index, void *memory) {
  struct slab **ring = &a->open[index];
  struct slab *s = (struct slab *)((uintptr_t)memory & ~(uintptr_t)(SLAB_SIZE - 1));
  if (is_full(s)) link_slab(ring, s);
  struct block *block = memory;
  block->next = s->free;
  s->free = block;
  if (--s->used == 0 && s->next != s) { /* the last one of its size stays for the next block */
    unlink_slab(ring, s);
    free(s);
  }
}

static size_t class_of(size_t size) { return (size - 1) / UNIT; } /* of 0: none */

static void *resize(struct alloc *a, void *block, size_t old_size, size_t size) {
  size_t from = class_of(old_size), to = class_of(size);
  if (from >= ALLOC_CLASSES && to >= ALLOC_CLASSES) return realloc(block, size);
  if (from == to) return block;
  void *new = to < ALLOC_CLASSES ? take(a, to) : malloc(size);
  if (!new) return NULL;
  memcpy(new, block, old_size < size ? old_size : size);
  if (from < ALLOC_CLASSES) give(a, from, block);
  else free(block);
  return new;
}

#ifdef __SANITIZE_ADDRESS__
#define SMALL 0
#else
#define SMALL 1
#endif

void *alloc_block(void *context, void *block, size_t old_size, size_t size) {
  if (!SMALL && size) return realloc(block, size);
  struct alloc *a = context;
  if (block && size) return resize(a, block, old_size, size);
  if (size) return size <= SMALL_MOST ? take(a, class_of(size)) : malloc(size);
  if (!block) return NULL;
  if (SMALL && old_size <= SMALL_MOST) give(a, class_of(old_size), block);
  else free(block);
  return NULL;
}

void alloc_end(struct alloc *a) {
  for (size_t i = 0; i < ALLOC_CLASSES; i++) {
    free(a->open[i]); /* one of each size at most, and empty */
    a->open[i] = NULL;
  }
}
