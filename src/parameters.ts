/**
 * The query of each route, parsed once, in Nomad's order and with Nomad's words for what is wrong. What comes out is
 * written anew for the agent (`toQuery`); nothing is forwarded as it came. Pure: gateway and agent share it.
 */
import { failed, GatewayError, invalidRequest } from "./errors.ts";
import { goQuote, parseGoBool, parseGoDurationMs, parseGoInt, parseGoUint } from "./lib/go.ts";
import { decodePercent, encodePercent } from "./lib/percent.ts";

/** A query string as sent: each name with its values in order. */
export type RawQuery = ReadonlyMap<string, readonly string[]>;

/** Parsed values of one route, ready to be written anew; `undefined` ones are left out. */
export type Parameters = Readonly<Record<string, string | number | bigint | boolean | undefined>>;

const escaped = /[%+]/;

/** Undefined: Go drops a pair that it cannot unescape. */
const unescaped = (text: string): string | undefined =>
  escaped.test(text) ? decodePercent(text.replaceAll("+", " ")) : text;

const pairOf = (text: string): readonly [name: string, value: string] | undefined => {
  if (text === "" || text.includes(";")) return undefined; // as Go: semicolons are refused
  const at = text.indexOf("=");
  const name = unescaped(at < 0 ? text : text.slice(0, at));
  const value = unescaped(at < 0 ? "" : text.slice(at + 1));
  return name === undefined || value === undefined ? undefined : [name, value];
};

const maxPairs = 256;

/** Parses `a=b&c=d` as Go's url.ParseQuery does. More than 256 pairs is a 400. */
export const parseQuery = (text: string): RawQuery => {
  const query = new Map<string, string[]>();
  const pairs = text.split("&", maxPairs + 1);
  if (pairs.length > maxPairs)
    throw new GatewayError("bad_request", { text: `more than ${maxPairs} query parameters` });
  for (const text of pairs) {
    const pair = pairOf(text);
    if (pair === undefined) continue;
    const [name, value] = pair;
    const values = query.get(name);
    if (values) values.push(value);
    else query.set(name, [value]);
  }
  return query;
};

/** Writes parsed values as a query string without `?`; empty when there are none. Names are the routes' own, and plain. */
export const toQuery = (parameters: Parameters): string => {
  let query = "";
  for (const name in parameters) {
    const value = parameters[name];
    if (value !== undefined)
      query += `${query === "" ? "" : "&"}${name}=${encodePercent(String(value))}`;
  }
  return query;
};

/** The value of a parameter that decides something: given twice it is refused. Absent: undefined. */
export const one = (raw: RawQuery, name: string): string | undefined => {
  const values = raw.get(name);
  if (values && values.length > 1)
    throw new GatewayError("bad_request", {
      text: `parameter ${goQuote(name)} is given more than once`,
    });
  return values?.[0];
};

/** As `one`, an empty value counting as absent. */
const filled = (raw: RawQuery, name: string): string | undefined => one(raw, name) || undefined;

/* ---- what nearly every route parses (nomad-http.md §1.4) ---- */

export interface CommonParameters {
  readonly region: string | undefined;
  /** `default` when not given. */
  readonly namespace: string;
  readonly prefix: string;
  readonly perPage: number;
  readonly nextToken: string;
  readonly filter: string;
  readonly reverse: boolean;
  /** 0 when not given. */
  readonly index: bigint;
  /** Milliseconds; 0 when not given. */
  readonly waitMs: number;
  readonly pretty: boolean;
}

const staleFault = "Expect `true` or `false` for `stale` query string parameter";
const perPageFault = "Expect a number for `per_page` query string parameter";
const maxInt32 = 2n ** 31n - 1n;

const perPageOf = (text: string | undefined): number => {
  if (text === undefined) return 0;
  const parsed = parseGoInt(text);
  if (!parsed.ok || parsed.value > maxInt32 || parsed.value < -maxInt32 - 1n)
    throw invalidRequest(perPageFault);
  return Number(parsed.value);
};

