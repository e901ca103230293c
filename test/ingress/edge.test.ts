/** The edge alone, over real sockets: what is refused before anything is looked up. */
import assert from "node:assert/strict";
import { createServer } from "node:http";
import { connect } from "node:net";
import { after, test } from "node:test";
import { setImmediate } from "node:timers/promises";
import request from "supertest";
import { writeJson } from "../../src/answer.ts";
import { createEdge } from "../../src/ingress/edge.ts";
import { requestIds } from "../../src/ingress/exchange.ts";
import { openListener } from "../../src/ingress/listener.ts";
import { createUpgrade } from "../../src/ingress/upgrade.ts";
import type { Ending } from "../../src/ingress/visit.ts";
import type { RawQuery } from "../../src/parameters.ts";
import type { Exchange } from "../../src/ports.ts";
import { registryParameterCheck } from "../../src/registry/answers/parameter-check.ts";
import { sendRaw } from "../support/raw.ts";

const quiet = { debug() {}, info() {}, warn() {}, error() {} };
const endings: Ending[] = [];
const travelled: Exchange[] = [];
let started = 0;

const needs = {
  region: "global",
  maxBodyBytes: 64 * 1024,
  checkRegistryParameters: (name: string, raw: RawQuery) =>
    registryParameterCheck(name, raw, "global"),
  log: quiet,
  nextId: requestIds("t"),
  isDraining: () => false,
  started: () => {
    started++;
  },
  ended: (ending: Ending) => endings.push(ending),
  /** Answers what it was asked, so that a test sees what the edge made of a request. */
  travel: (exchange: Exchange) => {
    travelled.push(exchange);
    const { wire, route, key, parameters, body, credential, client } = exchange;
    if (wire.kind === "http")
      writeJson(wire.response, { route: route.name, key, parameters, body, credential, client });
    return Promise.resolve();
  },
};
const options = { isTrustedProxy: () => false, allowedOrigins: ["https://ui.example"] };
const edge = createEdge(needs, options);
const listener = await openListener(
  {
    log: quiet,
    onRequest: edge.onRequest,
    begin: edge.begin,
    onUpgrade: createUpgrade(needs, {
      ...options,
      maxMessageBytes: 1 << 20,
      handshakeTimeoutMs: 200,
      maxHandshakeBytes: 65_536,
      maxUnauthenticatedPerAddress: 2,
    }),
  },
  {
    host: "127.0.0.1",
    port: 0,
    maxHeaderBytes: 16_384,
    headersTimeoutMs: 5_000,
    requestTimeoutMs: 30_000,
    keepAliveTimeoutMs: 5_000,
    tlsHandshakeTimeoutMs: 5_000,
    maxSocketsPerAddress: 50,
    maxSockets: 1_000,
    tls: undefined,
  },
);
const port = Number(listener.address.split(":")[1]);
const url = `http://127.0.0.1:${port}`;
after(() => listener.close(AbortSignal.abort()));

const id = "307b0057-418f-b6f1-922f-691b03e2fdef";

const answered: readonly (readonly [what: string, path: string, expected: object])[] = [
  [
    "the rest of a file route is its id",
    `/v1/client/fs/ls/${id}?path=/a`,
    { route: "fs.ls", key: id, parameters: { path: "/a" } },
  ],
  [
    "unknown parameters are dropped",
    `/v1/client/fs/ls/${id}?region=global&x=1`,
    { parameters: { path: "/" } },
  ],
  [
    "a node route takes node_id",
    "/v1/client/stats?node_id=abc",
    { route: "client.stats", key: "abc" },
  ],
  ["anything below a node is its id", "/v1/node/x/y", { route: "node.read", key: "x/y" }],
];
for (const [what, path, expected] of answered)
  test(`${what}: ${path}`, async () => {
    const answer = await request(url).get(path).expect(200);
    for (const [name, value] of Object.entries(expected))
      assert.deepEqual(answer.body[name], value);
  });

