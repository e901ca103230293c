/**
 * The ledger of live exchanges: who is in, how many each may hold, and when the right to it ends. Whatever ends an
 * exchange from outside goes through `exchange.end`, once, with a reason.
 */
import { type ErrorCode, GatewayError } from "../errors.ts";
import { Counts } from "../lib/counts.ts";
import type {
  Authenticate, Clock, Closer, Exchange, Log, Principal, Scope,
} from "../ports.ts"; // biome-ignore format: a row
import type { Carriage, Route } from "../routes.ts";
import { createExpiry } from "./expiry.ts";

/** Why an exchange ended: a closed set, the metric's label. */
export type EndReason =
  | "client" | "upstream" | "eof" | "expired" | "revoked" | "drained" | "slow" | "error"; // biome-ignore format: a row

export interface LedgerOptions {
  /** Follows, downloads and sockets that one caller may hold. */
  readonly maxLivePerPrincipal: number;
  /** Milliseconds between two checks of every right that lasts; 0: only when asked. */
  readonly recheckMs: number;
  /** Milliseconds that a right is honoured while its source is away. */
  readonly uncheckedMs: number;
  readonly onEnd: (exchange: Exchange, reason: EndReason) => void;
  /** Told for each exchange whose right was asked anew. */
  readonly onRecheck: (result: "kept" | "ended" | "failed") => void;
}

const defaults: LedgerOptions = {
  maxLivePerPrincipal: 100,
  recheckMs: 5_000,
  uncheckedMs: 60_000,
  onEnd: () => undefined,
  onRecheck: () => undefined,
};

export interface LedgerNeeds {
  readonly clock: Clock;
  readonly log: Log;
  readonly authenticate: Authenticate;
  /** Throws `permission_denied`. */
  readonly authorize: (principal: Principal, scope: Scope, exchange: Exchange) => void;
}

/** One line of /debug/live. No secret is in it. */
export interface LiveRow {
  readonly id: string;
  readonly route: string;
  readonly carriage: Carriage;
  readonly accessorId: string;
  readonly client: string;
  readonly key: string;
  readonly node: string | undefined;
  readonly ageMs: number;
  readonly expiresAtMs: number | undefined;
}

export interface Ledger extends Closer {
  /** Throws `too_many_requests` and `draining`. */
  admit(exchange: Exchange, principal: Principal, scope: Scope): void;
  /** Enters one whose right the cluster's servers judge: it is never asked for anew here. Throws `draining`. */
  host(exchange: Exchange): void;
  /** The exchange is over; `error` is what it ended with. Safe to call for one that was never admitted. */
  done(exchange: Exchange, error?: GatewayError): void;
  list(): readonly LiveRow[];
  /** Asks anew for every right that lasts; ends what may no longer go on. Never rejects. */
  recheck(): Promise<void>;
  /** Admits no more, waits for what runs, ends the rest after `graceMs`. Resolves when the ledger is empty or all was told. */
  drain(graceMs: number): Promise<void>;
  /** Exchanges by carriage. */
  readonly counts: Readonly<Record<Carriage, number>>;
}

interface Entry {
  readonly exchange: Exchange;
  readonly scope: Scope;
  readonly owner: string | undefined;
  /** Undefined: the cluster's servers know. */
  principal: Principal | undefined;
  /** Monotonic: a step of the wall clock makes no right older. */
  checkedAtMs: number;
  ending: EndReason | undefined;
}

/** Who asks when only the servers know. */
export const upstreamDecides = "upstream decides";

const lasting: ReadonlySet<Carriage> = new Set<Carriage>(["follow", "download", "websocket"]);

/** A blocking query waits for minutes, and answers with what its caller might see when it came. */
const waits = ({ carriage, rule }: Route): boolean =>
  carriage === "registry" && rule.on !== "nobody";

const lasts = ({ owner, exchange }: Entry): boolean => owner !== undefined || waits(exchange.route);

/** Whose share an exchange counts on: nobody knows who shares the anonymous name, so there the address decides. */
const ownerOf = ({ client }: Exchange, { accessorId }: Principal): string =>
  accessorId === "anonymous" ? `anonymous@${client.address}` : accessorId;

const reasons: Readonly<Partial<Record<ErrorCode, EndReason>>> = {
  client_closed: "client",
  client_too_slow: "slow",
  draining: "drained",
  right_ended: "revoked",
  node_unreachable: "upstream",
  upstream_broke: "upstream",
  upstream_invalid: "upstream",
  upstream_timeout: "upstream",
};

const reasonOf = (error: GatewayError | undefined): EndReason =>
  error === undefined ? "eof" : (reasons[error.code] ?? "error");

/** The right to an exchange has ended; `reason` is what its caller reads. */
const ended = (reason: string): GatewayError => new GatewayError("right_ended", { reason });

const emptyCounts = (): Record<Carriage, number> => ({
  unary: 0,
  download: 0,
  follow: 0,
  websocket: 0,
  registry: 0,
});

/** Milliseconds that cut exchanges get to say goodbye at the end of a drain. */
const goodbyeMs = 2_000;

