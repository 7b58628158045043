/* Memory for the host's Lua state: small blocks, which are most of what Lua asks for, from slabs.
 *
 * Lua tells the size of what it frees, so a block needs no header and finding its list costs nothing: lines become
 * strings a fifth faster than with malloc, and each small object is 8 to 16 bytes smaller. Slabs come from regions of a
 * megabyte, which go back to the system when all their blocks are free. Larger blocks are malloc's.
 *
 * Ownership: one struct for each state, which outlives it; zeroed is empty; alloc_end frees what is left. One
 * thread.
 */
#ifndef CORUN_ALLOC_H
#define CORUN_ALLOC_H

#include <stddef.h>

#define ALLOC_CLASSES 8 /* of 16, 32, … bytes */

struct alloc {
  struct slab *open[ALLOC_CLASSES]; /* with free blocks, in rings; NULL: none */
  struct region *regions;           /* with free slabs, in a ring; NULL: none */
};

/* A lua_Alloc; `context` is the struct. Under a sanitizer it is malloc alone, so that each block is watched. */
void *alloc_block(void *context, void *block, size_t old_size, size_t size);

/* After lua_close. */
void alloc_end(struct alloc *a);

#endif
