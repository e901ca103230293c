/** One HTTP/1.1 connection to an agent: a request at a time, its answer read strictly, used again when it ended well. */
import type { Duplex } from "node:stream";
import type { Bagged } from "../lib/bag.ts";
import { letGo } from "../lib/young.ts";
import { type Body, bodyOf } from "./body.ts";
import { beginning, endOfHead, type Head, headEndBytes, InvalidAnswer, readHead } from "./head.ts";
import type { Intake } from "./intake.ts";
import { Loan, shared } from "./loans.ts";
import { keptAfter, Rest } from "./rest.ts";

/** Takes one answer. What `head` and `data` throw ends it. */
export interface Receiver {
  /** The first byte is there. */
  started(): void;
  /** `bulk`: many large pieces are to be expected. `chunks`: of a body in chunks, each piece with their framing (body.ts). */
  head(head: Head): "bulk" | "chunks" | "small";
  /** A piece, the receiver's own, until it has called `done` if that is given; `payload` bytes of it are body. False: no more until `resume`. */
  data(bytes: Buffer, done: (() => void) | undefined, payload: number): boolean;
  end(): void;
  /** Instead of `end`: nothing comes after it. */
  failed(error: unknown): void;
}

/** The connection ended before the answer did. */
export class ConnectionLost extends Error {
  readonly code = "ERR_CONNECTION_LOST";
}

export interface ConnectionOptions {
  readonly maxHeadBytes: number;
  readonly keepAliveMs: number;
  /** A body of fewer needs no memory of its own, which a crowd of small downloads would fill by hundreds of MiB. */
  readonly bulkFromBytes?: number;
}

export interface ConnectionEvents {
  /** It may serve another request. */
  readonly idle: (connection: Connection) => void;
  readonly closed: (connection: Connection) => void;
}

const maxInterim = 128;
const bulkFromBytesDefault = 128 * 1024;
/** Fewer are copied: a receiver that is slow must not hold a whole buffer for each little piece. */
const lentBytes = 16 * 1024;

type Memory = "own" | "shared" | Loan;

const copyOf = (bytes: Buffer, from: number, to: number): Buffer => {
  const copy = Buffer.allocUnsafe(to - from);
  bytes.copy(copy, 0, from, to);
  return copy;
};

export class Connection implements Bagged {
  place = -1;
  readonly #options: ConnectionOptions;
  readonly #events: ConnectionEvents;
  #socket: Duplex | undefined;
  #receiver: Receiver | undefined;
  #isClosed = false;

  /* ---- of the answer that is being read ---- */
  #hasStarted = false;
  #pending: Buffer | undefined;
  #interim = 0;
  /** For how long it is kept behind this answer; the head itself is the receiver's. */
  #keptMs = 0;
  #body: Body | undefined;
  #isPaused = false;
  #loan: Loan | undefined;
  /** Much may come; whether it does is known once some has. */
  #mayBeBulk = false;
  #bodyBytes = 0;
  #isBulk = false;
  /** Bytes in the loan that wait for others of this turn of the loop. */
  #gathered = 0;
  #turn: NodeJS.Immediate | undefined;

