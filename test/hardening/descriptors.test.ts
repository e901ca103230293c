/** A gateway with few file descriptors and far more callers: who is beyond the bound is told so, who is in notices nothing. */
import assert from "node:assert/strict";
import { readdirSync } from "node:fs";
import { test } from "node:test";
import { createHome, shellWorkload, until } from "../support/processes.ts";
import { get, type RawClient, rawClient, rawRequest } from "../support/raw-client.ts";

const openFiles = 256;
const followers = 60;

const runningIn = async (url: string, token: string): Promise<string> =>
  until("the workload runs", async () => {
    const answer = await fetch(`${url}/v1/allocations`, { headers: { "x-nomad-token": token } });
    const list: unknown = await answer.json();
    assert.ok(Array.isArray(list));
    return list[0]?.ClientStatus === "running" ? String(list[0].ID) : undefined;
  });

const ticks = (client: RawClient): number => client.received().toString().split("tick").length - 1;

test("with all descriptors taken new callers get 503, live streams go on, and a second later all is well", async () => {
  await using home = createHome();
  const gateway = await home.gateway({}, { openFiles });
  await home.agent("n1", gateway.url, {
    workloads: [shellWorkload("ticker", "while :; do echo tick; sleep 0.2; done")],
  });
  const token = home.secrets.operator;
  const header = `X-Nomad-Token: ${token}\r\n`;
  const id = await runningIn(gateway.url, token);
  const follow = `/v1/client/fs/logs/${id}?task=main&type=stdout&follow=true&plain=true`;

  const live = Array.from({ length: followers }, () =>
    rawClient(gateway.port, get(follow, header)),
  );
  await Promise.all(live.map((client) => client.seen("tick")));

  const idle = Array.from({ length: 400 }, () => rawClient(gateway.port, "GET "));
  const refused = await until("callers are turned away", () => {
    const told = idle.filter((client) => client.received().includes("HTTP/1.1 503 "));
    return told.length >= 250 ? told : undefined;
  });
  for (const client of refused.slice(0, 20)) {
    const { status, headers, body, end } = await client.answer();
    assert.equal(`${status} ${end}`, "503 whole");
    assert.equal(headers.get("connection"), "close");
    assert.equal(headers.get("retry-after"), "1");
    assert.match(body.toString(), /as many connections as it can hold/);
  }
  const used = readdirSync(`/proc/${gateway.pid}/fd`).length;
  assert.ok(used <= openFiles, `${used} descriptors`);

  const before = live.map(ticks);
  await until("every follower goes on", () =>
    live.every((client, at) => ticks(client) > (before[at] ?? 0)),
  );
  assert.equal((await fetch(`${gateway.adminUrl}/readyz`)).status, 200, "probes are still let in");
  const metrics = await (await fetch(`${gateway.adminUrl}/metrics`)).text();
  assert.match(metrics, /serai_rate_limited_total\{limit="sockets"\} \d{2,}/);

  for (const { socket } of idle) socket.destroy();
  await until(
    "a new caller is served",
    async () => {
      const answer = await rawRequest(gateway.port, get("/v1/regions")).catch(() => undefined);
      return answer?.status === 200;
    },
    2_000,
  );
  const stats = await rawRequest(gateway.port, get(`/v1/client/allocation/${id}/stats`, header));
  assert.equal(stats.status, 200, "and reaches its agent");
  for (const { socket } of live) {
    assert.equal(socket.destroyed, false);
    socket.destroy();
  }
  await until(
    "descriptors are given back",
    () => readdirSync(`/proc/${gateway.pid}/fd`).length < 80,
  );
  assert.deepEqual(
    gateway.errors.filter((line) => /EMFILE/.test(line)),
    [],
  );
});

test("a door full of callers does not keep an agent from asking who they are", async () => {
  await using home = createHome();
  const gateway = await home.gateway({ limits: { live_per_principal: 1_000 } }, { openFiles });
  const agent = await home.agent("n1", gateway.url, {
    workloads: [shellWorkload("ticker", "while :; do echo tick; sleep 0.2; done")],
  });
  const token = home.secrets.operator;
  const id = await runningIn(gateway.url, token);
  const follow = get(
    `/v1/client/fs/logs/${id}?task=main&type=stdout&follow=true&plain=true`,
    `X-Nomad-Token: ${token}\r\n`,
  );
  const all = Array.from({ length: 300 }, () => rawClient(gateway.port, follow));
  await until("each is answered", () => all.every((client) => client.received().length > 0));
  const statuses = new Map<string, number>();
  for (const client of all) {
    const status = client.received().toString("latin1").slice(9, 12);
    statuses.set(status, (statuses.get(status) ?? 0) + 1);
  }
  const words = new Set(all.map((client) => client.received().toString().split("\r\n\r\n")[1]));
  const story = [JSON.stringify([...statuses]), ...words, ...agent.output.slice(-5)].join("\n");
  for (const { socket } of all) socket.destroy();
  assert.deepEqual([...statuses.keys()].sort(), ["200", "503"], story);
  assert.ok((statuses.get("200") ?? 0) >= 80, story);
});
