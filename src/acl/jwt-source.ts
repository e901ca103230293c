/**
 * JWTs of configured issuers. What the library does not check is checked here (hardening A1 to A4): exp, iat, iss, aud and
 * sub are there, the life is at most a day, `crit` is refused, the payload is an object, the key is strong enough.
 */
import jwt, { type Algorithm } from "jsonwebtoken";
import type { Dispatcher } from "undici";
import { GatewayError } from "../errors.ts";
import { isJsonObject, type Json, type JsonObject } from "../lib/json.ts";
import type { Log, Principal } from "../ports.ts";
import { managementAcl } from "./acl.ts";
import type { Resolve } from "./authenticate.ts";
import type { PolicySource } from "./file-source.ts";
import {
  IdentityCache,
  type IdentityCacheNeeds,
  type IdentityCacheOptions,
} from "./identity-cache.ts";
import type { IssuerKey } from "./issuer-key.ts";
import {
  type AlgorithmFamily,
  type Bound,
  compileBindings,
  type Issuer,
  issuerFault,
} from "./jwt-issuer.ts";
import { createIssuerKeys, type FindKeys } from "./jwt-keys.ts";
import { jwtExpiryMs, jwtLeewaySeconds, refused } from "./principals.ts";

const maxLifeSeconds = 86_400;
const maxSubjectLength = 256;
const maxKidLength = 256;

const algorithmsOf: Readonly<Record<AlgorithmFamily, readonly Algorithm[]>> = {
  RS: ["RS256", "RS384", "RS512"],
  PS: ["PS256", "PS384", "PS512"],
  ES: ["ES256", "ES384", "ES512"],
};

interface KnownIssuer {
  readonly issuer: Issuer;
  readonly findKeys: FindKeys;
  readonly bind: (claims: JsonObject) => Bound | undefined;
}

/** Why a JWT was refused: for the log alone, never with the token. */
class Refusal extends Error {
  override readonly name = "Refusal";
}

const refuse = (reason: string): never => {
  throw new Refusal(reason);
};

interface Claims {
  readonly iss: string;
  readonly sub: string;
  readonly iat: number;
  readonly exp: number;
}

const isTime = (value: Json | undefined): value is number =>
  typeof value === "number" && Number.isFinite(value);

/** What is asked of the claims besides what the library asks. */
const checkClaims = (claims: JsonObject, nowSeconds: number): Claims => {
  const { iss, sub, iat, exp, aud } = claims;
  if (typeof iss !== "string") return refuse("no issuer");
  if (typeof sub !== "string" || sub === "" || sub.length > maxSubjectLength)
    return refuse("no subject");
  if (aud === undefined) return refuse("no audience");
  if (!isTime(iat) || !isTime(exp)) return refuse("no time of issue or of expiry");
  if (iat > nowSeconds + jwtLeewaySeconds) return refuse("issued in the future");
  if (exp <= iat || exp - iat > maxLifeSeconds) return refuse("lives longer than a day");
  return { iss, sub, iat, exp };
};

const toClaims = (value: unknown): JsonObject => {
  const claims: Json = value as Json; // what JSON.parse gave the library
  return isJsonObject(claims) ? claims : refuse("the payload is no object");
};

const verifyWith = (
  text: string,
  { key, algorithm }: IssuerKey,
  alg: Algorithm,
  { audiences, issuer }: Issuer,
  nowSeconds: number,
): JsonObject => {
  if (algorithm !== undefined && algorithm !== alg)
    return refuse("the key is for another algorithm");
  const [first, ...others] = audiences;
  return toClaims(
    jwt.verify(text, key, {
      algorithms: [alg],
      issuer,
      audience: [first ?? "", ...others],
      clockTolerance: jwtLeewaySeconds,
      clockTimestamp: nowSeconds,
    }),
  );
};

const verifyAny = (
  text: string,
  keys: readonly IssuerKey[],
  alg: Algorithm,
  issuer: Issuer,
  nowSeconds: number,
): JsonObject => {
  let last: unknown = new Refusal("no such key");
  for (const key of keys)
    try {
      return verifyWith(text, key, alg, issuer, nowSeconds);
    } catch (error) {
      last = error;
    }
  throw last;
};

