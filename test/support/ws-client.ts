/** A client of exec as Nomad's SDK is one: frames of JSON over a real WebSocket, every byte and every close kept. */
import { createHash } from "node:crypto";
import { once } from "node:events";
import { connect, type Socket } from "node:net";
import { type ClientOptions, type RawData, WebSocket } from "ws";
import { isJsonObject, type JsonObject, parseJson } from "../../src/lib/json.ts";

export interface ExecAsk {
  /** `http://host:port`. */
  readonly url: string;
  readonly allocation: string;
  readonly token?: string | undefined;
  readonly task?: string;
  readonly command: readonly string[] | string;
  readonly tty?: boolean | string;
  /** More of the query, as written. */
  readonly query?: string;
  readonly options?: ClientOptions;
  /** False for long outputs: only their count and hash are kept. */
  readonly keep?: boolean;
  /** Messages to send the moment the socket is open. */
  readonly first?: readonly (object | string | Buffer)[];
}

export interface Closed {
  readonly code: number;
  readonly reason: string;
}

export interface ExecClient {
  readonly socket: WebSocket;
  /** Connection below the socket, once it is open. */
  readonly wire: () => Socket;
  /** Rejects when there is no 101. */
  readonly opened: Promise<void>;
  readonly frames: readonly JsonObject[];
  /** Bytes of a stream so far. */
  readonly output: (stream: "stdout" | "stderr") => Buffer;
  /** Bytes of stdout so far, and their sha256 at the end. */
  readonly stdoutBytes: () => number;
  readonly stdoutHash: () => string;
  /** Exit code; undefined before the exit frame. */
  readonly exitCode: () => number | undefined;
  readonly send: (frame: object | string | Buffer) => void;
  readonly stdin: (data: Buffer | string) => void;
  readonly closeStdin: () => void;
  /** Resolves when the text has come on stdout. */
  readonly seen: (words: string) => Promise<void>;
  /** Resolves with the end, whoever ended it. */
  readonly closed: Promise<Closed>;
}

export const execPath = ({
  allocation,
  task,
  command,
  tty,
  query = "",
}: Omit<ExecAsk, "url">): string => {
  const words = typeof command === "string" ? command : JSON.stringify(command);
  return [
    `/v1/client/allocation/${allocation}/exec?command=${encodeURIComponent(words)}`,
    task === undefined ? "" : `&task=${encodeURIComponent(task)}`,
    tty === undefined ? "" : `&tty=${String(tty)}`,
    query,
  ].join("");
};

const bytesOf = (frames: readonly JsonObject[], stream: string): Buffer =>
  Buffer.concat(
    frames.map((frame) => {
      const part = frame[stream];
      const data = isJsonObject(part) ? part["data"] : undefined;
      return Buffer.from(typeof data === "string" ? data : "", "base64");
    }),
  );

const exitOf = (frame: JsonObject): number | undefined => {
  const result = frame["result"];
  if (frame["exited"] !== true || !isJsonObject(result)) return undefined;
  return Number(result["exit_code"] ?? 0);
};

const encode = (frame: object | string | Buffer): string | Buffer =>
  typeof frame === "string" || Buffer.isBuffer(frame) ? frame : JSON.stringify(frame);

const stdinChunkBytes = 32 * 1024;

