/* What the Lua faces of Reader and Writer share: their structs, and how a reading method is written.
 *
 * A reading method is an attempt on the buffer, repeated until it says that it is done: operate calls it at once, and
 * again each time bytes have come or the stream has ended; at the end it has to be done. What it needs to remember lies
 * on the Lua stack, with the Reader at index 1. Files: lreader.c (life, reading by count, capture), lrecords.c (by
 * separators and formats), lexpect.c, lcopy.c, lwriter.c.
 */
#ifndef CORUN_LSTREAM_H
#define CORUN_LSTREAM_H

#include <stdio.h>

#include "reader.h"
#include "records.h"
#include "runtime.h"
#include "text.h"
#include "writer.h"

#define LINE_LIMIT (64 << 20) /* bytes of one line, record, document */
#define SEPARATOR_KEPT 16

struct lua_reader {
  struct reader core; /* first: a pointer to one is a pointer to the other */
  struct runtime *runtime;
  struct task *owner; /* the task in the middle of an operation, or NULL */
  bool pushing;       /* what is taken is becoming a Lua string: finalizers may run, and must not read */
  char separator[SEPARATOR_KEPT]; /* what core.searched is about */
  size_t separator_size;
  struct json_scan json; /* of the document that comes next */
  uint64_t json_from;    /* where that one begins */
  lua_Integer documents; /* handed out so far */
};

struct lua_writer {
  struct writer core; /* first */
  struct runtime *runtime;
  struct task *owner; /* the task in the middle of a write, or NULL: a write is one unbroken piece */
  struct waitq turn;  /* the tasks whose writes come next */
  FILE *stdio;        /* flushed before each write, so that print and this come in order */
};

/* --- reading (lreader.c) --- */

/* The number of results once it is done, or MORE. */
enum { MORE = -1 };
typedef int (*attempt)(lua_State *L, struct lua_reader *r);

/* The Reader at index 1. */
struct lua_reader *check_lua_reader(lua_State *L);

int operate(lua_State *L, struct lua_reader *r, attempt attempt);

/* The two halves of operate: kind "busy" while another task reads; then the attempts. What an operation changes in the
 * Reader it changes between the two. */
void reading_begin(lua_State *L, struct runtime *rt, struct lua_reader *r);
int reading_go_on(lua_State *L, attempt attempt);
void reading_end(struct lua_reader *r);
int raise_reader_closed(lua_State *L, struct lua_reader *r);

/* Raises the error that has ended the stream. */
int raise_stream_error(lua_State *L, struct lua_reader *r);
/* The same, if there is one, else kind "incomplete" with all that is left, which is taken. */
int raise_incomplete(lua_State *L, struct lua_reader *r, const char *expected);
/* Kind "limit"; nothing is taken. */
int raise_limit(lua_State *L, struct lua_reader *r, const char *what, size_t limit);

/* Pushes `size` bytes from the front, less `cut` of them at the end, and takes them all. In this order: the push may
 * raise, and then nothing is lost. Each push may run finalizers, which may read or close the Reader: what is made of
 * several strings is made of one that was pushed before, never of the buffer. */
int push_front(lua_State *L, struct lua_reader *r, size_t size, size_t cut);

/* The descriptor that a number or an open Lua file (flushed) stands for. */
int check_descriptor(lua_State *L, int index);

/* How many bytes of the stream were taken. */
static inline uint64_t reader_position(const struct reader *r) { return r->total - buffer_size(&r->buffer); }

/* Replaces the string on top of the stack by the same cleaned as the TEXT_ flags say. */
void clean_text(lua_State *L, int flags);

/* Pushes a line or record of `size` bytes at `data` (in the buffer), whose separator begins at `at`, as the flags say,
 * and takes `taken` bytes from the front. */
int push_record(lua_State *L, struct lua_reader *r, const char *data, size_t at, size_t size, int flags, size_t taken);

/* Flags of records, beside those of text.h. TEXT_CRLF is about the end of the record only. */
enum { RECORD_KEEP = 8 };

/* --- writing (lwriter.c) --- */

/* Takes the Writer for one unbroken piece; false where another task has it: park on `turn` and try again. */
bool writing_begin(struct runtime *rt, struct lua_writer *w);
/* Gives it to the next that waits. Harmless where the task does not have it. */
void writing_end(struct runtime *rt, struct lua_writer *w);
int raise_writer_closed(lua_State *L, struct lua_writer *w);
/* What came by print before goes out before. */
void writing_flush_stdio(struct runtime *rt, struct lua_writer *w);

/* --- parts; each adds to the methods of Reader, which lie on top of the stack --- */
void records_register(lua_State *L, struct runtime *rt);
void expect_register(lua_State *L, struct runtime *rt);
void copy_register(lua_State *L, struct runtime *rt);

#endif
