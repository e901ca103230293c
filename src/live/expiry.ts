/** One timer for the earliest of many moments. Wall-clock time is judged anew at least once a minute. */

export interface Expiry {
  /** Makes sure that `due` is called at `atMs` (wall clock) or before. */
  by(atMs: number): void;
  stop(): void;
}

/** A step of the wall clock is noticed within this; it also keeps far below the longest timer Node knows. */
const maxWaitMs = 60_000;

/** `due` returns the next moment, or undefined when nothing waits. */
export const createExpiry = (now: () => number, due: () => number | undefined): Expiry => {
  let timer: NodeJS.Timeout | undefined;
  let atMs = Number.POSITIVE_INFINITY;

  const arm = (): void => {
    clearTimeout(timer);
    timer = setTimeout(fire, Math.min(Math.max(atMs - now(), 0), maxWaitMs));
    timer.unref();
  };
  const fire = (): void => {
    atMs = due() ?? Number.POSITIVE_INFINITY;
    if (Number.isFinite(atMs)) arm();
    else timer = undefined;
  };

  return {
    by(momentMs) {
      if (momentMs >= atMs) return;
      atMs = momentMs;
      arm();
    },
    stop() {
      clearTimeout(timer);
      timer = undefined;
      atMs = Number.POSITIVE_INFINITY;
    },
  };
};
