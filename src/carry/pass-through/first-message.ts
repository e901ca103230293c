/**
 * The first message of a caller's WebSocket, which may bring its token (nomad-http.md §7.2), is held until it is whole and was
 * looked at. What comes after it passes untouched.
 */
import { Transform } from "node:stream";
import { GatewayError } from "../../errors.ts";

const maxBytes = 64 * 1024;
const firstControl = 8;

interface Frame {
  readonly isControl: boolean;
  readonly text: string;
  /** Where the next one begins. */
  readonly end: number;
}

const refuse = (text: string): GatewayError => new GatewayError("bad_request", { text });

const sizeOf = (bytes: Buffer): { readonly length: number; readonly start: number } => {
  const short = (bytes[1] ?? 0) & 0x7f;
  if (short < 126) return { length: short, start: 2 };
  if (short === 127)
    throw new GatewayError("message_too_large", { limit: `${maxBytes / 1024} KiB` });
  return { length: bytes.readUInt16BE(2), start: 4 };
};

const headBytes = 4;
const maskBytes = 4;

/** The frame that the bytes begin with (RFC 6455 §5.2); undefined while it is not whole. Throws for what no client sends. */
const frameOf = (bytes: Buffer): Frame | undefined => {
  const [first = 0, second = 0] = bytes;
  if (bytes.length >= 2 && second < 0x80) throw refuse("a frame of a client must be masked");
  if (bytes.length >= 2 && (first & 0xf0) !== 0x80)
    throw refuse("the first message must be one plain frame");
  if (bytes.length < headBytes) return undefined;
  const { length, start } = sizeOf(bytes);
  const from = start + maskBytes;
  const end = from + length;
  if (bytes.length < end) return undefined;
  const mask = bytes.subarray(start, from);
  const payload = bytes.subarray(from, end).map((byte, at) => byte ^ (mask[at % maskBytes] ?? 0));
  const isControl = (first & 0x0f) >= firstControl;
  return { isControl, text: Buffer.from(payload).toString(), end };
};

/** `check` throws for a message that must not pass; the stream ends with what it threw. A message cut short does not pass. */
export const firstMessage = (check: (text: string) => void): Transform => {
  let held = Buffer.alloc(0);
  let isOver = false;
  const take = (stream: Transform): void => {
    for (let frame = frameOf(held); frame !== undefined; frame = frameOf(held)) {
      if (!frame.isControl) check(frame.text);
      isOver = !frame.isControl;
      stream.push(isOver ? held : held.subarray(0, frame.end));
      held = isOver ? Buffer.alloc(0) : held.subarray(frame.end);
      if (isOver) return;
    }
  };
  return new Transform({
    transform(chunk: Buffer, _encoding, done) {
      if (isOver) {
        done(null, chunk);
        return;
      }
      held = Buffer.concat([held, chunk]);
      try {
        take(this);
        done();
      } catch (error) {
        done(error instanceof Error ? error : refuse("the first message cannot be read"));
      }
    },
  });
};
