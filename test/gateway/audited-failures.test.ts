/** What the audit says of requests that end before they could begin: denied is what a right was missing for, and nothing else. */
import assert from "node:assert/strict";
import { request } from "node:http";
import { after, before, describe, test } from "node:test";
import { type ClusterRig, startCluster } from "../support/cluster-rig.ts";
import { eventually } from "../support/rig.ts";
import { answers } from "../support/scripted-nomad.ts";

const nobodys = "11111111-1111-4111-8111-111111111111";
const other = (nth: number): string => `${nobodys.slice(0, -1)}${nth + 1}`;
const target = `/v1/client/fs/ls/${nobodys}?path=/`;

describe("a request that ends before it could begin", () => {
  let rig: ClusterRig;
  before(async () => {
    rig = await startCluster({ workloads: [] });
    await eventually("ready", async () => (await rig.readiness()) === 200 || undefined);
  });
  after(() => rig[Symbol.asyncDispose]());

  const endOf = (code: string) =>
    eventually(`the end record with ${code}`, () =>
      rig.audit().find((record) => record["audit"] === "end" && record["code"] === code),
    );

  test("is denied when its token is nobody's", async () => {
    await rig.ask({ path: target, headers: { "x-nomad-token": nobodys } });
    assert.equal((await endOf("permission_denied"))["result"], "denied");
  });

  test("is denied when a foreign site sends it", async () => {
    const path = `/v1/client/allocation/${nobodys}/restart`;
    const headers = { origin: "https://evil.example" };
    const { status } = await rig.ask({ method: "PUT", path, token: "reader", headers });
    assert.equal(status, 403);
    const record = await eventually("its record", () =>
      rig.audit().find(({ code }) => code === "forbidden_origin"),
    );
    assert.deepEqual([record["result"], record["allocation"]], ["denied", nobodys]);
  });

  test("has failed when its allocation is unknown", async () => {
    const { status } = await rig.ask({ path: target, token: "reader" });
    assert.equal(status, 404);
    assert.equal((await endOf("unknown_allocation"))["result"], "failed");
  });

  test("has failed when its caller left while the servers were asked who it is", async () => {
    let asked = 0;
    rig.nomad.overrides.set("/v1/acl/token/self", () => asked++);
    const going = request(`${rig.url}${target}`, { headers: { "x-nomad-token": other(1) } });
    going.on("error", () => undefined); // it leaves
    going.end();
    await eventually("the servers are asked", () => asked > 0 || undefined);
    going.destroy();
    assert.equal((await endOf("client_closed"))["result"], "failed");
  });

  test("has failed when nobody can say who asks", async () => {
    for (const path of rig.nomad.overrides.keys())
      if (path.startsWith("/v1/acl/"))
        rig.nomad.overrides.set(path, answers.refuse(500, "no leader"));
    await rig.ask({ path: target, headers: { "x-nomad-token": other(2) } });
    assert.equal((await endOf("identity_unavailable"))["result"], "failed");
  });
});
