/** An agent that is let in and then sends frames that no agent sends: it is cut, and nobody else notices. */
import assert from "node:assert/strict";
import { after, before, describe, test } from "node:test";
import { data, errors, goaway, reset, settingIds, settings } from "../support/frames.ts";
import {
  type Attacker,
  besiege,
  type Siege,
  statusKb,
  type Vigil,
} from "../support/hostile-tunnel.ts";
import { until } from "../support/processes.ts";
import { faults, floods, streamFloods } from "../support/tunnel-attacks.ts";

/** Bounds are seconds where the figure that is meant is one: other tests run beside this. */
const boundMs = 5_000;
const mib = 1_024;

let siege: Siege;
let vigil: Vigil;
let warmKb = 0;
before(async () => {
  siege = await besiege();
  vigil = siege.watchHonest();
  warmKb = statusKb(siege.gateway.pid, "RssAnon");
});
after(async () => {
  await vigil.end();
  await siege[Symbol.asyncDispose]();
});

/** Rejects when it is not cut in time. */
const isCut = async (attacker: Attacker, attack: Promise<void>): Promise<number> => {
  await until("it is cut", () => attacker.isCut(), boundMs);
  await attack;
  return attacker.cut;
};

describe("besieged all at once:", { concurrency: true }, () => {
  describe("an agent that sends", { concurrency: 8 }, () => {
    test("nothing at all after its hello, is cut, and its caller is answered", async (t) => {
      const attacker = await siege.attacker(Buffer.alloc(0));
      const asked = attacker.ask();
      const ms = await isCut(attacker, Promise.resolve());
      t.diagnostic(`cut after ${ms.toFixed(0)} ms`);
      assert.equal((await asked).status, 502);
    });
    for (const { name, begin, bytes } of streamFloods.filter(({ isLong }) => !isLong))
      test(`into a stream of the gateway's: ${name}, is cut, and its caller is answered`, async (t) => {
        const attacker = await siege.attacker();
        const asked = attacker.ask().then(
          ({ status }) => `answered ${status}`,
          () => "cut", // an answer that had begun
        );
        const stream = await attacker.stream();
        attacker.send(...begin(stream));
        const ms = await isCut(attacker, attacker.flood(bytes(stream)));
        t.diagnostic(`cut after ${ms.toFixed(0)} ms, the caller was ${await asked}`);
        assert.match(await asked, /^(?:answered 50[234]|cut)$/);
      });
    for (const { name, bytes } of floods.filter(({ isLong }) => !isLong))
      test(`floods of ${name}, is cut`, async (t) => {
        const attacker = await siege.attacker();
        const ms = await isCut(attacker, attacker.flood(bytes));
        t.diagnostic(`cut after ${ms.toFixed(0)} ms`);
      });
    for (const { name, bytes } of faults)
      test(`${name}, is cut`, async () => {
        const attacker = await siege.attacker();
        attacker.send(bytes);
        await isCut(attacker, Promise.resolve());
      });
  });

  describe("an agent that leaves with GOAWAY", { concurrency: true }, () => {
    const goes = goaway(0x7fffffff);
    test("in one write with its SETTINGS: the caller is answered, and the next tunnel serves", async () => {
      const attacker = await siege.attacker(Buffer.concat([settings(), goaway(0)]));
      const { status, text } = await attacker.ask();
      assert.ok(status === 502 || status === 503, `${status} ${text}`);
    });
    test("in the middle of an answer: what is open comes whole", async () => {
      const attacker = await siege.attacker();
      const asked = attacker.ask();
      const stream = await attacker.asked();
      const head = Buffer.from("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n");
      attacker.send(data(stream, head), goes);
      attacker.send(data(stream, Buffer.from("{")));
      attacker.send(data(stream, Buffer.from("}")));
      const reply = await asked;
      assert.deepEqual([reply.status, reply.text], [200, "{}"]);
      attacker.socket.destroy();
    });
    test("that it has taken no stream: tried again or 502", async () => {
      const attacker = await siege.attacker();
      const asked = attacker.ask();
      await attacker.stream();
      attacker.send(goaway(0));
      const { status, text } = await asked;
      assert.ok(status === 502 || status === 503, `${status} ${text}`);
      attacker.socket.destroy();
    });
  });

  describe("an agent that allows", { concurrency: true }, () => {
    const allowed = (streams: number): Buffer =>
      settings({ [settingIds.maxConcurrentStreams]: streams });
    test("no stream: 503 with Retry-After at once", async (t) => {
      const attacker = await siege.attacker(allowed(0));
      const { status, retryAfter, ms } = await attacker.ask();
      t.diagnostic(`after ${ms.toFixed(0)} ms`);
      assert.deepEqual([status, retryAfter !== undefined, ms < boundMs], [503, true, true]);
      attacker.socket.destroy();
    });
    test("one stream, which somebody holds: 503 with Retry-After at once", async (t) => {
      const attacker = await siege.attacker(allowed(1));
      const held = attacker.stream();
      const first = attacker.ask(); // or one of the gateway's own
      await held;
      const { status, retryAfter, ms } = await attacker.ask();
      t.diagnostic(`after ${ms.toFixed(0)} ms`);
      assert.deepEqual([status, retryAfter !== undefined, ms < boundMs], [503, true, true]);
      attacker.socket.destroy();
      await first;
    });
  });

  test("an agent that resets each stream is answered for with 502, and is no cost to others", async () => {
    const attacker = await siege.attacker();
    let next = 0;
    const resets = setInterval(() => {
      const opened = attacker.heard.filter(({ type }) => type === 1).slice(next);
      next += opened.length;
      if (opened.length > 0)
        attacker.send(...opened.map(({ stream }) => reset(stream, errors.refused)));
    }, 1);
    try {
      for (let count = 0; count < 20; count++) assert.equal((await attacker.ask()).status, 502);
    } finally {
      clearInterval(resets);
      attacker.socket.destroy();
    }
  });
});

test("nobody else has noticed, and the gateway is the same process", async (t) => {
  await vigil.end();
  const sorted = vigil.ms.toSorted((one, other) => one - other);
  const p99 = sorted[Math.floor(sorted.length * 0.99)] ?? 0;
  t.diagnostic(`${sorted.length} honest answers meanwhile, p99 ${p99.toFixed(0)} ms`);
  assert.deepEqual(vigil.failed, []);
  assert.ok(sorted.length > 20 && p99 < boundMs, String(p99));
  const { gateway } = siege;
  assert.equal(gateway.child.exitCode, null);
  assert.deepEqual(gateway.errors, []);
  assert.deepEqual(
    gateway.output.filter((line) => line.includes('"level":"error"')),
    [],
  );
  const grownKb = statusKb(gateway.pid, "RssAnon") - warmKb;
  t.diagnostic(`the gateway's memory has grown by ${(grownKb / mib).toFixed(1)} MiB in all`);
  assert.ok(grownKb < 128 * mib, String(grownKb)); // most of it the gateway's own start; test/faults/tunnel.fault.ts weighs each
});
