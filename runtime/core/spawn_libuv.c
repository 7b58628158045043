#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "fd.h"
#include "spawn.h"
#include "tree.h"

int spawn_init(struct loop *loop) {
  (void)loop;
  spawn_prepare_process();
  return 0;
}

void spawn_exit(struct loop *loop) { (void)loop; }

static int fail(struct spawn_failure *failure, enum spawn_stage stage, int err) {
  *failure = (struct spawn_failure){.stage = stage, .error = err, .index = -1};
  return err;
}

static int refuse_unsupported(const struct spawn_request *q, struct spawn_failure *failure) {
  if (q->nice) return fail(failure, SPAWN_NICE, UV_ENOTSUP);
  if (q->limit_count) {
    fail(failure, SPAWN_RLIMIT, UV_ENOTSUP);
    failure->index = 0;
    return failure->error;
  }
  if (q->group_count > 0) return fail(failure, SPAWN_SETGROUPS, UV_ENOTSUP);
  if (q->ctty >= 0) return fail(failure, SPAWN_TERMINAL, UV_ENOTSUP);
  if (q->cgroup) return fail(failure, SPAWN_CGROUP, UV_ENOTSUP);
  if (q->oom_score_adj) return fail(failure, SPAWN_OOM_SCORE, UV_ENOTSUP);
  if (q->cpu_count) return fail(failure, SPAWN_AFFINITY, UV_ENOTSUP);
  if (q->no_new_privileges) return fail(failure, SPAWN_NO_NEW_PRIVILEGES, UV_ENOTSUP);
  if (q->umask >= 0) return fail(failure, SPAWN_UMASK, UV_ENOTSUP);
  return 0;
}

/* uv_spawn does not say whether the directory or the program is missing, so look at the directory first. */
static int check_directory(const char *cwd) {
  struct stat st;
  if (stat(cwd, &st)) return uv_translate_sys_error(errno);
  if (!S_ISDIR(st.st_mode)) return UV_ENOTDIR;
  return access(cwd, X_OK) ? uv_translate_sys_error(errno) : 0;
}

/* The path to execute, with the rules of the native backend. A relative one counts from the child's directory. */
static int find_program(const struct spawn_request *q, const char *candidates, const char **found) {
  int base = q->cwd ? open(q->cwd, O_RDONLY | O_DIRECTORY | O_CLOEXEC) : AT_FDCWD;
  int err = UV_ENOENT;
  *found = NULL;
  if (base == -1) return uv_translate_sys_error(errno);
  for (const char *at = candidates; *at; at += strlen(at) + 1) {
    struct stat st;
    if (fstatat(base, at, &st, 0)) {
      if (strchr(q->file, '/')) err = uv_translate_sys_error(errno);
      continue;
    }
    if (S_ISDIR(st.st_mode) || faccessat(base, at, X_OK, 0)) {
      if (!S_ISDIR(st.st_mode) || strchr(q->file, '/')) err = UV_EACCES;
      continue;
    }
    *found = at;
    err = 0;
    break;
  }
  if (base >= 0) close(base);
  return err;
}

/* uv_spawn leaves inheritable descriptors above the listed ones open: mark them for the moment of the start. */
struct marked {
  int *fds;
  size_t count;
};

static void mark_others(struct marked *marked) {
  DIR *dir = opendir("/dev/fd");
  if (!dir) return;
  for (struct dirent *entry; (entry = readdir(dir));) {
    int fd = atoi(entry->d_name);
    if (fd < 3 || fd == dirfd(dir)) continue;
    int flags = fcntl(fd, F_GETFD);
    if (flags < 0 || (flags & FD_CLOEXEC)) continue;
    int *fds = realloc(marked->fds, (marked->count + 1) * sizeof *fds);
    if (!fds) break;
    marked->fds = fds;
    marked->fds[marked->count++] = fd;
    fcntl(fd, F_SETFD, flags | FD_CLOEXEC);
  }
  closedir(dir);
}

static void unmark(struct marked *marked) {
  for (size_t i = 0; i < marked->count; i++) fcntl(marked->fds[i], F_SETFD, 0);
  free(marked->fds);
}

static void exit_cb(uv_process_t *handle, int64_t code, int signo) {
  struct spawn_child *child = handle->data;
  if (!child) return;
  child->reaped = true;
  struct spawn_status status = {.code = signo ? -1 : (int)code, .signo = signo};
  child->ended(child, &status, NULL);
}

static void close_cb(uv_handle_t *handle) { free(handle); }

/* For the moment of a start, settings of the whole process are changed: one start at a time. */
static pthread_mutex_t start_lock = PTHREAD_MUTEX_INITIALIZER;

