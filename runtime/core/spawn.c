/* What the spawn backends share. */
#include "spawn.h"

#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>

const char *spawn_stage_name(enum spawn_stage stage) {
  switch (stage) {
  case SPAWN_PREPARE: return "prepare";
  case SPAWN_GUARD: return "guard";
  case SPAWN_FORK: return "fork";
  case SPAWN_SESSION: return "setsid";
  case SPAWN_GROUP: return "setpgid";
  case SPAWN_CGROUP: return "cgroup";
  case SPAWN_STDIO: return "stdio";
  case SPAWN_OOM_SCORE: return "oom_score_adj";
  case SPAWN_AFFINITY: return "affinity";
  case SPAWN_TERMINAL: return "terminal";
  case SPAWN_NICE: return "nice";
  case SPAWN_RLIMIT: return "rlimit";
  case SPAWN_UMASK: return "umask";
  case SPAWN_SETGROUPS: return "setgroups";
  case SPAWN_SETGID: return "setgid";
  case SPAWN_SETUID: return "setuid";
  case SPAWN_CHDIR: return "chdir";
  case SPAWN_NO_NEW_PRIVILEGES: return "no_new_privileges";
  case SPAWN_EXEC: return "exec";
  }
  return "unknown";
}

struct rlimit spawn_original_nofile;

static void prepare_process(void) {
  if (!getrlimit(RLIMIT_NOFILE, &spawn_original_nofile)) {
    struct rlimit raised = spawn_original_nofile;
    raised.rlim_cur = raised.rlim_max;
    setrlimit(RLIMIT_NOFILE, &raised); /* best effort: without it there is only less room */
  }
  struct sigaction old;
  if (!sigaction(SIGCHLD, NULL, &old) &&
      (old.sa_handler == SIG_IGN || (old.sa_flags & SA_NOCLDWAIT))) {
    struct sigaction fresh = {.sa_handler = SIG_DFL};
    sigaction(SIGCHLD, &fresh, NULL);
  }
  sigset_t chld;
  sigemptyset(&chld);
  sigaddset(&chld, SIGCHLD);
  pthread_sigmask(SIG_UNBLOCK, &chld, NULL); /* libuv waits for it */
}

void spawn_prepare_process(void) {
  static pthread_once_t once = PTHREAD_ONCE_INIT;
  pthread_once(&once, prepare_process);
}

int spawn_candidates(const char *name, const char *path, char **out) {
  size_t name_size = strlen(name);
  if (strchr(name, '/')) path = NULL;
  else if (!path) path = SPAWN_DEFAULT_PATH;
  size_t elements = 1, path_size = path ? strlen(path) : 0;
  for (const char *at = path; at && *at; at++) elements += *at == ':';
  /* Each candidate is an element, '/', the name and NUL; one more NUL ends the list. */
  char *list = malloc(path_size + elements * (name_size + 2) + 2);
  if (!list) return UV_ENOMEM;
  char *to = list;
  if (!path) {
    memcpy(to, name, name_size + 1);
    to += name_size + 1;
  }
  for (const char *at = path; at;) {
    const char *end = strchr(at, ':');
    size_t size = end ? (size_t)(end - at) : strlen(at);
    if (size) { /* an empty element never means "." */
      memcpy(to, at, size);
      to[size] = '/';
      memcpy(to + size + 1, name, name_size + 1);
      to += size + name_size + 2;
    }
    at = end ? end + 1 : NULL;
  }
  *to = '\0';
  *out = list;
  return 0;
}
