/** What a sink writes to: stdout or a file, opened so that no writer ever waits for a reader. */
import { close, constants, fstatSync, openSync } from "node:fs";

export const stdoutFd = 1;
const openFlags =
  constants.O_WRONLY | constants.O_APPEND | constants.O_NONBLOCK | constants.O_NOCTTY;

/**
 * An own description of stdout, so that it can be non-blocking without making everyone else's so; the descriptor itself
 * where that cannot be had (a socket, another user's terminal).
 */
const openStdout = (): number => {
  try {
    return openSync("/proc/self/fd/1", openFlags);
  } catch {
    return stdoutFd;
  }
};

export const openOutput = (output: string): number =>
  output === "stdout" ? openStdout() : openSync(output, openFlags | constants.O_CREAT, 0o640);

/** One of our own, which never makes a writer wait. */
export const isOwnPipe = (fd: number): boolean => fd !== stdoutFd && fstatSync(fd).isFIFO();

/** What was written to the one lies before what is written to the other. */
export const goesOn = (one: number, other: number): boolean => {
  const [before, now] = [fstatSync(one), fstatSync(other)];
  const isEmptied = now.isFile() && now.size === 0;
  return before.dev === now.dev && before.ino === now.ino && !isEmptied;
};

export const errnoName = (error: unknown): string =>
  error instanceof Error && "code" in error ? String(error.code) : "unknown error";

export const isFull = (error: unknown): boolean => ["EAGAIN", "EBUSY"].includes(errnoName(error));

export const closeQuietly = (fd: number): void => {
  if (fd !== stdoutFd) close(fd, () => undefined); // nothing is left to be told: all that mattered was written
};
