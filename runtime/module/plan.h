/* A start as lua/corun/spec.lua has planned it: a table of plain values at index 1 of the stack, made into what the core
 * starts. Private to lprocess.c.
 *
 * Order: push_plan, plan_read, plan_open, the start, plan_restore_reader if it has failed, plan_free.
 * Ownership: a userdata, so that what a start takes is given back whatever Lua raises in between; plan_free gives it back
 * at once.
 */
#ifndef CORUN_PLAN_H
#define CORUN_PLAN_H

#include "runtime.h"
#include "spawn.h"

struct plan {
  struct spawn_request request; /* points to what follows, and to strings of the table */
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
};

struct plan *push_plan(lua_State *L);

/* Everything but the descriptors. */
void plan_read(lua_State *L, struct runtime *rt, struct plan *plan);

/* The descriptors, each by its action {number in the child, kind, argument, …}. Our ends of pipes go into the table at
 * `streams`, as Readers and Writers that are not started yet. On an error *failed is the number of the action. */
int plan_open(lua_State *L, struct runtime *rt, struct plan *plan, int streams, lua_Integer *failed);

/* A start that failed gives a moved Reader its descriptor back. */
void plan_restore_reader(struct runtime *rt, struct plan *plan);

void plan_free(struct plan *plan);

void plan_register(lua_State *L, struct runtime *rt);

/* A field of a table at `index`. */
bool boolean_field(lua_State *L, int index, const char *name);

#endif
