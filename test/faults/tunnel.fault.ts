/**
 * What hostile agents cost a gateway: each attack by itself, and thousands of requests to agents that say nothing; and what
 * callers cost who stop reading what comes through a tunnel.
 */
import assert from "node:assert/strict";
import { once } from "node:events";
import { readdirSync } from "node:fs";
import { connect, type Socket } from "node:net";
import { test } from "node:test";
import { headers, hpack, settings, types } from "../support/frames.ts";
import { times } from "../support/hostile.ts";
import { besiege, growthKb, type Siege, statusKb } from "../support/hostile-tunnel.ts";
import { median, quantile } from "../support/latency.ts";
import { probe } from "../support/probe.ts";
import { type Program, until } from "../support/processes.ts";
import { type Besieged, besieged, figures } from "../support/siege.ts";
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

const stoppedReaders = 20;
const smallRequests = 400;
/** What is meant is that nobody waits for a stopped reader; the machine may be busy. */
const smallBoundMs = 3_000;
const maxKbPerReader = 4 * 1_024;

/** A download through the gateway that has begun, and of which nothing more is read. */
const stopReading = async ({ gateway, allocation, token }: Besieged): Promise<Socket> => {
  const socket = connect(gateway.port, "127.0.0.1");
  socket.on("error", () => socket.destroy());
  const path = `/v1/client/fs/cat/${allocation}?path=/main/local/big`;
  socket.write(`GET ${path} HTTP/1.1\r\nHost: x\r\nX-Nomad-Token: ${token}\r\n\r\n`);
  const [head] = await once(socket, "data");
  socket.pause();
  assert.match(String(head).slice(0, 40), /^HTTP\/1\.1 200 /);
  return socket;
};

/** Milliseconds of small requests to the same agent, eight at a time. */
const smallOnes = async ({ gateway, allocation, token }: Besieged): Promise<readonly number[]> => {
  const took: number[] = [];
  await times(smallRequests, 8, async () => {
    const beganMs = performance.now();
    const answer = await fetch(
      `${gateway.url}/v1/client/fs/stat/${allocation}?path=/main/local/big`,
      { headers: { "x-nomad-token": token }, signal: AbortSignal.timeout(30_000) },
    );
    assert.equal(answer.status, 200, await answer.text());
    took.push(performance.now() - beganMs);
  });
  return took;
};

/** Kilobytes of its own after a collection. */
const keptKb = async (program: Program): Promise<number> => {
  await probe(program);
  return statusKb(program.pid, "RssAnon");
};
const keptBy = async ({ gateway, agent }: Besieged): Promise<readonly [number, number]> => [
  await keptKb(gateway),
  await keptKb(agent),
];

test("20 stopped downloads through a tunnel hold up no small request in it, and little memory", async (t) => {
  await using scene = await besieged({}, { gateway: { tunnel: true } });
  const { gateway } = scene;
  const streams = async (): Promise<number> =>
    (await figures(gateway)).get("serai_tunnel_streams") ?? 0;
  const stopped = async (): Promise<AsyncDisposable> => {
    const readers = await Promise.all(
      Array.from({ length: stoppedReaders }, () => stopReading(scene)),
    );
    assert.ok((await streams()) >= stoppedReaders);
    return {
      [Symbol.asyncDispose]: async () => {
        for (const reader of readers) reader.destroy();
        await until("their streams are closed", async () => (await streams()) < stoppedReaders);
      },
    };
  };
  const tell = (what: string, took: readonly number[]): number => {
    const p99 = quantile(took, 0.99);
    t.diagnostic(`${what}: p50 ${median(took).toFixed(1)} ms, p99 ${p99.toFixed(1)} ms`);
    return p99;
  };
  {
    await using _warm = await stopped();
    await smallOnes(scene);
  }
  const without = tell("small requests by themselves", await smallOnes(scene));
  const [gatewayKb, agentKb] = await keptBy(scene);
  await using _readers = await stopped();
  const beside = tell(`beside ${stoppedReaders} stopped readers`, await smallOnes(scene));
  const [gatewayWithKb, agentWithKb] = await keptBy(scene);
  const costs = [
    ["gateway", (gatewayWithKb - gatewayKb) / stoppedReaders],
    ["agent", (agentWithKb - agentKb) / stoppedReaders],
  ] as const;
  for (const [who, kb] of costs) t.diagnostic(`the ${who}: ${kb.toFixed(0)} KiB a stopped reader`);
  assert.ok(without < smallBoundMs && beside < smallBoundMs, `${without} and ${beside} ms`);
  for (const [who, kb] of costs) assert.ok(kb < maxKbPerReader, `${who}: ${kb} KiB`);
  const tunnels = await figures(gateway);
  assert.equal(tunnels.get('serai_tunnels{state="open"}'), 1);
});
