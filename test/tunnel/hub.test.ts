/** Which tunnel counts: the newest, not too often; a request waits a little for one that was there. */
import assert from "node:assert/strict";
import type { Duplex } from "node:stream";
import { test } from "node:test";
import { setTimeout as wait } from "node:timers/promises";
import { systemClock } from "../../src/lib/clock.ts";
import { createHub, type Hub, type HubEvent, type HubOptions } from "../../src/tunnel/hub.ts";
import { type Served, serveTunnel } from "../../src/tunnel/serve.ts";
import { until } from "../support/processes.ts";
import { behind, connectedPair } from "./support.ts";

const nodeId = "11111111-1111-4111-8111-111111111111";

const hubWith = (options: HubOptions = {}): { readonly hub: Hub; readonly told: HubEvent[] } => {
  const told: HubEvent[] = [];
  const clock = systemClock;
  return { hub: createHub({ clock, told: (event) => told.push(event) }, options), told };
};

const opening = (hub: Hub): Promise<string> =>
  new Promise((resolve) => {
    hub.open(nodeId, (error, connection) => {
      connection?.destroy();
      resolve(error?.words ?? "open");
    });
  });

const kinds = (told: readonly HubEvent[]): readonly string[] => told.map(({ kind }) => kind);

test("the newest tunnel of a node wins; a second swap at once is refused", async () => {
  await using first = await connectedPair();
  await using second = await connectedPair();
  const { hub, told } = hubWith();
  const old = behind(first.far, (_request, response) => response.end());
  behind(second.far, (_request, response) => response.end());
  hub.admit(nodeId);
  hub.accept({ nodeId, socket: first.near, from: "a", mayStay: () => true });
  hub.admit(nodeId);
  hub.accept({ nodeId, socket: second.near, from: "b", mayStay: () => true });
  await old.ended;
  assert.equal(await opening(hub), "open");
  assert.throws(() => hub.admit(nodeId), { code: "registry_unavailable" });
  assert.deepEqual(kinds(told), ["tunnel_opened", "tunnel_replaced"]);
  await hub.close(AbortSignal.abort());
});

test("a hub that holds as many tunnels as it may takes another node's no more, and one's that it knows", async () => {
  await using first = await connectedPair();
  const { hub } = hubWith({ maxTunnels: 1 });
  behind(first.far, (_request, response) => response.end());
  hub.admit(nodeId);
  hub.accept({ nodeId, socket: first.near, from: "a", mayStay: () => true });
  assert.throws(() => hub.admit(nodeId.replaceAll("1", "2")), {
    code: "registry_unavailable",
    why: "full",
  });
  hub.admit(nodeId); // it would take its own place
  await hub.close(AbortSignal.abort());
});

test("a request waits for a tunnel that was lost a moment ago", async () => {
  await using first = await connectedPair();
  await using second = await connectedPair();
  const { hub } = hubWith();
  behind(first.far, (_request, response) => response.end());
  hub.accept({ nodeId, socket: first.near, from: "a", mayStay: () => true });
  const lost = new Promise((resolve) => first.near.once("close", resolve));
  first.far.resetAndDestroy();
  await lost;
  const asked = opening(hub);
  behind(second.far, (_request, response) => response.end());
  hub.accept({ nodeId, socket: second.near, from: "a", mayStay: () => true });
  assert.equal(await asked, "open");
  await hub.close(AbortSignal.abort());
});

for (const [how, leave] of [
  ["goes", (served: Served) => served.finish()],
  ["is killed", (served: Served) => served.end("killed")],
] as const)
  test(`a request that meets a tunnel in the moment in which its agent ${how} waits for the next one`, async () => {
    await using first = await connectedPair();
    await using second = await connectedPair();
    const { hub } = hubWith({ graceMs: 0 });
    const served = behind(first.far, (_request, response) => response.end());
    hub.accept({ nodeId, socket: first.near, from: "a", mayStay: () => true });
    assert.equal(await opening(hub), "open");
    leave(served);
    const asked = opening(hub); // nothing of it has been read yet
    await until("it waits", () => hub.stats.waiting === 1);
    behind(second.far, (_request, response) => response.end());
    hub.accept({ nodeId, socket: second.near, from: "a", mayStay: () => true });
    assert.equal(await asked, "open");
    await hub.close(AbortSignal.abort());
  });

