/** Own series, and the text of prom-client: byte for byte what its histogram would have written. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { Histogram, Registry } from "prom-client";
import { Timings } from "../../src/observe/timings.ts";

const described = (registry: Registry) => ({
  name: "serai_test_seconds",
  help: "a\\b\nc",
  labelNames: ["route", "result"],
  buckets: [0.005, 0.1, 1, 10],
  registers: [registry],
});

const observations = [0, 0.005, 0.0050001, 0.1, 0.3, 1, 9.99, 10, 10.5, 1e9, 1 / 3];
const labels = [
  { route: "/v1/a", result: "ok" },
  { route: '/v1/"\\\n', result: "failed" },
];

test("a histogram of own series is written as prom-client's is, and told as JSON alike", async () => {
  const [theirs, ours] = [new Registry(), new Registry()];
  const reference = new Histogram(described(theirs));
  const timings = new Timings(described(ours));
  const verbs = labels.map((one) => timings.series(one));
  timings.series({ route: "/v1/never", result: "ok" });
  assert.equal(await ours.metrics(), await theirs.metrics());
  for (const [at, value] of observations.entries()) {
    const which = at % 3 === 0 ? 1 : 0;
    verbs[which]?.(value);
    reference.observe({ ...labels[which] }, value);
    assert.equal(await ours.metrics(), await theirs.metrics());
  }
  assert.deepEqual(
    (await ours.getMetricsAsJSON()).map(({ values }) => values.map(({ value }) => value)),
    (await theirs.getMetricsAsJSON()).map(({ values }) => values.map(({ value }) => value)),
  );
});
