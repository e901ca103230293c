/** A browser on a foreign site changes nothing here and runs nothing: by Origin and Sec-Fetch-Site, on every row, whatever the verb. */
import assert from "node:assert/strict";
import { after, before, describe, test } from "node:test";
import type { Dispatcher } from "undici";
import { routes } from "../../src/routes.ts";
import { sendRaw } from "../support/raw.ts";
import { type Reply, type Rig, startRig } from "../support/rig.ts";

const allowed = "https://ui.example";
let rig: Rig;
let id = "";

before(async () => {
  rig = await startRig({
    settings: { http: { allowed_origins: [allowed] } },
    agents: [
      {
        workloads: [
          { job: "j", group: "g", tasks: [{ name: "t", command: "/bin/sleep", args: ["1000"] }] },
        ],
      },
    ],
  });
  id = rig.allocation("j");
});
after(() => rig[Symbol.asyncDispose]());

const own = (): string => rig.url;

/** Headers of a browser, and whether they are of a foreign site. */
const senders: readonly (readonly [name: string, headers: () => Record<string, string>, foreign: boolean])[] = [
  ["no Origin at all", () => ({}), false],
  ["the gateway's own origin", () => ({ origin: own(), "sec-fetch-site": "same-origin" }), false],
  ["its own origin with another scheme, as behind a TLS balancer", () => ({ origin: own().replace("http:", "https:") }), false],
  ["an allowed origin", () => ({ origin: allowed, "sec-fetch-site": "cross-site" }), false],
  ["a typed address", () => ({ "sec-fetch-site": "none" }), false],
  ["a foreign origin", () => ({ origin: "https://evil.example" }), true],
  ["the null origin", () => ({ origin: "null" }), true],
  ["an empty origin", () => ({ origin: "" }), true],
  ["the own host with another port", () => ({ origin: "http://127.0.0.1:1" }), true],
  ["a host that begins as the own", () => ({ origin: `${own()}.evil.example` }), true],
  ["a host that ends as the own", () => ({ origin: own().replace("//", "//evil.") }), true],
  ["the own host as user name", () => ({ origin: own().replace("//", "//evil.example@") }), true],
  ["an allowed origin with a tail", () => ({ origin: `${allowed}.evil.example` }), true],
  ["a cross-site fetch without Origin", () => ({ "sec-fetch-site": "cross-site" }), true],
  ["a cross-site fetch that claims the own origin", () => ({ origin: own(), "sec-fetch-site": "cross-site" }), true],
]; // biome-ignore format: a table

const bodies: Readonly<Record<string, string>> = {
  metadata: '{"Meta":{"a":"b"}}',
  signal: '{"Task":"t","Signal":"SIGCONT"}',
  search: '{"Prefix":"j","Context":"jobs"}',
  pause: '{"ScheduleState":"run"}',
};

const ask = (
  route: (typeof routes)[number],
  method: Dispatcher.HttpMethod,
  headers: Record<string, string>,
): Promise<Reply> => {
  const path = route.path.replace(/[:*]id/, id);
  const query = `?node_id=${rig.agent().nodeId}&path=/alloc&task=t&type=stdout&offset=0&limit=1&follow=false`;
  const body = bodies[route.body];
  return rig.ask({
    method,
    path: `${path}${query}`,
    token: rig.secret("management"),
    headers,
    ...(body === undefined || method === "GET" ? {} : { body }),
  });
};

/** Verbs that are not reads, and the reads that change something. */
const changing = routes
  .filter(({ carriage, name }) => carriage !== "websocket" && name !== "serai.announce")
  .flatMap((route) => {
    const verbs = (["POST", "PUT", "DELETE"] as const).filter(
      (verb) => route.methods === undefined || route.methods.includes(verb),
    );
    const changesByGet = route.audit === "change" && route.methods === undefined;
    return [...verbs, ...(changesByGet ? (["GET"] as const) : [])].map((method) => ({
      route,
      method,
    }));
  });

