#include "alloc.h"

#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#define UNIT 16
#define SMALL_MOST (ALLOC_CLASSES * UNIT)
/* Slabs and regions begin at multiples of their sizes, so that a block's are known from its address. */
#define SLAB_SIZE 16384
#define REGION_SIZE (64 * SLAB_SIZE)
#define ALL_SLABS (~1ull) /* of a region, as bits; the first holds its head */

struct block {
  struct block *next;
};

struct region {
  struct region *prev, *next; /* the ring of those with free slabs */
  uint64_t free;              /* its free slabs */
};

struct slab {
  struct slab *prev, *next;      /* the ring of those with free blocks */
  struct block *free;            /* given back */
  uint32_t fresh;                /* offset of what was never used */
  uint32_t used, size;           /* blocks in use; bytes of each */
};

#define FIRST ((sizeof(struct slab) + UNIT - 1) / UNIT * UNIT)

static bool is_full(const struct slab *s) { return !s->free && s->fresh + s->size > SLAB_SIZE; }

/* Rings; `ring` is the pointer to one of its members. */
#define LINK(ring, member)                                 \
  do {                                                     \
    (member)->next = (ring) ? (ring) : (member);           \
    (member)->prev = (ring) ? (ring)->prev : (member);     \
    (member)->prev->next = (member)->next->prev = (member); \
    (ring) = (member);                                     \
  } while (0)
#define UNLINK(ring, member)                                                            \
  do {                                                                                  \
    if ((ring) == (member)) (ring) = (member)->next == (member) ? NULL : (member)->next; \
    (member)->prev->next = (member)->next;                                              \
    (member)->next->prev = (member)->prev;                                              \
  } while (0)

/* --- regions --- */

static struct region *region_of(const void *memory) {
  return (struct region *)((uintptr_t)memory & ~(uintptr_t)(REGION_SIZE - 1));
}

static bool new_region(struct alloc *a) {
  char *memory = mmap(NULL, 2 * REGION_SIZE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (memory == MAP_FAILED) return false;
  struct region *r = region_of(memory + REGION_SIZE - 1); /* the first that begins at a multiple */
  size_t before = (size_t)((char *)r - memory);
  if (before) munmap(memory, before);
  munmap((char *)r + REGION_SIZE, REGION_SIZE - before);
  r->free = ALL_SLABS;
  LINK(a->regions, r);
  return true;
}

static void *take_slab(struct alloc *a) {
  if (!a->regions && !new_region(a)) return NULL;
  struct region *r = a->regions;
  int index = __builtin_ctzll(r->free);
  r->free &= ~(1ull << index);
  if (!r->free) UNLINK(a->regions, r);
  return (char *)r + (size_t)index * SLAB_SIZE;
}

static void give_slab(struct alloc *a, void *slab) {
  struct region *r = region_of(slab);
  if (!r->free) LINK(a->regions, r);
  r->free |= 1ull << ((size_t)((char *)slab - (char *)r) / SLAB_SIZE);
  if (r->free != ALL_SLABS || r->next == r) return; /* the last one stays for what comes next */
  UNLINK(a->regions, r);
  munmap(r, REGION_SIZE);
}

/* --- blocks --- */

static struct slab *new_slab(struct alloc *a, size_t index) {
  struct slab *s = take_slab(a);
  if (!s) return NULL;
  *s = (struct slab){.fresh = FIRST, .size = (uint32_t)((index + 1) * UNIT)};
  LINK(a->open[index], s);
  return s;
}

static void *take(struct alloc *a, size_t index) {
  struct slab *s = a->open[index] ? a->open[index] : new_slab(a, index);
  if (!s) return NULL;
  void *block = s->free;
  if (block) {
    s->free = s->free->next;
  } else {
    block = (char *)s + s->fresh;
    s->fresh += s->size;
  }
  s->used++;
  if (is_full(s)) UNLINK(a->open[index], s);
  return block;
}

static void give(struct alloc *a, size_t index, void *memory) {
  struct slab *s = (struct slab *)((uintptr_t)memory & ~(uintptr_t)(SLAB_SIZE - 1));
  if (is_full(s)) LINK(a->open[index], s);
  struct block *block = memory;
  block->next = s->free;
  s->free = block;
  if (--s->used == 0 && s->next != s) { /* the last one of its size stays for the next block */
    UNLINK(a->open[index], s);
    give_slab(a, s);
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
    if (a->open[i]) give_slab(a, a->open[i]); /* one of each size at most, and empty */
    a->open[i] = NULL;
  }
  if (a->regions) munmap(a->regions, REGION_SIZE);
  a->regions = NULL;
}