static int start(struct loop *loop, const struct spawn_request *q, const char *program, uv_process_t *handle,
                 bool *is_marked) {
  int count = q->fd_count ? q->fds[q->fd_count - 1].child + 1 : 0;
  uv_stdio_container_t *stdio = calloc((size_t)count + 1, sizeof *stdio);
  if (!stdio) return UV_ENOMEM;
  for (size_t i = 0; i < q->fd_count; i++) {
    stdio[q->fds[i].child].flags = UV_INHERIT_FD;
    stdio[q->fds[i].child].data.fd = q->fds[i].parent;
  }
  uv_process_options_t options = {.exit_cb = exit_cb, .file = program, .args = (char **)q->argv,
                                  .env = (char **)q->envp, .cwd = q->cwd, .stdio = stdio,
                                  .stdio_count = count};
  if (q->uid >= 0) options.flags |= UV_PROCESS_SETUID, options.uid = (uv_uid_t)q->uid;
  if (q->gid >= 0) options.flags |= UV_PROCESS_SETGID, options.gid = (uv_gid_t)q->gid;
  if (q->session || q->group) options.flags |= UV_PROCESS_DETACHED;
  pthread_mutex_lock(&start_lock);
  struct marked marked = {0};
  mark_others(&marked);
  /* The child of a fork inherits the limit at once; only the moment between is lowered. */
  struct rlimit raised;
  bool lowered = !getrlimit(RLIMIT_NOFILE, &raised) && !setrlimit(RLIMIT_NOFILE, &spawn_original_nofile);
#ifdef RLIMIT_LOCKS
  struct rlimit locks, mark = tree_mark_limit(q->mark);
  if (q->mark && !getrlimit(RLIMIT_LOCKS, &locks)) {
    mark.rlim_max = locks.rlim_max; /* which we could not raise again */
    *is_marked = !setrlimit(RLIMIT_LOCKS, &mark);
  }
#endif
  /* Real-time signals and SIGPIPE are not reset by uv_spawn; ignored ones would stay ignored. */
  struct sigaction pipe_action, standard = {.sa_handler = SIG_DFL};
  sigaction(SIGPIPE, &standard, &pipe_action);
  int err = uv_spawn(&loop->uv, handle, &options);
  sigaction(SIGPIPE, &pipe_action, NULL);
  if (lowered) setrlimit(RLIMIT_NOFILE, &raised);
#ifdef RLIMIT_LOCKS
  if (*is_marked) setrlimit(RLIMIT_LOCKS, &locks);
#endif
  unmark(&marked);
  pthread_mutex_unlock(&start_lock);
  free(stdio);
  return err;
}

/* The system has no room; it is not about the program. */
static bool is_full(int err) {
  return err == UV_EMFILE || err == UV_ENFILE || err == UV_EAGAIN || err == UV_ENOMEM;
}

/* uv_spawn does not say at which step it failed: what can be told from the error. */
static void find_stage(const struct spawn_request *q, int err, struct spawn_failure *failure) {
  fail(failure, is_full(err) ? SPAWN_FORK : SPAWN_EXEC, err);
  if (err == UV_EPERM && (q->uid >= 0 || q->gid >= 0))
    failure->stage = q->gid >= 0 && (gid_t)q->gid != getegid() ? SPAWN_SETGID : SPAWN_SETUID;
  for (size_t i = 0; err == UV_EBADF && i < q->fd_count; i++) {
    if (fcntl(q->fds[i].parent, F_GETFD) >= 0) continue;
    failure->stage = SPAWN_STDIO;
    failure->index = (int)i;
    return;
  }
}

int spawn_start(struct loop *loop, const struct spawn_request *request, struct spawn_child *child,
                struct spawn_failure *failure) {
  char *candidates = NULL;
  const char *program;
  if (refuse_unsupported(request, failure)) return failure->error;
  if (request->cwd) {
    int err = check_directory(request->cwd);
    if (err) return fail(failure, SPAWN_CHDIR, err);
  }
  int err = spawn_candidates(request->file, request->path, &candidates);
  if (err) return fail(failure, SPAWN_PREPARE, err);
  err = find_program(request, candidates, &program);
  if (err) {
    free(candidates);
    return fail(failure, is_full(err) ? SPAWN_PREPARE : SPAWN_EXEC, err);
  }
  uv_process_t *handle = calloc(1, sizeof *handle);
  if (!handle) {
    free(candidates);
    return fail(failure, SPAWN_PREPARE, UV_ENOMEM);
  }
  bool is_marked = false;
  err = start(loop, request, program, handle, &is_marked);
  if (err) {
    uv_close((uv_handle_t *)handle, close_cb);
    find_stage(request, err, failure);
    /* the program itself was found just before */
    if (err == UV_ENOENT) snprintf(failure->interpreter, sizeof failure->interpreter, "%s", program);
    free(candidates);
    return err;
  }
  free(candidates);
  handle->data = child;
  child->pid = handle->pid;
  child->loop = loop;
  child->pidfd = -1;
  child->handle = handle;
  child->reaped = false;
  child->mark = is_marked ? request->mark : 0;
  child->own_group = request->session || request->group;
  *failure = (struct spawn_failure){0};
  return 0;
}

int spawn_signal(struct spawn_child *child, int signo) {
  if (child->reaped || !child->handle) return UV_ESRCH;
  return uv_process_kill(child->handle, signo);
}

int spawn_signal_group(struct spawn_child *child, int signo) {
  if (child->released) return UV_ESRCH;
  if (!child->own_group) return spawn_signal(child, signo);
  /* The number stays taken while the group has a member; a process that has it as its pid again is a stranger. */
  if (child->reaped && (kill(child->pid, 0) == 0 || errno != ESRCH)) return UV_ESRCH;
  return kill(-child->pid, signo) ? uv_translate_sys_error(errno) : 0;
}

void spawn_unref(struct spawn_child *child) {
  if (child->handle) uv_unref(child->handle);
}

void spawn_release(struct spawn_child *child, bool reap) {
  uv_process_t *handle = child->handle;
  child->handle = NULL;
  child->released = true;
  if (handle) {
    handle->data = NULL;
    uv_close((uv_handle_t *)handle, close_cb); /* from now on libuv does not reap it */
  }
  if (child->reaped) return;
  child->reaped = true;
  while (reap && waitpid(child->pid, NULL, 0) < 0 && errno == EINTR) {}
}
