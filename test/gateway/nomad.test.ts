/** In front of a Nomad cluster, end to end: scripted servers, a real agent at a node's address and the gateway between. */
import assert from "node:assert/strict";
import { randomUUID } from "node:crypto";
import { writeFileSync } from "node:fs";
import type { IncomingHttpHeaders } from "node:http";
import { after, before, describe, test } from "node:test";
import { isJsonObject, parseJson } from "../../src/lib/json.ts";
import { type ClusterRig, secrets, startCluster } from "../support/cluster-rig.ts";
import { createHome, shellWorkload } from "../support/processes.ts";
import { eventually } from "../support/rig.ts";
import { execClient, rawUpgrade } from "../support/ws-client.ts";

const twoLines =
  "echo first; while [ ! -e $NOMAD_ALLOC_DIR/data/go ]; do sleep 0.02; done; echo second; sleep 1000";
const workloads = [shellWorkload("web", twoLines), shellWorkload("later", "echo late; sleep 1000")];

const sockets = (): number =>
  process.getActiveResourcesInfo().filter((kind) => /^(TCP|Pipe|Process)/.test(kind)).length;
const atRest = sockets();

const start = async (
  options: Partial<Parameters<typeof startCluster>[0]> = {},
): Promise<ClusterRig> => {
  const rig = await startCluster({ workloads, ...options });
  await eventually("all tasks run", () =>
    rig.agent.workloads.allocations.every(({ tasks }) =>
      tasks.every(({ pid }) => pid !== undefined),
    ),
  );
  return rig;
};

const ready = (rig: ClusterRig): Promise<true> =>
  eventually("ready", async () => (await rig.readiness()) === 200 || undefined);

const listPath = (id: string): string => `/v1/client/fs/ls/${id}?path=/`;
const logPath = (id: string): string =>
  `/v1/client/fs/logs/${id}?task=main&type=stdout&follow=true&plain=true`;

/** What the servers were asked that only an agent should be. */
const clientRequests = ({ nomad }: ClusterRig): readonly string[] =>
  nomad.requests.map(({ path }) => path).filter((path) => path.startsWith("/v1/client/"));

const lookupsOf = ({ nomad }: ClusterRig, id: string) =>
  nomad.asked("/v1/allocations").filter(({ query }) => query.get("prefix") === id);

/** For what would wait without end when it goes wrong. */
const patient = { timeout: 10_000 };

