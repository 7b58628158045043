/* What corun asks of the system beside its handles: names of signals, users and limits, the environment, who holds a
 * pipe open. */
#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <pwd.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "pty.h"
#include "runtime.h"
#include "spawn.h"

extern char **environ;

struct name {
  const char *name;
  int number;
};

static const struct name signals[] = {
    {"HUP", SIGHUP},   {"INT", SIGINT},     {"QUIT", SIGQUIT}, {"ILL", SIGILL},       {"TRAP", SIGTRAP},
    {"ABRT", SIGABRT}, {"BUS", SIGBUS},     {"FPE", SIGFPE},   {"KILL", SIGKILL},     {"USR1", SIGUSR1},
    {"SEGV", SIGSEGV}, {"USR2", SIGUSR2},   {"PIPE", SIGPIPE}, {"ALRM", SIGALRM},     {"TERM", SIGTERM},
    {"CHLD", SIGCHLD}, {"CONT", SIGCONT},   {"STOP", SIGSTOP}, {"TSTP", SIGTSTP},     {"TTIN", SIGTTIN},
    {"TTOU", SIGTTOU}, {"URG", SIGURG},     {"XCPU", SIGXCPU}, {"XFSZ", SIGXFSZ},     {"VTALRM", SIGVTALRM},
    {"PROF", SIGPROF}, {"WINCH", SIGWINCH}, {"IO", SIGIO},     {"SYS", SIGSYS},
#ifdef SIGSTKFLT
    {"STKFLT", SIGSTKFLT},
#endif
#ifdef SIGPWR
    {"PWR", SIGPWR},
#endif
    {NULL, 0}};

static const struct name limits[] = {
    {"cpu", RLIMIT_CPU},       {"fsize", RLIMIT_FSIZE}, {"data", RLIMIT_DATA},       {"stack", RLIMIT_STACK},
    {"core", RLIMIT_CORE},     {"nofile", RLIMIT_NOFILE}, {"as", RLIMIT_AS},
#ifdef RLIMIT_RSS
    {"rss", RLIMIT_RSS},
#endif
#ifdef RLIMIT_NPROC
    {"nproc", RLIMIT_NPROC},   {"memlock", RLIMIT_MEMLOCK},
#endif
#ifdef RLIMIT_LOCKS
    {"locks", RLIMIT_LOCKS},   {"sigpending", RLIMIT_SIGPENDING}, {"msgqueue", RLIMIT_MSGQUEUE},
    {"nice", RLIMIT_NICE},     {"rtprio", RLIMIT_RTPRIO}, {"rttime", RLIMIT_RTTIME},
#endif
    {NULL, 0}};

static void push_names(lua_State *L, const struct name *names) {
  lua_newtable(L);
  for (; names->name; names++) {
    lua_pushinteger(L, names->number);
    lua_setfield(L, -2, names->name);
  }
}

/* core.user(name) → uid, gid; core.group(name) → gid; nil where there is none. */
static int f_user(lua_State *L) {
  struct passwd *user = getpwnam(luaL_checkstring(L, 1));
  if (!user) return 0;
  lua_pushinteger(L, user->pw_uid);
  lua_pushinteger(L, user->pw_gid);
  return 2;
}

static int f_group(lua_State *L) {
  struct group *group = getgrnam(luaL_checkstring(L, 1));
  if (!group) return 0;
  lua_pushinteger(L, group->gr_gid);
  return 1;
}

/* core.rlimit(resource) → soft, hard of our own; -1 is unlimited. NOFILE as children get it. */
static int f_rlimit(lua_State *L) {
  int resource = (int)luaL_checkinteger(L, 1);
  struct rlimit limit;
  if (getrlimit((unsigned)resource, &limit)) return 0;
  if (resource == RLIMIT_NOFILE) limit = spawn_original_nofile;
  lua_pushinteger(L, limit.rlim_cur == RLIM_INFINITY ? -1 : (lua_Integer)limit.rlim_cur);
  lua_pushinteger(L, limit.rlim_max == RLIM_INFINITY ? -1 : (lua_Integer)limit.rlim_max);
  return 2;
}

/* core.environ() → table of our own environment, as it is now. */
static int f_environ(lua_State *L) {
  lua_newtable(L);
  for (char **entry = environ; entry && *entry; entry++) {
    const char *equals = strchr(*entry, '=');
    if (!equals) continue;
    lua_pushlstring(L, *entry, (size_t)(equals - *entry));
    lua_pushstring(L, equals + 1);
    lua_rawset(L, -3);
  }
  return 1;
}

