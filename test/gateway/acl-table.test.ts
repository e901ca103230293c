/** Who may do what, over real HTTP: every row of the route table against every kind of caller. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { isJsonObject, type Json } from "../../src/lib/json.ts";
import { routes } from "../../src/routes.ts";
import type { Rig } from "../support/rig.ts";
import {
  askRow, badCredentials, callersOf, caseOf, outcomeOf, secretOf, startWorld, type Verdict, type World,
} from "./permission-table.ts"; // biome-ignore format: a list

/* ---- rows whose answer decides by itself ---- */

const fieldsOf = (document: Json, name: string): readonly string[] => {
  assert.ok(Array.isArray(document), "a list");
  return document.map((item: Json) => String(isJsonObject(item) ? item[name] : undefined)).sort();
};

const refusedFor = (...callers: readonly string[]): Readonly<Record<string, string>> =>
  Object.fromEntries(callers.map((caller) => [caller, "refused"]));

type Answers = Readonly<Record<string, string | ((world: World) => string)>>;

const notKnown = ({ rig }: World): string => `500 Unknown allocation "${rig.allocation("web")}"`;
const noRight = { nothing: "refused", anonymous: "refused" } as const;

/** By row, what each caller gets: a status (its text besides when it is not the good one), or `refused`. */
const answered: Readonly<Record<string, Answers>> = {
  "alloc.read": {
    management: "200",
    "only-read-job": "200",
    "only-list-jobs": notKnown,
    "but-read-job": notKnown,
    elsewhere: notKnown,
    nothing: notKnown,
    anonymous: notKnown,
  },
  "evaluation.read": {
    management: "200",
    "only-read-job": "200",
    "but-read-job": "refused",
    elsewhere: "refused",
    ...noRight,
  },
  "evaluation.allocations": {
    management: "200",
    "only-read-job": "200",
    "but-read-job": "refused",
    elsewhere: "200", // an empty list: see below
    ...noRight,
  },
  search: {
    management: "200",
    "only-read-job": "200",
    "but-read-job": "refused",
    elsewhere: "refused",
    ...noRight,
  },
  "services.list": {
    management: "200",
    "only-read-job": "200",
    "but-read-job": "refused",
    elsewhere: "refused",
    ...noRight,
  },
  "volumes.list": {
    management: "200",
    "only-list-jobs": "200",
    "only-read-job": "refused",
    elsewhere: "refused",
    ...noRight,
  },
  "namespaces.list": {
    management: "200",
    "only-read-job": "200",
    nothing: "200",
    anonymous: "200",
  },
  "acl.token.self": { management: "200", "only-read-job": "200", nothing: "200", anonymous: "200" },
  "acl.policies": { management: "200", "only-read-job": "200", nothing: "200", anonymous: "200" },
  "acl.policy": {
    management: "200",
    "only-read-job": "200",
    "only-list-jobs": "refused",
    elsewhere: "refused",
    ...noRight,
  },
};

const wantedOf = (world: World, name: string): Readonly<Record<string, string>> => {
  const own = answered[name];
  assert.ok(own, `the answer of ${name} decides, and the table does not say how`);
  return {
    ...refusedFor(...badCredentials),
    ...Object.fromEntries(
      Object.entries(own).map(([caller, want]) => [
        caller,
        typeof want === "string" ? want : want(world),
      ]),
    ),
  };
};

/* ---- lists show what the caller may see ---- */

const namespacesSeen = async (
  rig: Rig,
  path: string,
  caller: string,
): Promise<readonly string[]> => {
  const reply = await rig.get(path, secretOf(rig, caller));
  assert.equal(reply.status, 200, `${path} as ${caller}: ${reply.text}`);
  return [
    ...new Set(fieldsOf(reply.json(), path.startsWith("/v1/namespaces") ? "Name" : "Namespace")),
  ];
};

// biome-ignore format: a table
const lists: readonly (readonly [path: (world: World) => string, caller: string, seen: readonly string[]])[] = [
  [() => "/v1/allocations?namespace=*", "management", ["default", "elsewhere"]],
  [() => "/v1/allocations?namespace=*", "only-read-job", ["default"]],
  [() => "/v1/allocations?namespace=*", "elsewhere", ["elsewhere"]],
  [() => "/v1/allocations?namespace=elsewhere", "elsewhere", ["elsewhere"]],
  [() => "/v1/jobs?namespace=*", "only-list-jobs", ["default"]],
  [() => "/v1/jobs?namespace=*", "elsewhere", ["elsewhere"]],
  [() => "/v1/evaluations?namespace=*", "management", ["default", "elsewhere"]],
  [() => "/v1/evaluations?namespace=*", "only-read-job", ["default"]],
  [() => "/v1/services?namespace=*", "nothing", []],
  [() => "/v1/job/far/allocations?namespace=elsewhere", "elsewhere", ["elsewhere"]],
  [() => "/v1/namespaces", "management", ["default", "elsewhere"]],
  [() => "/v1/namespaces", "only-read-fs", ["default"]],
  [() => "/v1/namespaces", "elsewhere", ["elsewhere"]],
  [() => "/v1/namespaces", "nothing", []],
  [() => "/v1/namespaces", "anonymous", []],
  [({ rig }) => `/v1/node/${rig.agent(1).nodeId}/allocations`, "only-node-read", []],
  [({ rig }) => `/v1/node/${rig.agent(1).nodeId}/allocations`, "but-node-write", ["elsewhere"]],
  [({ rig }) => `/v1/node/${rig.agent(0).nodeId}/allocations`, "but-node-write", ["default"]],
];

