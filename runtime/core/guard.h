/* The guard: a tiny process that sees to it that nothing of ours outlives us, however we end: SIGKILL, a crash, the
 * OOM killer.
 *
 * It is a copy of us that has closed every descriptor, given back the memory, left for a session of its own and blocks
 * all signals. It waits on a pidfd for our end and then kills whoever carries a mark that we have given (tree.h), but
 * for detached trees. Marks need no line of parents, so that it need not be a subreaper, and children that were started
 * before it are found as well; a spawn costs nothing.
 *
 * It is found in a list of processes as "guard of PID"; not under our name, so that `pkill -9 corun` does not end both.
 */
#ifndef CORUN_GUARD_H
#define CORUN_GUARD_H

/* Starts it, once for the process; further calls do nothing. 0, or an error, and in *missing what is not there that it
 * needs. */
int guard_start(const char **missing);

/* Where there was one and somebody has killed it, starts another. Called before each start of a child, which fails with
 * it: what is said to be contained is. */
int guard_keep(void);

#endif
