/* A C stack of its own, for what cannot yield.
 *
 * Where Lua can yield, a blocking operation yields. Where it cannot (the main chunk of a stock interpreter, a
 * callback of table.sort, a user's own coroutine, whose yields belong to its resumer), the C stack it stands on is
 * set aside as it is, and the scheduler goes on upon another one. Nothing has to be driven inside out, so two tasks
 * that both wait in such places can end in any order.
 *
 * Ownership: stack_new allocates, stack_free (from another stack) frees; the stack that the program started on is a
 * struct with no memory of its own and only ever the subject of stack_switch.
 */
#ifndef CORUN_STACK_H
#define CORUN_STACK_H

#include <stddef.h>

struct stack {
  void *sp;           /* where it was left; NULL while it runs */
  char *memory;       /* NULL for the program's own stack */
  size_t size;
  void (*entry)(void *);
  void *arg;
  struct stack *next; /* for its owner's lists */
  void *sanitizer;    /* what a sanitizer keeps of a stack that is left */
  const void *bottom; /* its extent, for the same */
  size_t extent;
  unsigned valgrind;
};

/* A stack that will run entry(arg) when it is first switched to; entry never returns. NULL when out of memory. */
struct stack *stack_new(void (*entry)(void *), void *arg);
void stack_free(struct stack *stack);

/* Leaves `from`, which is running, and goes on where `to` was left. */
void stack_switch(struct stack *from, struct stack *to);

#endif
