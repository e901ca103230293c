/** What must never be written down or told, and what must always be: secrets, injected lines, audit records. */
import assert from "node:assert/strict";
import { randomBytes, randomUUID } from "node:crypto";
import { once } from "node:events";
import { readFileSync } from "node:fs";
import { test } from "node:test";
import { request } from "undici";
import { WebSocket } from "ws";
import type { JsonObject } from "../../src/lib/json.ts";
import { routes } from "../../src/routes.ts";
import { linesOf } from "../support/lines.ts";
import { createHome, shellWorkload, until } from "../support/processes.ts";
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

const start = (): Promise<Rig> => startRig({ agents: [{ name: "n1", workloads: [workload] }] });

const portOf = (rig: Rig): number => Number(new URL(rig.url).port);

const auditText = (rig: Rig): string => linesOf(`${rig.directory}/audit.log`).join("\n");

const socketTo = (rig: Rig, path: string, headers: Record<string, string> = {}): WebSocket => {
  const socket = new WebSocket(`${rig.url.replace("http", "ws")}${path}`, { headers });
  socket.on("error", () => undefined);
  return socket;
};

const execPath = (id: string, argv: readonly string[], more = ""): string =>
  `/v1/client/allocation/${id}/exec?task=main&command=${encodeURIComponent(JSON.stringify(argv))}${more}`;

/** A random value, remembered, that looks like what its slot is for. */
const createCanaries = () => {
  const all = new Map<string, string>();
  const keep = (slot: string, value: string): string => {
    all.set(slot, value);
    return value;
  };
  return {
    all,
    uuid: (slot: string): string => keep(slot, randomUUID()),
    text: (slot: string): string => keep(slot, `canary${randomBytes(16).toString("hex")}A1`),
    jwt: (slot: string): string =>
      keep(
        slot,
        `eyJ${randomBytes(12).toString("hex")}.eyJ${randomBytes(12).toString("hex")}.${randomBytes(12).toString("hex")}`,
      ),
  };
};

