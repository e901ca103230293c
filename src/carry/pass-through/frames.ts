/**
 * What a server says in a WebSocket that is passed on byte by byte: how the command ended and how the socket was closed.
 * Only looked at, for log and audit; what is no proper frame is nothing to it. Pure.
 */
import { exitCodeOf } from "../exit-code.ts";

export interface Close {
  /** Undefined: a close frame without a code. */
  readonly code: number | undefined;
  readonly reason: string;
}

export interface Frames {
  /** The bytes that came next. */
  see(chunk: Buffer): void;
  /** The server's close frame, once it came. */
  readonly close: Close | undefined;
  readonly exitCode: number | undefined;
  /** No frame has begun that is not over: one of our own may follow. */
  readonly isBetween: boolean;
}

const text = 1;
const closing = 8;
const masked = 0x80;
const shortLength = 126;
const longLength = 127;
/** An exit frame and a close frame are shorter; what is longer is not kept. */
const maxKeptBytes = 4096;

interface Header {
  readonly opcode: number;
  readonly size: number;
  readonly payload: number;
}

/** The header of a frame of a server, which masks nothing; undefined until all of it is there. */
const headerOf = (bytes: Buffer): Header | undefined => {
  if (bytes.length < 2) return undefined;
  const opcode = bytes.readUInt8(0) & 0x0f;
  const second = bytes.readUInt8(1);
  const mask = second & masked ? 4 : 0;
  const length = second & 0x7f;
  if (length < shortLength) return { opcode, size: 2 + mask, payload: length };
  if (length === shortLength)
    return bytes.length < 4
      ? undefined
      : { opcode, size: 4 + mask, payload: bytes.readUInt16BE(2) };
  if (length === longLength && bytes.length >= 10)
    return { opcode, size: 10 + mask, payload: Number(bytes.readBigUInt64BE(2)) };
  return undefined;
};

const closeOf = (payload: Buffer): Close =>
  payload.length < 2
    ? { code: undefined, reason: "" }
    : { code: payload.readUInt16BE(0), reason: payload.toString("utf8", 2) };

export const watchFrames = (): Frames => {
  let close: Close | undefined;
  let exitCode: number | undefined;
  /** Of a frame whose end has not come. */
  let held: Buffer = Buffer.alloc(0);
  /** Bytes of a long frame that are still to come. */
  let skip = 0;

  const take = ({ opcode }: Header, payload: Buffer): void => {
    if (opcode === closing) close ??= closeOf(payload);
    if (opcode === text) exitCode ??= exitCodeOf(payload);
  };

  /** Takes one frame off the bytes held; false when its end has to be waited for. */
  const step = (): boolean => {
    const header = headerOf(held);
    if (header === undefined) return false;
    const { size, payload } = header;
    const whole = size + payload;
    if (held.length >= whole) {
      if (payload <= maxKeptBytes) take(header, held.subarray(size, whole));
      held = held.subarray(whole);
      return held.length > 0;
    }
    if (payload > maxKeptBytes) {
      skip = whole - held.length;
      held = Buffer.alloc(0);
    }
    return false;
  };

  return {
    see(chunk) {
      const passed = Math.min(skip, chunk.length);
      skip -= passed;
      if (passed === chunk.length) return;
      held = held.length === 0 ? chunk.subarray(passed) : Buffer.concat([held, chunk]);
      while (step());
    },
    get close() {
      return close;
    },
    get exitCode() {
      return exitCode;
    },
    get isBetween() {
      return skip === 0 && held.length === 0;
    },
  };
};
