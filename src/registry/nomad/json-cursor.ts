/**
 * Reads the few fields that matter out of a JSON text, as bytes, without making values of the rest: an allocation's event
 * is 5 to 20 KB, a node's up to 50, and five words of it count. It checks as much as it needs to find its way; texts that
 * it cannot follow throw `SyntaxError`. Integers beyond 2^53 are refused where they are read, never rounded.
 */

const quote = 0x22;
const backslash = 0x5c;
const comma = 0x2c;
const colon = 0x3a;
const openBrace = 0x7b;
const closeBrace = 0x7d;
const openBracket = 0x5b;
const closeBracket = 0x5d;
const minus = 0x2d;
const zero = 0x30;
const nine = 0x39;
const space = 0x20;
/** Longer texts are none of the names that are read here: whoever may submit a job chooses its name. */
const maxTextBytes = 4_096;

const unescaped = (quoted: string): string => {
  const text: unknown = JSON.parse(quoted);
  if (typeof text !== "string") throw new SyntaxError("no text");
  return text;
};

/** The place after a text's end, from inside it; beyond the bytes when it has none. */
const afterText = (bytes: Buffer, from: number): number => {
  const end = bytes.length;
  let at = from;
  while (at < end) {
    const byte = bytes[at++];
    if (byte === quote) return at;
    if (byte === backslash) at++;
  }
  return end + 1;
};

/** The same for an object or list, from its bracket on. Depth is a number, not a stack: any nesting is passed. */
const afterNested = (bytes: Buffer, from: number): number => {
  const end = bytes.length;
  let at = from;
  let depth = 0;
  while (at < end) {
    const byte = bytes[at++];
    if (byte === quote) at = afterText(bytes, at);
    else if (byte === openBrace || byte === openBracket) depth++;
    else if ((byte === closeBrace || byte === closeBracket) && --depth === 0) return at;
  }
  return end + 1;
};

/** The members that are looked for, compared as bytes: no other member's name is made a text. */
export class Names {
  readonly #byLength: (readonly (readonly [string, Buffer])[] | undefined)[] = [];

  constructor(names: readonly string[]) {
    for (const name of names) {
      const bytes = Buffer.from(name);
      this.#byLength[bytes.length] = [...(this.#byLength[bytes.length] ?? []), [name, bytes]];
    }
  }

  /** The name that stands there; "" for one that is not looked for. */
  at(bytes: Buffer, start: number, end: number): string {
    const candidates = this.#byLength[end - start];
    if (candidates === undefined) return "";
    for (const [name, wanted] of candidates) {
      let at = 0;
      while (at < wanted.length && wanted[at] === bytes[start + at]) at++;
      if (at === wanted.length) return name;
    }
    return "";
  }
}

export class JsonCursor {
  readonly #bytes: Buffer;
  readonly #end: number;
  #at = 0;
  #isFinished = false;

  constructor(bytes: Buffer) {
    this.#bytes = bytes;
    this.#end = bytes.length;
  }

  /** Enters an object; false when the value is not one (it is skipped). */
  enterObject(): boolean {
    return this.#enter(openBrace);
  }

  enterArray(): boolean {
    return this.#enter(openBracket);
  }

