/** The times of lines. */

const secondMs = 1_000;

/** ISO times of a clock, each formatted once; what is before the milliseconds once a second. */
export const isoTimes = (now: () => number): (() => string) => {
  let [second, upToMs] = [Number.NaN, ""];
  let [last, time] = [Number.NaN, ""];
  return () => {
    const at = Math.trunc(now());
    if (at === last) return time;
    const ofSecond = Math.floor(at / secondMs);
    if (ofSecond !== second) {
      second = ofSecond;
      upToMs = new Date(at).toISOString().slice(0, -"000Z".length);
    }
    last = at;
    time = `${upToMs}${String(at - second * secondMs).padStart(3, "0")}Z`;
    return time;
  };
};
