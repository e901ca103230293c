/**
 * JWTs of a configured issuer in front of a Nomad cluster, end to end. No server and no agent knows such a JWT: the gateway
 * decides, and what goes on bears the service token. Neither is seen on the other side.
 */
import assert from "node:assert/strict";
import { once } from "node:events";
import type { IncomingHttpHeaders, RequestListener } from "node:http";
import type { AddressInfo } from "node:net";
import { after, before, describe, test } from "node:test";
import { type Dispatcher, request } from "undici";
import { WebSocket, WebSocketServer } from "ws";
import { inNamespace } from "../acl/nomad-rules.ts";
import {
  foreignKey,
  type HeldPolicies,
  issuer,
  issuerSettings,
  nowSeconds,
  type Signing,
  scriptService,
  scriptWorkload,
  serviceToken,
  signed,
} from "../support/cluster-issuer.ts";
import {
  type ClusterOptions,
  type ClusterRig,
  secrets,
  startCluster,
} from "../support/cluster-rig.ts";
import { shellWorkload } from "../support/processes.ts";
import { type RelayServer, relayServer } from "../support/relay-server.ts";
import { eventually } from "../support/rig.ts";
import { answers } from "../support/scripted-nomad.ts";
import { execClient, rawUpgrade } from "../support/ws-client.ts";

const patient = { timeout: 15_000 };
const workloads = [shellWorkload("web", "echo first; sleep 1000")];

/* ---- a rig that keeps what its callers heard ---- */

interface World extends AsyncDisposable {
  readonly rig: ClusterRig;
  readonly held: HeldPolicies;
  readonly web: string;
  /** All that callers got. */
  readonly told: string[];
  ask(path: string, token: string | undefined, method?: Dispatcher.HttpMethod): Promise<Reply>;
}

interface Reply {
  readonly status: number;
  readonly text: string;
  readonly headers: IncomingHttpHeaders;
}

const start = async (
  prepare: (rig: ClusterRig["nomad"]) => void = () => {},
  options: Partial<ClusterOptions> = {},
): Promise<World> => {
  let held: HeldPolicies = new Map();
  const rig = await startCluster({
    ...options,
    workloads,
    settings: issuerSettings,
    prepare: (nomad) => {
      held = scriptService(nomad);
      prepare(nomad);
    },
  });
  await eventually("ready", async () => (await rig.readiness()) === 200 || undefined);
  await eventually("the task runs", () =>
    rig.agent.workloads.allocations.every(({ tasks }) =>
      tasks.every(({ pid }) => pid !== undefined),
    ),
  );
  const told: string[] = [];
  return {
    rig,
    held,
    told,
    web: rig.placement("web").id,
    async ask(path, token, method = "GET") {
      const reply = await request(`${rig.url}${path}`, {
        method,
        headers: token === undefined ? {} : { "x-nomad-token": token },
      });
      const text = await reply.body.text();
      told.push(text, JSON.stringify(reply.headers));
      return { status: reply.statusCode, text, headers: reply.headers };
    },
    [Symbol.asyncDispose]: () => rig[Symbol.asyncDispose](),
  };
};

const listPath = (id: string): string => `/v1/client/fs/ls/${id}?path=/`;
const logPath = (id: string): string =>
  `/v1/client/fs/logs/${id}?task=main&type=stdout&follow=true&plain=true`;

/** Follows until it ends; tells what came and whether it ended whole. `begun` is called with its first bytes. */
const follow = async (
  url: string,
  token: string,
  begun: () => void = () => {},
): Promise<{ status: number; text: string; whole: boolean }> => {
  const { statusCode: status, body } = await request(url, { headers: { "x-nomad-token": token } });
  let text = "";
  try {
    for await (const chunk of body) {
      text += String(chunk);
      begun();
    }
    return { status, text, whole: true };
  } catch {
    return { status, text, whole: false };
  }
};

