/**
 * The first step: a credential becomes a principal or is refused. A refused credential is `permission_denied`, never
 * anonymous (nomad-acl.md §2.2).
 */
import { GatewayError } from "../errors.ts";
import type { Authenticate, Credential, Principal } from "../ports.ts";
import { disabledPrincipal, refused } from "./principals.ts";
import { isTokenShaped, maxSecretBytes } from "./secrets.ts";

/**
 * Throws or rejects with `permission_denied`, or `identity_unavailable` when it cannot say now. `credential` is the one that
 * the secret came in.
 */
export type Resolve = (
  secret: string,
  signal: AbortSignal,
  credential?: Credential,
) => Principal | Promise<Principal>;

/** Where principals come from. */
export interface IdentitySources {
  readonly anonymous: (signal: AbortSignal) => Principal | Promise<Principal>;
  /** Secrets shaped like a UUID, in any case. */
  readonly token: Resolve;
  /** All other secrets; undefined refuses them. */
  readonly jwt: Resolve | undefined;
}

/** `failed`: nobody could say. */
export type Authentication = "accepted" | "refused" | "failed";

export interface AuthenticateOptions {
  /** False: ACLs are off, everything passes and no credential is looked at. */
  readonly enabled: boolean;
  /** Told how each attempt ended. */
  readonly onAuthentication?: (result: Authentication) => void;
}

interface Shown {
  /** Without blanks around it; "" is none. */
  readonly secret: string;
  readonly kind: "anonymous" | "token" | "jwt" | "malformed";
}

const kindOf = (secret: string): Shown["kind"] => {
  if (secret === "") return "anonymous";
  if (secret.length > maxSecretBytes || Buffer.byteLength(secret) > maxSecretBytes)
    return "malformed";
  return isTokenShaped(secret) ? "token" : "jwt";
};

const read = (credential: Credential): Shown => {
  const secret = credential.secret?.trim() ?? "";
  return { secret, kind: kindOf(secret) };
};

declare module "../lib/kept.ts" {
  interface Found {
    shown?: Shown;
  }
}

/** Looked at once for all requests of a sender. */
const shownBy = (credential: Credential): Shown => {
  const { found } = credential;
  if (found === undefined) return read(credential);
  found.shown ??= read(credential);
  return found.shown;
};

const resolve = (
  sources: IdentitySources,
  { kind, secret }: Shown,
  signal: AbortSignal,
  credential: Credential,
): Principal | Promise<Principal> => {
  if (kind === "anonymous") return sources.anonymous(signal);
  if (kind === "token") return sources.token(secret, signal, credential);
  if (kind === "jwt" && sources.jwt) return sources.jwt(secret, signal, credential);
  throw refused();
};

const resultOf = (error: unknown): Authentication =>
  error instanceof GatewayError && error.code === "permission_denied" ? "refused" : "failed";

/** The step of the journey. Answers at once, without a promise, when its source does. */
export const createAuthenticate = (
  sources: IdentitySources,
  { enabled, onAuthentication }: AuthenticateOptions,
): Authenticate => {
  if (!enabled) return () => disabledPrincipal;
  const accepted = (principal: Principal): Principal => {
    onAuthentication?.("accepted");
    return principal;
  };
  const failed = (error: unknown): never => {
    onAuthentication?.(resultOf(error));
    throw error;
  };
  return (credential: Credential, signal: AbortSignal) => {
    try {
      const principal = resolve(sources, shownBy(credential), signal, credential);
      return principal instanceof Promise ? principal.then(accepted, failed) : accepted(principal);
    } catch (error) {
      return failed(error);
    }
  };
};
