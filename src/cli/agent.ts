/** `serai agent`: runs workloads and serves their files, logs and shells. */
import { Command } from "commander";
import type { Agent, AgentOptions, AgentTls } from "../agent/agent.ts";
import type { AgentConfig } from "../config/agent-schema.ts";
import { told } from "../config/layers.ts";
import { loadAgentConfig } from "../config/load.ts";
import { authorityOf } from "../lib/addresses.ts";
import { systemClock } from "../lib/clock.ts";
import { readAuthorityFile, readKeyPair } from "../lib/pem-files.ts";
import { createProcessGuards } from "../observe/guards.ts";
import { certificateIn } from "./certificate.ts";
import { holdDirectory } from "./hold.ts";
import { beginLifetime, say } from "./lifetime.ts";
import { telling } from "./listeners.ts";
import { openLog } from "./log.ts";

const authoritiesIn = (file: string | undefined): string | undefined =>
  file === undefined ? undefined : readAuthorityFile(file);

const tlsOf = ({ tls: { certFile, keyFile, clientCaFile } }: AgentConfig): AgentTls | undefined => {
  if (certFile === undefined || keyFile === undefined) return undefined;
  const { cert, key } = readKeyPair(certFile, keyFile);
  return { cert, key, clientCa: authoritiesIn(clientCaFile) };
};

const tunnelsOf = ({ gateway }: AgentConfig): readonly string[] => {
  if (!gateway.tunnel) return [];
  return gateway.tunnelAddresses.length > 0
    ? gateway.tunnelAddresses
    : [new URL(gateway.address).origin];
};

/** What the settings say, with the files they name read. */
export const agentOptions = (config: AgentConfig): AgentOptions => ({
  name: config.name,
  dataDirectory: config.dataDir,
  listen: config.gateway.tunnel ? undefined : config.listen,
  advertise:
    config.advertise === undefined
      ? undefined
      : authorityOf(config.advertise.host, config.advertise.port),
  region: config.region,
  datacenter: config.datacenter,
  nodePool: config.nodePool,
  nodeClass: config.nodeClass,
  meta: config.meta,
  gateway: {
    address: config.gateway.address,
    joinToken: config.gateway.joinToken,
    ca: authoritiesIn(config.gateway.caFile),
    tunnels: tunnelsOf(config),
    certificate: certificateIn(config.gateway.certFile, config.gateway.keyFile),
  },
  tls: tlsOf(config),
  aclEnabled: config.acl.enabled,
  gcMaxAllocs: config.gc.maxAllocs,
  workloads: config.workloads,
});

/** At SIGTERM for all that lives, then for the log. */
export const agentPatience = { closeMs: 30_000, logMs: 2_000 } as const;

/** New certificates are taken; the agent's other settings need a restart. */
const reload = async (agent: Agent, file: string | undefined): Promise<void> => {
  const tls = tlsOf(loadAgentConfig({ file, env: process.env }).config);
  if (tls) agent.reload(tls);
};

interface Flags {
  readonly config?: string;
  readonly listen?: string;
  readonly dataDir?: string;
}

export const agentCommand = (): Command =>
  new Command("agent")
    .description("run workloads of a settings file and serve them to the gateway")
    .option("--config <file>", "settings (YAML or JSON); see config/reference.md")
    .option("--listen <host:port>", "where the gateway connects")
    .option("--data-dir <directory>", "where it keeps its state and the allocations")
    .action(async ({ config: file, listen, dataDir }: Flags) => {
      const life = beginLifetime();
      const flags = {
        listen: { name: "--listen", text: listen },
        data_dir: { name: "--data-dir", text: dataDir },
      };
      const { config, layered, warnings } = loadAgentConfig({ file, env: process.env, flags });
      for (const warning of warnings) say(`warning: ${warning}`);
      const log = openLog(config);
      createProcessGuards({ log, exit: (code) => process.exit(code) });
      const { stopping } = life;
      const release = await holdDirectory(config.dataDir, { onWait: say, stopping });
      const { createAgent } = await import("../agent/agent.ts"); // with all its parts: not for help or a mistake in settings
      const agent = stopping.aborted
        ? undefined
        : await telling(
            { listen: config.listen },
            (setting, words) => told(layered, setting, words),
            () => createAgent({ log, clock: systemClock }, agentOptions(config)),
          );
      await life.live({
        reload: async () => {
          try {
            if (agent) await reload(agent, file);
          } finally {
            log.reopen(); // also when a certificate is refused
          }
        },
        stop: async () => {
          await agent?.close(AbortSignal.timeout(agentPatience.closeMs));
          release();
          await log.close(AbortSignal.timeout(agentPatience.logMs));
        },
      });
    });
