/** `serai` as a user starts it: a process of its own, in a directory that is looked for afterwards in every process' words. */
import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtempSync, readdirSync, readFileSync, rmSync } from "node:fs";
import { createServer } from "node:net";
import { tmpdir } from "node:os";
import path from "node:path";
import { z } from "zod";
import { nodeFlags, until } from "../support/processes.ts";

export const root = path.resolve(import.meta.dirname, "../..");
export const program = path.join(root, "bin/serai.mjs");

export interface Run {
  readonly child: ChildProcess;
  readonly pid: number;
  readonly stdout: () => string;
  readonly stderr: () => string;
  readonly ended: Promise<{ readonly code: number | null; readonly signal: string | null }>;
  /** As Ctrl-C does. */
  readonly signalGroup: (signal: NodeJS.Signals) => void;
}

export interface RunOptions {
  readonly env?: Readonly<Record<string, string | undefined>>;
  readonly cwd?: string;
  /** Killed then; it runs for good without it. */
  readonly timeoutMs?: number;
}

/** In a process group of its own, as a shell starts it. */
export const run = (
  command: string,
  argv: readonly string[],
  { env = {}, cwd = root, timeoutMs }: RunOptions = {},
): Run => {
  const child = spawn(command, argv, {
    cwd,
    timeout: timeoutMs,
    killSignal: "SIGKILL",
    detached: true,
    stdio: ["ignore", "pipe", "pipe"],
    env: { ...process.env, ...env },
  });
  let [stdout, stderr] = ["", ""];
  child.stdout.setEncoding("utf8").on("data", (text: string) => {
    stdout += text;
  });
  child.stderr.setEncoding("utf8").on("data", (text: string) => {
    stderr += text;
  });
  const pid = child.pid ?? 0;
  return {
    child,
    pid,
    stdout: () => stdout,
    stderr: () => stderr,
    ended: once(child, "close").then(([code, signal]) => ({ code, signal })),
    signalGroup: (signal) => void process.kill(-pid, signal),
  };
};

/** As `npm run` does it: what the user typed, without npm's own words. */
export const npmRun = (argv: readonly string[], options?: RunOptions): Run =>
  run("npm", ["run", "--silent", ...argv], options);

export const serai = (argv: readonly string[], options?: RunOptions): Run =>
  run(process.execPath, [...nodeFlags, program, ...argv], options);

const wordsOf = (pid: number): string => {
  try {
    return `${readFileSync(`/proc/${pid}/cmdline`, "utf8")}${readFileSync(`/proc/${pid}/environ`, "utf8")}`;
  } catch {
    return ""; // it has just ended, or is another user's
  }
};

/** Processes that have the directory in their arguments or environment: npm, serai, agents, and what these run. */
export const processesOf = (directory: string): readonly number[] =>
  readdirSync("/proc")
    .filter((name) => /^\d+$/.test(name))
    .map(Number)
    .filter((pid) => pid !== process.pid && wordsOf(pid).includes(directory));

/** All of /proc is read anew only when what was found there has ended: reading it takes as long as it waits. */
export const allGone = (directory: string): Promise<true> => {
  let found = processesOf(directory);
  return until(
    () => `no process of ${directory} is left, but ${found.join(", ")}`,
    () => {
      if (found.some((pid) => wordsOf(pid).includes(directory))) return undefined;
      found = processesOf(directory);
      return found.length === 0 || undefined;
    },
    20_000,
  );
};

export interface Directory extends Disposable {
  readonly path: string;
}

/** Ends what is left in it, so that a failed test leaves nothing behind. */
export const temporaryDirectory = (): Directory => {
  const directory = mkdtempSync(path.join(tmpdir(), "serai-cli-"));
  return {
    path: directory,
    [Symbol.dispose]() {
      for (const pid of processesOf(directory)) process.kill(pid, "SIGKILL");
      rmSync(directory, { recursive: true, force: true, maxRetries: 5 });
    },
  };
};

const devLine = z.strictObject({
  url: z.url(),
  admin_url: z.url(),
  tokens: z.strictObject({
    management: z.uuid(),
    operator: z.uuid(),
    reader: z.uuid(),
    none: z.uuid(),
  }),
  nodes: z.array(
    z.strictObject({
      ID: z.uuid(),
      Name: z.string(),
      address: z.string().regex(/^(?:127\.0\.0\.1:\d+|[0-9a-f-]{36}\.tunnel\.invalid:4646)$/),
    }),
  ),
  allocations: z.array(
    z.strictObject({
      ID: z.uuid(),
      Name: z.string(),
      JobID: z.string(),
      Namespace: z.string(),
      NodeID: z.uuid(),
      TaskGroup: z.string(),
      Tasks: z.array(z.string()),
      ClientStatus: z.string(),
    }),
  ),
});

export type DevLine = z.output<typeof devLine>;

/** The one line `--json` prints, in exactly its shape. */
export const ready = async (started: Run): Promise<DevLine> => {
  const text = await until(
    "serai dev is ready",
    () => {
      if (started.child.exitCode !== null)
        throw new Error(`ended with ${started.child.exitCode}: ${started.stderr()}`);
      return started.stdout().includes("\n") ? started.stdout() : undefined;
    },
    60_000,
  );
  return devLine.parse(JSON.parse(text));
};

/** Takes a port, for those who want it too; closed with it. */
export const takenPort = async (): Promise<{ readonly port: number } & AsyncDisposable> => {
  const server = createServer().listen(0, "127.0.0.1");
  await once(server, "listening");
  const address = server.address();
  return {
    port: typeof address === "object" && address !== null ? address.port : 0,
    async [Symbol.asyncDispose]() {
      server.close();
      await once(server, "close");
    },
  };
};
