/** The sieges of test/gateway/survival.test.ts at full length; figures are printed for the record. */
import assert from "node:assert/strict";
import { randomUUID } from "node:crypto";
import { test } from "node:test";
import { Agent, request } from "undici";
import { times } from "../support/hostile.ts";
import { until } from "../support/processes.ts";
import {
  besieged,
  figures,
  heldMib,
  lostCallers,
  randomRequests,
  running,
  tornUpgrades,
  unhurt,
} from "../support/siege.ts";

/** Another seed may be given to look further; a finding is told with its seed. */
const seed = Number(process.env["SERAI_FAULT_SEED"] ?? 20_261_125);

test(`20,000 random requests by seed ${seed}`, async (t) => {
  await using scene = await besieged();
  await randomRequests(scene, seed, 2_000); // what is made once is made now
  await unhurt(scene);
  const before = await heldMib(scene.gateway);
  await randomRequests(scene, seed + 1, 18_000);
  await unhurt(scene);
  const now = await figures(scene.gateway);
  const byRoute = [...now].filter(([name]) => name.startsWith("serai_http_requests_total"));
  const heard = byRoute.reduce((sum, [, count]) => sum + count, 0);
  const grown = (await heldMib(scene.gateway)) - before;
  t.diagnostic(`${heard} became requests, ${byRoute.length} series, ${grown.toFixed(1)} MiB more`);
  assert.ok(heard > 2_000, "enough of them reach the application");
  const suppressed = await until("the log is sampled, and says so", async () => {
    const count = (await figures(scene.gateway)).get("serai_log_lines_suppressed_total") ?? 0;
    return count > 1_000 && count;
  });
  t.diagnostic(`${suppressed} log lines left out`);
  assert.ok(grown < 24, `${grown} MiB more`);
});

test("1,000 upgrades reset after 0 to 200 ms", async (t) => {
  await using scene = await besieged();
  await tornUpgrades(scene, seed, 1_000);
  await unhurt(scene);
  t.diagnostic(`${(await heldMib(scene.gateway)).toFixed(0)} MiB held`);
});

test("1,000 callers that leave in the middle of a follow, a download or an exec", async (t) => {
  await using scene = await besieged();
  const word = `lost-caller-${process.pid}`;
  await lostCallers(scene, 60, word);
  await unhurt(scene);
  const before = await heldMib(scene.gateway);
  await lostCallers(scene, 1_000, word);
  await unhurt(scene);
  await until("no command of theirs runs on", () => running(word).length === 0);
  const grown = (await heldMib(scene.gateway)) - before;
  t.diagnostic(`${grown.toFixed(1)} MiB more`);
  assert.ok(grown < 24, `${grown} MiB more`);
});

test("20,000 ids that are not there: memory stays, series stay", async (t) => {
  await using scene = await besieged();
  const { gateway, token } = scene;
  const dispatcher = new Agent({ connections: 32 });
  const miss = async (): Promise<void> => {
    const reply = await request(`${gateway.url}/v1/client/allocation/${randomUUID()}/stats`, {
      headers: { "x-nomad-token": token },
      dispatcher,
    });
    await reply.body.dump();
    assert.equal(reply.statusCode, 404);
  };
  await times(4_000, 32, miss);
  const before = await heldMib(gateway);
  const series = (await figures(gateway)).size;
  await times(20_000, 32, miss);
  const grown = (await heldMib(gateway)) - before;
  t.diagnostic(`${grown.toFixed(1)} MiB more`);
  assert.ok(grown < 24, `${grown} MiB more`);
  assert.equal((await figures(gateway)).size, series);
  await dispatcher.close();
  await unhurt(scene);
});
