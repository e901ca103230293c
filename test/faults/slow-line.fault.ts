/** The same file over the same slow line, through a tunnel and straight: checklist X25. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { freePort } from "../support/free-port.ts";
import { shellWorkload, until } from "../support/processes.ts";
import { startRig } from "../support/rig.ts";
import { slowLine } from "../support/slow-line.ts";

const kib = 1024;
const fileBytes = 96 * kib;
const slowness = { bytesPerSecond: 4 * kib, delayMs: 100 };
const script = `head -c ${fileBytes} /dev/urandom > $NOMAD_ALLOC_DIR/data/file; exec sleep 1000`;

test("at 200 ms and 4 KiB/s a tunnel gives at least 80 % of what the line gives, and lives", async (t) => {
  await using rig = await startRig();
  const listen = `127.0.0.1:${await freePort()}`;
  await using straight = await slowLine(listen, slowness);
  await using dialled = await slowLine(new URL(rig.url).host, slowness);
  await rig.startAgent({
    name: "straight",
    listen,
    advertise: straight.address,
    workloads: [shellWorkload("straight", script)],
  });
  await rig.startAgent({
    name: "dialled",
    settings: { gateway: { tunnel: true, tunnel_addresses: [`http://${dialled.address}`] } },
    workloads: [shellWorkload("dialled", script)],
  });
  const token = rig.secret("management");
  const fetched = async (job: string): Promise<number> => {
    await rig.until(job, "running");
    const path = `/v1/client/fs/stat/${rig.allocation(job)}?path=/alloc/data/file`;
    await until("the file is there", async () =>
      (await rig.get(path, token)).text.includes(`"Size":${fileBytes}`),
    );
    const startedMs = performance.now();
    const answer = await rig.get(
      `/v1/client/fs/cat/${rig.allocation(job)}?path=/alloc/data/file`,
      token,
    );
    assert.equal(answer.status, 200, answer.text);
    assert.equal(answer.body.length, fileBytes);
    return performance.now() - startedMs;
  };
  const [direct, tunnel] = await Promise.all([fetched("straight"), fetched("dialled")]);
  t.diagnostic(
    `straight ${(direct / 1000).toFixed(1)} s, through the tunnel ${(tunnel / 1000).toFixed(1)} s`,
  );
  assert.ok(direct / tunnel >= 0.8, `${direct / tunnel}`);
  const kinds = rig.audit().map(({ event }) => event);
  assert.equal(kinds.filter((kind) => kind === "tunnel_opened").length, 1);
  assert.ok(!kinds.includes("tunnel_ended"));
});
