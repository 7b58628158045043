#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "fd.h"
#include "pidfd.h"
#include "spawn.h"
#include "tree.h"
#include "watch.h"

/* Newer than the headers of today's distributions. */
#ifndef CLONE_PIDFD
#define CLONE_PIDFD 0x00001000
#endif
#ifndef SYS_close_range
#define SYS_close_range 436
#endif
#ifndef CLOSE_RANGE_UNSHARE
#define CLOSE_RANGE_UNSHARE 2
#endif
#define PIDFD_SIGNAL_PROCESS_GROUP (1u << 2) /* Linux 6.9 */

#define CHILD_STACK (64 * 1024)
#define SIGNALS 64
#define KERNEL_MASK 8 /* bytes of the kernel's sigset_t */

/* What parent and child share while the parent is suspended. */
struct child_plan {
  const struct spawn_request *request;
  const char *candidates;
  pid_t parent;
  int highest; /* largest number in request->fds, at least 2 */
  int last;    /* largest of ours that it names, at least 2 */
  bool shares_files; /* our descriptors, of which it takes a copy of its own up to the last */
  int *moved;  /* request->fd_count numbers: each parent descriptor, out of the way of the child's numbers */
  struct rlimit nofile, mark;
  /* written by the child */
  bool is_unshared; /* has that copy; else, where it should have, nothing was done */
  bool is_refused;    /* the mark */
  enum spawn_stage failed_stage;
  int error;          /* 0 while nothing has failed */
  int failed_index;   /* of the descriptor, limit or processor it is at; -1 */
  const char *script; /* the candidate whose interpreter is missing */
};

/* The child runs in the parent's memory. It may make system calls and write to its plan, nothing else: no malloc, no
 * stdio, no function of the C library that keeps state (syscall(2) writes errno, which the parent saves). The
 * sanitizers' shadow belongs to the parent's stack, so none of this is instrumented. */
#if defined(__clang__) || defined(__GNUC__)
#define IN_CHILD __attribute__((no_sanitize("address", "undefined", "thread")))
#else
#define IN_CHILD
#endif

IN_CHILD static void fail_if(struct child_plan *plan, enum spawn_stage stage, long result) {
  if (result >= 0) return;
  plan->failed_stage = stage;
  plan->error = -errno;
  syscall(SYS_exit, 127);
}

/* exec resets handlers but keeps what is ignored. All signals are blocked now; one that came while a handler of
 * the parent's is still set would run it here, in the parent's memory, once the mask is lifted. */
IN_CHILD static void reset_signals(void) {
  static const char zeros[64]; /* larger than any kernel's struct sigaction; all zero is SIG_DFL */
  for (int signo = 1; signo <= SIGNALS; signo++)
    if (signo != SIGKILL && signo != SIGSTOP)
      syscall(SYS_rt_sigaction, signo, zeros, NULL, KERNEL_MASK);
}

IN_CHILD static void close_one_by_one(int from, int to) {
  int dir = (int)syscall(SYS_openat, AT_FDCWD, "/proc/self/fd", O_RDONLY | O_DIRECTORY | O_CLOEXEC, 0);
  if (dir < 0) return;
  char entries[2048] __attribute__((aligned(8)));
  for (;;) {
    long size = syscall(SYS_getdents64, dir, entries, sizeof entries);
    if (size <= 0) break;
    for (long at = 0; at < size;) {
      struct { uint64_t inode; int64_t offset; uint16_t length; uint8_t type; char name[1]; } *entry =
          (void *)(entries + at);
      int fd = 0;
      const char *digit = entry->name;
      for (; *digit >= '0' && *digit <= '9'; digit++) fd = fd * 10 + (*digit - '0');
      if (digit != entry->name && fd >= from && fd <= to && fd != dir) syscall(SYS_close, fd);
      at += entry->length;
    }
  }
  syscall(SYS_close, dir);
}

IN_CHILD static void close_between(int from, int to) {
  if (from > to) return;
  if (syscall(SYS_close_range, from, to, 0) < 0) close_one_by_one(from, to); /* before Linux 5.9 */
}

