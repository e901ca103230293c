/** SIGTERM with everything open: what finishes, what is refused, how what lives is told, and how the process ends. */
import assert from "node:assert/strict";
import { once } from "node:events";
import { connect } from "node:net";
import { test } from "node:test";
import { setTimeout as wait } from "node:timers/promises";
import { request } from "undici";
import { WebSocket } from "ws";
import { AgentUnderTest } from "../registry/agent-under-test.ts";
import { nodeBody } from "../registry/documents.ts";
import { secrets, startCluster } from "../support/cluster-rig.ts";
import {
  createHome,
  type GatewayProgram,
  type Home,
  shellWorkload,
  until,
} from "../support/processes.ts";
import { get, rawClient, rawRequest } from "../support/raw-client.ts";
import { eventually, startRig } from "../support/rig.ts";

const calm = shellWorkload(
  "calm",
  "head -c 20000000 /dev/zero > $NOMAD_TASK_DIR/big; echo started; exec sleep 1000",
);
/** Ignores its kill signal, so that a restart takes as long as its kill timeout. */
const stubborn = shellWorkload("stubborn", "trap '' INT; while :; do sleep 0.1; done");

interface Scene {
  readonly gateway: GatewayProgram;
  readonly allocation: string;
  readonly stubborn: string;
  readonly token: string;
}

const tokenLine = (token: string): string => `X-Nomad-Token: ${token}\r\n`;

const openScene = async (home: Home, settings: object): Promise<Scene> => {
  const gateway = await home.gateway(settings);
  await home.agent("n1", gateway.url, { workloads: [calm, stubborn] });
  const token = home.secrets.operator;
  const headers = { "x-nomad-token": token };
  const { id, other } = await until("the workload runs and has its file", async () => {
    const found: unknown = await (await fetch(`${gateway.url}/v1/allocations`, { headers })).json();
    assert.ok(Array.isArray(found));
    const running = new Map(
      found
        .filter(({ ClientStatus }) => ClientStatus === "running")
        .map(({ JobID, ID }) => [String(JobID), String(ID)]),
    );
    const id = running.get("calm");
    const other = running.get("stubborn");
    if (id === undefined || other === undefined) return undefined;
    const log = await fetch(
      `${gateway.url}/v1/client/fs/logs/${id}?task=main&type=stdout&plain=true`,
      { headers },
    );
    return (await log.text()).includes("started") ? { id, other } : undefined;
  });
  return { gateway, allocation: id, stubborn: other, token };
};

const ready = async ({ gateway }: Scene): Promise<string> => {
  const answer = await fetch(`${gateway.adminUrl}/readyz?verbose`);
  return `${answer.status} ${await answer.text()}`;
};

