/** What the figures say of tunnels: each moves with what happened, and no agent can add a series. */
import assert from "node:assert/strict";
import { randomUUID } from "node:crypto";
import { once } from "node:events";
import { connect } from "node:net";
import { after, before, describe, test } from "node:test";
import { request } from "undici";
import { createDialler, type Dialler } from "../../src/tunnel/dialler.ts";
import { tunnelPath, tunnelProtocol } from "../../src/tunnel/protocol.ts";
import { eventually, type Rig, startRig } from "../support/rig.ts";

let rig: Rig;
const diallers: Dialler[] = [];

before(async () => {
  rig = await startRig({
    policies: { reader: { node: { policy: "read" } } },
    tokens: { reader: { policies: ["reader"] } },
  });
});
after(async () => {
  await Promise.all(diallers.map((one) => one.close(AbortSignal.abort())));
  await rig[Symbol.asyncDispose]();
});

const scrape = async (): Promise<string> => (await request(`${rig.adminUrl}/metrics`)).body.text();
const seriesOf = (text: string): readonly string[] =>
  text.split("\n").filter((line) => line !== "" && !line.startsWith("#"));
const figure = async (series: string): Promise<number> => {
  const line = seriesOf(await scrape()).find((text) => text.startsWith(`${series} `));
  assert.ok(line !== undefined, `${series} is there`);
  return Number(line.slice(series.length + 1));
};
const reaches = (series: string, count: number): Promise<true> =>
  eventually(`${series} is ${count}`, async () => (await figure(series)) === count || undefined);

/** An agent that dials out and takes no connection. */
const dial = (nodeId: string): Dialler => {
  const dialler = createDialler(
    { log: rig.log, accept: (incoming) => incoming.refuse(502) },
    { gateways: [rig.url], nodeId, joinToken: rig.joinSecret(), ca: undefined, firstRetryMs: 20 },
  );
  diallers.push(dialler);
  return dialler;
};

const hello = async (
  lines: readonly string[],
  protocol: string = tunnelProtocol,
): Promise<string> => {
  const socket = connect(Number(new URL(rig.url).port), "127.0.0.1");
  socket.on("error", () => undefined);
  let text = "";
  socket.on("data", (chunk: Buffer) => {
    text += chunk.toString("latin1");
  });
  socket.write(
    `${[`GET ${tunnelPath} HTTP/1.1`, "Host: x", "Connection: Upgrade", `Upgrade: ${protocol}`, ...lines].join("\r\n")}\r\n\r\n`,
  );
  await once(socket, "close");
  return text.slice(9, 12);
};

describe("figures of tunnels", () => {
  test("tunnels by state, hellos, round trips, reconnects and ends move with what happens", async () => {
    const nodeId = randomUUID();
    const first = dial(nodeId);
    await reaches('serai_tunnels{state="open"}', 1);
    assert.equal(await figure('serai_tunnels{state="draining"}'), 0);
    assert.equal(await figure('serai_tunnel_hellos_total{result="accepted",reason="none"}'), 1);
    assert.equal(await figure("serai_tunnel_reconnects_total"), 0);
    await eventually(
      "a heartbeat",
      async () => (await figure("serai_tunnel_round_trip_seconds_count")) >= 1 || undefined,
    );
    await first.close(AbortSignal.abort());
    await reaches('serai_tunnels{state="open"}', 0);
    assert.equal(await figure('serai_tunnel_ends_total{reason="agent"}'), 1);

    dial(nodeId);
    await reaches('serai_tunnels{state="open"}', 1);
    assert.equal(await figure("serai_tunnel_reconnects_total"), 1);
    const rival = dial(nodeId);
    await eventually("the newer one is open", () => rival.isOpen || undefined);
    await reaches('serai_tunnel_ends_total{reason="replaced"}', 1);
    assert.equal(await figure("serai_tunnel_reconnects_total"), 2);
    await eventually(
      "the older one is kept out",
      async () =>
        (await figure('serai_tunnel_hellos_total{result="refused",reason="two_places"}')) >= 1 ||
        undefined,
    );
    assert.ok(
      rig
        .audit()
        .some(
          ({ event, reason }) =>
            event === "tunnel_refused" && String(reason).includes("two places"),
        ),
    );
  });

  test("whatever agents send, refusals are counted by reason and no series is added", async () => {
    const before = seriesOf(await scrape()).length;
    const bearer = `Authorization: Bearer ${rig.joinSecret()}`;
    const node = `X-Serai-Node: ${randomUUID()}`;
    const refused = (reason: string) =>
      figure(`serai_tunnel_hellos_total{result="refused",reason="${reason}"}`);
    const cases: readonly (readonly [
      reason: string,
      status: string,
      lines: readonly string[],
      protocol?: string,
    ])[] = [
      ["version", "426", [bearer, node], `serai-tunnel/${randomUUID()}`],
      ["bad_request", "400", [bearer, `X-Serai-Node: ${randomUUID()}x`]],
      ["bad_request", "400", [bearer, bearer, node]],
      ["permission_denied", "403", [`Authorization: Bearer ${randomUUID()}`, node]],
      ["permission_denied", "403", [node]],
    ];
    for (const [reason, status, lines, protocol] of cases) {
      const was = await refused(reason);
      assert.equal(await hello(lines, protocol), status, reason);
      assert.equal(await refused(reason), was + 1, reason);
    }
    const text = await scrape();
    assert.equal(seriesOf(text).length, before);
    assert.equal(/[0-9a-f]{8}-[0-9a-f]{4}-/.test(text), false, "no id is a label");
  });
});
