import assert from "node:assert/strict";
import { execFile } from "node:child_process";
import path from "node:path";
import { test } from "node:test";
import { promisify } from "node:util";
import { nodeFlags } from "../support/processes.ts";

const young = path.join(import.meta.dirname, "../../src/lib/young.ts");

/** Full collections of a process that reads 512 MiB from a socket, after one. */
const fullCollections = async (kind: "told" | "untold"): Promise<number> => {
  const program = `
    import { connect, createServer } from "node:net";
    import { constants, PerformanceObserver } from "node:perf_hooks";
    import { letGo } from ${JSON.stringify(young)};
    const piece = Buffer.alloc(1 << 20);
    const server = createServer(async (socket) => {
      for (let nth = 0; nth < 512; nth++)
        if (!socket.write(piece)) await new Promise((drained) => socket.once("drain", drained));
      socket.end();
    });
    server.listen(0, "127.0.0.1", () => {
      gc();
      let count = 0;
      new PerformanceObserver((list) => {
        for (const { detail } of list.getEntries())
          if (detail.kind === constants.NODE_PERFORMANCE_GC_MAJOR) count += 1;
      }).observe({ entryTypes: ["gc"] });
      const socket = connect(server.address().port, "127.0.0.1");
      socket.on("data", (bytes) => {
        ${kind === "told" ? "letGo(bytes.length);" : ""}
      });
      socket.on("end", () => setTimeout(() => {
        console.log(count);
        process.exit();
      }, 100));
    });`;
  const { stdout } = await promisify(execFile)(process.execPath, [
    ...nodeFlags,
    ...["--input-type=module", "--eval", program],
  ]);
  return Number(stdout);
};

test("buffers that were read begin no full collection once it is told that they are let go", async () => {
  const told = await fullCollections("told");
  const untold = await fullCollections("untold");
  assert.ok(untold >= 4, `${untold} full collections without a word`);
  assert.ok(told <= untold / 4, `${told} full collections, and ${untold} without a word`);
});
