/** A recorded WebSocket session, played again: what was sent is sent when what came before it has come. */
import { randomBytes } from "node:crypto";
import { connect, type Socket } from "node:net";
import { setTimeout as sleep } from "node:timers/promises";
import { isJsonObject, type Json, parseJson } from "../../src/lib/json.ts";
import type { Address } from "./cluster.ts";
import type { Case, HeaderPair, RecordedFrame } from "./corpus.ts";
import { requestBytes, withTokens } from "./request.ts";

/** What a session came to; the cut into frames and the order of stdout against stderr vary. */
export interface Session {
  readonly status: number | undefined;
  readonly headers: readonly HeaderPair[];
  /** Of an answer that is no 101. */
  readonly body: string;
  readonly stdout: string;
  readonly stderr: string;
  /** "stdout stderr" in that order, those that were closed. */
  readonly closed: string;
  /** "none", or the exit frame as text. */
  readonly exit: string;
  /** Code and reason of the Close frame, or "none". */
  readonly close: string;
  readonly pongs: string;
}

interface Frame {
  readonly op: RecordedFrame["op"];
  readonly payload: Buffer;
}

const opcodes: Readonly<Record<RecordedFrame["op"], number>> = {
  text: 1,
  binary: 2,
  close: 8,
  ping: 9,
  pong: 10,
};
const opOf = (code: number): RecordedFrame["op"] =>
  code === 1
    ? "text"
    : code === 8
      ? "close"
      : code === 9
        ? "ping"
        : code === 10
          ? "pong"
          : "binary";

const encode = ({ op, payload }: Frame): Buffer => {
  const mask = randomBytes(4);
  const size =
    payload.length < 126
      ? Buffer.from([0x80 | payload.length])
      : Buffer.from([0x80 | 126, payload.length >> 8, payload.length & 0xff]);
  const masked = Buffer.from(payload.map((byte, at) => byte ^ (mask[at % 4] ?? 0)));
  return Buffer.concat([Buffer.from([0x80 | opcodes[op]]), size, mask, masked]);
};

/** The first frame of the bytes, and how many bytes it took. */
const decode = (bytes: Buffer): { readonly frame: Frame; readonly length: number } | undefined => {
  if (bytes.length < 2) return undefined;
  const short = (bytes[1] ?? 0) & 0x7f;
  const extra = short === 126 ? 2 : short === 127 ? 8 : 0;
  if (bytes.length < 2 + extra) return undefined;
  const size =
    extra === 0 ? short : extra === 2 ? bytes.readUInt16BE(2) : Number(bytes.readBigUInt64BE(2));
  const length = 2 + extra + size;
  if (bytes.length < length) return undefined;
  const payload = Buffer.from(bytes.subarray(2 + extra, length));
  return { frame: { op: opOf((bytes[0] ?? 0) & 0x0f), payload }, length };
};

const closePayload = (code: number | undefined, reason = ""): Buffer => {
  if (code === undefined) return Buffer.alloc(0);
  return Buffer.concat([Buffer.from([code >> 8, code & 0xff]), Buffer.from(reason)]);
};

const toFrame = (recorded: RecordedFrame): Frame => {
  const { op, payload, payload_b64, code, reason } = recorded;
  if (op === "close") return { op, payload: closePayload(code, reason) };
  if (payload_b64 !== undefined) return { op, payload: Buffer.from(payload_b64, "base64") };
  return { op, payload: Buffer.from(withTokens(payload ?? "")) };
};

const member = (value: Json | undefined, name: string): Json | undefined =>
  isJsonObject(value) ? value[name] : undefined;

const dataOf = (document: Json, stream: string): string => {
  const data = member(member(document, stream), "data");
  return typeof data === "string" ? Buffer.from(data, "base64").toString("latin1") : "";
};

type Outcome = Omit<Session, "status" | "headers" | "body">;

/** Reads the frames that came, recorded or received. */
export const outcomeOf = (frames: readonly Frame[]): Outcome => {
  const documents = frames
    .filter(({ op }) => op === "text" || op === "binary")
    .map(({ payload }) => parseJson(payload.toString()));
  const joined = (stream: string): string =>
    documents.map((document) => dataOf(document, stream)).join("");
  const isClosed = (stream: string): boolean =>
    documents.some((document) => member(member(document, stream), "close") === true);
  const exit = documents.find((document) => member(document, "exited") === true);
  const close = frames.find(({ op }) => op === "close")?.payload;
  return {
    stdout: joined("stdout"),
    stderr: joined("stderr"),
    closed: ["stdout", "stderr"].filter(isClosed).join(" "),
    exit: exit === undefined ? "none" : JSON.stringify(exit),
    close:
      close === undefined
        ? "none"
        : close.length < 2
          ? "without code"
          : `${close.readUInt16BE(0)} ${close.subarray(2).toString()}`.trim(),
    pongs: frames
      .filter(({ op }) => op === "pong")
      .map(({ payload }) => payload.toString())
      .join(" "),
  };
};

