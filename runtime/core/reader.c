#include "reader.h"

#include <errno.h>
#include <fcntl.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "fd.h"
#include "terminal.h"

/* Ask for at least this much room: below half a pipe, a read would often return less than the pipe has. */
#define READ_MINIMUM (LOOP_BLOCK / 2)
#define READ_MINIMUM_BUSY (LOOP_LARGE_BLOCK * 3 / 4)

/* Bytes that READER_SPILL keeps in memory: most output is shorter and costs no file. */
#define SPILL_MOST (1 << 20)

/* As many as surely take what a terminal holds. */
#define LAST_READS 64

static void release_fd(struct reader *r) {
  waiter_remove(&r->returned);
  if (r->watch) watch_close(r->watch);
  r->watch = NULL;
  fd_close(&r->fd);
}

static bool wants_more(const struct reader *r) {
  if (r->eof || r->overflowed || r->fd < 0 || waiter_queued(&r->returned)) return false;
  if (r->held || r->lazy) return r->wanted;
  if (r->copy && buffer_size(&r->copy->buffer) >= r->copy->high_water) return false;
  if (r->overflow == READER_TRUNCATE || r->overflow == READER_SPILL) return true;
  size_t most = r->demand > r->high_water ? r->demand : r->high_water;
  return buffer_size(&r->buffer) < most;
}

static int events_wanted(const struct reader *r) { return wants_more(r) ? UV_READABLE : 0; }

static void update_watch(struct reader *r) {
  if (r->watch) watch_set(r->watch, events_wanted(r));
}

static void finish(struct reader *r, int error) {
  r->eof = true;
  r->error = error;
  release_fd(r);
  waitq_wake_all(&r->readable);
  waitq_wake_all(&r->ended);
  if (r->copy) {
    struct reader *copy = r->copy;
    r->copy = copy->source = NULL;
    finish(copy, error);
  }
}

void reader_end(struct reader *r) {
  if (!r->eof) finish(r, 0);
}

void reader_end_terminal(struct reader *r) {
  if (r->eof || r->fd < 0) return;
  r->is_last = true;
  for (int i = 0; i < LAST_READS && !r->eof; i++)
    if (reader_fill(r) <= 0) break;
  r->is_last = false;
  reader_end(r);
}

static void watch_event(void *owner, int events) {
  struct reader *r = owner;
  r->drained = false;
  if (r->held || r->lazy) {
    r->wanted = false;
    update_watch(r);
    waitq_wake_all(&r->readable);
    return;
  }
  ssize_t n = reader_fill(r);
  /* The end need not wait for the next turn. */
  if (n > 0 && events & UV_DISCONNECT && wants_more(r)) reader_fill(r);
  if (n > 0) waitq_wake_all(&r->readable);
}

static void close_owned(struct owned *owned) {
  reader_close((struct reader *)((char *)owned - offsetof(struct reader, owned)));
}

void reader_open(struct reader *r, struct loop *loop, int fd) {
  *r = (struct reader){.fd = fd, .spill_fd = -1, .loop = loop, .high_water = READER_HIGH_WATER,
                       .active_at = loop_now()};
  waitq_init(&r->readable);
  waitq_init(&r->ended);
  r->is_file = fd_is_file(fd);
  loop_own(loop, &r->owned, close_owned);
}

int reader_start(struct reader *r) {
  if (r->is_file) return 0;
  int err = watch_open(r->loop, r->fd, events_wanted(r), watch_event, r, &r->watch);
  if (err) finish(r, err);
  return err;
}

static void terminal_returned(struct waiter *waiter) {
  update_watch((struct reader *)((char *)waiter - offsetof(struct reader, returned)));
}

void reader_is_our_terminal(struct reader *r) {
  r->is_our_terminal = true;
  r->returned.wake = terminal_returned;
}

void reader_open_copy(struct reader *copy, struct reader *r) {
  *copy = (struct reader){.fd = -1, .spill_fd = -1, .loop = r->loop, .high_water = READER_HIGH_WATER,
                          .active_at = loop_now(), .eof = r->eof, .error = r->error};
  waitq_init(&copy->readable);
  waitq_init(&copy->ended);
  loop_own(copy->loop, &copy->owned, close_owned);
  size_t size = buffer_size(&r->buffer);
  if (buffer_append(r->loop, &copy->buffer, buffer_data(&r->buffer), size)) finish(copy, UV_ENOMEM);
  else copy->total = size;
  if (copy->eof) return;
  copy->source = r;
  r->copy = copy;
}

void reader_end_copy(struct reader *r) {
  struct reader *copy = r->copy;
  if (!copy) return;
  r->copy = copy->source = NULL;
  finish(copy, 0);
  update_watch(r);
}

/* Overflow: called after bytes came in capture mode. */

