/** A filter's value read as the kind of the field it is compared with, with Go's words (`strconv`, base 0). */
import { goQuote, type Parsed, parseGoBool } from "../../lib/go.ts";

const maxDigits = 80;
const integer =
  /^([+-]?)(0[xX](?:_?[0-9a-fA-F])+|0[bB](?:_?[01])+|0[oO]?(?:_?[0-7])+|0|[1-9](?:_?[0-9])*)$/;
const float = /^[+-]?(?:(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?|inf(?:inity)?|nan)$/i;

const fault = (
  name: string,
  text: string,
  reason: string,
): { readonly ok: false; readonly text: string } => ({
  ok: false,
  text: `strconv.${name}: parsing ${goQuote(text)}: ${reason}`,
});

const magnitude = (digits: string): bigint => {
  const plain = digits.replaceAll("_", "").toLowerCase();
  return BigInt(/^0[0-7]/.test(plain) ? `0o${plain.slice(1)}` : plain);
};

const readInteger = (
  name: "ParseInt" | "ParseUint",
  text: string,
  min: bigint,
  max: bigint,
): Parsed<bigint> => {
  const match = text.length > maxDigits ? null : integer.exec(text);
  if (match === null || (name === "ParseUint" && match[1] !== ""))
    return fault(name, text, "invalid syntax");
  const value = magnitude(match[2] ?? "0") * (match[1] === "-" ? -1n : 1n);
  return value < min || value > max ? fault(name, text, "value out of range") : { ok: true, value };
};

/** `strconv.ParseInt(text, 0, 64)`: 0x, 0b, 0o and a leading 0 as in Go. */
export const coerceInt = (text: string): Parsed<bigint> =>
  readInteger("ParseInt", text, -(2n ** 63n), 2n ** 63n - 1n);

/** `strconv.ParseUint(text, 0, 64)`. */
export const coerceUint = (text: string): Parsed<bigint> =>
  readInteger("ParseUint", text, 0n, 2n ** 64n - 1n);

/** `strconv.ParseFloat(text, 64)` without hexadecimal mantissas. */
export const coerceFloat = (text: string): Parsed<number> => {
  if (text.length > maxDigits || !float.test(text))
    return fault("ParseFloat", text, "invalid syntax");
  const word = text.toLowerCase().replace(/^\+/, "");
  if (word.includes("inf")) return { ok: true, value: word.startsWith("-") ? -Infinity : Infinity };
  if (word.includes("nan")) return { ok: true, value: Number.NaN };
  const value = Number(text);
  return Number.isFinite(value)
    ? { ok: true, value }
    : fault("ParseFloat", text, "value out of range");
};

export const coerceBool = parseGoBool;
