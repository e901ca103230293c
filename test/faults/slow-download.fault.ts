/** A file far larger than memory, read slowly: what it costs the gateway is bounded, and all of it arrives. */
import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import { createReadStream, globSync } from "node:fs";
import path from "node:path";
import { test } from "node:test";
import { setTimeout as wait } from "node:timers/promises";
import { request } from "undici";
import { probe, probed, residentMib } from "../support/probe.ts";
import { createHome, type Home, shellWorkload, until } from "../support/processes.ts";

const fileBytes = 2 ** 30;
const bytesPerSecond = 1_000_000;
/** For so long it is read slowly, then as fast as it comes. */
const slowMs = 20_000;
const maxGrowthMib = 32;
const warmRequests = 4_000;

const script = `seq 1 200000000 | head -c ${fileBytes} > $NOMAD_TASK_DIR/new; mv $NOMAD_TASK_DIR/new $NOMAD_TASK_DIR/big; echo written; exec sleep 1000`;

const hashOf = async (bytes: AsyncIterable<Buffer>): Promise<string> => {
  const hash = createHash("sha256");
  for await (const chunk of bytes) hash.update(chunk);
  return hash.digest("hex");
};

/** The file in its agent's directory. */
const fileOf = async ({ directory }: Home): Promise<string> =>
  await until(
    "the file is written",
    () => globSync(path.join(directory, "agents/**/local/big"))[0],
    120_000,
  );

async function* paced(bytes: AsyncIterable<Buffer>): AsyncGenerator<Buffer> {
  const begunMs = performance.now();
  let taken = 0;
  for await (const chunk of bytes) {
    yield chunk;
    taken += chunk.length;
    const aheadMs = (taken / bytesPerSecond) * 1_000 - (performance.now() - begunMs);
    if (aheadMs > 0 && performance.now() - begunMs < slowMs) await wait(aheadMs);
  }
}

for (const [way, tunnel] of [
  ["of an agent that is dialled", false],
  ["through a tunnel", true],
] as const)
  test(`1 GiB ${way}, read at 1 MB/s: at most ${maxGrowthMib} MiB more, and every byte`, async (t) => {
    await using home = createHome();
    const gateway = await home.gateway(
      { audit: { output: "/dev/null" } },
      { node: probed(home.directory) },
    );
    await home.agent("n1", gateway.url, {
      gateway: { tunnel },
      workloads: [shellWorkload("j1", script)],
    });
    const file = await fileOf(home);
    const allocation = /\/alloc[^/]*\/([0-9a-f-]{36})\//.exec(file)?.[1];
    const headers = { "x-nomad-token": home.secrets.operator };
    const target = (what: string): string =>
      `${gateway.url}/v1/client/fs/${what}/${allocation}?path=/main/local/big`;
    for (let nth = 0; nth < warmRequests; nth++)
      await (await request(target("stat"), { headers })).body.text();
    await probe(gateway);
    const base = residentMib(gateway.pid);

    const answer = await request(target("cat"), { headers });
    assert.equal(answer.statusCode, 200);
    const got = hashOf(paced(answer.body));
    const grown: number[] = [];
    for (const untilMs = performance.now() + slowMs; performance.now() < untilMs; await wait(250))
      grown.push(residentMib(gateway.pid) - base);
    t.diagnostic(
      `RSS ${base.toFixed(1)} MiB; beside the slow reader at most ${Math.max(...grown).toFixed(1)} MiB more`,
    );
    assert.equal(await got, await hashOf(createReadStream(file)));
    assert.ok(Math.max(...grown) <= maxGrowthMib, `${Math.max(...grown)} MiB`);
  });
