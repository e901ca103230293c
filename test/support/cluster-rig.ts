/**
 * A gateway in front of a cluster, in this process: scripted Nomad servers with their ACL routes, and a real agent whose door
 * stands in the servers' node document. What the gateway says to the agent passes a relay that keeps every byte of it.
 */
import assert from "node:assert/strict";
import { once } from "node:events";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import type { RequestListener } from "node:http";
import { type AddressInfo, connect, createServer, type Socket } from "node:net";
import { tmpdir } from "node:os";
import path from "node:path";
import { type Dispatcher, Agent as HttpAgent, request } from "undici";
import { type Agent, createAgent } from "../../src/agent/agent.ts";
import { loadAgentConfig, loadServerConfig } from "../../src/config/load.ts";
import { createGateway, type Gateway } from "../../src/gateway.ts";
import {
  isJsonObject,
  type Json,
  type JsonObject,
  parseJson,
  stringifyJson,
} from "../../src/lib/json.ts";
import type { OpenLog } from "../../src/observe/log.ts";
import { createLog } from "../../src/observe/log.ts";
import type { Clock, NodeEntry, Placement } from "../../src/ports.ts";
import { inNamespace, rules, type SourceRules } from "../acl/nomad-rules.ts";
import { linesOf } from "./lines.ts";
import { laidOver } from "./rig.ts";
import { ScriptedNomad, type ScriptedNomadOptions } from "./scripted-nomad.ts";

/* ---- tokens and policies ---- */

export type TokenName = "gateway" | "management" | "reader" | "stranger";

/** Not one of them begins as another does, so that a secret is found wherever it went. */
export const secrets: Readonly<Record<TokenName, string>> = {
  gateway: "6a7e0000-1111-4222-8333-444444444444",
  management: "3a9a0000-1111-4222-8333-444444444444",
  reader: "4ead0000-1111-4222-8333-444444444444",
  stranger: "57a40000-1111-4222-8333-444444444444",
};

const everywhere = { Name: "*", Policy: "", Capabilities: ["read-job"], Variables: null };

const policies: Readonly<Record<string, SourceRules>> = {
  gateway: rules({ Namespaces: [everywhere], Node: { Policy: "read" } }),
  reader: inNamespace(
    "default",
    "read-job",
    "read-fs",
    "read-logs",
    "alloc-exec",
    "alloc-node-exec",
  ),
  stranger: inNamespace("elsewhere", "read-job"),
};

type NameOf = (secret: string | undefined) => string | undefined;

/** A policy as the servers hold it now; its version rises with each change. */
interface HeldPolicy {
  readonly version: number;
  readonly rules: SourceRules;
}

/** The answer to whoever holds a known secret; nobody else is told anything. */
const forKnown =
  (nameOf: NameOf) =>
  (answer: (name: string) => Json | undefined): RequestListener =>
  (request, response) => {
    const token = request.headers["x-nomad-token"];
    const name = nameOf(typeof token === "string" ? token : undefined);
    const told = name === undefined ? undefined : answer(name);
    if (told === undefined) response.writeHead(403).end("Permission denied");
    else response.writeHead(200, { "content-type": "application/json" }).end(stringifyJson(told));
  };

const scriptAcls = (
  { overrides }: ScriptedNomad,
  nameOf: NameOf,
  held: ReadonlyMap<string, HeldPolicy>,
): void => {
  const told = forKnown(nameOf);
  const policyStub = (name: string): JsonObject => {
    const version = held.get(name)?.version ?? 1;
    return {
      Name: name,
      Description: "",
      Hash: `hash-${name}-${version}`,
      CreateIndex: 1,
      ModifyIndex: version,
    };
  };
  overrides.set(
    "/v1/acl/token/self",
    told((name) => ({
      AccessorID: `accessor-${name}`,
      Name: name,
      Type: name === "management" ? "management" : "client",
      Policies: [name],
      ExpirationTime: null,
    })),
  );
  overrides.set(
    "/v1/acl/policies",
    told((name) => [policyStub(name)]),
  );
  for (const policy of held.keys())
    overrides.set(
      `/v1/acl/policy/${policy}`,
      told((name) => {
        const document = held.get(policy)?.rules;
        if (name !== policy || document === undefined) return undefined;
        return { ...policyStub(name), Rules: "", RulesJSON: parseJson(JSON.stringify(document)) };
      }),
    );
};

