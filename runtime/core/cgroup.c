#include "cgroup.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "pidfd.h"
#include "procfs.h"

#define KILL_ROUNDS 1000 /* a millisecond each */

struct cgroup *cgroup_new(struct loop *loop, const char *directory, const char *path) {
  static const char file[] = "/cgroup.procs";
  size_t directory_size = strlen(directory), path_size = strlen(path) + 1;
  struct cgroup *g = malloc(sizeof *g + 2 * directory_size + 1 + sizeof file + path_size);
  if (!g) return NULL;
  char *text = (char *)(g + 1);
  *g = (struct cgroup){.loop = loop, .next = loop->cgroups, .directory = text};
  memcpy(text, directory, directory_size + 1);
  g->procs = text += directory_size + 1;
  memcpy(text, directory, directory_size);
  memcpy(text + directory_size, file, sizeof file);
  g->path = text += directory_size + sizeof file;
  memcpy(text, path, path_size);
  if (g->next) g->next->prev = g;
  return loop->cgroups = g;
}

void cgroup_free(struct cgroup *g) {
  if (!g) return;
  if (g->prev) g->prev->next = g->next;
  else g->loop->cgroups = g->next;
  if (g->next) g->next->prev = g->prev;
  free(g);
}

static int write_file(const char *directory, const char *name, const char *text) {
  char path[4096];
  if ((size_t)snprintf(path, sizeof path, "%s/%s", directory, name) >= sizeof path) return UV_ENAMETOOLONG;
  int fd = open(path, O_WRONLY | O_CLOEXEC);
  if (fd < 0) return uv_translate_sys_error(errno);
  ssize_t n;
  do n = write(fd, text, strlen(text));
  while (n < 0 && errno == EINTR);
  int err = n < 0 ? uv_translate_sys_error(errno) : 0;
  close(fd);
  return err;
}

bool cgroup_has(const struct cgroup *g, pid_t pid) {
  char text[8192];
  if (procfs_read(pid, "cgroup", text, sizeof text) < 0) return false;
  /* One line for each hierarchy; that of version 2 has the number 0: "0::/path". */
  const char *line = text;
  while (line && strncmp(line, "0::", 3)) line = (line = strchr(line, '\n')) ? line + 1 : NULL;
  size_t size = strlen(g->path);
  return line && !strncmp(line + 3, g->path, size) && (line[3 + size] == '\n' || line[3 + size] == '/');
}

/* The number may be another's by now. What a pidfd is open on keeps its number as long as it lives: if that number is
 * in our cgroup after the pidfd was opened, so is the process. */
static bool signal_member(const struct cgroup *g, pid_t pid, int signo) {
  int fd = pidfd_open(pid);
  if (fd < 0 && fd != PIDFD_NONE) return false;
  bool reached = cgroup_has(g, pid) && pidfd_signal(fd, pid, signo) == 0;
  if (fd >= 0) close(fd);
  return reached;
}

/* Calls `each` for a directory and those below it, the innermost first. */
static int walk(const char *directory, int (*each)(const struct cgroup *, const char *, int), const struct cgroup *g,
                int argument) {
  int result = 0;
  DIR *dir = opendir(directory);
  for (struct dirent *entry; dir && (entry = readdir(dir));) {
    char path[4096];
    if (entry->d_type != DT_DIR || entry->d_name[0] == '.') continue;
    if ((size_t)snprintf(path, sizeof path, "%s/%s", directory, entry->d_name) >= sizeof path) continue;
    result += walk(path, each, g, argument);
  }
  if (dir) closedir(dir);
  return result + each(g, directory, argument);
}

static int signal_each(const struct cgroup *g, const char *directory, int signo) {
  char path[4096];
  if ((size_t)snprintf(path, sizeof path, "%s/cgroup.procs", directory) >= sizeof path) return 0;
  FILE *file = fopen(path, "re");
  if (!file) return 0;
  int reached = 0, pid;
  while (fscanf(file, "%d", &pid) == 1) reached += pid > 0 && signal_member(g, pid, signo);
  fclose(file);
  return reached;
}

/* 0 where somebody is in it or below it, UV_ESRCH where nobody is. */
static int check_populated(const struct cgroup *g) {
  char path[4096], text[256];
  snprintf(path, sizeof path, "%s/cgroup.events", g->directory);
  int fd = open(path, O_RDONLY | O_CLOEXEC);
  if (fd < 0) return errno == ENOENT ? UV_ESRCH : uv_translate_sys_error(errno);
  ssize_t n = read(fd, text, sizeof text - 1);
  close(fd);
  text[n > 0 ? n : 0] = '\0';
  return strstr(text, "populated 1") ? 0 : UV_ESRCH;
}

static void pause_a_millisecond(void) {
  nanosleep(&(struct timespec){.tv_nsec = 1000000}, NULL);
}

/* Before Linux 5.14. Frozen, nobody forks any more while we go through them; SIGKILL works nevertheless. */
static void kill_one_by_one(const struct cgroup *g) {
  write_file(g->directory, "cgroup.freeze", "1");
  for (int i = 0; i < KILL_ROUNDS && walk(g->directory, signal_each, g, SIGKILL); i++) pause_a_millisecond();
  write_file(g->directory, "cgroup.freeze", "0");
}

int cgroup_signal(const struct cgroup *g, int signo) {
  int err = check_populated(g);
  if (err || signo == 0) return err;
  if (signo != SIGKILL) return walk(g->directory, signal_each, g, signo) ? 0 : UV_ESRCH;
  err = write_file(g->directory, "cgroup.kill", "1");
  if (err != UV_ENOENT) return err;
  kill_one_by_one(g);
  return 0;
}

static int remove_each(const struct cgroup *g, const char *directory, int argument) {
  (void)g, (void)argument;
  return rmdir(directory) ? 1 : 0;
}

int cgroup_remove(const struct cgroup *g) {
  return walk(g->directory, remove_each, g, 0) ? UV_EBUSY : 0;
}

void cgroup_destroy(const struct cgroup *g) {
  cgroup_signal(g, SIGKILL);
  for (int i = 0; i < KILL_ROUNDS && !check_populated(g); i++) pause_a_millisecond();
  cgroup_remove(g);
}
