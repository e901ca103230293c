/** What a gateway in front of a Nomad cluster passes on to the servers: as an exchange that is counted, audited and drained. */
import assert from "node:assert/strict";
import { once } from "node:events";
import { mkdtempSync, rmSync } from "node:fs";
import type { IncomingHttpHeaders } from "node:http";
import { tmpdir } from "node:os";
import path from "node:path";
import { after, before, describe, test } from "node:test";
import { setImmediate } from "node:timers/promises";
import { WebSocket, WebSocketServer } from "ws";
import { isJsonObject, type JsonObject, parseJson } from "../../src/lib/json.ts";
import { type ClusterRig, secrets, startCluster } from "../support/cluster-rig.ts";
import { linesOf } from "../support/lines.ts";
import { get, rawClient, rawRequest } from "../support/raw-client.ts";
import { eventually } from "../support/rig.ts";

const directory = mkdtempSync(path.join(tmpdir(), "serai-passing-"));
after(() => rmSync(directory, { recursive: true, force: true }));

let rigs = 0;
interface World extends AsyncDisposable {
  readonly rig: ClusterRig;
  readonly port: number;
  /** The audit records of a request, in order. */
  readonly records: (isOf: (record: JsonObject) => boolean) => readonly JsonObject[];
}

const trusting = { trust_proxy: ["127.0.0.0/8"] };
const start = async (timeouts: object = {}): Promise<World> => {
  const output = path.join(directory, `audit-${++rigs}.log`);
  const rig = await startCluster({
    workloads: [],
    settings: { audit: { output }, http: trusting, timeouts },
  });
  return {
    rig,
    port: Number(new URL(rig.url).port),
    records: (isOf) => linesOf(output).map(parseJson).filter(isJsonObject).filter(isOf),
    [Symbol.asyncDispose]: () => rig[Symbol.asyncDispose](),
  };
};

/** As a browser behind a proxy that ends TLS says it. */
const forwarded = { "X-Forwarded-Host": "ui.example", "X-Forwarded-Proto": "https" };
const own = { ...forwarded, Origin: "https://ui.example" };
const foreign = { ...forwarded, Origin: "https://evil.example" };

const pick = (record: JsonObject, ...names: readonly string[]): readonly unknown[] =>
  names.map((name) => record[name]);

const patient = { timeout: 20_000 };

