/** The way to a cluster's agents, end to end: direct, through a server, to where the agent is now, or a clear refusal. */
import assert from "node:assert/strict";
import { createHash, randomUUID } from "node:crypto";
import { writeFileSync } from "node:fs";
import { createServer as createHttpsServer } from "node:https";
import { createServer } from "node:net";
import { after, before, describe, test } from "node:test";
import { type Dispatcher, Agent as HttpAgent, request } from "undici";
import { loadServerConfig } from "../../src/config/load.ts";
import { openAgents } from "../../src/gateway/agents.ts";
import { Closers } from "../../src/lib/closers.ts";
import { createMetrics } from "../../src/observe/metrics.ts";
import type { NodeEntry, Placement } from "../../src/ports.ts";
import { clock, quiet } from "../carry/front.ts";
import { createCertificates } from "../support/certificates.ts";
import { type ClusterRig, secrets, startCluster } from "../support/cluster-rig.ts";
import { deadAddress, faultyAgent } from "../support/faulty-agent.ts";
import { limitedAgent } from "../support/limited-agent.ts";
import { shellWorkload } from "../support/processes.ts";
import { type RelayServer, relayServer } from "../support/relay-server.ts";
import { eventually } from "../support/rig.ts";
import { type Door, openDoor, pemFile, tlsDoor } from "../support/tls-door.ts";
import { execClient, rawUpgrade } from "../support/ws-client.ts";

type Options = Partial<Parameters<typeof startCluster>[0]>;

const workloads = [shellWorkload("web", "echo first; sleep 1000")];

const start = async (options: Options = {}): Promise<ClusterRig> => {
  const rig = await startCluster({ workloads, ...options });
  await eventually("ready", async () => (await rig.readiness()) === 200 || undefined);
  await eventually("the task runs", () =>
    rig.agent.workloads.allocations.every(({ tasks }) =>
      tasks.every(({ pid }) => pid !== undefined),
    ),
  );
  return rig;
};

/** With a server that hands on to the agent. */
const startRelayed = async (
  options: Options = {},
): Promise<{ readonly rig: ClusterRig; readonly relay: RelayServer }> => {
  let relay: RelayServer | undefined;
  const rig = await start({
    ...options,
    servers: async (nomad, agent) => {
      relay = await relayServer(nomad.origin, agent);
      return relay;
    },
  });
  assert.ok(relay);
  return { rig, relay };
};

const listPath = (id: string): string => `/v1/client/fs/ls/${id}?path=/`;
const logPath = (id: string): string =>
  `/v1/client/fs/logs/${id}?task=main&type=stdout&follow=true&plain=true`;

interface Reply {
  readonly status: number;
  readonly text: string;
  readonly reach: unknown;
  readonly code: unknown;
}

const ask = async (
  { url }: ClusterRig,
  path: string,
  method: Dispatcher.HttpMethod = "GET",
  body: string | null = null,
): Promise<Reply> => {
  const headers = { "x-nomad-token": secrets.management };
  const answer = await request(`${url}${path}`, { method, headers, body });
  return {
    status: answer.statusCode,
    text: await answer.body.text(),
    reach: answer.headers["x-serai-reach"],
    code: answer.headers["x-serai-error"],
  };
};

const counted = async (rig: ClusterRig, metric: string): Promise<number> => {
  const line = (await rig.metrics()).split("\n").find((one) => one.startsWith(`serai_${metric} `));
  assert.ok(line, `no ${metric}`);
  return Number(line.split(" ")[1]);
};
const through = (rig: ClusterRig, reason: string): Promise<number> =>
  counted(rig, `reach_through_servers_total{reason="${reason}"}`);
const misplaced = (rig: ClusterRig, result: string): Promise<number> =>
  counted(rig, `reach_misplaced_total{result="${result}"}`);

const exec = (rig: ClusterRig, allocation: string, query = "") =>
  execClient({
    url: rig.url,
    allocation,
    token: secrets.management,
    task: "main",
    command: ["/bin/echo", "went"],
    query,
  });

/* ---- nodes besides the rig's own ---- */

const nodeAt = (address: string, more: Partial<NodeEntry> = {}): NodeEntry => {
  const id = randomUUID();
  return { id, name: `node-${id.slice(0, 8)}`, status: "ready", address, tls: false, ...more };
};

