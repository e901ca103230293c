/**
 * Many viewers of one followed log share one follow at the agent: each has every byte from its own place on, and ends as it
 * would have ended alone. What else may happen to them is in test/faults/viewers.fault.ts.
 */
import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { parseAnswer, type RawAnswer } from "../support/raw-client.ts";
import { eventually } from "../support/rig.ts";
import { framesIn, type Stage, startStage } from "../support/watchers.ts";

let stage: Stage;
before(async () => {
  stage = await startStage(4);
});
after(async () => {
  await stage[Symbol.asyncDispose]();
});

test("viewers from every origin, plain and framed, have every byte over rotations by one follow", async () => {
  await using scene = stage.scene();
  scene.log.grow(3_000);
  scene.log.rotate();
  scene.log.grow(30_000);
  const size = scene.log.whole.length;
  const watchers = [
    await scene.watch("plain=true", 0),
    await scene.watch("", 0),
    await scene.watch("resume=true", 0),
    await scene.watch("plain=true&offset=777", 777),
    await scene.watch(`offset=${scene.log.newest + 5}`, scene.log.newest + 5),
    await scene.watch("origin=end&offset=0", scene.log.newest),
    await scene.watch("plain=true&origin=end&offset=1", size - 1),
    await scene.watch("origin=end&offset=100000&resume=true", size - 100_000),
    await scene.watch("plain=true&origin=end&offset=300000&resume=true", size - 300_000),
  ];
  await scene.haveAll(watchers);
  await scene.share();
  assert.equal(await stage.figure("serai_shared_follows"), 1);
  assert.equal(await stage.figure("serai_shared_viewers"), watchers.length);
  for (let round = 0; round < 4; round++) {
    scene.log.grow(1 + round * 900);
    if (round % 2 === 1) scene.log.rotate();
    const late = await scene.watch("origin=end&offset=10", scene.log.whole.length - 10);
    watchers.push(late);
    await scene.haveAll(watchers);
  }
  await scene.share();
  const whole = watchers[1]?.client.received() ?? Buffer.alloc(0);
  const files = framesIn(parseAnswer(whole).body).flatMap(({ File: file }) => file ?? []);
  assert.deepEqual(
    [...new Set(files)],
    [0, 1, 2].map((at) => `alloc/logs/main.stdout.${at}`),
  );
});

test("viewers whose token is revoked are cut, and nobody else", async () => {
  await using scene = stage.scene();
  scene.log.grow(100);
  const guests = [await scene.watch("", 0, "guest"), await scene.watch("plain=true", 0, "guest")];
  const watchers = [await scene.watch("", 0), await scene.watch("plain=true", 0)];
  await scene.haveAll([...guests, ...watchers]);
  await scene.share();
  stage.rig.revoke("guest");
  await stage.rig.gateway.reload();
  const ends = await Promise.all(guests.map(({ client }) => client.answer()));
  assert.deepEqual(
    ends.map(({ end }) => end),
    ["cut", "cut"],
  );
  scene.log.grow(1_000);
  await scene.haveAll(watchers);
  await scene.share();
});

test("viewers end in order with the task when they asked for that, and only they", async () => {
  await using scene = stage.scene();
  scene.log.grow(100);
  const dying = [await scene.watch("until=dead", 0), await scene.watch("until=dead&plain=true", 0)];
  const watchers = [await scene.watch("", 0), await scene.watch("plain=true", 0)];
  await scene.haveAll([...dying, ...watchers]);
  await eventually("a follow for either kind", () => scene.follows() === 2 || undefined);
  scene.log.grow(500);
  scene.log.end();
  const ends = await Promise.all(dying.map(({ client }) => client.answer()));
  assert.deepEqual(
    ends.map(({ end }) => end),
    ["whole", "whole"],
  );
  await scene.haveAll([...dying, ...watchers]);
});

test("viewers are all cut when the agent goes, not ended", async () => {
  await using scene = stage.scene();
  scene.log.grow(100);
  const watchers = [
    await scene.watch("", 0),
    await scene.watch("plain=true", 0),
    await scene.watch("", 0),
  ];
  await scene.haveAll(watchers);
  await scene.share();
  const ends: Promise<RawAnswer>[] = watchers.map(({ client }) => client.answer());
  await stage.rig.agent().stop();
  for (const { end } of await Promise.all(ends)) assert.notEqual(end, "whole");
  await eventually("no follow is left", () => scene.follows() === 0 || undefined);
});
