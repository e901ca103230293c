/**
 * Rights that last are asked for anew, now and then and when somebody says that they changed: what may no longer go on is
 * ended. A source that is away is believed for a while.
 */
import { GatewayError } from "../errors.ts";
import type { Authenticate, Clock, Exchange, Log, Principal, Scope } from "../ports.ts";
import type { Route } from "../routes.ts";
import type { EndReason, Entry } from "./entry.ts";

export interface RecheckOptions {
  /** Milliseconds between two checks of every right that lasts; 0: only when asked. */
  readonly recheckMs: number;
  /** Milliseconds that a right is honoured while its source is away. */
  readonly uncheckedMs: number;
  /** Told for each exchange whose right was asked anew. */
  readonly onRecheck: (result: "kept" | "ended" | "failed") => void;
}

export interface RightsNeeds {
  readonly clock: Clock;
  readonly log: Log;
  readonly authenticate: Authenticate;
  /** Throws `permission_denied`. */
  readonly authorize: (principal: Principal, scope: Scope, exchange: Exchange) => void;
}

interface RecheckNeeds extends RightsNeeds {
  readonly entries: () => Iterable<Entry>;
  readonly isOpen: (entry: Entry) => boolean;
  readonly end: (entry: Entry, ending: EndReason, error: GatewayError) => void;
  readonly expireDue: () => void;
  /** A right ends then, milliseconds since the epoch. */
  readonly expiresAt: (atMs: number) => void;
}

export interface Rechecks {
  /** Never rejects; what is asked while one runs runs after it. */
  recheck(): Promise<void>;
  stop(): void;
}

/** The right to an exchange has ended; `reason` is what its caller reads. */
export const ended = (reason: string): GatewayError => new GatewayError("right_ended", { reason });

const maxAtOnce = 8;

/** A blocking query waits for minutes. What its caller may see of the answer is asked of the principal that is found here. */
const waits = ({ carriage, rule }: Route): boolean =>
  carriage === "registry" && rule.on !== "nobody";

const lasts = ({ owner, exchange }: Entry): boolean => owner !== undefined || waits(exchange.route);

export const createRechecks = (
  { clock, log, authenticate, authorize, entries, isOpen, end, expireDue, expiresAt }: RecheckNeeds,
  options: RecheckOptions,
): Rechecks => {
  const monotonic = (): number => clock.monotonic();
  let rechecking: Promise<void> | undefined;
  let following: Promise<void> | undefined;
  /** Since when no question could be answered. */
  let silentSinceMs: number | undefined;

  const unchecked = (entry: Entry): void => {
    if (monotonic() - entry.checkedAtMs > options.uncheckedMs)
      end(entry, "revoked", ended("the token cannot be checked any more"));
  };

  const judge = (entry: Entry, principal: Principal): void => {
    try {
      authorize(principal, entry.scope, entry.exchange);
    } catch (error) {
      if (!(error instanceof GatewayError)) throw error;
      options.onRecheck("ended");
      end(entry, "revoked", ended("its policies do not allow it any more"));
      return;
    }
    options.onRecheck("kept");
    silentSinceMs = undefined;
    entry.principal = principal;
    entry.checkedAtMs = monotonic();
    if (principal.expiresAtMs !== undefined) expiresAt(principal.expiresAtMs);
  };

  const refused = (group: readonly Entry[], error: unknown): void => {
    const gone = error instanceof GatewayError && error.code === "permission_denied";
    silentSinceMs = gone ? undefined : (silentSinceMs ?? monotonic());
    for (const entry of group) {
      options.onRecheck(gone ? "ended" : "failed");
      if (gone) end(entry, "revoked", ended("the token was revoked"));
      else unchecked(entry);
    }
  };

  /** All exchanges of one credential: it is asked for once. */
  const recheckGroup = async (group: readonly Entry[]): Promise<void> => {
    const [first] = group;
    if (first === undefined) return;
    try {
      const signal = AbortSignal.timeout(options.uncheckedMs);
      // its right was granted: those who come now from its address leave it its place
      const credential = { ...first.exchange.credential, address: undefined };
      const principal = await authenticate(credential, signal);
      for (const entry of group) if (isOpen(entry)) judge(entry, principal);
    } catch (error) {
      refused(group, error);
      log.debug({ err: error, exchanges: group.length }, "rights could not be renewed");
    }
  };

  const recheckAll = async (): Promise<void> => {
    expireDue(); // to whoever is asked, what has expired is no different from what was revoked
    const open = [...entries()].filter((entry) => lasts(entry) && entry.ending === undefined);
    const groups = [...Map.groupBy(open, ({ exchange }) => exchange.credential.secret).values()];
    const work = async (): Promise<void> => {
      for (let group = groups.pop(); group !== undefined; group = groups.pop())
        await recheckGroup(group);
    };
    await Promise.all(Array.from({ length: Math.min(maxAtOnce, groups.length) }, work));
    expireDue();
  };

  const recheck = (): Promise<void> => {
    if (rechecking === undefined) {
      rechecking = recheckAll().finally(() => {
        rechecking = undefined;
      });
      return rechecking;
    }
    const next = (): Promise<void> => {
      following = undefined;
      return recheck();
    };
    following ??= rechecking.then(next, next); // what runs may have asked before that happened for which it is wanted
    return following;
  };

  /** A source that is away takes its time for each question: what waits behind them is not renewed meanwhile. */
  const look = (): void => {
    if (rechecking === undefined)
      recheck().catch((error: unknown) => log.error({ err: error }, "recheck of rights failed"));
    else if (monotonic() - (silentSinceMs ?? monotonic()) > options.recheckMs)
      for (const entry of entries()) if (lasts(entry)) unchecked(entry);
  };
  const timer = options.recheckMs > 0 ? setInterval(look, options.recheckMs) : undefined;
  timer?.unref();

  return { recheck, stop: () => clearInterval(timer) };
};
