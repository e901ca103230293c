/** The agent's plain routes over real sockets: statuses, texts and orders of checks as a Nomad client agent answers. */
import assert from "node:assert/strict";
import { once } from "node:events";
import { connect } from "node:net";
import { after, before, test } from "node:test";
import { WebSocket } from "ws";
import { parseJson } from "../../../src/lib/json.ts";
import { routes } from "../../../src/routes.ts";
import { allocationId, nodeId, pullSecret, type TestDoor, testDoor, unknownId } from "./support.ts";

let door: TestDoor;
before(async () => {
  door = await testDoor();
});
after(async () => {
  await door[Symbol.asyncDispose]();
});

interface Case {
  readonly name: string;
  readonly path: string;
  readonly method?: string;
  readonly token?: string;
  readonly bearer?: string;
  readonly body?: string;
  readonly headers?: Readonly<Record<string, string>>;
  readonly status: number;
  /** The whole body; undefined does not look. */
  readonly text?: string;
}

const alloc = `/v1/client/allocation/${allocationId}`;
const unknownAlloc = `/v1/client/allocation/${unknownId}`;
const unknownText = `rpc error: Unknown allocation "${unknownId}"`;
const shortText = "rpc error: alloc lookup failed: index error: UUID must be 36 characters";
const denied = "Permission denied";
const usage = '{"Tasks":{},"Timestamp":1735689600123456789,"Of":"all"}';

