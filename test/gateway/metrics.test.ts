/** What Prometheus and people see: figures that move with what happens, closed sets of labels, health in words. */
import assert from "node:assert/strict";
import { randomBytes, randomUUID } from "node:crypto";
import { once } from "node:events";
import { test } from "node:test";
import { request } from "undici";
import { WebSocket } from "ws";
import { routes } from "../../src/routes.ts";
import { deadAddress } from "../support/faulty-agent.ts";
import { get, rawClient, rawRequest } from "../support/raw-client.ts";
import { eventually, type Rig, startRig } from "../support/rig.ts";

const textOf = async (url: string, headers: Record<string, string> = {}): Promise<string> =>
  (await request(url, { headers })).body.text();

const scrape = (rig: Rig): Promise<string> => textOf(`${rig.adminUrl}/metrics`);

/** The value of the series whose name and labels match; NaN when there is none. */
const figure = (metrics: string, name: string, ...labels: readonly string[]): number => {
  const line = metrics
    .split("\n")
    .find(
      (text) =>
        (text.startsWith(`${name} `) || text.startsWith(`${name}{`)) &&
        labels.every((label) => text.includes(label)),
    );
  return Number(line?.slice(line.lastIndexOf(" ") + 1) ?? "NaN");
};

const series = (metrics: string): readonly string[] =>
  metrics
    .split("\n")
    .filter((line) => line !== "" && !line.startsWith("#"))
    .map((line) => line.slice(0, line.lastIndexOf(" ")));

const sleeper = {
  job: "j1",
  group: "main",
  tasks: [
    {
      name: "main",
      command: "/bin/sh",
      args: ["-c", "echo hello; exec sleep 1000"],
      kill_timeout: "1s",
    },
  ],
};

const start = (more: object = {}): Promise<Rig> =>
  startRig({ agents: [{ name: "n1", workloads: [sleeper] }], ...more });

// biome-ignore format: a table
const named = [
  ["serai_http_requests_total", "route", "method", "code"], ["serai_http_request_duration_seconds_bucket", "route", "result", "le"], ["serai_http_requests_in_flight", "route"],
  ["serai_streams_active", "kind"], ["serai_stream_time_to_first_byte_seconds_bucket", "kind", "le"], ["serai_stream_duration_seconds_bucket", "kind", "le"],
  ["serai_stream_bytes_total", "kind", "direction"], ["serai_stream_ends_total", "kind", "reason"],
  ["serai_upstream_dial_duration_seconds_bucket", "le"], ["serai_upstream_failures_total", "reason"], ["serai_circuit_open_nodes"], ["serai_pool_waiting"],
  ["serai_index_allocs"], ["serai_index_nodes"], ["serai_nodes", "status"], ["serai_index_lag_seconds"], ["serai_index_last_event_timestamp_seconds"], ["serai_index_resyncs_total", "reason"], ["serai_index_lookups_total", "result"],
  ["serai_index_stream_losses_total", "reason"], ["serai_index_list_duration_seconds_bucket", "le"], ["serai_index_list_failures_total"],
  ["serai_authz_decisions_total", "capability", "result"], ["serai_credentials_total", "result"], ["serai_authz_cache_lookups_total", "result"], ["serai_live_reauthorizations_total", "result"],
  ["serai_audit_events_total", "result"], ["serai_audit_queue_bytes"], ["serai_audit_stalled_seconds"],
  ["serai_metadata_batches_total", "result"], ["serai_metadata_batch_size_bucket", "le"], ["serai_metadata_pending_nodes"], ["serai_pending_stops"], ["serai_metadata_apply_delay_seconds_bucket", "le"],
  ["serai_rate_limited_total", "limit"], ["serai_config_reloads_total", "result"], ["serai_config_last_reload_successful"], ["serai_config_last_reload_success_timestamp_seconds"],
  ["serai_tunnels", "state"], ["serai_tunnel_hellos_total", "result", "reason"], ["serai_tunnel_reconnects_total"], ["serai_tunnel_ends_total", "reason"],
  ["serai_tunnel_streams"], ["serai_tunnel_streams_opened_total"], ["serai_tunnel_streams_refused_total", "reason"], ["serai_tunnel_waiting"], ["serai_tunnel_round_trip_seconds_bucket", "le"],
  ["serai_build_info", "version", "node", "region"], ["serai_errors_total", "code"], ["serai_open_sockets"], ["serai_live_exchanges"],
] as const;