const endsOf = ({ rig }: World, subject: string) =>
  rig
    .audit()
    .filter((one) => one["audit"] === "end" && one["accessor"] === `jwt:${issuer}:${subject}`);

const endOf = (world: World, subject: string) =>
  eventually(`an end record of ${subject}`, () => endsOf(world, subject)[0]);

const lateMs = (time: unknown, exp: number): number => Date.parse(String(time)) - exp * 1_000;

const run = ({ rig, web }: World, token: string, query = "") =>
  execClient({
    url: rig.url,
    allocation: web,
    task: "main",
    command: ["/bin/echo", "in"],
    ...(query === "" ? { token } : { query, first: [{ version: 1, auth_token: token }] }),
  });

/** Answers so until it is disposed of. */
const overridden = ({ nomad }: ClusterRig, path: string, answer: RequestListener): Disposable => {
  const others = nomad.overrides.get(path);
  nomad.overrides.set(path, answer);
  return {
    [Symbol.dispose]() {
      if (others) nomad.overrides.set(path, others);
      else nomad.overrides.delete(path);
    },
  };
};

/** The tokens that a server saw for a path. */
const seenAt = ({ rig }: World, path: string): readonly (string | undefined)[] =>
  rig.nomad.asked(path).map(({ token }) => token);

describe("a JWT of a configured issuer in front of a Nomad cluster", { timeout: 60_000 }, () => {
  let world: World;
  before(async () => {
    world = await start();
  });
  after(async () => {
    await world[Symbol.asyncDispose]();
  });

  test("reads at the agent with the service token", async () => {
    const { status, text } = await world.ask(listPath(world.web), signed(["viewer"]));
    assert.equal(status, 200, text);
    assert.match(text, /"Name":"alloc"/);
    assert.ok(world.rig.door.heard().includes(`X-Nomad-Token: ${serviceToken}`));
    const bearer = { authorization: `Bearer ${signed(["viewer"])}` };
    const reply = await world.rig.ask({ path: listPath(world.web), headers: bearer });
    assert.equal(reply.status, 200);
  });

  test("reads with another service token as soon as there is one", async () => {
    const next = "5e4d0000-1111-4222-8333-444444444444";
    const tokens = { token: secrets.gateway, serviceToken };
    await world.rig.gateway.reload(() => ({ ...tokens, serviceToken: next }));
    await world.ask(listPath(world.web), signed(["viewer"]));
    await world.rig.gateway.reload(() => tokens);
    assert.ok(world.rig.door.heard().includes(`X-Nomad-Token: ${next}`));
  });

  test("downloads with it too, and the audit log says who it was and with what", async () => {
    const path = `/v1/client/fs/cat/${world.web}?path=alloc/logs/main.stdout.0`;
    const { status, text } = await world.ask(path, signed(["viewer"], { sub: "carol" }));
    assert.deepEqual([status, text], [200, "first\n"]);
    const { result, upstream, allocation } = await endOf(world, "carol");
    assert.deepEqual([result, upstream, allocation], ["ok", "service", world.web]);
  });

  const now = nowSeconds();
  // biome-ignore format: a table
  const bad: readonly (readonly [what: string, groups: string[], signing: Signing])[] = [
    ["without the right", ["operator"], {}],
    ["that no binding knows", ["visitors"], {}],
    ["that has expired", ["viewer"], { iat: now - 600, exp: now - 60 }],
    ["for another audience", ["viewer"], { aud: "billing" }],
    ["signed with another key", ["viewer"], { key: foreignKey }],
  ];
  for (const [what, groups, signing] of bad)
    test(`one ${what} is refused, and neither agent nor server hears of it`, async () => {
      const token = signed(groups, signing);
      const before = world.rig.door.heard().length;
      for (const path of [listPath(world.web), "/v1/allocations?refused=1"]) {
        const { status, text, headers } = await world.ask(path, token);
        assert.deepEqual([status, text], [403, "Permission denied"]);
        assert.equal(headers["x-serai-error"], "permission_denied");
      }
      const closed = await run(world, token).closed;
      assert.deepEqual([closed.code, closed.reason], [1011, "Permission denied"]);
      assert.equal(world.rig.door.heard().length, before);
      const passed = world.rig.nomad.requests.filter(({ query }) => query.has("refused"));
      assert.deepEqual(passed, []);
    });

  test("runs a command, its JWT in the header or in the first message", async () => {
    for (const query of ["", "&ws_handshake=true"]) {
      const client = run(world, signed(["shell"], { sub: `runner${query}` }), query);
      await client.closed;
      assert.equal(client.output("stdout").toString(), "in\n");
      assert.equal(client.exitCode(), 0);
      const record = await endOf(world, `runner${query}`);
      assert.deepEqual([record["upstream"], record["kind"]], ["service", "exec"]);
    }
  });

  test("runs none without alloc-node-exec: the agent would ask the service token for it", async () => {
    const client = run(world, signed(["halfshell"]));
    assert.deepEqual(await client.closed, { code: 1011, reason: "Permission denied" });
    assert.deepEqual(client.frames, []);
  });

  describe("its expiry, within a second,", { concurrency: true }, () => {
    test("ends a followed log", patient, async () => {
      const exp = nowSeconds() + 2;
      const token = signed(["viewer"], { sub: "dave", exp });
      const { whole, text } = await follow(`${world.rig.url}${logPath(world.web)}`, token);
      assert.deepEqual([whole, text], [false, "first\n"]);
      const { result, code, upstream, time } = await endOf(world, "dave");
      assert.deepEqual([result, code, upstream], ["denied", "right_ended", "service"]);
      const late = lateMs(time, exp);
      assert.ok(late >= 0 && late <= 1_000, `${late} ms late`);
    });

    test("ends a blocking query", patient, async () => {
      using _restored = overridden(world.rig, "/v1/jobs", answers.never);
      const exp = nowSeconds() + 2;
      const { status, text } = await world.ask(
        "/v1/jobs?index=9&wait=5m",
        signed(["viewer"], { exp }),
      );
      const late = lateMs(new Date().toISOString(), exp);
      assert.deepEqual([status, text], [403, "access ended: the token has expired"]);
      assert.ok(late >= 0 && late <= 1_000, `${late} ms late`);
    });

    test("cuts an event stream that has begun", patient, async () => {
      const exp = nowSeconds() + 2;
      const url = `${world.rig.url}/v1/event/stream`;
      const { status, text } = await follow(url, signed(["admins"], { exp }));
      const late = lateMs(new Date().toISOString(), exp);
      assert.equal(status, 200);
      assert.match(text, /^\{\}\n/);
      assert.ok(late >= 0 && late <= 1_000, `${late} ms late`);
    });
  });

  /* ---- passed through ---- */

  const inDefault = "/v1/jobs?namespace=default";
  // biome-ignore format: a table
  const passed: readonly (readonly [what: string, path: string, groups: string[], status: number, method?: Dispatcher.HttpMethod])[] = [
    ["a list of its namespace", inDefault, ["viewer"], 200],
    ["a list of the namespace that is meant without one", "/v1/allocations?prefix=00", ["viewer"], 200],
    ["a list of another namespace", "/v1/jobs?namespace=other", ["viewer"], 403],
    ["a list of all namespaces by a right in one", "/v1/allocations?namespace=*", ["viewer"], 403],
    ["a list of all namespaces by a right in all", "/v1/allocations?namespace=*", ["everywhere"], 200],
    ["a list of all namespaces by a right in all but one", "/v1/allocations?namespace=*", ["everywhere", "halfshell"], 403],
    ["a job with a slash in its name", "/v1/job/nightly%2Fperiodic-1?namespace=default", ["viewer"], 200],
    ["a job's action in the clothes of a job with a slash in its name", "/v1/job/web%2Faction?namespace=default", ["viewer"], 403],
    ["what else servers read at the end of a job's name", "/v1/job/a%2Fweb%2F%73cale", ["viewer"], 403],
    ["a job that is named as an action is", "/v1/job/action", ["viewer"], 200],
    ["a write on a job", "/v1/job/web?namespace=default", ["viewer"], 403, "DELETE"],
    ["a write where any method reads", "/v1/job/web/summary", ["viewer"], 403, "PUT"],
    ["the nodes", "/v1/nodes", ["operator"], 200],
    ["the nodes without the right", "/v1/nodes", ["viewer"], 403],
    ["a node", "/v1/node/:node", ["operator"], 200],
    ["node pools as if that were a node", "/v1/node/pools", ["operator"], 403],
    ["a node's allocations, by the right to nodes alone", "/v1/node/:node/allocations", ["operator"], 403],
    ["a node's allocations, by both rights", "/v1/node/:node/allocations", ["operator", "everywhere"], 200],
    ["the agent", "/v1/agent/self", ["operator"], 200],
    ["an allocation in its namespace", "/v1/allocation/:web", ["viewer"], 200],
    ["an allocation, by its own namespace", "/v1/allocation/:web?namespace=other", ["viewer"], 200],
    ["an allocation without the right", "/v1/allocation/:web?namespace=default", ["operator"], 403],
    ["a stop", "/v1/allocation/:web/stop", ["keeper"], 200, "PUT"],
    ["a stop without the right", "/v1/allocation/:web/stop", ["viewer"], 403, "PUT"],
    ["a search, which would be answered for the service token", "/v1/search", ["viewer"], 403, "POST"],
    ["a variable", "/v1/var/secret", ["viewer"], 403],
    ["the events", "/v1/event/stream", ["everywhere"], 403],
    ["whose token it is", "/v1/acl/token/self", ["viewer"], 403],
    ["anything, for a manager", "/v1/var/secret", ["admins"], 200],
    ["whose token it is, for a manager", "/v1/acl/token/self", ["admins"], 403],
    ["a token's secret, in other letters", "/v1/acl/%74oken/x", ["admins"], 403],
    ["a picture of all that the servers know", "/v1/operator/snapshot", ["admins"], 403],
    ["what would be sent back with its token, for a manager", "/v1/var/secret", ["admins"], 403, "TRACE"],
    ["two namespaces", "/v1/jobs?namespace=default&namespace=other", ["viewer"], 400],
    ["a namespace that two readers might read in two ways", "/v1/jobs?x=%zz;namespace=other", ["viewer"], 400],
    ["another region", "/v1/jobs?region=other", ["admins"], 500],
    ["a path that is not plain", "/v1//acl/token/self", ["admins"], 400],
  ];
  for (const [what, target, groups, expected, method = "GET"] of passed)
    test(`passes through ${what}: ${expected}`, async () => {
      const { rig, web } = world;
      const path = target.replace(":web", web).replace(":node", rig.agent.nodeId);
      const plain = new URL(path, rig.url).pathname;
      using _restored = overridden(rig, plain, answers.json("[]"));
      const before = rig.nomad.asked(plain).length;
      const { status, text } = await world.ask(path, signed(groups), method);
      assert.equal(status, expected, text);
      const shown = seenAt(world, plain).slice(before);
      assert.deepEqual(shown, expected === 200 ? [serviceToken] : []);
    });

  test("is told to name a namespace where its policies do not give it all", async () => {
    const { text } = await world.ask("/v1/allocations?namespace=*", signed(["viewer"]));
    assert.match(text, /^Permission denied: .*give -namespace$/);
    assert.equal(
      (await world.ask("/v1/jobs?namespace=o", signed(["viewer"]))).text,
      "Permission denied",
    );
  });

  test("an allocation that nobody knows is not found", async () => {
    const path = "/v1/allocation/00000000-0000-4000-8000-000000000000";
    const { status, text } = await world.ask(path, signed(["viewer"]));
    assert.deepEqual([status, text], [404, "alloc not found"]);
  });

  test("shows no credential at all where none is needed", async () => {
    const paths = ["/v1/status/leader", "/v1/regions", "/ui/", "/v1/acl/login"];
    for (const path of paths) {
      world.rig.nomad.overrides.set(path, answers.json("{}"));
      assert.equal((await world.ask(path, signed(["viewer"]))).status, 200);
      assert.deepEqual(seenAt(world, path), [undefined]);
    }
  });

  test("what it changes at the servers is in the audit log under its own name", async () => {
    const { rig, web } = world;
    const stop = `/v1/allocation/${web}/stop`;
    rig.nomad.overrides.set(stop, answers.json("{}"));
    await world.ask(stop, signed(["keeper"], { sub: "stopper" }), "PUT");
    await world.ask(stop, signed(["viewer"], { sub: "viewer" }), "PUT");
    await world.ask("/v1/jobs", signed(["admins"], { sub: "boss" }), "PUT");
    // biome-ignore format: a table
    const expected = {
      stopper: { route: "alloc.stop", kind: "change", allocation: web, upstream: "service", result: "ok" },
      viewer: { route: "alloc.stop", kind: "change", allocation: web, upstream: "service", result: "denied" },
      boss: { route: "pass_through", kind: "change", path: "/v1/jobs", upstream: "service", result: "failed" },
    };
    for (const [subject, facts] of Object.entries(expected)) {
      const record = await endOf(world, subject);
      for (const [name, value] of Object.entries(facts)) assert.equal(record[name], value, name);
    }
  });

  test(
    "the audit log says as much of what is passed on for it as of all else",
    patient,
    async () => {
      const path = "/v1/job/told";
      world.rig.nomad.overrides.set(path, answers.json('{"some":"answer"}'));
      await world.ask(path, signed(["admins"], { sub: "deleter" }), "DELETE");
      const sockets = new WebSocketServer({ noServer: true });
      world.rig.nomad.upgrades.set(`${path}/action`, (asked, socket, head) =>
        sockets.handleUpgrade(asked, socket, head, (open) =>
          open.on("message", () => {
            open.send('{"exited":true,"result":{"exit_code":4}}');
            open.close(1000);
          }),
        ),
      );
      const action = `${path}/action?action=greet&task=main&allocID=a1&group=g&command=%5B%22ls%22%5D`;
      const socket = new WebSocket(`${world.rig.url.replace("http", "ws")}${action}`, {
        headers: { "x-nomad-token": signed(["admins"], { sub: "greeter" }) },
      });
      await once(socket, "open");
      socket.send("hello");
      await once(socket, "close");
      // biome-ignore format: a table
      const expected = {
      deleter: { method: "DELETE", path, template: "/v1/job/:id", status: 200, bytesOut: 17 },
      greeter: { method: "GET", kind: "exec", allocation: "a1", task: "main", argv: ["ls"], status: 101, exitCode: 4 },
    };
      for (const [subject, facts] of Object.entries(expected)) {
        const record = await endOf(world, subject);
        for (const [name, value] of Object.entries(facts))
          assert.deepEqual(record[name], value, name);
      }
      const { bytesIn, bytesOut } = await endOf(world, "greeter");
      assert.ok(Number(bytesIn) > 0 && Number(bytesOut) > 0);
    },
  );

  test("the audit log tells of what another site asks with it", async () => {
    const path = "/v1/job/foreign";
    const headers = { "x-nomad-token": signed(["admins"]), origin: "https://evil.example" };
    const { status } = await world.rig.ask({ path, method: "DELETE", headers });
    assert.equal(status, 403);
    const socket = new WebSocket(`${world.rig.url.replace("http", "ws")}${path}/action`, {
      headers,
    });
    const [, refused] = await once(socket, "unexpected-response");
    assert.equal(refused.statusCode, 403);
    refused.resume();
    for (const asked of [path, `${path}/action`]) {
      const told = await eventually(`both records of ${asked}`, () => {
        const records = world.rig.audit().filter((one) => one["path"] === asked);
        return records.length === 2 ? records : undefined;
      });
      assert.deepEqual([told[1]?.["result"], told[1]?.["code"]], ["denied", "forbidden_origin"]);
    }
  });

  // biome-ignore format: a table
  const unread = [
    ["another region", "DELETE", "/v1/job/far", "region=mars", 500, "failed"],
    ["a query that two may read in two ways", "PUT", "/v1/job/odd", "namespace=a;b", 400, "bad_request"],
    ["a path with an empty segment", "DELETE", "/v1//job/slashes", "", 400, "bad_request"],
  ] as const;
  for (const [what, method, path, query, expected, code] of unread)
    test(`the audit log tells of ${what}, which is refused unread`, async () => {
      const headers = { "x-nomad-token": signed(["admins"]) };
      const { status } = await world.rig.ask({ path: `${path}?${query}`, method, headers });
      assert.equal(status, expected);
      const [start, end] = await eventually("both records", () => {
        const records = world.rig.audit().filter((one) => one["path"] === path);
        return records.length === 2 ? records : undefined;
      });
      assert.deepEqual([start?.["kind"], start?.["method"]], ["change", method]);
      assert.deepEqual([end?.["result"], end?.["code"]], ["failed", code]);
    });

  test("a job's action is a manager's alone", patient, async () => {
    const path = "/v1/job/web/action?action=greet&task=main&allocID=x&group=main";
    const heads: IncomingHttpHeaders[] = [];
    for (const target of ["/v1/job/web/action", "/v1/job/web%2Faction"])
      world.rig.nomad.overrides.set(target, (asked, response) => {
        heads.push(asked.headers);
        response.writeHead(404).end("no such action");
      });
    const upgrade = async (token: string, target = path): Promise<string> => {
      const socket = await rawUpgrade(Number(new URL(world.rig.url).port), target, token);
      const text = Buffer.concat(await socket.toArray()).toString();
      world.told.push(text);
      return text;
    };
    const forbidden = /^HTTP\/1\.1 403 .*\r\n\r\nPermission denied$/s;
    assert.match(await upgrade(signed(["shell"])), forbidden);
    assert.match(
      await upgrade(signed(["viewer"]), path.replace("/action", "%2Faction")),
      forbidden,
    );
    assert.deepEqual(heads, []);
    assert.match(await upgrade(signed(["admins"], { sub: "actor" })), /^HTTP\/1\.1 404 .*/);
    assert.deepEqual(
      heads.map((head) => head["x-nomad-token"]),
      [serviceToken],
    );
    assert.equal((await endOf(world, "actor"))["kind"], "exec");
  });

  test("does not travel beside a token that counts in its place", async () => {
    const path = "/v1/nodes";
    const headers = { authorization: `Bearer ${signed(["admins"])}` };
    const { status } = await world.rig.ask({ path, token: "reader", headers });
    assert.equal(status, 200);
    assert.equal(world.rig.nomad.asked(path).at(-1)?.headers.authorization, undefined);
    assert.equal(seenAt(world, path).at(-1), secrets.reader);
  });

  test("does not hide from the audit log what the token beside it changes", async () => {
    const path = "/v1/job/beside";
    world.rig.nomad.overrides.set(path, answers.json("{}"));
    const headers = { authorization: `Bearer ${signed([], { key: foreignKey })}` };
    await world.rig.ask({ path, method: "DELETE", token: "reader", headers });
    const ended = await eventually("both records", () => {
      const records = world.rig.audit().filter((one) => one["path"] === path);
      return records.length === 2 ? records : undefined;
    });
    assert.deepEqual(
      ended.map(({ audit, kind, accessor }) => [audit, kind, accessor]),
      [
        ["start", "change", "upstream decides"],
        ["end", "change", "upstream decides"],
      ],
    );
  });

  test("a token that a login gave works as any other", async () => {
    const body = JSON.stringify({ AuthMethodName: "corp", LoginToken: signed(["viewer"]) });
    let login = "";
    for (const path of ["/v1/acl/login", "/v1/acl/oidc/auth-url", "/v1/acl/oidc/complete-auth"])
      world.rig.nomad.overrides.set(path, (asked, response) => {
        asked.on("data", (chunk: Buffer) => {
          login += chunk.toString();
        });
        asked.once("end", () => response.end(JSON.stringify({ SecretID: secrets.reader })));
      });
    const ask = async (path: string): Promise<string> => {
      const reply = await request(`${world.rig.url}${path}`, { method: "POST", body });
      return await reply.body.text();
    };
    assert.match(await ask("/v1/acl/oidc/auth-url"), /SecretID/);
    assert.match(await ask("/v1/acl/oidc/complete-auth"), /SecretID/);
    login = "";
    const given: unknown = JSON.parse(await ask("/v1/acl/login"));
    assert.equal(login, body);
    assert.deepEqual(given, { SecretID: secrets.reader });
    assert.equal((await world.ask(listPath(world.web), secrets.reader)).status, 200);
  });

  test("one of another issuer is the servers' to know: a workload's own goes to the agent as it is", async () => {
    const workload = signed(["viewer"], { iss: "https://nomad.test", key: foreignKey });
    scriptWorkload(world.rig.nomad, workload, inNamespace("default", "read-job", "read-fs"));
    const { status, text } = await world.ask(listPath(world.web), workload);
    assert.equal(status, 200, text);
    assert.ok(world.rig.door.heard().includes(`X-Nomad-Token: ${workload}`));
    await world.ask("/v1/jobs?workload=1", workload);
    const passed = world.rig.nomad.requests.find(({ query }) => query.has("workload"));
    assert.equal(passed?.token, workload);
    const unknown = signed(["viewer"], { iss: "https://nobody.test" });
    assert.equal((await world.ask(listPath(world.web), unknown)).status, 403);
    assert.ok(seenAt(world, "/v1/acl/token/self").includes(unknown));
  });

  test("never reached an agent or a server, nor did the service token reach anybody else", () => {
    const { rig, told } = world;
    const issued = `"iss":"${issuer}"`;
    const bearsOurs = (text: string): boolean =>
      [...text.matchAll(/ey[\w-]+\.(ey[\w-]+)\.[\w-]+/g)].some(([, claims = ""]) =>
        Buffer.from(claims, "base64url").toString().includes(issued),
      );
    assert.ok(bearsOurs(`x ${signed([])} y`));
    assert.ok(!bearsOurs(rig.door.heard()));
    assert.ok(!bearsOurs(JSON.stringify(rig.nomad.requests.map(({ headers }) => headers))));
    const written = {
      log: rig.logText(),
      audit: JSON.stringify(rig.audit()),
      told: told.join("\n"),
    };
    for (const [where, text] of Object.entries(written)) {
      assert.ok(text.length > 1_000, where);
      assert.ok(!text.includes(serviceToken), where);
      assert.ok(!bearsOurs(text), where);
    }
  });
});