const refused: readonly (readonly [
  method: "get" | "post" | "put" | "head" | "delete",
  path: string,
  status: number,
  text: string,
])[] = [
  ["get", "/v1/nope", 404, ""],
  ["get", "/V1/allocations", 404, ""],
  ["get", "/v1/client/stats/", 404, ""],
  ["get", "/v1/client/fs/nope/x", 404, "Invalid method"],
  ["get", "/v1/client/fs/ls", 404, "Invalid method"],
  ["get", "/v1/client/fs/ls/", 400, "must provide a valid alloc id"],
  ["get", `/v1/client/fs/cat/${id}`, 400, "must provide a file name"],
  ["get", "/v1/node/pools", 404, ""],
  ["get", "/v1/node/pool/default/nodes", 404, ""],
  ["get", `/v1/client/allocation/${id}/nope`, 404, "resource not found"],
  ["get", `/v1/client/allocation/${id}/stats/`, 404, "resource not found"],
  ["put", "/v1/client/metadata", 405, "Invalid method"],
  ["get", `/v1/client/allocation/${id}/signal`, 405, "Invalid method"],
  ["post", "/v1/allocations", 405, "Invalid method"],
  ["get", "/v1/client/stats", 400, "No local Node and node_id not provided"],
  ["post", "/v1/client/metadata", 400, "Request body is empty"],
  [
    "get",
    `/v1/client/fs/readat/${id}?path=a&offset=x`,
    500,
    'error parsing offset: strconv.ParseInt: parsing "x": invalid syntax',
  ],
  ["get", `/v1/client/fs/logs/${id}?task=a&type=x`, 400, "must provide log type (stdout/stderr)"],
  ["get", `/v1/client/fs/ls/${id}?path=a&path=b`, 400, 'parameter "path" is given more than once'],
  ["get", "/v1/allocations?index=x", 400, "Invalid index"],
  ["get", "/v1/allocations?region=elsewhere", 500, "No path to region"],
  [
    "get",
    `/v1/client/allocation/${id}/exec`,
    500,
    "failed to marshal command into json: unexpected end of JSON input",
  ],
  [
    "get",
    `/v1/client/allocation/${id}/exec?command=["ls"]`,
    500,
    "websocket connection not found in context",
  ],
];

test("what a registry route does not read may be anything, and its own comes first", async () => {
  await request(url).get("/v1/agent/self?wait=x&index=x&region=mars").expect(200);
  await request(url).get("/v1/agent/members?region=mars").expect(200);
  await request(url).get("/v1/regions?region=mars").expect(200);
  await request(url).put(`/v1/allocation/${id}/stop?wait=x&per_page=x`).expect(200);
  const versions = await request(url).get("/v1/job/web/versions?diffs=x&wait=x").expect(500);
  assert.match(versions.text, /^Failed to parse value of "diffs"/);
});

for (const [method, path, status, text] of refused)
  test(`${method} ${path} is ${status} ${text}`, async () => {
    const answer = await request(url)[method](path);
    assert.equal(answer.status, status);
    assert.equal(answer.text ?? "", text);
    assert.ok(answer.headers["x-request-id"]);
    if (text !== "") assert.equal(answer.headers["content-type"], "text/plain; charset=utf-8");
  });

const manyPairs = Array.from({ length: 257 }, (_, at) => `p${at}=`).join("&");
const askedAgain: readonly (readonly [path: string, status: number])[] = [
  [`/v1/client/fs/ls/${id}?path=/a%20b&path2=c`, 200],
  [`/v1/client/fs/ls/${id}?path=/${"a".repeat(600)}`, 200],
  [`/v1/client/fs/cat/${id}`, 400],
  [`/v1/client/fs/cat/${id}?path=a&path=b`, 400],
  [`/v1/client/fs/ls/${id}?region=elsewhere`, 500],
  [`/v1/client/allocation/${id}/signal`, 405],
  [`/v1/client/fs/ls/${id}?${manyPairs}`, 400],
];
for (const [path, status] of askedAgain)
  test(`asked again it is answered the same, whoever asks: ${status} ${path.slice(0, 90)}`, async () => {
    const bodies: unknown[] = [];
    for (const token of ["one", "two", "two"]) {
      const answer = await request(url).get(path).set("X-Nomad-Token", token);
      assert.equal(answer.status, status, answer.text);
      const { credential, ...rest } = answer.body;
      if (status === 200) assert.equal(credential.secret, token);
      bodies.push(status === 200 ? rest : answer.text);
    }
    assert.deepEqual(bodies[1], bodies[0]);
    assert.deepEqual(bodies[2], bodies[0]);
  });

