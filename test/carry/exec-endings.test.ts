/** Exec: two ends of a session that meet. What was found first is told, and what was promised comes. */
import assert from "node:assert/strict";
import { once } from "node:events";
import { test } from "node:test";
import { setTimeout as wait } from "node:timers/promises";
import type { WebSocket } from "ws";
import { GatewayError } from "../../src/errors.ts";
import type { Ways } from "../../src/reach/reach.ts";
import { createForward } from "../../src/tunnel/forward.ts";
import { createHub } from "../../src/tunnel/hub.ts";
import { serveTunnel } from "../../src/tunnel/serve.ts";
import { connectedPair } from "../tunnel/support.ts";
import { caller, execAgent, exitFrame, gateTo } from "./exec-agent.ts";
import { clock, eventually, front, nodeAt, nodeId, quiet } from "./front.ts";

const mib = 1024 * 1024;
const piece = "x".repeat(64 * 1024);

const say = (socket: WebSocket, pieces: number): void => {
  for (let nth = 0; nth < pieces; nth++) socket.send(piece);
};

test("a drain between close 1000 and its answer does not make an exec that went well one that failed", async () => {
  await using agent = await execAgent((socket) => socket.send(exitFrame(0)));
  await using gate = await gateTo(agent.address);
  const { socket, closed } = caller(gate);
  socket.once("message", () => gate.exchanges[0]?.end(new GatewayError("draining")));
  assert.deepEqual(await closed, { code: 1000, reason: "" });
  const { error, tally } = await gate.ended();
  assert.deepEqual([error?.code, tally.exitCode], [undefined, 0]);
});

test("nor does garbage behind the exit frame", async () => {
  await using agent = await execAgent((socket, raw) => {
    socket.send(exitFrame(0));
    raw.write(Buffer.from([0xff, 0xff, 0xff]));
  });
  await using gate = await gateTo(agent.address);
  assert.deepEqual(await caller(gate).closed, { code: 1000, reason: "" });
  const { error, tally } = await gate.ended();
  assert.deepEqual([error?.code, tally.exitCode], [undefined, 0]);
});

test("input that a command left untaken does not cut what it said before it ended", async () => {
  await using agent = await execAgent((socket) => {
    socket.pause();
    setTimeout(() => {
      say(socket, 200);
      socket.send(exitFrame(3));
    }, 1_000);
  });
  const limits = { stallMs: 2_000, closeMs: 100, maxWaitingBytes: 64 * mib };
  await using gate = await gateTo(agent.address, limits);
  const { socket, messages, closed } = caller(gate);
  await once(socket, "open");
  say(socket, 400);
  socket.pause();
  await eventually(() => gate.exchanges[0]?.tally.exitCode, 3);
  assert.equal(gate.exchanges[0]?.tally.agentStalledAtMs, undefined);
  await wait(1_200); // longer than the input may stand still, and not as long as the output may
  socket.resume();
  assert.deepEqual(await closed, { code: 1000, reason: "" });
  assert.equal(messages.length, 201);
  assert.equal((await gate.ended()).error, undefined);
});

test("a caller that is gone before its exit code has gone out was not served", async () => {
  await using agent = await execAgent((socket) => {
    say(socket, 200);
    socket.send(exitFrame(3));
  });
  await using gate = await gateTo(agent.address, { maxWaitingBytes: 64 * mib });
  const { socket, messages } = caller(gate);
  await once(socket, "open");
  socket.pause();
  await eventually(() => gate.exchanges[0]?.tally.exitCode, 3);
  socket.terminate();
  assert.equal((await gate.ended()).error?.code, "client_closed");
  assert.ok(messages.length <= 200);
});

test("a node that was lost is told so, though the reader of its last words stalls", async () => {
  await using agent = await execAgent((socket) => {
    say(socket, 199);
    socket.send(piece, () => socket.terminate());
  });
  const limits = { stallMs: 500, closeMs: 200, maxWaitingBytes: 64 * mib };
  await using gate = await gateTo(agent.address, limits);
  const { socket } = caller(gate);
  await once(socket, "open");
  socket.pause();
  assert.equal((await gate.ended()).error?.code, "upstream_broke");
  socket.terminate();
});

/** A way to an agent whose line holds little: through a tunnel. */
const throughTunnel = async (address: string) => {
  const pair = await connectedPair();
  const [host = "", port = "0"] = address.split(":");
  const accept = createForward(
    { log: quiet },
    { nodeId, address: { host, port: Number(port) }, connectTimeoutMs: 1_000, maxConnections: 10 },
  );
  serveTunnel(pair.far, { accept, draining: () => undefined });
  const hub = createHub({ clock, told: () => undefined });
  hub.accept({ nodeId, socket: pair.near, from: "a", mayStay: () => true });
  const over = (direct: Ways): Ways => ({
    ...direct,
    to: (scope, exchange) => ({
      ...direct.to(scope, exchange),
      connect: () =>
        new Promise((resolve, reject) => {
          hub.open(nodeId, (error, connection) => {
            connection?.on("error", () => undefined);
            if (connection) resolve(connection);
            else reject(error);
          });
        }),
    }),
  });
  return {
    over,
    async [Symbol.asyncDispose]() {
      await hub.close(AbortSignal.abort());
      await pair[Symbol.asyncDispose]();
    },
  };
};

test("a caller that comes late to its ping, behind much output, is not taken for one that has gone", async () => {
  await using agent = await execAgent((socket) => {
    say(socket, 400);
    socket.send(exitFrame(0));
  });
  await using gate = await gateTo(agent.address, { pingMs: 100 });
  const { socket, messages, closed } = caller(gate);
  await once(socket, "message");
  socket.pause();
  await wait(600); // six rounds
  socket.resume();
  assert.deepEqual(await closed, { code: 1000, reason: "" });
  assert.equal(messages.length, 401);
});

test("a caller whose first input was held is held back again by an agent that takes none", async () => {
  await using agent = await execAgent((socket) => socket.pause(), 300);
  await using tunnel = await throughTunnel(agent.address);
  const limits = { maxHeldBytes: mib, maxWaitingBytes: mib, pingMs: 200 };
  await using gate = await front({
    route: "alloc.exec",
    node: nodeAt(agent.address),
    limits,
    over: tunnel.over,
  });
  const { socket } = caller(gate);
  await once(socket, "open");
  const until = performance.now() + 2_000;
  while (performance.now() < until)
    if (socket.bufferedAmount > 4 * mib) await wait(5);
    else say(socket, 16);
  const taken = gate.exchanges[0]?.tally.bytesIn ?? 0;
  socket.terminate();
  await gate.ended();
  assert.ok(
    taken > 0 && taken < 20 * mib,
    `${taken} bytes were taken for an agent that takes none`,
  );
});
