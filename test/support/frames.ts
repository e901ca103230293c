/** HTTP/2 frames as bytes (RFC 9113, RFC 7541), good and bad alike: nothing here minds what it is asked for. */

export const types = {
  data: 0, headers: 1, priority: 2, rst: 3, settings: 4, push: 5, ping: 6, goaway: 7, windowUpdate: 8, continuation: 9, altsvc: 10, origin: 12,
} as const; // biome-ignore format: a table
export const flags = { ack: 1, endStream: 1, endHeaders: 4, padded: 8, priority: 32 } as const;
export const errors = { none: 0, protocol: 1, internal: 2, refused: 7, cancel: 8 } as const;
export const settingIds = {
  headerTableSize: 1, enablePush: 2, maxConcurrentStreams: 3, initialWindowSize: 4, maxFrameSize: 5, maxHeaderListSize: 6,
} as const; // biome-ignore format: a table

export const preface: Buffer = Buffer.from("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n");

const none: Buffer = Buffer.alloc(0);
const uint32 = (...values: readonly number[]): Buffer => {
  const bytes = Buffer.alloc(4 * values.length);
  for (const [nth, value] of values.entries()) bytes.writeUInt32BE(value >>> 0, 4 * nth);
  return bytes;
};

/** `length` is told as it is unless another one is wanted. */
export const frame = (
  type: number,
  flag: number,
  stream: number,
  payload: Buffer = none,
  length: number = payload.length,
): Buffer => {
  const head = Buffer.alloc(9);
  head.writeUIntBE(length, 0, 3);
  head[3] = type;
  head[4] = flag;
  head.writeUInt32BE(stream, 5);
  return Buffer.concat([head, payload]);
};

export const settings = (given: Readonly<Record<number, number>> = {}): Buffer => {
  const entries = Object.entries(given).map(([id, value]) => {
    const entry = Buffer.alloc(6);
    entry.writeUInt16BE(Number(id));
    entry.writeUInt32BE(value, 2);
    return entry;
  });
  return frame(types.settings, 0, 0, Buffer.concat(entries));
};
export const settingsAck: Buffer = frame(types.settings, flags.ack, 0);
export const ping = (payload: Buffer = Buffer.alloc(8), flag = 0): Buffer =>
  frame(types.ping, flag, 0, payload);
export const reset = (stream: number, error: number = errors.cancel): Buffer =>
  frame(types.rst, 0, stream, uint32(error));
export const windowUpdate = (stream: number, by: number): Buffer =>
  frame(types.windowUpdate, 0, stream, uint32(by));
export const priority = (stream: number, on: number): Buffer =>
  frame(types.priority, 0, stream, Buffer.concat([uint32(on), Buffer.from([16])]));
export const goaway = (lastStream: number, error: number = errors.none): Buffer =>
  frame(types.goaway, 0, 0, uint32(lastStream, error));
export const headers = (stream: number, block: Buffer, flag: number = flags.endHeaders): Buffer =>
  frame(types.headers, flag, stream, block);
export const continuation = (stream: number, block: Buffer, flag = 0): Buffer =>
  frame(types.continuation, flag, stream, block);
export const data = (stream: number, payload: Buffer, flag = 0): Buffer =>
  frame(types.data, flag, stream, payload);
export const padded = (stream: number, payload: Buffer, padding: number): Buffer =>
  frame(
    types.data,
    flags.padded,
    stream,
    Buffer.concat([Buffer.from([padding]), payload, Buffer.alloc(padding)]),
  );

/** HPACK's integers (RFC 7541 §5.1), `prefix` bits of them in the first byte, above which `high` stands. */
const integer = (value: number, prefix: number, high: number): Buffer => {
  const most = 2 ** prefix - 1;
  if (value < most) return Buffer.from([high | value]);
  const bytes = [high | most];
  let rest = value - most;
  for (; rest >= 128; rest = Math.floor(rest / 128)) bytes.push((rest % 128) | 128);
  return Buffer.from([...bytes, rest]);
};
const literal = (text: string): Buffer =>
  Buffer.concat([integer(text.length, 7, 0), Buffer.from(text, "latin1")]);

export const hpack = {
  /** A field of the static or dynamic table. */
  indexed: (index: number): Buffer => integer(index, 7, 0x80),
  /** A field that goes into no table. */
  plain: (name: string, value: string): Buffer =>
    Buffer.concat([Buffer.from([0]), literal(name), literal(value)]),
  /** A field that is kept in the dynamic table. */
  kept: (name: string, value: string): Buffer =>
    Buffer.concat([Buffer.from([0x40]), literal(name), literal(value)]),
  tableSize: (size: number): Buffer => integer(size, 5, 0x20),
  status200: Buffer.from([0x88]),
  connect: (authority: string): Buffer =>
    Buffer.concat([hpack.plain(":method", "CONNECT"), hpack.plain(":authority", authority)]),
} as const;
/** The newest field of the dynamic table. */
export const newest = 62;

export const many = (one: Buffer, count = 4_096): Buffer =>
  Buffer.concat(Array.from({ length: count }, () => one));

export interface Frame {
  readonly type: number;
  readonly flag: number;
  readonly stream: number;
  readonly payload: Buffer;
}

/** Cuts a byte stream into frames; what is not whole yet waits. */
export const frameReader = (heard: (frame: Frame) => void): ((chunk: Buffer) => void) => {
  let waiting: Buffer = none;
  return (chunk) => {
    waiting = waiting.length === 0 ? chunk : Buffer.concat([waiting, chunk]);
    while (waiting.length >= 9) {
      const length = waiting.readUIntBE(0, 3);
      if (waiting.length < 9 + length) return;
      heard({
        type: waiting.readUInt8(3),
        flag: waiting.readUInt8(4),
        stream: waiting.readUInt32BE(5) & 0x7fffffff,
        payload: waiting.subarray(9, 9 + length),
      });
      waiting = waiting.subarray(9 + length);
    }
  };
};
