/** What a connection keeps of its last request while nothing is asked on it. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { setFlagsFromString } from "node:v8";
import { runInNewContext } from "node:vm";
import { openTwin, type Talk, talk } from "./support.ts";

setFlagsFromString("--expose-gc");
const collect: () => void = runInNewContext("gc");

const connections = 200;

test("an idle connection keeps its caller's fields, and not the head that they came in", async () => {
  await using front = await openTwin("front", (_request, response) => {
    response.writeHead(200, { "Content-Length": 0 });
    response.end();
  });
  /** Bytes of the heap for each connection behind an answer to a head with so long a target. */
  const heldAfter = async (targetLength: number): Promise<number> => {
    const target = `/${"x".repeat(targetLength)}`;
    using talks = new DisposableStack();
    collect();
    const before = process.memoryUsage().heapUsed;
    for (let nth = 0; nth < connections; nth++) {
      const one: Talk = talks.use(await talk(front.port));
      one.socket.write(`GET ${target} HTTP/1.1\r\nHost: a\r\nX-Nth: number ${nth}\r\n\r\n`);
      await one.until((text) => text.endsWith("\r\n\r\n"));
    }
    assert.equal(front.plain.length, connections);
    front.plain.length = 0; // they are parts of those heads
    collect();
    return (process.memoryUsage().heapUsed - before) / connections;
  };
  await heldAfter(1);
  const usual = await heldAfter(1);
  const long = await heldAfter(15_000);
  assert.ok(long - usual < 4_096, `${usual} bytes, and ${long} behind a long target`);
});
