// The workloads in Deno: deno run -A deno.mjs LIMIT WORKLOAD SIZE. Prints what limit.c prints.
import { main } from "./common.mjs";

const start = ([file, ...args], options) => new Deno.Command(file, { args, stdin: "null", ...options }).spawn();
const bare = { stdout: "inherit", stderr: "inherit" };
const piped = { stdin: "piped", stdout: "piped", stderr: "piped" };
const source = { stdout: "piped", stderr: "inherit" };
const handle = (child) => ({ kill: () => child.kill("SIGKILL"), ended: child.status.then(({ code }) => code) });

async function eachChunk(stream, fn) {
  for await (const chunk of stream) fn(chunk);
}

main({
  endedWell: async (argv, cwd) => (await start(argv, { ...bare, cwd }).status).success,
  capture: ([file, ...args]) => new Deno.Command(file, { args, stdin: "null" }).output(),
  startBare: (argv) => handle(start(argv, bare)),
  startPiped: (argv) => handle(start(argv, piped)),
  eachChunk: (argv, fn) => eachChunk(start(argv, source).stdout, fn),

  cat() {
    const { stdin, stdout } = start(["cat"], { ...source, stdin: "piped" });
    const writer = stdin.getWriter(), encoder = new TextEncoder();
    return {
      write: (text) => writer.write(encoder.encode(text)),
      close: () => writer.close(),
      eachChunk: (fn) => eachChunk(stdout, fn),
    };
  },

  // Deno copies what goes from one to the next.
  async pipeline(first, ...rest) {
    let child = start(first, source);
    for (const argv of rest) {
      const next = start(argv, { ...source, stdin: "piped" });
      child.stdout.pipeTo(next.stdin).catch((error) => { // head ends before yes does
        if (!(error instanceof Deno.errors.BrokenPipe)) throw error;
      });
      child = next;
    }
    return await child.stdout.text();
  },
});
