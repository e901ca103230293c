/** What callers and agents see of each other: headers, methods, framing, back-pressure, and who is told when one leaves. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { GatewayError } from "../../src/errors.ts";
import { faultyAgent, type Script } from "../support/faulty-agent.ts";
import { get, parseAnswer, rawClient, rawRequest } from "../support/raw-client.ts";
import { allocationId, eventually, front, nodeAt, nodeId, pathOf, secret } from "./front.ts";

const ok = "HTTP/1.1 200 OK\r\n";
const answer =
  (text: string): Script =>
  ({ socket }) =>
    socket.write(text, "latin1");
const json = answer(`${ok}Content-Type: application/json\r\nContent-Length: 2\r\n\r\n[]`);

test("an agent gets what was authorised, built anew, and nothing of the caller's header", async () => {
  await using agent = await faultyAgent(json);
  await using gate = await front({ route: "fs.ls", node: nodeAt(agent.address) });
  const noisy = [
    "Connection: close, X-Nomad-Token", "X-Forwarded-For: 6.6.6.6", "Forwarded: for=6.6.6.6", "X-Real-IP: 6.6.6.6",
    "Accept-Encoding: gzip", "Cookie: a=b", "Proxy-Authorization: x", "TE: trailers", "Trailer: X", "Range: bytes=0-1",
    "Authorization: Bearer other", "",
  ].join("\r\n"); // biome-ignore format: rows
  const path = `/v1/client/fs/ls/${allocationId}?path=%2Fa%20b%26c&region=global&unknown=1`;
  const got = await rawRequest(gate.port, get(path, noisy));
  assert.equal(got.status, 200);
  const [head = ""] = agent.requests;
  assert.deepEqual(head.trim().split("\r\n").toSorted(), [
    `GET /v1/client/fs/ls/${allocationId}?path=%2Fa%20b%26c HTTP/1.1`,
    `Host: ${agent.address}`,
    "X-Forwarded-For: 192.0.2.7",
    "X-Forwarded-Host: gate.example:4646",
    "X-Forwarded-Proto: https",
    `X-Nomad-Token: ${secret}`,
    "X-Request-Id: request-1",
  ]);
});

test("a body is rebuilt for the node that was authorised", async () => {
  await using agent = await faultyAgent(json);
  await using gate = await front({
    route: "client.metadata.post",
    node: nodeAt(agent.address),
    body: { NodeID: "somebody-else", Meta: { a: "b", c: null } },
  });
  const got = await rawRequest(
    gate.port,
    "POST /v1/client/metadata HTTP/1.1\r\nHost: gate\r\nContent-Length: 0\r\n\r\n",
  );
  assert.equal(got.status, 200);
  const [head = ""] = agent.requests;
  assert.match(head, new RegExp(`^POST /v1/client/metadata\\?node_id=${nodeId} HTTP/1.1`));
  assert.match(head, /Content-Type: application\/json/);
  const { tally } = await gate.ended();
  assert.equal(tally.bytesIn, JSON.stringify({ NodeID: nodeId, Meta: { a: "b", c: null } }).length);
  assert.equal(agent.extraBytes, tally.bytesIn);
});

for (const { method, sent } of [
  { method: "HEAD", sent: "GET" },
  { method: "DELETE", sent: "GET" },
  { method: "POST", sent: "GET" },
])
  test(`${method} on a read is ${sent} for the agent`, async () => {
    await using agent = await faultyAgent(json);
    await using gate = await front({ route: "fs.ls", node: nodeAt(agent.address) });
    const got = await rawRequest(
      gate.port,
      `${method} ${pathOf("fs.ls")} HTTP/1.1\r\nHost: gate\r\n\r\n`,
    );
    assert.equal(got.status, 200);
    assert.equal(got.headers.get("content-length"), "2");
    assert.equal(got.body.toString(), method === "HEAD" ? "" : "[]");
    assert.equal((await gate.ended()).tally.bytesOut, got.body.length);
    assert.match(agent.requests[0] ?? "", new RegExp(`^${sent} `));
  });

const timers = (): number =>
  process.getActiveResourcesInfo().filter((kind) => kind === "Timeout").length;

test("HEAD on a download lets the agent go after its head, and watches it no longer", async () => {
  const before = timers();
  await using agent = await faultyAgent(answer(`${ok}Content-Length: 1000000\r\n\r\nx`));
  await using gate = await front({ route: "fs.cat", node: nodeAt(agent.address) });
  const got = await rawRequest(
    gate.port,
    `HEAD ${pathOf("fs.cat")} HTTP/1.1\r\nHost: gate\r\n\r\n`,
  );
  assert.equal(got.status, 200);
  assert.equal(got.headers.get("content-length"), "1000000");
  assert.equal(got.body.length, 0);
  assert.equal((await gate.ended()).error, undefined);
  await agent.idle();
  await eventually(() => timers() <= before, true);
});

test("an agent's 204 in place of a file has no length for its caller, whatever the agent states", async () => {
  await using agent = await faultyAgent(
    answer("HTTP/1.1 204 No Content\r\nContent-Length: 5\r\n\r\n"),
  );
  await using gate = await front({ route: "fs.cat", node: nodeAt(agent.address) });
  const got = await rawRequest(gate.port, get(pathOf("fs.cat")));
  assert.equal(got.status, 204);
  assert.equal(got.headers.get("content-length"), undefined);
});

test("a refusal that an agent drips is not waited for beyond the deadline", async () => {
  await using agent = await faultyAgent(({ socket }) => {
    socket.write("HTTP/1.1 500 X\r\nContent-Length: 100\r\n\r\n");
    const drip = setInterval(() => socket.write("x"), 20);
    socket.once("close", () => clearInterval(drip));
  });
  await using gate = await front({
    route: "fs.cat",
    node: nodeAt(agent.address),
    deadlineMs: 200,
  });
  const got = await rawRequest(gate.port, get(pathOf("fs.cat")));
  assert.equal(got.status, 504);
  assert.equal((await gate.ended()).error?.code, "upstream_timeout");
});

test("of an agent's header only the allowed pass, and what a task wrote cannot run in a browser", async () => {
  const script = answer(
    `${ok}Content-Type: text/html; charset=utf-8\r\nSet-Cookie: a=b\r\nAccess-Control-Allow-Origin: *\r\n` +
      "Strict-Transport-Security: max-age=1\r\nConnection: X-Nomad-Index\r\nKeep-Alive: timeout=9\r\nX-Nomad-Index: 7\r\n" +
      "X-Nomad-Token: echo\r\n__proto__: 1\r\nconstructor: 2\r\nServer: x\r\nX-Xss-Protection: 1; mode=block\r\nContent-Length: 4\r\n\r\n<b/>",
  );
  await using agent = await faultyAgent(script);
  await using gate = await front({ route: "fs.cat", node: nodeAt(agent.address) });
  const got = await rawRequest(gate.port, get(pathOf("fs.cat")));
  const { date, connection, "keep-alive": kept, ...rest } = Object.fromEntries(got.headers);
  assert.ok(date && connection && kept);
  assert.deepEqual(rest, {
    "content-type": "text/plain",
    "x-xss-protection": "1; mode=block",
    "x-nomad-index": "7",
    "content-security-policy": "default-src 'none'; style-src 'unsafe-inline'; sandbox",
    "x-content-type-options": "nosniff",
    "cache-control": "no-store",
    "accept-ranges": "bytes",
    "content-length": "4",
  });
});

test("an agent's refusal on a stream route keeps its status and text, and bears a code", async () => {
  const text = 'unknown task name "web"';
  await using agent = await faultyAgent(
    answer(
      `HTTP/1.1 400 Bad Request\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Length: ${text.length}\r\n\r\n${text}`,
    ),
  );
  await using gate = await front({ route: "fs.logs", node: nodeAt(agent.address) });
  const got = await rawRequest(gate.port, get(pathOf("fs.logs")));
  assert.equal(got.status, 400);
  assert.equal(got.body.toString(), text);
  assert.equal(got.headers.get("x-serai-error"), "invalid_request");
  assert.equal(got.headers.get("x-serai-node"), "golden-3");
});

for (const text of [
  "Permission denied",
  "rpc error: ACL token expired",
  "rpc error: Permission denied",
  "ACL token not found",
])
  test(`an agent's 500 "${text}" is 403 Permission denied`, async () => {
    await using agent = await faultyAgent(
      answer(`HTTP/1.1 500 X\r\nContent-Length: ${text.length}\r\n\r\n${text}`),
    );
    await using gate = await front({ route: "fs.ls", node: nodeAt(agent.address) });
    const got = await rawRequest(gate.port, get(pathOf("fs.ls")));
    assert.equal(`${got.status} ${got.body.toString()}`, "403 Permission denied");
  });

test("a followed log's head comes before its body, unbuffered, and each piece as it is written", async () => {
  await using agent = await faultyAgent(
    answer(`${ok}Content-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n`),
  );
  await using gate = await front({ route: "fs.logs", node: nodeAt(agent.address) });
  const client = rawClient(gate.port, get(pathOf("fs.logs")));
  await client.seen("\r\n\r\n");
  const { headers } = parseAnswer(client.received());
  assert.equal(headers.get("x-accel-buffering"), "no");
  assert.equal(headers.get("transfer-encoding"), "chunked");
  const { socket } = await agent.request(1);
  socket.write("2\r\n{}\r\n");
  await client.seen("{}");
  socket.write("5\r\nagain\r\n");
  await client.seen("again");
  socket.write("0\r\n\r\n");
  const got = await client.answer();
  assert.equal(`${got.end} ${got.body.toString()}`, "whole {}again");
  const wire = client.received().toString("latin1");
  assert.equal(wire.slice(wire.indexOf("\r\n\r\n")), "\r\n\r\n2\r\n{}\r\n5\r\nagain\r\n0\r\n\r\n");
  const { tally } = await gate.ended();
  assert.equal(tally.bytesOut, 7);
  assert.ok((tally.firstByteMs ?? -1) >= 0);
});

for (const query of ["resume=MS54", "until=dead", "await=start"])
  test(`${query} on an agent that does not know it is refused, not ignored`, async () => {
    await using agent = await faultyAgent(
      answer(
        `${ok}Content-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n`,
      ),
    );
    await using gate = await front({ route: "fs.logs", node: nodeAt(agent.address) });
    const got = await rawRequest(gate.port, get(`${pathOf("fs.logs")}&${query}`));
    assert.equal(`${got.status} ${got.headers.get("x-serai-error")}`, "400 bad_request");
    assert.match(got.body.toString(), /not for the agent of node golden-3/);
    await agent.idle();
  });

test("resume=true asks such an agent for tokens that it does not have: no head says so", async () => {
  await using agent = await faultyAgent(answer(`${ok}Content-Length: 2\r\n\r\n{}`));
  await using gate = await front({ route: "fs.logs", node: nodeAt(agent.address) });
  const got = await rawRequest(gate.port, get(`${pathOf("fs.logs")}&resume=true`));
  assert.equal(`${got.status} ${got.headers.get("x-serai-resume")}`, "200 undefined");
});

test("a plain followed log of a Nomad agent may be silent longer than any deadline", async () => {
  await using agent = await faultyAgent(() => undefined);
  await using gate = await front({
    route: "fs.logs",
    node: nodeAt(agent.address),
    agents: "nomad",
    deadlineMs: 50,
  });
  const client = rawClient(gate.port, get(`${pathOf("fs.logs")}&plain=true`));
  const { socket } = await agent.request(1);
  await new Promise((resolve) => setTimeout(resolve, 200));
  socket.write(`${ok}Content-Type: text/plain\r\nContent-Length: 4\r\n\r\nline`);
  assert.equal((await client.answer()).body.toString(), "line");
});

for (const route of ["fs.ls", "fs.cat", "fs.logs"])
  for (const moment of ["before the head", "inside the body"])
    test(`a caller that leaves ${moment} ends the agent's connection at once, ${route}`, async () => {
      const script: Script = ({ socket }) => {
        if (moment === "inside the body") socket.write(`${ok}Content-Length: 100\r\n\r\nsome`);
      };
      await using agent = await faultyAgent(script);
      await using gate = await front({ route, node: nodeAt(agent.address) });
      const client = rawClient(gate.port, get(pathOf(route)));
      await agent.request(1);
      if (moment === "inside the body" && route !== "fs.ls") await client.seen("some");
      client.socket.destroy();
      assert.equal((await gate.ended()).error?.code, "client_closed");
      await agent.idle();
      await eventually(() => gate.reach.stats.running, 0);
      await eventually(gate.connections, 0);
    });

test("an exchange ended from outside is cut inside its body and refused before it", async () => {
  await using agent = await faultyAgent(({ socket, nth }) => {
    if (nth === 1) socket.write(`${ok}Transfer-Encoding: chunked\r\n\r\n4\r\nsome\r\n`);
  });
  await using gate = await front({ route: "fs.logs", node: nodeAt(agent.address) });
  const first = rawClient(gate.port, get(pathOf("fs.logs")));
  await first.seen("some");
  gate.exchanges[0]?.end(new GatewayError("right_ended", { reason: "the token was revoked" }));
  assert.equal((await first.answer()).end, "cut");
  const second = rawClient(gate.port, get(pathOf("fs.logs")));
  await agent.request(2);
  gate.exchanges[1]?.end(new GatewayError("draining"));
  const got = await second.answer();
  assert.equal(`${got.status} ${got.end}`, "503 whole");
  await agent.idle();
});

test("behind a followed log that ended, its connection answers the next request", async () => {
  const whole = answer(`${ok}Transfer-Encoding: chunked\r\n\r\n1\r\na\r\n0\r\n\r\n`);
  await using agent = await faultyAgent(whole);
  await using gate = await front({ route: "fs.logs", node: nodeAt(agent.address) });
  const two = get(pathOf("fs.logs")).repeat(2);
  const client = rawClient(gate.port, two);
  const ends = (): number => client.received().toString().split("0\r\n\r\n").length - 1;
  await eventually(ends, 2);
  client.socket.destroy();
});

for (const route of ["fs.cat", "fs.logs"])
  test(`a caller of HTTP/1.0 gets a body that ends with the connection, and a reset when it broke, ${route}`, async () => {
    const chunked = `${ok}Transfer-Encoding: chunked\r\n\r\n4\r\nsome\r\n`;
    await using agent = await faultyAgent(({ socket, nth }) => {
      socket.write(chunked);
      if (nth === 1) socket.write("0\r\n\r\n");
    });
    await using gate = await front({ route, node: nodeAt(agent.address) });
    const request = `GET ${pathOf(route)} HTTP/1.0\r\nHost: gate\r\n\r\n`;
    const whole = await rawRequest(gate.port, request);
    assert.equal(`${whole.end} ${whole.body.toString()}`, "whole some");
    assert.equal(whole.headers.get("transfer-encoding"), undefined);
    const torn = rawClient(gate.port, request);
    await torn.seen("some");
    const { socket } = await agent.request(2);
    socket.destroy();
    assert.equal((await torn.answer()).end, "reset");
  });

const flood: Script = ({ socket }) => {
  const piece = Buffer.alloc(64 * 1024, "x");
  socket.write(`${ok}Content-Length: ${1024 * 1024 * 1024}\r\n\r\n`);
  const pour = (): void => {
    while (!socket.destroyed && socket.write(piece));
  };
  socket.on("drain", pour);
  pour();
};

for (const route of ["fs.cat", "fs.logs"])
  test(`a caller that stops reading stops the agent, and goes on where it stopped, ${route}`, async () => {
    await using agent = await faultyAgent(flood);
    await using gate = await front({ route, node: nodeAt(agent.address) });
    const client = rawClient(gate.port, get(pathOf(route)));
    await client.seen("\r\n\r\n");
    client.socket.pause();
    const { socket } = await agent.request(1);
    let before = -1;
    await eventually(async () => {
      const still = socket.bytesWritten === before;
      before = socket.bytesWritten;
      await new Promise((resolve) => setTimeout(resolve, 60));
      return still;
    }, true);
    assert.ok(before < 64 * 1024 * 1024, `${before} bytes were taken of a caller that reads none`);
    client.socket.resume();
    await eventually(() => socket.bytesWritten > before, true);
    client.socket.destroy();
    await agent.idle();
  });

test("a download whose caller takes nothing for too long is cut", async () => {
  await using agent = await faultyAgent(flood);
  await using gate = await front({
    route: "fs.cat",
    node: nodeAt(agent.address),
    limits: { stallMs: 200 },
  });
  const client = rawClient(gate.port, get(pathOf("fs.cat")));
  await client.seen("\r\n\r\n");
  client.socket.pause();
  assert.equal((await gate.ended()).error?.code, "client_too_slow");
  await agent.idle();
  client.socket.destroy();
});

test("a drip is carried to its end, byte for byte", async () => {
  const text = "drip by drip by drip";
  const script: Script = ({ socket }) => {
    const bytes = [...`${ok}Content-Length: ${text.length}\r\n\r\n${text}`];
    const next = (): void => {
      const byte = bytes.shift();
      if (byte !== undefined) socket.write(byte, () => setImmediate(next));
    };
    next();
  };
  await using agent = await faultyAgent(script);
  await using gate = await front({ route: "fs.cat", node: nodeAt(agent.address) });
  const got = await rawRequest(gate.port, get(pathOf("fs.cat")));
  assert.equal(`${got.end} ${got.body.toString()}`, `whole ${text}`);
});

test("a hundred callers that come and go leave nothing behind", async () => {
  await using agent = await faultyAgent(
    answer(`${ok}Transfer-Encoding: chunked\r\n\r\n4\r\nsome\r\n`),
  );
  await using gate = await front({ route: "fs.logs", node: nodeAt(agent.address) });
  for (let round = 0; round < 5; round++) {
    const clients = Array.from({ length: 20 }, () => rawClient(gate.port, get(pathOf("fs.logs"))));
    await Promise.all(clients.map((client) => client.seen("some")));
    for (const client of clients) client.socket.destroy();
    await eventually(() => agent.open, 0);
  }
  await gate.ended(100);
  await eventually(() => gate.reach.stats.running, 0);
  await eventually(gate.connections, 0);
});
