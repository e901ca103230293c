/** Nodes that fall silent, cannot be dialled, come back, or claim what is not theirs. */
import assert from "node:assert/strict";
import { once } from "node:events";
import { copyFileSync, mkdirSync, readdirSync } from "node:fs";
import { createServer } from "node:http";
import { connect, createServer as createTcpServer, type Socket } from "node:net";
import path from "node:path";
import { test } from "node:test";
import { request } from "undici";
import { WebSocket } from "ws";
import { isJsonObject } from "../../src/lib/json.ts";
import { freeAddress } from "../support/faulty-agent.ts";
import { get, rawClient } from "../support/raw-client.ts";
import { eventually, type Rig, type RunningAgent, startRig } from "../support/rig.ts";

const sleeper = (job: string): Readonly<Record<string, unknown>> => ({
  job,
  group: "main",
  tasks: [{ name: "main", command: "sleep", args: ["1000"], kill_timeout: "1s" }],
});

const statusOf = async (rig: Rig, nodeId: string): Promise<unknown> => {
  const document = (await rig.get(`/v1/node/${nodeId}`, rig.secret("management"))).json();
  return isJsonObject(document) ? document["Status"] : undefined;
};

const untilStatus = (rig: Rig, { nodeId }: RunningAgent, status: string): Promise<unknown> =>
  eventually(`the node is ${status}`, async () =>
    (await statusOf(rig, nodeId)) === status ? status : undefined,
  );

interface Closed {
  readonly code: unknown;
  readonly reason: string;
}

const openExec = (rig: Rig, allocation: string, argv: readonly string[]): WebSocket =>
  new WebSocket(
    `${rig.url.replace("http", "ws")}/v1/client/allocation/${allocation}/exec?task=main&command=${encodeURIComponent(JSON.stringify(argv))}`,
    { headers: { "x-nomad-token": rig.secret("management") } },
  );

const exec = async (rig: Rig, allocation: string): Promise<Closed> => {
  const [code, reason] = await once(openExec(rig, allocation, ["true"]), "close");
  return { code, reason: String(reason) };
};

interface NodeRoute {
  readonly name: string;
  readonly method?: "GET" | "POST" | "PUT";
  readonly path: string;
  readonly body?: string;
}

// biome-ignore format: a table
const nodeRoutes: readonly NodeRoute[] = [
  { name: "client stats", path: "/v1/client/stats?node_id=NODE" },
  { name: "metadata", path: "/v1/client/metadata?node_id=NODE" },
  { name: "metadata write", method: "POST", path: "/v1/client/metadata", body: '{"NodeID":"NODE","Meta":{"a":"b"}}' },
  { name: "metadata write with a bad key", method: "POST", path: "/v1/client/metadata", body: '{"NodeID":"NODE","Meta":{"a/b":"b"}}' },
  { name: "client gc", path: "/v1/client/gc?node_id=NODE" },
  { name: "allocation stats", path: "/v1/client/allocation/ALLOC/stats" },
  { name: "allocation checks", path: "/v1/client/allocation/ALLOC/checks" },
  { name: "allocation gc", path: "/v1/client/allocation/ALLOC/gc" },
  { name: "restart", method: "PUT", path: "/v1/client/allocation/ALLOC/restart", body: "{}" },
  { name: "signal", method: "PUT", path: "/v1/client/allocation/ALLOC/signal", body: '{"Signal":"SIGHUP","Task":"main"}' },
  { name: "fs ls", path: "/v1/client/fs/ls/ALLOC?path=/" },
  { name: "fs stat", path: "/v1/client/fs/stat/ALLOC?path=/alloc" },
  { name: "fs cat", path: "/v1/client/fs/cat/ALLOC?path=/alloc/logs/main.stdout.0" },
  { name: "fs readat", path: "/v1/client/fs/readat/ALLOC?path=/alloc/logs/main.stdout.0&offset=0&limit=1" },
  { name: "fs stream", path: "/v1/client/fs/stream/ALLOC?path=/alloc/logs/main.stdout.0&follow=false" },
  { name: "fs logs", path: "/v1/client/fs/logs/ALLOC?task=main&type=stdout" },
  { name: "fs logs plain", path: "/v1/client/fs/logs/ALLOC?task=main&type=stdout&plain=true" },
];

