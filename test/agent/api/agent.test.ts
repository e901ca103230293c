/** The whole agent: real workloads behind its door, a scripted gateway in front, restarts and TLS. */
import assert from "node:assert/strict";
import { once } from "node:events";
import { mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { tmpdir } from "node:os";
import path from "node:path";
import { test } from "node:test";
import { connect as tlsConnect } from "node:tls";
import { WebSocket } from "ws";
import { type Agent, type AgentOptions, createAgent } from "../../../src/agent/agent.ts";
import type { WorkloadConfig } from "../../../src/agent/ports.ts";
import {
  clock,
  ExecClient,
  eventually,
  exec,
  isAlive,
  type Line,
  recordingLog,
} from "./support.ts";

const managementToken = "aaaaaaaa-0000-4000-8000-000000000001";
const readToken = "aaaaaaaa-0000-4000-8000-000000000002";
const pullSecret = "a-pull-secret-that-is-long-enough";

const tokens: Readonly<Record<string, object>> = {
  [managementToken]: { AccessorID: "m", Name: "m", Type: "management", Policies: [] },
  [readToken]: { AccessorID: "r", Name: "r", Type: "client", Policies: ["read"] },
};
const readPolicy = {
  Name: "read",
  Rules: 'namespace "default" { capabilities = ["read-job", "read-logs"] }',
  RulesJSON: { Namespaces: [{ Name: "default", Capabilities: ["read-job", "read-logs"] }] },
};

/** The gateway's answers about a secret, by path; undefined is a 404. */
const identityAnswers = (secret: string): Readonly<Record<string, object>> => ({
  "/v1/acl/token/self": tokens[secret] ?? {
    AccessorID: "anonymous",
    Name: "Anonymous Token",
    Type: "client",
    Policies: [],
  },
  "/v1/acl/policies": secret === readToken ? [{ Name: "read", Description: "" }] : [],
  "/v1/acl/policy/read": readPolicy,
});

const answer = (url: string, secret: string): { status: number; body: object | string } => {
  if (url.startsWith("/v1/serai/node/"))
    return { status: 200, body: { HeartbeatTTL: 30_000_000_000, PullSecret: pullSecret } };
  if (secret !== "" && tokens[secret] === undefined)
    return { status: 403, body: "Permission denied" };
  const body = identityAnswers(secret)[url];
  return body === undefined ? { status: 404, body: "" } : { status: 200, body };
};

/** What an agent asks of its gateway. */
const scriptedGateway = async () => {
  const announced: string[] = [];
  const server = createServer((request, response) => {
    const url = request.url ?? "";
    if (url.startsWith("/v1/serai/node/")) announced.push(url);
    const { status, body } = answer(url, String(request.headers["x-nomad-token"] ?? ""));
    request.resume();
    response.writeHead(status);
    response.end(typeof body === "string" ? body : JSON.stringify(body));
  });
  await new Promise<void>((resolve) => void server.listen(0, "127.0.0.1", resolve));
  const { port } = server.address() as AddressInfo;
  return { server, announced, origin: `http://127.0.0.1:${port}` };
};

const workload: WorkloadConfig = {
  job: "web", namespace: "default", type: "service", group: "g", count: 1, meta: {}, ports: [], services: [],
  restart: { attempts: 0, intervalMs: 60_000, delayMs: 10, mode: "fail" },
  tasks: [
    {
      name: "web", command: "/bin/sh", args: ["-c", "echo started; exec sleep 600"], env: { GREETING: "hello" }, meta: {},
      lifecycle: undefined, killTimeoutMs: 1_000, killSignal: "SIGINT",
      logs: { maxFiles: 2, maxFileSizeMb: 1, disabled: false }, resources: { cpu: 100, memoryMb: 100 }, leader: false,
    },
  ],
}; // biome-ignore format: a document

interface Running extends AsyncDisposable {
  readonly agent: Agent;
  readonly lines: Line[];
  readonly port: number;
}

const run = async (
  dataDirectory: string,
  gateway: string,
  more: Partial<AgentOptions> = {},
): Promise<Running> => {
  const lines: Line[] = [];
  const agent = await createAgent(
    { log: recordingLog(lines), clock },
    {
      name: "node-1",
      dataDirectory,
      listen: { host: "127.0.0.1", port: 0 },
      advertise: undefined,
      region: "global",
      datacenter: "dc1",
      nodePool: "default",
      nodeClass: undefined,
      meta: { rack: "r1" },
      gateway: { address: gateway, joinToken: "join", ca: undefined },
      tls: undefined,
      aclEnabled: true,
      gcMaxAllocs: 10,
      workloads: [workload],
      ...more,
    },
  );
  return {
    agent,
    lines,
    port: Number(agent.address.split(":").at(-1)),
    [Symbol.asyncDispose]: () => agent.close(AbortSignal.timeout(10_000)),
  };
};

interface Place extends AsyncDisposable {
  readonly directory: string;
  readonly gateway: string;
  readonly announced: string[];
}

const place = async (): Promise<Place> => {
  const directory = await mkdtemp(path.join(tmpdir(), "serai-agent-"));
  const { server, origin, announced } = await scriptedGateway();
  return {
    directory,
    gateway: origin,
    announced,
    async [Symbol.asyncDispose]() {
      server.close();
      server.closeAllConnections();
      await rm(directory, { recursive: true, force: true });
    },
  };
};

const runningTask = async ({ agent }: Running): Promise<{ id: string; pid: number }> => {
  await eventually(
    () => agent.workloads.allocations[0]?.task("web")?.pid !== undefined,
    "the task's start",
  );
  const allocation = agent.workloads.allocations[0];
  return { id: allocation?.id ?? "", pid: allocation?.task("web")?.pid ?? 0 };
};

test("an agent runs its workload, announces itself and serves it to whom its gateway knows", async () => {
  await using at = await place();
  await using running = await run(at.directory, at.gateway);
  const { agent, port } = running;
  await agent.announced(AbortSignal.timeout(15_000));
  assert.equal(at.announced[0], `/v1/serai/node/${agent.nodeId}`);
  const { id } = await runningTask(running);
  const ended = await exec(port, {
    id,
    token: managementToken,
    command: ["/bin/sh", "-c", "echo $GREETING; pwd"],
  });
  assert.equal(
    ended.stdout.toString(),
    `hello\n${path.join(agent.workloads.allocations[0]?.directory ?? "", "web")}\n`,
  );
  const denied = await exec(port, { id, token: readToken, command: ["true"] });
  assert.deepEqual([denied.code, denied.reason], [1011, "Permission denied"]);

  const get = (route: string, headers: Readonly<Record<string, string>>): Promise<Response> =>
    fetch(`http://127.0.0.1:${port}${route}`, { headers });
  const logs = `/v1/client/fs/logs/${id}?task=web&type=stdout&plain=true`;
  await eventually(
    async () => (await (await get(logs, { "X-Nomad-Token": readToken })).text()) === "started\n",
    "the log",
  );
  assert.equal((await get(`/v1/client/fs/ls/${id}`, { "X-Nomad-Token": readToken })).status, 403);
  assert.equal((await get(`/v1/client/allocation/${id}/stats`, {})).status, 403);
  const pulled = await get(`/v1/node/${agent.nodeId}/allocations`, {
    Authorization: `Bearer ${pullSecret}`,
  });
  assert.partialDeepStrictEqual(await pulled.json(), [
    { ID: id, NodeID: agent.nodeId, JobID: "web" },
  ]);
  assert.ok(Number(pulled.headers.get("x-nomad-index")) >= 1);
});

test("a restarted agent is the same node with the same allocation; its tasks and sessions had ended with it", async () => {
  await using at = await place();
  const first = await run(at.directory, at.gateway);
  const { id, pid } = await runningTask(first);
  const client = await new ExecClient(first.port, {
    id,
    token: managementToken,
    command: ["/bin/sh", "-c", "echo $$; exec sleep 600"],
  }).opened();
  await client.saw("\n");
  await first[Symbol.asyncDispose]();
  assert.equal((await client.ended()).code, 1012);
  assert.deepEqual([isAlive(pid), isAlive(Number(client.stdout))], [false, false]);
  await using second = await run(at.directory, at.gateway);
  assert.equal(second.agent.nodeId, first.agent.nodeId);
  assert.equal((await runningTask(second)).id, id);
});

test("a node-id that is none stops the start and names the file", async () => {
  await using at = await place();
  await writeFile(path.join(at.directory, "node-id"), "nonsense\n");
  await assert.rejects(run(at.directory, at.gateway), /node-id does not hold a node id/);
  assert.equal(await readFile(path.join(at.directory, "node-id"), "utf8"), "nonsense\n");
});

test("an address that is taken stops the start and leaves no task behind", async () => {
  await using at = await place();
  await using holder = await run(at.directory, at.gateway, { workloads: [] });
  const other = path.join(at.directory, "other");
  await assert.rejects(
    run(other, at.gateway, { listen: { host: "127.0.0.1", port: holder.port } }),
    { code: "EADDRINUSE" },
  );
});

test("without ACLs everybody may do everything", async () => {
  await using at = await place();
  await using running = await run(at.directory, at.gateway, { aclEnabled: false });
  const { id } = await runningTask(running);
  const { code } = await exec(running.port, { id, token: "", command: ["true"] });
  assert.equal(code, 1000);
});

const pem = (name: string): Promise<string> =>
  readFile(path.join(import.meta.dirname, "tls", name), "utf8");

/** The common name of the certificate that the agent shows. */
const shownName = async (port: number): Promise<string | undefined> => {
  const socket = tlsConnect({ port, host: "127.0.0.1", rejectUnauthorized: false });
  socket.on("error", () => undefined);
  await once(socket, "secureConnect");
  const name = socket.getPeerCertificate().subject?.CN;
  socket.destroy();
  return Array.isArray(name) ? name[0] : name;
};

test("with a certificate the listener speaks TLS, exec too, and takes a new one without a restart", async () => {
  await using at = await place();
  const tls = { cert: await pem("cert.pem"), key: await pem("key.pem"), clientCa: undefined };
  await using running = await run(at.directory, at.gateway, { tls });
  const { id } = await runningTask(running);
  const socket = new WebSocket(
    `wss://127.0.0.1:${running.port}/v1/client/allocation/${id}/exec?task=web&command=${encodeURIComponent('["true"]')}`,
    { ca: tls.cert, headers: { "X-Nomad-Token": managementToken } },
  );
  const [code] = await once(socket, "close");
  assert.equal(code, 1000);
  assert.equal(await shownName(running.port), "serai test");
  running.agent.reload({
    cert: await pem("cert-2.pem"),
    key: await pem("key-2.pem"),
    clientCa: undefined,
  });
  assert.equal(await shownName(running.port), "serai test 2");
});

test("with a client authority only the gateway's certificate is let in", async () => {
  await using at = await place();
  const [cert, key] = [await pem("cert.pem"), await pem("key.pem")];
  await using running = await run(at.directory, at.gateway, {
    workloads: [],
    tls: { cert, key, clientCa: cert },
  });
  const ask = (own: object): Promise<string> =>
    new Promise((resolve) => {
      const socket = tlsConnect({ port: running.port, host: "127.0.0.1", ca: cert, ...own });
      let text = "";
      socket.on("error", () => undefined);
      socket.on("data", (chunk: Buffer) => {
        text += chunk.toString();
      });
      socket.once("close", () => resolve(text));
      socket.write("GET /v1/agent/health HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
    });
  assert.match(await ask({ cert, key }), /"ok":true/);
  assert.equal(await ask({}), "");
  assert.equal(await ask({ cert: await pem("cert-2.pem"), key: await pem("key-2.pem") }), "");
});
