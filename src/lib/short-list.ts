/** Lists that hardly ever hold more than one, and are copied with each change: thousands may be held, and none is walked while it changes. */

const none: readonly never[] = [];

/**
 * A copy with one more at its end, and no room for others: what is added by spreading has room for sixteen, and `concat` takes
 * six times as long.
 */
export const withOneMore = <T>(list: readonly T[], one: T): readonly T[] =>
  list.length === 0 ? [one] : list.toSpliced(list.length, 0, one);

/** A copy without that one. */
export const without = <T>(list: readonly T[], one: T): readonly T[] => {
  if (list.length === 1) return list[0] === one ? none : list;
  return list.filter((other) => other !== one);
};