static void drop_middle(struct reader *r, size_t keep) {
  size_t size = buffer_size(&r->buffer);
  if (size <= keep) return;
  size_t head = keep / 2, tail = keep - head;
  char *data = r->buffer.block + r->buffer.start;
  memmove(data + head, data + size - tail, tail);
  r->buffer.end -= size - keep;
  r->omitted += size - keep;
}

static int write_all(int fd, const char *data, size_t size) {
  while (size) {
    ssize_t n = write(fd, data, size);
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) return uv_translate_sys_error(errno);
    data += n;
    size -= (size_t)n;
  }
  return 0;
}

static int open_temporary(void) {
  const char *dir = getenv("TMPDIR");
  if (!dir || !*dir) dir = "/tmp";
#ifdef O_TMPFILE
  int fd = fd_open(dir, O_TMPFILE | O_RDWR, 0600);
  if (fd >= 0) return fd;
#endif
  char path[4096];
  if (snprintf(path, sizeof path, "%s/corun-XXXXXX", dir) >= (int)sizeof path) return UV_ENAMETOOLONG;
  int file = mkostemp(path, O_CLOEXEC);
  if (file < 0) return uv_translate_sys_error(errno);
  unlink(path);
  return file;
}

static int spill(struct reader *r) {
  if (r->spill_fd < 0) {
    int fd = open_temporary();
    if (fd < 0) return fd;
    r->spill_fd = fd;
  }
  size_t size = buffer_size(&r->buffer);
  int err = write_all(r->spill_fd, buffer_data(&r->buffer), size);
  if (err) return err;
  r->spilled += size;
  buffer_take(r->loop, &r->buffer, size);
  return 0;
}

static int apply_limit(struct reader *r) {
  size_t size = buffer_size(&r->buffer);
  switch (r->overflow) {
  case READER_WAIT:
    return 0;
  case READER_FAIL:
    if (size <= r->high_water - 1) return 0; /* high_water is limit + 1: that one byte proves the overflow */
    r->overflowed = true;
    waitq_wake_all(&r->ended);
    return 0;
  case READER_TRUNCATE:
    /* Let half as much again come before moving the tail down, so that each byte moves a bounded number of times. */
    if (size > r->high_water + r->high_water / 2 + LOOP_BLOCK) drop_middle(r, r->high_water);
    return 0;
  case READER_SPILL:
    if (size > SPILL_MOST || size > r->high_water || (r->spill_fd >= 0 && size >= LOOP_BLOCK)) return spill(r);
    return 0;
  }
  return 0;
}

static void copy_bytes(struct reader *r, const char *data, size_t size) {
  struct reader *copy = r->copy;
  if (buffer_append(r->loop, &copy->buffer, data, size)) {
    r->copy = copy->source = NULL;
    finish(copy, UV_ENOMEM);
    return;
  }
  copy->total += size;
  copy->active_at = r->active_at;
  waitq_wake_all(&copy->readable);
}

static void note_full_read(struct reader *r) {
  if (r->full == READER_BUSY || ++r->full < READER_BUSY) return;
#ifdef F_SETPIPE_SZ
  if (fcntl(r->fd, F_GETPIPE_SZ) < LOOP_LARGE_BLOCK) fcntl(r->fd, F_SETPIPE_SZ, LOOP_LARGE_BLOCK); /* or it stays */
#endif
}

/* How much may be read at once: no more than to the mark that ends it, if there is one and nobody wants more; and not
 * all that a large buffer has room for, since others wait meanwhile. */
static size_t most_to_read(const struct reader *r) {
  size_t size = buffer_size(&r->buffer), left = r->high_water - size;
  bool has_mark = r->overflow == READER_FAIL || (r->overflow == READER_WAIT && !r->demand);
  return has_mark && size < r->high_water && left < READER_HIGH_WATER ? left : READER_HIGH_WATER;
}

ssize_t reader_fill(struct reader *r) {
  if (r->eof) return r->error ? r->error : 0;
  if (r->is_our_terminal && terminal_wait(r->loop, &r->returned)) {
    update_watch(r);
    return UV_EAGAIN;
  }
  if (r->fd < 0) return UV_EAGAIN; /* a copy: its source brings the bytes */
  if (r->copy && !r->is_last && buffer_size(&r->copy->buffer) >= r->copy->high_water)
    return UV_EAGAIN; /* reader_take wakes us */
  size_t room_wanted = r->full == READER_BUSY ? READ_MINIMUM_BUSY : READ_MINIMUM, most = most_to_read(r);
  char *room = buffer_reserve(r->loop, &r->buffer, room_wanted < most ? room_wanted : most);
  if (!room) {
    finish(r, UV_ENOMEM);
    return UV_ENOMEM;
  }
  if (most > buffer_room(&r->buffer)) most = buffer_room(&r->buffer);
  ssize_t n;
  do n = read(r->fd, room, most);
  while (n < 0 && errno == EINTR);
  if (n < 0) {
    int err = uv_translate_sys_error(errno);
    buffer_take(r->loop, &r->buffer, 0);
    if (err == UV_EAGAIN) return err;
    if (err == UV_EIO && r->is_pty) err = 0; /* nobody has the terminal open any more */
    finish(r, err);
    return err;
  }
  buffer_commit(&r->buffer, (size_t)n);
  if (n == 0) {
    buffer_take(r->loop, &r->buffer, 0);
    finish(r, 0);
    return 0;
  }
  r->total += (uint64_t)n;
  r->active_at = loop_now();
  r->drained = (size_t)n < most && !r->is_pty; /* which gives no more than 4 KiB at once */
  r->drained_at = r->loop->writes;
  if (!r->drained) note_full_read(r);
  if (r->copy) copy_bytes(r, room, (size_t)n);
  int err = apply_limit(r);
  if (err) finish(r, err);
  else update_watch(r);
  return n;
}