describe("what is not a read, or changes something by GET", () => {
  test("is there for every change", () => {
    const covered = new Set(changing.map(({ route }) => route.name));
    for (const { name, audit } of routes)
      if (audit === "change") assert.ok(covered.has(name), name);
  });

  for (const [name, headers, foreign] of senders)
    test(`with ${name} is ${foreign ? "403 on each such row" : "let in"}`, async () => {
      for (const { route, method } of changing) {
        if (!foreign && route.name !== "search") continue; // what they do is shown elsewhere
        const { status, headers: answered, text } = await ask(route, method, headers());
        const where = `${method} ${route.path}: ${status} ${text}`;
        if (foreign) {
          assert.equal(status, 403, where);
          assert.equal(answered["x-serai-error"], "forbidden_origin", where);
        } else assert.notEqual(answered["x-serai-error"], "forbidden_origin", where);
      }
    });

  test("was refused: nothing has changed, and the own origin may still change it", async () => {
    const token = rig.secret("management");
    const document = (await rig.get(`/v1/allocation/${id}`, token)).text;
    assert.match(document, /"ClientStatus":"running"/);
    assert.match(document, /"Restarts":0/);
    const meta = `/v1/client/metadata?node_id=${rig.agent().nodeId}`;
    assert.doesNotMatch((await rig.get(meta, token)).text, /"a":"b"/);
    const write = { method: "POST", path: meta, token, body: bodies["metadata"] ?? "" } as const;
    for (const origin of [own(), allowed])
      assert.equal((await rig.ask({ ...write, headers: { origin } })).status, 200);
  });
});

test("a read is answered whoever asks, and shows a foreign site nothing with what a browser adds by itself", async () => {
  const stats = `/v1/client/allocation/${id}/stats`;
  const headers = {
    origin: "https://evil.example",
    cookie: `nomad_token=${rig.secret("management")}; X-Nomad-Token=${rig.secret("management")}`,
  };
  assert.equal((await rig.ask({ path: stats, headers })).status, 403);
  assert.equal(
    (await rig.ask({ path: stats, headers, token: rig.secret("management") })).status,
    200,
  );
});

test("a body needs no type, and no coding is taken", async () => {
  const token = rig.secret("management");
  const write = {
    method: "POST",
    path: `/v1/client/metadata?node_id=${rig.agent().nodeId}`,
    token,
    body: '{"Meta":{"typed":"no"}}',
  } as const;
  for (const headers of [
    {},
    { "content-type": "application/x-www-form-urlencoded" },
    { "content-type": "text/plain" },
    { "content-type": "application/json" },
  ])
    assert.equal((await rig.ask({ ...write, headers })).status, 200, JSON.stringify(headers));
  for (const coding of ["gzip", "identity", "br, gzip"])
    assert.equal(
      (await rig.ask({ ...write, headers: { "content-encoding": coding } })).status,
      415,
    );
});

/* ---- credentials that are none ---- */

test("a token in the query is no credential, whatever it is called", async () => {
  const secret = rig.secret("management");
  for (const name of [
    "token",
    "X-Nomad-Token",
    "x-nomad-token",
    "access_token",
    "auth_token",
    "AuthToken",
    "authorization",
  ])
    for (const path of [
      `/v1/client/allocation/${id}/stats`,
      "/v1/nodes",
      `/v1/client/fs/ls/${id}`,
    ]) {
      const reply = await rig.get(`${path}?${name}=${secret}&path=/`);
      assert.equal(`${reply.status} ${reply.text}`, "403 Permission denied", `${name} on ${path}`);
    }
  const port = Number(new URL(rig.url).port);
  const answer = await sendRaw(
    port,
    [
      `GET /v1/client/allocation/${id}/exec?task=t&command=%5B%22id%22%5D&token=${secret} HTTP/1.1`, "Host: gate", "Connection: Upgrade", "Upgrade: websocket",
      "Sec-WebSocket-Version: 13", "Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==", "", "",
    ].join("\r\n"), // biome-ignore format: a request
    300,
  );
  assert.equal(answer.status, 101);
  assert.ok(
    answer.text.endsWith(`${String.fromCharCode(0x03, 0xf3)}Permission denied`),
    "close 1011",
  );
  assert.equal(rig.logText().includes(secret), false);
  assert.equal(JSON.stringify(rig.audit()).includes(secret), false);
});
