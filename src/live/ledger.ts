/**
 * The ledger of live exchanges: who is in, how many each may hold, and when the right to it ends. Whatever ends an
 * exchange from outside goes through `exchange.end`, once, with a reason.
 */
import { type ErrorCode, GatewayError } from "../errors.ts";
import { Bag } from "../lib/bag.ts";
import { Counts } from "../lib/counts.ts";
import type { Closer, Exchange, Principal, Scope } from "../ports.ts";
import type { Carriage } from "../routes.ts";
import type { EndReason, Entry } from "./entry.ts";
import { createExpiry } from "./expiry.ts";
import { createRechecks, ended, type RecheckOptions, type RightsNeeds } from "./rechecks.ts";

export interface LedgerOptions extends RecheckOptions {
  /** Follows, downloads and sockets that one caller may hold. */
  readonly maxLivePerPrincipal: number;
  readonly onEnd: (exchange: Exchange, reason: EndReason) => void;
}

const defaults: LedgerOptions = {
  maxLivePerPrincipal: 100,
  recheckMs: 5_000,
  uncheckedMs: 60_000,
  onEnd: () => undefined,
  onRecheck: () => undefined,
};

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
  /** What the caller has sent and was sent, so far. */
  readonly bytesIn: number;
  readonly bytesOut: number;
  /** Since the caller last took a byte of those that wait for it; undefined when none waits. */
  readonly callerStalledMs: number | undefined;
  /** Since the agent last took a byte of those that wait for it; undefined when none waits. */
  readonly agentStalledMs: number | undefined;
  readonly expiresAtMs: number | undefined;
}

export interface Ledger extends Closer {
  /** A request has come that may become an exchange. */
  begun(): void;
  /** One that had begun is over, and `done` if it was admitted. */
  over(): void;
  /** Throws `too_many_requests` and `draining`. */
  admit(exchange: Exchange, principal: Principal, scope: Scope): void;
  /** Enters one whose right the cluster's servers judge: it is never asked for anew here. Throws `draining`. */
  host(exchange: Exchange): void;
  /** The exchange is over; `error` is what it ended with. Safe to call for one that was never admitted. */
  done(exchange: Exchange, error?: GatewayError): void;
  list(): readonly LiveRow[];
  /** Who has an exchange, with the rights that were last found; undefined for one that was never admitted. */
  principalOf(exchange: Exchange): Principal | undefined;
  /** Asks anew for every right that lasts; ends what may no longer go on. Never rejects. */
  recheck(): Promise<void>;
  /**
   * Admits what has begun before and what does not last, waits for it and what runs, ends the rest after `graceMs`. Resolves when
   * nothing is left or all was told.
   */
  drain(graceMs: number): Promise<void>;
  /** Resolves when what has begun is admitted or over, at the latest after `waitMs`. */
  arrived(waitMs: number): Promise<void>;
  /** Exchanges by carriage. */
  readonly counts: Readonly<Record<Carriage, number>>;
}

/** Who asks when only the servers know. */
export const upstreamDecides = "upstream decides";

const lasting: ReadonlySet<Carriage> = new Set<Carriage>(["follow", "download", "websocket"]);

/** Of those who showed no credential, and of everybody where none is looked at. */
const commonNames: ReadonlySet<string> = new Set(["anonymous", "acls-disabled"]);

/** Whose share an exchange counts on: nobody knows who shares such a name, so there the address decides. */
const ownerOf = ({ client }: Exchange, { accessorId }: Principal): string =>
  commonNames.has(accessorId) ? `${accessorId}@${client.address}` : accessorId;

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

const emptyCounts = (): Record<Carriage, number> => ({
  unary: 0,
  download: 0,
  follow: 0,
  websocket: 0,
  registry: 0,
});

/** Milliseconds that cut exchanges get to say goodbye at the end of a drain. */
const goodbyeMs = 2_000;

const sinceMs = (atMs: number | undefined, nowMs: number): number | undefined =>
  atMs === undefined ? undefined : Math.round(nowMs - atMs);

const rowOf = ({ exchange, principal, scope }: Entry, nowMs: number): LiveRow => {
  const { id, route, client, key, startedAtMs, tally } = exchange;
  return {
    id,
    route: route.name,
    carriage: route.carriage,
    accessorId: principal?.accessorId ?? upstreamDecides,
    client: client.address,
    key,
    node: scope.kind === "allocation" || scope.kind === "node" ? scope.node?.name : undefined,
    ageMs: Math.round(nowMs - startedAtMs),
    bytesIn: tally.bytesIn,
    bytesOut: tally.bytesOut,
    callerStalledMs: sinceMs(tally.callerStalledAtMs, nowMs),
    agentStalledMs: sinceMs(tally.agentStalledAtMs, nowMs),
    expiresAtMs: principal?.expiresAtMs,
  };
};

