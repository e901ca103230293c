/**
 * A whole serai in this process: a gateway and its agents on ports of their own, started from settings files in a temporary
 * directory, with tokens whose secrets the test knows. `await using` it: its end closes everything and looks at what is left.
 */
import assert from "node:assert/strict";
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { setTimeout as wait } from "node:timers/promises";
import { type Dispatcher, Agent as HttpAgent, request } from "undici";
import { mintJoinToken, mintToken, type TokenEntry } from "../../src/acl/secrets.ts";
import { type Agent, createAgent } from "../../src/agent/agent.ts";
import { agentOptions } from "../../src/cli/agent.ts";
import { loadAgentConfig, loadServerConfig } from "../../src/config/load.ts";
import type { AllocationDocument, ClientStatus } from "../../src/documents.ts";
import { createGateway, type Gateway } from "../../src/gateway.ts";
import { systemClock } from "../../src/lib/clock.ts";
import { isJsonObject, type Json, type JsonObject, parseJson } from "../../src/lib/json.ts";
import type { OpenLog } from "../../src/observe/log.ts";
import { createLog } from "../../src/observe/log.ts";
import type { Clock } from "../../src/ports.ts";
import { linesOf } from "./lines.ts";

/** Settings as they stand in a file. */
export interface Settings {
  readonly [name: string]: unknown;
}

export interface RigToken {
  /** None and not `management`: a token of a policy that does not exist, which gives nothing. */
  readonly policies?: readonly string[];
  readonly management?: boolean;
  /** Milliseconds since the epoch. */
  readonly expiresAtMs?: number;
}

export interface RigAgent {
  readonly name?: string;
  /** As under `workloads` of an agent's settings file. */
  readonly workloads: readonly Settings[];
  /** Laid over the agent's other settings. */
  readonly settings?: Settings;
  /** Where the gateway is told to dial, when a test stands in between. */
  readonly advertise?: string;
  /** A fixed `host:port` instead of a free port. */
  readonly listen?: string;
  /** In its environment instead of the rig's own join token; "" is none. */
  readonly joinSecret?: string;
  /** Where the agent finds the gateway, when something stands in between. */
  readonly gatewayAddress?: string;
}

export interface RigOptions {
  /** By name, as JSON policy documents. */
  readonly policies?: Readonly<Record<string, unknown>>;
  /** By name; `management` is always there. */
  readonly tokens?: Readonly<Record<string, RigToken>>;
  readonly agents?: readonly RigAgent[];
  /** Laid over the gateway's settings, section by section. */
  readonly settings?: Settings;
  /** The gateway's environment, as in `SERAI_ADMIN_TOKEN`. */
  readonly env?: Readonly<Record<string, string>>;
  readonly announceIntervalMs?: number;
  /** Of the gateway and its agents; the machine's own without it. */
  readonly clock?: Clock;
  /** False: does not wait for the agents' allocations. */
  readonly settled?: boolean;
  /** How long sockets and processes may take to be gone at the end. */
  readonly leftPatienceMs?: number;
}

export interface Reply {
  readonly status: number;
  readonly headers: Readonly<Record<string, string | string[] | undefined>>;
  readonly body: Buffer;
  readonly text: string;
  /** The body as JSON; throws when it is none. */
  json(): Json;
}

export interface Ask {
  readonly method?: Dispatcher.HttpMethod;
  readonly path: string;
  /** A secret, as `rig.secret(name)` gives it; undefined is anonymous. */
  readonly token?: string | undefined;
  readonly body?: string;
  readonly headers?: Readonly<Record<string, string>>;
  /** `http://host:port`; the gateway without it. */
  readonly at?: string;
}

export interface RunningAgent {
  readonly agent: Agent;
  readonly name: string;
  readonly nodeId: string;
  /** Its own door. */
  readonly url: string;
  /** Ends it before the rig's end. */
  stop(): Promise<void>;
}

