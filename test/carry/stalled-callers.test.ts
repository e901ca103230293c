/** Callers that stop reading. */
import assert from "node:assert/strict";
import type { Socket } from "node:net";
import { test } from "node:test";
import { faultyAgent } from "../support/faulty-agent.ts";
import { get, rawClient } from "../support/raw-client.ts";
import { eventually, front, nodeAt, pathOf } from "./front.ts";

const piece = "x".repeat(16 * 1024);
const chunk = `${piece.length.toString(16)}\r\n${piece}\r\n`;
const stallMs = 400;

const pause = (ms: number): Promise<void> => new Promise((resolve) => setTimeout(resolve, ms));

test("a caller that has stood still once is cut the next time, though a quiet log made its clock ring between", async () => {
  await using agent = await faultyAgent(({ socket }) =>
    socket.write("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"),
  );
  await using gate = await front({
    route: "fs.logs",
    node: nodeAt(agent.address),
    agents: "nomad",
    limits: { followStallMs: stallMs },
  });
  const caller = rawClient(gate.port, get(`${pathOf("fs.logs")}&plain=true`));
  await caller.seen("\r\n\r\n");
  const { socket } = await agent.request(1);
  const { tally, wire } = gate.exchanges[0] ?? assert.fail();
  let sent = 0;
  const pour = async (): Promise<void> => {
    socket.write(chunk);
    sent += piece.length;
    await eventually(() => tally.bytesOut, sent);
  };
  const waiting = (): number =>
    (wire.kind === "http" && (wire.response.socket as Socket | null)?.writableLength) || 0;

  caller.socket.pause();
  while (tally.callerStalledAtMs === undefined) await pour();
  caller.socket.resume();
  await eventually(() => tally.callerStalledAtMs, undefined);
  await eventually(waiting, 0);
  caller.socket.pause();
  while (waiting() === 0) await pour();
  assert.equal(tally.callerStalledAtMs, undefined); // there is room for more
  await pause(2 * stallMs);
  while (tally.callerStalledAtMs === undefined) await pour();
  const over: (string | undefined)[] = [];
  void gate.ended().then(({ error }) => over.push(error?.code));
  await eventually(() => over[0], "client_too_slow");
  caller.socket.destroy();
});

test("a caller that asks on and takes nothing of small answers is cut", async () => {
  const body = "x".repeat(60_000);
  await using agent = await faultyAgent(({ socket }) =>
    socket.write(`HTTP/1.1 200 OK\r\nContent-Length: ${body.length}\r\n\r\n${body}`),
  );
  await using gate = await front({
    route: "fs.ls",
    node: nodeAt(agent.address),
    limits: { stallMs },
  });
  const caller = rawClient(gate.port, get(pathOf("fs.ls")));
  await caller.seen("\r\n\r\n");
  caller.socket.pause();
  const codes: (string | undefined)[] = [];
  for (let nth = 1; nth <= 400; nth++)
    void gate.ended(nth).then(({ error }) => codes.push(error?.code));
  caller.socket.write(get(pathOf("fs.ls")).repeat(399));
  await eventually(() => codes.includes("client_too_slow"), true);
  caller.socket.destroy();
});
