/**
 * What a slow source said about a secret, for a short while: bounded in entries, in time and in questions under way; one
 * question a secret at a time; a refusal is kept more briefly, and apart: secrets that are made up push out nobody's, and no
 * address asks so many questions at once that others cannot. A source that is away is never remembered as a refusal.
 */
import { LRUCache } from "lru-cache";
import { GatewayError } from "../errors.ts";
import { whileWanted } from "../lib/abort.ts";
import { Counts } from "../lib/counts.ts";
import type { Found } from "../lib/kept.ts";
import type { Clock, Credential, Principal } from "../ports.ts";
import { isExpired, refused, unavailable } from "./principals.ts";
import { createSecretKeys } from "./secrets.ts";

export interface IdentityCacheOptions {
  readonly ttlMs: number;
  readonly refusedTtlMs: number;
  /** Of either kind. */
  readonly maxEntries: number;
  /** Questions under way at once; above it, or a quarter of it for one address, a new one is `identity_unavailable`. */
  readonly maxFlights: number;
}

const defaultCache: IdentityCacheOptions = {
  ttlMs: 30_000,
  refusedTtlMs: 2_000,
  maxEntries: 4_096,
  maxFlights: 256,
};

/** Facts for metrics. */
export interface IdentityObserver {
  /** Told of each secret: `hit` when it is known or already asked for, else `miss`. */
  lookedUp(result: "hit" | "miss"): void;
  /** Told of each question that is not asked. */
  limited(limit: "questions" | "questions_per_address"): void;
}

const silent: IdentityObserver = { lookedUp: () => {}, limited: () => {} };

/** Of all questions, what one address may have under way. */
const addressShare = 1 / 4;

export interface IdentityCacheNeeds {
  readonly clock: Clock;
  /** Throws `permission_denied` for a refusal; anything else means it cannot say now. */
  readonly ask: (secret: string) => Promise<Principal>;
  readonly observe?: IdentityObserver | undefined;
}

declare module "../lib/kept.ts" {
  interface Found {
    /** Each cache has keys of its own. */
    key?: { readonly of: IdentityCache; readonly text: string };
  }
}

export class IdentityCache {
  readonly #clock: Clock;
  readonly #options: IdentityCacheOptions;
  readonly #ask: IdentityCacheNeeds["ask"];
  readonly #observe: IdentityObserver;
  readonly #keyOf = createSecretKeys();
  readonly #known: LRUCache<string, Principal>;
  readonly #refused: LRUCache<string, true>;
  readonly #flights = new Map<string, Promise<Principal>>();
  /** Questions under way, by the address that asked first. */
  readonly #askedFrom = new Counts();
  /** Rises with `clear`: an answer to a question asked before it is not kept. */
  #generation = 0;

  constructor(
    { clock, ask, observe = silent }: IdentityCacheNeeds,
    options: Partial<IdentityCacheOptions> = {},
  ) {
    this.#clock = clock;
    this.#ask = ask;
    this.#observe = observe;
    this.#options = { ...defaultCache, ...options };
    const { maxEntries: max, ttlMs, refusedTtlMs } = this.#options;
    const perf = { now: () => clock.monotonic() + 1 }; // lru-cache takes a start of 0 for none
    this.#known = new LRUCache({ max, ttl: ttlMs, ttlResolution: 0, perf });
    this.#refused = new LRUCache({ max, ttl: refusedTtlMs, ttlResolution: 0, perf });
  }

  /** Forgets everything; questions under way are answered but not kept. */
  clear(): void {
    this.#generation++;
    this.#known.clear();
    this.#refused.clear();
    this.#flights.clear();
  }

  /** `secret` is always the same for one `credential`. */
  resolve(
    secret: string,
    signal: AbortSignal,
    credential?: Credential,
  ): Principal | Promise<Principal> {
    const key = this.#keyFor(secret, credential?.found);
    const principal = this.#known.get(key);
    if (principal === undefined && !this.#refused.has(key)) {
      signal.throwIfAborted(); // before the question is asked, so that its failure always has a listener
      return whileWanted(this.#flight(key, secret, credential?.address), signal);
    }
    this.#observe.lookedUp("hit");
    if (principal === undefined || isExpired(principal, this.#clock.now())) throw refused();
    return principal;
  }

  #keyFor(secret: string, found: Found | undefined): string {
    if (found?.key?.of === this) return found.key.text;
    const key = this.#keyOf(secret);
    if (found !== undefined) found.key = { of: this, text: key };
    return key;
  }

  #flight(key: string, secret: string, address: string | undefined): Promise<Principal> {
    const flying = this.#flights.get(key);
    this.#observe.lookedUp(flying ? "hit" : "miss");
    if (flying) return flying;
    const full = this.#fullFor(address);
    if (full) return Promise.reject(full);
    if (address !== undefined) this.#askedFrom.add(address);
    const flight = this.#question(key, secret, this.#generation).finally(() => {
      if (address !== undefined) this.#askedFrom.remove(address);
      if (this.#flights.get(key) === flight) this.#flights.delete(key);
    });
    this.#flights.set(key, flight);
    return flight;
  }

  #fullFor(address: string | undefined): GatewayError | undefined {
    const { maxFlights } = this.#options;
    if (this.#flights.size >= maxFlights) {
      this.#observe.limited("questions");
      return unavailable("too many tokens are being checked at once");
    }
    if (address === undefined || this.#askedFrom.of(address) < maxFlights * addressShare)
      return undefined;
    this.#observe.limited("questions_per_address");
    return unavailable("too many tokens of this address are being checked at once");
  }

  async #question(key: string, secret: string, generation: number): Promise<Principal> {
    try {
      const principal = await this.#ask(secret);
      if (isExpired(principal, this.#clock.now())) throw refused();
      if (generation === this.#generation) this.#known.set(key, principal);
      return principal;
    } catch (error) {
      const isRefusal = error instanceof GatewayError && error.code === "permission_denied";
      if (isRefusal && generation === this.#generation) this.#refused.set(key, true);
      throw error;
    }
  }
}
