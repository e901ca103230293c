/** What the ends of WebSockets share. */
import type { RawData } from "ws";

/** Fragments of one message: each is kept until the last has come. */
export const maxFragments = 128;

/** A message's bytes as one buffer. */
export const toBuffer = (data: RawData): Buffer => {
  if (Array.isArray(data)) return Buffer.concat(data);
  return data instanceof ArrayBuffer ? Buffer.from(data) : data;
};

export const bytesOf = (data: RawData): number =>
  Array.isArray(data) ? data.reduce((sum, part) => sum + part.length, 0) : data.byteLength;
