/* A start as lua/corun/spec.lua has planned it, made into what the core starts. Private to lprocess.c.
 *
 * On the Lua stack of core.start: see enum plan_slot. A plan is a table that says how; most starts have one of a few,
 * which spec.lua keeps. Its fields:
 *   fds = {{number in the child, kind, argument, …}, …}: see plan_open
 *   group, shares_output, die_with_parent, foreground, detached
 *   has_more: there are others: path (false: the system's), env, cwd, umask, …, pty, typed, cgroup
 *
 * Order: plan_take, plan_read, plan_open, the start, plan_restore_reader if it has failed, plan_give.
 * Ownership: a userdata, so that what a start takes is given back whatever Lua raises in between; plan_give gives it
 * back at once. One is kept for the next start.
 */
#ifndef CORUN_PLAN_H
#define CORUN_PLAN_H

#include "runtime.h"
#include "spawn.h"

enum plan_slot {
  SLOT_PLAN = 1,
  SLOT_OBJECT,   /* what the hook process_ended gets */
  SLOT_ARGV,     /* a list of strings */
  SLOT_FILE,     /* the program's name */
  SLOT_PROCESS,
  SLOT_STREAMS,  /* our ends of the child's 0, 1 and 2, or nil */
  SLOT_OTHERS = SLOT_STREAMS + 3, /* those of further numbers, and `terminal`, by name; nil: none */
  SLOT_TAKEN,    /* the struct plan */
};

enum { PLAN_FEW = 4, PLAN_WORDS = 16 };

struct plan {
  struct spawn_request request; /* points to what follows, and to strings of the tables */
  int *close_fds;               /* descriptors that are the child's alone */
  size_t close_count;
  struct reader *moved;         /* a Reader whose descriptor the child was to get, as close_fds[moved_at] */
  size_t moved_at;
  int slave;                    /* the child's end of its terminal; -1: none */
  struct spawn_fd *fds;
  char **argv, **envp;
  struct spawn_limit *limits;
  gid_t *groups;
  int *cpus;
  /* enough for most, so that they allocate nothing */
  int few_close_fds[PLAN_FEW];
  struct spawn_fd few_fds[PLAN_FEW];
  char *few_words[PLAN_WORDS];
};

/* Leaves it in SLOT_TAKEN. */
struct plan *plan_take(lua_State *L);

/* Everything but the descriptors. */
void plan_read(lua_State *L, struct runtime *rt, struct plan *plan);

/* The descriptors, each by its action {number in the child, kind, argument, …}. Our ends of pipes go into their slots,
 * as Readers and Writers that are not started yet. On an error *failed is the number of the action. */
int plan_open(lua_State *L, struct runtime *rt, struct plan *plan, lua_Integer *failed);

/* A start that failed gives a moved Reader its descriptor back. */
void plan_restore_reader(struct runtime *rt, struct plan *plan);

/* Gives back what it holds, and itself. */
void plan_give(lua_State *L, struct plan *plan);

void plan_register(lua_State *L, struct runtime *rt);

/* A field of a table at `index`. */
bool boolean_field(lua_State *L, int index, const char *name);

#endif
