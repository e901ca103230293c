/** The times of lines. */

/** ISO times of a clock, each millisecond formatted once. */
export const isoTimes = (now: () => number): (() => string) => {
  let [ms, text] = [Number.NaN, ""];
  return () => {
    const at = now();
    if (at !== ms) {
      ms = at;
      text = new Date(at).toISOString();
    }
    return text;
  };
};