test("a silent node is down: every route to it says so in Nomad's words, its documents still answer, and it comes back", async (t) => {
  const listen = await freeAddress(); // free now
  const agent = { name: "quiet", workloads: [sleeper("j1")], listen };
  await using rig = await startRig({ settings: { node: { down_after: "1s" } }, agents: [agent] });
  const first = rig.agent();
  const allocation = rig.allocation("j1");
  const token = rig.secret("management");
  const filled = (text: string): string =>
    text.replace("NODE", first.nodeId).replace("ALLOC", allocation);

  await first.stop();
  await untilStatus(rig, first, "down");
  for (const { name, method = "GET", path: target, body } of nodeRoutes)
    await t.test(`${name}: No path to node`, async () => {
      const sent = body === undefined ? {} : { body: filled(body) };
      const reply = await rig.ask({ method, path: filled(target), token, ...sent });
      assert.deepEqual(
        [reply.status, reply.text, reply.headers["x-serai-node"]],
        [404, "No path to node", "quiet"],
      );
    });
  await t.test("exec: the close says what became of the allocation", async () => {
    assert.deepEqual(await exec(rig, allocation), {
      code: 1008,
      reason: `exec not possible, client status of allocation ${allocation} is lost`,
    });
  });
  await t.test("lists, jobs and the node's allocations show it as lost", async () => {
    const fieldOf = async (target: string, field: string): Promise<unknown> => {
      const document = (await rig.get(target, token)).json();
      const one = Array.isArray(document) ? document[0] : document;
      return isJsonObject(one) ? one[field] : undefined;
    };
    for (const target of [
      "/v1/allocations",
      `/v1/allocations?filter=${encodeURIComponent('ClientStatus == "lost"')}`,
      `/v1/node/${first.nodeId}/allocations`,
      "/v1/job/j1/allocations",
      `/v1/allocation/${allocation}`,
    ])
      assert.equal(await fieldOf(target, "ClientStatus"), "lost", target);
    assert.equal(await fieldOf("/v1/jobs", "Status"), "dead");
    assert.deepEqual((await rig.get(`/v1/allocation/${allocation}/services`, token)).json(), []);
  });
  await t.test("without a right nothing is told of the node", async () => {
    const reply = await rig.get(filled("/v1/client/stats?node_id=NODE"));
    assert.deepEqual([reply.status, reply.text], [403, "Permission denied"]);
  });
  await t.test("its allocation and its node can still be read", async () => {
    assert.equal((await rig.get(`/v1/allocation/${allocation}`, token)).status, 200);
    const nodes = (await rig.get("/v1/nodes", token)).json();
    assert.ok(Array.isArray(nodes) && isJsonObject(nodes[0]));
    assert.equal(nodes[0]["Status"], "down");
  });

  await rig.startAgent(agent);
  await untilStatus(rig, first, "ready");
  const reply = await eventually("it answers again", async () => {
    const answer = await rig.get(filled("/v1/client/stats?node_id=NODE"), token);
    return answer.status === 200 ? answer : undefined;
  });
  assert.equal(reply.status, 200);
  await rig.until("j1", "running");
  assert.equal((await exec(rig, allocation)).code, 1000);
});

interface Between {
  readonly tear: () => void;
  readonly close: () => Promise<void>;
}

/** Stands between the gateway and an agent. */
const forward = async (port: number, to: string): Promise<Between> => {
  const open = new Set<Socket>();
  const server = createTcpServer((socket) => {
    const other = connect(Number(to.split(":")[1]), "127.0.0.1");
    open.add(socket);
    socket.on("close", () => open.delete(socket));
    for (const [one, two] of [
      [socket, other],
      [other, socket],
    ] as const) {
      one.on("error", () => two.destroy());
      one.on("close", () => two.destroy());
      one.pipe(two);
    }
  });
  server.listen(port, "127.0.0.1");
  await once(server, "listening");
  const tear = (): void => {
    for (const socket of open) socket.destroy();
  };
  return {
    tear,
    close: async () => {
      server.close();
      tear();
      await once(server, "close");
    },
  };
};

test("a node that beats but cannot be dialled is a 502 that names it and says why; reachable again it works within a beat", async () => {
  const [listen, advertise] = [await freeAddress(), await freeAddress()];
  await using rig = await startRig({
    agents: [{ name: "walled", workloads: [], listen, advertise }],
  });
  const { nodeId } = rig.agent();
  const stats = `/v1/client/stats?node_id=${nodeId}`;
  const token = rig.secret("management");
  assert.equal(await statusOf(rig, nodeId), "ready");
  for (let time = 0; time < 5; time++) {
    const reply = await rig.get(stats, token); // the circuit opens on the way
    assert.equal(reply.status, 502, reply.text);
    assert.match(reply.text, /^node walled cannot be reached: .*refused/);
    assert.equal(reply.headers["x-serai-error"], "node_unreachable");
    assert.equal(reply.headers["x-serai-node"], "walled");
    assert.equal(reply.headers["retry-after"], "1");
  }
  const metadata = await rig.ask({
    method: "POST",
    path: "/v1/client/metadata",
    token,
    body: JSON.stringify({ NodeID: nodeId, Meta: { a: "b" } }),
  });
  assert.equal(metadata.status, 502, "a write is never held back in silence");
  const door = await forward(Number(advertise.split(":")[1]), listen);
  try {
    await eventually(
      "it is reached again",
      async () => ((await rig.get(stats, token)).status === 200 ? true : undefined),
      10_000,
    );
  } finally {
    await door.close();
  }
});

