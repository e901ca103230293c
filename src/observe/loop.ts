/** Watches the event loop: its delay for the metrics, and whether it stood still, for readiness. */
import { monitorEventLoopDelay } from "node:perf_hooks";

export interface LoopDelay {
  readonly p50Seconds: number;
  readonly p99Seconds: number;
  readonly maxSeconds: number;
}

export interface LoopWatch {
  /** Since the last call; starts anew with it. */
  delay(): LoopDelay;
  /** Why the process is not ready: the loop stood still not long ago. */
  stalled(): string | undefined;
  close(): void;
}

export interface LoopWatchOptions {
  /** Monotonic milliseconds. */
  readonly now: () => number;
  readonly stallMs?: number;
  /** Not ready for this long after a stall. */
  readonly afterMs?: number;
}

const beatMs = 250;
const defaultStallMs = 1000;
const defaultAfterMs = 5000;
const resolutionMs = 20;

/** The histogram counts the timer's own period; what is left is the delay. */
const seconds = (nanoseconds: number): number =>
  Number.isFinite(nanoseconds) ? Math.max(0, nanoseconds / 1e9 - resolutionMs / 1e3) : 0;

export const createLoopWatch = (options: LoopWatchOptions): LoopWatch => {
  const { now, stallMs = defaultStallMs, afterMs = defaultAfterMs } = options;
  const histogram = monitorEventLoopDelay({ resolution: resolutionMs });
  histogram.enable();
  let beatAtMs = now();
  let stall: { readonly untilMs: number; readonly forMs: number } | undefined;
  const beat = (): void => {
    const at = now();
    const late = at - beatAtMs - beatMs;
    if (late > stallMs) stall = { untilMs: at + afterMs, forMs: Math.round(late) };
    beatAtMs = at;
  };
  const timer = setInterval(beat, beatMs);
  timer.unref();

  return {
    delay: () => {
      const delay = {
        p50Seconds: seconds(histogram.percentile(50)),
        p99Seconds: seconds(histogram.percentile(99)),
        maxSeconds: seconds(histogram.max),
      };
      histogram.reset();
      return delay;
    },
    stalled: () => {
      // A probe may be answered before the timer has had its turn.
      const late = now() - beatAtMs - beatMs;
      if (late > stallMs) return `the event loop stood still for ${Math.round(late)} ms`;
      if (stall === undefined || now() > stall.untilMs) return undefined;
      return `the event loop stood still for ${stall.forMs} ms`;
    },
    close: () => {
      clearInterval(timer);
      histogram.disable();
    },
  };
};