test("a secret in any slot is in no log, audit record, figure, list or answer", async () => {
  await using rig = await start();
  const id = rig.allocation("j1");
  const canaries = createCanaries();
  const { uuid, text, jwt } = canaries;
  const answers: string[] = [];
  const ask = async (
    path: string,
    headers: Record<string, string>,
    body?: string,
  ): Promise<void> => {
    const reply = await request(`${rig.url}${path}`, {
      headers,
      ...(body === undefined ? {} : { method: "POST", body }),
    });
    answers.push(`${JSON.stringify(reply.headers)}${await reply.body.text()}`);
  };
  const token = rig.secret("management");
  canaries.all.set("a good token", token);
  canaries.all.set("the join token", rig.joinSecret());
  const stats = `/v1/client/allocation/${id}/stats`;
  const asked = `/v1/client/fs/logs/${id}?task=main&type=stdout`;

  await ask(stats, { "x-nomad-token": token });
  await ask(stats, { "x-nomad-token": uuid("unknown token") });
  await ask(stats, { "x-nomad-token": text("malformed token") });
  await ask(asked, { authorization: `Bearer ${jwt("bearer")}` });
  await ask(asked, { authorization: `Bearer ${token}` });
  await ask(asked, { authorization: `Basic ${text("basic")}` });
  await ask(`${stats}?token=${uuid("query token")}&X-Nomad-Token=${uuid("query header")}`, {});
  await ask(asked, { cookie: `session=${text("cookie")}; nomad_token=${uuid("cookie token")}` });
  await ask(`/v1/${text("path")}/x`, { "x-nomad-token": token });
  await ask(`/v1/client/allocation/${text("key")}/stats`, { "x-nomad-token": token });
  await ask(
    "/v1/client/metadata",
    { "x-nomad-token": token },
    JSON.stringify({ NodeID: rig.agent().nodeId, Meta: { a: "b" }, AuthToken: uuid("body token") }),
  );
  await ask("/v1/client/metadata", { "x-nomad-token": token }, `{"NodeID": ${text("broken body")}`);
  await ask(
    "/v1/search",
    { "x-nomad-token": token },
    JSON.stringify({ Prefix: "x", Context: "all", AuthToken: uuid("search token") }),
  );
  await ask(stats, {
    "x-nomad-token": token,
    referer: `http://x/?token=${uuid("referer")}`,
    "user-agent": text("agent"),
  });
  await ask(stats, { "x-nomad-token": token, [text("header name")]: "x" });
  await rawRequest(
    portOf(rig),
    get(stats, `X-Nomad-Token: ${uuid("doubled")}\r\nX-Nomad-Token: ${uuid("doubled too")}\r\n`),
  );
  await rawRequest(
    portOf(rig),
    `GET ${stats} HTTP/1.1\r\nHost: gate\r\nX-Nomad-Token: ${text("folded")}\r\n bad\u0001\r\n\r\n`,
  );
  const announced = await request(`${rig.url}/v1/serai/node/${rig.agent().nodeId}`, {
    method: "PUT",
    headers: { authorization: `Bearer ${text("wrong join token")}` },
    body: "{}",
  });
  answers.push(await announced.body.text());

  const argv = [
    "true",
    `API_TOKEN=${text("env-looking")}`,
    "--password",
    text("flag value"),
    uuid("a token as argument"),
    `--header=Authorization: Bearer ${text("bearer argument")}`,
  ];
  const closing = async (socket: WebSocket): Promise<void> => {
    const [, reason] = await once(socket, "close");
    answers.push(String(reason));
  };
  await closing(socketTo(rig, execPath(id, argv), { "x-nomad-token": token }));
  for (const secret of [token, uuid("handshake token"), text("malformed handshake")]) {
    const socket = socketTo(rig, execPath(id, ["true"], "&ws_handshake=true"));
    await once(socket, "open");
    socket.send(JSON.stringify({ version: 1, auth_token: secret }));
    await closing(socket);
  }
  const odd = socketTo(rig, execPath(id, ["true"], "&ws_handshake=true"));
  await once(odd, "open");
  odd.send(`{"version":1,"auth_token":"${text("broken handshake")}`);
  await closing(odd);

  const follower = rawClient(
    portOf(rig),
    get(`${asked}&follow=true&token=${uuid("live query")}`, `X-Nomad-Token: ${token}\r\n`),
  );
  await follower.seen("200 OK");
  const admin = async (path: string): Promise<string> =>
    (await request(`${rig.adminUrl}${path}`)).body.text();
  const places = {
    "/debug/live": await admin("/debug/live"),
    "/metrics": await admin("/metrics"),
    "/readyz": await admin("/readyz?verbose"),
    "an answer": answers.join("\n"),
    "the log": rig.logText(),
    "the audit": auditText(rig),
    "saved nodes": JSON.stringify([...rig.gateway.registry.nodes()]),
  };
  follower.socket.destroy();
  for (const [slot, secret] of canaries.all)
    for (const [place, content] of Object.entries(places)) {
      // an id and a file's path are what a record is about
      assert.equal(
        content.toLowerCase().includes(secret.toLowerCase()),
        false,
        `${slot} is in ${place}`,
      );
    }
  const exec = rig
    .audit()
    .find((line) => line["route"] === "alloc.exec" && Array.isArray(line["argv"]));
  assert.ok(
    exec && Array.isArray(exec["argv"]) && exec["argv"][0] === "true",
    "the command itself is kept",
  );
});

test("an agent's secrets reach neither its tasks nor the commands run beside them, and stand in no command line", async () => {
  await using home = createHome();
  const gateway = await home.gateway();
  const agent = await home.agent("n1", gateway.url, {
    gateway: { address: gateway.url },
    workloads: [shellWorkload("j1", "env; exec sleep 1000")],
  });
  const headers = { "x-nomad-token": home.secrets.operator };
  const id = await until("the task runs", async () => {
    const list: unknown = await (await fetch(`${gateway.url}/v1/allocations`, { headers })).json();
    assert.ok(Array.isArray(list));
    return list[0]?.ClientStatus === "running" ? String(list[0].ID) : undefined;
  });
  const env = await until("it wrote its environment", async () => {
    const log = await fetch(
      `${gateway.url}/v1/client/fs/logs/${id}?task=main&type=stdout&plain=true`,
      { headers },
    );
    const text = await log.text();
    return text.includes("NOMAD_ALLOC_ID") ? text : undefined;
  });
  assert.equal(env.includes(home.secrets.join), false);
  const socket = new WebSocket(`${gateway.url.replace("http", "ws")}${execPath(id, ["env"])}`, {
    headers,
  });
  let output = "";
  socket.on("message", (data) => {
    const frame: unknown = JSON.parse(String(data));
    if (typeof frame === "object" && frame !== null && "stdout" in frame) {
      const { stdout } = frame;
      if (typeof stdout === "object" && stdout !== null && "data" in stdout)
        output += Buffer.from(String(stdout.data), "base64").toString();
    }
  });
  await once(socket, "close");
  assert.match(output, /NOMAD_ALLOC_ID/);
  assert.equal(output.includes(home.secrets.join), false);
  for (const { pid, output: lines, errors } of [gateway, agent]) {
    const line = readFileSync(`/proc/${pid}/cmdline`, "utf8");
    for (const secret of Object.values(home.secrets)) {
      assert.equal(line.includes(secret), false);
      assert.equal([...lines, ...errors].join("\n").includes(secret), false);
    }
  }
});

