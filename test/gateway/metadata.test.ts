/** Node metadata through a real gateway and agents: written through at once, in the node registry once a window. */
import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { test } from "node:test";
import { isJsonObject, type JsonObject } from "../../src/lib/json.ts";
import { createHome, until } from "../support/processes.ts";
import { eventually, type Reply, type Rig, startRig } from "../support/rig.ts";

const path = "/v1/client/metadata";

const objectIn = (reply: Reply, field: string): JsonObject => {
  const document = reply.json();
  assert.ok(isJsonObject(document));
  const found = document[field];
  assert.ok(isJsonObject(found), `${field} of ${reply.text}`);
  return found;
};

const rigWith = (interval: string, agents = 1): Promise<Rig> =>
  startRig({
    settings: { metadata: { interval } },
    agents: Array.from({ length: agents }, () => ({
      workloads: [],
      settings: { meta: { rack: "r1" } },
    })),
  });

const post = (rig: Rig, body: unknown, more: object = {}): Promise<Reply> =>
  rig.ask({
    method: "POST",
    path,
    token: rig.secret("management"),
    body: typeof body === "string" ? body : JSON.stringify(body),
    ...more,
  });

const listed = async (rig: Rig, expression: string): Promise<readonly unknown[]> => {
  const reply = await rig.get(
    `/v1/nodes?filter=${encodeURIComponent(expression)}`,
    rig.secret("management"),
  );
  const nodes = reply.json();
  assert.ok(Array.isArray(nodes), reply.text);
  return nodes;
};

const nodeMeta = async (rig: Rig, nodeId: string): Promise<JsonObject> =>
  objectIn(await rig.get(`/v1/node/${nodeId}`, rig.secret("management")), "Meta");

test("an update is answered with the merged view at once and is seen in the node registry within a window", async () => {
  await using rig = await startRig({
    settings: { metadata: { interval: "500ms" }, node: { down_after: "10m" } },
    agents: [{ workloads: [], settings: { meta: { rack: "r1" } } }],
    announceIntervalMs: 200_000, // or the next announcement would bring it
  });
  const { nodeId } = rig.agent();
  const answer = await post(rig, { NodeID: nodeId, Meta: { team: "a", rack: "r9" } });
  assert.equal(answer.status, 200, answer.text);
  assert.equal(objectIn(answer, "Meta")["team"], "a");
  assert.equal(objectIn(answer, "Meta")["rack"], "r9");
  assert.equal(objectIn(answer, "Static")["rack"], "r1");
  assert.deepEqual(objectIn(answer, "Dynamic"), { team: "a", rack: "r9" });
  const read = await rig.get(`${path}?node_id=${nodeId}`, rig.secret("management"));
  assert.deepEqual(read.json(), answer.json());
  await eventually("the filter finds the node", async () => {
    const found = await listed(rig, 'Meta.team == "a" and Meta.rack == "r9"');
    return found.length === 1 ? found : undefined;
  });
  assert.equal((await nodeMeta(rig, nodeId))["team"], "a");
  await post(rig, { NodeID: nodeId, Meta: { team: "b" } });
  await eventually("the next one, too", async () => (await listed(rig, 'Meta.team == "b"'))[0]);
});

test("null unsets: a dynamic key is gone, a static one is hidden, and the node registry follows", async () => {
  await using rig = await rigWith("200ms");
  const { nodeId } = rig.agent();
  await post(rig, { NodeID: nodeId, Meta: { team: "a" } });
  await eventually("team is there", async () => (await nodeMeta(rig, nodeId))["team"]);
  const answer = await post(rig, { NodeID: nodeId, Meta: { team: null, rack: null } });
  assert.equal("team" in objectIn(answer, "Meta"), false);
  assert.equal("rack" in objectIn(answer, "Meta"), false);
  assert.deepEqual(objectIn(answer, "Dynamic"), { rack: null });
  await eventually("both are gone", async () => {
    const meta = await nodeMeta(rig, nodeId);
    return !("team" in meta) && !("rack" in meta) ? true : undefined;
  });
});

test("hundreds of updates inside one window make one write of the node registry", async () => {
  await using rig = await rigWith("1m", 2);
  const { registry } = rig.gateway;
  const [one, other] = [rig.agent(0).nodeId, rig.agent(1).nodeId];
  const before = registry.nodeWrites;
  const updates = 200;
  let next = 0;
  const write = async (): Promise<void> => {
    for (let nth = next++; nth < updates; nth = next++) {
      const reply = await post(rig, { NodeID: one, Meta: { [`k${nth % 50}`]: String(nth) } });
      assert.equal(reply.status, 200, reply.text);
    }
  };
  await Promise.all(Array.from({ length: 16 }, write));
  await post(rig, { NodeID: other, Meta: { k: "v" } });
  assert.equal(registry.nodeWrites, before, "nothing is written before the window ends");
  assert.equal(registry.pendingMetadata, 2);
  await registry.flushMetadata(AbortSignal.timeout(10_000));
  assert.equal(registry.nodeWrites, before + 2, "one write a node");
  const reply = await rig.get(`${path}?node_id=${one}`, rig.secret("management"));
  assert.deepEqual(await nodeMeta(rig, one), objectIn(reply, "Meta"));
});

