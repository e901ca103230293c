/** `serai server`: the gateway. */
import { Command } from "commander";
import { told } from "../config/layers.ts";
import { loadServerConfig } from "../config/load.ts";
import type { ServerConfig } from "../config/server-schema.ts";
import type { Gateway } from "../gateway.ts";
import { systemClock } from "../lib/clock.ts";
import { createProcessGuards } from "../observe/guards.ts";
import type { OpenLog } from "../observe/log.ts";
import { holdDirectory } from "./hold.ts";
import { beginLifetime, say } from "./lifetime.ts";
import { telling } from "./listeners.ts";
import { openLog } from "./log.ts";
import { version } from "./version.ts";

export interface Running {
  readonly gateway: Gateway;
  readonly log: OpenLog;
  /** Drains, closes everything, the log last. */
  stop(): Promise<void>;
}

const closePatienceMs = 2_000;

/** Starts a gateway of settings that are known to be sound. Rejects with what keeps it from starting. */
export const startGateway = async (config: ServerConfig): Promise<Running> => {
  let suppressed: Gateway["suppressed"] = () => {};
  const log = openLog(config, { suppressed: (lines) => suppressed(lines) });
  let count: Gateway["uncaught"] = () => {};
  createProcessGuards({ log, exit: (code) => process.exit(code), count: (kind) => count(kind) });
  try {
    const { createGateway } = await import("../gateway.ts"); // with all its parts: not for help or a mistake in settings
    const gateway = await createGateway({ clock: systemClock, log, version }, config);
    count = gateway.uncaught;
    process.once("exit", gateway.flush); // for an end at once; one in order has closed it before
    suppressed = gateway.suppressed;
    log.info({ url: gateway.url, admin: gateway.adminUrl, version }, "gateway listens");
    return {
      gateway,
      log,
      stop: async () => {
        await gateway.drain();
        await gateway.close(AbortSignal.timeout(closePatienceMs));
        log.info({}, "gateway closed");
        await log.close(AbortSignal.timeout(closePatienceMs));
      },
    };
  } catch (error) {
    await log.close(AbortSignal.timeout(closePatienceMs));
    throw error;
  }
};

interface Flags {
  readonly config?: string;
  readonly listen?: string;
  readonly adminListen?: string;
  readonly dataDir?: string;
  readonly registry?: string;
  readonly nomadAddress?: readonly string[];
  readonly nomadTokenFile?: string;
}

export const serverCommand = (): Command =>
  new Command("server")
    .description("run the gateway")
    .option("--config <file>", "settings (YAML or JSON); see config/reference.md")
    .option("--listen <host:port>", "public listener")
    .option("--admin-listen <host:port>", "listener for metrics and health")
    .option("--data-dir <directory>", "where it keeps its state")
    .option("--registry <kind>", "embedded, or nomad: in front of a Nomad cluster")
    .option("--nomad-address <address...>", "Nomad's servers, as http://host:port")
    .option("--nomad-token-file <file>", "file with the gateway's own ACL token for them")
    .action(async ({ config: file, ...given }: Flags) => {
      const life = beginLifetime();
      const flags = {
        "http.listen": { name: "--listen", text: given.listen },
        "admin.listen": { name: "--admin-listen", text: given.adminListen },
        data_dir: { name: "--data-dir", text: given.dataDir },
        registry: { name: "--registry", text: given.registry },
        "nomad.addresses": { name: "--nomad-address", text: given.nomadAddress?.join(",") },
        "nomad.token_file": { name: "--nomad-token-file", text: given.nomadTokenFile },
      };
      const load = () => loadServerConfig({ file, env: process.env, flags });
      const { config, layered, warnings } = load();
      for (const warning of warnings) say(`warning: ${warning}`);
      const { stopping } = life;
      const release = await holdDirectory(config.dataDir, { onWait: say, stopping });
      try {
        if (stopping.aborted) return;
        const { gateway, stop } = await telling(
          { "http.listen": config.http.listen, "admin.listen": config.admin.listen },
          (setting, words) => told(layered, setting, words),
          () => startGateway(config),
        );
        const reload = () => gateway.reload(() => load().config.nomad);
        await life.live({ reload, stop });
      } finally {
        release();
      }
    });
