#include "relay.h"

#include <errno.h>
#include <fcntl.h>
#include <stddef.h>
#include <stdlib.h>
#include <unistd.h>

#include "fd.h"

#ifdef __linux__

#define MOST (1 << 20) /* bytes a round; more than a pipe holds unless root made it so */

static void end_output(struct relay_output *o) {
  if (o->watch) watch_close(o->watch);
  o->watch = NULL;
  fd_close(&o->fd);
  fd_close(&o->in);
  fd_close(&o->out);
  o->held = 0;
}

static void end_source(struct relay *r) {
  if (r->watch) watch_close(r->watch);
  r->watch = NULL;
  fd_close(&r->source);
}

static void finish(struct relay *r, int error) {
  if (r->done) return;
  r->done = true;
  r->error = error;
  loop_disown(&r->owned);
  end_source(r);
  for (size_t i = 0; i < r->count; i++) end_output(&r->outputs[i]);
  waitq_wake_all(&r->ended);
}

/* splice(2) refuses files that were opened for appending: then with a copy. They do not block. */
static ssize_t copy_out(struct relay_output *o) {
  char bytes[16384];
  ssize_t n = read(o->out, bytes, sizeof bytes), written = 0;
  while (written < n) {
    ssize_t part = write(o->fd, bytes + written, (size_t)(n - written));
    if (part < 0 && errno == EINTR) continue;
    if (part < 0) return -1;
    written += part;
  }
  return n;
}

static ssize_t move_out(struct relay_output *o) {
  ssize_t n = splice(o->out, NULL, o->fd, NULL, o->held, SPLICE_F_MOVE | SPLICE_F_NONBLOCK);
  return n < 0 && errno == EINVAL && !o->polled ? copy_out(o) : n;
}

/* Out of the pipe in between, as far as the reader takes it. */
static void flush(struct relay_output *o) {
  while (o->held) {
    ssize_t n = move_out(o);
    if (n < 0 && errno == EINTR) continue;
    if (n < 0 && errno == EAGAIN && o->watch) {
      if (watch_set(o->watch, UV_WRITABLE)) end_output(o);
      return;
    }
    if (n <= 0) { /* nobody reads it any more, or a full disk: the others go on */
      end_output(o);
      return;
    }
    o->held -= (size_t)n;
  }
  if (o->watch) watch_set(o->watch, 0);
}

/* Fills the pipe of the first output, repeats that in the others', and takes it from the source with the last. False
 * when there is nothing to be had now. */
static bool next_round(struct relay *r) {
  struct relay_output *last = NULL;
  ssize_t n = -1;
  for (size_t i = 0; i < r->count; i++)
    if (r->outputs[i].fd >= 0) last = &r->outputs[i];
  for (struct relay_output *o = r->outputs; o <= last; o++) {
    if (o->fd < 0) continue;
    size_t most = n < 0 ? MOST : (size_t)n;
    ssize_t got;
    do got = o == last ? splice(r->source, NULL, o->in, NULL, most, SPLICE_F_MOVE | SPLICE_F_NONBLOCK)
                       : tee(r->source, o->in, most, SPLICE_F_NONBLOCK);
    while (got < 0 && errno == EINTR);
    if (got < 0 && errno == EAGAIN && n < 0) return false;
    if (got < 0 || (n >= 0 && got != n)) { /* cannot be: the pipes in between are empty and as long as the source */
      finish(r, got < 0 ? uv_translate_sys_error(errno) : UV_EIO);
      return false;
    }
    n = got;
    o->held = (size_t)n;
  }
  if (n == 0) end_source(r);
  r->total += n > 0 ? (uint64_t)n : 0;
  return n > 0;
}

/* True while an output still holds bytes. */
static bool flush_all(struct relay *r, size_t *open) {
  bool holds = false;
  *open = 0;
  for (size_t i = 0; i < r->count; i++) {
    flush(&r->outputs[i]);
    holds = holds || r->outputs[i].held;
    *open += r->outputs[i].fd >= 0;
  }
  if (r->first_decides && r->outputs[0].fd < 0) *open = 0;
  return holds;
}

#define ROUNDS 64 /* then the loop turns, so that the others come to their turn */

static void step(struct relay *r) {
  size_t open;
  for (int i = 0; i < ROUNDS && !r->done; i++) {
    bool holds = flush_all(r, &open);
    if (!open || (!holds && r->source < 0)) {
      finish(r, 0);
      return;
    }
    if (holds) { /* an output wakes us */
      if (r->watch) watch_set(r->watch, 0);
      return;
    }
    if (!next_round(r) && r->source >= 0) break;
  }
  if (r->watch) watch_set(r->watch, UV_READABLE);
}

static void source_event(void *owner, int events) {
  (void)events;
  step(owner);
}

static void output_event(void *owner, int events) {
  (void)events;
  struct relay_output *o = owner;
  step(o->relay);
}

static void close_owned(struct owned *owned) {
  relay_close((struct relay *)((char *)owned - offsetof(struct relay, owned)));
}

int relay_open(struct relay *r, struct loop *loop, int source, bool first_decides) {
  *r = (struct relay){.loop = loop, .source = source, .first_decides = first_decides};
  waitq_init(&r->ended);
  loop_own(loop, &r->owned, close_owned);
  return 0;
}

int relay_add(struct relay *r, int fd, bool polled) {
  struct relay_output *outputs = realloc(r->outputs, (r->count + 1) * sizeof *outputs);
  if (!outputs) {
    fd_close(&fd);
    return UV_ENOMEM;
  }
  r->outputs = outputs;
  struct relay_output *o = &outputs[r->count++];
  *o = (struct relay_output){.fd = fd, .in = -1, .out = -1, .polled = polled};
  int pair[2], err = fd_pipe(pair);
  if (err) return err;
  o->out = pair[0];
  o->in = pair[1];
  int size = fcntl(r->source, F_GETPIPE_SZ);
  if (size > fcntl(o->in, F_GETPIPE_SZ) && fcntl(o->in, F_SETPIPE_SZ, size) < 0) return uv_translate_sys_error(errno);
  return 0;
}

int relay_start(struct relay *r) {
  int err = watch_open(r->loop, r->source, UV_READABLE, source_event, r, &r->watch);
  for (size_t i = 0; i < r->count && !err; i++) {
    struct relay_output *o = &r->outputs[i];
    o->relay = r;
    if (o->polled) err = watch_open(r->loop, o->fd, 0, output_event, o, &o->watch);
  }
  if (err) finish(r, err);
  return err;
}

void relay_close(struct relay *r) {
  finish(r, 0);
  free(r->outputs);
  r->outputs = NULL;
  r->count = 0;
}

#else

int relay_open(struct relay *r, struct loop *loop, int source, bool first_decides) {
  (void)first_decides;
  *r = (struct relay){.loop = loop, .source = -1, .done = true};
  waitq_init(&r->ended);
  fd_close(&source);
  return UV_ENOTSUP;
}

int relay_add(struct relay *r, int fd, bool polled) {
  (void)r, (void)polled;
  fd_close(&fd);
  return UV_ENOTSUP;
}

int relay_start(struct relay *r) {
  (void)r;
  return UV_ENOTSUP;
}

void relay_close(struct relay *r) { (void)r; }

#endif
