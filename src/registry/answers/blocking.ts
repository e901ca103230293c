/**
 * Blocking queries (nomad-http.md §1.8): a query with an index waits until its own result passes that index. Every
 * change of its table runs it again; when the time is over it answers what is there, with the index unchanged.
 */
import { setImmediate } from "node:timers/promises";
import { whenAborted } from "../../lib/abort.ts";
import type { CommonParameters } from "../../parameters.ts";
import type { Answered, Registry, Table } from "../../ports.ts";
import type { AnswerNeeds, AnswerOptions } from "./needs.ts";

export const maxWaitMs = 300_000;
const jitterPart = 16;
/** A table that never rests runs a waiting query at most this often. */
const restMs = 50;

export interface Result {
  /** The last index that touched what is answered. */
  readonly index: number;
  readonly answered: Answered;
}

/** Nomad's headers of a result. */
export const metaHeaders = (
  index: number,
  nextToken?: string,
): Readonly<Record<string, string>> => ({
  "X-Nomad-Index": String(index),
  "X-Nomad-Knownleader": "true",
  "X-Nomad-Lastcontact": "0",
  ...(nextToken === undefined ? {} : { "X-Nomad-Nexttoken": nextToken }),
});

export const waitMsOf = (asked: number, random: () => number): number => {
  const waitMs = asked <= 0 ? maxWaitMs : Math.min(asked, maxWaitMs);
  return waitMs + (random() * waitMs) / jitterPart;
};

/** Calls `start` with a signal that aborts after `ms` or with `signal`; throws the latter's reason. */
const within = async (
  ms: number,
  signal: AbortSignal,
  start: (signal: AbortSignal) => Promise<void>,
): Promise<void> => {
  const over = new AbortController();
  const timer = setTimeout(() => over.abort(), ms);
  try {
    await start(AbortSignal.any([signal, over.signal]));
  } finally {
    clearTimeout(timer);
  }
  signal.throwIfAborted();
};

const changedWithin = (
  registry: Registry,
  table: Table,
  index: number,
  ms: number,
  signal: AbortSignal,
): Promise<void> => within(ms, signal, (both) => registry.changed(table, index, both));

export type Query = () => Result | Promise<Result>;

export type Block = (
  table: Table,
  common: CommonParameters,
  signal: AbortSignal,
  query: Query,
) => Promise<Answered>;

/** Runs a query once, or again and again until its result passes the index that was asked for. */
export const createBlock = (
  { registry, clock }: Pick<AnswerNeeds, "registry" | "clock">,
  { random = Math.random, isEnding = () => false }: Pick<AnswerOptions, "random" | "isEnding">,
): Block => {
  let last: Promise<unknown> = Promise.resolve();
  /** A change wakes all that wait for its table: they go on one by one, and everything else between them. */
  const turn = (): Promise<unknown> => {
    last = last.then(() => setImmediate());
    return last;
  };
  return async (table, common, signal, query) => {
    const endsAt = clock.monotonic() + waitMsOf(common.waitMs, random);
    for (;;) {
      const seen = registry.index(table);
      const { index, answered } = await query();
      if (common.index === 0n || BigInt(index) > common.index) return answered;
      const leftMs = endsAt - clock.monotonic();
      if (leftMs <= 0 || isEnding()) return answered;
      await changedWithin(registry, table, seen, leftMs, signal);
      if (clock.monotonic() >= endsAt) continue;
      await within(Math.min(restMs, leftMs), signal, whenAborted);
      await turn();
      signal.throwIfAborted();
    }
  };
};
