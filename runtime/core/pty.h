/* Pseudo terminals: the pair, and what is asked of it through the master.
 *
 * A child gets the slave as its controlling terminal (spawn.h: ctty); the master is ours, read by a Reader and
 * written by a Writer, each with a descriptor of its own. The kernel hangs the terminal
 * up when the last of these is closed. At the end of the session's leader it only sends SIGHUP to the foreground: we
 * close both ends then (reader_end_terminal, writer_end_terminal), so that it is the end for whoever is left. Reading
 * the master gives EIO once nobody has the slave open any more, which is an end, too.
 *
 * All calls return 0 (or what is said), or a negative libuv error. A master of which the other side is gone still
 * answers.
 */
#ifndef CORUN_PTY_H
#define CORUN_PTY_H

#include <stdbool.h>
#include <stddef.h>

struct pty {
  int master; /* -1: none; both close-on-exec */
  int slave;
};

struct pty_size {
  unsigned short rows, columns;
};

/* Opens a pair that has this size and echoes or not, from the start. After an error nothing is left open and both are
 * -1. The caller closes both. */
int pty_open(struct pty *pty, struct pty_size size, bool echo);

/* The window size of a terminal: through a master, or of one of our own. The foreground group gets SIGWINCH where it
 * changes. */
int pty_resize(int fd, struct pty_size size);
int pty_get_size(int fd, struct pty_size *size);

/* Whether what is typed is echoed: 1 or 0. */
int pty_echoes(int fd);
int pty_set_echo(int fd, bool on);

/* What has to be typed for an end of file, into `keys`: how many keys (1 or 2). `last` is the last byte that was typed;
 * -1 where there was none: in the middle of a line the key only hands the line over, so it is typed twice. Programs
 * that read keys (no canonical mode) get one. UV_ENOTSUP where the terminal has no such key. */
int pty_eof_keys(int fd, int last, char keys[2]);

/* True where `fd` is a master; `path` becomes the slave's. */
bool pty_slave_path(int fd, char *path, size_t size);

#endif