/** What a terminal obeys or a reader takes for the end of a line; the line feed between events apart. */
const isUnsafe = (character: string): boolean => {
  const code = character.codePointAt(0) ?? 0;
  if (code === 0x0a) return false;
  return code < 0x20 || (code >= 0x7f && code <= 0x9f) || "\u2028\u2029\u202e".includes(character);
};

test("control characters in what a caller sets make no second line and reach no terminal", async () => {
  await using rig = await start();
  const id = rig.allocation("j1");
  const token = rig.secret("management");
  const nasty = '\r\n\u001b[31m\u2028\u2029\u0085\u202e{"forged":true}\t\u0000';
  const odd = encodeURIComponent(nasty);
  const paths = [
    `/v1/client/fs/logs/${id}?task=${odd}&type=stdout`,
    `/v1/client/fs/cat/${id}?path=${odd}`,
    `/v1/client/fs/ls/${id}?path=/alloc/${odd}`,
    `/v1/client/stats?node_id=${odd}`,
    `/v1/client/metadata?node_id=${odd}`,
    `/v1/client/allocation/${encodeURIComponent('\u2028\u202e{"forged":true}')}/stats`,
    `/v1/allocations?namespace=${odd}`,
    `/v1/allocations?filter=${odd}`,
    `/v1/client/allocation/${id}/stats?task=${odd}`,
    `/${encodeURIComponent("\u2028forged")}`,
  ];
  for (const path of paths) (await rig.get(path, token)).text;
  for (const body of [{ TaskName: nasty }, { Task: nasty, Signal: nasty }])
    for (const action of ["restart", "signal"])
      await rig.ask({
        method: "PUT",
        path: `/v1/client/allocation/${id}/${action}`,
        token,
        body: JSON.stringify(body),
      });
  await rig.ask({
    method: "POST",
    path: "/v1/client/metadata",
    token,
    body: JSON.stringify({ NodeID: nasty, Meta: { [nasty]: nasty } }),
  });
  await once(socketTo(rig, execPath(id, [nasty, nasty]), { "x-nomad-token": token }), "close");
  await once(
    socketTo(rig, `/v1/client/allocation/${id}/exec?task=${odd}&command=${odd}&tty=${odd}`, {
      "x-nomad-token": token,
    }),
    "close",
  );
  await rawRequest(
    portOf(rig),
    get("/v1/regions", `X-Forwarded-For: \u001b[31m\r\nUser-Agent: \u00e9\u009b31m\r\n`),
  );
  for (const [name, content] of [
    ["log", rig.logText()],
    ["audit", auditText(rig)],
  ] as const) {
    assert.deepEqual([...content].filter(isUnsafe), [], name);
    for (const line of content.trimEnd().split("\n")) {
      const event: unknown = JSON.parse(line);
      assert.ok(typeof event === "object" && event !== null && !("forged" in event), line);
    }
  }
});