IN_CHILD static void place_descriptors(struct child_plan *plan) {
  const struct spawn_request *q = plan->request;
  /* First lift those that another's number would overwrite above all numbers of the child. */
  for (size_t i = 0; i < q->fd_count; i++) {
    int fd = q->fds[i].parent;
    plan->failed_index = (int)i;
    if (fd <= plan->highest && fd != q->fds[i].child) {
      fd = (int)syscall(SYS_fcntl, fd, F_DUPFD_CLOEXEC, plan->highest + 1);
      fail_if(plan, SPAWN_STDIO, fd);
    }
    plan->moved[i] = fd;
  }
  int next = 0;
  for (size_t i = 0; i < q->fd_count; i++) {
    int child = q->fds[i].child;
    plan->failed_index = (int)i;
    if (plan->moved[i] == child) /* in place: only let it through exec */
      fail_if(plan, SPAWN_STDIO, syscall(SYS_fcntl, child, F_SETFD, 0));
    else
      fail_if(plan, SPAWN_STDIO, syscall(SYS_dup3, plan->moved[i], child, 0));
    close_between(next, child - 1);
    next = child + 1;
  }
  plan->failed_index = -1;
  close_between(next, INT32_MAX);
}

/* Writes a small file in one piece; -1 and errno. */
IN_CHILD static long write_file(const char *path, const char *text) {
  int fd = (int)syscall(SYS_openat, AT_FDCWD, path, O_WRONLY | O_CLOEXEC, 0);
  if (fd < 0) return -1;
  size_t size = 0;
  while (text[size]) size++;
  long result = syscall(SYS_write, fd, text, size);
  int err = errno;
  syscall(SYS_close, fd);
  errno = err;
  return result;
}

/* Of a set of processors the kernel takes those that there are, or that we may use, and is content with one. */
IN_CHILD static void set_affinity(struct child_plan *plan) {
  const struct spawn_request *q = plan->request;
  enum { BITS = 8 * sizeof(unsigned long) };
  unsigned long wanted[SPAWN_CPUS / BITS], got[SPAWN_CPUS / BITS];
  for (size_t i = 0; i < SPAWN_CPUS / BITS; i++) wanted[i] = got[i] = 0;
  for (size_t i = 0; i < q->cpu_count; i++) wanted[q->cpus[i] / BITS] |= 1ul << q->cpus[i] % BITS;
  long result = syscall(SYS_sched_setaffinity, 0, sizeof wanted, wanted);
  if (result >= 0) result = syscall(SYS_sched_getaffinity, 0, sizeof got, got);
  else if (errno == EINVAL && q->cpu_count == 1) plan->failed_index = 0;
  fail_if(plan, SPAWN_AFFINITY, result);
  for (size_t i = 0; i < q->cpu_count; i++) {
    if (got[q->cpus[i] / BITS] >> q->cpus[i] % BITS & 1) continue;
    plan->failed_index = (int)i;
    errno = EINVAL;
    fail_if(plan, SPAWN_AFFINITY, -1);
  }
}

IN_CHILD static void set_limits(struct child_plan *plan) {
  const struct spawn_request *q = plan->request;
  fail_if(plan, SPAWN_RLIMIT, syscall(SYS_prlimit64, 0, RLIMIT_NOFILE, &plan->nofile, NULL));
  for (size_t i = 0; i < q->limit_count; i++) {
    plan->failed_index = (int)i;
    fail_if(plan, SPAWN_RLIMIT, syscall(SYS_prlimit64, 0, q->limits[i].resource, &q->limits[i].limit, NULL));
  }
  plan->failed_index = -1;
}

IN_CHILD static void take_surroundings(struct child_plan *plan) {
  const struct spawn_request *q = plan->request;
  /* Before a limit of open files, and before the user changes: a lower score needs a privilege. As long as the parent
   * waits for us the kernel sets it for us alone, though we share its memory. */
  if (q->oom_score_adj) fail_if(plan, SPAWN_OOM_SCORE, write_file("/proc/self/oom_score_adj", q->oom_score_adj));
  if (q->cpu_count) set_affinity(plan);
  if (q->nice) {
    long nice = 20 - syscall(SYS_getpriority, 0 /* PRIO_PROCESS */, 0) + q->nice;
    fail_if(plan, SPAWN_NICE, syscall(SYS_setpriority, 0, 0, nice));
  }
  set_limits(plan);
  if (q->umask >= 0) syscall(SYS_umask, q->umask);
  /* As root a change of user without a list of groups must not keep root's. */
  bool drop_groups = q->group_count < 0 && (q->uid >= 0 || q->gid >= 0) && syscall(SYS_geteuid) == 0;
  if (q->group_count >= 0 || drop_groups)
    fail_if(plan, SPAWN_SETGROUPS, syscall(SYS_setgroups, drop_groups ? 0 : q->group_count, q->groups));
  if (q->gid >= 0) fail_if(plan, SPAWN_SETGID, syscall(SYS_setresgid, q->gid, q->gid, q->gid));
  if (q->uid >= 0) fail_if(plan, SPAWN_SETUID, syscall(SYS_setresuid, q->uid, q->uid, q->uid));
  if (q->cwd) fail_if(plan, SPAWN_CHDIR, syscall(SYS_chdir, q->cwd));
}

