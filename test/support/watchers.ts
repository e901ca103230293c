/**
 * A gateway and an agent with a relay between them that counts the follows, logs that a test writes itself, and viewers whose
 * bytes are compared with the log from their own place on.
 */
import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import { appendFileSync, writeFileSync } from "node:fs";
import path from "node:path";
import { type CountingRelay, countingRelay } from "./counting-relay.ts";
import { freeAddress } from "./faulty-agent.ts";
import { get, parseAnswer, type RawClient, rawClient } from "./raw-client.ts";
import { eventually, type Rig, startRig } from "./rig.ts";

const sha = (bytes: Buffer): string => createHash("sha256").update(bytes).digest("hex");

/** The log of a task that says nothing itself, written by the test. */
export class WrittenLog {
  readonly #directory: string;
  readonly #files: Buffer[] = [Buffer.alloc(0)];
  #lines = 0;

  /** In an allocation's directory. */
  constructor(directory: string) {
    this.#directory = directory;
  }

  get whole(): Buffer {
    return Buffer.concat(this.#files);
  }

  /** Where the newest file begins. */
  get newest(): number {
    return this.whole.length - (this.#files.at(-1)?.length ?? 0);
  }

  grow(lines: number): void {
    const text = Array.from(
      { length: lines },
      () => `${String(this.#lines++).padStart(15, "0")}\n`,
    );
    const bytes = Buffer.from(text.join(""));
    this.#files[this.#files.length - 1] = Buffer.concat([this.#files.at(-1) ?? bytes, bytes]);
    appendFileSync(this.#path(), bytes);
  }

  rotate(): void {
    this.#files.push(Buffer.alloc(0));
    writeFileSync(this.#path(), "");
  }

  /** Its newest file begins anew, as a hand does it: `whole` is the log from then on. */
  truncate(): void {
    this.#files[this.#files.length - 1] = Buffer.alloc(0);
    writeFileSync(this.#path(), "");
  }

  /** The task ends. */
  end(): void {
    writeFileSync(path.join(this.#directory, "alloc", "data", "end"), "");
  }

  #path(): string {
    const name = `main.stdout.${this.#files.length - 1}`;
    return path.join(this.#directory, "alloc", "logs", name);
  }
}

export interface Watcher {
  readonly client: RawClient;
  /** The log's bytes that it has had. */
  readonly data: () => Buffer;
  /** Where in the log it began. */
  readonly from: number;
}

export const framesIn = (body: Buffer): readonly Readonly<Record<string, unknown>>[] =>
  body
    .toString()
    .split(/(?<=\})(?=\{)/)
    .filter((text) => text.endsWith("}"))
    .map((text): Readonly<Record<string, unknown>> => JSON.parse(text));

const dataIn = (body: Buffer): Buffer =>
  Buffer.concat(
    framesIn(body).map(({ Data: data }) =>
      Buffer.from(typeof data === "string" ? data : "", "base64"),
    ),
  );

/** The log of one allocation and those who watch it. */
export interface Scene extends AsyncDisposable {
  readonly log: WrittenLog;
  watch(query: string, from: number, token?: string): Promise<Watcher>;
  haveAll(watchers: readonly Watcher[]): Promise<void>;
  /** At the agent. */
  follows(): number;
  /** Waits until all share one follow. */
  share(): Promise<void>;
  cutFollows(): void;
}

export interface Stage extends AsyncDisposable {
  readonly rig: Rig;
  /** A log of its own for each. */
  scene(): Scene;
  figure(name: string): Promise<number>;
}

const sleeper = (job: string) => ({
  job,
  group: "main",
  type: "batch",
  tasks: [{
    name: "main", command: "/bin/sh", args: ["-c", "while [ ! -e $NOMAD_ALLOC_DIR/data/end ]; do sleep 0.05; done"],
    kill_timeout: "1s", logs: { max_files: 20, max_file_size_mb: 10 },
  }],
}); // biome-ignore format: a row

const sceneOf = (rig: Rig, relay: CountingRelay, job: string): Scene => {
  const allocation = rig.allocation(job);
  const log = new WrittenLog(path.join(rig.directory, "agent-1", "alloc", allocation));
  const clients = new Set<RawClient>();
  /** One that only asks where a viewer would begin is over at once. */
  const ofLog = new RegExp(`/fs/logs/${allocation}(?![\\s\\S]*X-Serai-Form: place)`);
  const follows = (): number => relay.open().filter((request) => ofLog.test(request)).length;

  const hasAll = async ({ client, data, from }: Watcher): Promise<void> => {
    const expected = log.whole.subarray(from);
    const had = await eventually(`a viewer from ${from} has ${expected.length} bytes`, () => {
      if (client.socket.bytesRead < expected.length) return undefined; // looked at once it may be there
      const now = data();
      return now.length >= expected.length ? now : undefined;
    });
    assert.equal(had.length, expected.length);
    assert.equal(sha(had), sha(expected));
  };

  return {
    log,
    follows,
    async watch(query, from, token = "reader") {
      const target = `/v1/client/fs/logs/${allocation}?task=main&type=stdout&follow=true&${query}`;
      const header = `X-Nomad-Token: ${rig.secret(token)}\r\n`;
      const client = rawClient(Number(new URL(rig.url).port), get(target, header));
      clients.add(client);
      await client.seen("\r\n\r\n");
      const body = (): Buffer => parseAnswer(client.received()).body;
      const data = query.includes("plain=true") ? body : () => dataIn(body());
      return { client, data, from };
    },
    async haveAll(watchers) {
      await Promise.all(watchers.map(hasAll));
    },
    async share() {
      await eventually("one follow", () => follows() === 1 || undefined);
    },
    cutFollows: () => relay.cut(ofLog),
    async [Symbol.asyncDispose]() {
      for (const { socket } of clients) socket.destroy();
      await eventually("no follow is left", () => follows() === 0 || undefined);
    },
  };
};

/** `scenes`: how many there are to be. */
export const startStage = async (scenes: number): Promise<Stage> => {
  await using stack = new AsyncDisposableStack();
  const listen = await freeAddress();
  const relay = stack.use(await countingRelay(listen));
  const jobs = Array.from({ length: scenes }, (_, nth) => `log-${nth}`);
  const rig = stack.use(
    await startRig({
      policies: { reader: { namespace: [{ "*": { capabilities: ["read-logs"] } }] } },
      tokens: { reader: { policies: ["reader"] }, guest: { policies: ["reader"] } },
      agents: [{ listen, advertise: relay.address, workloads: jobs.map(sleeper) }],
    }),
  );
  const all = stack.move();
  return {
    rig,
    scene() {
      const job = jobs.shift();
      assert.ok(job, "there are no more scenes");
      return sceneOf(rig, relay, job);
    },
    async figure(name) {
      const text = await (await fetch(`${rig.adminUrl}/metrics`)).text();
      return Number(new RegExp(`^${name} (\\d+)$`, "m").exec(text)?.[1]);
    },
    [Symbol.asyncDispose]: () => all.disposeAsync(),
  };
};
