/** The fields of an answer's head, as the lines that they are sent as (RFC 9112 §5). */

const fieldLine = /^[!#$%&'*+.^_`|~0-9A-Za-z-]+: [\t\x20-\x7e\x80-\xff]*\r\n$/;

export type Value = string | number | readonly string[];

const lineOf = (name: string, value: string | number): string => {
  const line = `${name}: ${value}\r\n`;
  if (!fieldLine.test(line)) throw new TypeError(`header ${name} cannot be sent`);
  return line;
};

const linesOf = (name: string, value: Value): string => {
  if (typeof value !== "object") return lineOf(name, value);
  let lines = "";
  for (const one of value) lines += lineOf(name, one);
  return lines;
};

/** What was last said under a name: the same is said again in most answers, and its lines need not be made and looked at anew. */
interface Said {
  value: Value | undefined;
  /** "" until it was said twice. */
  lines: string;
}

const said = new Map<string, Said>();
const maxSaidNames = 64;
const maxSaidLength = 256;

const saidBefore = (name: string): Said | undefined => {
  const known = said.get(name);
  if (known !== undefined || said.size === maxSaidNames) return known;
  const fresh = { value: undefined, lines: "" };
  said.set(name, fresh);
  return fresh;
};

/** As `linesOf`; a list that is the same is taken to say the same. */
const linesAgain = (name: string, value: Value): string => {
  const last = saidBefore(name);
  if (last === undefined) return linesOf(name, value);
  if (last.value === value) {
    if (last.lines === "") last.lines = linesOf(name, value);
    return last.lines;
  }
  const lines = linesOf(name, value);
  last.value = lines.length <= maxSaidLength ? value : undefined;
  last.lines = "";
  return lines;
};

const lowerCase = 0x20;

/** Whatever their case. Most that are as long begin with another letter, and need not be lowered. */
const isSameName = (one: string, other: string): boolean =>
  one.length === other.length &&
  ((one.charCodeAt(0) ^ other.charCodeAt(0)) | lowerCase) === lowerCase &&
  one.toLowerCase() === other.toLowerCase();

/** Lines of a head: few, which a Map would cost more for than it spares. */
export class Fields {
  readonly #names: string[] = [];
  readonly #lines: string[] = [];

  /** Names are the same whatever their case. */
  #placeOf(name: string): number {
    const names = this.#names;
    for (let at = 0; at < names.length; at++) {
      const one = names[at] ?? "";
      if (one === name || isSameName(one, name)) return at;
    }
    return names.length;
  }

  /** Throws TypeError for what no head can hold. */
  set(name: string, value: Value): void {
    const lines = linesAgain(name, value);
    const at = this.#placeOf(name);
    this.#names[at] = name;
    this.#lines[at] = lines;
  }

  /** Its lines as they are sent; undefined when it was not set. */
  get(name: string): string | undefined {
    return this.#lines[this.#placeOf(name)];
  }

  get text(): string {
    let text = "";
    for (const line of this.#lines) text += line;
    return text;
  }
}

let date = "";
let dateSecond = 0;

/** RFC 9110 §6.6.1; made once a second. */
export const dateLine = (): string => {
  const second = Math.trunc(Date.now() / 1_000);
  if (second !== dateSecond) {
    dateSecond = second;
    date = `Date: ${new Date(second * 1_000).toUTCString()}\r\n`;
  }
  return date;
};