test("answers reflect nothing, tell no stack and do not say what serves them", async () => {
  await using rig = await start();
  const script = "<script>alert(1)</script>";
  const requests = [
    `GET / HTTP/1.1\r\nHost: ${script}\r\n\r\n`,
    get(`/${encodeURIComponent(script)}`),
    get(`/v1/client/fs/cat/${encodeURIComponent(script)}?path=x`),
    get("/v1/nodes", `Origin: ${script}\r\nReferer: ${script}\r\nX-Forwarded-Host: ${script}\r\n`),
    get("/v1/%zz"),
    get("/v1/allocations?per_page=x"),
    `POST /v1/search HTTP/1.1\r\nHost: gate\r\nContent-Length: 3\r\n\r\n<s>`,
  ];
  for (const bytes of requests) {
    const answer = await rawRequest(portOf(rig), bytes);
    const whole = `${[...answer.headers].join("\n")}\n${answer.body.toString()}`;
    assert.ok(answer.status !== undefined && answer.status >= 400, bytes);
    assert.equal(whole.includes("<script>"), false, whole);
    assert.equal(/ at .*\.(ts|js):\d+|node:internal|node_modules/.test(whole), false, whole);
    for (const header of ["x-powered-by", "server", "etag"])
      assert.equal(answer.headers.has(header), false, header);
    if (answer.headers.has("x-serai-error"))
      assert.equal(answer.headers.get("x-content-type-options"), "nosniff");
  }
});

interface Audited {
  readonly route: string;
  readonly method: "GET" | "POST" | "PUT";
  readonly path: string;
  readonly body?: string;
}

// biome-ignore format: a table
const audited: readonly Audited[] = [
  { route: "fs.ls", method: "GET", path: "/v1/client/fs/ls/ID?path=/" },
  { route: "fs.stat", method: "GET", path: "/v1/client/fs/stat/ID?path=/alloc" },
  { route: "fs.cat", method: "GET", path: "/v1/client/fs/cat/ID?path=/alloc/logs/main.stdout.0" },
  { route: "fs.readat", method: "GET", path: "/v1/client/fs/readat/ID?path=/alloc/logs/main.stdout.0&offset=0&limit=2" },
  { route: "fs.stream", method: "GET", path: "/v1/client/fs/stream/ID?path=/alloc/logs/main.stdout.0&follow=false" },
  { route: "fs.logs", method: "GET", path: "/v1/client/fs/logs/ID?task=main&type=stdout&plain=true" },
  { route: "alloc.restart", method: "PUT", path: "/v1/client/allocation/ID/restart", body: "{}" },
  { route: "alloc.signal", method: "PUT", path: "/v1/client/allocation/ID/signal", body: '{"Task":"main","Signal":"SIGCONT"}' },
  { route: "alloc.gc", method: "GET", path: "/v1/client/allocation/ID/gc" },
  { route: "alloc.pause.set", method: "PUT", path: "/v1/client/allocation/ID/pause", body: '{"ScheduleState":"run"}' },
  { route: "client.metadata.post", method: "POST", path: "/v1/client/metadata", body: '{"NodeID":"NODE","Meta":{"a":"b"}}' },
  { route: "client.gc", method: "GET", path: "/v1/client/gc?node_id=NODE" },
  { route: "alloc.stop", method: "PUT", path: "/v1/allocation/ID/stop" },
];

const recordsOf = (rig: Rig, route: string, from: number): readonly JsonObject[] =>
  rig
    .audit()
    .slice(from)
    .filter((line) => line["route"] === route);

test("every read, exec and change has a start and an end record, denied ones too", async (t) => {
  await using rig = await start();
  const id = rig.allocation("j1");
  const filled = (text: string): string =>
    text.replace("ID", id).replace("NODE", rig.agent().nodeId);
  assert.deepEqual(
    audited.map(({ route }) => route).sort(),
    routes
      .filter(({ audit }) => audit !== undefined && audit !== "exec")
      .map(({ name }) => name)
      .sort(),
    "the table holds every audited route",
  );
  for (const { route, method, path, body } of audited)
    await t.test(route, async () => {
      const from = rig.audit().length;
      const sent = body === undefined ? {} : { body: body.replace("NODE", rig.agent().nodeId) };
      const denied = await rig.ask({ method, path: filled(path), ...sent });
      assert.equal(denied.status, 403, denied.text);
      const done = await rig.ask({
        method,
        path: filled(path),
        token: rig.secret("management"),
        ...sent,
      });
      const [first, second, third, fourth] = await eventually("four records", () => {
        const found = recordsOf(rig, route, from);
        return found.length >= 4 ? found : undefined;
      });
      assert.deepEqual(
        [first?.["audit"], second?.["audit"], second?.["result"], second?.["code"]],
        ["start", "end", "denied", "permission_denied"],
      );
      assert.equal(first?.["accessor"], "anonymous");
      assert.deepEqual([third?.["audit"], fourth?.["audit"]], ["start", "end"]);
      assert.equal(fourth?.["result"], done.status < 400 ? "ok" : "failed", done.text);
      assert.equal(fourth?.["accessor"], rig.accessor("management"));
      assert.equal(third?.["requestId"], fourth?.["requestId"]);
      assert.equal(fourth?.["requestId"], done.headers["x-request-id"]);
    });
});

