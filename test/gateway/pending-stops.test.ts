/** A stop for a node that is away, over real processes: it outlives the gateway that took it, and no secret with it. */
import assert from "node:assert/strict";
import { readdirSync, readFileSync } from "node:fs";
import path from "node:path";
import { test } from "node:test";
import { request } from "undici";
import { isJsonObject, type Json, parseJson } from "../../src/lib/json.ts";
import { createHome, shellWorkload, until } from "../support/processes.ts";

test("a stop answered while the node was down is carried out though the gateway was killed meanwhile", async () => {
  await using home = createHome();
  const settings = { node: { down_after: "1s" } };
  const first = await home.gateway(settings);
  const { url } = first;
  const token = home.secrets.operator;
  const ask = async (target: string, secret = token, method: "GET" | "PUT" = "GET") => {
    const { statusCode, body } = await request(`${url}${target}`, {
      method,
      headers: { "x-nomad-token": secret },
    });
    return { status: statusCode, text: await body.text() };
  };
  const listed = async (target: string): Promise<readonly Json[]> => {
    const { status, text } = await ask(target);
    const list = status === 200 ? parseJson(text) : [];
    return Array.isArray(list) ? list : [];
  };
  const only = async (target: string, field: string): Promise<Json | undefined> => {
    const [one] = await listed(target);
    return isJsonObject(one) ? one[field] : undefined;
  };
  const statusOf = (field: string) => only("/v1/allocations", field);

  const workloads = [shellWorkload("kept", "exec sleep 1000")];
  const agent = await home.agent("away", url, { workloads });
  await until("it runs", async () => (await statusOf("ClientStatus")) === "running");
  const id = String(await statusOf("ID"));
  const stop = `/v1/allocation/${id}/stop`;
  agent.kill("SIGTERM");
  await agent.ended;
  await until("it is lost", async () => (await statusOf("ClientStatus")) === "lost");

  for (const [secret, status] of [
    [home.secrets.reader, 403],
    [token, 200],
  ] as const)
    assert.equal((await ask(stop, secret, "PUT")).status, status);
  first.kill("SIGKILL"); // at once
  await first.ended;
  const kept = path.join(home.directory, "gateway");
  for (const name of readdirSync(kept))
    assert.ok(!readFileSync(path.join(kept, name), "utf8").includes(token), name);

  const second = await home.gateway({ ...settings, http: { listen: first.address } });
  assert.equal(second.url, url);
  await home.agent("away", url, { workloads });
  await until("it has ended", async () => (await statusOf("ClientStatus")) === "complete");
  assert.equal(await statusOf("ID"), id);
  assert.equal(await statusOf("DesiredStatus"), "stop");
  await until("nothing waits", () => {
    const { Stops } = JSON.parse(readFileSync(path.join(kept, "stops.json"), "utf8"));
    return Stops.length === 0;
  });
  const records = home.audit(); // the last of the first gateway may have died with it
  assert.ok(
    records.some(({ event, allocationId }) => event === "stop_delivered" && allocationId === id),
    "that it was carried out is in the audit log",
  );
  assert.ok(
    records.some(
      ({ audit, route, namespace, accessor }) =>
        audit === "start" && route === "alloc.stop" && namespace === "default" && accessor,
    ),
    "who asked is in the audit log",
  );
});
