/**
 * Principals from whoever holds the tokens (a gateway, or Nomad's servers), asked with nothing but the caller's own secret
 * (nomad-acl.md §3): token/self, then the policies it lists with their rules. "It says no" is a refusal; "it cannot be
 * reached" is `identity_unavailable`, and never turns into a right.
 */
import { type Dispatcher, request } from "undici";
import { GatewayError, toGatewayError } from "../errors.ts";
import { isJsonObject, type Json, type JsonObject, parseJson } from "../lib/json.ts";
import { readBounded } from "../lib/read-bounded.ts";
import type { Clock, Log, Principal } from "../ports.ts";
import { compileAcl, managementAcl } from "./acl.ts";
import type { IdentitySources } from "./authenticate.ts";
import { IdentityCache, type IdentityCacheOptions } from "./identity-cache.ts";
import { policyNamePattern } from "./policies.ts";
import { jwtExpiryMs, refused, unavailable } from "./principals.ts";
import { type Rules, readRules } from "./rules.ts";
import { isTokenShaped } from "./secrets.ts";

const maxAnswerBytes = 1024 * 1024;
const maxPolicies = 1_000;
const policiesAtOnce = 8;
const attempts = 3;
const timeoutMs = 5_000;
/** Nomad's client agents compare a token's expiry with now + 2 s. */
const earlyExpiryMs = 2_000;
const maxNameLength = 256;

export interface GatewaySourceNeeds {
  readonly clock: Clock;
  readonly log: Log;
  /** TLS, certificates and proxies are its matter; undici's own when absent. */
  readonly dispatcher?: Dispatcher;
}

export interface GatewaySourceOptions {
  /** `https://gateway:4646`, without a path. */
  readonly origin: string;
  readonly cache?: Partial<IdentityCacheOptions>;
}

export interface GatewaySource extends IdentitySources {
  /** Forgets what it was told, so that the next use of each secret asks anew. */
  forget(): void;
}

interface Told {
  readonly status: number;
  readonly document: Json | undefined;
}

type Ask = (path: string) => Promise<Told>;

const away = (reason: string, cause?: unknown): GatewayError =>
  unavailable(`its source ${reason}`, cause);

/** Header-safe and never empty; a secret with anything else in it is nobody's. */
const sendable = /^[\x21-\x7e]+$/;

const asker =
  ({ dispatcher }: GatewaySourceNeeds, origin: string, secret: string, signal: AbortSignal): Ask =>
  async (path) => {
    try {
      const { statusCode, body } = await request(`${origin}${path}`, {
        ...(dispatcher === undefined ? {} : { dispatcher }),
        headers: secret === "" ? {} : { "x-nomad-token": secret },
        headersTimeout: timeoutMs,
        bodyTimeout: timeoutMs,
        signal,
      });
      const text = (await readBounded(body, maxAnswerBytes)).toString();
      return { status: statusCode, document: statusCode === 200 ? parseJson(text) : undefined };
    } catch (error) {
      const { code, facts } = toGatewayError(error);
      throw away(
        code === "internal" ? "gave no usable answer" : (facts.reason ?? "is away"),
        error,
      );
    }
  };

const textOf = (document: JsonObject, field: string): string => {
  const value = document[field];
  if (typeof value !== "string" || value.length > maxNameLength)
    throw away(`gave a token without ${field}`);
  return value;
};

interface Identity {
  readonly accessorId: string;
  readonly name: string;
  readonly type: Principal["type"];
  readonly expiresAtMs: number | undefined;
}

const expiryOf = (value: Json | undefined): number | undefined => {
  if (value === undefined || value === null) return undefined;
  const ms = typeof value === "string" ? Date.parse(value) : Number.NaN;
  if (Number.isNaN(ms)) throw away("gave a token with an expiry that is no time");
  return ms - earlyExpiryMs;
};

const tokenIdentity = (document: Json | undefined): Identity => {
  if (!isJsonObject(document)) throw away("gave a token that is no object");
  const accessorId = textOf(document, "AccessorID");
  if (accessorId === "acls-disabled") throw away("has ACLs turned off");
  return {
    accessorId,
    name: textOf(document, "Name"),
    type: document["Type"] === "management" ? "management" : "client",
    expiresAtMs: expiryOf(document["ExpirationTime"]),
  };
};

