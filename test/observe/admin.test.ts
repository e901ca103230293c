import assert from "node:assert/strict";
import { once } from "node:events";
import net from "node:net";
import { test } from "node:test";
import { type Admin, createAdmin, type Health, type HealthCheck } from "../../src/ingress/admin.ts";
import { createMetrics } from "../../src/observe/metrics.ts";
import { ended, quiet, soon } from "./support.ts";

interface Setup {
  readonly token?: string;
  readonly checks?: readonly HealthCheck[];
  readonly exposition?: () => Promise<string>;
}

const started = async (setup: Setup = {}): Promise<Admin & AsyncDisposable & { url: string }> => {
  const admin = await createAdmin(
    {
      log: quiet,
      exposition: setup.exposition ?? (() => Promise.resolve("a 1\n")),
      contentType: "text/plain; version=0.0.4; charset=utf-8",
      checks: setup.checks ?? [],
      live: () => [{ id: "r1", startedAt: 9_007_199_254_740_993n }],
    },
    { listen: { host: "127.0.0.1", port: 0 }, token: setup.token, loopback: true },
  );
  return {
    ...admin,
    url: `http://127.0.0.1:${admin.address.port}`,
    [Symbol.asyncDispose]: () => admin.close(soon()),
  };
};

const get = async (url: string, headers: Readonly<Record<string, string>> = {}) => {
  const response = await fetch(url, { headers: { connection: "close", ...headers } });
  return { status: response.status, text: await response.text(), headers: response.headers };
};

test("metrics, health and live exchanges are served", async () => {
  await using admin = await started();
  const metrics = await get(`${admin.url}/metrics`);
  assert.deepEqual([metrics.status, metrics.text], [200, "a 1\n"]);
  assert.match(metrics.headers.get("content-type") ?? "", /^text\/plain; version=0\.0\.4/);
  assert.equal(metrics.headers.get("x-powered-by"), null);
  assert.equal((await get(`${admin.url}/livez`)).text, "alive\n");
  assert.equal((await get(`${admin.url}/readyz`)).text, "ready\n");
  const live = await get(`${admin.url}/debug/live`);
  assert.equal(live.text, '[{"id":"r1","startedAt":9007199254740993}]');
});

test("a page is also found with a slash behind it, and HEAD gets its head alone", async () => {
  await using admin = await started();
  assert.equal((await get(`${admin.url}/livez/`)).text, "alive\n");
  const head = await fetch(`${admin.url}/metrics`, { method: "HEAD" });
  assert.deepEqual([head.status, head.headers.get("content-length")], [200, "4"]);
  assert.equal(await head.text(), "");
  assert.equal((await get(`${admin.url}/`)).status, 404);
});

const check = (name: string, health: Health): HealthCheck => ({ name, check: () => health });
const ok = check("index", { state: "ok" });
const degraded = check("redis", { state: "degraded", reason: "away" });

test("degraded is ready, failed is not, and verbose says which and why", async () => {
  await using working = await started({ checks: [ok, degraded] });
  const ready = await get(`${working.url}/readyz?verbose`);
  assert.deepEqual(
    [ready.status, ready.text],
    [200, "[+] index ok\n[~] redis degraded: away\nready\n"],
  );
  const failed = check("audit", { state: "failed", reason: "ENOSPC" });
  await using broken = await started({ checks: [ok, failed] });
  const not = await get(`${broken.url}/readyz?verbose=1`);
  assert.deepEqual(
    [not.status, not.text],
    [503, "[+] index ok\n[-] audit failed: ENOSPC\nnot ready\n"],
  );
  assert.equal((await get(`${broken.url}/readyz`)).text, "not ready\n");
  assert.equal((await get(`${broken.url}/livez`)).status, 200);
});

test("a check that throws or never answers has failed", async () => {
  const throws: HealthCheck = {
    name: "a",
    check: () => {
      throw new Error("broke");
    },
  };
  const silent: HealthCheck = { name: "b", check: () => new Promise(() => undefined) };
  await using admin = await started({ checks: [throws, silent] });
  const { status, text } = await get(`${admin.url}/readyz?verbose`);
  assert.equal(status, 503);
  assert.equal(text, "[-] a failed: broke\n[-] b failed: no answer within 2000 ms\nnot ready\n");
});

test("with a token, figures and details are for its holder; probes need none", async () => {
  const token = "0123456789abcdef-admin";
  await using admin = await started({ token, checks: [ok] });
  for (const path of ["/metrics", "/debug/live"]) {
    assert.equal((await get(`${admin.url}${path}`)).status, 403);
    for (const wrong of ["", "Bearer", `Bearer ${token}x`, `Basic ${token}`, token])
      assert.equal((await get(`${admin.url}${path}`, { authorization: wrong })).status, 403);
    assert.equal(
      (await get(`${admin.url}${path}`, { authorization: `Bearer ${token}` })).status,
      200,
    );
  }
  assert.equal((await get(`${admin.url}/livez`)).status, 200);
  assert.equal((await get(`${admin.url}/readyz?verbose`)).text, "ready\n");
  const authorization = `Bearer ${token}`;
  assert.match((await get(`${admin.url}/readyz?verbose`, { authorization })).text, /index ok/);
});

