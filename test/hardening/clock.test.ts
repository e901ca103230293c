/** The wall clock steps by an hour, forward and back: what has an expiry obeys it, and nothing that waits or lives notices. */
import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { GatewayError } from "../../src/errors.ts";
import { createLedger } from "../../src/live/ledger.ts";
import type { Exchange, Principal } from "../../src/ports.ts";
import { routeNamed } from "../../src/routes.ts";
import { get, type RawClient, rawClient } from "../support/raw-client.ts";
import { eventually, type Rig, startRig } from "../support/rig.ts";

const hourMs = 3_600_000;
const minuteMs = 60_000;

const steppingClock = () => {
  let skewMs = 0;
  return {
    now: (): number => Date.now() + skewMs,
    monotonic: (): number => performance.now(),
    step: (ms: number): void => {
      skewMs += ms;
    },
  };
};

const rights = { namespace: [{ default: { policy: "write" } }], node: { policy: "read" } };

const start = (clock: ReturnType<typeof steppingClock>): Promise<Rig> =>
  startRig({
    clock,
    policies: { worker: rights },
    tokens: {
      lasting: { policies: ["worker"] },
      long: { policies: ["worker"], expiresAtMs: Date.now() + 3 * hourMs },
      short: { policies: ["worker"], expiresAtMs: Date.now() + 30 * minuteMs },
    },
    settings: { metadata: { interval: "1s" }, node: { down_after: "5s" } },
    agents: [
      {
        workloads: [
          {
            job: "ticker",
            group: "g",
            tasks: [
              {
                name: "t",
                command: "/bin/sh",
                args: ["-c", "while :; do echo tick; sleep 0.1; done"],
                kill_timeout: "1s",
              },
            ],
          },
        ],
      },
    ],
  });

const follow = (rig: Rig, token: string): RawClient =>
  rawClient(
    Number(new URL(rig.url).port),
    get(
      `/v1/client/fs/logs/${rig.allocation("ticker")}?task=t&type=stdout&follow=true&plain=true&origin=end`,
      `X-Nomad-Token: ${rig.secret(token)}\r\n`,
    ),
  );

const isTicking = async (client: RawClient): Promise<void> => {
  const before = client.received().length;
  await eventually("it goes on", () => client.received().length > before || undefined);
  assert.equal(client.socket.destroyed, false);
};

const update = async (rig: Rig, value: string): Promise<void> => {
  const { nodeId } = rig.agent();
  const answer = await rig.ask({
    method: "POST",
    path: `/v1/client/metadata?node_id=${nodeId}`,
    token: rig.secret("management"),
    body: `{"Meta":{"stepped":"${value}"}}`,
  });
  assert.equal(answer.status, 200, answer.text);
  await eventually(`the node registry has ${value}`, async () => {
    const node = await rig.get(`/v1/node/${nodeId}`, rig.secret("management"));
    return node.text.includes(`"stepped":"${value}"`) || undefined;
  });
};

describe("the wall clock steps", { concurrency: true }, () => {
  for (const [name, stepMs] of [
    ["forward", hourMs],
    ["back", -hourMs],
  ] as const)
    test(`an hour ${name}: streams, nodes, waits and windows go on as if nothing had happened`, async () => {
      const clock = steppingClock();
      await using rig = await start(clock);
      const lives = ["lasting", "long", "short"].map((token) => follow(rig, token));
      for (const live of lives) await live.seen("tick");
      const [lasting, long, short] = lives;
      assert.ok(lasting && long && short);
      const { headers } = await rig.get("/v1/nodes", rig.secret("management"));
      const askedAt = performance.now();
      const waiting = rig.get(
        `/v1/nodes?index=${Number(headers["x-nomad-index"]) + 1_000_000}&wait=1s`,
        rig.secret("management"),
      );

      clock.step(stepMs);
      await update(rig, "once");
      await isTicking(lasting);
      await isTicking(long);
      assert.equal((await waiting).status, 200);
      const waitedMs = performance.now() - askedAt;
      assert.ok(waitedMs > 800 && waitedMs < 20_000, `${waitedMs} ms`);
      if (stepMs > 0) {
        assert.equal((await short.answer()).end, "cut", "its token has expired");
        assert.equal((await rig.get("/v1/nodes", rig.secret("short"))).status, 403);
      } else await isTicking(short);

      clock.step(-stepMs);
      await update(rig, "twice");
      await isTicking(lasting);
      await isTicking(long);
      for (const token of ["lasting", "long", "short"])
        assert.equal((await rig.get("/v1/nodes", rig.secret(token))).status, 200, token);
      const { headers: later } = await rig.get("/v1/nodes", rig.secret("management"));
      assert.ok(
        Number(later["x-nomad-index"]) >= Number(headers["x-nomad-index"]),
        "indexes never run backwards",
      );
      const events = rig.audit().map(({ audit, event, kind }) => String(event ?? kind ?? audit));
      assert.ok(!events.some((event) => event.includes("node_down")), "no node was called down");
      for (const { socket } of lives) socket.destroy();
    });
});

test("a step of the wall clock does not use up the time that rights are honoured without their source", async () => {
  const clock = steppingClock();
  let ended: unknown;
  const ledger = createLedger(
    {
      clock,
      log: { debug() {}, info() {}, warn() {}, error() {} },
      authenticate: () => Promise.reject(new GatewayError("identity_unavailable")),
      authorize: () => undefined,
    },
    { recheckMs: 0, uncheckedMs: minuteMs },
  );
  const exchange = {
    id: "1",
    route: routeNamed("fs.logs"),
    credential: { secret: "x", source: "header" },
    client: { address: "127.0.0.1", authority: "gate", scheme: "http" },
    key: "",
    startedAtMs: 0,
    kept: {},
    derived: {},
    end: (reason: GatewayError) => {
      ended = reason;
    },
  } as unknown as Exchange; // what the ledger reads of one
  const principal = { accessorId: "a", expiresAtMs: undefined } as unknown as Principal;
  ledger.admit(exchange, principal, { kind: "cluster" });
  for (const step of [hourMs, -2 * hourMs, 2 * hourMs]) {
    clock.step(step);
    await ledger.recheck();
    assert.equal(ended, undefined);
  }
  ledger.done(exchange);
  await ledger.close(AbortSignal.abort());
});