const placedOn = ({ id: nodeId }: NodeEntry): Placement => ({
  id: randomUUID(),
  nodeId,
  namespace: "default",
  jobId: "scripted",
  taskGroup: "main",
  terminal: undefined,
});

/** Takes connections and says nothing: a TLS handshake there never ends. */
const silent = (): Promise<Door> => openDoor(createServer());

describe("an agent that cannot be dialled", () => {
  let rig: ClusterRig;
  let relay: RelayServer;
  let own: NodeEntry;
  let web = "";
  before(async () => {
    const address = await deadAddress();
    ({ rig, relay } = await startRelayed({
      node: (node) => {
        own = node;
        return { ...node, address };
      },
    }));
    web = rig.placement("web").id;
  });
  after(async () => {
    await rig[Symbol.asyncDispose]();
  });

  test("is asked through a server, with the caller's own token and the same path", async () => {
    const reply = await ask(rig, listPath(web));
    assert.equal(reply.status, 200, reply.text);
    assert.match(reply.text, /"Name":"alloc"/);
    assert.equal(reply.reach, "servers; reason=refused");
    const [relayed] = relay.relayed;
    assert.equal(relayed?.path, `/v1/client/fs/ls/${web}`);
    assert.equal(relayed?.token, secrets.management);
    assert.equal(await through(rig, "refused"), 1);
  });

  test("is asked so for a file, a followed log and a command too", async () => {
    const file = await ask(rig, `/v1/client/fs/cat/${web}?path=alloc/logs/main.stdout.0`);
    assert.deepEqual([file.status, file.text], [200, "first\n"]);
    const log = await rig.follow(logPath(web), "reader");
    assert.equal(await log.until("first\n"), "first\n");
    log.end();
    const client = exec(rig, web);
    assert.equal((await client.closed).code, 1000);
    assert.equal(client.output("stdout").toString(), "went\n");
    assert.equal(client.exitCode(), 0);
    assert.equal(rig.door.heard(), "");
  });

  test("is asked so about its node, by the node's id", async () => {
    const { nodeId } = rig.agent;
    for (const path of ["/v1/client/stats", "/v1/client/metadata"]) {
      const reply = await ask(rig, `${path}?node_id=${nodeId}`);
      assert.equal(reply.status, 200, reply.text);
      assert.equal(relay.relayed.at(-1)?.query.get("node_id"), nodeId);
    }
    const written = await ask(
      rig,
      "/v1/client/metadata",
      "POST",
      JSON.stringify({ NodeID: nodeId, Meta: { reached: "yes" } }),
    );
    assert.equal(written.status, 200, written.text);
    assert.match(written.text, /"reached":"yes"/);
    assert.equal(relay.relayed.at(-1)?.query.get("node_id"), nodeId);
    const collected = await ask(rig, `/v1/client/gc?node_id=${nodeId}`, "PUT");
    assert.equal(collected.status, 200, collected.text);
    assert.equal(relay.relayed.at(-1)?.query.get("node_id"), nodeId);
  });

  test("is not dialled while its circuit is open, and takes its requests again when it is back", async () => {
    await eventually(
      "its circuit is open",
      async () => (await ask(rig, listPath(web))).reach === "servers; reason=circuit" || undefined,
    );
    assert.ok((await through(rig, "circuit")) > 0);
    rig.nomad.register(own);
    await eventually(
      "it is asked directly",
      async () => (await ask(rig, listPath(web))).reach === undefined || undefined,
    );
    assert.match(rig.door.heard(), /GET \/v1\/client\/fs\/ls/);
  });
});

