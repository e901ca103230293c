/** Which server is asked: the first, until it fails. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { createServers } from "../../src/nomad/servers.ts";
import { ScriptedNomad } from "../support/scripted-nomad.ts";

const options = { connectTimeoutMs: 500, tls: undefined };
const soon = (): AbortSignal => AbortSignal.timeout(5_000);

test("a failed server gives way to the next, around and around", async () => {
  const [a, b, c] = ["http://127.0.0.1:1", "http://127.0.0.1:2", "http://127.0.0.1:3"];
  const servers = createServers({ ...options, addresses: [a ?? "", b ?? "", c ?? ""] });
  assert.equal(servers.current, a);
  for (const next of [b, c, a]) {
    servers.failed(servers.current);
    assert.equal(servers.current, next);
  }
  await servers.close(soon());
});

test("a failure told late, of a server that is not asked any more, changes nothing", async () => {
  const servers = createServers({ ...options, addresses: ["http://a:1", "http://b:1"] });
  servers.failed("http://a:1");
  servers.failed("http://a:1");
  servers.failed("http://elsewhere:1");
  assert.equal(servers.current, "http://b:1");
  await servers.close(soon());
});

test("the only server stays current", async () => {
  const servers = createServers({ ...options, addresses: ["http://a:1"] });
  servers.failed("http://a:1");
  assert.equal(servers.current, "http://a:1");
  await servers.close(soon());
});

test("without an address there is nothing to ask", () => {
  assert.throws(() => createServers({ ...options, addresses: [] }), RangeError);
});

test("its dispatcher speaks to a server, and to none once it is closed", async () => {
  await using nomad = await ScriptedNomad.start();
  const servers = createServers({ ...options, addresses: [nomad.origin] });
  const ask = () =>
    servers.dispatcher.request({ origin: servers.current, path: "/v1/nodes", method: "GET" });
  const answer = await ask();
  assert.equal(answer.statusCode, 200);
  assert.deepEqual(await answer.body.json(), []);
  await servers.close(soon());
  await assert.rejects(ask(), { code: "UND_ERR_DESTROYED" });
});
