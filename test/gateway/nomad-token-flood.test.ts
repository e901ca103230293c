/** Made-up tokens of one address, in a flood, while the servers are slow: who comes from elsewhere is asked about all the same. */
import assert from "node:assert/strict";
import { randomUUID } from "node:crypto";
import type { RequestListener } from "node:http";
import { test } from "node:test";
import { Agent, request } from "undici";
import { startCluster } from "../support/cluster-rig.ts";
import { eventually } from "../support/rig.ts";

const self = "/v1/acl/token/self";
/** A quarter of the questions that may be under way. */
const share = 256;

test("a flood of made-up tokens from one address leaves others their questions", async () => {
  await using rig = await startCluster({
    workloads: [],
    settings: { http: { trust_proxy: ["127.0.0.0/8"] } },
  });
  await eventually("ready", async () => (await rig.readiness()) === 200 || undefined);
  const answer = rig.nomad.overrides.get(self);
  assert.ok(answer);
  const held: Parameters<RequestListener>[] = [];
  rig.nomad.overrides.set(self, (...question) => void held.push(question));
  const dispatcher = new Agent({ connections: 1_000 });
  const stats = `${rig.url}/v1/client/stats?node_id=${rig.agent.nodeId}`;
  const ask = async (address: string) => {
    const headers = { "x-nomad-token": randomUUID(), "x-forwarded-for": address };
    const { statusCode, body } = await request(stats, { dispatcher, headers });
    return { status: statusCode, text: await body.text() };
  };

  const flood = Array.from({ length: share }, () => ask("192.0.2.1"));
  await eventually("all of it has come", async () =>
    (await rig.metrics()).includes(`serai_authz_cache_lookups_total{result="miss"} ${share}\n`),
  );
  const crowded = await ask("192.0.2.1");
  assert.equal(crowded.status, 503);
  assert.match(crowded.text, /too many tokens of this address are being checked at once/);
  assert.match(
    await rig.metrics(),
    /serai_rate_limited_total\{limit="questions_per_address"\} 1\n/,
  );

  const elsewhere = ask("192.0.2.2");
  rig.nomad.overrides.set(self, answer);
  for (const question of held) answer(...question);
  assert.equal((await elsewhere).status, 403);
  for (const { status } of await Promise.all(flood)) assert.equal(status, 403);
  await dispatcher.close();
});
