/** What many streams share: looks at paths, heartbeats, waits. */
import assert from "node:assert/strict";
import { createServer, type ServerResponse } from "node:http";
import { connect } from "node:net";
import { test } from "node:test";
import { createHeartbeats } from "../../../src/agent/files/heartbeats.ts";
import { Bell } from "../../../src/agent/files/life.ts";
import { createWatches } from "../../../src/agent/files/watches.ts";
import { until } from "./support.ts";

const times = { pollMs: 10, barePollMs: 10, restMs: 1 };
const isSame = (one: number, other: number): boolean => one === other;

test("a path is looked at once for all its listeners, and each change told once to each", async () => {
  let looks = 0;
  let value = 1;
  const watches = createWatches(
    {
      look: async () => {
        looks++;
        return value;
      },
      isSame,
    },
    times,
  );
  const told: number[][] = [[], []];
  const ends = told.map((list) => watches.watch("/nowhere/at/all", (seen) => list.push(seen)));
  assert.equal(watches.size, 1);
  await until(() => looks > 5);
  assert.deepEqual(told, [[1], [1]]);
  value = 2;
  await until(() => told.every((list) => list.length === 2));
  const late: number[] = [];
  ends.push(watches.watch("/nowhere/at/all", (seen) => late.push(seen)));
  await until(() => late.length === 1);
  assert.deepEqual(
    [told, late],
    [
      [
        [1, 2],
        [1, 2],
      ],
      [2],
    ],
  );
  for (const end of ends) end();
  for (const end of ends) end();
  assert.equal(watches.size, 0);
  const before = looks;
  value = 3;
  let others = 0;
  const other = createWatches({ look: async () => others++, isSame }, times);
  const end = other.watch("/nowhere/at/all", () => {});
  await until(() => others > 5);
  end();
  assert.ok(looks <= before + 1, "nobody listens: nobody looks");
  assert.deepEqual(late, [2]);
});

test("whoever comes while a look is under way is told what the next one finds", async () => {
  const looks: ((seen: number) => void)[] = [];
  const look = (): Promise<number> => new Promise((resolve) => looks.push(resolve));
  const watches = createWatches({ look, isSame }, times);
  const early: number[] = [];
  const late: number[] = [];
  const ends = [watches.watch("/nowhere/at/all", (seen) => early.push(seen))];
  await until(() => looks.length === 1);
  ends.push(watches.watch("/nowhere/at/all", (seen) => late.push(seen)));
  looks[0]?.(1);
  await until(() => looks.length === 2);
  assert.deepEqual([early, late], [[1], []]);
  looks[1]?.(2);
  await until(() => late.length === 1);
  assert.deepEqual([early, late], [[1, 2], [2]]);
  for (const end of ends) end();
});

test("a look that fails tells nothing and is tried again", async () => {
  let looks = 0;
  const watches = createWatches(
    {
      look: async () => {
        if (looks++ < 3) throw new Error("not now");
        return looks;
      },
      isSame: () => true,
    },
    times,
  );
  const told: number[] = [];
  const end = watches.watch("/nowhere/at/all", (seen) => told.push(seen));
  await until(() => told.length === 1);
  assert.deepEqual(told, [4]);
  end();
});

test("slow looks are rarer: at most a fifth of the time goes into looking", async () => {
  let looking = 0;
  const watches = createWatches(
    {
      look: async () => {
        const startedMs = performance.now();
        await new Promise((resolve) => setTimeout(resolve, 20));
        looking += performance.now() - startedMs;
        return looking;
      },
      isSame,
    },
    { pollMs: 0, barePollMs: 0, restMs: 0 },
  );
  const startedMs = performance.now();
  const poke = setInterval(() => watches.watch("/tmp", () => {})(), 1);
  let told = 0;
  const end = watches.watch("/tmp", () => {
    told++;
  });
  await until(() => told >= 4);
  assert.ok(performance.now() - startedMs >= 2 * looking);
  clearInterval(poke);
  end();
  assert.equal(watches.size, 0);
});

test("a bell rung before anyone waits is heard, and many rings are one", async () => {
  const bell = new Bell();
  bell.ring();
  bell.ring();
  await bell.heard();
  let heard = false;
  const waiting = bell.heard().then(() => {
    heard = true;
  });
  await new Promise(setImmediate);
  assert.equal(heard, false);
  bell.ring();
  await waiting;
  assert.equal(heard, true);
});

test("streams beat once a period each, in their own phase, until they stop", async () => {
  const heartbeats = createHeartbeats({ periodMs: 100 });
  const responses: ServerResponse[] = [];
  const server = createServer((_request, response) => {
    response.writeHead(200).flushHeaders();
    responses.push(response);
  }).listen(0, "127.0.0.1");
  await new Promise((resolve) => server.once("listening", resolve));
  const address = server.address();
  assert.ok(address !== null && typeof address === "object");
  const received = ["", ""];
  const sockets = received.map((_, at) => {
    const socket = connect(address.port, "127.0.0.1");
    socket.on("data", (bytes: Buffer) => {
      received[at] += bytes.toString();
    });
    socket.write("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    return socket;
  });
  await until(() => responses.length === 2);
  const ends = responses.map((response) => heartbeats(response));
  const beats = (at: number): number => (received[at]?.match(/\{\}/g) ?? []).length;
  await until(() => beats(0) >= 3 && beats(1) >= 3);
  assert.ok(Math.abs(beats(0) - beats(1)) <= 1);
  ends[0]?.();
  ends[0]?.();
  const stopped = beats(0);
  const other = beats(1);
  await until(() => beats(1) >= other + 3);
  assert.ok(beats(0) <= stopped + 1);
  ends[1]?.();
  for (const socket of sockets) socket.destroy();
  server.closeAllConnections();
  await new Promise((resolve) => server.close(resolve));
});
