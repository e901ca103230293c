/** A node that has an address and a tunnel that comes back: which way is taken, and when it is waited for. */
import assert from "node:assert/strict";
import { createServer } from "node:http";
import { performServerHandshake } from "node:http2";
import { test } from "node:test";
import { systemClock } from "../../src/lib/clock.ts";
import { createPolicy } from "../../src/reach/address.ts";
import { createConnector } from "../../src/reach/connector.ts";
import { ownAgentConnections } from "../../src/reach/node-ways.ts";
import { tunnelled } from "../../src/reach/tunnelled.ts";
import { createHub, type Hub } from "../../src/tunnel/hub.ts";
import { maxStreams, tunnelAddress } from "../../src/tunnel/protocol.ts";
import { serveTunnel } from "../../src/tunnel/serve.ts";
import type { Asker } from "../../src/upstream/pool.ts";
import { caller } from "../carry/exec-agent.ts";
import { exchangeOn, front, nodeAt, pathOf, nodeId as placedOn, scopeOf } from "../carry/front.ts";
import { deadAddress } from "../support/faulty-agent.ts";
import { until } from "../support/processes.ts";
import { get, rawClient, rawRequest } from "../support/raw-client.ts";
import { behind, connectedPair } from "../tunnel/support.ts";

const nodeId = "11111111-1111-4111-8111-111111111111";

/** What comes of a connection to a node whose address takes none. */
const connecting = async (hub: Hub, waits: boolean): Promise<string> => {
  const [host = "", port = ""] = (await deadAddress()).split(":");
  const peer = { named: { node: "n" }, tls: false };
  const policy = createPolicy({ allow: ["127.0.0.0/8"], deny: [], loopback: true });
  const direct = createConnector(
    peer,
    { host, port: Number(port) },
    { policy, connectTimeoutMs: 2_000, tls: undefined },
  );
  const connector = tunnelled({ tunnels: hub, nodeId, peer, direct, waits, tls: undefined });
  return new Promise((resolve) => {
    connector.connect((error, socket) => {
      socket?.destroy();
      resolve(error?.message ?? "connected");
    });
  });
};

test("where there is no third way, a node that cannot be dialled is waited for", async () => {
  await using pair = await connectedPair();
  const hub = createHub({ clock: systemClock, told: () => undefined });
  const asked = connecting(hub, true);
  behind(pair.far, (_request, response) => response.end());
  await until("it waits", () => hub.stats.waiting === 1);
  hub.accept({ nodeId, socket: pair.near, from: "a", mayStay: () => true });
  assert.equal(await asked, "connected");
  await hub.close(AbortSignal.abort());
});

test("where a server can be asked, or no tunnel is expected, nobody waits", async () => {
  const patient = createHub({ clock: systemClock, told: () => undefined });
  assert.match(await connecting(patient, false), /connection refused/);
  await patient.close(AbortSignal.abort());
  const old = createHub({ clock: systemClock, told: () => undefined }, { graceMs: -1 });
  assert.match(await connecting(old, true), /connection refused/);
  await old.close(AbortSignal.abort());
});

test("a tunnel that is cut in the midst of a TLS handshake gives no connection, at once", async () => {
  await using pair = await connectedPair();
  const hub = createHub({ clock: systemClock, told: () => undefined });
  const { promise: begun, resolve } = Promise.withResolvers<void>();
  serveTunnel(pair.far, {
    accept: (incoming) => incoming.take().once("data", () => resolve()), // and says nothing to it
    draining: () => undefined,
  });
  let counts = true;
  hub.accept({ nodeId, socket: pair.near, from: "a", mayStay: () => counts });
  const peer = { named: { node: "n" }, tls: true };
  const connector = tunnelled({
    tunnels: hub,
    nodeId,
    peer,
    direct: undefined,
    waits: false,
    tls: undefined,
  });
  const told: (string | undefined)[] = [];
  connector.connect((error) => told.push(error?.message));
  await begun;
  counts = false;
  hub.recheck();
  await until("it is told", () => told.length > 0);
  assert.deepEqual(told, ["node n cannot be reached: connection lost"]);
  await hub.close(AbortSignal.abort());
});

