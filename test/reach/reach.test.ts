/** Reach: what is refused before an agent is asked, and how connections to nodes are kept. */

import assert from "node:assert/strict";
import { test } from "node:test";
import { GatewayError } from "../../src/errors.ts";
import type { NodeEntry, Scope } from "../../src/ports.ts";
import { nodeOf } from "../../src/reach/refusals.ts";
import { routeNamed, routes } from "../../src/routes.ts";
import { tunnelAddress } from "../../src/tunnel/protocol.ts";
import {
  allocationId,
  eventually,
  exchangeOn,
  front,
  nodeAt,
  nodeId,
  pathOf,
  scopeOf,
} from "../carry/front.ts";
import { deadAddress, faultyAgent, type Script } from "../support/faulty-agent.ts";
import { get, rawClient, rawRequest } from "../support/raw-client.ts";

const ok: Script = ({ socket }) => socket.write("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok");

const refusalOf = (name: string, scope: Scope, tryDown = false): string => {
  try {
    return `asks ${nodeOf(scope, exchangeOn(name), { tryDown }).name}`;
  } catch (error) {
    assert.ok(error instanceof GatewayError);
    return `${error.status} ${error.close} ${error.words}`;
  }
};

const unknown: Readonly<Record<string, string>> = {
  "fs.ls": `500 1011 Unknown node ${nodeId}`,
  "fs.stat": `500 1011 Unknown node ${nodeId}`,
  "fs.cat": `400 1008 Unknown node "${nodeId}"`,
  "fs.readat": `400 1008 Unknown node "${nodeId}"`,
  "fs.stream": `400 1008 Unknown node "${nodeId}"`,
  "fs.logs": `400 1008 Unknown node "${nodeId}"`,
  "alloc.exec": `400 1008 Unknown node "${nodeId}"`,
  "alloc.stats": `404 1008 Unknown node ${nodeId}`,
  "alloc.checks": `404 1008 Unknown node ${nodeId}`,
  "alloc.restart": `404 1008 Unknown node ${nodeId}`,
  "alloc.signal": `404 1008 Unknown node ${nodeId}`,
  "alloc.gc": `404 1008 Unknown node ${nodeId}`,
  "alloc.pause.get": `404 1008 Unknown node ${nodeId}`,
  "alloc.pause.set": `404 1008 Unknown node ${nodeId}`,
  "client.stats": `404 1008 Unknown node ${nodeId}`,
  "client.metadata.get": `500 1011 Unknown node ${nodeId}`,
  "client.metadata.post": `500 1011 Unknown node ${nodeId}`,
  "client.gc": `500 1011 Unknown node ${nodeId}`,
};

for (const route of routes.filter(({ carriage }) => carriage !== "registry")) {
  test(`an unknown node reads as Nomad's on ${route.name}`, () => {
    assert.equal(refusalOf(route.name, scopeOf(route, undefined)), unknown[route.name]);
  });

  test(`a node without connection is No path to node on ${route.name}`, () => {
    for (const status of ["down", "disconnected", "initializing"] as const) {
      const scope = scopeOf(route, nodeAt("10.0.0.1:4646", { status }));
      assert.equal(refusalOf(route.name, scope), "404 1008 No path to node");
      assert.equal(refusalOf(route.name, scope, true), "asks golden-3");
    }
  });
}

test("a node from before the gateway's start is asked through its tunnel, which proves who it is, and nowhere else", () => {
  const of = (address: string, status: "initializing" | "down") =>
    refusalOf("fs.ls", scopeOf(routeNamed("fs.ls"), nodeAt(address, { status })));
  assert.equal(of(tunnelAddress(nodeId), "initializing"), "asks golden-3");
  assert.equal(of(tunnelAddress(nodeId), "down"), "404 1008 No path to node");
  assert.equal(of("10.0.0.1:4646", "initializing"), "404 1008 No path to node");
});

const placed = (terminal: "complete" | "failed" | "lost", node: NodeEntry | undefined): Scope => ({
  kind: "allocation",
  node,
  placement: {
    id: allocationId,
    nodeId,
    namespace: "default",
    jobId: "j",
    taskGroup: "g",
    terminal,
  },
});

test("exec in an ended allocation is refused before its node is looked at; files of it are not", () => {
  const down = nodeAt("10.0.0.1:4646", { status: "down" });
  for (const node of [undefined, down])
    assert.equal(
      refusalOf("alloc.exec", placed("lost", node)),
      `400 1008 exec not possible, client status of allocation ${allocationId} is lost`,
    );
  assert.equal(refusalOf("fs.ls", placed("complete", nodeAt("10.0.0.1:4646"))), "asks golden-3");
});