export const createLedger = (needs: RightsNeeds, given: Partial<LedgerOptions> = {}): Ledger => {
  const options: LedgerOptions = { ...defaults, ...given };
  const entries = new Bag<Entry>();
  const shares = new Counts();
  const counts = emptyCounts();
  const now = (): number => needs.clock.now();
  const monotonic = (): number => needs.clock.monotonic();
  let requests = 0;
  /** Exchanges that began from then on are refused when they last. */
  let drainingFromMs = Number.POSITIVE_INFINITY;
  let isDrained = false;
  const waits = new Set<{ readonly isOver: () => boolean; readonly done: () => void }>();

  const end = (entry: Entry, ending: EndReason, error: GatewayError): void => {
    if (entry.ending !== undefined) return;
    entry.ending = ending;
    entry.exchange.end(error);
  };

  /* ---- expiry ---- */

  const expireDue = (): number | undefined => {
    let next: number | undefined;
    for (const entry of entries) {
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

  const rechecks = createRechecks(
    {
      ...needs,
      entries: () => entries,
      isOpen: (entry) => entries.has(entry),
      end,
      expireDue,
      expiresAt: expiry.by,
    },
    options,
  );

  /* ---- drain ---- */

  const isEmpty = (): boolean => entries.size === 0 && requests === 0;
  const haveArrived = (): boolean => requests <= entries.size;

  const until = (isOver: () => boolean, waitMs: number): Promise<void> =>
    new Promise((resolve) => {
      const done = (): void => {
        clearTimeout(patience);
        waits.delete(wait);
        resolve();
      };
      const wait = { isOver, done };
      const patience = setTimeout(done, waitMs);
      waits.add(wait);
      if (isOver()) done();
    });
  const tellWaits = (): void => {
    if (waits.size > 0) for (const { isOver, done } of [...waits]) if (isOver()) done();
  };

  const endAll = (): void => {
    isDrained = true;
    for (const entry of entries) end(entry, "drained", new GatewayError("draining"));
  };

  const checkDraining = ({ startedAtMs, route }: Exchange): void => {
    if (isDrained || (startedAtMs >= drainingFromMs && lasting.has(route.carriage)))
      throw new GatewayError("draining");
  };

  const enter = (entry: Entry): void => {
    entries.add(entry);
    entry.exchange.kept.entry = entry;
    counts[entry.exchange.route.carriage] += 1;
    tellWaits();
  };

  return {
    begun() {
      requests += 1;
    },
    over() {
      requests -= 1;
      tellWaits();
    },
    admit(exchange, principal, scope) {
      checkDraining(exchange);
      const owner = lasting.has(exchange.route.carriage) ? ownerOf(exchange, principal) : undefined;
      if (owner !== undefined) take(owner);
      const checkedAtMs = monotonic();
      enter({ exchange, owner, principal, scope, checkedAtMs, ending: undefined, place: -1 });
      if (principal.expiresAtMs !== undefined) expiry.by(principal.expiresAtMs);
    },
    host(exchange) {
      checkDraining(exchange);
      enter({
        exchange,
        owner: undefined,
        principal: undefined,
        scope: { kind: "cluster" },
        checkedAtMs: monotonic(),
        ending: undefined,
        place: -1,
      });
    },
    done(exchange, error) {
      const { entry } = exchange.kept;
      if (entry === undefined || !entries.delete(entry)) return;
      counts[exchange.route.carriage] -= 1;
      if (entry.owner !== undefined) shares.remove(entry.owner);
      options.onEnd(exchange, entry.ending ?? reasonOf(error));
      tellWaits();
    },
    list() {
      const nowMs = monotonic();
      return [...entries].map((entry) => rowOf(entry, nowMs));
    },
    principalOf: ({ kept }) => kept.entry?.principal,
    recheck: rechecks.recheck,
    async drain(graceMs) {
      drainingFromMs = monotonic();
      needs.log.info({ ...counts, graceMs }, "draining live exchanges");
      await until(isEmpty, graceMs);
      endAll();
      await until(isEmpty, goodbyeMs);
    },
    arrived: (waitMs) => until(haveArrived, waitMs),
    async close(_signal) {
      rechecks.stop();
      expiry.stop();
      endAll();
    },
    counts,
  };
};
