/** A recorded WebSocket session, played again: what was sent is sent when what came before it has come. */
import { randomBytes } from "node:crypto";
import { connect } from "node:net";
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

const bytesIn = (frames: readonly Frame[]): number => {
  const { stdout, stderr } = outcomeOf(frames.filter(({ op }) => op !== "close"));
  return stdout.length + stderr.length;
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
const patienceMs = 10_000;

export const playSession = async (one: Case, address: Address): Promise<Session> => {
  const recorded = one.frames ?? [];
  const socket = connect(address.port, address.host);
  let pending: Buffer = Buffer.alloc(0);
  let head: Pick<Session, "status" | "headers"> | undefined;
  const received: Frame[] = [];
  let over = false;
  let lastAt = Date.now();
  socket.on("error", () => undefined);
  socket.on("close", () => {
    over = true;
  });
  socket.on("data", (bytes) => {
    lastAt = Date.now();
    pending = Buffer.concat([pending, bytes]);
    if (head === undefined) {
      const end = pending.indexOf("\r\n\r\n");
      if (end < 0) return;
      head = parseHead(pending.toString("latin1", 0, end));
      pending = pending.subarray(end + 4);
    }
    if (head.status !== 101) return;
    for (let next = decode(pending); next !== undefined; next = decode(pending)) {
      received.push(next.frame);
      pending = pending.subarray(next.length);
    }
  });
  const deadline = Date.now() + patienceMs;
  const wait = async (done: () => boolean): Promise<void> => {
    while (!done() && !over && Date.now() < deadline) await sleep(5);
  };
  socket.write(requestBytes(one, address));
  await wait(() => head !== undefined);

  let before = 0;
  for (const [at, frame] of recorded.entries()) {
    if (head?.status !== 101 || over) break;
    if (frame.dir === ">") {
      const needed = bytesIn(recorded.slice(0, at).filter(({ dir }) => dir === "<").map(toFrame)); // biome-ignore format: short
      await wait(() => bytesIn(received) >= needed);
      const pause = frame.t - before;
      if (pause > 50) await sleep(Math.min(pause, longestPauseMs));
      if (!socket.destroyed) socket.write(encode(toFrame(frame)));
    }
    before = frame.t;
  }

  const leftOpen = /still open|capture closed/.test(one.response.end ?? "");
  const isOver = (): boolean =>
    received.some(({ op }) => op === "close") ||
    (leftOpen && Date.now() - lastAt > quietMs && bytesIn(received) >= bytesIn(recorded.filter(({ dir }) => dir === "<").map(toFrame))) ||
    (head !== undefined && head.status !== 101 && Date.now() - lastAt > 50); // biome-ignore format: one condition a line
  await wait(isOver);
  socket.destroy();
  return {
    status: head?.status,
    headers: head?.headers ?? [],
    body: head?.status === 101 ? "" : pending.toString(),
    ...outcomeOf(received),
  };
};
