# The workloads in Python: python3 main.py LIMIT WORKLOAD SIZE. Prints what limit.c prints.
import asyncio
import os
import resource
import signal
import sys
import tempfile
import time
from asyncio.subprocess import DEVNULL, PIPE

AT_A_TIME = 4
NAP = 3
BLOCK = 65536

limit, workload, size = sys.argv[1:]
number = int(size)


# What is measured


class Clock:
    def __init__(self):
        self.memory = None  # instead of the peak
        self.start()

    def start(self):  # again, by a workload that has something to prepare
        self.stopped = False
        self.cpu, self.seconds = self.cpu_now(), time.perf_counter()

    def stop(self):  # before its end, by a workload that has something to clean up
        if not self.stopped:
            self.seconds, self.cpu = time.perf_counter() - self.seconds, self.cpu_now() - self.cpu
            self.stopped = True

    @staticmethod
    def cpu_now():
        usage = resource.getrusage(resource.RUSAGE_SELF)
        return usage.ru_utime + usage.ru_stime


clock = Clock()


def kib(file, prefix):
    with open(f"/proc/self/{file}") as lines:
        return sum(int(line.split()[1]) for line in lines if line.startswith(prefix))


def private():
    return kib("smaps_rollup", "Private_")


def each_costs(kib):
    clock.memory = kib * 1024 // number


# Processes


async def ended_well(*argv, **options):
    process = await asyncio.create_subprocess_exec(*argv, stdin=DEVNULL, **options)
    return await process.wait() == 0


async def pool(job):
    """Calls job with each number, four at a time."""
    numbers = iter(range(1, number + 1))

    async def worker():
        for i in numbers:
            await job(i)

    await asyncio.gather(*(worker() for _ in range(AT_A_TIME)))


async def count_good(start):
    good = 0

    async def job(i):
        nonlocal good
        if await start(i):
            good += 1

    await pool(job)
    return good


async def spawn():
    return await count_good(lambda i: ended_well("/bin/true"))


async def spawn_heap():
    heap = [b"%-1024d" % i for i in range(1 << 20)]
    clock.start()
    good = await spawn()
    clock.stop()
    del heap  # it has lived until here
    return good


async def captured(*argv):
    total = 0

    async def job(i):
        nonlocal total
        process = await asyncio.create_subprocess_exec(*argv, stdin=DEVNULL, stdout=PIPE, stderr=PIPE)
        out, err = await process.communicate()
        if process.returncode != 0:
            raise RuntimeError(f"{argv[0]}: status {process.returncode}")
        total += len(out) + len(err)

    await pool(job)
    return total


async def start_idle(count, **options):
    return [await asyncio.create_subprocess_exec(limit, "idle", **options) for _ in range(count)]


async def end_idle(processes):
    for process in processes:
        process.kill()
    for process in processes:
        await process.wait()


async def churn():
    others = await start_idle(5000, stdin=DEVNULL)
    clock.start()
    good = await spawn()
    clock.stop()
    await end_idle(others)
    return good


async def idle(**options):
    before = private()
    processes = await start_idle(number, **options)
    clock.stop()
    each_costs(private() - before)
    await end_idle(processes)
    return number


# Those that do not yet wait after a second find the FIFO open.
async def storm():
    with tempfile.TemporaryDirectory() as directory:
        fifo = os.path.join(directory, "fifo")
        os.mkfifo(fifo)
        processes = [
            await asyncio.create_subprocess_exec(limit, "hold", fifo, stdin=DEVNULL) for _ in range(number)
        ]
        await asyncio.sleep(1)
        clock.start()
        fd = os.open(fifo, os.O_RDWR)
        codes = await asyncio.gather(*(process.wait() for process in processes))
        clock.stop()
        os.close(fd)
    return codes.count(0)


async def jobs():
    semaphore = asyncio.Semaphore(AT_A_TIME)

    async def job(name):
        async with semaphore:
            return name, await ended_well("/bin/true")

    results = dict(await asyncio.gather(*(job(f"job {i}") for i in range(number))))
    return sum(results.values())


async def compile():
    directory = os.environ["COMPILE_DIR"]
    return await count_good(lambda i: ended_well("cc", "-O1", "-c", f"{i}.c", "-o", f"{i}.o", cwd=directory))


# Streams


async def produce(mode):
    """The chunks of a producer."""
    process = await asyncio.create_subprocess_exec(limit, mode, size, stdin=DEVNULL, stdout=PIPE)
    while chunk := await process.stdout.read(BLOCK):
        yield chunk
    await process.wait()