export interface Rig extends AsyncDisposable {
  readonly directory: string;
  readonly gateway: Gateway;
  readonly log: OpenLog;
  /** `http://127.0.0.1:port`. */
  readonly url: string;
  readonly adminUrl: string;
  readonly agents: readonly RunningAgent[];
  /** The n-th agent, from 0. */
  agent(at?: number): RunningAgent;
  /** Starts one more. */
  startAgent(options: RigAgent): Promise<RunningAgent>;
  secret(token: string): string;
  accessor(token: string): string;
  joinSecret(): string;
  /** All allocations of a job, by name. */
  allocationsOf(job: string): readonly AllocationDocument[];
  /** The id of the only allocation of a job. */
  allocation(job: string): string;
  /** Waits until the job's allocation is seen in that state by the gateway. */
  until(job: string, status: ClientStatus): Promise<AllocationDocument>;
  ask(ask: Ask): Promise<Reply>;
  get(path: string, token?: string): Promise<Reply>;
  /** Changes the files alone; the gateway finds out by itself, or by `gateway.reload()`. */
  writeTokens(
    change: (tokens: Readonly<Record<string, TokenEntry>>) => readonly TokenEntry[],
  ): void;
  revoke(token: string): void;
  /** Makes a token now, in the file; the gateway has to be told, or to look. Returns its secret. */
  addToken(name: string, token: RigToken): string;
  writePolicy(name: string, policy: unknown): void;
  /** Everything in the audit file so far. */
  audit(): readonly JsonObject[];
  /** The log file's text so far. */
  logText(): string;
}

const patienceMs = 20_000;

/** Polls for what no event tells; fails with `what` when it does not come. */
export const eventually = async <T>(
  what: string,
  look: () => T | undefined | Promise<T | undefined>,
  withinMs = patienceMs,
): Promise<T> => {
  const until = performance.now() + withinMs;
  for (;;) {
    const found = await look();
    if (found !== undefined && found !== false) return found;
    assert.ok(performance.now() < until, `not within ${withinMs} ms: ${what}`);
    await wait(10);
  }
};

const isSection = (value: unknown): value is Settings =>
  typeof value === "object" && value !== null && !Array.isArray(value);

/** Settings over settings, section by section. */
export const laidOver = (below: Settings, above: Settings): Settings => {
  const laid: Record<string, unknown> = { ...below };
  for (const [name, value] of Object.entries(above)) {
    const under = laid[name];
    laid[name] = isSection(value) && isSection(under) ? laidOver(under, value) : value;
  }
  return laid;
};

/* ---- what is left ---- */

const watched = ["TCPSocketWrap", "TCPServerWrap", "ProcessWrap", "PipeWrap"];

const resources = (): ReadonlyMap<string, number> => {
  const counts = new Map(watched.map((kind) => [kind, 0]));
  for (const kind of process.getActiveResourcesInfo())
    if (counts.has(kind)) counts.set(kind, (counts.get(kind) ?? 0) + 1);
  return counts;
};

let open = 0;
let atRest: ReadonlyMap<string, number> = new Map();

const opened = (): void => {
  if (open === 0) atRest = resources();
  open += 1;
};

/** With the last rig gone, sockets and processes must be back at what they were. */
const closed = async (leftPatienceMs: number): Promise<void> => {
  open -= 1;
  if (open > 0) return;
  const left = (): string =>
    [...resources()]
      .filter(([kind, count]) => count > (atRest.get(kind) ?? 0))
      .map(([kind, count]) => `${count - (atRest.get(kind) ?? 0)} ${kind}`)
      .join(", ");
  const until = performance.now() + leftPatienceMs;
  while (left() !== "" && performance.now() < until) await wait(10);
  assert.equal(left(), "", "sockets or processes are left behind by the rig");
};

/* ---- files ---- */

const noPolicy = "none-such";

const entryOf = (name: string, { policies, management, expiresAtMs }: RigToken) =>
  mintToken({
    name,
    type: management ? "management" : "client",
    policies: management ? [] : (policies ?? [noPolicy]),
    createdAtMs: Date.now(),
    expiresAtMs,
  });

class Files {
  readonly directory = mkdtempSync(path.join(tmpdir(), "serai-rig-"));
  readonly secrets = new Map<string, string>();
  readonly #entries = new Map<string, TokenEntry>();
  readonly join = mintJoinToken({
    node: "*",
    uses: 100,
    createdAtMs: Date.now(),
    expiresAtMs: undefined,
  });

