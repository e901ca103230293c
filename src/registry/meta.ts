/** A node's merged metadata as it comes from an agent: text to text, bounded, and nothing that names a prototype. */
import { isJsonObject, type Json } from "../lib/json.ts";

export type Meta = Readonly<Record<string, string>>;

const maxKeys = 512;
const maxCharacters = 256 * 1024;

/** Undefined when it is no metadata or too much of it. */
export const toMeta = (value: Json | undefined): Meta | undefined => {
  if (!isJsonObject(value)) return undefined;
  const entries = Object.entries(value);
  if (entries.length > maxKeys) return undefined;
  let characters = 0;
  const pairs: [string, string][] = [];
  for (const [key, text] of entries) {
    if (key === "" || key === "__proto__" || typeof text !== "string") return undefined;
    characters += key.length + text.length;
    pairs.push([key, text]);
  }
  return characters > maxCharacters ? undefined : Object.fromEntries(pairs);
};

export const isSameMeta = (one: Meta, other: Meta): boolean => {
  const keys = Object.keys(one);
  return (
    keys.length === Object.keys(other).length &&
    keys.every((key) => Object.hasOwn(other, key) && one[key] === other[key])
  );
};