IN_CHILD static const char *after(const char *candidate) {
  while (*candidate++) {}
  return candidate;
}

/* What one failed execve says: go on searching, or this is the answer. */
IN_CHILD static bool search_goes_on(struct child_plan *plan, const char *candidate, int *found) {
  int err = errno;
  bool exists = syscall(SYS_faccessat, AT_FDCWD, candidate, F_OK) == 0;
  if (err == ENOENT && exists) {
    plan->script = candidate;
    *found = ENOENT;
    return false;
  }
  if (err == EACCES && exists) {
    /* A file of that name without permission is remembered; a directory of that name is passed over. */
    int fd = (int)syscall(SYS_openat, AT_FDCWD, candidate, O_PATH | O_DIRECTORY | O_CLOEXEC, 0);
    if (fd >= 0) syscall(SYS_close, fd);
    else if (*found == ENOENT) *found = EACCES;
    return true;
  }
  if (err == ENOENT || err == ENOTDIR || err == EACCES || err == ENAMETOOLONG || err == ELOOP ||
      err == ESTALE || err == ENODEV || err == ETIMEDOUT)
    return true;
  *found = err;
  return false;
}

/* By the child itself, so that it has the terminal before the program runs. All signals are blocked, so the SIGTTOU that
 * who is in the background gets for it does not stop us. Where it fails, the terminal was hung up just now, and the
 * program will find out. */
IN_CHILD static void take_foreground(void) {
  pid_t group = (pid_t)syscall(SYS_getpid);
  syscall(SYS_ioctl, 0, TIOCSPGRP, &group);
}

IN_CHILD static int child_main(void *arg) {
  struct child_plan *plan = arg;
  const struct spawn_request *q = plan->request;
  static const char empty_mask[KERNEL_MASK];
  if (plan->shares_files && syscall(SYS_close_range, plan->last + 1, UINT32_MAX, CLOSE_RANGE_UNSHARE) < 0)
    syscall(SYS_exit, 127);
  plan->is_unshared = true;
  reset_signals();
  /* Before all else: from here on it is found. Where a sandbox forbids it, it is found by its group and parents. */
  if (q->mark) plan->is_refused = syscall(SYS_prlimit64, 0, RLIMIT_LOCKS, &plan->mark, NULL) != 0;
  if (q->session || q->ctty >= 0) fail_if(plan, SPAWN_SESSION, syscall(SYS_setsid));
  else if (q->group) fail_if(plan, SPAWN_GROUP, syscall(SYS_setpgid, 0, 0));
  if (q->cgroup) fail_if(plan, SPAWN_CGROUP, write_file(q->cgroup, "0"));
  if (q->foreground) take_foreground();
  place_descriptors(plan);
  if (q->ctty >= 0) fail_if(plan, SPAWN_TERMINAL, syscall(SYS_ioctl, q->ctty, TIOCSCTTY, 0));
  take_surroundings(plan);
  if (q->die_with_parent) { /* after the change of user, which clears it */
    syscall(SYS_prctl, PR_SET_PDEATHSIG, SIGKILL);
    if (syscall(SYS_getppid) != plan->parent) syscall(SYS_exit, 127); /* it died before */
  }
  if (q->no_new_privileges)
    fail_if(plan, SPAWN_NO_NEW_PRIVILEGES, syscall(SYS_prctl, PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0));
  syscall(SYS_rt_sigprocmask, SIG_SETMASK, empty_mask, NULL, KERNEL_MASK);
  bool searched = strchr(q->file, '/') == NULL;
  int found = ENOENT;
  for (const char *candidate = plan->candidates; *candidate; candidate = after(candidate)) {
    /* To ask costs less than to try, and then to ask why. */
    if (searched && syscall(SYS_faccessat, AT_FDCWD, candidate, F_OK) && errno == ENOENT) continue;
    syscall(SYS_execve, candidate, q->argv, q->envp);
    if (!searched) {
      found = errno;
      if (found == ENOENT && syscall(SYS_faccessat, AT_FDCWD, candidate, F_OK) == 0) plan->script = candidate;
      break;
    }
    if (!search_goes_on(plan, candidate, &found)) break;
  }
  errno = found;
  fail_if(plan, SPAWN_EXEC, -1);
  return 127; /* not reached */
}

