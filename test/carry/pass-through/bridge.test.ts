/** The WebSockets of the servers while they last: nobody stands still for long, and how it ended is told. */
import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import { once } from "node:events";
import { test } from "node:test";
import { bridge } from "../../../src/carry/pass-through/bridge.ts";
import { watchFrames } from "../../../src/carry/pass-through/frames.ts";
import { GatewayError } from "../../../src/errors.ts";
import { newTally } from "../../../src/ingress/exchange.ts";
import { faultyAgent, type Script } from "../../support/faulty-agent.ts";
import { get, rawClient, rawRequest } from "../../support/raw-client.ts";
import { connectedPair } from "../../tunnel/support.ts";
import { gateTo } from "./gate.ts";

const upgrade =
  "GET /v1/job/a/action HTTP/1.1\r\nHost: gate\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";
const switched = (head: string): string =>
  `HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: ${createHash(
    "sha1",
  )
    .update(`${/sec-websocket-key: (\S+)/i.exec(head)?.[1]}258EAFA5-E914-47DA-95CA-C5AB0DC85B11`)
    .digest("base64")}\r\n\r\n`;

const tooMuch = Buffer.alloc(32 * 1024 * 1024); // more than the system's buffers of three connections take

test("a caller that takes nothing of what waits for it is cut", { timeout: 20_000 }, async () => {
  await using server = await faultyAgent(({ socket, head }) => {
    socket.write(switched(head));
    socket.write(tooMuch);
  });
  await using gate = await gateTo([server.address], { stallMs: 150 });
  const caller = rawClient(gate.port, upgrade);
  await caller.seen("\r\n\r\n");
  caller.socket.pause();
  assert.equal(await gate.ended(), "client_too_slow");
  assert.ok(gate.tallies[0]?.callerStalledAtMs, "the ledger can tell");
  await server.idle();
  caller.socket.destroy();
});

test("a server that takes nothing of what waits for it is cut", { timeout: 20_000 }, async () => {
  await using server = await faultyAgent(({ socket, head }) => {
    socket.write(switched(head));
    socket.pause();
  });
  await using gate = await gateTo([server.address], { stallMs: 150 });
  const caller = rawClient(gate.port, upgrade);
  await caller.seen("\r\n\r\n");
  const closed = once(caller.socket, "close").catch(() => undefined); // a reset closes as well
  caller.socket.write(tooMuch);
  assert.equal(await gate.ended(), "upstream_timeout");
  assert.ok(gate.tallies[0]?.agentStalledAtMs, "the ledger can tell");
  await closed;
});

/** A bridge between a caller and a server, with the signal that drains it. */
const bridged = async () => {
  await using stack = new AsyncDisposableStack();
  const caller = stack.use(await connectedPair());
  const server = stack.use(await connectedPair());
  const drain = new AbortController();
  const tally = newTally();
  const ends = { caller: caller.near, server: server.near };
  const over = bridge(ends, drain.signal, tally, { lingerMs: 2_000, stallMs: 2_000 });
  const all = stack.move();
  return { caller, server, drain, tally, over, [Symbol.asyncDispose]: () => all.disposeAsync() };
};

test("a drain between a server's close and its caller's answer does not make an exec that went well one that failed", async () => {
  await using scene = await bridged();
  const { caller, server, drain, tally, over } = scene;
  const heard = once(caller.far, "data");
  server.far.resume();
  const exit = '{"exited":true,"result":{}}';
  server.far.write(Buffer.concat([Buffer.from([0x81, exit.length]), Buffer.from(exit)]));
  server.far.write(Buffer.from([0x88, 2, 0x03, 0xe8]));
  await heard;
  drain.abort(new GatewayError("draining"));
  await over;
  assert.equal(tally.exitCode, 0);
});

test("a socket that is idle stays, for as long as its ends want", { timeout: 20_000 }, async () => {
  await using server = await faultyAgent(({ socket, head }) => {
    socket.write(switched(head));
    setTimeout(() => socket.write("\x81\x04late"), 500);
  });
  await using gate = await gateTo([server.address], {
    stallMs: 50, upgradeTimeoutMs: 200, headMs: 200, lingerMs: 50,
  }); // biome-ignore format: a row
  const caller = rawClient(gate.port, upgrade);
  await caller.seen("late");
  caller.socket.destroy();
  assert.equal(await gate.ended(), "client_closed");
});

