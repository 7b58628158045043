/* Text: what people ask to have cleaned in the output of programs. */
#ifndef CORUN_TEXT_H
#define CORUN_TEXT_H

#include <stdbool.h>
#include <stddef.h>

enum {
  TEXT_CRLF = 1, /* CRs right before LF go: all of them, as a terminal adds one to what a program writes */
  TEXT_UTF8 = 2, /* each maximal part of a bad sequence becomes U+FFFD (Unicode 15, 3.9, as in the WHATWG's decoder) */
  TEXT_ANSI = 4, /* escape sequences of terminals go (ECMA-48: CSI, OSC and the other strings, two- and three-byte ones,
                  * all as they begin with ESC: the bytes of their 8-bit forms are parts of UTF-8 characters) */
};

/* True where text_clean would change nothing; much faster. */
bool text_is_clean(const char *data, size_t size, int flags);

/* Cleans into `out`, which has room for 3 * size bytes and is apart from `data`; the size of the result. ANSI goes
 * first, then CRLF, then UTF-8, so the result is clean. An escape sequence that is cut at the end goes, too; one that
 * is malformed goes up to the byte that does not fit, and no ESC ever stays. */
size_t text_clean(const char *data, size_t size, int flags, char *out);

#endif
