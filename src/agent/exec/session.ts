/**
 * One command and one socket (nomad-http.md §7.3, §7.4). The end is ordered: all output, each stream's close, the exit
 * frame, then Close 1000, as soon as the process has ended. Whoever still holds the pipes open after that (a background
 * child) is waited for while it is busy, but neither longer than a second of silence nor for more than a bounded drain.
 */
import type { Readable } from "node:stream";
import { setTimeout as wait } from "node:timers/promises";
import type { WebSocket } from "ws";
import { toClose } from "../../answer.ts";
import { failed, GatewayError, toGatewayError } from "../../errors.ts";
import { whenAborted } from "../../lib/abort.ts";
import { GoJsonError } from "../../lib/go-json.ts";
import { closeFrame, dataFrame, decodeInput, exitFrame, maxFrameBytes } from "./frames.ts";
import type { Inbox } from "./inbox.ts";
import { Outbox } from "./outbox.ts";
import type { ExecProcess } from "./process.ts";
import { watchPulse } from "./pulse.ts";
import { endSession } from "./session-processes.ts";

const drain = { quietMs: 1_000, totalMs: 5_000, maxBytes: 4 * 1024 * 1024 } as const;
const drainTickMs = 50;
/** Between SIGHUP and SIGKILL when the client has gone. */
const hangUpGraceMs = 1_000;
/** A process that even SIGKILL does not end (another user's, one that waits for a dead disk) keeps no session. */
const unkillableMs = 5_000;
/** While the process takes no input, a ping finds out whether the client is still there. */
const pingIntervalMs = 1_000;

type Output = ExecProcess["outputs"][number];

export interface SessionTimes {
  /** A reader that takes nothing for so long is given up. */
  readonly stalledAfterMs?: number;
  /** Between pings. */
  readonly pingMs?: number;
}

export class Session {
  readonly #socket: WebSocket;
  readonly #inbox: Inbox;
  readonly #outbox: Outbox;
  readonly #process: ExecProcess;
  readonly #ended = new AbortController();
  readonly #pingMs: number | undefined;
  #openOutputs: number;
  #bytesSent = 0;

  constructor(
    socket: WebSocket,
    inbox: Inbox,
    process: ExecProcess,
    { stalledAfterMs, pingMs }: SessionTimes = {},
  ) {
    this.#pingMs = pingMs;
    this.#socket = socket;
    this.#inbox = inbox;
    this.#process = process;
    this.#outbox = new Outbox(socket, stalledAfterMs);
    this.#openOutputs = process.outputs.length;
  }

  /** Resolves with the exit code when nothing of it is left; undefined when it was broken off. `signal` breaks it off. */
  async run(signal: AbortSignal): Promise<number | undefined> {
    const rest = watchPulse(this.#socket, this.#pingMs);
    try {
      const exitCode = await this.#untilEnd(signal);
      this.#inbox.discard();
      await this.#outbox.send(exitFrame(exitCode));
      // a close waits for its answer only so long, and cuts what a slow reader has not taken by then
      await Promise.race([this.#outbox.taken(), whenAborted(signal)]);
      this.#socket.close(1000);
      return exitCode;
    } catch (error) {
      this.#refuse(error, signal);
      await this.#hangUp();
      return undefined;
    } finally {
      rest();
      this.#ended.abort();
      this.#process.release();
    }
  }

  async #untilEnd(signal: AbortSignal): Promise<number> {
    const broken = this.#whenBroken(signal);
    const outputs = Promise.all(this.#process.outputs.map((output) => this.#pump(output)));
    const input = this.#feed();
    const finished = async (): Promise<number> => {
      const exitCode = await this.#process.exited;
      await this.#drain();
      await outputs;
      return exitCode;
    };
    return Promise.race([finished(), broken, rejectionOf(outputs), rejectionOf(input)]);
  }

  #whenBroken(signal: AbortSignal): Promise<never> {
    return new Promise((_resolve, reject) => {
      const clientGone = (): void => reject(new GatewayError("client_closed"));
      this.#socket.once("close", clientGone);
      const aborted = (): void => reject(toGatewayError(signal.reason, signal));
      signal.addEventListener("abort", aborted, { once: true, signal: this.#ended.signal });
      if (signal.aborted) aborted();
      if (this.#socket.readyState !== this.#socket.OPEN) clientGone();
    });
  }

  async #pump({ name, stream }: Output): Promise<void> {
    try {
      for await (const chunk of chunksOf(stream)) await this.#sendChunk(name, chunk);
    } finally {
      this.#openOutputs--;
    }
    await this.#outbox.send(closeFrame(name));
  }

  async #sendChunk(name: Output["name"], chunk: Buffer): Promise<void> {
    this.#bytesSent += chunk.length;
    for (let at = 0; at < chunk.length; at += maxFrameBytes)
      await this.#outbox.send(dataFrame(name, chunk.subarray(at, at + maxFrameBytes)));
  }

  /** After the end of the process: until all outputs ended, or one of the bounds. A slow reader's time does not count. */
  async #drain(): Promise<void> {
    const start = this.#bytesSent;
    let quietMs = 0;
    let totalMs = 0;
    let seen = start;
    while (this.#openOutputs > 0 && !this.#ended.signal.aborted) {
      await wait(drainTickMs);
      if (this.#outbox.blocked) continue;
      quietMs = this.#bytesSent === seen ? quietMs + drainTickMs : 0;
      totalMs += drainTickMs;
      seen = this.#bytesSent;
      if (quietMs >= drain.quietMs || totalMs >= drain.totalMs || seen - start > drain.maxBytes)
        return this.#process.release();
    }
  }

  async #feed(): Promise<void> {
    for (;;) {
      const text = await this.#inbox.next(this.#ended.signal);
      if (text === undefined) return;
      await this.#apply(text);
    }
  }

  async #apply(text: string): Promise<void> {
    const input = decoded(text);
    if (input.kind === "resize") this.#process.resize(input.height, input.width);
    if (input.kind !== "stdin") return;
    const pings = setInterval(() => {
      if (this.#socket.readyState === this.#socket.OPEN) this.#socket.ping();
    }, pingIntervalMs);
    try {
      await this.#process.writeInput(input.data);
    } finally {
      clearInterval(pings);
    }
    if (input.close) this.#process.endInput();
  }

  #refuse(error: unknown, signal: AbortSignal): void {
    const refusal = toGatewayError(error, signal);
    this.#inbox.discard();
    const { code, reason } = toClose(refusal);
    if (refusal.code !== "client_closed") this.#socket.close(code, reason);
  }

  /** Nothing of the command is left behind when its client has gone. */
  async #hangUp(): Promise<void> {
    await endSession(this.#process.pid, hangUpGraceMs);
    this.#process.release();
    await Promise.race([this.#process.exited, wait(unkillableMs, undefined, { ref: false })]);
  }
}

/** Never resolves; rejects when `promise` does. */
const rejectionOf = (promise: Promise<unknown>): Promise<never> =>
  new Promise((_resolve, reject) => {
    promise.catch(reject);
  });

const decoded = (text: string): ReturnType<typeof decodeInput> => {
  try {
    return decodeInput(text);
  } catch (error) {
    if (error instanceof GoJsonError) throw failed(error.message);
    throw error;
  }
};

/** The chunks of an output. Its breaking off (a terminal let go of, a released pipe) is its end. */
async function* chunksOf(stream: Readable): AsyncGenerator<Buffer> {
  try {
    for await (const chunk of stream as AsyncIterable<Buffer>) yield chunk; // no encoding is set: buffers
  } catch {
    return;
  }
}
