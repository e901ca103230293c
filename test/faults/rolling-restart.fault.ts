/**
 * Two gateways in front of a cluster, behind HAProxy as docs/operating.md sets it up, restarted one after the other under load: no request
 * fails, blocking queries are answered, execs are told why they end, and a followed log goes on at the other gateway without a gap.
 */
import assert from "node:assert/strict";
import { readFileSync, writeFileSync } from "node:fs";
import path from "node:path";
import { test } from "node:test";
import { setTimeout as wait } from "node:timers/promises";
import { Agent, type Dispatcher, request } from "undici";
import { stringify } from "yaml";
import { type ClusterRig, secrets, startCluster } from "../support/cluster-rig.ts";
import { freePort } from "../support/free-port.ts";
import { createHome, type Home, type Program, shellWorkload, until } from "../support/processes.ts";
import { startProxy } from "../support/proxies.ts";
import { execClient } from "../support/ws-client.ts";

const documented =
  /```haproxy\n([\s\S]+?)```/.exec(readFileSync("docs/operating.md", "utf8"))?.[1] ?? "";
/** HAProxy's, by the documented settings: two looks a second apart. */
const riseMs = 2_500;
const headers = { "x-nomad-token": secrets.reader };
const counting = shellWorkload(
  "counting",
  'n=0; while :; do n=$((n+1)); echo "line $n"; sleep 0.02; done',
);

interface Seat {
  readonly port: number;
  readonly adminPort: number;
  /** Ready when it resolves. */
  readonly start: () => Promise<Program>;
}

const takeSeat = async (home: Home, rig: ClusterRig, name: string): Promise<Seat> => {
  const [port, adminPort] = [await freePort(), await freePort()];
  const file = path.join(home.directory, `${name}.yaml`);
  const settings = {
    data_dir: path.join(home.directory, name),
    registry: "nomad",
    nomad: { addresses: [rig.nomad.origin], token: secrets.gateway },
    http: { listen: `127.0.0.1:${port}`, trust_proxy: ["127.0.0.1/32"] },
    admin: { listen: `127.0.0.1:${adminPort}` },
    timeouts: { drain_delay: "4s", drain: "1s" },
    audit: { output: path.join(home.directory, `${name}.audit`) },
  };
  writeFileSync(file, stringify(settings), { mode: 0o600 });
  const isReady = async (): Promise<boolean> => {
    try {
      const { statusCode, body } = await request(`http://127.0.0.1:${adminPort}/readyz`);
      await body.dump();
      return statusCode === 200;
    } catch {
      return false; // it does not listen yet
    }
  };
  return {
    port,
    adminPort,
    start: async () => {
      const program = home.spawn(["server", "--config", file]);
      await until(() => `${name} is ready: ${program.errors.join(" ")}`, isReady);
      return program;
    },
  };
};

/** The documented settings with these gateways in their places. */
const settingsFor = (port: number, seats: readonly Seat[]): string =>
  `${documented
    .replace(/bind .+/, `bind 127.0.0.1:${port}`)
    .replace(/ {2}server .+\n/g, "")
    .trimEnd()}\n${seats
    .map((seat, nth) => `  server s${nth} 127.0.0.1:${seat.port} port ${seat.adminPort}`)
    .join("\n")}\n`;

/** What many callers do again and again until it is over. */
class Load {
  readonly done = new Map<string, number>();
  readonly faults: string[] = [];
  readonly #over = new AbortController();
  readonly #running: Promise<void>[] = [];

  get isOver(): boolean {
    return this.#over.signal.aborted;
  }

  add(name: string, work: () => Promise<string | undefined>): void {
    const run = async (): Promise<void> => {
      while (!this.isOver) {
        const fault = await work().catch((error: unknown) => String(error));
        if (fault !== undefined && !this.isOver) this.faults.push(`${name}: ${fault}`);
        this.done.set(name, (this.done.get(name) ?? 0) + 1);
        await wait(5);
      }
    };
    this.#running.push(run());
  }