/* core.setenv(name, value or nil) */
static int f_setenv(lua_State *L) {
  const char *name = luaL_checkstring(L, 1), *value = luaL_optstring(L, 2, NULL);
  int failed = value ? setenv(name, value, 1) : unsetenv(name);
  if (failed) return raise_error(L, "io", uv_translate_sys_error(errno), "setenv '%s'", name);
  return 0;
}

/* core.which(name, path or nil) → the first candidate that is an executable file, or nil. */
static int f_which(lua_State *L) {
  const char *name = luaL_checkstring(L, 1);
  char *list;
  if (spawn_candidates(name, luaL_optstring(L, 2, NULL), &list)) return luaL_error(L, "not enough memory");
  const char *found = NULL;
  for (const char *at = list; *at && !found; at += strlen(at) + 1) {
    struct stat st;
    if (!stat(at, &st) && S_ISREG(st.st_mode) && !access(at, X_OK)) found = at;
  }
  /* A copy on the C stack: pushing may raise, and the list must not be lost. */
  char path[4096];
  bool fits = found && strlen(found) < sizeof path;
  if (fits) memcpy(path, found, strlen(found) + 1);
  free(list);
  if (!fits) return 0;
  lua_pushstring(L, path);
  return 1;
}

static int f_cwd(lua_State *L) {
  char path[4096];
  if (!getcwd(path, sizeof path)) return 0;
  lua_pushstring(L, path);
  return 1;
}

static int f_isatty(lua_State *L) {
  lua_pushboolean(L, isatty((int)luaL_checkinteger(L, 1)));
  return 1;
}

static bool all_digits(const char *s) {
  if (!*s) return false;
  while (isdigit((unsigned char)*s)) s++;
  return !*s;
}

static bool holds(const char *pid, const char *wanted) {
  char path[300], target[64];
  snprintf(path, sizeof path, "/proc/%s/fd", pid);
  DIR *dir = opendir(path);
  if (!dir) return false;
  bool found = false;
  for (struct dirent *entry; !found && (entry = readdir(dir));) {
    ssize_t size = readlinkat(dirfd(dir), entry->d_name, target, sizeof target - 1);
    if (size <= 0) continue;
    target[size] = '\0';
    found = !strcmp(target, wanted);
  }
  closedir(dir);
  return found;
}

/* core.holders(fd) → list of the pids (not ours) that have the other end of this pipe or terminal open; nil where there
 * is no /proc. Looks at every process: only for when a pipe is held too long. */
static int f_holders(lua_State *L) {
  char path[64], wanted[64];
  int fd = (int)luaL_checkinteger(L, 1);
  if (!pty_slave_path(fd, wanted, sizeof wanted)) {
    snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
    ssize_t size = readlink(path, wanted, sizeof wanted - 1);
    if (size <= 0) return 0;
    wanted[size] = '\0';
  }
  lua_newtable(L);
  DIR *dir = opendir("/proc");
  if (!dir) return 0;
  lua_Integer count = 0;
  int pids[256];
  for (struct dirent *entry; count < 256 && (entry = readdir(dir));)
    if (all_digits(entry->d_name) && atoi(entry->d_name) != getpid() && holds(entry->d_name, wanted))
      pids[count++] = atoi(entry->d_name);
  closedir(dir);
  for (lua_Integer i = 0; i < count; i++) {
    lua_pushinteger(L, pids[i]);
    lua_rawseti(L, -2, i + 1);
  }
  return 1;
}

/* core.time() → seconds since the epoch, with fractions */
static int f_time(lua_State *L) {
  struct timespec now;
  clock_gettime(CLOCK_REALTIME, &now);
  lua_pushnumber(L, (lua_Number)now.tv_sec + (lua_Number)now.tv_nsec / 1e9);
  return 1;
}

/* core.where(prefix) → "script.lua:12:" of the nearest function whose source does not start with `prefix`, or "" */
static int f_where(lua_State *L) {
  size_t size;
  const char *prefix = luaL_checklstring(L, 1, &size);
  lua_Debug ar;
  for (int level = 1; lua_getstack(L, level, &ar); level++) {
    lua_getinfo(L, "S", &ar);
    if (*ar.what == 'C' || !strncmp(ar.source, prefix, size)) continue;
    lua_getinfo(L, "l", &ar); /* its cost grows with the function */
    if (ar.currentline <= 0) continue;
    lua_pushfstring(L, "%s:%d:", ar.short_src, ar.currentline);
    return 1;
  }
  lua_pushliteral(L, "");
  return 1;
}

