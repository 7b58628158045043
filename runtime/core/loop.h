/* The loop: watched descriptors (watch.h), corun's timers, one uv_loop_t for what else libuv does, and the one place that
 * turns it.
 *
 * A turn runs the callbacks, which record what happened and wake waiters, and then fires the timers that are
 * due. Nothing in here knows Lua; whoever turns the loop resumes tasks between two turns.
 *
 * Ownership: the loop belongs to its Lua state and is closed with it. loop_close closes what is left on it and turns
 * until libuv has let go of the last handle. One thread only.
 */
#ifndef CORUN_LOOP_H
#define CORUN_LOOP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <time.h>
#include <uv.h>

struct cgroup;
struct process;
struct timer;
struct tree_look;
struct watches;

/* Whatever holds descriptors on the loop is in its list, so that loop_close reaches also what no finalizer does. */
struct owned {
  struct owned *prev, *next; /* NULL while in no list */
  void (*close)(struct owned *);
};

struct loop {
  uv_loop_t uv;
  bool uv_changed;         /* to be set by who has started something of libuv's on it: the next turn runs it */
  struct watches *watches; /* private to watch.h */
  struct timer **timers;   /* a binary heap by due time */
  size_t timer_count, timer_capacity;
  char *spare, *large_spare; /* a free block each for the next buffer, or NULL */
  int null;                /* /dev/null, for the stdin of children; negative: could not be opened */
  void *spawn_state;       /* private to the spawn backend */
  unsigned writes;         /* made by our Writers so far: what we wait for may be the answer */
  struct tree_look *look;  /* private to tree.c */
  struct process *processes; /* children that were not let go yet */
  struct cgroup *cgroups;  /* that children of ours have for themselves */
  struct owned owned;      /* a ring */
};

/* What buffers grow from, the size of a Linux pipe; and what those of a busy stream have. The loop keeps one of each.
 */
#define LOOP_BLOCK 65536
#define LOOP_LARGE_BLOCK (4 * LOOP_BLOCK)

int loop_init(struct loop *loop);
void loop_close(struct loop *loop);

void loop_own(struct loop *loop, struct owned *owned, void (*close)(struct owned *));
void loop_disown(struct owned *owned); /* harmless when it is in no list */

/* Runs what is ready; with `block`, first waits until there is something (or the nearest timer is due). */
void loop_turn(struct loop *loop, bool block);

/* True while a turn that blocks could end: a handle is active or a timer is set. */
bool loop_alive(struct loop *loop);

/* Monotonic nanoseconds. */
static inline uint64_t loop_now(void) { return uv_hrtime(); }

/* Changes every few milliseconds, and is much cheaper to ask for. */
static inline uint64_t loop_tick(void) {
#ifdef CLOCK_MONOTONIC_COARSE
  struct timespec now;
  if (!clock_gettime(CLOCK_MONOTONIC_COARSE, &now)) return (uint64_t)now.tv_nsec;
#endif
  return loop_now() >> 22;
}

/* A block of any size from a spare or the heap (NULL when out of memory), and back. */
char *loop_block_take(struct loop *loop, size_t size);
void loop_block_give(struct loop *loop, char *block, size_t size);

/* A timer. libuv's own is 152 bytes and 100,000 sleeping tasks are a budget of corun: this one is a heap entry in
 * the sleeper's own struct, and one uv_timer_t serves them all. `fire` only records, like every callback here. */
struct timer {
  uint64_t due;                /* on loop_now's clock */
  uint32_t slot;               /* place in the heap + 1; 0 while not set */
  void (*fire)(struct timer *);
};

/* Sets the timer, also when it was set before. Nonzero (UV_ENOMEM) when it could not be. A due time in the past
 * fires in the next turn. */
int timer_start(struct loop *loop, struct timer *timer, uint64_t due);
void timer_stop(struct loop *loop, struct timer *timer);

#endif
