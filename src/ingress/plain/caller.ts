/** A caller's connection while all that comes on it are plain requests: one after the other, each answered before the next. */
import type { Socket } from "node:net";
import type { Bagged } from "../../lib/bag.ts";
import type { HttpRequest } from "../../ports.ts";
import { beginning, type Fields } from "./head.ts";
import { type Line, Reply } from "./reply.ts";
import { type Rest, type Rests, readRest } from "./rests.ts";

/** One request that was read here. */
export class PlainRequest implements HttpRequest {
  readonly url: string;
  /** The same object for all requests of a peer that say the same. */
  readonly fields: Fields;
  readonly socket: Socket;

  constructor(url: string, fields: Fields, socket: Socket) {
    this.url = url;
    this.fields = fields;
    this.socket = socket;
  }

  get method(): "GET" {
    return "GET";
  }

  get httpVersion(): "1.1" {
    return "1.1";
  }

  get headers(): Fields["headers"] {
    return this.fields.headers;
  }

  get rawHeaders(): string[] {
    return Object.entries(this.headers).flatMap(([name, value]) => [name, String(value)]);
  }

  /** It has no body. */
  get complete(): true {
    return true;
  }

  iterator(): AsyncIterable<Buffer> {
    return (async function* () {})();
  }
}

export interface CallerNeeds {
  /** Begins a request by its first line and its fields, or says false: it is none to be answered here. */
  readonly begin: (
    line: string,
    fields: Fields,
    caller: Pick<Caller, "answer" | "socket">,
  ) => boolean;
  /** Takes the connection with what has come on it and was not answered. */
  readonly handOver: (socket: Socket, bytes: Buffer) => void;
  readonly closed: (caller: Caller) => void;
  /** Of all connections. */
  readonly rests: Rests;
  readonly maxHeadBytes: number;
  readonly keptSeconds: number;
}

const headEnd = "\r\n\r\n";
const breakLength = 2;
/** What may wait behind a request that is being answered; a caller that sends more is cut. */
const maxWaitingBytes = 64 * 1024;

const methodLength = 16;
const methodBegun = /^[A-Z-]*(?: |$)/;
/** Longer ones are read anew each time: an idle connection must not hold much. */
const maxKeptRestLength = 2_048;

const [carriageReturn, lineFeed] = [13, 10];

/** Where a request begins: empty lines before it count for nothing (RFC 9112 §2.2). */
const beginOf = (bytes: Buffer): number => {
  let at = 0;
  while (bytes[at] === lineFeed || bytes[at] === carriageReturn) at += 1;
  return at;
};

/** What waits may be a request, as far as it has come. */
const mayBegin = (bytes: Buffer): boolean => {
  const at = beginOf(bytes);
  return methodBegun.test(bytes.toString("latin1", at, at + methodLength));
};

function ended(this: Socket): void {
  this.end();
}

function failed(this: Socket): void {
  this.destroy();
}

export class Caller implements Line, Bagged {
  place = -1;
  readonly socket: Socket;
  readonly keptSeconds: number;
  readonly #needs: CallerNeeds;
  #reply: Reply | undefined;
  /** Came while a request was being answered. */
  #waiting: Buffer | undefined;
  #rest: Rest | undefined;
  /** Monotonic milliseconds since when nothing is asked. */
  idleSinceMs = performance.now();
  hasAsked = false;
  #isDeaf = false;

  constructor(socket: Socket, needs: CallerNeeds) {
    this.socket = socket;
    this.keptSeconds = needs.keptSeconds;
    this.#needs = needs;
    socket.on("data", this.#take);
    socket.on("end", ended);
    socket.on("drain", this.#drained);
    socket.on("timeout", this.#stalled);
    socket.on("close", this.#closed);
    socket.on("error", failed);
  }

  get isIdle(): boolean {
    return this.#reply === undefined;
  }

  get hasMore(): boolean {
    return this.#waiting !== undefined;
  }

  readonly #take = (bytes: Buffer): void => {
    if (this.#reply !== undefined) this.#keep(bytes);
    else if (this.hasAsked && beginOf(bytes) === bytes.length)
      return; // empty lines behind a request
    else if (!this.#ask(bytes)) this.#giveAway(bytes);
  };

  /** All of it is read, or it could not be seen that the caller has left. */
  #keep(bytes: Buffer): void {
    this.#waiting = this.#waiting === undefined ? bytes : Buffer.concat([this.#waiting, bytes]);
    if (this.#waiting.length > maxWaitingBytes || !mayBegin(this.#waiting)) this.socket.destroy();
  }

  /** False when it does not begin with a whole plain request. */
  #ask(bytes: Buffer): boolean {
    const text = bytes.toString("latin1", 0, this.#needs.maxHeadBytes);
    const line = text.indexOf("\r\n");
    if (line < 0 || !text.startsWith(beginning)) return false;
    const rest = this.#restAt(text, line + breakLength);
    if (rest?.fields === undefined) return false;
    const next = line + breakLength + rest.text.length;
    if (!this.#needs.begin(text.slice(0, line), rest.fields, this)) return false;
    if (next < bytes.length && !this.#isDeaf) this.#take(bytes.subarray(next));
    return true;
  }

  /** Undefined when the head does not end. */
  #restAt(text: string, from: number): Rest | undefined {
    const known = this.#rest;
    if (known !== undefined && text.startsWith(known.text, from)) return known;
    const end = text.indexOf(headEnd, from - breakLength);
    if (end < 0) return undefined;
    const given = text.slice(from, end + headEnd.length);
    return given.length > maxKeptRestLength ? readRest(given) : this.#keepRest(given);
  }

  #keepRest(text: string): Rest {
    const rest = this.#needs.rests.take(this.socket.remoteAddress ?? "", text);
    this.#forgetRest();
    this.#rest = rest;
    return rest;
  }

  #forgetRest(): void {
    if (this.#rest !== undefined) this.#needs.rests.giveBack(this.#rest);
    this.#rest = undefined;
  }

  /** The answer to a request that was begun; the connection is its own until it has gone out. */
  answer(request: PlainRequest): Reply {
    this.hasAsked = true;
    this.#reply = new Reply(this, request, request.fields.keepAlive);
    return this.#reply;
  }

  sent(): void {
    const isLast = this.#reply?.isLast === true;
    this.#reply = undefined;
    if (this.socket.timeout) this.socket.setTimeout(0);
    if (isLast || !this.socket.writable) {
      this.deafen();
      this.socket.destroySoon();
      return;
    }
    this.idleSinceMs = performance.now();
    const waiting = this.#waiting;
    if (waiting === undefined) return;
    this.#waiting = undefined;
    this.#take(waiting);
  }

  /** Whatever still comes is not looked at. */
  deafen(): void {
    this.#isDeaf = true;
    this.socket.off("data", this.#take);
  }

  /** What is no plain request, and all behind it, is node:http's. */
  #giveAway(bytes: Buffer): void {
    this.#letGo();
    this.#needs.closed(this);
    this.#needs.handOver(this.socket, bytes);
  }

  readonly #drained = (): void => void this.#reply?.tell("drain");

  readonly #stalled = (): void => void this.#reply?.tell("timeout");

  readonly #closed = (): void => {
    this.#letGo();
    this.#needs.closed(this);
    this.#reply?.close();
    this.#reply = undefined;
  };

  #letGo(): void {
    const { socket } = this;
    this.#forgetRest();
    socket.off("data", this.#take);
    socket.off("end", ended);
    socket.off("drain", this.#drained);
    socket.off("timeout", this.#stalled);
    socket.off("close", this.#closed);
    socket.off("error", failed);
  }
}