describe("a gateway in front of a Nomad cluster", () => {
  let rig: ClusterRig;
  let web = "";
  before(async () => {
    rig = await start({ unknown: ["later"] });
    await ready(rig);
    web = rig.placement("web").id;
  });
  after(async () => {
    await rig[Symbol.asyncDispose]();
  });

  test("lists a directory at the agent with the caller's own token", async () => {
    const { status, text } = await rig.ask({ path: listPath(web), token: "reader" });
    assert.equal(status, 200, text);
    assert.match(text, /"Name":"alloc"/);
    assert.ok(rig.door.heard().includes(`GET ${listPath(web).split("?")[0]}`));
    assert.ok(rig.door.heard().includes(secrets.reader));
    assert.deepEqual(clientRequests(rig), []);
  });

  test("counts how credentials were judged, and which of them the servers had to be asked about", async () => {
    const figures = async (): Promise<readonly number[]> => {
      const text = await rig.metrics();
      const of = (series: string): number =>
        Number(text.split("\n").find((line) => line.startsWith(`serai_${series}"} `))?.split(" ")[1]); // biome-ignore format: one line
      return [
        'authz_cache_lookups_total{result="hit',
        'authz_cache_lookups_total{result="miss',
        'credentials_total{result="accepted',
        'credentials_total{result="refused',
      ].map(of);
    };
    const before = await figures();
    for (let time = 0; time < 3; time++)
      await rig.ask({ path: listPath(web), token: "management" });
    const headers = { "x-nomad-token": randomUUID() };
    for (let time = 0; time < 3; time++) await rig.ask({ path: listPath(web), headers });
    const after = await figures();
    assert.deepEqual(
      after.map((figure, at) => figure - (before[at] ?? 0)),
      [4, 2, 3, 3],
    );
  });

  test("follows a log, reads a file and runs a command at the agent, never through the servers", async () => {
    const log = await rig.follow(logPath(web), "reader");
    assert.equal(log.status, 200);
    assert.equal(await log.until("first\n"), "first\n");
    const client = execClient({
      url: rig.url,
      allocation: web,
      token: secrets.reader,
      task: "main",
      command: ["/bin/sh", "-c", "echo kept > $NOMAD_ALLOC_DIR/data/go && echo went"],
    });
    await client.closed;
    assert.equal(client.output("stdout").toString(), "went\n");
    assert.equal(client.exitCode(), 0);
    assert.equal(await log.until("second\n"), "first\nsecond\n");
    log.end();
    const file = await rig.ask({
      path: `/v1/client/fs/cat/${web}?path=alloc/data/go`,
      token: "reader",
    });
    assert.deepEqual(file, { status: 200, text: "kept\n" });
    assert.match(rig.door.heard(), new RegExp(`GET /v1/client/allocation/${web}/exec`));
    assert.deepEqual(clientRequests(rig), []);
  });

  test("refuses a token without the right, and the agent does not hear of it", async () => {
    const before = rig.door.heard().length;
    for (const token of ["stranger", undefined] as const) {
      const reply = await rig.ask({ path: listPath(web), ...(token && { token }) });
      assert.deepEqual(reply, { status: 403, text: "Permission denied" });
    }
    const exec = execClient({
      url: rig.url,
      allocation: web,
      token: secrets.stranger,
      task: "main",
      command: ["/bin/true"],
    });
    await exec.closed;
    assert.deepEqual(exec.frames, []);
    assert.equal(rig.door.heard().length, before);
    assert.ok(!rig.door.heard().includes(secrets.stranger));
  });

  test("asks the servers once for an allocation that nobody knows", async () => {
    const id = randomUUID();
    const ask = () => rig.ask({ path: listPath(id), token: "reader" });
    const replies = [...(await Promise.all(Array.from({ length: 8 }, ask))), await ask()];
    for (const { status, text } of replies)
      assert.deepEqual([status, text], [404, `Unknown allocation "${id}"`]);
    assert.equal(lookupsOf(rig, id).length, 1);
    assert.equal(lookupsOf(rig, id)[0]?.token, secrets.gateway);
  });

  test("reaches a new allocation as soon as its event has come, without asking for it", async () => {
    const later = rig.placement("later");
    const before = await rig.ask({ path: listPath(later.id), token: "reader" });
    assert.equal(before.status, 404);
    rig.nomad.put(later);
    await eventually(
      "the new allocation answers",
      async () =>
        (await rig.ask({ path: listPath(later.id), token: "reader" })).status === 200 || undefined,
      1_000, // the memory of its absence lasts longer
    );
    assert.equal(lookupsOf(rig, later.id).length, 1);
  });

  test("shows a node at the authority its caller used", async () => {
    const { status, text } = await rig.ask({
      path: `/v1/node/${rig.agent.nodeId}`,
      token: "reader",
      headers: { host: "gate.example:8443" },
    });
    assert.equal(status, 200, text);
    const node = parseJson(text);
    assert.ok(isJsonObject(node));
    assert.equal(node["HTTPAddr"], "gate.example:8443");
    assert.equal(node["TLSEnabled"], false);
    assert.equal(node["ID"], rig.agent.nodeId);
    assert.ok(!text.includes(rig.door.address));
    assert.equal(rig.nomad.asked(`/v1/node/${rig.agent.nodeId}`).at(-1)?.token, secrets.reader);
  });

  test("passes lists on to the servers with the caller's own token", async () => {
    const passed = await rig.ask({ path: "/v1/allocations?passed=1", token: "reader" });
    assert.equal(passed.status, 200);
    assert.ok(passed.text.includes(web));
    const anonymous = await rig.ask({ path: "/v1/allocations?passed=1" });
    assert.deepEqual(anonymous, { status: 403, text: "Permission denied" });
    const seen = rig.nomad.asked("/v1/allocations").filter(({ query }) => query.has("passed"));
    assert.deepEqual(
      seen.map(({ token }) => token),
      [secrets.reader, undefined],
    );
  });

  test("passes the web UI and writes on without the gateway's token in any header", async () => {
    const heads: IncomingHttpHeaders[] = [];
    const answer = (text: string): void => {
      for (const path of ["/ui/", "/v1/jobs"])
        rig.nomad.overrides.set(path, (request, response) => {
          heads.push(request.headers);
          response.writeHead(200, { "content-type": "text/html" }).end(text);
        });
    };
    answer("<html>");
    assert.deepEqual(await rig.ask({ path: "/ui/" }), { status: 200, text: "<html>" });
    assert.equal((await rig.ask({ path: "/ui/", token: "reader" })).status, 200);
    assert.equal((await rig.ask({ path: "/v1/jobs", method: "PUT", token: "reader" })).status, 200);
    assert.deepEqual(
      heads.map((head) => head["x-nomad-token"]),
      [undefined, secrets.reader, secrets.reader],
    );
    assert.ok(!JSON.stringify(heads).includes(secrets.gateway));
  });

  test(
    "passes a job's action on as a WebSocket with the caller's own token alone",
    patient,
    async () => {
      let head: IncomingHttpHeaders | undefined;
      const path = "/v1/job/web/action?action=greet&task=main&allocID=x&group=main";
      rig.nomad.overrides.set("/v1/job/web/action", (request, response) => {
        head = request.headers;
        response.writeHead(403).end("Permission denied");
      });
      const socket = await rawUpgrade(Number(new URL(rig.url).port), path, secrets.reader);
      const answer = Buffer.concat(await socket.toArray()).toString();
      assert.match(answer, /^HTTP\/1\.1 403 .*Permission denied$/s);
      assert.equal(head?.["x-nomad-token"], secrets.reader);
      assert.equal(head?.upgrade, "websocket");
      assert.ok(!JSON.stringify(head).includes(secrets.gateway));
    },
  );

  test("takes an exec's token from its first message", async () => {
    const client = execClient({
      url: rig.url,
      allocation: web,
      task: "main",
      command: ["/bin/echo", "greeted"],
      query: "&ws_handshake=true",
      first: [{ version: 1, auth_token: secrets.reader }],
    });
    await client.closed;
    assert.equal(client.output("stdout").toString(), "greeted\n");
    assert.equal(client.exitCode(), 0);
  });

  test(
    "passes the event stream on, and refuses a wait that is none before a server hears of it",
    patient,
    async () => {
      const events = await rig.follow("/v1/event/stream?passed=1", "reader");
      assert.equal(events.status, 200);
      await events.until("{}\n");
      events.end();
      const bad = await rig.ask({ path: "/v1/event/stream?wait=abc&passed=1", token: "reader" });
      assert.equal(bad.status, 400);
      assert.equal(bad.text, "Invalid wait time");
      const seen = rig.nomad.asked("/v1/event/stream").filter(({ query }) => query.has("passed"));
      assert.deepEqual(
        seen.map(({ token }) => token),
        [secrets.reader],
      );
    },
  );

  test("has not told its own token to the agent, and has asked nothing with it but what it follows", () => {
    assert.ok(rig.door.heard().length > 0);
    assert.ok(!rig.door.heard().includes(secrets.gateway));
    const own = rig.nomad.requests.filter(({ token }) => token === secrets.gateway);
    const paths = own.map(({ path }) => path.replace(rig.agent.nodeId, ":id"));
    assert.deepEqual([...new Set(paths)].toSorted(), [
      "/v1/acl/policies",
      "/v1/acl/policy/gateway",
      "/v1/acl/token/self",
      "/v1/allocations",
      "/v1/event/stream",
      "/v1/node/:id",
      "/v1/nodes",
    ]);
    assert.ok(own.every(({ method, query }) => method === "GET" && !query.has("passed")));
    assert.deepEqual(clientRequests(rig), []);
  });
});