const claimsOf = (secret: string): JsonObject => {
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

/** Who it is; undefined when token/self failed without a verdict, so that the list of policies has to give it. */
const identify = async (ask: Ask, secret: string, nowMs: number): Promise<Identity | undefined> => {
  if (secret === "") return anonymous;
  const { status, document } = await ask("/v1/acl/token/self");
  switch (status) {
    case 200:
      return isTokenShaped(secret)
        ? tokenIdentity(document)
        : { ...tokenIdentity(document), expiresAtMs: jwtIdentity(secret, nowMs).expiresAtMs };
    case 401:
    case 403:
      throw refused();
    case 404:
      // No ACL token. A UUID that is something else (a node's secret) is not a user's credential.
      if (isTokenShaped(secret)) throw refused();
      return jwtIdentity(secret, nowMs);
    case 500:
      return undefined; // Nomad: expired or malformed, or a failure; the list of policies tells which
    default:
      throw away(`answered with status ${status}`);
  }
};

const nameOf = (item: Json): string => {
  const name = isJsonObject(item) ? item["Name"] : undefined;
  if (typeof name !== "string" || !policyNamePattern.test(name))
    throw away("listed a policy without a proper name");
  return name;
};

const listPolicies = async (ask: Ask): Promise<readonly string[]> => {
  const { status, document } = await ask("/v1/acl/policies");
  if (status === 403 || status === 401) throw refused();
  if (status !== 200) throw away(`answered with status ${status}`);
  if (!Array.isArray(document) || document.length > maxPolicies)
    throw away("gave no proper list of policies");
  return document.map(nameOf);
};

/** A policy's rules; undefined when it vanished after it was listed. */
const readPolicy = async (ask: Ask, name: string): Promise<Rules | undefined> => {
  const { status, document } = await ask(`/v1/acl/policy/${name}`);
  if (status === 403 || status === 404) return undefined;
  if (status !== 200) throw away(`answered with status ${status}`);
  try {
    return readRules(isJsonObject(document) ? document["RulesJSON"] : undefined);
  } catch (error) {
    throw away(`gave the policy ${name} without proper rules`, error);
  }
};

const readPolicies = async (
  ask: Ask,
  names: readonly string[],
): Promise<readonly Rules[] | undefined> => {
  const rules: Rules[] = [];
  for (let at = 0; at < names.length; at += policiesAtOnce) {
    const batch = names.slice(at, at + policiesAtOnce).map((name) => readPolicy(ask, name));
    for (const one of await Promise.all(batch)) {
      if (one === undefined) return undefined;
      rules.push(one);
    }
  }
  return rules;
};

/** One attempt; undefined when a policy vanished under it. */
const attempt = async (ask: Ask, secret: string, nowMs: number): Promise<Principal | undefined> => {
  const identity = await identify(ask, secret, nowMs);
  if (identity?.type === "management") return { ...identity, policies: [], acl: managementAcl };
  const names = await listPolicies(ask);
  if (identity === undefined) throw away("failed to say whose token it is");
  const rules = await readPolicies(ask, names);
  return rules && { ...identity, policies: names.toSorted(), acl: compileAcl(rules) };
};

export const createGatewaySource = (
  needs: GatewaySourceNeeds,
  { origin, cache: cacheOptions = {} }: GatewaySourceOptions,
): GatewaySource => {
  const base = new URL(origin).origin;

  const ask = async (secret: string): Promise<Principal> => {
    if (secret !== "" && !sendable.test(secret)) throw refused();
    const asking = asker(needs, base, secret, AbortSignal.timeout(timeoutMs));
    try {
      for (let tries = 0; tries < attempts; tries++) {
        const principal = await attempt(asking, secret, needs.clock.now());
        if (principal !== undefined) return principal;
      }
      throw away("changes its policies too often");
    } catch (error) {
      if (error instanceof GatewayError && error.code === "identity_unavailable")
        needs.log.warn({ err: error }, "a caller's token cannot be checked");
      throw error;
    }
  };

  const cache = new IdentityCache({ clock: needs.clock, ask }, cacheOptions);
  const resolve = (secret: string, signal: AbortSignal): Principal | Promise<Principal> =>
    cache.resolve(isTokenShaped(secret) ? secret.toLowerCase() : secret, signal);
  return {
    anonymous: (signal) => resolve("", signal),
    token: resolve,
    jwt: resolve,
    forget: () => cache.clear(),
  };
};
