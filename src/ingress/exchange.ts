/** Makes an Exchange: a request as a value with one abort signal and one tally. */
import type { GatewayError } from "../errors.ts";
import type { Derived } from "../lib/kept.ts";
import type { Exchange, Tally } from "../ports.ts";

export const newTally = (): Tally => ({
  bytesIn: 0,
  bytesOut: 0,
  callerStalledAtMs: undefined,
  agentStalledAtMs: undefined,
  firstByteMs: undefined,
  exitCode: undefined,
});

export type ExchangeFacts = Omit<Exchange, "signal" | "end" | "kept" | "derived">;

/** The signal aborts once, with the first reason given to `end`. */
export const newExchange = (
  facts: ExchangeFacts,
  ending: Pick<AbortController, "signal" | "abort"> = new AbortController(),
  derived: Derived = {},
): Exchange => ({
  ...facts,
  signal: ending.signal,
  end: (reason: GatewayError) => ending.abort(reason),
  kept: {},
  derived,
});

/** Request ids: unique in this process' life, short, and cheap to make. */
export const requestIds = (prefix: string): (() => string) => {
  let last = 0;
  return () => `${prefix}-${(++last).toString(36)}`;
};
