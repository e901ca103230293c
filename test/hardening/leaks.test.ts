/** The teardown that every test over the rig ends with really sees what is left behind. */
import assert from "node:assert/strict";
import { once } from "node:events";
import { connect, createServer } from "node:net";
import { test } from "node:test";
import { get, rawClient } from "../support/raw-client.ts";
import { eventually, startRig } from "../support/rig.ts";

test("a socket that a test leaves open fails that test", async () => {
  const server = createServer((socket) => socket.resume());
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  const at = server.address();
  assert.ok(at !== null && typeof at === "object");
  const rig = await startRig({ leftPatienceMs: 300 });
  const left = connect(at.port, "127.0.0.1");
  await once(left, "connect");
  await assert.rejects(async () => rig[Symbol.asyncDispose](), /left behind by the rig/);
  left.destroy();
  server.close();
  await once(server, "close");
});

test("after streams and waits of a hundred callers sockets, processes and timers are what they were", async () => {
  const count = (): ReadonlyMap<string, number> => {
    const counts = new Map<string, number>();
    for (const kind of process.getActiveResourcesInfo())
      counts.set(kind, (counts.get(kind) ?? 0) + 1);
    return counts;
  };
  const before = count();
  {
    await using rig = await startRig({
      agents: [
        {
          workloads: [
            {
              job: "j",
              group: "g",
              tasks: [{ name: "t", command: "/bin/sh", args: ["-c", "echo up; exec sleep 1000"] }],
            },
          ],
        },
      ],
    });
    const port = Number(new URL(rig.url).port);
    const token = `X-Nomad-Token: ${rig.secret("management")}\r\n`;
    const id = rig.allocation("j");
    const clients = Array.from({ length: 100 }, (_, nth) =>
      rawClient(
        port,
        nth % 2 === 0
          ? get(`/v1/client/fs/logs/${id}?task=t&type=stdout&follow=true`, token)
          : get("/v1/nodes?index=99999999999999&wait=60s", token),
      ),
    );
    await Promise.all(
      clients.filter((_, nth) => nth % 2 === 0).map((client) => client.seen("200 OK")),
    );
    for (const { socket } of clients) socket.destroy();
  }
  await eventually("everything is as it was", () => {
    const more = [...count()].filter(
      ([kind, now]) => now > (before.get(kind) ?? 0) + ownTimers(kind),
    );
    return more.length === 0 ? true : undefined;
  });
});

/** The one that this wait itself sets. */
const ownTimers = (kind: string): number => (kind === "Timeout" ? 1 : 0);
