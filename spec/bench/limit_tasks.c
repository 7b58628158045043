/* Tasks and timers: what they cost where a task is a few words of memory and a scheduler a loop. */
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "limit.h"

/* --- a binary heap of timers --- */

struct timer {
  double due;
  size_t at; /* its place in the heap */
};

static struct timer **heap;
static size_t heap_size, heap_room;

static void put(struct timer *timer, size_t at) {
  heap[at] = timer;
  timer->at = at;
}

static void sift_up(struct timer *timer, size_t at) {
  for (; at > 0 && timer->due < heap[(at - 1) / 2]->due; at = (at - 1) / 2) put(heap[(at - 1) / 2], at);
  put(timer, at);
}

static void sift_down(struct timer *timer, size_t at) {
  for (size_t child; (child = 2 * at + 1) < heap_size; at = child) {
    if (child + 1 < heap_size && heap[child + 1]->due < heap[child]->due) child++;
    if (timer->due <= heap[child]->due) break;
    put(heap[child], at);
  }
  put(timer, at);
}

static void heap_insert(struct timer *timer) {
  if (heap_size == heap_room) {
    heap_room = heap_room ? 2 * heap_room : 64;
    if (!(heap = realloc(heap, heap_room * sizeof *heap))) fail("realloc");
  }
  sift_up(timer, heap_size++);
}

static void heap_remove(struct timer *timer) {
  struct timer *last = heap[--heap_size];
  if (last == timer) return;
  if (last->due < timer->due) sift_up(last, timer->at);
  else sift_down(last, timer->at);
}

/* Each with its own memory, as a timer that a program makes and cancels has. */
static void timers(long long size, char *const words[]) {
  (void)words;
  struct stopwatch clock = watch_start();
  for (long long i = 0; i < size; i++) {
    struct timer *timer = malloc(sizeof *timer);
    if (!timer) fail("malloc");
    timer->due = now() + 1000;
    heap_insert(timer);
    heap_remove(timer);
    free(timer);
  }
  report_count(clock, size);
}

/* --- tasks as the state machines that C has for them --- */

static void sleepers(long long size, char *const words[]) {
  (void)words;
  long long before = private_memory(), ended = 0;
  struct stopwatch clock = watch_start();
  struct timer *tasks = malloc((size_t)size * sizeof *tasks);
  if (!tasks) fail("malloc");
  for (long long i = 0; i < size; i++) {
    tasks[i].due = now() + 3;
    heap_insert(&tasks[i]);
  }
  double bytes = (double)(private_memory() - before) / (double)size;
  while (heap_size) {
    struct timer *first = heap[0];
    if (first->due > now()) {
      double whole = (double)(long long)first->due;
      struct timespec until = {(time_t)whole, (long)((first->due - whole) * 1e9)};
      clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &until, NULL);
      continue;
    }
    heap_remove(first);
    ended++;
  }
  struct stopwatch took = watch_stop(clock);
  printf("%.6f %.6f %.1f %lld\n", took.seconds - 3, took.cpu, bytes, ended);
}

struct task {
  int (*step)(struct task *); /* 0: has ended */
  struct task *next;
  long long left;
};

static int step(struct task *task) { return --task->left > 0; }

/* Two tasks that are ready in turn. */
static void switches(long long size, char *const words[]) {
  (void)words;
  struct task tasks[2] = {{step, NULL, size - size / 2}, {step, NULL, size / 2}};
  struct task *first = &tasks[0], *last = &tasks[1];
  first->next = last;
  long long count = 0;
  struct stopwatch clock = watch_start();
  while (first) {
    struct task *task = first;
    first = task->next;
    task->next = NULL;
    count++;
    if (!((int (*volatile)(struct task *))task->step)(task)) continue;
    if (first) last->next = task;
    else first = task;
    last = task;
  }
  report_count(clock, count);
}

const struct workload task_workloads[] = {
    {"sleepers", sleepers},
    {"switch", switches},
    {"timers", timers},
    {NULL, NULL},
};
