/**
 * Cuts a JSON list into the bytes of its items without parsing them, so that an agent's answer is taken in item by item:
 * unchanged ones are skipped by their digest, a large list does not stall the loop, a bad item spoils no other.
 */

const quote = 0x22;
const backslash = 0x5c;
const comma = 0x2c;
const opens: ReadonlySet<number | undefined> = new Set([0x5b, 0x7b]);
const closes: ReadonlySet<number | undefined> = new Set([0x5d, 0x7d]);
const listStart = 0x5b;
const blanks: ReadonlySet<number | undefined> = new Set([0x20, 0x09, 0x0a, 0x0d]);

const skipBlanks = (bytes: Uint8Array, from: number): number => {
  let at = from;
  while (blanks.has(bytes[at])) at++;
  return at;
};

/** Index behind the string that starts at `from`. */
const endOfString = (bytes: Uint8Array, from: number): number => {
  for (let at = from + 1; at < bytes.length; at++) {
    const byte = bytes[at];
    if (byte === backslash) at++;
    else if (byte === quote) return at + 1;
  }
  throw new SyntaxError("a text does not end");
};

/** Index of the comma or bracket that ends the item starting at `from`. */
const endOfItem = (bytes: Uint8Array, from: number): number => {
  let depth = 0;
  let at = from;
  while (at < bytes.length) {
    const byte = bytes[at];
    if (byte === quote) {
      at = endOfString(bytes, at);
      continue;
    }
    if (depth === 0 && (byte === comma || closes.has(byte))) return at;
    if (opens.has(byte)) depth++;
    else if (closes.has(byte)) depth--;
    at++;
  }
  throw new SyntaxError("the list does not end");
};

/** The items' bytes in order. Throws SyntaxError where the whole is no list; an item itself is not looked at. */
export function* splitDocuments(bytes: Uint8Array): Generator<Uint8Array, void, undefined> {
  let at = skipBlanks(bytes, 0);
  if (bytes[at] !== listStart) throw new SyntaxError("the answer is no list");
  at = skipBlanks(bytes, at + 1);
  if (bytes[at] === listStart + 2) return;
  for (;;) {
    const end = endOfItem(bytes, at);
    yield bytes.subarray(at, end);
    if (bytes[end] !== comma) return;
    at = skipBlanks(bytes, end + 1);
  }
}