const cases: readonly Case[] = [
  // routing
  { name: "an unknown path", path: "/v1/nope", status: 404, text: "" },
  { name: "a path outside /v1", path: "/nope", status: 404, text: "" },
  { name: "another letter case", path: "/V1/client/stats", status: 404, text: "" },
  { name: "a trailing slash on a leaf", path: "/v1/client/stats/", status: 404, text: "" },
  { name: "a server's list", path: "/v1/allocations", status: 404, text: "" },
  { name: "an unknown action", path: `${alloc}/nope`, status: 404, text: "resource not found" },
  { name: "an action with a slash behind it", path: `${alloc}/stats/`, status: 404, text: "resource not found" },
  { name: "an action with a segment behind it", path: `${alloc}/stats/x`, status: 404, text: "resource not found" },
  { name: "no action", path: alloc, status: 404, text: "resource not found" },
  { name: "an encoded slash as id", path: "/v1/client/allocation/%2f/stats", status: 404, text: "resource not found" },
  { name: "an encoded NUL as id", path: "/v1/client/allocation/%00/stats", status: 500, text: shortText },
  { name: "a broken escape", path: "/v1/client/allocation/%zz/stats", status: 400, text: "the path is malformed" },
  { name: "a file route without id", path: "/v1/client/fs/ls", status: 404, text: "Invalid method" },
  { name: "an unknown file route", path: `/v1/client/fs/nope/${allocationId}`, status: 404, text: "Invalid method" },
  { name: "a doubled slash", path: "/v1//client/stats?a=b", status: 307, text: "" },
  { name: "a tree without its slash", path: "/v1/client/fs?a=b", status: 307, text: "" },
  // methods
  { name: "HEAD of stats", path: `${alloc}/stats`, method: "HEAD", token: "full", status: 200, text: "" },
  { name: "HEAD of metadata", path: "/v1/client/metadata", method: "HEAD", token: "full", status: 405, text: "" },
  { name: "PUT of metadata", path: "/v1/client/metadata", method: "PUT", token: "full", body: "{}", status: 405, text: "Invalid method" },
  { name: "PATCH of checks", path: `${alloc}/checks`, method: "PATCH", token: "full", status: 200, text: "null" },
  { name: "DELETE of pause", path: `${alloc}/pause`, method: "DELETE", token: "full", status: 405, text: "Invalid method" },
  { name: "GET of signal", path: `${alloc}/signal`, token: "full", status: 405, text: "Invalid method" },
  { name: "POST of agent/self", path: "/v1/agent/self", method: "POST", token: "full", status: 405, text: "Invalid method" },
  { name: "OPTIONS without a token", path: `${alloc}/restart`, method: "OPTIONS", status: 403, text: denied },
  // allocations
  { name: "stats", path: `${alloc}/stats`, token: "full", status: 200, text: usage },
  { name: "stats of one task", path: `${alloc}/stats?task=web`, token: "read", status: 200, text: usage.replace("all", "web") },
  { name: "stats by POST", path: `${alloc}/stats`, method: "POST", token: "full", status: 200, text: usage },
  { name: "stats with an upper-case id", path: `/v1/client/allocation/${allocationId.toUpperCase()}/stats`, token: "full", status: 200, text: usage },
  { name: "stats with another namespace in the query", path: `${alloc}/stats?namespace=other&region=mars`, token: "full", status: 200, text: usage },
  { name: "stats of an unknown allocation", path: `${unknownAlloc}/stats`, token: "full", status: 404, text: unknownText },
  { name: "stats of an unknown allocation without a token", path: `${unknownAlloc}/stats`, status: 404, text: unknownText },
  { name: "stats of an unknown allocation with a refused token", path: `${unknownAlloc}/stats`, token: "deleted", status: 403, text: denied },
  { name: "stats of a short id", path: "/v1/client/allocation/307b0057/stats", token: "full", status: 500, text: shortText },
  { name: "stats without a token", path: `${alloc}/stats`, status: 403, text: denied },
  { name: "stats with a refused token", path: `${alloc}/stats`, token: "deleted", status: 403, text: denied },
  { name: "stats of another namespace's token", path: `${alloc}/stats`, token: "other-ns", status: 403, text: denied },
  { name: "stats by bearer", path: `${alloc}/stats`, bearer: "full", status: 200, text: usage },
  { name: "the token's header before the bearer", path: `${alloc}/stats`, token: "full", bearer: "deleted", status: 200, text: usage },
  { name: "a token in the query", path: `${alloc}/stats?token=full`, status: 403, text: denied },
  { name: "a task given twice", path: `${alloc}/stats?task=a&task=b`, token: "full", status: 400, text: 'parameter "task" is given more than once' },
  { name: "a bad wait", path: `${alloc}/stats?wait=x`, token: "full", status: 400, text: "Invalid wait time" },
  { name: "checks", path: `${alloc}/checks`, token: "full", status: 200, text: "null" },
  { name: "checks by their other name", path: `/v1/allocation/${allocationId}/checks`, token: "full", status: 200, text: "null" },
  { name: "restart without a body", path: `${alloc}/restart`, method: "PUT", token: "full", status: 200, text: '{"Index":0}' },
  { name: "restart of both", path: `${alloc}/restart`, method: "PUT", token: "full", body: '{"TaskName":"web","AllTasks":true}', status: 500, text: "task name cannot be set when restarting all tasks" },
  { name: "restart with a bad body before the token", path: `${alloc}/restart`, method: "PUT", body: "hello", status: 500, text: "invalid character 'h' looking for beginning of value" },
  { name: "restart of a wrong type", path: `${alloc}/restart`, method: "PUT", token: "full", body: '{"TaskName":1}', status: 500, text: "json: cannot unmarshal number into Go struct field .TaskName of type string" },
  { name: "restart without the right", path: `${alloc}/restart`, method: "PUT", token: "read", status: 403, text: denied },
  { name: "signal", path: `${alloc}/signal`, method: "POST", token: "full", body: '{"Signal":"SIGHUP","Task":"web"}', status: 200, text: '{"Index":0}' },
  { name: "signal of an unknown task", path: `${alloc}/signal`, method: "PUT", token: "full", body: '{"Signal":"SIGHUP","Task":"nope"}', status: 500, text: "Task not found" },
  { name: "signal without a body", path: `${alloc}/signal`, method: "POST", token: "full", status: 400, text: "Failed to decode body: Request body is empty" },
  { name: "gc of a running allocation", path: `${alloc}/gc`, token: "full", status: 500, text: "No such allocation on client, or allocation not eligible for GC" },
  { name: "pause", path: `${alloc}/pause?task=web`, token: "full", status: 500, text: "Enterprise only" },
  { name: "pause with a bad state", path: `${alloc}/pause`, method: "POST", body: '{"Task":"web","ScheduleState":"nope"}', status: 400, text: "Not a valid task schedule state" },
  { name: "stop", path: `/v1/allocation/${allocationId}/stop`, method: "PUT", token: "full", status: 200, text: "{}" },
  { name: "stop without the right", path: `/v1/allocation/${allocationId}/stop`, method: "POST", token: "read", status: 403, text: denied },
  { name: "stop with the pull secret", path: `/v1/allocation/${allocationId}/stop`, method: "POST", bearer: pullSecret, status: 200, text: "{}" },
  { name: "stop with the pull secret as a caller's token", path: `/v1/allocation/${allocationId}/stop`, method: "POST", token: pullSecret, status: 403, text: denied },
  { name: "stop with half the pull secret", path: `/v1/allocation/${allocationId}/stop`, method: "POST", bearer: pullSecret.slice(0, -1), status: 403, text: denied },
  { name: "stop of an unknown allocation with the pull secret", path: `/v1/allocation/${unknownId}/stop`, method: "POST", bearer: pullSecret, status: 404, text: `Unknown allocation "${unknownId}"` },
  { name: "stop of an unknown allocation", path: `/v1/allocation/${unknownId}/stop`, method: "POST", token: "full", status: 404, text: `Unknown allocation "${unknownId}"` },
  { name: "stop by GET", path: `/v1/allocation/${allocationId}/stop`, token: "full", status: 405, text: "Invalid method" },
  // exec without an upgrade
  { name: "exec without an upgrade", path: `${alloc}/exec?task=web&command=%5B%22ls%22%5D`, token: "full", status: 500, text: "websocket connection not found in context" },
  { name: "exec without an upgrade and command", path: `${alloc}/exec?task=web`, status: 500, text: "failed to marshal command into json: unexpected end of JSON input" },
  { name: "exec by POST", path: `${alloc}/exec?task=web`, method: "POST", token: "read", status: 405, text: "Invalid method" },
  // files
  { name: "ls", path: `/v1/client/fs/ls/${allocationId}?path=/web`, token: "full", status: 200, text: "[]" },
  { name: "ls without an id", path: "/v1/client/fs/ls/", token: "full", status: 400, text: "must provide a valid alloc id" },
  { name: "ls with slashes in the id", path: "/v1/client/fs/ls/a/b", token: "full", status: 500, text: shortText },
  { name: "stat without a path", path: `/v1/client/fs/stat/${allocationId}`, status: 400, text: "must provide a file name" },
  { name: "cat of an unknown allocation", path: `/v1/client/fs/cat/${unknownId}?path=/x`, token: "full", status: 404, text: `Unknown allocation "${unknownId}"` },
  { name: "stream of a short id", path: "/v1/client/fs/stream/307b0057?path=/x", token: "full", status: 500, text: "alloc lookup failed: index error: UUID must be 36 characters" },
  { name: "cat without the right", path: `/v1/client/fs/cat/${allocationId}?path=/x`, token: "alloc-exec", status: 403, text: denied },
  // nodes
  { name: "stats of this node", path: `/v1/client/stats?node_id=${nodeId}`, token: "node-read", status: 200 },
  { name: "stats of this node in upper case", path: `/v1/client/stats?node_id=${nodeId.toUpperCase()}`, token: "node-read", status: 200 },
  { name: "stats of an unknown node", path: `/v1/client/stats?node_id=${unknownId}`, token: "full", status: 404, text: `rpc error: Unknown node ${unknownId}` },
  { name: "stats of an unknown node without a token", path: `/v1/client/stats?node_id=${unknownId}`, status: 403, text: denied },
  { name: "stats of a short node id", path: "/v1/client/stats?node_id=54bc24bf", token: "full", status: 500, text: "rpc error: node lookup failed: index error: UUID must be 36 characters" },
  { name: "stats with the pull secret", path: "/v1/client/stats", bearer: pullSecret, status: 403, text: denied },
  { name: "stats of two nodes", path: `/v1/client/stats?node_id=${nodeId}&node_id=${unknownId}`, token: "full", status: 400, text: 'parameter "node_id" is given more than once' },
  { name: "gc of this node", path: "/v1/client/gc", method: "PUT", token: "node-write", status: 200, text: "" },
  { name: "gc with a right to read", path: "/v1/client/gc", token: "node-read", status: 403, text: denied },
  { name: "gc of an unknown node", path: `/v1/client/gc?node_id=${unknownId}`, token: "full", status: 500, text: `rpc error: Unknown node ${unknownId}` },
  { name: "metadata without a token", path: "/v1/client/metadata", status: 403, text: denied },
  { name: "metadata of an unknown node", path: `/v1/client/metadata?node_id=${unknownId}`, token: "full", status: 500, text: `rpc error: Unknown node ${unknownId}` },
  { name: "metadata with the pull secret", path: "/v1/client/metadata", bearer: pullSecret, status: 200 },
  { name: "metadata with a pull secret in the token's header", path: "/v1/client/metadata", token: pullSecret, status: 403, text: denied },
  { name: "a metadata change with the pull secret", path: "/v1/client/metadata", method: "POST", bearer: pullSecret, body: '{"Meta":{"a":"b"}}', status: 403, text: denied },
  { name: "a metadata change without a body and token", path: "/v1/client/metadata", method: "POST", status: 400, text: "Request body is empty" },
  { name: "a metadata change with a bad key without a token", path: "/v1/client/metadata", method: "POST", body: '{"Meta":{"a/b":"c"}}', status: 403, text: denied },
  { name: "a metadata change with a bad key", path: "/v1/client/metadata", method: "POST", token: "full", body: '{"Meta":{"a/b":"c"}}', status: 400, text: '"a/b" is invalid; metadata keys must be valid dotted hcl identifiers' },
  { name: "a metadata change of another node in the body", path: "/v1/client/metadata", method: "POST", token: "full", body: `{"NodeID":"${unknownId}","Meta":{"a/b":"c"}}`, status: 500, text: `rpc error: Unknown node ${unknownId}` },
  { name: "a metadata change with a right to read", path: "/v1/client/metadata", method: "POST", token: "node-read", body: '{"Meta":{"a":"b"}}', status: 403, text: denied },
  { name: "a token in the body", path: "/v1/client/metadata", method: "POST", body: '{"Meta":{"a":"b"},"AuthToken":"full"}', status: 403, text: denied },
  { name: "a body that is coded", path: "/v1/client/metadata", method: "POST", token: "full", headers: { "Content-Encoding": "gzip" }, body: '{"Meta":{"a":"b"}}', status: 415 },
  { name: "a body above 64 KiB", path: "/v1/client/metadata", method: "POST", token: "full", body: `{"Meta":{"a":"${"x".repeat(70_000)}"}}`, status: 413 },
  // the agent
  { name: "health", path: "/v1/agent/health", status: 200, text: '{"client":{"message":"ok","ok":true}}' },
  { name: "health of a client", path: "/v1/agent/health?type=client", token: "deleted", status: 200, text: '{"client":{"message":"ok","ok":true}}' },
  { name: "health of a server", path: "/v1/agent/health?type=server", status: 500, text: '{"server":{"ok":false,"message":"server not enabled"}}' },
  { name: "self without the right", path: "/v1/agent/self", token: "read", status: 403, text: denied },
  // pulls
  { name: "a pull without a secret", path: `/v1/node/${nodeId}/allocations`, status: 403, text: denied },
  { name: "a pull with a user's token", path: `/v1/node/${nodeId}/allocations`, bearer: "management", status: 403, text: denied },
  { name: "a pull of another node", path: `/v1/node/${unknownId}/allocations`, bearer: pullSecret, status: 404, text: "node not found" },
  { name: "a pull with a bad index", path: `/v1/node/${nodeId}/allocations?index=x`, bearer: pullSecret, status: 400, text: "Invalid index" },
]; // biome-ignore format: a table

