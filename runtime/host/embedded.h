/* The Lua sources that the executable carries, compiled where that is safe: made at build time by embed.c. */
#ifndef CORUN_EMBEDDED_H
#define CORUN_EMBEDDED_H

#include <stddef.h>

struct embedded {
  const char *name; /* a module, "corun.process", or a script, "examples/checksums.lua"; NULL ends the list */
  const char *chunk; /* what Lua calls it */
  const char *code;
  size_t size;
};
extern const struct embedded embedded_sources[];

#endif
