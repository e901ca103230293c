/** A histogram whose series are plain numbers until it is scraped: prom-client's hashes its labels at each observation. */
import type { HistogramConfiguration } from "prom-client";
import Histogram from "prom-client/lib/histogram.js";

interface Series {
  readonly labels: Readonly<Record<string, string>>;
  /** How many fell between each bound and the one before; those beyond the last are in `count` alone. */
  readonly buckets: number[];
  count: number;
  sum: number;
}

/** A series as prom-client writes one, in its order. */
const valuesOf = (name: string, bounds: readonly number[], series: Series) => {
  const { labels, buckets, count, sum } = series;
  let below = 0;
  const bucket = (le: number | string, value: number) => ({
    metricName: `${name}_bucket`,
    labels: { le, ...labels },
    value,
  });
  return [
    ...bounds.map((bound, at) => {
      below += buckets[at] ?? 0;
      return bucket(bound, below);
    }),
    bucket("+Inf", count),
    { metricName: `${name}_sum`, labels, value: sum },
    { metricName: `${name}_count`, labels, value: count },
  ];
};

const add = (series: Series, bounds: readonly number[], value: number): void => {
  series.count++;
  series.sum += value;
  for (let at = 0; at < bounds.length; at++) {
    if (value > (bounds[at] ?? 0)) continue;
    series.buckets[at] = (series.buckets[at] ?? 0) + 1;
    return;
  }
};

export class Timings extends Histogram {
  readonly #name: string;
  readonly #bounds: readonly number[];
  /** Says what every histogram says of itself. */
  readonly #empty: Histogram;
  readonly #all: Series[] = [];

  constructor(configuration: HistogramConfiguration<string>) {
    super(configuration);
    this.#name = configuration.name;
    this.#bounds = configuration.buckets ?? [];
    this.#empty = new Histogram({ ...configuration, registers: [] });
  }

  /** The verb of one series, which is there from its first observation on. Asked once for each. */
  series(labels: Series["labels"]): (value: number) => void {
    const bounds = this.#bounds;
    const series: Series = { labels, buckets: bounds.map(() => 0), count: 0, sum: 0 };
    return (value) => {
      if (series.count === 0) this.#all.push(series);
      add(series, bounds, value);
    };
  }

  override async get() {
    const values = this.#all.flatMap((series) => valuesOf(this.#name, this.#bounds, series));
    return { ...(await this.#empty.get()), values };
  }

  /** What a registry asks for when it writes its text. */
  getForPromString() {
    return this.get();
  }
}