const pastIdentityTtlMs = 21_000;

test("with the servers away known tokens work for their time, then nobody is refused but told to come again", async () => {
  await using rig = await start();
  await ready(rig);
  const { id } = rig.placement("web");
  const statusFor = async (token: "reader" | "stranger" | "management"): Promise<number> =>
    (await rig.ask({ path: listPath(id), token })).status;
  assert.equal(await statusFor("reader"), 200);
  assert.equal(await statusFor("stranger"), 403);
  await rig.nomad.lose();
  assert.equal(await statusFor("reader"), 200);
  assert.equal(await statusFor("management"), 503, "a token that was never seen");
  assert.equal((await rig.ask({ path: "/v1/jobs", token: "reader" })).status, 503);

  rig.clock.aheadMs += pastIdentityTtlMs;
  assert.equal(await statusFor("reader"), 503);
  assert.equal(await statusFor("stranger"), 503);
  const exec = execClient({
    url: rig.url,
    allocation: id,
    token: secrets.reader,
    task: "main",
    command: ["/bin/true"],
  });
  assert.equal((await exec.closed).code, 1013);

  await rig.nomad.listen();
  assert.equal(await statusFor("reader"), 200);
  assert.equal(await statusFor("stranger"), 403);
});

test("a token that is revoked at the servers loses its followed log, and no other does", async () => {
  await using rig = await start();
  await ready(rig);
  const path = logPath(rig.placement("web").id);
  const [revoked, kept] = await Promise.all([
    rig.follow(path, "reader"),
    rig.follow(path, "management"),
  ]);
  await Promise.all([revoked.until("first\n"), kept.until("first\n")]);
  rig.revoke("reader");
  await rig.gateway.reload();
  await eventually(
    "its right was asked for anew",
    async () => /live_reauthorizations_total\{result="ended"\} 1/.test(await rig.metrics()),
    10_000, // what is remembered of a token lasts longer
  );
  await assert.rejects(revoked.until("second\n"), /ended before/);
  assert.equal((await rig.ask({ path, token: "reader" })).status, 403);
  writeFileSync(`${rig.directoryOf("web")}/alloc/data/go`, "");
  assert.equal(await kept.until("second\n"), "first\nsecond\n");
  kept.end();
});

