/** The times of lines. */

const secondMs = 1_000;

/** ISO times of a clock; what is before the milliseconds is formatted once a second. */
export const isoTimes = (now: () => number): (() => string) => {
  let [second, upToMs] = [Number.NaN, ""];
  return () => {
    const at = Math.trunc(now());
    const ofSecond = Math.floor(at / secondMs);
    if (ofSecond !== second) {
      second = ofSecond;
      upToMs = new Date(at).toISOString().slice(0, -"000Z".length);
    }
    return `${upToMs}${String(at - second * secondMs).padStart(3, "0")}Z`;
  };
};
