#include "stack.h"

#include <stdint.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

#if defined(__SANITIZE_ADDRESS__)
#define HAVE_ASAN 1
#elif defined(__SANITIZE_THREAD__)
#define HAVE_TSAN 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define HAVE_ASAN 1
#elif __has_feature(thread_sanitizer)
#define HAVE_TSAN 1
#endif
#endif
#ifdef HAVE_TSAN
#include <sanitizer/tsan_interface.h>
#endif
#ifdef HAVE_ASAN
#include <sanitizer/common_interface_defs.h>
#include <sanitizer/lsan_interface.h>
#endif
#if defined(__has_include)
#if __has_include(<valgrind/valgrind.h>)
#include <valgrind/valgrind.h>
#endif
#endif

/* Lua allows 200 nested C calls (LUAI_MAXCCALLS), and the largest frames of its library (string.gsub with its buffer)
 * are under 3 KiB: 1 MiB holds them and leaves room for C modules. Only touched pages cost memory. */
#define STACK_SIZE (1024 * 1024)

/* Switching saves what the C ABI lets a callee clobber for nobody: the callee-saved registers and the floating point
 * modes. Elsewhere ucontext does the same with two system calls. The switch itself must not be instrumented and is
 * compiled without CET's shadow stack, which a second stack would not match. */
#if defined(__x86_64__) && !defined(CORUN_STACK_UCONTEXT)

void corun_stack_swap(void **save, void *load);
__asm__(
    ".text\n"
    ".globl corun_stack_swap\n"
    ".hidden corun_stack_swap\n"
    ".type corun_stack_swap, @function\n"
    "corun_stack_swap:\n"
    "  pushq %rbp\n"
    "  pushq %rbx\n"
    "  pushq %r12\n"
    "  pushq %r13\n"
    "  pushq %r14\n"
    "  pushq %r15\n"
    "  subq $8, %rsp\n"
    "  stmxcsr (%rsp)\n"
    "  fnstcw 4(%rsp)\n"
    "  movq %rsp, (%rdi)\n"
    "  movq %rsi, %rsp\n"
    "  ldmxcsr (%rsp)\n"
    "  fldcw 4(%rsp)\n"
    "  addq $8, %rsp\n"
    "  popq %r15\n"
    "  popq %r14\n"
    "  popq %r13\n"
    "  popq %r12\n"
    "  popq %rbx\n"
    "  popq %rbp\n"
    "  ret\n"
    ".size corun_stack_swap, .-corun_stack_swap\n");

static void run_entry(void);

static void prepare(struct stack *stack) {
  /* What corun_stack_swap pops: modes, r15..rbp, the return address; then a zero where a caller's would be. */
  uint64_t *sp = (uint64_t *)(stack->memory + stack->size) - 11;
  uint32_t modes[2];
  __asm__ volatile("stmxcsr %0\n\tfnstcw %1" : "=m"(modes[0]), "=m"(modes[1]));
  sp[0] = (uint64_t)modes[0] | (uint64_t)(modes[1] & 0xffff) << 32;
  for (int i = 1; i <= 6; i++) sp[i] = 0;
  sp[7] = (uint64_t)(uintptr_t)run_entry;
  sp[8] = 0;
  stack->sp = sp;
}

static void swap(struct stack *from, struct stack *to) {
  void *sp = to->sp;
  to->sp = NULL;
  corun_stack_swap(&from->sp, sp);
}

static void forget(struct stack *stack) { (void)stack; }

#else

#include <ucontext.h>

static void run_entry(void);

static void prepare(struct stack *stack) {
  ucontext_t *context = calloc(1, sizeof *context);
  stack->sp = context;
  if (!context) return;
  getcontext(context);
  context->uc_stack.ss_sp = stack->memory;
  context->uc_stack.ss_size = stack->size;
  makecontext(context, run_entry, 0);
}

static void swap(struct stack *from, struct stack *to) {
  if (!from->sp) from->sp = calloc(1, sizeof(ucontext_t));
  if (!from->sp) abort();
  swapcontext(from->sp, to->sp);
}

static void forget(struct stack *stack) { free(stack->sp); }

#endif

/* The stack that was switched to last: how a new one finds itself, and what the sanitizer is told on arrival. One
 * thread may switch while another does, each in its own Lua state. */
static _Thread_local struct stack *arriving, *leaving;

static void arrive(struct stack *here) {
#ifdef HAVE_ASAN
  __sanitizer_finish_switch_fiber(here->sanitizer, &leaving->bottom, &leaving->extent);
#else
  (void)here;
#endif
}

static void run_entry(void) {
  struct stack *here = arriving;
  arrive(here);
  here->entry(here->arg);
  abort(); /* an entry does not return */
}

void stack_switch(struct stack *from, struct stack *to) {
  arriving = to;
  leaving = from;
#ifdef HAVE_ASAN
  __sanitizer_start_switch_fiber(&from->sanitizer, to->bottom, to->extent);
#endif
#ifdef HAVE_TSAN
  from->sanitizer = __tsan_get_current_fiber();
  if (!to->sanitizer) to->sanitizer = __tsan_create_fiber(0);
  __tsan_switch_to_fiber(to->sanitizer, 0);
#endif
  swap(from, to);
  arrive(from);
}

struct stack *stack_new(void (*entry)(void *), void *arg) {
  struct stack *stack = calloc(1, sizeof *stack);
  if (!stack) return NULL;
  size_t page = (size_t)sysconf(_SC_PAGESIZE);
  int flags = MAP_PRIVATE | MAP_ANONYMOUS;
#ifdef MAP_STACK
  flags |= MAP_STACK | MAP_NORESERVE;
#endif
  char *memory = mmap(NULL, STACK_SIZE, PROT_READ | PROT_WRITE, flags, -1, 0);
  if (memory == MAP_FAILED) {
    free(stack);
    return NULL;
  }
  mprotect(memory, page, PROT_NONE); /* an overflow ends in a fault, not in other memory */
  stack->memory = memory;
  stack->size = STACK_SIZE;
  stack->entry = entry;
  stack->arg = arg;
  stack->bottom = memory + page;
  stack->extent = STACK_SIZE - page;
  prepare(stack);
  if (!stack->sp) {
    stack_free(stack);
    return NULL;
  }
#ifdef HAVE_ASAN
  __lsan_register_root_region(stack->bottom, stack->extent);
#endif
#ifdef VALGRIND_STACK_REGISTER
  stack->valgrind = VALGRIND_STACK_REGISTER(memory, memory + STACK_SIZE);
#endif
  return stack;
}

void stack_free(struct stack *stack) {
  if (!stack) return;
#ifdef HAVE_ASAN
  if (stack->sp) __lsan_unregister_root_region(stack->bottom, stack->extent);
#endif
#ifdef HAVE_TSAN
  if (stack->sanitizer) __tsan_destroy_fiber(stack->sanitizer);
#endif
#ifdef VALGRIND_STACK_REGISTER
  VALGRIND_STACK_DEREGISTER(stack->valgrind);
#endif
  forget(stack);
  munmap(stack->memory, stack->size);
  free(stack);
}