test("an exec that is denied, and one that ends, are recorded with who, where and what", async () => {
  await using rig = await start();
  const id = rig.allocation("j1");
  await once(socketTo(rig, execPath(id, ["id"])), "close");
  await once(
    socketTo(rig, execPath(id, ["sh", "-c", "exit 3"]), {
      "x-nomad-token": rig.secret("management"),
    }),
    "close",
  );
  const lines = await eventually("four records", () => {
    const found = recordsOf(rig, "alloc.exec", 0);
    return found.length >= 4 ? found : undefined;
  });
  const [, denied, begun, ended] = lines;
  assert.deepEqual([denied?.["result"], denied?.["argv"]], ["denied", ["id"]]);
  assert.deepEqual(
    [begun?.["allocation"], begun?.["node"], begun?.["namespace"], begun?.["task"]],
    [id, rig.agent().nodeId, "default", "main"],
  );
  assert.deepEqual(
    [ended?.["result"], ended?.["exitCode"], ended?.["argv"]],
    ["ok", 3, ["sh", "-c", "exit 3"]],
  );
});

test("a caller that leaves in the middle still has an end record", async () => {
  await using rig = await start();
  const id = rig.allocation("j1");
  const follower = rawClient(
    portOf(rig),
    get(
      `/v1/client/fs/logs/${id}?task=main&type=stdout&follow=true`,
      `X-Nomad-Token: ${rig.secret("management")}\r\n`,
    ),
  );
  await follower.seen("200 OK");
  follower.socket.resetAndDestroy();
  const socket = socketTo(rig, execPath(id, ["sleep", "100"]), {
    "x-nomad-token": rig.secret("management"),
  });
  await once(socket, "open");
  await eventually("the exec began", () =>
    recordsOf(rig, "alloc.exec", 0).length > 0 ? true : undefined,
  );
  socket.terminate();
  for (const route of ["fs.logs", "alloc.exec"]) {
    const end = await eventually(`${route} has ended`, () =>
      recordsOf(rig, route, 0).find(({ audit }) => audit === "end"),
    );
    assert.deepEqual([end["result"], end["code"]], ["failed", "client_closed"]);
  }
});

test("a foreign site is denied, counted and recorded, before anybody was asked for", async () => {
  await using rig = await start();
  const id = rig.allocation("j1");
  const origin = "https://evil.example";
  const socket = socketTo(rig, execPath(id, ["id"]), {
    "x-nomad-token": rig.secret("management"),
    origin,
  });
  const [, refused] = await once(socket, "unexpected-response");
  assert.equal(refused.statusCode, 403);
  assert.equal(refused.headers["x-serai-error"], "forbidden_origin");
  socket.terminate();
  const stop = await rig.ask({
    method: "PUT",
    path: `/v1/allocation/${id}/stop`,
    token: rig.secret("management"),
    headers: { origin },
  });
  assert.equal(stop.status, 403, stop.text);
  for (const route of ["alloc.exec", "alloc.stop"]) {
    const end = await eventually(`${route} is recorded`, () =>
      recordsOf(rig, route, 0).find(({ audit }) => audit === "end"),
    );
    assert.deepEqual(
      [end["result"], end["code"], end["allocation"]],
      ["denied", "forbidden_origin", id],
    );
  }
  const metrics = await (await request(`${rig.adminUrl}/metrics`)).body.text();
  assert.match(metrics, /serai_errors_total\{code="forbidden_origin"\} 2/);
  assert.match(
    metrics,
    /serai_http_requests_total\{route="\/v1\/client\/allocation\/:id\/exec",method="GET",code="403"\} 1/,
  );
});
