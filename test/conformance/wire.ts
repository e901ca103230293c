/** A client that sends bytes as they were recorded and sees how the answer came: status, header pairs, body, its end. */
import { connect, type Socket } from "node:net";
import type { Address } from "./cluster.ts";
import type { HeaderPair } from "./corpus.ts";

export interface Answer {
  /** undefined: no head came. */
  readonly status: number | undefined;
  readonly headers: readonly HeaderPair[];
  readonly body: Buffer;
  /** Ended as its framing promised; cut before that; still open when we left; refused to connect. */
  readonly end: "whole" | "cut" | "open" | "refused";
}

interface Head {
  readonly status: number;
  readonly headers: readonly HeaderPair[];
  readonly framing: "none" | "chunked" | "close" | number;
}

const parseHead = (text: string, bodiless: boolean): Head => {
  const [first = "", ...lines] = text.split("\r\n");
  const headers = lines.map((line): HeaderPair => {
    const at = line.indexOf(":");
    return [line.slice(0, at), line.slice(at + 1).trim()];
  });
  const status = Number(first.split(" ")[1]);
  const of = (name: string): string | undefined =>
    headers.find(([one]) => one.toLowerCase() === name)?.[1];
  if (bodiless || status === 204 || status === 304) return { status, headers, framing: "none" };
  if (of("transfer-encoding") === "chunked") return { status, headers, framing: "chunked" };
  const length = of("content-length");
  return { status, headers, framing: length === undefined ? "close" : Number(length) };
};

/** Takes bytes in any cut. */
class Reader {
  readonly #bodiless: boolean;
  #pending: Buffer = Buffer.alloc(0);
  #parts: Buffer[] = [];
  #size = 0;
  head: Head | undefined;
  whole = false;

  constructor(bodiless: boolean) {
    this.#bodiless = bodiless;
  }

  get body(): Buffer {
    if (this.#parts.length > 1) this.#parts = [Buffer.concat(this.#parts)];
    return this.#parts[0] ?? Buffer.alloc(0);
  }

  push(bytes: Buffer): void {
    this.#pending = Buffer.concat([this.#pending, bytes]);
    while (this.head === undefined) {
      const end = this.#pending.indexOf("\r\n\r\n");
      if (end < 0) return;
      const head = parseHead(this.#pending.toString("latin1", 0, end), this.#bodiless);
      this.#pending = this.#pending.subarray(end + 4);
      if (head.status !== 100) this.head = head;
    }
    const { framing } = this.head;
    if (framing === "none") this.whole = true;
    else if (framing === "chunked") this.#unchunk();
    else {
      this.#take(this.#pending);
      this.#pending = Buffer.alloc(0);
      if (framing !== "close") this.whole = this.#size >= framing;
    }
  }

  #take(bytes: Buffer): void {
    if (bytes.length > 0) this.#parts.push(bytes);
    this.#size += bytes.length;
  }

  #unchunk(): void {
    while (!this.whole) {
      const lineEnd = this.#pending.indexOf("\r\n");
      if (lineEnd < 0) return;
      const size = Number.parseInt(this.#pending.toString("latin1", 0, lineEnd), 16);
      const start = lineEnd + 2;
      if (this.#pending.length < start + size + 2) return;
      this.#take(this.#pending.subarray(start, start + size));
      this.#pending = this.#pending.subarray(start + size + 2);
      this.whole = size === 0;
    }
  }
}

export interface Listening {
  /** An answer to HEAD has no body. */
  readonly bodiless: boolean;
  /** Called with the body so far whenever more came; true: seen enough. */
  readonly enough?: (body: Buffer) => boolean;
  /** Without an end by then, the answer is what came so far. */
  readonly patienceMs: number;
}

const refusedAnswer: Answer = {
  status: undefined,
  headers: [],
  body: Buffer.alloc(0),
  end: "refused",
};

/** One request, one answer; the connection is over afterwards. */
export const exchange = (
  { host, port }: Address,
  request: Buffer,
  { bodiless, enough, patienceMs }: Listening,
): Promise<Answer> =>
  new Promise((resolve) => {
    const reader = new Reader(bodiless);
    const socket: Socket = connect(port, host);
    let connected = false;
    const finish = (end: Answer["end"]): void => {
      clearTimeout(timer);
      socket.destroy();
      const { head, body } = reader;
      const whole = end === "cut" && head?.framing === "close" ? "whole" : end;
      resolve({ status: head?.status, headers: head?.headers ?? [], body, end: whole });
    };
    const timer = setTimeout(() => finish("open"), patienceMs);
    socket.on("error", () => undefined);
    socket.on("connect", () => {
      connected = true;
      socket.write(request);
    });
    socket.on("data", (bytes) => {
      reader.push(bytes);
      if (reader.whole) finish("whole");
      else if (reader.head !== undefined && enough?.(reader.body)) finish("open");
    });
    socket.on("close", () => {
      clearTimeout(timer);
      if (connected) finish(reader.whole ? "whole" : "cut");
      else resolve(refusedAnswer);
    });
  });
