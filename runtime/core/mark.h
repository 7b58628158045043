/* What a mark is made of (see tree.h). From its top: 1 bit OUTERMOST, 22 bits pid and 10 bits start of the runtime,
 * 1 bit DETACHED, 6 bits at random for the runtime, 23 bits of a counter that begins at random. (Linux has no pids above
 * 2^22; nobody has a limit of 2^40 file locks.) In containers many have the same pid: what is at random tells these
 * apart. */
#ifndef CORUN_MARK_H
#define CORUN_MARK_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#define MARK_OUTERMOST (1ull << 62)
#define MARK_DETACHED (1ull << 29)
#define MARK_RANDOM_AT 23
#define MARK_COUNTER ((1ull << MARK_RANDOM_AT) - 1)
#define MARK_PID_AT 40
#define MARK_START_AT 30
#define MARK_START 0x3ffull
#define MARK_GIVER (MARK_OUTERMOST - (1ull << MARK_START_AT)) /* pid and start */
#define MARK_RUNTIME ((MARK_OUTERMOST - (1ull << MARK_RANDOM_AT)) & ~MARK_DETACHED) /* and what is at random */

/* Whether a limit is a mark at all. */
static inline bool is_mark(uint64_t value) { return value >> MARK_PID_AT && value < 1ull << 63; }

/* What the marks of a runtime have in common: that which gave this one (0: it is no mark); that of this process. */
static inline uint64_t giver_of(uint64_t mark) { return is_mark(mark) ? mark & MARK_GIVER : 0; }
static inline uint64_t giver(pid_t pid, uint64_t started) {
  return (uint64_t)pid << MARK_PID_AT | (started & MARK_START) << MARK_START_AT;
}

static inline pid_t giver_pid(uint64_t mark) { return (pid_t)((mark & ~MARK_OUTERMOST) >> MARK_PID_AT); }

#endif
