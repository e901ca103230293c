import assert from "node:assert/strict";
import type { Socket } from "node:net";
import { test } from "node:test";
import { GatewayError } from "../../../src/errors.ts";
import { deadAddress, faultyAgent, type Script } from "../../support/faulty-agent.ts";
import { get, rawClient, rawRequest } from "../../support/raw-client.ts";
import { eventually } from "../front.ts";
import { gateTo } from "./gate.ts";

const answer = (body: string, more = ""): string =>
  `HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n${more}Content-Length: ${body.length}\r\n\r\n${body}`;
const always =
  (text: string): Script =>
  ({ socket }) =>
    socket.write(text, "latin1");

const linesOf = (head: string | undefined): readonly string[] =>
  (head ?? "").trimEnd().split("\r\n");

/* ---- headers ---- */

test("the server gets an allow-list, the caller's credential and where the request came from", async () => {
  await using server = await faultyAgent(always(answer("{}")));
  await using gate = await gateTo([server.address]);
  const hostile = [
    "X-Nomad-Token: 1111", "Authorization: Bearer 2222", "Accept-Encoding: gzip", "If-None-Match: x", "TE: trailers", "Trailer: X-T",
    "Connection: close, X-Nomad-Odd", "X-Nomad-Odd: 1", "Proxy-Authorization: Basic x", "Proxy-Connection: keep-alive", "Keep-Alive: x",
    "HTTP2-Settings: x", "Cookie: a=b", "Origin: http://evil", "X-Forwarded-For: 1.1.1.1", "X-Forwarded-Host: evil", "X-Real-IP: 1.1.1.1",
    "Forwarded: for=1.1.1.1", "X-Request-Id: theirs", "Expect: 100-continue", "X_Nomad_Token: 3", "__proto__: x",
  ]; // biome-ignore format: a list
  await rawRequest(gate.port, get("/v1/jobs?prefix=a", `${hostile.join("\r\n")}\r\n`));
  const [first, ...lines] = linesOf(server.requests[0]);
  assert.equal(first, "GET /v1/jobs?prefix=a HTTP/1.1");
  assert.deepEqual(lines.map((line) => line.toLowerCase()).sort(), [
    "accept-encoding: gzip",
    "authorization: bearer 2222",
    "connection: keep-alive",
    `host: ${server.address}`,
    "if-none-match: x",
    "x-forwarded-for: 192.0.2.7",
    "x-forwarded-host: gate.example:4646",
    "x-forwarded-proto: https",
    "x-nomad-token: 1111",
    "x-request-id: request-1",
  ]);
});

test("a Trailer header on a request without trailers harms nobody", async () => {
  await using server = await faultyAgent(always(answer("{}")));
  await using gate = await gateTo([server.address]);
  for (const more of ["", "Content-Length: 0\r\n"])
    assert.equal(
      (await rawRequest(gate.port, get("/v1/jobs", `Trailer: X\r\n${more}`))).status,
      200,
    );
  for (const head of server.requests) assert.doesNotMatch(head, /trailer/i);
  assert.equal(server.requests.length, 2);
});

test("a credential given twice is refused before anything is asked", async () => {
  await using server = await faultyAgent(always(answer("{}")));
  await using gate = await gateTo([server.address]);
  for (const name of ["X-Nomad-Token", "Authorization"]) {
    const refused = await rawRequest(gate.port, get("/v1/jobs", `${name}: a\r\n${name}: b\r\n`));
    assert.equal(refused.status, 400, name);
  }
  assert.equal(server.requests.length, 0);
});

test("the caller gets the server's headers without those of its connection", async () => {
  const more =
    "X-Nomad-Index: 7\r\nVary: Accept-Encoding\r\nVary: Origin\r\nETag: e\r\nConnection: X-Odd\r\nX-Odd: 1\r\nTrailer: X-T\r\nUpgrade: h2c\r\n" +
    "Set-Cookie: a=b\r\nProxy-Authenticate: Basic\r\nProxy-Odd: 1\r\nAlt-Svc: clear\r\nX-Serai-Error: x\r\nAccess-Control-Allow-Origin: *\r\nStrict-Transport-Security: x\r\nX-Request-Id: theirs\r\n";
  await using server = await faultyAgent(always(answer("{}", more)));
  await using gate = await gateTo([server.address]);
  const caller = rawClient(gate.port, get("/v1/jobs"));
  await caller.answer();
  const names = linesOf(caller.received().toString().split("\r\n\r\n")[0])
    .slice(1)
    .map((line) => line.replace(/:.*/, ""));
  assert.deepEqual(names.sort(), ["Connection", "Content-Length", "Content-Type", "Date", "ETag", "Keep-Alive", "Vary", "Vary", "X-Nomad-Index"]); // biome-ignore format: a list
});

