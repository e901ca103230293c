/**
 * Where lines go: a file or stdout, written in the background, in order, whole. A reader that stops, a full disk or a gone
 * pipe never blocks or ends the process: lines wait in a bounded queue, beyond it they are dropped and counted.
 */
import { closeSync, write, writeSync } from "node:fs";
import { Batches } from "./batches.ts";
import {
  closeQuietly,
  errnoName,
  goesOn,
  isFull,
  isOwnPipe,
  openOutput,
  stdoutFd,
} from "./output.ts";

export interface SinkOptions {
  /** `stdout`, or a file that is opened for append and made when absent. */
  readonly output: string;
  readonly maxQueuedBytes?: number;
}

export interface SinkState {
  readonly queuedBytes: number;
  /** For how long nothing has got out of what waits; 0 when nothing waits. */
  readonly stalledMs: number;
  /** Lines lost since the start. */
  readonly dropped: number;
  /** Why lines do not get out now; undefined when they do. */
  readonly failing: string | undefined;
}

const defaultQueueBytes = 4 * 2 ** 20;
const maxBatchBytes = 64 * 2 ** 10;
/** PIPE_BUF: a pipe takes this much whole or not at all, so that log and audit can share stdout without mixing lines. */
const maxPipeBatchBytes = 4096;
/** A line waits for others at most this long. */
const gatherMs = 50;
const fullRetryMs = 20;
const failedRetryMs = 500;
const flushTries = 25;
const pause = new Int32Array(new SharedArrayBuffer(4));

/** There is one stdout: who has a part of a long line out on its pipe is waited for by the others. */
let midLine: Sink | undefined;

/** Opened by its constructor, which throws when it cannot be; closed by whoever made it. */
export class Sink {
  readonly #output: string;
  readonly #maxQueuedBytes: number;
  readonly #maxBatchBytes: number;
  #fd: number;
  #isOwnPipe: boolean;
  /** A descriptor to change to at the next line's start. */
  #next: number | undefined;
  readonly #queue: Batches;
  #queuedBytes = 0;
  /** When something last got out, or began to wait. */
  #movedAtMs = 0;
  /** What is being written, or what is left of it. */
  #batch: Buffer | undefined;
  #gathering: NodeJS.Timeout | undefined;
  #hurrying: NodeJS.Immediate | undefined;
  /** A line that waits for no others is in the queue. */
  #isUrgent = false;
  #writing = false;
  #timer: NodeJS.Timeout | undefined;
  #dropped = 0;
  #failing: string | undefined;
  #closed = false;
  #drained: (() => void)[] = [];

  constructor({ output, maxQueuedBytes = defaultQueueBytes }: SinkOptions) {
    this.#output = output;
    this.#maxQueuedBytes = maxQueuedBytes;
    this.#maxBatchBytes = output === "stdout" ? maxPipeBatchBytes : maxBatchBytes;
    this.#queue = new Batches(this.#maxBatchBytes);
    this.#fd = openOutput(output);
    this.#isOwnPipe = isOwnPipe(this.#fd);
  }

