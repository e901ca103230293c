/**
 * Percent-encoding that keeps every byte, as Go's does: bytes that are no UTF-8 become lone surrogates (U+DC80 to U+DCFF, one
 * a byte), which no valid text holds, and go back to the same bytes.
 */

const escapeBase = 0xdc00;
const malformed = /%(?![0-9a-fA-F]{2})/;
const tail = "%[89abAB][0-9a-fA-F]";
/** Well-formed UTF-8 as Unicode's table 3-7 has it, or one byte that belongs to none. */
const sequences = new RegExp(
  [
    "(?:%[0-7][0-9a-f])+",
    `%(?:c[2-9a-f]|d[0-9a-f])${tail}`,
    `%e0%[ab][0-9a-f]${tail}`,
    `%e[1-9abcef]${tail}${tail}`,
    `%ed%[89][0-9a-f]${tail}`,
    `%f0%[9ab][0-9a-f]${tail}${tail}`,
    `%f[1-3]${tail}${tail}${tail}`,
    `%f4%8[0-9a-f]${tail}${tail}`,
    "%[0-9a-f]{2}",
  ].join("|"),
  "gi",
);
const highAsciiByte = 0x80;
const encodedLength = 3;

const hexByte = (code: number): string => `%${code.toString(16).padStart(2, "0").toUpperCase()}`;

const decodeSequence = (text: string): string => {
  const byte = Number.parseInt(text.slice(1, encodedLength), 16);
  if (text.length > encodedLength || byte < highAsciiByte) return decodeURIComponent(text);
  return String.fromCharCode(escapeBase + byte);
};

/** Undefined when a `%` is not followed by two digits. */
export const decodePercent = (text: string): string | undefined =>
  malformed.test(text) ? undefined : text.replace(sequences, decodeSequence);

const isEscape = (code: number): boolean =>
  code >= escapeBase + highAsciiByte && code <= escapeBase + 0xff;

const encodeCharacter = (character: string): string => {
  const code = character.charCodeAt(0);
  return character.length === 1 && isEscape(code)
    ? hexByte(code - escapeBase)
    : encodeURIComponent(character.toWellFormed());
};

/** The other way; never throws. */
export const encodePercent = (text: string): string =>
  text.isWellFormed() ? encodeURIComponent(text) : [...text].map(encodeCharacter).join("");

/** The text as a file's name: as it is where it is valid, its very bytes where it is not. */
export const toBytePath = (text: string): string | Buffer =>
  text.isWellFormed()
    ? text
    : Buffer.from(
        encodePercent(text).replace(/%([0-9A-F]{2})/g, (_all, hex: string) =>
          String.fromCharCode(Number.parseInt(hex, 16)),
        ),
        "latin1",
      );
