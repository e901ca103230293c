/** Bounds, each refused in words: sockets, live exchanges, bodies, blocking queries, look-ups of what is not there. */
import assert from "node:assert/strict";
import { randomUUID } from "node:crypto";
import { once } from "node:events";
import { connect, type Socket } from "node:net";
import { test } from "node:test";
import { request } from "undici";
import { WebSocket } from "ws";
import { get, rawClient, rawRequest } from "../support/raw-client.ts";
import { eventually, type Rig, startRig } from "../support/rig.ts";

const workload = {
  job: "j1",
  group: "main",
  tasks: [
    {
      name: "main",
      command: "/bin/sh",
      args: ["-c", "echo hello; exec sleep 1000"],
      kill_timeout: "1s",
    },
  ],
};

const start = (settings: object, tokens: object = {}): Promise<Rig> =>
  startRig({
    settings: { ...settings },
    policies: { reader: { namespace: [{ "*": { policy: "read", capabilities: ["read-logs"] } }] } },
    tokens: { one: { policies: ["reader"] }, two: { policies: ["reader"] }, ...tokens },
    agents: [{ name: "n1", workloads: [workload] }],
  });

const portOf = (rig: Rig): number => Number(new URL(rig.url).port);

const figure = async (rig: Rig, line: string): Promise<number> => {
  const text = await (await request(`${rig.adminUrl}/metrics`)).body.text();
  const found = text.split("\n").find((one) => one.startsWith(`${line} `));
  return Number(found?.slice(line.length + 1) ?? "NaN");
};

test("connections from one address beyond the bound get a raw 429 and are closed; those that are in go on", async () => {
  await using rig = await start({ limits: { sockets_per_address: 40 } });
  const held: Socket[] = [];
  try {
    await eventually("the bound is reached", async () => {
      const socket = connect(portOf(rig), "127.0.0.1");
      socket.on("error", () => undefined);
      await once(socket, "connect");
      held.push(socket);
      return held.length >= 40 ? true : undefined;
    });
    const answer = await rawRequest(portOf(rig), get("/v1/regions"));
    assert.equal(answer.status, 429);
    assert.match(answer.body.toString(), /^Your IP is issuing too many concurrent connections/);
    assert.equal(answer.end, "whole");
    assert.equal(answer.headers.get("connection"), "close");
    assert.ok((await figure(rig, 'serai_rate_limited_total{limit="sockets_per_address"}')) >= 1);
    const inside = held[0];
    inside?.write(get("/v1/regions"));
    const [data] = inside ? await once(inside, "data") : [];
    assert.match(String(data), /^HTTP\/1.1 200/);
    assert.equal(
      (await request(`${rig.adminUrl}/livez`)).statusCode,
      200,
      "health has its own door",
    );
  } finally {
    for (const socket of held) socket.destroy();
  }
  await eventually("there is room again", async () =>
    (await rawRequest(portOf(rig), get("/v1/regions"))).status === 200 ? true : undefined,
  );
});

test("one caller's live exchanges are bounded, another's are not hurt, and a place is free at once", async () => {
  await using rig = await start({ limits: { live_per_principal: 3 } });
  const id = rig.allocation("j1");
  const path = `/v1/client/fs/logs/${id}?task=main&type=stdout&follow=true`;
  const follow = (name: string) =>
    rawClient(portOf(rig), get(path, `X-Nomad-Token: ${rig.secret(name)}\r\n`));
  const held = [follow("one"), follow("one"), follow("one")];
  for (const one of held) await one.seen("200 OK");
  const refused = await rig.get(path, rig.secret("one"));
  assert.equal(refused.status, 429, refused.text);
  assert.equal(refused.headers["retry-after"], "1");
  assert.match(refused.text, /too many live exchanges for this caller \(limit 3\)/);
  const unary = await rig.get(`/v1/client/allocation/${id}/stats`, rig.secret("one"));
  assert.equal(unary.status, 200, "short requests are not counted");
  const other = follow("two");
  await other.seen("200 OK");
  held[0]?.socket.destroy();
  await eventually("a place is free", async () => {
    const next = follow("one");
    const answer = await Promise.race([
      next.seen("200 OK").then(() => 200),
      next.seen("429").then(() => 429),
    ]).catch(() => 0);
    next.socket.destroy();
    return answer === 200 ? true : undefined;
  });
  for (const { socket } of [...held, other]) socket.destroy();
});

test("an exec beyond the caller's share is closed with 1013", async () => {
  await using rig = await start(
    { limits: { live_per_principal: 1 } },
    { shell: { management: true } },
  );
  const id = rig.allocation("j1");
  const open = (): WebSocket =>
    new WebSocket(
      `${rig.url.replace("http", "ws")}/v1/client/allocation/${id}/exec?task=main&command=${encodeURIComponent('["sleep","100"]')}`,
      { headers: { "x-nomad-token": rig.secret("shell") } },
    );
  const first = open();
  await once(first, "open");
  await eventually("it is in", async () =>
    (await figure(rig, "serai_live_exchanges")) === 1 ? true : undefined,
  );
  const [code, reason] = await once(open(), "close");
  assert.equal(code, 1013);
  assert.match(String(reason), /too many live exchanges/);
  first.terminate();
});

