/** The announcement against a scripted gateway: what is sent, and how each answer changes the beat. */
import assert from "node:assert/strict";
import { createServer, type Server } from "node:http";
import type { AddressInfo } from "node:net";
import { test } from "node:test";
import { createAnnouncer } from "../../../src/agent/announce.ts";
import { createPullSecrets, type PullSecrets } from "../../../src/agent/api/secrets.ts";
import { createNodeDocument } from "../../../src/agent/node-document.ts";
import { clock, eventually, type Line, nodeId, recordingLog } from "./support.ts";

interface Beat {
  readonly method: string | undefined;
  readonly url: string | undefined;
  readonly authorization: string | undefined;
  readonly body: string;
}

interface Gateway extends AsyncDisposable {
  readonly beats: Beat[];
  readonly origin: string;
  /** Answers the next beats; the last one stays. */
  script: { readonly status: number; readonly body: string }[];
}

const secret = (name: string): string => `pull-secret-${name}-0123456789`;
const accepted = (name: string) => ({
  status: 200,
  body: JSON.stringify({ HeartbeatTTL: 30_000_000_000, PullSecret: secret(name) }),
});

const close = (server: Server): Promise<void> =>
  new Promise((resolve) => {
    server.close(() => resolve());
    server.closeAllConnections();
  });

const scriptedGateway = async (port = 0): Promise<Gateway> => {
  const beats: Beat[] = [];
  const server = createServer((request, response) => {
    let body = "";
    request.setEncoding("utf8");
    request.on("data", (chunk: string) => {
      body += chunk;
    });
    request.on("end", () => {
      const { method, url, headers } = request;
      beats.push({ method, url, authorization: headers.authorization, body });
      const [answer = accepted("first")] = gateway.script;
      if (gateway.script.length > 1) gateway.script.shift();
      response.writeHead(answer.status);
      response.end(answer.body);
    });
  });
  await new Promise<void>((resolve) => void server.listen(port, "127.0.0.1", resolve));
  const gateway: Gateway = {
    beats,
    origin: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    script: [],
    [Symbol.asyncDispose]: () => close(server),
  };
  return gateway;
};

const documentAt = (address: string) =>
  createNodeDocument(
    { metadata: { read: () => ({ Meta: { rack: "r3" }, Dynamic: {}, Static: {} }) } },
    {
      node: {
        id: nodeId,
        name: "n",
        datacenter: "dc1",
        region: "global",
        nodePool: "default",
        nodeClass: "",
      },
      dataDirectory: "/",
      address,
      tls: false,
      startedAtMs: 1_700_000_000_000,
    },
  );
const document = documentAt("127.0.0.1:4656");

for (const [address, host] of [
  ["127.0.0.1:4656", "127.0.0.1"],
  ["[::1]:4656", "::1"],
] as const)
  test(`a node at ${address} tells ${host} as its address`, () => {
    const { Attributes } = documentAt(address)();
    assert.equal(Attributes["unique.network.ip-address"], host);
  });

const announcing = (
  gatewayAddress: string,
  lines: Line[],
  pullSecrets: PullSecrets = createPullSecrets(),
  refusedIntervalMs = 60_000,
) => {
  const announcer = createAnnouncer(
    { log: recordingLog(lines), clock, pullSecrets, random: () => 0 },
    { gatewayAddress, joinToken: "join-me", document, intervalMs: 20, refusedIntervalMs },
  );
  return {
    announcer,
    pullSecrets,
    [Symbol.asyncDispose]: () => announcer.close(AbortSignal.timeout(1_000)),
  };
};

test("an announcement is Nomad's node with the join token, to the node's own path", async () => {
  await using gateway = await scriptedGateway();
  await using running = announcing(gateway.origin, []);
  await running.announcer.announced(AbortSignal.timeout(10_000));
  const [beat] = gateway.beats;
  assert.ok(beat);
  assert.deepEqual(
    [beat.method, beat.url, beat.authorization],
    ["PUT", `/v1/serai/node/${nodeId}`, "Bearer join-me"],
  );
  assert.partialDeepStrictEqual(JSON.parse(beat.body), {
    ID: nodeId,
    Name: "n",
    HTTPAddr: "127.0.0.1:4656",
    TLSEnabled: false,
    Status: "ready",
    Meta: { rack: "r3" },
    Drivers: { raw_exec: { Detected: true, Healthy: true } },
    Attributes: {
      "nomad.version": "2.0.5",
      "kernel.name": process.platform,
      "driver.raw_exec": "1",
    },
    ReservedResources: { Cpu: { CpuShares: 0 }, Memory: { MemoryMB: 0 }, Disk: { DiskMB: 0 } },
  });
  const { NodeResources } = JSON.parse(beat.body);
  assert.ok(NodeResources.Cpu.CpuShares > 0 && NodeResources.Memory.MemoryMB > 0);
  assert.ok(NodeResources.Disk.DiskMB > 0);
});