test("a node that is down answers as recorded, with its name in a header", async () => {
  await using gate = await front({
    route: "fs.ls",
    node: nodeAt("127.0.0.1:4646", { status: "down" }),
  });
  const answer = await rawRequest(gate.port, get(pathOf("fs.ls")));
  assert.equal(`${answer.status} ${answer.body.toString()}`, "404 No path to node");
  assert.equal(answer.headers.get("content-type"), "text/plain; charset=utf-8");
  assert.equal(answer.headers.get("x-serai-node"), "golden-3");
});

for (const { address, reason } of [
  { address: "169.254.169.254:80", reason: "169.254.169.254 is not a node's address" },
  { address: "127.0.0.1:22", reason: "port 22 belongs to another service" },
])
  test(`an address like ${address} is never dialled`, async () => {
    await using gate = await front({ route: "fs.ls", node: nodeAt(address) });
    const answer = await rawRequest(gate.port, get(pathOf("fs.ls")));
    assert.equal(answer.status, 502);
    assert.equal(answer.body.toString(), `node golden-3 cannot be reached: ${reason}`);
  });

test("a name is judged by what it resolves to, and not dialled when that is refused", async () => {
  await using agent = await faultyAgent(ok);
  const named = `localhost:${agent.address.split(":")[1]}`;
  const addresses = { allow: [], deny: [], loopback: false };
  await using closed = await front({ route: "fs.ls", node: nodeAt(named), reach: { addresses } });
  const refused = await rawRequest(closed.port, get(pathOf("fs.ls")));
  assert.match(
    refused.body.toString(),
    /^node golden-3 cannot be reached: .* is the gateway itself$/,
  );
  assert.equal(agent.connections, 0);
  await using opened = await front({ route: "fs.ls", node: nodeAt(named) });
  assert.equal((await rawRequest(opened.port, get(pathOf("fs.ls")))).status, 200);
});

test("after failures in a row a node is refused at once with the last reason, and tried again later", async () => {
  const address = await deadAddress();
  await using gate = await front({
    route: "fs.ls",
    node: nodeAt(address),
    reach: { failures: 2, openMs: 60_000 },
  });
  for (let nth = 0; nth < 3; nth++) {
    const answer = await rawRequest(gate.port, get(pathOf("fs.ls")));
    assert.equal(answer.body.toString(), "node golden-3 cannot be reached: connection refused");
  }
  assert.equal(gate.reach.stats.failures.node_unreachable, 2);
  assert.equal(gate.reach.stats.openCircuits, 1);
});

test("short calls share kept connections, and never more than their bound", async () => {
  await using agent = await faultyAgent(ok);
  await using gate = await front({
    route: "fs.ls",
    node: nodeAt(agent.address),
    reach: { shortConnections: 2 },
  });
  const answers = await Promise.all(
    Array.from({ length: 20 }, () => rawRequest(gate.port, get(pathOf("fs.ls")))),
  );
  assert.ok(answers.every(({ status }) => status === 200));
  assert.ok(agent.connections <= 2, `${agent.connections} connections`);
});

test("more waiting than the bound is 503 with Retry-After, and the waiting are served", async () => {
  const held: (() => void)[] = [];
  await using agent = await faultyAgent((heard) => held.push(() => ok(heard)));
  await using gate = await front({
    route: "fs.ls",
    node: nodeAt(agent.address),
    reach: { shortConnections: 1, maxWaiting: 1 },
  });
  const first = rawClient(gate.port, get(pathOf("fs.ls")));
  await agent.request(1);
  const second = rawClient(gate.port, get(pathOf("fs.ls")));
  await eventually(() => gate.exchanges.length, 2);
  await eventually(() => gate.reach.stats.waiting, 1);
  const third = await rawRequest(gate.port, get(pathOf("fs.ls")));
  assert.equal(
    `${third.status} ${third.headers.get("retry-after")} ${third.body}`,
    "503 1 node golden-3 has no connection free: all 1 for short calls are busy, and 1 more wait for one; try again",
  );
  held.shift()?.();
  assert.equal((await first.answer()).status, 200);
  await agent.request(2);
  held.shift()?.();
  assert.equal((await second.answer()).status, 200);
});

test("a call that waited in vain for one of a node's connections is told so, and the node is not blamed", async () => {
  await using agent = await faultyAgent(() => undefined);
  const node = nodeAt(agent.address);
  await using gate = await front({
    route: "fs.ls",
    node,
    reach: { shortConnections: 1 },
    deadlineMs: 300,
  });
  const exchange = exchangeOn("fs.ls");
  const held = gate.reach.to(scopeOf(exchange.route, node), exchange).pool.request(
    { method: "GET", path: "/held", headers: {}, body: undefined },
    {
        started: () => undefined, head: () => "small", data: () => true, end: () => undefined,
        failed: () => undefined,
      }, // biome-ignore format: a row
  );
  await agent.request(1);
  const { status, headers, body } = await rawRequest(gate.port, get(pathOf("fs.ls")));
  assert.equal(
    `${status} ${headers.get("x-serai-error")} ${headers.get("retry-after")} ${body}`,
    "503 overloaded 1 node golden-3 has no connection free: all 1 for short calls were busy for 0.3 s; try again",
  );
  assert.equal(agent.requests.length, 1);
  for (const { fared } of gate.reach.report(node)) assert.equal(fared.fault, undefined);
  held.abort();
});

