/** A gateway whose loop stood still: it says so to its balancer at once, and blames nobody for the time it was away. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { setTimeout as wait } from "node:timers/promises";
import { createHome, shellWorkload, until } from "../support/processes.ts";
import { get, rawClient } from "../support/raw-client.ts";

const stallMs = 2_500;

test("after two seconds of standstill it is not ready, streams go on and no agent is called down", async () => {
  await using home = createHome();
  const gateway = await home.gateway({ node: { down_after: "2s" } });
  await home.agent("n1", gateway.url, {
    workloads: [shellWorkload("ticker", "while :; do echo tick; sleep 0.1; done")],
  });
  const headers = { "x-nomad-token": home.secrets.operator };
  const statusOf = async (): Promise<string> => {
    const nodes: unknown = await (await fetch(`${gateway.url}/v1/nodes`, { headers })).json();
    return Array.isArray(nodes) ? String(nodes[0]?.Status) : "";
  };
  const id = await until("the workload runs", async () => {
    const list: unknown = await (await fetch(`${gateway.url}/v1/allocations`, { headers })).json();
    return Array.isArray(list) && list[0]?.ClientStatus === "running"
      ? String(list[0].ID)
      : undefined;
  });
  const live = rawClient(
    gateway.port,
    get(
      `/v1/client/fs/logs/${id}?task=main&type=stdout&follow=true&plain=true`,
      `X-Nomad-Token: ${home.secrets.operator}\r\n`,
    ),
  );
  await live.seen("tick");
  const ready = async (): Promise<string> => {
    const answer = await fetch(`${gateway.adminUrl}/readyz?verbose`);
    return `${answer.status} ${await answer.text()}`;
  };
  await until("it is ready", async () => (await ready()).startsWith("200"));

  gateway.kill("SIGSTOP");
  await wait(stallMs); // the fault itself
  gateway.kill("SIGCONT");
  const first = await ready();
  assert.match(first, /^503 /, "the very first probe is told");
  assert.match(first, /event loop failed: the event loop stood still for \d{4} ms/);

  const before = live.received().length;
  await until("the stream goes on", () => live.received().length > before);
  assert.equal(await statusOf(), "ready");
  live.socket.destroy();
  const told = gateway.output.filter((line) => /node_down|"event":"node_/.test(line));
  assert.equal(told.filter((line) => line.includes("node_down")).length, 0, told.join("\n"));
  assert.equal(home.audit().filter((line) => JSON.stringify(line).includes("node_down")).length, 0);
});
