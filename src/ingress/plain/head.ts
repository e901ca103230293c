/**
 * The head of a plain request, read strictly (RFC 9112 §3, §5): a GET of an origin-form target on HTTP/1.1, without a body and
 * without anything to negotiate. What is not exactly that is no plain request, and node:http's to read. Pure.
 */
import type { IncomingHttpHeaders } from "node:http";

/** All of a head but its first line. */
export interface Fields {
  /** Names in lower case; each came once. */
  readonly headers: IncomingHttpHeaders;
  /** False: the caller wants the connection closed behind the answer. */
  readonly keepAlive: boolean;
}

/** Of every plain request. */
export const beginning = "GET /";
const method = "GET ";
const version = " HTTP/1.1";
const targetBytes = /^[\x21-\x7e]+$/;
const fieldLine = /^([!#$%&'*+.^_`|~0-9A-Za-z-]+):([\t\x20-\x7e]*)$/;

/** A body follows, or something is to be agreed on first. */
const notPlain: ReadonlySet<string> = new Set([
  "content-length",
  "transfer-encoding",
  "expect",
  "upgrade",
]);

/** In memory of its own: a part of a text keeps alive the whole head that it was read from. */
export const copyOf = (text: string): string => Buffer.from(text, "latin1").toString("latin1");

/** The target; undefined when the line is not a plain request's. */
export const readRequestLine = (line: string): string | undefined => {
  if (!line.startsWith(beginning) || !line.endsWith(version)) return undefined;
  const target = line.slice(method.length, -version.length);
  return targetBytes.test(target) ? target : undefined;
};

const keepsAlive = (connection: string | undefined): boolean | undefined => {
  if (connection === undefined) return true;
  const word = connection.toLowerCase();
  if (word === "keep-alive") return true;
  return word === "close" ? false : undefined;
};

/** `text` ends with a line break unless it is empty. Undefined when it is not a plain request's. */
export const readFields = (text: string): Fields | undefined => {
  const headers: IncomingHttpHeaders = {}; // names that every object has are taken for doubled ones, and are node:http's
  for (const line of text.split("\r\n").slice(0, -1)) {
    const [, name, padded = ""] = fieldLine.exec(line) ?? [];
    if (name === undefined) return undefined;
    const lower = name.toLowerCase();
    if (notPlain.has(lower) || headers[lower] !== undefined) return undefined;
    headers[lower] = padded.trim();
  }
  const keepAlive = keepsAlive(headers.connection);
  return keepAlive === undefined || headers.host === undefined ? undefined : { headers, keepAlive };
};
