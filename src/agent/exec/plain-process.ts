/** A command without a terminal: three pipes, a session of its own. */
import { type ChildProcessWithoutNullStreams, spawn } from "node:child_process";
import { once } from "node:events";
import { constants } from "node:os";
import { withoutTerminals } from "./open-terminals.ts";
import type { Command, ExecProcess } from "./process.ts";
import { startFault } from "./program.ts";

const signalBase = 128;
const unknownExit = -1;

export const exitCodeOf = (code: number | null, signal: NodeJS.Signals | null): number => {
  if (code !== null) return code;
  return signal === null ? unknownExit : signalBase + constants.signals[signal];
};

const start = async (command: Command): Promise<ChildProcessWithoutNullStreams> => {
  const [name = "", ...rest] = command.arguments;
  try {
    const child = withoutTerminals((more) =>
      spawn(command.program, rest, {
        argv0: name,
        cwd: command.directory,
        env: command.env,
        detached: true,
        stdio: ["pipe", "pipe", "pipe", ...more],
      }),
    );
    await once(child, "spawn");
    return child as ChildProcessWithoutNullStreams; // three pipes were asked for
  } catch (error) {
    throw startFault(name, error);
  }
};

const ignore = (_reason: unknown): void => undefined;

const write = (child: ChildProcessWithoutNullStreams, data: Buffer): Promise<void> =>
  new Promise((resolve) => {
    if (!child.stdin.writable) return resolve();
    const done = (): void => {
      child.stdin.off("close", done);
      resolve();
    };
    child.stdin.once("close", done);
    child.stdin.write(data, done);
  });

/** Throws `failed` with the driver's words. */
export const startPlain = async (command: Command): Promise<ExecProcess> => {
  const child = await start(command);
  const pid = child.pid ?? 0;
  child.on("error", ignore);
  // EPIPE when the command never reads; what it wrote and how it ended is still told.
  child.stdin.on("error", ignore);
  const exited = new Promise<number>((resolve) => {
    child.once("exit", (code, signal) => resolve(exitCodeOf(code, signal)));
  });
  return {
    pid,
    outputs: [
      { name: "stdout", stream: child.stdout },
      { name: "stderr", stream: child.stderr },
    ],
    writeInput: (data) => write(child, data),
    endInput: () => void child.stdin.end(),
    resize: () => undefined,
    exited,
    release: () => {
      child.stdin.destroy();
      child.stdout.destroy();
      child.stderr.destroy();
    },
  };
};