const searched = async (rig: Rig, namespace: string, caller: string): Promise<Json> => {
  const reply = await rig.ask({
    method: "POST",
    path: `/v1/search?namespace=${namespace}`,
    token: secretOf(rig, caller),
    body: '{"Prefix":"","Context":"jobs"}',
  });
  const document = reply.status === 200 ? reply.json() : reply.text;
  const matches = isJsonObject(document) ? document["Matches"] : document;
  return isJsonObject(matches) ? (matches["jobs"] ?? null) : (matches ?? null);
};

/* ---- one caller's namespace never opens another's ---- */

const aboutAllocations = routes.filter(({ key }) => key.startsWith("allocation"));

test("the gateway's doors open to the right callers alone", async (t) => {
  await using world = await startWorld();
  const { rig } = world;
  const door = { at: rig.url };

  for (const route of routes) {
    const title = `${route.methods?.join("/") ?? "any"} ${route.path}`;
    await t.test(title, async () => {
      const { ok } = caseOf(route);
      const wanted =
        route.rule.on === "answer"
          ? wantedOf(world, route.name)
          : Object.fromEntries(
              Object.entries(callersOf(route)).map(([caller, verdict]) => [
                caller,
                verdict === "refused" || ok === 403 ? "refused" : String(ok),
              ]),
            );
      const got: Record<string, string> = {};
      for (const [caller, want] of Object.entries(wanted)) {
        const verdict: Verdict = want === "refused" ? "refused" : "allowed";
        got[caller] = await outcomeOf(route, world, door, caller, verdict);
      }
      assert.deepEqual(got, wanted);
    });
  }

  await t.test("a list shows the namespaces that its caller may see", async () => {
    for (const [path, caller, seen] of lists)
      assert.deepEqual(
        await namespacesSeen(rig, path(world), caller),
        seen,
        `${path(world)} ${caller}`,
      );
  });

  await t.test("a search finds what its caller may see", async () => {
    assert.deepEqual(await searched(rig, "elsewhere", "elsewhere"), ["far"]);
    assert.deepEqual(await searched(rig, "*", "elsewhere"), ["far"]);
    assert.deepEqual(await searched(rig, "default", "elsewhere"), "Permission denied");
    assert.deepEqual(await searched(rig, "elsewhere", "only-read-job"), "Permission denied");
  });

  await t.test(
    "an evaluation's allocations are left out where its caller has no right",
    async () => {
      const route = routes.find(({ name }) => name === "evaluation.allocations");
      assert.ok(route);
      const reply = await askRow(route, world, door, "elsewhere", "allowed");
      assert.deepEqual(reply.json(), []);
    },
  );

  await t.test("a caller is told its own policies and no others", async () => {
    const names = async (caller: string) =>
      fieldsOf((await rig.get("/v1/acl/policies", secretOf(rig, caller))).json(), "Name");
    assert.deepEqual(await names("only-read-job"), ["only-read-job"]);
    assert.deepEqual(await names("nothing"), []);
    assert.deepEqual(await names("anonymous"), []);
    assert.ok((await names("management")).length > 10);
  });

  for (const namespace of [undefined, "elsewhere", "default", "*"])
    await t.test(
      `rights in one namespace open no allocation in another, namespace=${namespace}`,
      async () => {
        const extra = namespace === undefined ? [] : [`namespace=${namespace}`];
        const got: Record<string, string> = {};
        for (const route of aboutAllocations)
        got[`${route.name} ${route.path}`] = await outcomeOf(
          route, world, door, "elsewhere", "refused", extra,
        ); // biome-ignore format: a row
        assert.deepEqual(
          got,
          Object.fromEntries(Object.keys(got).map((name) => [name, "refused"])),
        );
        const read = await rig.get(
          `/v1/allocation/${rig.allocation("web")}?${extra.join("")}`,
          secretOf(rig, "elsewhere"),
        );
        assert.equal(read.status, 500);
        const services = await rig.get(
          `/v1/allocation/${rig.allocation("web")}/services?${extra.join("")}`,
          secretOf(rig, "elsewhere"),
        );
        assert.equal(services.status, namespace === "elsewhere" || namespace === "*" ? 404 : 403);
      },
    );

  await t.test("refused callers have changed nothing", () => world.unharmed());

  await t.test("every refused file, exec and change is in the audit log as denied", async () => {
    const ends = rig.audit().filter((record) => record["audit"] === "end");
    const denied = new Set(
      ends.filter((record) => record["result"] === "denied").map((record) => record["route"]),
    );
    const audited = routes.filter(({ audit }) => audit !== undefined).map(({ name }) => name);
    assert.deepEqual([...denied].sort(), [...new Set(audited)].sort());
    const run = ends.filter(
      (record) => record["route"] === "alloc.exec" && record["result"] === "ok",
    );
    assert.deepEqual(
      run.map((record) => record["exitCode"]),
      [0, 0],
      "two execs were run",
    );
    const atTheNode = ends.find(
      (record) =>
        record["accessor"] === rig.accessor("only-alloc-exec") && record["route"] === "alloc.exec",
    );
    assert.equal(atTheNode?.["result"], "denied", "what the agent refuses is denied");
    assert.equal(atTheNode["code"], "permission_denied");
  });
});
