/* Reader: bytes from a descriptor, read ahead into one buffer while the loop turns.
 *
 * Life: reader_open and reader_start (or reader_open_copy), then any of the rest, then reader_close. At the end of the
 * stream or on an error the descriptor is given back at once; the bytes that were read stay until they are taken.
 *
 * Reading ahead stops at high_water bytes that nobody asks for (or at `demand`, what a waiting reader needs): the
 * child then blocks in its write, as on a shell pipe. Each event wakes all of `readable`; the end also wakes `ended`.
 *
 * Ownership: embedded in its owner, who calls reader_close before going away; after that no callback comes. The
 * descriptor belongs to the Reader from reader_open on, whatever that returns.
 */
#ifndef CORUN_READER_H
#define CORUN_READER_H

#include "buffer.h"
#include "waiter.h"
#include "watch.h"

#define READER_HIGH_WATER (1 << 20)

/* After so many full reads a stream is busy: it gets a longer pipe (F_SETPIPE_SZ) and a larger buffer. Where
 * child and we run on two cores, most of the time goes into waking each other: a pipe of 256 KiB is 3.3 times as fast
 * as one of 64 there, and longer ones are no faster. Only then, since a user has pages for few hundred long pipes. */
#define READER_BUSY 4

/* What a captured stream does with more than its limit. */
enum reader_overflow {
  READER_WAIT,     /* no capture: stop reading at high_water */
  READER_FAIL,     /* stop reading, set `overflowed`, wake `ended` */
  READER_TRUNCATE, /* keep the first and the last half of the limit */
  READER_SPILL,    /* move to an unlinked temporary file, long before the limit, so that memory stays small */
};

struct reader {
  /* read-only */
  struct buffer buffer;
  int fd;                /* -1 once closed, at the end, or for a copy */
  int error;             /* the error that ended the stream, or 0 */
  bool eof;              /* no more bytes will come (set on an error, too) */
  bool closed;           /* reader_close was called */
  bool overflowed;       /* READER_FAIL: there was more than the limit */
  uint64_t total;        /* bytes that came */
  uint64_t omitted;      /* bytes that READER_TRUNCATE left out */
  uint64_t active_at;    /* loop_now of the last byte */
  int spill_fd;          /* READER_SPILL: the temporary file once there is one, else -1 */
  uint64_t spilled;      /* bytes in it */
  struct waitq readable; /* woken by bytes, the end and close */
  struct waitq ended;    /* woken by the end, close and overflow */
  /* public */
  size_t searched;       /* front bytes known to hold no separator; the owner of the search sets it */
  /* private */
  struct owned owned;
  struct loop *loop;
  struct watch *watch;
  bool is_file;          /* never blocks, so it is not polled */
  bool is_pty;           /* the master of a pseudo terminal: EIO is its end */
  bool is_our_terminal;  /* the one that terminal.h lends: not read while a child has it */
  struct waiter returned; /* queued while a child has our terminal */
  bool held, wanted;     /* reader_hold, reader_want */
  bool lazy;             /* a terminal that is not the child's own: read only while somebody waits */
  bool is_last;          /* reader_end_terminal: what comes now is read in any case */
  bool drained;          /* the last read has got less than it had room for, */
  unsigned drained_at;   /* when the loop had seen so many writes */
  unsigned char full;    /* reads that filled the room they had, up to READER_BUSY */
  size_t high_water, demand;
  enum reader_overflow overflow;
  struct reader *copy;   /* a second Reader that gets the same bytes, or NULL */
  struct reader *source; /* the other way round */
};

/* Takes `fd`, which must not be shared where it could block (fd_reopen). Nothing is read before reader_start, which
 * ends the stream with an error where the descriptor cannot be polled. */
void reader_open(struct reader *r, struct loop *loop, int fd);
int reader_start(struct reader *r);

/* To be said of the master of a pseudo terminal, after reader_open. */
static inline void reader_set_pty(struct reader *r) { r->is_pty = true; }

/* To be called when the leader of its session has ended: that is the end of the terminal, whoever else writes to it. What
 * is there is read, though it be over high_water (the kernel keeps some 12 KiB), and the stream ends. */
void reader_end_terminal(struct reader *r);

/* No more bytes: as if the stream had ended here. What was read stays. */
void reader_end(struct reader *r);

/* Says, before reader_start, that this is the terminal that terminal.h lends. */
void reader_is_our_terminal(struct reader *r);

/* Opens `copy` on the bytes that are taken from `r` from now on; the slower of the two sets the pace. One at most. */
void reader_open_copy(struct reader *copy, struct reader *r);

/* No more bytes for the copy: it is at its end. */
void reader_end_copy(struct reader *r);

/* One read(2) into the buffer: the number of bytes, 0 at the end, UV_EAGAIN, or the error. */
ssize_t reader_fill(struct reader *r);

/* The same for who waits in the loop when there is nothing: UV_EAGAIN without a system call where the last read has
 * emptied the pipe, and since then the loop has not reported more and we have not written anything that this could be
 * the answer to. Who reads a stream so gives its writer the time to fill the pipe: on two cores that is three times as
 * fast. In a dialogue on one core, on the other hand, the answer is there when the write returns. */
ssize_t reader_try(struct reader *r);

/* Moves bytes from the descriptor to `fd`, one of the two being a pipe, without a copy (splice(2)): their number, 0 at
 * the end, UV_EAGAIN where one of the two would block, UV_EPIPE; UV_ENOTSUP where it cannot be done, also while bytes
 * are buffered: reader_fill and a write can. */
ssize_t reader_splice(struct reader *r, int fd);

/* While held, nothing is read ahead; after reader_want, `readable` is woken once when there is something to read. */
void reader_hold(struct reader *r, bool on);
void reader_want(struct reader *r);

/* To be called by who is about to wait on `readable`: a lazy Reader looks only then. What is typed on our own terminal
 * while nobody asks for it is left to others, as a child that inherits it or the REPL. */
static inline void reader_await(struct reader *r) {
  if (r->lazy) reader_want(r);
}

/* Takes bytes from the front of the buffer, as many as there are; `searched` moves along. */
void reader_take(struct reader *r, size_t size);

/* True where taking a part of what is buffered changes nothing for anybody: nobody waits for room. */
static inline bool reader_has_slack(const struct reader *r) {
  return !r->source && buffer_size(&r->buffer) < READER_HIGH_WATER && r->overflow == READER_WAIT;
}

/* Says that somebody waits until there are `size` bytes, though it be over high_water; 0 ends that. */
void reader_demand(struct reader *r, size_t size);

/* Collects up to `limit` bytes without anybody asking. */
void reader_capture(struct reader *r, size_t limit, enum reader_overflow overflow);

/* READER_SPILL: whether more than the limit has come. */
bool reader_is_over(const struct reader *r);

/* READER_TRUNCATE: makes the kept bytes exactly the limit; before the result is taken. */
void reader_trim(struct reader *r);

/* Gives up the descriptor (blocking again) for a child to read from, if no byte of it is buffered: then the Reader
 * is closed. UV_EBUSY when bytes were read ahead, UV_EOF when there is no descriptor any more. */
int reader_detach(struct reader *r);

void reader_close(struct reader *r);

/* The first place of `sep` in the buffer, as an offset, or SIZE_MAX. Goes on where the last search with
 * the same separator stopped: a caller that changes the separator sets `searched` to 0 first. */
size_t reader_find(struct reader *r, const char *sep, size_t sep_size);

#endif
