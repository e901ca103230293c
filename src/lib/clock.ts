/** The machine's own clocks. */
export const systemClock = {
  /** Wall clock, milliseconds since the epoch. */
  now: (): number => Date.now(),
  /** Monotonic milliseconds. */
  monotonic: (): number => performance.now(),
};
