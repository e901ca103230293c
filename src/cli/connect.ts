/**
 * The words of `serai connect`: reads its settings and hands them to the connector (src/cli/connector.ts), which has started
 * this as a process of its own. What reading them takes (schemas, YAML, the command line) ends with it.
 */
import { writeFileSync } from "node:fs";
import { Command } from "commander";
import type { ConnectConfig } from "../config/connect-schema.ts";
import { loadConnectConfig } from "../config/load.ts";
import { readAuthorityFile } from "../lib/pem-files.ts";
import { certificateIn } from "./certificate.ts";
import { say } from "./lifetime.ts";

/** All that the connector has to know. */
export type ConnectSettings = Omit<ConnectConfig, "caFile"> & { readonly ca: string | undefined };

/** The pipe to the connector: nobody else sees the join token. */
const settingsFd = 3;

/** What the settings say. The files that they name are there. */
const settingsOf = ({ caFile, ...config }: ConnectConfig): ConnectSettings => {
  for (const { certFile, keyFile } of config.agents) certificateIn(certFile, keyFile);
  return { ...config, ca: caFile === undefined ? undefined : readAuthorityFile(caFile) };
};

export const connectCommand = (): Command =>
  new Command("connect")
    .description("keep tunnels to a gateway for Nomad agents on this machine")
    .option("--config <file>", "settings (YAML or JSON); see config/reference.md")
    .action(({ config: file }: { readonly config?: string }) => {
      const { config, warnings } = loadConnectConfig({ file, env: process.env });
      for (const warning of warnings) say(`warning: ${warning}`);
      writeFileSync(settingsFd, JSON.stringify(settingsOf(config)));
    });
