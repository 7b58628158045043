/* Waiters: how a handle tells that something happened.
 *
 * A waiter is one party (usually a parked task) that wants to hear of one event; a waitq is the queue of those who
 * wait for the same event, first come, first served. Waking takes a waiter off its queue and then calls its `wake`,
 * which only records: it must not run Lua nor close the handle that wakes it.
 *
 * Ownership: both are embedded in their owners and never allocated. A waiter that goes away while it is queued
 * must be removed first; a waitq that goes away must be empty or woken.
 */
#ifndef CORUN_WAITER_H
#define CORUN_WAITER_H

#include <stdbool.h>
#include <stddef.h>

struct waiter {
  struct waiter *prev, *next; /* NULL while in no queue */
  void (*wake)(struct waiter *);
};

struct waitq {
  struct waiter head; /* a ring; head.wake is unused */
};

static inline void waitq_init(struct waitq *q) {
  q->head.prev = q->head.next = &q->head;
}

static inline bool waitq_empty(const struct waitq *q) {
  return q->head.next == &q->head;
}

static inline bool waiter_queued(const struct waiter *w) {
  return w->next != NULL;
}

static inline void waitq_add(struct waitq *q, struct waiter *w) {
  w->prev = q->head.prev;
  w->next = &q->head;
  w->prev->next = w;
  q->head.prev = w;
}

/* Harmless when the waiter is in no queue. */
static inline void waiter_remove(struct waiter *w) {
  if (!waiter_queued(w)) return;
  w->prev->next = w->next;
  w->next->prev = w->prev;
  w->prev = w->next = NULL;
}

/* Wakes the first in the queue; false when nobody waits. */
static inline bool waitq_wake_one(struct waitq *q) {
  if (waitq_empty(q)) return false;
  struct waiter *w = q->head.next;
  waiter_remove(w);
  w->wake(w);
  return true;
}

static inline void waitq_wake_all(struct waitq *q) {
  while (waitq_wake_one(q)) {}
}

#endif