test("two writers at once: the agent's own order decides, and the registry ends with its view", async () => {
  await using rig = await rigWith("200ms");
  const { nodeId } = rig.agent();
  await Promise.all(
    Array.from({ length: 40 }, (_, at) =>
      post(rig, { NodeID: nodeId, Meta: { shared: String(at), [`own${at % 2}`]: String(at) } }),
    ),
  );
  const truth = objectIn(
    await rig.get(`${path}?node_id=${nodeId}`, rig.secret("management")),
    "Meta",
  );
  await eventually("the registry holds the agent's view", async () =>
    (await nodeMeta(rig, nodeId))["shared"] === truth["shared"] ? true : undefined,
  );
  assert.deepEqual(await nodeMeta(rig, nodeId), truth);
});

test("an update that went around the gateway is found by the agent's next beat", async () => {
  await using rig = await rigWith("200ms");
  const { nodeId, url } = rig.agent();
  const reply = await post(rig, { NodeID: nodeId, Meta: { direct: "yes" } }, { at: url });
  assert.equal(reply.status, 200, reply.text);
  await eventually("the registry shows it", async () => (await nodeMeta(rig, nodeId))["direct"]);
});

const refusals: readonly {
  readonly name: string;
  readonly body: string | undefined;
  readonly status: number;
  readonly text: string;
}[] = [
  { name: "an invalid key", body: '{"NodeID":"NODE","Meta":{"a/b":"v"}}', status: 400, text: '"a/b" is invalid; metadata keys must be valid dotted hcl identifiers' },
  { name: "an empty key", body: '{"NodeID":"NODE","Meta":{"":"v"}}', status: 400, text: "metadata keys must not be empty" },
  { name: "a bad key among good ones", body: '{"NodeID":"NODE","Meta":{"good":"v","b/d":"v"}}', status: 400, text: '"b/d" is invalid; metadata keys must be valid dotted hcl identifiers' },
  { name: "an unknown node", body: '{"NodeID":"11111111-2222-3333-4444-555555555555","Meta":{"a":"b"}}', status: 500, text: "Unknown node 11111111-2222-3333-4444-555555555555" },
  { name: "an unknown node and a bad key", body: '{"NodeID":"11111111-2222-3333-4444-555555555555","Meta":{"a/b":"c"}}', status: 500, text: "Unknown node 11111111-2222-3333-4444-555555555555" },
  { name: "a short node id", body: '{"NodeID":"54bc24bf","Meta":{"a":"b"}}', status: 500, text: "node lookup failed: index error: UUID must be 36 characters" },
  { name: "no node at all", body: '{"Meta":{"a":"b"}}', status: 400, text: "No local Node and node_id not provided" },
  { name: "no body", body: undefined, status: 400, text: "Request body is empty" },
  { name: "a body that is no JSON", body: "hello", status: 400, text: "invalid character 'h' looking for beginning of value" },
  { name: "a body cut short", body: '{"Meta":{"a":', status: 400, text: "unexpected EOF" },
  { name: "no Meta", body: '{"NodeID":"NODE"}', status: 400, text: "missing required Meta object" },
  { name: "a number as value", body: '{"NodeID":"NODE","Meta":{"a":1}}', status: 400, text: "json: cannot unmarshal number into Go struct field NodeMetaApplyRequest.Meta of type string" },
  { name: "Meta that is an array", body: '{"NodeID":"NODE","Meta":["a"]}', status: 400, text: "json: cannot unmarshal array into Go struct field NodeMetaApplyRequest.Meta of type map[string]*string" },
]; // biome-ignore format: a table

test("what cannot be taken is refused in Nomad's words and changes nothing", async (t) => {
  await using rig = await rigWith("200ms");
  const { nodeId } = rig.agent();
  for (const { name, body, status, text } of refusals)
    await t.test(name, async () => {
      const sent = body === undefined ? {} : { body: body.replace("NODE", nodeId) };
      const reply = await rig.ask({
        method: "POST",
        path,
        token: rig.secret("management"),
        ...sent,
      });
      assert.deepEqual({ status: reply.status, text: reply.text }, { status, text });
    });
  const after = await rig.get(`${path}?node_id=${nodeId}`, rig.secret("management"));
  assert.deepEqual(objectIn(after, "Dynamic"), {});
});

