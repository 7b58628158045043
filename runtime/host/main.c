/* corun: a stock Lua 5.4 with the module built in. The command line is lua's own; what the end of a script means is
 * decided in lua/corun/host.lua, which is loaded when the script has loaded corun. */
#include <errno.h>
#include <lauxlib.h>
#include <lua.h>
#include <lualib.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "alloc.h"
#include "embedded.h"
#include "line_input.h"

#ifndef CORUN_VERSION
#define CORUN_VERSION "unknown"
#endif

int luaopen_corun_core(lua_State *L);

/* --- the sources inside, or in CORUN_LUA_DIR --- */

static int load_embedded(lua_State *L, const struct embedded *source) {
  return luaL_loadbuffer(L, source->code, source->size, source->chunk);
}

static int f_load_module(lua_State *L) {
  const struct embedded *source = lua_touserdata(L, lua_upvalueindex(1));
  const char *dir = getenv("CORUN_LUA_DIR");
  int status = LUA_ERRFILE;
  bool ours = !strncmp(source->name, "corun", 5);
  if (dir && ours) {
    const char *path = luaL_gsub(L, source->name, ".", "/");
    const char *file = lua_pushfstring(L, "%s/%s.lua", dir, strcmp(path, "corun") ? path : "corun/init");
    status = luaL_loadfilex(L, file, "t");
  } else {
    status = load_embedded(L, source);
  }
  if (status != LUA_OK) return lua_error(L);
  lua_pushvalue(L, 1);
  lua_call(L, 1, 1);
  return 1;
}

/* The module, told that it is in its own program: then the signals are always its own. */
static int f_open_core(lua_State *L) {
  lua_pushcfunction(L, luaopen_corun_core);
  lua_call(L, 0, 1);
  lua_pushboolean(L, 1);
  lua_setfield(L, -2, "hosted");
  return 1;
}

static bool is_script(const struct embedded *source) { return strchr(source->name, '/') != NULL; }

static void preload(lua_State *L) {
  luaL_getsubtable(L, LUA_REGISTRYINDEX, LUA_PRELOAD_TABLE);
  for (const struct embedded *source = embedded_sources; source->name; source++) {
    if (is_script(source)) continue;
    lua_pushlightuserdata(L, (void *)source);
    lua_pushcclosure(L, f_load_module, 1);
    lua_setfield(L, -2, source->name);
  }
  lua_pushcfunction(L, f_open_core);
  lua_setfield(L, -2, "corun.core");
  lua_pushcfunction(L, luaopen_line_input);
  lua_setfield(L, -2, "corun.line_input");
  lua_pop(L, 1);
}

/* With -e and in the REPL `corun` is there as a global, loaded when it is first named. */
static int f_global(lua_State *L) {
  const char *name = lua_tostring(L, 2);
  if (!name || strcmp(name, "corun")) return 0;
  lua_pushnil(L);
  lua_setmetatable(L, 1);
  lua_getglobal(L, "require");
  lua_pushliteral(L, "corun");
  lua_call(L, 1, 1);
  lua_pushvalue(L, -1);
  lua_setfield(L, 1, "corun");
  return 1;
}

static void offer_global(lua_State *L) {
  lua_pushglobaltable(L);
  if (!lua_getmetatable(L, -1)) {
    lua_createtable(L, 0, 1);
    lua_pushcfunction(L, f_global);
    lua_setfield(L, -2, "__index");
    lua_setmetatable(L, -2);
  } else {
    lua_pop(L, 1);
  }
  lua_pop(L, 1);
}

/* --- running chunks --- */