const waitMsOf = (text: string | undefined): number => {
  if (text === undefined) return 0;
  const waitMs = parseGoDurationMs(text);
  if (waitMs === undefined) throw invalidRequest("Invalid wait time");
  return waitMs;
};

const indexOf = (text: string | undefined): bigint => {
  if (text === undefined) return 0n;
  const parsed = parseGoUint(text);
  if (!parsed.ok) throw invalidRequest("Invalid index");
  return parsed.value;
};

/** JSON is printed for people: asked for by anything but "0". */
export const isPretty = (raw: RawQuery): boolean => (raw.get("pretty")?.[0] ?? "0") !== "0";

/** Parsed in Nomad's order; throws Nomad's 400 for the first bad one. */
export const commonParameters = (raw: RawQuery): CommonParameters => {
  const region = filled(raw, "region");
  const stale = filled(raw, "stale");
  if (stale !== undefined && !parseGoBool(stale).ok) throw invalidRequest(staleFault);
  return {
    region,
    namespace: filled(raw, "namespace") ?? "default",
    prefix: one(raw, "prefix") ?? "",
    perPage: perPageOf(filled(raw, "per_page")),
    nextToken: one(raw, "next_token") ?? "",
    filter: one(raw, "filter") ?? "",
    reverse: one(raw, "reverse") === "true",
    waitMs: waitMsOf(filled(raw, "wait")),
    index: indexOf(filled(raw, "index")),
    pretty: isPretty(raw),
  };
};

/** A bool of the list and stop routes: a bad one is a 500 there, or what `refuse` makes of the text. */
export const listBool = (
  raw: RawQuery,
  name: string,
  fallback: boolean,
  refuse: (text: string) => GatewayError = failed,
): boolean => {
  const text = filled(raw, name);
  if (text === undefined) return fallback;
  const parsed = parseGoBool(text);
  if (!parsed.ok)
    throw refuse(`Failed to parse value of ${goQuote(name)} (${text}) as a bool: ${parsed.text}`);
  return parsed.value;
};

/* ---- files and logs (nomad-http.md §8) ---- */

type Origin = "start" | "end";
type Refuse = (text: string) => GatewayError;

const requiredPath = (raw: RawQuery): string => {
  const path = filled(raw, "path");
  if (path === undefined) throw invalidRequest("must provide a file name");
  return path;
};

const integer = (raw: RawQuery, name: string, refuse: Refuse): bigint => {
  const parsed = parseGoInt(one(raw, name) ?? "");
  if (!parsed.ok) throw refuse(`error parsing ${name}: ${parsed.text}`);
  return parsed.value;
};

const boolField = (raw: RawQuery, name: string, fallback: boolean, refuse: Refuse): boolean => {
  const text = filled(raw, name);
  if (text === undefined) return fallback;
  const parsed = parseGoBool(text);
  if (!parsed.ok) throw refuse(`failed to parse ${name} field to boolean: ${parsed.text}`);
  return parsed.value;
};

const originOf = (raw: RawQuery): Origin => {
  const origin = filled(raw, "origin") ?? "start";
  if (origin !== "start" && origin !== "end") throw invalidRequest("origin must be start or end");
  return origin;
};

export type LsParameters = { readonly path: string };
export const lsParameters = (raw: RawQuery): LsParameters => ({ path: filled(raw, "path") ?? "/" });

export type PathParameters = { readonly path: string };
export const pathParameters = (raw: RawQuery): PathParameters => ({ path: requiredPath(raw) });

/** `limit` <= 0 means to the end. */
export type ReadAtParameters = {
  readonly path: string;
  readonly offset: bigint;
  readonly limit: bigint;
};
export const readAtParameters = (raw: RawQuery): ReadAtParameters => ({
  path: requiredPath(raw),
  offset: integer(raw, "offset", failed),
  limit: filled(raw, "limit") === undefined ? 0n : integer(raw, "limit", failed),
});

