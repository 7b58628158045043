#include "procfs.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <uv.h>

#ifdef __linux__
#include <dirent.h>
#include <sys/syscall.h>

/* Behind each other, without stdio: a sample of a thousand processes makes thousands of these. */
static char *put_text(char *at, const char *text) {
  size_t size = strlen(text);
  memcpy(at, text, size + 1);
  return at + size;
}

static char *put_number(char *at, pid_t number) {
  char digits[16];
  size_t count = 0;
  for (unsigned rest = (unsigned)number; rest || !count; rest /= 10) digits[count++] = (char)('0' + rest % 10);
  while (count) *at++ = digits[--count];
  return at;
}

/* The number at *at, which moves behind it and what comes before it (spaces, a sign). */
static uint64_t take_number(const char **at) {
  const char *c = *at;
  uint64_t value = 0;
  while (*c && (*c < '0' || *c > '9')) c++;
  for (; *c >= '0' && *c <= '9'; c++) value = value * 10 + (uint64_t)(*c - '0');
  *at = c;
  return value;
}

static void skip_fields(const char **at, int count) {
  for (const char *space; count-- && (space = strchr(*at, ' '));) *at = space + 1;
}

static int open_file(pid_t pid, const char *name) {
  char path[64];
  put_text(put_text(put_number(put_text(path, "/proc/"), pid), "/"), name);
  int fd = open(path, O_RDONLY | O_CLOEXEC);
  if (fd >= 0) return fd;
  return errno == ENOENT ? UV_ESRCH : uv_translate_sys_error(errno);
}

/* The whole of an open file, at most size - 1 bytes and a NUL. */
static ssize_t read_whole(int fd, char *text, size_t size) {
  size_t have = 0;
  /* These files are made at each read, so one that has left room has got all: a second, for the end, costs as much. */
  while (have < size - 1) {
    ssize_t n = pread(fd, text + have, size - 1 - have, (off_t)have);
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) return uv_translate_sys_error(errno); /* ESRCH: it ended meanwhile */
    have += (size_t)n;
    if (n == 0 || have < size / 2) break;
  }
  text[have] = '\0';
  return (ssize_t)have;
}

ssize_t procfs_read(pid_t pid, const char *name, char *text, size_t size) {
  int fd = open_file(pid, name);
  if (fd < 0) return fd;
  ssize_t have = read_whole(fd, text, size);
  close(fd);
  return have;
}

/* The same by a descriptor that is kept for the next time. */
static ssize_t read_again(int *fd, pid_t pid, const char *name, char *text, size_t size) {
  if (*fd < 0) *fd = open_file(pid, name);
  return *fd < 0 ? *fd : read_whole(*fd, text, size);
}

int procfs_stat(pid_t pid, struct procfs_stat *stat) {
  static _Atomic long ticks, page; /* asked once: sysconf costs as much as the file */
  if (!ticks) {
    page = sysconf(_SC_PAGESIZE);
    ticks = sysconf(_SC_CLK_TCK);
  }
  char text[1024];
  ssize_t size = procfs_read(pid, "stat", text, sizeof text);
  if (size < 0) return (int)size;
  /* The name in parentheses may hold anything, a ')' included: the fields count from the last one. */
  const char *name = strchr(text, '('), *end = strrchr(text, ')');
  if (!name || !end || end[1] != ' ') return UV_EIO;
  const char *at = end + 2;
  stat->pid = pid;
  stat->state = *at;
  stat->parent = (pid_t)take_number(&at);
  stat->group = (pid_t)take_number(&at);
  stat->session = (pid_t)take_number(&at);
  skip_fields(&at, 4); /* tty, its foreground group (or -1), flags */
  stat->minor_faults = take_number(&at);
  skip_fields(&at, 2);
  stat->major_faults = take_number(&at);
  skip_fields(&at, 2);
  stat->user_time = (double)take_number(&at) / (double)ticks;
  stat->system_time = (double)take_number(&at) / (double)ticks;
  skip_fields(&at, 5); /* those of its children, priority and niceness */
  stat->threads = (long)take_number(&at);
  skip_fields(&at, 2);
  stat->started = take_number(&at);
  skip_fields(&at, 2);
  stat->rss = take_number(&at) * (uint64_t)page;
  size_t size_of_name = (size_t)(end - name - 1);
  if (size_of_name >= sizeof stat->name) size_of_name = sizeof stat->name - 1;
  memcpy(stat->name, name + 1, size_of_name);
  stat->name[size_of_name] = '\0';
  return 0;
}

