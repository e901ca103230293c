/**
 * The public keys of an issuer. Fetched keys are kept for as long as they cannot be fetched anew; an unknown key id asks
 * again, but at most once in `refetchMs` however many such tokens come (hardening A3).
 */
import { readFile } from "node:fs/promises";
import { JwksClient, type SigningKey } from "jwks-rsa";
import { type Dispatcher, request } from "undici";
import { readBounded } from "../lib/read-bounded.ts";
import type { Clock, Log } from "../ports.ts";
import {
  checkIssuerKeys,
  type IssuerKey,
  jwksIn,
  minRsaBits,
  publicKeysIn,
  usable,
} from "./issuer-key.ts";
import type { Issuer } from "./jwt-issuer.ts";
import { unavailable } from "./principals.ts";

/** Candidates for a token's key id. Empty: no such key. Rejects with `identity_unavailable` when keys were never seen. */
export type FindKeys = (
  kid: string | undefined,
) => readonly IssuerKey[] | Promise<readonly IssuerKey[]>;

const maxJwksBytes = 256 * 1024;
const fetchTimeoutMs = 5_000;
const retryMs = 2_000;

/** How often an unknown key id asks again, and when keys that are known are looked at anew. */
interface Pace {
  readonly refetchMs: number;
  readonly maxAgeMs: number;
  /** True: who comes first after `maxAgeMs` waits for the new keys, so that a removed key is gone at once. */
  readonly waits: boolean;
}
const uriPace: Pace = { refetchMs: 30_000, maxAgeMs: 300_000, waits: false };
const filePace: Pace = { refetchMs: 1_000, maxAgeMs: 2_000, waits: true };

type Fetch = () => Promise<{ readonly keys: unknown }>;

const fetchUri =
  (uri: string, dispatcher: Dispatcher | undefined): Fetch =>
  async () => {
    const { statusCode, body } = await request(uri, {
      ...(dispatcher === undefined ? {} : { dispatcher }),
      headers: { accept: "application/json" },
      headersTimeout: fetchTimeoutMs,
      bodyTimeout: fetchTimeoutMs,
      signal: AbortSignal.timeout(fetchTimeoutMs),
    });
    const text = (await readBounded(body, maxJwksBytes)).toString();
    if (statusCode !== 200) throw new Error(`the JWKS was answered with status ${statusCode}`);
    return { keys: jwksIn(text) };
  };

const fetchFile =
  (file: string): Fetch =>
  async () => ({ keys: jwksIn(await readFile(file, "utf8")) });

interface Needs {
  readonly clock: Clock;
  readonly log: Log;
  readonly dispatcher?: Dispatcher;
}

class FetchedKeys {
  readonly #needs: Needs;
  readonly #issuer: string;
  readonly #client: JwksClient;
  readonly #pace: Pace;
  #keys: ReadonlyMap<string, IssuerKey> | undefined;
  #askedAtMs = Number.NEGATIVE_INFINITY;
  #fetchedAtMs = Number.NEGATIVE_INFINITY;
  #refreshing: Promise<void> | undefined;

  constructor(needs: Needs, issuer: string, fetch: Fetch, pace: Pace) {
    this.#needs = needs;
    this.#issuer = issuer;
    this.#pace = pace;
    // Its own cache and rate limit are off: they forget keys when the endpoint is away.
    this.#client = new JwksClient({ fetcher: fetch, cache: false, rateLimit: false });
  }

  readonly find: FindKeys = (kid) => {
    const found = this.#lookup(kid);
    const nowMs = this.#needs.clock.monotonic();
    if (found.length === 0) return this.#ask(kid);
    if (nowMs - this.#fetchedAtMs <= this.#pace.maxAgeMs || !this.#mayAsk()) return found;
    const refreshed = this.#refresh();
    return this.#pace.waits ? refreshed.then(() => this.#lookup(kid)) : found;
  };

  async #ask(kid: string | undefined): Promise<readonly IssuerKey[]> {
    if (this.#refreshing !== undefined || this.#mayAsk()) await this.#refresh();
    if (this.#keys === undefined) throw unavailable("the issuer's keys cannot be fetched");
    return this.#lookup(kid);
  }

  #mayAsk(): boolean {
    const pauseMs = this.#keys === undefined ? retryMs : this.#pace.refetchMs;
    return this.#needs.clock.monotonic() - this.#askedAtMs >= pauseMs;
  }

  /** Without a key id there is a candidate only when the issuer has one key. */
  #lookup(kid: string | undefined): readonly IssuerKey[] {
    if (this.#keys === undefined) return [];
    if (kid === undefined) return this.#keys.size === 1 ? [...this.#keys.values()] : [];
    const key = this.#keys.get(kid);
    return key === undefined ? [] : [key];
  }

  /** One at a time; never rejects: the keys before it stay. */
  #refresh(): Promise<void> {
    this.#refreshing ??= this.#fetch().finally(() => {
      this.#refreshing = undefined;
    });
    return this.#refreshing;
  }

  async #fetch(): Promise<void> {
    const { clock, log } = this.#needs;
    this.#askedAtMs = clock.monotonic();
    try {
      const keys = new Map<string, IssuerKey>();
      for (const signing of await this.#client.getSigningKeys()) this.#add(keys, signing);
      this.#keys = keys;
      this.#fetchedAtMs = clock.monotonic();
      log.debug({ issuer: this.#issuer, keys: keys.size }, "the issuer's keys were fetched");
    } catch (error) {
      const kept = this.#keys?.size ?? 0;
      log.warn({ err: error, issuer: this.#issuer, kept }, "the issuer's keys cannot be fetched");
    }
  }

  #add(keys: Map<string, IssuerKey>, signing: SigningKey): void {
    const key = usable(signing.getPublicKey(), signing.alg || undefined);
    if (key !== undefined) keys.set(signing.kid ?? "", key);
    else
      this.#needs.log.warn(
        { issuer: this.#issuer, kid: signing.kid },
        `a key is not used: it must be EC, or RSA of ${minRsaBits} bits or more`,
      );
  }
}

/** The keys of an issuer. Throws for public keys and a JWKS file that cannot be used. */
export const createIssuerKeys = (needs: Needs, issuer: Issuer): FindKeys => {
  checkIssuerKeys(issuer);
  if ("publicKeys" in issuer) {
    const keys = publicKeysIn(issuer.publicKeys);
    return () => keys;
  }
  const isUri = "jwksUri" in issuer;
  const fetch = isUri ? fetchUri(issuer.jwksUri, needs.dispatcher) : fetchFile(issuer.jwksFile);
  return new FetchedKeys(needs, issuer.issuer, fetch, isUri ? uriPace : filePace).find;
};