/* A function of corun.host, but only when the script has loaded corun: one that has not is just Lua. */
static bool push_host(lua_State *L, const char *name) {
  luaL_getsubtable(L, LUA_REGISTRYINDEX, LUA_LOADED_TABLE);
  bool loaded = lua_getfield(L, -1, "corun") != LUA_TNIL;
  lua_pop(L, 2);
  if (!loaded) return false;
  lua_getglobal(L, "require");
  lua_pushliteral(L, "corun.host");
  if (lua_pcall(L, 1, 1, 0) != LUA_OK) {
    fprintf(stderr, "corun: %s\n", lua_tostring(L, -1));
    lua_pop(L, 1);
    return false;
  }
  lua_getfield(L, -1, name);
  lua_remove(L, -2);
  return true;
}

static int message_handler(lua_State *L) {
  if (push_host(L, "describe")) {
    lua_pushvalue(L, 1);
    lua_call(L, 1, 1);
    return 1;
  }
  const char *message = lua_tostring(L, 1);
  if (!message) message = luaL_tolstring(L, 1, NULL);
  luaL_traceback(L, L, message, 1);
  return 1;
}

static int call(lua_State *L, int arguments) {
  int base = lua_gettop(L) - arguments;
  lua_pushcfunction(L, message_handler);
  lua_insert(L, base);
  int status = lua_pcall(L, arguments, 0, base);
  lua_remove(L, base);
  return status;
}

static const char *program = "corun";

/* Prints what is on top unless it is nil: what was said already, or says nothing (a signal's end). */
static void report(lua_State *L) {
  if (!lua_isnil(L, -1)) {
    fflush(stdout);
    fprintf(stderr, "%s: %s\n", program, lua_tostring(L, -1));
  }
  lua_pop(L, 1);
}

static bool run_chunk(lua_State *L, int load_status) {
  if (load_status == LUA_OK && call(L, 0) == LUA_OK) return true;
  report(L);
  return false;
}

static bool run_string(lua_State *L, const char *text, const char *name) {
  return run_chunk(L, luaL_loadbuffer(L, text, strlen(text), name));
}

static bool require_library(lua_State *L, const char *spec) {
  /* As in Lua 5.4.4: -l name, or -l global=name */
  const char *equals = strchr(spec, '=');
  const char *module = equals ? equals + 1 : spec;
  lua_getglobal(L, "require");
  lua_pushstring(L, module);
  int base = lua_gettop(L) - 1;
  lua_pushcfunction(L, message_handler);
  lua_insert(L, base);
  int status = lua_pcall(L, 1, 1, base);
  lua_remove(L, base);
  if (status != LUA_OK) {
    report(L);
    return false;
  }
  lua_pushlstring(L, spec, equals ? (size_t)(equals - spec) : strlen(spec));
  lua_insert(L, -2);
  lua_pushglobaltable(L);
  lua_insert(L, -3);
  lua_settable(L, -3);
  lua_pop(L, 1);
  return true;
}

/* A script that corun carries, by its name; else a file; "-" is standard input. */
static int load_script(lua_State *L, const char *name) {
  if (!strcmp(name, "-")) return luaL_loadfile(L, NULL);
  for (const struct embedded *source = embedded_sources; source->name; source++)
    if (is_script(source) && !strcmp(strchr(source->name, '/') + 1, name)) return load_embedded(L, source);
  return luaL_loadfile(L, name);
}

static bool run_script(lua_State *L, char **arguments) {
  int status = load_script(L, arguments[0]);
  if (status != LUA_OK) return run_chunk(L, status);
  int count = 0;
  for (; arguments[count + 1]; count++) {
    luaL_checkstack(L, 1, "too many arguments to script");
    lua_pushstring(L, arguments[count + 1]);
  }
  if (call(L, count) == LUA_OK) return true;
  report(L);
  return false;
}

static bool run_init(lua_State *L) {
  const char *name = "=LUA_INIT_5_4", *init = getenv(name + 1);
  if (!init) init = getenv((name = "=LUA_INIT") + 1);
  if (!init) return true;
  if (*init == '@') return run_chunk(L, luaL_loadfile(L, init + 1));
  return run_string(L, init, name);
}

/* --- the command line --- */

