/** The fault matrix over HTTP: each way an agent can answer wrongly, for each carriage, and what the caller sees of it. */
import assert from "node:assert/strict";
import type { Socket } from "node:net";
import { test } from "node:test";
import { deadAddress, faultyAgent, type Script } from "../support/faulty-agent.ts";
import { get, rawRequest } from "../support/raw-client.ts";
import { type FaultName, faults, ok, say } from "./fault-scripts.ts";
import { eventually, front, nodeAt, pathOf } from "./front.ts";

/** `<status> <end> <code>`; where the ways differ: short calls, downloads, follows. */
type Expected = string | readonly [unary: string, download: string, follow: string];

const invalid = "502 whole upstream_invalid";
const broke = "502 whole upstream_broke";
const timeout = "504 whole upstream_timeout";
const cutInvalid = "200 cut upstream_invalid";
const cutBroke = "200 cut upstream_broke";

const expected: readonly (readonly [fault: FaultName, expect: Expected])[] = [
  ["it closes without a word", broke],
  ["it resets without a word", broke],
  ["it never answers", timeout],
  ["it sends half a head and waits", timeout],
  ["it sends half a head and closes", invalid],
  ["it sends interim answers and nothing else", timeout],
  ["it says garbage", invalid],
  ["status 099", [invalid, invalid, invalid]],
  ["status 999", invalid],
  ["status 1000", invalid],
  ["a redirect to another host", invalid],
  ["status 401", invalid],
  ["status 304", invalid],
  ["a 101 to a GET", invalid],
  ["a reason with control and high bytes", "200 whole -"],
  ["length and chunks at once", invalid],
  ["two lengths", invalid],
  ["a length that is no number", invalid],
  ["a body shorter than its length", [broke, cutBroke, cutBroke]],
  ["a body longer than its length", "200 whole -"],
  ["204 with a body", "204 whole -"],
  ["a bad chunk", [invalid, cutInvalid, cutInvalid]],
  ["a header of 20 KiB", invalid],
  ["a high byte in a header that is passed on", invalid],
  ["a control byte in a header", invalid],
  ["two answers to one request", "200 whole -"],
  ["a Trailer header and trailers", "200 whole -"],
  ["a Trailer header beside a length", "200 whole -"],
  ["it closes inside a chunked body", [broke, cutBroke, cutBroke]],
  ["it resets inside a body", [broke, cutBroke, cutBroke]],
  ["it falls silent inside a body", [timeout, "200 cut upstream_timeout", "200 cut upstream_timeout"]],
]; // biome-ignore format: a table

const routes = ["fs.ls", "fs.cat", "fs.logs"] as const;
const limits = { downloadSilenceMs: 300, followSilenceMs: 300 };

for (const [fault, expect] of expected)
  for (const [at, route] of routes.entries())
    test(`${fault}, ${route}`, { timeout: 20_000 }, async () => {
      await using agent = await faultyAgent(faults[fault]);
      await using gate = await front({
        route,
        node: nodeAt(agent.address),
        limits,
        deadlineMs: 400,
      });
      const answer = await rawRequest(gate.port, get(pathOf(route)));
      const { error } = await gate.ended();
      const wanted = typeof expect === "string" ? expect : expect[at];
      assert.equal(`${answer.status} ${answer.end} ${error?.code ?? "-"}`, wanted);
      if (error !== undefined && answer.end === "whole")
        assert.equal(answer.headers.get("x-serai-node"), "golden-3");
      for (const name of ["trailer", "location", "set-cookie", "upgrade"])
        assert.equal(answer.headers.get(name), undefined);
      await eventually(() => gate.reach.stats.running + gate.reach.stats.waiting, 0);
    });

for (const route of routes)
  test(`nobody listens at the node's address, ${route}`, async () => {
    await using gate = await front({ route, node: nodeAt(await deadAddress()) });
    const answer = await rawRequest(gate.port, get(pathOf(route)));
    assert.equal(answer.status, 502);
    assert.equal(answer.body.toString(), "node golden-3 cannot be reached: connection refused");
    assert.equal(answer.headers.get("x-serai-error"), "node_unreachable");
    assert.equal(gate.reach.stats.failures.node_unreachable, 1);
  });

