/**
 * Header policy of the pass-through, once each way. The server gets an allow-list, the caller's own credential and where
 * the request came from; the caller gets what the server said without what belongs to one connection only. Pure.
 */
import type { IncomingMessage } from "node:http";
import { GatewayError } from "../../errors.ts";
import { isVisible } from "../../lib/visible.ts";
import type { Credential, Exchange } from "../../ports.ts";
import { invalidAnswer } from "./faults.ts";

const allowed: ReadonlySet<string> = new Set([
  "accept", "accept-encoding", "accept-language", "authorization", "cache-control", "content-length", "content-type", "if-match",
  "if-modified-since", "if-none-match", "if-range", "if-unmodified-since", "pragma", "range", "traceparent", "tracestate", "user-agent",
]); // biome-ignore format: a list
const nomadPrefix = "x-nomad-";
const credentials = ["x-nomad-token", "authorization"] as const;

/** The names that a Connection header calls its own. */
const nominated = (connection: string | undefined): ReadonlySet<string> =>
  new Set((connection ?? "").split(",").map((name) => name.trim().toLowerCase()));

const checkCredentials = (request: IncomingMessage): void => {
  for (const name of credentials)
    if ((request.headersDistinct[name]?.length ?? 0) > 1)
      throw new GatewayError("bad_request", { text: `header ${name} is given more than once` });
};

export interface Origin {
  readonly client: Exchange["client"];
  readonly requestId: string;
  /** Goes in place of the caller's own. */
  readonly credential?: Credential | undefined;
}

const bearer = /^bearer\b/i;

/** In place of the caller's credentials, of which none goes on then. */
const setCredential = (headers: Record<string, string>, { secret }: Credential): void => {
  if (bearer.test(headers["authorization"] ?? "")) delete headers["authorization"];
  delete headers["x-nomad-token"];
  if (secret !== undefined) headers["x-nomad-token"] = secret;
};

const forwarded = ({ client, requestId }: Origin): readonly (readonly [string, string])[] => [
  ["x-request-id", requestId],
  ["x-forwarded-for", client.address],
  ["x-forwarded-proto", client.scheme],
  ["x-forwarded-host", client.authority],
];

/** What the server gets besides its own Host. Throws `bad_request`. */
export const toServer = (request: IncomingMessage, origin: Origin): Record<string, string> => {
  checkCredentials(request);
  const dropped = nominated(request.headers.connection);
  const headers: Record<string, string> = {};
  for (const [name, value] of Object.entries(request.headers))
    if ((allowed.has(name) || name.startsWith(nomadPrefix)) && !dropped.has(name))
      if (typeof value === "string") headers[name] = value;
  if (origin.credential !== undefined) setCredential(headers, origin.credential);
  for (const [name, value] of forwarded(origin))
    if (value !== "" && isVisible(value)) headers[name] = value;
  if (request.headers["transfer-encoding"] !== undefined) {
    delete headers["content-length"];
    headers["transfer-encoding"] = "chunked";
  }
  return headers;
};

/** Of one connection, or the gateway's own to say. */
const withheld: ReadonlySet<string> = new Set([
  "connection", "keep-alive", "te", "trailer", "transfer-encoding", "upgrade", "content-length", "http2-settings", "date",
  "alt-svc", "strict-transport-security", "x-request-id", "x-nomad-token", "location",
]); // biome-ignore format: a list
const withheldPrefixes = ["proxy-", "x-serai-", "access-control-"] as const;

const isWithheld = (name: string): boolean =>
  withheld.has(name) || withheldPrefixes.some((prefix) => name.startsWith(prefix));

const firstStatus = 200;
const lastStatus = 599;
const proxyAuthentication = 407;

const checkStatus = (status: number): number => {
  if (status < firstStatus || status > lastStatus || status === proxyAuthentication)
    throw invalidAnswer(`status ${status}`);
  return status;
};

/**
 * A redirect is the server's own affair: only within it, and as it was said but for the server's own address, which is
 * nobody's business. Throws `upstream_invalid`.
 */
const locationWithin = (location: string, origin: string): string => {
  const url = URL.canParse(location, origin) ? new URL(location, origin) : undefined;
  if (url?.origin !== new URL(origin).origin) throw invalidAnswer("it redirects to another host");
  const isWhole = /^[a-z][a-z0-9+.-]*:|^[/\\]{2}/i.test(location);
  return isWhole ? `${url.pathname}${url.search}${url.hash}` : location;
};

export interface Head {
  readonly status: number;
  /** As the server spelled them; a name given twice has its values in order. */
  readonly headers: ReadonlyMap<string, readonly string[]>;
  /** Undefined when the server stated none. */
  readonly length: number | undefined;
}

const pairsOf = (raw: readonly string[]): readonly (readonly [name: string, value: string])[] =>
  raw.flatMap((name, at) => (at % 2 === 0 ? [[name, raw[at + 1] ?? ""] as const] : []));

const statedLength = (text: string | undefined): number | undefined => {
  if (text === undefined) return undefined;
  if (!/^\d{1,15}$/.test(text)) throw invalidAnswer("its Content-Length is not a number");
  return Number(text);
};

/** What the caller gets of an answer. `api`: no cookie can be set there. Throws `upstream_invalid`. */
export const toCaller = (answer: IncomingMessage, origin: string, api: boolean): Head => {
  const status = checkStatus(answer.statusCode ?? 0);
  const dropped = nominated(answer.headers.connection);
  const spelled = new Map<string, string>();
  const headers = new Map<string, string[]>();
  for (const [name, value] of pairsOf(answer.rawHeaders)) {
    const lower = name.toLowerCase();
    if (isWithheld(lower) || dropped.has(lower) || (api && lower === "set-cookie")) continue;
    const key = spelled.get(lower) ?? name;
    spelled.set(lower, key);
    headers.set(key, [...(headers.get(key) ?? []), value]);
  }
  const { location } = answer.headers;
  if (location !== undefined) headers.set("Location", [locationWithin(location, origin)]);
  return { status, headers, length: statedLength(answer.headers["content-length"]) };
};
