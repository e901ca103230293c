/** A gateway is started anew under a thousand agents that dial out: all are back in time, and whoever asks meanwhile is answered. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { cpuSeconds, startCallers, startFleet } from "../support/fleet.ts";

const agents = 1_000;
const backWithinMs = 30_000;
/** What a request waits for a tunnel (docs/tunnel.md). */
const waitMs = 3_000;

for (const signal of ["SIGTERM", "SIGKILL"] as const)
  test(`${agents} agents are back after ${signal} and a new start, and no request fails that could wait`, async (t) => {
    await using fleet = await startFleet(agents);
    await using callers = startCallers(fleet, 8);
    const signalledAtMs = Date.now();
    const { endedAtMs, listensAtMs } = await fleet.restart(signal);
    await fleet.whole(backWithinMs);
    const backMs = Math.max(...fleet.openedAtMs.values()) - listensAtMs;
    const cpu = cpuSeconds(fleet.gateway().pid);
    const hellos = await fleet.figure('serai_tunnel_hellos_total{result="accepted",reason="none"}');
    const refused = await fleet.figure('serai_tunnel_hellos_total{result="refused"');
    const ends: string[] = [];
    for (const reason of ["agent", "lost", "protocol", "heartbeat", "replaced"])
      ends.push(`${await fleet.figure(`serai_tunnel_ends_total{reason="${reason}"}`)} ${reason}`);
    const asked = await callers.stop();

    const failed = asked.filter(({ status }) => status !== 200);
    /** Not those that an ending gateway has cut, or told to connect again. */
    const couldWait = failed.filter(({ nodeId, atMs, status, text }) => {
      const openMs = (fleet.openedAtMs.get(nodeId) ?? Number.POSITIVE_INFINITY) - atMs;
      return status !== 0 && !text.startsWith("the gateway is shutting down") && openMs < waitMs;
    });
    const kinds = Map.groupBy(
      failed,
      ({ status, text }) =>
        `${status} ${text.trim().replace(/[0-9a-f-]{36}|client-[0-9a-f]+/g, "…")}`,
    );
    t.diagnostic(
      `it took ${endedAtMs - signalledAtMs} ms to end and ${listensAtMs - endedAtMs} ms to start; all ${agents} back ${backMs} ms after it listened`,
    );
    t.diagnostic(
      `${hellos} hellos taken, ${refused} refused, ${cpu.toFixed(2)} s of processor in the new gateway by then`,
    );
    t.diagnostic(
      `${asked.length} requests, the slowest ${Math.max(...asked.map(({ tookMs }) => tookMs))} ms, ${failed.length} failed`,
    );
    t.diagnostic(`tunnels that ended again: ${ends.join(", ")}`);
    for (const [kind, list] of kinds) t.diagnostic(`${list.length} × ${kind}`);
    assert.ok(backMs < backWithinMs, `${backMs} ms`);
    assert.equal(hellos, agents, "each dials until it is let in, and once then");
    assert.deepEqual(couldWait.slice(0, 3), []);
    for (const { status, text, nodeId } of asked)
      if (status === 200) assert.equal(text, JSON.stringify({ NodeID: nodeId }));
    assert.deepEqual(fleet.faults, []);
  });
