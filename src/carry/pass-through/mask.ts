/**
 * Members of a JSON document given another value by its text alone: what is not replaced keeps its very bytes, so 64-bit
 * numbers, escapes and order stay as the server wrote them. Pure.
 */

const quote = 0x22;
const backslash = 0x5c;
const space = /[ \t\n\r]*/y;
const scalar = /[^\s,[\]{}:"]+/y;

const invalid = (at: number): SyntaxError => new SyntaxError(`no JSON at byte ${at}`);

const matchEnd = (pattern: RegExp, text: string, at: number): number => {
  pattern.lastIndex = at;
  pattern.test(text);
  return pattern.lastIndex;
};

const skipSpace = (text: string, at: number): number => matchEnd(space, text, at);

/** The place after a string that begins at `at`. */
const stringEnd = (text: string, at: number): number => {
  for (let next = at + 1; next < text.length; next++) {
    const code = text.charCodeAt(next);
    if (code === backslash) next++;
    else if (code === quote) return next + 1;
  }
  throw invalid(at);
};

/** The place after an object or array that begins at `at`; nesting is counted, not followed. */
const containerEnd = (text: string, at: number): number => {
  let depth = 0;
  for (let next = at; next < text.length; next++) {
    const character = text[next];
    if (character === '"') next = stringEnd(text, next) - 1;
    else if (character === "{" || character === "[") depth++;
    else if (character === "}" || character === "]") depth--;
    if (depth === 0) return next + 1;
  }
  throw invalid(at);
};

const valueEnd = (text: string, at: number): number => {
  const first = text[at];
  if (first === '"') return stringEnd(text, at);
  if (first === "{" || first === "[") return containerEnd(text, at);
  const end = matchEnd(scalar, text, at);
  if (end === 0) throw invalid(at);
  return end;
};

const expect = (text: string, at: number, character: string): number => {
  if (text[at] !== character) throw invalid(at);
  return at + 1;
};

const keyOf = (text: string, from: number, to: number): unknown => JSON.parse(text.slice(from, to));

/**
 * The text with the top-level members named in `values` (name to JSON text) replaced, wherever they stand. Members that
 * are not there are not added; what is no object is given back as it is. Throws SyntaxError.
 */
export const replaceMembers = (text: string, values: ReadonlyMap<unknown, string>): string => {
  let at = skipSpace(text, 0);
  if (text[at] !== "{") return text;
  at = skipSpace(text, at + 1);
  if (text[at] === "}") return text;
  const parts: string[] = [];
  let kept = 0;
  for (;;) {
    expect(text, at, '"');
    const keyEnd = stringEnd(text, at);
    const key = keyOf(text, at, keyEnd);
    const start = skipSpace(text, expect(text, skipSpace(text, keyEnd), ":"));
    const end = valueEnd(text, start);
    const value = values.get(key);
    if (value !== undefined) {
      parts.push(text.slice(kept, start), value);
      kept = end;
    }
    at = skipSpace(text, end);
    if (text[at] === "}") break;
    at = skipSpace(text, expect(text, at, ","));
  }
  parts.push(text.slice(kept));
  return parts.join("");
};

const asAscii = (text: string): string =>
  JSON.stringify(text).replace(
    /[^\x20-\x7e]/g,
    (character) => `\\u${character.charCodeAt(0).toString(16).padStart(4, "0")}`,
  );

const defaultPorts = { http: 80, https: 443 } as const;

/** `host:port` as Nomad writes it; empty without an authority, which makes clients ask the server they know. */
const addressOf = (authority: string, scheme: "http" | "https"): string =>
  authority === "" || /:\d+$/.test(authority) ? authority : `${authority}:${defaultPorts[scheme]}`;

/**
 * A node's document that leads its readers back to the address they used. Worked on byte by byte: what is no UTF-8 passes
 * as it is. Throws SyntaxError.
 */
export const maskNode = (
  body: Buffer,
  { authority, scheme }: { readonly authority: string; readonly scheme: "http" | "https" },
): Buffer => {
  const address = addressOf(authority, scheme);
  const values = new Map([
    ["HTTPAddr", asAscii(address)],
    ["TLSEnabled", String(address !== "" && scheme === "https")],
  ]);
  return Buffer.from(replaceMembers(body.toString("latin1"), values), "latin1");
};