const tellings: Readonly<Record<string, (rig: ClusterRig) => void>> = {
  "by an event": ({ nomad }) => nomad.changeAcl("ACLPolicy", "ACLPolicyUpserted"),
  "at SIGHUP": ({ gateway }) => void gateway.reload(),
};
for (const [how, tell] of Object.entries(tellings))
  test(
    `a policy that shrinks at the servers ends what lives on it, told ${how}`,
    patient,
    async () => {
      await using world = await start(undefined, { ownToken: "management" });
      const { rig, held, web } = world;
      const shrink = (): void => {
        held.set("viewer", inNamespace("default", "list-jobs"));
        tell(rig);
      };
      const token = signed(["viewer"], { sub: "erin" });
      const ended = await follow(`${rig.url}${logPath(web)}`, token, shrink);
      assert.deepEqual([ended.text, ended.whole], ["first\n", false]);
      assert.equal((await endOf(world, "erin"))["code"], "right_ended");
      assert.equal((await world.ask(listPath(web), token)).status, 403);
    },
  );

test("through a server it is the service token as well, when the agent cannot be dialled", async () => {
  const relays: RelayServer[] = [];
  await using world = await start(undefined, {
    node: (node) => ({ ...node, address: "" }),
    servers: async (nomad, agent) => {
      const relay = await relayServer(nomad.origin, agent);
      relays.push(relay);
      return relay;
    },
  });
  const { status, headers } = await world.ask(listPath(world.web), signed(["viewer"]));
  assert.equal(status, 200);
  assert.equal(headers["x-serai-reach"], "servers; reason=no_address");
  const client = run(world, signed(["shell"]));
  await client.closed;
  assert.equal(client.exitCode(), 0);
  assert.deepEqual(
    relays.flatMap(({ relayed }) => relayed.map(({ token }) => token)),
    [serviceToken, serviceToken],
  );
});