test("every obstacle leads through a server under its own name, and none of them further", async () => {
  await using mute = await silent();
  await using abrupt = await openDoor(createServer((socket) => socket.destroy()));
  await using strange = await tlsDoor(mute.address);
  const dead = await deadAddress();
  const nodes: Readonly<Record<string, NodeEntry>> = {
    refused: nodeAt(dead),
    timeout: nodeAt(mute.address, { tls: true }),
    tls: nodeAt(strange.address, { tls: true }), // no authority of the gateway's knows it
    address: nodeAt("169.254.169.254:4646"),
    no_address: nodeAt(""),
    unreachable: nodeAt(abrupt.address, { tls: true }),
  };
  const placed = Object.entries(nodes).map(([reason, node]) => [reason, placedOn(node)] as const);
  const { rig, relay } = await startRelayed({
    settings: { nomad: { agent_connect: "600ms" } },
    prepare: (nomad) => {
      nomad.knowNode(...Object.values(nodes));
      nomad.know(...placed.map(([, placement]) => placement));
    },
  });
  await using _rig = rig;
  for (const [reason, { id }] of placed) {
    relay.answers.set(`/v1/client/fs/ls/${id}`, (_request, response) => response.end("[]"));
    const reply = await ask(rig, listPath(id));
    assert.deepEqual([reply.status, reply.text], [200, "[]"], reason);
    assert.equal(reply.reach, `servers; reason=${reason}`);
    assert.equal(await through(rig, reason), 1);
  }
});

