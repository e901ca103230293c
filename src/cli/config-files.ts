/**
 * What `serai config check` finds wrong with the files that settings name. A process looks at them itself when it starts: they
 * may have changed by then.
 */
import { AclFilesError, readAclFiles } from "../acl/acl-files.ts";
import { checkIssuerKeys } from "../acl/issuer-key.ts";
import type { AgentConfig } from "../config/agent-schema.ts";
import type { ConnectConfig } from "../config/connect-schema.ts";
import { ConfigError, type FileChecks } from "../config/load.ts";
import type { ServerConfig } from "../config/server-schema.ts";
import { readAuthorityFile, readKeyPair } from "../lib/pem-files.ts";

/** What looking at it says, told of the setting that names it. */
const fault = (setting: string, look: () => unknown): string | undefined => {
  try {
    look();
    return undefined;
  } catch (error) {
    return `${setting}: ${error instanceof Error ? error.message : String(error)}`;
  }
};

interface Pair {
  readonly certFile: string | undefined;
  readonly keyFile: string | undefined;
}

const pairFault = (section: string, { certFile, keyFile }: Pair): string | undefined =>
  certFile === undefined || keyFile === undefined
    ? undefined
    : fault(`${section}cert_file`, () => readKeyPair(certFile, keyFile));

const authorityFault = (setting: string, file: string | undefined): string | undefined =>
  file === undefined ? undefined : fault(setting, () => readAuthorityFile(file));

export const serverFiles: FileChecks<ServerConfig> = [
  ({ tls }) => pairFault("tls.", tls),
  ({ tls }) => authorityFault("tls.client_ca_file", tls.clientCaFile),
  ({ tunnel }) => authorityFault("tunnel.client_ca_file", tunnel.clientCaFile),
  ({ reach }) => pairFault("reach.", reach),
  ({ reach }) => authorityFault("reach.ca_file", reach.caFile),
  ({ registry, nomad }) => registry === "nomad" && pairFault("nomad.", nomad),
  ({ registry, nomad }) => registry === "nomad" && authorityFault("nomad.ca_file", nomad.caFile),
  ({ acl }) =>
    acl.jwt.issuers.flatMap(
      (issuer, at) => fault(`acl.jwt.issuers.${at}`, () => checkIssuerKeys(issuer)) ?? [],
    ),
];

export const agentFiles: FileChecks<AgentConfig> = [
  ({ tls }) => pairFault("tls.", tls),
  ({ tls }) => authorityFault("tls.client_ca_file", tls.clientCaFile),
  ({ gateway }) => pairFault("gateway.", gateway),
  ({ gateway }) => authorityFault("gateway.ca_file", gateway.caFile),
];

export const connectFiles: FileChecks<ConnectConfig> = [
  ({ caFile }) => authorityFault("ca_file", caFile),
  ({ agents }) => agents.flatMap((agent, at) => pairFault(`agents.${at}.`, agent) ?? []),
];

/** Throws `ConfigError` with what is wrong in the files of tokens and policies, as far as those are read. */
export const checkAclFiles = async ({ acl, registry }: ServerConfig): Promise<void> => {
  if (registry === "nomad") return;
  try {
    await readAclFiles({ tokensFile: acl.tokensFile, policiesDirectory: acl.policiesDir });
  } catch (error) {
    throw error instanceof AclFilesError ? new ConfigError(error.faults) : error;
  }
};
