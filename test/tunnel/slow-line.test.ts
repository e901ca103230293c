/** A slow line is no dead one: heartbeats that stand behind data for far longer than their time-out end no tunnel. */
import assert from "node:assert/strict";
import { once } from "node:events";
import { connect, createServer, type Server, type Socket } from "node:net";
import type { Duplex } from "node:stream";
import { test } from "node:test";
import { createLink } from "../../src/tunnel/link.ts";
import { silentObserver } from "../../src/tunnel/observer.ts";
import { until } from "../support/processes.ts";
import { slowLine } from "../support/slow-line.ts";
import { behind } from "./support.ts";

const kib = 1024;
const vitals = { heartbeatMs: 50, heartbeatTimeoutMs: 400, stuckTimeoutMs: 800 };

const listening = async (server: Server): Promise<string> => {
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  const at = server.address();
  return `127.0.0.1:${at !== null && typeof at === "object" ? at.port : 0}`;
};

test("a tunnel full of data on a slow line lives, and brings all of it", async () => {
  const server = createServer({ noDelay: true, allowHalfOpen: true });
  const accepted = once(server, "connection");
  await using line = await slowLine(await listening(server), {
    bytesPerSecond: 256 * kib,
    delayMs: 100,
  });
  const far = connect({ port: Number(line.address.split(":")[1]), host: "127.0.0.1" });
  far.on("error", () => far.destroy());
  const [near]: Socket[] = await accepted;
  assert.ok(near);
  server.close();
  near.on("error", () => near.destroy());
  const beats: number[] = [];
  const bytes = 512 * kib;
  const served = behind(far, (_request, response) => response.end(Buffer.alloc(bytes)), vitals);
  const ends: string[] = [];
  void served.ended.then((reason) => ends.push(`agent: ${reason}`));
  const link = createLink(
    near,
    { ended: (reason) => ends.push(`gateway: ${reason}`), leaving: () => undefined },
    { ...vitals, observe: { ...silentObserver, tunnelBeat: (ms) => void beats.push(ms) } },
  );
  const connection = await new Promise<Duplex>((resolve, reject) => {
    link.open((error, opened) => (opened ? resolve(opened) : reject(error)));
  });
  connection.on("error", () => undefined);
  connection.write("GET / HTTP/1.1\r\nHost: agent\r\n\r\n");
  let received = 0;
  const startedMs = performance.now();
  for await (const chunk of connection) {
    received += Buffer.from(chunk).length;
    if (received > bytes) break;
  }
  assert.ok(received > bytes, `${received} bytes, then ${ends.join(", ")}`);
  assert.ok(performance.now() - startedMs > 2 * vitals.stuckTimeoutMs, "the line was no slow one");
  assert.deepEqual(ends, []);
  await until("a heartbeat that took longer than its time-out", () =>
    beats.some((ms) => ms > vitals.heartbeatTimeoutMs),
  );
  link.end("over", "agent");
});
