/**
 * One direction of a WebSocket pair: messages as they are, in order, one writer. What waits for a slow receiver is
 * bounded: above the bound the sender's socket is paused, and no progress for too long ends the pair.
 */
import type { RawData, WebSocket } from "ws";
import { messageCost } from "../lib/web-socket.ts";
import type { Clock } from "../ports.ts";

export interface PumpTerms {
  readonly clock: Clock;
  readonly maxWaitingBytes: number;
  readonly stallMs: number;
  /** Told when the receiver last took something (monotonic), while more waits for it; undefined: nothing waits. */
  readonly waits: (sinceMs: number | undefined) => void;
  /** The receiver took nothing for `stallMs`. */
  readonly stalled: () => void;
}

export interface Pump {
  push(data: RawData, isBinary: boolean): void;
  /** Calls back once when everything pushed was handed to the system; never when the receiver was lost before. */
  whenFlushed(then: () => void): void;
  /** No timer is left, nothing is waited for; the sender is not paused by us any more. */
  stop(): void;
}

export const createPump = (from: WebSocket, to: WebSocket, terms: PumpTerms): Pump => {
  let unsent = 0;
  let paused = false;
  let stopped = false;
  let timer: NodeJS.Timeout | undefined;
  let flushed: (() => void) | undefined;

  const waiting = (): number => to.bufferedAmount + unsent * messageCost;
  const clear = (): void => {
    clearTimeout(timer);
    timer = undefined;
  };
  const progress = (error?: Error | null): void => {
    unsent -= 1;
    if (stopped) return;
    terms.waits(unsent > 0 ? terms.clock.monotonic() : undefined);
    timer?.refresh();
    if (paused && waiting() <= terms.maxWaitingBytes / 2) {
      paused = false;
      from.resume();
    }
    if (unsent > 0) return;
    clear();
    if (!error) flushed?.();
    flushed = undefined;
  };

  return {
    push(data, isBinary) {
      if (stopped) return;
      if (unsent === 0) terms.waits(terms.clock.monotonic());
      unsent += 1;
      timer ??= setTimeout(terms.stalled, terms.stallMs);
      to.send(data, { binary: isBinary }, progress);
      if (paused || waiting() <= terms.maxWaitingBytes) return;
      paused = true;
      from.pause();
    },
    whenFlushed(then) {
      if (unsent === 0) then();
      else flushed = then;
    },
    stop() {
      stopped = true;
      clear();
      terms.waits(undefined);
      if (paused) from.resume();
    },
  };
};
