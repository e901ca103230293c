/** The sentence about a node's ways: every way that it has, in the order in which they are tried, and why each is not taken. */
import assert from "node:assert/strict";
import { test } from "node:test";
import {
  directReport,
  type Obstacles,
  sentenceOf,
  serverReport,
  tunnelReport,
  usedOf,
  type WayReport,
} from "../../src/reach/report.ts";
import { createTrails, type Fared, Trail } from "../../src/reach/trail.ts";

const untried: Fared = { connectedAgoMs: undefined, answeredAgoMs: undefined, fault: undefined };
const fared = (more: Partial<Fared>): Fared => ({ ...untried, ...more });
const dialFault = { step: "dial", reason: "connection refused", agoMs: 3_200 } as const;
const free = { refused: undefined, isOpenCircuit: false };
const address = "10.1.2.3:4646";

const direct = (more: Partial<Fared> = {}, obstacles: Obstacles = free): WayReport =>
  directReport(address, obstacles, fared(more));
const noTunnel = tunnelReport({ status: undefined, isOpen: false, isOnly: false }, untried);
const lost = tunnelReport(
  {
    status: { state: "ended", agoMs: 12_000, reason: "no answer to a heartbeat for 10 s" },
    isOpen: false,
    isOnly: false,
  },
  untried,
);
const open = tunnelReport(
  { status: { state: "open", forMs: 125_000, streams: 2 }, isOpen: true, isOnly: false },
  untried,
);

for (const { ways, used, sentence } of [
  { ways: [noTunnel, direct()], used: "direct", sentence: "its address: not tried yet" },
  {
    ways: [noTunnel, direct({ connectedAgoMs: 90_000, answeredAgoMs: 61_000 })],
    used: "direct",
    sentence: "its address: answered 1 min ago",
  },
  {
    ways: [noTunnel, direct({ fault: { ...dialFault, agoMs: 20 } })],
    used: "direct",
    sentence: "its address: connection refused (dial)",
  },
  {
    ways: [lost, direct({ fault: dialFault }, { ...free, isOpenCircuit: true })],
    used: undefined,
    sentence:
      "its tunnel ended 12 s ago: no answer to a heartbeat for 10 s; its address: connection refused (dial, 3 s ago), tried again in some seconds",
  },
  {
    ways: [open, direct()],
    used: "tunnel",
    sentence: "its tunnel has been open for 2 min: not tried yet; its address: not tried yet",
  },
  {
    ways: [
      tunnelReport(
        { status: { state: "open", forMs: 5_000, streams: 1_000 }, isOpen: false, isOnly: true },
        untried,
      ),
      directReport(undefined, free, untried),
    ],
    used: undefined,
    sentence:
      "its tunnel has been open for 5 s, with as many connections as may go through it (1000)",
  },
  {
    ways: [
      tunnelReport({ status: undefined, isOpen: false, isOnly: true }, untried),
      directReport(undefined, free, untried),
    ],
    used: undefined,
    sentence: "its tunnel is not open: its agent has not dialled this gateway",
  },
  {
    ways: [noTunnel, directReport("", free, untried)],
    used: undefined,
    sentence: "no tunnel has come from its agent; it has no address",
  },
  {
    ways: [
      noTunnel,
      direct({}, { refused: "10.1.2.3 is denied", isOpenCircuit: false }),
      serverReport(fared({ answeredAgoMs: 300 })),
    ],
    used: "server",
    sentence: "its address: 10.1.2.3 is denied; a Nomad server: answered just now",
  },
])
  test(`in words: ${sentence}`, () => {
    assert.equal(sentenceOf(ways), sentence);
    assert.equal(usedOf(ways)?.way, used);
  });

test("a fault counts until what it broke goes well again: a dial until a connection, HTTP until an answer", () => {
  const http = { step: "HTTP", reason: "no answer within 10 s", agoMs: 5_000 } as const;
  const { words } = direct({ connectedAgoMs: 1_000, answeredAgoMs: 6_000, fault: http });
  assert.equal(words, "its address: no answer within 10 s (HTTP, 5 s ago)");
  assert.equal(direct({ answeredAgoMs: 400, fault: http }).words, "its address: answered just now");
  const dial = direct({ connectedAgoMs: 1_000, fault: dialFault });
  assert.equal(dial.words, "its address: connected 1 s ago");
});

test("a trail tells what happened and how long ago, and old trails are forgotten first", () => {
  let now = 1_000;
  const trailOf = createTrails(() => now, 2);
  trailOf("a").connected();
  now = 1_500;
  trailOf("a").failed("HTTP", "broken");
  trailOf("a").answered();
  now = 2_000;
  assert.deepEqual(trailOf("a").fared, {
    connectedAgoMs: 1_000,
    answeredAgoMs: 500,
    fault: { step: "HTTP", reason: "broken", agoMs: 500 },
  });
  trailOf("b");
  trailOf("c");
  assert.deepEqual(trailOf("a").fared, new Trail(() => now).fared);
});
