/** The node as clients read it: what the command line puts together with the node's statistics. */
import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { test } from "node:test";
import { createNodeDocument } from "../../src/agent/node-document.ts";
import { createNodeStats } from "../../src/agent/node-stats.ts";
import { systemClock } from "../../src/lib/clock.ts";

const attributesOf = (dataDirectory: string): Readonly<Record<string, string>> | undefined =>
  createNodeDocument(
    { metadata: { read: () => ({ Meta: {}, Dynamic: {}, Static: {} }) } },
    {
      node: {
        id: "n",
        name: "n",
        datacenter: "dc1",
        region: "global",
        nodePool: "default",
        nodeClass: "",
      },
      dataDirectory,
      address: "127.0.0.1:4656",
      tls: false,
      startedAtMs: 0,
    },
  )().Attributes;

test("the volume is the one that df names, among the disks that are measured", async () => {
  const directory = mkdtempSync(path.join(tmpdir(), "serai-volume-"));
  try {
    const [, line = ""] = execFileSync("df", ["-P", directory], { encoding: "utf8" }).split("\n");
    const [device = ""] = line.split(/\s+/);
    assert.equal(attributesOf(directory)?.["unique.storage.volume"], device);
    const stats = await createNodeStats({ clock: systemClock }, { dataDirectory: directory })();
    if (device.startsWith("/dev/"))
      assert.partialDeepStrictEqual(stats, { DiskStats: [{ Device: device }] });
  } finally {
    rmSync(directory, { recursive: true });
  }
});

test("what is mounted deeper is what counts", () => {
  assert.equal(attributesOf("/proc")?.["unique.storage.volume"], "proc");
});
