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

const tab = 9;
const lf = 10;
const cr = 13;
const space = 32;
const colon = 58;
const nul = 0;
const maxDecimals = 15;
const noBody = { kind: "length", bytes: 0 } as const;

const invalid = (reason: string): InvalidAnswer => new InvalidAnswer(reason);

/* ---- what a byte may be ---- */

const ofName = 1;
const ofValue = 2;
const blank = 4;

const kindOf = new Uint8Array(256);
kindOf[tab] = kindOf[space] = blank;
for (let byte = space + 1; byte < kindOf.length; byte++) kindOf[byte] = ofValue;
kindOf[0x7f] = 0;
const tokenBytes = "!#$%&'*+-.^_`|~0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ";
for (const byte of Buffer.from(tokenBytes)) kindOf[byte] = ofName | ofValue;

/** Where the bytes of these kinds end that begin at `from`. */
const behind = (text: string, from: number, kinds: number): number => {
  let at = from;
  while (at < text.length && ((kindOf[text.charCodeAt(at)] ?? 0) & kinds) !== 0) at += 1;
  return at;
};

/* ---- lines ---- */

/** Names as agents and what stands before them spell them, so that they need not be lowered one by one. */
const wellKnown = [
  "Connection", "Content-Length", "Content-Security-Policy", "Content-Type", "Date", "ETag", "Keep-Alive", "Server", "Transfer-Encoding",
  "Vary", "X-Content-Type-Options", "X-Request-Id", "X-Xss-Protection",
].map((spelled) => ({ spelled, name: spelled.toLowerCase() })); // biome-ignore format: rows

type Known = (typeof wellKnown)[number];
const none: readonly Known[] = [];
const longest = Math.max(...wellKnown.map(({ name }) => name.length));
const knownByLength: readonly (readonly Known[])[] = Array.from(
  { length: longest + 1 },
  (_, length) => wellKnown.filter(({ name }) => name.length === length),
);

/** What stands there, in lower case. */
const nameAt = (text: string, from: number, to: number): string => {
  for (const { spelled, name } of knownByLength[to - from] ?? none)
    if (text.startsWith(spelled, from)) return name;
  return text.slice(from, to).toLowerCase();
};

/** A field: token, colon, value without blanks around it; no control byte but a tab, none at the end, no folded line. */
class Field {
  readonly #text: string;
  /** In lower case. */
  name = "";
  value = "";

  constructor(text: string) {
    this.#text = text;
  }

  /** Reads the one that begins at `from`; where it ends, -1 when none does. */
  read(from: number): number {
    const text = this.#text;
    const nameTo = behind(text, from, ofName);
    if (nameTo === from || text.charCodeAt(nameTo) !== colon) return -1;
    const valueFrom = behind(text, nameTo + 1, blank);
    const end = behind(text, valueFrom, ofValue | blank);
    let valueTo = end;
    while (valueTo > valueFrom && text.charCodeAt(valueTo - 1) === space) valueTo -= 1;
    if (valueTo > valueFrom && text.charCodeAt(valueTo - 1) === tab) return -1;
    this.name = nameAt(text, from, nameTo);
    this.value = text.slice(valueFrom, valueTo);
    return end;
  }
}

/** True for a header line, and for a trailer's. */
export const isField = (line: string): boolean => new Field(line).read(0) === line.length;

const isLineEnd = (text: string, at: number): boolean =>
  at === text.length || (text.charCodeAt(at) === cr && text.charCodeAt(at + 1) === lf);

const statusLength = 3;

/** Where the status line ends; the reason may be anything: nobody is told it. -1 when it is none. */
const endOfStatusLine = (text: string): number => {
  const from = beginning.length + statusLength;
  if (isLineEnd(text, from)) return from;
  if (text.charCodeAt(from) !== space) return -1;
  for (let at = from + 1; at < text.length; at++) {
    const byte = text.charCodeAt(at);
    if (byte === cr || byte === lf || byte === nul) return isLineEnd(text, at) ? at : -1;
  }
  return text.length;
};

const digitAt = (text: string, at: number): number => {
  const digit = text.charCodeAt(at) - 48;
  return digit >= 0 && digit <= 9 ? digit : Number.NaN;
};

/** NaN when there is none. */
const statusOf = (text: string): number => {
  if (!text.startsWith(beginning)) return Number.NaN;
  const at = beginning.length;
  const status = digitAt(text, at) * 100 + digitAt(text, at + 1) * 10 + digitAt(text, at + 2);
  return status >= 100 ? status : Number.NaN;
};

/** Names are whatever an agent says: `__proto__` is one like any other. */
class Named {
  [name: string]: string | string[];
  static {
    Object.setPrototypeOf(Named.prototype, null);
  }
}

const readFields = (text: string, from: number): Headers => {
  const headers = new Named();
  const field = new Field(text);
  for (let at = from; at < text.length; ) {
    at = field.read(at + 2);
    if (at < 0 || !isLineEnd(text, at)) throw invalid("a header line is not proper");
    const before = headers[field.name];
    headers[field.name] = before === undefined ? field.value : [before, field.value].flat();
  }
  return headers;
};

/* ---- what they say ---- */

const hasNoBody = (status: number): boolean => status < 200 || status === 204 || status === 304;

/** Of digits alone; NaN for what is no such number. */
const decimalOf = (text: string): number => {
  if (text === "" || text.length > maxDecimals) return Number.NaN;
  let value = 0;
  for (let at = 0; at < text.length; at++) value = value * 10 + digitAt(text, at);
  return value;
};

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
  const bytes = typeof length === "string" ? decimalOf(length) : Number.NaN;
  if (Number.isNaN(bytes)) throw invalid("its Content-Length is not a number");
  return { kind: "length", bytes };
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
  connection === "keep-alive" ||
  (typeof connection === "string" && connection.toLowerCase() === "keep-alive");

/** CR LF CR LF. */
export const headEndBytes = 4;

/** Where the first end of a head begins at or behind `from`; -1 when there is none. Most bytes tell of four that none ends there. */
export const endOfHead = (bytes: Uint8Array, from: number): number => {
  for (let at = from + headEndBytes - 1; at < bytes.length; ) {
    const byte = bytes[at];
    if (byte === lf) {
      if (bytes[at - 1] === cr && bytes[at - 2] === lf && bytes[at - 3] === cr) return at - 3;
      at += 2;
    } else at += byte === cr ? 1 : headEndBytes;
  }
  return -1;
};

/** `text` is the head without its empty line, read as latin1. Throws InvalidAnswer. */
export const readHead = (text: string): Head => {
  const status = statusOf(text);
  const end = endOfStatusLine(text);
  if (Number.isNaN(status) || end < 0) throw invalid("its status line is not proper");
  const headers = readFields(text, end);
  return { status, headers, framing: framingOf(status, headers), keepAlive: keepsAlive(headers) };
};