export const recordedOutcome = ({ frames = [] }: Case): Outcome =>
  outcomeOf(frames.filter(({ dir }) => dir === "<").map(toFrame));

/** How far a session has come: bytes of output, and its exit frame. */
const progressOf = (frames: readonly Frame[]): number => {
  const { stdout, stderr, exit } = outcomeOf(frames.filter(({ op }) => op !== "close"));
  return stdout.length + stderr.length + (exit === "none" ? 0 : 1);
};

const parseHead = (text: string): Pick<Session, "status" | "headers"> => {
  const [first = "", ...lines] = text.split("\r\n");
  const headers = lines.map((line): HeaderPair => {
    const at = line.indexOf(":");
    return [line.slice(0, at), line.slice(at + 1).trim()];
  });
  return { status: Number(first.split(" ")[1]), headers };
};

/** A pause that a command needs (it sleeps, a terminal has to be ready) is kept, longer ones are not. */
const longestPauseMs = 450;
/** How long a session that the recording left open is watched for more. */
const quietMs = 400;
const patienceMs = 30_000;

/** The caller's end of a session: what came so far, and a way to wait for more. */
class Caller {
  readonly #socket: Socket;
  readonly #deadline = Date.now() + patienceMs;
  #pending: Buffer = Buffer.alloc(0);
  #over = false;
  #lastAt = Date.now();
  head: Pick<Session, "status" | "headers"> | undefined;
  readonly received: Frame[] = [];

  constructor({ host, port }: Address) {
    this.#socket = connect(port, host);
    this.#socket.on("error", () => undefined);
    this.#socket.on("close", () => {
      this.#over = true;
    });
    this.#socket.on("data", (bytes) => this.#take(bytes));
  }

  get upgraded(): boolean {
    return this.head?.status === 101 && !this.#over;
  }
  /** Of an answer that is no 101. */
  get body(): string {
    return this.head?.status === 101 ? "" : this.#pending.toString();
  }
  get quietForMs(): number {
    return Date.now() - this.#lastAt;
  }
  get hasClose(): boolean {
    return this.received.some(({ op }) => op === "close");
  }

  send(bytes: Buffer): void {
    if (!this.#socket.destroyed) this.#socket.write(bytes);
  }

  async wait(done: () => boolean): Promise<void> {
    while (!done() && !this.#over && Date.now() < this.#deadline) await sleep(5);
  }

  leave(): void {
    this.#socket.destroy();
  }

  #take(bytes: Buffer): void {
    this.#lastAt = Date.now();
    this.#pending = Buffer.concat([this.#pending, bytes]);
    if (this.head === undefined) {
      const end = this.#pending.indexOf("\r\n\r\n");
      if (end < 0) return;
      this.head = parseHead(this.#pending.toString("latin1", 0, end));
      this.#pending = this.#pending.subarray(end + 4);
    }
    if (this.head.status !== 101) return;
    for (let next = decode(this.#pending); next !== undefined; next = decode(this.#pending)) {
      this.received.push(next.frame);
      this.#pending = this.#pending.subarray(next.length);
      if (next.frame.op === "ping") this.send(encode({ ...next.frame, op: "pong" })); // RFC 6455 §5.5.2
    }
  }
}

const fromNomad = (frames: readonly RecordedFrame[]): readonly Frame[] =>
  frames.filter(({ dir }) => dir === "<").map(toFrame);

/** Sends each recorded message when everything that was recorded before it has come. */
const speak = async (caller: Caller, recorded: readonly RecordedFrame[]): Promise<void> => {
  let before = 0;
  for (const [at, frame] of recorded.entries()) {
    if (!caller.upgraded) return;
    if (frame.dir === ">") {
      const needed = progressOf(fromNomad(recorded.slice(0, at)));
      await caller.wait(() => progressOf(caller.received) >= needed);
      const pause = frame.t - before;
      if (pause > 50) await sleep(Math.min(pause, longestPauseMs));
      caller.send(encode(toFrame(frame)));
    }
    before = frame.t;
  }
};

export const playSession = async (
  one: Case,
  address: Address,
  /** Called when everything recorded has been said: what happens then ends the session. */
  then: () => Promise<void> = async () => undefined,
): Promise<Session> => {
  const recorded = one.frames ?? [];
  const caller = new Caller(address);
  caller.send(requestBytes(one, address));
  await caller.wait(() => caller.head !== undefined);
  await speak(caller, recorded);
  await then();
  const leftOpen = /still open|capture closed/.test(one.response.end ?? "");
  const wanted = fromNomad(recorded);
  const wantsClose = wanted.some(({ op }) => op === "close");
  await caller.wait(() => {
    if (caller.hasClose) return true;
    if (caller.head !== undefined && !caller.upgraded) return caller.quietForMs > quietMs;
    if (wantsClose || !leftOpen || caller.quietForMs <= quietMs) return false;
    return progressOf(caller.received) >= progressOf(wanted);
  });
  caller.leave();
  return {
    status: caller.head?.status,
    headers: caller.head?.headers ?? [],
    body: caller.body,
    ...outcomeOf(caller.received),
  };
};
