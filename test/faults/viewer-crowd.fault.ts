/**
 * As many viewers of one log as descriptors allow, up to ten thousand, plain and framed and from different places: one follow at the
 * agent, every byte to each, and the memory that one costs the gateway is told.
 */
import assert from "node:assert/strict";
import { type ChildProcess, fork } from "node:child_process";
import { createHash } from "node:crypto";
import { once } from "node:events";
import { appendFileSync, readFileSync } from "node:fs";
import path from "node:path";
import { test } from "node:test";
import { openFilesLimit } from "../../src/lib/open-files.ts";
import { countingRelay } from "../support/counting-relay.ts";
import { freeAddress } from "../support/faulty-agent.ts";
import { createHome, shellWorkload, until } from "../support/processes.ts";
import { type CrowdOrder, said, type Wanted } from "../support/viewer-crowd.ts";

const most = 10_000;
/** The gateway keeps a tenth of its descriptors for itself, and two for each caller. */
const viewers = Math.min(most, Math.floor((openFilesLimit() ?? 0) * 0.45) - 100);
const processes = 2;
const warmUp = 200;
/** It is 12.4 to 15.2; what the collector has not taken back may come on top. */
const maxRssKibEach = 18;
const patienceMs = 90_000;

const queries: Readonly<Record<string, number>> = {
  "plain=true": 0,
  "offset=100": 100,
  "plain=true&offset=777": 777,
  "offset=1000&resume=true": 1_000,
};
const names = Object.keys(queries);

const rssKib = (pid: number): number =>
  Number(/VmRSS:\s+(\d+)/.exec(readFileSync(`/proc/${pid}/status`, "utf8"))?.[1]);

class Crowd implements AsyncDisposable {
  readonly #child: ChildProcess;
  lost = 0;

  constructor(order: CrowdOrder) {
    this.#child = fork(path.join(import.meta.dirname, "../support/viewer-crowd.ts"), {
      stdio: ["ignore", "inherit", "inherit", "ipc"],
    });
    this.#child.on("message", (message) => {
      if ("lost" in said.parse(message)) this.lost += 1;
    });
    this.#child.send(order);
  }

  async open(): Promise<void> {
    await this.#next((one) => ("open" in one ? one.open : undefined));
  }

  hashes(wanted: Wanted): Promise<Record<string, Record<string, number>>> {
    this.#child.send(wanted);
    return this.#next((one) => ("hashes" in one ? one.hashes : undefined));
  }

  async #next<T>(pick: (one: ReturnType<typeof said.parse>) => T | undefined): Promise<T> {
    const signal = AbortSignal.timeout(patienceMs);
    for (;;) {
      const [message] = await once(this.#child, "message", { signal });
      const found = pick(said.parse(message));
      if (found !== undefined) return found;
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    if (this.#child.exitCode !== null) return;
    const ended = once(this.#child, "exit");
    this.#child.disconnect();
    await ended;
  }
}

test(`${viewers} viewers of one log: one follow, every byte, bounded memory`, async (t) => {
  await using home = createHome();
  const listen = await freeAddress();
  await using relay = await countingRelay(listen);
  const bound = 2 * most;
  const gateway = await home.gateway({
    limits: { max_sockets: bound, sockets_per_address: bound, live_per_principal: bound },
  });
  await home.agent("n1", gateway.url, {
    listen,
    advertise: relay.address,
    workloads: [shellWorkload("quiet", "sleep 1000")],
  });
  const token = home.secrets.management;
  const allocation = await until("the allocation", async () => {
    const answer = await fetch(`${gateway.url}/v1/allocations`, {
      headers: { "X-Nomad-Token": token },
    });
    const found: unknown = JSON.parse(await answer.text());
    const one: unknown = Array.isArray(found) ? found[0] : undefined;
    if (typeof one !== "object" || one === null || !("ID" in one && "ClientStatus" in one))
      return undefined;
    return one.ClientStatus === "running" && typeof one.ID === "string" ? one.ID : undefined;
  });
  const file = path.join(
    home.directory,
    "agents",
    "n1",
    "alloc",
    allocation,
    "alloc",
    "logs",
    "main.stdout.0",
  );
  let log = Buffer.alloc(0);
  const grow = (bytes: number): void => {
    const more = Buffer.from(
      Array.from({ length: bytes }, (_, at) => 33 + ((log.length + at) % 89)),
    );
    log = Buffer.concat([log, more]);
    appendFileSync(file, more);
  };
  grow(4_096);

  const figure = async (name: string): Promise<number> => {
    const text = await (await fetch(`${gateway.adminUrl}/metrics`)).text();
    return Number(new RegExp(`^${name} (\\d+)$`, "m").exec(text)?.[1]);
  };
  const crowdOf = (count: number): Crowd =>
    new Crowd({
      port: gateway.port,
      token,
      allocation,
      queries: Array.from({ length: count }, (_, nth) => names[nth % names.length] ?? ""),
    });
  const follows = (): number =>
    relay.open().filter((one) => /\/fs\/logs\/(?![\s\S]*X-Serai-Form: place)/.test(one)).length;
  const shared = async (count: number): Promise<void> => {
    await until(
      () => `one follow for ${count}, ${follows()} now`,
      async () => follows() === 1 && (await figure("serai_shared_viewers")) === count,
      patienceMs,
    );
  };

  {
    await using first = crowdOf(warmUp);
    await first.open();
    await shared(warmUp);
  }
  await until("they are gone", () => follows() === 0);
  const before = rssKib(gateway.pid);

  const startedAt = performance.now();
  await using stack = new AsyncDisposableStack();
  const crowds = Array.from({ length: processes }, () =>
    stack.use(crowdOf(Math.floor(viewers / processes))),
  );
  await Promise.all(crowds.map((crowd) => crowd.open()));
  const count = processes * Math.floor(viewers / processes);
  t.diagnostic(
    `${count} have their head after ${((performance.now() - startedAt) / 1000).toFixed(1)} s`,
  );
  await shared(count);
  t.diagnostic(`one follow after ${((performance.now() - startedAt) / 1000).toFixed(1)} s`);
  const parked = (rssKib(gateway.pid) - before) / count;
  for (let round = 0; round < 10; round++) {
    grow(2_048);
    const wanted = Object.fromEntries(
      names.map((name) => [name, log.length - (queries[name] ?? 0)]),
    );
    const hashes = await Promise.all(crowds.map((crowd) => crowd.hashes(wanted)));
    for (const name of names) {
      const expected = createHash("sha256").update(log.subarray(queries[name])).digest("hex");
      for (const found of hashes)
        assert.deepEqual(Object.keys(found[name] ?? {}), [expected], name);
    }
  }
  assert.equal(follows(), 1);
  assert.equal(
    crowds.reduce((sum, { lost }) => sum + lost, 0),
    0,
  );
  const written = (rssKib(gateway.pid) - before) / count;
  t.diagnostic(
    `${parked.toFixed(1)} KiB a viewer that waits, ${written.toFixed(1)} KiB after ten pieces`,
  );
  t.diagnostic(`${((performance.now() - startedAt) / 1000).toFixed(1)} s in all`);
  assert.ok(parked < maxRssKibEach, `${parked} KiB a viewer`);
});
