/**
 * A thousand exchanges of each kind, opened and ended in each of their ways, directly and through a tunnel: afterwards
 * gateway and agents hold the files, sockets, timers and objects that they held before, and little more memory.
 */
import assert from "node:assert/strict";
import { randomUUID } from "node:crypto";
import { once } from "node:events";
import { after, before, test } from "node:test";
import { Agent, request } from "undici";
import { times } from "../support/hostile.ts";
import { type Counts, emittersIn, openFiles, type Probe, probe, probed } from "../support/probe.ts";
import {
  createHome,
  type GatewayProgram,
  type Home,
  type Program,
  shellWorkload,
  until,
} from "../support/processes.ts";
import { get, rawClient } from "../support/raw-client.ts";
import { figures } from "../support/siege.ts";
import { type ExecClient, execClient } from "../support/ws-client.ts";

const cycles = 1_000;
/** Each starts a process on this machine, a terminal besides. */
const execCycles = 200;
const width = 16;
const wholeBytes = 256 * 1024;
/** Connections that are kept to an agent are as many as were asked for at once; the kinds before may have kept others. */
const keptSockets = 3 * width;
/** Node keeps one descriptor for all files that are watched, once one was. */
const heldForGood = 2;
/** Of what is held for good: caches that have a bound, compiled code, series of the metrics. */
const heapSlackMib = 16;
const emitterSlack = 50;

type Way = "direct" | "tunnel";
const ways: readonly Way[] = ["direct", "tunnel"];

let home: Home;
let gateway: GatewayProgram;
const agents = new Map<Way, Program>();
const allocations = new Map<Way, string>();
let token = "";
let base: readonly Held[] = [];
let baseEmitters: readonly number[] = [];

const script = `
  head -c ${wholeBytes} /dev/zero > $NOMAD_TASK_DIR/small
  truncate -s 30000000 $NOMAD_TASK_DIR/big
  echo begun
  exec sleep 1000
`;

const allocationOf = async (job: string): Promise<string> =>
  until(`${job} runs`, async () => {
    const headers = { "x-nomad-token": token };
    const list: unknown = await (await fetch(`${gateway.url}/v1/allocations`, { headers })).json();
    assert.ok(Array.isArray(list));
    const found = list.find((one) => one.JobID === job && one.ClientStatus === "running");
    if (found === undefined) return undefined;
    const id = String(found.ID);
    const target = `/v1/client/fs/logs/${id}?task=main&type=stdout&plain=true`;
    const log = await (await fetch(`${gateway.url}${target}`, { headers })).text();
    return log.includes("begun") ? id : undefined;
  });

before(async () => {
  home = createHome();
  const node = probed(home.directory);
  token = home.secrets.operator;
  gateway = await home.gateway(
    { log: { lines_per_second: 10 }, audit: { output: "/dev/null" } },
    { node },
  );
  for (const way of ways) {
    const settings = {
      workloads: [shellWorkload(`job-${way}`, script)],
      gateway: { tunnel: way === "tunnel" },
    };
    agents.set(way, await home.agent(`agent-${way}`, gateway.url, settings, { node }));
    allocations.set(way, await allocationOf(`job-${way}`));
  }
  base = await Promise.all(programs().map(heldBy));
  baseEmitters = await counted();
});
after(async () => {
  await home[Symbol.asyncDispose]();
});

/* ---- what a process holds ---- */

interface Held extends Probe {
  readonly name: string;
  readonly files: number;
}

const programs = (): readonly (readonly [string, Program])[] => [["gateway", gateway], ...agents];

const heldBy = async ([name, program]: readonly [string, Program]): Promise<Held> => ({
  name,
  ...(await probe(program)),
  files: openFiles(program.pid),
});

const counted = async (): Promise<readonly number[]> => {
  const counts: number[] = [];
  for (const [, program] of programs()) counts.push(await emittersIn(program));
  return counts;
};

/** What there is more of now, beyond the slack. */
const more = (then: Counts, now: Counts, slack: number): readonly string[] =>
  Object.entries(now)
    .filter(([kind, count]) => count > (then[kind] ?? 0) + slack)
    .map(([kind, count]) => `${count - (then[kind] ?? 0)} ${kind}`);

const moreThan = (then: Held, now: Held, kept: number): readonly string[] => [
  ...more({ files: then.files }, { files: now.files }, kept),
  ...more(then.resources, now.resources, kept),
  ...more({ "MiB held": then.heldMib }, { "MiB held": now.heldMib }, heapSlackMib),
];