const ask = (of: Case): Promise<Response> =>
  fetch(`${door.origin}${of.path}`, {
    method: of.method ?? "GET",
    redirect: "manual",
    headers: {
      ...(of.token === undefined ? {} : { "X-Nomad-Token": of.token }),
      ...(of.bearer === undefined ? {} : { Authorization: `Bearer ${of.bearer}` }),
      ...of.headers,
    },
    ...(of.body === undefined ? {} : { body: of.body }),
  });

for (const of of cases)
  test(`${of.name}: ${of.status}`, async () => {
    const response = await ask(of);
    const text = await response.text();
    assert.equal(response.status, of.status, text);
    if (of.text !== undefined) assert.equal(text, of.text);
  });

/** What the gateway's own requests may do. */
const opened: ReadonlySet<string> = new Set(["alloc.stop", "client.metadata.get"]);
const openToAll: ReadonlySet<string> = new Set(["agent.health"]);
const filled: Readonly<Record<string, Pick<Case, "body"> & { readonly query?: string }>> = {
  "alloc.signal": { body: '{"Signal":"SIGHUP","Task":"web"}' },
  "alloc.pause.set": { body: '{"Task":"web","ScheduleState":"run"}' },
  "client.metadata.post": { body: '{"Meta":{"a":"b"}}' },
  "fs.stat": { query: "path=/web" },
  "fs.cat": { query: "path=/web" },
  "fs.readat": { query: "path=/web&offset=0" },
  "fs.stream": { query: "path=/web" },
  "fs.logs": { query: "task=web&type=stdout" },
};

