/**
 * `encoding/json` as Nomad's agents use it: the first JSON value of a body decoded into a typed shape, with Go's words
 * for every fault. Keys match in any case, unknown keys are ignored, `null` leaves a field alone, text behind the first
 * value is ignored when `stream` (a Decoder) and refused otherwise (Unmarshal). Depth is bounded.
 */
import { goQuote } from "./go.ts";
import { isJsonObject, type Json, parseJson } from "./json.ts";

/** The Go type a value must fit; `goType` is what Go calls it in its message. */
export type Shape =
  | { readonly kind: "string" | "bool" | "int"; readonly goType: string }
  /** `optional`: null is kept (Go's `map[string]*string`). */
  | {
      readonly kind: "map";
      readonly goType: string;
      readonly of: Shape;
      readonly optional: boolean;
    }
  | { readonly kind: "list"; readonly goType: string; readonly of: Shape }
  | {
      readonly kind: "struct";
      /** As in `Go value of type structs.X`. */
      readonly goType: string;
      /** As in `Go struct field X.Field`; empty for an anonymous struct. */
      readonly name: string;
      readonly fields: Readonly<Record<string, Shape>>;
    };

/** Go's words for a document that does not parse or does not fit. */
export class GoJsonError extends Error {
  override readonly name = "GoJsonError";
}

const maxDepth = 64;
const blank = /[ \t\r\n]*/y;
const literal = /true|false|null|-?(?:0|[1-9]\d*)(?:\.\d+)?(?:[eE][+-]?\d+)?/y;

/** A number that breaks off: behind its point, or in its exponent. */
const brokenNumber = /-?(?:0|[1-9]\d*)(?:(\.)|(?:\.\d+)?[eE][+-]?)(?!\d)/y;

/** Go walks bytes, and names one of them as if it were a character. */
const quoteByte = (character: string): string => {
  if (character === "'") return `'\\''`;
  if (character === '"') return `'"'`;
  const byte = Buffer.from(character)[0] ?? 0;
  return `'${goQuote(String.fromCharCode(byte)).slice(1, -1)}'`;
};

/** Walks one JSON value to find where it ends, failing with Go's scanner's words. */
class Scanner {
  readonly #text: string;
  readonly #ended: string;
  #at = 0;

  constructor(text: string, ended: string) {
    this.#text = text;
    this.#ended = ended;
  }

  /** Index behind the first value. */
  end(): number {
    this.#value(0, "looking for beginning of value");
    return this.#at;
  }

  rest(): string {
    this.#skip();
    return this.#text.slice(this.#at);
  }

  #skip(): void {
    blank.lastIndex = this.#at;
    blank.exec(this.#text);
    this.#at = blank.lastIndex;
  }

  #take(character: string): boolean {
    if (this.#text[this.#at] !== character) return false;
    this.#at++;
    return true;
  }

  #fault(context: string): GoJsonError {
    const point = this.#text.codePointAt(this.#at);
    if (point === undefined) return new GoJsonError(this.#ended);
    return new GoJsonError(
      `invalid character ${quoteByte(String.fromCodePoint(point))} ${context}`,
    );
  }

