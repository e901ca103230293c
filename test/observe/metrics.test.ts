import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import path from "node:path";
import { test } from "node:test";
import { createLoopWatch } from "../../src/observe/loop.ts";
import { createMetrics, type Metrics } from "../../src/observe/metrics.ts";
import { routeNamed, routes } from "../../src/routes.ts";
import { until } from "./support.ts";

const gateway = (): Metrics & Disposable => {
  const metrics = createMetrics({ version: "1.2.3", region: "global" });
  return { ...metrics, [Symbol.dispose]: () => metrics.close() };
};

const seriesOf = (text: string): readonly string[] =>
  text.split("\n").filter((line) => line !== "" && !line.startsWith("#"));

const figure = (text: string, series: string): number | undefined => {
  const line = seriesOf(text).find((candidate) => candidate.startsWith(`${series} `));
  return line === undefined ? undefined : Number(line.slice(series.length + 1));
};

const ls = routeNamed("fs.ls");
const cat = routeNamed("fs.cat");

test("a request is counted by route, method and status, and timed once", async () => {
  using metrics = gateway();
  metrics.requestStarted(ls);
  const flying = await metrics.exposition();
  metrics.requestEnded(ls, { method: "GET", status: 200, durationMs: 12 });
  const text = await metrics.exposition();
  const route = 'route="/v1/client/fs/ls/*id"';
  assert.equal(figure(flying, `serai_http_requests_in_flight{${route}}`), 1);
  assert.equal(figure(text, `serai_http_requests_in_flight{${route}}`), 0);
  assert.equal(figure(text, `serai_http_requests_total{${route},method="GET",code="200"}`), 1);
  assert.equal(
    figure(text, `serai_http_request_duration_seconds_sum{${route},result="ok"}`),
    0.012,
  );
});

test("streams and blocking queries stay out of the latency of requests", async () => {
  using metrics = gateway();
  const list = routeNamed("allocs.list");
  metrics.requestStarted(cat);
  metrics.requestEnded(cat, { method: "GET", status: 200, durationMs: 60_000 });
  metrics.requestStarted(list);
  metrics.requestEnded(list, { method: "GET", status: 200, durationMs: 60_000, waited: true });
  const text = await metrics.exposition();
  assert.ok(
    !seriesOf(text).some((line) => line.startsWith("serai_http_request_duration_seconds_")),
  );
  assert.equal(
    figure(text, 'serai_http_requests_total{route="/v1/allocations",method="GET",code="200"}'),
    1,
  );
});

test("a stream tells its bytes, first byte, duration and why it ended", async () => {
  using metrics = gateway();
  metrics.streamOpened("follow");
  assert.equal(figure(await metrics.exposition(), 'serai_streams_active{kind="follow"}'), 1);
  metrics.streamEnded("follow", {
    reason: "client",
    durationMs: 5000,
    bytesIn: 1,
    bytesOut: 1024,
    firstByteMs: 20,
  });
  const text = await metrics.exposition();
  assert.equal(figure(text, 'serai_streams_active{kind="follow"}'), 0);
  assert.equal(figure(text, 'serai_stream_bytes_total{kind="follow",direction="out"}'), 1024);
  assert.equal(figure(text, 'serai_stream_ends_total{kind="follow",reason="client"}'), 1);
  assert.equal(figure(text, 'serai_stream_time_to_first_byte_seconds_count{kind="follow"}'), 1);
  assert.equal(figure(text, 'serai_stream_duration_seconds_sum{kind="follow"}'), 5);
});

test("figures that others know are asked at each scrape, and left out while unknown", async () => {
  using metrics = gateway();
  let nodes: number | undefined = 3;
  metrics.read("index_nodes", () => nodes);
  assert.equal(figure(await metrics.exposition(), "serai_index_nodes"), 3);
  nodes = undefined;
  assert.equal(figure(await metrics.exposition(), "serai_index_nodes"), undefined);
});

test("decisions, reloads, audit, limits and metadata are counted", async () => {
  using metrics = gateway();
  metrics.decided(routeNamed("fs.logs"), "denied");
  metrics.reloaded(false);
  metrics.auditRecorded("denied");
  metrics.limited("body");
  metrics.metadataBatched({ size: 5, ok: true });
  metrics.metadataApplied(9500);
  metrics.errorSeen("node_unreachable");
  const text = await metrics.exposition();
  const expected: Readonly<Record<string, number>> = {
    'serai_authz_decisions_total{capability="read-logs|read-fs",result="denied"}': 1,
    'serai_config_reloads_total{result="failed"}': 1,
    serai_config_last_reload_successful: 0,
    'serai_audit_events_total{result="denied"}': 1,
    'serai_rate_limited_total{limit="body"}': 1,
    'serai_metadata_batches_total{result="ok"}': 1,
    serai_metadata_batch_size_sum: 5,
    serai_metadata_apply_delay_seconds_sum: 9.5,
    'serai_errors_total{code="node_unreachable"}': 1,
    [`serai_build_info{version="1.2.3",node="${process.version}",region="global"}`]: 1,
  };
  for (const [series, value] of Object.entries(expected))
    assert.equal(figure(text, series), value, series);
});