/** Opens at once; the socket is ended by who asked. */
export const execClient = (ask: ExecAsk): ExecClient => {
  const { url, token, options, first = [], keep = true } = ask;
  const hash = createHash("sha256");
  let stdoutBytes = 0;
  let exitCode: number | undefined;
  const socket = new WebSocket(`${url.replace(/^http/, "ws")}${execPath(ask)}`, {
    perMessageDeflate: false,
    ...options,
    headers: { ...(token === undefined ? {} : { "X-Nomad-Token": token }), ...options?.headers },
  });
  const frames: JsonObject[] = [];
  const listeners = new Set<() => void>();
  let stdoutTail = "";
  let wire: Socket | undefined;
  const send = (frame: object | string | Buffer): void => socket.send(encode(frame));
  socket.on("upgrade", (response) => {
    wire = response.socket;
  });
  socket.on("open", () => {
    for (const frame of first) send(frame);
  });
  socket.on("message", (data: RawData) => {
    const frame = parseJson(data.toString());
    if (!isJsonObject(frame)) return;
    if (keep) frames.push(frame);
    const bytes = bytesOf([frame], "stdout");
    hash.update(bytes);
    stdoutBytes += bytes.length;
    exitCode ??= exitOf(frame);
    stdoutTail += bytes.toString("latin1");
    for (const listener of [...listeners]) listener();
    stdoutTail = stdoutTail.slice(-4096);
  });
  socket.on("error", () => undefined); // its close says the rest
  const opened = new Promise<void>((resolve, reject) => {
    socket.once("open", resolve);
    socket.once("close", () => reject(new Error("closed before it was open")));
  });
  opened.catch(() => undefined); // asked for by few
  const closed = new Promise<Closed>((resolve) => {
    socket.on("close", (code, reason) => {
      resolve({ code, reason: reason.toString() });
      for (const listener of [...listeners]) listener();
    });
  });
  return {
    socket,
    wire: () => {
      if (wire === undefined) throw new Error("the socket is not open");
      return wire;
    },
    opened,
    frames,
    output: (stream) => bytesOf(frames, stream),
    stdoutBytes: () => stdoutBytes,
    stdoutHash: () => hash.digest("hex"),
    exitCode: () => exitCode,
    send,
    stdin: (data) => {
      const bytes = Buffer.from(data);
      for (let at = 0; at < bytes.length; at += stdinChunkBytes)
        send({ stdin: { data: bytes.subarray(at, at + stdinChunkBytes).toString("base64") } });
    },
    closeStdin: () => send({ stdin: { close: true } }),
    seen: (words) =>
      new Promise((resolve, reject) => {
        const look = (): void => {
          if (stdoutTail.includes(words)) resolve();
          else if (socket.readyState === WebSocket.CLOSED)
            reject(new Error(`closed before ${words} came: ${stdoutTail}`));
          else return;
          listeners.delete(look);
        };
        listeners.add(look);
        look();
      }),
    closed,
  };
};

/** A bare connection upgraded by hand, for frames that no library would send. */
export const rawUpgrade = async (
  port: number,
  path: string,
  token: string,
  behind: Buffer = Buffer.alloc(0),
): Promise<Socket> => {
  const socket = connect(port, "127.0.0.1");
  socket.on("error", () => undefined);
  await once(socket, "connect");
  socket.write(
    Buffer.concat([
      Buffer.from(
        [
          `GET ${path} HTTP/1.1`, "Host: gate", `X-Nomad-Token: ${token}`, "Connection: Upgrade", "Upgrade: websocket",
          "Sec-WebSocket-Version: 13", "Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==", "", "",
        ].join("\r\n"), // biome-ignore format: a request
      ),
      behind,
    ]),
  );
  return socket;
};

/** A frame as a client sends it, masked with zeros. */
export const clientFrame = (first: number, payload: Buffer): Buffer => {
  const size = payload.length;
  const head =
    size < 126
      ? Buffer.from([first, 0x80 | size])
      : Buffer.from([first, 0x80 | 126, size >> 8, size & 0xff]);
  return Buffer.concat([head, Buffer.alloc(4), payload]);
};

/** Where the payload of a server's frame begins and how long it is. */
const payloadAt = (
  bytes: Buffer,
  at: number,
): { readonly start: number; readonly length: number } => {
  const short = (bytes[at + 1] ?? 0) & 0x7f;
  if (short < 126) return { start: at + 2, length: short };
  if (short === 126) return { start: at + 4, length: bytes.readUInt16BE(at + 2) };
  return { start: at + 10, length: Number(bytes.readBigUInt64BE(at + 2)) };
};

const headBytes = 10;

/** The code and reason of the close frame in what a server sent after its 101; undefined without one. */
export const closeIn = (bytes: Buffer): Closed | undefined => {
  const padded = Buffer.concat([bytes, Buffer.alloc(headBytes)]); // a head cut short reads as zeros
  for (let at = bytes.indexOf("\r\n\r\n") + 4; at + 2 <= bytes.length; ) {
    const { start, length } = payloadAt(padded, at);
    if (((bytes[at] ?? 0) & 0x0f) !== 8) {
      at = start + length;
      continue;
    }
    const body = bytes.subarray(start, start + length);
    if (body.length < length) return undefined;
    if (length < 2) return { code: 1005, reason: "" };
    return { code: body.readUInt16BE(0), reason: body.subarray(2).toString() };
  }
  return undefined;
};
