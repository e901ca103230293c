/**
 * JSON that keeps integers whole. Nomad's nanosecond times and counters pass 2^53, so integers beyond it are `bigint`s
 * when read, and are written as they were; what no integer of Go's can hold is a float.
 */

export type Json =
  | null
  | boolean
  | number
  | bigint
  | string
  | readonly Json[]
  | { readonly [key: string]: Json };

export type JsonObject = { readonly [key: string]: Json };

/** What may be an integer that no float holds, of no more digits than Go's have: what a bigint costs grows with their square. */
const longNumber = /(?<![\d.eE+-])-?\d{16,20}(?![\d.eE+-])/;
/** The same, and all strings of a sound document, in which there are none. */
const pieces = new RegExp(`"[^"\\\\]*(?:\\\\.[^"\\\\]*)*"|${longNumber.source}`, "g");

const escapedNul = String.raw`\u0000`;

/** NULs, more than any string of the document has in a row: they can only be written so. */
const markFor = (text: string): string => {
  let mark = escapedNul;
  while (text.includes(mark)) mark += mark;
  return mark;
};

/** Puts the integer in place of each string that begins with the mark; `value` is the caller's own. */
const unmark = (value: Json, mark: string): Json => {
  if (typeof value === "string")
    return value.startsWith(mark) ? BigInt(value.slice(mark.length)) : value;
  if (typeof value !== "object" || value === null) return value;
  const members = value as Record<string | number, Json>;
  for (const name of Array.isArray(value) ? value.keys() : Object.keys(value)) {
    const member = members[name] ?? null;
    if (typeof member === "string") members[name] = unmark(member, mark);
    else if (typeof member === "object") unmark(member, mark);
  }
  return value;
};

/** A reviver, which could be told each number as it was written, costs thirty times what is parsed. */
const parseWhole = (text: string): Json => {
  const mark = markFor(text);
  const marked = text.replace(pieces, (piece) =>
    piece.startsWith('"') || Number.isSafeInteger(Number(piece)) ? piece : `"${mark}${piece}"`,
  );
  return unmark(JSON.parse(marked), "\0".repeat(mark.length / escapedNul.length));
};

/** Parses a document; integers beyond 2^53 come out as `bigint`. Throws `SyntaxError`, and `RangeError` for one nested beyond its stack. */
export const parseJson = (text: string): Json => {
  const parsed: Json = JSON.parse(text);
  return longNumber.test(text) ? parseWhole(text) : parsed;
};

// JSON.rawJSON is in Node 24; TypeScript's library does not type it yet.
const rawJson = JSON as unknown as { rawJSON(text: string): unknown };

const toRaw = (_key: string, value: unknown): unknown =>
  typeof value === "bigint" ? rawJson.rawJSON(value.toString()) : value;

/** Writes a document, `bigint`s as bare integers. `undefined` members are left out. */
export const stringifyJson = (value: unknown): string => JSON.stringify(value, toRaw) ?? "null";

/** Nomad's `?pretty`: four spaces, `": "`, empty containers closed, a final newline. */
export const prettyJson = (value: unknown): string => `${JSON.stringify(value, toRaw, 4)}\n`;

/** True for a count that is written as it is: no part of one, none that only a float could tell. */
export const isCount = (value: Json | undefined): value is number =>
  typeof value === "number" && Number.isSafeInteger(value) && value >= 0;

export const isJsonObject = (value: Json | undefined): value is JsonObject =>
  typeof value === "object" && value !== null && !Array.isArray(value);

/** Deeper than any document of Nomad's: what is deeper may be read, and not be written any more. */
const maxDepth = 24;

/** True for a document that is nested as Nomad's may be. */
export const isShallow = (value: Json, depth = maxDepth): boolean => {
  if (typeof value !== "object" || value === null) return true;
  return depth > 0 && Object.values(value).every((member) => isShallow(member, depth - 1));
};
