/* Starting a child, signalling it, learning of its end: the one contract that two backends serve.
 *
 * spawn_native.c (Linux 5.4 and newer): clone(CLONE_VM|CLONE_VFORK|CLONE_PIDFD), so a spawn does not slow down with
 *   the parent's size; the child makes raw system calls only and reports its failing step through shared memory; the
 *   end comes by the pidfd in the loop and wait4 of exactly this child, so no SIGCHLD handler is needed and nobody
 *   else's is disturbed; a signal goes through the pidfd and cannot reach a recycled pid.
 * spawn_libuv.c: uv_spawn. It has no umask, nice, rlimits, groups, cpus, oom_score_adj, cgroup, no_new_privileges,
 *   controlling terminal (UV_ENOTSUP), no parent-death signal and no rusage; a process group of its own is a session of
 *   its own; a status that somebody else took is never reported; a text without #! is given to /bin/sh by the C library.
 *
 * One thread starts all children and is suspended in each start until the child has left its memory: for 24 of the 91
 * us that a spawn and its end take of it, Lua included (2 virtual cores, Linux 6.18). So one corun starts 10,000
 * children/s at most, 5,000 where an idle core takes 50 us to wake. That keeps 64 cores busy with jobs of 10 ms
 * (6,100/s; with slow wake-ups 83 % of them) and longer. Further threads for spawn_start could not give more than
 * 18,000/s, since Lua stays on one; their ends would kill their children (PR_SET_PDEATHSIG), and each spawn would
 * park its task. Several coruns are the way to more. (On a machine that is busy with others' work four threads get
 * more of it than one.)
 * By spec/bench/scaling.lua; its simulation promises 1 to 14 % more than corun does on 1 and 2 cores.
 *
 * In both, the child gets default signal dispositions, an empty signal mask, the soft RLIMIT_NOFILE that the program
 * was started with, and no descriptors but those in the request.
 */
#ifndef CORUN_SPAWN_H
#define CORUN_SPAWN_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/resource.h>
#include <sys/types.h>

#include "loop.h"

#ifdef CORUN_SPAWN_LIBUV
#define SPAWN_BACKEND "libuv"
#else
#define SPAWN_BACKEND "native"
#endif

/* The step at which a start failed, in the child's order. */
enum spawn_stage {
  SPAWN_PREPARE, /* in the parent: memory, pipes, descriptors */
  SPAWN_GUARD, /* in the parent, too: contained, and no guard could be started */
  SPAWN_FORK,
  SPAWN_SESSION,
  SPAWN_GROUP,
  SPAWN_CGROUP,
  SPAWN_STDIO,
  SPAWN_OOM_SCORE,
  SPAWN_AFFINITY,
  SPAWN_TERMINAL,
  SPAWN_NICE,
  SPAWN_RLIMIT,
  SPAWN_UMASK,
  SPAWN_SETGROUPS,
  SPAWN_SETGID,
  SPAWN_SETUID,
  SPAWN_CHDIR,
  SPAWN_NO_NEW_PRIVILEGES,
  SPAWN_EXEC,
};
const char *spawn_stage_name(enum spawn_stage stage);

struct spawn_fd {
  int child;  /* its number in the child */
  int parent; /* what it is here; may be close-on-exec */
};

struct spawn_limit {
  int resource; /* RLIMIT_… */
  struct rlimit limit;
};

