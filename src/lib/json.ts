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

/** Of no more digits than Go's integers have: what a bigint costs grows with their square. */
const wholeNumber = /^-?\d{1,20}$/;

const revive = (_key: string, value: unknown, context: { readonly source?: string }): unknown =>
  typeof value === "number" &&
  !Number.isSafeInteger(value) &&
  context.source !== undefined &&
  wholeNumber.test(context.source)
    ? BigInt(context.source)
    : value;

// JSON.parse with source access and JSON.rawJSON are in Node 24; TypeScript's library does not type them yet.
const sourceJson = JSON as unknown as {
  parse(text: string, reviver: typeof revive): Json;
  rawJSON(text: string): unknown;
};

/** Parses a document; integers beyond 2^53 come out as `bigint`. Throws `SyntaxError`, and `RangeError` for one nested beyond its stack. */
export const parseJson = (text: string): Json => sourceJson.parse(text, revive);

const toRaw = (_key: string, value: unknown): unknown =>
  typeof value === "bigint" ? sourceJson.rawJSON(value.toString()) : value;

/** Writes a document, `bigint`s as bare integers. `undefined` members are left out. */
export const stringifyJson = (value: unknown): string => JSON.stringify(value, toRaw) ?? "null";

/** Nomad's `?pretty`: four spaces, `": "`, empty containers closed, a final newline. */
export const prettyJson = (value: unknown): string => `${JSON.stringify(value, toRaw, 4)}\n`;

export const isJsonObject = (value: Json | undefined): value is JsonObject =>
  typeof value === "object" && value !== null && !Array.isArray(value);

/** Deeper than any document of Nomad's: what is deeper may be read, and not be written any more. */
const maxDepth = 24;

/** True for a document that is nested as Nomad's may be. */
export const isShallow = (value: Json, depth = maxDepth): boolean => {
  if (typeof value !== "object" || value === null) return true;
  return depth > 0 && Object.values(value).every((member) => isShallow(member, depth - 1));
};
