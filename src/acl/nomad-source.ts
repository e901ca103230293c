/**
 * Principals from Nomad's servers, asked with nothing but the caller's own secret: ACL tokens with their roles, workload
 * identities, the anonymous policy, and ACLs that are off. Servers that cannot say are `identity_unavailable`; what they
 * said before counts until its time is over, and no longer.
 */
import { LRUCache } from "lru-cache";
import type { Servers } from "../nomad/servers.ts";
import type { Clock, Closer, Log, Principal } from "../ports.ts";
import { type Ask, away } from "./asking.ts";
import type { IdentitySources, Resolve } from "./authenticate.ts";
import { type Caller, findCaller, type KnownRules, type Stub, toPrincipal } from "./caller.ts";
import { type CachedSourceNeeds, cachedSource } from "./gateway-source.ts";
import type { IdentityCacheOptions } from "./identity-cache.ts";
import { type AskingOptions, createNomadAsking, type NomadAsking } from "./nomad-asking.ts";
import { disabledPrincipal } from "./principals.ts";
import type { Rules } from "./rules.ts";

/**
 * 20 s, and rights that last are asked for anew each 5 s: what is revoked ends within 30 s, the time to ask included. More
 * questions than requests may be under way: they wait for their turn.
 */
const defaultCache = { ttlMs: 20_000, maxFlights: 1_024 };
const maxKnownRules = 1_024;
/** Events come in bursts: what was told is forgotten at most this often. */
const forgetEveryMs = 1_000;

export interface NomadSourceNeeds extends CachedSourceNeeds {
  readonly servers: Servers;
}

export interface NomadSourceOptions {
  readonly cache?: Partial<IdentityCacheOptions>;
  readonly asking?: Partial<AskingOptions>;
}

export interface NomadSource extends IdentitySources, Closer {
  readonly jwt: Resolve;
  /** Forgets what it was told, so that the next use of each secret asks anew. */
  forget(): void;
  /** A token, a policy or a role has changed: forgets, however many such events come, at most once a second. */
  onAclEvent(): void;
}

/** Rules by name and version: many callers hold one policy, and it is read once for all of them. */
const createKnownRules = (): KnownRules & { clear(): void } => {
  const rules = new LRUCache<string, Rules>({ max: maxKnownRules });
  const keyOf = ({ name, version }: Stub): string | undefined =>
    version === undefined ? undefined : JSON.stringify([name, version]);
  return {
    get(stub) {
      const key = keyOf(stub);
      return key === undefined ? undefined : rules.get(key);
    },
    set(stub, found) {
      const key = keyOf(stub);
      if (key !== undefined) rules.set(key, found);
    },
    clear: () => rules.clear(),
  };
};

interface Found {
  readonly caller: Caller;
  readonly origin: string;
}

/**
 * Whether ACLs are off: believed when one server says so and no other one says that they are on. The switch is each
 * server's own, and one that was forgotten must not open the others.
 */
class AclSwitch {
  readonly #clock: Clock;
  readonly #log: Log;
  readonly #asking: NomadAsking;
  readonly #ttlMs: number;
  #checking: Promise<readonly string[]> | undefined;
  #offUntilMs = Number.NEGATIVE_INFINITY;
  #toldOff = false;

  constructor(
    { clock, log }: { readonly clock: Clock; readonly log: Log },
    asking: NomadAsking,
    ttlMs: number,
  ) {
    this.#clock = clock;
    this.#log = log;
    this.#asking = asking;
    this.#ttlMs = ttlMs;
  }

  /** The servers that contradict the one that said off; none: they are off. */
  contradict(origin: string): readonly string[] | Promise<readonly string[]> {
    if (this.#clock.monotonic() < this.#offUntilMs) return [];
    this.#checking ??= this.#check(origin).finally(() => {
      this.#checking = undefined;
    });
    return this.#checking;
  }

  /** A server has looked at a credential. */
  on(): void {
    this.forget();
    if (this.#toldOff) this.#log.info({}, "the Nomad servers have ACLs on");
    this.#toldOff = false;
  }

  forget(): void {
    this.#offUntilMs = Number.NEGATIVE_INFINITY;
  }

  async #check(origin: string): Promise<readonly string[]> {
    const others = await this.#asking.withAcls(origin);
    if (others.length > 0) {
      this.#log.warn(
        { off: origin, on: others },
        "a Nomad server has ACLs off, others have them on",
      );
      return others;
    }
    this.#offUntilMs = this.#clock.monotonic() + this.#ttlMs;
    if (!this.#toldOff)
      this.#log.warn({}, "the Nomad servers have ACLs off: everybody may do everything");
    this.#toldOff = true;
    return [];
  }
}

export const createNomadSource = (
  { clock, log, observe, servers }: NomadSourceNeeds,
  { cache, asking: askingOptions }: NomadSourceOptions = {},
): NomadSource => {
  const options = { ...defaultCache, ...cache };
  const asking = createNomadAsking(servers, askingOptions);
  const known = createKnownRules();
  const acls = new AclSwitch({ clock, log }, asking, options.ttlMs);

  const find = (secret: string, origins?: readonly string[]): Promise<Found> => {
    const question = async (ask: Ask, origin: string): Promise<Found> => ({
      caller: await findCaller(ask, secret, clock.now(), known),
      origin,
    });
    return asking.ask(secret, question, origins);
  };

  const ask = async (secret: string): Promise<Principal> => {
    const first = await find(secret);
    if (first.caller.kind !== "off") {
      acls.on();
      return toPrincipal(first.caller);
    }
    const others = await acls.contradict(first.origin);
    if (others.length === 0) return disabledPrincipal;
    servers.failed(first.origin); // nothing else should be asked of it either: it would let everybody do everything
    const { caller } = await find(secret, others);
    if (caller.kind === "off") throw away("cannot say whether ACLs are on");
    return toPrincipal(caller);
  };

  const source = cachedSource({ clock, log, observe }, ask, options);
  let forgottenAtMs = Number.NEGATIVE_INFINITY;
  let changed = false;

  const forget = (): void => {
    changed = false;
    forgottenAtMs = clock.monotonic();
    known.clear();
    acls.forget();
    source.forget();
  };
  const forgetWhenDue = (): void => {
    if (changed && clock.monotonic() - forgottenAtMs >= forgetEveryMs) forget();
  };
  const resolve: Resolve = (secret, signal, credential) => {
    forgetWhenDue();
    return source.token(secret, signal, credential);
  };

  return {
    anonymous: (signal) => resolve("", signal),
    token: resolve,
    jwt: resolve,
    forget,
    onAclEvent() {
      changed = true;
      forgetWhenDue();
    },
    close: async () => forget(),
  };
};
