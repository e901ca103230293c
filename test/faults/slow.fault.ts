/** Callers that say nothing, or say it slowly: each is cut in time, and others are served meanwhile. */
import assert from "node:assert/strict";
import { once } from "node:events";
import { connect, type Socket } from "node:net";
import { test } from "node:test";
import { setTimeout as wait } from "node:timers/promises";
import { assertUnhurt } from "../support/latency.ts";
import { besieged, figures, unhurt } from "../support/siege.ts";

/** Milliseconds until each of the connections was closed by the gateway. */
const untilCut = async (
  port: number,
  count: number,
  begin: (socket: Socket) => void,
  drip: string,
): Promise<readonly number[]> => {
  const one = async (): Promise<number> => {
    const socket = connect(port, "127.0.0.1");
    socket.on("error", () => undefined);
    await once(socket, "connect");
    const closed = new Promise<void>((resolve) => void socket.once("close", () => resolve())); // with a reset too
    const startedAt = performance.now();
    begin(socket);
    socket.resume();
    const timer = setInterval(() => {
      if (drip !== "" && socket.writable) socket.write(drip);
    }, 500);
    await closed;
    clearInterval(timer);
    return performance.now() - startedAt;
  };
  return await Promise.all(Array.from({ length: count }, one));
};

const others = 4;
/** Between the answers of each of them. */
const pauseMs = 20;

/** Milliseconds of what others are answered until that is over. */
const served = async (url: string, until: Promise<unknown>): Promise<readonly number[]> => {
  const took: number[] = [];
  const over = new AbortController();
  const caller = async (): Promise<void> => {
    while (!over.signal.aborted) {
      const beganMs = performance.now();
      const reply = await fetch(`${url}/v1/regions`);
      assert.equal(reply.status, 200);
      await reply.text();
      took.push(performance.now() - beganMs);
      await wait(pauseMs);
    }
  };
  const callers = Promise.allSettled(Array.from({ length: others }, caller));
  await until; // though a caller fails: nothing of the siege is left then
  over.abort();
  for (const one of await callers) if (one.status === "rejected") throw one.reason;
  return took;
};

const count = 500;
const warmMs = 3_000;
const aloneMs = 6_000;

// biome-ignore format: a table
const cases: readonly { readonly name: string; readonly first: string; readonly drip: string; readonly withinMs: number; readonly atLeastMs: number }[] = [
  { name: "says nothing at all", first: "", drip: "", withinMs: 9_000, atLeastMs: 4_000 },
  { name: "sends a header by bytes", first: "GET /v1/regions HTTP/1.1\r\nHost: gate\r\n", drip: "X", withinMs: 9_000, atLeastMs: 4_000 },
  { name: "sends headers without end", first: "GET /v1/regions HTTP/1.1\r\n", drip: "X: y\r\n", withinMs: 9_000, atLeastMs: 4_000 },
  { name: "sends a body by bytes", first: "POST /v1/search HTTP/1.1\r\nHost: gate\r\nContent-Length: 5000\r\n\r\n", drip: "x", withinMs: 40_000, atLeastMs: 15_000 },
];

for (const { name, first, drip, withinMs, atLeastMs } of cases)
  test(`${count} callers, each of which ${name}: cut in time, others are served`, async (t) => {
    await using scene = await besieged();
    const { gateway } = scene;
    await served(gateway.url, wait(warmMs));
    const before = await served(gateway.url, wait(aloneMs));
    const cut = untilCut(gateway.port, count, (socket) => socket.write(first), drip);
    const meanwhile = await served(gateway.url, cut);
    const times = (await cut).toSorted((a, b) => a - b);
    const [shortest = 0, longest = 0] = [times[0], times.at(-1)];
    t.diagnostic(`cut after ${shortest.toFixed(0)} to ${longest.toFixed(0)} ms`);
    assert.ok(shortest >= atLeastMs && longest <= withinMs, `${shortest} to ${longest} ms`);
    assert.ok(((await figures(gateway)).get("serai_open_sockets") ?? 99) < 10);
    assertUnhurt(t, before, meanwhile);
    await unhurt(scene);
  });
