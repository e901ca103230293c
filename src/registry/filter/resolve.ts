/** Finds what a selector means in a document, with the words of Go's pointerstructure for what is not there. */
import { goQuote } from "../../lib/go.ts";
import { coerceInt } from "./coerce.ts";
import { FilterFault } from "./expression.ts";
import { any, bool, float64, int64, list, map, string, type Type } from "./types.ts";

export interface Value {
  readonly type: Type;
  /** As in the document; undefined where it leaves a zero value out. */
  readonly value: unknown;
}

/** A nil pointer or interface, as reflection sees it. */
const nothing: Value = { type: { kind: "opaque" }, value: null };

export const isNothing = (found: Value): boolean => found === nothing;

const typeOfJson = (value: unknown): Type => {
  if (Array.isArray(value)) return list(any);
  if (typeof value === "string") return string;
  if (typeof value === "boolean") return bool;
  if (typeof value === "bigint") return int64;
  if (typeof value === "number") return Number.isInteger(value) ? int64 : float64;
  return map(any);
};

/** Behind pointers and interfaces. */
export const indirect = ({ type, value }: Value): Value => {
  if (type.kind !== "pointer" && type.kind !== "any") return { type, value };
  if (value === null || value === undefined) return nothing;
  return type.kind === "pointer"
    ? indirect({ type: type.to, value })
    : { type: typeOfJson(value), value };
};

/** What Go's reflection calls the kind. */
export const kindOf = (found: Value): string => {
  if (isNothing(found)) return "invalid";
  const { type } = found;
  if ("go" in type) return type.go;
  if (type.kind === "opaque") return "struct";
  if (type.kind === "blank") return "string";
  return type.kind === "list" ? "slice" : type.kind;
};

const memberOf = (value: unknown, name: string): unknown =>
  typeof value === "object" && value !== null && Object.hasOwn(value, name)
    ? Reflect.get(value, name)
    : undefined;

export const itemsOf = (value: unknown): readonly unknown[] => (Array.isArray(value) ? value : []);

export const keysOf = (value: unknown): readonly string[] =>
  typeof value === "object" && value !== null && !Array.isArray(value) ? Object.keys(value) : [];

export const pointerText = (path: readonly string[]): string =>
  path.map((part) => `/${part.replaceAll("~", "~0").replaceAll("/", "~1")}`).join("");

type Step = Value | "no such key" | { readonly fault: string };

const stepIntoList = (part: string, type: Type, value: unknown): Step => {
  const index = coerceInt(part);
  if (!index.ok) return { fault: `couldn't convert ${goQuote(part)} to type int` };
  const items = itemsOf(value);
  if (index.value < 0n || index.value >= BigInt(items.length))
    return { fault: `index ${index.value} is out of range (length = ${items.length})` };
  return { type, value: items[Number(index.value)] };
};

const noField = (part: string): Step => ({
  fault: `couldn't find key: struct field with name ${goQuote(part)}`,
});

const step = (part: string, { type, value }: Value): Step | undefined => {
  if (type.kind === "struct") {
    const field = type.fields.get(part);
    return field === undefined ? noField(part) : { type: field, value: memberOf(value, part) };
  }
  if (type.kind === "opaque") return noField(part);
  if (type.kind === "list") return stepIntoList(part, type.of, value);
  if (type.kind !== "map") return undefined;
  return Object.hasOwn(Object(value), part)
    ? { type: type.of, value: memberOf(value, part) }
    : "no such key";
};

const missing = (words: string): FilterFault =>
  new FilterFault("evaluate", `error finding value in datum: ${words}`);

/** The value a path leads to; undefined when its last part is a key that its map does not have. */
export const resolvePath = (path: readonly string[], root: Value): Value | undefined => {
  let current = root;
  for (const [i, part] of path.entries()) {
    const here = indirect(current);
    const next = isNothing(here) ? undefined : step(part, here);
    if (next === undefined)
      throw missing(`${pointerText(path)}: at part ${i}, invalid value kind: ${kindOf(here)}`);
    if (next === "no such key") {
      if (i === path.length - 1 && i > 0) return undefined;
      throw missing(`${pointerText(path)} at part ${i}: couldn't find key ${goQuote(part)}`);
    }
    if ("fault" in next) throw missing(`${pointerText(path)} at part ${i}: ${next.fault}`);
    current = next;
  }
  return current;
};
