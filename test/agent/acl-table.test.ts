/** Who may do what at an agent's own door, where its rights come from the gateway: every row it serves, every caller. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { type Route, routes } from "../../src/routes.ts";
import { callersOf, caseOf, outcomeOf, startWorld } from "../gateway/permission-table.ts";
import { eventually } from "../support/rig.ts";

/** Rows of the registry that an agent answers besides those carried to it. */
const own: ReadonlySet<string> = new Set(["alloc.stop", "agent.self", "agent.health"]);
const served = routes.filter(({ carriage, name }) => carriage !== "registry" || own.has(name));

/** Rows about another node are asked of that node. */
const doorOf = ({ name }: Route): number => (name === "client.gc" ? 1 : 0);

test("an agent's door opens to the right callers alone", async (t) => {
  await using world = await startWorld();
  const { rig } = world;

  for (const route of served)
    await t.test(`${route.methods?.join("/") ?? "any"} ${route.path}`, async () => {
      const door = { at: rig.agent(doorOf(route)).url };
      const callers = callersOf(route);
      assert.ok("management" in callers, "the row has callers");
      const wanted = Object.fromEntries(
        Object.entries(callers).map(([caller, verdict]) => [
          caller,
          verdict === "refused" ? "refused" : String(caseOf(route).ok),
        ]),
      );
      const got: Record<string, string> = {};
      for (const [caller, verdict] of Object.entries(callers))
        got[caller] = await outcomeOf(route, world, door, caller, verdict);
      assert.deepEqual(got, wanted);
    });

  await t.test(
    "rights in one namespace open nothing in another, whatever the query says",
    async () => {
      const got: Record<string, string> = {};
      for (const route of served.filter(({ key }) => key.startsWith("allocation")))
      for (const namespace of ["elsewhere", "*"])
        got[`${route.name} ${route.path} ${namespace}`] = await outcomeOf(
          route, world, { at: rig.agent(0).url }, "elsewhere", "refused", [`namespace=${namespace}`],
        ); // biome-ignore format: a row
      assert.deepEqual(got, Object.fromEntries(Object.keys(got).map((name) => [name, "refused"])));
    },
  );

  await t.test("no caller's token is a pull secret, not even one that manages", async () => {
    for (const caller of ["management", "but-node-write", "nothing"])
      for (const headers of [
        { "x-nomad-token": rig.secret(caller) },
        { authorization: `Bearer ${rig.secret(caller)}` },
      ]) {
        const { url, nodeId } = rig.agent(0);
        const reply = await rig.ask({ at: url, path: `/v1/node/${nodeId}/allocations`, headers });
        assert.equal(reply.status, 403, caller);
        assert.equal(reply.text, "Permission denied");
      }
  });

  await t.test("refused callers have changed nothing", () => world.unharmed());

  await t.test("a gateway that is away is no right and no refusal: 503", async () => {
    const fresh = rig.addToken("fresh", { management: true });
    await rig.gateway.reload();
    await rig.gateway.close(AbortSignal.timeout(5_000));
    const path = `/v1/client/fs/ls/${rig.allocation("web")}`;
    const reply = await eventually("the agent notices", async () => {
      const { status, text } = await rig.ask({ at: rig.agent(0).url, path, token: fresh });
      return status === 403 ? undefined : { status, text };
    });
    assert.equal(reply.status, 503);
    assert.match(reply.text, /^the caller's token cannot be checked now/);
  });
});