/* ---- the agent's door ---- */

export interface AgentDoor extends AsyncDisposable {
  /** `host:port`. */
  readonly address: string;
  /** Everything that was said to the agent, of all connections. */
  heard(): string;
  /** Connections that are open. */
  readonly open: number;
}

const openDoor = async (agentAddress: string): Promise<AgentDoor> => {
  const target = new URL(`http://${agentAddress}`);
  const heard: Buffer[] = [];
  const sockets = new Set<Socket>();
  const keep = (socket: Socket): void => {
    sockets.add(socket);
    socket.on("error", () => undefined);
    socket.once("close", () => sockets.delete(socket));
  };
  const callers = new Set<Socket>();
  const server = createServer((caller) => {
    const agent = connect(Number(target.port), target.hostname);
    keep(caller);
    keep(agent);
    callers.add(caller);
    caller.once("close", () => {
      callers.delete(caller);
      agent.destroy();
    });
    agent.once("close", () => caller.destroy());
    caller.on("data", (chunk) => heard.push(chunk));
    caller.pipe(agent).pipe(caller);
  });
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  const { port } = server.address() as AddressInfo; // a TCP server's address is one
  return {
    address: `127.0.0.1:${port}`,
    heard: () => Buffer.concat(heard).toString("latin1"),
    get open() {
      return callers.size;
    },
    async [Symbol.asyncDispose]() {
      const closed = once(server, "close");
      server.close();
      for (const socket of sockets) socket.destroy();
      await closed;
    },
  };
};

/* ---- agent and gateway ---- */

/** The machine's clock, which a test may set ahead. */
export interface SetClock extends Clock {
  aheadMs: number;
}

const setClock = (): SetClock => {
  const clock = {
    aheadMs: 0,
    now: () => Date.now() + clock.aheadMs,
    monotonic: () => performance.now() + clock.aheadMs,
  };
  return clock;
};

const systemClock: Clock = { now: () => Date.now(), monotonic: () => performance.now() };

const writeJson = (directory: string, name: string, content: unknown): string => {
  const file = path.join(directory, name);
  writeFileSync(file, JSON.stringify(content), { mode: 0o600 });
  return file;
};

const runAgent = async (
  directory: string,
  log: OpenLog,
  origin: string,
  workloads: readonly object[],
): Promise<Agent> => {
  const settings = {
    name: "client-1",
    data_dir: path.join(directory, "agent"),
    listen: "127.0.0.1:0",
    gateway: { address: origin },
    workloads,
  };
  const file = writeJson(directory, "agent.json", settings);
  const { config } = loadAgentConfig({ file, env: {} });
  return await createAgent(
    { log, clock: systemClock },
    {
      name: config.name,
      dataDirectory: config.dataDir,
      listen: config.listen,
      advertise: undefined,
      region: config.region,
      datacenter: config.datacenter,
      nodePool: config.nodePool,
      nodeClass: config.nodeClass,
      meta: config.meta,
      gateway: { address: config.gateway.address, joinToken: undefined, ca: undefined },
      tls: undefined,
      aclEnabled: true,
      gcMaxAllocs: config.gc.maxAllocs,
      workloads: config.workloads,
    },
  );
};

const serverSettings = (directory: string, origins: readonly string[], ownToken: TokenName) => ({
  data_dir: path.join(directory, "gateway"),
  registry: "nomad",
  nomad: { addresses: origins, token: secrets[ownToken] },
  http: { listen: "127.0.0.1:0" },
  admin: { listen: "127.0.0.1:0" },
  timeouts: { drain_delay: "0s", drain: "100ms" },
  audit: { output: path.join(directory, "audit.log") },
});

/* ---- the rig ---- */