test("SIGTERM: not ready at once, short requests finish, new ones are refused, live ones are cut at the end of their grace, exit 0", async () => {
  await using home = createHome();
  const scene = await openScene(home, { timeouts: { drain: "3s" } });
  const { gateway, allocation, token } = scene;
  assert.match(await ready(scene), /^200 /);

  const exec = new WebSocket(
    `${gateway.url.replace("http", "ws")}/v1/client/allocation/${allocation}/exec?task=main&command=${encodeURIComponent('["cat"]')}`,
    { headers: { "x-nomad-token": token } },
  );
  await once(exec, "open");
  exec.send(JSON.stringify({ stdin: { data: Buffer.from("hello\n").toString("base64") } }));
  await once(exec, "message");
  const execClosed = once(exec, "close");

  const follow = rawClient(
    gateway.port,
    get(`/v1/client/fs/logs/${allocation}?task=main&type=stdout&follow=true`, tokenLine(token)),
  );
  await follow.seen("200 OK");
  const download = rawClient(
    gateway.port,
    get(`/v1/client/fs/cat/${allocation}?path=/main/local/big`, tokenLine(token)),
  );
  await download.seen("200 OK");
  download.socket.pause(); // a reader that stopped
  const waiting = rawClient(
    gateway.port,
    get(`/v1/allocations?index=99999999999999&wait=60s`, tokenLine(token)),
  );
  const restart = rawRequest(
    gateway.port,
    `PUT /v1/client/allocation/${scene.stubborn}/restart HTTP/1.1\r\nHost: gate\r\n${tokenLine(token)}Content-Length: 2\r\n\r\n{}`,
  );
  await until("all are live", async () => {
    const live = await (await fetch(`${gateway.adminUrl}/debug/live`)).text();
    return ["alloc.exec", "fs.logs", "fs.cat", "alloc.restart", "allocs.list"].every((name) =>
      live.includes(name),
    );
  });

  const toldAt = performance.now();
  gateway.kill("SIGTERM");
  await until("not ready", async () => (await ready(scene)).startsWith("503"), 1_000);
  assert.match(await ready(scene), /accepting failed: shutting down/);

  const late = await rawRequest(gateway.port, get("/v1/status/leader")).catch(
    (error: unknown) => error,
  );
  assert.ok(
    late instanceof Error || ("status" in Object(late) && Object(late).status !== 200),
    "a new connection is refused",
  );

  const waited = await waiting.answer();
  assert.equal(
    waited.status,
    200,
    "a blocking query answers what is there, as when its time is over",
  );
  assert.ok(exec.readyState === exec.OPEN, "and does not hold the drain up");
  const restarted = await restart;
  assert.equal(restarted.status, 200, restarted.body.toString());
  assert.ok(exec.readyState === exec.OPEN, "live exchanges have their grace");
  assert.equal(follow.socket.destroyed, false);

  const [code, reason] = await execClosed;
  assert.equal(code, 1012, String(reason));
  assert.ok(performance.now() - toldAt > 2_000, "not before the grace was over");
  const followed = await follow.answer();
  assert.notEqual(followed.end, "whole", "a follower's body is aborted");
  download.socket.resume();
  assert.notEqual((await download.answer()).end, "whole", "a download is aborted");
  assert.deepEqual(await gateway.ended, { code: 0, signal: null });
  assert.ok(performance.now() - toldAt < 15_000);

  const ends = home.audit().filter(({ audit }) => audit === "end");
  for (const route of ["alloc.exec", "fs.logs", "fs.cat"])
    assert.ok(
      ends.some((line) => line["route"] === route && line["code"] === "draining"),
      `${route} has an end record that says why`,
    );
});

test("without anything live SIGTERM ends the gateway at once", async () => {
  await using home = createHome();
  const timeouts = { drain: "60s", headers: "60s", request: "60s" };
  const gateway = await home.gateway({ timeouts });
  const idle = connect(gateway.port, "127.0.0.1");
  idle.on("error", () => undefined);
  await once(idle, "connect");
  const half = rawClient(gateway.port, `${get("/v1/status/leader")}GET /v1/sta`);
  await half.seen("HTTP/1.1 200");
  const toldAt = performance.now();
  gateway.kill("SIGTERM");
  assert.deepEqual(await gateway.ended, { code: 0, signal: null });
  assert.ok(performance.now() - toldAt < 20_000);
  idle.destroy();
  half.socket.destroy();
});

test("a request of which not all has come when a drain begins is answered", async () => {
  await using rig = await startRig();
  const body = '{"Prefix":"a","Context":"allocs"}';
  const asking = rawClient(
    Number(new URL(rig.url).port),
    `POST /v1/search HTTP/1.1\r\nHost: gate\r\nExpect: 100-continue\r\n${tokenLine(rig.secret("management"))}Content-Length: ${body.length}\r\n\r\n`,
  );
  await asking.seen("100 Continue\r\n\r\n");
  const drained = rig.gateway.drain();
  await until("it drains", () => rig.logText().includes("draining live exchanges"));
  asking.socket.write(body);
  await asking.seen("HTTP/1.1 200");
  asking.socket.destroy();
  await drained;
});

