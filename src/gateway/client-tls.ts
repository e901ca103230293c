/**
 * TLS to those whom the gateway dials: its certificate and the authorities that it trusts, from files that are read again at
 * SIGHUP. Who dials next uses what is there then.
 */
import { createSecureContext } from "node:tls";
import type { ServerConfig } from "../config/server-schema.ts";
import { readAuthorityFile, readKeyPair } from "../lib/pem-files.ts";
import type { ServersOptions } from "../nomad/servers.ts";
import type { Log } from "../ports.ts";
import { type TlsOptions, tlsOptions } from "../reach/connector.ts";

export interface ClientTls {
  readonly agents: TlsOptions;
  /** Undefined: they are asked in the clear, or there are none. */
  readonly servers: ServersOptions["tls"];
  /** False (told in the log) when files are not sound; those before stay. */
  reload(): boolean;
}

interface Files {
  readonly caFile: string | undefined;
  readonly certFile: string | undefined;
  readonly keyFile: string | undefined;
}

/** Throws for files that a connection could not be made with: `section` is where the settings name them. */
const read = (section: string, { caFile, certFile, keyFile }: Files, servername: string) => {
  try {
    const ca = caFile === undefined ? undefined : readAuthorityFile(caFile);
    const pair = certFile && keyFile ? readKeyPair(certFile, keyFile) : undefined;
    const tls = { ca, cert: pair?.cert, key: pair?.key, servername };
    if (caFile ?? certFile ?? keyFile) createSecureContext(tlsOptions(tls)); // takes a while: the system's authorities
    return tls;
  } catch (error) {
    const why = error instanceof Error ? error.message : String(error);
    throw new Error(`the certificates of ${section} cannot be used: ${why}`, { cause: error });
  }
};

const open = (log: Log, section: string, files: Files, servername: string) => {
  let current = read(section, files, servername);
  return {
    tls: {
      get ca() {
        return current.ca;
      },
      get cert() {
        return current.cert;
      },
      get key() {
        return current.key;
      },
      servername,
    },
    reload: (): boolean => {
      try {
        current = read(section, files, servername);
        return true;
      } catch (err) {
        log.error({ err }, "certificates refused, those before stay");
        return false;
      }
    },
  };
};

/** Throws when files are not sound. */
export const openClientTls = (
  log: Log,
  { reach, nomad, region, registry }: ServerConfig,
): ClientTls => {
  const isAsked = registry === "nomad" && nomad.addresses.some((one) => one.startsWith("https:"));
  const agents = open(log, "reach", reach, `client.${region}.nomad`);
  const servers = isAsked ? open(log, "nomad", nomad, `server.${region}.nomad`) : undefined;
  return {
    agents: agents.tls,
    servers: servers?.tls,
    reload: () => ![agents.reload(), servers?.reload()].includes(false),
  };
};
