#include "loop.h"

#include <fcntl.h>
#include <stdlib.h>

#include "fd.h"
#include "tree.h"
#include "watch.h"

int loop_init(struct loop *loop) {
  *loop = (struct loop){0};
  loop->owned.prev = loop->owned.next = &loop->owned;
  int err = uv_loop_init(&loop->uv);
  loop->null = fd_open("/dev/null", O_RDONLY, 0);
  return err ? err : watch_begin(loop);
}

void loop_own(struct loop *loop, struct owned *owned, void (*close)(struct owned *)) {
  owned->close = close;
  owned->prev = loop->owned.prev;
  owned->next = &loop->owned;
  owned->prev->next = owned;
  loop->owned.prev = owned;
}

void loop_disown(struct owned *owned) {
  if (!owned->next) return;
  owned->prev->next = owned->next;
  owned->next->prev = owned->prev;
  owned->prev = owned->next = NULL;
}

void loop_close(struct loop *loop) {
  while (loop->owned.next != &loop->owned) {
    struct owned *owned = loop->owned.next;
    loop_disown(owned);
    owned->close(owned);
  }
  watch_end(loop);
  fd_close(&loop->null);
  while (uv_loop_close(&loop->uv) == UV_EBUSY) uv_run(&loop->uv, UV_RUN_ONCE);
  tree_forget(loop);
  free(loop->timers);
  free(loop->spare);
  free(loop->large_spare);
}

/* The timers: a binary heap; slot s of a timer is index s - 1. */

static void heap_put(struct loop *loop, uint32_t index, struct timer *timer) {
  loop->timers[index] = timer;
  timer->slot = index + 1;
}

static void heap_up(struct loop *loop, uint32_t index) {
  struct timer *timer = loop->timers[index];
  while (index > 0) {
    uint32_t parent = (index - 1) / 2;
    if (loop->timers[parent]->due <= timer->due) break;
    heap_put(loop, index, loop->timers[parent]);
    index = parent;
  }
  heap_put(loop, index, timer);
}

static void heap_down(struct loop *loop, uint32_t index) {
  struct timer *timer = loop->timers[index];
  for (;;) {
    size_t child = 2 * (size_t)index + 1;
    if (child >= loop->timer_count) break;
    if (child + 1 < loop->timer_count && loop->timers[child + 1]->due < loop->timers[child]->due)
      child++;
    if (timer->due <= loop->timers[child]->due) break;
    heap_put(loop, index, loop->timers[child]);
    index = (uint32_t)child;
  }
  heap_put(loop, index, timer);
}

int timer_start(struct loop *loop, struct timer *timer, uint64_t due) {
  timer_stop(loop, timer);
  if (loop->timer_count == loop->timer_capacity) {
    size_t capacity = loop->timer_capacity ? 2 * loop->timer_capacity : 16;
    struct timer **timers = realloc(loop->timers, capacity * sizeof *timers);
    if (!timers) return UV_ENOMEM;
    loop->timers = timers;
    loop->timer_capacity = capacity;
  }
  timer->due = due;
  heap_put(loop, (uint32_t)loop->timer_count++, timer);
  heap_up(loop, timer->slot - 1);
  return 0;
}

void timer_stop(struct loop *loop, struct timer *timer) {
  if (!timer->slot) return;
  uint32_t index = timer->slot - 1;
  timer->slot = 0;
  struct timer *last = loop->timers[--loop->timer_count];
  if (last == timer) return;
  heap_put(loop, index, last);
  heap_up(loop, index);
  heap_down(loop, last->slot - 1);
}

static void fire_due(struct loop *loop) {
  if (!loop->timer_count) return;
  uint64_t now = loop_now();
  while (loop->timer_count && loop->timers[0]->due <= now) {
    struct timer *timer = loop->timers[0];
    timer_stop(loop, timer);
    timer->fire(timer);
  }
}

void loop_turn(struct loop *loop, bool block) {
  watch_turn(loop, !block ? 0 : loop->timer_count ? loop->timers[0]->due : WATCH_FOREVER);
  fire_due(loop);
}

bool loop_alive(struct loop *loop) {
  return loop->timer_count || watch_alive(loop);
}

static char **spare_of(struct loop *loop, size_t size) {
  return size == LOOP_BLOCK ? &loop->spare : size == LOOP_LARGE_BLOCK ? &loop->large_spare : NULL;
}

char *loop_block_take(struct loop *loop, size_t size) {
  char **spare = spare_of(loop, size);
  if (!spare || !*spare) return malloc(size);
  char *block = *spare;
  *spare = NULL;
  return block;
}

void loop_block_give(struct loop *loop, char *block, size_t size) {
  char **spare = spare_of(loop, size);
  if (spare && !*spare) *spare = block;
  else free(block);
}