test("a short request that begins on a connection from before is answered, one that would last is sent elsewhere", async () => {
  await using rig = await startRig({
    settings: { timeouts: { drain_delay: "0s" } },
    agents: [{ workloads: [calm] }],
  });
  const token = rig.secret("management");
  const begin = async (target: string) => {
    const head = get(target, tokenLine(token));
    const client = rawClient(Number(new URL(rig.url).port), head.slice(0, -4));
    await once(client.socket, "connect");
    return { client, finish: () => client.socket.write(head.slice(-4)) };
  };
  const follow = `/v1/client/fs/logs/${rig.allocation("calm")}?task=main&type=stdout&follow=true`;
  const live = await begin(follow);
  live.finish();
  await live.client.seen("200 OK");
  const short = await begin("/v1/nodes");
  const long = await begin(follow);
  await rig.get("/v1/nodes", token); // what had come before it has been read
  const drained = rig.gateway.drain();
  await until("it drains", () => rig.logText().includes("draining live exchanges"));
  for (const { finish } of [short, long]) finish();
  const answer = await short.client.answer();
  assert.deepEqual([answer.status, answer.headers.get("connection")], [200, "close"]);
  assert.equal((await long.client.answer()).headers.get("x-serai-error"), "draining");
  live.client.socket.destroy();
  await drained;
});

test("nor does it matter that its node only dials out: the tunnel is there until what had begun has gone through it", async () => {
  await using rig = await startRig({ settings: { timeouts: { drain_delay: "0s" } } });
  await rig.startAgent({ settings: { gateway: { tunnel: true } }, workloads: [] });
  const path = `/v1/client/metadata?node_id=${rig.agent().nodeId}`;
  const token = rig.secret("management");
  await until("its tunnel is open", async () => (await rig.get(path, token)).status === 200);
  const body = '{"Meta":{"a":"b"}}';
  const asking = rawClient(
    Number(new URL(rig.url).port),
    `POST ${path} HTTP/1.1\r\nHost: gate\r\nExpect: 100-continue\r\n${tokenLine(token)}Content-Length: ${body.length}\r\n\r\n`,
  );
  await asking.seen("100 Continue\r\n\r\n");
  const drained = rig.gateway.drain();
  await until("it drains", () => rig.logText().includes("draining live exchanges"));
  await wait(100); // the agent would have gone by now
  asking.socket.write(body);
  await asking.seen("HTTP/1.1 200");
  asking.socket.destroy();
  await drained;
});

test("agents that hang with changed metadata hold no drain up, and are asked after the next start", async () => {
  await using home = createHome();
  await using stack = new AsyncDisposableStack();
  const agents = await Promise.all(
    Array.from({ length: 40 }, async () => stack.use(await AgentUnderTest.start())),
  );
  const path = "/v1/client/metadata";
  const announceTo = async ({ url }: GatewayProgram): Promise<void> => {
    for (const { nodeId, address } of agents) {
      const { statusCode, body } = await request(`${url}/v1/serai/node/${nodeId}`, {
        method: "PUT",
        headers: { authorization: `Bearer ${home.secrets.join}` },
        body: JSON.stringify(nodeBody(nodeId, address)),
      });
      assert.equal(statusCode, 200, await body.text());
    }
  };
  for (const { overrides } of agents) overrides.set(path, () => undefined);
  const gateway = await home.gateway({ metadata: { interval: "1m" } });
  await announceTo(gateway);
  gateway.kill("SIGTERM");
  assert.deepEqual(await gateway.ended, { code: 0, signal: null });
  const asked = agents.filter((agent) => agent.heardOf(path) > 0);
  assert.equal(asked.length, 32, "it ends before the first are given up and the others asked");

  for (const agent of agents) {
    agent.overrides.clear();
    agent.meta = { rack: "r2" };
  }
  const next = await home.gateway({ metadata: { interval: "100ms" } });
  await announceTo(next);
  const headers = { "x-nomad-token": home.secrets.operator };
  const filter = encodeURIComponent('Meta.rack == "r2"');
  await until("all are in the node registry", async () => {
    const { body } = await request(`${next.url}/v1/nodes?filter=${filter}`, { headers });
    const found: unknown = await body.json();
    return Array.isArray(found) && found.length === agents.length;
  });
});