test("the web interface keeps its cookies, its cache and its redirects", async () => {
  const script: Script = ({ socket, nth }) =>
    socket.write(
      nth === 1
        ? "HTTP/1.1 307 Temporary Redirect\r\nLocation: /ui/?a=b\r\nContent-Length: 0\r\n\r\n"
        : "HTTP/1.1 304 Not Modified\r\nETag: e\r\nSet-Cookie: a=b\r\n\r\n",
    );
  await using server = await faultyAgent(script);
  await using gate = await gateTo([server.address]);
  const redirect = await rawRequest(gate.port, get("/"));
  assert.equal(`${redirect.status} ${redirect.headers.get("location")}`, "307 /ui/?a=b");
  const asset = await rawRequest(gate.port, get("/ui/app.js", "If-None-Match: e\r\n"));
  assert.equal(`${asset.status} ${asset.end}`, "304 whole");
  assert.equal(asset.headers.get("set-cookie"), "a=b");
});

/* ---- targets ---- */

const sent: readonly (readonly [target: string, path: string])[] = [
  ["/v1/job/a%2Fb/plan?x=%2F&y", "/v1/job/a%2Fb/plan?x=%2F&y"],
  ["//v1//jobs", "//v1//jobs"],
  ["//", "//"],
  ["/v1/./jobs", "/v1/./jobs"],
  ["/v1/jobs?region=global&prefix=a", "/v1/jobs?prefix=a"],
  ["/v1/jobs?region=global", "/v1/jobs"],
  ["/v1/jobs?region=other&stale", "/v1/jobs?region=other&stale"],
  ["/v1/jobs?regional=global&filter=a%3D%3D%22global%22", "/v1/jobs?regional=global&filter=a%3D%3D%22global%22"],
  ["/v1/jobs?", "/v1/jobs"],
  ["http://elsewhere/v1/jobs", "/v1/jobs"],
  ["/v1/var/a...b", "/v1/var/a...b"],
]; // biome-ignore format: a table

for (const [target, path] of sent)
  test(`the target ${target} is asked as ${path}`, async () => {
    await using server = await faultyAgent(always(answer("{}")));
    await using gate = await gateTo([server.address]);
    assert.equal((await rawRequest(gate.port, get(target))).status, 200);
    assert.equal(linesOf(server.requests[0])[0], `GET ${path} HTTP/1.1`);
  });

const refusedTargets = [
  "/v1/../jobs", "/v1/%2e%2E/jobs", "/v1/job/a%2F..%2Fb", "/v1/a%00", "/v1/a%0d%0ab", "/v1/a%0A", "/v1/a%5Cb", "/v1/a\\b", "/v1/a%", "/v1/a%zz", "*",
]; // biome-ignore format: a list
for (const target of refusedTargets)
  test(`the target ${target} is refused before anything is asked`, async () => {
    await using server = await faultyAgent(always(answer("{}")));
    await using gate = await gateTo([server.address]);
    assert.equal((await rawRequest(gate.port, get(target))).status, 400);
    assert.equal(server.requests.length, 0);
  });

/* ---- which server ---- */

test("what cannot be dialled goes to the next server, body and all, and the next is remembered", async () => {
  await using server = await faultyAgent(always(answer("{}")));
  const dead = await deadAddress();
  await using gate = await gateTo([dead, server.address]);
  const put = "PUT /v1/jobs HTTP/1.1\r\nHost: gate\r\nContent-Length: 4\r\n\r\nbody";
  assert.equal((await rawRequest(gate.port, put)).status, 200);
  assert.equal(gate.servers.current, `http://${server.address}`);
  assert.match(server.requests[0] ?? "", /Content-Length: 4\r\n/i);
  await eventually(() => server.extraBytes, 4);
});

test("each server is dialled once, and then the caller hears why", async () => {
  await using gate = await gateTo([await deadAddress(), await deadAddress()]);
  const refused = await rawRequest(gate.port, get("/v1/jobs"));
  assert.equal(refused.status, 503);
  assert.equal(refused.headers.get("retry-after"), "1");
  assert.equal(
    refused.body.toString(),
    "the registry cannot answer now: none of the Nomad servers can be reached: connection refused",
  );
});

