/**
 * Real pipes for a task's output. What Node gives a child are sockets, and a socket cannot be opened again by
 * `/dev/stdout` or `/dev/stderr`, which scripts and servers do. So two named pipes are opened and their names removed.
 */
import { execFile } from "node:child_process";
import { randomUUID } from "node:crypto";
import { closeSync, constants, fstatSync, openSync, rmSync } from "node:fs";
import { Socket } from "node:net";
import path from "node:path";
import type { Readable } from "node:stream";
import { promisify } from "node:util";

export interface OutputPipe {
  /** Ends when the last writer has closed its end. */
  readonly source: Readable;
  /** The writer's descriptor, for the child. */
  readonly childEnd: number;
  /** Closes our copy of the writer's end: needed for the source to end. */
  release(): void;
}

const run = promisify(execFile);
const timeoutMs = 5_000;

const openFifo = (file: string, flags: number): number => {
  const descriptor = openSync(file, flags | constants.O_NOFOLLOW);
  if (fstatSync(descriptor).isFIFO()) return descriptor;
  closeSync(descriptor);
  throw new Error("not a pipe");
};

const openPipe = (file: string): OutputPipe => {
  // The reader first: a writer that finds one does not wait.
  const reader = openFifo(file, constants.O_RDONLY | constants.O_NONBLOCK);
  let childEnd: number;
  try {
    childEnd = openFifo(file, constants.O_WRONLY);
  } catch (error) {
    closeSync(reader);
    throw error;
  }
  return {
    source: new Socket({ fd: reader, readable: true, writable: false }),
    childEnd,
    release: () => closeSync(childEnd),
  };
};

/** Pipes for stdout and stderr, made in a private directory. Throws where the system has no `mkfifo`. */
export const openOutputPipes = async (
  directory: string,
): Promise<readonly [OutputPipe, OutputPipe]> => {
  const name = path.join(directory, `.${randomUUID()}`);
  const files = [`${name}.stdout.fifo`, `${name}.stderr.fifo`] as const;
  try {
    await run("mkfifo", ["-m", "600", ...files], { timeout: timeoutMs });
    const out = openPipe(files[0]);
    try {
      return [out, openPipe(files[1])];
    } catch (error) {
      out.release();
      out.source.destroy();
      throw error;
    }
  } finally {
    for (const file of files) rmSync(file, { force: true });
  }
};
