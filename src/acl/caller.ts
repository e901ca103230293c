/**
 * Who a caller is, asked with nothing but the caller's own secret (nomad-acl.md §3): token/self, then the policies it lists
 * with their rules. "It says no" is a refusal; "it cannot say" is `identity_unavailable`, and never turns into a right.
 */
import { isJsonObject, type Json, type JsonObject, parseJson } from "../lib/json.ts";
import type { Principal } from "../ports.ts";
import { compileAcl, managementAcl } from "./acl.ts";
import { type Ask, away, type Told } from "./asking.ts";
import { policyNamePattern } from "./policies.ts";
import { jwtExpiryMs, refused } from "./principals.ts";
import { type Rules, readRules } from "./rules.ts";
import { isTokenShaped } from "./secrets.ts";

const maxPolicies = 1_000;
const policiesAtOnce = 8;
const attempts = 3;
/** Nomad's client agents compare a token's expiry with now + 2 s. */
const earlyExpiryMs = 2_000;
const maxNameLength = 256;

interface Identity {
  readonly accessorId: string;
  readonly name: string;
  readonly type: Principal["type"];
  readonly expiresAtMs: number | undefined;
}

/** A caller as its source describes it. `off`: the source has ACLs off, and looks at no credential. */
export type Caller =
  | { readonly kind: "off" }
  | { readonly kind: "manager"; readonly identity: Identity }
  | {
      readonly kind: "client";
      readonly identity: Identity;
      readonly policies: readonly string[];
      readonly rules: readonly Rules[];
    };

/** A policy as it is listed; `version` changes with its text, and is undefined when the source tells none. */
export interface Stub {
  readonly name: string;
  readonly version: string | undefined;
}

/** Rules read before, of the same version. */
export interface KnownRules {
  get(stub: Stub): Rules | undefined;
  set(stub: Stub, rules: Rules): void;
}

/** Header-safe and never empty; a secret with anything else in it is nobody's. */
const sendable = /^[\x21-\x7e]+$/;

const textOf = (document: JsonObject, field: string): string => {
  const value = document[field];
  if (typeof value !== "string" || value.length > maxNameLength)
    throw away(`gave a token without ${field}`);
  return value;
};

const expiryOf = (value: Json | undefined): number | undefined => {
  if (value === undefined || value === null) return undefined;
  const ms = typeof value === "string" ? Date.parse(value) : Number.NaN;
  if (Number.isNaN(ms)) throw away("gave a token with an expiry that is no time");
  return ms - earlyExpiryMs;
};

const tokenIdentity = (document: Json | undefined): Identity | "off" => {
  if (!isJsonObject(document)) throw away("gave a token that is no object");
  const accessorId = textOf(document, "AccessorID");
  if (accessorId === "acls-disabled") return "off";
  return {
    accessorId,
    name: textOf(document, "Name"),
    type: document["Type"] === "management" ? "management" : "client",
    expiresAtMs: expiryOf(document["ExpirationTime"]),
  };
};

/** What a JWT says of itself: to be believed only when somebody has verified it. */
export const claimsOf = (secret: string): JsonObject => {
  try {
    const claims = parseJson(Buffer.from(secret.split(".")[1] ?? "", "base64url").toString("utf8"));
    return isJsonObject(claims) ? claims : {};
  } catch {
    return {};
  }
};

/** A JWT's own claims, believed only because the source accepted the token: names for audit, and its expiry. */
const jwtIdentity = (secret: string, nowMs: number): Identity => {
  const { iss, sub, exp } = claimsOf(secret);
  const subject = typeof sub === "string" ? sub.slice(0, maxNameLength) : "";
  const issuer = typeof iss === "string" ? iss.slice(0, maxNameLength) : "";
  return {
    accessorId: `jwt:${issuer}:${subject}`,
    name: subject,
    type: "client",
    expiresAtMs:
      typeof exp === "number" && Number.isFinite(exp) ? jwtExpiryMs(exp, nowMs / 1_000) : undefined,
  };
};

const anonymous: Identity = {
  accessorId: "anonymous",
  name: "Anonymous Token",
  type: "client",
  expiresAtMs: undefined,
};

const accepted = (secret: string, document: Json | undefined, nowMs: number): Identity | "off" => {
  const identity = tokenIdentity(document);
  if (identity === "off" || isTokenShaped(secret)) return identity;
  return { ...identity, expiresAtMs: jwtIdentity(secret, nowMs).expiresAtMs };
};

