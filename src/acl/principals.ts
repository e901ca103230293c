/** Who asks, as principals: the fixed ones, and how a set of policies becomes one. */
import { GatewayError } from "../errors.ts";
import type { Principal } from "../ports.ts";
import { disabledAcl } from "./acl.ts";
import type { Policies } from "./policies.ts";

/** The policy of requests without a token, and of those alone. */
export const anonymousPolicy = "anonymous";

export const refused = (cause?: unknown): GatewayError =>
  new GatewayError("permission_denied", {}, cause === undefined ? undefined : { cause });

export const unavailable = (reason: string, cause?: unknown): GatewayError =>
  new GatewayError("identity_unavailable", { reason }, cause === undefined ? undefined : { cause });

export const anonymousPrincipal = (policies: Policies): Principal => ({
  accessorId: "anonymous",
  name: "Anonymous Token",
  type: "client",
  policies: policies.existing([anonymousPolicy]),
  acl: policies.compile([anonymousPolicy]),
  expiresAtMs: undefined,
});

/** ACLs off: everybody may do everything, no credential is looked at (nomad-acl.md §5). */
export const disabledPrincipal: Principal = {
  accessorId: "acls-disabled",
  name: "ACLs disabled token",
  type: "client",
  policies: [],
  acl: disabledAcl,
  expiresAtMs: undefined,
};

/** True once a principal's time is over. */
export const isExpired = (
  { expiresAtMs }: Pick<Principal, "expiresAtMs">,
  nowMs: number,
): boolean => expiresAtMs !== undefined && expiresAtMs <= nowMs;

/** A JWT's issuer may be behind our clock by this much. */
export const jwtLeewaySeconds = 30;

/**
 * When a JWT's right ends: exactly at its expiry by our own clock. One that is accepted in the leeway alone lives until the
 * leeway ends.
 */
export const jwtExpiryMs = (expSeconds: number, nowSeconds: number): number =>
  (expSeconds > nowSeconds ? expSeconds : expSeconds + jwtLeewaySeconds) * 1_000;
