/* Relay: moves what comes out of one pipe into several others, inside of the kernel (Linux: tee(2), splice(2)).
 *
 * tee(2) can only repeat what is at the front of a pipe, and each of the outputs may take less of it than the others.
 * So each output has a pipe of its own in between, as long as the source: it always takes a whole round. When all of
 * these are empty again, the next round comes. The slowest output sets the pace; one that nobody reads any more is left
 * out, and when none is left, the source is closed: its writer gets SIGPIPE.
 *
 * Life: relay_open, relay_add for each output, relay_start; it works while the loop turns, until `ended` is woken.
 * relay_close at any time.
 *
 * Ownership: embedded in its owner, who calls relay_close before going away. The descriptors are the relay's from
 * relay_open and relay_add on, whatever these return; the outputs close when the last byte is out.
 */
#ifndef CORUN_RELAY_H
#define CORUN_RELAY_H

#include "loop.h"
#include "waiter.h"
#include "watch.h"

struct relay;

struct relay_output {
  struct relay *relay;
  int fd;              /* -1 once it is out */
  int in, out;         /* the ends of the pipe in between: we write to `in` and read from `out` */
  size_t held;         /* bytes in it */
  struct watch *watch;
  bool polled;
};

struct relay {
  /* read-only */
  uint64_t total;      /* bytes that came */
  bool done;           /* all is out, or given up */
  int error;           /* why the source was given up, or 0 */
  struct waitq ended;
  /* private */
  struct loop *loop;
  struct owned owned;
  int source;          /* -1 once it has ended */
  bool first_decides;
  struct watch *watch;
  struct relay_output *outputs;
  size_t count;
};

/* UV_ENOTSUP where the system cannot do it. `first_decides`: the relay ends when nobody reads the first output any
 * more, whoever reads the others. */
int relay_open(struct relay *r, struct loop *loop, int source, bool first_decides);
/* `polled`: false where writing to `fd` does not fail but block, or never blocks (a file). */
int relay_add(struct relay *r, int fd, bool polled);
int relay_start(struct relay *r);
void relay_close(struct relay *r);

#endif