test("a server that was heard is not left for another, and a change is never asked twice", async () => {
  await using first = await faultyAgent(({ socket, nth }) => {
    if (nth === 2) socket.resetAndDestroy();
    else socket.write(answer("{}"));
  });
  await using second = await faultyAgent(always(answer("{}")));
  await using gate = await gateTo([first.address, second.address]);
  await rawRequest(gate.port, get("/v1/jobs"));
  const put = "PUT /v1/jobs HTTP/1.1\r\nHost: gate\r\nContent-Length: 0\r\n\r\n";
  assert.equal((await rawRequest(gate.port, put)).status, 502);
  assert.deepEqual([first.requests.length, second.requests.length], [2, 0]);
});

test("a kept connection that died meanwhile is asked once more, for reads alone", async () => {
  await using server = await faultyAgent(({ socket, nth }) => {
    if (nth === 2) socket.resetAndDestroy();
    else socket.write(answer("{}"));
  });
  await using gate = await gateTo([server.address]);
  for (const nth of [1, 2])
    assert.equal((await rawRequest(gate.port, get("/v1/jobs"))).status, 200, `request ${nth}`);
  assert.equal(server.requests.length, 3);
  assert.equal(server.connections, 2);
});

test("a read is asked once more on a new connection: other kept ones may have died as well", async () => {
  const kept = 3;
  const old = new Set<Socket>();
  let isBack = false;
  await using server = await faultyAgent(({ socket, nth }) => {
    if (isBack) {
      if (old.has(socket)) socket.resetAndDestroy();
      else socket.write(answer("{}"));
      return;
    }
    old.add(socket);
    if (nth === kept) for (const one of old) one.write(answer("{}"));
  });
  await using gate = await gateTo([server.address]);
  const ask = () => rawRequest(gate.port, get("/v1/jobs"));
  await Promise.all(Array.from({ length: kept }, ask));
  assert.equal(server.open, kept);
  isBack = true;
  assert.equal((await ask()).status, 200);
  assert.equal(server.requests.length, kept + 2);
  await eventually(() => server.open, 1);
});

test("a second answer that comes late is never taken for the next one", async () => {
  await using server = await faultyAgent(({ socket, nth }) => {
    socket.write(answer(`"${nth}"`));
    if (nth === 1) setImmediate(() => socket.write(answer('"evil"')));
  });
  await using gate = await gateTo([server.address]);
  assert.equal((await rawRequest(gate.port, get("/v1/a"))).body.toString(), '"1"');
  await eventually(() => server.open, 0);
  assert.equal((await rawRequest(gate.port, get("/v1/b"))).body.toString(), '"2"');
});

/* ---- ends ---- */

test("a caller that leaves takes its request with it at once, before a head and inside a body", async () => {
  const scripts: readonly Script[] = [
    () => undefined,
    always("HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nx"),
  ];
  for (const script of scripts) {
    await using server = await faultyAgent(script);
    await using gate = await gateTo([server.address]);
    const caller = rawClient(gate.port, get("/v1/jobs?index=1"));
    await server.request(1);
    if (script === scripts[1]) await caller.seen("\r\n\r\nx");
    caller.socket.destroy();
    await server.idle();
    assert.equal(await gate.ended(), "client_closed");
  }
});

test("an end from outside is answered before a head, and cuts after it", async () => {
  await using server = await faultyAgent(({ socket, nth }) => {
    if (nth === 2) socket.write("HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nx");
  });
  await using gate = await gateTo([server.address]);
  const waiting = rawClient(gate.port, get("/v1/jobs?index=1"));
  await server.request(1);
  const reading = rawClient(gate.port, get("/v1/jobs"));
  await reading.seen("\r\n\r\nx");
  gate.endAll(new GatewayError("draining"));
  const told = await waiting.answer();
  assert.equal(`${told.status} ${told.end}`, "503 whole");
  assert.equal((await reading.answer()).end, "cut");
  await server.idle();
  assert.deepEqual(gate.ends, ["draining", "draining"]);
});

test("an HTTP/1.0 caller, whose body ends with its connection, is reset when the server breaks off", async () => {
  await using server = await faultyAgent(({ socket }) =>
    socket.end("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n"),
  );
  await using gate = await gateTo([server.address]);
  const cut = await rawRequest(gate.port, "GET /v1/jobs HTTP/1.0\r\nHost: gate\r\n\r\n");
  assert.equal(cut.end, "reset");
});

