/** The hello at the public listener, from strangers: refused in time, and no way to fill a disk or to take others' places. */
import assert from "node:assert/strict";
import { randomUUID } from "node:crypto";
import { after, before, describe, test } from "node:test";
import { tunnelPath, tunnelProtocol } from "../../src/tunnel/protocol.ts";
import { preface, settings } from "../support/frames.ts";
import { times } from "../support/hostile.ts";
import { besiege, growthKb, helloOf, type Siege } from "../support/hostile-tunnel.ts";
import { until } from "../support/processes.ts";
import { type RawAnswer, sendRaw } from "../support/raw.ts";
import { rawClient } from "../support/raw-client.ts";

let siege: Siege;
before(async () => {
  siege = await besiege({ timeouts: { headers: "1s" } });
});
after(() => siege[Symbol.asyncDispose]());

/** All of them are closed; on a busy machine not at once. */
const waitMs = 2_500;
const send = (bytes: string | Buffer): Promise<RawAnswer> =>
  sendRaw(siege.gateway.port, bytes, waitMs);
const proved = (more = "", id: string = randomUUID()): string =>
  helloOf(id, siege.home.secrets.join, more);

describe("a hello with a good token", () => {
  // biome-ignore format: a table
  const wrong: readonly (readonly [name: string, bytes: () => string | Buffer, status: number])[] = [
    ["with bytes behind it before it is answered", () => Buffer.concat([Buffer.from(proved()), preface, settings()]), 400],
    ["with another request behind it", () => `${proved()}GET /v1/agent/health HTTP/1.1\r\nHost: x\r\n\r\n`, 400],
    ["with a body", () => `${proved("Content-Length: 5\r\n")}hello`, 400],
    ["with a body in chunks", () => `${proved("Transfer-Encoding: chunked\r\n")}0\r\n\r\n`, 400],
    ["of HTTP/1.0", () => proved().replace("HTTP/1.1", "HTTP/1.0"), 400],
    ["by POST", () => proved().replace("GET", "POST"), 400],
    ["with two ids", () => proved(`X-Serai-Node: ${randomUUID()}\r\n`), 400],
    ["with two credentials", () => proved(`Authorization: Bearer ${siege.home.secrets.join}\r\n`), 400],
    ["with an id that is none", () => proved("", "../../etc/passwd"), 400],
    ["whose token is an ACL token's header", () => proved(`X-Nomad-Token: ${siege.home.secrets.management}\r\n`), 403],
    ["with a huge head", () => proved(`X-More: ${"x".repeat(64 * 1_024)}\r\n`), 431],
  ];
  for (const [name, bytes, status] of wrong)
    test(`${name} is ${status}, closed, and opens nothing`, async () => {
      const answer = await send(bytes());
      assert.equal(answer.status, status, answer.text);
      assert.notEqual(answer.end, "open");
      assert.equal(answer.text.match(/^HTTP\/1\.1 /gm)?.length, 1, answer.text);
    });
  test("and an id in capitals is the same node's", async () => {
    const id = randomUUID();
    const client = rawClient(siege.gateway.port, proved("", id.toUpperCase()));
    await client.seen(`X-Serai-Node: ${id}\r\n`);
    client.socket.destroy();
  });
  test("without Connection: Upgrade is no hello", async () => {
    const answer = await send(proved().replace("Connection: Upgrade\r\n", "Connection: close\r\n"));
    assert.ok([400, 404, 426].includes(answer.status ?? 0), answer.text);
  });
});

describe("strangers,", { concurrency: true }, () => {
  test("a hello that never ends is let go when the time of a head is over", async () => {
    const client = rawClient(
      siege.gateway.port,
      `GET ${tunnelPath} HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: ${tunnelProtocol}\r\n`,
    );
    const drip = setInterval(() => client.socket.write("X: y\r\n"), 100);
    try {
      await until("it is closed", () => client.socket.destroyed, 10_000);
    } finally {
      clearInterval(drip);
      client.socket.destroy();
    }
  });

  test("thousands of wrong tokens are each told so, and fill neither memory nor the audit log", async (t) => {
    const { gateway, home } = siege;
    const refused = (): number =>
      home.audit().filter(({ event }) => event === "tunnel_refused").length;
    const statuses = new Set<number | undefined>();
    const beganMs = performance.now();
    const grown = await growthKb(gateway.pid, () =>
      times(2_000, 40, async () => {
        statuses.add((await send(helloOf(randomUUID(), randomUUID()))).status);
      }),
    );
    const seconds = (performance.now() - beganMs) / 1_000;
    assert.deepEqual([...statuses], [403]);
    t.diagnostic(
      `2,000 in ${seconds.toFixed(1)} s: ${refused()} records, ${(grown / 1_024).toFixed(1)} MiB`,
    );
    assert.ok(refused() <= 10 * (seconds + 4), String(refused()));
    assert.ok(grown < 64 * 1_024, String(grown));
    assert.equal((await siege.ask(siege.behind)).status, 200);
    assert.equal(gateway.child.exitCode, null);
  });
});

test("what was left out of the audit log is told, at the latest when the gateway ends", async () => {
  const { gateway, home } = siege;
  gateway.kill("SIGTERM");
  await gateway.ended;
  const suppressed = home.audit().find(({ event }) => event === "suppressed");
  assert.equal(suppressed?.["of"], "tunnel_refused");
});
