/** Which credential travels where: an agent gets its caller's own and no other; secrets of the environment are in force. */
import assert from "node:assert/strict";
import { once } from "node:events";
import { writeFileSync } from "node:fs";
import { type AddressInfo, connect, createServer, type Socket } from "node:net";
import path from "node:path";
import { test } from "node:test";
import { freePort } from "../support/free-port.ts";
import { eventually, type Rig, startRig } from "../support/rig.ts";
import { openExec } from "./permission-table.ts";

/* ---- somebody between gateway and agent who writes everything down ---- */

interface Listener extends AsyncDisposable {
  readonly address: string;
  /** Where the agent itself listens. */
  readonly agentAddress: string;
  /** The heads of all requests that the gateway sent. */
  heads(): readonly string[];
}

const portOf = (address: AddressInfo | string | null): number =>
  typeof address === "object" && address !== null ? address.port : 0;

const startListener = async (): Promise<Listener> => {
  const agentPort = await freePort();
  const heard: Buffer[][] = [];
  const sockets = new Set<Socket>();
  const keep = (socket: Socket): Socket => {
    sockets.add(socket);
    socket.once("close", () => sockets.delete(socket));
    return socket;
  };
  const server = createServer((gateway) => {
    const agent = keep(connect(agentPort, "127.0.0.1"));
    keep(gateway);
    const bytes: Buffer[] = [];
    heard.push(bytes);
    gateway.on("error", () => agent.destroy());
    agent.on("error", () => gateway.destroy());
    gateway.on("close", () => agent.destroy());
    agent.on("close", () => gateway.destroy());
    gateway.on("data", (chunk: Buffer) => bytes.push(chunk));
    gateway.pipe(agent);
    agent.pipe(gateway);
  });
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  return {
    address: `127.0.0.1:${portOf(server.address())}`,
    agentAddress: `127.0.0.1:${agentPort}`,
    heads: () =>
      heard
        .map((bytes) => Buffer.concat(bytes).toString("latin1"))
        .flatMap(
          (text) => text.match(/(?:GET|PUT|POST|DELETE) \/\S* HTTP\/1\.1\r\n(?:.+\r\n)*/g) ?? [],
        ),
    async [Symbol.asyncDispose]() {
      for (const socket of sockets) socket.destroy();
      server.close();
      await once(server, "close");
    },
  };
};

const headerOf = (head: string, name: string): readonly string[] =>
  [...head.matchAll(new RegExp(`^${name}: (.*)\r$`, "gim"))].map(([, value]) => value ?? "");

const all = {
  namespace: [{ "*": { policy: "write", capabilities: ["alloc-node-exec", "gc-allocation"] } }],
  node: { policy: "write" },
};

interface UserRequest {
  readonly what: string;
  readonly caller: string;
  /** The head at the agent is known by this. */
  readonly seen: RegExp;
  readonly send: (rig: Rig, token: string) => Promise<unknown>;
}

const files = (rig: Rig): string =>
  `/v1/client/fs/cat/${rig.allocation("web")}?path=/alloc/logs/t.stdout.0`;

