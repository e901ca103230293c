/**
 * Labels with `*` and how the closest one is found (nomad-acl.md §1.7). A label's distance from a name is
 * length(name) - length(label) + number of `*`; for one name that is an order of the labels alone, so they are sorted
 * once and the first that matches is the closest.
 */

/** A predicate for a label: `*` is any run of characters, also none; all else is literal; the whole name must match. */
export const globMatcher = (label: string): ((name: string) => boolean) => {
  const parts = label.split("*");
  if (parts.length === 1) return (name) => name === label;
  const head = parts[0] ?? "";
  const tail = parts.at(-1) ?? "";
  const middle = parts.slice(1, -1).filter((part) => part !== "");
  return (name) => {
    if (name.length < head.length + tail.length) return false;
    if (!name.startsWith(head) || !name.endsWith(tail)) return false;
    const end = name.length - tail.length;
    let at = head.length;
    for (const part of middle) {
      const found = name.indexOf(part, at);
      if (found < 0) return false;
      at = found + part.length;
    }
    return at <= end;
  };
};

export interface Ranked<T> {
  readonly label: string;
  readonly value: T;
  readonly matches: (name: string) => boolean;
}

/** Bytes of a label that are no star: fewer are further away. */
const closeness = (label: string): number => Buffer.byteLength(label.replaceAll("*", ""));

/** Closest first; of two that are equally close the greatest in byte order. */
const byRank = (a: string, b: string): number =>
  closeness(b) - closeness(a) || Buffer.compare(Buffer.from(b), Buffer.from(a));

export const rankGlobs = <T>(labels: ReadonlyMap<string, T>): readonly Ranked<T>[] =>
  [...labels]
    .sort(([a], [b]) => byRank(a, b))
    .map(([label, value]) => ({ label, value, matches: globMatcher(label) }));

/** The value of the closest label that matches. */
export const closest = <T>(ranked: readonly Ranked<T>[], name: string): T | undefined =>
  ranked.find(({ matches }) => matches(name))?.value;