  /** The next member's name, the cursor on its value: "" for one not looked for, undefined when the object has ended. */
  nextName(names: Names): string | undefined {
    if (this.#isFinished || !this.#nextOf(closeBrace)) return undefined;
    this.#space();
    const start = this.#at + 1;
    this.#skipString();
    const name = names.at(this.#bytes, start, this.#at - 1);
    this.#space();
    this.#expect(colon);
    return name;
  }

  /** True with the cursor on the next element; false when the array has ended. */
  nextElement(): boolean {
    return !this.#isFinished && this.#nextOf(closeBracket);
  }

  /** Whether these bytes come anywhere behind the cursor. */
  isAhead(bytes: Buffer): boolean {
    return this.#bytes.indexOf(bytes, this.#at) !== -1;
  }

  /** Whether the text ends with these bytes: one that breaks off hardly does. */
  endsWith(bytes: Buffer): boolean {
    return this.#bytes.subarray(Math.max(0, this.#end - bytes.length)).equals(bytes);
  }

  /** Nothing that is left is of interest: it is not looked at, and counts as ended. */
  finish(): void {
    this.#isFinished = true;
    this.#at = this.#end;
  }

  /** A text; undefined for any other value, or one longer than any name that is held, which is skipped. */
  text(): string | undefined {
    this.#space();
    if (this.#bytes[this.#at] === quote) return this.#takeString();
    this.skip();
    return undefined;
  }

  flag(): boolean | undefined {
    this.#space();
    const first = this.#bytes[this.#at];
    this.skip();
    if (first === 0x74) return true;
    return first === 0x66 ? false : undefined;
  }

  /** A whole number that is not negative; undefined for any other value. Throws beyond 2^53. */
  index(): number | undefined {
    this.#space();
    const start = this.#at;
    let value = 0;
    let byte = this.#bytes[this.#at] ?? 0;
    while (byte >= zero && byte <= nine && this.#at < this.#end) {
      value = value * 10 + (byte - zero);
      byte = this.#bytes[++this.#at] ?? 0;
    }
    if (this.#at > start && this.#isBoundary()) {
      if (!Number.isSafeInteger(value)) throw new SyntaxError("an index beyond 2^53");
      return value;
    }
    this.#at = start;
    this.skip();
    return undefined;
  }

  /** Passes one value of any kind. */
  skip(): void {
    this.#space();
    const first = this.#bytes[this.#at];
    if (first === quote) this.#skipString();
    else if (first === openBrace || first === openBracket) this.#skipNested();
    else this.#skipScalar();
  }

  /** Throws unless nothing but space follows. */
  done(): void {
    this.#space();
    if (this.#at < this.#end) throw new SyntaxError("text after the document");
  }

  #enter(bracket: number): boolean {
    this.#space();
    if (this.#bytes[this.#at] === bracket) {
      this.#at++;
      return true;
    }
    this.skip();
    return false;
  }

  /** Passes a comma between members; false at the closing bracket, which is passed. */
  #nextOf(closing: number): boolean {
    this.#space();
    const byte = this.#bytes[this.#at];
    if (byte === closing && this.#at < this.#end) {
      this.#at++;
      return false;
    }
    if (byte === comma) this.#at++;
    if (this.#at >= this.#end) throw new SyntaxError("the document breaks off");
    return true;
  }

  #isBoundary(): boolean {
    const byte = this.#bytes[this.#at] ?? comma;
    return (
      this.#at >= this.#end ||
      byte === comma ||
      byte === closeBrace ||
      byte === closeBracket ||
      byte <= space
    );
  }

  #space(): void {
    while (this.#at < this.#end && (this.#bytes[this.#at] ?? 0) <= space) this.#at++;
  }

  #expect(byte: number): void {
    if (this.#at >= this.#end || this.#bytes[this.#at] !== byte)
      throw new SyntaxError(`no ${String.fromCharCode(byte)} at byte ${this.#at}`);
    this.#at++;
  }

  #takeString(): string | undefined {
    const start = this.#at;
    this.#skipString();
    if (this.#at - start > maxTextBytes) return undefined;
    const text = this.#bytes.toString("utf8", start + 1, this.#at - 1);
    return text.includes("\\") ? unescaped(`"${text}"`) : text;
  }

  #skipString(): void {
    this.#expect(quote);
    const at = afterText(this.#bytes, this.#at);
    if (at > this.#end) throw new SyntaxError("a text breaks off");
    this.#at = at;
  }

  #skipNested(): void {
    const at = afterNested(this.#bytes, this.#at);
    if (at > this.#end) throw new SyntaxError("the document breaks off");
    this.#at = at;
  }

  #skipScalar(): void {
    const start = this.#at;
    while (!this.#isBoundary()) this.#at++;
    const first = this.#bytes[start] ?? 0;
    const isScalar =
      first === minus ||
      (first >= zero && first <= nine) ||
      "tfn".includes(String.fromCharCode(first));
    if (this.#at === start || !isScalar) throw new SyntaxError(`no value at byte ${start}`);
  }
}