test("the pull secret stops an allocation and reads metadata, and opens nothing else", async () => {
  const own = ["alloc.stop", "agent.self", "agent.health"];
  const asked = routes.filter(
    ({ carriage, name }) =>
      (carriage !== "registry" || own.includes(name)) && carriage !== "websocket",
  );
  const got: Record<string, number> = {};
  for (const { name, path, methods } of asked) {
    const { body, query = "" } = filled[name] ?? {};
    const response = await ask({
      name,
      path: `${path.replace(/[:*]id/, allocationId)}?${query}`,
      method: methods?.[0] ?? "GET",
      bearer: pullSecret,
      status: 0,
      ...(body === undefined ? {} : { body }),
    });
    await response.arrayBuffer();
    got[`${methods?.[0]} ${path}`] = response.status;
  }
  const wanted = asked.map(({ name, path, methods }) => [
    `${methods?.[0]} ${path}`,
    opened.has(name) || openToAll.has(name) ? 200 : 403,
  ]);
  assert.deepEqual(got, Object.fromEntries(wanted));
  const socket = new WebSocket(
    `ws://127.0.0.1:${door.port}${alloc}/exec?task=web&command=%5B%22true%22%5D`,
    { headers: { authorization: `Bearer ${pullSecret}` } },
  );
  const [code, reason] = await once(socket, "close");
  assert.deepEqual([code, String(reason)], [1011, denied]);
});

