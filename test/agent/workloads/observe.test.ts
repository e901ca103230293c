import assert from "node:assert/strict";
import { once } from "node:events";
import { createServer } from "node:http";
import { type AddressInfo, createServer as createTcpServer } from "node:net";
import { type TestContext, test } from "node:test";
import type { CheckConfig } from "../../../src/agent/ports.ts";
import { isJsonObject, type Json, type JsonObject } from "../../../src/lib/json.ts";
import { bench, first, task, until, workload } from "./support.ts";

const at = (value: Json, ...keys: readonly string[]): Json =>
  keys.reduce<Json>(
    (current, key) => (isJsonObject(current) ? (current[key] ?? null) : null),
    value,
  );

const object = (value: Json): JsonObject => {
  assert.ok(isJsonObject(value));
  return value;
};

const nothing = {
  ResourceUsage: {
    MemoryStats: {
      RSS: 0,
      Cache: 0,
      Swap: 0,
      MappedFile: 0,
      Usage: 0,
      MaxUsage: 0,
      KernelUsage: 0,
      KernelMaxUsage: 0,
      Measured: null,
    },
    CpuStats: {
      SystemMode: 0,
      UserMode: 0,
      TotalTicks: 0,
      ThrottledPeriods: 0,
      ThrottledTime: 0,
      Percent: 0,
      Measured: null,
    },
    DeviceStats: [],
  },
  Tasks: {},
  Timestamp: 0,
};

test("usage has a sample for every running task, summed, and nothing for an unknown one", async (t) => {
  const workloads = await bench(t).start([
    workload([
      task("busy", "(while :; do :; done) & exec sleep 600"),
      task("idle", "exec sleep 600"),
    ]),
  ]);
  const allocation = first(workloads);
  await until("both run", () => allocation.tasks.every(({ state }) => state === "running"));
  const early = allocation.usage(undefined);
  assert.deepEqual(Object.keys(object(at(early, "Tasks"))).sort(), ["busy", "idle"]);
  const percent = (name: string) =>
    Number(at(allocation.usage(undefined), "Tasks", name, "ResourceUsage", "CpuStats", "Percent"));
  await until("the busy one is seen busy", () => percent("busy") > 1);
  const usage = allocation.usage(undefined);
  const busy = at(usage, "Tasks", "busy");
  assert.equal(Object.keys(object(at(busy, "Pids"))).length, 2);
  assert.deepEqual(Object.keys(object(at(busy, "ResourceUsage"))), [
    "MemoryStats",
    "CpuStats",
    "DeviceStats",
  ]);
  const rss = (value: Json) => Number(at(value, "ResourceUsage", "MemoryStats", "RSS"));
  assert.ok(rss(busy) > 0);
  assert.equal(rss(usage), rss(busy) + rss(at(usage, "Tasks", "idle")));
  assert.equal(typeof at(usage, "Timestamp"), "bigint");
  const one = allocation.usage("idle");
  assert.deepEqual(Object.keys(object(at(one, "Tasks"))), ["idle"]);
  assert.deepEqual(allocation.usage("nope"), nothing);
  await allocation.stop();
  assert.deepEqual(allocation.usage(undefined), nothing);
});

const check = (name: string, type: "tcp" | "http", path: string, port?: string): CheckConfig => ({
  name,
  type,
  path,
  port,
  intervalMs: 50,
  timeoutMs: 400,
});

const portOf = (address: string | AddressInfo | null): number => {
  assert.ok(typeof address === "object" && address !== null);
  return address.port;
};

const serve = async (t: TestContext): Promise<number> => {
  const server = createServer((request, response) => {
    if (request.url === "/hangs") return;
    if (request.url === "/torn") {
      response.writeHead(201, { "Content-Length": 100 }).write("torn");
      setTimeout(() => response.destroy(), 20);
    } else if (request.url === "/nothing") response.writeHead(204).end();
    else if (request.url === "/elsewhere") response.writeHead(302).end("over there");
    else response.writeHead(request.url === "/ok" ? 200 : 404).end("x".repeat(10_000));
  });
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  t.after(() => {
    server.closeAllConnections();
    server.close();
  });
  return portOf(server.address());
};

const closedPort = async (): Promise<number> => {
  const server = createTcpServer().listen(0, "127.0.0.1");
  await once(server, "listening");
  const port = portOf(server.address());
  server.close();
  await once(server, "close");
  return port;
};

test("checks run on real sockets and give Nomad's results", async (t) => {
  const [live, dead] = [await serve(t), await closedPort()];
  const checks = [
    check("tcp-ok", "tcp", ""),
    check("http-ok", "http", "/ok"),
    check("http-204", "http", "/nothing"),
    check("http-201", "http", "/torn"),
    check("http-302", "http", "/elsewhere"),
    check("http-404", "http", "/missing"),
    check("hangs", "http", "/hangs"),
    check("refused", "tcp", "", "dead"),
    check("http-refused", "http", "/", "dead"),
  ];
  const workloads = await bench(t).start([
    workload([task("web", "exec sleep 600")], {
      ports: [
        { label: "live", static: live },
        { label: "dead", static: dead },
      ],
      services: [{ name: "web", port: "live", task: undefined, tags: ["a"], checks }],
    }),
  ]);
  const allocation = first(workloads);
  const results = () => Object.values(object(allocation.checks() ?? {})).map(object);
  await until("all ran", () => {
    const all = allocation.checks() === null ? [] : results();
    return all.length === 9 && all.every((result) => result["Status"] !== "pending");
  });
  const found = Object.fromEntries(
    results().map((result) => [
      result["Check"],
      [result["Status"], result["StatusCode"], result["Output"]],
    ]),
  );
  assert.deepEqual(found, {
    "tcp-ok": ["success", 0, "nomad: tcp ok"],
    "http-ok": ["success", 200, "nomad: http ok"],
    "http-204": ["success", 204, ""],
    "http-201": ["success", 201, "nomad: the body breaks off"],
    "http-302": ["success", 302, "over there"],
    "http-404": ["failure", 404, "x".repeat(3 * 1024)],
    hangs: ["failure", 0, `nomad: Get "http://127.0.0.1:${live}/hangs": context deadline exceeded`],
    refused: ["failure", 0, `dial tcp 127.0.0.1:${dead}: connect: connection refused`],
    "http-refused": [
      "failure",
      0,
      `nomad: Get "http://127.0.0.1:${dead}/": dial tcp 127.0.0.1:${dead}: connect: connection refused`,
    ],
  });
  for (const [id, result] of Object.entries(object(allocation.checks()))) {
    assert.match(id, /^[0-9a-f]{64}$/);
    assert.equal(at(result, "ID"), id);
    assert.equal(at(result, "Group"), "web.g[0]");
    assert.equal(at(result, "Mode"), "healthiness");
  }
  await allocation.stop();
  assert.equal(allocation.checks(), null);
});
