/* A child that lives: "sleep MS", "burn MS" of processor time (beside what its start takes), or, without arguments,
 * until it is killed. */
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

static double cpu(void) {
  struct timespec t;
  clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
  return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

int main(int argc, char **argv) {
  if (argc < 3) for (;;) pause();
  double seconds = atof(argv[2]) / 1000, began = cpu();
  struct timespec t = {.tv_sec = (time_t)seconds, .tv_nsec = (long)((seconds - (double)(time_t)seconds) * 1e9)};
  if (!strcmp(argv[1], "sleep")) return nanosleep(&t, NULL);
  while (cpu() - began < seconds) {}
  return 0;
}