test(
  "a JWT in the first message of a job's action is refused before a server sees it",
  patient,
  async () => {
    const server = new WebSocketServer({ port: 0, host: "127.0.0.1" });
    using _closed = { [Symbol.dispose]: () => server.close() };
    await once(server, "listening");
    const seen: string[] = [];
    server.on("connection", (socket) =>
      socket.on("message", (data) => {
        seen.push(String(data));
        socket.close(1000);
      }),
    );
    const { port } = server.address() as AddressInfo; // a TCP server's address is one
    await using world = await start(undefined, {
      servers: (nomad) => relayServer(nomad.origin, `127.0.0.1:${port}`),
    });
    const path = "/v1/job/web/action?action=greet&task=main&allocID=x&group=main&ws_handshake=true";
    const shake = async (token: string, headers = {}) => {
      const socket = new WebSocket(`${world.rig.url.replace("http", "ws")}${path}`, { headers });
      await once(socket, "open");
      socket.send(JSON.stringify({ version: 1, auth_token: token }));
      const [code, reason] = await once(socket, "close");
      return `${code} ${reason}`;
    };
    const manager = signed(["admins"]);
    assert.equal(await shake(manager), "1011 Permission denied");
    assert.equal(await shake(manager, { "x-nomad-token": manager }), "1011 Permission denied");
    assert.deepEqual(seen, []);
    assert.equal(await shake(secrets.reader), "1000 ");
    assert.deepEqual(seen, [JSON.stringify({ version: 1, auth_token: secrets.reader })]);
  },
);