describe("what is passed on to the servers", () => {
  let world: World;
  before(async () => {
    world = await start();
  });
  after(async () => {
    await world[Symbol.asyncDispose]();
  });

  const pairOf = (isOf: (record: JsonObject) => boolean): Promise<readonly JsonObject[]> =>
    eventually("both records are there", () => {
      const records = world.records(isOf);
      return records.length >= 2 ? records : undefined;
    });
  const answer = (target: string, status: number, body = "{}"): void => {
    world.rig.nomad.overrides.set(target, (request, response) => {
      request.resume();
      response.writeHead(status, { "content-type": "application/json" }).end(body);
    });
  };

  for (const [status, result] of [[200, "ok"], [403, "denied"], [500, "failed"]] as const) // biome-ignore format: a table
    test(`a change that the servers answer with ${status} is in the audit log as ${result}`, async () => {
      const target = `/v1/job/a%2F${status}/dispatch`;
      answer(target, status);
      const reply = await world.rig.ask({ path: target, method: "PUT", token: "reader" });
      assert.equal(reply.status, status);
      const [begun = {}, ended = {}] = await pairOf((record) => record["path"] === target);
      assert.deepEqual(pick(begun, "audit", "kind", "method", "template", "accessor"), ["start", "change", "PUT", "/v1/job/:id/dispatch", "upstream decides"]); // biome-ignore format: one row
      assert.deepEqual(pick(ended, "audit", "result", "status"), ["end", result, status]);
      assert.ok(!JSON.stringify([begun, ended]).includes(secrets.reader));
    });

  test("what is passed on has Node write nothing to stderr", async () => {
    const warnings: string[] = [];
    const warned = ({ message }: Error): void => void warnings.push(message);
    process.on("warning", warned);
    try {
      answer("/v1/job/quiet", 200);
      for (const method of ["GET", "PUT"] as const)
        await world.rig.ask({ path: "/v1/job/quiet", method, token: "reader" });
      await setImmediate();
    } finally {
      process.off("warning", warned);
    }
    assert.deepEqual(warnings, []);
  });

  test("a read is in no audit log, and a query that waited is not in the time of requests", async () => {
    answer("/v1/jobs", 200, "[]");
    for (const query of ["", "?index=7&wait=1s"])
      await world.rig.ask({ path: `/v1/jobs${query}`, token: "reader" });
    assert.deepEqual(
      world.records((record) => record["path"] === "/v1/jobs"),
      [],
    );
    const text = await world.rig.metrics();
    const sum = (name: string): number =>
      [...text.matchAll(new RegExp(`${name}\\{route="/\\*",[^}]*\\} (\\d+)`, "g"))]
        .map(([, value]) => Number(value))
        .reduce((one, other) => one + other, 0);
    assert.equal(sum("requests_total") - sum("request_duration_seconds_count"), 1);
    assert.match(text, /serai_http_requests_in_flight\{route="\/\*"\} 0/);
  });

  test("the web interface changes things from its own origin behind a trusted proxy, another site does not", async () => {
    answer("/v1/job/ui", 200);
    const ask = (headers: Readonly<Record<string, string>>) =>
      world.rig.ask({ path: "/v1/job/ui", method: "POST", token: "reader", headers });
    for (const headers of [own, { ...own, "X-Forwarded-Host": "ui.example:443" }])
      assert.equal((await ask(headers)).status, 200);
    const asked = world.rig.nomad.asked("/v1/job/ui").length;
    const elsewhere = { ...own, "X-Forwarded-Host": "ui.example:8443" };
    const refused = [foreign, elsewhere, { Origin: "null" }, { "Sec-Fetch-Site": "cross-site" }];
    for (const headers of refused) assert.equal((await ask(headers)).status, 403);
    assert.equal(world.rig.nomad.asked("/v1/job/ui").length, asked);
    const denied = await eventually("the denied ones are in the audit log", () => {
      const records = world.records((record) => record["code"] === "forbidden_origin");
      return records.length >= 4 ? records : undefined;
    });
    assert.deepEqual(pick(denied[0] ?? {}, "kind", "result", "path"), ["change", "denied", "/v1/job/ui"]); // biome-ignore format: one row
  });

  test("a server's own cross-origin headers are not passed on, a read from elsewhere is none of them", async () => {
    world.rig.nomad.overrides.set("/v1/regions", (_request, response) => {
      response.writeHead(200, { "access-control-allow-origin": "*" }).end("[]");
    });
    const read = await rawRequest(
      world.port,
      get("/v1/regions", "Origin: https://evil.example\r\n"),
    );
    assert.equal(read.status, 200);
    assert.equal(read.headers.get("access-control-allow-origin"), undefined);
  });

  test("a node is shown at the host and port that a trusted proxy was asked at", async () => {
    const target = `/v1/node/${world.rig.agent.nodeId}`;
    const { text } = await world.rig.ask({ path: target, token: "reader", headers: forwarded });
    const node = parseJson(text);
    assert.ok(isJsonObject(node));
    assert.deepEqual(pick(node, "HTTPAddr", "TLSEnabled"), ["ui.example:443", true]);
  });

  /* ---- sockets ---- */

  const actionOf = (job: string): string =>
    `/v1/job/${job}/action?action=greet&task=main&allocID=a1&group=g&command=%5B%5D`;
  const serveAction = (job: string, serve: (socket: WebSocket) => void): IncomingHttpHeaders[] => {
    const heads: IncomingHttpHeaders[] = [];
    const sockets = new WebSocketServer({ noServer: true });
    world.rig.nomad.upgrades.set(`/v1/job/${job}/action`, (request, socket, head) => {
      heads.push(request.headers);
      sockets.handleUpgrade(request, socket, head, serve);
    });
    return heads;
  };
  const openAction = (job: string, headers: Readonly<Record<string, string>> = {}): WebSocket => {
    const socket = new WebSocket(`${world.rig.url.replace("http", "ws")}${actionOf(job)}`, {
      headers: { "X-Nomad-Token": secrets.reader, ...headers },
    });
    socket.on("error", () => undefined);
    return socket;
  };
  const recordsOf = (job: string): Promise<readonly JsonObject[]> =>
    pairOf((record) => record["path"] === `/v1/job/${job}/action`);

  test(
    "a job's action runs from the interface's own origin, pings and all, and is audited with its exit code",
    patient,
    async () => {
      const heads = serveAction("greet", (socket) => {
        socket.on("message", (data) => {
          socket.send(String(data));
          socket.send('{"exited":true,"result":{"exit_code":4}}');
          socket.close(1000);
        });
      });
      const socket = openAction("greet", own);
      await once(socket, "open");
      socket.ping("are you there");
      const [pong] = await once(socket, "pong");
      assert.equal(String(pong), "are you there");
      assert.match(await world.rig.metrics(), /serai_streams_active\{kind="exec"\} 1/);
      socket.send("hello");
      const [first] = await once(socket, "message");
      assert.equal(String(first), "hello");
      const [code] = await once(socket, "close");
      assert.equal(code, 1000);
      assert.equal(heads[0]?.["x-nomad-token"], secrets.reader);
      const [begun = {}, ended = {}] = await recordsOf("greet");
      assert.deepEqual(pick(begun, "kind", "allocation", "task", "template"), ["exec", "a1", "main", "/v1/job/:id/action"]); // biome-ignore format: one row
      assert.deepEqual(pick(ended, "result", "status", "exitCode"), ["ok", 101, 4]);
      assert.match(await world.rig.metrics(), /serai_streams_active\{kind="exec"\} 0/);
    },
  );

  test(
    "an action that the servers refuse in their close frame is audited as denied",
    patient,
    async () => {
      serveAction("denied", (socket) => socket.close(1011, "Permission denied"));
      const [code, reason] = await once(openAction("denied"), "close");
      assert.equal(`${code} ${reason}`, "1011 Permission denied");
      const [, ended = {}] = await recordsOf("denied");
      assert.deepEqual(pick(ended, "result", "code"), ["denied", "permission_denied"]);
    },
  );

  test(
    "another site's socket is refused before a server hears of it, and audited",
    patient,
    async () => {
      const heads = serveAction("foreign", (socket) => socket.close());
      for (const headers of [foreign, { Origin: "null" }]) {
        const [, response] = await once(openAction("foreign", headers), "unexpected-response");
        assert.equal(response.statusCode, 403);
        response.resume();
      }
      assert.deepEqual(heads, []);
      const [, ended = {}] = await recordsOf("foreign");
      assert.deepEqual(pick(ended, "result", "code"), ["denied", "forbidden_origin"]);
    },
  );

  /* ---- hostile requests ---- */

  const line = (first: string, ...headers: readonly string[]): string =>
    `${[first, "Host: gate", ...headers].join("\r\n")}\r\n\r\n`;
  const put = "PUT /v1/hostile HTTP/1.1";
  const getLine = "GET /v1/hostile HTTP/1.1";
  const hostile: readonly (readonly [name: string, bytes: string, status: number])[] = [
    ["a Connection header that names the token", line(getLine, "Connection: close, X-Nomad-Token", "X-Nomad-Token: a"), 400],
    ["two tokens", line(getLine, "X-Nomad-Token: a", "X-Nomad-Token: b"), 400],
    ["two hosts", line(getLine, "Host: other"), 400],
    ["a length and chunks", line(put, "Content-Length: 4", "Transfer-Encoding: chunked"), 400],
    ["two lengths", line(put, "Content-Length: 4", "Content-Length: 5"), 400],
    ["another coding than chunked", line(put, "Transfer-Encoding: gzip, chunked"), 400],
    ["chunks on HTTP/1.0", line("PUT /v1/hostile HTTP/1.0", "Transfer-Encoding: chunked"), 400],
    ["a header over several lines", `${getLine}\r\nHost: gate\r\nX-A: 1\r\n 2\r\n\r\n`, 400],
    ["a giant header", line(getLine, `X-A: ${"a".repeat(20_000)}`), 431],
    ["a coded body", line(put, "Content-Encoding: gzip", "Content-Length: 0"), 415],
    ["an expectation that is none", line(put, "Expect: the-best", "Content-Length: 0"), 417],
    ["no path", line("OPTIONS * HTTP/1.1"), 400],
    ["a socket without its key", line("GET /v1/job/a/action HTTP/1.1", "Connection: Upgrade", "Upgrade: websocket", "Sec-WebSocket-Version: 13"), 400],
    ["a socket with a body", line("GET /v1/job/a/action HTTP/1.1", "Connection: Upgrade", "Upgrade: websocket", "Content-Length: 4"), 400],
  ]; // biome-ignore format: a table
  for (const [name, bytes, status] of hostile)
    test(`is refused before a server hears of it: ${name}`, async () => {
      assert.equal((await rawRequest(world.port, bytes)).status, status);
      assert.deepEqual(world.rig.nomad.asked("/v1/hostile"), []);
    });

  const seen: (readonly [string | undefined, IncomingHttpHeaders, number])[] = [];
  const listen = (target: string): void =>
    void world.rig.nomad.overrides.set(target, (request, response) => {
      let bytes = 0;
      request.on("data", (chunk: Buffer) => {
        bytes += chunk.length;
      });
      request.once("end", () => {
        seen.push([request.method, request.headers, bytes]);
        response.writeEarlyHints({ link: "</style.css>; rel=preload" });
        const trailed = request.method === "HEAD" ? {} : { trailer: "x-t" };
        response.writeHead(200, { "content-type": "text/html", ...trailed });
        response.addTrailers({ "x-t": "1" });
        response.end("<html>");
      });
    });

  test("an upgrade to h2c is answered as what it is besides: a request", async () => {
    listen("/v1/plain");
    const plain = await rawRequest(
      world.port,
      line("GET http://elsewhere/v1/plain HTTP/1.1", "Connection: Upgrade, HTTP2-Settings", "Upgrade: h2c", "HTTP2-Settings: AAMAAABkAAQAAP__"), // biome-ignore format: one row
    );
    assert.equal(`${plain.status} ${plain.body}`, "200 <html>");
    assert.equal(plain.headers.get("trailer"), undefined);
    const [, headers] = seen.pop() ?? [];
    assert.deepEqual([headers?.upgrade, headers?.["http2-settings"]], [undefined, undefined]);
  });

  test("a job of ten MiB arrives whole, after the go-ahead that its caller waits for", async () => {
    listen("/v1/large");
    const size = 10 * 1024 * 1024;
    const caller = rawClient(
      world.port,
      line("PUT /v1/large HTTP/1.1", "Expect: 100-continue", `Content-Length: ${size}`),
    );
    await caller.seen("100 Continue\r\n\r\n");
    caller.socket.write(Buffer.alloc(size, "j"));
    await caller.seen("<html>");
    caller.socket.destroy();
    assert.deepEqual(seen.pop()?.[2], size);
  });

  test("what one connection pipelines is begun one after the other, and not after its caller has left", async () => {
    const gone = Promise.withResolvers<void>();
    let begun = 0;
    world.rig.nomad.overrides.set("/v1/waits", (_request, response) => {
      begun += 1;
      response.once("close", () => gone.resolve());
    });
    const caller = rawClient(world.port, get("/v1/waits").repeat(3));
    await eventually("the first is asked", () => begun > 0 || undefined);
    listen("/v1/meanwhile");
    assert.equal((await rawRequest(world.port, get("/v1/meanwhile"))).status, 200);
    assert.equal(begun, 1);
    caller.socket.destroy();
    await gone.promise;
    assert.equal((await rawRequest(world.port, get("/v1/meanwhile"))).status, 200);
    assert.equal(begun, 1);
    seen.length = 0;
  });

  test("HEAD and OPTIONS are the servers' to answer", async () => {
    listen("/v1/any");
    for (const method of ["HEAD", "OPTIONS"]) {
      assert.equal((await rawRequest(world.port, line(`${method} /v1/any HTTP/1.1`))).status, 200);
      assert.equal(seen.pop()?.[0], method);
    }
  });
});

