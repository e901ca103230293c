/** A join token that is taken out of its file ends the tunnel that it let in, and lets no other in. */
import assert from "node:assert/strict";
import { writeFileSync } from "node:fs";
import path from "node:path";
import { test } from "node:test";
import { request } from "undici";
import { eventually, startRig } from "../support/rig.ts";
import { execClient } from "../support/ws-client.ts";

const task = {
  name: "main",
  command: "/bin/sh",
  args: ["-c", "while sleep 0.1; do echo line; done"],
  kill_timeout: "1s",
};

test("a revoked join token ends the tunnel in 5 s, cuts what is live, and the next hello is 403", async (t) => {
  await using rig = await startRig({
    agents: [
      {
        settings: { gateway: { tunnel: true } },
        workloads: [{ job: "behind", group: "main", tasks: [task] }],
      },
    ],
  });
  await rig.until("behind", "running");
  const token = rig.secret("management");
  const allocation = rig.allocation("behind");
  const { nodeId } = rig.agent();
  const follow = await request(
    `${rig.url}/v1/client/fs/logs/${allocation}?task=main&type=stdout&follow=true&plain=true`,
    { headers: { "x-nomad-token": token } },
  );
  assert.equal(follow.statusCode, 200);
  const shell = execClient({
    url: rig.url,
    allocation,
    token,
    task: "main",
    command: ["/bin/sh", "-c", "echo in; sleep 100"],
  });
  await shell.seen("in");
  const broken = assert.rejects(async () => {
    for await (const _ of follow.body);
  });

  const revokedAtMs = performance.now();
  writeFileSync(path.join(rig.directory, "join-tokens.json"), JSON.stringify({ tokens: [] }));
  const records = (event: string) =>
    rig.audit().filter((record) => record["event"] === event && record["nodeId"] === nodeId);
  await eventually("the tunnel ends", () => records("tunnel_ended").length > 0 || undefined);
  const tookMs = performance.now() - revokedAtMs;
  t.diagnostic(`${tookMs.toFixed(0)} ms until the tunnel has ended`);
  assert.ok(tookMs < 7_500, "in 5 s; half as much again on a busy machine");
  await broken;
  assert.equal((await shell.closed).code, 1011);
  assert.deepEqual(
    records("tunnel_ended").map(({ reason }) => reason),
    ["its join token counts no more"],
  );
  await eventually(
    "its next hello is refused",
    () => records("tunnel_refused").length > 0 || undefined,
  );
  assert.equal(records("tunnel_refused")[0]?.["reason"], "permission_denied");
  const told = /"reason":"403 Permission denied".*THE GATEWAY REFUSES THE TUNNEL/;
  await eventually("its agent says so", () => told.test(rig.logText()) || undefined);
  assert.ok(!rig.logText().includes(rig.joinSecret()));
});
