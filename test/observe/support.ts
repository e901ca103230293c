import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import type { Socket } from "node:net";
import { tmpdir } from "node:os";
import path from "node:path";
import { setTimeout as wait } from "node:timers/promises";

/** A directory of the test's own, gone at its end. */
export const scratch = (): Disposable & { file(name: string): string } => {
  const directory = mkdtempSync(path.join(tmpdir(), "serai-observe-"));
  return {
    file: (name) => path.join(directory, name),
    [Symbol.dispose]: () => rmSync(directory, { recursive: true, force: true }),
  };
};

/** Polls until it is so; the deadline is far beyond what a busy machine needs. */
export const until = async (so: () => boolean | Promise<boolean>, what: string): Promise<void> => {
  const deadline = performance.now() + 20_000;
  while (!(await so())) {
    if (performance.now() > deadline) throw new Error(`never came: ${what}`);
    await wait(10);
  }
};

export const soon = (): AbortSignal => AbortSignal.timeout(10_000);

export const linesOf = (file: string): readonly Record<string, unknown>[] =>
  readFileSync(file, "utf8")
    .split("\n")
    .filter((line) => line !== "")
    .map((line): Record<string, unknown> => JSON.parse(line));

export const quiet = {
  debug: () => undefined,
  info: () => undefined,
  warn: () => undefined,
  error: () => undefined,
};

/** The socket's end, whether it came by FIN or by a reset. */
export const ended = (socket: Socket): Promise<void> =>
  new Promise((resolve) => {
    socket.on("error", () => undefined); // a reset is one of the answers
    socket.once("close", () => resolve());
  });
