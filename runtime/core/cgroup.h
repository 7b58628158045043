/* A child's own cgroup (version 2, Linux): all of its tree, wherever its processes go by fork, setsid or a double
 * fork. Made and limited by lua/corun/cgroup.lua; here is what must also work while the program ends.
 *
 * Ownership: whoever calls cgroup_new calls cgroup_free; the directory is removed by cgroup_remove alone. It is in its
 * loop's list from the one to the other.
 */
#ifndef CORUN_CGROUP_H
#define CORUN_CGROUP_H

#include <stdbool.h>
#include <sys/types.h>

#include "loop.h"

struct cgroup {
  struct cgroup *prev, *next; /* private, as is `loop` */
  struct loop *loop;
  const char *procs;     /* read-only: the path of its cgroup.procs; into it "0" is written to enter */
  const char *directory; /* read-only */
  const char *path;      /* read-only: as /proc/PID/cgroup names it, "/user.slice/corun-1-1" */
};

/* A cgroup whose directory has been made; NULL when out of memory. */
struct cgroup *cgroup_new(struct loop *loop, const char *directory, const char *path);
void cgroup_free(struct cgroup *g);

/* Sends to every process in it and in those below it; UV_ESRCH when there is none. Signal 0 only asks. SIGKILL reaches
 * also what is forked meanwhile. A zombie does not count. UV_EMFILE, UV_ENFILE: without a descriptor it cannot tell. */
int cgroup_signal(const struct cgroup *g, int signo);

bool cgroup_has(const struct cgroup *g, pid_t pid);

/* Removes the directory and those below it. UV_EBUSY while a process is left. */
int cgroup_remove(const struct cgroup *g);

/* Kills what is in it, waits up to a second for the end of that, and removes it: for the end of the program. */
void cgroup_destroy(const struct cgroup *g);

#endif