test("streams never take the short calls' connections, and over their bound they are 503", async () => {
  await using agent = await faultyAgent(({ socket }) =>
    socket.write("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n"),
  );
  await using gate = await front({
    route: "fs.logs",
    node: nodeAt(agent.address),
    reach: { streamConnections: 2 },
  });
  const followers = [1, 2].map(() => rawClient(gate.port, get(pathOf("fs.logs"))));
  await Promise.all(followers.map((follower) => follower.seen("{}")));
  const third = await rawRequest(gate.port, get(pathOf("fs.logs")));
  assert.equal(
    `${third.status} ${third.body}`,
    "503 node golden-3 has no connection free: all 2 for streams are busy; try again",
  );
  for (const follower of followers) follower.socket.destroy();
  await agent.idle();
});

test("a node whose streams last longer than pools are kept unused keeps to their bound", async (t) => {
  t.mock.timers.enable({ apis: ["setInterval"] });
  await using agent = await faultyAgent(({ socket }) =>
    socket.write("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n"),
  );
  await using gate = await front({
    route: "fs.logs",
    node: nodeAt(agent.address),
    reach: { streamConnections: 1, idleMs: -1 }, // at once
  });
  const follower = rawClient(gate.port, get(pathOf("fs.logs")));
  await follower.seen("{}");
  t.mock.timers.tick(60_000);
  assert.equal(gate.reach.stats.running, 1);
  assert.equal((await rawRequest(gate.port, get(pathOf("fs.logs")))).status, 503);
  follower.socket.destroy();
  await agent.idle();
  t.mock.timers.tick(60_000);
  assert.equal(gate.reach.stats.nodes, 0);
});

test("a node that moved is asked at its new address, and its old pools are closed", async () => {
  await using before = await faultyAgent(ok);
  await using after = await faultyAgent(ok);
  await using gate = await front({ route: "fs.ls", node: nodeAt(before.address) });
  const exchange = exchangeOn("fs.ls");
  const scopeAt = (address: string): Scope => scopeOf(exchange.route, nodeAt(address));
  assert.equal((await rawRequest(gate.port, get(pathOf("fs.ls")))).status, 200);
  assert.equal(before.open, 1);
  const way = gate.reach.to(scopeAt(after.address), exchange);
  assert.equal(way.origin, `http://${after.address}`);
  await before.idle();
  assert.equal(gate.reach.stats.nodes, 1);
});

test("a silent address is given up after the connect timeout", async () => {
  // TEST-NET-1 may be refused or silent, by the machine's routes: either way it cannot be reached
  await using gate = await front({
    route: "fs.ls",
    node: nodeAt("192.0.2.1:4646"),
    reach: { connectTimeoutMs: 200 },
  });
  const answer = await rawRequest(gate.port, get(pathOf("fs.ls")));
  assert.equal(answer.status, 502);
  assert.match(answer.body.toString(), /^node golden-3 cannot be reached: /);
});

test("a closed reach gives no way any more", async () => {
  await using agent = await faultyAgent(ok);
  await using gate = await front({ route: "fs.ls", node: nodeAt(agent.address) });
  assert.equal((await rawRequest(gate.port, get(pathOf("fs.ls")))).status, 200);
  await gate.reach.close(AbortSignal.timeout(1_000));
  await agent.idle();
  const answer = await rawRequest(gate.port, get(pathOf("fs.ls")));
  assert.equal(answer.headers.get("x-serai-error"), "draining");
});

test("requests that wait while a node's circuit opens are refused without another try each", async () => {
  await using agent = await faultyAgent(() => undefined); // a TLS handshake there never ends
  await using gate = await front({
    route: "fs.ls",
    node: nodeAt(agent.address, { tls: true }),
    reach: { shortConnections: 2, connectTimeoutMs: 100, failures: 2, openMs: 60_000 },
  });
  const answers = await Promise.all(
    Array.from({ length: 40 }, () => rawRequest(gate.port, get(pathOf("fs.ls")))),
  );
  for (const { status, body } of answers)
    assert.equal(`${status} ${body}`, "502 node golden-3 cannot be reached: connect timed out");
  assert.ok(agent.connections <= 4, `${agent.connections} tries`);
});
