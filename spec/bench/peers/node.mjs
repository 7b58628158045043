// The workloads in Node: node node.mjs LIMIT WORKLOAD SIZE. Prints what limit.c prints.
import { spawn } from "node:child_process";
import { once } from "node:events";
import { createInterface } from "node:readline";
import { pipeline } from "node:stream/promises";
import { main } from "./common.mjs";

const bare = ["ignore", "inherit", "inherit"];
const start = ([file, ...args], stdio, cwd) => spawn(file, args, { stdio, cwd });

// The code, once it has ended and its streams have.
const codeOf = (child) => new Promise((resolve, reject) => {
  child.on("error", reject);
  child.on("close", resolve);
});

const collect = (stream) => {
  const chunks = [];
  stream.on("data", (chunk) => chunks.push(chunk));
  return chunks;
};

async function capture(argv) {
  const child = start(argv, ["ignore", "pipe", "pipe"]);
  const stdout = collect(child.stdout), stderr = collect(child.stderr);
  const code = await codeOf(child);
  return { code, stdout: Buffer.concat(stdout), stderr: Buffer.concat(stderr) };
}

const handle = (child) => ({ kill: () => child.kill("SIGKILL"), ended: codeOf(child) });

const source = (argv) => start(argv, ["ignore", "pipe", "inherit"]).stdout;

// Faster than `for await`.
async function eachChunk(stream, fn) {
  stream.on("data", fn);
  await once(stream, "end");
}

main({
  endedWell: async (argv, cwd) => await codeOf(start(argv, bare, cwd)) === 0,
  capture,
  startBare: (argv) => handle(start(argv, bare)),
  startPiped: (argv) => handle(start(argv, "pipe")),
  eachChunk: (argv, fn) => eachChunk(source(argv), fn),

  cat() {
    const child = start(["cat"], ["pipe", "pipe", "inherit"]);
    return {
      write: (text) => child.stdin.write(text),
      close: () => child.stdin.end(),
      eachChunk: (fn) => eachChunk(child.stdout, fn),
    };
  },

  // Node copies what goes from one to the next.
  async pipeline(first, ...rest) {
    let from = start(first, ["ignore", "pipe", "ignore"]); // yes says that nobody reads it any more
    for (const argv of rest) {
      const to = start(argv, ["pipe", "pipe", "inherit"]);
      pipeline(from.stdout, to.stdin).catch((error) => { // head ends before yes does
        if (error.code !== "EPIPE" && error.code !== "ECONNRESET") throw error;
      });
      from = to;
    }
    const text = collect(from.stdout);
    await once(from, "close");
    return Buffer.concat(text).toString();
  },

  more: (limit, size) => ({
    "lines-readline": async () => {
      let count = 0, total = 0;
      const lines = createInterface({ input: source([limit, "produce-lines", size]), crlfDelay: Infinity });
      lines.on("line", (line) => {
        count++;
        total += line.length;
      });
      await once(lines, "close");
      return `${count}:${total}`;
    },
  }),
});
