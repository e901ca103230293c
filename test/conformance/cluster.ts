/** A cluster of the corpus' shape: a gateway, two agents in this process and one in its own, which can be killed. */
import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { mkdir, mkdtemp, readFile, rm, truncate, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import path from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { type Agent, createAgent } from "../../src/agent/agent.ts";
import { endOrphans } from "../../src/agent/workloads/stragglers.ts";
import { loadServerConfig } from "../../src/config/load.ts";
import { createGateway, type Gateway } from "../../src/gateway.ts";
import { systemClock } from "../../src/lib/clock.ts";
import { createLog } from "../../src/observe/log.ts";
import { type NodeName, nodes, type PlannedNode, runScript, serveProgram, webId } from "./jobs.ts";
import { joinToken, secretOf, writeAclFiles } from "./tokens.ts";

export interface Address {
  readonly host: string;
  readonly port: number;
}

export interface Cluster extends AsyncDisposable {
  readonly gateway: Address;
  agent(name: NodeName): Address;
  /** Where an agent keeps its allocations. */
  allocDirectory(name: NodeName): string;
  /** Resolves when so many tasks of an allocation on an agent in this process run. */
  running(name: NodeName, allocationId: string, tasks: number): Promise<void>;
  /** SIGKILL for the agent that has a process of its own. */
  kill(): Promise<void>;
  /** Waits until the gateway calls it down. */
  down(): Promise<void>;
}

const killable: NodeName = "golden-3";

/** Asks until the answer is what is waited for. */
export const until = async (
  what: string,
  fact: () => boolean | Promise<boolean>,
  withinMs = 30_000,
): Promise<void> => {
  for (const deadline = Date.now() + withinMs; !(await fact()); await sleep(25))
    if (Date.now() > deadline) throw new Error(`not within ${withinMs} ms: ${what}`);
};

/** Ids of nodes and allocations are known before the start: an agent goes on with what its data directory holds. */
const seed = async (directory: string, node: PlannedNode): Promise<void> => {
  const now = Date.now() * 1e6;
  await mkdir(directory, { recursive: true, mode: 0o700 });
  await writeFile(path.join(directory, "node-id"), `${node.id}\n`);
  const allocations = node.allocations.map(({ id, workload }, at) => ({
    id,
    evalId: `ef4b8f00-0000-4000-8000-${id.slice(-12)}`,
    index: 0,
    workload,
    version: 0,
    desired: "run",
    clientStatus: "pending",
    collected: false,
    ports: {},
    tasks: {},
    createIndex: at + 1,
    modifyIndex: at + 1,
    allocModifyIndex: at + 1,
    createTime: now,
    modifyTime: now,
  }));
  const state = JSON.stringify({ index: allocations.length + 1, allocations });
  await writeFile(path.join(directory, "state.json"), state);
  for (const { id, workload } of node.allocations) {
    if (!workload.tasks.some(({ name }) => name === "web")) continue;
    const local = path.join(directory, "alloc", id, "web", "local");
    await mkdir(local, { recursive: true });
    await writeFile(path.join(local, "run.sh"), runScript(process.execPath));
    await writeFile(path.join(local, "serve.mjs"), serveProgram);
  }
};

const lineBytes = 25;
/** The recorded sizes of the rotated log: where a rotation falls depends on how a pipe was read. */
const oldestBytes = 1_015_725;
const droppedLines = 40_523;

const rotated = (): readonly [Buffer, Buffer] => {
  const whole = Buffer.from(
    `${Array.from({ length: 90_000 }, (_, i) => `line ${String(i + 1).padStart(8, "0")} 0123456789\n`).join("")}end\n`,
  );
  const kept = whole.subarray(droppedLines * lineBytes);
  return [kept.subarray(0, oldestBytes), kept.subarray(oldestBytes)];
};

const sizeOf = async (file: string): Promise<number> => {
  try {
    return (await readFile(file)).length;
  } catch {
    return -1;
  }
};

/** Files that the corpus had by hand, and the log cut where the recorded one was. */
const furnish = async (allocDirectory: string, id: string): Promise<void> => {
  const directory = path.join(allocDirectory, id);
  const logs = path.join(directory, "alloc", "logs");
  const newest = path.join(logs, "rot.stdout.2");
  await until("the log has rotated", async () => (await readFile(newest, "utf8").catch(() => "")).endsWith("end\n")); // biome-ignore format: one line
  await until(
    "web has begun",
    async () =>
      (await sizeOf(path.join(logs, "web.stdout.0"))) >= "out line 1\nout line 2\n".length,
  );
  const [old, young] = rotated();
  await writeFile(path.join(logs, "rot.stdout.1"), old);
  await truncate(newest, 0);
  await writeFile(newest, young, { flag: "a" });
  await writeFile(path.join(directory, "web", "private", "p.txt"), "private\n");
};

const toAddress = (text: string): Address => {
  const at = text.lastIndexOf(":");
  return { host: text.slice(0, at), port: Number(text.slice(at + 1)) };
};

const startGateway = async (root: string, log: ReturnType<typeof createLog>): Promise<Gateway> => {
  const acl = writeAclFiles(path.join(root, "acl"));
  const file = path.join(root, "gateway.json");
  const settings = {
    data_dir: path.join(root, "gateway"),
    http: { listen: "127.0.0.1:0" },
    admin: { listen: "127.0.0.1:0" },
    acl: {
      tokens_file: acl.tokensFile,
      policies_dir: acl.policiesDirectory,
      join_tokens_file: acl.joinTokensFile,
    },
    reach: { allow: ["127.0.0.0/8"] },
    limits: { sockets_per_address: 4096 },
    timeouts: { drain: "1s", drain_delay: "0s" },
    node: { down_after: "6s" },
    metadata: { interval: "1s" },
    audit: { output: path.join(root, "audit.log") },
  };
  await writeFile(file, JSON.stringify(settings));
  const { config } = loadServerConfig({ file, env: {}, flags: {} });
  return createGateway({ clock: systemClock, log, version: "0.0.0" }, config);
};

const startAgent = (
  root: string,
  node: PlannedNode,
  gatewayUrl: string,
  log: ReturnType<typeof createLog>,
): Promise<Agent> =>
  createAgent(
    { log, clock: systemClock },
    {
      name: node.name,
      dataDirectory: path.join(root, node.name),
      listen: { host: "127.0.0.1", port: 0 },
      advertise: undefined,
      region: "global",
      datacenter: "dc1",
      nodePool: node.pool,
      nodeClass: undefined,
      meta: node.meta,
      gateway: { address: gatewayUrl, joinToken, ca: undefined },
      tls: undefined,
      aclEnabled: true,
      gcMaxAllocs: 50,
      workloads: node.allocations.map(({ workload }) => workload),
    },
  );

interface Process {
  readonly child: ChildProcess;
  readonly address: Address;
}

/** `test/conformance/agent-process.ts` does the same in a process of its own and tells its address. */
const startProcess = async (root: string, node: PlannedNode, url: string): Promise<Process> => {
  const program = new URL("agent-process.ts", import.meta.url).pathname;
  const child = spawn(process.execPath, [program, root, node.name, url], {
    stdio: ["ignore", "pipe", "inherit"],
  });
  child.on("error", () => undefined);
  const { stdout } = child;
  if (stdout === null) throw new Error("the agent's process has no output");
  const [line] = await once(stdout.setEncoding("utf8"), "data");
  return { child, address: toAddress(String(line).trim()) };
};

export const agentIn = (root: string, name: string, gatewayUrl: string): Promise<Agent> => {
  const node = nodes.find((one) => one.name === name);
  if (node === undefined) throw new RangeError(`no node is named ${name}`);
  const log = createLog({
    level: "info",
    destination: path.join(root, `${name}.log`),
    linesPerSecond: 1_000,
    base: { name },
  });
  return startAgent(root, node, gatewayUrl, log);
};

const patience = (): AbortSignal => AbortSignal.timeout(5_000);

export const startCluster = async (): Promise<Cluster> => {
  const root = await mkdtemp(path.join(tmpdir(), "serai-conformance-"));
  const log = createLog({
    level: "info",
    destination: path.join(root, "gateway.log"),
    linesPerSecond: 1_000,
    base: { name: "gateway" },
  });
  for (const node of nodes) await seed(path.join(root, node.name), node);
  const gateway = await startGateway(root, log);
  const { url } = gateway;
  const agents = new Map<NodeName, Agent>();
  for (const { name } of nodes)
    if (name !== killable) agents.set(name, await agentIn(root, name, url));
  const third = nodes[2];
  const { child, address } = await startProcess(root, third, url);
  const address3 = address;
  const allocDirectory = (name: NodeName): string => path.join(root, name, "alloc");

  const ask = async (target: string): Promise<unknown> => {
    const answer = await fetch(`${url}${target}`, {
      headers: { "X-Nomad-Token": secretOf("management") },
    });
    return answer.ok ? answer.json() : undefined;
  };
  const kill = async (): Promise<void> => {
    if (child.exitCode !== null || child.signalCode !== null) return;
    const ended = once(child, "exit");
    child.kill("SIGKILL");
    await ended;
  };

  const expected = nodes.flatMap(({ allocations }) => allocations.length).reduce((a, b) => a + b);
  await until("every allocation is known to the gateway", async () => {
    const listed = await ask("/v1/allocations?namespace=*&task_states=false");
    if (!Array.isArray(listed) || listed.length < expected) return false;
    return listed.every(({ ClientStatus }) => ClientStatus !== "pending");
  });
  for (const node of [nodes[1], third])
    for (const { id, workload } of node.allocations)
      if (workload.tasks.length > 1) await furnish(allocDirectory(node.name), id);
  await until("its checks have run", async () => {
    const checks = await ask(`/v1/client/allocation/${webId}/checks`);
    return (
      typeof checks === "object" &&
      checks !== null &&
      Object.values(checks).every(({ Status }) => Status !== "pending")
    );
  });

  return {
    gateway: toAddress(url.slice(url.indexOf("//") + 2)),
    agent: (name) => (name === killable ? address3 : toAddress(agents.get(name)?.address ?? "")),
    allocDirectory,
    running: (name, allocationId, tasks) =>
      until("its tasks run", () => {
        const allocation = agents.get(name)?.workloads.allocation(allocationId);
        return allocation?.tasks.filter(({ pid }) => pid !== undefined).length === tasks;
      }),
    kill,
    down: () =>
      until("the node is down", async () => {
        const node = await ask(`/v1/node/${third.id}`);
        return typeof node === "object" && node !== null && Reflect.get(node, "Status") === "down";
      }),
    async [Symbol.asyncDispose]() {
      await kill();
      await Promise.all([...agents.values()].map((agent) => agent.close(patience())));
      await endOrphans(log, path.join(root, killable));
      await gateway.close(patience());
      await log.close(patience());
      if (process.env["SERAI_KEEP"] === undefined)
        await rm(root, { recursive: true, force: true, maxRetries: 3 });
    },
  };
};