const pastUncheckedMs = 61_000;

test("a command outlives servers that are away for a short while, and not a long one", async () => {
  await using rig = await start();
  await ready(rig);
  const exec = execClient({
    url: rig.url,
    allocation: rig.placement("web").id,
    token: secrets.reader,
    task: "main",
    command: ["/bin/cat"],
  });
  await exec.opened;
  exec.stdin("begun\n");
  await exec.seen("begun");
  await rig.nomad.lose();
  rig.clock.aheadMs += pastIdentityTtlMs;
  await rig.gateway.reload();
  await eventually("its right was asked for in vain", async () =>
    /live_reauthorizations_total\{result="failed"\} [1-9]/.test(await rig.metrics()),
  );
  exec.stdin("still here\n");
  await exec.seen("still here");
  rig.clock.aheadMs += pastUncheckedMs;
  await rig.gateway.reload();
  assert.equal((await exec.closed).code, 1008);
  assert.equal(exec.exitCode(), undefined);
});

test("is ready once the servers' first picture is whole, and not before", async () => {
  const held = Promise.withResolvers<void>();
  await using rig = await start({
    prepare: (nomad) => {
      nomad.overrides.set("/v1/allocations", (request, response) => {
        nomad.answer(request, response, held.promise);
      });
    },
  });
  await eventually(
    "the first page is asked for",
    () => rig.nomad.asked("/v1/allocations").length > 0 || undefined,
  );
  assert.equal(await rig.readiness(), 503);
  held.resolve();
  await ready(rig);
  assert.equal(
    (await rig.ask({ path: listPath(rig.placement("web").id), token: "reader" })).status,
    200,
  );
});

test("closing cuts followed logs, commands and event streams, and leaves nothing open", async () => {
  {
    await using rig = await start();
    await ready(rig);
    const { id } = rig.placement("web");
    const log = await rig.follow(logPath(id), "reader");
    await log.until("first\n");
    const exec = execClient({
      url: rig.url,
      allocation: id,
      token: secrets.reader,
      task: "main",
      command: ["/bin/cat"],
    });
    await exec.opened;
    exec.stdin("there\n");
    await exec.seen("there");
    const events = await rig.follow("/v1/event/stream", "reader");
    await events.until("{}\n");
    await rig.gateway.drain();
    await exec.closed;
    await assert.rejects(log.until("never"), /ended before/);
    await assert.rejects(events.until("never"), /ended before/);
    await rig.gateway.close(AbortSignal.timeout(5_000));
    await eventually(
      "no stream is left at the servers",
      () => rig.nomad.streams === 0 || undefined,
    );
    await eventually("no connection is left at the agent", () => rig.door.open === 0 || undefined);
  }
  await eventually("all sockets are closed", () => sockets() <= atRest || undefined);
});

test("SIGTERM ends the process in good order though a log and an event stream go on", async () => {
  await using rig = await start();
  await using home = createHome();
  const gate = await home.gateway({
    registry: "nomad",
    nomad: { addresses: [rig.nomad.origin], token: secrets.gateway },
    timeouts: { drain: "100ms" },
  });
  await eventually("ready", async () => (await fetch(`${gate.adminUrl}/readyz`)).ok || undefined);
  const log = await rig.follow(logPath(rig.placement("web").id), "reader", gate.url);
  await log.until("first\n");
  const events = await rig.follow("/v1/event/stream", "reader", gate.url);
  await events.until("{}\n");
  gate.kill("SIGTERM");
  assert.deepEqual(await gate.ended, { code: 0, signal: null });
  await eventually("the agent's connections are closed", () => rig.door.open === 0 || undefined);
  await eventually(
    "the gateway of this process alone follows",
    () => rig.nomad.streams === 1 || undefined,
  );
  const output = [...gate.output, ...gate.errors].join("\n");
  for (const secret of Object.values(secrets)) assert.ok(!output.includes(secret));
});