ssize_t reader_try(struct reader *r) {
  return r->drained && r->watch && r->drained_at == r->loop->writes ? UV_EAGAIN : reader_fill(r);
}

ssize_t reader_splice(struct reader *r, int fd) {
#ifdef __linux__
  if (r->eof || r->fd < 0 || r->copy || r->overflow != READER_WAIT || buffer_size(&r->buffer)) return UV_ENOTSUP;
  ssize_t n;
  do n = splice(r->fd, NULL, fd, NULL, READER_HIGH_WATER, SPLICE_F_MOVE | SPLICE_F_NONBLOCK);
  while (n < 0 && errno == EINTR);
  if (n < 0) return errno == EAGAIN || errno == EPIPE ? uv_translate_sys_error(errno) : UV_ENOTSUP;
  if (n == 0) finish(r, 0);
  r->total += (uint64_t)n;
  r->active_at = loop_now();
  return n;
#else
  (void)r, (void)fd;
  return UV_ENOTSUP;
#endif
}

void reader_hold(struct reader *r, bool on) {
  r->held = on;
  r->wanted = false;
  update_watch(r);
}

void reader_want(struct reader *r) {
  r->wanted = true;
  update_watch(r);
}

/* Nobody polls a file: who waits for room in its copy is woken here. */
static void copy_has_room(struct reader *source) {
  update_watch(source);
  if (source->is_file) waitq_wake_all(&source->readable);
}

void reader_take(struct reader *r, size_t size) {
  if (size > buffer_size(&r->buffer)) size = buffer_size(&r->buffer);
  buffer_take(r->loop, &r->buffer, size);
  r->searched = r->searched > size ? r->searched - size : 0;
  update_watch(r);
  if (r->source) copy_has_room(r->source);
}

void reader_demand(struct reader *r, size_t size) {
  r->demand = size;
  update_watch(r);
}

void reader_capture(struct reader *r, size_t limit, enum reader_overflow overflow) {
  r->high_water = overflow == READER_FAIL && limit < SIZE_MAX ? limit + 1 : limit;
  r->overflow = overflow;
  int err = apply_limit(r); /* to what came before */
  if (err && !r->eof) finish(r, err);
  update_watch(r);
}

bool reader_is_over(const struct reader *r) {
  return r->overflow == READER_SPILL && r->spill_fd >= 0 && r->spilled + buffer_size(&r->buffer) > r->high_water;
}

void reader_trim(struct reader *r) {
  if (r->overflow == READER_TRUNCATE) drop_middle(r, r->high_water);
}

int reader_detach(struct reader *r) {
  if (buffer_size(&r->buffer)) return UV_EBUSY;
  if (r->fd < 0) return UV_EOF;
  if (r->copy || r->overflow != READER_WAIT) return UV_EBUSY;
  int fd = r->fd;
  r->fd = -1;
  reader_close(r);
  if (!r->is_file) fd_set_nonblocking(fd, false);
  return fd;
}

void reader_close(struct reader *r) {
  if (r->closed) return;
  r->closed = true;
  loop_disown(&r->owned);
  if (r->source) {
    struct reader *source = r->source;
    source->copy = r->source = NULL;
    copy_has_room(source);
  }
  if (!r->eof) finish(r, 0);
  release_fd(r);
  fd_close(&r->spill_fd);
  buffer_free(r->loop, &r->buffer);
  r->searched = 0;
  waitq_wake_all(&r->readable);
  waitq_wake_all(&r->ended);
}

size_t reader_find(struct reader *r, const char *sep, size_t sep_size) {
  size_t size = buffer_size(&r->buffer);
  const char *data = buffer_data(&r->buffer);
  if (r->searched < size) {
    const char *from = data + r->searched;
    const char *at = sep_size == 1 ? memchr(from, *sep, size - r->searched)
                                   : memmem(from, size - r->searched, sep, sep_size);
    if (at) {
      r->searched = (size_t)(at - data);
      return r->searched;
    }
    /* The separator may have come in part: its first bytes stay to be searched. */
    size_t tail = sep_size - 1;
    if (size > tail && size - tail > r->searched) r->searched = size - tail;
  }
  return SIZE_MAX;
}