test("a body without length is passed on in chunks, and its bytes are counted", async () => {
  await using server = await faultyAgent(
    always("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n3\r\nyes\r\n0\r\n\r\n"),
  );
  await using gate = await gateTo([server.address]);
  const whole = await rawRequest(gate.port, get("/v1/jobs"));
  assert.equal(`${whole.body} ${whole.end}`, "okyes whole");
  assert.equal(gate.tallies[0]?.bytesOut, 5);
});

test("the bytes of a body that is passed on are counted, however they come", async () => {
  await using server = await faultyAgent(always("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"));
  await using gate = await gateTo([server.address]);
  const bodies = [
    "Content-Length: 5\r\n\r\nhello",
    "Transfer-Encoding: chunked\r\n\r\n2\r\nhe\r\n3\r\nllo\r\n0\r\n\r\n",
  ];
  for (const body of bodies)
    await rawRequest(
      gate.port,
      `PUT /v1/jobs HTTP/1.1\r\nHost: gate\r\nConnection: close\r\n${body}`,
    );
  assert.deepEqual(
    gate.tallies.map(({ bytesIn }) => bytesIn),
    [5, 5],
  );
});

test("an answer to HEAD has its headers and no body", async () => {
  await using server = await faultyAgent(
    always("HTTP/1.1 200 OK\r\nContent-Length: 42\r\nX-Nomad-Index: 7\r\n\r\n"),
  );
  await using gate = await gateTo([server.address]);
  const headed = await rawRequest(gate.port, "HEAD /v1/jobs HTTP/1.1\r\nHost: gate\r\n\r\n");
  assert.equal(`${headed.status} ${headed.headers.get("content-length")}`, "200 42");
});

test("a caller that takes nothing of a server's answer is cut, and the ledger can tell", async () => {
  const bytes = 32 * 1024 * 1024; // more than the system's buffers of two connections take
  await using server = await faultyAgent(({ socket }) => {
    socket.write(`HTTP/1.1 200 OK\r\nContent-Length: ${bytes}\r\n\r\n`);
    socket.write(Buffer.alloc(bytes));
  });
  await using gate = await gateTo([server.address], { stallMs: 150 });
  const caller = rawClient(gate.port, get("/v1/jobs"));
  await caller.seen("200 OK");
  caller.socket.pause();
  assert.equal(await gate.ended(), "client_too_slow");
  assert.ok(gate.tallies[0]?.callerStalledAtMs);
  caller.socket.destroy();
});

/* ---- uploads ---- */

test("an upload that makes no progress ends, and whoever stands still is named", async () => {
  await using server = await faultyAgent(() => undefined);
  await using gate = await gateTo([server.address], { uploadIdleMs: 150 });
  const upload = "PUT /v1/jobs HTTP/1.1\r\nHost: gate\r\nContent-Length: 1000\r\n\r\nsome";
  const late = await rawRequest(gate.port, upload);
  assert.equal(`${late.status} ${await gate.ended()}`, "408 client_too_slow");
  await server.idle();
});

test("a chunked body stays one, also on a GET", async () => {
  await using server = await faultyAgent(always(answer("{}")));
  await using gate = await gateTo([server.address]);
  const body = "2\r\nok\r\n0\r\n\r\n";
  for (const method of ["GET", "PUT"])
    await rawRequest(gate.port, `${method} /v1/jobs HTTP/1.1\r\nHost: gate\r\nTransfer-Encoding: chunked\r\n\r\n${body}`); // biome-ignore format: one row
  for (const head of server.requests) assert.match(head, /transfer-encoding: chunked\r\n/i);
  assert.equal(server.requests.length, 2);
});

test("an answer before the end of an upload closes the caller's connection behind it", async () => {
  await using server = await faultyAgent(always(answer("{}")));
  await using gate = await gateTo([server.address]);
  const early = await rawRequest(
    gate.port,
    "PUT /v1/jobs HTTP/1.1\r\nHost: gate\r\nContent-Length: 1000\r\n\r\nsome",
  );
  assert.equal(`${early.status} ${early.headers.get("connection")}`, "200 close");
});

test("beyond the bound of requests at one time the next is refused", async () => {
  await using server = await faultyAgent(() => undefined);
  await using gate = await gateTo([server.address], { maxPassages: 1 });
  const waiting = rawClient(gate.port, get("/v1/jobs?index=1"));
  await server.request(1);
  const refused = await rawRequest(gate.port, get("/v1/jobs"));
  assert.equal(refused.headers.get("x-serai-error"), "overloaded");
  waiting.socket.destroy();
});
