/* Writer: bytes to a descriptor that may not take them yet.
 *
 * writer_write hands to the kernel what it takes now. The caller queues the rest (writer_queue) where that leaves
 * the queue below high_water, or waits on `writable` and comes again: so a slow reader makes the caller wait and not
 * the memory grow. Queued bytes go out while the loop turns; once no more than low_water of them are left, those who
 * wait are woken. (Two marks, so that they come back for more than a few bytes each time.)
 *
 * An error (EPIPE above all) drops the queue, closes the descriptor, stays in `error` and wakes everybody.
 *
 * Ownership: embedded in its owner, who calls writer_close before going away. The descriptor is the Writer's from
 * writer_open on, whatever that returns.
 */
#ifndef CORUN_WRITER_H
#define CORUN_WRITER_H

#include <sys/uio.h>

#include "buffer.h"
#include "waiter.h"
#include "watch.h"

#define WRITER_HIGH_WATER (1 << 20)
#define WRITER_LOW_WATER (WRITER_HIGH_WATER / 4)

struct writer {
  /* read-only */
  struct buffer queue;
  int fd;                /* -1 once closed */
  int error;             /* what ended it, or 0 */
  uint64_t total;        /* bytes that the kernel has taken */
  bool ending;           /* writer_end was called: no more writes */
  struct waitq writable; /* woken when the descriptor takes bytes again and the queue is at low_water, or it is over */
  struct waitq drained;  /* woken each time the queue gets empty, and when it is over */
  /* public */
  size_t high_water, low_water;
  bool is_terminal;      /* the master of a pseudo terminal, see writer_open_terminal */
  /* private */
  struct owned owned;
  struct loop *loop;
  struct watch *watch;
  bool is_file;
  int last;              /* the last byte that a terminal got, -1: none */
};

void writer_open(struct writer *w, struct loop *loop, int fd);

/* The same for the master of a pseudo terminal: what is written is typed. */
void writer_open_terminal(struct writer *w, struct loop *loop, int fd);

/* To be called when the leader of its session has ended: nobody reads any more what is typed. Once the Reader has let go
 * of the master, too, the kernel hangs the terminal up for whoever is left. */
void writer_end_terminal(struct writer *w);

/* Types an end of file behind what is queued; the Writer stays open. UV_ENOTSUP: the terminal has no key for it. */
int writer_type_eof(struct writer *w);

/* One writev(2), if the queue is empty: the bytes taken (0 when it would block), or the error. */
ssize_t writer_write(struct writer *w, const struct iovec *parts, int count);

int writer_queue(struct writer *w, const char *data, size_t size);

/* One write(2) of what is queued. */
void writer_flush(struct writer *w);

/* Asks for `writable` to be woken. */
void writer_want(struct writer *w);

/* What somebody has met who writes to the descriptor by other means: bytes that went, or the error that ends it. */
void writer_note(struct writer *w, ssize_t written);

/* No more writes: the descriptor closes (EOF for the child) as soon as the queue is out. */
void writer_end(struct writer *w);

/* Tries once more to get the queue out, then closes whatever is left. */
void writer_close(struct writer *w);

#endif
