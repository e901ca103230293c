/** Names that a caller or a task chooses: none of them ends a header line, and none reaches an object's prototype. */
import assert from "node:assert/strict";
import { mkdirSync, readdirSync, writeFileSync } from "node:fs";
import path from "node:path";
import { after, before, test } from "node:test";
import { rawRequest } from "../support/raw-client.ts";
import { eventually, type Rig, startRig } from "../support/rig.ts";

let rig: Rig;
let id = "";
let token = "";
let port = 0;

before(async () => {
  rig = await startRig({
    agents: [
      {
        workloads: [
          { job: "j", group: "g", tasks: [{ name: "t", command: "/bin/sleep", args: ["1000"] }] },
        ],
      },
    ],
  });
  id = rig.allocation("j");
  token = rig.secret("management");
  port = Number(new URL(rig.url).port);
});
after(() => rig[Symbol.asyncDispose]());

/** What the gateway may put into an answer's head. */
const knownHeaders: ReadonlySet<string> = new Set([
  "accept-ranges", "access-control-allow-credentials", "access-control-allow-origin", "cache-control", "connection", "content-length",
  "content-security-policy", "content-type", "date", "etag", "keep-alive", "location", "retry-after", "transfer-encoding", "vary",
  "x-accel-buffering", "x-content-type-options", "x-nomad-index", "x-nomad-knownleader", "x-nomad-lastcontact",
  "x-request-id", "x-serai-error", "x-serai-node", "x-xss-protection", "x-nomad-nexttoken",
]); // biome-ignore format: a list

const hostile = [
  "a\r\nX-Evil: yes", "a\nX-Evil: yes", "a\rX-Evil: yes", "a\0b", "caf\u00e9", "\u{1f4a5}", "\u2028X-Evil: yes",
  "a\r\n\r\nHTTP/1.1 200 OK\r\nX-Evil: yes\r\n\r\n", "\u010d\u010aX-Evil: yes", "\x7f\x1b[31m",
]; // biome-ignore format: a list

const targets = (name: string): readonly string[] => {
  const encoded = encodeURIComponent(name);
  return [
    `/v1/client/fs/cat/${id}?path=/alloc/data/${encoded}`,
    `/v1/client/fs/stat/${id}?path=${encoded}`,
    `/v1/client/fs/ls/${id}?path=${encoded}`,
    `/v1/client/fs/logs/${id}?task=${encoded}&type=stdout`,
    `/v1/client/fs/stream/${id}?path=${encoded}`,
    `/v1/client/fs/readat/${id}?path=${encoded}&offset=${encoded}&limit=1`,
    `/v1/client/allocation/${id}/stats?task=${encoded}`,
    `/v1/client/allocation/${encoded}/stats`,
    `/v1/client/stats?node_id=${encoded}`,
    `/v1/node/${encoded}`,
    `/v1/job/${encoded}`,
    `/v1/acl/policy/${encoded}`,
    `/v1/allocations?namespace=${encoded}&prefix=${encoded}&next_token=${encoded}&filter=${encoded}`,
    `/v1/client/fs?x=${encoded}`,
    `/v1//client/fs/ls/${id}?path=${encoded}`,
    `/v1/./nodes/${encoded}?${encoded}=${encoded}`,
    `/${encoded}`,
  ];
};

const checkHead = (target: string, headers: ReadonlyMap<string, string>, status: unknown): void => {
  for (const [header, value] of headers) {
    assert.ok(knownHeaders.has(header), `${target} is answered with ${header}: ${value}`);
    assert.match(value, /^[\x20-\x7e]*$/, `${target}: ${header}`);
  }
  assert.ok(typeof status === "number" && status >= 200 && status < 505, `${target}: ${status}`);
};

test("a name with line ends, control or foreign characters adds nothing to the head of an answer", async () => {
  for (const name of hostile)
    for (const target of targets(name)) {
      const { headers, status } = await rawRequest(
        port,
        `GET ${target} HTTP/1.1\r\nHost: gate\r\nConnection: close\r\nX-Nomad-Token: ${token}\r\n\r\n`,
      );
      checkHead(target, headers, status);
    }
});

test("the same unencoded is refused", async () => {
  for (const name of hostile) {
    const { status } = await rawRequest(
      port,
      `GET /v1/client/fs/cat/${id}?path=/${Buffer.from(name).toString("latin1")} HTTP/1.1\r\nHost: gate\r\nConnection: close\r\nX-Nomad-Token: ${token}\r\n\r\n`,
    );
    assert.equal(status, 400, JSON.stringify(name));
  }
});