const pastPolicyAgeMs = 31_000;

test("with the servers away its holder is known for a while, then told to come again, and never refused", async () => {
  await using world = await start();
  const { rig, web } = world;
  const token = signed(["viewer"]);
  const status = async (): Promise<number> => (await world.ask(listPath(web), token)).status;
  assert.equal(await status(), 200);
  await rig.nomad.lose();
  assert.equal(await status(), 200);
  rig.clock.aheadMs += pastPolicyAgeMs;
  assert.equal(await status(), 503);
  assert.equal((await world.ask("/v1/jobs", token)).status, 503);
  await rig.nomad.listen();
  await rig.gateway.reload();
  assert.equal(await status(), 200);
});

test("with ACLs off nobody gets the service token, for no JWT is verified then", async () => {
  await using world = await start((nomad) => {
    nomad.overrides.set("/v1/acl/policies", answers.refuse(400, "ACL support disabled"));
  });
  const forged = signed(["admins"], { key: foreignKey });
  await world.ask(listPath(world.web), forged);
  await world.ask("/v1/jobs?forged=1", forged);
  const passed = world.rig.nomad.requests.filter(({ query }) => query.has("forged"));
  assert.deepEqual(
    passed.map(({ token }) => token),
    [undefined],
  );
  assert.ok(world.rig.door.heard().includes(listPath(world.web).split("?")[0] ?? "no path"));
  assert.ok(!world.rig.door.heard().includes(serviceToken));
});
