/** A UUID as four 32-bit words, read without making garbage. Only the canonical form (lib/uuid.ts) is read: lower case, hyphens in their usual places. */

const uuidLength = 36;
const hyphen = 0x2d;
const digits = "0123456789abcdef";

/** Value of a hexadecimal digit; -1, whose sign survives shifting and or-ing, for every other byte. */
const nibbles = new Int8Array(256).fill(-1);
for (let value = 0; value < digits.length; value++) nibbles[digits.charCodeAt(value)] = value;

const nibble = (code: number): number => nibbles[code] ?? -1;

const hex4Of = (text: string, at: number): number =>
  (nibble(text.charCodeAt(at)) << 12) |
  (nibble(text.charCodeAt(at + 1)) << 8) |
  (nibble(text.charCodeAt(at + 2)) << 4) |
  nibble(text.charCodeAt(at + 3));

/** Reads a whole string into `words`; false when it is no canonical UUID. */
export const readWords = (text: string, words: Uint32Array): boolean => {
  if (text.length !== uuidLength) return false;
  const a = hex4Of(text, 0);
  const b = hex4Of(text, 4);
  const c = hex4Of(text, 9);
  const d = hex4Of(text, 14);
  const e = hex4Of(text, 19);
  const f = hex4Of(text, 24);
  const g = hex4Of(text, 28);
  const h = hex4Of(text, 32);
  words[0] = (a << 16) | b;
  words[1] = (c << 16) | d;
  words[2] = (e << 16) | f;
  words[3] = (g << 16) | h;
  return (
    (a | b | c | d | e | f | g | h) >= 0 &&
    text.charCodeAt(8) === hyphen &&
    text.charCodeAt(13) === hyphen &&
    text.charCodeAt(18) === hyphen &&
    text.charCodeAt(23) === hyphen
  );
};