test("redirects keep the query and never leave the host", async () => {
  for (const [path, to] of [
    ["/v1//client/stats?a=b", "/v1/client/stats?a=b"],
    ["/v1/x/../client/stats", "/v1/client/stats"],
    ["//evil.example/..", "/"],
    ["/v1/client/allocation", "/v1/client/allocation/"],
  ] as const) {
    const head = await raw(`GET ${path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n`);
    assert.match(head, /^HTTP\/1\.1 307 /);
    assert.ok(head.includes(`\r\nLocation: ${to}\r\n`), head);
  }
});

/** Sends bytes and gives back everything until the connection ends. */
const raw = async (bytes: string): Promise<string> => {
  const socket = connect(door.port, "127.0.0.1");
  socket.on("error", () => undefined);
  const chunks: Buffer[] = [];
  socket.on("data", (chunk: Buffer) => chunks.push(chunk));
  socket.write(bytes);
  await once(socket, "close");
  return Buffer.concat(chunks).toString("latin1");
};

test("a credential header given twice is refused", async () => {
  for (const name of ["X-Nomad-Token", "Authorization"]) {
    const answer = await raw(
      `GET ${alloc}/stats HTTP/1.1\r\nHost: x\r\nConnection: close\r\n${name}: Bearer full\r\n${name}: Bearer full\r\n\r\n`,
    );
    assert.match(answer, /^HTTP\/1\.1 400 /);
    assert.match(answer, /given more than once$/);
  }
});

test("a chunked and empty body is EOF", async () => {
  const answer = await raw(
    "POST /v1/client/metadata HTTP/1.1\r\nHost: x\r\nConnection: close\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
  );
  assert.match(answer, /^HTTP\/1\.1 400 [\s\S]*\r\n\r\nEOF$/);
});

test("a chunked body above 64 KiB is refused", async () => {
  const chunk = `4000\r\n${"x".repeat(0x4000)}\r\n`;
  const answer = await raw(
    `POST /v1/client/metadata HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n${chunk.repeat(5)}0\r\n\r\n`,
  );
  assert.match(answer, /^HTTP\/1\.1 413 /);
});

for (const upgrade of ["h2c", "foo", "websocket, h2c"])
  test(`Upgrade: ${upgrade} is answered as plain HTTP`, async () => {
    const answer = await raw(
      `GET /v1/agent/health HTTP/1.1\r\nHost: x\r\nConnection: Upgrade, close\r\nUpgrade: ${upgrade}\r\n\r\n`,
    );
    assert.match(answer, /^HTTP\/1\.1 200 [\s\S]*"ok":true/);
  });

test("a WebSocket upgrade of another route is answered as plain HTTP", async () => {
  const answer = await raw(
    "GET /v1/client/stats HTTP/1.1\r\nHost: x\r\nConnection: Upgrade, close\r\nUpgrade: websocket\r\n" +
      "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAECAwQFBgcICQoLDA0ODw==\r\n\r\n",
  );
  assert.match(answer, /^HTTP\/1\.1 403 [\s\S]*Permission denied$/);
});

