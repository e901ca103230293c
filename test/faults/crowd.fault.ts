/** A thousand commands at once through one gateway: each echoes its own words, a storm of sizes among them, and all end well. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { eventually, startRig } from "../support/rig.ts";
import { execClient } from "../support/ws-client.ts";

const agents = 4;
const sessionsEach = 250;

test("1,000 sessions at once, each with its own words, and nothing left of them", async (t) => {
  await using rig = await startRig({
    settings: {
      limits: { live_per_principal: 2_000, sockets_per_address: 8_000 },
      log: { level: "warn" },
      timeouts: { first_byte: "60s" },
    },
    agents: Array.from({ length: agents }, (_, at) => ({
      name: `n${at}`,
      workloads: [
        {
          job: `j${at}`,
          group: "g",
          tasks: [{ name: "main", command: "/bin/sleep", args: ["1000"] }],
        },
      ],
    })),
  });
  const token = rig.secret("management");
  const startedAt = performance.now();
  const sessions = Array.from({ length: agents * sessionsEach }, (_, nth) => ({
    words: `words-of-${nth}-${(nth * 7_919) % 1_000}\n`,
    client: execClient({
      url: rig.url,
      allocation: rig.allocation(`j${nth % agents}`),
      task: "main",
      token,
      command: ["cat"],
    }),
  }));
  await Promise.all(
    sessions.map(async ({ client, words }) => {
      await client.opened;
      client.stdin(words);
      await client.seen(words.trim());
    }),
  );
  t.diagnostic(`all speak after ${(performance.now() - startedAt).toFixed(0)} ms`);
  const live = await (await fetch(`${rig.adminUrl}/metrics`)).text();
  assert.match(live, /serai_streams_active\{kind="exec"\} 1000/);
  for (const { client } of sessions) client.closeStdin();
  for (const { client, words } of sessions) {
    assert.deepEqual(await client.closed, { code: 1000, reason: "" });
    assert.equal(client.output("stdout").toString(), words);
    assert.equal(client.exitCode(), 0);
  }
  await eventually("nothing is left", async () => {
    const text = await (await fetch(`${rig.adminUrl}/metrics`)).text();
    return /serai_streams_active\{kind="exec"\} 0/.test(text) || undefined;
  });
});
