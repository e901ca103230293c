/** The fault matrix over HTTP: each way an agent can answer wrongly, for each carriage, and what the caller sees of it. */
import assert from "node:assert/strict";
import type { Socket } from "node:net";
import { test } from "node:test";
import { deadAddress, faultyAgent, type Heard, type Script } from "../support/faulty-agent.ts";
import { get, rawRequest } from "../support/raw-client.ts";
import { eventually, front, nodeAt, pathOf } from "./front.ts";

const ok = "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\n";
const say =
  (...texts: readonly string[]): Script =>
  ({ socket }: Heard) => {
    for (const text of texts) socket.write(text, "latin1");
  };
const sayAndEnd =
  (text: string): Script =>
  ({ socket }) =>
    socket.end(text, "latin1");

/** Sends a text, then a reset that cannot overtake it. */
const sayAndReset =
  (text: string): Script =>
  ({ socket }) =>
    socket.write(text, "latin1", () => setImmediate(() => socket.resetAndDestroy()));

interface Fault {
  readonly name: string;
  readonly script: Script;
  /** `<status> <end> <code>`; where the ways differ: short calls, downloads, follows. */
  readonly expect: string | readonly [unary: string, download: string, follow: string];
}

const invalid = "502 whole upstream_invalid";
const broke = "502 whole upstream_broke";
const timeout = "504 whole upstream_timeout";
const cutInvalid = "200 cut upstream_invalid";
const cutBroke = "200 cut upstream_broke";

const faults: readonly Fault[] = [
  { name: "it closes without a word", script: ({ socket }) => socket.end(), expect: broke },
  { name: "it resets without a word", script: ({ socket }) => socket.resetAndDestroy(), expect: broke },
  { name: "it never answers", script: () => undefined, expect: timeout },
  { name: "it sends half a head and waits", script: say("HTTP/1.1 200 OK\r\nContent-"), expect: timeout },
  { name: "it sends half a head and closes", script: sayAndEnd("HTTP/1.1 200 OK\r\nContent-"), expect: invalid },
  { name: "it sends interim answers for ever", script: ({ socket }) => socket.write("HTTP/1.1 103 Early\r\n\r\nHTTP/1.1 103 Early\r\n\r\n"), expect: timeout },
  { name: "it says garbage", script: sayAndEnd("SSH-2.0-OpenSSH_9.2\r\n\r\n"), expect: invalid },
  { name: "status 099", script: say("HTTP/1.1 099 X\r\nContent-Length: 0\r\n\r\n"), expect: [invalid, invalid, invalid] },
  { name: "status 999", script: say("HTTP/1.1 999 X\r\nContent-Length: 0\r\n\r\n"), expect: invalid },
  { name: "status 1000", script: say("HTTP/1.1 1000 X\r\nContent-Length: 0\r\n\r\n"), expect: invalid },
  { name: "a redirect", script: say("HTTP/1.1 302 Found\r\nLocation: http://127.0.0.1:1/\r\nContent-Length: 0\r\n\r\n"), expect: invalid },
  { name: "status 401", script: say("HTTP/1.1 401 X\r\nContent-Length: 0\r\n\r\n"), expect: invalid },
  { name: "status 304", script: say("HTTP/1.1 304 X\r\n\r\n"), expect: invalid },
  { name: "a 101 to a GET", script: say("HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n"), expect: invalid },
  { name: "a reason with control and high bytes", script: say("HTTP/1.1 200 a\x01\xe9b\r\nContent-Length: 2\r\n\r\nok"), expect: "200 whole -" },
  { name: "length and chunks at once", script: say(`${ok}Content-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n`), expect: invalid },
  { name: "two lengths", script: say(`${ok}Content-Length: 2\r\nContent-Length: 3\r\n\r\nok!`), expect: invalid },
  { name: "a length that is no number", script: say(`${ok}Content-Length: 2x\r\n\r\nok`), expect: invalid },
  { name: "a body shorter than its length", script: sayAndEnd(`${ok}Content-Length: 10\r\n\r\nok`), expect: [broke, cutBroke, cutBroke] },
  { name: "a body longer than its length", script: say(`${ok}Content-Length: 2\r\n\r\nokmore`), expect: "200 whole -" },
  { name: "204 with a body", script: say("HTTP/1.1 204 No Content\r\nContent-Length: 2\r\n\r\nok"), expect: "204 whole -" },
  { name: "a bad chunk", script: say(`${ok}Transfer-Encoding: chunked\r\n\r\n2\r\nok\r\nxyz\r\n`), expect: [invalid, cutInvalid, cutInvalid] },
  { name: "a header of 20 KiB", script: say(`${ok}X-Big: ${"a".repeat(20_480)}\r\nContent-Length: 0\r\n\r\n`), expect: invalid },
  { name: "a high byte in a header that is passed on", script: say("HTTP/1.1 200 OK\r\nContent-Type: a\xe9\r\nContent-Length: 0\r\n\r\n"), expect: invalid },
  { name: "a control byte in a header", script: say("HTTP/1.1 200 OK\r\nContent-Type: a\x01\r\nContent-Length: 0\r\n\r\n"), expect: invalid },
  { name: "two answers to one request", script: say(`${ok}Content-Length: 2\r\n\r\nok${ok}Content-Length: 4\r\n\r\nevil`), expect: "200 whole -" },
  { name: "a Trailer header and trailers", script: say(`${ok}Trailer: X-T\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\nX-T: 1\r\n\r\n`), expect: "200 whole -" },
  { name: "a Trailer header beside a length", script: say(`${ok}Trailer: X-T\r\nContent-Length: 2\r\n\r\nok`), expect: "200 whole -" },
  { name: "it closes inside a chunked body", script: sayAndEnd(`${ok}Transfer-Encoding: chunked\r\n\r\n2\r\nok\r\n`), expect: [broke, cutBroke, cutBroke] },
  { name: "it resets inside a body", script: sayAndReset(`${ok}Transfer-Encoding: chunked\r\n\r\n2\r\nok\r\n`), expect: [broke, cutBroke, cutBroke] },
  { name: "it falls silent inside a body", script: say(`${ok}Transfer-Encoding: chunked\r\n\r\n2\r\nok\r\n`), expect: [timeout, "200 cut upstream_timeout", "200 cut upstream_timeout"] },
]; // biome-ignore format: a table

const routes = ["fs.ls", "fs.cat", "fs.logs"] as const;
const limits = { downloadSilenceMs: 300, followSilenceMs: 300 };

for (const fault of faults)
  for (const [at, route] of routes.entries())
    test(`${fault.name}, ${route}`, { timeout: 20_000 }, async () => {
      await using agent = await faultyAgent(fault.script);
      await using gate = await front({
        route,
        node: nodeAt(agent.address),
        limits,
        deadlineMs: 400,
      });
      const answer = await rawRequest(gate.port, get(pathOf(route)));
      const { error } = await gate.ended();
      const expected = typeof fault.expect === "string" ? fault.expect : fault.expect[at];
      assert.equal(`${answer.status} ${answer.end} ${error?.code ?? "-"}`, expected);
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