/** Waits until no process holds more than at the beginning. */
const settled = async (kept: number, withinMs: number): Promise<readonly Held[]> => {
  let left = "";
  let now: readonly Held[] = [];
  const look = async (): Promise<boolean> => {
    now = await Promise.all(programs().map(heldBy));
    left = now
      .map((held, at) => ({ name: held.name, list: moreThan(base[at] ?? held, held, kept) }))
      .filter(({ list }) => list.length > 0)
      .map(({ name, list }) => `${name}: ${list.join(", ")}`)
      .join("; ");
    return left === "";
  };
  await until(() => `nothing is left: ${left}`, look, withinMs);
  return now;
};

const live = [
  'serai_streams_active{kind="follow"}',
  'serai_streams_active{kind="download"}',
  'serai_streams_active{kind="exec"}',
  "serai_live_exchanges",
  "serai_pool_waiting",
  "serai_blocking_queries",
];

const noneLive = (): Promise<unknown> =>
  until("no exchange is live", async () => {
    const now = await figures(gateway);
    return live.every((name) => now.get(name) === 0);
  });

/* ---- the kinds of exchanges ---- */

type Cycle = (at: Way, dispatcher: Agent) => Promise<void>;

interface Kind {
  readonly name: string;
  readonly cycle: Cycle;
  readonly cycles?: number;
  /** Says nothing to an agent. */
  readonly atGateway?: boolean;
}

const id = (at: Way): string => allocations.get(at) ?? "";

const answered =
  (target: (at: Way) => string, status: number, bytes?: number, secret?: () => string): Cycle =>
  async (at, dispatcher) => {
    const reply = await request(`${gateway.url}${target(at)}`, {
      headers: { "x-nomad-token": secret?.() ?? token },
      dispatcher,
    });
    const body = await reply.body.arrayBuffer();
    assert.equal(reply.statusCode, status, Buffer.from(body).toString().slice(0, 200));
    if (bytes !== undefined) assert.equal(body.byteLength, bytes);
  };

/** The caller leaves when it has seen the words. */
const brokenOff =
  (target: (at: Way) => string, words: string): Cycle =>
  async (at) => {
    const client = rawClient(gateway.port, get(target(at), `X-Nomad-Token: ${token}\r\n`));
    await client.seen(words);
    client.socket.resetAndDestroy();
    await once(client.socket, "close");
  };

const session = (at: Way, tty: boolean, words: string): ExecClient =>
  execClient({
    url: gateway.url,
    allocation: id(at),
    task: "main",
    token,
    tty,
    command: ["/bin/sh", "-c", words],
    keep: false,
  });

const ended =
  (tty: boolean): Cycle =>
  async (at) => {
    const client = session(at, tty, "exit 7");
    assert.deepEqual(await client.closed, { code: 1000, reason: "" });
    assert.equal(client.exitCode(), 7);
  };

const left =
  (tty: boolean): Cycle =>
  async (at) => {
    const client = session(at, tty, "echo here; sleep 1000");
    await client.seen("here");
    client.socket.terminate();
    await client.closed;
  };

const refusedExec: Cycle = async (at) => {
  const client = execClient({
    url: gateway.url,
    allocation: id(at),
    task: "none-such",
    token: home.secrets.none,
    command: ["true"],
  });
  assert.equal((await client.closed).code, 1011);
};

const waiting = 50;
/** So many queries wait at once, and their callers leave. */
const leftQueries: Cycle = async () => {
  const target = "/v1/allocations?index=99999999999999&wait=60s";
  const clients = Array.from({ length: waiting }, () =>
    rawClient(gateway.port, get(target, `X-Nomad-Token: ${token}\r\n`)),
  );
  const held = async (): Promise<number> =>
    (await figures(gateway)).get("serai_live_exchanges") ?? 0;
  try {
    await until("they wait", async () => (await held()) >= waiting);
  } finally {
    for (const { socket } of clients) socket.resetAndDestroy();
  }
  await until("they wait no more", async () => (await held()) === 0);
};

const fs = (what: string, query: string) => (at: Way) => `/v1/client/fs/${what}/${id(at)}?${query}`;
const log = (query: string) => fs("logs", `task=main&type=stdout&${query}`);

