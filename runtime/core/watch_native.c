#include <errno.h>
#include <limits.h>
#include <stddef.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "watch.h"

#define EVENTS_AT_ONCE 256
#define RETRY 100 /* milliseconds */

struct watch {
  struct loop *loop;
  watch_cb cb; /* NULL once closed */
  void *owner;
  struct watch *prev, *next; /* in the ring `changed`, or NULL; once closed, `next` is that in `closed` */
  int fd;
  unsigned char events;  /* what its owner waits for, */
  unsigned char polled;  /* and what the kernel has been told: 0 where it does not know the descriptor */
  bool is_unref;
};

struct watches {
  int epoll;
  unsigned waiting;      /* watches that wait for something and are not unref'd */
  struct watch changed;  /* a ring of those of which the kernel has to be told before the next wait */
  struct watch *closed;  /* in this turn: an event that was reported with it may still name them */
  bool in_turn;
  uv_async_t alive;      /* keeps uv_run from doing nothing since there is nobody to wait for */
};

static void count(struct watch *watch, int by) {
  if (!watch->is_unref && watch->events) watch->loop->watches->waiting += (unsigned)by;
}

static void note_change(struct watch *watch) {
  if (watch->next) return;
  struct watch *ring = &watch->loop->watches->changed;
  watch->prev = ring->prev;
  watch->next = ring;
  watch->prev->next = watch;
  ring->prev = watch;
}

static void forget_change(struct watch *watch) {
  if (!watch->next) return;
  watch->prev->next = watch->next;
  watch->next->prev = watch->prev;
  watch->prev = watch->next = NULL;
}

static int tell_kernel(struct watch *watch, int events) {
  int epoll = watch->loop->watches->epoll;
  struct epoll_event event = {.data.ptr = watch};
  if (events & UV_READABLE) event.events |= EPOLLIN;
  if (events & UV_WRITABLE) event.events |= EPOLLOUT;
  /* One that waits for nothing is taken out: a hang-up would be reported all the time. */
  if (!events) epoll_ctl(epoll, EPOLL_CTL_DEL, watch->fd, &event);
  else if (epoll_ctl(epoll, watch->polled ? EPOLL_CTL_MOD : EPOLL_CTL_ADD, watch->fd, &event))
    return uv_translate_sys_error(errno);
  watch->polled = (unsigned char)events;
  return 0;
}

int watch_open(struct loop *loop, int fd, int events, watch_cb cb, void *owner, struct watch **out) {
  int on = 1;
  if (ioctl(fd, FIONBIO, &on)) return uv_translate_sys_error(errno);
  struct watch *watch = malloc(sizeof *watch);
  if (!watch) return UV_ENOMEM;
  *watch = (struct watch){.loop = loop, .cb = cb, .owner = owner, .fd = fd, .events = (unsigned char)events};
  int err = tell_kernel(watch, events ? events : UV_READABLE); /* in any case: it may be none that can be polled */
  if (err) {
    free(watch);
    return err;
  }
  if (!events) note_change(watch);
  count(watch, 1);
  *out = watch;
  return 0;
}

int watch_set(struct watch *watch, int events) {
  if (events == watch->events) return 0;
  count(watch, -1);
  watch->events = (unsigned char)events;
  count(watch, 1);
  if (events == watch->polled) forget_change(watch);
  else note_change(watch);
  return 0;
}

void watch_unref(struct watch *watch) {
  count(watch, -1);
  watch->is_unref = true;
}

void watch_close(struct watch *watch) {
  struct watches *watches = watch->loop->watches;
  count(watch, -1);
  forget_change(watch);
  if (watch->polled) tell_kernel(watch, 0); /* a child that another thread has just cloned may keep it open */
  if (!watches->in_turn) {
    free(watch);
    return;
  }
  watch->cb = NULL;
  watch->next = watches->closed;
  watches->closed = watch;
}

/* --- the loop --- */

