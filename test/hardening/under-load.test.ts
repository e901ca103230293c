/** A flood at the public door: probes and scrapes are still answered, the log stays small, and nothing of the flood is left. */
import assert from "node:assert/strict";
import { statSync } from "node:fs";
import path from "node:path";
import { monitorEventLoopDelay } from "node:perf_hooks";
import { test } from "node:test";
import { createHome, until } from "../support/processes.ts";
import { get, rawClient, rawRequest } from "../support/raw-client.ts";
import { startRig } from "../support/rig.ts";

/** Keeps `width` callers busy until told to stop; resolves with how many requests were answered. */
const flood = (
  width: number,
  ask: (nth: number) => Promise<unknown>,
): { readonly stop: () => Promise<number> } => {
  let running = true;
  let count = 0;
  const work = async (): Promise<void> => {
    while (running) await ask(count++);
  };
  const all = Array.from({ length: width }, work);
  return {
    stop: async () => {
      running = false;
      await Promise.all(all);
      return count;
    },
  };
};

const timed = async (url: string): Promise<{ readonly status: number; readonly ms: number }> => {
  const startedAt = performance.now();
  const answer = await fetch(url);
  await answer.text();
  return { status: answer.status, ms: performance.now() - startedAt };
};

test("probes and scrapes are answered while the public door is flooded and full", async (t) => {
  await using home = createHome();
  const gateway = await home.gateway({ limits: { max_sockets: 64, sockets_per_address: 64 } });
  const { port, adminUrl } = gateway;
  const full = Array.from({ length: 100 }, () => rawClient(port, "GET "));
  const requests = flood(16, () => rawRequest(port, get("/v1/nodes")).catch(() => undefined));
  const probes: number[] = [];
  for (let time = 0; time < 20; time++)
    for (const name of ["livez", "readyz", "metrics"]) {
      const { status, ms } = await timed(`${adminUrl}/${name}`);
      assert.equal(status, 200, name);
      probes.push(ms);
    }
  for (const { socket } of full) socket.destroy();
  const asked = await requests.stop();
  probes.sort((a, b) => a - b);
  t.diagnostic(
    `${asked} requests; median ${probes[30]?.toFixed(1)} ms, worst ${probes.at(-1)?.toFixed(1)} ms`,
  );
  assert.ok(asked > 50, String(asked));
  assert.ok((probes[30] ?? Number.POSITIVE_INFINITY) < 1_000);
  assert.ok((probes.at(-1) ?? Number.POSITIVE_INFINITY) < 5_000);
  await until("it serves again", async () => {
    const answer = await rawRequest(port, get("/v1/regions")).catch(() => undefined);
    return answer?.status === 200;
  });
});

test("a scrape during load holds the loop up for no more than a blink", async (t) => {
  await using rig = await startRig({ settings: { log: { level: "error" } } });
  const token = rig.secret("management");
  const requests = flood(8, () => rig.get("/v1/nodes", token));
  const delay = monitorEventLoopDelay({ resolution: 5 });
  delay.enable();
  for (let time = 0; time < 5; time++)
    assert.equal((await timed(`${rig.adminUrl}/metrics`)).status, 200);
  delay.disable();
  await requests.stop();
  const [median, worst] = [delay.percentile(50) / 1e6, delay.max / 1e6];
  t.diagnostic(
    `loop delay with five scrapes: median ${median.toFixed(1)} ms, worst ${worst.toFixed(1)} ms`,
  );
  assert.ok(worst < 1_000, `${worst} ms`);
});

test("a flood of bad requests is sampled in the log, and told in numbers", async () => {
  await using rig = await startRig({ settings: { log: { level: "debug", lines_per_second: 20 } } });
  const port = Number(new URL(rig.url).port);
  const file = path.join(rig.directory, "gateway.log");
  const startedAt = performance.now();
  const bad = [
    () => rawRequest(port, get(`/v1/client/fs/cat/x?path=${"a".repeat(2_000)}`)),
    () => rawRequest(port, get(`/v1/..%2f${"b".repeat(2_000)}`)),
    () => rawRequest(port, "GET / HTTP/9.9\r\n\r\n"),
    () => rig.get("/v1/nodes", "not-a-token"),
  ];
  let next = 0;
  await Promise.all(
    Array.from({ length: 16 }, async () => {
      while (next < 1_200) await bad[next++ % bad.length]?.().catch(() => undefined);
    }),
  );
  await rig.get("/v1/regions");
  const seconds = (performance.now() - startedAt) / 1_000;
  const { size } = statSync(file);
  const lines = rig.logText().trimEnd().split("\n").length;
  // two seconds' worth at once, then so many a second for each kind of line
  assert.ok(lines < 20 * (seconds + 2) * 4 + 100, `${lines} lines in ${seconds} s`);
  assert.ok(size / seconds < 1_000_000, `${size} bytes in ${seconds} s`);
});
