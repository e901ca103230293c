/** What clients read of the gateway where they expect an agent. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { createAnswers } from "../../../src/registry/answers/answers.ts";
import { routes } from "../../../src/routes.ts";
import { createAsk, self } from "./ask.ts";
import { registryOf } from "./documents.ts";

const clock = { now: () => 0, monotonic: () => 0 };

test("the gateway says that it is a server with ACLs, and no client", async () => {
  const { document } = await createAsk(registryOf([]))({ route: "agent.self", token: "full" });
  assert.ok(typeof document === "object" && document !== null);
  const { config, stats } = { config: {}, stats: {}, ...document };
  assert.ok("ACL" in config && "UI" in config && "Version" in config && "Region" in config);
  assert.deepEqual(config.ACL, { Enabled: true });
  assert.deepEqual(config.UI, { Enabled: false, ShowCLIHints: false });
  assert.equal(config.Region, "global");
  assert.equal("client" in stats, false);
});

test("the gateway is its one server, and has no servers of its own to tell", async () => {
  const ask = createAsk(registryOf([]));
  const peers = await ask({ route: "status.peers", token: "unknown" });
  assert.deepEqual(peers.document, [self.address]);
  for (const query of ["", "wait=x", "region=mars"]) {
    const { status, text } = await ask({ route: "agent.servers", query });
    assert.deepEqual([status, text], [501, "Invalid method"], query);
  }
});

test("health is asked of the client that there is not, and refused", async () => {
  const ask = createAsk(registryOf([]));
  const outcome = await ask({ route: "agent.health", query: "type=client" });
  assert.equal(outcome.status, 500);
  assert.equal(outcome.text, '{"client":{"ok":false,"message":"client not enabled"}}');
});

test("a gateway that is not well says why", async () => {
  const ask = createAsk(registryOf([]), { unwell: () => "not synced" });
  const outcome = await ask({ route: "agent.health" });
  assert.equal(outcome.status, 500);
  assert.equal(outcome.text, '{"server":{"ok":false,"message":"not synced"}}');
});

test("every registry row has an answer but those that others give", () => {
  const answers = Object.keys(createAnswers({ registry: registryOf([]), clock, self }));
  const others = (name: string): boolean => name.startsWith("acl.") || name.startsWith("serai.");
  const expected = routes
    .filter(({ carriage, name }) => carriage === "registry" && !others(name))
    .map(({ name }) => name);
  assert.deepEqual(answers.sort(), expected.sort());
});