/* The loop keeps one small stack for its children, which use it one at a time. */
int spawn_init(struct loop *loop) {
  spawn_prepare_process();
  void *stack = mmap(NULL, CHILD_STACK, PROT_READ | PROT_WRITE,
                     MAP_PRIVATE | MAP_ANONYMOUS | MAP_STACK | MAP_NORESERVE, -1, 0);
  if (stack == MAP_FAILED) return uv_translate_sys_error(errno);
  loop->spawn_state = stack;
  return 0;
}

void spawn_exit(struct loop *loop) {
  if (loop->spawn_state) munmap(loop->spawn_state, CHILD_STACK);
  loop->spawn_state = NULL;
}

static pid_t clone_once(struct loop *loop, struct child_plan *plan, int *pidfd) {
  /* No handler of ours may run in the child, which has our memory, before it has reset them. */
  char all[KERNEL_MASK], saved[KERNEL_MASK];
  memset(all, 0xff, sizeof all);
  syscall(SYS_rt_sigprocmask, SIG_SETMASK, all, saved, KERNEL_MASK);
  char *top = (char *)loop->spawn_state + CHILD_STACK;
  int files = plan->shares_files ? CLONE_FILES : 0;
  pid_t pid = clone(child_main, top, CLONE_VM | CLONE_VFORK | CLONE_PIDFD | files | SIGCHLD, plan, pidfd);
  int err = errno;
  syscall(SYS_rt_sigprocmask, SIG_SETMASK, saved, NULL, KERNEL_MASK);
  errno = err;
  return pid;
}

/* A copy of all descriptors, and closing them in the child, would cost 0.04 us for each, of which 5,000 children alive
 * have as many or thrice. So where there are many the child begins with ours and takes a copy of the few that it needs.
 */
static pid_t clone_child(struct loop *loop, struct child_plan *plan, int *pidfd) {
  static atomic_bool is_refused; /* before Linux 5.9, or by a sandbox */
  plan->shares_files = fd_are_many() && !atomic_load_explicit(&is_refused, memory_order_relaxed);
  pid_t pid = clone_once(loop, plan, pidfd);
  if (pid < 0 || !plan->shares_files || plan->is_unshared) return pid;
  while (waitpid(pid, NULL, 0) < 0 && errno == EINTR) {}
  fd_close(pidfd);
  atomic_store_explicit(&is_refused, true, memory_order_relaxed);
  plan->shares_files = false;
  return clone_once(loop, plan, pidfd);
}

static void record_status(int wait_status, struct spawn_status *status) {
  if (WIFSIGNALED(wait_status)) {
    status->code = -1;
    status->signo = WTERMSIG(wait_status);
    status->core_dumped = WCOREDUMP(wait_status);
  } else {
    status->code = WEXITSTATUS(wait_status);
  }
}

static void close_pidfd(struct spawn_child *child) {
  if (child->handle) watch_close(child->handle);
  child->handle = NULL;
  fd_close(&child->pidfd);
}

static void pidfd_event(void *owner, int events) {
  (void)events;
  struct spawn_child *child = owner;
  int wait_status;
  struct rusage usage;
  struct spawn_status status = {0};
  pid_t pid;
  do pid = wait4(child->pid, &wait_status, WNOHANG, &usage);
  while (pid < 0 && errno == EINTR);
  if (pid == 0) return; /* a thread of a multithreaded leader; the end of the process is still to come */
  if (pid > 0) record_status(wait_status, &status);
  else status = (struct spawn_status){.unknown = true, .code = -1};
  child->reaped = true;
  watch_close(child->handle);
  child->handle = NULL;
  /* The pidfd is kept only while it can still reach somebody: the members of a group that outlive their leader. */
  if (!child->own_group || spawn_signal_group(child, 0)) fd_close(&child->pidfd);
  child->ended(child, &status, pid > 0 ? &usage : NULL);
}

