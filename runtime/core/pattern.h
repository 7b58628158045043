/* Patterns: Lua's patterns (Lua manual 6.4.1) searched for in a stream, in time linear in its length.
 *
 * Lua's own matcher tries one way after the other and goes back in its subject, so it needs all of it, and some
 * patterns cost it the square of its length or more. This one follows all ways at once, byte by byte (K. Thompson,
 * 1968; with the captures and priorities of R. Pike's sam): no byte is needed again, however the stream is cut, and
 * what it finds is what string.find finds in the whole. Of several patterns that is the one whose match begins first,
 * then the one that was added first. Classes (%a) are those of the C locale.
 *
 * Not possible so, and refused: %b and back references (%1), which have to remember what came before.
 *
 * Order: patterns_new, patterns_add for all of them, then search_new and the rest.
 *
 * Ownership: patterns_new and search_new allocate, the _free functions (harmless with NULL) free; in between only
 * patterns_add allocates. A search uses its patterns, which must outlive it; any number of searches may share them.
 * One thread.
 */
#ifndef CORUN_PATTERN_H
#define CORUN_PATTERN_H

#include <stdbool.h>
#include <stddef.h>

#define PATTERN_CAPTURES 32 /* as LUA_MAXCAPTURES */
#define PATTERN_POSITION ((size_t)-1)

struct patterns;
struct search;

struct patterns *patterns_new(void); /* NULL when out of memory */
void patterns_free(struct patterns *p);

/* Adds one; `plain`: its characters mean themselves, as they do (string.find has it so, too) when none is of
 * ^$*+?.([%-. NULL, or what is wrong with it, in words ("malformed pattern (ends with '%')", "not enough memory"); then
 * nothing was added. An empty pattern matches at once. */
const char *patterns_add(struct patterns *p, const char *text, size_t size, bool plain);

/* The longest run of single characters in the only pattern, which each match holds, for a search in a hurry; NULL if
 * there is none. It is theirs until patterns_free. */
const char *patterns_literal(const struct patterns *p, size_t *size);

/* Whether one of them is somewhere in this line, which is a whole subject of its own (^ and $ are its ends). */
bool patterns_match(struct patterns *p, const char *line, size_t size);

struct match {
  int index;         /* which pattern, from 0 */
  size_t start, end; /* in bytes from where the search began */
  int count;         /* of captures */
  struct {
    size_t start;
    size_t size;     /* PATTERN_POSITION: a position capture, () */
  } captures[PATTERN_CAPTURES];
};

enum search_state {
  SEARCH_NONE,      /* no match in what was fed */
  SEARCH_UNDECIDED, /* one (search_match), but more bytes could make it longer, or give one that begins earlier */
  SEARCH_FOUND,     /* search_match is what string.find would give */
};

struct search *search_new(struct patterns *p); /* NULL when out of memory */
void search_free(struct search *s);
void search_restart(struct search *s);

/* Feeds the next bytes of the stream. Once FOUND it stays so, and the bytes behind are not looked at. */
enum search_state search_feed(struct search *s, const char *data, size_t size);

/* No more bytes will come: NONE or FOUND. */
enum search_state search_end(struct search *s);

/* How many bytes were fed. */
size_t search_size(const struct search *s);

/* The match so far, NULL while the state is NONE. It changes with the next call. */
const struct match *search_match(const struct search *s);

#endif
