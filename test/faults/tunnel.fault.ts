/** What hostile agents cost a gateway: each attack by itself, and thousands of requests to agents that say nothing. */
import assert from "node:assert/strict";
import { readdirSync } from "node:fs";
import { test } from "node:test";
import { headers, hpack, settings, types } from "../support/frames.ts";
import { times } from "../support/hostile.ts";
import { besiege, growthKb, type Siege } from "../support/hostile-tunnel.ts";
import { until } from "../support/processes.ts";
import { figures } from "../support/siege.ts";
import { floods, streamFloods } from "../support/tunnel-attacks.ts";

const rounds = 5;
const maxGrowthKb = 8 * 1_024;
const warmAnswers = 4_000;
const spareDescriptors = 8;

interface Attack {
  readonly name: string;
  readonly run: (siege: Siege) => Promise<number>;
}

const attacks: readonly Attack[] = [
  ...floods.map(({ name, bytes }) => ({
    name,
    run: async (siege: Siege) => {
      const attacker = await siege.attacker();
      await attacker.flood(bytes);
      return attacker.cut;
    },
  })),
  ...streamFloods.map(({ name, begin, bytes }) => ({
    name: `in a stream: ${name}`,
    run: async (siege: Siege) => {
      const attacker = await siege.attacker();
      void attacker.ask().catch(() => undefined); // its answer may be cut
      const stream = await attacker.stream();
      attacker.send(...begin(stream));
      await attacker.flood(bytes(stream));
      return attacker.cut;
    },
  })),
];

const median = (values: readonly number[]): number =>
  values.toSorted((one, other) => one - other)[Math.floor(values.length / 2)] ?? Number.NaN;

test("no attack costs a warm gateway more than 8 MiB, and each is cut in a second", async (t) => {
  await using siege = await besiege();
  await times(warmAnswers, 8, async () => void (await siege.ask(siege.behind)));
  for (const { run } of attacks) await run(siege);
  const costly: string[] = [];
  for (const { name, run } of attacks) {
    const grown: number[] = [];
    const cut: number[] = [];
    for (let round = 0; round < rounds; round++)
      grown.push(await growthKb(siege.gateway.pid, async () => cut.push(await run(siege))));
    const figure = `${name}: ${(median(grown) / 1_024).toFixed(1)} MiB, cut after ${median(cut).toFixed(0)} ms`;
    t.diagnostic(figure);
    if (median(grown) > maxGrowthKb || median(cut) > 1_000) costly.push(figure);
  }
  assert.deepEqual(costly, []);
});

for (const [name, answers] of [
  ["that take no connection", false],
  ["that take connections and never answer", true],
] as const)
  test(`10,000 requests to agents ${name} are answered in time, and nothing is left`, async (t) => {
    await using siege = await besiege({
      timeouts: { first_byte: "2s" },
      limits: { sockets_per_address: 5_000 },
    });
    const { gateway } = siege;
    const descriptors = (): number => readdirSync(`/proc/${gateway.pid}/fd`).length;
    const base = {
      fds: descriptors(),
      streams: (await figures(gateway)).get("serai_tunnel_streams") ?? 0,
    };
    const attacker = await siege.attacker(settings());
    const take = setInterval(() => {
      const opened = attacker.heard.filter(({ type }) => type === types.headers);
      if (answers && opened.length > 0)
        attacker.send(...opened.map(({ stream }) => headers(stream, hpack.status200)));
      attacker.forget();
    }, 20);
    const statuses = new Map<number, number>();
    let slowest = 0;
    try {
      await times(10_000, 400, async () => {
        const { status, ms } = await attacker.ask();
        statuses.set(status, (statuses.get(status) ?? 0) + 1);
        slowest = Math.max(slowest, ms);
      });
    } finally {
      clearInterval(take);
    }
    t.diagnostic(`${JSON.stringify([...statuses])}, the slowest after ${slowest.toFixed(0)} ms`);
    for (const status of statuses.keys())
      assert.ok([502, 503, 504].includes(status), String(status));
    assert.ok(slowest < 30_000, String(slowest));
    attacker.socket.destroy();
    await until("nothing is left", async () => {
      const now = await figures(gateway);
      return (
        (now.get("serai_pool_waiting") ?? 0) === 0 &&
        (now.get("serai_live_exchanges") ?? 0) === 0 &&
        (now.get("serai_tunnel_streams") ?? 0) <= base.streams + 1
      );
    });
    await until(
      "its descriptors are back",
      () => descriptors() <= base.fds + spareDescriptors,
      30_000,
    );
    t.diagnostic(`descriptors before ${base.fds}, after ${descriptors()}`);
    assert.equal((await siege.ask(siege.behind)).status, 200);
  });