test("the last two pull secrets open the door, older ones do not", async () => {
  await using gateway = await scriptedGateway();
  gateway.script = [accepted("one"), accepted("two"), accepted("two"), accepted("three")];
  await using running = announcing(gateway.origin, []);
  await eventually(() => running.pullSecrets.has(secret("three")), "the third secret");
  assert.equal(running.pullSecrets.has(secret("two")), true);
  assert.equal(running.pullSecrets.has(secret("one")), false);
  assert.equal(running.pullSecrets.has(undefined), false);
});

test("a gateway that is away is tried until it is back, in two lines of log", async () => {
  const free = await scriptedGateway();
  const { origin } = free;
  await free[Symbol.asyncDispose]();
  const lines: Line[] = [];
  await using running = announcing(origin, lines);
  await eventually(() => running.announcer.now.state === "away", "the gateway found away");
  await using gateway = await scriptedGateway(Number(new URL(origin).port));
  await running.announcer.announced(AbortSignal.timeout(15_000));
  assert.ok(gateway.beats.length > 0);
  assert.deepEqual(
    lines.map(({ level, message }) => [level, message]),
    [
      ["warn", "the gateway is away; trying again"],
      ["info", "announced to the gateway"],
    ],
  );
});

test("a refused token is said once, loudly, and tried again", async () => {
  await using gateway = await scriptedGateway();
  gateway.script = [{ status: 403, body: "Permission denied" }];
  const lines: Line[] = [];
  await using running = announcing(gateway.origin, lines, createPullSecrets(), 10);
  await eventually(() => gateway.beats.length >= 4, "more beats");
  assert.deepEqual(
    lines.map(({ level, fields }) => [level, fields["status"], fields["reason"]]),
    [["error", 403, "403 Permission denied"]],
  );
  assert.deepEqual(running.announcer.now, {
    state: "refused",
    status: 403,
    reason: "403 Permission denied",
  });
  gateway.script = [accepted("one")];
  await running.announcer.announced(AbortSignal.timeout(10_000));
  assert.doesNotMatch(JSON.stringify(lines), /join-me|pull-secret/);
});

const strange: readonly { name: string; status: number; body: string }[] = [
  { name: "no secret", status: 200, body: "{}" },
  { name: "no JSON", status: 200, body: "<html>" },
  { name: "an endless answer", status: 200, body: "x".repeat(100_000) },
  { name: "a redirect", status: 307, body: "" },
  { name: "an overloaded gateway", status: 503, body: "busy\nand more" },
];
for (const { name, status, body } of strange)
  test(`an answer with ${name} opens no door`, async () => {
    await using gateway = await scriptedGateway();
    gateway.script = [{ status, body }];
    const lines: Line[] = [];
    await using running = announcing(gateway.origin, lines);
    await eventually(() => running.announcer.now.state !== "starting", "the outcome");
    assert.notEqual(running.announcer.now.state, "announced");
    assert.equal(lines.length, 1);
  });

test("closing does not wait for the next beat", async () => {
  await using gateway = await scriptedGateway();
  gateway.script = [{ status: 403, body: "Permission denied" }];
  const { announcer } = announcing(gateway.origin, []);
  await eventually(() => announcer.now.state === "refused", "the refusal");
  await announcer.close(AbortSignal.timeout(1_000)); // its next beat is a minute away
  assert.equal(gateway.beats.length, 1);
});

test("a way that opens just after an announcement has failed is announced through at once", async () => {
  await using gateway = await scriptedGateway();
  gateway.script = [{ status: 403, body: "Permission denied" }];
  await using running = announcing(gateway.origin, []);
  const { announcer } = running;
  await eventually(() => announcer.now.state === "refused", "the refusal");
  gateway.script = [accepted("one")];
  announcer.soon();
  await eventually(() => announcer.now.state === "announced", "a beat before the next minute");
  announcer.soon(); // that one is good and young
  assert.equal(gateway.beats.length, 2);
});

test("a gateway that wants to hear more often than the agent would say is told as often", async () => {
  await using gateway = await scriptedGateway();
  gateway.script = [
    {
      status: 200,
      body: JSON.stringify({ HeartbeatTTL: 100_000_000, PullSecret: secret("often") }),
    },
  ];
  const announcer = createAnnouncer(
    { log: recordingLog([]), clock, pullSecrets: createPullSecrets(), random: () => 0 },
    { gatewayAddress: gateway.origin, joinToken: "join-me", document, intervalMs: 3_600_000 },
  );
  try {
    await eventually(() => gateway.beats.length >= 3, "three beats");
  } finally {
    await announcer.close(AbortSignal.timeout(1_000));
  }
});
