/* Watches: descriptors polled in the loop, and the one wait of a turn.
 *
 * watch_native.c (Linux): one epoll descriptor for all watches. A change costs a system call at the next wait, and none
 *   where it was taken back before; a watch is 64 bytes. What libuv polls is one more descriptor in it, so libuv only
 *   runs where it has something to do.
 * watch_libuv.c: a uv_poll_t each. That is 160 bytes and six system calls for one that waits once.
 *
 * Ownership: watch_open allocates, watch_close (once) gives it up: the owner may free itself at once, no callback comes
 * after that. The memory goes later, when nobody can look at it any more. The descriptor stays the owner's, who closes
 * it after watch_close. Polling sets O_NONBLOCK, so a descriptor whose open file description is shared with others must
 * be reopened first (fd.h).
 */
#ifndef CORUN_WATCH_H
#define CORUN_WATCH_H

#include "loop.h"

struct watch;

/* Called with UV_READABLE, UV_WRITABLE or both; errors and hang-ups come as what is waited for. With UV_DISCONNECT (which not
 * every backend reports) the other side has gone: after what is there comes the end. */
typedef void (*watch_cb)(void *owner, int events);

/* Fails where the descriptor cannot be polled. */
int watch_open(struct loop *loop, int fd, int events, watch_cb cb, void *owner, struct watch **out);

/* Sets what to wait for; 0 stops. */
int watch_set(struct watch *watch, int events);

/* It does not count for loop_alive any more. */
void watch_unref(struct watch *watch);

void watch_close(struct watch *watch);

/* For loop.c. */

int watch_begin(struct loop *loop);
void watch_end(struct loop *loop); /* once there are no watches; libuv has still to let go of some memory then */

/* Waits for events, not longer than to `due` (of loop_now; 0: not at all), and calls the callbacks. */
#define WATCH_FOREVER UINT64_MAX
void watch_turn(struct loop *loop, uint64_t due);

/* Whether an event could come. */
bool watch_alive(struct loop *loop);

#endif