test("during the delay for balancers requests are still answered, and connections are not kept", async () => {
  await using home = createHome();
  const scene = await openScene(home, { timeouts: { drain_delay: "3s", drain: "1s" } });
  const { gateway } = scene;
  gateway.kill("SIGTERM");
  const told = await gateway.logged("told to stop: not ready, requests are still taken");
  assert.deepEqual([told["drainDelayMs"], told["drainMs"]], [3_000, 1_000]);
  await until(
    "not ready",
    async () => (await fetch(`${gateway.adminUrl}/readyz`)).status === 503,
    1_000,
  );
  const answer = await rawRequest(gateway.port, get("/v1/status/leader"));
  assert.equal(answer.status, 200);
  assert.equal(answer.headers.get("connection"), "close");
  const exec = new WebSocket(
    `${gateway.url.replace("http", "ws")}/v1/client/allocation/${scene.allocation}/exec?task=main&command=${encodeURIComponent('["true"]')}`,
    { headers: { "x-nomad-token": scene.token } },
  );
  assert.equal((await once(exec, "close"))[0], 1000, "an exec is still taken");
  assert.deepEqual(await gateway.ended, { code: 0, signal: null });
});

test("a second SIGTERM ends the process at once, and what lives is in the audit log with its end", async () => {
  await using home = createHome();
  const scene = await openScene(home, { timeouts: { drain: "60s" } });
  const follow = rawClient(
    scene.gateway.port,
    get(
      `/v1/client/fs/logs/${scene.allocation}?task=main&type=stdout&follow=true`,
      tokenLine(scene.token),
    ),
  );
  await follow.seen('"Data"');
  scene.gateway.kill("SIGTERM");
  await scene.gateway.logged("draining live exchanges");
  scene.gateway.kill("SIGTERM");
  const ended = await scene.gateway.ended;
  assert.notEqual(ended.code, 0);
  assert.notEqual((await follow.answer()).end, "whole");
  const ends = home.audit().filter((line) => line["audit"] === "end");
  const { result, code, bytesOut } = ends.at(-1) ?? {};
  assert.deepEqual([result, code], ["failed", "draining"]);
  assert.ok(Number(bytesOut) > 0);
});

test("a request whose token is still being checked when the drain begins is answered", async () => {
  let asked = 0;
  let slow = false;
  await using rig = await startCluster({
    workloads: [shellWorkload("web", "sleep 1000")],
    settings: { timeouts: { drain_delay: "0s", drain: "5s" } },
    prepare: (nomad) => {
      const before = nomad.overrides.get("/v1/acl/token/self");
      nomad.overrides.set("/v1/acl/token/self", (request, response) => {
        if (!slow) return before?.(request, response);
        asked += 1;
        setTimeout(() => before?.(request, response), 500);
      });
    },
  });
  await eventually("ready", async () => (await rig.readiness()) === 200 || undefined);
  await eventually("the task runs", () =>
    rig.agent.workloads.allocations.every(({ tasks }) =>
      tasks.every(({ pid }) => pid !== undefined),
    ),
  );
  slow = true;
  const path = `/v1/client/fs/ls/${rig.placement("web").id}?path=/`;
  const answer = request(`${rig.url}${path}`, {
    headers: { "x-nomad-token": secrets.reader },
  }).then(
    async ({ statusCode, body }) => `${statusCode} ${await body.text()}`,
    (error: unknown) => String(error),
  );
  await eventually("it is being checked", () => asked > 0 || undefined);
  const drained = rig.gateway.drain();
  assert.match(await answer, /^200 /);
  await drained;
});