test("a request that has waited for a tunnel which ends at once waits on for the next one", async () => {
  await using first = await connectedPair();
  await using second = await connectedPair();
  const { hub } = hubWith();
  const asked = opening(hub);
  assert.equal(hub.stats.waiting, 1);
  serveTunnel(first.far, {
    accept: () => first.far.resetAndDestroy(), // with no answer yet
    draining: () => undefined,
  });
  hub.accept({ nodeId, socket: first.near, from: "a", mayStay: () => true });
  assert.equal(hub.stats.waiting, 0);
  await until("it waits again", () => hub.stats.waiting === 1);
  behind(second.far, (_request, response) => response.end());
  hub.accept({ nodeId, socket: second.near, from: "a", mayStay: () => true });
  assert.equal(await asked, "open");
  await hub.close(AbortSignal.abort());
});

test("but no longer than one wait, however many tunnels come and end", async () => {
  const { hub } = hubWith({ waitMs: 300 });
  await using pairs = new AsyncDisposableStack();
  let words: string | undefined;
  const asked = opening(hub).then((heard) => {
    words = heard;
  });
  let tunnels = 0;
  while (words === undefined) {
    const { far, near } = pairs.use(await connectedPair());
    const ended = new Promise((resolve) => near.once("close", resolve));
    serveTunnel(far, { accept: () => far.resetAndDestroy(), draining: () => undefined });
    hub.accept({ nodeId, socket: near, from: "a", mayStay: () => true });
    tunnels += 1;
    await Promise.race([ended, asked]);
  }
  assert.ok(tunnels > 1, `${tunnels} tunnels`);
  assert.notEqual(words, "open");
  await hub.close(AbortSignal.abort());
});

test("a request that was being opened through a tunnel whose place another has taken goes through that one at once", async () => {
  await using first = await connectedPair();
  await using second = await connectedPair();
  const { hub } = hubWith({ waitMs: 60_000 });
  const { promise: begun, resolve } = Promise.withResolvers<void>();
  serveTunnel(first.far, { accept: () => resolve(), draining: () => undefined }); // and answers nothing
  hub.accept({ nodeId, socket: first.near, from: "a", mayStay: () => true });
  const asked = opening(hub);
  await begun;
  behind(second.far, (_request, response) => response.end());
  hub.accept({ nodeId, socket: second.near, from: "a", mayStay: () => true });
  assert.equal(await Promise.race([asked, wait(5_000, "it waits", { ref: false })]), "open");
  await hub.close(AbortSignal.abort());
});

test("of an agent that leaves twice with connections open each tunnel's end is told", async () => {
  const { hub, told } = hubWith();
  await using pairs = new AsyncDisposableStack();
  for (let nth = 1; nth <= 2; nth++) {
    const pair = pairs.use(await connectedPair());
    const served = behind(pair.far, () => undefined);
    hub.accept({ nodeId, socket: pair.near, from: "a", mayStay: () => true });
    await new Promise<void>((resolve) => {
      hub.open(nodeId, (_error, connection) => {
        connection?.on("error", () => undefined);
        resolve();
      });
    });
    served.finish();
    await until("it is left", () => !hub.isOpen(nodeId));
  }
  await hub.close(AbortSignal.abort());
  await until("all is told", () => told.length === 4);
  const each = ["tunnel_opened", "tunnel_opened", "tunnel_ended", "tunnel_ended"];
  assert.deepEqual(kinds(told), each);
});