  async end(): Promise<void> {
    this.#over.abort();
    await Promise.all(this.#running);
  }
}

/** A reader of a followed log that takes it up wherever it is cut. */
const follower = (url: string, target: string) => {
  let [resume, skip, text] = ["resume=true&origin=start", 0, ""];
  const cuts: string[] = [];
  let body: Dispatcher.ResponseData["body"] | undefined;
  const read = async (): Promise<string | undefined> => {
    const answer = await request(`${url}${target}&${resume}${skip > 0 ? `&skip=${skip}` : ""}`, {
      headers,
      bodyTimeout: 0,
    });
    if (answer.statusCode !== 200) return `${answer.statusCode} ${await answer.body.text()}`;
    resume = `resume=${encodeURIComponent(String(answer.headers["x-serai-resume"]))}`;
    skip = 0;
    body = answer.body;
    try {
      for await (const chunk of answer.body) {
        skip += chunk.length;
        text += String(chunk);
      }
      return "its end looked whole";
    } catch (error) {
      cuts.push(String(error));
      return undefined;
    }
  };
  return { cuts, read, text: () => text, end: () => void body?.destroy() };
};

test("two gateways are restarted under load, and nobody is refused", { timeout: 60_000 }, async (t) => {
  await using rig = await startCluster({ workloads: [counting] });
  rig.nomad.overrides.set("/v1/search", (asked, response) => {
    asked.resume().once("end", () => response.end("{}"));
  });
  rig.nomad.overrides.set("/v1/jobs", (_asked, response) => {
    const answer = setTimeout(() => response.end("[]"), 7_500); // longer than a drain waits
    response.once("close", () => clearTimeout(answer));
  });
  await using home = createHome();
  const seats = [await takeSeat(home, rig, "one"), await takeSeat(home, rig, "two")];
  const programs = await Promise.all(seats.map(({ start }) => start()));
  await using proxy = await startProxy(t, "haproxy", (port) => settingsFor(port, seats));
  if (proxy === undefined) return;
  const url = `http://127.0.0.1:${proxy.port}`;
  const dispatcher = new Agent({ connections: 16 });
  const ask = async (target: string, method: Dispatcher.HttpMethod = "GET", text?: string) => {
    const asked = { method, headers, dispatcher, body: text ?? null };
    const { statusCode, body } = await request(`${url}${target}`, asked);
    const answered = await body.text();
    return statusCode === 200 ? undefined : `${statusCode} ${answered}`;
  };
  const { id } = rig.placement("counting");
  const load = new Load();
  await until("HAProxy has found them", async () => (await ask(`/v1/client/fs/ls/${id}?path=/`)) === undefined);

  for (const target of ["ls", "stat"])
    for (let nth = 0; nth < 4; nth++)
      load.add("small", () => ask(`/v1/client/fs/${target}/${id}?path=/`));
  for (let nth = 0; nth < 3; nth++) load.add("post", () => ask("/v1/search", "POST", '{"Prefix":"a"}'));
  for (let nth = 0; nth < 3; nth++) load.add("blocking", () => ask("/v1/jobs?index=1&wait=7s"));
  const reader = follower(url, `/v1/client/fs/logs/${id}?task=main&type=stdout&follow=true&plain=true`);
  load.add("follow", reader.read);
  const ends: string[] = [];
  load.add("exec", async () => {
    const exec = execClient({ url, allocation: id, task: "main", token: secrets.reader, command: ["cat"] });
    await exec.opened;
    exec.stdin("hello\n");
    await exec.seen("hello");
    const stop = setInterval(() => load.isOver && exec.closeStdin(), 50);
    const { code, reason } = await exec.closed;
    clearInterval(stop);
    ends.push(`${code} ${reason}`);
    return undefined;
  });

  for (const [nth, seat] of seats.entries()) {
    await wait(riseMs);
    const program = programs[nth] ?? assert.fail("it does not run");
    program.kill("SIGTERM");
    assert.deepEqual(await program.ended, { code: 0, signal: null });
    await seat.start();
  }
  const ended = load.end();
  reader.end();
  await ended;
  await dispatcher.destroy();

  t.diagnostic(JSON.stringify({ ...Object.fromEntries(load.done), cuts: reader.cuts.length, ends }));
  assert.deepEqual(load.faults, []);
  assert.ok(reader.cuts.length > 1, "it was cut, at least once besides its end");
  const lines = reader.text().split("\n").slice(0, -1);
  assert.deepEqual(lines, lines.map((_line, nth) => `line ${nth + 1}`));
  assert.ok(lines.length > 500, String(lines.length));
  assert.deepEqual(new Set(ends), new Set(["1000 ", "1012 the gateway is shutting down; connect again"]));
}); // biome-ignore format: rows