// biome-ignore format: a table
const requests: readonly UserRequest[] = [
  { what: "a list of files", caller: "lister", seen: /^GET \/v1\/client\/fs\/ls\//, send: (rig, token) => rig.get(`/v1/client/fs/ls/${rig.allocation("web")}`, token) },
  { what: "a file by bearer token", caller: "bearer", seen: /^GET \/v1\/client\/fs\/cat\//, send: (rig, token) => rig.ask({ path: files(rig), headers: { authorization: `Bearer ${token}`, cookie: `nomad=${token}`, "x-forwarded-for": "203.0.113.9" } }) },
  { what: "a log, the token beside another one's bearer", caller: "both", seen: /^GET \/v1\/client\/fs\/logs\//, send: (rig, token) => rig.ask({ path: `/v1/client/fs/logs/${rig.allocation("web")}?task=t&type=stdout&plain=true`, token, headers: { authorization: `Bearer ${rig.secret("management")}` } }) },
  { what: "node metadata", caller: "reader", seen: /^GET \/v1\/client\/metadata\?node_id=\S+ .*\r\n(?=(?:.*\r\n)*x-request-id: )/i, send: (rig, token) => rig.get(`/v1/client/metadata?node_id=${rig.agent().nodeId}`, token) },
  { what: "a change of node metadata", caller: "writer", seen: /^POST \/v1\/client\/metadata/, send: (rig, token) => rig.ask({ method: "POST", path: "/v1/client/metadata", token, body: JSON.stringify({ NodeID: rig.agent().nodeId, Meta: { a: "b" }, AuthToken: rig.secret("management") }) }) },
  { what: "node statistics", caller: "counter", seen: /^GET \/v1\/client\/stats/, send: (rig, token) => rig.get(`/v1/client/stats?node_id=${rig.agent().nodeId}`, token) },
  { what: "a signal", caller: "signaller", seen: /^(?:PUT|POST) \/v1\/client\/allocation\/\S+\/signal/, send: (rig, token) => rig.ask({ method: "PUT", path: `/v1/client/allocation/${rig.allocation("web")}/signal`, token, body: '{"Signal":"SIGCONT","Task":"t"}' }) },
  { what: "a stop", caller: "stopper", seen: /^PUT \/v1\/allocation\/\S+\/stop/, send: (rig, token) => rig.ask({ method: "PUT", path: `/v1/allocation/${rig.allocation("stopped")}/stop`, token }) },
  { what: "an exec", caller: "runner", seen: /^GET \/v1\/client\/allocation\/\S+\/exec\?/, send: (rig, token) => openExec(`${rig.url}/v1/client/allocation/${rig.allocation("web")}/exec?task=t&command=%5B%22true%22%5D`, token).ended },
  {
    what: "an exec whose token came in the first message", caller: "shaker", seen: /^GET \/v1\/client\/allocation\/\S+\/exec\?(?=.*%22false%22)/,
    send: async (rig, token) => {
      const exec = openExec(`${rig.url}/v1/client/allocation/${rig.allocation("web")}/exec?task=t&ws_handshake=true&command=%5B%22false%22%5D`, undefined);
      await exec.opened;
      exec.socket.send(JSON.stringify({ version: 1, auth_token: token }));
      return exec.ended;
    },
  },
];

const sleeper = {
  name: "t",
  command: "/bin/sh",
  args: ["-c", "echo hello; exec sleep 1000"],
  kill_timeout: "1s",
};

test("an agent receives its caller's own credential and nothing else", async (t) => {
  await using between = await startListener();
  await using rig = await startRig({
    policies: { all, anonymous: { namespace: [{ default: { capabilities: ["read-fs"] } }] } },
    tokens: Object.fromEntries(requests.map(({ caller }) => [caller, { policies: ["all"] }])),
    agents: [
      {
        advertise: between.address,
        listen: between.agentAddress,
        workloads: ["web", "stopped"].map((job) => ({ job, group: "g", tasks: [sleeper] })),
      },
    ],
  });
  const pulls = (): readonly string[] =>
    between.heads().filter((head) => headerOf(head, "authorization").length > 0);
  const pullSecrets = (): readonly string[] =>
    [...new Set(pulls().flatMap((head) => headerOf(head, "authorization")))].map((value) =>
      value.replace(/^Bearer /i, ""),
    );

  for (const { what, caller, seen, send } of requests)
    await t.test(`${what} carries the caller's token alone`, async () => {
      const token = rig.secret(caller);
      await send(rig, token);
      const head = between
        .heads()
        .find((one) => seen.test(one) && headerOf(one, "x-nomad-token").includes(token));
      assert.ok(head, "the request came to the agent with the caller's token");
      assert.deepEqual(headerOf(head, "x-nomad-token"), [token]);
      for (const name of ["authorization", "cookie", "proxy-authorization"])
        assert.deepEqual(headerOf(head, name), [], name);
      for (const value of headerOf(head, "x-forwarded-for")) assert.equal(value, "127.0.0.1");
    });

  await t.test("a request without a token carries none", async () => {
    assert.equal((await rig.get(files(rig))).text, "hello\n");
    const reads = between.heads().filter((head) => head.startsWith("GET /v1/client/fs/cat/"));
    assert.deepEqual(reads.map((head) => headerOf(head, "x-nomad-token").join()).sort(), [
      "",
      rig.secret("bearer"),
    ]);
    assert.ok(reads.every((head) => headerOf(head, "authorization").length === 0));
  });

  await t.test("the gateway's own secret rides on its own pulls alone", async () => {
    const { nodeId } = rig.agent();
    const secrets = await eventually("a pull", () => {
      const found = pullSecrets();
      return found.length > 0 ? found : undefined;
    });
    for (const head of pulls()) {
      assert.match(head, /^GET \/v1\/(?:node\/[^/]+\/allocations|client\/metadata)[? ]/);
      assert.deepEqual(headerOf(head, "x-nomad-token"), []);
      assert.deepEqual(headerOf(head, "x-request-id"), [], "no caller's request");
    }
    const others = between.heads().filter((head) => headerOf(head, "authorization").length === 0);
    const shown = await Promise.all(
      [`/v1/node/${nodeId}`, "/v1/nodes", `/v1/node/${nodeId}/allocations`, "/v1/agent/self"].map(
        async (target) => (await rig.get(target, rig.secret("management"))).text,
      ),
    );
    for (const secret of [...secrets, rig.joinSecret()])
      for (const text of [...others, ...shown, rig.logText(), JSON.stringify(rig.audit())])
        assert.ok(!text.includes(secret), "the gateway's secret is nowhere else");
  });

  await t.test("no caller's token is written down", () => {
    for (const { caller } of requests)
      for (const text of [rig.logText(), JSON.stringify(rig.audit())])
        assert.ok(!text.includes(rig.secret(caller)), caller);
  });
});

/* ---- secrets of the environment ---- */

const adminToken = "an-admin-token-of-the-environment";

for (const way of ["SERAI_ADMIN_TOKEN", "SERAI_ADMIN_TOKEN_FILE"])
  test(`the admin token of ${way} is asked for`, async () => {
    await using holder = await startRig(); // for its directory
    const file = path.join(holder.directory, "admin-token");
    writeFileSync(file, `${adminToken}\n`);
    await using rig = await startRig({ env: { [way]: way.endsWith("_FILE") ? file : adminToken } });
    const ask = async (target: string, headers = {}) =>
      (await rig.ask({ at: rig.adminUrl, path: target, headers })).status;
    assert.equal(await ask("/metrics"), 403);
    assert.equal(await ask("/metrics", { authorization: `Bearer ${adminToken}x` }), 403);
    assert.equal(await ask("/debug/live"), 403);
    assert.equal(await ask("/metrics", { authorization: `Bearer ${adminToken}` }), 200);
    assert.equal(await ask("/livez"), 200);
  });

test("an agent joins with the join token of its environment, and with no other", async () => {
  await using rig = await startRig({ agents: [{ workloads: [] }] });
  assert.equal(rig.agent().agent.announcement.state, "announced");
  const stranger = await rig.startAgent({
    workloads: [],
    joinSecret: "sj_a-token-that-nobody-has-made",
  });
  const state = await eventually("it is refused", () => {
    const { announcement } = stranger.agent;
    return announcement.state === "starting" ? undefined : announcement;
  });
  assert.equal(state.state, "refused");
  const nodes = (await rig.get("/v1/nodes", rig.secret("management"))).json();
  assert.equal(Array.isArray(nodes) ? nodes.length : undefined, 1);
});
