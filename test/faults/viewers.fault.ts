/**
 * Viewers of one followed log, whatever happens to the one whose right the agent was shown, to the connection, or to one that
 * stands still: the others have every byte, once and in order.
 */
import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { eventually } from "../support/rig.ts";
import { type Stage, startStage } from "../support/watchers.ts";

let stage: Stage;
before(async () => {
  stage = await startStage(5);
});
after(async () => {
  await stage[Symbol.asyncDispose]();
});

test("viewers have heartbeats in frames while the log says nothing", async () => {
  await using scene = stage.scene();
  scene.log.grow(10);
  const watchers = [
    await scene.watch("", 0),
    await scene.watch("", 0),
    await scene.watch("plain=true", 0),
  ];
  await scene.haveAll(watchers);
  await scene.share();
  const beats = (): number => {
    const framed = watchers[0]?.client.received().toString() ?? "";
    return framed.split("\r\n{}\r\n").length - 1;
  };
  const before = beats();
  await eventually("three beats more", () => beats() > before + 2 || undefined);
  await scene.haveAll([watchers[2] ?? assert.fail()]);
});

test("viewers go on when the one whose right the agent was shown leaves, one after the other", async () => {
  await using scene = stage.scene();
  scene.log.grow(100);
  const watchers = await Promise.all(
    Array.from({ length: 6 }, (_, at) => scene.watch(at % 2 === 0 ? "plain=true" : "", 0)),
  );
  await scene.haveAll(watchers);
  await scene.share();
  while (watchers.length > 1) {
    scene.log.grow(5_000);
    watchers.shift()?.client.socket.destroy();
    scene.log.grow(50);
    await scene.haveAll(watchers);
    await scene.share();
  }
});

test("viewers go on when the shared connection breaks, at the byte where it stood", async () => {
  await using scene = stage.scene();
  scene.log.grow(100);
  const watchers = [
    await scene.watch("", 0),
    await scene.watch("plain=true", 0),
    await scene.watch("resume=true", 0),
  ];
  await scene.haveAll(watchers);
  await scene.share();
  for (let round = 0; round < 2; round++) {
    scene.log.grow(5_000);
    scene.cutFollows();
    scene.log.grow(5_000);
    await scene.haveAll(watchers);
    await scene.share();
  }
});

test("viewers do not wait for one that stands still, which goes on exactly where it stood", async () => {
  await using scene = stage.scene();
  scene.log.grow(100);
  const moving = await scene.watch("plain=true", 0);
  const watchers = [await scene.watch("origin=end&offset=10", 1_590), moving];
  const still = await scene.watch("plain=true", 0);
  await scene.haveAll([...watchers, still]);
  await scene.share();
  still.client.socket.pause();
  const more = async (): Promise<void> => {
    scene.log.grow(65_536);
    const size = scene.log.whole.length;
    await eventually("it comes", () => moving.client.socket.bytesRead > size || undefined);
  };
  for (let round = 0; scene.follows() === 1; round++) {
    assert.ok(round < 30, "the buffers between agent and viewer hold less");
    await more();
  }
  await more();
  scene.log.rotate();
  await more();
  await scene.haveAll(watchers);
  assert.equal(scene.follows(), 2);
  still.client.socket.resume();
  await scene.haveAll([still]);
  scene.log.grow(1);
  await scene.haveAll([...watchers, still]);
  await scene.share();
});

test("viewers are told of a truncation once each, and nobody joins in that file any more", async () => {
  await using scene = stage.scene();
  scene.log.grow(100);
  const before = scene.log.whole.length;
  const watchers = [await scene.watch("", 0), await scene.watch("", 0)];
  await scene.haveAll(watchers);
  await scene.share();
  scene.log.truncate();
  for (const { client } of watchers) await client.seen("file truncated");
  scene.log.grow(10);
  const late = await scene.watch("plain=true", 0);
  await scene.haveAll([late]);
  for (const { client, data } of watchers) {
    await eventually("the new bytes", () => data().length === before + 160 || undefined);
    const told = client.received().toString().split("file truncated").length - 1;
    assert.equal(told, 1);
  }
  scene.log.grow(10);
  await scene.haveAll([late]);
  assert.equal(scene.follows(), 2);
  scene.log.rotate();
  scene.log.grow(10);
  await scene.haveAll([late]);
  await scene.share();
});