struct spawn_request {
  char *const *argv;           /* argv[0] as the child sees it; NULL-terminated */
  char *const *envp;
  const char *file;            /* the program: with a slash a path in the child's directory, else searched in path */
  const char *path;            /* a PATH; empty elements are passed over */
  const char *cwd;             /* NULL: ours */
  const struct spawn_fd *fds;  /* in ascending order of `child`, each number once */
  size_t fd_count;
  const struct spawn_limit *limits;
  size_t limit_count;
  const gid_t *groups;
  int group_count;             /* -1: ours */
  long uid, gid;               /* -1: ours */
  int umask;                   /* -1: ours */
  int nice;                    /* added to ours; 0: ours */
  const int *cpus;             /* numbers, from 0, below SPAWN_CPUS */
  size_t cpu_count;            /* 0: ours */
  const char *oom_score_adj;   /* the number as text; NULL: ours */
  const char *cgroup;          /* the path of a cgroup.procs, entered before all else; NULL: ours */
  bool no_new_privileges;      /* exec gives none: no set-user-ID, no file capabilities */
  int ctty;                    /* the child's descriptor that is its controlling terminal, in a session of its own;
                                  -1: none */
  bool session;                /* a session (and group) of its own */
  bool group;                  /* a process group of its own */
  bool foreground;             /* which is the foreground group of the terminal on our descriptor 0: see terminal.h */
  uint64_t mark;               /* of its tree (tree.h); 0: none */
  bool die_with_parent;        /* SIGKILL when the thread that spawned ends; only asked of the main thread */
};

enum { SPAWN_PATH = 1024, SPAWN_CPUS = 8192 };

struct spawn_failure {
  enum spawn_stage stage;
  int error;         /* negative libuv error */
  int index;         /* SPAWN_RLIMIT, SPAWN_AFFINITY, SPAWN_STDIO: in `limits`, `cpus`, `fds` of the request; else -1 */
  /* SPAWN_EXEC, UV_ENOENT: the path of a program that is there, while what its #! line names is not; else "" */
  char interpreter[SPAWN_PATH];
};

struct spawn_status {
  bool unknown;      /* somebody else took the status */
  bool core_dumped;
  int code;          /* -1 where it ended by a signal */
  int signo;         /* 0 where it exited */
};

/* The backend's half of a child. Private to the backends but for pid. */
struct spawn_child {
  pid_t pid;
  struct loop *loop;
  bool reaped;
  bool own_group;         /* stays so after the end */
  bool released;          /* libuv: nothing of the group is left, its number may come back as a stranger's */
  uint64_t mark;          /* that it really has; 0: none */
  int pidfd;              /* native: open until the group is known to be empty */
  void *handle;           /* native: the watch of the pidfd; libuv: the uv_process_t */
  /* Called once, from the loop; the usage is NULL where it cannot be known. */
  void (*ended)(struct spawn_child *, const struct spawn_status *, const struct rusage *);
};

/* Once for each loop, before and after all else. */
int spawn_init(struct loop *loop);
void spawn_exit(struct loop *loop);

/* Starts a child; 0, or the error that *failure holds too, with nothing left behind. `ended` must be set. */
int spawn_start(struct loop *loop, const struct spawn_request *request, struct spawn_child *child,
                struct spawn_failure *failure);

/* Sends to the process alone, and to all that is left in its group, also after its own end (where it has no group of
 * its own: to the process alone). UV_ESRCH when nobody was there. Signal 0 only asks. */
int spawn_signal(struct spawn_child *child, int signo);
int spawn_signal_group(struct spawn_child *child, int signo);

/* It does not keep a turn of the loop waiting any more; it is still reaped. */
void spawn_unref(struct spawn_child *child);

/* Forgets the child: no callback comes any more. One that still runs is left to run, or, with `reap`, waited for: the
 * caller has killed it. */
void spawn_release(struct spawn_child *child, bool reap);

/* The process-wide facts, settled by the first call: raises the soft RLIMIT_NOFILE to the hard one (children get the
 * original), undoes an ignored SIGCHLD (the kernel would throw the statuses away) and a blocked one. */
void spawn_prepare_process(void);
extern struct rlimit spawn_original_nofile;

/* The paths at which a child with this PATH (NULL: the system's) finds `name`, in order: one after another, each ended
 * by NUL, the list by an empty one; malloc'ed. A name with a slash is its own only candidate. */
int spawn_candidates(const char *name, const char *path, char **out);

/* The system's PATH where the environment has none. */
#define SPAWN_DEFAULT_PATH "/usr/local/bin:/usr/bin:/bin"

#endif