test(
  "a query that waits and an upload that is slow outlive every deadline that is not theirs",
  patient,
  async () => {
    const short = "300ms";
    await using world = await start({
      headers: short, request: short, keep_alive: short, first_byte: short, idle: "2s",
    }); // biome-ignore format: a row
    const { rig, port } = world;
    rig.nomad.overrides.set("/v1/slow", (request, response) => {
      request.resume();
      request.once("end", () => setTimeout(() => response.end("late"), 1_600));
    });
    const waiting = rawRequest(port, get("/v1/slow?index=1&wait=5m"));
    const upload = rawClient(
      port,
      "PUT /v1/slow HTTP/1.1\r\nHost: gate\r\nContent-Length: 6\r\n\r\n",
    );
    for (const byte of "upload") {
      await new Promise((resolve) => setTimeout(resolve, 200));
      upload.socket.write(byte);
    }
    for (const whole of [await waiting, await upload.answer()])
      assert.equal(`${whole.status} ${whole.body} ${whole.end}`, "200 late whole");
    const body = "POST /v1/client/metadata HTTP/1.1\r\nHost: gate\r\nContent-Length: 9\r\n\r\n{";
    const own = await rawRequest(port, body);
    assert.equal(`${own.status} ${own.headers.get("x-serai-error")}`, "408 client_too_slow");
  },
);