const refusals: readonly (readonly [name: string, node: () => Promise<NodeEntry>, words: RegExp])[] = [
  ["that refuses connections", async () => nodeAt(await deadAddress()), /: its address: connection refused \(dial\)$/],
  ["without address", async () => nodeAt(""), /it has no address$/],
  ["at a service of another kind", async () => nodeAt("127.0.0.1:22"), /port 22 belongs to another service$/],
  ["at the metadata service's address", async () => nodeAt("169.254.169.254:80"), /169\.254\.169\.254 is not a node's address$/],
  ["in a network that is denied", async () => nodeAt("10.9.9.9:4646"), /10\.9\.9\.9 is denied$/],
  ["in a network that is not allowed", async () => nodeAt("10.8.0.1:4646"), /10\.8\.0\.1 is not allowed$/],
]; // biome-ignore format: a table

test("with nomad.through_servers off a node that cannot be dialled is a 502 with its name and the reason", async () => {
  const nodes = await Promise.all(refusals.map(([, node]) => node()));
  const placements = nodes.map(placedOn);
  const { rig, relay } = await startRelayed({
    settings: {
      nomad: { through_servers: false },
      reach: { allow: ["127.0.0.0/8", "10.9.0.0/16"], deny: ["10.9.9.0/24"] },
    },
    prepare: (nomad) => {
      nomad.knowNode(...nodes);
      nomad.know(...placements);
    },
  });
  await using _rig = rig;
  for (const [at, [name, , words]] of refusals.entries()) {
    const reply = await ask(rig, listPath(placements[at]?.id ?? ""));
    assert.equal(reply.status, 502, name);
    assert.match(reply.text, words);
    assert.ok(reply.text.startsWith(`node ${nodes[at]?.name} cannot be reached: `), reply.text);
    assert.deepEqual([reply.code, reply.reach], ["node_unreachable", undefined]);
  }
  assert.equal((await exec(rig, placements[0]?.id ?? "").closed).code, 1013);
  assert.equal((await ask(rig, listPath(rig.placement("web").id))).status, 200, "an allowed one");
  assert.deepEqual(relay.relayed, []);
});

/** A rig whose agent speaks TLS; `served` is its door. */
const startTls = async (settings: Options["settings"] = {}) => {
  await using stack = new AsyncDisposableStack();
  const rig = stack.use(
    await start({
      settings: {
        nomad: { through_servers: false },
        reach: {
          ca_file: pemFile("cert.pem"),
          cert_file: pemFile("cert.pem"),
          key_file: pemFile("key.pem"),
        },
        ...settings,
      },
    }),
  );
  const served = stack.use(await tlsDoor(rig.agent.address));
  const { nodeId } = rig.agent;
  rig.nomad.register({
    id: nodeId, name: "client-1", status: "ready", address: served.address, tls: true,
  }); // biome-ignore format: a row
  const running = stack.move();
  return {
    rig,
    served,
    [Symbol.asyncDispose]: () => running.disposeAsync(),
  };
};

test("an agent with TLS is asked under its region's name, with the gateway's certificate", async () => {
  await using cluster = await startTls();
  const { rig, served } = cluster;
  const { id } = rig.placement("web");
  await eventually("its new address is known", async () => {
    await ask(rig, listPath(id));
    return served.taken() > 0 || undefined;
  });
  const before = rig.door.heard().length;
  assert.equal((await ask(rig, listPath(id))).status, 200);
  const client = exec(rig, id);
  assert.equal((await client.closed).code, 1000);
  assert.equal(client.output("stdout").toString(), "went\n");
  assert.equal(rig.door.heard().length, before, "nothing goes in the clear");
});

test("certificates that were renewed are shown to servers and agents from SIGHUP on; unsound ones are not", async () => {
  using certificates = createCertificates();
  const { certFile, keyFile } = certificates;
  certificates.make("ca", { authority: true });
  const names = ["DNS:server.global.nomad", "DNS:client.global.nomad"];
  certificates.make("cluster", { by: "ca", names });
  certificates.make("renewed", { by: "ca" });
  certificates.make("live", {}); // of an authority that nobody here trusts
  const files = {
    ca_file: certFile("ca"),
    cert_file: certFile("live"),
    key_file: keyFile("live"),
  };
  const { cert, key } = certificates.pair("cluster");
  const demanding = {
    ca: certificates.cert("ca"),
    cert: Buffer.from(cert),
    key: Buffer.from(key),
    requestCert: true,
    rejectUnauthorized: true,
  };
  await using rig = await startCluster({
    workloads,
    tls: demanding,
    settings: { nomad: { ...files, through_servers: false }, reach: files },
  });
  await using door = await openDoor(
    createHttpsServer(demanding, (_request, response) => response.end("[]")),
  );
  rig.nomad.register({
    id: rig.agent.nodeId, name: "client-1", status: "ready", address: door.address, tls: true,
  }); // biome-ignore format: a row
  const renew = async (part: "cert" | "key"): Promise<void> => {
    const file = part === "cert" ? certFile : keyFile;
    writeFileSync(file("live"), certificates.pair("renewed")[part]);
    await rig.gateway.reload();
  };
  assert.equal(await rig.readiness(), 503);
  await renew("cert");
  const told = /the certificates of reach cannot be used: .*key values mismatch/;
  await eventually("it is told", () => told.test(rig.logText()) || undefined);
  assert.equal(await counted(rig, "config_last_reload_successful"), 0);
  await renew("key");
  assert.equal(await counted(rig, "config_last_reload_successful"), 1);
  await eventually("ready", async () => (await rig.readiness()) === 200 || undefined);
  assert.equal((await ask(rig, listPath(rig.placement("web").id))).text, "[]");
});

for (const [name, settings, words] of [
  ["of another region", { region: "west" }, "its certificate is for another name (TLS)"],
  ["that nobody vouches for", { reach: {} }, "its certificate is not trusted (TLS)"],
] as const)
  test(`an agent whose certificate is one ${name} gets no request`, async () => {
    await using cluster = await startTls(settings);
    const { rig, served } = cluster;
    const { id } = rig.placement("web");
    const refusal = await eventually("its new address is known", async () => {
      const reply = await ask(rig, listPath(id));
      return reply.status === 200 ? undefined : reply;
    });
    assert.equal(refusal.status, 502);
    assert.equal(refusal.text, `node client-1 cannot be reached: its address: ${words}`);
    assert.ok(served.taken() > 0);
  });

/** The answer to an upgrade's key; undefined for what is none. */
const acceptKey = (head: string): string | undefined => {
  const key = /^sec-websocket-key: (\S+)/im.exec(head)?.[1];
  const guid = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"; // RFC 6455 §1.3
  return (
    key &&
    createHash("sha1")
      .update(key + guid)
      .digest("base64")
  );
};

/** An agent that knows some allocations; of others it says what Nomad's agents say. */
const knowing = (...ids: readonly string[]) =>
  faultyAgent(({ socket, head }) => {
    const accept = acceptKey(head);
    if (accept !== undefined) {
      const reason = `Unknown allocation "${/allocation\/([^/]+)/.exec(head)?.[1]}"`;
      socket.write(
        `HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: ${accept}\r\n\r\n`,
      );
      socket.write(Buffer.from([0x88, reason.length + 2, 1008 >> 8, 1008 & 0xff]));
      socket.write(reason);
      return;
    }
    const id = /\/fs\/ls\/([0-9a-f-]+)/.exec(head)?.[1] ?? "";
    const body = ids.includes(id) ? "[]" : `rpc error: Unknown allocation "${id}"`;
    const status = ids.includes(id) ? "200 OK" : "404 Not Found";
    socket.write(
      `HTTP/1.1 ${status}\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Length: ${body.length}\r\n\r\n${body}`,
    );
  });

/** The servers are asked for a node's address at most this often. */
const pastAddressRetryMs = 6_000;

describe("two agents whose addresses are swapped", () => {
  const [a, b] = [nodeAt(""), nodeAt("")];
  const [onA, onB] = [placedOn(a), placedOn(b)];
  let rig: ClusterRig;
  let [agentA, agentB] = ["", ""];
  const stack = new AsyncDisposableStack();
  before(async () => {
    agentA = stack.use(await knowing(onA.id)).address;
    agentB = stack.use(await knowing(onB.id)).address;
    rig = stack.use(
      await start({
        prepare: (nomad) => {
          nomad.knowNode({ ...a, address: agentB }, { ...b, address: agentA });
          nomad.know(onA, onB);
        },
      }),
    );
  });
  after(async () => {
    await stack.disposeAsync();
  });

  test("are told apart by their answers: counted, and a 404 while the servers say the same", async () => {
    for (const { id } of [onA, onB]) {
      const reply = await ask(rig, listPath(id));
      assert.deepEqual([reply.status, reply.text], [404, `Unknown allocation "${id}"`]);
      assert.equal(reply.code, "unknown_allocation");
    }
    assert.equal(await misplaced(rig, "same"), 2);
    assert.equal(await misplaced(rig, "moved"), 0);
  });

  test("are told apart when a command is refused too", async () => {
    const before = await misplaced(rig, "same");
    const ended = await exec(rig, onB.id).closed;
    assert.deepEqual([ended.code, ended.reason], [1008, `Unknown allocation "${onB.id}"`]);
    assert.equal(await misplaced(rig, "same"), before + 1);
  });

  test("are asked first where they are once they have been told apart", async () => {
    rig.nomad.knowNode({ ...a, address: agentA }, { ...b, address: agentB });
    rig.clock.aheadMs += pastAddressRetryMs;
    for (const { id } of [onA, onB]) {
      const reply = await ask(rig, listPath(id));
      assert.deepEqual([reply.status, reply.text, reply.reach], [200, "[]", undefined]);
    }
    assert.equal(await misplaced(rig, "moved"), 0);
  });

  test("a registry that does not answer leaves the agent's own 404", async () => {
    rig.nomad.overrides.set("/v1/allocations", () => undefined);
    const gone = placedOn(a);
    rig.nomad.put(gone);
    await eventually("the registry was asked in vain", async () => {
      const reply = await ask(rig, listPath(gone.id));
      assert.equal(reply.status, 404);
      return (await misplaced(rig, "unanswered")) > 0 || undefined;
    });
  });
});

test("an allocation that was placed anew without an event is asked for at its new node", async () => {
  const [a, b] = [nodeAt(""), nodeAt("")];
  const placement = placedOn(a);
  await using agentA = await knowing();
  await using agentB = await knowing(placement.id);
  await using rig = await start({
    prepare: (nomad) => {
      nomad.knowNode({ ...a, address: agentA.address }, { ...b, address: agentB.address });
      nomad.know(placement);
    },
  });
  rig.nomad.know({ ...placement, nodeId: b.id });
  const reply = await ask(rig, listPath(placement.id));
  assert.deepEqual([reply.status, reply.text], [200, "[]"]);
  assert.equal(await misplaced(rig, "moved"), 1);
  assert.deepEqual([agentA.requests.length, agentB.requests.length], [1, 1]);
});

test("a node whose old address is another agent's now is asked at its new one, in the same request", async () => {
  const node = nodeAt("");
  const [before, since] = [placedOn(node), placedOn(node)];
  await using old = await knowing(before.id);
  await using now = await knowing(since.id);
  await using rig = await start({
    prepare: (nomad) => {
      nomad.knowNode({ ...node, address: old.address });
      nomad.know(before, since);
    },
  });
  assert.equal((await ask(rig, listPath(before.id))).status, 200);
  rig.nomad.knowNode({ ...node, address: now.address });
  rig.clock.aheadMs += pastAddressRetryMs;
  const reply = await ask(rig, listPath(since.id));
  assert.deepEqual([reply.status, reply.text], [200, "[]"]);
  assert.equal(await misplaced(rig, "moved"), 1);
  assert.deepEqual([old.requests.length, now.requests.length], [2, 1]);
});

test("a node that was given another address is asked there after one failure to connect", async () => {
  let own: NodeEntry | undefined;
  const address = await deadAddress();
  const { rig, relay } = await startRelayed({
    node: (node) => {
      own = node;
      return { ...node, address };
    },
  });
  await using _rig = rig;
  const { id } = rig.placement("web");
  assert.equal((await ask(rig, listPath(id))).reach, "servers; reason=refused");
  assert.ok(own);
  rig.nomad.knowNode(own);
  rig.clock.aheadMs += pastAddressRetryMs;
  const reply = await ask(rig, listPath(id));
  assert.deepEqual([reply.status, reply.reach], [200, undefined]);
  assert.equal(relay.relayed.length, 1);
});

test("nobody but the servers says where a node or an allocation lives: an announcement is not taken", async () => {
  await using other = await knowing();
  await using rig = await start();
  const { id, nodeId } = rig.placement("web");
  const body = JSON.stringify({ ID: nodeId, Name: "client-1", HTTPAddr: other.address });
  const path = `/v1/serai/node/${nodeId}`;
  assert.equal((await ask(rig, path, "PUT", body)).status, 404);
  const passed = rig.nomad.asked(path).filter(({ token }) => token === secrets.management);
  assert.equal(passed.length, 1, "it is one of the servers' paths like any other");
  assert.equal((await ask(rig, listPath(id))).status, 200);
  assert.deepEqual(other.requests, []);
});

describe("a request for another region", () => {
  let rig: ClusterRig;
  let id = "";
  before(async () => {
    rig = await start();
    ({ id } = rig.placement("web"));
    for (const path of [`/v1/client/fs/ls/${id}`, `/v1/client/allocation/${id}/exec`])
      rig.nomad.overrides.set(path, (_request, response) =>
        response.writeHead(500).end("No path to region"),
      );
  });
  after(async () => {
    await rig[Symbol.asyncDispose]();
  });

  test("goes to the servers, with the region it names", async () => {
    const reply = await ask(rig, `${listPath(id)}&region=west`);
    assert.deepEqual([reply.status, reply.text], [500, "No path to region"]);
    const [seen] = rig.nomad.asked(`/v1/client/fs/ls/${id}`);
    assert.equal(seen?.query.get("region"), "west");
    assert.equal(seen?.token, secrets.management);
    assert.equal(rig.door.heard(), "");
  });

  test("goes to the servers as a WebSocket too", async () => {
    const asked = `/v1/client/allocation/${id}/exec?task=main&command=%5B%22true%22%5D&region=west`;
    const socket = await rawUpgrade(Number(new URL(rig.url).port), asked, secrets.reader);
    const answer = Buffer.concat(await socket.toArray()).toString();
    assert.match(answer, /^HTTP\/1\.1 500 .*No path to region$/s);
    const [seen] = rig.nomad.asked(`/v1/client/allocation/${id}/exec`);
    assert.equal(seen?.query.get("region"), "west");
    assert.equal(rig.door.heard(), "");
  });

  test("goes to the agent when the region is the gateway's own, empty or not named", async () => {
    for (const query of ["", "&region=", "&region=global"])
      assert.equal((await ask(rig, listPath(id) + query)).status, 200, query);
    const client = exec(rig, id, "&region=global");
    assert.equal((await client.closed).code, 1000);
    assert.equal(rig.nomad.asked(`/v1/client/fs/ls/${id}`).length, 1);
  });
});

test("region=global, which SDKs add, is the gateway's own where that is another", async () => {
  await using rig = await start({ settings: { region: "west" } });
  const { id } = rig.placement("web");
  for (const query of ["&region=global", "&region=west"]) {
    assert.equal((await ask(rig, listPath(id) + query)).status, 200);
    assert.equal((await exec(rig, id, query).closed).code, 1000);
  }
  assert.deepEqual(
    rig.nomad.requests.filter(({ path: asked }) => asked.startsWith("/v1/client/")),
    [],
  );
});

/** Whether one of them is over. */
const anySettled = async (promises: readonly Promise<unknown>[]): Promise<true | undefined> => {
  const pending = Symbol("pending");
  const first = await Promise.race([...promises, Promise.resolve(pending)]);
  return first === pending ? undefined : true;
};

/** A Nomad agent's own default (`limits.http_max_conns_per_client`). */
const agentLimit = 100;

test("a crowd at one agent waits or is told to come again, and the agent's limit is never met", async () => {
  await using agent = await limitedAgent(agentLimit);
  const node = nodeAt(agent.address);
  const placement = placedOn(node);
  const { rig, relay } = await startRelayed({
    prepare: (nomad) => {
      nomad.knowNode(node);
      nomad.know(placement);
    },
  });
  await using _rig = rig;
  await using stack = new AsyncDisposableStack();
  const crowd = new HttpAgent();
  stack.defer(() => crowd.destroy());
  const { id } = placement;
  const headers = { "x-nomad-token": secrets.management };
  const get = async (target: string) => {
    const answer = await request(`${rig.url}${target}`, { headers, dispatcher: crowd });
    answer.body.on("error", () => undefined);
    return answer;
  };
  const logs = await Promise.all(Array.from({ length: 80 }, () => get(logPath(id))));
  const commands = Array.from({ length: 40 }, () => exec(rig, id));
  const begun = await Promise.all(
    commands.map((command) => Promise.race([command.seen("go"), command.closed])),
  );
  const lists = Array.from({ length: 300 }, () => get(listPath(id)));
  await eventually("some are shed", () => anySettled(lists));
  agent.release();
  const listed = await Promise.all(lists);

  const shed = [...logs, ...listed].filter(({ statusCode }) => statusCode !== 200);
  const words = new RegExp(
    `^node ${node.name} has no connection free: all (?:24 for short calls|48 for streams) are busy.* \\(its address: .*\\); try again$`,
  );
  for (const answer of shed) {
    assert.deepEqual([answer.statusCode, answer.headers["retry-after"]], [503, "1"]);
    assert.match(await answer.body.text(), words);
  }
  const served = (answers: typeof logs): number =>
    answers.filter(({ statusCode }) => statusCode === 200).length;
  const closed = begun.filter((end) => end !== undefined);
  assert.ok(served(logs) >= 40 && served(logs) < 80, `${served(logs)} logs`);
  assert.ok(served(listed) >= 250 && served(listed) < 300, `${served(listed)} lists`);
  assert.ok(closed.length > 0 && closed.length < 40, `${closed.length} commands refused`);
  for (const { code } of closed) assert.equal(code, 1013);
  assert.equal(agent.counts.reset, 0);
  assert.ok(agent.counts.most <= agentLimit && agent.counts.most > 80, `${agent.counts.most}`);
  assert.deepEqual(relay.relayed, [], "nothing went through a server");
  for (const { body } of [...logs, ...listed]) body.destroy();
  for (const { socket } of commands) socket.terminate();
  await eventually("all of them are let go", () => agent.counts.open <= 24 || undefined);
});

test("an agent on loopback is dialled only by a gateway that itself listens there alone", async () => {
  await using agent = await faultyAgent(({ socket }) =>
    socket.write("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n[]"),
  );
  const node = nodeAt(agent.address);
  for (const [listen, refusal] of [
    ["127.0.0.1:0", undefined],
    ["0.0.0.0:0", "127.0.0.1 is the gateway itself"],
  ] as const) {
    const closers = new Closers();
    const { config } = loadServerConfig({
      env: { SERAI_REGISTRY: "nomad", SERAI_NOMAD_ADDRESSES: "http://127.0.0.1:4646", SERAI_HTTP_LISTEN: listen },
    }); // biome-ignore format: a row
    const metrics = createMetrics({ version: "0", region: "global" });
    closers.defer(() => metrics.close());
    const { addressFault } = openAgents({ clock, log: quiet, metrics, closers }, config);
    assert.equal(await addressFault(node.address, AbortSignal.timeout(1_000)), refusal);
    await closers.close(AbortSignal.timeout(1_000));
  }
});
