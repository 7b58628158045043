#include "watch.h"

#include <stdlib.h>

struct watch {
  uv_poll_t poll;
  watch_cb cb;
  void *owner;
  int events; /* what the poll waits for now */
};

static void poll_cb(uv_poll_t *poll, int status, int events) {
  struct watch *watch = (struct watch *)poll;
  /* libuv reports EPOLLERR as a bad status: the read or write that follows finds the reason. */
  if (status < 0) events = UV_READABLE | UV_WRITABLE;
  watch->cb(watch->owner, events);
}

static void close_cb(uv_handle_t *handle) {
  free(handle);
}

int watch_open(struct loop *loop, int fd, watch_cb cb, void *owner, struct watch **out) {
  struct watch *watch = malloc(sizeof *watch);
  if (!watch) return UV_ENOMEM;
  int err = uv_poll_init(&loop->uv, &watch->poll, fd);
  if (err) {
    free(watch);
    return err;
  }
  watch->cb = cb;
  watch->owner = owner;
  watch->events = 0;
  *out = watch;
  return 0;
}

int watch_set(struct watch *watch, int events) {
  if (events == watch->events) return 0;
  int err = events ? uv_poll_start(&watch->poll, events, poll_cb) : uv_poll_stop(&watch->poll);
  if (!err) watch->events = events;
  return err;
}

void watch_unref(struct watch *watch) { uv_unref((uv_handle_t *)&watch->poll); }

void watch_close(struct watch *watch) {
  uv_close((uv_handle_t *)&watch->poll, close_cb);
}
