/** Connections that come to the agent through a tunnel: to end them is the gateway's. */
import assert from "node:assert/strict";
import { once } from "node:events";
import { writeFile } from "node:fs/promises";
import path from "node:path";
import { test } from "node:test";
import { setTimeout as wait } from "node:timers/promises";
import { feed } from "../../../src/reach/connector.ts";
import { createLink } from "../../../src/tunnel/link.ts";
import { serveTunnel } from "../../../src/tunnel/serve.ts";
import { createPool, type Open } from "../../../src/upstream/pool.ts";
import { connectedPair } from "../../tunnel/support.ts";
import { allocationId, eventually, nodeId, pullSecret, testDoor } from "./support.ts";

test("a slow reader gets the end of a file, however long ago its agent has sent it", async () => {
  const size = 512 * 1024;
  await using door = await testDoor({ keepAliveMs: 50 });
  await writeFile(path.join(door.allocation.directory, "web", "big"), Buffer.alloc(size));
  await using pair = await connectedPair();
  const accept = door.server.accept;
  serveTunnel(pair.far, {
    accept: (incoming) => accept(incoming.take()),
    draining: () => undefined,
  });
  const link = createLink(pair.near, { ended: () => undefined, leaving: () => undefined });
  const open: Open = (intake, opened) => {
    link.open((error, connection) => {
      if (connection) feed(connection, intake);
      opened(error, connection);
    });
  };
  const options = { purpose: "tests", connections: 1, maxHeadBytes: 16_384, keepAliveMs: 30_000 };
  const pool = createPool(open, "agent", options);
  let bytes = 0;
  await new Promise<void>((resolve, reject) => {
    const slowly = async (): Promise<void> => {
      await wait(1_500); // node itself adds a second
      asked.resume();
    };
    const asked = pool.request(
      {
        method: "GET",
        path: `/v1/client/fs/cat/${allocationId}?path=/web/big`,
        headers: { "X-Nomad-Token": "full" },
        body: undefined,
      },
      {
        started: () => undefined,
        head: () => "small",
        data(piece) {
          if (bytes === 0) slowly().catch(reject);
          bytes += piece.length;
          return bytes > piece.length;
        },
        end: resolve,
        failed: reject,
      },
    );
  });
  assert.equal(bytes, size);
  pool.destroy(new Error("the test is over"));
  link.end("the test is over", "drained");
});

test("an agent that goes waits for none of what would last and comes while it ends what is live", async () => {
  await using first = await connectedPair();
  await using second = await connectedPair();
  const door = await testDoor();
  for (const { far } of [first, second]) door.server.accept(far);
  const { near: short } = first;
  const { near: lasting } = second;
  short.write(
    "POST /v1/client/metadata HTTP/1.1\r\nHost: x\r\nX-Nomad-Token: full\r\nContent-Length: 18\r\n\r\n",
  );
  await eventually(() => door.server.live === 1, "the short call is live");
  const closed = door[Symbol.asyncDispose]();
  lasting.write(
    `GET /v1/node/${nodeId}/allocations?index=${door.workloads.index}&wait=60s HTTP/1.1\r\n` +
      `Host: x\r\nAuthorization: Bearer ${pullSecret}\r\n\r\n`,
  );
  const [refusal] = await once(lasting, "data", { signal: AbortSignal.timeout(3_000) });
  assert.match(String(refusal), /^HTTP\/1\.1 503 /);
  short.write('{"Meta":{"k":"v"}}');
  const [answer] = await once(short, "data");
  assert.match(String(answer), /^HTTP\/1\.1 200 /);
  await closed;
});