test(
  "a drain waits for a change at the servers, and cuts streams and sockets at the end of its grace",
  patient,
  async () => {
    await using world = await start({ drain: "800ms" });
    const { rig, port } = world;
    const heard = Promise.withResolvers<() => void>();
    rig.nomad.overrides.set("/v1/job/late", (request, response) => {
      request.resume();
      heard.resolve(() => response.end("{}"));
    });
    const sockets = new WebSocketServer({ noServer: true });
    rig.nomad.upgrades.set("/v1/job/a/action", (request, socket, head) =>
      sockets.handleUpgrade(request, socket, head, () => undefined),
    );
    const action = new WebSocket(`${rig.url.replace("http", "ws")}/v1/job/a/action`);
    const closed = once(action, "close");
    await once(action, "open");
    const events = await rig.follow("/v1/event/stream", "reader");
    await events.until("{}\n");
    const change = rawRequest(
      port,
      "PUT /v1/job/late HTTP/1.1\r\nHost: gate\r\nContent-Length: 2\r\n\r\n{}",
    );
    const answer = await heard.promise;
    const live = await fetch(`${rig.gateway.adminUrl}/debug/live`).then((one) => one.text());
    for (const target of ["/v1/job/a/action", "/v1/job/late", "/v1/event/stream"])
      assert.ok(live.includes(target), `${target} is live: ${live}`);
    const drained = rig.gateway.drain();
    setTimeout(answer, 100);
    assert.equal((await change).status, 200);
    assert.equal(action.readyState, WebSocket.OPEN);
    await drained;
    const [code] = await closed;
    assert.equal(code, 1012);
    await assert.rejects(events.until("never"), /ended before/);
  },
);