test("two gateways in one process do not see each other", async () => {
  using one = gateway();
  using other = gateway();
  one.errorSeen("internal");
  assert.equal(figure(await one.exposition(), 'serai_errors_total{code="internal"}'), 1);
  assert.equal(figure(await other.exposition(), 'serai_errors_total{code="internal"}'), 0);
});

const tryEverything = (metrics: Metrics, seed: number): void => {
  const methods = ["GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS", "PATCH", `X${seed}`];
  for (const route of [...routes, undefined])
    for (let n = 0; n < 1100; n++) {
      const method = methods[(n * seed) % methods.length] ?? "";
      metrics.requestStarted(route);
      metrics.requestEnded(route, { method, status: n, durationMs: (n * seed) % 500 });
    }
};

test("whatever is sent, the exposition stays below 3,000 series and soon stops growing", async () => {
  using metrics = gateway();
  tryEverything(metrics, 1);
  const before = seriesOf(await metrics.exposition()).length;
  for (const seed of [2, 3, 5]) tryEverything(metrics, seed);
  const after = seriesOf(await metrics.exposition()).length;
  assert.ok(after < 3000, `${after} series`);
  assert.equal(after, before);
});

test("a caller who has tried everything hides no failure from the alerts", async () => {
  using metrics = gateway();
  const answered = (method: string, status: number): void => {
    metrics.requestStarted(ls);
    metrics.requestEnded(ls, { method, status, durationMs: 1 });
  };
  for (const method of ["GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS", "PATCH"])
    for (const status of [400, 403, 404]) answered(method, status);
  answered("GET", 502);
  const failures = seriesOf(await metrics.exposition()).filter((line) =>
    /^serai_http_requests_total\{.*code="5.."\} 1$/.test(line),
  );
  assert.equal(failures.length, 1);
});

test("every series has a unit, a prefix and labels from the closed sets", async () => {
  using metrics = gateway();
  tryEverything(metrics, 3);
  for (const line of seriesOf(await metrics.exposition())) {
    assert.match(line, /^(serai|process|nodejs)_/);
    const labels = [...line.matchAll(/([a-z_]+)="/g)].map((match) => match[1]);
    for (const label of labels)
      assert.match(
        label ?? "",
        /^(route|method|code|kind|reason|result|direction|capability|limit|quantile|le|version|node|region)$/,
      );
  }
});

test("with no descriptor left the figures are told, and say so", {
  skip: process.platform !== "linux",
}, () => {
  const module = path.join(import.meta.dirname, "../../src/observe/metrics.ts");
  const script = `import { openSync } from "node:fs";
    import { createMetrics } from ${JSON.stringify(module)};
    const metrics = createMetrics({ version: "1", region: "global" });
    await metrics.exposition();
    const { stdout } = process; // opened while there is something left
    try { for (;;) openSync("/dev/null"); } catch {}
    const lines = (await metrics.exposition()).split("\\n");
    stdout.write(lines.filter((line) => /^process_.*_fds /.test(line)).sort().join());
    process.exit();`;
  const { stdout, stderr } = spawnSync(
    "/bin/sh",
    ["-c", 'ulimit -n 100; exec "$@"', "sh", process.execPath, "--input-type=module", "-e", script],
    { encoding: "utf8" },
  );
  assert.equal(stdout, "process_max_fds 100,process_open_fds 100", stderr);
});

test("scrapes at the same time share one", async () => {
  using metrics = gateway();
  let asked = 0;
  metrics.read("live_exchanges", () => ++asked);
  await Promise.all(Array.from({ length: 50 }, () => metrics.exposition()));
  assert.equal(asked, 1);
});

const stand = (forMs: number): void => {
  const endMs = performance.now() + forMs;
  while (performance.now() < endMs) Math.sqrt(endMs);
};

test("a loop that stood still is told for a while, then forgotten", async () => {
  const watch = createLoopWatch({ now: () => performance.now(), stallMs: 300, afterMs: 400 });
  assert.equal(watch.stalled(), undefined);
  stand(900);
  assert.match(watch.stalled() ?? "", /stood still for \d+ ms/);
  await until(() => watch.stalled() === undefined, "calm");
  stand(300);
  let turns = 0;
  await until(() => ++turns > 10, "some turns of the loop");
  assert.ok(watch.delay().maxSeconds > 0.2);
  watch.close();
});