test("files whose names hold line ends and foreign characters are listed and read like any other", async () => {
  const data = path.join(rig.directory, "agent-1", "alloc", id, "alloc", "data");
  mkdirSync(data, { recursive: true });
  const names = hostile.filter((name) => !name.includes("\0") && !name.includes("/"));
  for (const name of names) writeFileSync(path.join(data, name), "content");
  assert.equal(readdirSync(data).length, names.length);
  const listed = await rig.get(`/v1/client/fs/ls/${id}?path=/alloc/data`, token);
  assert.equal(listed.status, 200, listed.text);
  const entries = JSON.parse(listed.text);
  assert.deepEqual(
    entries.map(({ Name }: { readonly Name: string }) => Name).sort(),
    names.toSorted(),
  );
  for (const name of names) {
    const target = `/v1/client/fs/cat/${id}?path=${encodeURIComponent(`/alloc/data/${name}`)}`;
    const { headers, status, body } = await rawRequest(
      port,
      `GET ${target} HTTP/1.1\r\nHost: gate\r\nX-Nomad-Token: ${token}\r\n\r\n`,
    );
    assert.equal(`${status} ${body.toString()}`, "200 content");
    checkHead(target, headers, status);
  }
});

/* ---- names of an object's own parts ---- */

const parts = ["__proto__", "constructor", "prototype", "toString", "hasOwnProperty", "valueOf", "__defineGetter__"]; // biome-ignore format: a list

const unharmed = (): void => {
  assert.equal(Reflect.get({}, "polluted"), undefined);
  assert.equal(Object.keys(Object.prototype).length, 0);
  assert.equal(typeof {}.toString, "function");
};

test("names of an object's own parts in headers, queries, paths and bodies are names like any other", async () => {
  for (const name of parts) {
    const ask = (target: string, more = ""): Promise<{ readonly status: number | undefined }> =>
      rawRequest(
        port,
        `GET ${target} HTTP/1.1\r\nHost: gate\r\nX-Nomad-Token: ${token}\r\n${more}Connection: close\r\n\r\n`,
      );
    assert.equal((await ask("/v1/nodes", `${name}: polluted\r\n${name}: again\r\n`)).status, 200);
    assert.equal((await ask(`/v1/nodes?${name}=polluted&${name}[polluted]=1`)).status, 200);
    assert.equal((await ask(`/v1/nodes?${name}=a&${name}=b`)).status, 200);
    assert.equal((await ask(`/v1/${name}`)).status, 404);
    assert.equal((await ask(`/v1/job/${name}`)).status, 404);
    assert.equal((await ask(`/v1/acl/policy/${name}`)).status, 404);
    assert.equal((await ask(`/v1/allocations?namespace=${name}`)).status, 200);
    const unknown = (await ask(`/v1/client/fs/logs/${id}?task=nobody&type=stdout`)).status;
    const named = (await ask(`/v1/client/fs/logs/${id}?task=${name}&type=stdout`)).status;
    assert.equal(named, unknown, name);
    for (const body of [
      `{"Prefix":"j","Context":"jobs","${name}":{"polluted":true}}`,
      `{"${name}":{"Prefix":"x"},"Prefix":"j","Context":"${name}"}`,
    ]) {
      const { status } = await rig.ask({ method: "POST", path: "/v1/search", token, body });
      assert.ok(status === 200 || status === 400 || status === 500, String(status));
    }
  }
  unharmed();
});

test("two spellings of a header are two headers, and only the right one is a credential", async () => {
  for (const spelled of ["X_Nomad_Token", "X-Nomad_Token", "X.Nomad.Token", "X-Nomad-Token-"]) {
    const { status } = await rawRequest(
      port,
      `GET /v1/nodes HTTP/1.1\r\nHost: gate\r\n${spelled}: ${token}\r\nConnection: close\r\n\r\n`,
    );
    assert.equal(status, 403, spelled);
  }
});

test("metadata of as many keys as a body holds, chosen to collide or to nest, costs no stall and changes nothing", async () => {
  const nodeId = rig.agent().nodeId;
  const collide = (count: number): string =>
    `{"Meta":{${Array.from({ length: count }, (_, at) => `"${at * 65_536}":"x"`).join(",")}}}`;
  const many = collide(4_000);
  assert.ok(many.length < 65_536 && many.length > 40_000, String(many.length));
  const deep = `{"Meta":{"a":${"[".repeat(30_000)}${"]".repeat(30_000)}}}`;
  const proto = `{"Meta":{"__proto__":{"polluted":"yes"},"constructor":{"prototype":{"polluted":"yes"}}}}`;
  const before = (await rig.get(`/v1/client/metadata?node_id=${nodeId}`, token)).text;
  for (const body of [many, deep, proto]) {
    const { status, text } = await rig.ask({
      method: "POST",
      path: `/v1/client/metadata?node_id=${nodeId}`,
      token,
      body,
    });
    assert.ok(status === 400 || status === 500, `${status} ${text.slice(0, 200)}`);
  }
  assert.equal((await rig.get(`/v1/client/metadata?node_id=${nodeId}`, token)).text, before);
  unharmed();
  await eventually("the gateway is ready", async () =>
    (await fetch(`${rig.adminUrl}/readyz`)).status === 200 ? true : undefined,
  );
});
