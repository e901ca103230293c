/** The one seam through which the registry waits, so that its tests move time instead of sleeping. */

export type Cancel = () => void;

export interface Timers {
  /** Runs `run` once after `ms`; the answer cancels it and may be called at any time. */
  after(ms: number, run: () => void): Cancel;
}

export const realTimers: Timers = {
  after: (ms, run) => {
    const timer = setTimeout(run, ms);
    return () => clearTimeout(timer);
  },
};

/** Resolves after `ms` or as soon as the signal aborts; never rejects. */
export const pause = (timers: Timers, ms: number, signal: AbortSignal): Promise<void> =>
  new Promise((resolve) => {
    if (signal.aborted) return resolve();
    const done = (): void => {
      cancel();
      signal.removeEventListener("abort", done);
      resolve();
    };
    const cancel = timers.after(ms, done);
    signal.addEventListener("abort", done, { once: true });
  });
