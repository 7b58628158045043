// The workloads in Bun: bun bun.mjs LIMIT WORKLOAD SIZE. Prints what limit.c prints.
import { main } from "./common.mjs";

const bare = ["ignore", "inherit", "inherit"];
const source = ["ignore", "pipe", "inherit"];
const handle = (child) => ({ kill: () => child.kill("SIGKILL"), ended: child.exited });

async function capture(argv) {
  const child = Bun.spawn(argv, { stdio: ["ignore", "pipe", "pipe"] });
  const [stdout, stderr, code] = await Promise.all([child.stdout.bytes(), child.stderr.bytes(), child.exited]);
  return { code, stdout, stderr };
}

async function eachChunk(stream, fn) {
  for await (const chunk of stream) fn(chunk);
}

main({
  endedWell: async (argv, cwd) => await Bun.spawn(argv, { stdio: bare, cwd }).exited === 0,
  capture,
  startBare: (argv) => handle(Bun.spawn(argv, { stdio: bare })),
  startPiped: (argv) => handle(Bun.spawn(argv, { stdio: ["pipe", "pipe", "pipe"] })),
  eachChunk: (argv, fn) => eachChunk(Bun.spawn(argv, { stdio: source }).stdout, fn),

  cat() {
    const { stdin, stdout } = Bun.spawn(["cat"], { stdio: ["pipe", "pipe", "inherit"] });
    return {
      write(text) {
        stdin.write(text);
        stdin.flush();
      },
      close: () => stdin.end(),
      eachChunk: (fn) => eachChunk(stdout, fn),
    };
  },

  // Bun copies what goes from one to the next.
  pipeline(first, ...rest) {
    let child = Bun.spawn(first, { stdio: ["ignore", "pipe", "ignore"] }); // yes says that nobody reads it any more
    for (const argv of rest) child = Bun.spawn(argv, { stdio: [child.stdout, "pipe", "inherit"] });
    return child.stdout.text();
  },
});