const close = (code: number, reason: string): string =>
  `\x88${String.fromCharCode(2 + reason.length, code >> 8, code & 0xff)}${reason}`;
const ends: readonly (readonly [name: string, words: string, code: string])[] = [
  ["in good order", close(1000, ""), "-"],
  ["without a code", "\x88\x00", "-"],
  ["with a refused token", close(1011, "Permission denied"), "permission_denied"],
  ["with a fault of the request", close(1008, "unknown task"), "invalid_request"],
  ["with a fault of its own", close(1011, "boom"), "failed"],
  ["with a code that nobody knows", close(4321, ""), "upstream_broke"],
  ["without a word", "", "upstream_broke"],
];
for (const [name, words, code] of ends)
  test(`a server that closes ${name} is told as ${code}`, async () => {
    const script: Script = ({ socket, head }) => socket.end(`${switched(head)}${words}`, "latin1");
    await using server = await faultyAgent(script);
    await using gate = await gateTo([server.address], { lingerMs: 50 });
    const caller = rawClient(gate.port, upgrade);
    await caller.answer().catch(() => undefined);
    assert.equal(await gate.ended(), code);
  });

for (const exitCode of [0, 7])
  test(`a server that ends its connection behind exit code ${exitCode}, as Nomad's do, is told as -`, async () => {
    const exit = `{"exited":true,"result":{"exit_code":${exitCode}}}`;
    const frame = `\x81${String.fromCharCode(exit.length)}${exit}`;
    await using server = await faultyAgent(({ socket, head }) =>
      socket.end(`${switched(head)}${frame}`, "latin1"),
    );
    await using gate = await gateTo([server.address], { lingerMs: 50 });
    const caller = rawClient(gate.port, upgrade);
    await caller.seen(exit);
    assert.equal(await gate.ended(), "-");
    assert.equal(gate.tallies[0]?.exitCode, exitCode);
  });

test("a drain behind an exit frame is not how its command ended", async () => {
  await using scene = await bridged();
  const { caller, server, drain, tally, over } = scene;
  const heard = once(caller.far, "data");
  const exit = '{"exited":true,"result":{}}';
  server.far.write(Buffer.concat([Buffer.from([0x81, exit.length]), Buffer.from(exit)]));
  await heard;
  drain.abort(new GatewayError("draining"));
  await over;
  assert.equal(tally.exitCode, 0);
});

test("frames are read wherever they are cut, and none of a long one is kept", () => {
  const exit = '{"exited":true,"result":{"exit_code":4}}';
  const long = Buffer.concat([
    Buffer.from([0x82, 127, 0, 0, 0, 0, 0, 1, 0, 0]),
    Buffer.alloc(65_536, 0x88),
  ]);
  const medium = Buffer.concat([Buffer.from([0x82, 126, 0x01, 0x00]), Buffer.alloc(256, 0x88)]);
  const bytes = Buffer.concat([
    Buffer.from("\x89\x02hi", "latin1"),
    medium,
    long,
    Buffer.from([0x81, exit.length]),
    Buffer.from(exit),
    Buffer.from(close(1000, "bye"), "latin1"),
  ]);
  const cuts = [...Array(300).keys(), ...Array.from({ length: 60 }, (_, at) => bytes.length - at)];
  for (const cut of cuts) {
    const frames = watchFrames();
    frames.see(bytes.subarray(0, cut));
    frames.see(bytes.subarray(cut));
    assert.deepEqual(frames.close, { code: 1000, reason: "bye" }, `cut at ${cut}`);
    assert.equal(frames.exitCode, 4, `cut at ${cut}`);
    assert.ok(frames.isBetween);
  }
  const one = watchFrames();
  for (const byte of bytes) one.see(Buffer.from([byte]));
  assert.deepEqual([one.close?.reason, one.exitCode, one.isBetween], ["bye", 4, true]);
});

test("an agent's log that is silent for longer than a head may take goes on", async () => {
  await using server = await faultyAgent(({ socket }) => {
    socket.write("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n");
    setTimeout(() => socket.write("4\r\nlate\r\n0\r\n\r\n"), 700);
  });
  await using gate = await gateTo([server.address], { headMs: 200 });
  const whole = await rawRequest(gate.port, get("/v1/agent/monitor?node_id=n1"));
  assert.equal(`${whole.body} ${whole.end}`, "oklate whole");
});
