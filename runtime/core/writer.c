#include "writer.h"

#include <errno.h>
#include <stddef.h>
#include <unistd.h>

#include "fd.h"
#include "pty.h"

static void finish(struct writer *w, int error) {
  loop_disown(&w->owned);
  w->error = error;
  w->ending = true;
  if (w->watch) watch_close(w->watch);
  w->watch = NULL;
  fd_close(&w->fd);
  buffer_free(w->loop, &w->queue);
  waitq_wake_all(&w->writable);
  waitq_wake_all(&w->drained);
}

static void watch_event(void *owner, int events);

/* Most Writers never have to wait, so there is no watch before the first time. */
static void set_watch(struct writer *w, bool wanted) {
  if (w->watch) {
    watch_set(w->watch, wanted ? UV_WRITABLE : 0);
  } else if (wanted && !w->is_file) {
    int err = watch_open(w->loop, w->fd, UV_WRITABLE, watch_event, w, &w->watch);
    if (err) finish(w, err);
  }
}

static void update_watch(struct writer *w) {
  set_watch(w, buffer_size(&w->queue) || !waitq_empty(&w->writable));
}

/* The last of the first `size` bytes. */
static int last_byte(const struct iovec *parts, size_t size) {
  for (; size > parts->iov_len; parts++) size -= parts->iov_len;
  return ((const unsigned char *)parts->iov_base)[size - 1];
}

static ssize_t write_some(struct writer *w, const struct iovec *parts, int count) {
  ssize_t n;
  do n = writev(w->fd, parts, count);
  while (n < 0 && errno == EINTR);
  w->loop->writes++;
  if (n >= 0) {
    w->total += (uint64_t)n;
    if (w->is_terminal && n > 0) w->last = last_byte(parts, (size_t)n);
    return n;
  }
  if (errno == EAGAIN) return 0;
  int err = uv_translate_sys_error(errno);
  finish(w, err);
  return err;
}

void writer_flush(struct writer *w) {
  size_t size = buffer_size(&w->queue);
  if (!size || w->fd < 0) return;
  struct iovec part = {(char *)buffer_data(&w->queue), size};
  ssize_t n = write_some(w, &part, 1);
  if (n <= 0) return;
  buffer_take(w->loop, &w->queue, (size_t)n);
  if ((size_t)n < size) return;
  if (w->ending) finish(w, 0);
  else waitq_wake_all(&w->drained);
}

static void watch_event(void *owner, int events) {
  (void)events;
  struct writer *w = owner;
  writer_flush(w);
  if (w->fd < 0) return;
  if (buffer_size(&w->queue) <= w->low_water) waitq_wake_all(&w->writable);
  update_watch(w);
}

static void close_owned(struct owned *owned) {
  writer_close((struct writer *)((char *)owned - offsetof(struct writer, owned)));
}

void writer_open(struct writer *w, struct loop *loop, int fd) {
  *w = (struct writer){.fd = fd, .loop = loop, .high_water = WRITER_HIGH_WATER, .low_water = WRITER_LOW_WATER};
  waitq_init(&w->writable);
  waitq_init(&w->drained);
  w->is_file = fd_is_file(fd) || fd_set_nonblocking(fd, true);
  loop_own(loop, &w->owned, close_owned);
}

void writer_open_terminal(struct writer *w, struct loop *loop, int fd) {
  writer_open(w, loop, fd);
  w->is_terminal = true;
  w->last = -1;
}

void writer_end_terminal(struct writer *w) {
  if (w->fd >= 0) finish(w, UV_EPIPE);
}

int writer_type_eof(struct writer *w) {
  if (w->fd < 0 || w->ending) return 0;
  size_t size = buffer_size(&w->queue);
  int last = size ? (unsigned char)buffer_data(&w->queue)[size - 1] : w->last;
  char keys[2];
  int count = pty_eof_keys(w->fd, last, keys);
  if (count < 0) return count;
  int err = writer_queue(w, keys, (size_t)count);
  writer_flush(w);
  return err;
}

ssize_t writer_write(struct writer *w, const struct iovec *parts, int count) {
  if (w->fd < 0) return w->error ? w->error : UV_EPIPE;
  if (buffer_size(&w->queue)) return 0;
  return write_some(w, parts, count);
}

int writer_queue(struct writer *w, const char *data, size_t size) {
  int err = buffer_append(w->loop, &w->queue, data, size);
  if (!err) update_watch(w);
  return err ? err : w->error;
}

void writer_want(struct writer *w) {
  set_watch(w, true);
}

void writer_note(struct writer *w, ssize_t written) {
  if (written >= 0) w->total += (uint64_t)written;
  else if (w->fd >= 0) finish(w, (int)written);
}

void writer_end(struct writer *w) {
  if (w->fd < 0) return;
  w->ending = true;
  if (!buffer_size(&w->queue)) finish(w, 0);
}

void writer_close(struct writer *w) {
  if (w->fd < 0) return;
  writer_flush(w);
  if (w->fd >= 0) finish(w, 0);
}