// biome-ignore format: a table
const kinds: readonly Kind[] = [
  { name: "ls", cycle: answered(fs("ls", "path=/main/local"), 200) },
  { name: "stat", cycle: answered(fs("stat", "path=/main/local/small"), 200) },
  { name: "stats of an allocation", cycle: answered((at) => `/v1/client/allocation/${id(at)}/stats`, 200) },
  { name: "cat of a whole file", cycle: answered(fs("cat", "path=/main/local/small"), 200, wholeBytes) },
  { name: "cat that its caller leaves", cycle: brokenOff(fs("cat", "path=/main/local/big"), "200 OK") },
  { name: "readat", cycle: answered(fs("readat", "path=/main/local/small&offset=100&limit=5000"), 200, 5000) },
  { name: "readat that its caller leaves", cycle: brokenOff(fs("readat", "path=/main/local/big&offset=0&limit=30000000"), "200 OK") },
  { name: "stream that its caller leaves", cycle: brokenOff(fs("stream", "path=/main/local/small&offset=0&follow=true"), '"Data"') },
  { name: "log", cycle: answered(log("plain=true"), 200, 6) },
  { name: "followed log, framed, that its caller leaves", cycle: brokenOff(log("follow=true"), '"Data"') },
  { name: "followed log, plain, that its caller leaves", cycle: brokenOff(log("follow=true&plain=true"), "begun") },
  { name: "exec", cycle: ended(false), cycles: execCycles },
  { name: "exec with a terminal", cycle: ended(true), cycles: execCycles },
  { name: "exec that its caller leaves", cycle: left(false), cycles: execCycles },
  { name: "exec with a terminal that its caller leaves", cycle: left(true), cycles: execCycles },
  { name: "file that is not there", cycle: answered(fs("cat", "path=/main/local/none"), 400) },
  { name: "exec that is refused", cycle: refusedExec, atGateway: true },
  { name: "list of allocations", cycle: answered(() => "/v1/allocations", 200), atGateway: true },
  { name: "list of nodes", cycle: answered(() => "/v1/nodes", 200), atGateway: true },
  { name: "blocking query", cycle: answered(() => "/v1/nodes?index=99999999999999&wait=10ms", 200), atGateway: true },
  { name: "blocking query that its caller leaves", cycle: leftQueries, cycles: cycles / waiting, atGateway: true },
  { name: "request without a right", cycle: answered(fs("ls", "path=/"), 403, undefined, () => home.secrets.none), atGateway: true },
  { name: "unknown token", cycle: answered(fs("ls", "path=/"), 403, undefined, randomUUID), atGateway: true },
  { name: "unknown allocation", cycle: answered(() => `/v1/client/fs/ls/${randomUUID()}?path=/`, 404), atGateway: true },
  { name: "bad parameter", cycle: answered(fs("logs", "task=main&type=none"), 400), atGateway: true },
  { name: "unknown path", cycle: answered(() => "/v1/none-such", 404), atGateway: true },
];

for (const { name, cycle, cycles: count = cycles, atGateway = false } of kinds)
  for (const way of atGateway ? (["direct"] as const) : ways)
    test(`${count} × ${name}${atGateway ? "" : `, ${way}`}: what it took is given back`, async (t) => {
      const dispatcher = new Agent({ connections: width });
      const startedAtMs = performance.now();
      await times(count, leftQueries === cycle ? 1 : width, () => cycle(way, dispatcher));
      const tookMs = performance.now() - startedAtMs;
      await dispatcher.destroy();
      await noneLive();
      const now = await settled(keptSockets, 10_000);
      const words = now.map(
        ({ name: of, files, heldMib }) => `${of} ${files} files, ${heldMib.toFixed(1)} MiB`,
      );
      t.diagnostic(`${tookMs.toFixed(0)} ms; ${words.join("; ")}`);
    });

test("in the end, when kept connections are gone, all is as it was at the beginning", async (t) => {
  const now = await settled(heldForGood, 60_000);
  for (const [at, { name, heldMib }] of now.entries())
    t.diagnostic(`${name}: ${(heldMib - (base[at]?.heldMib ?? 0)).toFixed(1)} MiB more`);
  for (const [at, count] of (await counted()).entries()) {
    const grown = count - (baseEmitters[at] ?? 0);
    t.diagnostic(`${base[at]?.name}: ${grown} emitters more`);
    assert.ok(grown <= emitterSlack, `${grown} emitters are left in ${base[at]?.name}`);
  }
  for (const [name, { output, errors, child }] of programs()) {
    assert.equal(child.exitCode, null, name);
    assert.deepEqual(errors, [], `${name} warns of nothing`);
    assert.deepEqual(
      output.filter((line) => /"level":"error"|MaxListeners/.test(line)),
      [],
      `${name} logs no error`,
    );
  }
});