static const char usage_text[] =
    "usage: corun [options] [script [args]]\n"
    "Runs a Lua 5.4 script that uses require \"corun\" to run processes.\n"
    "Without a script: an interactive session, or the script on standard input.\n"
    "\n"
    "  -e stat   execute string 'stat' (with the global 'corun')\n"
    "  -i        enter interactive mode after executing 'script'\n"
    "  -l mod    require library 'mod' into global 'mod'\n"
    "  -l g=mod  require library 'mod' into global 'g'\n"
    "  -v        show version information\n"
    "  -E        ignore environment variables\n"
    "  -W        turn warnings on\n"
    "  --contain nothing that the script starts outlives corun, however it ends (but for what is detached)\n"
    "  --        stop handling options\n"
    "  -         stop handling options and execute stdin\n"
    "  --help    show this and stop\n"
    "\n"
    "CORUN_LUA_DIR=DIR in the environment reads corun's own Lua code from DIR instead of from inside corun.\n"
    "SIGQUIT (Ctrl-\\) prints what each task waits for, and goes on.\n"
    "Exit status: 0; 1 after an uncaught error; 128 + n after signal n; what os.exit is given.\n";

struct options {
  bool interactive, version, no_environment, warnings, help, contain, has_chunks;
  int script; /* index of the script in argv, or argc */
};

static bool option_error(const char *option, const char *what) {
  fprintf(stderr, "corun: %s '%s'\n%s", what, option, usage_text);
  return false;
}

static bool read_options(int argc, char **argv, struct options *o) {
  int i = 1;
  for (; i < argc && argv[i][0] == '-' && argv[i][1]; i++) {
    const char *option = argv[i];
    if (!strcmp(option, "--")) {
      i++;
      break;
    }
    if (!strcmp(option, "--help")) o->help = true;
    else if (!strcmp(option, "--version") || !strcmp(option, "-v")) o->version = true;
    else if (!strcmp(option, "-i")) o->interactive = o->version = true;
    else if (!strcmp(option, "--contain")) o->contain = true;
    else if (!strcmp(option, "-E")) o->no_environment = true;
    else if (!strcmp(option, "-W")) o->warnings = true;
    else if (option[1] == 'e' || option[1] == 'l') {
      o->has_chunks = o->has_chunks || option[1] == 'e';
      if (!option[2] && (++i >= argc || argv[i][0] == '-')) return option_error(option, "an argument is missing after");
    } else return option_error(option, "unrecognized option");
  }
  o->script = i;
  return true;
}

static bool run_chunks(lua_State *L, char **argv, int end) {
  for (int i = 1; i < end; i++) {
    char which = argv[i][0] == '-' ? argv[i][1] : '\0';
    if (!strcmp(argv[i], "-W")) lua_warning(L, "@on", 0);
    if (which != 'e' && which != 'l') continue;
    const char *value = argv[i][2] ? argv[i] + 2 : argv[++i];
    if (which == 'e') offer_global(L);
    if (!(which == 'e' ? run_string(L, value, "=(command line)") : require_library(L, value))) return false;
  }
  return true;
}

static void set_arg(lua_State *L, int argc, char **argv, int script) {
  int zero = script < argc ? script : 0;
  lua_createtable(L, argc - zero, zero + 1);
  for (int i = 0; i < argc; i++) {
    lua_pushstring(L, argv[i]);
    lua_rawseti(L, -2, i - zero);
  }
  lua_setglobal(L, "arg");
}

static bool run_repl(lua_State *L) {
  offer_global(L);
  lua_getglobal(L, "require");
  lua_pushliteral(L, "corun.repl");
  program = NULL;
  bool ok = lua_pcall(L, 1, 1, 0) == LUA_OK && lua_pcall(L, 0, 0, 0) == LUA_OK;
  program = "corun";
  if (!ok) report(L);
  return ok;
}