test("figures are named as documented, move with what happens, and streams come back to none", async () => {
  await using rig = await start({
    settings: { limits: { live_per_principal: 2 }, metadata: { interval: "100ms" } },
  });
  const token = rig.secret("management");
  const id = rig.allocation("j1");
  const headers = { "x-nomad-token": token };
  const port = Number(new URL(rig.url).port);
  const logs = `/v1/client/fs/logs/${id}?task=main&type=stdout&plain=true`;
  const line = `X-Nomad-Token: ${token}\r\n`;

  await rig.get(logs, token);
  await rig.get(`/v1/client/fs/cat/${id}?path=/alloc/logs/main.stdout.0`, token);
  await rig.get(`/v1/client/allocation/${id}/stats`, token);
  await rig.get(`/v1/client/allocation/${id}/stats`);
  await rig.get(`/v1/client/allocation/${id}/stats`, randomUUID());
  await rig.get(`/v1/client/allocation/${randomUUID()}/stats`, token);
  await rig.get("/nothing/here", token);
  await rig.ask({
    method: "POST",
    path: "/v1/client/metadata",
    token,
    body: JSON.stringify({ NodeID: rig.agent().nodeId, Meta: { a: "b" } }),
  });
  await rig.ask({ method: "POST", path: "/v1/client/metadata", token, body: "x".repeat(70_000) });
  await rawRequest(port, get("/", `X: ${"x".repeat(20_000)}\r\n`));

  const followers = [
    rawClient(port, get(`${logs}&follow=true`, line)),
    rawClient(port, get(`${logs}&follow=true`, line)),
  ];
  for (const follower of followers) await follower.seen("hello");
  const third = await rig.get(`${logs}&follow=true`, token);
  assert.deepEqual([third.status, third.headers["retry-after"]], [429, "1"]);
  let metrics = await scrape(rig);
  assert.equal(figure(metrics, "serai_streams_active", 'kind="follow"'), 2);
  const live = await textOf(`${rig.adminUrl}/debug/live`);
  assert.match(live, /"route":"fs.logs"/);
  assert.ok(live.includes(id) && live.includes(rig.accessor("management")));
  assert.equal(live.includes(token), false, "no secret in it");
  await rig.gateway.reload();
  for (const { socket } of followers) socket.destroy();

  const exec = new WebSocket(
    `${rig.url.replace("http", "ws")}/v1/client/allocation/${id}/exec?task=main&command=${encodeURIComponent('["echo","x"]')}`,
    { headers },
  );
  await once(exec, "close");
  metrics = await eventually("all streams have ended", async () => {
    const now = await scrape(rig);
    const active = ["follow", "exec", "download"].map((kind) =>
      figure(now, "serai_streams_active", `kind="${kind}"`),
    );
    return active.every((count) => count === 0) ? now : undefined;
  });

  const all = series(metrics);
  for (const [name, ...labels] of named) {
    const one = all.find((text) => text === name || text.startsWith(`${name}{`));
    assert.ok(one !== undefined, `${name} is there`);
    for (const label of labels) assert.match(one, new RegExp(`[{,]${label}="`), name);
  }
  const expected: readonly (readonly [number, string, ...string[]])[] = [
    [1, "serai_http_requests_total", 'route="/v1/client/allocation/:id/stats"', 'code="200"'],
    [2, "serai_http_requests_total", 'route="/v1/client/allocation/:id/stats"', 'code="403"'],
    [1, "serai_http_requests_total", 'route="/v1/client/allocation/:id/stats"', 'code="404"'],
    [1, "serai_http_requests_total", 'route="unmatched"', 'code="404"'],
    [1, "serai_http_requests_total", 'method="POST"', 'code="413"'],
    [1, "serai_http_requests_total", 'method="POST"', 'code="200"'],
    [2, "serai_stream_ends_total", 'kind="follow"', 'reason="client"'],
    [1, "serai_stream_ends_total", 'kind="follow"', 'reason="eof"'],
    [1, "serai_stream_ends_total", 'kind="exec"', 'reason="eof"'],
    [1, "serai_stream_ends_total", 'kind="download"', 'reason="eof"'],
    [1, "serai_rate_limited_total", 'limit="live_per_principal"'],
    [1, "serai_rate_limited_total", 'limit="body"'],
    [1, "serai_rate_limited_total", 'limit="header"'],
    [1, "serai_config_reloads_total", 'result="ok"'],
    [1, "serai_config_last_reload_successful"],
    [1, "serai_index_allocs"],
    [1, "serai_index_nodes"],
    [1, "serai_nodes", 'status="ready"'],
    [0, "serai_nodes", 'status="down"'],
    [1, "serai_credentials_total", 'result="refused"'],
    [0, "serai_authz_cache_lookups_total", 'result="miss"'], // the gateway's own tokens: nobody is asked
  ]; // biome-ignore format: a table
  for (const [count, name, ...labels] of expected)
    assert.equal(figure(metrics, name, ...labels), count, `${name} ${labels.join()}`);
  for (const name of [
    "serai_upstream_dial_duration_seconds_count",
    "serai_metadata_apply_delay_seconds_count",
  ])
    assert.ok(figure(metrics, name) >= 1, name);
  assert.ok(figure(metrics, "serai_stream_bytes_total", 'kind="follow"', 'direction="out"') > 0);
  assert.ok(figure(metrics, "serai_authz_decisions_total", 'result="denied"', "read-job") >= 1);
  assert.ok(figure(metrics, "serai_live_reauthorizations_total", 'result="kept"') >= 2);
});

