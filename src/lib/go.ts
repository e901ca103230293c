/** Go's spellings of plain values, with Go's own error texts: unmodified Nomad clients send and match them. */

export type Parsed<T> =
  | { readonly ok: true; readonly value: T }
  | { readonly ok: false; readonly text: string };

const trueWords: ReadonlySet<string> = new Set(["1", "t", "T", "TRUE", "true", "True"]);
const falseWords: ReadonlySet<string> = new Set(["0", "f", "F", "FALSE", "false", "False"]);

const escapes: Readonly<Record<string, string>> = {
  "\x07": "\\a",
  "\b": "\\b",
  "\f": "\\f",
  "\n": "\\n",
  "\r": "\\r",
  "\t": "\\t",
  "\v": "\\v",
  '"': '\\"',
  "\\": "\\\\",
};

const escapeCharacter = (character: string): string => {
  const known = escapes[character];
  if (known !== undefined) return known;
  const point = character.codePointAt(0) ?? 0;
  if (point < 0x80) return `\\x${point.toString(16).padStart(2, "0")}`;
  if (point < 0x10000) return `\\u${point.toString(16).padStart(4, "0")}`;
  return `\\U${point.toString(16).padStart(8, "0")}`;
};

/** `strconv.Quote`: a double-quoted Go string with control and unprintable characters escaped. */
export const goQuote = (text: string): string =>
  `"${text.replace(/["\\]|[^\p{L}\p{M}\p{N}\p{P}\p{S} ]/gu, escapeCharacter)}"`;

/** `strconv.ParseBool`. */
export const parseGoBool = (text: string): Parsed<boolean> => {
  if (trueWords.has(text)) return { ok: true, value: true };
  if (falseWords.has(text)) return { ok: true, value: false };
  return { ok: false, text: `strconv.ParseBool: parsing ${goQuote(text)}: invalid syntax` };
};

const maxInt64 = 2n ** 63n - 1n;
const minInt64 = -(2n ** 63n);
const maxUint64 = 2n ** 64n - 1n;

const parseInteger = (
  name: string,
  pattern: RegExp,
  text: string,
  min: bigint,
  max: bigint,
): Parsed<bigint> => {
  if (!pattern.test(text))
    return { ok: false, text: `strconv.${name}: parsing ${goQuote(text)}: invalid syntax` };
  const value = BigInt(text.startsWith("+") ? text.slice(1) : text);
  if (value < min || value > max)
    return { ok: false, text: `strconv.${name}: parsing ${goQuote(text)}: value out of range` };
  return { ok: true, value };
};

/** `strconv.ParseInt(text, 10, 64)`. Digits are bounded before they are converted. */
export const parseGoInt = (text: string): Parsed<bigint> =>
  parseInteger("ParseInt", /^[+-]?\d{1,64}$/, text, minInt64, maxInt64);

/** `strconv.ParseUint(text, 10, 64)`. */
export const parseGoUint = (text: string): Parsed<bigint> =>
  parseInteger("ParseUint", /^\d{1,64}$/, text, 0n, maxUint64);

const unitMs: Readonly<Record<string, number>> = {
  ns: 1e-6,
  us: 1e-3,
  µs: 1e-3,
  μs: 1e-3,
  ms: 1,
  s: 1_000,
  m: 60_000,
  h: 3_600_000,
};

const durationPart = /(\d+(?:\.\d*)?|\.\d+)(ns|us|µs|μs|ms|s|m|h)/y;
const maxDurationLength = 64;
/** 2^63 ns. */
const maxDurationMs = 2 ** 63 / 1e6;

/** `time.ParseDuration`, in milliseconds (fractions kept); undefined when it does not parse. */
export const parseGoDurationMs = (text: string): number | undefined => {
  if (text.length > maxDurationLength) return undefined;
  const sign = text.startsWith("-") ? -1 : 1;
  const body = /^[+-]/.test(text) ? text.slice(1) : text;
  if (body === "0") return 0;
  let totalMs = 0;
  let at = 0;
  while (at < body.length) {
    durationPart.lastIndex = at;
    const part = durationPart.exec(body);
    if (part === null) return undefined;
    totalMs += Number(part[1]) * (unitMs[part[2] ?? ""] ?? Number.NaN);
    at = durationPart.lastIndex;
  }
  return body === "" || totalMs > maxDurationMs ? undefined : sign * totalMs;
};
