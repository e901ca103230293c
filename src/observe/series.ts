/** Children of labelled metrics, made once and kept, so that the hot path neither builds label objects nor hashes them. */
import type { Counter } from "prom-client";

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

/** A plain number that a metric reads when it is scraped. */
export interface Cell<Labels> {
  readonly labels: Labels;
  value: number;
}

/** Cells of one metric: `cell` makes one, `all` holds them. */
export const createCells = <Labels>(): {
  readonly cell: (labels: Labels) => Cell<Labels>;
  readonly all: readonly Cell<Labels>[];
} => {
  const all: Cell<Labels>[] = [];
  return {
    all,
    cell: (labels) => {
      const cell = { labels, value: 0 };
      all.push(cell);
      return cell;
    },
  };
};

/** A counter's `collect`: what its cells hold when it is scraped. */
export const countCells = <Label extends string>(
  cells: readonly Cell<Readonly<Record<Label, string>>>[],
) =>
  function (this: Counter<Label>): void {
    this.reset();
    for (const { labels, value } of cells) this.inc({ ...labels }, value);
  };