  #value(depth: number, context: string): void {
    this.#skip();
    const first = this.#text[this.#at];
    if (depth > maxDepth && (first === "{" || first === "["))
      throw this.#fault("exceeded max depth");
    if (first === "{") this.#object(depth);
    else if (first === "[") this.#array(depth);
    else if (first === '"') this.#string();
    else this.#literal(context);
  }

  #literal(context: string): void {
    brokenNumber.lastIndex = this.#at;
    const broken = brokenNumber.exec(this.#text);
    if (broken !== null) {
      this.#at = brokenNumber.lastIndex;
      const [, point] = broken;
      throw this.#fault(`${point ? "after decimal point in" : "in exponent of"} numeric literal`);
    }
    literal.lastIndex = this.#at;
    if (literal.exec(this.#text) === null) throw this.#literalFault(context);
    this.#at = literal.lastIndex;
  }

  #literalFault(context: string): GoJsonError {
    for (const word of ["true", "false", "null"]) {
      let matched = 0;
      while (matched < word.length && this.#text[this.#at + matched] === word[matched]) matched++;
      if (matched === 0) continue;
      this.#at += matched;
      return this.#fault(`in literal ${word} (expecting ${quoteByte(word[matched] ?? "")})`);
    }
    if (this.#text[this.#at] === "-") {
      this.#at++;
      return this.#fault("in numeric literal");
    }
    return this.#fault(context);
  }

  #string(): void {
    this.#at++;
    for (;;) {
      const character = this.#text[this.#at];
      if (character === undefined || character < " ") throw this.#fault("in string literal");
      this.#at++;
      if (character === '"') return;
      if (character === "\\") this.#escape();
    }
  }

  #escape(): void {
    const character = this.#text[this.#at];
    if (character === undefined || !'"\\/bfnrtu'.includes(character))
      throw this.#fault("in string escape code");
    this.#at++;
    if (character !== "u") return;
    for (let digit = 0; digit < 4; digit++) {
      if (!/[0-9a-fA-F]/.test(this.#text[this.#at] ?? ""))
        throw this.#fault("in \\u hexadecimal character escape");
      this.#at++;
    }
  }

  #object(depth: number): void {
    this.#at++;
    this.#skip();
    if (this.#take("}")) return;
    for (;;) {
      this.#skip();
      if (this.#text[this.#at] !== '"')
        throw this.#fault("looking for beginning of object key string");
      this.#string();
      this.#skip();
      if (this.#text[this.#at] !== ":") throw this.#fault("after object key");
      this.#at++;
      this.#value(depth + 1, "looking for beginning of value");
      this.#skip();
      const next = this.#text[this.#at];
      if (next !== "," && next !== "}") throw this.#fault("after object key:value pair");
      this.#at++;
      if (next === "}") return;
    }
  }

  #array(depth: number): void {
    this.#at++;
    this.#skip();
    if (this.#take("]")) return;
    for (;;) {
      this.#value(depth + 1, "looking for beginning of value");
      this.#skip();
      const next = this.#text[this.#at];
      if (next !== "," && next !== "]") throw this.#fault("after array element");
      this.#at++;
      if (next === "]") return;
    }
  }
}

const goKind = (value: Json): string => {
  if (Array.isArray(value)) return "array";
  if (typeof value === "boolean") return "bool";
  if (typeof value === "number" || typeof value === "bigint") return "number";
  return typeof value;
};

const mismatch = (value: Json, shape: Shape, where: string): GoJsonError => {
  const isFraction = shape.kind === "int" && typeof value === "number";
  const what = isFraction ? `number ${value}` : goKind(value);
  const target = where === "" ? "Go value" : `Go struct field ${where}`;
  return new GoJsonError(`json: cannot unmarshal ${what} into ${target} of type ${shape.goType}`);
};

const zero = (shape: Shape): Json => {
  switch (shape.kind) {
    case "string":
      return "";
    case "bool":
      return false;
    case "int":
      return 0;
    case "map":
    case "list":
      return null;
    case "struct":
      return Object.fromEntries(Object.entries(shape.fields).map(([key, of]) => [key, zero(of)]));
  }
};

const fitsScalar = (value: Json, kind: "string" | "bool" | "int"): boolean => {
  if (kind === "string") return typeof value === "string";
  if (kind === "bool") return typeof value === "boolean";
  return typeof value === "bigint" || (typeof value === "number" && Number.isInteger(value));
};

const fitStruct = (value: Json, shape: Shape & { kind: "struct" }, where: string): Json => {
  if (!isJsonObject(value)) throw mismatch(value, shape, where);
  // Go names the innermost struct and the whole path to the field: `Inner.outer.field`.
  const prefix =
    where === "" ? `${shape.name}.` : `${shape.name}${where.slice(where.indexOf("."))}.`;
  const result: Record<string, Json> = { ...(zero(shape) as Record<string, Json>) }; // a struct's zero is an object
  const names = new Map(Object.keys(shape.fields).map((name) => [name.toLowerCase(), name]));
  for (const [key, member] of Object.entries(value)) {
    const name = names.get(key.toLowerCase());
    const of = name === undefined ? undefined : shape.fields[name];
    if (name === undefined || of === undefined || member === null) continue;
    result[name] = fit(member, of, prefix + name);
  }
  return result;
};

const fitMap = (value: Json, shape: Shape & { kind: "map" }, where: string): Json => {
  if (!isJsonObject(value)) throw mismatch(value, shape, where);
  const result: Record<string, Json> = Object.create(null); // keys are the caller's: no prototype
  for (const [key, member] of Object.entries(value)) {
    if (member === null) result[key] = shape.optional ? null : zero(shape.of);
    else result[key] = fit(member, shape.of, where);
  }
  return result;
};

const fit = (value: Json, shape: Shape, where: string): Json => {
  switch (shape.kind) {
    case "struct":
      return fitStruct(value, shape, where);
    case "map":
      return fitMap(value, shape, where);
    case "list":
      if (!Array.isArray(value)) throw mismatch(value, shape, where);
      return value.map((item: Json) =>
        item === null ? zero(shape.of) : fit(item, shape.of, where),
      );
    case "string":
    case "bool":
    case "int":
      if (!fitsScalar(value, shape.kind)) throw mismatch(value, shape, where);
      return value;
  }
};

/** `json.NewDecoder(body).Decode(&v)`: an empty text is `EOF`, a cut one `unexpected EOF`. Throws GoJsonError. */
export const decodeStream = (text: string, shape: Shape, empty = "EOF"): Json => {
  if (text.trim() === "") throw new GoJsonError(empty);
  const end = new Scanner(text, "unexpected EOF").end();
  const value = parseJson(text.slice(0, end));
  return value === null ? zero(shape) : fit(value, shape, "");
};

/** As Nomad reads the messages of a WebSocket: an empty one is cut, too. Throws GoJsonError. */
export const decodeMessage = (text: string, shape: Shape): Json =>
  decodeStream(text, shape, "unexpected EOF");

/** `json.Unmarshal`: an empty or cut text is `unexpected end of JSON input`, text behind the value is refused. */
export const decodeWhole = (text: string, shape: Shape): Json => {
  const scanner = new Scanner(text, "unexpected end of JSON input");
  const end = scanner.end();
  const rest = scanner.rest();
  if (rest !== "")
    throw new GoJsonError(`invalid character ${quoteByte(rest[0] ?? "")} after top-level value`);
  const value = parseJson(text.slice(0, end));
  return value === null ? zero(shape) : fit(value, shape, "");
};
