/* Descriptors: everything corun opens is close-on-exec from the start. All calls return 0 or a descriptor, or a
 * negative libuv error. */
#ifndef CORUN_FD_H
#define CORUN_FD_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

/* A pipe; pair[0] is read from, pair[1] is written to; both block. */
int fd_pipe(int pair[2]);

int fd_open(const char *path, int flags, unsigned mode);
int fd_duplicate(int fd);
int fd_set_nonblocking(int fd, bool on);

/* To be said of a descriptor that a child of ours keeps open: where many are, it gets a number out of the way of those
 * with which further children are started, so that these have few to copy. The descriptor, under whatever number. */
int fd_settle(int fd);

/* Whether there are many: some were moved. */
bool fd_are_many(void);

/* A new open file description of what `fd` is open on, not blocking: O_NONBLOCK belongs to the description, and
 * others may share the one of our stdin. Where that cannot be had (sockets, systems without /proc), UV_ENOTSUP. */
int fd_reopen(int fd, int flags);

/* Closes and forgets: *fd becomes -1; nothing happens where it is -1. */
void fd_close(int *fd);

/* True where reading and writing never block, as on a regular file: such a descriptor is not polled. */
bool fd_is_file(int fd);

/* Opens /dev/null on those of 0, 1, 2 that are closed, so that no pipe of ours lands there by accident. */
int fd_fill_standard(void);

#endif