test("a tree without its slash redirects, keeping the query, with a body for reads alone", async () => {
  const read = await request(url).get("/v1/client/fs?a=b").redirects(0).expect(307);
  assert.equal(read.headers["location"], "/v1/client/fs/?a=b");
  assert.equal(read.text, '<a href="/v1/client/fs/?a=b">Temporary Redirect</a>.\n\n');
  const write = await request(url).post("/v1/client/fs").redirects(0).expect(307);
  assert.equal(write.text ?? "", "");
});

const framing: readonly (readonly [what: string, bytes: string, status: number])[] = [
  ["no Host", "GET /v1/status/leader HTTP/1.1\r\n\r\n", 400],
  ["two Hosts", "GET /v1/status/leader HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n", 400],
  ["a Host with a path", "GET /v1/status/leader HTTP/1.1\r\nHost: a@b/c\r\n\r\n", 400],
  ["no HTTP at all", "hello\r\n\r\n", 400],
  ["HTTP/0.9", "GET /v1/status/leader\r\n\r\n", 400],
  ["HTTP/0.9 with a bare line feed", "GET /v1/status/leader\n\n", 400],
  ["HTTP/2 preface", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 400],
  ["HTTP/1.2", "GET /v1/status/leader HTTP/1.2\r\nHost: a\r\n\r\n", 400],
  [
    "Transfer-Encoding with identity",
    "POST /v1/search HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: identity, chunked\r\n\r\n0\r\n\r\n",
    400,
  ],
  [
    "gzip, chunked",
    "POST /v1/search HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
    400,
  ],
  [
    "Transfer-Encoding on HTTP/1.0",
    "POST /v1/search HTTP/1.0\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    400,
  ],
  [
    "Transfer-Encoding and Content-Length",
    "POST /v1/search HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    400,
  ],
  [
    "two lengths",
    "POST /v1/search HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\nContent-Length: 4\r\n\r\nabc",
    400,
  ],
  [
    "a length that is no number",
    "POST /v1/search HTTP/1.1\r\nHost: a\r\nContent-Length: +3\r\n\r\nabc",
    400,
  ],
  ["a folded header", "GET /v1/status/leader HTTP/1.1\r\nHost: a\r\nX: a\r\n b\r\n\r\n", 400],
  ["a blank before the colon", "GET /v1/status/leader HTTP/1.1\r\nHost: a\r\nX : a\r\n\r\n", 400],
  [
    "a header of 20 KiB",
    `GET /v1/status/leader HTTP/1.1\r\nHost: a\r\nX: ${"a".repeat(20_000)}\r\n\r\n`,
    431,
  ],
  [
    "Connection naming a credential",
    "GET /v1/status/leader HTTP/1.1\r\nHost: a\r\nConnection: close, X-Nomad-Token\r\n\r\n",
    400,
  ],
  [
    "two X-Nomad-Token",
    "GET /v1/status/leader HTTP/1.1\r\nHost: a\r\nX-Nomad-Token: a\r\nX-Nomad-Token: a\r\n\r\n",
    400,
  ],
  [
    "two Authorization",
    "GET /v1/status/leader HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer a\r\nAuthorization: Bearer b\r\n\r\n",
    400,
  ],
  [
    "Content-Encoding",
    "POST /v1/search HTTP/1.1\r\nHost: a\r\nContent-Encoding: gzip\r\nContent-Length: 0\r\n\r\n",
    415,
  ],
  [
    "a Trailer",
    "GET /v1/status/leader HTTP/1.1\r\nHost: a\r\nTrailer: X\r\nContent-Length: 0\r\n\r\n",
    200,
  ],
  ["HTTP/1.0 without Host", "GET /v1/status/leader HTTP/1.0\r\n\r\n", 200],
  [
    "the absolute form",
    "GET http://other.example/v1/status/leader HTTP/1.1\r\nHost: other.example\r\n\r\n",
    200,
  ],
  [
    "an h2c upgrade, ignored",
    "GET /v1/status/leader HTTP/1.1\r\nHost: a\r\nConnection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQAAP__\r\n\r\n",
    200,
  ],
  [
    "a WebSocket upgrade elsewhere, ignored",
    "GET /v1/status/leader HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n",
    200,
  ],
];
for (const [what, bytes, status] of framing)
  test(`raw: ${what} is ${status}`, async () => {
    const before = travelled.length;
    const answer = await sendRaw(port, bytes, 150);
    assert.equal(answer.status, status, answer.text.slice(0, 200));
    assert.equal(travelled.length - before, status === 200 ? 1 : 0);
    assert.equal(answer.text.match(/HTTP\/1\.1 /g)?.length, 1, "exactly one answer");
    if (status === 400 && !answer.text.includes("X-Request-Id"))
      assert.notEqual(answer.end, "open");
  });

