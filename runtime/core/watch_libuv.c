#include <stdlib.h>

#include "watch.h"

struct watches {
  uv_timer_t clock; /* wakes the loop when the nearest timer is due */
};

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

int watch_open(struct loop *loop, int fd, int events, watch_cb cb, void *owner, struct watch **out) {
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
  err = watch_set(watch, events);
  if (err) watch_close(watch);
  else *out = watch;
  return err;
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

/* --- the loop --- */

/* It only has to end the turn: loop_turn fires what is due. A turn runs libuv's timers before it polls; one that came
 * due between set_clock and there would be spent, and the poll would then wait without an end. uv_stop makes that poll
 * return at once. */
static void clock_cb(uv_timer_t *clock) {
  uv_stop(clock->loop);
}

int watch_begin(struct loop *loop) {
  struct watches *watches = malloc(sizeof *watches);
  if (!watches) return UV_ENOMEM;
  loop->watches = watches;
  return uv_timer_init(&loop->uv, &watches->clock);
}

void watch_end(struct loop *loop) {
  uv_close((uv_handle_t *)&loop->watches->clock, close_cb); /* the clock is the first field */
}

/* libuv counts whole milliseconds from the time it last looked at the clock: look now, and round up, or the loop
 * would wake just before the timer is due and spin. */
static void set_clock(struct loop *loop, uint64_t due) {
  if (due == WATCH_FOREVER) {
    uv_timer_stop(&loop->watches->clock);
    return;
  }
  uint64_t now = loop_now();
  uint64_t ms = due <= now ? 0 : (due - now + 999999) / 1000000;
  uv_update_time(&loop->uv);
  uv_timer_start(&loop->watches->clock, clock_cb, ms, 0);
}

void watch_turn(struct loop *loop, uint64_t due) {
  if (due) set_clock(loop, due);
  uv_run(&loop->uv, due ? UV_RUN_ONCE : UV_RUN_NOWAIT);
}

bool watch_alive(struct loop *loop) { return uv_loop_alive(&loop->uv); }