static bool contain(lua_State *L) {
  lua_getglobal(L, "require");
  lua_pushliteral(L, "corun");
  if (lua_pcall(L, 1, 1, 0) == LUA_OK) {
    lua_getfield(L, -1, "contain");
    lua_remove(L, -2);
    if (call(L, 0) == LUA_OK) return true;
  }
  report(L);
  return false;
}

static bool run_all(lua_State *L, int argc, char **argv, const struct options *o) {
  if (o->contain && !contain(L)) return false;
  if (!o->no_environment && !run_init(L)) return false;
  if (!run_chunks(L, argv, o->script)) return false;
  if (o->script < argc && !run_script(L, argv + o->script)) return false;
  if (o->interactive) return run_repl(L);
  if (o->script < argc || o->has_chunks || o->version) return true;
  if (isatty(0)) {
    printf("corun %s, %s\n", CORUN_VERSION, LUA_RELEASE);
    return run_repl(L);
  }
  return run_script(L, (char *[]){"-", NULL});
}

/* The young may become so many percent of the heap. With Lua's own 20 a loop that makes short strings can double them
 * between two collections; each then grows Lua's table of strings and shrinks it again. */
#define YOUNG_SHARE 10

static int f_main(lua_State *L) {
  int argc = (int)lua_tointeger(L, 1);
  char **argv = lua_touserdata(L, 2);
  const struct options *o = lua_touserdata(L, 3);
  luaL_checkversion(L);
  if (o->no_environment) {
    lua_pushboolean(L, 1);
    lua_setfield(L, LUA_REGISTRYINDEX, "LUA_NOENV");
  }
  luaL_openlibs(L);
  preload(L);
  set_arg(L, argc, argv, o->script);
  lua_gc(L, LUA_GCRESTART);
  lua_gc(L, LUA_GCGEN, YOUNG_SHARE, 0);
  bool ok = run_all(L, argc, argv, o);
  int status = ok ? 0 : 1;
  /* The end of the main chunk, or its error, is the end of the root scope. */
  if (push_host(L, "finish")) {
    lua_pushboolean(L, ok);
    if (lua_pcall(L, 1, 1, 0) != LUA_OK) {
      report(L);
      status = 1;
    } else {
      status = (int)lua_tointeger(L, -1);
    }
  }
  lua_pushinteger(L, status);
  return 1;
}

struct warnings {
  bool on, inside; /* inside of a message that comes in pieces */
};

/* A lua_WarnFunction, as the stock interpreter's. */
static void warn(void *context, const char *text, int more) {
  struct warnings *w = context;
  if (!w->inside && !more && *text == '@') {
    if (!strcmp(text, "@on") || !strcmp(text, "@off")) w->on = text[2] == 'n';
    return;
  }
  if (w->on) fprintf(stderr, "%s%s%s", w->inside ? "" : "Lua warning: ", text, more ? "" : "\n");
  w->inside = more;
}

int main(int argc, char **argv) {
  struct options o = {0};
  if (!read_options(argc, argv, &o)) return 1;
  if (o.help) {
    fputs(usage_text, stdout);
    return 0;
  }
  if (o.version) printf("corun %s, %s\n", CORUN_VERSION, LUA_RELEASE);
  struct alloc memory = {0};
  struct warnings warnings = {0};
  lua_State *L = lua_newstate(alloc_block, &memory);
  if (!L) {
    fprintf(stderr, "corun: not enough memory\n");
    return 1;
  }
  lua_setwarnf(L, warn, &warnings);
  lua_gc(L, LUA_GCSTOP);
  lua_pushcfunction(L, f_main);
  lua_pushinteger(L, argc);
  lua_pushlightuserdata(L, argv);
  lua_pushlightuserdata(L, &o);
  int status = 1;
  if (lua_pcall(L, 3, 1, 0) == LUA_OK) status = (int)lua_tointeger(L, -1);
  else report(L);
  lua_close(L);
  alloc_end(&memory);
  return status;
}
