/** `serai dev`: a gateway, agents in processes of their own and sample workloads, in one command. */
import path from "node:path";
import { fileURLToPath } from "node:url";
import { Command, InvalidArgumentError } from "commander";
import { loadAgentConfig, loadServerConfig } from "../config/load.ts";
import type { AllocationDocument } from "../documents.ts";
import type { Registry } from "../ports.ts";
import { type Child, startAgent, stopAgents } from "./dev/children.ts";
import { type DevHome, type DevOptions, prepareHome } from "./dev/home.ts";
import { type DevState, toJsonLine, toText } from "./dev/report.ts";
import { beginLifetime, say, watchParent } from "./lifetime.ts";
import { type Running, startGateway } from "./server.ts";

const sampleWorkloads = fileURLToPath(new URL("../../config/dev-workloads.yaml", import.meta.url));

const startPatienceMs = 60_000;
const stopGraceMs = 10_000;

/** How many allocations the agents' settings ask for; their faults are told here, before anything starts. */
const wantedAllocations = (files: readonly string[]): number =>
  files
    .flatMap((file) => loadAgentConfig({ file, env: {} }).config.workloads)
    .reduce((sum, { count }) => sum + count, 0);

const hasStarted = ({ ClientStatus }: AllocationDocument): boolean => ClientStatus !== "pending";

/** Waits until every allocation is in the registry and has started; false when it was told to stop before that. */
const allStarted = async (
  registry: Registry,
  wanted: number,
  agents: readonly Child[],
  stopping: AbortSignal,
): Promise<boolean> => {
  const patience = AbortSignal.any([stopping, AbortSignal.timeout(startPatienceMs)]);
  const failure = Promise.race(
    agents.map(async ({ name, ended }) => {
      const how = await ended;
      throw new Error(`${name} ended while starting: ${how}`);
    }),
  );
  const started = async (): Promise<boolean> => {
    for (;;) {
      const allocations = [...registry.allocations()];
      if (allocations.length >= wanted && allocations.every(hasStarted)) return true;
      if (stopping.aborted) return false;
      if (patience.aborted)
        throw new Error(`only ${allocations.length} of ${wanted} allocations have started`);
      await registry.changed("allocs", registry.index("allocs"), patience);
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

/** Undefined when it was told to stop while starting; then everything has ended again. */
const startDev = async (options: DevOptions, stopping: AbortSignal): Promise<Dev | undefined> => {
  const home = prepareHome(options);
  const wanted = wantedAllocations(home.agentFiles);
  const { config } = loadServerConfig({ file: home.gatewayFile, env: {} });
  const running = await startGateway(config);
  const program = process.argv[1] ?? "";
  const agents = home.agentFiles.map((file, at) =>
    startAgent(program, file, home.agentLogs[at] ?? "", `agent ${at + 1}`),
  );
  const stop = async (): Promise<void> => {
    await stopAgents(agents, stopGraceMs);
    await running.stop();
  };
  try {
    if (!(await allStarted(running.gateway.registry, wanted, agents, stopping))) {
      await stop();
      return undefined;
    }
  } catch (error) {
    await stop();
    throw new Error(
      `${error instanceof Error ? error.message : String(error)}; see ${home.logDirectory}`,
      { cause: error },
    );
  }
  return { running, agents, home, stop };
};

const stateOf = ({ running, home }: Dev, directory: string): DevState => ({
  url: running.gateway.url,
  adminUrl: running.gateway.adminUrl,
  secrets: home.secrets,
  nodes: [...running.gateway.registry.nodes()],
  allocations: [...running.gateway.registry.allocations()],
  directory,
});

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
  readonly json?: boolean;
}

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
    .option("--json", "print one line of JSON when ready, instead of text")
    .action(async ({ port, adminPort, dataDir, agents, workloads, json }: Flags) => {
      const directory = path.resolve(dataDir);
      const life = beginLifetime();
      const unwatch =
        process.env["npm_lifecycle_event"] === undefined
          ? () => {}
          : watchParent(() => process.kill(process.pid, "SIGTERM"));
      const options = { directory, port, adminPort, agents, workloadsFile: workloads };
      const dev = await startDev(options, life.stopping);
      if (dev === undefined) return;
      const state = stateOf(dev, directory);
      process.stdout.write(json ? `${toJsonLine(state)}\n` : toText(state));
      for (const { name, ended } of dev.agents)
        ended.then((how) => {
          if (!life.stopping.aborted)
            say(`${name} ended (${how}); its log is in ${dev.home.logDirectory}`);
        }, say);
      await life.live({ reload: dev.running.gateway.reload, stop: dev.stop });
      unwatch();
    });
