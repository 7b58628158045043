/* Terminal: the one we were started on, lent to one child at a time as a shell lends it to its foreground job.
 *
 * The child's process group is the terminal's foreground group then: what is typed, Ctrl-C and Ctrl-Z included, is for it
 * alone. At its end, or when it is stopped, the terminal comes back to our group, with the modes it had before. A child
 * that is stopped by Ctrl-Z stops us, too, as if it had been typed to us; once we are continued it gets the terminal
 * again, with its own modes, and goes on.
 *
 * Order: terminal_begin just before the start; spawn.h's `foreground` makes the child take the terminal by itself, before
 * it runs the program; then terminal_lend, or terminal_end where the start has failed. process.c reports the end.
 *
 * That a child is stopped is found by asking, each 100 ms and only while there is such a child: the kernel tells of stops
 * by SIGCHLD alone (a pidfd becomes readable at the end only), and that signal is left to whoever else uses it.
 *
 * There is one terminal for the whole program, so there is one loan: of one loop, and of the process that has begun it
 * (not of its forks). While it is lent SIGTTIN and SIGTTOU are ignored, unless somebody handles them, as in every shell:
 * who reads the terminal nevertheless gets EIO instead of stopping us all. Readers on it wait (terminal_wait).
 */
#ifndef CORUN_TERMINAL_H
#define CORUN_TERMINAL_H

#include <stdbool.h>

#include "loop.h"
#include "waiter.h"

struct process;

/* True where the terminal can be lent, and then it is the caller's to lend: descriptor 0 is our controlling terminal,
 * our group is its foreground group, no other child has it, and it is not in raw mode (rawmode.h). False with the libuv
 * backend. */
bool terminal_begin(struct loop *loop);

/* The child has started, and has the terminal. */
void terminal_lend(struct process *p);

/* It has not. */
void terminal_end(struct loop *loop);

/* Called for every process that has ended or is forgotten: the terminal comes back if it had it. Modes stay as they are
 * after an exit with 0 (stty is meant to change them), else they are as before the start. True if it had the terminal. */
bool terminal_process_ended(struct process *p);

/* While paused, the terminal is ours though its borrower lives: it is in the background. */
void terminal_pause(struct loop *loop, bool on);

/* True while a child of this loop has the terminal; `waiter` is woken when it is back. */
bool terminal_wait(struct loop *loop, struct waiter *waiter);

/* True while a child has the terminal. */
bool terminal_is_lent(void);

/* At once, for who ends the program. May be called in a signal handler. */
void terminal_restore(void);

#endif
