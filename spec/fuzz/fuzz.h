/* What the fuzz targets share: an input is bytes, and a seed that says how they are cut. */
#ifndef FUZZ_H
#define FUZZ_H

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <lua.h>

#define REQUIRE(condition) ((condition) ? (void)0 : fail(#condition, __FILE__, __LINE__))

static inline void fail(const char *condition, const char *file, int line) {
  fprintf(stderr, "%s:%d: not so: %s\n", file, line, condition);
  abort();
}

struct input {
  const char *data;
  size_t size;
  uint32_t cuts; /* state of the generator of sizes */
};

static inline unsigned take_byte(struct input *in) {
  if (!in->size) return 0;
  in->size--;
  return (unsigned char)*in->data++;
}

static inline struct input take_part(struct input *in, size_t size) {
  struct input part = {in->data, size < in->size ? size : in->size, in->cuts};
  in->data += part.size;
  in->size -= part.size;
  return part;
}

static inline size_t random_below(struct input *in, size_t limit) {
  in->cuts = in->cuts * 1664525u + 1013904223u;
  return (size_t)((uint64_t)in->cuts * limit >> 32);
}

/* From 1 to `size`, mostly small. */
static inline size_t next_piece(struct input *in, size_t size) {
  size_t most = random_below(in, 4) ? 4 : size;
  return 1 + random_below(in, most < size ? most : size);
}

/* A copy of just that size: a read beyond it is seen by the sanitizer. */
static inline char *copy_of(const char *data, size_t size) {
  char *copy = malloc(size);
  if (size) memcpy(copy, data, size);
  return copy;
}

static inline bool same(const char *a, size_t a_size, const char *b, size_t b_size) {
  return a_size == b_size && (!a_size || !memcmp(a, b, a_size));
}

/* The first place of `part`, or SIZE_MAX; as simple as it can be. */
static inline size_t find_plainly(const char *data, size_t size, const char *part, size_t part_size) {
  for (size_t i = 0; i + part_size <= size; i++)
    if (!memcmp(data + i, part, part_size)) return i;
  return SIZE_MAX;
}

/* Patterns (patterns.c); at index 2 of the stack lies string.find. */
void fuzz_patterns(struct input *in, lua_State *lua);

#endif
