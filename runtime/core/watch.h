/* A watch: one descriptor polled in the loop.
 *
 * libuv may touch a handle until its close callback, so the uv_poll_t lives here, apart from whoever uses the
 * descriptor: the owner calls watch_close and may free itself at once; no callback comes after that.
 *
 * Ownership: watch_open allocates, watch_close (once) gives it up; the memory goes in libuv's close callback. The
 * descriptor stays the owner's, who closes it after watch_close. Polling sets O_NONBLOCK, so a descriptor whose open
 * file description is shared with others must be reopened first (fd.h).
 */
#ifndef CORUN_WATCH_H
#define CORUN_WATCH_H

#include "loop.h"

struct watch;

/* Called with UV_READABLE, UV_WRITABLE or both; errors and hang-ups come as both. */
typedef void (*watch_cb)(void *owner, int events);

int watch_open(struct loop *loop, int fd, watch_cb cb, void *owner, struct watch **out);

/* Sets what to wait for; 0 stops. */
int watch_set(struct watch *watch, int events);

/* It does not count for loop_alive any more. */
void watch_unref(struct watch *watch);

void watch_close(struct watch *watch);

#endif