/* No opendir, which takes memory. */
int procfs_each(int (*fn)(void *, pid_t), void *context) {
  int dir = open("/proc", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (dir < 0) return errno == ENOENT ? UV_ENOTSUP : uv_translate_sys_error(errno);
  char entries[8192] __attribute__((aligned(8)));
  int result = 0;
  long size;
  while (!result && (size = syscall(SYS_getdents64, dir, entries, sizeof entries)) > 0) {
    for (long at = 0; at < size && !result;) {
      struct { uint64_t inode; int64_t offset; uint16_t length; uint8_t type; char name[1]; } *entry =
          (void *)(entries + at);
      char *end;
      long pid = strtol(entry->name, &end, 10);
      if (pid > 0 && !*end) result = fn(context, (pid_t)pid);
      at += entry->length;
    }
  }
  close(dir);
  return result;
}

/* --- usage --- */

/* The number behind "\nNAME:", -1 where there is none. */
static int64_t named_number(const char *text, const char *name) {
  size_t size = strlen(name);
  for (const char *line = text; line; line = strchr(line, '\n')) {
    if (*line == '\n') line++;
    if (strncmp(line, name, size) || line[size] != ':') continue;
    const char *at = line + size;
    return (int64_t)take_number(&at);
  }
  return -1;
}

static void read_peak(pid_t pid, const struct procfs_stat *stat, struct procfs_memo *memo) {
  int64_t faults = (int64_t)(stat->minor_faults + stat->major_faults);
  if (!memo->peak || memo->faults != faults) {
    char text[4096];
    int64_t kib = procfs_read(pid, "status", text, sizeof text) < 0 ? -1 : named_number(text, "VmHWM");
    if (kib > 0) {
      memo->faults = faults;
      memo->peak = kib * 1024;
    }
  }
  if (memo->peak && memo->peak < (int64_t)stat->rss) memo->peak = (int64_t)stat->rss;
}

static void read_io(pid_t pid, struct procfs_memo *memo, struct procfs_usage *usage) {
  char text[512];
  if (read_again(&memo->io_fd, pid, "io", text, sizeof text) < 0) return;
  const char *at = text; /* rchar, wchar, syscr, syscw, read_bytes, write_bytes, in this order */
  usage->read_chars = (int64_t)take_number(&at);
  usage->written_chars = (int64_t)take_number(&at);
  take_number(&at);
  take_number(&at);
  usage->read_bytes = (int64_t)take_number(&at);
  usage->written_bytes = (int64_t)take_number(&at);
}

/* The children of one thread; -1 where it has ended, or the kernel has no such list. */
static int64_t count_children(int *fd, pid_t pid, pid_t thread) {
  char name[64];
  put_text(put_number(put_text(name, "task/"), thread), "/children");
  if (*fd < 0) *fd = open_file(pid, name);
  if (*fd < 0) return -1;
  char text[4096];
  int64_t count = 0;
  ssize_t size;
  for (off_t at = 0; (size = pread(*fd, text, sizeof text, at)) > 0; at += size) {
    for (ssize_t i = 0; i < size; i++) count += text[i] == ' '; /* one behind each number */
    if (size < (ssize_t)sizeof text / 2) break; /* while there is more, the kernel gives more at once */
  }
  return size < 0 ? -1 : count;
}

static int64_t children_of_threads(pid_t pid) {
  char path[64];
  put_text(put_number(put_text(path, "/proc/"), pid), "/task");
  DIR *dir = opendir(path);
  if (!dir) return -1;
  int64_t total = -1;
  for (struct dirent *entry; (entry = readdir(dir));) {
    const char *digits = entry->d_name;
    if (*digits == '.') continue;
    int fd = -1;
    int64_t count = count_children(&fd, pid, (pid_t)take_number(&digits));
    if (count >= 0) total = total < 0 ? count : total + count;
    if (fd >= 0) close(fd);
  }
  closedir(dir);
  return total;
}

void procfs_memo_close(struct procfs_memo *memo) {
  if (memo->children_fd >= 0) close(memo->children_fd);
  if (memo->io_fd >= 0) close(memo->io_fd);
  memo->children_fd = memo->io_fd = -1;
}

int procfs_usage(pid_t pid, struct procfs_memo *memo, struct procfs_usage *usage) {
  struct procfs_stat stat;
  int err = procfs_stat(pid, &stat);
  if (err) return err;
  read_peak(pid, &stat, memo);
  *usage = (struct procfs_usage){
      .user_time = stat.user_time, .system_time = stat.system_time, .rss = (int64_t)stat.rss,
      .max_rss = memo->peak ? memo->peak : -1, .minor_faults = (int64_t)stat.minor_faults,
      .major_faults = (int64_t)stat.major_faults, .threads = stat.threads, .read_bytes = -1, .written_bytes = -1,
      .read_chars = -1, .written_chars = -1};
  usage->children = stat.threads == 1 ? count_children(&memo->children_fd, pid, pid) : children_of_threads(pid);
  read_io(pid, memo, usage);
  return 0;
}

/* --- open files --- */

/* What /proc/PID/fdinfo/FD says: "pos: 12, flags: 0100002 (octal)". */
static void read_fdinfo(pid_t pid, struct procfs_file *file) {
  char name[64], text[4096];
  put_number(put_text(name, "fdinfo/"), file->fd)[0] = '\0';
  if (procfs_read(pid, name, text, sizeof text) < 0) return;
  file->position = named_number(text, "pos");
  const char *flags = strstr(text, "flags:");
  unsigned long bits = flags ? strtoul(flags + 6, NULL, 8) : O_PATH;
  if (!(bits & O_PATH)) file->mode = (int)(bits & O_ACCMODE);
}

static int add_file(struct procfs_files *files, pid_t pid, int dir, const char *name) {
  char target[4096 + 16]; /* the longest path, and " (deleted)" */
  ssize_t size = readlinkat(dir, name, target, sizeof target);
  if (size < 0) return 0; /* closed meanwhile */
  if ((files->count & (files->count - 1)) == 0) { /* full at each power of two */
    size_t capacity = files->count ? 2 * files->count : 1;
    struct procfs_file *list = realloc(files->list, capacity * sizeof *list);
    if (!list) return UV_ENOMEM;
    files->list = list;
  }
  struct procfs_file file = {.fd = (int)take_number(&name), .mode = -1, .position = -1};
  file.path = strndup(target, (size_t)size);
  if (!file.path) return UV_ENOMEM;
  read_fdinfo(pid, &file);
  files->list[files->count++] = file;
  return 0;
}

static int compare_files(const void *a, const void *b) {
  return ((const struct procfs_file *)a)->fd - ((const struct procfs_file *)b)->fd;
}

int procfs_open_files(pid_t pid, struct procfs_files *files) {
  char path[64];
  put_text(put_number(put_text(path, "/proc/"), pid), "/fd");
  DIR *dir = opendir(path);
  if (!dir) return errno == ENOENT ? UV_ESRCH : uv_translate_sys_error(errno);
  int err = 0;
  for (struct dirent *entry; !err && (entry = readdir(dir));)
    if (*entry->d_name != '.') err = add_file(files, pid, dirfd(dir), entry->d_name);
  closedir(dir);
  if (files->count) qsort(files->list, files->count, sizeof *files->list, compare_files);
  return err;
}

void procfs_files_free(struct procfs_files *files) {
  for (size_t i = 0; i < files->count; i++) free(files->list[i].path);
  free(files->list);
  *files = (struct procfs_files){0};
}

#else

ssize_t procfs_read(pid_t pid, const char *name, char *text, size_t size) {
  (void)pid, (void)name, (void)text, (void)size;
  return UV_ENOTSUP;
}

int procfs_stat(pid_t pid, struct procfs_stat *stat) {
  (void)pid, (void)stat;
  return UV_ENOTSUP;
}

int procfs_each(int (*fn)(void *, pid_t), void *context) {
  (void)fn, (void)context;
  return UV_ENOTSUP;
}

int procfs_usage(pid_t pid, struct procfs_memo *memo, struct procfs_usage *usage) {
  (void)pid, (void)memo, (void)usage;
  return UV_ENOTSUP;
}

void procfs_memo_close(struct procfs_memo *memo) { (void)memo; }

int procfs_open_files(pid_t pid, struct procfs_files *files) {
  (void)pid, (void)files;
  return UV_ENOTSUP;
}

void procfs_files_free(struct procfs_files *files) { (void)files; }

#endif