  get state(): SinkState {
    const queuedBytes = this.#queuedBytes;
    const stalledMs = queuedBytes === 0 ? 0 : performance.now() - this.#movedAtMs;
    return { queuedBytes, stalledMs, dropped: this.#dropped, failing: this.#failing };
  }

  /** One line, its end included; `urgent` ones wait for no others. Returns false when it was dropped. */
  write(line: string, urgent = false): boolean {
    const bytes = this.#closed
      ? 0
      : this.#queue.add(line, this.#maxQueuedBytes - this.#queuedBytes);
    if (bytes === 0) {
      this.#dropped++;
      if (!this.#closed) this.#failing ??= "its queue is full";
      return false;
    }
    if (this.#queuedBytes === 0) this.#movedAtMs = performance.now();
    this.#queuedBytes += bytes;
    this.#isUrgent ||= urgent;
    if (urgent) this.#hurry();
    else this.#gather();
    return true;
  }

  /** Opens the output again (its file was rotated). Throws when it cannot be; the old one is kept then. */
  reopen(): void {
    if (this.#closed || this.#output === "stdout") return;
    const fd = openOutput(this.#output);
    if (this.#next !== undefined) closeQuietly(this.#next);
    this.#next = fd;
    this.#change();
  }

  /** Writes what waits before the process ends; gives up after half a second of a full pipe. */
  flush(): void {
    if (midLine !== this) midLine?.flush();
    if (this.#closed) return;
    if (this.#writing) Atomics.wait(pause, 0, 0, fullRetryMs); // the batch in a worker's hands gets its turn first
    const rest = this.#writing || this.#batch === undefined ? [] : [this.#batch];
    for (let next = this.#queue.take(); next !== undefined; next = this.#queue.take())
      rest.push(next);
    if (!this.#writing) this.#batch = undefined;
    let bytes = Buffer.concat(rest);
    for (let tries = 0; bytes.length > 0 && tries < flushTries; tries++) bytes = this.#force(bytes);
  }

  #force(bytes: Buffer): Buffer<ArrayBuffer> {
    try {
      return Buffer.from(bytes.subarray(writeSync(this.#fd, bytes)));
    } catch (error) {
      if (!isFull(error)) return Buffer.alloc(0);
      Atomics.wait(pause, 0, 0, fullRetryMs);
      return Buffer.from(bytes);
    }
  }

  /** Waits until all is written, or until the signal says that patience ended. */
  async close(signal: AbortSignal): Promise<void> {
    if (this.#closed) return;
    const isIdle = this.#batch === undefined && this.#queue.isEmpty;
    if (!isIdle && !signal.aborted) await this.#drain(signal);
    this.#closed = true;
    if (midLine === this) midLine = undefined;
    clearTimeout(this.#timer);
    clearTimeout(this.#gathering);
    if (this.#next !== undefined) closeQuietly(this.#next);
    if (this.#fd !== stdoutFd && !this.#writing) closeSync(this.#fd);
  }

  #drain(signal: AbortSignal): Promise<void> {
    return new Promise((resolve) => {
      const done = (): void => {
        signal.removeEventListener("abort", done);
        resolve();
      };
      signal.addEventListener("abort", done, { once: true });
      this.#drained.push(done);
      this.#timer?.ref(); // nothing else may be left that keeps the process up
      this.#pump();
    });
  }

  /** Between two batches; in the midst of one when it does not get out, as on a full disk: its file may be what is to make room. */
  #change(): void {
    if (this.#next === undefined || this.#writing) return;
    if (this.#batch !== undefined && this.#failing === undefined) return;
    if (this.#batch !== undefined && !goesOn(this.#fd, this.#next)) this.#rewind(this.#batch);
    closeQuietly(this.#fd);
    this.#fd = this.#next;
    this.#isOwnPipe = isOwnPipe(this.#fd);
    this.#next = undefined;
  }

  /** A line of which a part is out is written again as a whole. */
  #rewind(rest: Buffer): void {
    const all = Buffer.from(rest.buffer, 0, rest.byteOffset + rest.length);
    const lineAt = all.subarray(0, rest.byteOffset).lastIndexOf("\n") + 1;
    this.#queuedBytes += rest.byteOffset - lineAt;
    this.#batch = all.subarray(lineAt);
  }

  #takeBatch(): Buffer | undefined {
    const taken = this.#queue.take();
    this.#isUrgent &&= !this.#queue.isEmpty;
    return taken;
  }

  /** Lines of a moment go out together: each write costs a worker's waking, more than the line itself. */
  #gather(): void {
    if (this.#writing || this.#queue.isEmpty) return; // the end of a write looks again
    if (this.#queuedBytes >= this.#maxBatchBytes) this.#pump();
    else this.#gathering ??= setTimeout(this.#gathered, gatherMs);
  }

  /** What else comes in this turn of the loop goes out with it. */
  #hurry(): void {
    clearTimeout(this.#gathering);
    this.#gathering = undefined;
    this.#hurrying ??= setImmediate(this.#gathered);
  }

  readonly #gathered = (): void => {
    this.#hurrying = undefined;
    this.#gathering = undefined;
    this.#pump();
  };

  #pump(): void {
    while (!this.#writing && this.#timer === undefined && !this.#closed) {
      this.#change();
      this.#batch ??= this.#takeBatch();
      const batch = this.#batch;
      if (batch === undefined) {
        for (const done of this.#drained.splice(0)) done();
        return;
      }
      if (!this.#isOwnPipe) {
        this.#hand(batch);
        return;
      }
      if (midLine !== undefined && midLine !== this) {
        this.#retry(fullRetryMs);
        return;
      }
      if (!this.#writeNow(batch)) return;
    }
  }

  #hand(batch: Buffer): void {
    this.#writing = true;
    write(this.#fd, batch, (error, written) => {
      if (this.#written(batch, error, written)) this.#pump();
    });
  }

  /** As `#written`: nothing of a pipe is in a worker's hands when the process has to end at once. */
  #writeNow(batch: Buffer): boolean {
    let written = 0;
    try {
      written = writeSync(this.#fd, batch);
    } catch (error) {
      this.#failed(error);
      return false;
    }
    return this.#written(batch, null, written);
  }

  /** True when more is to be written at once. */
  #written(batch: Buffer, error: Error | null, written: number): boolean {
    this.#writing = false;
    if (this.#closed) {
      closeQuietly(this.#fd);
      return false;
    }
    if (error !== null) {
      this.#failed(error);
      return false;
    }
    this.#failing = undefined;
    this.#movedAtMs = performance.now();
    this.#queuedBytes -= written;
    this.#batch = written < batch.length ? batch.subarray(written) : undefined;
    if (this.#isOwnPipe && this.#output === "stdout") midLine = this.#batch && this;
    if (this.#batch !== undefined) return true;
    this.#queue.recycle(batch);
    const isFull = this.#queuedBytes >= this.#maxBatchBytes;
    if (isFull || this.#drained.length > 0 || this.#isUrgent) return true;
    this.#gather();
    return false;
  }

  #failed(error: unknown): void {
    if (!isFull(error)) this.#failing = errnoName(error);
    this.#retry(isFull(error) ? fullRetryMs : failedRetryMs);
  }

  #retry(afterMs: number): void {
    this.#timer = setTimeout(() => {
      this.#timer = undefined;
      this.#pump();
    }, afterMs);
    if (this.#drained.length === 0) this.#timer.unref();
  }
}
