/** The cluster that the other files of this folder run against, by itself. */
import assert from "node:assert/strict";
import { existsSync } from "node:fs";
import { test } from "node:test";
import { processesOf } from "../cli/support.ts";
import { noNomad, startNomad } from "../support/nomad-cluster.ts";
import { talker } from "../support/nomad-jobs.ts";

test("a cluster of three servers runs a job on both clients, and nothing of it is left", {
  skip: noNomad,
  timeout: 100_000,
}, async () => {
  let directory = "";
  {
    await using nomad = await startNomad({ servers: 3 });
    ({ directory } = nomad);
    const on = nomad.clients.map(({ name }) => nomad.run(talker({ id: `talk-${name}`, on: name })));
    const nodes = (await Promise.all(on)).map(({ allocations }) => allocations[0]?.nodeId);
    assert.equal(new Set(nodes).size, 2);
    assert.ok(processesOf(directory).length >= 5 + 2);
  }
  assert.deepEqual(processesOf(directory), []);
  assert.ok(!existsSync(directory));
});