test("sockets that wait for their token are bounded for an address, and end in time", async () => {
  await using rig = await start({ limits: { handshakes_per_address: 4, handshake: "1s" } });
  const id = rig.allocation("j1");
  const open = (): WebSocket => {
    const socket = new WebSocket(
      `${rig.url.replace("http", "ws")}/v1/client/allocation/${id}/exec?task=main&ws_handshake=true&command=${encodeURIComponent('["true"]')}`,
    );
    socket.on("error", () => undefined);
    return socket;
  };
  const silent = [open(), open(), open(), open()];
  const closed = silent.map((socket) => once(socket, "close"));
  await Promise.all(silent.map((socket) => once(socket, "open")));
  const [, refused] = await once(open(), "unexpected-response");
  assert.equal(refused.statusCode, 503);
  refused.resume();
  for (const one of closed) assert.equal((await one)[0], 1008);
  const late = open();
  await once(late, "open");
  late.send(JSON.stringify({ version: 1, auth_token: rig.secret("management") }));
  assert.equal((await once(late, "close"))[0], 1000, "there is room again");
});

test("bodies are bounded whether their length is told or not", async () => {
  await using rig = await start({});
  const token = rig.secret("management");
  const told = await rig.ask({
    method: "POST",
    path: "/v1/search",
    token,
    body: JSON.stringify({ Prefix: "x".repeat(80_000) }),
  });
  assert.equal(told.status, 413, told.text);
  const port = portOf(rig);
  const head = `POST /v1/search HTTP/1.1\r\nHost: gate\r\nX-Nomad-Token: ${token}\r\nTransfer-Encoding: chunked\r\n\r\n`;
  const chunk = `4000\r\n${"x".repeat(0x4000)}\r\n`;
  const untold = await rawRequest(port, head + chunk.repeat(6));
  assert.equal(untold.status, 413);
  assert.equal(
    untold.headers.get("connection"),
    "close",
    "what is left of it is not read as a request",
  );
  const large = await rawRequest(port, get("/v1/regions", `X: ${"x".repeat(40_000)}\r\n`));
  assert.equal(large.status, 431);
});

test("blocking queries beyond the bound are 503 with Retry-After, and others still answer", async () => {
  await using rig = await start({ limits: { blocking_queries: 3 } });
  const path = "/v1/nodes?index=99999999999999&wait=60s";
  const line = `X-Nomad-Token: ${rig.secret("management")}\r\n`;
  const held = Array.from({ length: 3 }, () => rawClient(portOf(rig), get(path, line)));
  await eventually("all wait", () => (rig.gateway.registry.waiting === 3 ? true : undefined));
  const refused = await rig.get(path, rig.secret("management"));
  assert.equal(refused.status, 503, refused.text);
  assert.equal(refused.headers["retry-after"], "1");
  assert.equal((await rig.get("/v1/nodes", rig.secret("management"))).status, 200);
  for (const { socket } of held) socket.destroy();
  await eventually("nobody waits", () => (rig.gateway.registry.waiting === 0 ? true : undefined));
});

test("ids that are not there cost one look-up each and no memory, and a new allocation is reachable at once", async () => {
  await using rig = await start({ log: { level: "error" } });
  const token = rig.secret("management");
  const ask = async (id: string): Promise<number> => {
    const reply = await rig.get(`/v1/client/allocation/${id}/stats`, token);
    return reply.status;
  };
  const before = await figure(rig, 'serai_index_lookups_total{result="unknown"}');
  const same = randomUUID();
  const statuses = await Promise.all(Array.from({ length: 50 }, () => ask(same)));
  assert.deepEqual([...new Set(statuses)], [404]);
  const ids = 500;
  let next = 0;
  const work = async (): Promise<void> => {
    while (next++ < ids) assert.equal(await ask(randomUUID()), 404);
  };
  await Promise.all(Array.from({ length: 16 }, work));
  const lookups = (await figure(rig, 'serai_index_lookups_total{result="unknown"}')) - before;
  assert.ok(lookups <= 50 + ids, `${lookups} look-ups`);
  const second = await rig.startAgent({
    name: "n2",
    workloads: [{ ...workload, job: "j2" }],
  });
  const placed = await eventually("a new allocation is known", () => rig.allocationsOf("j2")[0]);
  const startedAt = performance.now();
  await eventually("it is reachable", async () =>
    (await ask(placed.ID)) === 200 ? true : undefined,
  );
  const hits = await figure(rig, 'serai_index_lookups_total{result="hit"}');
  assert.equal(await ask(placed.ID), 200);
  assert.equal(await figure(rig, 'serai_index_lookups_total{result="hit"}'), hits + 1);
  assert.ok(performance.now() - startedAt < 2_000);
  assert.equal(placed.NodeID, second.nodeId);
});