export interface JwtNeeds extends Pick<IdentityCacheNeeds, "clock" | "observe"> {
  readonly log: Log;
  readonly policies: PolicySource;
  /** For JWKS; undici's own when absent. */
  readonly dispatcher?: Dispatcher;
}

export interface JwtOptions {
  readonly issuers: readonly Issuer[];
  readonly cache?: Partial<IdentityCacheOptions>;
}

export interface JwtSource {
  readonly jwt: Resolve;
  close(): void;
}

const knownIssuers = (
  needs: JwtNeeds,
  issuers: readonly Issuer[],
): ReadonlyMap<string, KnownIssuer> => {
  const known = new Map<string, KnownIssuer>();
  for (const issuer of issuers) {
    const fault = known.has(issuer.issuer) ? "is configured twice" : issuerFault(issuer);
    if (fault !== undefined) throw new Error(`issuer ${issuer.issuer}: ${fault}`);
    const findKeys = createIssuerKeys(needs, issuer);
    known.set(issuer.issuer, { issuer, findKeys, bind: compileBindings(issuer.bindings) });
  }
  return known;
};

/** Header and payload before anything is believed: they only choose the issuer and the key. */
const peek = (
  text: string,
): { readonly alg: string; readonly kid: string | undefined; readonly iss: string } => {
  const decoded = jwt.decode(text, { complete: true });
  if (decoded === null) return refuse("not a JWT");
  const header: Readonly<Record<string, unknown>> = { ...decoded.header };
  const { alg, kid, crit } = header;
  if (crit !== undefined) return refuse("crit is not supported");
  if (typeof alg !== "string") return refuse("no algorithm");
  if (kid !== undefined && (typeof kid !== "string" || kid.length > maxKidLength))
    return refuse("the key id is not a short string");
  const { iss } = toClaims(decoded.payload);
  return typeof iss === "string" ? { alg, kid, iss } : refuse("no issuer");
};

const verify = async (
  text: string,
  issuers: ReadonlyMap<string, KnownIssuer>,
  nowSeconds: number,
): Promise<{ readonly claims: Claims; readonly bound: Bound }> => {
  const { alg, kid, iss } = peek(text);
  const known = issuers.get(iss) ?? refuse("the issuer is not known");
  const algorithm =
    algorithmsOf[known.issuer.algorithms].find((one) => one === alg) ??
    refuse("the algorithm is not the issuer's");
  const keys = await known.findKeys(kid);
  const payload = verifyAny(text, keys, algorithm, known.issuer, nowSeconds);
  const claims = checkClaims(payload, nowSeconds);
  const bound = known.bind(payload) ?? refuse("no binding matches");
  return { claims, bound };
};

/** Throws when an issuer's settings or keys cannot be used. */
export const createJwtSource = (
  needs: JwtNeeds,
  { issuers, cache: cacheOptions = {} }: JwtOptions,
): JwtSource => {
  const { clock, log, policies, observe } = needs;
  const known = knownIssuers(needs, issuers);

  const toPrincipal = ({ iss, sub, exp }: Claims, bound: Bound, nowSeconds: number): Principal => ({
    accessorId: `jwt:${iss}:${sub}`,
    name: sub,
    type: bound.management ? "management" : "client",
    policies: bound.management ? [] : policies.policies.existing(bound.policies),
    acl: bound.management ? managementAcl : policies.policies.compile(bound.policies),
    expiresAtMs: jwtExpiryMs(exp, nowSeconds),
  });

  const ask = async (text: string): Promise<Principal> => {
    const nowSeconds = clock.now() / 1_000;
    try {
      const { claims, bound } = await verify(text, known, nowSeconds);
      return toPrincipal(claims, bound, nowSeconds);
    } catch (error) {
      if (error instanceof GatewayError) throw error; // the keys are away: it cannot be said now
      // The library throws errors of many kinds for tokens that are made up; each of them is a refusal.
      const reason = error instanceof Error ? error.message : "unknown";
      log.debug({ reason }, "a JWT was refused");
      throw refused(error);
    }
  };

  const cache = new IdentityCache({ clock, ask, observe }, cacheOptions);
  const leave = policies.onChange(() => cache.clear());
  return {
    jwt: (text, signal, credential) => cache.resolve(text, signal, credential),
    close() {
      leave();
      cache.clear();
    },
  };
};