int watch_begin(struct loop *loop) {
  struct watches *watches = calloc(1, sizeof *watches);
  if (!watches) return UV_ENOMEM;
  loop->watches = watches;
  watches->changed.prev = watches->changed.next = &watches->changed;
  watches->epoll = epoll_create1(EPOLL_CLOEXEC);
  int err = watches->epoll < 0 ? uv_translate_sys_error(errno) : uv_async_init(&loop->uv, &watches->alive, NULL);
  struct epoll_event event = {.events = EPOLLIN}; /* data.ptr NULL: libuv */
  if (!err && epoll_ctl(watches->epoll, EPOLL_CTL_ADD, uv_backend_fd(&loop->uv), &event))
    err = uv_translate_sys_error(errno);
  loop->uv_changed = true;
  return err;
}

static void alive_closed(uv_handle_t *alive) { free((char *)alive - offsetof(struct watches, alive)); }

void watch_end(struct loop *loop) {
  close(loop->watches->epoll);
  uv_close((uv_handle_t *)&loop->watches->alive, alive_closed);
}

static void run_uv(struct loop *loop) {
  loop->uv_changed = false;
  uv_run(&loop->uv, UV_RUN_NOWAIT);
}

/* Where the kernel has no room for one (a user may have millions), it is tried again. */
static void tell_changes(struct watches *watches) {
  struct watch *ring = &watches->changed, *last = ring->prev;
  for (struct watch *watch = NULL; watch != last && ring->next != ring;) {
    watch = ring->next;
    forget_change(watch);
    if (tell_kernel(watch, watch->events)) note_change(watch);
  }
}

/* Whole milliseconds, rounded up: it would wake just before a timer is due and spin. */
static int wait_time(struct loop *loop, uint64_t due) {
  int uv_ms = uv_backend_timeout(&loop->uv);
  if (!due || !uv_ms || (due == WATCH_FOREVER && !watch_alive(loop))) return 0;
  uint64_t now = loop_now(), ms = INT_MAX;
  if (due != WATCH_FOREVER) ms = due <= now ? 0 : (due - now + 999999) / 1000000;
  if (uv_ms > 0 && (uint64_t)uv_ms < ms) ms = (uint64_t)uv_ms;
  if (loop->watches->changed.next != &loop->watches->changed && ms > RETRY) ms = RETRY;
  return ms < INT_MAX ? (int)ms : due == WATCH_FOREVER ? -1 : INT_MAX;
}

static void dispatch(const struct epoll_event *event) {
  struct watch *watch = event->data.ptr;
  int events = (event->events & EPOLLIN ? UV_READABLE : 0) | (event->events & EPOLLOUT ? UV_WRITABLE : 0);
  if (event->events & (EPOLLERR | EPOLLHUP)) events = UV_READABLE | UV_WRITABLE;
  events &= watch->events; /* by now */
  if (!watch->cb || !events) return;
  if (event->events & EPOLLHUP) events |= UV_DISCONNECT;
  watch->cb(watch->owner, events);
}

void watch_turn(struct loop *loop, uint64_t due) {
  struct watches *watches = loop->watches;
  struct epoll_event events[EVENTS_AT_ONCE];
  watches->in_turn = true;
  if (loop->uv_changed || !uv_backend_timeout(&loop->uv)) run_uv(loop);
  tell_changes(watches);
  int count = epoll_wait(watches->epoll, events, EVENTS_AT_ONCE, wait_time(loop, due));
  uv_update_time(&loop->uv);
  for (int i = 0; i < count; i++) {
    if (events[i].data.ptr) dispatch(&events[i]);
    else run_uv(loop);
  }
  watches->in_turn = false;
  while (watches->closed) {
    struct watch *watch = watches->closed;
    watches->closed = watch->next;
    free(watch);
  }
}

bool watch_alive(struct loop *loop) {
  uv_handle_t *alive = (uv_handle_t *)&loop->watches->alive;
  uv_unref(alive);
  bool is_alive = loop->watches->waiting || uv_loop_alive(&loop->uv);
  uv_ref(alive);
  return is_alive;
}
