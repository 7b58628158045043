// The workloads in JavaScript, for each runtime with its own way to start processes (node.mjs, bun.mjs, deno.mjs):
//
//   endedWell(argv, cwd?)  stdin null, the rest inherited: whether it ended with 0
//   capture(argv)          stdin null: { code, stdout, stderr }, as bytes
//   startBare(argv)        stdin null, the rest inherited: { kill(), ended }, ended being a promise of the code
//   startPiped(argv)       the same with three pipes
//   eachChunk(argv, fn)    stdin null: calls fn with the bytes that it writes, as they come; until the end
//   cat()                  { write(text), eachChunk(fn), close() } of a cat
//   pipeline(...argvs)     the last one's stdout, as text
//
// and what it has besides, in `more`.
import { closeSync, mkdtempSync, openSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import process from "node:process";
import { setImmediate } from "node:timers";

const atATime = 4;
const nap = 3;

// What is measured

let cpuStart, started, seconds, cpu, memory;

// Again, by a workload that has something to prepare.
const begin = () => {
  cpuStart = process.cpuUsage();
  started = performance.now();
};

// Before its end, by a workload that has something to clean up.
const end = () => {
  if (seconds !== undefined) return;
  seconds = (performance.now() - started) / 1e3;
  const { user, system } = process.cpuUsage(cpuStart);
  cpu = (user + system) / 1e6;
};

const kib = (file, prefix) => readFileSync(`/proc/self/${file}`, "latin1").split("\n")
  .filter((line) => line.startsWith(prefix))
  .reduce((sum, line) => sum + Number(line.split(/\s+/)[1]), 0);

const privateMemory = () => kib("smaps_rollup", "Private_");

// Helpers

const nothing = () => {};

const sleep = (seconds) => new Promise((resolve) => setTimeout(resolve, seconds * 1e3));

// Calls job with the numbers from 1 to count, four at a time.
async function pool(count, job) {
  let next = 1;
  const worker = async () => {
    while (next <= count) await job(next++);
  };
  await Promise.all(Array.from({ length: atATime }, worker));
}

// Several times as fast as readline, which is one event or await for each line.
async function eachLine(eachChunk, onLine) {
  const decoder = new TextDecoder();
  let rest = "";
  await eachChunk((chunk) => {
    const lines = (rest + decoder.decode(chunk, { stream: true })).split("\n");
    rest = lines.pop();
    for (const line of lines) onLine(line);
  });
  if (rest !== "") onLine(rest);
}

const killAll = async (children) => {
  for (const child of children) child.kill();
  await Promise.all(children.map((child) => child.ended));
};

function workloadsOf(runtime, limit, size, number) {
  const { endedWell, capture, startBare, startPiped, eachChunk } = runtime;

  async function countGood(argvOf, cwd) {
    let good = 0;
    await pool(number, async (i) => {
      if (await endedWell(argvOf(i), cwd)) good++;
    });
    return good;
  }

  const produceLines = (fn) => eachChunk([limit, "produce-lines", size], fn);
  const spawn = () => countGood(() => ["/bin/true"]);

  async function captured(argv) {
    let total = 0;
    await pool(number, async () => {
      const { code, stdout, stderr } = await capture(argv);
      if (code !== 0) throw new Error(`${argv[0]}: code ${code}`);
      total += stdout.length + stderr.length;
    });
    return total;
  }

  // Awaiting what is there already is the usual way, but lets nothing but other tasks run: no timer, no input or output.
  async function switches(pause) {
    const task = async (count) => {
      for (let i = 0; i < count; i++) await pause();
    };
    await Promise.all([task(number >> 1), task(number - (number >> 1))]);
    return number;
  }

  async function idle(start) {
    const before = privateMemory();
    const children = Array.from({ length: number }, () => start([limit, "idle"]));
    end();
    memory = Math.round((privateMemory() - before) * 1024 / number);
    await killAll(children);
    return number;
  }

  return {
    spawn,

    "spawn-heap": async () => {
      const heap = [], encoder = new TextEncoder(), decoder = new TextDecoder();
      const bytes = new Uint8Array(1024).fill(0x20);
      for (let i = 0; i < 1 << 20; i++) {
        encoder.encodeInto(String(i), bytes);
        heap.push(decoder.decode(bytes));
      }
      begin();
      const good = await spawn();
      end();
      if (new Set(heap).size !== heap.length) throw new Error("the heap is not what it was");
      return good;
    },

    churn: async () => {
      const others = Array.from({ length: 5000 }, () => startBare([limit, "idle"]));
      begin();
      const good = await spawn();
      end();
      await killAll(others);
      return good;
    },

    // Those that do not yet wait after a second find the FIFO open.
    storm: async () => {
      const directory = mkdtempSync(join(tmpdir(), "corun-bench-")), fifo = join(directory, "fifo");
      if (!await endedWell(["mkfifo", fifo])) throw new Error("mkfifo");
      const children = Array.from({ length: number }, () => startBare([limit, "hold", fifo]));
      await sleep(1);
      begin();
      const fd = openSync(fifo, "r+");
      const codes = await Promise.all(children.map((child) => child.ended));
      end();
      closeSync(fd);
      rmSync(directory, { recursive: true });
      return codes.filter((code) => code === 0).length;
    },

    run: () => captured(["/bin/echo", "hello"]),
    capture: () => captured([limit, "produce", "65536"]),
    idle: () => idle(startPiped),
    "idle-bare": () => idle(startBare),

    jobs: async () => {
      const results = new Map();
      await pool(number, async (i) => results.set(`job ${i}`, await endedWell(["/bin/true"])));
      return [...results.values()].filter((good) => good).length;
    },

    compile: () => countGood((i) => ["cc", "-O1", "-c", `${i}.c`, "-o", `${i}.o`], process.env.COMPILE_DIR),

    read: async () => {
      let total = 0;
      await eachChunk([limit, "produce", size], (chunk) => {
        total += chunk.length;
      });
      return total;
    },

    lines: async () => {
      let count = 0, total = 0;
      await eachLine(produceLines, (line) => {
        count++;
        total += line.length;
      });
      return `${count}:${total}`;
    },

    count: async () => {
      let count = 0;
      await produceLines((chunk) => {
        for (let at = chunk.indexOf(10); at >= 0; at = chunk.indexOf(10, at + 1)) count++;
      });
      return count;
    },

    grep: async () => {
      let count = 0, total = 0;
      await eachLine(produceLines, (line) => {
        if (line.includes("needle")) {
          count++;
          total += line.length;
        }
      });
      return `${count}:${total}`;
    },

    roundtrip: async () => {
      const cat = runtime.cat();
      let round = 1, total = 0;
      cat.write("ping 1\n");
      await eachLine(cat.eachChunk, (line) => {
        total += line.length;
        if (round < number) cat.write(`ping ${++round}\n`);
        else cat.close();
      });
      return total;
    },

    pipeline: async () => Number(await runtime.pipeline(["yes"], ["head", "-c", size], ["wc", "-c"])),

    sleepers: async () => {
      const before = privateMemory();
      const tasks = Array.from({ length: number }, async () => {
        await sleep(nap);
        return 1;
      });
      await sleep(nap / 2);
      memory = Math.round((privateMemory() - before) * 1024 / number);
      const ended = (await Promise.all(tasks)).reduce((sum, one) => sum + one, 0);
      end();
      seconds -= nap;
      return ended;
    },

    switch: () => switches(() => null),
    "switch-immediate": () => switches(() => new Promise((resolve) => setImmediate(resolve))),

    timers: async () => {
      for (let i = 0; i < number; i++) {
        let timer;
        const late = new Promise((_, reject) => (timer = setTimeout(reject, 1e6)));
        await Promise.race([nothing(), late]);
        clearTimeout(timer);
      }
      return number;
    },
    "timers-bare": () => {
      for (let i = 0; i < number; i++) clearTimeout(setTimeout(nothing, 1e6));
      return number;
    },

    ...runtime.more?.(limit, size),
  };
}

export async function main(runtime) {
  const [limit, name, size] = process.argv.slice(2);
  const workload = workloadsOf(runtime, limit, size, Number(size))[name];
  if (!workload) process.exit(77);
  begin();
  const check = await workload();
  end();
  memory ??= kib("status", "VmHWM:");
  console.log(`${seconds.toFixed(6)} ${cpu.toFixed(6)} ${memory} ${check}`);
}