  constructor({ policies = {}, tokens = {} }: RigOptions) {
    mkdirSync(this.at("policies"));
    for (const [name, policy] of Object.entries(policies)) this.policy(name, policy);
    for (const [name, token] of Object.entries({ management: { management: true }, ...tokens }))
      this.mint(name, token);
    this.tokens([...this.#entries.values()]);
    this.json("join-tokens.json", { tokens: [this.join.entry] });
  }

  at(name: string): string {
    return path.join(this.directory, name);
  }

  json(name: string, content: unknown): string {
    writeFileSync(this.at(name), JSON.stringify(content));
    return this.at(name);
  }

  policy(name: string, policy: unknown): void {
    this.json(`policies/${name}.json`, policy);
  }

  mint(name: string, token: RigToken): string {
    const { secretId, entry } = entryOf(name, token);
    this.secrets.set(name, secretId);
    this.#entries.set(name, entry);
    return secretId;
  }

  tokens(entries: readonly TokenEntry[]): void {
    this.json("tokens.json", { tokens: entries });
  }

  get entries(): Readonly<Record<string, TokenEntry>> {
    return Object.fromEntries(this.#entries);
  }

  entry(name: string): TokenEntry {
    const entry = this.#entries.get(name);
    assert.ok(entry, `no token is named ${name}`);
    return entry;
  }

  forget(name: string): void {
    this.entry(name);
    this.#entries.delete(name);
    this.tokens([...this.#entries.values()]);
  }

  write(): void {
    this.tokens([...this.#entries.values()]);
  }

  lines(name: string): readonly string[] {
    return linesOf(this.at(name));
  }
}

const gatewaySettings = (files: Files, settings: Settings): Settings =>
  laidOver(
    {
      name: "rig",
      data_dir: files.at("gateway"),
      http: { listen: "127.0.0.1:0" },
      admin: { listen: "127.0.0.1:0" },
      acl: {
        tokens_file: files.at("tokens.json"),
        policies_dir: files.at("policies"),
        join_tokens_file: files.at("join-tokens.json"),
      },
      timeouts: { drain_delay: "0s", drain: "1s" },
      audit: { output: files.at("audit.log") },
      log: { level: "debug", file: files.at("gateway.log"), lines_per_second: 100_000 },
    },
    settings,
  );

const agentSettings = (
  files: Files,
  name: string,
  address: string,
  { workloads, settings = {}, listen = "127.0.0.1:0", advertise, gatewayAddress }: RigAgent,
): Settings =>
  laidOver(
    {
      name,
      data_dir: files.at(name),
      listen,
      ...(advertise === undefined ? {} : { advertise }),
      gateway: { address: gatewayAddress ?? address },
      workloads,
    },
    settings,
  );

/** Its join token comes from the environment, as in a container. */
const runAgent = async (
  files: Files,
  log: OpenLog,
  settings: Settings,
  {
    announceIntervalMs,
    joinSecret,
    clock,
  }: { announceIntervalMs: number; joinSecret: string; clock: Clock },
): Promise<Agent> => {
  const file = files.json(`${String(settings["name"])}.json`, settings);
  const env: Record<string, string> =
    joinSecret === "" ? {} : { SERAI_AGENT_GATEWAY_JOIN_TOKEN: joinSecret };
  const { config } = loadAgentConfig({ file, env });
  return await createAgent({ log, clock }, { ...agentOptions(config), announceIntervalMs });
};

/* ---- the rig ---- */

const idleAnnounceMs = 250;

const wantedOf = ({ workloads }: RigAgent): number =>
  workloads.reduce((sum, { count }) => sum + (typeof count === "number" ? count : 1), 0);

const askOver =
  (dispatcher: Dispatcher, url: string) =>
  async ({
    method = "GET",
    path: target,
    token,
    body,
    headers = {},
    at = url,
  }: Ask): Promise<Reply> => {
    const answer = await request(`${at}${target}`, {
      method,
      dispatcher,
      headers: { ...headers, ...(token === undefined ? {} : { "x-nomad-token": token }) },
      ...(body === undefined ? {} : { body }),
    });
    const bytes = Buffer.from(await answer.body.arrayBuffer());
    const text = bytes.toString("utf8");
    return {
      status: answer.statusCode,
      headers: answer.headers,
      body: bytes,
      text,
      json: () => parseJson(text),
    };
  };

/** Runs when it resolves: agents have announced themselves, their allocations are placed and have started. */
export const startRig = async (options: RigOptions = {}): Promise<Rig> => {
  const { agents: wanted = [], settings = {}, env = {}, settled = true } = options;
  const { announceIntervalMs = idleAnnounceMs, clock = systemClock } = options;
  const { leftPatienceMs = 5_000 } = options;
  opened();
  await using stack = new AsyncDisposableStack();
  stack.defer(() => closed(leftPatienceMs));
  const files = new Files(options);
  stack.defer(() => rmSync(files.directory, { recursive: true, force: true }));

  const file = files.json("serai.json", gatewaySettings(files, settings));
  const { config } = loadServerConfig({ file, env });
  const { level, file: logFile, linesPerSecond } = config.log;
  const log = createLog({ level, destination: logFile ?? "stdout", linesPerSecond });
  stack.defer(() => log.close(AbortSignal.timeout(patienceMs)));
  const gateway = await createGateway({ clock, log, version: "0.0.0-rig" }, config);
  stack.defer(() => gateway.close(AbortSignal.timeout(patienceMs)));
  const dispatcher = new HttpAgent({ connections: 64 });
  stack.defer(() => dispatcher.destroy());

  let closers = stack;
  const agents: RunningAgent[] = [];
  const startAgent = async (given: RigAgent): Promise<RunningAgent> => {
    const name = given.name ?? `agent-${agents.length + 1}`;
    const agent = await runAgent(files, log, agentSettings(files, name, gateway.url, given), {
      announceIntervalMs,
      clock,
      joinSecret: given.joinSecret ?? files.join.secret,
    });
    let ending: Promise<void> | undefined;
    const stop = (): Promise<void> => {
      ending ??= agent.close(AbortSignal.timeout(patienceMs));
      return ending;
    };
    closers.defer(stop);
    const running = { agent, name, nodeId: agent.nodeId, url: `http://${agent.address}`, stop };
    agents.push(running);
    return running;
  };

  const { registry } = gateway;
  const allocationsOf = (job: string): readonly AllocationDocument[] =>
    [...registry.allocations()]
      .filter(({ JobID }) => JobID === job)
      .sort((a, b) => (a.Name < b.Name ? -1 : 1));

  const watch = async <T>(what: string, look: () => T | undefined): Promise<T> => {
    const patience = AbortSignal.timeout(patienceMs);
    for (;;) {
      const index = registry.index("allocs");
      const found = look();
      if (found !== undefined) return found;
      assert.ok(!patience.aborted, `not within ${patienceMs} ms: ${what}`);
      await registry.changed("allocs", index, patience);
    }
  };

  await Promise.all(wanted.map((given, at) => startAgent({ name: `agent-${at + 1}`, ...given })));
  agents.sort((a, b) => (a.name < b.name ? -1 : 1));
  if (settled) {
    const sum = wanted.reduce((all, given) => all + wantedOf(given), 0);
    await watch(`${sum} allocations placed and started`, () => {
      const started = [...registry.allocations()].filter(
        ({ ClientStatus }) => ClientStatus !== "pending",
      );
      return started.length >= sum ? started : undefined;
    });
    await Promise.all(agents.map(({ agent }) => agent.announced(AbortSignal.timeout(patienceMs))));
  }

  const ask = askOver(dispatcher, gateway.url);
  closers = stack.move();
  return {
    directory: files.directory,
    gateway,
    log,
    url: gateway.url,
    adminUrl: gateway.adminUrl,
    agents,
    agent: (at = 0) => {
      const found = agents[at];
      assert.ok(found, `there is no agent ${at}`);
      return found;
    },
    startAgent,
    secret: (name) => {
      const secret = files.secrets.get(name);
      assert.ok(secret, `no token is named ${name}`);
      return secret;
    },
    accessor: (name) => files.entry(name).AccessorID,
    joinSecret: () => files.join.secret,
    allocationsOf,
    allocation: (job) => {
      const [first, ...others] = allocationsOf(job);
      assert.ok(first && others.length === 0, `${job} has not exactly one allocation`);
      return first.ID;
    },
    until: (job, status) =>
      watch(`${job} is ${status}`, () =>
        allocationsOf(job).find(({ ClientStatus }) => ClientStatus === status),
      ),
    ask,
    get: (target, token) => ask({ path: target, token }),
    writeTokens: (change) => files.tokens(change(files.entries)),
    revoke: (name) => files.forget(name),
    addToken: (name, token) => {
      const secret = files.mint(name, token);
      files.write();
      return secret;
    },
    writePolicy: (name, policy) => files.policy(name, policy),
    audit: () =>
      files
        .lines("audit.log")
        .map((line) => parseJson(line))
        .filter(isJsonObject),
    logText: () => {
      log.flush(); // a line may wait a moment for others
      return files.lines("gateway.log").join("\n");
    },
    [Symbol.asyncDispose]: () => closers.disposeAsync(),
  };
};