test("a tunnel that is full is 503 each time: it says nothing of whether its node can be reached", async () => {
  await using pair = await connectedPair();
  const hub = createHub({ clock: systemClock, told: () => undefined });
  const agent = createServer((_request, response) => void response.write("{}"));
  performServerHandshake(pair.far, { settings: { maxConcurrentStreams: 1 } }).on(
    "stream",
    (stream) => {
      stream.on("error", () => undefined);
      stream.respond({ ":status": 200 });
      agent.emit("connection", stream);
    },
  );
  hub.accept({ nodeId: placedOn, socket: pair.near, from: "a", mayStay: () => true });
  await using gate = await front({
    route: "fs.logs",
    node: nodeAt(tunnelAddress(placedOn)),
    reach: { tunnels: hub, failures: 3, openMs: 60_000 },
  });
  const follower = rawClient(gate.port, get(pathOf("fs.logs")));
  await follower.seen("{}");
  for (let nth = 0; nth < 5; nth++) {
    const { status, headers } = await rawRequest(gate.port, get(pathOf("fs.logs")));
    assert.equal(`${status} ${headers.get("x-serai-error")}`, "503 overloaded");
  }
  assert.equal(gate.reach.stats.openCircuits, 0);
  follower.socket.destroy();
  await hub.close(AbortSignal.abort());
});

test("however many follow logs through a tunnel, a short call has its connection", async () => {
  await using pair = await connectedPair();
  const hub = createHub({ clock: systemClock, told: () => undefined });
  let followed = 0;
  behind(pair.far, ({ url }, response) => {
    const isShort = url !== "/follow";
    response.write("[]");
    if (isShort) response.end();
    else followed += 1;
  });
  hub.accept({ nodeId: placedOn, socket: pair.near, from: "a", mayStay: () => true });
  const node = nodeAt(tunnelAddress(placedOn));
  await using gate = await front({
    route: "fs.ls",
    node,
    reach: { tunnels: hub, ...ownAgentConnections },
  });
  const failures: unknown[] = [];
  const asker: Asker = {
    started: () => undefined, head: () => "small", data: () => true, end: () => undefined,
    failed: (error) => failures.push(error),
  }; // biome-ignore format: a row
  const exchange = exchangeOn("fs.logs");
  const all = Object.values(ownAgentConnections).reduce((sum, one) => sum + one, 0);
  assert.ok(all <= maxStreams, `${all} connections, and a tunnel for ${maxStreams}`);
  const many = 1_100; // of the 3,000: each takes its time
  const follows = Array.from({ length: many }, () =>
    gate.reach
      .to(scopeOf(exchange.route, node), exchange)
      .pool.request({ method: "GET", path: "/follow", headers: {}, body: undefined }, asker),
  );
  await until("all are followed", () => followed === many || failures.length > 0);
  assert.deepEqual(failures.slice(0, 1), []);
  assert.equal((await rawRequest(gate.port, get(pathOf("fs.ls")))).status, 200);
  for (const follow of follows) follow.abort();
  await hub.close(AbortSignal.abort());
});

for (const tls of [false, true])
  test(`a caller that leaves while ${tls ? "a handshake through the tunnel lasts" : "its connection opens"} is no fault of its node`, async () => {
    await using pair = await connectedPair();
    const hub = createHub({ clock: systemClock, told: () => undefined });
    let begun = 0;
    const begins = (): void => {
      begun += 1;
    };
    serveTunnel(pair.far, {
      accept: (incoming) => {
        if (tls)
          incoming.take().once("data", begins); // and says nothing to it
        else begins();
      },
      draining: () => undefined,
    });
    hub.accept({ nodeId: placedOn, socket: pair.near, from: "a", mayStay: () => true });
    const node = nodeAt(tunnelAddress(placedOn), { tls });
    await using gate = await front({
      route: "alloc.exec",
      node,
      reach: { tunnels: hub, failures: 3, openMs: 60_000 },
    });
    for (let nth = 1; nth <= 3; nth++) {
      const { socket } = caller(gate);
      await until("its connection opens", () => begun === nth);
      socket.terminate();
      await gate.ended(nth);
    }
    assert.equal(gate.reach.stats.openCircuits, 0);
    const [{ fared } = assert.fail("no way")] = gate.reach.report(node);
    assert.equal(fared.fault, undefined);
    await hub.close(AbortSignal.abort());
  });