test("an agent lost in the middle of an exec and a follow: close 1011 with the node's name, and a body that is cut", async () => {
  const [listen, advertise] = [await freeAddress(), await freeAddress()];
  const between = await forward(Number(advertise.split(":")[1]), listen);
  try {
    await using rig = await startRig({
      agents: [{ name: "torn", workloads: [sleeper("j1")], listen, advertise }],
    });
    const allocation = rig.allocation("j1");
    const follow = rawClient(
      Number(new URL(rig.url).port),
      get(
        `/v1/client/fs/logs/${allocation}?task=main&type=stdout&follow=true`,
        `X-Nomad-Token: ${rig.secret("management")}\r\n`,
      ),
    );
    await follow.seen("200 OK");
    const socket = openExec(rig, allocation, ["sh", "-c", "echo up; sleep 100"]);
    const closed = once(socket, "close");
    await once(socket, "message"); // it runs, over a connection of its own
    between.tear();
    const [code, reason] = await closed;
    assert.equal(code, 1011);
    assert.equal(String(reason), "exit status unknown: node torn: connection lost");
    assert.notEqual((await follow.answer()).end, "whole");
    const ends = await eventually("both have an end record", () => {
      const found = rig.audit().filter(({ audit }) => audit === "end");
      return found.length >= 2 ? found : undefined;
    });
    assert.deepEqual([...new Set(ends.map((line) => line["code"]))], ["upstream_broke"]);
  } finally {
    await between.close();
  }
});

/** Nomad's documents of a node that a hostile agent writes by hand. */
const announce = async (rig: Rig, nodeId: string, address: string): Promise<number> => {
  const real = rig.gateway.registry.node(rig.agent().nodeId);
  const answer = await request(`${rig.url}/v1/serai/node/${nodeId}`, {
    method: "PUT",
    headers: { authorization: `Bearer ${rig.joinSecret()}` },
    body: JSON.stringify({ ...real, ID: nodeId, Name: "rival", HTTPAddr: address }),
  });
  await answer.body.dump();
  return answer.statusCode;
};

test("an agent that claims another's allocation gets nothing: requests still go to its owner", async () => {
  await using rig = await startRig({ agents: [{ name: "owner", workloads: [sleeper("j1")] }] });
  const allocation = rig.allocation("j1");
  const owner = rig.agent();
  const rivalId = "11111111-2222-4333-8444-555555555555";
  const document = rig.gateway.registry.allocation(allocation);
  const heard: string[] = [];
  const stolen = JSON.stringify([{ ...document, NodeID: rivalId }], (_key, value: unknown) =>
    typeof value === "bigint" ? Number(value) : value,
  );
  const rival = createServer((incoming, response) => {
    heard.push(incoming.url ?? "");
    if (!incoming.url?.includes("/allocations")) response.writeHead(404).end();
    else if (incoming.url.includes("index=0")) {
      response.setHeader("X-Nomad-Index", "7");
      response.end(stolen);
    } // a blocking query waits
  });
  rival.listen(0, "127.0.0.1");
  await once(rival, "listening");
  const at = rival.address();
  assert.ok(typeof at === "object" && at !== null);
  try {
    assert.equal(await announce(rig, rivalId, `127.0.0.1:${at.port}`), 200);
    await eventually("its picture was taken", () =>
      heard.some((url) => url.includes("index=7")) ? true : undefined,
    );
    const kept = rig.gateway.registry.allocation(allocation);
    assert.equal(kept?.NodeID, owner.nodeId);
    const reply = await rig.get(`/v1/client/fs/ls/${allocation}?path=/`, rig.secret("management"));
    assert.equal(reply.status, 200, reply.text);
    assert.equal((await exec(rig, allocation)).code, 1000);
    assert.deepEqual(
      heard.filter((url) => /^.v1.client.(fs|allocation)/.test(url)),
      [],
    );
  } finally {
    rival.closeAllConnections();
    rival.close();
    await once(rival, "close");
  }
});

test("two agents with one id: the newest wins once, and the node does not flap between them", async () => {
  await using rig = await startRig({
    announceIntervalMs: 100,
    agents: [{ name: "first", workloads: [] }],
  });
  const first = rig.agent();
  const twin = path.join(rig.directory, "twin");
  mkdirSync(twin);
  for (const file of readdirSync(path.join(rig.directory, "first")))
    if (file.includes("id"))
      copyFileSync(path.join(rig.directory, "first", file), path.join(twin, file));
  const second = await rig.startAgent({ name: "twin", workloads: [] });
  assert.equal(second.nodeId, first.nodeId, "the identity was copied");
  const addressNow = (): string | undefined => rig.gateway.registry.node(first.nodeId)?.HTTPAddr;
  await eventually("the newest is the one", () =>
    addressNow() === second.agent.address ? true : undefined,
  );
  await eventually("the other is refused", () =>
    first.agent.announcement.state === "away" ? true : undefined,
  );
  const { announcement } = first.agent;
  assert.ok(announcement.state === "away" && /two addresses/.test(announcement.reason));
  assert.equal(addressNow(), second.agent.address);
  assert.match(rig.logText(), /node_readdressed/);
});