const following = "GET /v1/status/leader HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n";
const lines = (...all: readonly string[]): string => `${all.join("\r\n")}\r\nHost: a\r\n\r\n`;
const kept: readonly (readonly [what: string, bytes: string, status: number])[] = [
  ["an unknown path", lines("GET /v1/nope HTTP/1.1"), 404],
  ["another method", lines("DELETE /v1/nodes HTTP/1.1"), 405],
  ["another method, with an empty body", lines("POST /v1/nodes HTTP/1.1", "Content-Length: 0"), 405],
  ["a path with ..", lines("GET /v1/../nodes HTTP/1.1"), 400],
  ["a parameter that is no bool", lines("GET /v1/nodes?stale=x HTTP/1.1"), 400],
  ["a foreign origin", lines("POST /v1/client/gc HTTP/1.1", "Origin: http://evil"), 403],
  ["Content-Encoding of nothing", lines("GET /v1/nodes HTTP/1.1", "Content-Encoding: gzip"), 415],
]; // biome-ignore format: a table
for (const [what, bytes, status] of kept)
  test(`${what} is ${status}, and the connection goes on`, async () => {
    const { text } = await sendRaw(port, bytes + following, 2_000);
    assert.deepEqual(text.match(/(?<=HTTP\/1\.1 )\d+/g), [String(status), "200"], text);
    assert.doesNotMatch(text.split(/(?=HTTP\/1\.1 200)/)[0] ?? "", /^connection: close/im);
  });

const last: readonly (readonly [what: string, bytes: string, status: number])[] = [
  ["two hosts", lines("GET /v1/nodes HTTP/1.1", "Host: b"), 400],
  ["two tokens", lines("GET /v1/nodes HTTP/1.1", "X-Nomad-Token: a", "X-Nomad-Token: a"), 400],
  ["another version", lines("GET /v1/nodes HTTP/1.2"), 400],
  ["two hosts and a path that is none", lines("GET * HTTP/1.1", "Host: b"), 400],
  ["a method with a body that nobody reads", `${lines("POST /v1/nodes HTTP/1.1", "Content-Length: 4")}1234`, 405],
  ["a body of 1 MiB", lines("POST /v1/client/metadata HTTP/1.1", "Content-Length: 1048576"), 413],
]; // biome-ignore format: a table
for (const [what, bytes, status] of last)
  test(`${what} is ${status}, and the last that is read of its connection`, async () => {
    const { text, end } = await sendRaw(port, bytes + following, 2_000);
    assert.deepEqual(text.match(/(?<=HTTP\/1\.1 )\d+/g), [String(status)], text);
    assert.match(text, /^connection: close/im);
    assert.notEqual(end, "open");
  });

for (const [what, target] of [
  ["of an agent's row", `/v1/client/fs/cat/${id}?path=alloc/ü.txt`],
  ["of the gateway's own", "/v1/allocations?filter=JobID+==+ü"],
  ["in the path", "/v1/job/ü"],
] as const)
  test(`raw: a target in another script is refused with what to do: ${what}`, async () => {
    const { text } = await sendRaw(port, `GET ${target} HTTP/1.1\r\nHost: a\r\n\r\n`, 150);
    assert.match(text, /^HTTP\/1\.1 400 /);
    assert.match(
      text,
      /\r\n\r\nthe request target holds a character that must be percent-encoded$/,
    );
  });

const exec = `/v1/client/allocation/${id}/exec?task=t&command=%5B%22ls%22%5D`;
const handshake =
  "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n";
