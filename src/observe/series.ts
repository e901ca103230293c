/** Children of labelled metrics, made once and kept, so that the hot path neither builds label objects nor new series. */

/** `make` runs once for each key; beyond `max` keys, `beyond` is given to all others. */
export const cached = <Key, Child>(
  make: (key: Key) => Child,
  max = Number.POSITIVE_INFINITY,
  beyond?: () => Child,
): ((key: Key) => Child) => {
  const children = new Map<Key, Child>();
  let spill: Child | undefined;
  return (key) => {
    const known = children.get(key);
    if (known !== undefined) return known;
    if (children.size >= max && beyond !== undefined) {
      spill ??= beyond();
      return spill;
    }
    const child = make(key);
    children.set(key, child);
    return child;
  };
};