export interface ClusterOptions {
  /** As under `workloads` of an agent's settings file. */
  readonly workloads: readonly object[];
  /** Jobs of them that the servers do not know yet. */
  readonly unknown?: readonly string[];
  /** Whose token the gateway's own is. */
  readonly ownToken?: TokenName;
  /** The servers speak TLS. */
  readonly tls?: ScriptedNomadOptions["tls"];
  /** Over the gateway's settings. */
  readonly settings?: Readonly<Record<string, unknown>>;
  /** The agent's node as the servers tell of it. */
  readonly node?: (node: NodeEntry) => NodeEntry;
  /** Servers for the gateway to ask, in place of the scripted ones; closed with the rig. */
  readonly servers?: (
    nomad: ScriptedNomad,
    agentAddress: string,
  ) => Promise<AsyncDisposable & { readonly origin: string }>;
  /** Told before the gateway starts. */
  readonly prepare?: (nomad: ScriptedNomad) => void;
}

export interface ClusterAsk {
  readonly path: string;
  readonly method?: Dispatcher.HttpMethod;
  readonly token?: TokenName;
  readonly headers?: Readonly<Record<string, string>>;
}

export interface ClusterReply {
  readonly status: number;
  readonly text: string;
}

/** An answer that lasts. */
export interface Following {
  readonly status: number;
  /** Resolves with all that has come as soon as the words are in it. */
  until(words: string): Promise<string>;
  end(): void;
}

export interface ClusterRig extends AsyncDisposable {
  readonly nomad: ScriptedNomad;
  readonly agent: Agent;
  readonly door: AgentDoor;
  readonly gateway: Gateway;
  readonly clock: SetClock;
  readonly url: string;
  /** The only allocation of a job, as the agent runs it. */
  placement(job: string): Placement;
  /** The host's path of that allocation's directory. */
  directoryOf(job: string): string;
  /** At the servers alone: they refuse it from now on, and tell it as an event. */
  revoke(token: TokenName): void;
  /** The same for the rules of a token's only policy. */
  allow(token: TokenName, given: SourceRules): void;
  ask(ask: ClusterAsk): Promise<ClusterReply>;
  /** `/readyz`'s status. */
  readiness(): Promise<number>;
  /** `/readyz?verbose`. */
  health(): Promise<string>;
  /** Everything in the audit file so far. */
  audit(): readonly JsonObject[];
  /** The log file's text so far. */
  logText(): string;
  metrics(): Promise<string>;
  follow(path: string, token: TokenName, at?: string): Promise<Following>;
}

const patienceMs = 10_000;

const followOver =
  (dispatcher: Dispatcher, url: string): ClusterRig["follow"] =>
  async (target, token, at = url) => {
    const answer = await request(`${at}${target}`, {
      dispatcher,
      headers: { "x-nomad-token": secrets[token] },
    });
    const { body } = answer;
    body.on("error", () => undefined);
    let text = "";
    const until = (words: string): Promise<string> =>
      new Promise((resolve, reject) => {
        const look = (): void => {
          if (text.includes(words)) resolve(text);
          else if (body.destroyed) reject(new Error(`ended before ${words} came: ${text}`));
        };
        body.on("data", look);
        body.once("close", look);
        look();
      });
    body.on("data", (chunk: Buffer) => {
      text += chunk.toString("latin1");
    });
    return { status: answer.statusCode, until, end: () => void body.destroy() };
  };

const placementsOf = ({ nodeId, workloads }: Agent): readonly Placement[] =>
  workloads.allocations.map(({ id, namespace, jobId, taskGroup }) => ({
    id,
    nodeId,
    namespace,
    jobId,
    taskGroup,
    terminal: undefined,
  }));

const nodeOf = ({ nodeId }: Agent, address: string): NodeEntry => ({
  id: nodeId,
  name: "client-1",
  status: "ready",
  address,
  tls: false,
});

