/** A client that sees the bytes: how an answer ended matters as much as what it said. */
import { connect, type Socket } from "node:net";

export interface RawAnswer {
  /** undefined: no head came. */
  readonly status: number | undefined;
  readonly headers: ReadonlyMap<string, string>;
  /** The body with its chunks joined. */
  readonly body: Buffer;
  /** Ended as its framing promised, closed or reset before that. */
  readonly end: "whole" | "cut" | "reset";
}

interface Parsed {
  readonly status: number | undefined;
  readonly headers: Map<string, string>;
  readonly body: Buffer;
  readonly whole: boolean;
  /** The connection's end is the body's end. */
  readonly closeDelimited: boolean;
}

const nothing: Parsed = {
  status: undefined,
  headers: new Map(),
  body: Buffer.alloc(0),
  whole: false,
  closeDelimited: false,
};

const unchunk = (bytes: Buffer): { readonly body: Buffer; readonly whole: boolean } => {
  const parts: Buffer[] = [];
  let at = 0;
  for (;;) {
    const lineEnd = bytes.indexOf("\r\n", at);
    if (lineEnd < 0) return { body: Buffer.concat(parts), whole: false };
    const size = Number.parseInt(bytes.toString("latin1", at, lineEnd), 16);
    const start = lineEnd + 2;
    if (size === 0) return { body: Buffer.concat(parts), whole: bytes.length >= start + 2 };
    parts.push(bytes.subarray(start, start + size));
    if (bytes.length < start + size + 2) return { body: Buffer.concat(parts), whole: false };
    at = start + size + 2;
  }
};

/** Parses what came so far. `bodiless` for the answer to a HEAD. */
export const parseAnswer = (bytes: Buffer, bodiless = false): Parsed => {
  const headEnd = bytes.indexOf("\r\n\r\n");
  if (headEnd < 0) return nothing;
  const [first = "", ...lines] = bytes.toString("latin1", 0, headEnd).split("\r\n");
  const headers = new Map(
    lines.map((line) => {
      const at = line.indexOf(":");
      return [line.slice(0, at).toLowerCase(), line.slice(at + 1).trim()] as const;
    }),
  );
  const status = Number(first.split(" ")[1]);
  const rest = bytes.subarray(headEnd + 4);
  const length = headers.get("content-length");
  const base = { status, headers, closeDelimited: false };
  if (bodiless || status === 204 || status === 304) return { ...base, body: rest, whole: true };
  if (headers.get("transfer-encoding") === "chunked") return { ...base, ...unchunk(rest) };
  if (length !== undefined) return { ...base, body: rest, whole: rest.length === Number(length) };
  return { ...base, body: rest, whole: false, closeDelimited: true };
};

export interface RawClient {
  readonly socket: Socket;
  /** Everything received so far. */
  readonly received: () => Buffer;
  /** Resolves when the text has been received. */
  readonly seen: (text: string) => Promise<void>;
  /** Resolves when the answer is whole or the connection is over. */
  readonly answer: () => Promise<RawAnswer>;
}

/** Sends the bytes at once. The socket is the caller's to destroy; `answer` destroys it. */
export const rawClient = (port: number, request: string): RawClient => {
  const socket = connect(port, "127.0.0.1");
  const chunks: Buffer[] = [];
  const listeners = new Set<() => void>();
  let over: "open" | "closed" | "reset" = "open";
  const tell = (): void => {
    for (const listener of [...listeners]) listener();
  };
  socket.on("data", (chunk: Buffer) => {
    chunks.push(chunk);
    tell();
  });
  socket.on("error", () => {
    over = "reset";
  });
  socket.on("close", () => {
    if (over === "open") over = "closed";
    tell();
  });
  socket.write(request);
  const received = (): Buffer => Buffer.concat(chunks);
  const when = <T>(ready: () => T | undefined): Promise<T> =>
    new Promise((resolve, reject) => {
      const look = (): void => {
        const value = ready();
        if (value === undefined && over === "open") return;
        listeners.delete(look);
        if (value === undefined)
          reject(new Error(`the connection is over: ${received().toString()}`));
        else resolve(value);
      };
      listeners.add(look);
      look();
    });
  const outcome = (): RawAnswer | undefined => {
    const { closeDelimited, whole, ...parsed } = parseAnswer(
      received(),
      request.startsWith("HEAD "),
    );
    const { status, headers, body } = parsed;
    if (whole) return { status, headers, body, end: "whole" };
    if (over === "open") return undefined;
    if (over === "reset") return { status, headers, body, end: "reset" };
    return { status, headers, body, end: closeDelimited ? "whole" : "cut" };
  };
  return {
    socket,
    received,
    seen: async (text) => {
      await when(() => (received().includes(text) ? true : undefined));
    },
    answer: async () => {
      const answer = await when(outcome);
      socket.destroy();
      return answer;
    },
  };
};

/** One request, one answer. */
export const rawRequest = (port: number, request: string): Promise<RawAnswer> =>
  rawClient(port, request).answer();

export const get = (path: string, more = ""): string =>
  `GET ${path} HTTP/1.1\r\nHost: gate\r\n${more}\r\n`;
