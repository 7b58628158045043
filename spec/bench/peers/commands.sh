#!/bin/sh
# The workloads by commands that run others: commands.sh xargs|parallel|make|ninja LIMIT WORKLOAD SIZE. Prints what
# limit.c prints, with the seconds of the command alone: what it reads (a makefile) is made before. "-": its processor
# time cannot be told from its children's, and its memory not at all. In the environment: XARGS, PARALLEL, MAKE, NINJA,
# the programs.
set -eu

tool=$1 limit=$2 workload=$3 size=$4
xargs=${XARGS:-xargs} parallel=${PARALLEL:-parallel} make=${MAKE:-make} ninja=${NINJA:-ninja}
unset PARALLEL MAKEFLAGS # where the tools themselves look for options

directory=$(mktemp -d "${TMPDIR:-/tmp}/corun-bench-XXXXXX")
trap 'rm -rf "$directory"' EXIT
trap 'exit 1' HUP INT TERM
items=$directory/items
case $workload in
  spawn | jobs | run | capture | compile) seq "$size" >"$items" ;;
  *) exit 77 ;; # of a stream the size is gigabytes
esac

# What is printed goes where the benchmark's line is not in its way. Each of the tools ends with 0 only if all that it
# has run did.
measure() { # COMMAND…
  began=$(date +%s%N)
  "$@" <"$items" >"$directory/output" || {
    echo "commands.sh: $tool: status $?" >&2
    exit 1
  }
  ended=$(date +%s%N)
}

report() { # CHECK
  nanoseconds=$((ended - began))
  printf '%d.%09d - - %s\n' $((nanoseconds / 1000000000)) $((nanoseconds % 1000000000)) "$1"
}

bytes() { wc -c <"$directory/output"; }

objects() { find . -maxdepth 1 -name '*.o' | wc -l; }

# The objects that are there would be up to date for make and ninja.
enter_sources() {
  cd "$COMPILE_DIR"
  find . -maxdepth 1 -name '*.o' -delete
}

with_xargs() {
  case $workload in
    spawn | jobs) measure "$xargs" -P 4 -n 1 /bin/true && report "$size" ;;
    compile)
      enter_sources
      measure "$xargs" -P 4 -I '{}' cc -O1 -c '{}.c' -o '{}.o'
      report "$(objects)"
      ;;
    *) return 77 ;;
  esac
}

# -n0: without the item as an argument. --plain: without anybody's settings.
with_parallel() {
  log=$directory/log
  set -- "$parallel" --plain --will-cite -j 4
  case $workload in
    spawn) measure "$@" -n0 --ungroup /bin/true && report "$size" ;;
    jobs) # the log has each one's name and exit status
      measure "$@" --joblog "$log" '/bin/true {}'
      report "$(awk 'NR > 1 && $7 == 0' "$log" | wc -l)"
      ;;
    run) measure "$@" -n0 /bin/echo hello && report "$(bytes)" ;;
    capture) measure "$@" -n0 "$limit" produce 65536 && report "$(bytes)" ;;
    compile)
      enter_sources
      measure "$@" cc -O1 -c '{}.c' -o '{}.o'
      report "$(objects)"
      ;;
    *) return 77 ;;
  esac
}

# A target for each item. Words that need no shell are run without one.
makefile() { # RECIPE
  printf 'all: %s\n' "$(sed 's/$/.o/' "$items" | tr '\n' ' ')"
  printf '%%.o:\n\t%s\n' "$1"
}

# --output-sync: what a command prints is kept until it has ended, as the others do it.
with_make() {
  set -- "$make" -s -r -j 4 -f "$directory/makefile"
  case $workload in
    spawn | jobs)
      makefile /bin/true >"$directory/makefile"
      measure "$@"
      report "$size"
      ;;
    run)
      makefile '/bin/echo hello' >"$directory/makefile"
      measure "$@" --output-sync=target
      report "$(bytes)"
      ;;
    capture)
      makefile "$limit produce 65536" >"$directory/makefile"
      measure "$@" --output-sync=target
      report "$(bytes)"
      ;;
    compile)
      enter_sources
      makefile 'cc -O1 -c $*.c -o $@' | sed 's/^%\.o:/%.o: %.c/' >"$directory/makefile"
      measure "$@"
      report "$(objects)"
      ;;
    *) return 77 ;;
  esac
}

ninjafile() { # COMMAND INPUT
  printf 'builddir = %s\nrule run\n  command = %s\n' "$directory" "$1"
  sed "s/.*/build &.o: run $2/" "$items"
}

# It runs each command by a shell, and keeps what it prints until it has ended; to that it adds a newline where it likes
# one, so there is no capture.
with_ninja() {
  set -- "$ninja" --quiet -j 4 -f "$directory/build.ninja"
  case $workload in
    spawn | jobs)
      ninjafile /bin/true '' >"$directory/build.ninja"
      measure "$@"
      report "$size"
      ;;
    run)
      ninjafile '/bin/echo hello' '' >"$directory/build.ninja"
      measure "$@"
      report "$(bytes)"
      ;;
    compile)
      enter_sources
      ninjafile 'cc -O1 -c $in -o $out' '&.c' >"$directory/build.ninja"
      measure "$@"
      report "$(objects)"
      ;;
    *) return 77 ;;
  esac
}

case $tool in
  xargs | parallel | make | ninja) "with_$tool" ;;
  *)
    echo "commands.sh: no tool '$tool'" >&2
    exit 2
    ;;
esac
