/**
 * A command on a pseudo-terminal of its own. The package's own Terminal drops what was not read 200 ms after the end and
 * blocks the whole process when the terminal's input is full, so its native part is used here with our own streams.
 */
import { closeSync, writeSync } from "node:fs";
import { setTimeout as wait } from "node:timers/promises";
import { ReadStream } from "node:tty";
import { errnoOf } from "../../errors.ts";
import { terminalClosed } from "./open-terminals.ts";
import type { Command, ExecProcess } from "./process.ts";
import { startFault } from "./program.ts";
import { loadNative, type Started, startOnTerminal } from "./terminal-start.ts";

const maxCells = 65_535;
const endOfFile = 0x04;
const newline = 0x0a;
const firstRetryMs = 2;
const maxRetryMs = 100;

/** Bytes the terminal took; 0 when its input is full. */
const tryWrite = (fd: number, data: Buffer): number => {
  try {
    return writeSync(fd, data);
  } catch (error) {
    if (errnoOf(error) === "EAGAIN") return 0;
    throw error;
  }
};

class Terminal implements ExecProcess {
  readonly pid: number;
  readonly outputs: ExecProcess["outputs"];
  readonly exited: Promise<number>;
  readonly #native = loadNative();
  readonly #fd: number;
  readonly #stream: ReadStream;
  /**
   * Held until the process has ended: a program that closes its streams before it exits would else end our reading, and
   * letting go of the terminal would hang it up on its last few instructions (exit 129 instead of 0).
   */
  #slave: number | undefined;
  #lineIsOpen = false;

  constructor({ pid, fd, slave, exited }: Started, owner: object) {
    this.pid = pid;
    this.#fd = fd;
    this.#slave = slave;
    this.exited = exited.finally(() => this.#closeSlave());
    this.#stream = new ReadStream(fd);
    this.#stream.once("close", () => terminalClosed(fd, owner));
    this.#stream.on("error", () => undefined); // EIO: the last process let go of the terminal
    this.outputs = [{ name: "stdout", stream: this.#stream }];
  }

  async writeInput(data: Buffer): Promise<void> {
    let rest = data;
    let retryMs = firstRetryMs;
    while (rest.length > 0 && !this.#stream.destroyed) {
      const taken = this.#write(rest);
      if (taken === 0) {
        await wait(retryMs);
        retryMs = Math.min(retryMs * 2, maxRetryMs);
      } else retryMs = firstRetryMs;
      rest = rest.subarray(taken);
    }
    if (data.length > 0) this.#lineIsOpen = data.at(-1) !== newline;
  }

  /** The first end-of-file only hands over a line that is open; the second is then the end. */
  endInput(): void {
    void this.writeInput(Buffer.alloc(this.#lineIsOpen ? 2 : 1, endOfFile));
  }

  resize(height: number, width: number): void {
    if (this.#stream.destroyed) return;
    try {
      this.#native.resize(this.#fd, Math.min(width, maxCells), Math.min(height, maxCells));
    } catch {
      // the terminal was let go of meanwhile
    }
  }

  release(): void {
    this.#closeSlave();
    this.#stream.destroy();
  }

  #closeSlave(): void {
    if (this.#slave !== undefined) closeSync(this.#slave);
    this.#slave = undefined;
  }

  /** Never blocks: the descriptor is non-blocking, and a full terminal takes nothing. */
  #write(data: Buffer): number {
    try {
      return tryWrite(this.#fd, data);
    } catch {
      this.#stream.destroy();
      return 0;
    }
  }
}

/** Throws `failed` with the driver's words. */
export const startTerminal = async (command: Command): Promise<ExecProcess> => {
  const owner = {};
  try {
    return new Terminal(await startOnTerminal(command, owner), owner);
  } catch (error) {
    throw startFault(command.arguments[0] ?? "", error);
  }
};