test("a node that cannot be dialled is counted by reason and opens its circuit", async () => {
  await using rig = await startRig({
    agents: [{ name: "walled", workloads: [], advertise: await deadAddress() }],
  });
  const stats = `/v1/client/stats?node_id=${rig.agent().nodeId}`;
  for (let time = 0; time < 4; time++) await rig.get(stats, rig.secret("management"));
  const metrics = await scrape(rig);
  assert.equal(figure(metrics, "serai_upstream_failures_total", 'reason="node_unreachable"'), 4);
  assert.equal(figure(metrics, "serai_circuit_open_nodes"), 1);
});

test("whatever callers send, the number of series stays what it is", async () => {
  await using rig = await start({ settings: { log: { level: "error" } } });
  const token = rig.secret("management");
  const methods = ["GET", "PUT", "POST", "DELETE", "HEAD", "PATCH", "OPTIONS"] as const;
  const hostile = async (nth: number): Promise<void> => {
    const route = routes[nth % routes.length];
    const random = randomBytes(6).toString("hex");
    const target =
      nth % 3 === 0
        ? `/${random}/${random}?${random}=${random}`
        : `${(route?.path ?? "/").replace(/[:*]id/, nth % 2 === 0 ? randomUUID() : random)}?node_id=${randomUUID()}&${random}=1&wait=1ms&task=${random}&path=${random}&type=stdout&offset=0`;
    const reply = await request(`${rig.url}${target}`, {
      method: methods[nth % methods.length] ?? "GET",
      headers: {
        "x-nomad-token": nth % 4 === 0 ? token : random,
        "user-agent": random,
        [`x-${random}`]: random,
      },
    });
    await reply.body.dump();
  };
  const flood = async (count: number): Promise<number> => {
    let next = 0;
    const work = async (): Promise<void> => {
      for (let nth = next++; nth < count; nth = next++) await hostile(nth);
    };
    await Promise.all(Array.from({ length: 24 }, work));
    return series(await scrape(rig)).length;
  };
  const rounds = methods.length * routes.length * 3;
  const before = await flood(rounds);
  const after = await flood(1_000);
  assert.ok(after <= before + 24, `${before} series before, ${after} after`);
  assert.ok(after < 3_000, `${after} series`);
  const shown = await scrape(rig);
  assert.equal(/[0-9a-f]{8}-[0-9a-f]{4}-/.test(shown), false, "no id is a label");
});

test("readiness says by name what is not well", async () => {
  await using rig = await start();
  const ready = await request(`${rig.adminUrl}/readyz?verbose`);
  assert.equal(ready.statusCode, 200);
  assert.deepEqual((await ready.body.text()).trim().split("\n"), [
    "[+] accepting ok",
    "[+] registry ok",
    "[+] audit ok",
    "[+] event loop ok",
    "ready",
  ]);
  assert.equal(await textOf(`${rig.adminUrl}/readyz`), "ready\n");
  assert.equal(await textOf(`${rig.adminUrl}/livez`), "alive\n");
});

test("what is answered without a route is counted and logged like any other: redirects, preflights, the greeting", async () => {
  await using rig = await startRig();
  const replies = [
    await rig.get("/v1//client/stats"),
    await rig.get("/v1/client/fs"),
    await rig.get("/"),
    await request(`${rig.url}/v1/client/stats`, {
      method: "OPTIONS",
      headers: { origin: "http://elsewhere", "access-control-request-method": "GET" },
    }).then(async ({ statusCode, headers, body }) => {
      await body.dump();
      return { status: statusCode, headers };
    }),
  ];
  assert.deepEqual(
    replies.map(({ status }) => status),
    [307, 307, 200, 204],
  );
  const metrics = await scrape(rig);
  for (const [code, count] of [
    [307, 2],
    [200, 1],
    [204, 1],
  ] as const)
    assert.equal(figure(metrics, "serai_http_requests_total", 'route="unmatched"', `code="${code}"`), count); // biome-ignore format: one line
  for (const { headers } of replies)
    assert.ok(rig.logText().includes(`"id":"${headers["x-request-id"]?.toString()}"`));
});

test("a request with too many parameters is counted, logged and answered with its id like any other", async () => {
  await using rig = await startRig();
  const query = Array.from({ length: 300 }, (_, at) => `a${at}=1`).join("&");
  const reply = await rig.get(`/v1/allocations?${query}`);
  assert.deepEqual([reply.status, reply.headers["x-serai-error"]], [400, "bad_request"]);
  assert.ok(reply.headers["x-request-id"]);
  const labels = ['route="unmatched"', 'code="400"'];
  assert.equal(figure(await scrape(rig), "serai_http_requests_total", ...labels), 1);
});
