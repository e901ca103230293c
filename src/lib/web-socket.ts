/** What the ends of WebSockets share. */
import type { RawData } from "ws";

/** Fragments of one message: each is kept until the last has come. */
export const maxFragments = 128;

/** For ws: how long a peer may leave a close unanswered; its own default of half a minute holds a socket of anybody for it. */
export const farewell = { closeTimeout: 3_000 } as const;

/** A message's bytes as one buffer. */
export const toBuffer = (data: RawData): Buffer => {
  if (Array.isArray(data)) return Buffer.concat(data);
  return data instanceof ArrayBuffer ? Buffer.from(data) : data;
};

export const bytesOf = (data: RawData): number =>
  Array.isArray(data) ? data.reduce((sum, part) => sum + part.length, 0) : data.byteLength;

/** What keeping a message costs besides its bytes: an empty one is not for nothing. */
export const messageCost = 256;
