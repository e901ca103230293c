/** `serai connect`: beside Nomad agents behind a firewall, keeps a tunnel to a gateway for each. */
import { readFileSync } from "node:fs";
import { Command } from "commander";
import type { ConnectConfig } from "../config/connect-schema.ts";
import { loadConnectConfig } from "../config/load.ts";
import { createProcessGuards } from "../observe/guards.ts";
import { type ConnectorOptions, createTunnelConnector } from "../tunnel/connect.ts";
import { certificateIn } from "./certificate.ts";
import { beginLifetime, say } from "./lifetime.ts";
import { openLog } from "./log.ts";

const closePatienceMs = 2_000;

/** What the settings say, with the file they name read. */
const connectorOptions = (config: ConnectConfig): ConnectorOptions => ({
  ...config,
  agents: config.agents.map(({ nodeId, address, certFile, keyFile }) => ({
    nodeId: nodeId.toLowerCase(),
    address,
    certificate: certificateIn(certFile, keyFile),
  })),
  ca: config.caFile === undefined ? undefined : readFileSync(config.caFile, "utf8"),
});

export const connectCommand = (): Command =>
  new Command("connect")
    .description("keep tunnels to a gateway for Nomad agents on this machine")
    .option("--config <file>", "settings (YAML or JSON); see config/reference.md")
    .action(async ({ config: file }: { readonly config?: string }) => {
      const life = beginLifetime();
      const { config, warnings } = loadConnectConfig({ file, env: process.env });
      for (const warning of warnings) say(`warning: ${warning}`);
      const log = openLog(config);
      createProcessGuards({ log, exit: (code) => process.exit(code) });
      const connector = createTunnelConnector({ log }, connectorOptions(config));
      log.info({ nodes: config.agents.length, gateways: config.gateways }, "connector runs");
      await life.live({
        reload: async () => log.reopen(),
        stop: async () => {
          await connector.close(AbortSignal.timeout(config.drainMs + closePatienceMs));
          log.info({}, "connector closed");
          await log.close(AbortSignal.timeout(closePatienceMs));
        },
      });
    });