#define FRAMES_MOST 30

/* One frame as debug.traceback would write it. */
static void add_frame(luaL_Buffer *text, lua_State *L, lua_State *thread, lua_Debug *ar) {
  lua_getinfo(thread, "n", ar);
  const char *name = ar->name, *kind = *ar->namewhat ? ar->namewhat : "function";
  if (!strcmp(ar->what, "main")) lua_pushfstring(L, "\t%s:%d: in main chunk", ar->short_src, ar->currentline);
  else if (name) lua_pushfstring(L, "\t%s:%d: in %s '%s'", ar->short_src, ar->currentline, kind, name);
  else
    lua_pushfstring(L, "\t%s:%d: in function <%s:%d>", ar->short_src, ar->currentline, ar->short_src, ar->linedefined);
  luaL_addvalue(text);
}

/* core.traceback(prefix, thread?) → the Lua functions that run there and whose sources do not start with `prefix`,
 * innermost first, one a line */
static int f_traceback(lua_State *L) {
  size_t size;
  const char *prefix = luaL_checklstring(L, 1, &size);
  lua_State *thread = lua_isthread(L, 2) ? lua_tothread(L, 2) : L;
  int frames = 0;
  lua_Debug ar;
  luaL_Buffer text;
  luaL_buffinit(L, &text);
  for (int level = 0; frames < FRAMES_MOST && lua_getstack(thread, level, &ar); level++) {
    lua_getinfo(thread, "Sl", &ar);
    if (ar.currentline <= 0 || !strncmp(ar.source, prefix, size)) continue;
    if (frames++) luaL_addchar(&text, '\n');
    add_frame(&text, L, thread, &ar);
  }
  luaL_pushresult(&text);
  return 1;
}

static int f_pid(lua_State *L) {
  lua_pushinteger(L, getpid());
  return 1;
}

/* core.processors() → how many this process may use */
static int f_processors(lua_State *L) {
  lua_pushinteger(L, (lua_Integer)uv_available_parallelism());
  return 1;
}

/* core.make_directory(path), core.remove_directory(path) → true | nil, code, message */
static int push_done(lua_State *L, int failed) {
  if (failed) {
    int err = uv_translate_sys_error(errno);
    lua_pushnil(L);
    push_error_name(L, err);
    push_error_text(L, err);
    return 3;
  }
  lua_pushboolean(L, 1);
  return 1;
}

static int f_make_directory(lua_State *L) { return push_done(L, mkdir(luaL_checkstring(L, 1), 0777)); }

static int f_remove_directory(lua_State *L) { return push_done(L, rmdir(luaL_checkstring(L, 1))); }

/* core.system_error(number) → code, message */
static int f_system_error(lua_State *L) {
  int err = uv_translate_sys_error((int)luaL_checkinteger(L, 1));
  push_error_name(L, err);
  push_error_text(L, err);
  return 2;
}

static const luaL_Reg functions[] = {
    {"user", f_user},   {"group", f_group},   {"rlimit", f_rlimit}, {"environ", f_environ}, {"setenv", f_setenv},
    {"which", f_which}, {"cwd", f_cwd},       {"isatty", f_isatty}, {"holders", f_holders}, {"where", f_where},
    {"time", f_time},   {"processors", f_processors}, {"traceback", f_traceback},
    {"pid", f_pid},     {"make_directory", f_make_directory}, {"remove_directory", f_remove_directory},
    {"system_error", f_system_error}, {NULL, NULL}};

void system_register(lua_State *L, struct runtime *rt) {
  set_functions(L, functions, rt);
  push_names(L, signals);
#if defined(SIGRTMIN)
  lua_pushinteger(L, SIGRTMIN);
  lua_setfield(L, -2, "RTMIN");
  lua_pushinteger(L, SIGRTMAX);
  lua_setfield(L, -2, "RTMAX");
#endif
  lua_setfield(L, -2, "signals");
  push_names(L, limits);
  lua_setfield(L, -2, "limits");
  lua_pushinteger(L, SPAWN_CPUS);
  lua_setfield(L, -2, "most_cpus");
}
