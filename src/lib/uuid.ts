/** Allocation and node ids: UUIDs as Nomad's index accepts them, with its error texts (nomad-http.md §1.6). */

const uuidPattern = /^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$/;
const uuidLength = 36;
const maxHyphens = 4;

/** True for a lower-case UUID in its usual form. */
export const isUuid = (text: string): boolean => uuidPattern.test(text);

const goRune = (character: string): string => {
  const point = (character.codePointAt(0) ?? 0).toString(16).toUpperCase().padStart(4, "0");
  return `U+${point} '${character}'`;
};

/** What is wrong with the hexadecimal part of an id or prefix; undefined when it is sound. */
const hexFault = (text: string): string | undefined => {
  const hyphens = text.length - text.replaceAll("-", "").length;
  if (hyphens > maxHyphens) return `UUID should have maximum of 4 "-"; got ${hyphens}`;
  const hex = text.replaceAll("-", "");
  if (hex.length % 2 !== 0) return "Input (without hyphens) must be even length";
  const bad = /[^0-9a-fA-F]/u.exec(hex);
  return bad ? `Invalid UUID: encoding/hex: invalid byte: ${goRune(bad[0])}` : undefined;
};

/** Nomad's words for an id that its index refuses; undefined when it would be looked up. */
export const uuidFault = (id: string): string | undefined => {
  if (isUuid(id)) return undefined;
  return Buffer.byteLength(id) === uuidLength ? hexFault(id) : "UUID must be 36 characters";
};

/** Nomad's words for a list prefix that its index refuses; undefined when it is sound. */
export const prefixFault = (prefix: string): string | undefined =>
  prefix.length > uuidLength
    ? `Invalid UUID length. UUID have 36 characters; got ${prefix.length}`
    : hexFault(prefix);

/**
 * The id as the directory knows it: lower case, hyphens in their usual places. Nomad's servers ignore case and
 * hyphen placement, so `uuidFault` must have passed before.
 */
export const canonicalUuid = (id: string): string => {
  if (isUuid(id)) return id;
  const hex = id.replaceAll("-", "").toLowerCase();
  return `${hex.slice(0, 8)}-${hex.slice(8, 12)}-${hex.slice(12, 16)}-${hex.slice(16, 20)}-${hex.slice(20)}`;
};
