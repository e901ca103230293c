/** Dynamic node metadata: merge, keys, bounds, and what survives. */
import assert from "node:assert/strict";
import { chmod, mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import path from "node:path";
import { test } from "node:test";
import fc from "fast-check";
import { createMetadata, type MetadataStore, metadataLimits } from "../../../src/agent/metadata.ts";
import { type JsonObject, parseJson } from "../../../src/lib/json.ts";
import { recordingLog } from "./support.ts";

// biome-ignore lint/suspicious/noTemplateCurlyInString: it is a text of Nomad's
const envoy = "docker.io/envoyproxy/envoy:v${NOMAD_envoy_version}";

interface Fixture extends AsyncDisposable {
  readonly directory: string;
  open(meta?: Readonly<Record<string, string>>): Promise<MetadataStore>;
}

const fixture = async (): Promise<Fixture> => {
  const directory = await mkdtemp(path.join(tmpdir(), "serai-metadata-"));
  return {
    directory,
    open: (meta = { rack: "r3", owner: "ops" }) =>
      createMetadata({ log: recordingLog([]) }, { dataDirectory: directory, meta }),
    [Symbol.asyncDispose]: () => rm(directory, { recursive: true, force: true }),
  };
};

test("static metadata is the configured one over Nomad's defaults", async () => {
  await using place = await fixture();
  const store = await place.open({ "connect.log_level": "debug", rack: "r3" });
  const { Meta, Dynamic, Static } = store.read();
  assert.deepEqual(
    { ...Static },
    {
      "connect.sidecar_image": envoy,
      "connect.gateway_image": envoy,
      "connect.log_level": "debug",
      "connect.proxy_concurrency": "1",
      "connect.transparent_proxy.default_uid": "101",
      "connect.transparent_proxy.default_outbound_port": "15001",
      rack: "r3",
    },
  );
  assert.deepEqual({ ...Meta }, { ...Static });
  assert.deepEqual({ ...Dynamic }, {});
});

const steps: readonly {
  readonly name: string;
  readonly change: JsonObject;
  readonly dynamic: JsonObject;
  readonly rack: string | undefined;
  readonly team: string | undefined;
}[] = [
  { name: "a new key", change: { team: "a" }, dynamic: { team: "a" }, rack: "r3", team: "a" },
  { name: "an empty value", change: { team: "" }, dynamic: { team: "" }, rack: "r3", team: "" },
  { name: "an override", change: { rack: "r9" }, dynamic: { team: "", rack: "r9" }, rack: "r9", team: "" },
  { name: "a tombstone", change: { rack: null }, dynamic: { team: "", rack: null }, rack: undefined, team: "" },
  { name: "an unset dynamic key", change: { team: null }, dynamic: { rack: null }, rack: undefined, team: undefined },
  { name: "an unset unknown key", change: { nope: null }, dynamic: { rack: null }, rack: undefined, team: undefined },
  { name: "a static key set again", change: { rack: "r3" }, dynamic: { rack: "r3" }, rack: "r3", team: undefined },
]; // biome-ignore format: a table

test("each change merges as Nomad does, and every state is there again after a restart", async () => {
  await using place = await fixture();
  const store = await place.open();
  for (const { name, change, dynamic, rack, team } of steps) {
    const answered = await store.apply(change);
    assert.deepEqual({ ...answered.Dynamic }, dynamic, name);
    assert.deepEqual([answered.Meta["rack"], answered.Meta["team"]], [rack, team], name);
    assert.deepEqual((await place.open()).read(), answered, name);
  }
});

test("a tombstone whose key is no longer static is dropped at the start", async () => {
  await using place = await fixture();
  await (await place.open()).apply({ rack: null, team: "a" });
  const { Dynamic } = (await place.open({})).read();
  assert.deepEqual({ ...Dynamic }, { team: "a" });
});

const badKeys = [
  "",
  "a/b",
  "a b",
  "1a",
  "-a",
  "a..b",
  "a.",
  ".a",
  "*",
  "a:b",
  "$\u007bx}",
  'a"b',
  "a.-b",
  "__proto__",
];
for (const key of badKeys)
  test(`the key ${JSON.stringify(key)} is refused and nothing of its request is set`, async () => {
    await using place = await fixture();
    const store = await place.open();
    const meta = parseJson(`{"good":"v",${JSON.stringify(key)}:"v"}`) as JsonObject;
    await assert.rejects(store.apply(meta), {
      code: "invalid_request",
      message:
        key === ""
          ? "metadata keys must not be empty"
          : `${JSON.stringify(key)} is invalid; metadata keys must be valid dotted hcl identifiers`,
    });
    assert.deepEqual({ ...store.read().Dynamic }, {});
  });

for (const key of ["_u", "x.y", "x-z", "ünï", "a1.b-2._c", "constructor", "toString"])
  test(`the key ${key} is accepted`, async () => {
    await using place = await fixture();
    const store = await place.open();
    assert.equal((await store.apply({ [key]: "4" })).Meta[key], "4");
    assert.equal((await store.apply({ [key]: null })).Meta[key], undefined);
  });

test("changes made at once are applied one after the other and none is lost", async () => {
  await using place = await fixture();
  const store = await place.open();
  const names = Array.from({ length: 40 }, (_none, index) => `k${index}`);
  const answers = await Promise.all(names.map((name) => store.apply({ [name]: name })));
  assert.deepEqual(
    answers.map((answer) => Object.keys(answer.Dynamic).length),
    names.map((_name, index) => index + 1),
  );
  assert.equal(Object.keys((await place.open()).read().Dynamic).length, names.length);
});

test("keys, values and the whole are bounded", async () => {
  await using place = await fixture();
  const store = await place.open();
  const many = Object.fromEntries(
    Array.from({ length: metadataLimits.maxKeys }, (_none, index) => [`k${index}`, "v"]),
  );
  const big = "x".repeat(metadataLimits.maxValueBytes);
  for (const meta of [many, { ["k".repeat(300)]: "v" }, { a: `${big}x` }, { a: big, b: big }])
    await assert.rejects(store.apply(meta), { code: "invalid_request" });
  assert.deepEqual({ ...store.read().Dynamic }, {});
  await store.apply({ a: big });
});

test("a change that cannot be kept is refused and not seen", async () => {
  await using place = await fixture();
  const store = await place.open();
  await store.apply({ a: "1" });
  await rm(path.join(place.directory, "metadata.json"));
  await rm(place.directory, { recursive: true });
  await assert.rejects(store.apply({ a: "2" }), { code: "failed", message: /ENOENT/ });
  assert.equal(store.read().Meta["a"], "1");
});

test("a file that is no metadata stops the start and says which", async () => {
  await using place = await fixture();
  const file = path.join(place.directory, "metadata.json");
  for (const text of ["{", '{"Dynamic":{"a/b":"c"}}']) {
    await writeFile(file, text);
    await assert.rejects(place.open(), { message: new RegExp(file) });
  }
});

test("the file is readable by its owner alone", async () => {
  await using place = await fixture();
  await (await place.open()).apply({ a: "1" });
  const file = path.join(place.directory, "metadata.json");
  await chmod(file, 0o600);
  assert.equal(await readFile(file, "utf8"), '{"Dynamic":{"a":"1"}}');
});

test("whatever JSON is applied, no prototype is touched and what is set can be read", async () => {
  await using place = await fixture();
  const store = await place.open();
  const value = fc.option(fc.string({ maxLength: 20 }));
  await fc.assert(
    fc.asyncProperty(
      fc.dictionary(fc.string({ maxLength: 12 }), value, { maxKeys: 4 }),
      async (meta) => {
        const before = store.read();
        const after = await store.apply(meta).catch(() => undefined);
        if (after === undefined) assert.deepEqual(store.read(), before);
        else
          for (const [key, set] of Object.entries(meta))
            assert.equal(after.Meta[key], set ?? undefined);
        assert.equal(Reflect.get({}, "x"), undefined);
      },
    ),
    { numRuns: 60 },
  );
});