async def read():
    total = 0
    async for chunk in produce("produce"):
        total += len(chunk)
    return total


async def each_line():
    """Lists of lines: much faster than StreamReader's iteration over lines, which is one await for each."""
    rest = b""
    async for chunk in produce("produce-lines"):
        *lines, rest = (rest + chunk).split(b"\n")
        yield lines
    if rest:
        yield [rest]


async def lines():
    count = total = 0
    async for some in each_line():
        for line in some:
            count += 1
            total += len(line)
    return f"{count}:{total}"


async def lines_iterate():
    count = total = 0
    process = await asyncio.create_subprocess_exec(limit, "produce-lines", size, stdin=DEVNULL, stdout=PIPE)
    async for line in process.stdout:
        count += 1
        total += len(line.removesuffix(b"\n"))
    await process.wait()
    return f"{count}:{total}"


async def count():
    count = 0
    async for chunk in produce("produce-lines"):
        count += chunk.count(b"\n")
    return count


async def grep():
    count = total = 0
    async for some in each_line():
        for line in some:
            if b"needle" in line:
                count += 1
                total += len(line)
    return f"{count}:{total}"


async def roundtrip():
    total = 0
    process = await asyncio.create_subprocess_exec("cat", stdin=PIPE, stdout=PIPE)
    for i in range(1, number + 1):
        process.stdin.write(b"ping %d\n" % i)
        await process.stdin.drain()
        total += len(await process.stdout.readline()) - 1
    process.stdin.close()
    await process.wait()
    return total


async def pipeline():
    first_read, first_write = os.pipe()
    yes = await asyncio.create_subprocess_exec("yes", stdin=DEVNULL, stdout=first_write)
    os.close(first_write)
    second_read, second_write = os.pipe()
    head = await asyncio.create_subprocess_exec("head", "-c", size, stdin=first_read, stdout=second_write)
    os.close(first_read)
    os.close(second_write)
    wc = await asyncio.create_subprocess_exec("wc", "-c", stdin=second_read, stdout=PIPE)
    os.close(second_read)
    out, _ = await wc.communicate()
    await head.wait()
    assert await yes.wait() == -signal.SIGPIPE
    return int(out)


# Tasks


async def sleepers():
    before = private()
    tasks = [asyncio.create_task(asyncio.sleep(NAP, True)) for _ in range(number)]
    await asyncio.sleep(NAP / 2)
    each_costs(private() - before)
    ended = sum(await asyncio.gather(*tasks))
    clock.stop()
    clock.seconds -= NAP
    return ended


async def switch():
    async def task(count):
        for _ in range(count):
            await asyncio.sleep(0)

    await asyncio.gather(task(number // 2), task(number - number // 2))
    return number


async def timers():
    for _ in range(number):
        async with asyncio.timeout(1000):
            pass
    return number


async def timers_bare():
    loop = asyncio.get_running_loop()
    for _ in range(number):
        loop.call_later(1000, print).cancel()
    return number


WORKLOADS = {
    "spawn": spawn,
    "spawn-heap": spawn_heap,
    "churn": churn,
    "storm": storm,
    "run": lambda: captured("/bin/echo", "hello"),
    "capture": lambda: captured(limit, "produce", "65536"),
    "idle": lambda: idle(stdin=PIPE, stdout=PIPE, stderr=PIPE),
    "idle-bare": lambda: idle(stdin=DEVNULL),
    "sleepers": sleepers,
    "switch": switch,
    "timers": timers,
    "timers-bare": timers_bare,
    "jobs": jobs,
    "compile": compile,
    "read": read,
    "lines": lines,
    "lines-iterate": lines_iterate,
    "count": count,
    "grep": grep,
    "roundtrip": roundtrip,
    "pipeline": pipeline,
}


async def main():
    # The default until 3.11 is a thread for each child; since 3.12 it is this one.
    if sys.version_info < (3, 12) and hasattr(os, "pidfd_open"):
        watcher = asyncio.PidfdChildWatcher()
        watcher.attach_loop(asyncio.get_running_loop())
        asyncio.set_child_watcher(watcher)
    clock.start()
    check = await WORKLOADS[workload]()
    clock.stop()
    memory = kib("status", "VmHWM:") if clock.memory is None else clock.memory
    print(f"{clock.seconds:.6f} {clock.cpu:.6f} {memory} {check}")


if workload not in WORKLOADS:
    sys.exit(77)
asyncio.run(main())
