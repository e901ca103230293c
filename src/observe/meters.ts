/** Metrics as verbs: a counter or histogram is made once, and whoever counts calls a function. */
import type { Registry } from "prom-client";
import Counter from "prom-client/lib/counter.js";
import Gauge from "prom-client/lib/gauge.js";
import Histogram from "prom-client/lib/histogram.js";
import { cached, countCells, createCells } from "./series.ts";

/** A counter with one label: its verb. */
export const counter = <Label extends string>(
  registry: Registry,
  [name, help, label]: readonly [name: string, help: string, label: string],
  known: readonly Label[],
): ((value: Label) => void) => {
  const cells = createCells<Readonly<Record<string, Label>>>();
  new Counter({
    name: `serai_${name}`,
    help,
    labelNames: [label],
    registers: [registry],
    collect: countCells(cells.all),
  });
  const cellOf = cached((value: Label) => cells.cell({ [label]: value }));
  for (const value of known) cellOf(value);
  return (value) => {
    cellOf(value).value++;
  };
};

/** A counter without a label: its verb. `add` is one at a time unless it is said. */
export const total = (registry: Registry, name: string, help: string): ((add?: number) => void) => {
  const metric = new Counter({ name: `serai_${name}`, help, registers: [registry] });
  return (add = 1) => metric.inc(add);
};

export const histogram = (registry: Registry, name: string, help: string, buckets: number[]) =>
  new Histogram({ name: `serai_${name}`, help, buckets, registers: [registry] });

/** Figures by one label, asked for at each scrape: says how. Called once. */
export const gauges =
  <Label extends string>(
    registry: Registry,
    [name, help, label]: readonly [name: string, help: string, label: string],
  ): ((count: () => Readonly<Record<Label, number>>) => void) =>
  (count) => {
    new Gauge({
      name: `serai_${name}`,
      help,
      labelNames: [label],
      registers: [registry],
      collect() {
        for (const [value, figure] of Object.entries<number>(count()))
          this.labels(value).set(figure);
      },
    });
  };
