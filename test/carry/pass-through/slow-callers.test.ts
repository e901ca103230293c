/** Callers that stop reading when all is on its way to them. */
import assert from "node:assert/strict";
import { once } from "node:events";
import { createServer, type ServerResponse } from "node:http";
import { test } from "node:test";
import { toGatewayError } from "../../../src/errors.ts";
import { newTally } from "../../../src/ingress/exchange.ts";
import { faultyAgent } from "../../support/faulty-agent.ts";
import { get, rawClient } from "../../support/raw-client.ts";
import { eventually } from "../front.ts";
import { client, gateTo } from "./gate.ts";

const piece = "x".repeat(16 * 1024);
const chunk = `${piece.length.toString(16)}\r\n${piece}\r\n`;

for (const [which, rest] of [
  ["the last bytes of an answer", "0\r\n\r\n"],
  ["the few bytes that there are", ""],
] as const)
  test(`a caller that does not take ${which} is cut`, async () => {
    await using server = await faultyAgent(({ socket }) =>
      socket.write("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"),
    );
    await using gate = await gateTo([server.address], { stallMs: 200 });
    const tally = newTally();
    const ends: string[] = [];
    let response: ServerResponse | undefined;
    const front = createServer((request, answer) => {
      response = answer;
      const { signal } = new AbortController();
      gate.passThrough.http(request, answer, { client, requestId: "r", signal, tally }).then(
        () => ends.push("-"),
        (error: unknown) => ends.push(toGatewayError(error).code),
      );
    }).listen(0, "127.0.0.1");
    await once(front, "listening");
    await using _closed = {
      async [Symbol.asyncDispose]() {
        front.closeAllConnections();
        front.close();
      },
    };
    const at = front.address();
    const port = typeof at === "object" && at !== null ? at.port : 0;
    const caller = rawClient(port, get("/v1/jobs"));
    await caller.seen("\r\n\r\n");
    caller.socket.pause();
    const { socket } = await server.request(1);
    for (let sent = 0; response?.socket?.writableLength === 0; ) {
      socket.write(chunk);
      sent += piece.length;
      await eventually(() => tally.bytesOut, sent);
    }
    assert.equal(response?.writableNeedDrain, false); // it has room for more
    socket.write(rest);
    await eventually(() => ends[0], "client_too_slow");
    assert.ok(tally.callerStalledAtMs, "the ledger can tell");
    caller.socket.destroy();
  });