/** Who it is; `unsaid` when token/self failed without a verdict, so that the list of policies has to give it. */
const identify = async (
  ask: Ask,
  secret: string,
  nowMs: number,
): Promise<Identity | "off" | "unsaid"> => {
  if (secret === "") return anonymous;
  const { status, document } = await ask("/v1/acl/token/self");
  switch (status) {
    case 200:
      return accepted(secret, document, nowMs);
    case 401:
    case 403:
      throw refused();
    case 404:
      // No ACL token. A UUID that is something else (a node's secret) is not a user's credential.
      if (isTokenShaped(secret)) throw refused();
      return jwtIdentity(secret, nowMs);
    case 400: // Nomad: an agent with ACLs on before servers that have them off
    case 500: // Nomad: expired or malformed, or a failure
      return "unsaid";
    default:
      throw away(`answered with status ${status}`);
  }
};

const stubOf = (item: Json): Stub => {
  const { Name, Hash, ModifyIndex } = isJsonObject(item) ? item : {};
  if (typeof Name !== "string" || !policyNamePattern.test(Name))
    throw away("listed a policy without a proper name");
  const versioned = typeof Hash === "string" && Hash !== "" && typeof ModifyIndex === "number";
  return { name: Name, version: versioned ? `${ModifyIndex} ${Hash}` : undefined };
};

/** True for the one answer with which a server says that it looks at no credential. */
export const saysAclsOff = ({ status, words }: Told): boolean =>
  status === 400 && words.trim().endsWith("ACL support disabled");

const listPolicies = async (ask: Ask): Promise<readonly Stub[] | "off"> => {
  const told = await ask("/v1/acl/policies");
  const { status, document } = told;
  if (status === 403 || status === 401) throw refused();
  if (saysAclsOff(told)) return "off";
  if (status !== 200) throw away(`answered with status ${status}`);
  if (!Array.isArray(document) || document.length > maxPolicies)
    throw away("gave no proper list of policies");
  return document.map(stubOf);
};

/** A policy's rules off the wire. */
export const rulesOf = (name: string, document: Json | undefined): Rules => {
  try {
    return readRules(isJsonObject(document) ? document["RulesJSON"] : undefined);
  } catch (error) {
    throw away(`gave the policy ${name} without proper rules`, error);
  }
};

/** A policy's rules; undefined when it vanished after it was listed. */
const readPolicy = async (
  ask: Ask,
  stub: Stub,
  known: KnownRules | undefined,
): Promise<Rules | undefined> => {
  const before = known?.get(stub);
  if (before) return before;
  const { status, document } = await ask(`/v1/acl/policy/${stub.name}`);
  if (status === 403 || status === 404) return undefined;
  if (status !== 200) throw away(`answered with status ${status}`);
  const rules = rulesOf(stub.name, document);
  // It may have changed since it was listed: then these rules are of its own version.
  known?.set(stubOf(document ?? null), rules);
  return rules;
};

const readPolicies = async (
  ask: Ask,
  stubs: readonly Stub[],
  known: KnownRules | undefined,
): Promise<readonly Rules[] | undefined> => {
  const rules: Rules[] = [];
  for (let at = 0; at < stubs.length; at += policiesAtOnce) {
    const batch = stubs.slice(at, at + policiesAtOnce).map((stub) => readPolicy(ask, stub, known));
    for (const one of await Promise.all(batch)) {
      if (one === undefined) return undefined;
      rules.push(one);
    }
  }
  return rules;
};

/** One attempt; undefined when a policy vanished under it. */
const attempt = async (
  ask: Ask,
  secret: string,
  nowMs: number,
  known: KnownRules | undefined,
): Promise<Caller | undefined> => {
  const identity = await identify(ask, secret, nowMs);
  if (typeof identity === "object" && identity.type === "management")
    return { kind: "manager", identity };
  const stubs = await listPolicies(ask);
  if (stubs === "off") return { kind: "off" };
  if (identity === "off") throw away("has ACLs off, but not on its servers");
  if (identity === "unsaid") throw away("failed to say whose token it is");
  const rules = await readPolicies(ask, stubs, known);
  const policies = stubs.map(({ name }) => name).toSorted();
  return rules && { kind: "client", identity, policies, rules };
};

/** Asks who holds a secret; "" is anonymous. Throws `permission_denied` and `identity_unavailable`, nothing else. */
export const findCaller = async (
  ask: Ask,
  secret: string,
  nowMs: number,
  known?: KnownRules,
): Promise<Caller> => {
  if (secret !== "" && !sendable.test(secret)) throw refused();
  for (let tries = 0; tries < attempts; tries++) {
    const caller = await attempt(ask, secret, nowMs, known);
    if (caller !== undefined) return caller;
  }
  throw away("changes its policies too often");
};

export const toPrincipal = (caller: Exclude<Caller, { readonly kind: "off" }>): Principal =>
  caller.kind === "manager"
    ? { ...caller.identity, policies: [], acl: managementAcl }
    : { ...caller.identity, policies: caller.policies, acl: compileAcl(caller.rules) };
