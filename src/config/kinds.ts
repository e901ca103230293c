/** Kinds of settings: how a value is written in a file or the environment, and what it becomes. Nothing is guessed. */
import { BlockList, isIP } from "node:net";
import { parseGoDurationMs } from "../lib/go.ts";
import { isUuid } from "../lib/uuid.ts";

/** `suffix` is the unit that the typed name bears: `idle` of a duration is `idleMs`. */
export interface Kind<T, Suffix extends string = ""> {
  /** As in "must be <words>". */
  readonly words: string;
  readonly unit: string;
  readonly suffix: Suffix;
  /** undefined: the value does not parse. */
  readonly parse: (value: unknown) => T | undefined;
  /** From the environment or a flag, where everything is text, to what a file would hold. */
  readonly fromText: (text: string) => unknown;
}

export interface Address {
  readonly host: string;
  readonly port: number;
}

const asText = (text: string): unknown => text;

const asNumber = (text: string): unknown => (/^-?\d+(\.\d+)?$/.test(text) ? Number(text) : text);

const asBoolean = (text: string): unknown =>
  text === "true" ? true : text === "false" ? false : text;

const asList = (text: string): unknown =>
  text.trim() === "" ? [] : text.split(",").map((item) => item.trim());

const isClean = (text: string): boolean =>
  text.trim() !== "" && !/[\p{Cc}\u2028\u2029]/u.test(text);

const textKind = (words: string, accept: (text: string) => boolean): Kind<string> => ({
  words,
  unit: "text",
  suffix: "",
  parse: (value) =>
    typeof value === "string" && isClean(value) && accept(value) ? value : undefined,
  fromText: asText,
});

export const text = textKind("a text that is not empty", () => true);
export const filePath = textKind("a path", () => true);

/** Part of a file's or directory's name, and of a metric's label. */
export const plainName = textKind(
  "a name of letters, digits, '.', '_' and '-', at most 128 characters",
  (value) => /^[A-Za-z0-9][A-Za-z0-9._-]{0,127}$/.test(value),
);

export const nodeId = textKind("a node's id, as `nomad node status -self` prints it", (value) =>
  isUuid(value.toLowerCase()),
);

export const secretText = textKind(
  "a secret of 16 to 1024 printable characters without blanks",
  (value) => /^[\x21-\x7e]{16,1024}$/.test(value),
);

const isUrl = (value: string, protocols: readonly string[]): boolean => {
  const url = URL.parse(value);
  if (url === null || !protocols.includes(url.protocol)) return false;
  return url.username === "" && url.password === "" && url.hash === "";
};

export const httpUrl = textKind("a URL with http:// or https://, without credentials", (value) =>
  isUrl(value, ["http:", "https:"]),
);

const isOrigin = (value: string): boolean =>
  isUrl(value, ["http:", "https:"]) && new URL(value).origin === value.toLowerCase();

export const oneOf = <const T extends string>(...choices: readonly T[]): Kind<T> => ({
  words: `one of ${choices.join(", ")}`,
  unit: "word",
  suffix: "",
  parse: (value) => choices.find((choice) => choice === value),
  fromText: asText,
});

export const flag: Kind<boolean> = {
  words: "true or false",
  unit: "true|false",
  suffix: "",
  parse: (value) => (typeof value === "boolean" ? value : undefined),
  fromText: asBoolean,
};

export const integer = (min: number, max: number, unit = "number"): Kind<number> => ({
  words: `a whole number from ${min} to ${max}`,
  unit,
  suffix: "",
  parse: (value) =>
    typeof value === "number" && Number.isSafeInteger(value) && value >= min && value <= max
      ? value
      : undefined,
  fromText: asNumber,
});

/** Node's timers fire at once beyond this. */
const maxTimerMs = 2 ** 31 - 1;

const durationKind = (words: string, minMs: number): Kind<number, "Ms"> => ({
  words,
  unit: "duration",
  suffix: "Ms",
  parse: (value) => {
    const ms = typeof value === "string" ? parseGoDurationMs(value) : undefined;
    return ms !== undefined && ms >= minMs && ms <= maxTimerMs ? ms : undefined;
  },
  fromText: asText,
});

export const duration = durationKind('a duration like "10s" or "1m30s", from 1ms to 596h', 1);
export const durationOrZero = durationKind('a duration like "5s", from "0s" to 596h', 0);

const sizeUnits: Readonly<Record<string, number>> = {
  B: 1,
  KB: 1e3,
  MB: 1e6,
  GB: 1e9,
  KiB: 2 ** 10,
  MiB: 2 ** 20,
  GiB: 2 ** 30,
};

