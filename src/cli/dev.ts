/** `serai dev`: a gateway, agents in processes of their own and sample workloads, in one command. */
import path from "node:path";
import { fileURLToPath } from "node:url";
import { Command, InvalidArgumentError } from "commander";
import { agentDocument } from "../config/agent-schema.ts";
import { loadServerConfig } from "../config/load.ts";
import type { AllocationDocument } from "../documents.ts";
import type { Registry } from "../ports.ts";
import { type Child, startAgent, stopAgents } from "./dev/children.ts";
import {
  type DevHome,
  type DevOptions,
  gatewayDirectoryIn,
  prepareAgent,
  prepareHome,
} from "./dev/home.ts";
import { type DevState, toJsonLine, toText } from "./dev/report.ts";
import { readWorkloads } from "./dev/workloads.ts";
import { holdDirectory } from "./hold.ts";
import { beginLifetime, type Lifetime, say, watchNpm } from "./lifetime.ts";
import { telling } from "./listeners.ts";
import { type Running, startGateway } from "./server.ts";

const program = process.argv[1] ?? "";
const sampleWorkloads = fileURLToPath(new URL("../../config/dev-workloads.yaml", import.meta.url));

const startPatienceMs = 60_000;
const stopGraceMs = 10_000;

const hasStarted = ({ ClientStatus }: AllocationDocument): boolean => ClientStatus !== "pending";

const allocationsIn = (workloads: readonly unknown[]): number =>
  agentDocument.root.schema
    .parse({ workloads })
    .workloads.reduce((sum, { count }) => sum + count, 0);

interface Wanted {
  readonly agents: readonly Child[];
  readonly allocations: number;
}

/** Waits until every agent and allocation is in the registry and has started; false when it was told to stop before that. */
const allStarted = async (
  registry: Registry,
  { agents, allocations: wanted }: Wanted,
  stopping: AbortSignal,
): Promise<boolean> => {
  const patience = AbortSignal.any([stopping, AbortSignal.timeout(startPatienceMs)]);
  const failure = Promise.race(
    agents.map(async ({ name, ended }) => {
      const how = await ended;
      throw new Error(`${name} ended while starting (${how})`);
    }),
  );
  const started = async (): Promise<boolean> => {
    for (;;) {
      const seen = { nodes: registry.index("nodes"), allocs: registry.index("allocs") };
      const names = new Set([...registry.nodes()].map(({ Name }) => Name));
      const allocations = [...registry.allocations()];
      const haveStarted = allocations.length >= wanted && allocations.every(hasStarted);
      if (haveStarted && agents.every(({ name }) => names.has(name))) return true;
      if (stopping.aborted) return false;
      if (patience.aborted)
        throw new Error(
          `only ${allocations.filter(hasStarted).length} of ${wanted} allocations have started`,
        );
      const next = new AbortController();
      const either = AbortSignal.any([patience, next.signal]);
      await Promise.race([
        registry.changed("allocs", seen.allocs, either),
        registry.changed("nodes", seen.nodes, either),
      ]);
      next.abort();
    }
  };
  return Promise.race([started(), failure]);
};

interface Dev {
  readonly running: Running;
  readonly agents: readonly Child[];
  readonly home: DevHome;
  stop(): Promise<void>;
}

interface StartOptions extends DevOptions {
  /** Of each agent. */
  readonly workloads: readonly (readonly unknown[])[];
}