  /** One that is in use again by then begins another with its next end. */
  readonly #rest = new Rest(() => {
    if (this.#receiver === undefined) this.#close();
  });

  constructor(options: ConnectionOptions, events: ConnectionEvents) {
    this.#options = options;
    this.#events = events;
  }

  /** For whoever dials: what is read goes there from the first byte on. */
  readonly intake: Intake = {
    buffer: () => this.#nextBuffer(),
    came: (count) => {
      const loan = this.#loan;
      return this.#take((loan?.buffer ?? shared).subarray(0, count), loan ?? "shared");
    },
    given: (bytes) => (this.#isBulk ? this.#gather(bytes) : this.#take(bytes, "own")),
  };

  /** Takes a socket that is open. */
  open(socket: Duplex): void {
    this.#socket = socket;
    this.#rest.begin(this.#options.keepAliveMs);
    socket.on("error", (error) => this.#lost(error));
    socket.once("end", () => this.#lost(new ConnectionLost("the agent ended the connection")));
    socket.once("close", () => {
      this.#lost(new ConnectionLost("the connection was closed"));
      this.#giveBack();
    });
  }

  /** It reads an answer for this one. */
  serves(receiver: Receiver): boolean {
    return this.#receiver === receiver;
  }

  get isIdle(): boolean {
    return this.#receiver === undefined && !this.#isClosed;
  }

  /** `text` is the whole request, its bytes as latin1. Call it when idle. */
  send(text: string, receiver: Receiver): void {
    this.#receiver = receiver;
    this.#hasStarted = false;
    this.#interim = 0;
    this.#body = undefined;
    this.#socket?.write(text, "latin1");
  }

  /** After `data` returned false. */
  resume(): void {
    if (!this.#isPaused) return;
    this.#isPaused = false;
    this.#socket?.resume();
  }

  /** Ends it at once; whoever waits for an answer is not told, and is given. */
  destroy(): readonly Receiver[] {
    const receiver = this.#receiver;
    this.#receiver = undefined;
    this.#close();
    return receiver === undefined ? [] : [receiver];
  }

  /* ---- reading ---- */

  #nextBuffer(): Buffer {
    if (!this.#isBulk || this.#loan?.isHeld) this.#giveBack();
    if (!this.#isBulk) return shared;
    this.#loan ??= new Loan();
    return this.#loan.buffer;
  }

  #giveBack(): void {
    this.#loan?.leave();
    this.#loan = undefined;
  }

  /** A stream gives a bulk answer in small pieces, each of which would cost the receiver a write. */
  #gather(bytes: Buffer): boolean {
    let at = 0;
    while (at < bytes.length && this.#isBulk) {
      const buffer = this.#nextBuffer();
      const count = bytes.copy(buffer, this.#gathered, at);
      at += count;
      this.#gathered += count;
      if (this.#gathered === buffer.length) this.#handOver();
    }
    letGo(at); // that much is a copy now
    if (at < bytes.length) this.#lost(new ConnectionLost("more came than was asked for"));
    if (this.#gathered > 0) this.#turn ??= setImmediate(this.#handOver);
    return !this.#isPaused && !this.#isClosed;
  }

  readonly #handOver = (): void => {
    clearImmediate(this.#turn);
    this.#turn = undefined;
    const count = this.#gathered;
    if (count === 0) return;
    this.#gathered = 0;
    if (!this.intake.came(count)) this.#socket?.pause();
  };

  #take(bytes: Buffer, memory: Memory): boolean {
    if (this.#receiver === undefined) {
      this.#close(); // nobody has asked for anything
      return false;
    }
    try {
      if (!this.#hasStarted) {
        this.#hasStarted = true;
        this.#receiver.started();
      }
      const at = this.#readHead(bytes);
      if (at >= 0) this.#readBody(bytes, at, memory);
    } catch (error) {
      this.#lost(error);
    }
    return !this.#isPaused && !this.#isClosed;
  }

  /** Where the body begins in these bytes; -1 while the head is not whole. */
  #readHead(bytes: Buffer): number {
    if (this.#body !== undefined) return 0;
    const before = this.#pending?.length ?? 0;
    const all = this.#pending === undefined ? bytes : Buffer.concat([this.#pending, bytes]);
    let at = 0;
    for (;;) {
      const end = endOfHead(all, Math.max(at, before - headEndBytes + 1));
      if (end < 0 || end - at > this.#options.maxHeadBytes) break;
      const head = readHead(all.toString("latin1", at, end));
      at = end + headEndBytes;
      if (this.#isFinal(head)) {
        this.#pending = undefined;
        return at - before;
      }
    }
    if (all.length - at > this.#options.maxHeadBytes)
      throw new InvalidAnswer("its header is too large");
    const first = all.toString("latin1", at, at + beginning.length);
    if (!beginning.startsWith(first)) throw new InvalidAnswer("its status line is not proper");
    this.#pending = Buffer.from(all.subarray(at));
    return -1;
  }

  #isFinal(head: Head): boolean {
    if (head.status >= 200) {
      this.#keptMs = keptAfter(head, this.#options.keepAliveMs);
      const mode = this.#receiver?.head(head) ?? "small";
      this.#body = bodyOf(head.framing, mode === "chunks");
      this.#mayBeBulk = mode !== "small";
      this.#bodyBytes = 0;
      return true;
    }
    this.#interim += 1;
    if (head.status === 101 || this.#interim > maxInterim)
      throw new InvalidAnswer(`status ${head.status} that nobody asked for`);
    return false;
  }

  #readBody(bytes: Buffer, from: number, memory: Memory): void {
    const body = this.#body;
    if (body === undefined || this.#receiver === undefined) return; // the receiver has had enough
    const at = body.read(bytes, from, (start, end, payload) =>
      this.#deliver(bytes, memory, start, end, payload),
    );
    if (body.isOver) this.#finish(at === bytes.length);
  }

  #deliver(bytes: Buffer, memory: Memory, from: number, to: number, payload: number): void {
    const receiver = this.#receiver;
    if (receiver === undefined) return;
    this.#bodyBytes += to - from;
    const { bulkFromBytes = bulkFromBytesDefault } = this.#options;
    if (this.#bodyBytes >= bulkFromBytes) this.#isBulk = this.#mayBeBulk;
    const isLent = typeof memory !== "string" && to - from >= lentBytes;
    if (isLent) memory.hold();
    const piece = isLent || memory === "own" ? bytes.subarray(from, to) : copyOf(bytes, from, to);
    if (!receiver.data(piece, isLent ? memory.release : undefined, payload)) this.#isPaused = true;
  }

  #finish(isClean: boolean): void {
    const receiver = this.#receiver;
    if (receiver === undefined) return;
    this.#receiver = undefined;
    this.#isBulk = false;
    receiver.end();
    if (this.#receiver !== undefined || this.#isClosed) return;
    const keptMs = this.#keptMs;
    if (!isClean || keptMs <= 0) {
      this.#close();
      return;
    }
    this.#giveBack(); // a stream asks for no next buffer
    this.resume();
    this.#rest.begin(keptMs);
    this.#events.idle(this);
  }

  /* ---- its end ---- */

  #lost(error: unknown): void {
    this.#handOver();
    const receiver = this.#receiver;
    this.#receiver = undefined;
    this.#close();
    receiver?.failed(error);
  }

  #close(): void {
    if (this.#isClosed) return;
    this.#isClosed = true;
    this.#pending = undefined;
    this.#gathered = 0;
    clearImmediate(this.#turn);
    this.#rest.stop();
    this.#socket?.destroy();
    this.#events.closed(this);
  }
}
