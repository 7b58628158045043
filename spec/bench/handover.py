# Values from one task to another through a queue, a second. asyncio has no rendezvous: 1 is its least capacity.
# Beside it: handover.lua, handover.go.
import asyncio
import sys
import time

count = int(sys.argv[1]) if len(sys.argv) > 1 else 1000000


async def send(queue):
    for i in range(1, count + 1):
        await queue.put(i)
    await queue.put(None)


async def receive(queue):
    total = 0
    while (value := await queue.get()) is not None:
        total += value
    assert total == count * (count + 1) // 2


async def main():
    for capacity in (1, 100):
        queue = asyncio.Queue(capacity)
        start = time.perf_counter()
        await asyncio.gather(send(queue), receive(queue))
        print(f"capacity {capacity}: {count / (time.perf_counter() - start) / 1e6:.2f} million/s")


asyncio.run(main())
