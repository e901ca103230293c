/**
 * Principals from a gateway that holds the tokens, asked with nothing but the caller's own secret. "It says no" is a
 * refusal; "it cannot be reached" is `identity_unavailable`, and never turns into a right.
 */
import type { Dispatcher } from "undici";
import { GatewayError } from "../errors.ts";
import type { Clock, Log, Principal } from "../ports.ts";
import { asker, away } from "./asking.ts";
import type { IdentitySources, Resolve } from "./authenticate.ts";
import { findCaller, toPrincipal } from "./caller.ts";
import {
  IdentityCache,
  type IdentityCacheNeeds,
  type IdentityCacheOptions,
} from "./identity-cache.ts";
import { isTokenShaped } from "./secrets.ts";

const timeoutMs = 5_000;

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

export interface CachedSource extends GatewaySource {
  readonly jwt: Resolve;
}

export interface CachedSourceNeeds extends Pick<IdentityCacheNeeds, "clock" | "observe"> {
  readonly log: Log;
}

/** Puts a cache before a question: one flight a secret, UUIDs in any case are one secret. */
export const cachedSource = (
  { clock, log, observe }: CachedSourceNeeds,
  ask: (secret: string) => Promise<Principal>,
  options: Partial<IdentityCacheOptions>,
): CachedSource => {
  const told = async (secret: string): Promise<Principal> => {
    try {
      return await ask(secret);
    } catch (error) {
      if (error instanceof GatewayError && error.code === "identity_unavailable")
        log.warn({ err: error }, "a caller's token cannot be checked");
      throw error;
    }
  };
  const cache = new IdentityCache({ clock, ask: told, observe }, options);
  const resolve: Resolve = (secret, signal, credential) =>
    cache.resolve(isTokenShaped(secret) ? secret.toLowerCase() : secret, signal, credential);
  return {
    anonymous: (signal) => resolve("", signal),
    token: resolve,
    jwt: resolve,
    forget: () => cache.clear(),
  };
};

export const createGatewaySource = (
  needs: GatewaySourceNeeds,
  { origin, cache = {} }: GatewaySourceOptions,
): GatewaySource => {
  const base = new URL(origin).origin;
  const ask = async (secret: string): Promise<Principal> => {
    const asking = asker({
      origin: base,
      dispatcher: needs.dispatcher,
      secret,
      timeoutMs,
      signal: AbortSignal.timeout(timeoutMs),
      lost: () => undefined,
    });
    const caller = await findCaller(asking, secret, needs.clock.now());
    if (caller.kind === "off") throw away("has ACLs turned off");
    return toPrincipal(caller);
  };
  return cachedSource(needs, ask, cache);
};