int spawn_start(struct loop *loop, const struct spawn_request *request, struct spawn_child *child,
                struct spawn_failure *failure) {
  struct child_plan plan = {.request = request, .parent = getpid(), .highest = 2, .last = 2,
                            .failed_index = -1, .nofile = spawn_original_nofile,
                            .mark = tree_mark_limit(request->mark)};
  struct watch *watch = NULL;
  int pidfd = -1;
  int err = spawn_candidates(request->file, request->path, (char **)&plan.candidates);
  *failure = (struct spawn_failure){.stage = SPAWN_PREPARE, .index = -1};
  if (err) return failure->error = err;
  plan.moved = calloc(request->fd_count + 1, sizeof *plan.moved);
  if (!plan.moved) {
    failure->error = UV_ENOMEM;
    goto done;
  }
  for (size_t i = 0; i < request->fd_count; i++)
    if (request->fds[i].child > plan.highest) plan.highest = request->fds[i].child;
  for (size_t i = 0; i < request->fd_count; i++)
    if (request->fds[i].parent > plan.last) plan.last = request->fds[i].parent;

  pid_t pid = clone_child(loop, &plan, &pidfd);
  if (pid < 0) {
    failure->stage = SPAWN_FORK;
    failure->error = uv_translate_sys_error(errno);
    goto done;
  }
  if (plan.error) {
    failure->stage = plan.failed_stage;
    failure->error = plan.error;
    failure->index = plan.failed_index;
    if (plan.script) snprintf(failure->interpreter, sizeof failure->interpreter, "%s", plan.script);
    goto reap;
  }
  /* pid is never waited for by anybody but us, so it cannot be recycled before the watch is set. */
  pidfd = fd_settle(pidfd);
  err = watch_open(loop, pidfd, UV_READABLE, pidfd_event, child, &watch);
  if (err) {
    failure->error = err;
    kill(pid, SIGKILL);
    goto reap;
  }
  child->pid = pid;
  child->loop = loop;
  child->pidfd = pidfd;
  child->handle = watch;
  child->reaped = false;
  child->mark = plan.is_refused ? 0 : request->mark;
  child->own_group = request->session || request->group || request->ctty >= 0;
  goto done;

reap:
  while (waitpid(pid, NULL, 0) < 0 && errno == EINTR) {}
  fd_close(&pidfd);
done:
  free(plan.moved);
  free((char *)plan.candidates);
  return failure->error;
}

int spawn_signal(struct spawn_child *child, int signo) {
  if (child->reaped || child->pidfd < 0) return UV_ESRCH;
  return pidfd_signal(child->pidfd, child->pid, signo); /* its number is as good: nobody but we can reap it */
}

int spawn_signal_group(struct spawn_child *child, int signo) {
  if (child->pidfd < 0) return UV_ESRCH;
  if (!child->own_group) return spawn_signal(child, signo);
  int result = (int)syscall(SYS_pidfd_send_signal, child->pidfd, signo, NULL, PIDFD_SIGNAL_PROCESS_GROUP);
  if (result && (errno == EINVAL || errno == ENOSYS) && signo >= 0 && signo <= SIGNALS) {
    /* Before Linux 6.9 only the number is left. While the leader is not reaped it is ours. After that it stays
     * taken as long as the group has a member; if a process has it as its pid again, the group is gone. */
    if (child->reaped && (kill(child->pid, 0) == 0 || errno != ESRCH)) return UV_ESRCH;
    result = kill(-child->pid, signo);
  }
  if (result == 0) return 0;
  int err = uv_translate_sys_error(errno);
  if (err == UV_ESRCH && child->reaped) fd_close(&child->pidfd); /* empty for good */
  return err;
}

void spawn_unref(struct spawn_child *child) {
  if (child->handle) watch_unref(child->handle);
}

void spawn_release(struct spawn_child *child, bool reap) {
  close_pidfd(child);
  if (child->reaped) return;
  child->reaped = true;
  while (reap && waitpid(child->pid, NULL, 0) < 0 && errno == EINTR) {}
}