/** Undefined when it was told to stop while starting; then everything has ended again. */
const startDev = async (options: StartOptions, stopping: AbortSignal): Promise<Dev | undefined> => {
  const home = prepareHome(options);
  const { config } = loadServerConfig({ file: home.gatewayFile, env: {} });
  const running = await telling(
    { "--port": config.http.listen, "--admin-port": config.admin.listen },
    (flag, words) => `${flag}: ${words}`,
    () => startGateway(config),
  );
  const agents: Child[] = [];
  const stop = async (): Promise<void> => {
    await stopAgents(agents, stopGraceMs);
    await running.stop();
  };
  try {
    const { registry, url } = running.gateway;
    for (const [index, workloads] of options.workloads.entries())
      agents.push(startAgent(program, prepareAgent(home, index + 1, url, workloads)));
    const allocations = options.workloads.map(allocationsIn).reduce((sum, count) => sum + count, 0);
    if (await allStarted(registry, { agents, allocations }, stopping))
      return { running, agents, home, stop };
  } catch (error) {
    await stop();
    const reason = error instanceof Error ? error.message : String(error);
    throw new Error(`${reason}; see ${home.logDirectory}`, { cause: error });
  }
  await stop();
  return undefined;
};

/** By the agents' numbers, so that every start lists the same. */
const stateOf = ({ running, agents, home }: Dev): DevState => {
  const { registry, url, adminUrl } = running.gateway;
  const place = new Map(agents.map(({ name }, at) => [name, at]));
  const nodes = [...registry.nodes()]
    .filter(({ Name }) => place.has(Name))
    .sort((one, other) => (place.get(one.Name) ?? 0) - (place.get(other.Name) ?? 0));
  return {
    url,
    adminUrl,
    secrets: home.secrets,
    nodes,
    allocations: nodes.flatMap((node) =>
      [...registry.allocations()].filter(({ NodeID }) => NodeID === node.ID),
    ),
    directory: home.root,
  };
};

const whole =
  (min: number, max: number) =>
  (text: string): number => {
    const value = Number(text);
    if (!Number.isInteger(value) || value < min || value > max)
      throw new InvalidArgumentError(`must be a whole number from ${min} to ${max}.`);
    return value;
  };

interface Flags {
  readonly port: number;
  readonly adminPort: number;
  readonly dataDir: string;
  readonly agents: number;
  readonly workloads: string;
  readonly tunnel?: boolean;
  readonly json?: boolean;
}

const tellOfEnds = ({ agents, home }: Dev, stopping: AbortSignal): void => {
  for (const { name, ended } of agents)
    ended.then((how) => {
      if (!stopping.aborted) say(`${name} ended (${how}); its log is in ${home.logDirectory}`);
    }, say);
};

const liveDev = async (flags: Flags, life: Lifetime): Promise<void> => {
  const { port, adminPort, tunnel = false, json } = flags;
  const directory = path.resolve(flags.dataDir);
  const workloads = readWorkloads(flags.workloads, flags.agents);
  const { stopping } = life;
  const release = await holdDirectory(gatewayDirectoryIn(directory), { onWait: say, stopping });
  try {
    if (stopping.aborted) return;
    const dev = await startDev({ directory, port, adminPort, tunnel, workloads }, stopping);
    if (dev === undefined) return;
    const state = stateOf(dev);
    process.stdout.write(json ? `${toJsonLine(state)}\n` : toText(state));
    tellOfEnds(dev, stopping);
    await life.live({ reload: dev.running.gateway.reload, stop: dev.stop });
  } finally {
    release();
  }
};

export const devCommand = (): Command =>
  new Command("dev")
    .description("run a gateway, agents and sample workloads on this machine")
    .option("--port <port>", "the gateway's port on 127.0.0.1", whole(0, 65_535), 4646)
    .option("--admin-port <port>", "the admin listener's port on 127.0.0.1", whole(0, 65_535), 9464)
    .option("--data-dir <directory>", "where everything is kept; remove it to start anew", ".serai")
    .option("--agents <count>", "agents, each a process of its own", whole(1, 16), 2)
    .option(
      "--workloads <file>",
      "a YAML list of workloads to run instead of the samples",
      sampleWorkloads,
    )
    .option("--tunnel", "agents dial out to the gateway and have no port of their own")
    .option("--json", "print one line of JSON when ready, instead of text")
    .action(async (flags: Flags) => {
      const life = beginLifetime();
      const unwatch = watchNpm(() => process.kill(process.pid, "SIGTERM"));
      try {
        await liveDev(flags, life);
      } finally {
        unwatch();
      }
    });
