/** Go's `strconv.Unquote` for the two kinds of string a filter may hold; undefined when it is not sound. */

const simpleEscapes: Readonly<Record<string, string>> = {
  a: "\x07", b: "\b", f: "\f", n: "\n", r: "\r", t: "\t", v: "\v", "\\": "\\", '"': '"',
}; // biome-ignore format: a table

const escapeSequence =
  /\\(?:([abfnrtv\\"])|x([0-9a-fA-F]{2})|u([0-9a-fA-F]{4})|U([0-9a-fA-F]{8})|([0-7]{3}))|\\/g;
const maxCodePoint = 0x10ffff;

const isScalar = (point: number): boolean =>
  point <= maxCodePoint && (point < 0xd800 || point > 0xdfff);

const bytesOf = (match: RegExpExecArray): Buffer | undefined => {
  const [, simple, hex, short, long, octal] = match;
  if (simple !== undefined) return Buffer.from(simpleEscapes[simple] ?? "");
  if (hex !== undefined) return Buffer.from([Number.parseInt(hex, 16)]);
  if (octal !== undefined) {
    const byte = Number.parseInt(octal, 8);
    return byte > 0xff ? undefined : Buffer.from([byte]);
  }
  const digits = short ?? long;
  if (digits === undefined) return undefined;
  const point = Number.parseInt(digits, 16);
  return isScalar(point) ? Buffer.from(String.fromCodePoint(point)) : undefined;
};

const unescaped = (text: string): string | undefined => {
  if (text.includes("\n")) return undefined;
  if (!text.includes("\\")) return text;
  const parts: Buffer[] = [];
  let copied = 0;
  for (const match of text.matchAll(escapeSequence)) {
    const bytes = bytesOf(match);
    if (bytes === undefined) return undefined;
    parts.push(Buffer.from(text.slice(copied, match.index)), bytes);
    copied = match.index + match[0].length;
  }
  parts.push(Buffer.from(text.slice(copied)));
  return Buffer.concat(parts).toString();
};

/** `quoted` with its quotes: backticks or double quotes. */
export const unquote = (quoted: string): string | undefined => {
  const text = quoted.slice(1, -1);
  return quoted.startsWith("`") ? text.replaceAll("\r", "") : unescaped(text);
};
