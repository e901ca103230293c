/** What an exchange is about, asked of the registry once more: where a node is now, and for how long a caller waits for that. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { createResolveAnew, type ResolveAnewNeeds } from "../../src/gateway/resolve-anew.ts";
import { whenAborted } from "../../src/lib/abort.ts";
import type { NodeEntry } from "../../src/ports.ts";
import { routeNamed } from "../../src/routes.ts";
import { nodeAt, scopeOf } from "../carry/front.ts";

const before = nodeAt("10.0.0.1:4646");
const after = nodeAt("10.0.0.2:4646");

/** A registry that names the node's new address once it is told that the old one is of no use. */
const registry = (): ResolveAnewNeeds => {
  let known: NodeEntry = before;
  return {
    directory: { findAnew: async () => undefined },
    nodes: {
      find: async () => known,
      unreachable: () => {
        known = after;
      },
    },
  };
};

for (const name of ["client.stats", "fs.ls"])
  test(`the node of ${name} that cannot be dialled is asked for anew`, async () => {
    const scope = scopeOf(routeNamed(name), before);
    const now = await createResolveAnew(registry())(scope, "node_unreachable");
    assert.deepEqual(now, { ...scope, node: after });
  });

test("a caller waits half a second for a registry that does not answer", async (t) => {
  t.mock.timers.enable({ apis: ["setTimeout"] });
  const { nodes } = registry();
  const findAnew = async (_id: string, signal: AbortSignal): Promise<never> => {
    await whenAborted(signal);
    throw signal.reason;
  };
  const scope = scopeOf(routeNamed("fs.ls"), before);
  const now = createResolveAnew({ directory: { findAnew }, nodes })(scope, "unknown_allocation");
  t.mock.timers.tick(500);
  assert.equal(await now, undefined);
});