test("an update above 64 KiB is a 413, one that makes the node's metadata too large a 400; neither stays", async () => {
  await using rig = await rigWith("200ms");
  const { nodeId } = rig.agent();
  const tooLarge = await post(rig, { NodeID: nodeId, Meta: { a: "x".repeat(70_000) } });
  assert.equal(tooLarge.status, 413, tooLarge.text);
  assert.equal(tooLarge.headers["x-serai-error"], "body_too_large");
  const value = "x".repeat(30_000);
  assert.equal((await post(rig, { NodeID: nodeId, Meta: { a: value, b: value } })).status, 200);
  const full = await post(rig, { NodeID: nodeId, Meta: { c: value } });
  assert.equal(full.status, 400, full.text);
  const keys = Object.fromEntries(Array.from({ length: 257 }, (_, at) => [`k${at}`, "v"]));
  assert.equal((await post(rig, { NodeID: nodeId, Meta: keys })).status, 400);
  const after = await rig.get(`${path}?node_id=${nodeId}`, rig.secret("management"));
  assert.deepEqual(Object.keys(objectIn(after, "Dynamic")).sort(), ["a", "b"]);
});

test("keys that name a prototype harm nothing", async () => {
  await using rig = await rigWith("100ms");
  const { nodeId } = rig.agent();
  const keys = ["__proto__", "constructor", "prototype", "toString", "hasOwnProperty"];
  for (const key of keys) {
    const body = `{"NodeID":"${nodeId}","Meta":{"${key}":"polluted"}}`;
    const reply = await post(rig, body);
    assert.ok([200, 400].includes(reply.status), `${key}: ${reply.status} ${reply.text}`);
  }
  const nested = await post(
    rig,
    `{"__proto__":{"x":"polluted"},"NodeID":"${nodeId}","Meta":{"fine":"1"}}`,
  );
  assert.equal(nested.status, 200, nested.text);
  await eventually("the registry still follows", async () => (await nodeMeta(rig, nodeId))["fine"]);
  assert.equal("x" in {}, false);
  assert.equal(Object.getPrototypeOf({}), Object.prototype);
  assert.equal(String({}), "[object Object]");
  assert.equal((await listed(rig, 'Meta.fine == "1"')).length, 1);
});

test("an update answered just before kill -9 is in the node registry of the gateway started anew", async () => {
  await using home = createHome();
  const settings = { metadata: { interval: "10s" }, node: { down_after: "5s" } };
  const first = await home.gateway(settings);
  await home.agent("n1", first.url);
  const call = async (url: string, target: string, init: RequestInit = {}): Promise<unknown> => {
    const headers = { "x-nomad-token": home.secrets.operator };
    const reply = await fetch(`${url}${target}`, { ...init, headers });
    assert.equal(reply.status, 200);
    return await reply.json();
  };
  const nodes = await call(first.url, "/v1/nodes");
  assert.ok(Array.isArray(nodes));
  const nodeId = String(nodes[0].ID);
  await call(first.url, path, {
    method: "POST",
    body: JSON.stringify({ NodeID: nodeId, Meta: { survived: "yes" } }),
  });
  first.kill("SIGKILL");
  await first.ended;
  const second = await home.gateway({ ...settings, http: { listen: first.address } });
  await until("the update is in the registry", async () => {
    const filter = encodeURIComponent('Meta.survived == "yes"');
    const found = await call(second.url, `/v1/nodes?filter=${filter}`);
    return Array.isArray(found) && found.length === 1;
  });
});

test("SIGTERM writes what waits for its window before the gateway ends", async () => {
  await using home = createHome();
  const gateway = await home.gateway({ metadata: { interval: "1m" } });
  await home.agent("n1", gateway.url);
  const headers = { "x-nomad-token": home.secrets.operator };
  const nodes: unknown = await (await fetch(`${gateway.url}/v1/nodes`, { headers })).json();
  assert.ok(Array.isArray(nodes));
  const nodeId = String(nodes[0].ID);
  const answer = await fetch(`${gateway.url}${path}`, {
    method: "POST",
    headers,
    body: JSON.stringify({ NodeID: nodeId, Meta: { flushed: "yes" } }),
  });
  assert.equal(answer.status, 200);
  gateway.kill("SIGTERM");
  assert.deepEqual(await gateway.ended, { code: 0, signal: null });
  const saved = readFileSync(`${home.directory}/gateway/nodes.json`, "utf8");
  assert.match(saved, /"flushed":"yes"/);
});
