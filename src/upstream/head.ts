/**
 * The head of a response, read strictly (RFC 9112 §4, §5, §6.3): whatever two readers might understand differently is no head.
 * Pure.
 */

/** How long the body is: so many bytes, or as its chunks say. */
export type Framing =
  | { readonly kind: "length"; readonly bytes: number }
  | { readonly kind: "chunked" };

/** Names in lower case; a name that came more than once has a list. */
export type Headers = Readonly<Record<string, string | string[]>>;

export interface Head {
  readonly status: number;
  readonly headers: Headers;
  readonly framing: Framing;
  /** The connection may serve another request. */
  readonly keepAlive: boolean;
}

/** An answer that is not HTTP as it should be. */
export class InvalidAnswer extends Error {
  readonly code = "ERR_INVALID_ANSWER";
}

/** What every answer begins with. */
export const beginning = "HTTP/1.1 ";
/** The reason may be anything: nobody is told it. */
const statusLine = /^HTTP\/1\.1 ([1-9]\d\d)(?: [^\0\r\n]*)?$/;
/** Token, colon, value without blanks around it; no control byte but a tab, none at the end, no folded line. */
const fieldLine =
  /^([!#$%&'*+.^_`|~0-9A-Za-z-]+):[\t ]*([\x21-\x7e\x80-\xff](?:[\t\x20-\x7e\x80-\xff]*[\x21-\x7e\x80-\xff])?|) *$/;
const decimal = /^\d{1,15}$/;
const noBody = { kind: "length", bytes: 0 } as const;

const invalid = (reason: string): InvalidAnswer => new InvalidAnswer(reason);

/** True for a header line, and for a trailer's. */
export const isField = (line: string): boolean => fieldLine.test(line);

const readFields = (lines: readonly string[]): Record<string, string | string[]> => {
  const headers: Record<string, string | string[]> = Object.create(null);
  for (const line of lines) {
    const [, name, value = ""] = fieldLine.exec(line) ?? [];
    if (name === undefined) throw invalid("a header line is not proper");
    const lower = name.toLowerCase();
    const before = headers[lower];
    if (before === undefined) headers[lower] = value;
    else headers[lower] = [before, value].flat();
  }
  return headers;
};

const hasNoBody = (status: number): boolean => status < 200 || status === 204 || status === 304;

const statedFraming = ({
  "transfer-encoding": coding,
  "content-length": length,
}: Headers): Framing | undefined => {
  if (coding !== undefined) {
    if (length !== undefined) throw invalid("both a length and chunks");
    if (typeof coding !== "string" || coding.toLowerCase() !== "chunked")
      throw invalid("a transfer coding other than chunked");
    return { kind: "chunked" };
  }
  if (length === undefined) return undefined;
  if (typeof length !== "string" || !decimal.test(length))
    throw invalid("its Content-Length is not a number");
  return { kind: "length", bytes: Number(length) };
};

/** A body that only the connection's end ends looks whole when its agent died: there is none such. */
const framingOf = (status: number, headers: Headers): Framing => {
  const stated = statedFraming(headers);
  if (hasNoBody(status)) return noBody;
  if (stated === undefined) throw invalid("neither a length nor chunks");
  return stated;
};

const keepsAlive = ({ connection }: Headers): boolean =>
  connection === undefined ||
  (typeof connection === "string" && connection.toLowerCase() === "keep-alive");

/** `text` is the head without its empty line, read as latin1. Throws InvalidAnswer. */
export const readHead = (text: string): Head => {
  const [first = "", ...lines] = text.split("\r\n");
  const status = Number(statusLine.exec(first)?.[1]);
  if (Number.isNaN(status)) throw invalid("its status line is not proper");
  const headers = readFields(lines);
  return { status, headers, framing: framingOf(status, headers), keepAlive: keepsAlive(headers) };
};