const upgrades: readonly (readonly [what: string, bytes: string, status: number, text: string])[] =
  [
    [
      "POST",
      `POST ${exec} HTTP/1.1\r\nHost: a\r\n${handshake}\r\n`,
      405,
      "request method is not GET",
    ],
    [
      "version 777",
      `GET ${exec} HTTP/1.1\r\nHost: a\r\n${handshake.replace("13", "777")}\r\n`,
      400,
      "unsupported version",
    ],
    [
      "a foreign Origin",
      `GET ${exec} HTTP/1.1\r\nHost: a\r\nOrigin: http://evil.example\r\n${handshake}\r\n`,
      403,
      "request origin not allowed",
    ],
    [
      "a null Origin",
      `GET ${exec} HTTP/1.1\r\nHost: a\r\nOrigin: null\r\n${handshake}\r\n`,
      403,
      "request origin not allowed",
    ],
    [
      "a bad key",
      `GET ${exec} HTTP/1.1\r\nHost: a\r\n${handshake.replace("dGhlIHNhbXBsZSBub25jZQ==", "x")}\r\n`,
      400,
      "Sec-WebSocket-Key",
    ],
    [
      "a body",
      `GET ${exec} HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n${handshake}\r\nabc`,
      400,
      "the request has a body",
    ],
    [
      "the same Origin",
      `GET ${exec} HTTP/1.1\r\nHost: a:1\r\nOrigin: https://A:1\r\n${handshake}\r\n`,
      101,
      "",
    ],
    [
      "an allowed Origin",
      `GET ${exec} HTTP/1.1\r\nHost: a\r\nOrigin: https://ui.example\r\n${handshake}\r\n`,
      101,
      "",
    ],
    [
      "keep-alive beside Upgrade",
      `GET ${exec} HTTP/1.1\r\nHost: a\r\n${handshake.replace("Connection: Upgrade", "Connection: keep-alive, Upgrade")}\r\n`,
      101,
      "",
    ],
  ];
for (const [what, bytes, status, text] of upgrades)
  test(`upgrade with ${what} is ${status}`, async () => {
    const answer = await sendRaw(port, bytes, 150);
    assert.equal(answer.status, status, answer.text.slice(0, 300));
    assert.ok(answer.text.includes(text));
    if (status === 101) {
      assert.ok(answer.text.includes("Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo="));
      assert.ok(!/Sec-WebSocket-(Protocol|Extensions)/i.test(answer.text));
    } else assert.equal(answer.end, "fin");
  });

test("a socket that owes its handshake message is closed with 1008 at the deadline", async () => {
  const answer = await sendRaw(
    port,
    `GET ${exec}&ws_handshake=true HTTP/1.1\r\nHost: a\r\n${handshake}\r\n`,
    1_000,
  );
  const frame = Buffer.from(answer.text.slice(answer.text.indexOf("\r\n\r\n") + 4), "latin1");
  assert.equal(frame[0], 0x88);
  assert.equal(frame.readUInt16BE(2), 1008);
});

test("an exec for another region is closed with Nomad's words, as every other route refuses it", async () => {
  const answer = await sendRaw(
    port,
    `GET ${exec}&region=elsewhere HTTP/1.1\r\nHost: a\r\n${handshake}\r\n`,
    150,
  );
  const frame = Buffer.from(answer.text.slice(answer.text.indexOf("\r\n\r\n") + 4), "latin1");
  assert.equal(frame.readUInt16BE(2), 1011);
  assert.equal(frame.subarray(4).toString(), "No path to region");
});

test("cross-site writes are refused, with POST and with a GET that changes something", async () => {
  await request(url)
    .post("/v1/client/metadata?node_id=x")
    .set("Origin", "http://evil.example")
    .send('{"Meta":{"a":"b"}}')
    .expect(403);
  await request(url).get("/v1/client/gc?node_id=x").set("Sec-Fetch-Site", "cross-site").expect(403);
  await request(url).get("/v1/client/gc?node_id=x").set("Origin", "https://ui.example").expect(200);
  await request(url).post("/v1/client/metadata?node_id=x").send('{"Meta":{"a":"b"}}').expect(200);
});

