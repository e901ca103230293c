/**
 * Header policy, once each way: both sides are built from an allow-list and nothing is passed on as it came
 * (hop-by-hop names, cookies, CORS, redirects and trailers of an agent have no row here). Pure.
 */
import { GatewayError } from "../errors.ts";
import { isVisible } from "../lib/visible.ts";
import type { Credential, Exchange } from "../ports.ts";
import type { Headers } from "../upstream/head.ts";
import { HeaderLines } from "../upstream/pool.ts";

/** What an agent may answer. Redirects are never followed nor forwarded; 401 is no answer of Nomad's. */
const statuses: ReadonlySet<number> = new Set([
  200, 201, 202, 204, 400, 403, 404, 405, 408, 409, 410, 412, 413, 415, 422, 429, 500, 501, 502, 503, 504,
]); // biome-ignore format: a row

/** Allowed by name, with the spelling that Nomad uses on the wire. */
const allowed: readonly (readonly [name: string, spelled: string])[] = [
  ["content-type", "Content-Type"],
  ["content-security-policy", "Content-Security-Policy"],
  ["x-content-type-options", "X-Content-Type-Options"],
  ["x-xss-protection", "X-Xss-Protection"],
  ["etag", "ETag"],
  ["x-serai-resume", "X-Serai-Resume"],
];
const nomadPrefix = "x-nomad-";

/** What stands in the body: a document of ours to read, or bytes that a task wrote. */
export type Content = "document" | "file";

const sandbox = "default-src 'none'; style-src 'unsafe-inline'; sandbox";
/** RFC 9110 §8.8.3; what is none is not passed on. */
const entityTag = /^(?:W\/)?"[\x21\x23-\x7e]*"$/;
const activeType = /html|xml|svg|javascript|ecmascript/i;

const invalid = (node: string, reason: string): GatewayError =>
  new GatewayError("upstream_invalid", { node, reason });

/** Throws `upstream_invalid` for a status that no agent may answer. */
export const checkStatus = (status: number, node: string): number => {
  if (!statuses.has(status)) throw invalid(node, `status ${status}`);
  return status;
};

const plainValue = (name: string, value: string | string[] | undefined, node: string): string => {
  if (typeof value !== "string" || !isVisible(value))
    throw invalid(node, `its header ${name} is not proper`);
  return value;
};

const spellAsNomad = (name: string): string =>
  name.replace(
    /(^|-)([a-z])/g,
    (_all, before: string, letter: string) => before + letter.toUpperCase(),
  );

const usual = ["x-nomad-index", "x-nomad-knownleader", "x-nomad-lastcontact"];
const spelledAsNomad = new Map(usual.map((name) => [name, spellAsNomad(name)]));

/** Nothing that a browser would run: such types become plain text, as Nomad does with HTML. */
const inert = (type: string): string => (activeType.test(type) ? "text/plain" : type);

const protect = (passed: Record<string, string>): void => {
  passed["Content-Security-Policy"] = sandbox;
  passed["X-Content-Type-Options"] = "nosniff";
  passed["Cache-Control"] = "no-store";
};

/** The answer's headers for the caller, without its length; they are the caller's own. Throws `upstream_invalid`, nothing else. */
export const toClient = (
  headers: Headers,
  content: Content,
  node: string,
): Record<string, string> => {
  const passed: Record<string, string> = {};
  for (const [name, spelled] of allowed)
    if (headers[name] !== undefined) passed[spelled] = plainValue(name, headers[name], node);
  for (const name in headers)
    if (name.startsWith(nomadPrefix) && name !== "x-nomad-token")
      passed[spelledAsNomad.get(name) ?? spellAsNomad(name)] = plainValue(
        name,
        headers[name],
        node,
      );
  const { ETag: tag, "Content-Type": type } = passed;
  if (tag !== undefined && !entityTag.test(tag)) delete passed["ETag"];
  if (type !== undefined) passed["Content-Type"] = inert(type);
  if (content === "file") protect(passed);
  return passed;
};

/** The length that an agent states; undefined when it states none. Throws `upstream_invalid`. */
export const statedLength = (headers: Headers, node: string): number | undefined => {
  const text = headers["content-length"];
  if (text === undefined) return undefined;
  if (typeof text !== "string" || !/^\d{1,15}$/.test(text))
    throw invalid(node, "its Content-Length is not a number");
  return Number(text);
};

const token = /^[\x21-\x7e]+$/;

const isSayable = (value: string): boolean => value !== "" && isVisible(value);

/** Throws `permission_denied` for a credential that no header can carry. */
const ofSender = (
  { secret }: Credential,
  client: Exchange["client"],
): Readonly<Record<string, string>> => {
  const headers: Record<string, string> = {};
  if (secret !== undefined && secret !== "") {
    if (!token.test(secret)) throw new GatewayError("permission_denied");
    headers["X-Nomad-Token"] = secret;
  }
  if (isSayable(client.address)) headers["X-Forwarded-For"] = client.address;
  if (isSayable(client.scheme)) headers["X-Forwarded-Proto"] = client.scheme;
  if (isSayable(client.authority)) headers["X-Forwarded-Host"] = client.authority;
  return headers;
};

declare module "../lib/kept.ts" {
  interface Found {
    sender?: { readonly client: Exchange["client"]; readonly lines: HeaderLines };
  }
}

/** Made once for all requests of a sender. Throws as above. */
const linesOfSender = ({ credential, client }: Exchange): HeaderLines => {
  const { found } = credential;
  if (found?.sender?.client === client) return found.sender.lines;
  const lines = new HeaderLines(ofSender(credential, client));
  if (found !== undefined) found.sender = { client, lines };
  return lines;
};

/** The gateway has made the id itself. */
const ownHeaders = ({ id }: Exchange): Record<string, string> => ({ "X-Request-Id": id });

/**
 * What the agent gets besides the body's own headers: the caller's credential, where it came from, and the request id.
 * Throws `permission_denied` for a credential that no header can carry.
 */
export const toAgent = (
  exchange: Exchange,
): { readonly shared: HeaderLines; readonly headers: Record<string, string> } => ({
  shared: linesOfSender(exchange),
  headers: ownHeaders(exchange),
});

/** The same in one. */
export const allToAgent = (exchange: Exchange): Readonly<Record<string, string>> => ({
  ...ofSender(exchange.credential, exchange.client),
  ...ownHeaders(exchange),
});
