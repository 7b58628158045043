/* Raw mode of our own terminal: each key comes as it is, nothing is echoed, no key makes a signal.
 *
 * There is one terminal, so there is one of these. However the program ends, the terminal gets its modes back: by
 * rawmode_end, by exit() (atexit), by a signal that ends the program (those that nobody handles are handled for as long
 * as it lasts). Only a SIGKILL leaves it as it is. What ends the program by _exit calls rawmode_end before.
 */
#ifndef CORUN_RAWMODE_H
#define CORUN_RAWMODE_H

#include <stdbool.h>

/* UV_EBUSY where it is raw already, UV_ENOTTY where `fd` is no terminal, or another libuv error. */
int rawmode_begin(int fd);

bool rawmode_is_on(void);

/* The terminal has lost its modes while it was on: our starter sets its own when we are stopped. */
void rawmode_again(void);

/* May be called from a signal handler, and where it was not begun. A fork of us leaves the terminal alone. */
void rawmode_end(void);

#endif
