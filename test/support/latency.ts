/** How long answers take, and whether others made them take longer. */
import assert from "node:assert/strict";
import type { TestContext } from "node:test";

/** NaN of none. */
export const quantile = (values: readonly number[], part: number): number =>
  values.toSorted((one, other) => one - other)[Math.floor(values.length * part)] ?? Number.NaN;

export const median = (values: readonly number[]): number => quantile(values, 0.5);

/** What hardly anybody notices, on a machine that may be busy. */
const maxSlowerMs = 250;

/** Milliseconds of answers before a siege and in it: the figures are told, and that no caller notices is asserted. */
export const assertUnhurt = (
  t: TestContext,
  before: readonly number[],
  meanwhile: readonly number[],
): void => {
  const told = (what: string, took: readonly number[]): number => {
    const [p50, p99] = [median(took), quantile(took, 0.99)];
    t.diagnostic(
      `${what}: ${took.length} answers, p50 ${p50.toFixed(1)} ms, p99 ${p99.toFixed(1)} ms`,
    );
    return p99;
  };
  const slow = told("others before", before);
  const slower = told("others meanwhile", meanwhile);
  assert.ok(slower < slow + maxSlowerMs, `p99 ${slower} ms, and ${slow} ms before`);
};