/** Listens when it resolves; the first picture of the servers may be under way. */
export const startCluster = async (options: ClusterOptions): Promise<ClusterRig> => {
  await using stack = new AsyncDisposableStack();
  const directory = mkdtempSync(path.join(tmpdir(), "serai-cluster-"));
  stack.defer(() => rmSync(directory, { recursive: true, force: true }));
  const nomad = stack.use(await ScriptedNomad.start({ heartbeatMs: 100, tls: options.tls }));
  const revoked = new Set<string>();
  const nameOf: NameOf = (secret) =>
    Object.entries(secrets).find(([name, known]) => known === secret && !revoked.has(name))?.[0];
  const region = options.settings?.["region"];
  if (typeof region === "string") nomad.region = region;
  nomad.permits = (token) => nameOf(token) !== undefined;
  nomad.manages = (token) => nameOf(token) === "management";
  const held = new Map<string, HeldPolicy>(
    Object.entries(policies).map(([name, given]) => [name, { version: 1, rules: given }]),
  );
  scriptAcls(nomad, nameOf, held);

  const file = path.join(directory, "gateway.log");
  const log = createLog({ level: "debug", destination: file, linesPerSecond: 100_000 });
  stack.defer(() => log.close(AbortSignal.timeout(patienceMs)));
  const agent = await runAgent(directory, log, nomad.origin, options.workloads);
  stack.defer(() => agent.close(AbortSignal.timeout(patienceMs)));
  const door = stack.use(await openDoor(agent.address));
  const placements = placementsOf(agent);
  const node = nodeOf(agent, door.address);
  nomad.knowNode(options.node?.(node) ?? node);
  nomad.know(...placements.filter(({ jobId }) => !options.unknown?.includes(jobId)));
  options.prepare?.(nomad);

  const servers = await options.servers?.(nomad, agent.address);
  if (servers !== undefined) stack.use(servers);
  const given = laidOver(
    serverSettings(directory, [servers?.origin ?? nomad.origin], options.ownToken ?? "gateway"),
    options.settings ?? {},
  );
  const settings = writeJson(directory, "serai.json", given);
  const { config } = loadServerConfig({ file: settings, env: {} });
  const clock = setClock();
  const gateway = await createGateway({ clock, log, version: "0.0.0-rig" }, config);
  stack.defer(() => gateway.close(AbortSignal.timeout(patienceMs)));
  const dispatcher = new HttpAgent({ connections: 32 });
  stack.defer(() => dispatcher.destroy());

  const ask = async (url: string, { path: target, method = "GET", ...given }: ClusterAsk) => {
    const { token, headers = {} } = given;
    const { statusCode, body } = await request(`${url}${target}`, {
      method,
      dispatcher,
      headers: {
        ...headers,
        ...(token === undefined ? {} : { "x-nomad-token": secrets[token] }),
      },
    });
    return { status: statusCode, text: await body.text() };
  };

  const placement = (job: string): Placement => {
    const found = placements.find(({ jobId }) => jobId === job);
    assert.ok(found, `the agent runs no ${job}`);
    return found;
  };
  const running = stack.move();
  return {
    nomad,
    agent,
    door,
    gateway,
    clock,
    url: gateway.url,
    placement,
    directoryOf: (job) => agent.workloads.allocation(placement(job).id)?.directory ?? "",
    revoke(token) {
      revoked.add(token);
      nomad.changeAcl("ACLToken", "ACLTokenDeleted");
    },
    allow(token, given) {
      held.set(token, { version: (held.get(token)?.version ?? 0) + 1, rules: given });
      nomad.changeAcl("ACLPolicy", "ACLPolicyUpserted");
    },
    ask: (given) => ask(gateway.url, given),
    readiness: async () => (await ask(gateway.adminUrl, { path: "/readyz" })).status,
    health: async () => (await ask(gateway.adminUrl, { path: "/readyz?verbose" })).text,
    audit: () =>
      linesOf(path.join(directory, "audit.log")).map((line) => {
        const record = parseJson(line);
        assert.ok(isJsonObject(record));
        return record;
      }),
    logText: () => {
      log.flush(); // a line may wait a moment for others
      return linesOf(file).join("\n");
    },
    metrics: async () => (await ask(gateway.adminUrl, { path: "/metrics" })).text,
    follow: followOver(dispatcher, gateway.url),
    [Symbol.asyncDispose]: () => running.disposeAsync(),
  };
};
