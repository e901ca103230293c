/** A tunnel that one side wants to leave: what is open goes on, and whatever else the peer does is noticed without a heartbeat. */
import assert from "node:assert/strict";
import { once } from "node:events";
import type { Duplex } from "node:stream";
import { describe, test } from "node:test";
import { createLink, type Link } from "../../src/tunnel/link.ts";
import {
  data,
  flags,
  goaway,
  headers,
  hpack,
  ping,
  preface,
  reset,
  settings,
} from "../support/frames.ts";
import { behind, connectedPair, endedSoon, type Pair } from "./support.ts";

const goes = goaway(0x7fffffff);
const broken = data(0, Buffer.alloc(0)); // of no stream

interface Near {
  readonly link: Link;
  readonly ended: Promise<string>;
  /** Its agent has said that it goes. */
  readonly leaving: Promise<void>;
}
/** The gateway's end. */
const linked = ({ near }: Pair, options: object = {}): Near => {
  const ended = Promise.withResolvers<string>();
  const leaving = Promise.withResolvers<void>();
  const link = createLink(
    near,
    { ended: (_reason, kind) => ended.resolve(kind), leaving: leaving.resolve },
    options,
  );
  return { link, ended: ended.promise, leaving: leaving.promise };
};
const opened = (link: Link): Promise<Duplex> =>
  new Promise((resolve, reject) => {
    link.open((error, connection) => (connection ? resolve(connection) : reject(error)));
  });

/** The agent's end. */
const served = ({ far }: Pair) => behind(far, () => undefined);
const connect = headers(1, hpack.connect("agent"));

describe("an agent that goes while a stream is open", () => {
  const left = async (pair: Pair): Promise<Near & { connection: Duplex }> => {
    const near = linked(pair);
    pair.far.resume();
    pair.far.write(Buffer.concat([settings(), headers(1, hpack.status200), goes]));
    const connection = await opened(near.link);
    connection.on("error", () => undefined);
    await near.leaving;
    return { ...near, connection };
  };
  test("keeps it, and is asked for no other", async () => {
    await using pair = await connectedPair();
    const { link, connection, ended } = await left(pair);
    assert.equal(link.isOpen, false);
    assert.throws(() => link.open(() => undefined), { code: "node_unreachable" });
    pair.far.write(data(1, Buffer.from("all of it"), flags.endStream));
    const [chunk] = await once(connection, "data");
    assert.equal(String(chunk), "all of it");
    connection.end();
    assert.equal(await endedSoon(ended), "agent");
  });
  test("and then breaks the protocol: its tunnel ends at once", async () => {
    await using pair = await connectedPair();
    const { connection, ended } = await left(pair);
    pair.far.write(broken);
    assert.equal(await endedSoon(ended), "protocol");
    assert.equal(connection.destroyed, true);
  });
  test("and then ends the connection: its tunnel ends at once", async () => {
    await using pair = await connectedPair();
    const { connection, ended } = await left(pair);
    pair.far.end();
    await endedSoon(ended);
    assert.equal(connection.destroyed, true);
  });
  test("and then resets the connection: its tunnel ends at once", async () => {
    await using pair = await connectedPair();
    const { connection, ended } = await left(pair);
    pair.far.resetAndDestroy();
    await endedSoon(ended);
    assert.equal(connection.destroyed, true);
  });
});

test("all of it in one write with the agent's end: its tunnel ends at once", async () => {
  await using pair = await connectedPair();
  const { link, ended } = linked(pair);
  const refused = assert.rejects(opened(link));
  pair.far.resume();
  pair.far.end(Buffer.concat([settings(), goes, broken]));
  await endedSoon(ended);
  await refused;
});

test("a gateway that goes while a stream is open and then breaks the protocol ends its tunnel at once", async () => {
  await using pair = await connectedPair();
  const { ended } = served(pair);
  pair.near.resume();
  pair.near.write(Buffer.concat([preface, settings(), connect, goes, broken]));
  assert.equal(await endedSoon(ended), "Protocol error");
});

test("a gateway that goes behind a stream that was refused and then breaks the protocol ends its tunnel at once", async () => {
  await using pair = await connectedPair();
  const { ended } = served(pair);
  pair.near.resume();
  const elsewhere = headers(5, hpack.connect("127.0.0.1:22"));
  pair.near.write(
    Buffer.concat([
      preface,
      settings(),
      connect,
      elsewhere,
      reset(1),
      goes,
      headers(3, Buffer.alloc(0)),
      ping(),
    ]),
  );
  pair.near.end();
  await endedSoon(ended);
});

test("an agent that is left by its own wish waits for its streams, and takes no new one", async () => {
  await using pair = await connectedPair();
  const agent = served(pair);
  const near = linked(pair);
  const connection = await opened(near.link);
  connection.on("error", () => undefined);
  agent.finish();
  await near.leaving;
  assert.equal(agent.streams, 1);
  connection.destroy();
  await endedSoon(agent.ended);
  assert.equal(await endedSoon(near.ended), "agent");
});

test("a peer that goes and never closes its connection is cut", async () => {
  await using pair = await connectedPair({ allowHalfOpen: true });
  const { ended } = linked(pair, { stuckTimeoutMs: 250 });
  pair.far.resume();
  pair.far.write(Buffer.concat([settings(), goes]));
  assert.equal(await endedSoon(ended), "lost");
});

describe("after the hello nothing:", () => {
  const options = { settingsTimeoutMs: 250 };
  test("an agent that never sends its SETTINGS is cut, and its caller told", async () => {
    await using pair = await connectedPair();
    const { link, ended } = linked(pair, options);
    const refused = assert.rejects(opened(link), { code: "node_unreachable" });
    assert.equal(await endedSoon(ended), "protocol");
    await refused;
  });
  test("a gateway that never sends its SETTINGS is cut", async () => {
    await using pair = await connectedPair();
    const { ended } = behind(pair.far, () => undefined, options);
    assert.match(await endedSoon(ended), /SETTINGS/);
  });
  test("SETTINGS that come a little later are in time", async () => {
    await using pair = await connectedPair();
    const { link } = linked(pair, { settingsTimeoutMs: 2_000 });
    await once(pair.far, "readable"); // its preface
    served(pair);
    const connection = await opened(link);
    connection.destroy();
    link.end("over", "drained");
  });
});