test("a request for a node without a tunnel is refused at once, in words", async () => {
  const { hub } = hubWith({ graceMs: -1 });
  assert.match(await opening(hub), /its tunnel is not open/);
  await hub.close(AbortSignal.abort());
});

test("just after its start a gateway waits for any node: its agent may be on the way back", async () => {
  await using pair = await connectedPair();
  const { hub } = hubWith();
  const asked = opening(hub);
  assert.equal(hub.stats.waiting, 1);
  behind(pair.far, (_request, response) => response.end());
  hub.accept({ nodeId, socket: pair.near, from: "a", mayStay: () => true });
  assert.equal(await asked, "open");
  await hub.close(AbortSignal.abort());
});

test("a gateway that drains lets nobody wait for a tunnel that it would not take", async () => {
  const { hub } = hubWith();
  hub.drain();
  assert.equal(hub.isExpected(nodeId), false);
  assert.match(await opening(hub), /its tunnel is not open/);
  await hub.close(AbortSignal.abort());
});

test("the wait is bounded in time and in number", async () => {
  await using pair = await connectedPair();
  const { hub } = hubWith({ waitMs: 50, maxWaiting: 1 });
  behind(pair.far, (_request, response) => response.end());
  hub.accept({ nodeId, socket: pair.near, from: "a", mayStay: () => true });
  const lost = new Promise((resolve) => pair.near.once("close", resolve));
  pair.far.resetAndDestroy();
  await lost;
  const order: string[] = [];
  await Promise.all([
    opening(hub).then(() => order.push("waited")),
    opening(hub).then(() => order.push("refused")),
  ]);
  assert.deepEqual(order, ["refused", "waited"]);
  await hub.close(AbortSignal.abort());
});

test("a tunnel that its agent leaves lets what is open end, and the next one is waited for", async () => {
  await using first = await connectedPair();
  await using second = await connectedPair();
  const { hub, told } = hubWith();
  const left: string[] = [];
  hub.onLeaving((id) => left.push(id));
  const old = behind(first.far, (_request, response) => response.end());
  hub.accept({ nodeId, socket: first.near, from: "a", mayStay: () => true });
  const connection = await new Promise<Duplex>((resolve, reject) => {
    hub.open(nodeId, (error, opened) => (opened ? resolve(opened) : reject(error)));
  });
  connection.on("error", () => undefined);
  old.finish();
  await until("it is left", () => hub.stats.tunnels.draining === 1);
  assert.deepEqual(left, [nodeId]);
  assert.equal(hub.isOpen(nodeId), false);
  assert.match(JSON.stringify(hub.status(nodeId)), /takes no new connections/);
  const asked = opening(hub);
  behind(second.far, (_request, response) => response.end());
  hub.admit(nodeId);
  hub.accept({ nodeId, socket: second.near, from: "a", mayStay: () => true });
  assert.equal(await asked, "open");
  assert.equal(connection.destroyed, false, "what was open goes on");
  assert.deepEqual(kinds(told), ["tunnel_opened", "tunnel_opened"], "it is no rival");
  connection.destroy();
  await old.ended;
  await until("the old one is over", () => hub.stats.tunnels.draining === 0);
  assert.equal(kinds(told).at(-1), "tunnel_ended");
  assert.equal(hub.status(nodeId)?.state, "open");
  await hub.close(AbortSignal.abort());
});

test("a gateway that drains takes no tunnel, and tells those it has", async () => {
  await using pair = await connectedPair();
  const { hub } = hubWith();
  const { promise: told, resolve } = Promise.withResolvers<void>();
  serveTunnel(pair.far, { accept: () => {}, draining: resolve });
  hub.accept({ nodeId, socket: pair.near, from: "a", mayStay: () => true });
  hub.drain();
  await told;
  assert.throws(() => hub.admit(nodeId), { code: "draining" });
  await hub.close(AbortSignal.abort());
});
