/** `serai connect`: beside Nomad agents behind a firewall, keeps a tunnel to a gateway for each. */
import { spawnSync } from "node:child_process";
import { fileURLToPath } from "node:url";
import { createProcessGuards } from "../observe/guards.ts";
import { createLog } from "../observe/log.ts";
import { type ConnectorOptions, createTunnelConnector } from "../tunnel/connect.ts";
import { certificateIn } from "./certificate.ts";
import type { ConnectSettings } from "./connect.ts";
import { beginLifetime, type Lifetime, say } from "./lifetime.ts";
import { logOptionsOf } from "./log-options.ts";

const closePatienceMs = 2_000;

/** Node strips types in a checkout; the built package has none. */
const programFile = fileURLToPath(
  new URL(import.meta.url.endsWith(".ts") ? "./program.ts" : "./program.js", import.meta.url),
);

/** Read by a process of their own, which ends: undefined when it has told what is wrong, or printed its help. */
const readSettings = (): ConnectSettings | undefined => {
  const { status, output } = spawnSync(process.execPath, [programFile, ...process.argv.slice(2)], {
    stdio: ["ignore", "inherit", "inherit", "pipe"],
    encoding: "utf8",
  });
  const text = output?.[3] ?? "";
  if (status === 0 && text !== "") return JSON.parse(text);
  process.exitCode = status ?? 1;
  return undefined;
};

const optionsOf = (settings: ConnectSettings): ConnectorOptions => ({
  ...settings,
  agents: settings.agents.map(({ nodeId, address, certFile, keyFile }) => ({
    nodeId: nodeId.toLowerCase(),
    address,
    certificate: certificateIn(certFile, keyFile),
  })),
});

const run = async (life: Lifetime, settings: ConnectSettings): Promise<void> => {
  const log = createLog(logOptionsOf(settings));
  createProcessGuards({ log, exit: (code) => process.exit(code) });
  const connector = createTunnelConnector({ log }, optionsOf(settings));
  const { agents, gateways, drainMs } = settings;
  log.info({ nodes: agents.length, gateways }, "connector runs");
  await life.live({
    reload: async () => log.reopen(),
    stop: async () => {
      await connector.close(AbortSignal.timeout(drainMs + closePatienceMs));
      log.info({}, "connector closed");
      await log.close(AbortSignal.timeout(closePatienceMs));
    },
  });
};

const life = beginLifetime();
const settings = readSettings();
try {
  if (settings !== undefined) await run(life, settings);
} catch (error) {
  say(`serai: ${error instanceof Error ? error.message : String(error)}`);
  process.exitCode = 1;
}
