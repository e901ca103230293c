/**
 * The chunks of a followed answer (RFC 9112 §7.1), each one buffer. node:http hands the socket a chunk's size, bytes and line break
 * one by one, and a vector of three costs a fifth more CPU than a small buffer does; a heartbeat is nothing but such a chunk.
 */
import type { HttpResponse } from "../ports.ts";

/** For before the head of an answer that has a body and states no length: true when it will be sent in chunks, which HTTP/1.0 has not. */
export const willChunk = ({ req }: HttpResponse): boolean => req.httpVersion !== "1.0";

/** For after the head: true when the pieces of the body have to be chunks, which from now on are `chunkOf`'s. */
export const takeChunks = (response: HttpResponse): boolean => {
  const { chunkedEncoding } = response;
  response.chunkedEncoding = false;
  return chunkedEncoding;
};

/** Empty for no bytes: an empty chunk would be the last one. */
export const chunkOf = (bytes: Buffer): Buffer =>
  bytes.length === 0
    ? bytes
    : Buffer.from(`${bytes.length.toString(16)}\r\n${bytes.toString("latin1")}\r\n`, "latin1");

/** The same of text, which is not empty. */
export const textChunk = (text: string): Buffer =>
  Buffer.from(`${Buffer.byteLength(text).toString(16)}\r\n${text}\r\n`);

export const lastChunk = "0\r\n\r\n";