export const createLedger = (needs: LedgerNeeds, given: Partial<LedgerOptions> = {}): Ledger => {
  const options: LedgerOptions = { ...defaults, ...given };
  const entries = new Map<Exchange, Entry>();
  const shares = new Counts();
  const counts = emptyCounts();
  const now = (): number => needs.clock.now();
  const monotonic = (): number => needs.clock.monotonic();
  let draining = false;
  let rechecking: Promise<void> | undefined;
  let following: Promise<void> | undefined;
  const emptied = new Set<() => void>();

  const end = (entry: Entry, ending: EndReason, error: GatewayError): void => {
    if (entry.ending !== undefined) return;
    entry.ending = ending;
    entry.exchange.end(error);
  };

  /* ---- expiry ---- */

  const expireDue = (): number | undefined => {
    let next: number | undefined;
    for (const entry of entries.values()) {
      const atMs = entry.principal?.expiresAtMs;
      if (atMs === undefined || entry.ending !== undefined) continue;
      if (atMs <= now()) end(entry, "expired", ended("the token has expired"));
      else next = Math.min(next ?? atMs, atMs);
    }
    return next;
  };
  const expiry = createExpiry(now, expireDue);

  /* ---- shares ---- */

  const take = (owner: string): void => {
    if (shares.of(owner) >= options.maxLivePerPrincipal)
      throw new GatewayError("too_many_requests", { limit: String(options.maxLivePerPrincipal) });
    shares.add(owner);
  };

  /* ---- rechecks ---- */

  const unchecked = (entry: Entry): void => {
    if (monotonic() - entry.checkedAtMs > options.uncheckedMs)
      end(entry, "revoked", ended("the token cannot be checked any more"));
  };

  const judge = (entry: Entry, principal: Principal): void => {
    try {
      needs.authorize(principal, entry.scope, entry.exchange);
    } catch (error) {
      if (!(error instanceof GatewayError)) throw error;
      options.onRecheck("ended");
      end(entry, "revoked", ended("its policies do not allow it any more"));
      return;
    }
    options.onRecheck("kept");
    entry.principal = principal;
    entry.checkedAtMs = monotonic();
    if (principal.expiresAtMs !== undefined) expiry.by(principal.expiresAtMs);
  };

  const refused = (group: readonly Entry[], error: unknown): void => {
    const gone = error instanceof GatewayError && error.code === "permission_denied";
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
      const principal = await needs.authenticate(first.exchange.credential, signal);
      for (const entry of group) if (entries.has(entry.exchange)) judge(entry, principal);
    } catch (error) {
      refused(group, error);
      needs.log.debug({ err: error, exchanges: group.length }, "rights could not be renewed");
    }
  };

  const maxAtOnce = 8;

  const recheckAll = async (): Promise<void> => {
    const open = [...entries.values()].filter(
      (entry) => lasts(entry) && entry.ending === undefined,
    );
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

  const timer =
    options.recheckMs > 0
      ? setInterval(() => {
          if (rechecking !== undefined) return;
          recheck().catch((error: unknown) =>
            needs.log.error({ err: error }, "recheck of rights failed"),
          );
        }, options.recheckMs)
      : undefined;
  timer?.unref();

  /* ---- drain ---- */

  const whenEmpty = (waitMs: number): Promise<void> =>
    new Promise((resolve) => {
      const done = (): void => {
        clearTimeout(patience);
        emptied.delete(done);
        resolve();
      };
      const patience = setTimeout(done, waitMs);
      emptied.add(done);
      if (entries.size === 0) done();
    });

  const endAll = (): void => {
    for (const entry of entries.values()) end(entry, "drained", new GatewayError("draining"));
  };

  const enter = (
    exchange: Exchange,
    rights: Pick<Entry, "owner" | "principal" | "scope">,
  ): void => {
    entries.set(exchange, { exchange, ...rights, checkedAtMs: monotonic(), ending: undefined });
    counts[exchange.route.carriage] += 1;
  };

  return {
    admit(exchange, principal, scope) {
      if (draining) throw new GatewayError("draining");
      const owner = lasting.has(exchange.route.carriage) ? ownerOf(exchange, principal) : undefined;
      if (owner !== undefined) take(owner);
      enter(exchange, { owner, principal, scope });
      if (principal.expiresAtMs !== undefined) expiry.by(principal.expiresAtMs);
    },
    host(exchange) {
      if (draining) throw new GatewayError("draining");
      enter(exchange, { owner: undefined, principal: undefined, scope: { kind: "cluster" } });
    },
    done(exchange, error) {
      const entry = entries.get(exchange);
      if (entry === undefined) return;
      entries.delete(exchange);
      counts[exchange.route.carriage] -= 1;
      if (entry.owner !== undefined) shares.remove(entry.owner);
      options.onEnd(exchange, entry.ending ?? reasonOf(error));
      if (entries.size === 0) for (const told of [...emptied]) told();
    },
    list: () =>
      [...entries.values()].map(({ exchange, principal, scope }) => ({
        id: exchange.id,
        route: exchange.route.name,
        carriage: exchange.route.carriage,
        accessorId: principal?.accessorId ?? upstreamDecides,
        client: exchange.client.address,
        key: exchange.key,
        node: scope.kind === "allocation" || scope.kind === "node" ? scope.node?.name : undefined,
        ageMs: needs.clock.monotonic() - exchange.startedAtMs,
        expiresAtMs: principal?.expiresAtMs,
      })),
    recheck,
    async drain(graceMs) {
      draining = true;
      needs.log.info({ ...counts, graceMs }, "draining live exchanges");
      await whenEmpty(graceMs);
      endAll();
      await whenEmpty(goodbyeMs);
    },
    async close(_signal) {
      draining = true;
      clearInterval(timer);
      expiry.stop();
      endAll();
    },
    counts,
  };
};