const parseSize = (value: unknown): number | undefined => {
  if (typeof value !== "string") return undefined;
  const match = /^(\d{1,15})(B|KB|MB|GB|KiB|MiB|GiB)$/.exec(value);
  return match === null ? undefined : Number(match[1]) * (sizeUnits[match[2] ?? ""] ?? Number.NaN);
};

/** Bounds are given as texts, so that they can be said in the mistake. */
export const size = (min: string, max: string): Kind<number, "Bytes"> => ({
  words: `a size like "64KiB", from ${min} to ${max}`,
  unit: "size",
  suffix: "Bytes",
  parse: (value) => {
    const bytes = parseSize(value) ?? Number.NaN;
    return bytes >= (parseSize(min) ?? 0) && bytes <= (parseSize(max) ?? 0) ? bytes : undefined;
  },
  fromText: asText,
});

const hostPattern = /^(?:\[([0-9a-fA-F:.]+)\]|([A-Za-z0-9._-]+)):(\d{1,5})$/;

const parseHostPort = (value: unknown): Address | undefined => {
  const match = typeof value === "string" ? hostPattern.exec(value) : null;
  if (match === null) return undefined;
  const [, six, name, digits] = match;
  const port = Number(digits);
  if (port > 65_535 || (six !== undefined && isIP(six) !== 6)) return undefined;
  return { host: six ?? name ?? "", port };
};

export const hostPort: Kind<Address> = {
  words: "HOST:PORT",
  unit: "HOST:PORT",
  suffix: "",
  parse: parseHostPort,
  fromText: asText,
};

/** `10.0.0.0/8`, `fd00::/8` or one address. */
const isCidr = (value: string): boolean => {
  const [address = "", prefix, ...rest] = value.split("/");
  const version = isIP(address);
  if (version === 0 || rest.length > 0) return false;
  if (prefix === undefined) return true;
  if (!/^\d{1,3}$/.test(prefix) || Number(prefix) > (version === 4 ? 32 : 128)) return false;
  new BlockList().addSubnet(address, Number(prefix), version === 4 ? "ipv4" : "ipv6");
  return true;
};

const textListKind = (
  words: string,
  accept: (text: string) => boolean,
): Kind<readonly string[]> => ({
  words,
  unit: "list",
  suffix: "",
  parse: (value) => {
    if (!Array.isArray(value)) return undefined;
    const items = value.filter(
      (item): item is string => typeof item === "string" && isClean(item) && accept(item),
    );
    return items.length === value.length ? items : undefined;
  },
  fromText: asList,
});

export const texts = textListKind("a list of texts", () => true);
/** Arguments of a command: may be empty texts, may hold line ends. */
export const argumentList: Kind<readonly string[]> = {
  ...texts,
  words: "a list of texts without NUL",
  parse: (value) =>
    Array.isArray(value) && value.every((item) => typeof item === "string" && !item.includes("\0"))
      ? value
      : undefined,
};
export const networks = textListKind('a list of networks like "10.0.0.0/8"', isCidr);
const originList = textListKind('a list of origins like "https://ui.example.com"', isOrigin);
/** As browsers write them: they are compared with what those send. */
export const origins: Kind<readonly string[]> = {
  ...originList,
  parse: (value) => originList.parse(value)?.map((origin) => origin.toLowerCase()),
};

const isServer = (value: string): boolean =>
  isUrl(value, ["http:", "https:"]) && new URL(value).href === `${new URL(value).origin}/`;
const serverList = textListKind('a list of addresses like "https://10.0.0.1:4646"', isServer);
/** Whom serai asks or dials, as it will name them. */
export const servers: Kind<readonly string[]> = {
  ...serverList,
  parse: (value) => serverList.parse(value)?.map((server) => new URL(server).origin),
};

const parseTextMap = (value: unknown): Readonly<Record<string, string>> | undefined => {
  if (typeof value !== "object" || value === null || Array.isArray(value)) return undefined;
  const entries = Object.entries(value).map(([key, item]): readonly [string, unknown] => [
    key,
    typeof item === "number" || typeof item === "boolean" ? String(item) : item,
  ]);
  const sound = entries.filter(
    (entry): entry is readonly [string, string] =>
      isClean(entry[0]) && typeof entry[1] === "string" && !entry[1].includes("\0"),
  );
  return sound.length === entries.length ? Object.fromEntries(sound) : undefined;
};

/** Numbers and truths are taken as their texts, as Nomad's job files do. */
export const textMap: Kind<Readonly<Record<string, string>>> = {
  words: "a map of texts",
  unit: "map",
  suffix: "",
  parse: parseTextMap,
  fromText: (value) => value,
};
