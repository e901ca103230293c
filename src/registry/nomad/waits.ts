/** How long the feed waits: longer after each failure, and never two gateways alike. */
import type { Cancel, Timers } from "../timers.ts";
import type { NomadFeedBounds } from "./options.ts";

/** Doubles with each failure up to a ceiling; up to half of it is left to chance. */
export const createBackoff =
  (
    { minBackoffMs, maxBackoffMs }: Pick<NomadFeedBounds, "minBackoffMs" | "maxBackoffMs">,
    random: () => number,
  ): ((failures: number) => number) =>
  (failures) => {
    const ceiling = Math.min(maxBackoffMs, minBackoffMs * 2 ** Math.min(failures, 16));
    return ceiling * (0.5 + random() / 2);
  };

const periodJitter = 0.2;

/** Runs again and again, `ms` apart, a fifth more or less; until it is cancelled. */
export const everyNowAndThen = (
  timers: Timers,
  random: () => number,
  ms: number,
  run: () => void,
): Cancel => {
  let cancel: Cancel;
  const schedule = (): void => {
    cancel = timers.after(ms * (1 - periodJitter + 2 * periodJitter * random()), () => {
      schedule();
      run();
    });
  };
  schedule();
  return () => cancel();
};