test("a kept connection that died meanwhile is asked once more, for reads alone", async () => {
  const script: Script = ({ socket, nth }) => {
    if (nth === 2) socket.resetAndDestroy();
    else socket.write(`${ok}Content-Length: 2\r\n\r\nok`);
  };
  await using agent = await faultyAgent(script);
  await using gate = await front({ route: "fs.ls", node: nodeAt(agent.address) });
  for (const nth of [1, 2]) {
    const answer = await rawRequest(gate.port, get(pathOf("fs.ls")));
    assert.equal(answer.status, 200, `request ${nth}`);
  }
  assert.equal(agent.requests.length, 3);
});

test("all kept connections that died at once cost a read one more try, not one each", async () => {
  const kept = 8;
  const sockets: Socket[] = [];
  const script: Script = ({ socket, nth }) => {
    sockets.push(socket);
    const answers = `${ok}Content-Length: 2\r\n\r\nok`;
    if (nth > kept + 1) socket.write(answers);
    else if (nth > kept) for (const one of sockets) one.resetAndDestroy();
    else if (nth === kept) for (const one of sockets) one.write(answers);
  };
  await using agent = await faultyAgent(script);
  await using gate = await front({ route: "fs.ls", node: nodeAt(agent.address) });
  const ask = () => rawRequest(gate.port, get(pathOf("fs.ls")));
  await Promise.all(Array.from({ length: kept }, ask));
  assert.equal(agent.open, kept);
  assert.equal((await ask()).status, 200);
  assert.equal(agent.requests.length, kept + 2);
});

for (const kept of [2, 3])
  test(`a read is asked once more on a new connection: ${kept} kept ones died unnoticed`, async () => {
    const old = new Set<Socket>();
    let isBack = false;
    const script: Script = ({ socket, nth }) => {
      const answer = `${ok}Content-Length: 2\r\n\r\nok`;
      if (isBack) {
        if (old.has(socket)) socket.resetAndDestroy();
        else socket.write(answer);
        return;
      }
      old.add(socket);
      if (nth === kept) for (const one of old) one.write(answer);
    };
    await using agent = await faultyAgent(script);
    await using gate = await front({
      route: "fs.ls",
      node: nodeAt(agent.address),
      reach: { shortConnections: kept },
    });
    const ask = () => rawRequest(gate.port, get(pathOf("fs.ls")));
    await Promise.all(Array.from({ length: kept }, ask));
    assert.equal(agent.open, kept);
    isBack = true;
    assert.equal((await ask()).status, 200);
    assert.equal(agent.requests.length, kept + 2);
    await eventually(() => agent.open, 1);
  });

test("a change is never asked twice", async () => {
  await using agent = await faultyAgent(({ socket }) => socket.resetAndDestroy());
  await using gate = await front({
    route: "alloc.restart",
    node: nodeAt(agent.address),
    body: { TaskName: "web", AllTasks: false },
  });
  const answer = await rawRequest(
    gate.port,
    "PUT /v1/x HTTP/1.1\r\nHost: gate\r\nContent-Length: 0\r\n\r\n",
  );
  assert.equal(answer.status, 502);
  assert.equal(agent.requests.length, 1);
});

test("an answer larger than its bound is refused whole", async () => {
  await using agent = await faultyAgent(
    say(`${ok}Content-Length: 3000\r\n\r\n${"x".repeat(3000)}`),
  );
  await using gate = await front({
    route: "fs.ls",
    node: nodeAt(agent.address),
    limits: { maxDocumentBytes: 2048 },
  });
  const answer = await rawRequest(gate.port, get(pathOf("fs.ls")));
  assert.equal(answer.status, 502);
  assert.equal(answer.headers.get("x-serai-error"), "upstream_invalid");
});