test("pretty prints with four spaces and a final newline", async () => {
  const response = await ask({
    name: "",
    path: `${alloc}/stats?pretty`,
    token: "full",
    status: 200,
  });
  assert.equal(
    await response.text(),
    '{\n    "Tasks": {},\n    "Timestamp": 1735689600123456789,\n    "Of": "all"\n}\n',
  );
});

test("the agent describes itself truly", async () => {
  const response = await ask({ name: "", path: "/v1/agent/self", token: "full", status: 200 });
  const self: unknown = await response.json();
  assert.partialDeepStrictEqual(self, {
    config: { Region: "eu", NodeName: "n" },
    stats: { client: { node_id: nodeId, num_allocations: "1" } },
  });
});

test("stats of the node have its processors, memory and disk", async () => {
  const response = await ask({ name: "", path: "/v1/client/stats", token: "full", status: 200 });
  const stats = parseJson(await response.text());
  assert.ok(typeof stats === "object" && stats !== null && !Array.isArray(stats));
  assert.deepEqual(Object.keys(stats), [
    "AllocDirStats", "CPU", "CPUTicksConsumed", "DeviceStats", "DiskStats", "Memory", "Timestamp", "Uptime",
  ]); // biome-ignore format: a list
});

const pull = (query: string, signal?: AbortSignal): Promise<Response> =>
  fetch(`${door.origin}/v1/node/${nodeId}/allocations${query}`, {
    headers: { Authorization: `Bearer ${pullSecret}` },
    ...(signal === undefined ? {} : { signal }),
  });

test("a pull gives whole documents and the index", async () => {
  const response = await pull("");
  assert.equal(response.headers.get("x-nomad-index"), String(door.workloads.index));
  const [document] = JSON.parse(await response.text()) as unknown[];
  assert.partialDeepStrictEqual(document, { ID: allocationId, Job: {}, ClientStatus: "running" });
});

test("a pull with the last index waits until something changes", async () => {
  const index = door.workloads.index;
  const waiting = pull(`?index=${index}&wait=60s`);
  while (door.workloads.waiting === 0) await new Promise(setImmediate);
  door.workloads.touch();
  const response = await waiting;
  assert.equal(response.headers.get("x-nomad-index"), String(index + 1));
  await response.text();
});

test("a pull whose wait passes answers with the unchanged index", async () => {
  const index = door.workloads.index;
  const response = await pull(`?index=${index}&wait=20ms`);
  assert.equal(response.headers.get("x-nomad-index"), String(index));
  await response.text();
});

test("pulls above their bound are refused and those that left are forgotten", async () => {
  const leaving = new AbortController();
  const index = door.workloads.index;
  const waiting = Array.from({ length: 16 }, () =>
    pull(`?index=${index}`, leaving.signal).catch(() => undefined),
  );
  while (door.workloads.waiting < 16) await new Promise(setImmediate);
  assert.equal((await pull(`?index=${index}`)).status, 503);
  leaving.abort();
  await Promise.all(waiting);
  for (;;) {
    const response = await pull(`?index=${index}&wait=1ms`);
    await response.text();
    if (response.status === 200) break;
  }
});

test("a refusal is one line at info with its code, and no secret is logged", async () => {
  door.lines.length = 0;
  await ask({ name: "", path: `${alloc}/stats?task=hidden`, token: "deleted", status: 403 });
  assert.deepEqual(
    door.lines.map(({ level, fields }) => [level, fields["code"], fields["path"]]),
    [["info", "permission_denied", `${alloc}/stats`]],
  );
  assert.doesNotMatch(JSON.stringify(door.lines), /deleted|hidden/);
});

test("closing ends waiting pulls and refuses new connections", async () => {
  const closing = await testDoor();
  const waiting = fetch(
    `${closing.origin}/v1/node/${nodeId}/allocations?index=${closing.workloads.index}`,
    { headers: { Authorization: `Bearer ${pullSecret}` } },
  );
  while (closing.workloads.waiting === 0) await new Promise(setImmediate);
  await closing[Symbol.asyncDispose]();
  const response = await waiting;
  assert.equal(response.status, 503);
  await assert.rejects(fetch(`${closing.origin}/v1/agent/health`));
});
