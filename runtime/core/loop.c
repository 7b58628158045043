#include "loop.h"

#include <stdlib.h>

#include "tree.h"

/* It only has to end the turn: loop_turn fires what is due. A turn runs libuv's timers before it polls; one that came
 * due between set_clock and there would be spent, and the poll would then wait without an end. uv_stop makes that poll
 * return at once. */
static void clock_cb(uv_timer_t *clock) {
  uv_stop(clock->loop);
}

int loop_init(struct loop *loop) {
  *loop = (struct loop){0};
  loop->owned.prev = loop->owned.next = &loop->owned;
  int err = uv_loop_init(&loop->uv);
  if (err) return err;
  return uv_timer_init(&loop->uv, &loop->clock);
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
  uv_close((uv_handle_t *)&loop->clock, NULL);
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

/* libuv counts whole milliseconds from the time it last looked at the clock: look now, and round up, or the loop
 * would wake just before the timer is due and spin. */
static void set_clock(struct loop *loop) {
  if (!loop->timer_count) {
    uv_timer_stop(&loop->clock);
    return;
  }
  uint64_t now = loop_now(), due = loop->timers[0]->due;
  uint64_t ms = due <= now ? 0 : (due - now + 999999) / 1000000;
  uv_update_time(&loop->uv);
  uv_timer_start(&loop->clock, clock_cb, ms, 0);
}

void loop_turn(struct loop *loop, bool block) {
  if (block) set_clock(loop);
  uv_run(&loop->uv, block ? UV_RUN_ONCE : UV_RUN_NOWAIT);
  fire_due(loop);
}

bool loop_alive(struct loop *loop) {
  return loop->timer_count || uv_loop_alive(&loop->uv);
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
