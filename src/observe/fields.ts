/** What may stand in a line: bounded texts without credentials, errors as plain fields, nothing deep. */
import { GatewayError } from "../errors.ts";
import { escapeControls, hidden, redactText } from "./redact.ts";

const maxLength = 2048;
const maxIdLength = 64;
const maxItems = 64;
const maxDepth = 4;
const maxCauses = 5;

const secretKeys: ReadonlySet<string> = new Set([
  "secret", "secretid", "secret_id", "token", "authtoken", "jointoken", "join_token", "pullsecret", "pull_secret",
  "authorization", "x-nomad-token", "proxy-authorization", "password", "cookie", "set-cookie", "key", "env",
]); // biome-ignore format: a list

/** True when a value of that name is never shown. */
export const isSecret = (name: string): boolean => secretKeys.has(name.toLowerCase());

const isExpected = (error: Error): boolean =>
  error instanceof GatewayError && error.code !== "internal";

const causesOf = (error: Error): readonly string[] => {
  const causes: string[] = [];
  let cause = error.cause;
  while (cause instanceof Error && causes.length < maxCauses) {
    causes.push(cause.message);
    cause = cause.cause;
  }
  return causes;
};

/** No own properties beyond the code: they may hold a request's head. An expected refusal needs no stack. */
const errorFields = (error: Error): Readonly<Record<string, unknown>> => {
  const causes = causesOf(error);
  return {
    type: error.name,
    message: error.message,
    ...("code" in error ? { code: String(error.code) } : {}),
    ...(causes.length === 0 ? {} : { causes }),
    ...(isExpected(error) ? {} : { stack: error.stack }),
  };
};

/** A text as a line may hold it: bounded, credentials hidden. */
export const shortText = (text: string): string =>
  redactText(text.length > maxLength ? `${text.slice(0, maxLength)}…` : text);

/** What ids and addresses do not have; a text without it has too few letters for a credential's word, and is plain too. */
const beyondIds = /[^\dA-Fa-f.:-]/;
/** What JSON escapes or a terminal may obey, and some more. */
const beyondPlain = /[^ !#-[\]-~]/;

/** A value that is clean, as JSON that no terminal obeys. */
export const jsonOf = (clean: unknown): string => escapeControls(JSON.stringify(clean));

/** The same of a text. */
export const quoted = (clean: string): string =>
  beyondPlain.test(clean) ? jsonOf(clean) : `"${clean}"`;

/** A text as a line may hold it, as JSON. */
export const jsonText = (text: string): string =>
  text.length > maxIdLength || beyondIds.test(text) ? quoted(shortText(text)) : `"${text}"`;

const objectFields = (value: object, depth: number): unknown => {
  if (depth >= maxDepth) return "…";
  if (value instanceof Error) return cleanValue(errorFields(value), depth);
  if (ArrayBuffer.isView(value)) return `${value.byteLength} bytes`;
  if (Array.isArray(value))
    return value.slice(0, maxItems).map((item: unknown) => cleanValue(item, depth + 1));
  return Object.fromEntries(
    Object.entries(value)
      .slice(0, maxItems)
      .map(([key, item]) => [shortText(key), isSecret(key) ? hidden : cleanValue(item, depth + 1)]),
  );
};

/** A value as a line may hold it. */
const cleanValue = (value: unknown, depth = 0): unknown => {
  if (typeof value === "string") return shortText(value);
  if (typeof value === "bigint") return value.toString();
  if (typeof value === "object" && value !== null) return objectFields(value, depth);
  return typeof value === "function" || typeof value === "symbol" ? undefined : value;
};

/** All fields of a line. */
export const cleanFields = (fields: object): object => {
  const cleaned = cleanValue(fields);
  return typeof cleaned === "object" && cleaned !== null ? cleaned : {};
};