test("off loopback it does not start without a token", async () => {
  const needs = {
    log: quiet,
    exposition: async () => "",
    contentType: "text/plain",
    checks: [],
    live: () => [],
  };
  const listen = { host: "127.0.0.1", port: 0 };
  await assert.rejects(
    createAdmin(needs, { listen, token: undefined, loopback: false }),
    /admin.token: is required/,
  );
});

test("a port that is taken is an error of the start, not of the process", async () => {
  await using admin = await started();
  const needs = {
    log: quiet,
    exposition: async () => "",
    contentType: "text/plain",
    checks: [],
    live: () => [],
  };
  const listen = { host: "127.0.0.1", port: admin.address.port };
  await assert.rejects(createAdmin(needs, { listen, token: undefined, loopback: true }), {
    code: "EADDRINUSE",
  });
});

const raw = async (port: number, bytes: string): Promise<string> => {
  const socket = net.connect(port, "127.0.0.1");
  let text = "";
  socket.on("data", (chunk) => {
    text += chunk;
  });
  socket.write(bytes);
  await ended(socket);
  return text;
};

const hostile: readonly (readonly [string, string, RegExp])[] = [
  ["an upgrade", "GET /metrics HTTP/1.1\r\nHost: a\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n", /^$/],
  ["CONNECT", "CONNECT a:1 HTTP/1.1\r\nHost: a\r\n\r\n", /^$/],
  ["a path that does not decode", "GET /%zz HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n", /^HTTP\/1\.1 40[04]/],
  ["a huge header", `GET / HTTP/1.1\r\nHost: a\r\nX: ${"x".repeat(20_000)}\r\n\r\n`, /^HTTP\/1\.1 431/],
  ["a write", "POST /metrics HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\nConnection: close\r\n\r\n", /^HTTP\/1\.1 405/],
  ["a script in the path", "GET /<script> HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n", /not found\n$/],
  ["garbage", "\u0000\u0001\u0002\r\n\r\n", /^HTTP\/1\.1 400/],
]; // biome-ignore format: a table

for (const [name, bytes, expected] of hostile)
  test(`${name} is refused, and the next scrape answered`, async () => {
    await using admin = await started();
    const text = await raw(admin.address.port, bytes);
    assert.match(text, expected);
    assert.ok(!text.includes("<script>"));
    assert.equal((await get(`${admin.url}/metrics`)).status, 200);
  });

test("figures that cannot be had are a 500 without words of the error", async () => {
  await using admin = await started({ exposition: () => Promise.reject(new Error("inner")) });
  const { status, text } = await get(`${admin.url}/metrics`);
  assert.deepEqual([status, text], [500, "internal error\n"]);
});

test("a reader that takes nothing of its figures does not hold its connection for ever", {
  timeout: 30_000,
}, async () => {
  const figures = "a 1\n".repeat(3 * 2 ** 20);
  await using admin = await started({ exposition: () => Promise.resolve(figures) });
  const reader = net.connect(admin.address.port, "127.0.0.1");
  reader.write("GET /metrics HTTP/1.1\r\nHost: gate\r\nConnection: close\r\n\r\n");
  const [first] = await once(reader, "data");
  reader.pause();
  let bytes = first.length;
  await new Promise((resolve) => setTimeout(resolve, 11_000));
  reader.on("error", () => undefined);
  reader.resume().on("data", (chunk) => {
    bytes += chunk.length;
  });
  await once(reader, "close");
  assert.ok(bytes < figures.length, `${bytes}`);
});

test("figures that take their time are waited for", async () => {
  const slow = new Promise<string>((resolve) => setTimeout(resolve, 6_000, "a 1\n"));
  await using admin = await started({ exposition: () => slow });
  const { status, text } = await get(`${admin.url}/metrics`);
  assert.deepEqual([status, text], [200, "a 1\n"]);
});

test("closing ends idle connections at once and silent ones when patience ends", async () => {
  const admin = await started();
  const socket = net.connect(admin.address.port, "127.0.0.1");
  await once(socket, "connect");
  socket.write("GET /livez HTTP/1.1\r\nHost: a\r\nX-Half:");
  const gone = ended(socket);
  await admin.close(AbortSignal.abort());
  await gone;
});

test("a scrape of a full set of figures is answered in a fraction of a second", async () => {
  const metrics = createMetrics({ version: "1", region: "global" });
  for (let n = 0; n < 20_000; n++) {
    metrics.requestStarted(undefined);
    metrics.requestEnded(undefined, { method: `M${n}`, status: n, durationMs: n });
  }
  await using admin = await started({ exposition: metrics.exposition });
  const startedMs = performance.now();
  const { text } = await get(`${admin.url}/metrics`);
  assert.ok(performance.now() - startedMs < 5000);
  assert.match(text, /serai_http_requests_total/);
  metrics.close();
});
