/** The answer to a plain request: what node:http's ServerResponse does for this gateway, written with as few writes as it has pieces. */
import type { Socket } from "node:net";
import { STATUS_CODES } from "../../lib/node-http.ts";
import { withOneMore, without } from "../../lib/short-list.ts";
import type { HttpRequest, HttpResponse, HttpResponseEvent } from "../../ports.ts";
import { dateLine, Fields, type Value } from "./answer-fields.ts";

/** The connection that an answer goes out on. */
export interface Line {
  readonly socket: Socket;
  /** Seconds that it is kept without a request. */
  readonly keptSeconds: number;
  /** Another request waits behind the one that is answered. */
  readonly hasMore: boolean;
  /** The answer was handed to the system. */
  sent(): void;
}

/** Up to here head and body are sent as one piece of text, which costs less than a vector of two. */
const oneWriteBytes = 16 * 1024;

const hasNoBody = (status: number): boolean => status === 204 || status === 304;

const none: readonly never[] = [];

interface Hearing {
  readonly event: HttpResponseEvent;
  readonly listener: () => void;
  readonly isOnce: boolean;
}

/** The system has it all; node:net says so a turn later to those who ask by a callback, which costs more than to look. */
const isHandedOver = (socket: Socket): boolean =>
  socket.writableLength === 0 && socket.errored === null && !socket.destroyed;

export class Reply implements HttpResponse {
  readonly req: HttpRequest;
  readonly #line: Line;
  /** Gone with the head. */
  #fields: Fields | undefined = new Fields();
  statusCode = 200;
  chunkedEncoding = false;
  headersSent = false;
  destroyed = false;
  writableEnded = false;
  writableFinished = false;
  /** Few, and often none: an EventEmitter's table would be larger than all else here. */
  #hearings: readonly Hearing[] = none;
  /** The connection is closed behind it. */
  isLast: boolean;
  /** Not written yet. */
  #head = "";

  constructor(line: Line, request: HttpRequest, keepAlive: boolean) {
    this.#line = line;
    this.req = request;
    this.isLast = !keepAlive;
  }

  get socket(): Socket | null {
    return this.destroyed ? null : this.#line.socket;
  }

  setHeader(name: string, value: Value): void {
    if (this.#fields === undefined) throw new Error("the head was sent");
    this.#fields.set(name, value);
  }

  /** The head goes out with the first piece of the body. */
  writeHead(status: number, headers: Readonly<Record<string, Value>> = {}): void {
    for (const name in headers) this.setHeader(name, headers[name] ?? "");
    this.statusCode = status;
    this.headersSent = true;
    const fields = this.#fields ?? new Fields();
    this.#fields = undefined;
    const connection = fields.get("Connection");
    if (connection?.toLowerCase() === "connection: close\r\n") this.isLast = true;
    let head = `HTTP/1.1 ${status} ${STATUS_CODES[status] ?? "unknown"}\r\n`;
    head += fields.text + dateLine();
    if (connection === undefined) head += this.#connectionLines();
    this.chunkedEncoding = !(hasNoBody(status) || fields.get("Content-Length") !== undefined);
    this.#head = this.chunkedEncoding ? `${head}Transfer-Encoding: chunked\r\n\r\n` : `${head}\r\n`;
  }

  #connectionLines(): string {
    return this.isLast
      ? "Connection: close\r\n"
      : `Connection: keep-alive\r\nKeep-Alive: timeout=${this.#line.keptSeconds}\r\n`;
  }

  flushHeaders(): void {
    const head = this.#takeHead();
    if (head !== "") this.#line.socket.write(head, "latin1");
  }

  #takeHead(): string {
    if (!this.headersSent) this.writeHead(this.statusCode);
    const head = this.#head;
    this.#head = "";
    return head;
  }

  /** False: no more until 'drain'. */
  write(chunk: Buffer | string, done?: () => void): boolean {
    const { socket } = this.#line;
    const head = this.#takeHead();
    if (this.writableEnded || chunk.length === 0 || hasNoBody(this.statusCode)) {
      if (head !== "") socket.write(head, "latin1");
      if (done !== undefined) process.nextTick(done);
      return !socket.writableNeedDrain;
    }
    if (head === "" && !this.chunkedEncoding) return socket.write(chunk, done);
    socket.cork();
    if (head !== "") socket.write(head, "latin1");
    if (this.chunkedEncoding)
      socket.write(`${Buffer.byteLength(chunk).toString(16)}\r\n`, "latin1");
    const goesOn = socket.write(chunk, done);
    if (this.chunkedEncoding) socket.write("\r\n", "latin1");
    socket.uncork();
    return goesOn;
  }

  end(last?: Buffer | string): void {
    if (this.writableEnded) return;
    if (!this.headersSent) this.writeHead(this.statusCode);
    const { socket } = this.#line;
    const chunk = hasNoBody(this.statusCode) ? undefined : last;
    const isOnePiece = chunk !== undefined && this.#isOnePiece(chunk);
    if (chunk !== undefined && !isOnePiece) this.write(chunk);
    const body = isOnePiece ? chunk.toString("latin1") : "";
    const text = this.#takeHead() + body + (this.chunkedEncoding ? "0\r\n\r\n" : "");
    this.writableEnded = true;
    socket.write(text, "latin1");
    if (isHandedOver(socket) && !this.#line.hasMore) this.#finish();
    else
      socket.write("", (error) => {
        if (!error) this.#finish();
      });
  }

  /** The head has not gone yet, and with the body it is small. */
  #isOnePiece(chunk: Buffer | string): chunk is Buffer {
    return (
      typeof chunk !== "string" &&
      this.#head !== "" &&
      !this.chunkedEncoding &&
      chunk.length <= oneWriteBytes
    );
  }

  #finish(): void {
    if (this.destroyed) return;
    this.writableFinished = true;
    this.tell("finish");
    this.close();
    this.#line.sent();
  }

  on(event: HttpResponseEvent, listener: () => void): void {
    this.#hear({ event, listener, isOnce: false });
  }

  once(event: HttpResponseEvent, listener: () => void): void {
    this.#hear({ event, listener, isOnce: true });
  }

  #hear(hearing: Hearing): void {
    this.#hearings = withOneMore(this.#hearings, hearing);
  }

  off(event: HttpResponseEvent, listener: () => void): void {
    this.#hearings = this.#hearings.filter(
      (one) => one.event !== event || one.listener !== listener,
    );
  }

  /** By the connection: 'drain' and 'timeout' are its own. */
  tell(event: HttpResponseEvent): void {
    for (const one of this.#hearings) {
      if (one.event !== event) continue;
      if (one.isOnce) this.#hearings = without(this.#hearings, one);
      one.listener();
    }
  }

  setTimeout(ms: number): void {
    if (!this.destroyed) this.#line.socket.setTimeout(ms);
  }

  /** Nothing more goes out: told by the connection when it is over, and when the answer is. */
  close(): void {
    if (this.destroyed) return;
    this.destroyed = true;
    this.tell("close");
  }

  /** Of an answer that has gone out the connection is the next one's. */
  destroy(): void {
    if (!this.destroyed) this.#line.socket.destroy();
  }
}
