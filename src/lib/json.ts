/**
 * JSON that keeps integers whole. Nomad's nanosecond times and counters pass 2^53, so integers beyond it are `bigint`s
 * when read, and are written as they were.
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

const wholeNumber = /^-?\d+$/;

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

/** Parses a document; integers beyond 2^53 come out as `bigint`. Throws `SyntaxError`. */
export const parseJson = (text: string): Json => sourceJson.parse(text, revive);

const toRaw = (_key: string, value: unknown): unknown =>
  typeof value === "bigint" ? sourceJson.rawJSON(value.toString()) : value;

/** Writes a document, `bigint`s as bare integers. `undefined` members are left out. */
export const stringifyJson = (value: unknown): string => JSON.stringify(value, toRaw) ?? "null";

/** Nomad's `?pretty`: four spaces, `": "`, empty containers closed, a final newline. */
export const prettyJson = (value: unknown): string => `${JSON.stringify(value, toRaw, 4)}\n`;

export const isJsonObject = (value: Json | undefined): value is JsonObject =>
  typeof value === "object" && value !== null && !Array.isArray(value);