test("a body over 64 KiB is 413 with its length known and with it unknown", async () => {
  const meta = JSON.stringify({ Meta: { a: "x".repeat(70_000) } });
  await request(url).post("/v1/client/metadata").send(meta).expect(413);
  const stated = `POST /v1/client/metadata HTTP/1.1\r\nHost: a\r\nContent-Length: ${meta.length}\r\n\r\n`;
  assert.equal((await sendRaw(port, stated)).status, 413, "before any of it has come");
  const chunked = `POST /v1/client/metadata HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n${meta.length.toString(16)}\r\n${meta}\r\n0\r\n\r\n`;
  assert.equal((await sendRaw(port, chunked)).status, 413);
});

test("a caller that leaves within its body has left: no agent broke anything", async () => {
  const before = endings.length;
  const socket = connect(port, "127.0.0.1");
  socket.write("POST /v1/client/metadata HTTP/1.1\r\nHost: a\r\nContent-Length: 100\r\n\r\n{");
  const deadline = Date.now() + 5_000;
  while (started === before && Date.now() < deadline) await setImmediate();
  socket.resetAndDestroy();
  while (endings.length === before && Date.now() < deadline) await setImmediate();
  assert.equal(endings[before]?.error?.code, "client_closed");
  assert.equal(endings[before]?.status, 499);
});

test("strangers without their token crowd out strangers alone", async () => {
  const shaking = `GET ${exec}&ws_handshake=true HTTP/1.1\r\nHost: a\r\n${handshake}\r\n`;
  const silent = [sendRaw(port, shaking, 150), sendRaw(port, shaking, 150)];
  const crowded = sendRaw(port, shaking, 150);
  const known = sendRaw(port, shaking.replace("&ws_handshake=true", ""), 150);
  assert.deepEqual(
    (await Promise.all([...silent, crowded, known])).map(({ status }) => status),
    [101, 101, 503, 101],
  );
});

test("a body's stray credential and region do not travel on", async () => {
  const answer = await request(url)
    .post("/v1/client/metadata")
    .send('{"NodeID":"n","Meta":{"a":null},"AuthToken":"x","Region":"y"}')
    .expect(200);
  assert.deepEqual(answer.body.body, { NodeID: "n", Meta: { a: null } });
  assert.equal(answer.body.key, "n");
});

test("X-Nomad-Token wins over a bearer, blank counts as absent, other schemes are ignored", async () => {
  const credential = async (headers: Record<string, string>): Promise<unknown> =>
    (await request(url).get("/v1/nodes").set(headers).expect(200)).body.credential;
  assert.deepEqual(await credential({ "X-Nomad-Token": " a ", Authorization: "Bearer b" }), {
    secret: "a",
    source: "header",
    address: "127.0.0.1",
  });
  assert.deepEqual(await credential({ "X-Nomad-Token": "  ", Authorization: "bearer b c" }), {
    secret: "b",
    source: "bearer",
    address: "127.0.0.1",
  });
  assert.deepEqual(await credential({ Authorization: "Basic b" }), {
    source: "none",
    address: "127.0.0.1",
  });
});

test("a client's own forwarding headers are not believed without a trusted proxy", async () => {
  const answer = await request(url)
    .get("/v1/nodes")
    .set({ "X-Forwarded-For": "6.6.6.6", "X-Forwarded-Host": "evil" })
    .expect(200);
  assert.equal(answer.body.client.address, "127.0.0.1");
  assert.equal(answer.body.client.authority, `127.0.0.1:${port}`);
});

test("every request that was refused or answered has one ending with a closed route label", () => {
  for (const ending of endings)
    assert.ok(ending.route === undefined || ending.route.name.length > 0);
  assert.ok(endings.length >= answered.length + refused.length);
  assert.equal(started, endings.length);
});

test("requests that pass on and tell the audit log of themselves are all told of with one row", async () => {
  const rows: unknown[] = [];
  const passing = {
    http: async (_request: unknown, response: { end(): unknown }) => void response.end(),
    upgrade: async () => 101,
    isSocketTarget: () => false,
    isAudited: () => true,
    admit: () => {},
  };
  const passingEdge = createEdge(
    { ...needs, passing, started: (row) => rows.push(row), ended: ({ route }) => rows.push(route) },
    options,
  );
  const server = createServer(passingEdge.onRequest);
  for (let nth = 0; nth < 3; nth++) await request(server).put("/v1/jobs").expect(200);
  assert.equal(rows.length, 6);
  assert.equal(new Set(rows).size, 1);
});