export type StreamParameters = {
  readonly path: string;
  readonly follow: boolean;
  readonly offset: bigint;
  readonly origin: Origin;
};
export const streamParameters = (raw: RawQuery): StreamParameters => ({
  path: requiredPath(raw),
  follow: boolField(raw, "follow", true, failed),
  offset: filled(raw, "offset") === undefined ? 0n : integer(raw, "offset", failed),
  origin: originOf(raw),
});

/** What serai takes beyond Nomad: its agents themselves, and the gateway for Nomad's (carry/follow.ts). */
export type LogExtras = {
  /** A token to go on from, or `true` to be given some. */
  readonly resume: string | undefined;
  /** Bytes that the caller has had behind the token's place. */
  readonly skip: bigint | undefined;
  /** A followed log ends when its task is dead and all was read. */
  readonly until: "dead" | undefined;
  /** A followed log waits for its task to start. */
  readonly await: "start" | undefined;
};

const badRequest = (words: string): GatewayError =>
  new GatewayError("bad_request", { text: words });

const only = <T extends string>(raw: RawQuery, name: string, word: T): T | undefined => {
  const text = filled(raw, name);
  if (text !== undefined && text !== word) throw badRequest(`${name} must be ${word}`);
  return text === undefined ? undefined : word;
};

const logExtras = (raw: RawQuery, follow: boolean): LogExtras => {
  const resume = filled(raw, "resume");
  const skip = filled(raw, "skip") === undefined ? undefined : integer(raw, "skip", badRequest);
  if (skip !== undefined && (skip < 0n || resume === undefined || resume === "true"))
    throw badRequest("skip counts the bytes received behind a token: it goes with resume=<token>");
  const until = only(raw, "until", "dead");
  const awaited = only(raw, "await", "start");
  if (!follow && (until !== undefined || awaited !== undefined))
    throw badRequest("until and await are for followed logs: they go with follow=true");
  return { resume, skip, until, await: awaited };
};

export type LogsParameters = {
  readonly task: string;
  readonly follow: boolean;
  readonly plain: boolean;
  readonly type: "stdout" | "stderr";
  readonly offset: bigint;
  readonly origin: Origin;
} & LogExtras;
export const logsParameters = (raw: RawQuery): LogsParameters => {
  const task = filled(raw, "task");
  if (task === undefined) throw invalidRequest("must provide task name");
  const follow = boolField(raw, "follow", false, invalidRequest);
  const plain = boolField(raw, "plain", false, invalidRequest);
  const type = one(raw, "type");
  if (type !== "stdout" && type !== "stderr")
    throw invalidRequest("must provide log type (stdout/stderr)");
  return {
    task,
    follow,
    plain,
    type,
    offset: filled(raw, "offset") === undefined ? 0n : integer(raw, "offset", invalidRequest),
    origin: originOf(raw),
    ...logExtras(raw, follow),
  };
};

/* ---- allocation actions ---- */

export type TaskParameters = { readonly task: string | undefined };
export const taskParameters = (raw: RawQuery): TaskParameters => ({ task: filled(raw, "task") });

export type ExecParameters = {
  readonly task: string | undefined;
  /** The JSON text as sent; `command` is its array. */
  readonly command: string;
  readonly tty: boolean;
};

/** Checked after the upgrade (nomad-http.md §7.5): faults become close frames. `decodeCommand` gives Go's words for bad JSON. */
export const execParameters = (
  raw: RawQuery,
  decodeCommand: (text: string) => readonly string[],
): ExecParameters & { readonly arguments: readonly string[] } => {
  const command = one(raw, "command") ?? "";
  const words = decodeCommand(command);
  const tty = filled(raw, "tty");
  const parsed = tty === undefined ? ({ ok: true, value: false } as const) : parseGoBool(tty);
  if (!parsed.ok) throw failed(`tty value is not a boolean: ${parsed.text}`);
  return { task: filled(raw, "task"), command, tty: parsed.value, arguments: words };
};

export const noParameters = (_raw: RawQuery): Parameters => ({});
